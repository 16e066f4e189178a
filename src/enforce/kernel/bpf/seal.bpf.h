/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * What a sealed machine keeps its root from: taking the pins away, getting hold of the maps, changing the
 * kernel's handler of module requests, starting another kernel, writing to this one's memory.
 * These programs are loaded and attached when the machine is sealed and cost nothing before.
 */
#ifndef KMODGUARD_SEAL_BPF_H
#define KMODGUARD_SEAL_BPF_H

#include "mounts.bpf.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define WRITABLE 2 /* FMODE_WRITE */

/* By id, those maps that no process gets a descriptor of; filled by the seal. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_PROTECTED);
	__type(key, __u32);
	__type(value, __u8);
} protected_maps SEC(".maps");

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

static __always_inline bool is_pin_directory(const struct guard_settings *now, const struct inode *inode)
{
	return BPF_CORE_READ(inode, i_ino) == now->pin_directory_inode &&
	       BPF_CORE_READ(inode, i_sb, s_dev) == now->pin_directory_device;
}

static bool holds_pins(const struct inode *inode)
{
	const struct guard_settings *now = sealed_settings();

	return now && is_pin_directory(now, inode);
}

static __always_inline int seal_removal(const struct inode *directory, const struct dentry *removed)
{
	return holds_pins(directory) || carries_pins(removed) ? forbid(GUARD_FORBIDDEN_UNPIN) : 0;
}

/* Exchanging two names is asked about once, or twice with the roles swapped, by kernel and mechanism. */
static __always_inline int seal_rename(const struct inode *from, const struct dentry *moved, const struct inode *to,
				       const struct dentry *replaced)
{
	const struct inode *inode = BPF_CORE_READ(moved, d_inode), *other = BPF_CORE_READ(replaced, d_inode);

	return holds_pins(from) || holds_pins(to) || (inode && holds_pins(inode)) || (other && holds_pins(other)) ||
			       carries_pins(replaced) ?
		       forbid(GUARD_FORBIDDEN_UNPIN) :
		       0;
}

/* A name of up to 15 bytes as two words: comparing those takes the verifier no loop. */
struct short_name {
	__u64 half[2];
};

static __always_inline struct short_name name_of(const struct dentry *dentry)
{
	struct short_name name = {};

	bpf_probe_read_kernel_str(&name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	return name;
}

static __always_inline bool is_called(const struct short_name *name, const struct short_name *wanted)
{
	return name->half[0] == wanted->half[0] && name->half[1] == wanted->half[1];
}

/* Eight characters as they lie in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WORD(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#else
#define WORD(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(h) | (__u64)(g) << 8 | (__u64)(f) << 16 | (__u64)(e) << 24 | (__u64)(d) << 32 | (__u64)(c) << 40 |    \
	 (__u64)(b) << 48 | (__u64)(a) << 56)
#endif

/* Opening for writing, through whichever mount: /proc/sys/kernel/modprobe; and ftrace_enabled, since programs are called
 * through what it switches off. */
static __always_inline int seal_open(const struct file *file)
{
	struct guard_settings *now = current_settings();

	if (now && !now->sealed) {
		if (is_pin_directory(now, BPF_CORE_READ(file, f_inode)))
			note_mounts(now, BPF_CORE_READ(file, f_path.mnt));
		return 0;
	}
	if (!(BPF_CORE_READ(file, f_mode) & WRITABLE) ||
	    BPF_CORE_READ(file, f_inode, i_sb, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	const struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	const struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	const struct short_name setting = name_of(dentry), directory = name_of(parent),
				above = name_of(BPF_CORE_READ(parent, d_parent));
	const struct short_name modprobe = {{WORD('m', 'o', 'd', 'p', 'r', 'o', 'b', 'e'), 0}};
	const struct short_name tracing = {{WORD('f', 't', 'r', 'a', 'c', 'e', '_', 'e'), WORD('n', 'a', 'b', 'l', 'e', 'd', 0, 0)}};
	const struct short_name kernel = {{WORD('k', 'e', 'r', 'n', 'e', 'l', 0, 0), 0}};
	const struct short_name sys = {{WORD('s', 'y', 's', 0, 0, 0, 0, 0), 0}};
	if ((!is_called(&setting, &modprobe) && !is_called(&setting, &tracing)) || !is_called(&directory, &kernel) ||
	    !is_called(&above, &sys))
		return 0;
	return forbid(GUARD_FORBIDDEN_HANDLER);
}

/* Programs that could overrule these: those that replace functions of others, and those that answer for the kernel's
 * security hooks, where a positive answer skips all that come after and is no refusal to some callers. */
static __always_inline bool overrules(__u32 type, __u32 attach)
{
	return type == BPF_PROG_TYPE_EXT || type == BPF_PROG_TYPE_LSM ||
	       (type == BPF_PROG_TYPE_TRACING && attach == BPF_MODIFY_RETURN);
}

static __always_inline int seal_bpf(int command, const union bpf_attr *attributes)
{
	__u32 type = 0, attach = 0;
	__u64 name = 0;

	if (!is_sealed())
		return 0;
	switch (command) {
	case BPF_PROG_LOAD:
		bpf_probe_read_kernel(&type, sizeof(type), &attributes->prog_type);
		bpf_probe_read_kernel(&attach, sizeof(attach), &attributes->expected_attach_type);
		return overrules(type, attach) ? forbid(GUARD_FORBIDDEN_BPF) : 0;
	case BPF_RAW_TRACEPOINT_OPEN: /* without a name: a program of one of those types, loaded before the seal */
		bpf_probe_read_kernel(&name, sizeof(name), &attributes->raw_tracepoint.name);
		return name ? 0 : forbid(GUARD_FORBIDDEN_BPF);
	case BPF_LINK_CREATE:
		bpf_probe_read_kernel(&attach, sizeof(attach), &attributes->link_create.attach_type);
		return attach == BPF_LSM_MAC || attach == BPF_MODIFY_RETURN ? forbid(GUARD_FORBIDDEN_BPF) : 0;
	default:
		return 0;
	}
}

/* Who has a map, by whichever descriptor, can have a program of his own write to it, frozen or not, or put it into a
 * map of maps. So no process gets one of those that the verdict depends on, nor of the key of contents. */
static __always_inline int seal_map(const struct bpf_map *map)
{
	const struct guard_settings *now = sealed_settings();
	const __u32 id = BPF_CORE_READ(map, id);

	if (!now || !bpf_map_lookup_elem(&protected_maps, &id))
		return 0;
	if (id == now->settings_map) /* kmodctl and the daemon see by this one that it is sealed: nothing to record */
		return -EPERM;
	return forbid(GUARD_FORBIDDEN_BPF);
}

/* What lockdown(7) in integrity mode refuses, but for unsigned modules: ways to write to the kernel's memory, or to leave
 * it for another. */
static __always_inline int seal_kernel(__u64 what)
{
	if (!is_sealed() || what < bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_DEV_MEM) ||
	    what >= bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_INTEGRITY_MAX))
		return 0;
	if (what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_HIBERNATION))
		return -EPERM; /* asked whenever a process reads /sys/power/state: nothing to record */
	return forbid(what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_KEXEC) ? GUARD_FORBIDDEN_KEXEC :
											   GUARD_FORBIDDEN_MEMORY);
}

#endif
