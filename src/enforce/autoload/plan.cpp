// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/plan.hpp"

#include <fmt/format.h>

namespace kmodguard::autoload {
namespace {

std::string_view verb_for(const core::ModuleRecord& record) {
    if (record.by_modprobe) return "modprobe";
    return record.path.ends_with(".ko") ? "insert" : "insert-compressed";
}

void add_step(std::vector<protocol::Field>& plan, const core::Step& step, const core::ModuleRecord& record,
              core::Mode mode) {
    if (!record.options.empty() && !record.by_modprobe) plan.push_back({"options", record.options});
    if (!step.judged.empty())
        plan.push_back({"judged", step.judged});
    else if (mode == core::Mode::audit || record.command_only)
        plan.push_back({"judged", "any"}); // it loads what was refused, unseen; or there is no file to judge
    plan.push_back({std::string(verb_for(record)),
                    fmt::format("{} {} {}", step.required ? "required" : "soft", record.name, record.path)});
}

} // namespace

std::vector<protocol::Field> plan_of(const core::Decision& decision, core::ModuleIndex& index) {
    std::vector<protocol::Field> plan;
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        plan.push_back({"group", module.module});
        for (const core::Step& step : module.chain) {
            if (step.by_command) continue; // by the modprobe of the command
            const core::ModuleRecord* record = index.find(step.module);
            if (record == nullptr)
                continue; // only audit mode has such steps: enforce mode refuses or leaves them out
            const auto asked =
                step.module == module.module ? index.asked_for(*record, decision.token) : std::nullopt;
            // modprobe finds the options of an alias by the alias; of several modules it would load them all.
            if (asked && decision.modules.size() == 1) plan.push_back({"asked", decision.token});
            add_step(plan, step, asked.value_or(*record), decision.mode);
        }
    }
    return plan;
}

} // namespace kmodguard::autoload
