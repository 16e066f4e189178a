// SPDX-License-Identifier: GPL-2.0-only
// Shows which parameters it was loaded with, in /sys/module/kmg_param/parameters.
#include <linux/module.h>

static char *text = "unset";
module_param(text, charp, 0444);
MODULE_PARM_DESC(text, "any text");

static int number;
module_param(number, int, 0444);
MODULE_PARM_DESC(number, "any number");

static int __init kmg_param_init(void)
{
	return 0;
}

static void __exit kmg_param_exit(void)
{
}

module_init(kmg_param_init);
module_exit(kmg_param_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_param");
MODULE_LICENSE("GPL");
