// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/decision_fields.hpp"

#include "core/decision_fields.hpp"

#include <charconv>
#include <type_traits>
#include <utility>

namespace kmodguard::protocol {
namespace {

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
    template <typename Owner>
    void write(const Owner& owner) {
        const auto one = [&](const auto& field) {
            if (is_said(field, owner)) add(field.key, owner.*field.member);
        };
        std::apply([&](const auto&... field) { (one(field), ...); }, core::Fields<Owner>::list);
    }
    [[nodiscard]] std::vector<Field> take() { return std::move(fields_); }

  private:
    void add(std::string_view key, const std::string& value) { fields_.push_back({std::string(key), value}); }
    void add(std::string_view key, bool value) { add(key, std::string(value ? "yes" : "no")); }
    void add(std::string_view key, std::uint32_t value) { add(key, std::to_string(value)); }
    template <typename Enum>
        requires std::is_enum_v<Enum>
    void add(std::string_view key, Enum value) {
        add(key, std::string(to_string(value)));
    }
    template <typename Owner>
    void add(std::string_view /*key*/, const std::optional<Owner>& owner) {
        write(*owner);
    }
    void add(std::string_view key, const std::vector<core::Step>& steps) {
        for (const core::Step& step : steps)
            add(key_of(step, key), step.module);
    }
    void add(std::string_view key, const std::vector<std::string>& values) {
        for (const std::string& value : values)
            add(key, value);
    }
    void add(std::string_view /*key*/, const std::vector<core::RunCommand>& commands) {
        for (const core::RunCommand& command : commands)
            write(command);
    }

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
    void take(std::string& value) { value = field_.value; }
    void take(bool& value) { value = field_.value == "yes"; }
    void take(std::uint32_t& value) {
        std::from_chars(field_.value.data(), field_.value.data() + field_.value.size(), value);
    }
    // What is not said is enforced and refused.
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

} // namespace

std::vector<Field> fields_of(const core::Decision& decision) {
    Writer writer;
    writer.write(decision);
    for (const core::ModuleDecision& module : decision.modules)
        writer.write(module);
    return writer.take();
}

std::vector<Field> fields_of(const std::vector<core::ModuleDecision>& modules) {
    Writer writer;
    for (const core::ModuleDecision& module : modules)
        writer.write(module);
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
        if (decision.modules.empty())
            reader.read(decision);
        else
            reader.read(decision.modules.back());
        if (reader.error()) return std::unexpected(*reader.error());
    }
    return decision;
}

} // namespace kmodguard::protocol
