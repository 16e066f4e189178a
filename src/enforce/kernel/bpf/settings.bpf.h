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

/* Records the attempt, if not too many are, and refuses it. */
static __noinline int forbid(__u32 what)
{
	struct guard_scratch *s = within_budget() ? begin_scratch() : NULL;

	if (s) {
		s->record.kind = GUARD_SEAL;
		s->record.reason = what;
		s->record.refused = 1;
		record_requester(s);
		submit(s);
		end_scratch();
	}
	return -EPERM;
}

#endif
