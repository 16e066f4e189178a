/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * The verdict on an image or a request: rules 4 to 6 of core/decision.hpp, for images. Which names are admitted
 * (and so not denied), core/admission.cpp has computed beforehand; here it is looked up.
 */
#ifndef KMODGUARD_JUDGE_BPF_H
#define KMODGUARD_JUDGE_BPF_H

#include "digest.bpf.h"
#include "image.bpf.h"
#include "record.bpf.h"
#include "seal.bpf.h"

struct policy_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_MODULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_name);
	__type(value, struct guard_rule);
} policy_a SEC(".maps"), policy_b SEC(".maps");

/* The policy in force: one of the two above. A program looks it up once, so it sees one generation. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct policy_map);
} policy SEC(".maps") = {.values = {&policy_a}};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_INVENTORY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_content);
	__type(value, struct guard_checked);
} inventory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct guard_key);
} content_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GUARD_MAX_TOKENS);
	__type(key, struct guard_name);
	__type(value, struct guard_token);
} refused_tokens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_state);
} state SEC(".maps");

/* Set by the loader: this kernel decompresses modules itself (CONFIG_MODULE_DECOMPRESS). */
const volatile __u8 kernel_decompresses = 0;

static bool shows_decompressed(void)
{
	return bpf_core_enum_value_exists(enum kernel_read_file_id, READING_MODULE_COMPRESSED);
}

/* The key of a pin: the hash and the module's number. */
static __always_inline void pin_key(struct guard_name *key, const __u8 *sha256, __u64 number)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->text[0] = GUARD_PIN_MARK;
	for (int i = 0; i < GUARD_HASH_SIZE; ++i)
		key->text[1 + i] = (char)sha256[i];
	for (int i = 0; i < 4; ++i)
		key->text[1 + GUARD_HASH_SIZE + i] = (char)(number >> (8 * i));
}

/* Whether the bytes may be a gzip, xz or zstd file; `text` has the first four, is_elf() has seen to that. */
static __always_inline bool looks_compressed(const struct guard_scratch *s)
{
	const __u8 *magic = (const __u8 *)s->text;

	return (magic[0] == 0x1f && magic[1] == 0x8b) || (magic[0] == 0xfd && magic[1] == '7' && magic[2] == 'z') ||
	       (magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd);
}

/* Names a compressed image by what its content was found to be. Only finit_module takes one. */
static __always_inline __u32 look_up_content(struct guard_scratch *s)
{
	const __u32 zero = 0;
	const struct guard_key *key = bpf_map_lookup_elem(&content_key, &zero);

	if (s->problem) { /* its beginning could not be read */
		s->record.problem = s->problem;
		return GUARD_UNREADABLE;
	}
	if (!kernel_decompresses || shows_decompressed() || s->record.call != GUARD_FINIT_MODULE ||
	    s->size < sizeof(Elf32_Ehdr) || !looks_compressed(s))
		return GUARD_NOT_A_MODULE;
	if (s->size > GUARD_MAX_PINNED_SIZE) /* too much to digest at a stretch */
		return GUARD_UNKNOWN_CONTENT;
	if (!key || tag_content(s, key))
		return GUARD_UNREADABLE;
	const struct guard_checked *checked = bpf_map_lookup_elem(&inventory, &s->content);
	if (!checked)
		return GUARD_UNKNOWN_CONTENT;
	s->record.name = checked->name;
	for (int i = 0; i < GUARD_HASH_SIZE; ++i)
		s->record.sha256[i] = checked->sha256[i];
	s->record.hashed = 1;
	s->record.problem = GUARD_FINE;
	return GUARD_ADMITTED;
}

/* Which module it is. */
static __always_inline __u32 identify(struct guard_scratch *s)
{
	s->record.problem = read_identity(s);
	if (s->record.problem == GUARD_NOT_ELF)
		return look_up_content(s);
	if (s->record.problem)
		return GUARD_UNREADABLE;
	return names_agree(s) ? GUARD_ADMITTED : GUARD_CONTRADICTORY;
}

/* Whether the policy admits that module. */
static __always_inline __u32 judge_name(struct guard_scratch *s, void *rules)
{
	const struct guard_rule *rule = bpf_map_lookup_elem(rules, &s->record.name);

	if (!rule)
		return GUARD_NOT_LISTED;
	if (bpf_map_lookup_elem(&tightened, &s->record.name))
		return GUARD_TIGHTENED;
	s->record.admission = rule->reason;
	if (!(rule->flags & GUARD_PINNED))
		return GUARD_ADMITTED;
	const __u64 number = rule->number;
	struct guard_name *key = &s->other_name;
	if (!s->record.hashed) {
		if (s->size > GUARD_MAX_PINNED_SIZE)
			return GUARD_TOO_LARGE_TO_HASH;
		if (hash_image(s))
			return GUARD_UNREADABLE;
	}
	pin_key(key, s->record.sha256, number);
	return bpf_map_lookup_elem(rules, key) ? GUARD_ADMITTED : GUARD_PIN_MISMATCH;
}

/* Runs when user space calls it. */
SEC("syscall")
int ask_sealed(struct guard_question *question)
{
	const __u32 zero = 0;
	const struct guard_settings *now = sealed_settings();
	void *rules = bpf_map_lookup_elem(&policy, &zero);
	struct guard_name name;
	__u64 difference = 0;
	int answer = 0;

	if (!now || !rules)
		return 0;
#pragma unroll /* the context is read at fixed places only */
	for (int i = 0; i < GUARD_HASH_SIZE / 8; ++i)
		difference |= question->table[i] ^ now->table[i];
	if (!difference)
		answer |= GUARD_IS_SEALED_TABLE;
#pragma unroll
	for (int i = 0; i < GUARD_NAME_SIZE; ++i)
		name.text[i] = question->name.text[i];
	if (bpf_map_lookup_elem(rules, &name) && !bpf_map_lookup_elem(&tightened, &name))
		answer |= GUARD_IS_ADMITTED;
	return answer;
}

/* Counts, records and answers. A compressed image that was not checked yet is answered ENOSYS: modprobe and
 * udev then decompress it themselves and hand over the image, which can be judged (kmod, libkmod-module.c). What is not a
 * module is answered as the kernel would (kernel/module/main.c, elf_validity_check): who hands over compressed bytes
 * without a flag for it, like busybox, goes by that and decompresses them. It is not let pass for that, in case it was
 * compressed in a way that is not known here. */
static __noinline int conclude(struct guard_scratch *s, bool audit)
{
	struct guard_record *record = &s->record;

	record->refused = record->reason != GUARD_ADMITTED && !audit;
	count(record->reason == GUARD_ADMITTED ? GUARD_ALLOWED : record->refused ? GUARD_REFUSED : GUARD_AUDITED);
	record_requester(s);
	submit(s, !record->refused);
	if (!record->refused)
		return 0;
	if (record->reason == GUARD_NOT_A_MODULE)
		return -ENOEXEC;
	return record->reason == GUARD_UNKNOWN_CONTENT ? -ENOSYS : -EPERM;
}

/* Audit mode for a limited time ends here, with or without a daemon. */
static __always_inline bool audits(const struct guard_rule *head)
{
	return (head->flags & GUARD_AUDIT) && (!head->reason || bpf_ktime_get_boot_ns() < head->reason * SECOND);
}

static __always_inline int judge(const void *bytes, __u64 size, const struct file *file, __u32 known_reason)
{
	const __u32 zero = 0;
	struct guard_name head_key = {};
	struct guard_scratch *s = begin_scratch();
	bool audit = false;

	if (!s) {
		count(GUARD_REFUSED);
		count(GUARD_LOST);
		return -EPERM;
	}
	s->bytes = (__u64)bytes;
	s->size = size;
	s->record.kind = GUARD_IMAGE;
	s->record.call = file ? GUARD_FINIT_MODULE : GUARD_INIT_MODULE;
	s->record.size = size;
	if (file)
		record_file(s, &s->record.file, file);

	void *rules = bpf_map_lookup_elem(&policy, &zero);
	const struct guard_rule *head = rules ? bpf_map_lookup_elem(rules, &head_key) : NULL;
	if (!head) {
		s->record.reason = GUARD_NO_POLICY;
	} else {
		audit = audits(head);
		s->record.generation = head->number;
		const __u32 reason = known_reason ? known_reason : identify(s);
		s->record.reason = reason == GUARD_ADMITTED ? judge_name(s, rules) : reason;
	}
	const int answer = conclude(s, audit);
	end_scratch();
	return answer;
}

static __noinline int judge_image(const void *bytes, __u64 size, const struct file *file)
{
	return judge(bytes, size, file, 0);
}

/* An image that is not shown as a whole. In a function of its own, with nothing that reads an image: the verifier's work
 * grows with the length of a program, what is never reached included. */
static __noinline int judge_unseen(const struct file *file)
{
	return judge(NULL, 0, file, GUARD_IN_PIECES);
}

/* False: it could not be. */
static __noinline bool record_request(const struct guard_name *name, __u32 kind, const struct guard_counted *counted)
{
	struct guard_scratch *s = begin_scratch();

	if (!s)
		return false;
	s->record.kind = kind;
	s->record.name = *name;
	s->record.repeated = counted->repeated;
	s->record.repeated_since = counted->since;
	s->record.refused = kind == GUARD_REFUSED_REQUEST;
	record_requester(s);
	const bool recorded = submit_request(s);
	end_scratch();
	return recorded;
}

/* 0, or GUARD_REFUSED_STATUS. */
static __noinline int judge_request(const char *token)
{
	const __u32 zero = 0;
	struct guard_refusal refusal = {};
	struct guard_counted counted = {};

	bpf_probe_read_kernel_str(refusal.name.text, sizeof(refusal.name.text), token);
	find_owner(&refusal.owner);
	const struct guard_token *known = bpf_map_lookup_elem(&refused_tokens, &refusal.name);
	const struct guard_state *now = bpf_map_lookup_elem(&state, &zero);
	if (known && now && known->epoch == now->epoch) {
		count(GUARD_REMEMBERED);
		if (is_to_be_recorded(&refusal, &counted, true) &&
		    !record_request(&refusal.name, GUARD_REFUSED_REQUEST, &counted))
			count_many(GUARD_LOST, 1 + counted.repeated);
		return GUARD_REFUSED_STATUS;
	}
	count(GUARD_REQUESTS);
	if (!request_within_budget(&refusal.owner) || !record_request(&refusal.name, GUARD_REQUEST, &counted))
		count(GUARD_UNATTRIBUTED);
	return 0;
}

#endif
