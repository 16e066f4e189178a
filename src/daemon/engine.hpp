// SPDX-License-Identifier: AGPL-3.0-only
//
// The daemon's knowledge: the policy in force, what was changed at run time, the modules of this kernel, the
// decisions made so far. It knows no sockets and no event loop, so all that the daemon can be asked is tested
// without either.
//
// A policy is published whole: a file that does not parse leaves the old generation in force, and a start
// without any valid policy refuses everything.
#pragma once

#include "core/decision.hpp"
#include "core/decision_cache.hpp"
#include "core/policy.hpp"
#include "core/runtime_changes.hpp"
#include "modules/kmod_index.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::daemon {

/// What the daemon has decided since it started.
struct Counts {
    std::uint64_t allowed = 0;
    std::uint64_t refused = 0;
    std::uint64_t audited = 0; ///< would have been refused, were it not for audit mode
};

class Engine {
  public:
    using Clock = std::chrono::steady_clock;

    /// `forced` is the break-glass of the kernel's command line: a mode that no policy overrides.
    Engine(sys::Paths paths, std::string kernel_release, std::optional<core::Mode> forced = std::nullopt);

    /// Judges `token`; the same for AUTOLOAD, CHECK and EXPLAIN. Valid until the next call.
    [[nodiscard]] const core::Decision& decide(std::string_view token);
    /// The same, when modules will be loaded by it: looks first whether the index is still that of the files.
    [[nodiscard]] const core::Decision& decide_to_load(std::string_view token);
    /// Counts a decision that was acted upon.
    void count(const core::Decision& decision);

    /// Reads the policy files again. On failure the generation in force stays. `discard` also drops what was
    /// changed at run time.
    [[nodiscard]] sys::Result<void> reload(bool discard = false);

    // Run-time changes: at once, in memory only. `module` in any spelling; not a possible name:
    // ErrorKind::invalid.
    [[nodiscard]] sys::Result<void> allow(std::string_view module); ///< fails if it is denied: deny wins
    [[nodiscard]] sys::Result<void> deny(std::string_view module);
    [[nodiscard]] sys::Result<void> remove(std::string_view module); ///< on no list: ErrorKind::not_found
    /// `until`: go back then. A mode for a limited time is never saved.
    void set_mode(core::Mode mode, std::optional<Clock::time_point> until = std::nullopt);
    void end_limited_mode();
    [[nodiscard]] std::optional<Clock::time_point> limited_until() const { return limited_until_; }

    /// Writes the run-time changes to the policy files, and reloads. Returns the files that changed.
    [[nodiscard]] sys::Result<std::vector<std::string>> apply();

    /// Opens the module index anew if depmod ran or modprobe.d changed. True if it did.
    bool refresh_index();

    /// Judges the image of one more allowed module ahead of time, so that its first request need not wait for
    /// it. False when there is none left.
    bool warm_up_next();

    [[nodiscard]] const core::Policy& policy() const { return policy_; }
    [[nodiscard]] const core::RuntimeChanges& changes() const { return changes_; }
    [[nodiscard]] std::uint64_t generation() const { return generation_; }
    [[nodiscard]] const std::string& policy_error() const {
        return policy_error_;
    } ///< of the last reload; "" if none
    /// What is odd about the policy in force, and what it asks for that this version does not do.
    [[nodiscard]] const std::vector<std::string>& policy_warnings() const { return policy_warnings_; }
    [[nodiscard]] bool has_policy() const { return has_policy_; }
    [[nodiscard]] const std::string& index_error() const { return index_error_; }
    [[nodiscard]] const std::string& kernel_release() const { return release_; }
    [[nodiscard]] bool mode_is_forced() const { return forced_.has_value(); }
    [[nodiscard]] const Counts& counts() const { return counts_; }
    [[nodiscard]] const sys::Paths& paths() const { return paths_; }
    [[nodiscard]] modules::KmodIndex* index() { return index_.get(); }

  private:
    void publish();
    [[nodiscard]] std::optional<core::Rule> denial_by_alias(const std::string& module);
    void open_index();
    [[nodiscard]] core::ModuleIndex& index_or_none();

    sys::Paths paths_;
    std::string release_;
    std::optional<core::Mode> forced_;
    /// The modprobe.d files and their state, by path. libkmod itself notices only that files come and go.
    using Configuration = std::map<std::filesystem::path, sys::FileIdentity>;
    [[nodiscard]] Configuration read_configuration_state() const;

    std::unique_ptr<modules::KmodIndex> index_;
    Configuration configuration_; ///< as it was when the index was opened
    std::string index_error_;

    core::PolicySource written_;
    core::RuntimeChanges changes_;
    std::optional<core::Mode> limited_mode_;
    std::optional<Clock::time_point> limited_until_;
    core::Policy policy_;
    std::uint64_t generation_ = 0;
    bool has_policy_ = false;
    std::vector<std::string> policy_warnings_;
    std::string policy_error_ = "no policy was read yet";

    core::DecisionCache decisions_;
    core::Decision unnamed_; ///< the last decision that is not worth remembering
    std::size_t warm_up_position_ = 0;
    Counts counts_;
};

} // namespace kmodguard::daemon
