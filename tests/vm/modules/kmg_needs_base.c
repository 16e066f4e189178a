// SPDX-License-Identifier: GPL-2.0-only
// Depends on kmg_base by a symbol: a hard dependency.
#include <linux/module.h>

int kmg_base_answer(void);

static int __init kmg_needs_base_init(void)
{
	return kmg_base_answer() == 42 ? 0 : -EINVAL;
}

static void __exit kmg_needs_base_exit(void)
{
}

module_init(kmg_needs_base_init);
module_exit(kmg_needs_base_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_needs_base");
MODULE_LICENSE("GPL");
