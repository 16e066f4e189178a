// SPDX-License-Identifier: AGPL-3.0-only
//
// The baseline: what this machine runs now is what it may load. Loaded modules, their hard dependencies, and
// those of their aliases that admit nothing else. An alias with a wildcard, or one that some other module
// answers to as well, would let that other module in; the listed names suffice for what is listed.
#include "config/baseline.hpp"
#include "core/names.hpp"
#include "ctl/daemon_process.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace kmodguard::ctl {
namespace {

using Names = std::set<std::string>;

constexpr mode_t policy_mode = 0600;
constexpr mode_t directory_mode = 0755;

Names with_dependencies(const std::vector<std::string>& loaded, core::ModuleIndex& index) {
    Names names;
    for (const std::string& module : loaded) {
        const auto name = core::module_name_of(module);
        if (!name) continue;
        names.insert(*name);
        if (const core::ModuleRecord* record = index.find(*name))
            names.insert(record->dependencies.begin(), record->dependencies.end());
    }
    return names;
}

bool admits_only(const std::string& alias, const Names& names, core::ModuleIndex& index) {
    if (alias.find_first_of("*?[\\") != std::string::npos || !core::is_token(alias)) return false;
    const auto resolved = index.resolve(alias);
    return !resolved.empty() && std::ranges::all_of(resolved, [&names](const std::string& name) {
        return names.contains(name);
    });
}

Names safe_aliases(const Names& names, core::ModuleIndex& index) {
    Names aliases;
    for (const std::string& name : names)
        for (const std::string& alias : index.aliases(name))
            if (admits_only(alias, names, index)) aliases.insert(alias);
    return aliases;
}

core::PolicySource baseline(const Context& context, core::ModuleIndex& index) {
    core::PolicySource source;
    source.generated_at =
        events::timestamp(std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()))
            .substr(0, 19)
        + "Z";
    source.kernel_release = sys::kernel_release();
    const Names names = with_dependencies(sys::loaded_modules(context.paths), index);
    for (const std::string& name : names)
        source.allow_modules.push_back({name, {}});
    for (const std::string& alias : safe_aliases(names, index))
        source.allow_aliases.push_back({alias, {}});
    return source;
}

sys::Result<void> write_policy(const Context& context, const std::filesystem::path& file,
                               const std::string& text) {
    std::error_code error;
    if (std::filesystem::exists(file, error) && !context.has("force"))
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} exists", file.native()),
                            "kmodctl init --force replaces it");
    if (!context.has("output")) // an existing directory of somebody else's is none of ours to change
        if (auto made = sys::make_directory(file.parent_path(), directory_mode); !made) return made;
    return sys::write_file_atomically(std::filesystem::absolute(file), text, policy_mode);
}

} // namespace

int run_init(const Context& context) {
    const auto index = modules::KmodIndex::open(context.paths, sys::kernel_release());
    if (!index) return context.fail(index.error());
    const core::PolicySource source = baseline(context, **index);
    const std::array header{fmt::format("What {} had loaded when kmodctl init ran.", source.kernel_release)};
    const std::string text = config::render_policy(source, header);
    const std::string output = context.option("output").value_or(context.paths.policy());
    if (output == "-") {
        fmt::print("{}", text);
        return exit_done;
    }
    if (auto written = write_policy(context, output, text); !written) return context.fail(written.error());
    context.text(fmt::format("{} allows {} modules and {} aliases", output, source.allow_modules.size(),
                             source.allow_aliases.size()));
    if (!context.has("output") && daemon_runs(context.paths))
        context.text("the daemon takes it with kmodctl reload");
    if (source.allow_modules.empty()) context.warn("no module is loaded now, so the policy allows none");
    context.object({{"file", output},
                    {"modules", std::uint64_t{source.allow_modules.size()}},
                    {"aliases", std::uint64_t{source.allow_aliases.size()}}});
    return exit_done;
}

} // namespace kmodguard::ctl
