// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/judged_files.hpp"

#include "sys/file.hpp"

namespace kmodguard::modules {

bool is_current(const core::Decision& decision, core::ModuleIndex& index) {
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        for (const core::Step& step : module.chain) {
            if (step.judged.empty())
                continue; // audit mode, or nothing to load: the plan promises nothing about it
            const core::ModuleRecord* record = index.find(step.module);
            if (record == nullptr) return false;
            const auto now = sys::file_identity(record->path);
            if (!now || to_string(*now) != step.judged) return false;
        }
    }
    return true;
}

} // namespace kmodguard::modules
