// SPDX-License-Identifier: AGPL-3.0-only
//
// Which loaded modules the policy would not let in, for the verbs that say so: one judgement, one wording.
#pragma once

#include "core/admission.hpp"
#include "ctl/context.hpp"
#include "ctl/finding.hpp"

#include <vector>

namespace kmodguard::ctl {

/// An error where that is not known.
using LoadedReport = sys::Result<std::vector<core::ModuleDecision>>;

/// As the daemon judges; as the policy files do, if it does not answer.
[[nodiscard]] LoadedReport loaded_report(const Context& context);

[[nodiscard]] events::Json::Object object_of(const LoadedReport& report);
/// Denied modules that are loaded are bad, others that are not admitted a note.
[[nodiscard]] Finding finding_of(const LoadedReport& report);
/// A sentence for people, "" if all that is loaded would be admitted.
[[nodiscard]] std::string sentence_of(const LoadedReport& report);

} // namespace kmodguard::ctl
