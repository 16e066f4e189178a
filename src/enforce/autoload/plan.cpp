// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::autoload {
namespace {

constexpr std::string_view compressed = "insert-compressed";

std::string_view verb_for(const core::ModuleRecord& record) {
    if (record.by_modprobe) return "modprobe";
    return record.path.ends_with(".ko") ? "insert" : compressed;
}

void add_step(Plan& plan, const core::Step& step, const core::ModuleRecord& record, core::Mode mode,
              compiled::UnpackedImages& images) {
    auto& lines = plan.lines;
    const std::string_view verb = verb_for(record);
    if (!record.options.empty() && !record.by_modprobe) lines.push_back({"options", record.options});
    if (!step.judged.empty())
        lines.push_back({"judged", step.judged});
    else if (mode == core::Mode::audit || record.command_only)
        lines.push_back({"judged", "any"}); // it loads what was refused, unseen; or there is no file to judge
    if (verb == compressed && plan.images.size() < protocol::max_images)
        if (auto image = images.find(record.name, step.judged)) {
            lines.push_back({"unpacked", std::to_string(image->size)});
            plan.images.push_back(std::move(image));
        }
    lines.push_back({std::string(verb),
                     fmt::format("{} {} {}", step.required ? "required" : "soft", record.name, record.path)});
}

} // namespace

Plan plan_of(const core::Decision& decision, core::ModuleIndex& index, compiled::UnpackedImages& images) {
    Plan plan;
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        plan.lines.push_back({"group", module.module});
        for (const core::Step& step : module.chain) {
            if (step.by_command) continue; // by the modprobe of the command
            const core::ModuleRecord* record = index.find(step.module);
            if (record == nullptr)
                continue; // only audit mode has such steps: enforce mode refuses or leaves them out
            const auto asked =
                step.module == module.module ? index.asked_for(*record, decision.token) : std::nullopt;
            // modprobe finds the options of an alias by the alias; of several modules it would load them all.
            if (asked && decision.modules.size() == 1) plan.lines.push_back({"asked", decision.token});
            add_step(plan, step, asked.value_or(*record), decision.mode, images);
        }
    }
    return plan;
}

bool plan_names_all_files(const core::Decision& decision) {
    return std::ranges::all_of(decision.modules, [&decision](const core::ModuleDecision& module) {
        return !decision.loads(module) || std::ranges::none_of(module.chain, &core::Step::by_command);
    });
}

} // namespace kmodguard::autoload
