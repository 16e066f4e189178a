/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * The kernel point: what runs in the kernel when a process asks for a module or loads one. Each hook is here
 * twice, as a program of the BPF security module (lsm/) and as one that overrides the function in which the
 * kernel asks its security modules (fmod_ret/security_), for kernels where bpf is not among those that are
 * active. The loader takes one kind or the other; the code behind them is the same. Only the hook of requests has
 * one program.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "judge.bpf.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline bool is_module_file(__u64 id)
{
	return id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE);
}

static __always_inline bool is_kexec(__u64 id, __u64 image, __u64 initramfs)
{
	return id == image || id == initramfs;
}

/* Before the file is read. */
static __always_inline int on_file(const struct file *file, __u64 id, bool whole)
{
	if (is_kexec(id, bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_IMAGE),
		     bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_INITRAMFS)))
		return is_sealed() ? forbid(GUARD_FORBIDDEN_KEXEC) : 0;
	if (!whole && is_module_file(id)) /* it would not be shown */
		return judge_unseen(file);
	return 0;
}

/* With its bytes. Where a kernel shows a compressed file first and the image after that, the image counts. */
static __always_inline int on_file_read(const struct file *file, const void *bytes, __u64 size, __u64 id)
{
	return is_module_file(id) ? judge_image(bytes, size, file) : 0;
}

static __always_inline int on_data(__u64 id, bool whole)
{
	if (is_kexec(id, bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_IMAGE),
		     bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_INITRAMFS)))
		return is_sealed() ? forbid(GUARD_FORBIDDEN_KEXEC) : 0;
	if (!whole && id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return judge_unseen(NULL);
	return 0;
}

static __always_inline int on_data_read(const void *bytes, __u64 size, __u64 id)
{
	return id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE) ? judge_image(bytes, size, NULL) :
										     0;
}

/* HOOK(function of the kernel, (parameters), (call)): both programs of one hook. */
#define HOOK(name, parameters, call)                                       \
	SEC("lsm/" #name)                                                  \
	int BPF_PROG(lsm_##name, UNPACK parameters)                        \
	{                                                                  \
		return call;                                               \
	}                                                                  \
	SEC("fmod_ret/security_" #name)                                    \
	int BPF_PROG(fmod_##name, UNPACK parameters)                       \
	{                                                                  \
		return call;                                               \
	}
#define UNPACK(...) __VA_ARGS__

/* A refusal is the status with which the hook would have ended, a positive number: callers tell one from an errno
 * (docs/kernel-point.md, "Requests"). Programs of the BPF security module may answer with an errno only, so this hook
 * has one program, of the other kind, wherever it runs. If it is left out, the hook is asked. */
SEC("fmod_ret/security_kernel_module_request")
int BPF_PROG(fmod_kernel_module_request, char *token)
{
	return judge_request(token);
}

HOOK(kernel_read_file, (struct file * file, __u64 id, __u64 whole), on_file(file, (__u32)id, (__u8)whole))
HOOK(kernel_post_read_file, (struct file * file, char *bytes, __u64 size, __u64 id),
     on_file_read(file, bytes, size, (__u32)id))
HOOK(kernel_load_data, (__u64 id, __u64 whole), on_data((__u32)id, (__u8)whole))
HOOK(kernel_post_load_data, (char *bytes, __u64 size, __u64 id), on_data_read(bytes, size, (__u32)id))

/* Of the seal. */
HOOK(inode_unlink, (struct inode * directory, struct dentry *removed), seal_removal(directory, removed))
HOOK(inode_rmdir, (struct inode * directory, struct dentry *removed), seal_removal(directory, removed))
HOOK(inode_rename, (struct inode * from, struct dentry *moved, struct inode *to, struct dentry *replaced),
     seal_rename(from, moved, to, replaced))
HOOK(sb_umount, (struct vfsmount * mount), seal_unmount(mount))
HOOK(move_mount, (struct path * from, struct path *to), seal_move(from, to))
HOOK(sb_mount, (char *device, struct path *path, char *type, __u64 flags), flags & MOVES ? seal_own_namespace() : 0)
HOOK(sb_pivotroot, (struct path * old), seal_own_namespace())
HOOK(file_open, (struct file * file), seal_open(file))
HOOK(bpf, (__u64 command, union bpf_attr *attributes), seal_bpf((int)command, attributes))
HOOK(bpf_map, (struct bpf_map * map), seal_map(map))
HOOK(locked_down, (__u64 what), seal_kernel((__u32)what))
