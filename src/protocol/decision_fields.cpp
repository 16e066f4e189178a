// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/decision_fields.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <utility>

namespace kmodguard::protocol {
namespace {

constexpr std::array rule_kinds = {core::RuleKind::allow_module, core::RuleKind::allow_alias,
                                   core::RuleKind::deny_module, core::RuleKind::deny_alias,
                                   core::RuleKind::pin};

void add_rule(std::vector<Field>& fields, const std::optional<core::Rule>& rule) {
    if (!rule) return;
    fields.push_back({"rule", std::string(to_string(rule->kind))});
    fields.push_back({"rule-text", rule->text});
    if (rule->line == 0) return;
    fields.push_back({"rule-file", rule->file});
    fields.push_back({"rule-line", std::to_string(rule->line)});
}

std::string step_key(const core::Step& step) {
    if (step.by_command) return "command-step";
    return step.required ? "step" : "soft-step";
}

void add_module(std::vector<Field>& fields, const core::ModuleDecision& module) {
    fields.push_back({"module", module.module});
    fields.push_back({"reason", std::string(to_string(module.reason))});
    if (!module.loadable) fields.push_back({"loadable", "no"});
    if (module.built_in) fields.push_back({"built-in", "yes"});
    add_rule(fields, module.rule);
    if (!module.because_of.empty()) fields.push_back({"because-of", module.because_of});
    if (!module.detail.empty()) fields.push_back({"detail", module.detail});
    if (!module.file.empty()) fields.push_back({"file", module.file});
    for (const core::Step& step : module.chain)
        fields.push_back({step_key(step), step.module});
    for (const core::RunCommand& command : module.commands) {
        fields.push_back({"command-of", command.module});
        fields.push_back({"command", command.text});
        if (!command.unknown.empty()) fields.push_back({"command-unknown", command.unknown});
    }
    if (const auto& kept_out = module.kept_out) {
        fields.push_back({"kept-out-by", std::string(to_string(kept_out->by))});
        fields.push_back({"kept-out", kept_out->module});
        if (!kept_out->detail.empty()) fields.push_back({"kept-out-detail", kept_out->detail});
    }
    for (const std::string& omitted : module.omitted)
        fields.push_back({"omitted", omitted});
    if (!module.as_image) return;
    fields.push_back({"as-image", std::string(to_string(module.as_image->reason))});
    if (!module.as_image->because_of.empty())
        fields.push_back({"as-image-because-of", module.as_image->because_of});
}

/// Sets the part of a rule that `field` names; false if it names none.
sys::Result<bool> read_rule(const Field& field, std::optional<core::Rule>& rule) {
    if (field.key == "rule") {
        const auto kind =
            std::ranges::find(rule_kinds, field.value, [](auto value) { return to_string(value); });
        if (kind == rule_kinds.end())
            return sys::failure(sys::ErrorKind::invalid, "unknown kind of rule: " + field.value);
        rule.emplace().kind = *kind;
        return true;
    }
    if (!rule) return false;
    if (field.key == "rule-text")
        rule->text = field.value;
    else if (field.key == "rule-file")
        rule->file = field.value;
    else if (field.key == "rule-line")
        std::from_chars(field.value.data(), field.value.data() + field.value.size(), rule->line);
    else
        return false;
    return true;
}

sys::Result<core::Reason> read_reason(const Field& field) {
    if (const auto reason = core::reason_from(field.value)) return *reason;
    return sys::failure(sys::ErrorKind::invalid, "unknown reason: " + field.value);
}

sys::Result<void> read_hindrance(const Field& field, core::ModuleDecision& module) {
    if (field.key == "command-of") {
        module.commands.push_back({field.value, {}, {}});
    } else if (field.key == "kept-out-by") {
        const auto by = core::hindrance_from(field.value);
        if (!by) return sys::failure(sys::ErrorKind::invalid, "unknown hindrance: " + field.value);
        module.kept_out.emplace().by = *by;
    } else if (!module.commands.empty() && field.key == "command") {
        module.commands.back().text = field.value;
    } else if (!module.commands.empty() && field.key == "command-unknown") {
        module.commands.back().unknown = field.value;
    } else if (module.kept_out && field.key == "kept-out") {
        module.kept_out->module = field.value;
    } else if (module.kept_out && field.key == "kept-out-detail") {
        module.kept_out->detail = field.value;
    }
    return {};
}

sys::Result<void> read_module_field(const Field& field, core::ModuleDecision& module) {
    if (field.key == "reason") {
        const auto reason = read_reason(field);
        if (!reason) return std::unexpected(reason.error());
        module.reason = *reason;
    } else if (field.key == "as-image") {
        const auto reason = read_reason(field);
        if (!reason) return std::unexpected(reason.error());
        module.as_image.emplace().reason = *reason;
    } else if (field.key == "as-image-because-of") {
        if (module.as_image) module.as_image->because_of = field.value;
    } else if (field.key == "because-of")
        module.because_of = field.value;
    else if (field.key == "detail")
        module.detail = field.value;
    else if (field.key == "step")
        module.chain.push_back({field.value, true});
    else if (field.key == "soft-step")
        module.chain.push_back({field.value, false});
    else if (field.key == "command-step")
        module.chain.push_back({.module = field.value, .required = false, .by_command = true});
    else if (field.key == "loadable")
        module.loadable = field.value != "no";
    else if (field.key == "file")
        module.file = field.value;
    else if (field.key == "built-in")
        module.built_in = field.value == "yes";
    else if (field.key == "omitted")
        module.omitted.push_back(field.value);
    else
        return read_hindrance(field, module);
    return {};
}

sys::Result<void> read_head_field(const Field& field, core::Decision& decision) {
    if (field.key == "token")
        decision.token = field.value;
    else if (field.key == "mode")
        decision.mode = core::mode_from(field.value).value_or(core::Mode::enforce);
    else if (field.key == "verdict")
        decision.judged = core::verdict_from(field.value).value_or(core::Verdict::refuse);
    else if (field.key == "reason") {
        const auto reason = read_reason(field);
        if (!reason) return std::unexpected(reason.error());
        decision.reason = *reason;
    }
    return {};
}

} // namespace

std::vector<Field> fields_of(const core::Decision& decision) {
    std::vector<Field> fields;
    fields.push_back({"token", decision.token});
    fields.push_back({"mode", std::string(to_string(decision.mode))});
    fields.push_back({"verdict", std::string(to_string(decision.judged))});
    fields.push_back({"reason", std::string(to_string(decision.reason))});
    add_rule(fields, decision.rule);
    std::ranges::move(fields_of(decision.modules), std::back_inserter(fields));
    return fields;
}

std::vector<Field> fields_of(const std::vector<core::ModuleDecision>& modules) {
    std::vector<Field> fields;
    for (const core::ModuleDecision& module : modules)
        add_module(fields, module);
    return fields;
}

sys::Result<std::vector<core::ModuleDecision>> modules_of(const std::vector<Field>& fields) {
    auto decision = decision_of(fields);
    if (!decision) return std::unexpected(std::move(decision.error()));
    return std::move(decision->modules);
}

sys::Result<core::Decision> decision_of(const std::vector<Field>& fields) {
    core::Decision decision;
    for (const Field& field : fields) {
        if (field.key == "module") {
            decision.modules.emplace_back().module = field.value;
            continue;
        }
        const bool head = decision.modules.empty();
        const auto rule = read_rule(field, head ? decision.rule : decision.modules.back().rule);
        if (!rule) return std::unexpected(rule.error());
        if (*rule) continue;
        const auto read =
            head ? read_head_field(field, decision) : read_module_field(field, decision.modules.back());
        if (!read) return std::unexpected(read.error());
    }
    return decision;
}

} // namespace kmodguard::protocol
