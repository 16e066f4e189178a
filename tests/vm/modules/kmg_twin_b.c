// SPDX-License-Identifier: GPL-2.0-only
// The other of two modules behind a single alias.
#include <linux/module.h>

static int __init kmg_twin_b_init(void)
{
	return 0;
}

static void __exit kmg_twin_b_exit(void)
{
}

module_init(kmg_twin_b_init);
module_exit(kmg_twin_b_exit);
MODULE_ALIAS("kmg-twins");
MODULE_DESCRIPTION("kmodguard test: kmg_twin_b");
MODULE_LICENSE("GPL");
