// SPDX-License-Identifier: AGPL-3.0-only
//
// The rules of a policy as LIST has them: what the daemon answers, and what `kmodctl list` shows, with a
// daemon or without.
#pragma once

#include "core/policy.hpp"
#include "protocol/message.hpp"

#include <string>
#include <vector>

namespace kmodguard::protocol {

struct ListedRule {
    std::string list; ///< the policy's key: "allow.modules"
    std::string text;
    std::string origin; ///< "FILE:LINE"; "" of one that was given at run time
};

[[nodiscard]] std::vector<ListedRule> listed_rules(const core::Policy& policy);
/// As lines of an answer, and back.
[[nodiscard]] std::vector<Field> fields_of(const std::vector<ListedRule>& rules);
[[nodiscard]] std::vector<ListedRule> listed_rules_of(const std::vector<Field>& fields);

} // namespace kmodguard::protocol
