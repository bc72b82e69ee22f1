// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs in memory and their text. The tables here say what each step's line looks like; the
 * parser, lib/program_parse.c, goes by the same ones.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

const struct step_format step_formats[STEP_KINDS] = {
	[STEP_SET] = {"set", "LE", 0},
	[STEP_READ] = {"read", "GA", 0},
	[STEP_WRITE] = {"write", "GEA", 0},
	[STEP_EXEC] = {"exec", "PA", 0},
	[STEP_CMPXCHG] = {"cmpxchg", "GEA", 0},
	[STEP_CMPXCHG_WRONG] = {"cmpxchg-wrong", "GEA", 0},
	[STEP_XADD] = {"xadd", "GEA", 0},
	[STEP_INVLPG] = {"invlpg", "P", 0},
	[STEP_INVPCID] = {"invpcid", "NCP", 3},
	[STEP_CR3] = {"cr3", "NCF", PROGRAM_ROOTS - 1},
	[STEP_WP] = {"wp", "N", 1},
	[STEP_SMEP] = {"smep", "N", 1},
	[STEP_SMAP] = {"smap", "N", 1},
	[STEP_PGE] = {"pge", "N", 1},
	[STEP_PKE] = {"pke", "N", 1},
	[STEP_PCIDE] = {"pcide", "N", 1},
	[STEP_NX] = {"nx", "N", 1},
	[STEP_PKRU] = {"pkru", "V", 0},
	[STEP_PSE] = {"pse", "N", 1},
	[STEP_PDPTE] = {"pdpte", "NE", 3 * PROGRAM_ROOTS - 1},
	[STEP_MAP] = {"map", "PE", 0},
	[STEP_SMM_SET] = {"smm-set", "LE", 0},
	[STEP_SMM_WRITE] = {"smm-write", "NV", PROGRAM_FRAMES - 1},
	[STEP_SMM_READ] = {"smm-read", "N", PROGRAM_FRAMES - 1},
	[STEP_LOAD_FS] = {"load-fs", "PA", 0},
	[STEP_LOST_ROOT] = {"lost-root", "N", 3},
	[STEP_FLOOD] = {"flood", "P", 0},
	[STEP_IDLE] = {"idle", "PA", 0},
	[STEP_STREW] = {"strew", "V", 0},
	[STEP_CROWD] = {"crowd", "V", 0},
	[STEP_FILL] = {"fill", "LE", 0},
	[STEP_FAN] = {"fan", "LE", 0},
	[STEP_SPREAD] = {"spread", "LE", 0},
	[STEP_READ_ALL] = {"read-all", "W", 0},
	[STEP_DELETE] = {"delete", "", 0},
	[STEP_ADD] = {"add", "", 0},
	[STEP_MOVE] = {"move", "N", 1},
	[STEP_LOG] = {"log", "N", 1},
	[STEP_DIRTY_GET] = {"dirty-get", "", 0},
	[STEP_DIRTY_CLEAR] = {"dirty-get-twice", "", 0},
	[STEP_ZERO] = {"zero", "N", PROGRAM_FRAMES - 1},
	[STEP_PROTECT] = {"protect", "N", PROGRAM_BLOCKS - 1},
	[STEP_NR_PAGES] = {"nr-pages", "V", 0},
	[STEP_HUGE] = {"huge", "N", 1},
	[STEP_COLLAPSE] = {"collapse", "N", PROGRAM_BLOCKS - 1},
	[STEP_PAGEOUT] = {"pageout", "N", PROGRAM_BLOCKS - 1},
	[STEP_LOG_TABLES] = {"log-tables", "N", 1},
	[STEP_DIRTY_LOOK] = {"dirty-look", "", 0},
	[STEP_CLEAR_LOG] = {"clear-log", "V", 0},
	[STEP_AGE] = {"age", "N", PROGRAM_BLOCKS - 1},
	[STEP_TOGETHER] = {"together", "V", 0},
	[STEP_APART] = {"apart", "", 0},
	[STEP_ALIAS] = {"alias", "N", 2},
	[STEP_ZERO_BLOCK] = {"zero-block", "N", PROGRAM_BLOCKS - 1},
	[STEP_AGAIN] = {"again", "NV", MAX_AGAIN},
	[STEP_RECOVER] = {"recover", "", 0},
	[STEP_REFILL] = {"refill", "", 0},
};

const struct entry_flag entry_flags[] = {
	{'p', PTE_P},	{'w', PTE_W},	{'u', PTE_U},	{'t', PTE_PWT}, {'c', PTE_PCD},
	{'a', PTE_A},	{'d', PTE_D},	{'s', PTE_PS},	{'g', PTE_G},	{'x', PTE_NX},
	{'r', BIT(51)}, {'o', BIT(13)}, {'m', BIT(12)}, {'n', BIT(48)}, {0, 0},
};

const char target_letters[TARGET_KINDS + 1] = "0tfbghralm";
const u8 target_counts[TARGET_KINDS] = {
	[TARGET_RAW] = 0,
	[TARGET_TABLE] = PROGRAM_TABLES,
	[TARGET_FRAME] = PROGRAM_FRAMES,
	[TARGET_BLOCK] = PROGRAM_BLOCKS,
	[TARGET_GIANT] = 1,
	[TARGET_HOLE] = 4,
	[TARGET_RO] = PROGRAM_RO_FRAMES,
	[TARGET_AWAY] = PROGRAM_FRAMES,
	[TARGET_ALIAS] = PROGRAM_FRAMES,
	[TARGET_ALIAS_BLOCK] = PROGRAM_BLOCKS,
};

const char *const place_names[PLACES] = {"c1", "c2", "c3", "c4", "data", "cross", "middle"};
const char *const log_names[LOG_KINDS] = {"bitmap", "manual", "initially-set", "ring"};

void program_init(struct program *p, const struct paging_mode *mode)
{
	*p = (struct program){.mode = mode, .nr_vcpus = 1, .backing = MEM_ANON};
}

void program_free(struct program *p)
{
	free(p->steps);
	p->steps = NULL;
	p->nr_steps = p->room = 0;
}

void program_add(struct program *p, struct step s)
{
	if (p->nr_steps == p->room) {
		p->room = p->room ? p->room * 2 : 64;
		p->steps = realloc(p->steps, p->room * sizeof(*p->steps));
		if (!p->steps)
			abort();
	}
	p->steps[p->nr_steps++] = s;
}

void program_copy(struct program *to, const struct program *from)
{
	struct program copy = *from;

	copy.room = from->nr_steps ? from->nr_steps : 1;
	copy.steps = malloc(copy.room * sizeof(*copy.steps));
	if (!copy.steps)
		abort();
	if (from->nr_steps)
		memcpy(copy.steps, from->steps, from->nr_steps * sizeof(*copy.steps));
	free(to->steps);
	*to = copy;
}

const char *step_name(enum step_kind kind)
{
	return step_formats[kind].name;
}

bool step_is_host(const struct step *s)
{
	return s->kind >= STEP_HOST;
}

bool step_is_access(const struct step *s)
{
	return s->kind >= STEP_READ && s->kind <= STEP_XADD;
}

bool step_is_alone(const struct step *s)
{
	return s->kind >= STEP_SMM_SET && s->kind <= STEP_CROWD;
}

/* Appends to a text that may be full. */
struct text {
	char *buf;
	size_t size, at;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->at >= t->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->at, t->size - t->at, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->at += n;
}

static void put_entry(struct text *t, const struct entry_spec *e)
{
	const struct entry_flag *f;
	u64 rest = e->bits;

	if (e->target == TARGET_RAW) {
		put(t, "%#lx", e->bits);
		return;
	}
	put(t, "%c%u+", target_letters[e->target], e->number);
	for (f = entry_flags; f->letter; f++) {
		if (e->bits & f->bit)
			put(t, "%c", f->letter);
		rest &= ~f->bit;
	}
	if (rest >> PTE_PKEY_SHIFT & 15)
		put(t, "k%lx", rest >> PTE_PKEY_SHIFT & 15);
}

static void put_path(struct text *t, const struct program *p, const struct step *s)
{
	for (int i = 0; i < p->mode->levels; i++) {
		put(t, "%s", i ? "." : "");
		if (s->path[i])
			put(t, "%u", s->path[i]);
		else
			put(t, "*");
	}
}

const char *step_text(const struct program *p, const struct step *s, char *buf, size_t size)
{
	const struct step_format *f = &step_formats[s->kind];
	struct text t = {buf, size, 0};

	if (step_is_host(s))
		put(&t, "host %s", f->name);
	else
		put(&t, "v%u %s", s->vcpu, f->name);
	for (const char *o = f->operands; *o; o++) {
		switch (*o) {
		case 'L':
			put(&t, " t%u[%u]", s->table, s->index);
			break;
		case 'E':
			put(&t, " ");
			put_entry(&t, &s->entry);
			break;
		case 'G':
		case 'P':
		case 'W':
			put(&t, " ");
			put_path(&t, p, s);
			if (*o == 'G')
				put(&t, "/%s", place_names[s->place]);
			break;
		case 'A':
			put(&t, "%s%s", s->flags & STEP_USER ? " user" : "",
			    s->flags & STEP_AC ? " ac" : "");
			break;
		case 'N':
			put(&t, " %u", s->number);
			break;
		case 'V':
			put(&t, " %#lx", s->value);
			break;
		case 'C':
			put(&t, " pcid %u", s->pcid);
			break;
		case 'F':
			put(&t, "%s", s->flags & STEP_NOFLUSH ? " noflush" : "");
			break;
		}
	}
	return buf;
}

void program_print(const struct program *p, FILE *f)
{
	char line[256];

	fprintf(f, "mmuscope-program %d\nmode %s\nvcpus %u\nbacking %s\n", PROGRAM_VERSION,
		p->mode->name, p->nr_vcpus, p->backing == MEM_THP ? "thp" : "anon");
	if (p->log != LOG_BITMAP)
		fprintf(f, "log %s\n", log_names[p->log]);
	for (u32 i = 0; i < p->nr_steps; i++)
		fprintf(f, "%s\n", step_text(p, &p->steps[i], line, sizeof(line)));
}
