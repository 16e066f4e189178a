/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * What a sealed machine keeps its root from: taking the pins away, getting hold of the maps, changing the
 * kernel's handler of module requests, starting another kernel, writing to this one's memory.
 * These programs are attached when the machine is sealed and cost nothing before.
 */
#ifndef KMODGUARD_SEAL_BPF_H
#define KMODGUARD_SEAL_BPF_H

#include "record.bpf.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define WRITABLE 2 /* FMODE_WRITE */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_settings);
} settings SEC(".maps");

/* Names taken away since the seal. User space cannot write here, only have `tighten` do it: it can add. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_MODULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_name);
	__type(value, __u8);
} tightened SEC(".maps");

SEC("syscall")
int tighten(struct guard_name *name)
{
	const __u8 yes = 1;
	struct guard_name key;

	for (int i = 0; i < GUARD_NAME_SIZE; ++i)
		key.text[i] = name->text[i];
	return (int)bpf_map_update_elem(&tightened, &key, &yes, BPF_ANY);
}

static const struct guard_settings *current_settings(void)
{
	const __u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static bool is_sealed(void)
{
	const struct guard_settings *now = current_settings();

	return now && now->sealed;
}

/* Records the attempt and refuses it. */
static __noinline int forbid(__u32 what)
{
	struct guard_scratch *s = begin_scratch();

	if (s) {
		s->record.kind = GUARD_SEAL;
		s->record.reason = what;
		s->record.refused = 1;
		record_requester(s);
		submit(s);
		end_scratch();
	}
	return -EPERM;
}

static bool holds_pins(const struct inode *inode)
{
	const struct guard_settings *now = current_settings();

	return now && BPF_CORE_READ(inode, i_ino) == now->pin_directory_inode &&
	       BPF_CORE_READ(inode, i_sb, s_dev) == now->pin_directory_device;
}

static __always_inline int seal_removal(const struct inode *directory)
{
	return holds_pins(directory) ? forbid(GUARD_FORBIDDEN_UNPIN) : 0;
}

static __always_inline int seal_rename(const struct inode *from, const struct dentry *moved, const struct inode *to,
				       const struct dentry *replaced)
{
	const struct inode *inode = BPF_CORE_READ(moved, d_inode);

	return holds_pins(from) || holds_pins(to) || (inode && holds_pins(inode)) ? forbid(GUARD_FORBIDDEN_UNPIN) : 0;
}

static __always_inline int seal_unmount(const struct vfsmount *mount)
{
	const struct guard_settings *now = current_settings();

	if (!now || BPF_CORE_READ(mount, mnt_sb, s_dev) != now->pin_directory_device)
		return 0;
	return forbid(GUARD_FORBIDDEN_UNMOUNT);
}

static __always_inline bool is_called(const struct dentry *dentry, const char *name, int size)
{
	char text[16] = {};

	bpf_probe_read_kernel_str(text, sizeof(text), BPF_CORE_READ(dentry, d_name.name));
	for (int i = 0; i < size; ++i)
		if (text[i] != name[i])
			return false;
	return true;
}

/* Opening /proc/sys/kernel/modprobe for writing, through whichever mount. */
static __always_inline int seal_open(const struct file *file)
{
	if (!(BPF_CORE_READ(file, f_mode) & WRITABLE) ||
	    BPF_CORE_READ(file, f_inode, i_sb, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	const struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	const struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	if (!is_called(dentry, "modprobe", sizeof("modprobe")) || !is_called(parent, "kernel", sizeof("kernel")) ||
	    !is_called(BPF_CORE_READ(parent, d_parent), "sys", sizeof("sys")))
		return 0;
	return forbid(GUARD_FORBIDDEN_HANDLER);
}

/* A program that replaces a function of another could replace one of these. */
static __always_inline int seal_bpf(int command, const union bpf_attr *attributes)
{
	__u32 type = 0;

	if (command != BPF_PROG_LOAD)
		return 0;
	bpf_probe_read_kernel(&type, sizeof(type), &attributes->prog_type);
	return type == BPF_PROG_TYPE_EXT ? forbid(GUARD_FORBIDDEN_BPF) : 0;
}

/* Who has a map, by whichever descriptor, can have a program of his own write to it, frozen or not, or put it into a
 * map of maps. So nobody gets one of those that the verdict depends on, nor of the key of contents. */
static __always_inline int seal_map(const struct bpf_map *map)
{
	const struct guard_settings *now = current_settings();
	const __u32 id = BPF_CORE_READ(map, id);
	__u32 found = 0;

	if (!now)
		return 0;
	for (int i = 0; i < GUARD_PROTECTED; ++i)
		found |= now->protected_maps[i] == id;
	return found ? forbid(GUARD_FORBIDDEN_BPF) : 0;
}

/* What lockdown(7) would refuse as well: ways to write to the kernel's memory, or to leave it for another. */
static __always_inline int seal_kernel(__u64 what)
{
	if (what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_KEXEC))
		return forbid(GUARD_FORBIDDEN_KEXEC);
	if (what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_DEV_MEM) ||
	    what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_HIBERNATION) ||
	    what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_BPF_WRITE_USER) ||
	    what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_DBG_WRITE_KERNEL))
		return forbid(GUARD_FORBIDDEN_MEMORY);
	return 0;
}

#endif
