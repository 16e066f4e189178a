// SPDX-License-Identifier: AGPL-3.0-only
//
// What the deny rules say of one module by itself. What it would bring along is the caller's to ask about.
#pragma once

#include "core/decision.hpp"

#include <optional>
#include <string>

namespace kmodguard::core {

struct Denial {
    Reason reason = Reason::denied_module;
    std::optional<Rule> rule; ///< none where the module's own aliases cannot be read
};

/// The deny rule that matches `module` by its name or by one of its own aliases; its name counts as one of
/// them, since the kernel may ask for it by that. Where aliases are denied, one whose own are not known is.
[[nodiscard]] std::optional<Denial> denial_of(const Policy& policy, ModuleIndex& index,
                                              const std::string& module);

} // namespace kmodguard::core
