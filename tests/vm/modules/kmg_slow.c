// SPDX-License-Identifier: GPL-2.0-only
// Its init takes as long as it is told: for loads that overlap.
#include <linux/delay.h>
#include <linux/module.h>

static unsigned int milliseconds = 1000;
module_param(milliseconds, uint, 0444);
MODULE_PARM_DESC(milliseconds, "how long the load takes");

static int __init kmg_slow_init(void)
{
	msleep(milliseconds);
	return 0;
}

static void __exit kmg_slow_exit(void)
{
}

module_init(kmg_slow_init);
module_exit(kmg_slow_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_slow");
MODULE_LICENSE("GPL");
