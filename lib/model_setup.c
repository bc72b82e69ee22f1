// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM for a program: frames of data, with a function each, and tables, roots, vCPUs with the agent, memslots, and how
 * writes are logged.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "model_priv.h"
#include "probe.h"
#include "quirks.h"
#include "test.h"

static void on_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct model *m = arg;
	u64 value = 0;

	/* Many threads may come here at a time, and nobody asks for it. */
	if (m->together && run->mmio.is_write)
		return;
	if (!run->mmio.is_write) {
		value = mmio_value(run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &value, sizeof(value));
		return;
	}
	memcpy(&value, run->mmio.data, run->mmio.len <= 8 ? run->mmio.len : 8);
	if (m->nr_mmio_writes < AGENT_BATCH)
		m->mmio_write[m->nr_mmio_writes++] = (struct mmio_write){
			v->mailbox->current_op, run->mmio.phys_addr, value, run->mmio.len};
}

void model_fill_function(struct frame *f)
{
	u32 n = f->number;
	u8 code[6] = {0xb8, n, n >> 8, n >> 16, n >> 24, 0xc3};

	memcpy(f->hva + FN_AT, code, sizeof(code)); /* mov $number, %eax; ret */
	f->function = true;
}

static void fill_data(struct model *m, struct frame *f, u32 number)
{
	struct cell *last = &f->cell[LAST_CELL];

	f->number = number;
	model_fill_function(f);
	f->cell[DATA_CELL].value = 0xda7a00000000ull | number;
	memcpy(f->hva + DATA_AT, &f->cell[DATA_CELL].value, 8);
	f->head = number * 3;
	memcpy(f->hva, &f->head, 2);
	last->value = (u64)number * 7 << tail_shift(m);
	memcpy(f->hva + cell_offset(m, LAST_CELL), &last->value, m->m->pte_size);
}

/* Entries that lead to frames, with and without the bits that somebody might want to set. */
static void fill_rom_table(struct model *m, struct frame *f, u32 number)
{
	static const u64 bits[] = {0, PTE_A, PTE_A | PTE_D};

	for (u32 i = 0; i < ARRAY_LEN(bits); i++) {
		f->cell[i].value = m->frame[PROGRAM_TABLES + 3 * number + i].gpa | PTE_P | PTE_W |
				   PTE_U | bits[i];
		memcpy(f->hva + cell_offset(m, i), &f->cell[i].value, m->m->pte_size);
	}
}

static void make_frames(struct model *m)
{
	u32 i;

	for (i = 0; i < PROGRAM_TABLES; i++) {
		struct frame *f = &m->frame[i];

		f->gpa = vm_alloc_table(m->vm);
		f->hva = vm_hva(m->vm, f->gpa);
		f->is_table = true;
	}
	m->tables = m->frame[0].gpa;
	for (i = 0; i < PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[PROGRAM_TABLES + i];

		f->gpa = HOME_GPA + (i / 4 + (m->m->id == PM_32 ? 0 : 1)) * level_size(m->m, 2) +
			 m->index[i % 4] * SZ_4K;
		f->hva = vm_hva(m->vm, f->gpa);
		fill_data(m, f, 0x100 + i);
	}
	for (i = 0; i < PROGRAM_RO_FRAMES; i++) {
		struct frame *f = &m->frame[PROGRAM_TABLES + PROGRAM_FRAMES + i];

		f->gpa = RO_GPA + i * SZ_4K;
		f->hva = vm_hva(m->vm, f->gpa);
		f->read_only = !m->machine;
		fill_data(m, f, 0x200 + i);
		fill_rom_table(m, f, i);
	}
}

/* Each root maps slot 0, as all address spaces do; PAE's have fixed tables below them. */
static void make_roots(struct model *m)
{
	u32 k, i, size = m->m->pte_size;
	const u8 *from = vm_hva(m->vm, m->vm->system_table);

	for (k = 0; k < PROGRAM_ROOTS; k++) {
		u8 *to;

		m->root[k] = m->m->id == PM_PAE ? vm_alloc_table(m->vm) : m->frame[k].gpa;
		to = vm_hva(m->vm, m->root[k]);
		memcpy(to, from, (m->m->id == PM_32 ? VM_SYSTEM_SIZE / SZ_4M : 1) * size);
		if (m->m->id != PM_PAE)
			continue;
		for (i = 1; i < 4; i++) {
			u64 pdpte = m->frame[(3 * k + i - 1) % PROGRAM_TABLES].gpa | PTE_P;

			memcpy(to + 8 * i, &pdpte, 8);
		}
		memcpy(m->pdpte[k], to, 32);
	}
}

/* Of the vendors' names in CPUID 0, "cAMD" in ECX begins with a bit that "ntel" lacks. */
static bool is_amd(void)
{
	static const struct cpu_feature amd = {0, 0, 2, 0, "AMD"};

	return cpu_has(&amd) && !tcg_walks();
}

static void make_vcpu(struct model *m, u32 i)
{
	struct model_vcpu *v = &m->vcpu[i];
	struct kvm_sregs s;

	v->v = m->vm->vcpu[i];
	v->v->mmio = on_mmio;
	v->v->other_exit = model_ring_full;
	v->v->arg = m;
	v->history = oracle_history_new();
	op_clear(v->v);
	op_add(v->v, .kind = AGENT_WRITE_CR, .addr = 3, .value = m->root[0]);
	vcpu_exec(v->v);
	op_clear(v->v);
	s = vcpu_sregs(v->v);
	v->regs = (struct oracle_regs){
		.cr0 = s.cr0,
		.cr3 = s.cr3,
		.cr4 = s.cr4,
		.efer = s.efer,
		.maxphyaddr = cpu_maxphyaddr(),
		.amd = is_amd(),
		.no_gbpages = !cpu_has(&CPU_GBPAGES),
		.no_pse36 = !cpu_has(&CPU_PSE36),
	};
	memcpy(v->regs.pdpte, m->pdpte[0], sizeof(v->regs.pdpte));
}

/*
 * Past the entries that map slot 0; the last one is among them and, in 32-bit paging, some of the
 * second half, which a hypervisor shadows apart from the first.
 */
static void choose_indices(struct model *m)
{
	static const u32 wide[] = {1, 2, 3, 511}, narrow[] = {4, 5, 516, 1023};

	memcpy(m->index, m->m->id == PM_32 ? narrow : wide, sizeof(m->index));
}

static void clear_by_hand(struct vm *vm)
{
	vm_manual_dirty_protect(vm, false);
}

static void clear_by_hand_all(struct vm *vm)
{
	vm_manual_dirty_protect(vm, true);
}

void model_set_up(struct model *m)
{
	const struct program *p = m->p;
	char seed[16];
	u32 i;

	m->m = p->mode;
	m->kernel = engine()->kernel_memory;
	m->machine = engine()->machine;
	m->speculates = engine_param("seed", seed, sizeof(seed)) && strcmp(seed, "0");
	m->shadow = mmu_kind() == MMU_SHADOW;
	m->emulates = m->shadow || kvm_is_partial();
	m->rsvd_without_p = quirk_rsvd_without_p();
	m->rmw_reads_first = quirk_rmw_reads_first();
	m->invlpg_keeps_code = quirk_invlpg_keeps_code();
	choose_indices(m);
	m->width = m->m->long_mode ? 8 : 4;
	model_log_set_up(m);
	m->vm = vm_create(p->mode, .nr_vcpus = p->nr_vcpus, .mem_size = MEM_SIZE,
			  .mem_gpa = HOME_GPA, .backing = p->backing,
			  .run_ms = m->kernel	      ? 0
				    : m->o->impatient ? IMPATIENT_MS
						      : RUN_MS,
			  .early = m->log == LOG_MANUAL		 ? clear_by_hand
				   : m->log == LOG_INITIALLY_SET ? clear_by_hand_all
								 : NULL,
			  .dirty_ring_entries = m->log == LOG_RING ? RING_ENTRIES : 0);
	m->ro = slot_add(m->vm, 2, RO_GPA, PROGRAM_RO_FRAMES * SZ_4K, MEM_ANON,
			 m->machine ? 0 : KVM_MEM_READONLY);
	m->mem_gpa = HOME_GPA;
	m->slot_there = true;
	make_frames(m);
	make_roots(m);
	for (i = 0; i < p->nr_vcpus; i++)
		make_vcpu(m, i);
	m->current = &m->vcpu[0];
}
