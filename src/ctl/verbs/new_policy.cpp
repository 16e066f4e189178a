// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy as a new file.
//
// The baseline (init): what this machine runs now is what it may load. Loaded modules, their hard
// dependencies, and those of their aliases that admit nothing else. An alias with a wildcard, or one that
// some other module answers to as well, would let that other module in; a module's name suffices for it.
//
// Another policy in the TOML form, whichever form it has (convert). The YAML form says little and is never
// edited; for audit mode, aliases or `kmodctl apply` it is converted first. Nothing is lost but comments.
#include "config/policy_schema.hpp"
#include "core/names.hpp"
#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>
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
    for (const std::string& name : names) {
        const auto* known = index.aliases(name);
        if (known == nullptr) continue;
        for (const std::string& alias : *known)
            if (admits_only(alias, names, index)) aliases.insert(alias);
    }
    return aliases;
}

/// The baseline of what `loaded` names.
core::PolicySource baseline(const std::vector<std::string>& loaded, core::ModuleIndex& index) {
    core::PolicySource source;
    const events::Timestamp now(std::chrono::system_clock::now());
    source.generated_at = std::string(now.text().substr(0, 19)) + "Z";
    source.kernel_release = sys::kernel_release();
    const Names names = with_dependencies(loaded, index);
    for (const std::string& name : names)
        source.allow_modules.push_back({name, {}});
    for (const std::string& alias : safe_aliases(names, index))
        source.allow_aliases.push_back({alias, {}});
    return source;
}

/// The modules that would load for this machine's devices, and that `source` does not allow.
Names left_out(const Context& context, const core::PolicySource& source, core::ModuleIndex& index) {
    const core::Policy policy(source);
    Names names;
    for (const std::string& alias : sys::device_aliases(context.paths)) {
        if (!core::is_token(alias)) continue;
        for (const std::string& module : index.resolve(alias)) {
            const core::ModuleRecord* record = index.find(module);
            if (record != nullptr && !record->built_in && !record->blacklisted
                && !policy.allows_module(module))
                names.insert(module);
        }
    }
    return names;
}

/// What the baseline lacks that this machine is likely to need.
void warn_of_gaps(const Context& context, const core::PolicySource& source, core::ModuleIndex& index) {
    if (source.allow_modules.empty())
        context.warn(
            "no module is loaded now, so the policy allows none: whatever is not built into the kernel "
            "would be refused");
    const Names names = left_out(context, source, index);
    if (names.empty()) return;
    constexpr std::size_t max_named = 8;
    context.warn(
        fmt::format("devices of this machine ask for {} modules that are not loaded and would be refused: "
                    "{}{}; load what is needed and run kmodctl init again, or kmodctl allow it",
                    names.size(), fmt::join(names | std::views::take(max_named), ", "),
                    names.size() > max_named ? ", ..." : ""));
}

sys::Result<std::vector<std::string>> read_loaded_modules(const Context& context) {
    auto loaded = sys::loaded_modules(context.paths);
    if (loaded) return loaded;
    return sys::failure(sys::ErrorKind::failed,
                        "which modules are loaded is not known: " + loaded.error().what,
                        "run it where /proc is mounted, on the machine that the policy is for");
}

/// Whether the policy goes to the place where the daemon looks for it, whichever way it is written.
bool is_the_policy(const Context& context, const std::filesystem::path& file) {
    return std::filesystem::absolute(file).lexically_normal() == context.paths.policy();
}

/// Replaces a file that exists only if `replace`. "-" prints the text.
sys::Result<void> write_policy(const Context& context, const std::filesystem::path& file,
                               const std::string& text, bool replace) {
    if (file == "-") {
        if (!context.json) fmt::print("{}", text);
        return {};
    }
    std::error_code error;
    if (std::filesystem::is_directory(file, error))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is a directory", file.native()),
                            fmt::format("name a file in it: {}", (file / "policy.toml").native()));
    if (std::filesystem::exists(file, error) && !replace)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} exists", file.native()),
                            fmt::format("kmodctl {} --force replaces it", context.verb));
    if (is_the_policy(context, file)) // other directories are none of ours to make
        TRY(sys::make_directory(file.parent_path(), directory_mode));
    return sys::write_file_atomically(std::filesystem::absolute(file), text, policy_mode);
}

} // namespace

sys::Result<int> run_init(const Context& context, const InitOptions& options) {
    const std::string output = options.output.value_or(context.paths.policy());
    if (output != "-") TRY(context.require_root()); // which writes nothing
    const auto loaded = TRY(read_loaded_modules(context));
    const auto index = TRY(modules::KmodIndex::open(context.paths, sys::kernel_release()));
    const core::PolicySource source = baseline(loaded, *index);
    const std::array header{fmt::format("What {} had loaded when kmodctl init ran.", source.kernel_release)};
    const std::string text = config::render_policy(source, header);
    const std::uint64_t modules = source.allow_modules.size();
    const std::uint64_t aliases = source.allow_aliases.size();
    warn_of_gaps(context, source, *index);
    TRY(write_policy(context, output, text, options.force));
    if (output == "-") {
        context.object({{"policy", text}, {"modules", modules}, {"aliases", aliases}});
        return exit_done;
    }
    context.text(fmt::format("{} allows {} modules and {} aliases", output, modules, aliases));
    if (is_the_policy(context, output) && context.daemon_process())
        context.text("the daemon takes it with kmodctl reload");
    context.object({{"file", output}, {"modules", modules}, {"aliases", aliases}});
    return exit_done;
}

sys::Result<int> run_convert(const Context& context, const ConvertOptions& options) {
    const auto loaded = TRY(read_policy(context.paths, options.file));
    for (const config::Diagnostic& warning : loaded.warnings)
        context.warn(config::render(warning));
    const core::PolicySource& source = loaded.source;
    const std::array header{fmt::format("Made of {} by kmodctl convert.", options.file)};
    const std::string text = config::render_policy(source, header);
    const std::string output = options.output.value_or("-");
    TRY(write_policy(context, output, text, options.force));
    if (output == "-") {
        context.object({{"policy", text}});
        return exit_done;
    }
    const std::uint64_t allowed = source.allow_modules.size();
    const std::uint64_t denied = source.deny_modules.size();
    context.text(fmt::format("{} allows {} modules and denies {}", output, allowed, denied));
    context.object({{"file", output}, {"allowed", allowed}, {"denied", denied}});
    return exit_done;
}

} // namespace kmodguard::ctl
