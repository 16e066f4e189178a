// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/listed_rules.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace kmodguard::protocol {
namespace {

using Source = core::PolicySource;

constexpr std::array lists = {std::pair(core::RuleKind::allow_module, &Source::allow_modules),
                              std::pair(core::RuleKind::allow_alias, &Source::allow_aliases),
                              std::pair(core::RuleKind::deny_module, &Source::deny_modules),
                              std::pair(core::RuleKind::deny_alias, &Source::deny_aliases)};
constexpr std::string_view origin_key = "origin";

std::string place_of(const std::string& file, std::uint32_t line) {
    return line == 0 ? "" : fmt::format("{}:{}", file, line);
}

} // namespace

std::vector<ListedRule> listed_rules(const core::Policy& policy) {
    const Source& source = policy.source();
    std::vector<ListedRule> rules;
    if (source.user_namespaces) {
        const core::Origin origin = source.user_namespaces_origin;
        rules.push_back({"allow.user_namespaces", "true",
                         origin.line == 0 ? "" : place_of(source.files.at(origin.file), origin.line)});
    }
    for (const auto& [kind, entries] : lists)
        for (const Source::Entry& entry : source.*entries) {
            const core::Rule rule = policy.rule(kind, entry.text, entry.origin);
            rules.push_back({std::string(to_string(kind)), rule.text, place_of(rule.file, rule.line)});
        }
    return rules;
}

std::vector<Field> fields_of(const std::vector<ListedRule>& rules) {
    std::vector<Field> fields;
    for (const ListedRule& rule : rules) {
        fields.push_back({rule.list, rule.text});
        fields.push_back({std::string(origin_key), rule.origin});
    }
    return fields;
}

std::vector<ListedRule> listed_rules_of(const std::vector<Field>& fields) {
    std::vector<ListedRule> rules;
    for (const Field& field : fields) {
        if (field.key == origin_key && !rules.empty())
            rules.back().origin = field.value;
        else if (field.key.starts_with("allow.") || field.key.starts_with("deny."))
            rules.push_back({field.key, field.value, ""});
    }
    return rules;
}

} // namespace kmodguard::protocol
