// SPDX-License-Identifier: AGPL-3.0-only
#include "config/baseline.hpp"

#include "config/array_edit.hpp"
#include "config/entry.hpp"
#include "config/policy_schema.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <tuple>
#include <vector>

namespace kmodguard::config {
namespace {

using core::PolicySource;

constexpr std::size_t max_comment = 400;

/// Whether `text` is exactly a date-time as TOML writes it in UTC, "2026-11-21T00:00:00Z".
bool is_utc_date_time(const std::string& text) {
    unsigned month = 0;
    unsigned day = 0;
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned second = 0;
    int year = 0;
    // Its numbers are compared with the text below, so an overflow does not pass.
    if (std::sscanf( // NOLINT(cert-err34-c)
            text.c_str(), "%4d-%2u-%2uT%2u:%2u:%2uZ", &year, &month, &day, &hour, &minute, &second)
        != 6)
        return false;
    const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{month},
                                           std::chrono::day{day}};
    const bool valid = date.ok() && hour < 24 && minute < 60 && second < 60;
    return valid
           && text
                  == fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", year, month, day, hour, minute,
                                 second);
}

std::vector<std::string> sorted_entries(const PolicySource& source, List list) {
    std::vector<std::string> entries;
    for (const PolicySource::Entry& entry : entries_of(source, list))
        entries.push_back(entry.text);
    std::ranges::sort(entries);
    const auto repeated = std::ranges::unique(entries);
    entries.erase(repeated.begin(), repeated.end());
    return entries;
}

std::string render_list(const PolicySource& source, List list) {
    const auto entries = sorted_entries(source, list);
    if (entries.empty()) return fmt::format("{} = []\n", key_of(list));
    std::string text = fmt::format("{} = [\n", key_of(list));
    for (const std::string& entry : entries)
        text += fmt::format("    {},\n", toml_string(entry));
    return text + "]\n";
}

std::string render_header(std::span<const std::string> header) {
    std::string text;
    for (const std::string& paragraph : header) {
        std::string_view rest = paragraph;
        while (true) {
            const std::size_t end = rest.find('\n');
            const std::string line = core::printable(rest.substr(0, end), max_comment);
            text += line.empty() ? "#\n" : fmt::format("# {}\n", line);
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
        }
    }
    return text.empty() ? text : text + "\n";
}

std::string render_settings(const PolicySource& source) {
    std::string text = fmt::format("version = {}\n", policy_version);
    if (!source.generated_at.empty())
        text += fmt::format("generated_at = {}\n", is_utc_date_time(source.generated_at)
                                                       ? source.generated_at
                                                       : toml_string(source.generated_at));
    if (!source.kernel_release.empty())
        text += fmt::format("kernel_release = {}\n", toml_string(source.kernel_release));
    text += "\n# \"enforce\" refuses what the lists below do not allow; \"audit\" only records it.\n";
    text += fmt::format("mode = {}\n", toml_string(core::to_string(source.mode)));
    if (source.quiet) text += "\n# Log errors only.\nquiet = true\n";
    text += "\n# Where the policy holds: \"autoload\" (the kernel asks for a module), \"kernel\" (anyone "
            "loads one).\n"
            "# Without this key: each of the two that this machine can hold.\n";
    std::vector<std::string> points;
    for (const core::Point point : source.points)
        points.push_back(toml_string(core::to_string(point)));
    text += points.empty() ? std::string("# points = [\"autoload\", \"kernel\"]\n")
                           : fmt::format("points = [{}]\n", fmt::join(points, ", "));
    return text;
}

std::string render_allow(const PolicySource& source) {
    std::string text = "\n[allow]\n# Modules that may be loaded, by name.\n";
    text += render_list(source, List::allow_modules);
    text += "\n# Names under which the kernel may ask for modules; * ? [...] as in modprobe.d, such as "
            "\"net-pf-17\".\n"
            "# Whatever answers to such a name is allowed.\n";
    text += render_list(source, List::allow_aliases);
    text += "\n# Whether allowed modules may pull in the modules they depend on.\n";
    text += fmt::format("dependencies = {}\n", source.dependencies);
    text +=
        "\n# Whether `kmodctl exec` and `oci-agent` load allowed modules, from this machine's own files, for "
        "callers in\n"
        "# a user namespace, who may not load any themselves.\n";
    return text + (source.user_namespaces ? "user_namespaces = true\n" : "# user_namespaces = false\n");
}

std::string render_deny(const PolicySource& source) {
    std::string text = "\n# What is refused whatever [allow] says, and with it all that would pull it in as "
                       "a dependency.\n[deny]\n";
    text += render_list(source, List::deny_modules) + render_list(source, List::deny_aliases);
    text += "\n# What a refused program hears from `kmodctl exec` and `guest`: \"refuse\" is an error, "
            "\"pretend\" is\n"
            "# success with nothing loaded.\n";
    text += fmt::format("answer = {}\n", toml_string(core::to_string(source.answer)));
    if (source.unload_denied)
        text += "\n# There, nothing may be taken out of the kernel either.\nunload = true\n";
    return text;
}

std::string render_pins(const PolicySource& source) {
    const auto order = [](const PolicySource::PinEntry& pin) { return std::tie(pin.module, pin.sha256); };
    std::vector<PolicySource::PinEntry> pins = source.pins;
    std::ranges::sort(pins, {}, order);
    const auto repeated = std::ranges::unique(pins, {}, order);
    pins.erase(repeated.begin(), repeated.end());
    std::string text =
        pins.empty() ? "" : "\n# These modules only with this content: SHA-256 of the uncompressed image.\n";
    for (std::size_t i = 0; i < pins.size(); ++i)
        text += fmt::format("{}[[pin]]\nmodule = {}\nsha256 = {}\n", i > 0 ? "\n" : "",
                            toml_string(pins[i].module), toml_string(core::to_hex(pins[i].sha256)));
    return text;
}

} // namespace

std::string render_policy(const PolicySource& source, std::span<const std::string> header) {
    return render_header(header) + render_settings(source) + render_allow(source) + render_deny(source)
           + render_pins(source);
}

} // namespace kmodguard::config
