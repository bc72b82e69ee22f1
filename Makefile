# SPDX-License-Identifier: GPL-2.0-only
#
# mmuscope's build. Every folder is picked up by wildcard: a new test, library
# or tool file needs no edit here.
#
#   make            everything the suite needs, below build/
#   make check      set up what is missing, the project's own tests, the suite
#   make lint       shellcheck, clang-format, floors
#   make asan ubsan tsan   the in-tree engine under a sanitizer, each in a build of its own
#   make coverage   which lines of x86/mmu the suite reaches on the in-tree engine
#   make mutants-random  random programs alone against them
#   make mutants    the suite against deliberate defects, in a build of its own
#   make bench      the benchmarks in bench/
#   make fuzz       targets for libFuzzer, below build/fuzz: docs/fuzzing.md
#   make clean
#
# FLAGS="…" hands options on: to mmurun (sanitizers, coverage), or to the benchmark.
# INTREE=0 leaves the in-tree engine out; then engine "kvm" is the only one.

ifeq ($(origin CC),default)
CC	:= gcc
endif
BUILD	?= build
VERSION	:= $(shell git describe --always --dirty 2>/dev/null || echo unknown)

WARN	:= -Wall -Wextra -Werror
HOSTCF	:= -std=gnu11 -O2 -g -fno-strict-aliasing $(WARN) -D_GNU_SOURCE -I. -Ilib \
	   -DMMUSCOPE_VERSION='"$(VERSION)"' $(CFLAGS)
# The guest is built apart from every host flag: no CFLAGS, no host includes.
GUESTCF	:= -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -fno-pie \
	   -mgeneral-regs-only -mno-red-zone -fno-stack-protector \
	   -fno-asynchronous-unwind-tables -fcf-protection=none \
	   -fno-tree-loop-distribute-patterns -fno-strict-aliasing -I.
# By both of its paths: BUILD=build and BUILD=$PWD/build are one directory.
DEPS	= -MMD -MP $(addprefix -MT ,$(sort $(abspath $@) $(patsubst $(CURDIR)/%,%,$(abspath $@))))
GUESTLD	:= -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack \
	   -Wl,--no-warn-rwx-segments
LIBS	:= -lelf -lz -lpthread
# What a build is instrumented with: the sanitizers' builds and that for coverage set it.
# The guest is left alone, and so is the lab's static init.
SANITIZE ?=
COVERAGE ?=
# Deliberate defects, one of them to be chosen when it runs: x86/arch/mutants.h.
MUTANTS	?=
ifneq ($(MUTANTS),)
HOSTCF	+= -DMMUSCOPE_MUTANTS
endif
ifneq ($(SANITIZE),)
HOSTCF	+= -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
endif
ifneq ($(COVERAGE),)
$(BUILD)/x86/mmu/%.o: HOSTCF += --coverage -fprofile-update=atomic -O0
$(BUILD)/lib/test_case.o: HOSTCF += -DMMUSCOPE_COVERAGE
LIBS	+= --coverage
endif
ifneq ($(findstring clang,$(shell $(CC) --version 2>/dev/null | head -n 1)),)
GUESTCF	:= $(filter-out -fno-tree-loop-distribute-patterns,$(GUESTCF))
endif

lib_c	:= $(wildcard lib/*.c)
lib_o	:= $(lib_c:%.c=$(BUILD)/%.o) $(BUILD)/lib/images.o $(BUILD)/lib/qemu_boot.o
LIB	:= $(BUILD)/libmmuscope.a

# The in-tree engine, from the processor up.
intree_parts := $(patsubst %,x86/kvm/%.c,fd system vm vcpu cpuid msr regs run exit emulate smm \
		 memslot dirty ring stats guest_mem hw host) \
	       $(patsubst %,x86/mmu/%.c,params mmu fault tdp_mmu shadow page walk role spte roots \
		 memslot notifier check trace)
INTREE	?= $(if $(filter-out $(wildcard $(intree_parts)),$(intree_parts)),0,1)
x86_c	:= $(wildcard x86/cpu/*.c)
ifneq ($(INTREE),0)
x86_c	+= $(wildcard x86/mmu/*.c x86/kvm/*.c)
HOSTCF	+= -DMMUSCOPE_INTREE
endif
LIBX86	:= $(BUILD)/libx86.a
# the engine is the harness's to use, so whoever links the one links the other
ALL_LIBS := $(LIB) $(LIBX86)
LIBS	:= -lZydis $(LIBS)

guest_s	:= $(wildcard guest_code/*.c guest_code/*.S)
agent64	:= $(BUILD)/guest_code/agent64.elf
agent32	:= $(BUILD)/guest_code/agent32.elf

tests_c	:= $(wildcard tests/mmu/*.c tests/tdp/*.c tests/shadow/*.c)
unit_c	:= $(wildcard tests/unit/*.c)
ifeq ($(INTREE),0)
unit_c	:= $(filter-out tests/unit/test_mmu_%.c tests/unit/test_kvm_%.c,$(unit_c))
endif
tests	:= $(tests_c:%.c=$(BUILD)/%)
unit	:= $(unit_c:%.c=$(BUILD)/%)

tools	:= $(BUILD)/tools/mmurun $(BUILD)/tools/mmusuite $(BUILD)/tools/mmufuzz $(BUILD)/tools/mmuview \
	   $(BUILD)/tools/init
# programs that the unit tests run, misbehaving on purpose
fixtures := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/fixtures/*.c))

all: $(tests) $(unit) $(tools) $(fixtures)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $(DEPS) -c $< -o $@
# for programs of several files, which have the name of their folder
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $(DEPS) -c $< -o $@

$(BUILD)/guest_code/64/%.o: guest_code/%.c
	@mkdir -p $(@D)
	$(CC) -m64 -mcmodel=small $(GUESTCF) $(DEPS) -c $< -o $@
$(BUILD)/guest_code/64/%.o: guest_code/%.S
	@mkdir -p $(@D)
	$(CC) -m64 $(GUESTCF) $(DEPS) -c $< -o $@
$(BUILD)/guest_code/32/%.o: guest_code/%.c
	@mkdir -p $(@D)
	$(CC) -m32 -march=i686 $(GUESTCF) $(DEPS) -c $< -o $@
$(BUILD)/guest_code/32/%.o: guest_code/%.S
	@mkdir -p $(@D)
	$(CC) -m32 -march=i686 $(GUESTCF) $(DEPS) -c $< -o $@

guest_o64 := $(patsubst guest_code/%,$(BUILD)/guest_code/64/%.o,$(basename $(guest_s)))
guest_o32 := $(patsubst guest_code/%,$(BUILD)/guest_code/32/%.o,$(basename $(guest_s)))
$(agent64): $(guest_o64) guest_code/guest.lds
	$(CC) -m64 $(GUESTLD) -Wl,-T,guest_code/guest.lds $(guest_o64) -o $@
$(agent32): $(guest_o32) guest_code/guest.lds
	$(CC) -m32 $(GUESTLD) -Wl,-T,guest_code/guest.lds $(guest_o32) -o $@

$(BUILD)/lib/images.o: lib/images.S $(agent64) $(agent32)
	@mkdir -p $(@D)
	$(CC) -c -DAGENT64='"$(agent64)"' -DAGENT32='"$(agent32)"' $< -o $@
$(BUILD)/lib/qemu_boot.o: lib/qemu_boot.S
	@mkdir -p $(@D)
	$(CC) -c $< -o $@

# what the engines are is decided here, so a change of that is one of this file's inputs
$(shell mkdir -p $(BUILD); [ "$$(cat $(BUILD)/.intree 2>/dev/null)" = $(INTREE) ] || \
	echo $(INTREE) >$(BUILD)/.intree)
$(BUILD)/lib/engine.o: $(BUILD)/.intree

$(LIB): $(lib_o)
	rm -f $@ && $(AR) rcs $@ $^

# what a guest's every instruction goes through
ifeq ($(SANITIZE)$(COVERAGE),)
$(BUILD)/x86/%.o: HOSTCF += -O3
endif
$(LIBX86): $(x86_c:%.c=$(BUILD)/%.o)
	rm -f $@ && $(AR) rcs $@ $^

# programs that the suite replays are part of the program that does it
corpus	:= $(sort $(wildcard tests/corpus/*.prog))
$(BUILD)/tests/corpus.text: $(corpus)
	@mkdir -p $(@D)
	awk 'FNR == 1 { print "#file " FILENAME } { print }' $^ >$@
$(BUILD)/tests/mmu/corpus.o: $(BUILD)/tests/corpus.text
$(BUILD)/tests/mmu/corpus.o: HOSTCF += -DCORPUS='"$(BUILD)/tests/corpus.text"'

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(ALL_LIBS)
	$(CC) $(HOSTCF) $< $(ALL_LIBS) $(LIBS) -o $@

$(BUILD)/tools/mmurun: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/mmurun/*.c)) $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $^ $(LIBS) -o $@
$(BUILD)/obj/tools/mmurun/options.o: tools/run_tests.help
$(BUILD)/tools/mmusuite: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/mmusuite/*.c)) $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $^ $(LIBS) -o $@
$(BUILD)/tools/mutants: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/mutants/*.c)) $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $^ $(LIBS) -o $@
$(BUILD)/tools/mmufuzz: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/mmufuzz/*.c)) $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $^ $(LIBS) -o $@
$(BUILD)/tools/mmuview: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/mmuview/*.c)) $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $^ $(LIBS) -o $@
# the lab's first process: static, so that it runs before any library is there
$(BUILD)/tools/init: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tools/init/*.c))
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) -static $^ -o $@

# what runs guests on the in-tree engine, and the tests of that engine itself
suite: $(tests) $(filter $(addprefix $(BUILD)/tests/unit/test_,cpu_% mmu_% kvm_%),$(unit)) \
       $(BUILD)/tools/mmurun $(BUILD)/tools/mmusuite

check:
	./tools/check.sh

asan ubsan tsan:
	./tools/sanitize.sh $@ $(FLAGS)

coverage:
	./tools/coverage.sh $(FLAGS)

mutants:
	$(MAKE) -s BUILD=$(BUILD)/mutants MUTANTS=1 suite $(BUILD)/mutants/tools/mutants
	$(BUILD)/mutants/tools/mutants --build $(BUILD)/mutants $(FLAGS)

mutants-random:
	$(MAKE) -s BUILD=$(BUILD)/mutants MUTANTS=1 $(BUILD)/mutants/tools/mutants $(BUILD)/mutants/tools/mmufuzz
	./tools/mutants/random.sh --build $(BUILD)/mutants $(FLAGS)

# each file in bench/ but bench.c is a program; they run one after the other
benches	:= $(patsubst %.c,$(BUILD)/%,$(filter-out bench/bench.c,$(wildcard bench/*.c)))
$(benches): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/bench/bench.o $(ALL_LIBS)
	$(CC) $(HOSTCF) $< $(BUILD)/bench/bench.o $(ALL_LIBS) $(LIBS) -o $@
# a boot sector, as machines load it
$(BUILD)/bench/loop.bin: bench/loop.S
	@mkdir -p $(@D)
	$(CC) -m32 -c $< -o $(@:.bin=.o)
	$(CC) -m32 $(GUESTLD) -Wl,-Ttext=0x7c00,--oformat=binary $(@:.bin=.o) -o $@
$(BUILD)/bench/cpu.o: $(BUILD)/bench/loop.bin
$(BUILD)/bench/cpu.o: HOSTCF += -DLOOP_BIN='"$(BUILD)/bench/loop.bin"'
bench: $(benches)
	@for b in $(benches); do $$b $(FLAGS) || exit; done

# clang's libFuzzer: each file in fuzz/ is a target, in a build of its own that counts coverage
FUZZ_SANITIZE := fuzzer-no-link,address
$(BUILD)/%: fuzz/%.c $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(HOSTCF) $(DEPS) -fsanitize=fuzzer $< $(ALL_LIBS) $(LIBS) -o $@
fuzz:
	$(MAKE) -s CC=clang BUILD=$(BUILD)/fuzz SANITIZE=$(FUZZ_SANITIZE) \
		$(patsubst fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard fuzz/*.c))

lint:
	./tools/lint.sh

clean:
	rm -rf $(BUILD)

.PHONY: all suite check lint asan ubsan tsan coverage mutants mutants-random bench fuzz clean
.SECONDARY:
-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
