// SPDX-License-Identifier: GPL-2.0-only
// Has soft dependencies, before and after.
#include <linux/module.h>

static int __init kmg_soft_init(void)
{
	return 0;
}

static void __exit kmg_soft_exit(void)
{
}

module_init(kmg_soft_init);
module_exit(kmg_soft_exit);
MODULE_SOFTDEP("pre: kmg_inner post: kmg_twin_a");
MODULE_DESCRIPTION("kmodguard test: kmg_soft");
MODULE_LICENSE("GPL");
