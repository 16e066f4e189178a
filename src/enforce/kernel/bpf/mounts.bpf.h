/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * The pins of a sealed machine live as long as the file system that they are in, and that lives as long as it is
 * mounted. It goes with any mount above it that is taken away as a whole (umount -l /sys), with a copy of such a
 * mount whose end is carried over to the original, and with a directory that is removed where, in another
 * namespace, nothing is mounted on it. The kernel asks no program about the mounts that go along.
 */
#ifndef KMODGUARD_MOUNTS_BPF_H
#define KMODGUARD_MOUNTS_BPF_H

#include "settings.bpf.h"

#define MOST_STEPS (1U << 16) /* of a walk: two for each mount */
#define MOVES 8192 /* MS_MOVE */
#define BPF_FS_MAGIC 0xcafe4a11

static __always_inline const struct mount *mount_of(const struct vfsmount *mount)
{
	return (const void *)((__u64)mount - bpf_core_field_offset(struct mount, mnt));
}

/* Notes where the pins are mounted, when their directory is opened: the seal does so before it is in force. Each of
 * these mounts and directories stays what it is from then on, so that their addresses are as good as names. */
static __noinline int note_mounts(struct guard_settings *now, const struct vfsmount *pins)
{
	const struct mount *mount = mount_of(pins);

	if (!now)
		return 0;
	now->mounts_are_known = 0;
	now->mount_namespace = (__u64)BPF_CORE_READ(mount, mnt_ns);
	for (int i = 0; i < GUARD_MOUNTS; ++i) {
		const struct mount *above = BPF_CORE_READ(mount, mnt_parent);
		const bool is_root = above == mount || !above;
		now->mounts[i] = (__u64)mount;
		now->mountpoints[i] = is_root ? 0 : (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		now->mounts_are_known |= is_root;
		mount = above;
	}
	return 0;
}

/* Whether a directory has one of these mounts on it, in whichever namespace. */
static __always_inline bool carries_pins(const struct dentry *dentry)
{
	const struct guard_settings *now = sealed_settings();

	if (!now || !dentry)
		return false;
	for (int i = 0; i < GUARD_MOUNTS; ++i)
		if (now->mountpoints[i] == (__u64)dentry)
			return true;
	return false;
}

static __always_inline bool is_mount_of_pins(const struct guard_settings *now, const struct mount *mount)
{
	for (int i = 0; i < GUARD_MOUNTS; ++i)
		if (now->mounts[i] == (__u64)mount)
			return true;
	return false;
}

/* Whether the pins would lose their mount with `mount`: it is that one, or a copy whose end is carried over to it. Other
 * copies, a container's for example, may go. */
static __always_inline bool would_be_missed(const struct guard_settings *now, const struct mount *mount)
{
	return now->mounts[0] == (__u64)mount ||
	       (BPF_CORE_READ(mount, mnt.mnt_sb, s_dev) == now->pin_directory_device &&
		BPF_CORE_READ(mount, mnt_parent, mnt_group_id) != 0);
}

/* The walk of next_mnt() in fs/namespace.c, one step. */
static long on_mount(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;
	const struct guard_settings *now = sealed_settings();

	if (!s || !now)
		return 1;
	const struct mount *mount = (const void *)s->mount;
	if (!s->rising) {
		if (would_be_missed(now, mount))
			return 1;
		const __u64 below = (__u64)BPF_CORE_READ(mount, mnt_mounts.next);
		if (below != s->mount + bpf_core_field_offset(struct mount, mnt_mounts)) {
			s->mount = below - bpf_core_field_offset(struct mount, mnt_child);
			return 0;
		}
	}
	if (s->mount == s->top) {
		s->walk_ended = 1;
		return 1;
	}
	const __u64 next = (__u64)BPF_CORE_READ(mount, mnt_child.next);
	const __u64 parent = (__u64)BPF_CORE_READ(mount, mnt_parent);
	s->rising = next == parent + bpf_core_field_offset(struct mount, mnt_mounts);
	s->mount = s->rising ? parent : next - bpf_core_field_offset(struct mount, mnt_child);
	return 0;
}

/* Whether that is `top`, or something below it. More mounts than can be looked at are taken for it. */
static __noinline bool has_pins_below(const struct vfsmount *top)
{
	struct guard_scratch *s = begin_scratch();
	struct guard_loop loop = {.scratch = s};

	if (!s)
		return true;
	s->top = (__u64)mount_of(top);
	s->mount = s->top;
	bpf_loop(MOST_STEPS, on_mount, &loop, 0);
	const bool found = !s->walk_ended;
	end_scratch();
	return found;
}

static __always_inline int seal_unmount(const struct vfsmount *mount)
{
	const struct guard_settings *now = sealed_settings();

	if (!now)
		return 0;
	if (BPF_CORE_READ(mount, mnt_sb, s_dev) == now->pin_directory_device || has_pins_below(mount))
		return forbid(GUARD_FORBIDDEN_UNMOUNT);
	return 0;
}

/* A mount that is moved could be moved to where its directory can be removed. */
static __always_inline int seal_move(const struct path *from, const struct path *to)
{
	const struct guard_settings *now = sealed_settings();
	const struct vfsmount *target = BPF_CORE_READ(to, mnt);
	const bool is_root = BPF_CORE_READ(to, dentry) == BPF_CORE_READ(target, mnt_root);

	if (!now)
		return 0;
	/* What is put beneath a mount becomes what that is mounted on. */
	if ((is_root && is_mount_of_pins(now, mount_of(target))) || has_pins_below(BPF_CORE_READ(from, mnt)))
		return forbid(GUARD_FORBIDDEN_UNMOUNT);
	return 0;
}

/* The mount that is to be moved is known by its path here only, which the kernel has not looked up yet. */
static __always_inline int seal_own_namespace(void)
{
	const struct guard_settings *now = sealed_settings();
	const struct task_struct *task = (const void *)bpf_get_current_task();

	if (!now || (__u64)BPF_CORE_READ(task, nsproxy, mnt_ns) != now->mount_namespace)
		return 0;
	return forbid(GUARD_FORBIDDEN_UNMOUNT);
}

#endif
