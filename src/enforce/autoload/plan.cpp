// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/plan.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <limits>

namespace kmodguard::autoload {
namespace {

constexpr std::size_t longest_options = 2048;

bool fits_a_line(std::string_view text) {
    return core::printable(text, std::numeric_limits<std::size_t>::max()) == text;
}

/// Whether the hook can load this module itself, and with which verb; "modprobe" if it cannot.
std::string_view verb_for(const core::ModuleRecord& record, std::string_view in_kernel_compression) {
    if (record.has_install_command || record.options.size() > longest_options || !fits_a_line(record.options)
        || !fits_a_line(record.path))
        return "modprobe";
    if (record.path.ends_with(".ko")) return "insert";
    if (!in_kernel_compression.empty() && record.path.ends_with(in_kernel_compression))
        return "insert-compressed";
    return "modprobe";
}

void add_step(std::vector<protocol::Field>& plan, const core::Step& step, const core::ModuleRecord& record,
              std::string_view verb, const std::optional<sys::FileIdentity>& judged) {
    const std::string_view need = step.required ? "required" : "soft";
    if (verb == "modprobe") {
        plan.push_back({std::string(verb), fmt::format("{} {}", need, record.name)});
        return;
    }
    if (!record.options.empty()) plan.push_back({"options", record.options});
    if (judged)
        plan.push_back({"judged", fmt::format("{} {} {} {}", judged->device, judged->inode, judged->size,
                                              judged->changed_ns)});
    plan.push_back({std::string(verb), fmt::format("{} {} {}", need, record.name, record.path)});
}

} // namespace

std::vector<protocol::Field> plan_of(const core::Decision& decision, modules::KmodIndex& index,
                                     std::string_view in_kernel_compression) {
    std::vector<protocol::Field> plan;
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        plan.push_back({"group", module.module});
        for (const core::Step& step : module.chain) {
            const core::ModuleRecord* record = index.find(step.module);
            if (record == nullptr) continue; // audit mode only: enforce mode refuses what misses a dependency
            add_step(plan, step, *record, verb_for(*record, in_kernel_compression),
                     index.checked_file(step.module));
        }
    }
    return plan;
}

bool is_current(const core::Decision& decision, modules::KmodIndex& index) {
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        for (const core::Step& step : module.chain) {
            const core::ModuleRecord* record = index.find(step.module);
            const auto judged = index.checked_file(step.module);
            if (record == nullptr || !judged) continue;
            const auto now = sys::file_identity(record->path);
            if (!now || *now != *judged) return false;
        }
    }
    return true;
}

} // namespace kmodguard::autoload
