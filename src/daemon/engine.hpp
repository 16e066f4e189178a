// SPDX-License-Identifier: AGPL-3.0-only
//
// The daemon's knowledge: the policy in force, what was changed at run time, the modules of this kernel, the
// decisions made so far. It knows no sockets and no event loop, so all that the daemon can be asked is tested
// without either.
//
// A policy is published whole: a file that does not parse leaves the old generation in force, and a start
// without any valid policy refuses everything. What is as strict as the policy in force, or stricter, and
// cannot be published is kept as wanted, apart from what is in force, until it can be (retry()). What is
// looser stays undone.
#pragma once

#include "core/admission.hpp"
#include "core/decision.hpp"
#include "core/decision_cache.hpp"
#include "core/policy.hpp"
#include "core/runtime_changes.hpp"
#include "daemon/file_states.hpp"
#include "enforce/kernel/enforcer.hpp"
#include "modules/kmod_index.hpp"
#include "sys/kernel.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <chrono>
#include <cstdint>
#include <expected>
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
    using Clock = sys::BootClock; ///< a mode for an hour ends after that hour, suspended or not

    /// `forced` is the break-glass of the kernel's command line: a mode that no policy overrides.
    Engine(sys::Paths paths, std::string kernel_release, std::optional<core::Mode> forced = std::nullopt);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// Judges `token`; the same for AUTOLOAD, CHECK and EXPLAIN. Valid until the next call.
    [[nodiscard]] const core::Decision& decide(std::string_view token);
    /// The same, when modules will be loaded by it: looks first whether the index is still that of the files.
    [[nodiscard]] const core::Decision& decide_to_load(std::string_view token);
    /// The same for people: also says of what is refused whether its image is admitted, and of what is
    /// allowed whether the enforcer refuses it.
    [[nodiscard]] core::Decision decide_for_people(std::string_view token);
    /// What the policy in force admits where an image is seen. Valid until policy or index change.
    [[nodiscard]] const core::Admissions& admissions();
    /// Whether `decision` is the same as long as policy and index are. One that a file had a part in that
    /// cannot be judged now is not: the file may be repaired the next time.
    [[nodiscard]] bool is_lasting(const core::Decision& decision) const;
    /// Counts a decision that was acted upon.
    void count(const core::Decision& decision);

    /// Reads the policy files again. On failure the generation in force stays. `discard` also drops what was
    /// changed at run time.
    [[nodiscard]] sys::Result<void> reload(bool discard = false);

    // Run-time changes: at once, in memory only. Names in any spelling; not a possible one:
    // ErrorKind::invalid. What no module of this kernel is called is denied as an alias, and what is an alias
    // is not allowed.
    [[nodiscard]] sys::Result<void> allow(std::string_view module); ///< fails if it is denied: deny wins
    [[nodiscard]] sys::Result<void> deny(std::string_view name);
    [[nodiscard]] sys::Result<void> remove(std::string_view name); ///< on no list: ErrorKind::not_found
    /// `until`: go back then. A mode for a limited time is never saved.
    [[nodiscard]] sys::Result<void> set_mode(core::Mode mode,
                                             std::optional<Clock::time_point> until = std::nullopt);
    [[nodiscard]] sys::Result<void> end_limited_mode();
    [[nodiscard]] std::optional<Clock::time_point> limited_until() const { return latest().limited_until; }

    /// Publishes to `enforcer` as well from now on, and the policy in force at once. It must outlive the
    /// engine.
    [[nodiscard]] sys::Result<void> publish_to(kernel::Enforcer& enforcer);

    /// What is to be in force and is not yet.
    struct Wanted {
        core::Mode mode = core::Mode::enforce;
        sys::Error why; ///< it could not be published the last time
    };
    [[nodiscard]] std::optional<Wanted> wanted() const;
    /// Publishes what is wanted, if there is anything. To be called every few seconds.
    void retry();

    /// What the policy in force asks for and does not get; "" if there is nothing.
    [[nodiscard]] std::string why_not_enforced() const {
        return enforcer_ == nullptr ? "" : enforcer_->why_not_enforced(policy_);
    }

    /// The policy files that are not as they were when what is in force was read: changed, new, or gone.
    [[nodiscard]] std::vector<std::string> newer_files() const;

    /// Writes the run-time changes to the policy files, and reloads. Returns the files that changed.
    [[nodiscard]] sys::Result<std::vector<std::string>> apply();

    /// Opens the module index again if depmod ran or modprobe.d changed. True if it did.
    bool refresh_index();

    /// Judges the image of one more allowed module ahead of time, so that its first request need not wait for
    /// it. False when there is none left.
    bool warm_up_next();

    [[nodiscard]] const core::Policy& policy() const { return policy_; }
    [[nodiscard]] const core::RuntimeChanges& changes() const { return state_.changes; }
    [[nodiscard]] std::uint64_t generation() const { return generation_; }
    [[nodiscard]] const std::string& policy_error() const {
        return policy_error_;
    } ///< of the last reload; "" if none
    /// What is odd about the policy in force, and what it asks for that this version does not do.
    [[nodiscard]] const std::vector<std::string>& policy_warnings() const { return state_.warnings; }
    [[nodiscard]] bool has_policy() const { return state_.written.valid; }
    [[nodiscard]] const std::string& index_error() const { return index_error_; }
    [[nodiscard]] const std::string& kernel_release() const { return release_; }
    [[nodiscard]] bool mode_is_forced() const { return forced_.has_value(); }
    [[nodiscard]] const Counts& counts() const { return counts_; }
    [[nodiscard]] const sys::Paths& paths() const { return paths_; }
    [[nodiscard]] modules::KmodIndex* index() { return index_.get(); }
    /// The index, or one without modules.
    [[nodiscard]] core::ModuleIndex& index_or_none();

  private:
    /// What a policy is made of.
    struct State {
        core::PolicySource written;
        FileStates files;                  ///< as they were when `written` was read
        std::vector<std::string> warnings; ///< about what is written
        core::RuntimeChanges changes;
        std::optional<core::Mode> limited_mode;
        std::optional<Clock::time_point> limited_until; ///< none also if the end has failed, and is retried
        std::optional<Clock::time_point> audit_until;   ///< of a limited audit mode, whatever its end does
    };
    struct Unpublished {
        State state;
        sys::Error why;
    };
    struct NotPublished {
        sys::Error error;
        bool kept = false; ///< as wanted; else it is undone
    };

    /// What the next change starts from: what is wanted, or what is in force if nothing else is.
    [[nodiscard]] const State& latest() const { return wanted_ ? wanted_->state : state_; }
    [[nodiscard]] core::Mode mode_of(const State& state) const;
    [[nodiscard]] core::Policy policy_of(const State& state) const;
    /// All of it, or nothing: on an error the state in force stays, and `next` is kept unless it is looser.
    [[nodiscard]] std::expected<void, NotPublished> publish(State next);
    [[nodiscard]] static sys::Result<void> for_who_asked(std::expected<void, NotPublished> published);
    void forget_decisions();
    [[nodiscard]] std::optional<core::Rule> denial_by_alias(const core::Policy& policy,
                                                            const std::string& module);
    /// The modules that answer to `name` if no module is called so.
    [[nodiscard]] std::vector<std::string> other_modules(const std::string& name);
    /// Has `policy` in force at the enforcer, too.
    [[nodiscard]] kernel::Published enforce(const core::Policy& policy, std::uint64_t generation);
    /// `state` could not be published now, and is to be tried again.
    void keep_wanted(State state, kernel::Published published);
    void open_index();
    sys::Paths paths_;
    std::string release_;
    std::optional<core::Mode> forced_;

    std::shared_ptr<modules::KmodIndex> index_;
    FileStates configuration_; ///< as it was when the index was opened
    std::string index_error_;

    State state_;                       ///< in force
    std::optional<Unpublished> wanted_; ///< to be in force
    core::Policy policy_;
    kernel::Enforcer* enforcer_ = nullptr;
    std::uint64_t generation_ = 0;
    std::string policy_error_ = "no policy was read yet";

    core::DecisionCache decisions_;
    std::optional<core::Admissions> admissions_; ///< of policy and index, once they were asked for
    core::Decision unnamed_;                     ///< the last decision that is not worth remembering
    std::size_t warm_up_position_ = 0;
    Counts counts_;
};

} // namespace kmodguard::daemon
