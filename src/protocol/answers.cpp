// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/answers.hpp"

#include "core/decision_fields.hpp"
#include "sys/number.hpp"

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <type_traits>
#include <utility>

namespace kmodguard::protocol {
namespace {

std::string text_of(bool value) {
    return value ? "yes" : "no";
}
std::string text_of(std::unsigned_integral auto value) {
    return std::to_string(value);
}
std::string text_of(const std::string& value) {
    return value;
}
template <typename Enum>
    requires std::is_enum_v<Enum>
std::string text_of(Enum value) {
    return std::string(to_string(value));
}

// Whether `text` is such a value, which `value` then is.
bool from_text(const std::string& text, bool& value) {
    value = text == "yes";
    return value || text == "no";
}
template <std::unsigned_integral Number>
bool from_text(const std::string& text, Number& value) {
    const auto number = sys::number_in<Number>(text);
    if (number) value = *number;
    return number.has_value();
}
bool from_text(const std::string& text, core::Mode& value) {
    const auto mode = core::mode_from(text);
    if (mode) value = *mode;
    return mode.has_value();
}
bool from_text(const std::string& text, std::string& value) {
    value = text;
    return true;
}
template <typename Value>
bool from_text(const std::string& text, std::optional<Value>& value) {
    return from_text(text, value.emplace());
}
template <typename Value>
bool from_text(const std::string& text, std::vector<Value>& values) { // a line for each
    return from_text(text, values.emplace_back());
}

std::optional<core::RuleKind> rule_kind_from(std::string_view text) {
    for (const core::RuleKind kind :
         {core::RuleKind::allow_module, core::RuleKind::allow_alias, core::RuleKind::deny_module,
          core::RuleKind::deny_alias, core::RuleKind::pin})
        if (to_string(kind) == text) return kind;
    return std::nullopt;
}

constexpr std::string_view soft_step = "soft-step";
constexpr std::string_view command_step = "command-step";

std::string_view key_of(const core::Step& step, std::string_view key) {
    if (step.by_command) return command_step;
    return step.required ? key : soft_step;
}

class Writer {
  public:
    /// All that `owner` consists of, by core/decision_fields.hpp.
    template <typename Owner>
    void write(const Owner& owner) {
        const auto one = [&](const auto& field) {
            if (is_said(field, owner)) add(field.key, owner.*field.member);
        };
        std::apply([&](const auto&... field) { (one(field), ...); }, core::Fields<Owner>::list);
    }
    template <typename Value>
    void add(std::string_view key, const Value& value) {
        if constexpr (requires { core::Fields<Value>::list; })
            write(value);
        else
            fields_.push_back({std::string(key), text_of(value)});
    }
    template <typename Value>
    void add(std::string_view key, const std::optional<Value>& value) {
        if (value) add(key, *value);
    }
    template <typename Value>
    void add(std::string_view key, const std::vector<Value>& values) {
        for (const Value& value : values)
            add(key, value);
    }
    void add(std::string_view key, const core::Step& step) { add(key_of(step, key), step.module); }

    [[nodiscard]] std::vector<Field> take() { return std::move(fields_); }

  private:
    std::vector<Field> fields_;
};

/// Takes one field of an answer to where it belongs.
class Reader {
  public:
    explicit Reader(const Field& field) : field_(field) {}

    /// Sets what of `owner` the field is. False: nothing of it, as a field of a newer daemon is.
    template <typename Owner>
    bool read(Owner& owner) {
        const auto one = [&](const auto& field) { return set(field.key, owner.*field.member); };
        return std::apply([&](const auto&... field) { return (one(field) || ...); },
                          core::Fields<Owner>::list);
    }
    [[nodiscard]] const std::optional<sys::Error>& error() const { return error_; }

  private:
    template <typename Value>
    bool set(std::string_view key, Value& value) {
        if (key != field_.key) return false;
        take(value);
        return true;
    }
    template <typename Value>
    void take(Value& value) {
        static_cast<void>(from_text(field_.value, value));
    }
    // What is not known is enforced and refused.
    void take(core::Mode& mode) { mode = core::mode_from(field_.value).value_or(core::Mode::enforce); }
    void take(core::Verdict& verdict) {
        verdict = core::verdict_from(field_.value).value_or(core::Verdict::refuse);
    }
    void take(core::Reason& reason) { take(reason, core::reason_from(field_.value), "reason"); }
    void take(core::RuleKind& kind) { take(kind, rule_kind_from(field_.value), "kind of rule"); }
    void take(core::Hindrance& by) { take(by, core::hindrance_from(field_.value), "hindrance"); }
    template <typename Enum>
    void take(Enum& value, std::optional<Enum> read, std::string_view what) {
        if (read)
            value = *read;
        else
            error_ = {sys::ErrorKind::invalid, "unknown " + std::string(what) + ": " + field_.value};
    }
    bool set(std::string_view key, std::vector<std::string>& values) {
        if (key == field_.key) values.push_back(field_.value);
        return key == field_.key;
    }
    bool set(std::string_view key, std::vector<core::Step>& steps) {
        core::Step step{.module = field_.value, .required = key == field_.key};
        step.by_command = field_.key == command_step;
        if (!step.required && !step.by_command && field_.key != soft_step) return false;
        steps.push_back(std::move(step));
        return true;
    }
    template <typename Owner>
    bool set(std::string_view /*key*/, std::optional<Owner>& owner) {
        if (begins<Owner>()) owner.emplace();
        return owner && read(*owner);
    }
    template <typename Owner>
    bool set(std::string_view /*key*/, std::vector<Owner>& owners) {
        if (begins<Owner>()) owners.emplace_back();
        return !owners.empty() && read(owners.back());
    }
    template <typename Owner>
    [[nodiscard]] bool begins() const {
        return std::get<0>(core::Fields<Owner>::list).key == field_.key;
    }

    const Field& field_;
    std::optional<sys::Error> error_;
};

using Source = core::PolicySource;

/// What rules LIST has, and where a policy has them.
constexpr std::array lists = {std::pair(core::RuleKind::allow_module, &Source::allow_modules),
                              std::pair(core::RuleKind::allow_alias, &Source::allow_aliases),
                              std::pair(core::RuleKind::deny_module, &Source::deny_modules),
                              std::pair(core::RuleKind::deny_alias, &Source::deny_aliases)};
constexpr std::string_view origin_key = "origin";

std::string place_of(const std::string& file, std::uint32_t line) {
    return line == 0 ? "" : fmt::format("{}:{}", file, line);
}

} // namespace

std::vector<Field> fields_of(const DaemonStatus& status) {
    Writer writer;
    std::apply([&](const auto&... rows) { (writer.add(rows.key, status.*rows.member), ...); },
               daemon_status_table);
    return writer.take();
}

sys::Result<DaemonStatus> daemon_status_of(const std::vector<Field>& fields) {
    DaemonStatus status;
    for (const Field& field : fields) {
        bool valid = true;
        const auto read = [&](const auto& row) {
            if (row.key == field.key) valid = from_text(field.value, status.*row.member);
        };
        std::apply([&](const auto&... rows) { (read(rows), ...); }, daemon_status_table);
        if (!valid)
            return sys::failure(sys::ErrorKind::failed,
                                "the daemon's answer cannot be read: " + field.key + " " + field.value,
                                "restart the daemon, if it is of another version");
    }
    return status;
}

std::vector<Field> fields_of(const core::Decision& decision) {
    Writer writer;
    writer.write(decision);
    writer.add("", decision.modules);
    return writer.take();
}

std::vector<Field> fields_of(const std::vector<core::ModuleDecision>& modules) {
    Writer writer;
    writer.add("", modules);
    return writer.take();
}

sys::Result<std::vector<core::ModuleDecision>> modules_of(const std::vector<Field>& fields) {
    core::Decision decision = TRY(decision_of(fields));
    return std::move(decision.modules);
}

sys::Result<core::Decision> decision_of(const std::vector<Field>& fields) {
    core::Decision decision;
    for (const Field& field : fields) {
        Reader reader(field);
        if (field.key == "module") decision.modules.emplace_back();
        decision.modules.empty() ? reader.read(decision) : reader.read(decision.modules.back());
        if (reader.error()) return std::unexpected(*reader.error());
    }
    return decision;
}

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
