// SPDX-License-Identifier: GPL-2.0-only
// Its init asks for another module; what came of it is in /sys/module/kmg_outer/parameters/result.
#include <linux/kmod.h>
#include <linux/module.h>

static int result = -1;
module_param(result, int, 0444);
MODULE_PARM_DESC(result, "what request_module gave: 0, a wait status, or a negative errno");

static int __init kmg_outer_init(void)
{
	result = request_module("kmg-inner");
	return 0;
}

static void __exit kmg_outer_exit(void)
{
}

module_init(kmg_outer_init);
module_exit(kmg_outer_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_outer");
MODULE_LICENSE("GPL");
