// SPDX-License-Identifier: AGPL-3.0-only
//
// Policy files in the YAML form by libFuzzer. Any bytes must come to a policy or to a diagnostic that points
// into them; whatever comes to a policy has the form's one meaning, and `kmodctl convert` keeps all of it.
#include "config/entry.hpp"
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <tuple>

namespace {

using namespace kmodguard;

void require(bool condition) {
    if (!condition) std::abort();
}

std::set<std::string> entries(const core::PolicySource& source, config::List list) {
    std::set<std::string> found;
    for (const auto& entry : config::entries_of(source, list))
        found.insert(entry.text);
    return found;
}

auto settings(const core::PolicySource& source) {
    return std::tuple{source.mode, source.answer, source.dependencies, source.quiet};
}

void points_into(const config::Diagnostics& diagnostics, const std::string& text) {
    const auto lines = 1 + std::ranges::count(text, '\n');
    for (const config::Diagnostic& diagnostic : diagnostics) {
        require(diagnostic.line <= lines);
        require(diagnostic.column <= text.size() + 1);
        require(!config::render(diagnostic).empty());
    }
}

} // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const auto policy = config::parse_policy(text, "p.yaml");
    points_into(policy ? policy->warnings : policy.error(), text);
    if (!policy) {
        require(config::has_errors(policy.error()));
        return 0;
    }
    const core::PolicySource& source = policy->source;
    require(settings(source)
            == std::tuple{core::Mode::enforce, core::CallerAnswer::pretend, false, source.quiet});
    require(entries(source, config::List::allow_modules).contains("igloo"));
    require(source.allow_aliases.empty() && source.deny_aliases.empty());

    const auto again = config::parse_policy(config::render_policy(source), "p.toml");
    require(again.has_value());
    require(settings(again->source) == settings(source));
    for (const config::List list : config::all_lists)
        require(entries(again->source, list) == entries(source, list));
    require(config::render_policy(again->source) == config::render_policy(source));
    return 0;
}
