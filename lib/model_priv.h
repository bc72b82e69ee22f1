/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the model share: model_setup.c (a VM for a program), model.c (memory and batches), model_take.c,
 * model_step.c, model_cross.c, model_state.c, model_alone.c, model_annex.c and model_smm.c (the guest's steps),
 * model_host.c and model_log.c (the host's), model_race.c (those of all together).
 */
#ifndef LIB_MODEL_PRIV_H
#define LIB_MODEL_PRIV_H

#include "agent.h"
#include "dirty.h"
#include "model.h"
#include "oracle.h"

#define NR_FRAMES (PROGRAM_TABLES + PROGRAM_FRAMES + PROGRAM_RO_FRAMES)
#define NR_CELLS  5 /* four that are entries of the frame as a table, and the data word */
#define DATA_CELL 4
#define DATA_AT	  64  /* of a frame */
#define FN_AT	  128 /* of a frame: a function that returns a number of the frame's own */

#define HOME_GPA     (1024 * MiB)
#define AWAY_GPA     (2048 * MiB)
#define HOLE_GPA     (1024 * MiB + 64 * MiB)
#define RO_GPA	     (1024 * MiB + 128 * MiB)
#define ANNEX_GPA    (5120ul * MiB)
#define ANNEX_SLOT   4
#define ALIAS_GPA    (3072ul * MiB)
#define MEM_SIZE     (16 * MiB)
#define MAX_TOUCHED  64
#define MAX_POOL     4096
#define MAX_STEP_OPS 20	  /* operations that one step may take */
#define RUN_MS	     5000 /* for a batch, on an engine that takes milliseconds for it */
#define IMPATIENT_MS 100
#define RING_ENTRIES 256 /* the smallest ring: a page */

/* A word that programs read and write. */
struct cell {
	u64 value;
	u64 may; /* A and D, where the processor may have set them since the value was known */
};

struct frame {
	gpa_t gpa;
	u8 *hva;
	bool is_table, read_only;
	bool walked;   /* was used as a page table, so the host must leave its content alone */
	bool function; /* is there */
	bool dirty;    /* certainly written since the dirty log was collected */
	bool reached;  /* perhaps used, in whatever way, since then */
	bool fresh;    /* dropped by the host, and used by nobody since */
	bool young;    /* used since then: it can't be idle */
	bool in_ring;  /* collected from a ring that was not reset since */
	u32 number;    /* what its function returns */
	u16 head;      /* first two bytes; not of tables. The last two are the last cell's */
	struct cell cell[NR_CELLS];
	/* while steps are taken together: */
	u64 copy[NR_CELLS]; /* the words when they were last taken out of the log */
	bool taken, zeroed;
};

enum where {
	WHERE_FRAME,
	WHERE_HOLE,
	WHERE_UNKNOWN /* memory that programs have nothing to do with */
};

/* What one operation of a batch may come to. */
struct outcome {
	enum oracle_verdict verdict;
	bool mmio;
	u64 error, cr2, gpa;
	u64 value, mask; /* OK: what is read, as far as it is known */
};

#define MAX_OUTCOMES 24
struct expect {
	u32 step;
	u32 taken, part; /* as in struct model */
	u8 nr;		 /* outcomes; 0: AGENT_OK, and nothing more to know */
	bool is_read;	 /* the value counts */
	u64 stored;	 /* by a write, as MMIO would see it */
	struct outcome *out;
};

/* A store whose fate is known after the batch only. */
struct open_store {
	bool open;
	u8 kind;
	u32 index; /* of the operation */
	u64 value, compare;
	u8 nr;
	struct frame *frame[MAX_OUTCOMES];
	u8 cell[MAX_OUTCOMES];
	bool unlogged[MAX_OUTCOMES]; /* by another way than the slot whose writes are logged */
};

struct model_vcpu {
	struct vcpu *v;
	struct oracle_regs regs;
	struct oracle_history *history;
};

struct mmio_write {
	u32 op;
	gpa_t gpa;
	u64 value;
	u32 len;
};

struct model {
	const struct program *p;
	const struct model_options *o;
	struct model_result *res;
	const struct paging_mode *m;
	struct vm *vm;
	struct memslot *ro;
	struct frame frame[NR_FRAMES];
	struct model_vcpu vcpu[PROGRAM_VCPUS];
	gpa_t tables, mem_gpa;
	/* pages of the data's memslot used as MMIO while it was away, at home and in its other place */
	u64 was_mmio[2][MEM_SIZE / SZ_4K / 64];
	bool slot_there, logging, log_tables;
	bool large_seen; /* an entry that CR4.PSE matters to was on some way */
	enum log_kind log;
	struct memslot *alias;	   /* over the data's memory; NULL: never was there */
	u32 alias_kind;		   /* STEP_ALIAS's number; 0: is not there */
	struct memslot *annex;	   /* model_annex.c; NULL: not yet */
	u64 annex_seen[1024 / 64]; /* pages of it in rings */
	struct memslot *smm[2];	   /* what SMM sees of tables and data; NULL: no SMI yet */
	bool smm_stored;	   /* to a table, at least once */
	bool kernel, shadow;	   /* the engine: /dev/kvm; the shadow MMU */
	bool machine; /* no hypervisor: holes are nobody's, all memory can be written */
	u32 index[PROGRAM_INDICES]; /* of the entries that programs use */
	u32 width;		    /* of an access to a cell */
	u64 root[PROGRAM_ROOTS], pdpte[PROGRAM_ROOTS][4];

	/* the batch */
	struct model_vcpu *current;
	u32 nr;
	struct expect expect[AGENT_BATCH];
	struct outcome pool[MAX_POOL]; /* of the batch's operations */
	u32 pool_used;
	struct open_store open;
	struct mmio_write mmio_write[AGENT_BATCH];
	u32 nr_mmio_writes;

	/* the access that is being judged */
	u32 step;
	u32 taken;    /* the step of the program that this repeats, or the same */
	u32 part;     /* which of those that it stands for */
	u32 nr_parts; /* taken so far, in the whole program */
	bool bad;     /* no manual tells */
	/* quirks.h, asked once: an answer takes a look at the environment and at parameters */
	bool rsvd_without_p, rmw_reads_first, invlpg_keeps_code;
	bool speculates; /* the in-tree processor with parameter seed */
	bool emulates; /* stores are made by an emulator: some by shadow paging, all by a partial KVM */
	bool together; /* the host's steps are taken while vCPUs run */
	bool raced;    /* some were */
	struct {
		struct frame *frame;
		u8 cell;
	} touched[MAX_TOUCHED];
	u32 nr_touched;
};

enum where model_where(struct model *m, gpa_t gpa, struct frame **frame);
/* What a processor that walks ahead of any use may add to an entry that holds @value. SDM vol. 3 4.8. */
u64 model_set_ahead(const struct model *m, int cell, u64 value);
/* Writes the function of a frame of data, as the host. */
void model_fill_function(struct frame *f);
/* The frame's cell at @gpa, or -1. */
int model_cell(const struct model *m, const struct frame *f, gpa_t gpa);
u64 cell_mask(const struct model *m, int cell);
/* How far the last two bytes of a frame are up in its last cell. */
u32 tail_shift(const struct model *m);
#define LAST_CELL 3
u32 cell_offset(const struct model *m, int cell);
u64 model_entry(const struct model *m, const struct entry_spec *e);
u64 mmio_value(gpa_t gpa, u32 size);
/* The word and bit of @gpa in was_mmio; false: no memory ever comes there. */
bool model_was_mmio(struct model *m, gpa_t gpa, u64 **word, u64 *bit);

/* @f's cell now holds @value: the guest, or the host, stored it. */
u64 model_load(const struct model *m, const struct frame *f, int cell);
void model_store(struct model *m, struct frame *f, int cell, u64 value);
/* The same, by another way than the slot whose writes are logged. */
void model_store_unlogged(struct model *m, struct frame *f, int cell, u64 value);
/* @f was written through its own slot: the log has to tell. */
void model_touch(const struct model *m, struct frame *f);
/* Whether @gpa is the alias slot's. */
bool model_in_alias(const struct model *m, gpa_t gpa);
/* Says what is wrong; the first one counts. */
void model_wrong(struct model *m, u32 step, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Runs the batch and judges it; false: something is wrong. */
bool model_flush_batch(struct model *m);
/* m->vm and what is in it, for m->p. */
void model_set_up(struct model *m);
struct expect *model_expect(struct model *m, struct agent_op op);

/* Takes step @i of the program, which is not STEP_TOGETHER, and all that it stands for. */
void model_take(struct model *m, u32 i);
/* Append one of the guest's steps, or take one of the host's. */
bool model_guest_step(struct model *m, const struct step *s);
bool model_host_step(struct model *m, const struct step *s);
gva_t model_address(const struct model *m, const struct step *s);
bool model_access_step(struct model *m, const struct step *s);
/* The reads and writes of places PLACE_CROSS and PLACE_MIDDLE; false, as of other kinds: left out. */
bool model_crossing_step(struct model *m, const struct step *s);
bool model_middle_step(struct model *m, const struct step *s);
u64 model_width_mask(const struct model *m);
/* What the environment gets wrong: model_step.c says how. @kind: enum step_kind */
bool model_loses_smap(const struct model *m, const struct step *s);
bool model_renewed_mmio(struct model *m, gpa_t gpa);
bool model_hidden_store(const struct model *m, const struct frame *f, u32 kind, gpa_t gpa);
/* Steps that are alone in their batch; of them those in SMM. */
bool model_alone_step(struct model *m, const struct step *s);
/* Of those, the ones in a memslot of their own, which judge themselves. */
bool model_strew_step(struct model *m, const struct step *s);
bool model_crowd_step(struct model *m, const struct step *s);
/* Takes the rings as they are, judges and resets them. */
void model_take_ring(struct model *m);
bool model_smm_step(struct model *m, const struct step *s);
/* What an access of @s's ring to @gva may come to; 0: no manual tells. */
u32 model_judge(struct model *m, const struct step *s, gva_t gva, enum oracle_kind kind,
		struct oracle_outcome *out);
/* A and D after the access that was judged last. */
void model_mark(struct model *m, const struct oracle_outcome *out, bool write, bool certain);
u16 model_agent_flags(const struct step *s);
/*
 * Takes the steps from @first on, up to STEP_APART or to one that can't be taken together with others. The number
 * of the next step.
 */
u32 model_together(struct model *m, u32 first);
/* The program is over: nobody takes turns. */
void model_race_end(struct model *m);
/*
 * Whether what @s may come to leads to memory that is known, whichever of what its entries may hold is found
 * there; @tables: and all those entries are in tables.
 */
bool model_may_race(struct model *m, const struct step *s, bool tables);
/* @s as an operation of its vCPU's; @value: what it stores. */
struct agent_op model_race_op(const struct model *m, const struct step *s, u64 *value);
bool model_log_step(struct model *m, const struct step *s);
/* Before the slots are made: how the VM is to log. */
void model_log_set_up(struct model *m);
/* For vcpu.other_exit: takes a ring that is full, and goes on. */
bool model_ring_full(struct vcpu *v, struct kvm_run *run, void *arg);
/* The log, if there is one, at the end of the program. */
void model_dirty_check(struct model *m);
/* What had to be in the log is no matter any more: its slot is new, or logging began or ended. */
void model_forget_dirty(struct model *m, bool tables);

#endif
