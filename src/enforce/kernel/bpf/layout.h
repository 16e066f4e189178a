/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * What the BPF programs and user space exchange: keys and values of the maps, and the record of an
 * attempt. Plain C with fixed widths and no padding, since both sides must see the same bytes. A change of
 * anything here raises GUARD_LAYOUT: a daemon does not take over pins that speak otherwise.
 */
#ifndef KMODGUARD_LAYOUT_H
#define KMODGUARD_LAYOUT_H

#include <linux/types.h>

#define GUARD_LAYOUT 4

#define GUARD_NAME_SIZE 56 /* MODULE_NAME_LEN on 64-bit, the NUL included; the kernel's own tokens fit as well */
#define GUARD_HASH_SIZE 32
#define GUARD_KEY_SIZE 16
#define GUARD_COMMAND_SIZE 16 /* TASK_COMM_LEN */
#define GUARD_PATH_SIZE 384
#define GUARD_COMPONENT_SIZE 128 /* of a path; longer ones are left out with all before them */

#define GUARD_MAX_MODULES 32768 /* entries of a policy: its names, its pins and the head */
#define GUARD_MAX_TOKENS 4096   /* remembered refusals */
#define GUARD_MAX_REPEATS 4096  /* refusals that are counted, by kind and owner */
#define GUARD_MAX_OWNERS 1024
#define GUARD_MAX_INVENTORY 16384
#define GUARD_MAX_PINNED_SIZE (64U << 20U) /* bytes of the largest image that is hashed in the kernel */

/* A canonical module name or a token, padded with NULs. In a policy two more kinds of keys can be no name:
 * all zero is its head, and one that begins with GUARD_PIN_MARK is a pin. */
struct guard_name {
	char text[GUARD_NAME_SIZE];
} __attribute__((aligned(8)));

#define GUARD_PIN_MARK '\1' /* then the hash, then the module's number, little-endian; the rest zero */

#define GUARD_AUDIT 1U  /* head: refuse nothing, until its end */
#define GUARD_PINNED 2U /* module: only with a content that a pin names */

struct guard_rule {
	__u64 number; /* head: the generation; module: what its pins are filed under */
	__u32 flags;
	__u32 reason; /* module: core::Reason, why it is admitted; head: second since the start at which audit mode ends, or 0 */
};

/* What a remembered refusal makes request_module() return: the wait status of a hook that refused (hook_refused of
 * enforce/autoload/hook/hook.hpp), so that its caller sees the same with memory and without. */
#define GUARD_REFUSED_STATUS (3 << 8)

#define GUARD_PROTECTED 16
#define GUARD_MOUNTS 8 /* from the one that has the pins to the root */

/* Settings that stay as they are until the machine is sealed; then no process gets a descriptor of this map any more. */
struct guard_settings {
	__u32 layout;
	__u32 sealed;
	__u64 pin_directory_device; /* kernel's dev_t of the bpffs that holds the pins */
	__u64 pin_directory_inode;
	__u32 settings_map; /* id of this one */
	__u32 mounts_are_known; /* all that follow, of the mounts */
	/* Kernel addresses, written by a program when the machine is about to be sealed (mounts.bpf.h). */
	__u64 mount_namespace;
	__u64 mounts[GUARD_MOUNTS];
	__u64 mountpoints[GUARD_MOUNTS]; /* dentries that these are mounted on */
	__u64 table[GUARD_HASH_SIZE / 8]; /* what is sealed: SHA-256 of the file that has it (policy_table.hpp) */
	__u8 object[GUARD_HASH_SIZE]; /* which build of the programs: SHA-256 of the object file */
};

/* What user space asks of a sealed machine, whose maps it cannot read. */
struct guard_question {
	struct guard_name name; /* of a module */
	__u64 table[GUARD_HASH_SIZE / 8]; /* as in the settings */
};

/* The answer: the sum of these. */
#define GUARD_IS_SEALED_TABLE 1U
#define GUARD_IS_ADMITTED 2U /* by the policy that is sealed, less what was taken away since */

/* Compressed bytes by their keyed digest: SipHash-2-4 with 128 bits. */
struct guard_content {
	__u64 size;
	__u64 digest[2];
};

struct guard_checked {
	struct guard_name name;
	__u8 sha256[GUARD_HASH_SIZE]; /* of the uncompressed image */
};

struct guard_token {
	__u64 epoch; /* of guard_state when it was refused; another: forgotten */
};

/* On whose account something goes, of those that leave room for others. A user cannot get more by namespaces or cgroups
 * of his own. */
struct guard_owner {
	__u64 cgroup; /* id of the one at the second level: a user's slice, a service, a container; where there is none, its own */
	__u32 user; /* in the initial user namespace; in a namespace that a user has made, that user */
	__u32 unused;
};

#define GUARD_SEAL_MARK '\2' /* no token begins so */

/* Refusals that are the same for a reader of the log. */
struct guard_refusal {
	struct guard_name name; /* the token; or GUARD_SEAL_MARK, and what was forbidden */
	struct guard_owner owner;
};

/* How many of them there were. Times are CLOCK_BOOTTIME in ns. */
struct guard_repeats {
	__u64 window; /* when the current second of recording began */
	__u64 since; /* when the first was that has not been recorded */
	__u64 last; /* and when the last */
	__u64 unrecorded; /* since the last that was recorded */
	__u32 recorded; /* in that second */
	__u32 pid; /* of the last that was not recorded, as are: */
	__u32 uid;
	__u32 kernel_thread;
	char command[GUARD_COMMAND_SIZE];
};

struct guard_state {
	__u64 layout; /* as in the settings, for those who cannot read them */
	__u64 epoch;
	__u64 lost_reported; /* of the records that were lost, how many the daemon has reported */
};

/* Indexes of the counters. */
enum guard_counter {
	GUARD_ALLOWED,
	GUARD_REFUSED,
	GUARD_AUDITED,  /* let pass by audit mode alone */
	GUARD_REQUESTS, /* requests for modules that were passed on to the hook */
	GUARD_REMEMBERED, /* requests refused without it */
	GUARD_LOST, /* attempts whose records found no room, and that are counted nowhere else */
	GUARD_UNATTRIBUTED, /* requests passed on of which it was not recorded who made them */
	GUARD_COUNTERS,
};

enum guard_kind {
	GUARD_IMAGE, /* an image was judged */
	GUARD_REQUEST, /* a request was passed on to the hook */
	GUARD_REFUSED_REQUEST, /* a remembered one was refused */
	GUARD_SEAL, /* something that the seal forbids was tried */
};

enum guard_call { GUARD_FINIT_MODULE, GUARD_INIT_MODULE };

/* Why. The first is the only one that allows. */
enum guard_reason {
	GUARD_ADMITTED,
	GUARD_NOT_LISTED,
	GUARD_UNREADABLE,
	GUARD_CONTRADICTORY,
	GUARD_PIN_MISMATCH,
	GUARD_TOO_LARGE_TO_HASH,
	GUARD_UNKNOWN_CONTENT, /* compressed, and not in the inventory */
	GUARD_TIGHTENED, /* taken away since the seal */
	GUARD_NO_POLICY,
	GUARD_IN_PIECES, /* the kernel would not show the whole image */
	GUARD_NOT_A_MODULE, /* has not even the beginning of one: answered as the kernel does */
};

/* What is wrong with an unreadable image; the same checks, in the same order, as modules/image_elf.cpp. */
enum guard_problem {
	GUARD_FINE,
	GUARD_NOT_ELF,
	GUARD_ELF_HEADER,
	GUARD_SECTION_HEADERS,
	GUARD_SECTION_BOUNDS,
	GUARD_SECTION_NAMES,
	GUARD_NO_THIS_MODULE,
	GUARD_TWICE,
	GUARD_NOT_PLAIN_DATA,
	GUARD_OVERLAP,
	GUARD_BAD_NAME,
	GUARD_RELOCATED,
	GUARD_BAD_MODINFO,
	GUARD_FAULT, /* bytes that cannot be read */
};

enum guard_forbidden {
	GUARD_FORBIDDEN_UNPIN,
	GUARD_FORBIDDEN_UNMOUNT,
	GUARD_FORBIDDEN_HANDLER,
	GUARD_FORBIDDEN_KEXEC,
	GUARD_FORBIDDEN_MEMORY,
	GUARD_FORBIDDEN_BPF,
};

/* Paths are recorded from their last component to their first, each ended by a NUL; what does not fit is left
 * out, so that the beginning of a long path is missing. */
struct guard_path {
	__u32 size; /* bytes used */
	__u32 whole; /* it reaches the root */
	char text[GUARD_PATH_SIZE];
};

struct guard_requester {
	__u32 pid; /* thread group, in the initial namespace */
	__u32 thread;
	__u32 uid; /* in the initial user namespace */
	__u32 user_namespace; /* inode number */
	__u32 kernel_thread; /* of no process: it works on behalf of another process, or of none */
	__u32 unused;
	__u64 cgroup_id;
	char command[GUARD_COMMAND_SIZE];
	struct guard_path executable;
	struct guard_path cgroup;
};

struct guard_record {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u64 generation;
	__u64 size; /* of the image */
	__u32 kind;
	__u32 call;
	__u32 reason;
	__u32 problem;
	__u32 admission; /* core::Reason of an admitted one */
	__u32 refused; /* what happened: 0 passed, 1 not */
	__u32 hashed;
	__u32 unused;
	__u64 repeated; /* earlier ones of the same kind that were only counted */
	__u64 repeated_since; /* when the first of these was made */
	struct guard_name name; /* the module, or the token */
	struct guard_name modinfo_name; /* where it differs */
	__u8 sha256[GUARD_HASH_SIZE]; /* if hashed */
	struct guard_path file;
	struct guard_requester requester;
};

#endif
