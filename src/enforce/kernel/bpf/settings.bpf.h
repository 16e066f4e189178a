/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * Whether the machine is sealed, and the answer to what the seal forbids.
 */
#ifndef KMODGUARD_SETTINGS_BPF_H
#define KMODGUARD_SETTINGS_BPF_H

#include "record.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_settings);
} settings SEC(".maps");

static struct guard_settings *current_settings(void)
{
	const __u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* NULL if the machine is not sealed. */
static const struct guard_settings *sealed_settings(void)
{
	const struct guard_settings *now = current_settings();

	return now && now->sealed ? now : NULL;
}

static bool is_sealed(void)
{
	return sealed_settings() != NULL;
}

/* Records the attempt, or counts it if many of the kind are, and refuses it. */
static __noinline int forbid(__u32 what)
{
	struct guard_refusal refusal = {};
	struct guard_counted counted = {};
	struct guard_scratch *s;

	refusal.name.text[0] = GUARD_SEAL_MARK;
	refusal.name.text[1] = (char)what;
	find_owner(&refusal.owner);
	if (!is_to_be_recorded(&refusal, &counted, false))
		return -EPERM;
	s = begin_scratch();
	if (!s) {
		count_many(GUARD_LOST, 1 + counted.repeated);
		return -EPERM;
	}
	s->record.kind = GUARD_SEAL;
	s->record.reason = what;
	s->record.refused = 1;
	s->record.repeated = counted.repeated;
	s->record.repeated_since = counted.since;
	record_requester(s);
	submit(s, true);
	end_scratch();
	return -EPERM;
}

#endif
