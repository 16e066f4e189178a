// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/engine.hpp"

#include "config/policy_edit.hpp"
#include "config/policy_file.hpp"
#include "core/names.hpp"
#include "enforce/autoload/plan.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <utility>

namespace kmodguard::daemon {
namespace {

/// For a kernel whose modules cannot be looked up: there are none.
class NoModules final : public core::ModuleIndex {
  public:
    std::vector<std::string> resolve(std::string_view) override { return {}; }
    const core::ModuleRecord* find(std::string_view) override { return nullptr; }
    const std::vector<std::string>& aliases(std::string_view) override { return none_; }
    core::ImageFacts image(const core::ModuleRecord&, bool) override {
        return {.problem = "there is no module index", .name = {}, .modinfo_name = {}, .sha256 = {}};
    }

  private:
    std::vector<std::string> none_;
};

sys::Result<std::string> canonical(std::string_view module) {
    if (auto name = core::module_name_of(module); name && module.find('/') == std::string_view::npos)
        return *name;
    return sys::failure(sys::ErrorKind::invalid,
                        fmt::format("\"{}\" is no possible module name", core::printable(module)),
                        "patterns belong into allow.aliases of the policy file");
}

std::vector<config::Edit> edits_of(const core::RuntimeChanges& changes) {
    using config::List;
    std::vector<config::Edit> edits;
    for (const std::string& module : changes.removed) {
        edits.emplace_back(config::RemoveEntry{List::allow_modules, module});
        edits.emplace_back(config::RemoveEntry{List::deny_modules, module});
    }
    for (const std::string& module : changes.allowed)
        edits.emplace_back(config::AddEntry{List::allow_modules, module});
    for (const std::string& module : changes.denied)
        edits.emplace_back(config::AddEntry{List::deny_modules, module});
    if (changes.mode) edits.emplace_back(config::SetMode{*changes.mode});
    return edits;
}

} // namespace

Engine::Engine(sys::Paths paths, std::string kernel_release, std::optional<core::Mode> forced)
    : paths_(std::move(paths)), release_(std::move(kernel_release)), forced_(forced),
      compression_(sys::in_kernel_compression(paths_)) {
    open_index();
    publish();                   // the policy that allows nothing, but for a forced mode
    static_cast<void>(reload()); // its error is kept for whoever asks
}

Engine::Configuration Engine::read_configuration_state() const {
    Configuration state;
    for (const auto& directory : paths_.modprobe_configuration()) {
        std::error_code error;
        std::filesystem::directory_iterator entry(directory, error);
        for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
            if (const auto file = sys::file_identity(entry->path())) state.emplace(entry->path(), *file);
    }
    return state;
}

void Engine::open_index() {
    configuration_ = read_configuration_state(); // before: what changes meanwhile counts as changed
    auto opened = modules::KmodIndex::open(paths_, release_);
    index_error_ = opened ? "" : opened.error().what;
    index_ = opened ? std::move(*opened) : nullptr;
    decisions_.clear();
    warm_up_position_ = 0;
}

core::ModuleIndex& Engine::index_or_none() {
    static NoModules none;
    if (index_) return *index_;
    return none;
}

void Engine::publish() {
    core::PolicySource source = with(written_, changes_);
    if (limited_mode_) source.mode = *limited_mode_;
    if (forced_) source.mode = *forced_;
    policy_ = core::Policy(std::move(source));
    decisions_.clear();
    warm_up_position_ = 0;
}

sys::Result<void> Engine::reload(bool discard) {
    auto loaded = config::load_policy(paths_.policy(), paths_.policy_drop_ins());
    if (!loaded) {
        sys::Error error = config::to_error(loaded.error());
        policy_error_ = error.what;
        error.hint += error.hint.empty() ? "" : "; ";
        error.hint +=
            generation_ > 0 ? "the policy in force stays" : "everything is refused until it is mended";
        return std::unexpected(std::move(error));
    }
    policy_error_.clear();
    written_ = std::move(loaded->source);
    if (discard) changes_ = {};
    ++generation_;
    publish();
    return {};
}

const core::Decision& Engine::decide(std::string_view token) {
    if (const core::Decision* known = decisions_.find(token)) {
        if (!index_ || autoload::is_current(*known, *index_)) return *known;
        decisions_.erase(token);
    }
    core::Decision decision = core::decide(policy_, index_or_none(), {.token = std::string(token)});
    if (decision.reason != core::Reason::not_a_name)
        return decisions_.insert(std::string(token), std::move(decision));
    unnamed_ = std::move(decision);
    return unnamed_;
}

void Engine::count(const core::Decision& decision) {
    if (decision.audited())
        ++counts_.audited;
    else if (decision.judged == core::Verdict::allow)
        ++counts_.allowed;
    else
        ++counts_.refused;
}

sys::Result<void> Engine::allow(std::string_view module) {
    const auto name = canonical(module);
    if (!name) return std::unexpected(name.error());
    if (const auto rule = policy_.denies_module(*name))
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is denied by {}, and deny wins", *name, describe(*rule)),
                            fmt::format("kmodctl remove {} takes it off the deny list", *name));
    changes_.allow(written_, *name);
    ++generation_;
    publish();
    return {};
}

sys::Result<void> Engine::deny(std::string_view module) {
    const auto name = canonical(module);
    if (!name) return std::unexpected(name.error());
    changes_.deny(written_, *name);
    ++generation_;
    publish();
    return {};
}

sys::Result<void> Engine::remove(std::string_view module) {
    const auto name = canonical(module);
    if (!name) return std::unexpected(name.error());
    if (!changes_.remove(written_, *name))
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} is neither allowed nor denied by name", *name),
                            fmt::format("kmodctl explain {} tells why it loads or not", *name));
    ++generation_;
    publish();
    return {};
}

void Engine::set_mode(core::Mode mode, std::optional<Clock::time_point> until) {
    limited_until_ = until;
    limited_mode_ = until ? std::optional(mode) : std::nullopt;
    if (!until) changes_.mode = mode == written_.mode ? std::nullopt : std::optional(mode);
    ++generation_;
    publish();
}

void Engine::end_limited_mode() {
    limited_mode_.reset();
    limited_until_.reset();
    ++generation_;
    publish();
}

sys::Result<std::vector<std::string>> Engine::apply() {
    const auto files = config::policy_files(paths_.policy(), paths_.policy_drop_ins());
    if (!files) return std::unexpected(config::to_error({files.error()}));
    const auto report = config::save_edits(*files, edits_of(changes_));
    if (!report) return std::unexpected(report.error());
    if (auto reloaded = reload(true); !reloaded) return std::unexpected(reloaded.error());
    std::vector<std::string> changed;
    for (const auto& file : report->changed)
        changed.push_back(file.native());
    return changed;
}

bool Engine::refresh_index() {
    if (index_ && !index_->outdated() && configuration_ == read_configuration_state()) return false;
    open_index();
    return true;
}

bool Engine::warm_up_next() {
    const auto& modules = policy_.source().allow_modules;
    if (!index_ || warm_up_position_ >= modules.size()) return false;
    // The module's own name as the token: judging it fills the index's caches, whatever the verdict.
    static_cast<void>(core::decide(policy_, *index_, {.token = modules[warm_up_position_++].text}));
    return true;
}

} // namespace kmodguard::daemon
