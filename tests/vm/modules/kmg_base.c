// SPDX-License-Identifier: GPL-2.0-only
// Exports a function, so that kmg_needs_base depends on it.
#include <linux/module.h>

int kmg_base_answer(void);

int kmg_base_answer(void)
{
	return 42;
}
EXPORT_SYMBOL_GPL(kmg_base_answer);

MODULE_DESCRIPTION("kmodguard test: kmg_base");
MODULE_LICENSE("GPL");
