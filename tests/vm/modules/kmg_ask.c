// SPDX-License-Identifier: GPL-2.0-only
// Asks for any token: write it to /proc/kmg_ask (all bytes count, also a newline), then read what
// request_module gave from the same open file: 0, a wait status (exit status << 8), or a negative errno.
// Anybody may: the kernel's own callers of request_module serve unprivileged users too.
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define LONGEST 8192

struct answer {
	int result;
};

static int ask_open(struct inode *inode, struct file *file)
{
	file->private_data = kzalloc(sizeof(struct answer), GFP_KERNEL);
	return file->private_data ? 0 : -ENOMEM;
}

static int ask_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static ssize_t ask_write(struct file *file, const char __user *text, size_t size, loff_t *at)
{
	struct answer *answer = file->private_data;
	char *token;

	if (size > LONGEST)
		return -E2BIG;
	token = memdup_user_nul(text, size);
	if (IS_ERR(token))
		return PTR_ERR(token);
	answer->result = request_module("%s", token);
	kfree(token);
	*at = 0;
	return size;
}

static ssize_t ask_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct answer *answer = file->private_data;
	char text[16];
	int length = snprintf(text, sizeof(text), "%d\n", answer->result);

	return simple_read_from_buffer(to, size, at, text, length);
}

static const struct proc_ops ask_operations = {
	.proc_open = ask_open,
	.proc_release = ask_release,
	.proc_write = ask_write,
	.proc_read = ask_read,
	.proc_lseek = default_llseek,
};

static int __init kmg_ask_init(void)
{
	return proc_create("kmg_ask", 0666, NULL, &ask_operations) ? 0 : -ENOMEM;
}

static void __exit kmg_ask_exit(void)
{
	remove_proc_entry("kmg_ask", NULL);
}

module_init(kmg_ask_init);
module_exit(kmg_ask_exit);
MODULE_DESCRIPTION("kmodguard test: kmg_ask");
MODULE_LICENSE("GPL");
