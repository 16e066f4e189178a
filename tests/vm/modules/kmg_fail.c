// SPDX-License-Identifier: GPL-2.0-only
// Its init fails: the module passes every check and is not loaded all the same.
#include <linux/module.h>

static int __init kmg_fail_init(void)
{
	return -ENODEV;
}

static void __exit kmg_fail_exit(void)
{
}

module_init(kmg_fail_init);
module_exit(kmg_fail_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_fail");
MODULE_LICENSE("GPL");
