/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The test framework: cases that register themselves, the verdicts they can
 * give and the expectations they are written in.
 *
 * A test file is a list of TEST()s and nothing else; main() is in the library.
 * Each case runs in a forked child of the test binary, so that a crash, a hang
 * or a leak is its own failure only. What it prints on stdout and stderr is
 * captured and becomes KTAP diagnostics.
 *
 *	TEST(global_kept, .what = "INVLPG of another page keeps a global translation",
 *	     .modes = MODES_PAGED)
 *	{
 *		REQUIRE(has_pge(), "CR4.PGE");
 *		EXPECT_EQ(read_back(t->mode), 42, "gva %#lx", gva);
 *	}
 *
 * A case that ends without a single expectation is an error: silence proves
 * nothing. Of several verdicts the most severe one counts: error, fail, xfail,
 * skip, pass.
 */
#ifndef LIB_TEST_H
#define LIB_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "x86/arch/paging.h"

/* Guest paging modes as a mask, for test_case.modes. */
#define MODE(id)    (1u << (id))
#define MODES_64    (MODE(PM_LA57) | MODE(PM_LA48))
#define MODES_PAGED (MODES_64 | MODE(PM_PAE) | MODE(PM_32))
#define MODES_ALL   (MODES_PAGED | MODE(PM_NONE))

/* Kinds of MMU in the hypervisor as a mask, for test_case.meant_for. */
#define MMU_TDP_MMU    (1u << 0) /* two-dimensional paging, the TDP MMU */
#define MMU_TDP_LEGACY (1u << 1) /* two-dimensional paging, the shadow MMU's direct maps */
#define MMU_SHADOW     (1u << 2) /* shadow paging */
#define MMU_TDP	       (MMU_TDP_MMU | MMU_TDP_LEGACY)

/*
 * The kind of MMU that guests get here: one of the bits above, or 0 when
 * unknown. Provided by the engine (lib/engine.c).
 */
unsigned int mmu_kind(void);

struct test;

/* What TEST() registers. All fields but the first four are the author's. */
struct test_case {
	const char *file; /* source path, gives "suite/file" */
	int line;
	const char *name;
	void (*fn)(struct test *t);

	const char *what;	     /* one line: the behaviour that is pinned */
	unsigned int modes;	     /* MODE() mask: one variant per mode; 0: t->mode is NULL */
	const char *const *variants; /* NULL-terminated: one variant per entry (times modes) */
	const char *const *fixes;    /* NULL-terminated: commits or CVEs that this case shows */
	unsigned int meant_for;	     /* MMU_* mask; 0: every kind */
	unsigned int timeout;	     /* seconds, when more than --timeout (default 30) */
	bool exclusive;		     /* run alone: it changes state shared by the whole machine */
	void (*restore)(void); /* puts shared state back when the case was killed; see below */
};

/* One run of a case: what its body gets to see. */
struct test {
	const struct test_case *tc;
	const struct paging_mode *mode; /* NULL unless the case has .modes */
	const char *variant;		/* NULL unless the case has .variants */
	unsigned int variant_idx;	/* index of variant in .variants, else 0 */
	uint64_t seed;			/* from --seed and full_name; the same for each rerun */
	const char *full_name;		/* suite/file.case[.mode][.variant] */

	uint64_t rand_state; /* test_rand()'s own */
};

/*
 * Define and register a case. Followed by its body, a function of
 * `struct test *t`. The trailing arguments are designated initialisers of
 * struct test_case. Cases run in the order of the source (.exclusive ones last).
 */
#define TEST(name_, ...)                                                               \
	static void test_fn_##name_(struct test *t);                                   \
	static const struct test_case test_case_##name_ = {.file = __FILE__,           \
							   .line = __LINE__,           \
							   .name = #name_,             \
							   .fn = test_fn_##name_,      \
							   __VA_ARGS__};               \
	static const struct test_case *const test_ptr_##name_                          \
		__attribute__((used, section("mmuscope_tests"))) = &test_case_##name_; \
	static void test_fn_##name_(struct test *t __attribute__((unused)))

/* --- verdicts ------------------------------------------------------------ */

/*
 * The four below end the case at once, from any depth and any thread: cleanup
 * hooks run, then the process exits. In a process that the case forked they
 * give the case that verdict and end the forked process (no hooks there).
 * Outside a case (in a tool that uses the library) they print and exit(1).
 */

/* The case can't run here; the text names the requirement that is not met. */
#define test_skip(...) test_end_at(TEST_SKIP, NULL, __FILE__, __LINE__, __VA_ARGS__)
/* What is tested is wrong. */
#define test_fail(...) test_end_at(TEST_FAIL, NULL, __FILE__, __LINE__, __VA_ARGS__)
/* The test or its environment is wrong; says nothing about what is tested. */
#define test_error(...) test_end_at(TEST_ERROR, NULL, __FILE__, __LINE__, __VA_ARGS__)
/* A known defect of the environment; ref is its reference (commit, CVE, bug, page). */
#define test_xfail(ref, ...) test_end_at(TEST_XFAIL, ref, __FILE__, __LINE__, __VA_ARGS__)

/* In order of severity. */
enum test_verdict {
	TEST_PASS,
	TEST_SKIP,
	TEST_XFAIL,
	TEST_FAIL,
	TEST_TIMEOUT,
	TEST_ERROR
};

void test_end_at(enum test_verdict verdict, const char *ref, const char *file, int line,
		 const char *fmt, ...) __attribute__((noreturn, format(printf, 5, 6)));

/*
 * Record a failure and go on. The first 20 of a case are printed, the rest is
 * counted. fmt may hold several lines.
 */
void test_fail_soft(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Print one diagnostic line (a trailing newline is optional). */
void test_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Count one check made. Every expectation calls it; code that checks by other
 * means and calls test_fail() itself has to.
 */
#define test_count_check() test_count_check_at(__FILE__, __LINE__)
void test_count_check_at(const char *file, int line);

/* --- hooks and helpers --------------------------------------------------- */

/*
 * Have fn(arg) called once, at the next failure or error of the case, to print
 * a report (with test_diag() or printf()). Latest registered first. Drop one
 * with test_on_failure_drop() before what it looks at goes away.
 */
void test_on_failure(void (*fn)(void *), void *arg);
void test_on_failure_drop(void (*fn)(void *), void *arg);

/*
 * Have fn(arg) called when the case ends, whatever the verdict; latest
 * registered first. They do not run when the case is killed (a crash, a
 * timeout): what must be undone even then, such as a sysctl, belongs in the
 * case's .restore, which is run in a process of its own and sees nothing of what
 * the case had in memory.
 */
void test_cleanup(void (*fn)(void *), void *arg);

/* Next value of the case's own generator (64 bits), seeded by t->seed. One thread at a time. */
uint64_t test_rand(struct test *t);

/*
 * fork() for use in a case: the new process dies with the thread that forked it.
 * Returns as fork() does, except that failure ends the case as an error.
 */
pid_t test_fork(void);

/*
 * For a forked process whose fate is not the case's: from here on it is outside
 * the case, so that a verdict it gives only ends it, with status 1.
 */
void test_detach(void);

/* --- requirements and expectations --------------------------------------- */

/*
 * Each takes an optional trailing printf format (a string literal) with
 * arguments for context: EXPECT_EQ(got, want, "gva %#lx", gva).
 *
 * EXPECT*() records a failure and goes on, ASSERT*() ends the case.
 * The operands of a comparison are integers or pointers of any type, evaluated
 * once and compared by their mathematical value: -1 is not equal to ~0ull.
 */

/* Skip the case with the requirement as the reason unless cond holds. */
#define REQUIRE(cond, ...)                                                                \
	do {                                                                              \
		if (!(cond))                                                              \
			test_require_failed_(#cond, __FILE__, __LINE__, " " __VA_ARGS__); \
	} while (0)

#define EXPECT(cond, ...) TEST_COND_(false, "EXPECT(" #cond ")", cond, __VA_ARGS__)
#define ASSERT(cond, ...) TEST_COND_(true, "ASSERT(" #cond ")", cond, __VA_ARGS__)

#define EXPECT_EQ(a, b, ...) TEST_CMP_(false, NULL, EQ, a, b, __VA_ARGS__)
#define EXPECT_NE(a, b, ...) TEST_CMP_(false, NULL, NE, a, b, __VA_ARGS__)
#define EXPECT_LT(a, b, ...) TEST_CMP_(false, NULL, LT, a, b, __VA_ARGS__)
#define EXPECT_LE(a, b, ...) TEST_CMP_(false, NULL, LE, a, b, __VA_ARGS__)
#define EXPECT_GT(a, b, ...) TEST_CMP_(false, NULL, GT, a, b, __VA_ARGS__)
#define EXPECT_GE(a, b, ...) TEST_CMP_(false, NULL, GE, a, b, __VA_ARGS__)
#define ASSERT_EQ(a, b, ...) TEST_CMP_(true, NULL, EQ, a, b, __VA_ARGS__)
#define ASSERT_NE(a, b, ...) TEST_CMP_(true, NULL, NE, a, b, __VA_ARGS__)
#define ASSERT_LT(a, b, ...) TEST_CMP_(true, NULL, LT, a, b, __VA_ARGS__)
#define ASSERT_LE(a, b, ...) TEST_CMP_(true, NULL, LE, a, b, __VA_ARGS__)
#define ASSERT_GT(a, b, ...) TEST_CMP_(true, NULL, GT, a, b, __VA_ARGS__)
#define ASSERT_GE(a, b, ...) TEST_CMP_(true, NULL, GE, a, b, __VA_ARGS__)

/* As EXPECT_EQ(); namer(value) gives the name of a value, or NULL when it has none. */
#define EXPECT_EQ_NAMED(namer, a, b, ...) TEST_CMP_(false, namer, EQ, a, b, __VA_ARGS__)
#define ASSERT_EQ_NAMED(namer, a, b, ...) TEST_CMP_(true, namer, EQ, a, b, __VA_ARGS__)
typedef const char *(*test_namer)(uint64_t value);

/* Strings; NULL is equal to NULL only. */
#define EXPECT_STREQ(a, b, ...) TEST_STR_(false, a, b, __VA_ARGS__)
#define ASSERT_STREQ(a, b, ...) TEST_STR_(true, a, b, __VA_ARGS__)

/* --- what the macros expand to; not for use by tests ---------------------- */

enum test_op {
	TEST_OP_EQ,
	TEST_OP_NE,
	TEST_OP_LT,
	TEST_OP_LE,
	TEST_OP_GT,
	TEST_OP_GE
};

struct test_val {
	uint64_t bits;	/* sign-extended */
	bool is_signed; /* the operand's type is */
};

/* Constant parts of a comparison, kept out of the generated code. */
struct test_site {
	const char *file;
	const char *a, *b; /* source text of the operands (a: whole text of a condition) */
	int line;
	bool fatal;
	enum test_op op;
};

void test_require_failed_(const char *cond, const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 4, 5)));
void test_cond_failed_(const struct test_site *site, const char *fmt, ...)
	__attribute__((cold, format(printf, 2, 3)));
bool test_compare_(enum test_op op, struct test_val a, struct test_val b);
void test_cmp_failed_(const struct test_site *site, test_namer namer, struct test_val a,
		      struct test_val b, const char *fmt, ...)
	__attribute__((cold, format(printf, 5, 6)));
bool test_streq_(const char *a, const char *b);
void test_str_failed_(const struct test_site *site, const char *a, const char *b, const char *fmt,
		      ...) __attribute__((cold, format(printf, 4, 5)));

/* "1 ? x : x" promotes x: bit-fields and small types become int, arrays pointers. */
#define TEST_VAL_(x)                               \
	({                                         \
		__auto_type val_ = 1 ? (x) : (x);  \
		(struct test_val){                 \
			(uint64_t)val_,            \
			_Generic(val_, int         \
				 : true, long      \
				 : true, long long \
				 : true, default   \
				 : false),         \
		};                                 \
	})

#define TEST_COND_(fatal_, text_, cond, ...)                                              \
	do {                                                                              \
		static const struct test_site site_ = {                                   \
			.file = __FILE__, .line = __LINE__, .a = text_, .fatal = fatal_}; \
		test_count_check();                                                       \
		if (!(cond))                                                              \
			test_cond_failed_(&site_, " " __VA_ARGS__);                       \
	} while (0)

#define TEST_CMP_(fatal_, namer_, op_, a_, b_, ...)                                    \
	do {                                                                           \
		static const struct test_site site_ = {.file = __FILE__,               \
						       .line = __LINE__,               \
						       .a = #a_,                       \
						       .b = #b_,                       \
						       .op = TEST_OP_##op_,            \
						       .fatal = fatal_};               \
		struct test_val lhs_ = TEST_VAL_(a_);                                  \
		struct test_val rhs_ = TEST_VAL_(b_);                                  \
		test_count_check();                                                    \
		if (!test_compare_(TEST_OP_##op_, lhs_, rhs_))                         \
			test_cmp_failed_(&site_, namer_, lhs_, rhs_, " " __VA_ARGS__); \
	} while (0)

#define TEST_STR_(fatal_, a_, b_, ...)                                                            \
	do {                                                                                      \
		static const struct test_site site_ = {                                           \
			.file = __FILE__, .line = __LINE__, .a = #a_, .b = #b_, .fatal = fatal_}; \
		const char *lhs_ = (a_);                                                          \
		const char *rhs_ = (b_);                                                          \
		test_count_check();                                                               \
		if (!test_streq_(lhs_, rhs_))                                                     \
			test_str_failed_(&site_, lhs_, rhs_, " " __VA_ARGS__);                    \
	} while (0)

/* The whole of a test binary's main(). Returns the exit status. */
int test_main(int argc, char **argv);

#endif /* LIB_TEST_H */
