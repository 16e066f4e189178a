// SPDX-License-Identifier: AGPL-3.0-only
//
// Policy files by libFuzzer. Any bytes must come to a policy or to a diagnostic; whatever comes to a policy
// must survive being written afresh, and must be one that the editor can change and change back.
#include "config/policy_edit.hpp"
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"
#include "config/toml_scan.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

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

void write_afresh(const core::PolicySource& source) {
    const auto again = config::parse_policy(config::render_policy(source), "again.toml");
    require(again.has_value());
    for (const config::List list : config::all_lists)
        require(entries(again->source, list) == entries(source, list));
    require(again->source.generated_at == source.generated_at);
    require(again->source.kernel_release == source.kernel_release);
    require(again->source.mode == source.mode && again->source.points == source.points);
    require(again->source.user_namespaces == source.user_namespaces);
    require(again->source.quiet == source.quiet && again->source.unload_denied == source.unload_denied);
    require(config::render_policy(again->source) == config::render_policy(source));
}

void edit(const std::string& text, const core::PolicySource& source) {
    for (const config::List list : config::all_lists) {
        std::vector<config::Edit> edits = {config::AddEntry{list, "fuzz_added"}};
        const auto added = config::edit_policy(text, edits);
        require(added.has_value());
        edits = {config::RemoveEntry{list, "fuzz_added"}, config::SetMode{core::Mode::audit}};
        for (const std::string& entry : entries(source, list))
            edits.emplace_back(config::RemoveEntry{list, entry});
        const auto emptied = config::edit_policy(*added, edits);
        require(emptied.has_value());
        const auto policy = config::parse_policy(*emptied, "emptied.toml");
        require(policy && config::entries_of(policy->source, list).empty());
    }
}

} // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const auto policy = config::parse_policy(text, "p.toml");
    (void)config::render(policy ? policy->warnings : policy.error());
    for (std::size_t i = 0; i < std::min<std::size_t>(size, 64); ++i)
        (void)config::scan_array(text, i);
    if (!policy) {
        require(config::has_errors(policy.error()));
        return 0;
    }
    write_afresh(policy->source);
    edit(text, policy->source);
    return 0;
}
