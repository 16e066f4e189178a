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

#include "compiled/index.hpp"
#include "compiled/remembered_images.hpp"
#include "compiled/unpacked_images.hpp"
#include "core/admission.hpp"
#include "core/decision_cache.hpp"
#include "core/runtime_changes.hpp"
#include "enforce/kernel/enforcer.hpp"
#include "protocol/answers.hpp"
#include "reader/reader.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::daemon {

class Engine {
  public:
    using Clock = sys::BootClock; ///< a mode for an hour ends after that hour, suspended or not

    /// What is read of files is read by `reader`, which must outlive the engine. `forced` is the break-glass
    /// of the kernel's command line: a mode that no policy overrides.
    Engine(sys::Paths paths, std::string kernel_release, reader::Reader& reader,
           std::optional<core::Mode> forced = std::nullopt);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// What a decision that was made before is taken for.
    enum class Known : std::uint8_t {
        as_judged, ///< the files may be others by now: whoever loads compares each with the state in the plan
        by_files,  ///< it holds if the files are still those that were judged
        not_at_all ///< they are not, says who was to load them
    };
    /// Judges `token`; the same for AUTOLOAD, CHECK and EXPLAIN. Valid until the next call.
    [[nodiscard]] const core::Decision& decide(std::string_view token, Known known);
    /// The same, when modules will be loaded by it: looks first whether the index is still that of the files,
    /// and counts the decision.
    [[nodiscard]] const core::Decision& decide_to_load(std::string_view token, Known known);
    /// The same for people, by the files: also says of what is refused whether its image is admitted, and of
    /// what is allowed whether the enforcer refuses it.
    [[nodiscard]] core::Decision decide_for_people(std::string_view token);
    /// The loaded modules that the policy in force would not let in (core/admission.hpp). An error where that
    /// is not known: there is no valid policy or no module index, or it cannot be seen what is loaded.
    [[nodiscard]] sys::Result<std::vector<core::ModuleDecision>> loaded_and_not_admitted();

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
    /// Writes the run-time changes to the policy files, and reloads. Returns the files that changed.
    [[nodiscard]] sys::Result<std::vector<std::string>> apply();

    /// Publishes to `enforcer` as well from now on, and the policy in force at once. It must outlive the
    /// engine.
    [[nodiscard]] sys::Result<void> publish_to(kernel::Enforcer& enforcer);
    /// Publishes what is wanted, and reads the policy files where the reader failed at the start. False:
    /// there is nothing of either. To be called every few seconds.
    bool retry();
    /// What the policy in force asks for and does not get; "" if there is nothing.
    [[nodiscard]] std::string why_not_enforced() const;

    /// Opens the module index again if depmod ran or modprobe.d changed. True if it did.
    bool refresh_index();
    /// Judges the image of one more allowed module ahead of time, so that its first request need not wait for
    /// it. False when there is none left.
    bool warm_up_next();
    /// Whether it has not begun since policy or index became others.
    [[nodiscard]] bool needs_warm_up() const { return warm_up_position_ == 0; }

    [[nodiscard]] const core::Policy& policy() const { return policy_; } ///< in force
    [[nodiscard]] std::uint64_t generation() const { return generation_; }
    /// One without modules where it could not be opened.
    [[nodiscard]] core::ModuleIndex& index();
    /// What that asks of images.
    [[nodiscard]] compiled::RememberedImages& images() { return images_; }
    /// What is unpacked for the kernel.
    [[nodiscard]] compiled::UnpackedImages& unpacked_images() { return unpacked_; }
    /// All that people are shown; of events it knows nothing.
    [[nodiscard]] protocol::DaemonStatus status() const;

  private:
    /// What a policy is made of.
    struct State {
        core::PolicySource written;
        sys::FileStates files;             ///< as they were when `written` was read
        std::vector<std::string> warnings; ///< about what is written
        core::RuntimeChanges changes;
        std::optional<core::Mode> limited_mode;
        std::optional<Clock::time_point> limited_until; ///< none also if the end has failed, and is retried
        std::optional<Clock::time_point> audit_until;   ///< of a limited audit mode, whatever its end does
    };
    struct Unpublished {
        State state;
        sys::Error why; ///< it could not be published the last time
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
    /// Has `policy` in force at the enforcer, too.
    [[nodiscard]] kernel::Published enforce(const core::Policy& policy, std::uint64_t generation);
    /// `state` could not be published now, and is to be tried again.
    void keep_wanted(State state, kernel::Published published);
    void open_index();
    /// The index that was kept, if it still is what would be made now; else a new one, which is kept.
    [[nodiscard]] sys::Result<std::shared_ptr<compiled::CompiledIndex>> newest_index();
    void keep_for_next_start(const reader::ReadPolicy& policy) const;
    void use_kept_policy();
    void forget_decisions();
    /// Whether `decision`, made before, is still what would be decided.
    [[nodiscard]] bool still_holds(const core::Decision& decision, Known known);
    /// What the policy in force admits where an image is seen. Valid until policy or index change.
    [[nodiscard]] const core::Admissions& admissions();
    /// The rule of `policy` that denies `module` by one of its aliases.
    [[nodiscard]] std::optional<core::Rule> alias_rule_against(const core::Policy& policy,
                                                               const std::string& module);
    /// The modules that answer to `name` if no module is called so.
    [[nodiscard]] std::vector<std::string> other_modules(const std::string& name);

    sys::Paths paths_;
    std::string release_;
    reader::Reader& reader_;
    compiled::RememberedImages images_; ///< read by it
    std::optional<core::Mode> forced_;

    compiled::UnpackedImages unpacked_;
    std::shared_ptr<compiled::CompiledIndex> index_;
    std::string index_error_;

    State state_;                       ///< in force
    std::optional<Unpublished> wanted_; ///< to be in force
    core::Policy policy_;
    kernel::Enforcer* enforcer_ = nullptr;
    std::uint64_t generation_ = 0;
    std::string policy_error_ = "no policy was read yet"; ///< of the last reload; "" if none
    bool never_read_ = false; ///< the reader failed at the start, and nobody knows what the files say

    core::DecisionCache decisions_;
    std::optional<core::Admissions> admissions_; ///< of policy and index, once they were asked for
    core::Decision not_remembered_;              ///< the last decision that is not worth remembering
    std::size_t warm_up_position_ = 0;
    std::uint64_t allowed_ = 0; ///< of the decisions that were acted upon since the start
    std::uint64_t refused_ = 0;
    std::uint64_t audited_ = 0; ///< would have been refused, were it not for audit mode
};

} // namespace kmodguard::daemon
