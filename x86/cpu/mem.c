// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory as instructions see it: segment:offset to linear address, linear address
 * to host memory by way of the TLB, and the stores of an instruction, which wait
 * until nothing of it can fail any more.
 */
#include <sched.h>
#include <string.h>

#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

static u64 load_host(const u8 *p, unsigned int size)
{
	u64 value = 0;

	/* An aligned access is one access to other processors; the rest may tear. */
	if (!((uintptr_t)p & (size - 1))) {
		switch (size) {
		case 1:
			return __atomic_load_n(p, __ATOMIC_ACQUIRE);
		case 2:
			return __atomic_load_n((const u16 *)p, __ATOMIC_ACQUIRE);
		case 4:
			return __atomic_load_n((const u32 *)p, __ATOMIC_ACQUIRE);
		case 8:
			return __atomic_load_n((const u64 *)p, __ATOMIC_ACQUIRE);
		}
	}
	for (unsigned int i = 0; i < size; i++)
		value |= (u64)__atomic_load_n(p + i, __ATOMIC_ACQUIRE) << (8 * i);
	return value;
}

static void store_host(u8 *p, unsigned int size, u64 value)
{
	if (!((uintptr_t)p & (size - 1))) {
		switch (size) {
		case 1:
			__atomic_store_n(p, value, __ATOMIC_RELEASE);
			return;
		case 2:
			__atomic_store_n((u16 *)p, value, __ATOMIC_RELEASE);
			return;
		case 4:
			__atomic_store_n((u32 *)p, value, __ATOMIC_RELEASE);
			return;
		case 8:
			__atomic_store_n((u64 *)p, value, __ATOMIC_RELEASE);
			return;
		}
	}
	for (unsigned int i = 0; i < size; i++)
		__atomic_store_n(p + i, value >> (8 * i), __ATOMIC_RELEASE);
}

void commit_stores(struct cpu *cpu)
{
	for (unsigned int i = 0; i < cpu->nr_stores; i++) {
		const struct cpu_store *s = &cpu->store[i];

		store_host(s->host, s->size, s->value);
		if (hits_code(cpu, s->host))
			cpu->stale = true;
	}
	cpu->nr_stores = 0;
}

static void queue_store(struct cpu *cpu, u8 *host, unsigned int size, u64 value)
{
	struct cpu_store *s;

	if (cpu->nr_stores == CPU_MAX_STORES)
		unimplemented(cpu);
	s = &cpu->store[cpu->nr_stores++];
	s->host = host;
	s->size = size;
	s->value = value;
}

/* An instruction reads what it has stored itself (ENTER, PUSH of its own frame). */
static u64 forward(struct cpu *cpu, const u8 *host, unsigned int size, u64 value)
{
	for (unsigned int i = 0; i < cpu->nr_stores; i++) {
		const struct cpu_store *s = &cpu->store[i];

		for (unsigned int b = 0; b < size; b++) {
			uintptr_t at = (uintptr_t)host + b - (uintptr_t)s->host;

			if (at >= s->size)
				continue;
			value &= ~(0xffull << (8 * b));
			value |= (s->value >> (8 * at) & 0xff) << (8 * b);
		}
	}
	return value;
}

void fail_access(struct cpu *cpu, const struct translation *t, gva_t gva, enum access_kind kind)
{
	cpu->exit.gva = gva;
	cpu->exit.gpa = t->gpa;
	cpu->exit.error = t->error;
	cpu->exit.access = kind;
	switch (t->outcome) {
	case WALK_PF:
		raise_pf(cpu, t->error, gva);
	case WALK_NPF:
		leave(cpu, EXIT_NPF);
	case WALK_EPT_VIOLATION:
		leave(cpu, EXIT_EPT_VIOLATION);
	case WALK_EPT_MISCONFIG:
		leave(cpu, EXIT_EPT_MISCONFIG);
	case WALK_PML_FULL:
		leave(cpu, EXIT_PML_FULL);
	default:
		leave(cpu, EXIT_BUS);
	}
}

u8 *lin_host(struct cpu *cpu, gva_t gva, enum access_kind kind)
{
	struct cpu_page *p = &cpu->pages[kind][gva / SZ_4K % CPU_PAGES];
	u64 offset = gva & (SZ_4K - 1), context = page_context(cpu);
	const u64 *generation = &tlb_generations(cpu->tlb)[gva / SZ_4K % CPU_PAGES];
	struct translation t;
	u8 *frame;

	if (__builtin_expect(p->page == gva / SZ_4K && p->generation == *generation &&
				     p->context == context,
			     1)) {
		return p->host + offset;
	}
	cpu->stale = true; /* the TLB may be about to drop something */
	cpu->mmu.ac = cpu->rflags & FLAG_AC;
	t = translate(cpu->tlb, cpu->phys, &cpu->mmu, cpu->nested, gva, kind);
	if (t.outcome != WALK_OK)
		fail_access(cpu, &t, gva, kind);
	frame = cpu->phys->frame(cpu->phys, t.hpa);
	if (!frame) {
		t.outcome = WALK_BUS;
		fail_access(cpu, &t, gva, kind);
	}
	*p = (struct cpu_page){
		.page = gva / SZ_4K,
		.generation = *generation,
		.context = context,
		.host = frame,
	};
	return frame + offset;
}

bool cpu_claim_page(struct cpu *cpu, gva_t gva)
{
	struct cpu_mmio *m = &cpu->mmio;

	if (m->nr_pages == ARRAY_LEN(m->page))
		return false;
	m->page[m->nr_pages++] = gva / SZ_4K;
	return true;
}

void cpu_answer_mmio(struct cpu *cpu, u64 value)
{
	cpu->mmio.answer[cpu->mmio.nr_answers++] = value;
}

static bool claimed(const struct cpu *cpu, gva_t gva)
{
	const struct cpu_mmio *m = &cpu->mmio;

	for (unsigned int i = 0; cpu->insn && i < m->nr_pages; i++)
		if (m->page[i] == gva / SZ_4K)
			return true;
	return false;
}

/*
 * An access to a claimed page: its answer, or the exit that asks for one. @kind: the rights it
 * takes, those of a write for the read of an instruction that writes back.
 */
static u64 mmio(struct cpu *cpu, gva_t gva, unsigned int size, enum access_kind kind, bool write,
		u64 value)
{
	struct cpu_mmio *m = &cpu->mmio;

	if (m->next < m->nr_answers)
		return m->answer[m->next++] & size_mask(size);
	if (m->nr_answers == CPU_MAX_MMIO)
		unimplemented(cpu);
	cpu->exit.gva = gva;
	cpu->exit.size = size;
	cpu->exit.write = write;
	cpu->exit.access = kind;
	cpu->exit.implicit = cpu->mmu.implicit;
	cpu->exit.value = value & size_mask(size);
	leave(cpu, EXIT_MMIO);
}

static unsigned int bytes_in_page(gva_t gva)
{
	return SZ_4K - (gva & (SZ_4K - 1));
}

/* Linear addresses outside 64-bit mode are 32 bits wide and wrap. */
static gva_t next_page(const struct cpu *cpu, gva_t gva, unsigned int by)
{
	gva += by;
	return in_64(cpu) ? gva : (u32)gva;
}

/* One part of an access, which lies in one page; of any size, but atomic only where that is 1, 2, 4 or 8. */
static u64 read_part(struct cpu *cpu, gva_t gva, unsigned int size, enum access_kind kind)
{
	u64 value = 0;

	if (__builtin_expect(cpu->mmio.nr_pages, 0) && claimed(cpu, gva))
		return mmio(cpu, gva, size, kind, false, 0);
	for (unsigned int i = 0; i < size; i++) {
		u8 *host = lin_host(cpu, gva + i, kind);

		value |= forward(cpu, host, 1, load_host(host, 1)) << (8 * i);
	}
	return value;
}

static void write_part(struct cpu *cpu, gva_t gva, unsigned int size, u64 value)
{
	for (unsigned int i = 0; i < size; i++)
		queue_store(cpu, lin_host(cpu, gva + i, ACCESS_WRITE), 1, value >> (8 * i));
}

u64 lin_read(struct cpu *cpu, gva_t gva, unsigned int size, enum access_kind kind)
{
	unsigned int first = bytes_in_page(gva);
	u64 value;
	u8 *host;

	if (first >= size) {
		if (__builtin_expect(cpu->mmio.nr_pages, 0) && claimed(cpu, gva))
			return mmio(cpu, gva, size, kind, false, 0);
		host = lin_host(cpu, gva, kind);
		value = load_host(host, size);
		return cpu->nr_stores ? forward(cpu, host, size, value) : value;
	}
	/* In two pages: each for itself. */
	value = read_part(cpu, gva, first, kind);
	return value | read_part(cpu, next_page(cpu, gva, first), size - first, kind)
			       << (8 * first);
}

/* A write in two pages: memory first, since it may fault, which a device doesn't. */
static void write_across(struct cpu *cpu, gva_t gva, unsigned int size, u64 value)
{
	unsigned int first = bytes_in_page(gva);
	gva_t next = next_page(cpu, gva, first);
	bool claims[2] = {claimed(cpu, gva), claimed(cpu, next)};

	if (!claims[0])
		write_part(cpu, gva, first, value);
	if (!claims[1])
		write_part(cpu, next, size - first, value >> (8 * first));
	if (claims[0])
		mmio(cpu, gva, first, ACCESS_WRITE, true, value);
	if (claims[1])
		mmio(cpu, next, size - first, ACCESS_WRITE, true, value >> (8 * first));
}

void lin_write(struct cpu *cpu, gva_t gva, unsigned int size, u64 value)
{
	if (bytes_in_page(gva) < size)
		write_across(cpu, gva, size, value);
	else if (__builtin_expect(cpu->mmio.nr_pages, 0) && claimed(cpu, gva))
		mmio(cpu, gva, size, ACCESS_WRITE, true, value);
	else
		queue_store(cpu, lin_host(cpu, gva, ACCESS_WRITE), size, value);
}

u64 sys_read(struct cpu *cpu, gva_t gva, unsigned int size)
{
	u8 ring = cpu->mmu.cpl;
	u64 value;

	/* A fault restores CPL, and cpu_run() clears implicit. */
	cpu->mmu.cpl = 0;
	cpu->mmu.implicit = true;
	value = lin_read(cpu, gva, size, ACCESS_READ);
	cpu->mmu.implicit = false;
	cpu->mmu.cpl = ring;
	return value;
}

void sys_write(struct cpu *cpu, gva_t gva, unsigned int size, u64 value)
{
	u8 ring = cpu->mmu.cpl;

	cpu->mmu.cpl = 0;
	cpu->mmu.implicit = true;
	lin_write(cpu, gva, size, value);
	cpu->mmu.implicit = false;
	cpu->mmu.cpl = ring;
}

static void segment_fault(struct cpu *cpu, unsigned int seg)
{
	raise_fault(cpu, seg == SEG_SS ? SS_VECTOR : GP_VECTOR, 0);
}

static void check_segment(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size,
			  enum access_kind kind)
{
	const struct cpu_segment *s = &cpu->seg[seg];
	u64 last = offset + size - 1, max = s->attr & SEG_DB ? 0xffffffff : 0xffff;

	if (protected_mode(cpu)) {
		if (!(s->attr & SEG_P))
			segment_fault(cpu, seg);
		if (kind == ACCESS_WRITE && ((s->attr & SEG_CODE) || !(s->attr & SEG_TYPE_W)))
			segment_fault(cpu, seg);
		if (kind == ACCESS_READ && (s->attr & SEG_CODE) && !(s->attr & SEG_TYPE_W))
			segment_fault(cpu, seg);
		if (!(s->attr & SEG_CODE) && (s->attr & SEG_TYPE_E)) {
			if (offset <= s->limit || last > max)
				segment_fault(cpu, seg);
			return;
		}
	}
	if (last > s->limit)
		segment_fault(cpu, seg);
}

gva_t linear(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size,
	     enum access_kind kind)
{
	gva_t gva;

	if (in_64(cpu)) {
		gva = seg >= SEG_FS ? cpu->seg[seg].base + offset : offset;
		if (!canonical(cpu, gva) || !canonical(cpu, gva + size - 1))
			segment_fault(cpu, seg);
	} else {
		check_segment(cpu, seg, offset, size, kind);
		gva = (u32)(cpu->seg[seg].base + offset);
	}
	if (__builtin_expect(cpl(cpu) == 3 && (cpu->rflags & FLAG_AC) && (gva & (size - 1)) &&
				     (cpu->mmu.cr0 & CR0_AM),
			     0))
		raise_fault(cpu, AC_VECTOR, 0);
	return gva;
}

u64 mem_read(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size)
{
	return lin_read(cpu, linear(cpu, seg, offset, size, ACCESS_READ), size, ACCESS_READ);
}

void mem_write(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size, u64 value)
{
	lin_write(cpu, linear(cpu, seg, offset, size, ACCESS_WRITE), size, value);
}

static int split_busy;

void split_lock(void)
{
	while (__atomic_exchange_n(&split_busy, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

void split_unlock(void)
{
	__atomic_store_n(&split_busy, 0, __ATOMIC_RELEASE);
}

static u64 change_atomic(struct cpu *cpu, void *host, unsigned int size, change_fn change, u64 src,
			 unsigned int arg)
{
	u64 old = load_host(host, size), flags = cpu->rflags, new;
	bool done;

	do {
		cpu->rflags = flags;
		new = change(cpu, old, src, size, arg);
		switch (size) {
		case 1: {
			u8 seen = old;

			done = __atomic_compare_exchange_n((u8 *)host, &seen, new, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
			old = seen;
			break;
		}
		case 2: {
			u16 seen = old;

			done = __atomic_compare_exchange_n((u16 *)host, &seen, new, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
			old = seen;
			break;
		}
		case 4: {
			u32 seen = old;

			done = __atomic_compare_exchange_n((u32 *)host, &seen, new, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
			old = seen;
			break;
		}
		default:
			done = __atomic_compare_exchange_n((u64 *)host, &old, new, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		}
	} while (!done);
	return old;
}

/* Operand in two pages, or locked and not aligned: byte by byte. */
static u64 change_bytes(struct cpu *cpu, const struct insn *insn, gva_t gva, change_fn change,
			u64 src, unsigned int arg)
{
	unsigned int size = insn->op[0].size, first = bytes_in_page(gva);
	u8 *at[8];
	u64 old = 0, new;

	/* All that can fault comes before the lock. CR2 is the first byte of a page. */
	at[0] = lin_host(cpu, gva, ACCESS_WRITE);
	for (unsigned int i = 1; i < size; i++)
		at[i] = i == first ? lin_host(cpu, next_page(cpu, gva, i), ACCESS_WRITE)
				   : at[i - 1] + 1;
	if (insn->lock)
		split_lock();
	for (unsigned int i = 0; i < size; i++)
		old |= load_host(at[i], 1) << (8 * i);
	new = change(cpu, old, src, size, arg);
	for (unsigned int i = 0; i < size; i++)
		queue_store(cpu, at[i], 1, new >> (8 * i));
	if (insn->lock) {
		commit_stores(cpu);
		split_unlock();
	}
	return old;
}

u64 op_change(struct cpu *cpu, const struct insn *insn, change_fn change, u64 src, unsigned int arg)
{
	const struct operand *op = &insn->op[0];
	unsigned int size = op->size;
	u64 old;
	gva_t gva;
	u8 *host;

	if (op->kind != OPND_MEM) {
		old = op_read(cpu, insn, 0);
		op_write(cpu, insn, 0, change(cpu, old, src, size, arg));
		return old;
	}
	/*
	 * A read-modify-write is translated for writing alone, so that a fault says
	 * so; what is readable follows from writable.
	 */
	gva = linear(cpu, op->seg, effective(cpu, insn, op), size, ACCESS_WRITE);
	if (claimed(cpu, gva) || claimed(cpu, next_page(cpu, gva, size - 1))) {
		old = lin_read(cpu, gva, size, ACCESS_WRITE);
		lin_write(cpu, gva, size, change(cpu, old, src, size, arg));
		return old;
	}
	if (bytes_in_page(gva) < size || (insn->lock && (gva & (size - 1))))
		return change_bytes(cpu, insn, gva, change, src, arg);
	host = lin_host(cpu, gva, ACCESS_WRITE);
	if (insn->lock)
		return change_atomic(cpu, host, size, change, src, arg);
	old = load_host(host, size);
	queue_store(cpu, host, size, change(cpu, old, src, size, arg));
	return old;
}
