// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/loaded.hpp"

#include "core/names.hpp"
#include "sys/kernel.hpp"

namespace kmodguard::daemon {

sys::Result<std::vector<core::ModuleDecision>> loaded_and_not_admitted(Engine& engine) {
    if (!engine.has_policy())
        return sys::failure(sys::ErrorKind::bad_policy, "there is no valid policy",
                            "fix it (kmodctl lint shows all errors), then kmodctl reload");
    if (engine.index() == nullptr)
        return sys::failure(sys::ErrorKind::failed, "there is no module index: " + engine.index_error(),
                            "run depmod");
    const auto loaded = TRY(sys::loaded_modules(engine.paths()));
    return core::not_admitted(engine.policy(), *engine.index(), engine.admissions(), loaded);
}

std::vector<std::string> what_stays(Engine& engine, const std::set<std::string>& modules) {
    std::vector<std::string> sentences;
    std::vector<std::string> built_in;
    for (const std::string& module : modules)
        if (const core::ModuleRecord* record = engine.index_or_none().find(module);
            record != nullptr && record->built_in)
            built_in.push_back(module);
    if (!built_in.empty())
        sentences.push_back("built into the kernel, and not kept out by any policy: "
                            + core::first_of(built_in));
    auto loaded = loaded_and_not_admitted(engine);
    if (!loaded) return sentences;
    std::erase_if(
        *loaded, [&modules](const core::ModuleDecision& judged) { return !modules.contains(judged.module); });
    if (!loaded->empty()) sentences.push_back(core::explain_loaded(*loaded));
    return sentences;
}

} // namespace kmodguard::daemon
