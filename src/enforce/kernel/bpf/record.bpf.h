/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * The record of an attempt: who tried, from which file, with what outcome. Everything is read here and now, in
 * the attempting task's own context: a moment later it may be gone.
 */
#ifndef KMODGUARD_RECORD_BPF_H
#define KMODGUARD_RECORD_BPF_H

#include "scratch.bpf.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define MAX_DEPTH 64 /* components of a path */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#define BUDGET 200 /* records a second, of all but images */

struct guard_budget {
	__u64 window; /* ns, when the current second began */
	__u64 spent;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_budget);
} budget SEC(".maps");

static void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);

	if (counter)
		__sync_fetch_and_add(counter, 1); /* another task may interrupt on the same processor */
}

/* Whether one more record can be taken now: anybody can make the kernel ask for modules, and the one who reads must not
 * drown. What is left out is counted. */
static bool within_budget(void)
{
	const __u32 zero = 0;
	const __u64 now = bpf_ktime_get_boot_ns();
	struct guard_budget *all = bpf_map_lookup_elem(&budget, &zero);

	if (!all)
		return false;
	if (now - all->window >= 1000000000ULL) {
		all->window = now;
		all->spent = 0;
	}
	if (__sync_fetch_and_add(&all->spent, 1) < BUDGET)
		return true;
	count(GUARD_LOST);
	return false;
}

/* Appends a component. False: the path is full, or the component longer than any that is kept. */
static __always_inline bool append(struct guard_path *path, const void *name)
{
	const __u32 used = path->size;

	if (used > GUARD_PATH_SIZE - GUARD_COMPONENT_SIZE)
		return false;
	const long length = bpf_probe_read_kernel_str(path->text + used, GUARD_COMPONENT_SIZE, name);
	if (length <= 0 || length == GUARD_COMPONENT_SIZE)
		return false;
	path->size = used + (__u32)length;
	return true;
}

static long on_dentry(__u32 index, void *context)
{
	struct guard_loop *loop = context;
	struct guard_scratch *s = loop->scratch;

	if (!s || !loop->path)
		return 1;
	const struct dentry *dentry = (const void *)s->place;
	const struct mount *mount = (const void *)s->mount;
	const struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		const struct mount *above = BPF_CORE_READ(mount, mnt_parent);
		if (above == mount || !above) {
			loop->path->whole = 1;
			return 1;
		}
		s->place = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		s->mount = (__u64)above;
		return 0;
	}
	if (dentry == parent || !parent) { /* of no mount that is seen: a memfd, or unlinked with its directory */
		append(loop->path, BPF_CORE_READ(dentry, d_name.name));
		return 1;
	}
	if (!append(loop->path, BPF_CORE_READ(dentry, d_name.name)))
		return 1;
	s->place = (__u64)parent;
	return 0;
}

static __noinline void record_file(struct guard_scratch *s, struct guard_path *path, const struct file *file)
{
	struct guard_loop loop = {.scratch = s, .path = path};
	const struct vfsmount *mount = BPF_CORE_READ(file, f_path.mnt);

	if (!mount)
		return;
	s->place = (__u64)BPF_CORE_READ(file, f_path.dentry);
	s->mount = (__u64)mount - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(MAX_DEPTH, on_dentry, &loop, 0);
}

static __always_inline const struct kernfs_node *parent_of(const struct kernfs_node *node)
{
	const struct kernfs_node___renamed *renamed = (const void *)node;

	if (bpf_core_field_exists(renamed->__parent))
		return BPF_CORE_READ(renamed, __parent);
	return BPF_CORE_READ(node, parent);
}

static long on_cgroup(__u32 index, void *context)
{
	struct guard_loop *loop = context;
	struct guard_scratch *s = loop->scratch;

	if (!s || !loop->path)
		return 1;
	const struct kernfs_node *node = (const void *)s->place;
	const struct kernfs_node *parent = parent_of(node);

	if (!parent) {
		loop->path->whole = 1;
		return 1;
	}
	if (!append(loop->path, BPF_CORE_READ(node, name)))
		return 1;
	s->place = (__u64)parent;
	return 0;
}

static __noinline void record_requester(struct guard_scratch *s)
{
	struct guard_requester *by = &s->record.requester;
	struct guard_loop loop = {.scratch = s, .path = &by->cgroup};
	const struct task_struct *task = (const void *)bpf_get_current_task();
	const __u64 both = bpf_get_current_pid_tgid();

	by->pid = both >> 32;
	by->thread = (__u32)both;
	by->uid = (__u32)bpf_get_current_uid_gid();
	by->user_namespace = BPF_CORE_READ(task, cred, user_ns, ns.inum);
	by->kernel_thread = (BPF_CORE_READ(task, flags) & PF_KTHREAD) != 0;
	by->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(by->command, sizeof(by->command));
	const struct file *executable = BPF_CORE_READ(task, mm, exe_file);
	if (executable)
		record_file(s, &by->executable, executable);
	s->place = (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	if (s->place)
		bpf_loop(MAX_DEPTH, on_cgroup, &loop, 0);
}

/* Hands the record to user space. One that finds no room is counted. */
static __noinline void submit(struct guard_scratch *s)
{
	s->record.time = bpf_ktime_get_boot_ns();
	if (bpf_ringbuf_output(&records, &s->record, sizeof(s->record), 0))
		count(GUARD_LOST);
}

#endif
