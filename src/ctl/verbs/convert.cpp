// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy in the TOML form, whichever form it has. The YAML form says little and is never edited; who
// wants audit mode, aliases or `kmodctl apply` starts from what this prints. Nothing is lost but comments.
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"
#include "ctl/verbs.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <system_error>

namespace kmodguard::ctl {
namespace {

constexpr mode_t converted_policy_mode = 0600;

sys::Result<void> write(const std::filesystem::path& file, const std::string& text, bool replace) {
    std::error_code error;
    if (std::filesystem::exists(file, error) && !replace)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} exists", file.native()),
                            "kmodctl convert --force replaces it");
    return sys::write_file_atomically(std::filesystem::absolute(file), text, converted_policy_mode);
}

} // namespace

sys::Result<int> run_convert(const Context& context, const ConvertOptions& options) {
    const std::string& input = options.file;
    const auto loaded = config::load_policy({input});
    if (!loaded) return std::unexpected(config::to_error(loaded.error()));
    for (const config::Diagnostic& warning : loaded->warnings)
        context.warn(config::render(warning));

    const core::PolicySource& source = loaded->source;
    const std::array header{fmt::format("Made of {} by kmodctl convert.", input)};
    const std::string text = config::render_policy(source, header);
    const std::string output = options.output.value_or("-");
    if (output == "-") {
        if (!context.json) fmt::print("{}", text);
        context.object({{"policy", text}});
        return exit_done;
    }
    TRY(write(output, text, options.force));
    context.text(fmt::format("{} allows {} modules and denies {}", output, source.allow_modules.size(),
                             source.deny_modules.size()));
    context.object({{"file", output},
                    {"allowed", std::uint64_t{source.allow_modules.size()}},
                    {"denied", std::uint64_t{source.deny_modules.size()}}});
    return exit_done;
}

} // namespace kmodguard::ctl
