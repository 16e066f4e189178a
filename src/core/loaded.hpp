// SPDX-License-Identifier: AGPL-3.0-only
//
// What is in the kernel already. No policy takes it out, so people are shown what of it the policy in force
// would not let in.
#pragma once

#include "core/admission.hpp"
#include "core/decision.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

/// The judgements on those of the `loaded` modules that `policy` would not let in now, whatever its mode:
/// first the denied ones, then the others, each by name. A module is judged by its name, as an image is: what
/// an admitted one pulls in as a dependency is admitted. Pins are left out of it, since it is not known what
/// was loaded. `admissions` are those of `policy` and `index`.
[[nodiscard]] std::vector<ModuleDecision> not_admitted(const Policy& policy, ModuleIndex& index,
                                                       const Admissions& admissions,
                                                       const std::vector<std::string>& loaded);

/// Whether a rule refuses such a module, and not the want of one.
[[nodiscard]] bool is_denied(const ModuleDecision& loaded);

/// "2 loaded modules would not be admitted, and stay until they are unloaded: af_key (denied), loop"; of many
/// the first. "" if there are none.
[[nodiscard]] std::string explain_loaded(const std::vector<ModuleDecision>& not_admitted);
/// What to do about them.
inline constexpr std::string_view remedy_for_loaded =
    "rmmod takes a module out, kmodctl allow admits it the next time, kmodctl explain tells why it is not";

/// Makes of the refusal of an image for want of a rule, where a module of that name is in the kernel already,
/// what the kernel makes of it: there is nothing to load, and nothing to refuse. False: it is no such
/// refusal, and stays what it is.
[[nodiscard]] bool take_for_loaded(Decision& decision);

} // namespace kmodguard::core
