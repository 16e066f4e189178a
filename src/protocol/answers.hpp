// SPDX-License-Identifier: AGPL-3.0-only
//
// What the daemon answers, as lines and back: its status, decisions and rules. So kmodctl shows what the
// daemon decided exactly as it shows what it decided itself.
#pragma once

#include "core/decision.hpp"
#include "core/policy.hpp"
#include "protocol/message.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace kmodguard::protocol {

/// What the daemon knows of itself and of the policy: its answer to STATUS.
struct DaemonStatus {
    std::string version;
    std::string kernel;
    std::uint64_t generation = 0;
    bool policy_valid = false;
    std::optional<core::Mode> mode = {}; ///< none: an answer that does not say
    std::optional<core::Mode> wanted_mode = {};
    std::optional<std::string> wanted_problem = {};
    std::optional<std::string> mode_forced = {};
    std::optional<std::uint64_t> mode_seconds_left = {};
    std::vector<std::string> policy_files = {};
    std::optional<std::string> policy_error = {};
    std::vector<std::string> newer_files = {};
    std::vector<std::string> policy_warnings = {};
    std::optional<std::string> index_error = {};
    std::uint64_t allowed_modules = 0;
    std::uint64_t allowed_aliases = 0;
    std::uint64_t denied = 0;
    std::optional<bool> user_namespaces = {};
    std::uint64_t unsaved_changes = 0;

    /// What holds while there is a policy_error.
    [[nodiscard]] std::string_view in_place_of_files() const {
        return policy_valid ? "the former one is in force" : "everything is refused";
    }
    std::uint64_t allowed = 0;
    std::uint64_t refused = 0;
    std::uint64_t audited = 0;
    std::uint64_t events_lost = 0;
};

/// Of STATUS, and of other answers about the policy in force.
inline constexpr std::string_view newer_file_key = "policy-newer";

/// A line of the answer to STATUS, or several.
template <typename Value>
struct Row {
    std::string_view key;
    Value DaemonStatus::* member;
    std::string_view meaning;      ///< for docs/PROTOCOL.md
    bool shown_when_empty = false; ///< in JSON, of a list
};

/// The answer, kmodctl's JSON and docs/PROTOCOL.md are made from this table, or compared with it.
inline constexpr std::tuple daemon_status_table{
    Row{"version", &DaemonStatus::version, "of the daemon"},
    Row{"kernel", &DaemonStatus::kernel, "the release whose modules it knows"},
    Row{"generation", &DaemonStatus::generation, "of the policy in force: one more with each publication"},
    Row{"policy-valid", &DaemonStatus::policy_valid,
        "`no`: no policy could be read, and everything is refused"},
    Row{"mode", &DaemonStatus::mode, "`enforce` or `audit`"},
    Row{"wanted-mode", &DaemonStatus::wanted_mode,
        "of another policy that is to be in force and could not be published"},
    Row{"wanted-problem", &DaemonStatus::wanted_problem, "why not"},
    Row{"mode-forced", &DaemonStatus::mode_forced, "what sets the mode, whatever the policy says"},
    Row{"mode-seconds-left", &DaemonStatus::mode_seconds_left, "until a mode for a limited time ends"},
    Row{"policy", &DaemonStatus::policy_files, "a line for each file of the policy in force", true},
    Row{"policy-error", &DaemonStatus::policy_error, "why the policy files could not be read the last time"},
    Row{newer_file_key, &DaemonStatus::newer_files, "a line for each policy file that has changed since"},
    Row{"policy-warning", &DaemonStatus::policy_warnings,
        "a line for each thing that is odd about the policy in force"},
    Row{"index-error", &DaemonStatus::index_error, "why the kernel's modules are not known"},
    Row{"allowed-modules", &DaemonStatus::allowed_modules, "number of entries of `allow.modules`"},
    Row{"allowed-aliases", &DaemonStatus::allowed_aliases, "number of entries of `allow.aliases`"},
    Row{"denied", &DaemonStatus::denied, "number of entries of `deny.modules` and `deny.aliases`"},
    Row{"user-namespaces", &DaemonStatus::user_namespaces, "`yes`: `allow.user_namespaces` is true"},
    Row{"unsaved-changes", &DaemonStatus::unsaved_changes, "number of changes made at run time"},
    Row{"allowed", &DaemonStatus::allowed, "number of requests that were allowed"},
    Row{"refused", &DaemonStatus::refused, "number of requests that were refused"},
    Row{"audited", &DaemonStatus::audited, "number of requests that audit mode let pass"},
    Row{"events-lost", &DaemonStatus::events_lost, "number of events that logging could not keep up with"},
};

[[nodiscard]] std::vector<Field> fields_of(const DaemonStatus& status);
/// A key of no row is passed over: another version may have more. An error names what cannot be read: it is
/// not to be taken for nothing.
[[nodiscard]] sys::Result<DaemonStatus> daemon_status_of(const std::vector<Field>& fields);

/// A decision by core/decision_fields.hpp.
[[nodiscard]] std::vector<Field> fields_of(const core::Decision& decision);
[[nodiscard]] sys::Result<core::Decision> decision_of(const std::vector<Field>& fields);

/// Judgements on modules that were not asked for.
[[nodiscard]] std::vector<Field> fields_of(const std::vector<core::ModuleDecision>& modules);
[[nodiscard]] sys::Result<std::vector<core::ModuleDecision>> modules_of(const std::vector<Field>& fields);

/// A rule of a policy as LIST has it, and `kmodctl list` with a daemon or without.
struct ListedRule {
    std::string list; ///< the policy's key: "allow.modules"
    std::string text;
    std::string origin; ///< "FILE:LINE"; "" of one that was given at run time
};

[[nodiscard]] std::vector<ListedRule> listed_rules(const core::Policy& policy);
[[nodiscard]] std::vector<Field> fields_of(const std::vector<ListedRule>& rules);
[[nodiscard]] std::vector<ListedRule> listed_rules_of(const std::vector<Field>& fields);

} // namespace kmodguard::protocol
