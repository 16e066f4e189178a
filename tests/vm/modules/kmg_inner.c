// SPDX-License-Identifier: GPL-2.0-only
// Does nothing; what kmg_outer asks for and kmg_soft wants before itself.
#include <linux/module.h>

static int __init kmg_inner_init(void)
{
	return 0;
}

static void __exit kmg_inner_exit(void)
{
}

module_init(kmg_inner_init);
module_exit(kmg_inner_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_inner");
MODULE_LICENSE("GPL");
