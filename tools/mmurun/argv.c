// SPDX-License-Identifier: GPL-2.0-only
/*
 * Command lines: that of what runs in an environment, and the one by which a person runs one of its
 * cases again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/mmurun/run.h"

/* Room for what @fixed words and the options' own take. */
static char **new_argv(const struct options *o, size_t fixed)
{
	size_t globs = 0;
	char **argv;

	while (o->globs[globs])
		globs++;
	argv = calloc(globs + fixed, sizeof(*argv));
	if (!argv)
		abort();
	return argv;
}

const char *env_engine(const struct env *env)
{
	return env->kind == ENV_INTREE ? "intree" : env->kind == ENV_QEMU ? "qemu" : "kvm";
}

/* Whether each case has a hypervisor or a machine of its own: several cases may run at a time. */
static bool by_engine(const struct env *env)
{
	return env->kind == ENV_INTREE || env->kind == ENV_QEMU;
}

static char **suite_argv(const struct run *run, const char *root)
{
	const struct options *o = run->o;
	enum env_kind kind = run->env->kind;
	char **argv = new_argv(o, 16);
	size_t nr = 0;

	argv[nr++] = format("%s/tools/mmusuite", root);
	argv[nr++] = "--tests";
	argv[nr++] = format("%s/tests", root);
	if (kind == ENV_UNIT) {
		argv[nr++] = "--suites";
		argv[nr++] = "unit";
	}
	if (o->jobs || by_engine(run->env)) {
		argv[nr++] = by_engine(run->env) ? "--binaries" : "--jobs";
		argv[nr++] = format("%ld", o->jobs ? o->jobs : sysconf(_SC_NPROCESSORS_ONLN));
	}
	if (o->timeout) {
		argv[nr++] = "--timeout";
		argv[nr++] = format("%d", o->timeout);
	}
	/* many short runs: here the asking would count */
	if (run->names && kind == ENV_INTREE) {
		argv[nr++] = "--listed";
		argv[nr++] = (char *)run->names;
	}
	argv[nr++] = "--seed";
	argv[nr++] = format("%llu", (unsigned long long)o->seed);
	for (char **glob = o->globs; *glob; glob++)
		argv[nr++] = *glob;
	return argv;
}

static char **fuzz_argv(const struct run *run, const char *root)
{
	const struct options *o = run->o;
	char **argv = new_argv(o, 16);
	bool lab = run->env->kind == ENV_LAB;
	size_t nr = 0;

	argv[nr++] = format("%s/tools/mmufuzz", root);
	argv[nr++] = "--ktap";
	argv[nr++] = "--engine";
	argv[nr++] = (char *)env_engine(run->env);
	if (o->replay) {
		argv[nr++] = "--replay";
		argv[nr++] = lab ? format("%s/" LAB_REPLAY, root) : (char *)o->replay;
		argv[nr++] = "--verbose";
	} else {
		argv[nr++] = "--time";
		argv[nr++] = format("%d", o->fuzz);
		argv[nr++] = "--seed";
		argv[nr++] = format("%llu", (unsigned long long)o->seed);
		argv[nr++] = "--output";
		argv[nr++] = lab ? "/tmp/fuzz" : run->dir;
		/* the lab's processors are one thread */
		argv[nr++] = "--jobs";
		argv[nr++] = format("%d", o->jobs ? o->jobs : lab ? 1 : 2);
	}
	for (char **word = o->globs; *word; word++)
		argv[nr++] = *word;
	return argv;
}

char **program_argv(const struct run *run, const char *root)
{
	return fuzzing(run->o) ? fuzz_argv(run, root) : suite_argv(run, root);
}

/* @word as a shell reads it back, with a space before it */
static char *add_word(char *command, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_-./=,+:@%";
	const char *quote = word[strspn(word, safe)] || !*word ? "'" : "";
	char *longer = format("%s %s%s%s", command, quote, word, quote);

	free(command);
	return longer;
}

char *rerun_command(const struct run *run, const char *name)
{
	const struct options *o = run->o;
	static const char *const where[] = {
		[ENV_HOST] = "--host",	   [ENV_LAB] = "--vm",	    [ENV_UNIT] = "--host",
		[ENV_INTREE] = "--engine", [ENV_QEMU] = "--engine",
	};
	const char *started_as = getenv("MMUSCOPE_COMMAND");
	char *command = strdup(started_as ? started_as : "./run_tests.sh"), number[32];
	const struct {
		const char *option, *value;
	} words[] = {
		{where[run->env->kind], by_engine(run->env) ? env_engine(run->env) : ""},
		{"--unit", run->env->kind == ENV_UNIT ? "" : NULL},
		{"--kernel", o->kernel},
		{"--modules", o->modules},
		{"--config", *run->env->config ? run->env->config : NULL},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!words[i].value)
			continue;
		command = add_word(command, words[i].option);
		if (*words[i].value)
			command = add_word(command, words[i].value);
	}
	if (o->timeout) {
		snprintf(number, sizeof(number), "%d", o->timeout);
		command = add_word(add_word(command, "--timeout"), number);
	}
	if (o->replay)
		command = add_word(add_word(command, "--replay"), o->replay);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)o->seed);
	command = add_word(add_word(command, "--seed"), number);
	if (o->fuzz) {
		snprintf(number, sizeof(number), "%d", o->fuzz);
		command = add_word(add_word(command, "--fuzz"), number);
	}
	if (fuzzing(o)) {
		if (*o->globs)
			command = add_word(command, "--");
		for (char **word = o->globs; *word; word++)
			command = add_word(command, *word);
		return command;
	}
	/* a failure of the environment itself is nobody's case */
	return strcmp(name, run->env->name) ? add_word(command, name) : command;
}
