// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_file.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kmodguard::ctl {
namespace {

void print_rule(const Context& context, const std::string& list, const std::string& text,
                const std::string& origin) {
    context.text(
        fmt::format("{:<14} {:<32} {}", list, text, origin.empty() ? "(run time, not saved)" : origin));
    events::Json::Object object{{"list", list}, {"text", text}, {"saved", !origin.empty()}};
    if (!origin.empty()) object.emplace_back("origin", origin);
    context.object(std::move(object));
}

void print_entries(const Context& context, const core::Policy& policy, core::RuleKind kind,
                   const std::vector<core::PolicySource::Entry>& entries) {
    for (const auto& entry : entries) {
        const core::Rule rule = policy.rule(kind, entry.text, entry.origin);
        print_rule(context, std::string(to_string(kind)), rule.text,
                   fmt::format("{}:{}", rule.file, rule.line));
    }
}

int list_files(const Context& context) {
    auto loaded = read_policy(context);
    if (!loaded) return context.fail(config::to_error(loaded.error()));
    const core::Policy policy(std::move(loaded->source));
    const core::PolicySource& source = policy.source();
    print_entries(context, policy, core::RuleKind::allow_module, source.allow_modules);
    print_entries(context, policy, core::RuleKind::allow_alias, source.allow_aliases);
    print_entries(context, policy, core::RuleKind::deny_module, source.deny_modules);
    print_entries(context, policy, core::RuleKind::deny_alias, source.deny_aliases);
    return exit_done;
}

} // namespace

int run_list(const Context& context) {
    const auto answer = context.ask("LIST");
    if (!answer && answer.error().kind == sys::ErrorKind::unreachable) return list_files(context);
    if (!answer) return context.fail(answer.error());
    context.warn_as(*answer);
    const auto rules = std::ranges::find_if(
        answer->fields, [](const protocol::Field& field) { return field.key != "policy-newer"; });
    for (auto rule = rules; answer->fields.end() - rule > 1; rule += 2) // pairs: a rule, its origin
        print_rule(context, rule->key, rule->value, std::next(rule)->value);
    return exit_done;
}

} // namespace kmodguard::ctl
