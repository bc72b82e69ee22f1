// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several vCPUs, one set of tables. TLBs are not coherent: after an edit each
 * vCPU must flush for itself, and until it does, the old translation and the new
 * one are both right for it. What is tested is that its own flush suffices: one
 * vCPU keeps reading or writing through a mapping, another edits the entry and
 * tells it so through memory (a shootdown, SDM vol. 3 4.10.5), and once it has
 * executed its own INVLPG nothing old may be seen there. The guests meet in
 * memory only; the host is not involved until they are done.
 *
 * The hypervisor has more to do than the guests know. Its shadow tables serve
 * all vCPUs at once. A frame that becomes a table on one vCPU must be
 * write-protected for all, which takes a flush of TLBs on processors that are in
 * the guest at that moment; two vCPUs that store to one table are emulated side
 * by side, and the shadow must end up with what memory holds, not with what the
 * slower emulator thought to have written; a fault on one vCPU must not install
 * what it read before another vCPU's edit.
 */
#include <string.h>

#include "frames.h"

/* A frame of words by which guests meet; mapped gva == gpa in every address space. */
static gpa_t meeting_page(struct vm *vm)
{
	return vm_alloc_table(vm);
}

/* Words only grow: from 0 to a round's number. */
static void op_signal(struct vcpu *v, gpa_t word, u32 value)
{
	op_add(v, .kind = AGENT_WRITE, .addr = word, .value = value, .size = 4);
}

static void op_wait(struct vcpu *v, gpa_t word, u32 value)
{
	op_add(v, .kind = AGENT_WAIT_GE, .addr = word, .value = value, .size = 4);
}

/* Runs the batches that all vCPUs were given; none may have waited in vain. */
static void run_all(struct vm *vm)
{
	u32 k, i;

	for (k = 0; k < vm->nr_vcpus; k++)
		vcpu_start(vm->vcpu[k]);
	for (k = 0; k < vm->nr_vcpus; k++)
		vcpu_join(vm->vcpu[k]);
	for (k = 0; k < vm->nr_vcpus; k++)
		for (i = 0; i < vm->vcpu[k]->mailbox->nr_ops; i++)
			if (vm->vcpu[k]->mailbox->ops[i].kind == AGENT_WAIT_GE)
				EXPECT_OK(op_result(vm->vcpu[k], i), "vCPU %u waits", k);
}

#define ROUNDS 12
#define CPUS   4

/*
 * Round after round the first vCPU gives the page another frame or other rights:
 * writable, then read-only, then absent, then the next frame. The others spin on
 * it, by turns reading and writing, flush when told, and look again.
 */
static void remap(struct vm *vm)
{
	struct vcpu *editor = vm->vcpu[0];
	gpa_t words = meeting_page(vm), go, ack;
	u32 read[CPUS][ROUNDS], write[CPUS][ROUNDS], k, r, frame;
	gva_t gva = vm->test_gva;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	for (k = 0; k < vm->nr_vcpus; k++)
		op_clear(vm->vcpu[k]);
	for (r = 0; r < ROUNDS; r++) {
		u64 pte = r % 3 == 0   ? frame_pte(vm, r + 1, PTE_W | USED_BITS(r))
			  : r % 3 == 1 ? frame_pte(vm, r, USED_BITS(r / 3))
				       : 0;

		go = words + r * 4;
		for (k = 1; k < vm->nr_vcpus; k++)
			op_wait(editor, words + 0x800 + k * 4, r + 1); /* cached and spinning */
		op_set_pte(editor, &vm->as, gva, 1, pte);
		op_invlpg(editor, gva);
		op_signal(editor, go, 1);
		for (k = 1; k < vm->nr_vcpus; k++) {
			struct vcpu *v = vm->vcpu[k];

			ack = words + 0x800 + k * 4;
			op_read(v, gva);
			op_write(v, gva + SCRATCH + 4 * k, 0);
			op_signal(v, ack, r + 1);
			op_add(v, .kind = (r + k) % 2 ? AGENT_SPIN_WRITE : AGENT_SPIN_READ,
			       .size = 4, .addr = (r + k) % 2 ? gva + SCRATCH + 4 * k : gva,
			       .value = frame_value(r % 3 ? r - r % 3 + 1 : 0), .arg2 = go);
			op_wait(v, go, 1);
			op_invlpg(v, gva);
			read[k][r] = op_read(v, gva);
			write[k][r] = op_write(v, gva + SCRATCH + 4 * k, 0x100 * r + k);
		}
	}
	run_all(vm);
	for (k = 1; k < vm->nr_vcpus; k++) {
		for (r = 0; r < ROUNDS; r++) {
			struct agent_result rd = op_result(vm->vcpu[k], read[k][r]);
			struct agent_result wr = op_result(vm->vcpu[k], write[k][r]);
			gva_t at = gva + SCRATCH + 4 * k;

			frame = r - r % 3 + 1;
			if (r % 3 == 2)
				EXPECT_PF(rd, 0, gva, "vCPU %u, round %u", k, r);
			else
				EXPECT_VALUE(rd, frame_value(frame), "vCPU %u, round %u", k, r);
			if (r % 3 == 0)
				EXPECT_OK(wr, "vCPU %u, round %u", k, r);
			else
				EXPECT_PF(wr, PFERR_W | (r % 3 == 1 ? PFERR_P : 0), at,
					  "vCPU %u, round %u", k, r);
		}
	}
}

TEST(remap, .what = "after its own INVLPG a vCPU sees what another made of a page in use",
     .modes = MODES_PAGED,
     .fixes = (const char *const[]){
	     "KVM: Flush remote tlbs when reducing shadow pte permissions (2007)", NULL})
{
	remap(vm_create(t->mode, .nr_vcpus = 2));
}

TEST(remap_four, .what = "the same with three vCPUs that spin", .modes = MODE(PM_LA48))
{
	remap(vm_create(t->mode, .nr_vcpus = CPUS));
}

/*
 * A frame that one vCPU has mapped and written becomes a table at @level on the
 * other. The first, told so, stores an entry through its data mapping without
 * having left the guest: while waiting, or writing elsewhere in the frame. It has
 * used two read-only mappings of the frame too, before and after, so that the one
 * that must be flushed is neither the first nor the last that is found.
 */
static void table_under_writer(struct vm *vm, int level, u32 first)
{
	const struct paging_mode *m = vm->mode;
	struct vcpu *v = vm->vcpu[0], *writer = vm->vcpu[1];
	u64 span = level_size(m, level + 1);
	gva_t base = vm->test_gva + 2 * span, lent = base + ROUNDS * span;
	gpa_t words = meeting_page(vm);
	u32 before[ROUNDS], after[ROUNDS], r, i;
	u64 pte[2];

	for (i = 0; i < 2; i++) {
		vm_map(vm, lent + i * level_size(m, level), frame_gpa(vm, 100 + i), SZ_4K, 1,
		       PTE_W);
		pte[i] = aspace_get_pte(&vm->as, lent + i * level_size(m, level), level);
	}
	op_clear(v);
	op_clear(writer);
	for (r = 0; r < ROUNDS; r++) {
		gva_t window = vm->test_gva + (first + r) * SZ_4K, gva = base + r * span;
		gpa_t data = frame_gpa(vm, first + r), at;
		gpa_t cached = words + r * 12, linked = cached + 4, stored = cached + 8;

		vm_map(vm, window, data, SZ_4K, 1, PTE_W);
		memset(vm_hva(vm, data), 0, SZ_4K);
		*(u32 *)vm_hva(vm, data) = pte[0];
		aspace_make_tables(&vm->as, gva, level + 1);
		at = aspace_pte_gpa(&vm->as, gva, level + 1);

		for (i = 1; i <= 2; i++)
			vm_map(vm, window + i * 64 * SZ_4K, data, SZ_4K, 1, 0);
		op_read(writer, window + 64 * SZ_4K);
		op_write(writer, window + SCRATCH, 0);
		op_read(writer, window + 2 * 64 * SZ_4K);
		op_signal(writer, cached, 1);
		if (r % 2)
			op_add(writer, .kind = AGENT_SPIN_WRITE, .addr = window + SCRATCH,
			       .size = 4, .arg2 = linked);
		else
			op_wait(writer, linked, 1);
		op_write(writer, window, pte[1]);
		op_signal(writer, stored, 1);

		op_wait(v, cached, 1);
		op_add(v, .kind = AGENT_SET_PTE, .addr = at, .size = m->pte_size,
		       .value = table_pte(m, level + 1, data));
		before[r] = op_read(v, gva);
		op_signal(v, linked, 1);
		op_wait(v, stored, 1);
		op_invlpg(v, gva);
		after[r] = op_read(v, gva);
	}
	run_all(vm);
	for (r = 0; r < ROUNDS; r++) {
		EXPECT_VALUE(op_result(v, before[r]), frame_value(100), "level %d, round %u", level,
			     r);
		EXPECT_VALUE(op_result(v, after[r]), frame_value(101),
			     "level %d, round %u, stored by the other vCPU", level, r);
	}
}

TEST(table_under_writer,
     .what = "a frame becomes a table while another vCPU can write to it; its store counts",
     .modes = MODES_FEW, .fixes = (const char *const[]){"f81602958c11", NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2);

	number_frames(vm);
	table_under_writer(vm, 1, 0);
	if (t->mode->levels > 3)
		table_under_writer(vm, 2, ROUNDS);
}

/*
 * The first vCPU leaves an address space; the other edits its table, being in
 * that space itself or in a third one; the first comes back.
 */
TEST(edit_behind, .what = "an edit by another vCPU in the space just left counts on return",
     .modes = MODES_FEW, .fixes = (const char *const[]){"b53e84eed08b", "07ffaf343e34", NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2);
	struct vcpu *v = vm->vcpu[0], *editor = vm->vcpu[1];
	struct aspace as[3] = {vm->as, aspace_create(vm), aspace_create(vm)};
	gpa_t words = meeting_page(vm), left = words, edited = words + 4;
	u32 home[ROUNDS], away[ROUNDS], r, i;

	number_frames(vm);
	for (i = 0; i < 3; i++)
		aspace_map(&as[i], vm->test_gva, frame_gpa(vm, 100 + i), SZ_4K, 1, PTE_W);
	op_clear(v);
	op_clear(editor);
	op_read(v, vm->test_gva);
	for (r = 0; r < ROUNDS; r++) {
		op_load_cr3(v, as[1].root);
		away[r] = op_read(v, vm->test_gva);
		op_signal(v, left, r + 1);
		op_wait(v, edited, r + 1);
		op_load_cr3(v, as[0].root);
		home[r] = op_read(v, vm->test_gva);

		op_load_cr3(editor, as[r % 3].root);
		op_read(editor, vm->test_gva);
		op_wait(editor, left, r + 1);
		op_set_pte(editor, &as[0], vm->test_gva, 1, frame_pte(vm, r, PTE_W | USED_BITS(r)));
		op_signal(editor, edited, r + 1);
	}
	run_all(vm);
	for (r = 0; r < ROUNDS; r++) {
		EXPECT_VALUE(op_result(v, away[r]), frame_value(101), "round %u", r);
		EXPECT_VALUE(op_result(v, home[r]), frame_value(r), "round %u", r);
	}
}

#define HAMMERS 3
#define REPEAT	40

/*
 * All vCPUs store to one table at @level: each to an entry of its own, which must
 * then be right for it, and all to a common one, which must be right for all
 * when they are done: memory says which of them was the last.
 */
static void hammer(struct vm *vm, int level)
{
	const struct paging_mode *m = vm->mode;
	u64 span = level_size(m, level);
	gva_t base = vm->test_gva + (level - 1) * 16 * span;
	gva_t common = base + 2 * HAMMERS * span, pages[HAMMERS + 1];
	u32 own[HAMMERS], seen[HAMMERS + 1], k, i, size = m->pte_size;
	u64 pte[2 * HAMMERS], now, a_d = PTE_A | PTE_D;
	struct vcpu *v;

	for (i = 0; i < 2 * HAMMERS; i++) { /* one entry each, two values for each vCPU */
		vm_map(vm, base + i * span, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
		pte[i] = aspace_get_pte(&vm->as, base + i * span, level);
	}
	aspace_make_tables(&vm->as, common, level);
	for (k = 0; k < HAMMERS; k++) {
		v = vm->vcpu[k];
		pages[k] = base + 2 * k * span;
		op_clear(v);
		for (i = 0; i < 2; i++) {
			op_add(v, .kind = AGENT_SET_PTE, .value = pte[2 * k + i], .size = size,
			       .addr = aspace_pte_gpa(&vm->as, pages[k], level));
			op_invlpg(v, pages[k]);
			own[k] = op_read(v, pages[k]);
			op_add(v, .kind = AGENT_SET_PTE, .value = pte[2 * k + i], .size = size,
			       .addr = aspace_pte_gpa(&vm->as, common, level));
			op_read(v, common);
		}
		op_add(v, .kind = AGENT_LOOP, .arg = 10, .value = REPEAT);
	}
	run_all(vm);
	for (k = 0; k < HAMMERS; k++)
		EXPECT_VALUE(op_result(vm->vcpu[k], own[k]), frame_value(2 * k + 1),
			     "level %d, vCPU %u's own entry", level, k);
	pages[HAMMERS] = common;
	for (k = 0; k < HAMMERS; k++) {
		v = vm->vcpu[k];
		op_clear(v);
		op_load_cr3(v, vm->as.root);
		for (i = 0; i <= HAMMERS; i++)
			seen[i] = op_read(v, pages[i]);
		vcpu_exec(v);
		for (i = 0; i < HAMMERS; i++)
			EXPECT_VALUE(op_result(v, seen[i]), frame_value(2 * i + 1),
				     "level %d, vCPU %u reads the entry of %u", level, k, i);
		now = aspace_get_pte(&vm->as, common, level);
		for (i = 0; i < 2 * HAMMERS && ((pte[i] ^ now) & ~a_d); i++)
			;
		EXPECT_LT(i, 2 * HAMMERS, "level %d: memory holds one of the values", level);
		EXPECT_VALUE(op_result(v, seen[HAMMERS]), frame_value(i),
			     "level %d, vCPU %u reads the common entry", level, k);
	}
}

TEST(hammer, .what = "vCPUs store to one table at once; the mappings become what memory says",
     .modes = MODE(PM_LA48) | MODE(PM_32),
     .fixes = (const char *const[]){"0e0fee5c539b", "36a2e6774bfb", NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = HAMMERS);

	number_frames(vm);
	hammer(vm, 1);
	hammer(vm, 2);
}

#define PAGES 48

/*
 * The others never stop faulting the pages in while the first vCPU gives each
 * of them another frame; after their flush no fault may have left an old one.
 */
TEST(faults_during_edits, .what = "faults of other vCPUs install nothing that is out of date",
     .modes = MODES_FEW,
     .fixes = (const char *const[]){"KVM: MMU: Fix race when instantiating a shadow pte (2008)",
				    NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 3);
	struct vcpu *v = vm->vcpu[0];
	gpa_t words = meeting_page(vm), ready = words + 0x800;
	u32 own[ROUNDS], check[3][ROUNDS], r, i, k;

	number_all_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), PAGES * SZ_4K, 1, PTE_W);
	for (k = 0; k < vm->nr_vcpus; k++)
		op_clear(vm->vcpu[k]);
	for (r = 0; r < ROUNDS; r++) {
		gpa_t go = words + r * 4;

		for (k = 1; k < vm->nr_vcpus; k++)
			op_wait(v, ready + 4 * k, r + 1);
		for (i = 0; i < PAGES; i++)
			op_set_pte(v, &vm->as, vm->test_gva + i * SZ_4K, 1,
				   frame_pte(vm, PAGES * (r + 1) + i, PTE_W | USED_BITS(i)));
		op_load_cr3(v, vm->as.root);
		own[r] = op_add(v, .kind = AGENT_TOUCH_CHECK, .addr = vm->test_gva, .arg = SZ_4K,
				.size = 4, .value = PAGES, .arg2 = frame_value(PAGES * (r + 1)));
		op_signal(v, go, 1);
		for (k = 1; k < vm->nr_vcpus; k++) {
			struct vcpu *o = vm->vcpu[k];

			op_signal(o, ready + 4 * k, r + 1);
			op_add(o, .kind = AGENT_TOUCH_READ, .addr = vm->test_gva, .arg = SZ_4K,
			       .size = 4, .value = PAGES);
			op_load_cr3(o, vm->as.root); /* so that there is something to fault in */
			op_add(o, .kind = AGENT_LOOP, .arg = 2, .value = 1 << 30, .addr = go);
			op_load_cr3(o, vm->as.root);
			check[k][r] = op_add(o, .kind = AGENT_TOUCH_CHECK, .addr = vm->test_gva,
					     .arg = SZ_4K, .size = 4, .value = PAGES,
					     .arg2 = frame_value(PAGES * (r + 1)));
		}
	}
	run_all(vm);
	for (r = 0; r < ROUNDS; r++) {
		EXPECT_VALUE(op_result(v, own[r]), PAGES, "the editor, round %u", r);
		for (k = 1; k < vm->nr_vcpus; k++)
			EXPECT_VALUE(op_result(vm->vcpu[k], check[k][r]), PAGES,
				     "vCPU %u, round %u", k, r);
	}
}
