// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU's parameters by name: one table says what each is, how its text is read and how it is shown.
 */
#include "x86/mmu/params.h"

enum kind {
	KIND_BOOL,
	KIND_UINT,
	KIND_NX_HUGE,
};

struct param {
	const char *name, *what;
	enum kind kind;
	unsigned int min, max; /* KIND_UINT */
	size_t offset;
};

#define PARAM(name_, field, kind_, min_, max_, what_)                               \
	{                                                                           \
		name_, what_, kind_, min_, max_, offsetof(struct mmu_params, field) \
	}
#define PARAM_BOOL(field, what)		  PARAM(#field, field, KIND_BOOL, 0, 1, what)
#define PARAM_UINT(field, min, max, what) PARAM(#field, field, KIND_UINT, min, max, what)

static const struct param params[] = {
	PARAM_BOOL(npt, "an AMD processor; 1: with nested paging, 0: shadow paging"),
	PARAM_BOOL(ept, "1: an Intel processor with EPT; 0: shadow paging"),
	PARAM_BOOL(tdp, "two-dimensional paging at all"),
	PARAM_BOOL(tdp_mmu, "the TDP MMU for it; 0: direct maps of the shadow MMU"),
	PARAM_BOOL(ad_bits, "accessed and dirty bits of the tables' format; 0: access tracking"),
	PARAM("eptad", ad_bits, KIND_BOOL, 0, 1, "the same as ad_bits"),
	PARAM_BOOL(pml,
		   "dirty logging by the page-modification log, with EPT and its A and D bits"),
	PARAM_BOOL(eager_page_split, "huge pages are split when dirty logging starts"),
	PARAM_BOOL(mmio_caching, "SPTEs remember that a frame is MMIO"),
	PARAM_BOOL(flush_on_reuse, "roots that are used again are always synchronised and flushed"),
	PARAM("force_flush_and_sync_on_reuse", flush_on_reuse, KIND_BOOL, 0, 1,
	      "the same as flush_on_reuse"),
	PARAM_BOOL(zap_all_on_slot, "deleting a slot zaps all pages one by one, not by generation"),
	PARAM("nx_huge_pages", nx_huge_pages, KIND_NX_HUGE, 0, 0,
	      "no executable huge pages: off, auto (here: off) or force"),
	PARAM_UINT(nx_huge_pages_recovery_ratio, 0, ~0u,
		   "1/ratio of the pages that were split for it are zapped a period; 0: none"),
	PARAM_UINT(nx_huge_pages_recovery_period_ms, 0, ~0u,
		   "that period; 0: an hour divided by the ratio"),
	PARAM_UINT(maxphyaddr, 36, 52, "bits of guests' physical addresses"),
	PARAM_UINT(max_huge_level, 1, 3, "largest page: 1: 4 KiB, 2: 2 MiB, 3: 1 GiB"),
	PARAM_UINT(
		check, 0, 3,
		"audit the MMU and TLBs: 1: when due (tests do); 2: after every exit; 3: strictly"),
	PARAM_UINT(seed, 0, ~0u, "the processor's TLB evicts and prefetches by this; 0: never"),
	PARAM_UINT(interleave, 0, ~0u,
		   "vCPUs' threads take turns in an order of this seed; 0: free"),
	PARAM_UINT(interleave_slice, 0, 11,
		   "with it a guest's turn has up to 2^this instructions at the least"),
};

static const char *const nx_huge_names[] = {
	[NX_HUGE_OFF] = "off",
	[NX_HUGE_AUTO] = "auto",
	[NX_HUGE_FORCE] = "force",
};

struct mmu_params mmu_params_default(void)
{
	return (struct mmu_params){
		.npt = true,
		.tdp = true,
		.tdp_mmu = true,
		.ad_bits = true,
		.pml = true,
		.eager_page_split = true,
		.mmio_caching = true,
		.nx_huge_pages = NX_HUGE_AUTO,
		.nx_huge_pages_recovery_ratio = 60,
		.maxphyaddr = 48,
		.max_huge_level = 3,
	};
}

static bool same(const char *a, size_t len, const char *b)
{
	size_t i;

	for (i = 0; i < len && b[i]; i++) {
		if (a[i] != b[i])
			return false;
	}
	return i == len && !b[i];
}

static bool text_is(const char *a, const char *b)
{
	return same(a, __builtin_strlen(a), b);
}

static const struct param *find(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		if (same(name, len, params[i].name))
			return &params[i];
	}
	return NULL;
}

static bool *bool_of(struct mmu_params *p, const struct param *param)
{
	return (bool *)((char *)p + param->offset);
}

static unsigned int *uint_of(struct mmu_params *p, const struct param *param)
{
	return (unsigned int *)((char *)p + param->offset);
}

static bool parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = {"1", "Y", "y", "on"}, *const no[] = {"0", "N", "n",
									       "off"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (text_is(text, yes[i]) || text_is(text, no[i])) {
			*value = text_is(text, yes[i]);
			return true;
		}
	}
	return false;
}

static bool parse_uint(const char *text, unsigned int *value)
{
	u64 v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (u64)(*text - '0');
		if (v > ~0u)
			return false;
	}
	*value = (unsigned int)v;
	return true;
}

static const char *set_nx_huge(struct mmu_params *p, const char *value)
{
	bool on;

	for (unsigned int i = 0; i < ARRAY_LEN(nx_huge_names); i++) {
		if (text_is(value, nx_huge_names[i])) {
			p->nx_huge_pages = i;
			return NULL;
		}
	}
	if (!parse_bool(value, &on))
		return "is none of off, auto, force";
	p->nx_huge_pages = on ? NX_HUGE_FORCE : NX_HUGE_OFF;
	return NULL;
}

const char *mmu_param_set(struct mmu_params *p, const char *name, size_t len, const char *value)
{
	const struct param *param = find(name, len);
	unsigned int number;
	bool on;

	if (!param)
		return "there is no such parameter";
	switch (param->kind) {
	case KIND_BOOL:
		if (!parse_bool(value, &on))
			return "is neither 1 (Y) nor 0 (N)";
		*bool_of(p, param) = on;
		/* A processor is of one vendor. */
		if (param->offset == offsetof(struct mmu_params, npt))
			p->ept = false;
		else if (param->offset == offsetof(struct mmu_params, ept))
			p->npt = false;
		return NULL;
	case KIND_UINT:
		if (!parse_uint(value, &number))
			return "is not a number";
		if (number < param->min || number > param->max)
			return "is out of range";
		*uint_of(p, param) = number;
		return NULL;
	case KIND_NX_HUGE:
		break;
	}
	return set_nx_huge(p, value);
}

/*
 * What is in effect: the kernel, too, clears parameters that the processor has nothing for. Without a spare address
 * bit there is no entry of the common format that the hardware refuses, hence no caching of MMIO.
 */
static bool bool_shown(const struct mmu_params *p, const struct param *param)
{
	bool on = *bool_of((struct mmu_params *)p, param);

	if (param->offset == offsetof(struct mmu_params, mmio_caching))
		return on && (p->maxphyaddr < 52 || (p->ept && p->tdp));
	if (param->offset == offsetof(struct mmu_params, pml))
		return mmu_params_pml(p);
	if (param->offset == offsetof(struct mmu_params, tdp_mmu))
		return on && mmu_params_tdp(p);
	if (param->offset == offsetof(struct mmu_params, npt) ||
	    param->offset == offsetof(struct mmu_params, ept))
		return on && p->tdp;
	return on;
}

bool mmu_param_get(const struct mmu_params *p, const char *name, char *value, size_t size)
{
	const struct param *param = find(name, __builtin_strlen(name));
	char text[16];
	const char *shown = text;
	unsigned int number;
	size_t n = sizeof(text) - 1;

	if (!param)
		return false;
	text[n] = '\0';
	switch (param->kind) {
	case KIND_BOOL:
		shown = bool_shown(p, param) ? "Y" : "N";
		break;
	case KIND_UINT:
		number = *uint_of((struct mmu_params *)p, param);
		do {
			text[--n] = (char)('0' + number % 10);
			number /= 10;
		} while (number);
		shown = &text[n];
		break;
	case KIND_NX_HUGE:
		/* sysfs shows what auto came to. */
		shown = p->nx_huge_pages == NX_HUGE_FORCE ? "Y" : "N";
		break;
	}
	for (n = 0; n + 1 < size && shown[n]; n++)
		value[n] = shown[n];
	if (size)
		value[n] = '\0';
	return true;
}

const struct mmu_param_doc *mmu_param_docs(void)
{
	/* Written once with the same content by whoever comes first. */
	static struct mmu_param_doc docs[ARRAY_LEN(params) + 1];
	static int ready;

	if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
		for (size_t i = 0; i < ARRAY_LEN(params); i++) {
			__atomic_store_n(&docs[i].name, params[i].name, __ATOMIC_RELAXED);
			__atomic_store_n(&docs[i].what, params[i].what, __ATOMIC_RELAXED);
		}
		__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	}
	return docs;
}
