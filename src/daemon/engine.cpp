// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/engine.hpp"

#include "config/entry.hpp"
#include "config/policy_edit.hpp"
#include "config/policy_file.hpp"
#include "core/loosening.hpp"
#include "core/names.hpp"
#include "modules/judged_files.hpp"
#include "sys/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kmodguard::daemon {
namespace {

/// Whether a file that cannot be judged now had a part in it; it may be repaired the next time.
bool is_transient(const core::Decision& decision) {
    return std::ranges::any_of(decision.modules, [](const core::ModuleDecision& module) {
        return module.reason == core::Reason::unreadable_image
               || module.reason == core::Reason::contradictory_image
               || module.reason == core::Reason::pin_mismatch || !module.omitted.empty()
               || (module.looked_inside && module.verdict() == core::Verdict::refuse);
    });
}

sys::Result<std::string> canonical(std::string_view module) {
    if (auto name = core::module_name_of(module); name && module.find('/') == std::string_view::npos)
        return *name;
    return sys::failure(sys::ErrorKind::invalid,
                        fmt::format("\"{}\" is not a valid module name", core::printable(module)),
                        "patterns belong into allow.aliases of the policy file");
}

/// `name` as an alias pattern; an image's file name as the module's.
sys::Result<std::string> alias_of(std::string_view name) {
    if (name.contains('/') && !name.contains(':')) // as in devname:net/tun
        return sys::failure(
            sys::ErrorKind::invalid,
            fmt::format("\"{}\" is a path, and neither a module nor an alias", core::printable(name)),
            "write the module's name alone");
    const auto module = core::module_name_of(name);
    const bool is_file_name = module && core::fold(name) != *module;
    return config::check_entry(config::List::deny_aliases, is_file_name ? *module : name);
}

std::vector<std::string> warnings_of(const std::vector<config::Diagnostic>& found,
                                     const core::PolicySource& source) {
    std::vector<std::string> warnings;
    for (config::Diagnostic diagnostic : found) { // each on one line, as an answer's field
        const std::string hint = std::exchange(diagnostic.hint, {});
        warnings.push_back(render(diagnostic) + (hint.empty() ? "" : "; " + hint));
    }
    if (!core::wants_point(source, core::Point::autoload))
        warnings.emplace_back(
            "points leaves autoload out, and it is enforced all the same: requests would pass "
            "unjudged otherwise");
    return warnings;
}

std::vector<config::Edit> edits_of(const core::RuntimeChanges& changes) {
    using config::List;
    std::vector<config::Edit> edits;
    for (const std::string& module : changes.removed) {
        edits.emplace_back(config::RemoveEntry{List::allow_modules, module});
        edits.emplace_back(config::RemoveEntry{List::deny_modules, module});
    }
    for (const std::string& alias : changes.removed_aliases) {
        edits.emplace_back(config::RemoveEntry{List::allow_aliases, alias});
        edits.emplace_back(config::RemoveEntry{List::deny_aliases, alias});
    }
    for (const std::string& module : changes.allowed)
        edits.emplace_back(config::AddEntry{List::allow_modules, module});
    for (const std::string& module : changes.denied)
        edits.emplace_back(config::AddEntry{List::deny_modules, module});
    for (const auto& [folded, alias] : changes.denied_aliases)
        edits.emplace_back(config::AddEntry{List::deny_aliases, alias});
    if (changes.mode) edits.emplace_back(config::SetMode{*changes.mode});
    return edits;
}

} // namespace

Engine::Engine(sys::Paths paths, std::string kernel_release, std::optional<core::Mode> forced)
    : paths_(std::move(paths)), release_(std::move(kernel_release)), forced_(forced) {
    state_.written.valid = false;
    state_.files = states_of_policy_files(paths_); // which are the ones that are not valid
    open_index();                // and with it a policy, which allows nothing, but for a forced mode
    static_cast<void>(reload()); // its error is kept for those who ask
}

std::vector<std::string> Engine::newer_files() const {
    return changed_files(state_.files, states_of_policy_files(paths_));
}

void Engine::open_index() {
    configuration_ =
        states_of_modprobe_configuration(paths_); // before: what changes meanwhile counts as changed
    auto opened = modules::KmodIndex::open(paths_, release_);
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

core::ModuleIndex& Engine::index_or_none() {
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
    if (has_policy()) keep_wanted(state_, published);
    return std::unexpected(std::move(published.error));
}

std::optional<Engine::Wanted> Engine::wanted() const {
    if (!wanted_) return std::nullopt;
    return Wanted{.mode = mode_of(wanted_->state), .why = wanted_->why};
}

void Engine::retry() {
    if (wanted_) static_cast<void>(publish(wanted_->state)); // wanted() has the error
}

sys::Result<void> Engine::reload(bool discard) {
    FileStates files = states_of_policy_files(paths_); // before: what changes meanwhile counts as changed
    auto loaded = config::load_policy(paths_);
    if (!loaded) {
        sys::Error error = config::to_error(loaded.error());
        policy_error_ = error.what;
        error.hint += error.hint.empty() ? "" : "; ";
        error.hint += has_policy() ? "the policy in force stays" : "everything is refused until it is fixed";
        return std::unexpected(std::move(error));
    }
    State next = latest();
    next.changes.unmask_new_denials(next.written, loaded->source);
    next.written = std::move(loaded->source);
    next.files = std::move(files);
    next.warnings = warnings_of(loaded->warnings, next.written);
    if (discard) next.changes = {};
    auto published = publish(std::move(next));
    policy_error_ = published || published.error().kept ? "" : published.error().error.what;
    return for_who_asked(std::move(published));
}

bool Engine::is_lasting(const core::Decision& decision) const {
    return decision.reason != core::Reason::not_a_name && !is_transient(decision);
}

const core::Decision& Engine::decide(std::string_view token) {
    if (const core::Decision* known = decisions_.find(token)) {
        const bool is_current = !index_ || modules::is_current(*known, *index_);
        sys::trace(sys::Topic::cache, "{}: {}", token, is_current ? "remembered" : "its files have changed");
        if (is_current) return *known;
        decisions_.erase(token);
    }
    core::Decision decision = core::decide(policy_, index_or_none(), token);
    sys::trace(sys::Topic::cache, "{}: decided, {}", token,
               is_lasting(decision) ? "and kept" : "and not kept");
    if (is_lasting(decision)) return decisions_.insert(std::string(token), std::move(decision));
    unnamed_ = std::move(decision);
    return unnamed_;
}

const core::Decision& Engine::decide_to_load(std::string_view token) {
    const core::Decision& decision = decide(token);
    if (decision.effective() == core::Verdict::refuse || !refresh_index()) return decision;
    return decide(token);
}

core::Decision Engine::decide_for_people(std::string_view token) {
    core::Decision decision = decide(token);
    for (core::ModuleDecision& module : decision.modules)
        if (enforcer_ != nullptr && decision.loads(module))
            if (auto refused = enforcer_->refused_of(module))
                module.kept_out = core::KeptOut{core::Hindrance::sealed_policy, std::move(*refused), {}};
    const auto for_want_of_a_rule = [](const core::ModuleDecision& module) {
        return module.reason == core::Reason::not_listed || module.reason == core::Reason::no_policy;
    };
    if (std::ranges::none_of(decision.modules, for_want_of_a_rule)) return decision;
    core::note_images(decision, admissions());
    return decision;
}

const core::Admissions& Engine::admissions() {
    if (!admissions_) admissions_.emplace(policy_, index_or_none());
    return *admissions_;
}

void Engine::count(const core::Decision& decision) {
    if (decision.audited())
        ++counts_.audited;
    else if (decision.judged == core::Verdict::allow)
        ++counts_.allowed;
    else
        ++counts_.refused;
}

std::optional<core::Rule> Engine::denial_by_alias(const core::Policy& policy, const std::string& module) {
    const core::Decision decision = core::decide(policy, index_or_none(), module);
    const bool denies =
        decision.reason == core::Reason::denied_alias || decision.reason == core::Reason::denied_token;
    return denies ? decision.rule : std::nullopt;
}

sys::Result<void> Engine::allow(std::string_view module) {
    const std::string name = TRY(canonical(module));
    if (const auto modules = other_modules(name); !modules.empty())
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is no module but an alias of {}", core::printable(module),
                                        fmt::join(modules, ", ")),
                            fmt::format("kmodctl allow {}; or write the alias to allow.aliases of the policy "
                                        "file, which allows whatever answers to it",
                                        modules.front()));
    if (const auto rule = (wanted_ ? policy_of(wanted_->state) : policy_).denies_module(name))
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is denied by {}, and deny wins", name, describe(*rule)),
                            fmt::format("kmodctl remove {} takes it off the deny list", name));
    State next = latest();
    next.changes.allow(next.written, name);
    if (const auto denied = denial_by_alias(policy_of(next), name))
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is denied by {}, and deny wins", name, describe(*denied)),
                            "change that rule in the policy file");
    return for_who_asked(publish(std::move(next)));
}

std::vector<std::string> Engine::other_modules(const std::string& name) {
    core::ModuleIndex& index = index_or_none();
    if (index.find(name) != nullptr) return {};
    std::vector<std::string> modules = index.resolve(name);
    if (std::ranges::find(modules, name) != modules.end()) return {}; // an install command of modprobe.d
    return modules;
}

sys::Result<void> Engine::deny(std::string_view name) {
    const std::string alias = TRY(alias_of(name));
    const auto module = core::module_name_of(alias);
    State next = latest();
    // An alias that is denied is also denied as a module's name: right for what no module is called now.
    if (module && index_or_none().find(*module) != nullptr)
        next.changes.deny(next.written, *module);
    else
        next.changes.deny_alias(next.written, alias);
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::remove(std::string_view name) {
    const std::string alias = TRY(alias_of(name));
    const auto module = core::module_name_of(alias);
    State next = latest();
    const bool off_aliases = next.changes.remove_alias(next.written, alias);
    if (!(module && next.changes.remove(next.written, *module)) && !off_aliases) {
        const std::string shown = core::printable(module.value_or(alias));
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} is neither allowed nor denied by name", shown),
                            fmt::format("kmodctl explain {} shows why it loads or not", shown));
    }
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::set_mode(core::Mode mode, std::optional<Clock::time_point> until) {
    State next = latest();
    next.limited_until = until;
    next.audit_until = mode == core::Mode::audit ? until : std::nullopt;
    next.limited_mode = until ? std::optional(mode) : std::nullopt;
    if (!until) next.changes.mode = mode == next.written.mode ? std::nullopt : std::optional(mode);
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::end_limited_mode() {
    State next = latest();
    next.limited_mode.reset();
    next.limited_until.reset();
    next.audit_until.reset();
    auto ended = for_who_asked(publish(std::move(next)));
    if (!ended) { // its time is over all the same: if it is kept, retry() ends it, and a stricter mode stays
        state_.limited_until.reset();
        if (wanted_) wanted_->state.limited_until.reset();
    }
    return ended;
}

sys::Result<std::vector<std::string>> Engine::apply() {
    const auto files = config::policy_files(paths_);
    if (!files) return std::unexpected(config::to_error({files.error()}));
    const auto written = TRY(config::save_edits(*files, edits_of(latest().changes)));
    TRY(reload(true));
    std::vector<std::string> changed;
    for (const auto& file : written)
        changed.push_back(file.native());
    return changed;
}

bool Engine::refresh_index() {
    if (index_ && !index_->outdated() && configuration_ == states_of_modprobe_configuration(paths_))
        return false;
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
    static_cast<void>(core::decide(policy_, *index_, entry.text));
    return true;
}

} // namespace kmodguard::daemon
