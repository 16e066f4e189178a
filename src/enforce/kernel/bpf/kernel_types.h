/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * The few members of kernel structures that are read, by name: the loader finds where they lie in the running
 * kernel (CO-RE), so no header of one machine's kernel is needed. Enumerators, too, are looked up by name.
 */
#ifndef KMODGUARD_KERNEL_TYPES_H
#define KMODGUARD_KERNEL_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	const unsigned char *name;
};
struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
};
struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};
struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct list_head {
	struct list_head *next;
};
struct mnt_namespace; /* only ever compared */
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct list_head mnt_mounts; /* those on it */
	struct list_head mnt_child; /* in that list of its parent */
	struct mnt_namespace *mnt_ns;
	int mnt_group_id; /* 0: what happens below it happens nowhere else */
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode;
};

struct ns_common {
	unsigned int inum;
};
typedef struct {
	unsigned int val;
} kuid_t;
struct user_namespace {
	struct user_namespace *parent;
	kuid_t owner;
	struct ns_common ns;
};
struct cred {
	struct user_namespace *user_ns;
};
struct mm_struct {
	struct file *exe_file;
};
struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
};
struct kernfs_node___renamed { /* Linux 6.15 */
	struct kernfs_node *__parent;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct css_set {
	struct cgroup *dfl_cgrp;
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
};
struct task_struct {
	unsigned int flags;
	struct nsproxy *nsproxy;
	struct mm_struct *mm;
	const struct cred *cred;
	struct css_set *cgroups;
};

struct module {
	char name[56];
};
struct bpf_map {
	__u32 id;
};

#pragma clang attribute pop

enum kernel_read_file_id {
	READING_MODULE = 2,
	READING_KEXEC_IMAGE = 3,
	READING_KEXEC_INITRAMFS = 4,
	READING_MODULE_COMPRESSED = 7, /* Linux 6.17 and later */
};
enum kernel_load_data_id {
	LOADING_MODULE = 2,
	LOADING_KEXEC_IMAGE = 3,
	LOADING_KEXEC_INITRAMFS = 4,
};
enum lockdown_reason {
	LOCKDOWN_DEV_MEM = 2,
	LOCKDOWN_KEXEC = 4,
	LOCKDOWN_HIBERNATION = 5,
	LOCKDOWN_INTEGRITY_MAX = 20,
};

#endif
