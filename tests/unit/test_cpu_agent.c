// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU end to end, without a hypervisor: the guest agent runs on it
 * bare, in each paging mode, on page tables that the test has written. Batches of
 * operations go in, values and faults come out, through exception delivery, IRET to
 * ring 3 and the way back. Under NPT and EPT nothing is mapped until the guest touches
 * it, and all is unmapped again before each operation.
 */
#include <string.h>

#include "guest_code/agent_abi.h"
#include "image.h"
#include "test.h"
#include "x86/cpu/cpu.h"

#define MEM_SIZE  (16 * MiB)
#define NESTED	  (16 * MiB) /* nested tables, which the guest does not see */
#define TABLES	  (8 * MiB)
#define PAGE	  (12 * MiB) /* mapped at GVA, too */
#define GVA	  0x40000000ull
#define STACKSIZE 16384

struct machine {
	struct phys_arena arena;
	struct cpu cpu;
	const struct paging_mode *mode;
	const struct image *image;
	struct agent_mailbox *mailbox;
	u64 next_table;
	struct nested nested;
	u64 next_nested, nested_faults;
};

static u64 read_entry(struct machine *m, u64 at)
{
	u64 entry = 0;

	memcpy(&entry, m->arena.base + at, m->mode->pte_size);
	return entry;
}

/* Physical address of the entry for @gva at @level; tables are made on the way. */
static u64 entry_at(struct machine *m, gva_t gva, int level)
{
	u64 table = TABLES;

	for (int l = m->mode->levels; l > level; l--) {
		u64 at = table + level_index(m->mode, gva, l) * m->mode->pte_size, entry;

		entry = read_entry(m, at);
		if (!entry) {
			entry = m->next_table | PTE_P;
			if (m->mode->id != PM_PAE || l != 3)
				entry |= PTE_W | PTE_U;
			m->next_table += SZ_4K;
			memcpy(m->arena.base + at, &entry, m->mode->pte_size);
		}
		table = entry & ~0xfffull;
	}
	return table + level_index(m->mode, gva, level) * m->mode->pte_size;
}

static void map(struct machine *m, gva_t gva, u64 pa, u64 bits)
{
	u64 entry = pa | bits | PTE_P;

	memcpy(m->arena.base + entry_at(m, gva, 1), &entry, m->mode->pte_size);
}

static const char *const below[] = {"bare", "npt", "ept", NULL};

static void unmap_nested(struct machine *m)
{
	memset(m->arena.base + NESTED, 0, m->next_nested - NESTED);
	m->next_nested = NESTED + SZ_4K;
	tlb_flush_all(m->cpu.tlb);
}

/* Maps the page of @gpa to itself. P, W, U of NPT and R, W, X of EPT are the same bits. */
static void map_nested(struct machine *m, gpa_t gpa)
{
	const struct paging_mode *la48 = paging_mode(PM_LA48);
	u64 table = NESTED, *entry;

	for (int level = 4; level > 1; level--) {
		entry = (u64 *)(m->arena.base + table) + level_index(la48, gpa, level);
		if (!*entry) {
			*entry = m->next_nested | 7;
			m->next_nested += SZ_4K;
		}
		table = *entry & ~0xfffull;
	}
	entry = (u64 *)(m->arena.base + table) + level_index(la48, gpa, 1);
	*entry = (gpa & ~0xfffull) | 7 | (m->nested.kind == NESTED_EPT ? 6 << 3 : 0); /* WB */
	m->nested_faults++;
}

static struct cpu_segment flat(u16 sel, bool code, bool is_64)
{
	return (struct cpu_segment){
		.sel = sel,
		.attr = SEG_P | SEG_S | SEG_G | (code ? 0xb : 3) | (code && is_64 ? SEG_L : SEG_DB),
		.limit = 0xffffffff,
	};
}

static void machine_stop(void *arg)
{
	struct machine *m = arg;

	cpu_fini(&m->cpu);
	tlb_free(m->cpu.tlb);
	phys_arena_free(&m->arena);
}

static struct machine *machine_start(struct test *t)
{
	static struct machine machine;
	struct machine *m = &machine;
	u64 entry = 0, user_start = 0, user_end = 0, stacks = 0, mailboxes = 0, pa;
	bool is_64 = t->mode->long_mode;
	struct cpu *cpu = &m->cpu;
	const char *error;

	m->mode = t->mode;
	m->image = is_64 ? &agent_image64 : &agent_image32;
	ASSERT(phys_arena_init(&m->arena, MEM_SIZE + 4 * MiB));
	error = image_load(m->image, is_64 ? 64 : 32, m->arena.base, TABLES, &entry);
	if (error)
		test_error("%s", error);
	ASSERT(image_symbol(m->image, "user_start", &user_start));
	ASSERT(image_symbol(m->image, "user_end", &user_end));
	ASSERT(image_symbol(m->image, "cpu_stacks", &stacks));
	ASSERT(image_symbol(m->image, "mailboxes", &mailboxes));
	m->mailbox = (struct agent_mailbox *)(m->arena.base + mailboxes);

	m->next_table = TABLES + SZ_4K;
	for (pa = 0; m->mode->levels && pa < MEM_SIZE; pa += SZ_4K)
		map(m, pa, pa, PTE_W | (pa >= user_start && pa < user_end ? PTE_U : 0));
	if (m->mode->levels)
		map(m, GVA, PAGE, PTE_W | PTE_U);

	ASSERT(cpu_init(cpu));
	cpu->phys = &m->arena.phys;
	cpu->tlb = tlb_new();
	test_cleanup(machine_stop, m);
	for (unsigned int i = SEG_ES; i <= SEG_GS; i++)
		cpu->seg[i] = flat(i == SEG_CS ? 0x08 : 0x10, i == SEG_CS, is_64);
	cpu->rip = entry;
	cpu->gpr[GPR_RSP] = stacks + STACKSIZE;
	cpu->rflags = RFLAGS_FIXED;
	if (is_64)
		cpu->mmu.efer = EFER_LME;
	if (m->mode->pte_size == 8)
		cpu->mmu.efer |= EFER_NX;
	cpu->mmu.cr4 = m->mode->id == PM_32 ? CR4_PSE : m->mode->levels ? CR4_PAE : 0;
	if (m->mode->id == PM_LA57)
		cpu->mmu.cr4 |= CR4_LA57;
	cpu->mmu.cr3 = TABLES;
	/* Through the front door: CR0 loads PDPTEs and sets LMA, which wants 32-bit code. */
	cpu->seg[SEG_CS] = flat(0x08, true, false);
	cpu->mmu.cr0 = CR0_PE | CR0_ET;
	cpu_sync(cpu);
	ASSERT(cpu_write_cr(cpu, 0,
			    CR0_PE | CR0_ET | CR0_NE | CR0_WP | (m->mode->levels ? CR0_PG : 0)));
	cpu->seg[SEG_CS] = flat(0x08, true, is_64);
	cpu_sync(cpu);
	m->next_nested = NESTED + SZ_4K;
	m->nested = (struct nested){
		.kind = t->variant_idx, .root = NESTED, .levels = 4, .maxphyaddr = 40, .nx = true};
	if (t->variant_idx)
		cpu->nested = &m->nested;
	tlb_flush_all(cpu->tlb);
	return m;
}

/* Runs until the batch is done; answers the agent's other ports and the exits of CPUID. */
static void run(struct machine *m)
{
	enum cpu_exit exit;
	char where[80];

	for (;;) {
		exit = cpu_run(&m->cpu, 10000000);
		if (exit == EXIT_NPF || exit == EXIT_EPT_VIOLATION) {
			struct cpu_event e = m->cpu.exit.delivering;

			ASSERT_LT(m->cpu.exit.gpa, MEM_SIZE);
			map_nested(m, m->cpu.exit.gpa);
			if (e.type != EVENT_NONE)
				cpu_inject(&m->cpu, &e);
			continue;
		}
		if (exit == EXIT_IO && !m->cpu.exit.in) {
			cpu_answer_io(&m->cpu, 0);
			if (m->cpu.exit.port == PORT_DONE)
				return;
			if (m->cpu.exit.port == PORT_SYNC)
				continue;
		}
		image_symbolise(m->image, m->cpu.rip, where, sizeof(where));
		test_fail("exit: %s (%s), port %#x, vector %d at %s; panic %lu error %#lx cr2 %#lx "
			  "rip %#lx",
			  cpu_exit_name(exit), m->cpu.exit.mnemonic ? m->cpu.exit.mnemonic : "-",
			  m->cpu.exit.port, m->cpu.exit.event.vector, where,
			  m->mailbox->panic.vector, m->mailbox->panic.error, m->mailbox->panic.cr2,
			  m->mailbox->panic.rip);
	}
}

static struct agent_result do_op(struct machine *m, struct agent_op op)
{
	m->mailbox->ops[0] = op;
	memset(&m->mailbox->results[0], 0, sizeof(m->mailbox->results[0]));
	m->mailbox->nr_ops = 1;
	m->mailbox->nr_done = 0;
	if (m->cpu.nested)
		unmap_nested(m);
	run(m);
	EXPECT_EQ(m->mailbox->nr_done, 1);
	return m->mailbox->results[0];
}

#define OP(...) do_op(m, (struct agent_op){__VA_ARGS__})

static void expect_value(struct agent_result r, u64 value, const char *what)
{
	EXPECT(r.status == AGENT_OK && r.value == value,
	       "%s: status %u, value %#lx (wanted %#lx), vector %u, error %#lx, cr2 %#lx", what,
	       r.status, r.value, value, r.vector, r.error, r.cr2);
}

/* For operations in ring 3 that leave nothing of use in RAX. */
static void expect_ok(struct agent_result r, const char *what)
{
	EXPECT(r.status == AGENT_OK, "%s: status %u, vector %u, error %#lx, cr2 %#lx", what,
	       r.status, r.vector, r.error, r.cr2);
}

static void expect_fault(struct agent_result r, u32 vector, u64 error, u64 cr2, const char *what)
{
	EXPECT(r.status == AGENT_FAULT && r.vector == vector && r.error == error && r.cr2 == cr2,
	       "%s: status %u, value %#lx, vector %u, error %#lx, cr2 %#lx (wanted %u, %#lx, %#lx)",
	       what, r.status, r.value, r.vector, r.error, r.cr2, vector, error, cr2);
}

TEST(boots, .variants = below, .what = "the agent comes up and answers an empty batch",
     .modes = MODES_ALL)
{
	struct machine *m = machine_start(t);

	run(m);
	EXPECT_EQ(m->mailbox->magic, AGENT_MAGIC);
	EXPECT_EQ(m->mailbox->cpu, 0);
	expect_value(OP(.kind = AGENT_NOP), 0, "a NOP");
	EXPECT_LT(m->cpu.insns, 10000);
	if (m->cpu.nested)
		EXPECT_LT(10, m->nested_faults);
}

TEST(accesses, .variants = below,
     .what = "reads, writes, locked operations and calls from ring 0 and ring 3",
     .modes = MODES_PAGED)
{
	struct machine *m = machine_start(t);
	static const u8 code[] = {0xb8, 0x78, 0x56,
				  0x34, 0x12, 0xc3}; /* mov $0x12345678, %eax; ret */
	u64 *page = (u64 *)(m->arena.base + PAGE);

	run(m);
	for (u16 user = 0; user <= AGENT_USER; user += AGENT_USER) {
		page[0] = 0x1122334455667788;
		expect_value(OP(.kind = AGENT_READ, .flags = user, .addr = GVA, .size = 1), 0x88,
			     "byte");
		expect_value(OP(.kind = AGENT_READ, .flags = user, .addr = GVA + 2, .size = 2),
			     0x5566, "word");
		expect_value(OP(.kind = AGENT_READ, .flags = user, .addr = GVA, .size = 4),
			     0x55667788, "doubleword");
		expect_ok(OP(.kind = AGENT_OR, .flags = user, .addr = GVA, .value = 0x77), "OR");
		EXPECT_EQ(page[0], 0x11223344556677ff);
		page[0] = 5;
		expect_value(OP(.kind = AGENT_XADD, .flags = user, .addr = GVA, .value = 7), 5,
			     "XADD");
		EXPECT_EQ(page[0], 12);
		expect_value(OP(.kind = AGENT_CMPXCHG, .flags = user, .addr = GVA, .value = 12,
				.arg = 99),
			     12, "CMPXCHG");
		EXPECT_EQ(page[0], 99);
		expect_ok(OP(.kind = AGENT_WRITE, .flags = user, .addr = GVA + 4092, .size = 4,
			     .value = 0xabcd),
			  "the last doubleword");
		EXPECT_EQ(page[511] >> 32, 0xabcd);
		page[511] = 0;
		memcpy(page + 8, code, sizeof(code));
		expect_value(OP(.kind = AGENT_EXEC, .flags = user, .addr = GVA + 64), 0x12345678,
			     "a call");
	}
	expect_value(OP(.kind = AGENT_READ_CR, .addr = 3), TABLES, "CR3");
}

TEST(faults, .variants = below,
     .what = "page faults: error codes, CR2 and the instruction's atomicity", .modes = MODES_PAGED)
{
	struct machine *m = machine_start(t);
	gva_t hole = GVA + 0x5000;
	u64 nx = t->mode->pte_size == 8 ? PFERR_F : 0;
	u32 size = t->mode->long_mode ? 8 : 4;

	run(m);
	expect_fault(OP(.kind = AGENT_READ, .addr = hole), PF_VECTOR, 0, hole, "read");
	expect_fault(OP(.kind = AGENT_WRITE, .addr = hole), PF_VECTOR, PFERR_W, hole, "write");
	expect_fault(OP(.kind = AGENT_XADD, .addr = hole), PF_VECTOR, PFERR_W, hole, "locked");
	expect_fault(OP(.kind = AGENT_EXEC, .addr = hole), PF_VECTOR, nx, hole, "fetch");
	expect_fault(OP(.kind = AGENT_READ, .flags = AGENT_USER, .addr = hole), PF_VECTOR, PFERR_U,
		     hole, "read by ring 3");
	expect_fault(OP(.kind = AGENT_WRITE, .flags = AGENT_USER, .addr = 0x100000), PF_VECTOR,
		     PFERR_P | PFERR_W | PFERR_U, 0x100000, "write by ring 3 to ring 0's");
	expect_fault(OP(.kind = AGENT_EXEC, .flags = AGENT_USER, .addr = 0x100000), PF_VECTOR,
		     PFERR_P | PFERR_U | nx, 0x100000, "fetch by ring 3 of ring 0's");

	/* An access to the last bytes of the page and the hole behind it writes neither. */
	memset(m->arena.base + PAGE + 4092, 0x5a, 4);
	expect_fault(OP(.kind = AGENT_WRITE, .addr = GVA + 4096 - size / 2, .value = -1ull),
		     PF_VECTOR, PFERR_W, GVA + 4096, "write across");
	EXPECT_EQ(*(u32 *)(m->arena.base + PAGE + 4092), 0x5a5a5a5a);
	expect_fault(OP(.kind = AGENT_XADD, .addr = GVA + 4096 - size / 2, .value = -1ull),
		     PF_VECTOR, PFERR_W, GVA + 4096, "locked write across");
	EXPECT_EQ(*(u32 *)(m->arena.base + PAGE + 4092), 0x5a5a5a5a);

	/* The handler repairs the entry, IRET retries. */
	m->mailbox->ops[0] = (struct agent_op){.kind = AGENT_ARM_FIXUP,
					       .addr = entry_at(m, hole, 1),
					       .value = PAGE | PTE_P | PTE_W | PTE_U};
	m->mailbox->ops[1] = (struct agent_op){.kind = AGENT_READ, .addr = hole, .size = 4};
	*(u32 *)(m->arena.base + PAGE) = 0xfeed;
	m->mailbox->nr_ops = 2;
	run(m);
	expect_value(m->mailbox->results[1], 0xfeed, "a read that was repaired");
}

TEST(system, .variants = below, .what = "system instructions in ring 0 and their refusal in ring 3",
     .modes = MODES_PAGED)
{
	struct machine *m = machine_start(t);
	u64 pte = entry_at(m, GVA, 1);
	bool below_it = m->cpu.nested;

	run(m);
	expect_value(OP(.kind = AGENT_READ, .addr = GVA, .size = 1), 0, "first");
	/* The TLB keeps the old translation until INVLPG; unmapping below has flushed it. */
	OP(.kind = AGENT_SET_PTE, .addr = pte, .value = (PAGE + SZ_4K) | PTE_P | PTE_W | PTE_U);
	m->arena.base[PAGE + SZ_4K] = 0x33;
	expect_value(OP(.kind = AGENT_READ, .addr = GVA, .size = 1), below_it ? 0x33 : 0,
		     "old translation");
	expect_value(OP(.kind = AGENT_INVLPG, .addr = GVA), 0, "INVLPG");
	expect_value(OP(.kind = AGENT_READ, .addr = GVA, .size = 1), 0x33, "new translation");
	OP(.kind = AGENT_SET_PTE, .addr = pte, .value = PAGE | PTE_P | PTE_W | PTE_U);
	expect_value(OP(.kind = AGENT_READ, .addr = GVA, .size = 1), below_it ? 0 : 0x33,
		     "kept again");
	expect_value(OP(.kind = AGENT_WRITE_CR, .addr = 3, .value = TABLES), 0, "CR3");
	expect_value(OP(.kind = AGENT_READ, .addr = GVA, .size = 1), 0, "after CR3");
	expect_value(OP(.kind = AGENT_INVPCID, .arg = INVPCID_ALL), 0, "INVPCID");

	expect_fault(OP(.kind = AGENT_WRITE_CR, .addr = 4, .value = ~0ull), GP_VECTOR, 0, 0,
		     "reserved bits of CR4");
	expect_value(OP(.kind = AGENT_RDMSR, .addr = MSR_EFER), m->cpu.mmu.efer, "EFER");
	expect_fault(OP(.kind = AGENT_WRMSR, .addr = MSR_EFER, .value = BIT(1)), GP_VECTOR, 0, 0,
		     "reserved bits of EFER");
	expect_fault(OP(.kind = AGENT_RDPKRU), UD_VECTOR, 0, 0, "RDPKRU without CR4.PKE");
	expect_value(OP(.kind = AGENT_WRITE_CR, .addr = 4, .value = m->cpu.mmu.cr4 | CR4_PGE), 0,
		     "CR4");
	expect_value(OP(.kind = AGENT_WBINVD), 0, "WBINVD");
	expect_value(OP(.kind = AGENT_LOAD_FS, .value = 0x23), 0, "FS");
	expect_fault(OP(.kind = AGENT_LOAD_FS, .value = 0x7000), GP_VECTOR, 0x7000, 0,
		     "FS beyond the table");
	expect_ok(OP(.kind = AGENT_LOAD_FS, .flags = AGENT_USER, .value = 0x23), "FS by ring 3");
	expect_value(OP(.kind = AGENT_SYNC, .value = 1), 0, "a port");
}
