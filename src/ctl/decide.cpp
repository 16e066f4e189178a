// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/decide.hpp"

#include "core/admission.hpp"
#include "core/names.hpp"
#include "protocol/decision_fields.hpp"
#include "sys/kernel.hpp"

#include <algorithm>

namespace kmodguard::ctl {
namespace {

/// A token that is not a line of text cannot be sent to the daemon, and names nothing.
core::Decision unnameable(const std::string& token) {
    core::Decision decision;
    decision.token = token;
    decision.reason = core::Reason::not_a_name;
    return decision;
}

sys::Result<std::vector<core::Decision>> decide_in_daemon(const Context& context, const Words& tokens) {
    std::vector<core::Decision> decisions;
    for (const std::string& token : tokens) {
        if (!core::is_token(token)) {
            decisions.push_back(unnameable(token));
            continue;
        }
        const auto answer = TRY(context.ask("EXPLAIN", token));
        if (decisions.empty()) context.warn_as(answer);
        decisions.push_back(TRY(protocol::decision_of(answer.fields)));
    }
    return decisions;
}

} // namespace

std::string chosen_kernel(const std::optional<Release>& kernel) {
    return kernel ? kernel->name : sys::kernel_release();
}

sys::Result<config::LoadedPolicy> read_policy(const sys::Paths& paths, const File& file) {
    auto loaded = file ? config::load_policy(*file, "") : config::load_policy(paths);
    if (!loaded) return std::unexpected(config::to_error(loaded.error()));
    return std::move(*loaded);
}

sys::Result<LocalJudge> LocalJudge::create(const sys::Paths& paths, const PolicyOptions& options) {
    auto loaded = TRY(read_policy(paths, options.policy));
    LocalJudge judge;
    judge.index_ = TRY(modules::KmodIndex::open(paths, chosen_kernel(options.kernel)));
    judge.policy_ = core::Policy(std::move(loaded.source)).for_modules_of(*judge.index_);
    return judge;
}

core::Decision LocalJudge::decide(const std::string& token) {
    core::Decision decision = core::decide(policy_, *index_, token);
    core::note_images(decision, admissions());
    return decision;
}

std::vector<core::ModuleDecision> LocalJudge::not_admitted(const std::vector<std::string>& loaded) {
    return core::not_admitted(policy_, *index_, admissions(), loaded);
}

const core::Admissions& LocalJudge::admissions() {
    if (!admissions_) admissions_.emplace(policy_, *index_);
    return *admissions_;
}

sys::Result<std::vector<core::Decision>> decide_all(const Context& context, const CheckOptions& options) {
    if (!options.policy && !options.kernel) {
        auto decisions = decide_in_daemon(context, options.tokens);
        if (decisions) return decisions;
        const auto kind = decisions.error().kind;
        if (kind != sys::ErrorKind::unreachable && kind != sys::ErrorKind::denied) return decisions;
    }
    auto judge = TRY(LocalJudge::create(context.paths, options));
    std::vector<core::Decision> decisions;
    for (const std::string& token : options.tokens)
        decisions.push_back(judge.decide(token));
    return decisions;
}

ExitCode exit_code_of(const std::vector<core::Decision>& decisions) {
    const auto is_refused = [](const core::Decision& decision) {
        return decision.effective() == core::Verdict::refuse;
    };
    if (std::ranges::any_of(decisions, &core::Decision::blocks)) return exit_refused;
    return std::ranges::any_of(decisions, is_refused) ? exit_not_blocked : exit_done;
}

} // namespace kmodguard::ctl
