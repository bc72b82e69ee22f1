// SPDX-License-Identifier: GPL-2.0-only
/*
 * main() of every test binary. Alone in its file: a program with a main() of its
 * own can link the library without it.
 */
#include "lib/test.h"

int main(int argc, char **argv)
{
	return test_main(argc, argv);
}
