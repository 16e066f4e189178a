// SPDX-License-Identifier: AGPL-3.0-only
//
// Which of two policies is the stricter one. A step towards stricter that fails is tried again by itself; one
// towards looser is not made unless it is asked for again.
#pragma once

#include "core/policy.hpp"

namespace kmodguard::core {

/// Whether `next` could let pass something that `now` refuses, by the rules as written. Without one more
/// entry to allow, one less to deny, another pin, a weaker setting or a point less it cannot.
[[nodiscard]] bool loosens(const PolicySource& now, const PolicySource& next);

/// Whether the policy is to hold at `point`: it names it, or names none at all.
[[nodiscard]] bool wants_point(const PolicySource& source, Point point);

} // namespace kmodguard::core
