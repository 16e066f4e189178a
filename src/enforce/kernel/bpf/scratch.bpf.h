/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * Room to judge one attempt in. It is the judging task's own: were it the processor's, a task that is
 * preempted in the middle would go on with what another left there, and be judged by the wrong name. It is map
 * memory and not the stack, which is too small, and which older verifiers reason too cleverly about: they take
 * what a loop's body has stored for what was there before.
 */
#ifndef KMODGUARD_SCRATCH_BPF_H
#define KMODGUARD_SCRATCH_BPF_H

#include "layout.h"

#include <linux/elf.h>

struct guard_scratch {
	/* The image, and what is known of it so far (image.bpf.h). */
	__u64 bytes; /* kernel address */
	__u64 size;
	__u64 section_headers;
	__u64 names; /* offset of the section name table */
	__u64 names_size;
	__u64 this_module_offset;
	__u64 this_module_size;
	__u64 modinfo_offset;
	__u64 modinfo_size;
	__u32 section_count;
	__u32 this_module; /* section index; 0: none yet */
	__u32 modinfo;
	__u32 problem;
	__u64 cursor; /* in .modinfo */
	__u32 inside_record;
	__u32 names_seen; /* name= records */
	__u32 name_ended;
	__u32 names_differ;
	/* The relocations of one section. */
	__u64 relocations;
	__u64 relocation_size;
	union {
		Elf64_Ehdr header;
		Elf64_Shdr section;
	};
	char text[64];
	/* Digests. */
	__u64 siphash[4];
	__u64 chunk[32];
	__u32 sha256[8];
	__u32 words[64];
	/* A walk from a path's last component to its first. */
	__u64 place; /* dentry or kernfs_node */
	__u64 mount;
	/* A walk over what is mounted below a mount (mounts.bpf.h). */
	__u64 top;
	__u32 rising; /* all below `mount` was seen */
	__u32 walk_ended;
	struct guard_name other_name; /* a second one to compare with, or the key of a pin */
	struct guard_content content;
	struct guard_record record;
};

/* What loops are given: they take a pointer into the stack only. */
struct guard_loop {
	struct guard_scratch *scratch;
	struct guard_path *path;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256); /* the loader raises it on machines with many processors */
	__type(key, __u32);
	__type(value, struct guard_scratch);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct guard_scratch);
} empty_scratch SEC(".maps");

static __always_inline __u32 current_thread(void)
{
	return (__u32)bpf_get_current_pid_tgid();
}

/* NULL if there is no room. */
static struct guard_scratch *begin_scratch(void)
{
	const __u32 thread = current_thread(), zero = 0;
	const struct guard_scratch *empty = bpf_map_lookup_elem(&empty_scratch, &zero);

	if (!empty || bpf_map_update_elem(&scratch, &thread, empty, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&scratch, &thread);
}

static void end_scratch(void)
{
	const __u32 thread = current_thread();

	bpf_map_delete_elem(&scratch, &thread);
}

#endif
