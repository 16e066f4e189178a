// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/local_decision.hpp"

#include "core/loaded.hpp"
#include "core/names.hpp"
#include "protocol/decision_fields.hpp"
#include "sys/kernel.hpp"

#include <algorithm>

namespace kmodguard::ctl {
namespace {

/// The daemon cannot be told about a token that is no line of text, and there is nothing to tell.
core::Decision unnameable(const std::string& token) {
    core::Decision decision;
    decision.token = token;
    decision.reason = core::Reason::not_a_name;
    return decision;
}

sys::Result<std::vector<core::Decision>> decide_in_daemon(const Context& context) {
    std::vector<core::Decision> decisions;
    for (const std::string& token : context.arguments) {
        if (!core::is_token(token)) {
            decisions.push_back(unnameable(token));
            continue;
        }
        const auto answer = context.ask("EXPLAIN", token);
        if (!answer) return std::unexpected(answer.error());
        if (decisions.empty()) context.warn_as(*answer);
        auto decision = protocol::decision_of(answer->fields);
        if (!decision) return std::unexpected(decision.error());
        decisions.push_back(std::move(*decision));
    }
    return decisions;
}

bool is_offline(const Context& context) {
    return context.has("policy") || context.has("kernel");
}

} // namespace

std::string chosen_kernel(const Context& context) {
    return context.option("kernel").value_or(sys::kernel_release());
}

config::PolicyResult read_policy(const Context& context) {
    if (const auto file = context.option("policy")) return config::load_policy(*file, "");
    return config::load_policy(context.paths);
}

sys::Result<LocalJudge> LocalJudge::create(const Context& context) {
    auto loaded = read_policy(context);
    if (!loaded) return std::unexpected(config::to_error(loaded.error()));
    auto index = modules::KmodIndex::open(context.paths, chosen_kernel(context));
    if (!index) return std::unexpected(index.error());
    LocalJudge judge;
    judge.index_ = std::move(*index);
    judge.policy_ = core::Policy(std::move(loaded->source)).for_modules_of(*judge.index_);
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

sys::Result<std::vector<core::Decision>> decide_all(const Context& context) {
    if (!is_offline(context)) {
        auto decisions = decide_in_daemon(context);
        if (decisions) return decisions;
        const auto kind = decisions.error().kind;
        if (kind != sys::ErrorKind::unreachable && kind != sys::ErrorKind::denied) return decisions;
    }
    auto judge = LocalJudge::create(context);
    if (!judge) return std::unexpected(judge.error());
    std::vector<core::Decision> decisions;
    for (const std::string& token : context.arguments)
        decisions.push_back(judge->decide(token));
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
