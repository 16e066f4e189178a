// SPDX-License-Identifier: GPL-2.0-only
// Its init takes as long as it is told, or until it is told to end: for loads that overlap.
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/wait.h>

static unsigned int milliseconds = 1000;
module_param(milliseconds, uint, 0444);
MODULE_PARM_DESC(milliseconds, "how long the load takes");

static DECLARE_WAIT_QUEUE_HEAD(changed);
static bool hold;

static int set_hold(const char *text, const struct kernel_param *param)
{
	int error = param_set_bool(text, param);

	wake_up_all(&changed);
	return error;
}

static const struct kernel_param_ops hold_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = set_hold,
	.get = param_get_bool,
};
module_param_cb(hold, &hold_ops, &hold, 0644);
MODULE_PARM_DESC(hold, "the load takes until 0 is written to this");

static int __init kmg_slow_init(void)
{
	if (hold)
		return wait_event_killable(changed, !READ_ONCE(hold));
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
