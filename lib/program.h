/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random programs as data: what a VM looks like and a list of typed steps that its vCPUs and its
 * host take in turns. A program can be generated, cut down, printed, read back and run; what each
 * step is to come to is not part of it, that is the model's to know (lib/model.h).
 *
 * As text it is one step a line, "#" begins a comment:
 *
 *	mmuscope-program 1
 *	mode la48
 *	vcpus 1
 *	backing anon
 *	log ring			optional: how dirty pages are logged
 *	v0 set t0[1] t3+pwu		an entry of a table: points to table 3
 *	v0 set t3[2] f4+pw		maps frame 4
 *	v0 map 1.2.3.4 f4+pwu		the same with all its tables
 *	v0 read 1.2.3.4/c2 user		indices from the top table down, then the place in the page
 *	v0 cr3 1 pcid 2 noflush
 *	host dirty-get
 *
 * Names of steps, places and targets are never reused: replay files outlive versions.
 */
#ifndef LIB_PROGRAM_H
#define LIB_PROGRAM_H

#include <stdio.h>

#include "memory.h"
#include "x86/arch/paging.h"

#define PROGRAM_VERSION	  1
#define PROGRAM_MAX_STEPS 100000
#define PROGRAM_VCPUS	  4
#define PROGRAM_TABLES	  10 /* frames for page tables, of no fixed level; the first are the roots */
#define PROGRAM_ROOTS	  3
#define PROGRAM_FRAMES	  16 /* of data */
#define PROGRAM_BLOCKS	  4  /* large pages that hold them, four frames each */
#define PROGRAM_RO_FRAMES 4  /* of a read-only memslot */
#define PROGRAM_INDICES	  4  /* entries of a table that programs use, and pages of a large page */

/* What an entry points to. */
enum target_kind {
	TARGET_RAW,	    /* entry.bits is the value */
	TARGET_TABLE,	    /* t0 to t9 */
	TARGET_FRAME,	    /* f0 to f15 */
	TARGET_BLOCK,	    /* b0 to b3: aligned for a 2 or 4 MiB page */
	TARGET_GIANT,	    /* the 1 GiB that all of them are in */
	TARGET_HOLE,	    /* h0 to h3: no memory there */
	TARGET_RO,	    /* r0 to r3: read-only */
	TARGET_AWAY,	    /* a0 to a15: where f0 to f15 are while the memslot is moved */
	TARGET_ALIAS,	    /* l0 to l15: the same offsets of the memslot that STEP_ALIAS adds */
	TARGET_ALIAS_BLOCK, /* m0 to m3 */
	TARGET_KINDS
};

struct entry_spec {
	u8 target; /* enum target_kind */
	u8 number;
	u64 bits; /* flags of the entry (PTE_P …), or the value */
};

/* Where in a page an access goes. */
enum place {
	PLACE_CELL1, /* the word that would be the first of the entries that programs use */
	PLACE_CELL2,
	PLACE_CELL3,
	PLACE_CELL4,
	PLACE_DATA,
	PLACE_CROSS,  /* the last two bytes of it and the first two of the next page */
	PLACE_MIDDLE, /* the second half of the first entry and the first half of the second */
	PLACES
};

#define MAX_AGAIN 15  /* steps that are repeated */
#define MAX_TIMES 512 /* how often */

enum step_kind {
	STEP_SET, /* a store to a table at its own address */
	STEP_READ,
	STEP_WRITE,
	STEP_EXEC,
	STEP_CMPXCHG,	    /* with what the model thinks is there */
	STEP_CMPXCHG_WRONG, /* with something else: stores nothing */
	STEP_XADD,
	STEP_INVLPG,
	STEP_INVPCID,
	STEP_CR3,
	STEP_WP,
	STEP_SMEP,
	STEP_SMAP,
	STEP_PGE,
	STEP_PKE,
	STEP_PCIDE,
	STEP_NX,
	STEP_PKRU,
	STEP_PSE,
	STEP_PDPTE, /* one of a PAE root's points to another table; CR3 is loaded with that root */
	STEP_MAP, /* the entry at the end of a path; tables that are missing on the way are t3, t4 … */
	STEP_SMM_SET, /* the stores and the read are made by the handler of an SMI, without paging */
	STEP_SMM_WRITE,
	STEP_SMM_READ,
	STEP_LOAD_FS,	/* from a descriptor at the address, where that must fault */
	STEP_LOST_ROOT, /* a root where no memory is, and back */
	STEP_FLOOD,	/* a directory in use is written again and again */
	STEP_IDLE,	/* a page in use becomes idle, and is used again */
	STEP_STREW,	/* pages of a slot of their own are written under its log */
	STEP_CROWD,	/* a page of it is mapped a thousand times, and discarded */
	/* many steps each: step_part() */
	STEP_FILL,     /* a table's entries from one on: consecutive targets */
	STEP_FAN,      /* a table's entries from one on: one target, other rights for each */
	STEP_SPREAD,   /* the same entry of a table and of the three after it */
	STEP_READ_ALL, /* every address that the path's zeros stand for */
	/* the host's, from here on */
	STEP_HOST,
	STEP_DELETE = STEP_HOST, /* the data's memslot */
	STEP_ADD,
	STEP_MOVE, /* 0: to where it was at first, 1: away */
	STEP_LOG,  /* dirty logging on or off */
	STEP_DIRTY_GET,
	STEP_DIRTY_CLEAR, /* a second look, which shows that the first one cleared it */
	STEP_ZERO,	  /* MADV_DONTNEED of a frame */
	STEP_PROTECT,	  /* the block's host mapping read-only, and back */
	STEP_NR_PAGES,	  /* KVM_SET_NR_MMU_PAGES */
	STEP_HUGE,	  /* MADV_HUGEPAGE of everything, or MADV_NOHUGEPAGE */
	STEP_COLLAPSE,	  /* MADV_COLLAPSE of the block */
	STEP_PAGEOUT,	  /* MADV_PAGEOUT of the block */
	STEP_LOG_TABLES,  /* dirty logging of the slot that the tables are in */
	STEP_DIRTY_LOOK,  /* at the log, without clearing it; the ring's entries are kept */
	STEP_CLEAR_LOG,	  /* KVM_CLEAR_DIRTY_LOG of frames by a mask */
	STEP_AGE,	  /* the block's pages become idle */
	STEP_TOGETHER,	  /* what follows is done at the same time, where that can be judged … */
	STEP_APART,	  /* … up to here */
	STEP_ALIAS, /* a memslot over the same memory: 0 none, 1 odd ends, 2 a page out of step */
	STEP_ZERO_BLOCK, /* MADV_DONTNEED of all that a block is part of */
	STEP_AGAIN,	 /* so many of the steps before, so many times more */
	STEP_REFILL,	 /* the functions that went with what was discarded are written anew */
	STEP_RECOVER,	 /* waits until huge pages that code has broken up may have come back */
	STEP_KINDS
};

#define STEP_USER    BIT(0) /* at CPL 3 */
#define STEP_AC	     BIT(1) /* with RFLAGS.AC */
#define STEP_NOFLUSH BIT(2) /* CR3: keep the PCID's translations */

struct step {
	u8 kind; /* enum step_kind */
	u8 vcpu;
	u8 flags;		   /* STEP_USER … */
	u8 place;		   /* enum place */
	u8 path[PAGING_MAX_LEVEL]; /* indices 1 to 4, from the top; 0: each of them */
	u8 table, index;	   /* STEP_SET */
	u8 number;		   /* root, INVPCID type, frame, block, on or off … */
	u8 pcid;		   /* 0 to 3 */
	struct entry_spec entry;
	u64 value; /* PKRU, how many pages */
};

/* How the hypervisor tells which pages are dirty. */
enum log_kind {
	LOG_BITMAP,
	LOG_MANUAL,	   /* KVM_GET_DIRTY_LOG leaves it, KVM_CLEAR_DIRTY_LOG clears it */
	LOG_INITIALLY_SET, /* the same, and it begins with all pages */
	LOG_RING,
	LOG_KINDS
};

struct program {
	const struct paging_mode *mode;
	u32 nr_vcpus;
	enum mem_backing backing; /* MEM_ANON or MEM_THP */
	enum log_kind log;
	u32 nr_steps, room;
	struct step *steps;
};

void program_init(struct program *p, const struct paging_mode *mode);
void program_free(struct program *p);
void program_add(struct program *p, struct step s);
/* An independent copy; what @to had is freed. */
void program_copy(struct program *to, const struct program *from);

/* One step as its line, without newline. */
const char *step_text(const struct program *p, const struct step *s, char *buf, size_t size);
const char *step_name(enum step_kind kind);
bool step_is_host(const struct step *s);
bool step_is_access(const struct step *s);
/* The guest's, but made by host and vCPU together: no batch has others before or after it. */
bool step_is_alone(const struct step *s);
/* The guest's, and stands for others, which step_part() gives. */
bool step_has_parts(const struct step *s);
/* The step of number @n that @s stands for. False: there are no more. */
bool step_part(const struct program *p, const struct step *s, u32 n, struct step *part);
void program_print(const struct program *p, FILE *f);

/*
 * Reads a program from @text of @len bytes, which may hold anything. False: @error says
 * "NAME:LINE: …" with what was wrong and what is right; @p is empty then.
 */
bool program_parse(struct program *p, const char *name, const char *text, size_t len, char *error,
		   size_t error_size);
/* The same from a file. */
bool program_read(struct program *p, const char *path, char *error, size_t error_size);

/* What describes the steps to printer, parser and generator. */
struct step_format {
	const char *name;
	/*
	 * One letter an operand: L t3[2], E entry, G address with place, P address, W address with
	 * "*", A access attributes, N number up to max, V value, C PCID, F noflush
	 */
	const char *operands;
	u8 max;
};
extern const struct step_format step_formats[STEP_KINDS];

/* Letters of an entry's flags: their bits, in the order in which they are printed. */
struct entry_flag {
	char letter;
	u64 bit;
};
extern const struct entry_flag entry_flags[];
extern const char target_letters[TARGET_KINDS + 1];
extern const u8 target_counts[TARGET_KINDS];
extern const char *const place_names[PLACES];
extern const char *const log_names[LOG_KINDS];

#endif
