// SPDX-License-Identifier: AGPL-3.0-only
#include "core/decision.hpp"
#include "core/names.hpp"

#include <algorithm>
#include <utility>

namespace kmodguard::core {
namespace {

std::optional<KeptOut> hindrance_of(const Step& step, ModuleIndex& index) {
    const ModuleRecord* record = index.find(step.module);
    if (record == nullptr) return std::nullopt;
    if (record->install_command && record->install_command->loads_nothing())
        return KeptOut{Hindrance::install_command, step.module, record->install_command->text};
    const KernelLimits& limits = index.kernel_limits();
    if (record->command_only || (limits.blacklist.empty() && limits.signature_wanted_by.empty()))
        return std::nullopt;
    auto found = hindrance_of(index.image(*record, false), limits);
    if (found) found->module = step.module;
    return found;
}

/// Of what the module itself takes. If it is a command and no module, one of those that the command loads
/// will do.
std::optional<KeptOut> hindrance_of(const ModuleDecision& decision, ModuleIndex& index) {
    const ModuleRecord* record = index.find(decision.module);
    const bool is_command = record != nullptr && record->command_only;
    std::optional<KeptOut> of_run;
    bool all_of_run = is_command;
    for (const Step& step : decision.chain) {
        if (!step.required && !(is_command && step.by_command)) continue;
        auto found = hindrance_of(step, index);
        if (step.by_command) {
            all_of_run = all_of_run && found;
            if (!of_run) of_run = std::move(found);
        } else if (found) {
            return found;
        }
    }
    return all_of_run ? of_run : std::nullopt;
}

} // namespace

std::optional<KeptOut> hindrance_of(const ImageFacts& facts, const KernelLimits& limits) {
    // The kernel compares what .modinfo says, byte by byte: a '-' in its list matches no module.
    const std::string& name = facts.modinfo_name.empty() ? facts.name : facts.modinfo_name;
    if (std::ranges::find(limits.blacklist, name) != limits.blacklist.end())
        return KeptOut{Hindrance::kernel_blacklist, fold(name), {}};
    if (!limits.signature_wanted_by.empty() && facts.is_signed == false)
        return KeptOut{Hindrance::unsigned_image, fold(name), limits.signature_wanted_by};
    return std::nullopt;
}

void add_hindrances(ModuleDecision& decision, ModuleIndex& index) {
    for (const Step& step : decision.chain) {
        const ModuleRecord* record = index.find(step.module);
        if (record != nullptr && record->install_command)
            decision.commands.push_back(
                {step.module, record->install_command->text, record->install_command->unknown});
    }
    if (index.kernel_limits().loading_disabled)
        decision.kept_out = KeptOut{Hindrance::loading_disabled, decision.module, {}};
    else
        decision.kept_out = hindrance_of(decision, index);
}

} // namespace kmodguard::core
