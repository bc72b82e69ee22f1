// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's page-table library: finds and edits entries of the tables that
 * the processor is using at this moment. Tables lie in the low memory that
 * every address space of the harness maps gva == gpa, so a table's physical
 * address is also where its entries can be touched.
 */
#include "guest_code/runtime.h"

const struct paging_mode *pt_current_mode(void)
{
	unsigned long cr4;

	if (!(read_cr(0) & CR0_PG))
		return paging_mode(PM_NONE);
	cr4 = read_cr(4);
	if (!(cr4 & CR4_PAE))
		return paging_mode(PM_32);
#ifdef __x86_64__
	return paging_mode(cr4 & CR4_LA57 ? PM_LA57 : PM_LA48);
#else
	return paging_mode(PM_PAE);
#endif
}

u64 pte_load(unsigned long entry, u32 size)
{
	if (size == 4)
		return *(volatile u32 *)entry;
#ifdef __x86_64__
	return *(volatile u64 *)entry;
#else
	/* Whole, although two loads would do on an idle table: CMPXCHG8B with equal halves. */
	u32 lo = 0, hi = 0;

	asm volatile("lock cmpxchg8b %2"
		     : "+a"(lo), "+d"(hi), "+m"(*(u64 *)entry)
		     : "b"(0), "c"(0)
		     : "cc", "memory");
	return lo | (u64)hi << 32;
#endif
}

void pte_store(unsigned long entry, u32 size, u64 pte)
{
	if (size == 4) {
		*(volatile u32 *)entry = pte;
		return;
	}
#ifdef __x86_64__
	*(volatile u64 *)entry = pte;
#else
	u32 lo = ((volatile u32 *)entry)[0], hi = ((volatile u32 *)entry)[1];
	u8 done;

	do {
		asm volatile("lock cmpxchg8b %2; sete %3"
			     : "+a"(lo), "+d"(hi), "+m"(*(u64 *)entry), "=q"(done)
			     : "b"((u32)pte), "c"((u32)(pte >> 32))
			     : "cc", "memory");
	} while (!done);
#endif
}

unsigned long pt_entry(gva_t gva, int level)
{
	const struct paging_mode *m = pt_current_mode();
	u64 table = read_cr(3) & (m->id == PM_PAE ? ~0x1full : ~0xfffull);
	unsigned long entry;
	u64 pte;
	int l;

	if (level < 1 || level > m->levels)
		return 0;
	for (l = m->levels;; l--) {
		entry = table + level_index(m, gva, l) * m->pte_size;
		if (l == level)
			return entry;
		pte = pte_load(entry, m->pte_size);
		if (!(pte & PTE_P) || pte_is_leaf(m, pte, l))
			return 0;
		table = pte_addr(m, pte, l);
	}
}
