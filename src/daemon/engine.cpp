// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/engine.hpp"

#include "config/policy_location.hpp"
#include "core/names.hpp"
#include "enforce/autoload/plan.hpp"
#include "installation.hpp"
#include "sys/kernel.hpp"
#include "sys/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace kmodguard::daemon {
namespace {

std::vector<std::string> warnings_of(const reader::ReadPolicy& policy) {
    std::vector<std::string> warnings = policy.warnings;
    if (!policy.source.wants(core::Point::autoload))
        warnings.emplace_back(
            "points leaves autoload out, and it is enforced all the same: requests would pass "
            "unjudged otherwise");
    return warnings;
}

sys::FileStates states_of_policy_files(const sys::Paths& paths) {
    const auto files = config::policy_files(paths);
    return sys::file_states(files ? *files : std::vector<std::filesystem::path>{paths.policy()});
}

/// Removes what is kept of kernels that are not installed any more.
void remove_orphans(const sys::Paths& paths, const std::filesystem::path& folder) {
    std::error_code error; // then they stay
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename();
        for (const std::string_view kind : {sys::Paths::kept_index_name, sys::Paths::kept_images_name}) {
            if (!name.starts_with(kind)) continue;
            std::error_code unknown;
            if (!std::filesystem::exists(paths.modules(name.substr(kind.size())), unknown) && !unknown)
                std::filesystem::remove(entry->path(), unknown);
        }
    }
}

/// The files that are changed, new or gone.
std::vector<std::string> changed_files(const sys::FileStates& then, const sys::FileStates& now) {
    std::vector<std::string> changed;
    for (const auto& [file, identity] : now)
        if (const auto before = then.find(file); before == then.end() || before->second != identity)
            changed.push_back(file.native());
    for (const auto& [file, identity] : then)
        if (!now.contains(file)) changed.push_back(file.native());
    return changed;
}

} // namespace

Engine::Engine(sys::Paths paths, std::string kernel_release, reader::Reader& reader,
               std::optional<core::Mode> forced)
    : paths_(std::move(paths)), release_(std::move(kernel_release)), reader_(reader),
      images_(reader, paths_.kept_images(release_)), forced_(forced), unpacked_(paths_) {
    state_.written.valid = false;
    state_.files = states_of_policy_files(paths_); // which are the ones that are not valid
    open_index(); // and with it a policy, which allows nothing, but for a forced mode
    // Its error is kept for those who ask. What cannot be used does not take the place of what could be; that
    // there is no policy is another matter.
    const auto loaded = reload();
    if (loaded || loaded.error().kind == sys::ErrorKind::not_found) return;
    use_kept_policy();
    never_read_ = loaded.error().kind != sys::ErrorKind::bad_policy;
}

/// Where it cannot be kept, the next start finds no former policy; on a file system that has become
/// read-only, one before it.
void Engine::keep_for_next_start(const reader::ReadPolicy& policy) const {
    if (const auto kept = reader::keep(policy, paths_.kept_policy()); !kept)
        sys::trace(sys::Topic::files, "{}", kept.error().what);
}

void Engine::use_kept_policy() {
    auto kept = reader::kept_policy(paths_.kept_policy());
    sys::trace(sys::Topic::files, "{}", kept ? "the kept policy is in force" : kept.error().what);
    if (!kept) return;
    State next = latest();
    next.warnings = warnings_of(*kept);
    next.written = std::move(kept->source);
    static_cast<void>(publish(std::move(next))); // nothing is published to yet that could refuse it
}

sys::Result<std::shared_ptr<compiled::CompiledIndex>> Engine::newest_index() {
    const auto path = paths_.kept_index(release_);
    const auto index_of = [this](compiled::File file) {
        return std::make_shared<compiled::CompiledIndex>(std::move(file), paths_, images_, &unpacked_);
    };
    if (auto kept = compiled::File::open_kept(path)) {
        auto index = index_of(std::move(*kept));
        const compiled::Inputs now = compiled::inputs_of(paths_, release_);
        if (now.can_be_recognised() && index->inputs() == now) return index;
        sys::trace(sys::Topic::files, "{} is outdated", path.native());
    } else {
        sys::trace(sys::Topic::files, "{}", kept.error().what);
    }
    auto made = TRY(reader_.index(release_));
    // Where there is no place to keep it, as while /var is not mounted, it stays in memory.
    const auto written = compiled::keep(made.bytes(), path);
    sys::trace(sys::Topic::files, "{}",
               written ? fmt::format("{} is made and kept", path.native()) : written.error().what);
    if (!written) return index_of(std::move(made));
    remove_orphans(paths_, path.parent_path());
    if (auto kept = compiled::File::open_kept(path)) return index_of(std::move(*kept));
    return index_of(std::move(made));
}

void Engine::open_index() {
    auto opened = newest_index();
    index_error_ = opened ? "" : opened.error().what;
    index_ = opened ? std::move(*opened) : nullptr;
    policy_ = policy_of(state_); // which names are those of modules may have changed
    forget_decisions();
    // What it admits may have changed with the index.
    auto published = enforce(policy_, generation_);
    if (!wanted_) keep_wanted(state_, std::move(published));
}

kernel::Published Engine::enforce(const core::Policy& policy, std::uint64_t generation) {
    if (enforcer_ == nullptr) return {};
    return enforcer_->publish({.policy = policy, .index = index_, .generation = generation});
}

void Engine::keep_wanted(State state, kernel::Published published) {
    if (published.outcome == kernel::Published::Outcome::failed)
        wanted_ = Unpublished{std::move(state), std::move(published.error)};
}

void Engine::forget_decisions() {
    decisions_.clear();
    admissions_.reset();
    warm_up_position_ = 0;
}

core::ModuleIndex& Engine::index() {
    static core::NoModules none;
    if (index_) return *index_;
    return none;
}

core::Mode Engine::mode_of(const State& state) const {
    if (forced_) return *forced_;
    if (state.limited_mode) return *state.limited_mode;
    return state.changes.mode.value_or(state.written.mode);
}

core::Policy Engine::policy_of(const State& state) const {
    core::PolicySource source = with(state.written, state.changes);
    source.mode = mode_of(state);
    if (source.mode == core::Mode::audit && !forced_ && state.audit_until)
        source.audit_ends = std::chrono::ceil<std::chrono::seconds>(state.audit_until->time_since_epoch());
    core::Policy policy(std::move(source));
    // Without an index it is not known which names are those of modules: they are taken for it.
    return index_ ? policy.for_modules_of(*index_) : policy;
}

std::expected<void, Engine::NotPublished> Engine::publish(State next) {
    core::Policy policy = policy_of(next);
    if (auto published = enforce(policy, generation_ + 1); !published.is_accepted()) {
        const bool kept = published.outcome == kernel::Published::Outcome::failed
                          && !core::loosens(policy_.source(), policy.source());
        if (kept) keep_wanted(std::move(next), published);
        return std::unexpected(NotPublished{std::move(published.error), kept});
    }
    state_ = std::move(next);
    wanted_.reset();
    policy_ = std::move(policy);
    ++generation_;
    forget_decisions();
    return {};
}

sys::Result<void> Engine::for_who_asked(std::expected<void, NotPublished> published) {
    if (published) return {};
    sys::Error error = std::move(published.error().error);
    if (published.error().kept) {
        error.what = "not in force yet: " + error.what;
        error.hint += error.hint.empty() ? "" : "; ";
        error.hint += "it is kept, and tried again every few seconds: kmodctl status shows how far that is";
    }
    return std::unexpected(std::move(error));
}

sys::Result<void> Engine::publish_to(kernel::Enforcer& enforcer) {
    enforcer_ = &enforcer;
    auto published = enforce(policy_, generation_);
    if (published.is_accepted()) return {};
    if (state_.written.valid) keep_wanted(state_, published);
    return std::unexpected(std::move(published.error));
}

bool Engine::retry() {
    if (never_read_) {
        static_cast<void>(reload()); // policy_error_ has the error
        return true;
    }
    if (!wanted_) return false;
    static_cast<void>(publish(wanted_->state)); // wanted_ has the error
    return true;
}

sys::Result<void> Engine::reload(bool discard) {
    sys::FileStates files =
        states_of_policy_files(paths_); // before: what changes meanwhile counts as changed
    auto loaded = reader_.policy();
    never_read_ = never_read_ && !loaded && loaded.error().kind != sys::ErrorKind::bad_policy
                  && loaded.error().kind != sys::ErrorKind::not_found;
    if (!loaded) {
        sys::Error error = std::move(loaded.error());
        policy_error_ = error.what;
        error.hint += error.hint.empty() ? "" : "; ";
        error.hint +=
            state_.written.valid ? "the policy in force stays" : "everything is refused until it is fixed";
        return std::unexpected(std::move(error));
    }
    State next = latest();
    next.changes.unmask_new_denials(next.written, loaded->source);
    next.warnings = warnings_of(*loaded);
    next.written = loaded->source;
    next.files = std::move(files);
    if (discard) next.changes = {};
    auto published = publish(std::move(next));
    const bool taken = published || published.error().kept;
    policy_error_ = taken ? "" : published.error().error.what;
    if (taken) keep_for_next_start(*loaded);
    return for_who_asked(std::move(published));
}

bool Engine::still_holds(const core::Decision& decision, Known known) {
    if (known == Known::not_at_all) return false;
    if (!index_) return true;
    return (known == Known::as_judged && autoload::plan_names_all_files(decision))
           || compiled::is_current(decision, *index_);
}

const core::Decision& Engine::decide(std::string_view token, Known known) {
    if (const core::Decision* former = decisions_.find(token)) {
        const bool holds = still_holds(*former, known);
        sys::trace(sys::Topic::cache, "{}: {}", token, holds ? "remembered" : "its files have changed");
        if (holds) return *former;
        decisions_.erase(token);
    }
    core::Decision decision = core::decide(policy_, index(), token);
    sys::trace(sys::Topic::cache, "{}: decided, {}", token,
               decision.is_lasting() ? "and kept" : "and not kept");
    if (decision.is_lasting()) return decisions_.insert(std::string(token), std::move(decision));
    not_remembered_ = std::move(decision);
    return not_remembered_;
}

const core::Decision& Engine::decide_to_load(std::string_view token, Known known) {
    const auto scope = unpacked_.judging_for(compiled::UnpackedImages::Purpose::request);
    const core::Decision* decision = &decide(token, known);
    if (decision->effective() == core::Verdict::allow && refresh_index()) decision = &decide(token, known);
    if (decision->audited())
        ++audited_;
    else if (decision->judged == core::Verdict::allow)
        ++allowed_;
    else
        ++refused_;
    return *decision;
}

core::Decision Engine::decide_for_people(std::string_view token) {
    core::Decision decision = decide(token, Known::by_files);
    for (core::ModuleDecision& module : decision.modules)
        if (enforcer_ != nullptr && decision.loads(module))
            if (auto refused = enforcer_->refused_of(module))
                module.kept_out = core::KeptOut{core::Hindrance::sealed_policy, std::move(*refused), {}};
    if (std::ranges::any_of(decision.modules, &core::ModuleDecision::is_unlisted))
        core::note_images(decision, admissions());
    return decision;
}

sys::Result<std::vector<core::ModuleDecision>> Engine::loaded_and_not_admitted() {
    if (!state_.written.valid)
        return sys::failure(sys::ErrorKind::bad_policy, "there is no valid policy",
                            "fix it (kmodctl lint shows all errors), then kmodctl reload");
    if (!index_)
        return sys::failure(sys::ErrorKind::failed, "there is no module index: " + index_error_,
                            "run depmod");
    const auto loaded = TRY(sys::loaded_modules(paths_));
    return core::not_admitted(policy_, *index_, admissions(), loaded);
}

const core::Admissions& Engine::admissions() {
    if (!admissions_) admissions_.emplace(policy_, index());
    return *admissions_;
}

bool Engine::refresh_index() {
    if (index_ && !index_->outdated()) return false;
    open_index();
    return true;
}

bool Engine::warm_up_next() {
    const core::PolicySource& source = policy_.source();
    const std::size_t position = warm_up_position_++;
    const std::size_t modules = source.allow_modules.size();
    if (!index_ || position >= modules + source.allow_aliases.size()) return false;
    // Judging a module's name, or an alias (a pattern resolves to nothing), fills the index's caches.
    const auto& entry =
        position < modules ? source.allow_modules[position] : source.allow_aliases[position - modules];
    const auto scope = unpacked_.judging_for(compiled::UnpackedImages::Purpose::ahead);
    static_cast<void>(core::decide(policy_, *index_, entry.text));
    return true;
}

std::string Engine::why_not_enforced() const {
    return enforcer_ == nullptr ? "" : enforcer_->why_not_enforced(policy_);
}

protocol::DaemonStatus Engine::status() const {
    const core::PolicySource& source = policy_.source();
    protocol::DaemonStatus status{
        .version = installation::version,
        .kernel = release_,
        .generation = generation_,
        .policy_valid = state_.written.valid,
        .mode = source.mode,
        .policy_files = source.files,
        .newer_files = changed_files(state_.files, states_of_policy_files(paths_)),
        .policy_warnings = state_.warnings,
        .allowed_modules = source.allow_modules.size(),
        .allowed_aliases = source.allow_aliases.size(),
        .denied = source.deny_modules.size() + source.deny_aliases.size(),
        .user_namespaces = source.user_namespaces,
        .unsaved_changes = state_.changes.count(),
        .allowed = allowed_,
        .refused = refused_,
        .audited = audited_,
    };
    if (wanted_) {
        status.wanted_mode = mode_of(wanted_->state);
        status.wanted_problem = wanted_->why.what;
    }
    if (forced_) status.mode_forced = "kmodguard.mode on the kernel's command line";
    if (const auto until = limited_until()) {
        const auto left = std::chrono::ceil<std::chrono::seconds>(*until - Clock::now());
        status.mode_seconds_left = static_cast<std::uint64_t>(std::max(left.count(), 0L));
    }
    if (!policy_error_.empty()) status.policy_error = policy_error_;
    if (!index_error_.empty()) status.index_error = index_error_;
    return status;
}

} // namespace kmodguard::daemon
