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

#define SECOND 1000000000ULL
#define RECORDS_SIZE (1024 * 1024) /* bytes: some 600 records */
#define REQUESTS_SIZE (512 * 1024)

/* Images, and what the seal forbids. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RECORDS_SIZE);
} records SEC(".maps");

/* Requests, which any process can make: in a ring of their own, so that they push out nothing else. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, REQUESTS_SIZE);
} requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Records a second. */
#define REQUESTS_OF_ALL 400 /* the one who reads must not drown */
#define REQUESTS_OF_ONE 100
#define RECORDS_OF_ONE 32 /* and that only while many wait to be read */
#define RECORDED_A_SECOND 8 /* of refusals that are the same; more are counted */

struct guard_budget {
	__u64 window; /* ns, when the current second began */
	__u64 spent;
};

struct guard_budgets {
	struct guard_budget requests;
	struct guard_budget records;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_budget);
} budget SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_MAX_OWNERS);
	__type(key, struct guard_owner);
	__type(value, struct guard_budgets);
} budgets SEC(".maps");

/* User space takes entries out, and reports what they have counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_REPEATS);
	__type(key, struct guard_refusal);
	__type(value, struct guard_repeats);
} repeats SEC(".maps");

static __always_inline void count_many(__u32 which, __u64 many)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);

	if (counter)
		__sync_fetch_and_add(counter, many); /* another task may interrupt on the same processor */
}

static void count(__u32 which)
{
	count_many(which, 1);
}

/* Whether one more record can be taken in this second. */
static __always_inline bool within(struct guard_budget *some, __u64 limit)
{
	const __u64 now = bpf_ktime_get_boot_ns();

	if (now - some->window >= SECOND) {
		some->window = now;
		some->spent = 0;
	}
	return __sync_fetch_and_add(&some->spent, 1) < limit;
}

#define MAX_NAMESPACES 33 /* that lie in one another (kernel/user_namespace.c) */

/* Both of no value that the verifier knows, before the loop and after it (scratch.bpf.h says why that matters). */
struct guard_ascent {
	__u64 namespace;
	__u64 user;
};

static long on_namespace(__u32 index, void *context)
{
	struct guard_ascent *ascent = context;
	const struct user_namespace *namespace = (const void *)ascent->namespace;
	const struct user_namespace *parent = BPF_CORE_READ(namespace, parent);

	if (!parent)
		return 1;
	ascent->user = BPF_CORE_READ(namespace, owner.val);
	ascent->namespace = (__u64)parent;
	return 0;
}

static __noinline void find_owner(struct guard_owner *owner)
{
	const struct task_struct *task = (const void *)bpf_get_current_task();
	struct guard_ascent ascent = {
		.namespace = (__u64)BPF_CORE_READ(task, cred, user_ns),
		.user = (__u32)bpf_get_current_uid_gid(),
	};

	bpf_loop(MAX_NAMESPACES, on_namespace, &ascent, 0);
	owner->unused = 0;
	owner->user = (__u32)ascent.user;
	owner->cgroup = bpf_get_current_ancestor_cgroup_id(2);
	if (!owner->cgroup)
		owner->cgroup = bpf_get_current_cgroup_id();
}

/* NULL if there is no room. */
static __always_inline struct guard_budgets *budgets_of(const struct guard_owner *owner)
{
	const struct guard_budgets fresh = {};
	struct guard_budgets *known = bpf_map_lookup_elem(&budgets, owner);

	if (known)
		return known;
	bpf_map_update_elem(&budgets, owner, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&budgets, owner);
}

/* Whether one more request of `owner` can be recorded now. */
static __always_inline bool request_within_budget(const struct guard_owner *owner)
{
	const __u32 zero = 0;
	struct guard_budget *all = bpf_map_lookup_elem(&budget, &zero);
	struct guard_budgets *own = budgets_of(owner);

	return own && within(&own->requests, REQUESTS_OF_ONE) && all && within(all, REQUESTS_OF_ALL);
}

/* What was counted and not recorded. */
struct guard_counted {
	__u64 since;
	__u64 repeated;
};

static __always_inline struct guard_repeats *repeats_of(const struct guard_refusal *refusal)
{
	struct guard_repeats fresh = {};
	struct guard_repeats *known = bpf_map_lookup_elem(&repeats, refusal);

	if (known)
		return known;
	fresh.window = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&repeats, refusal, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&repeats, refusal);
}

/* Whether this refusal is to be recorded, with what was counted before. If not, it is counted. */
static __noinline bool is_to_be_recorded(const struct guard_refusal *refusal, struct guard_counted *counted, bool request)
{
	const __u64 now = bpf_ktime_get_boot_ns();
	struct guard_repeats *known = repeats_of(refusal);
	bool record = true;

	if (known && now - known->window >= SECOND) {
		known->window = now;
		known->recorded = 0;
	}
	if (known)
		record = known->recorded < RECORDED_A_SECOND;
	if (record && request)
		record = request_within_budget(&refusal->owner);
	if (!known) { /* too many kinds: recorded, or lost */
		if (!record)
			count(GUARD_LOST);
		return record;
	}
	if (record) {
		++known->recorded;
		counted->since = known->since;
		counted->repeated = __sync_lock_test_and_set(&known->unrecorded, 0);
		return true;
	}
	if (!__sync_fetch_and_add(&known->unrecorded, 1))
		known->since = now;
	const struct task_struct *task = (const void *)bpf_get_current_task();
	known->last = now;
	known->pid = bpf_get_current_pid_tgid() >> 32;
	known->uid = (__u32)bpf_get_current_uid_gid();
	known->kernel_thread = (BPF_CORE_READ(task, flags) & PF_KTHREAD) != 0;
	bpf_get_current_comm(known->command, sizeof(known->command));
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

/* What may wait to be read, in bytes: up to the first limit any process's, up to the second a little of each. What is refused
 * leaves most of the room to what was loaded or let pass, and to what the seal forbids. */
static __noinline bool has_room(bool important)
{
	const __u64 waiting = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA);
	struct guard_owner owner = {};

	if (waiting < (important ? RECORDS_SIZE / 2 : RECORDS_SIZE / 8))
		return true;
	if (!important && waiting >= RECORDS_SIZE / 4)
		return false;
	find_owner(&owner);
	struct guard_budgets *own = budgets_of(&owner);
	return own && within(&own->records, RECORDS_OF_ONE);
}

/* Hands the record to user space. One that finds no room is counted, with those that it counts. */
static __noinline void submit(struct guard_scratch *s, bool important)
{
	s->record.time = bpf_ktime_get_boot_ns();
	if (!has_room(important) || bpf_ringbuf_output(&records, &s->record, sizeof(s->record), 0))
		count_many(GUARD_LOST, 1 + s->record.repeated);
}

/* False: there was no room. */
static __noinline bool submit_request(struct guard_scratch *s)
{
	s->record.time = bpf_ktime_get_boot_ns();
	return !bpf_ringbuf_output(&requests, &s->record, sizeof(s->record), 0);
}

#endif
