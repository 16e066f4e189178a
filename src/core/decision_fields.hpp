// SPDX-License-Identifier: AGPL-3.0-only
//
// What a decision consists of, once: JSON (events/event_json) and the control socket
// (protocol/answers) are both made of these lists. A field that is added here is in both.
#pragma once

#include "core/decision.hpp"

#include <string_view>
#include <tuple>

namespace kmodguard::core {

/// A field without a name in one of the two is not in it. What a field holds that is a structure of its own,
/// or a list of those, has their keys on the socket, where all is flat: the first key of a structure begins
/// it.
template <typename Owner, typename Type>
struct Field {
    std::string_view json;
    std::string_view key; ///< on the control socket
    Type Owner::* member = nullptr;
    bool always = false; ///< is there also where it is what it is by default
};

template <typename Owner>
struct Fields;

template <>
struct Fields<Rule> {
    static constexpr std::tuple list{
        Field{"list", "rule", &Rule::kind, true}, Field{"text", "rule-text", &Rule::text, true},
        Field{"file", "rule-file", &Rule::file}, Field{"line", "rule-line", &Rule::line}};
};

template <>
struct Fields<KeptOut> {
    static constexpr std::tuple list{Field{"by", "kept-out-by", &KeptOut::by, true},
                                     Field{"module", "kept-out", &KeptOut::module, true},
                                     Field{"detail", "kept-out-detail", &KeptOut::detail}};
};

template <>
struct Fields<RunCommand> {
    static constexpr std::tuple list{Field{"module", "command-of", &RunCommand::module, true},
                                     Field{"command", "command", &RunCommand::text, true},
                                     Field{"not_known", "command-unknown", &RunCommand::unknown}};
};

template <>
struct Fields<Admission> {
    static constexpr std::tuple list{Field{"reason", "as-image", &Admission::reason, true},
                                     Field{"because_of", "as-image-because-of", &Admission::because_of}};
};

/// On the socket a step's key says of which kind it is.
template <>
struct Fields<Step> {
    static constexpr std::tuple list{Field{"module", "", &Step::module, true},
                                     Field{"required", "", &Step::required, true},
                                     Field{"by_command", "", &Step::by_command}};
};

template <>
struct Fields<ModuleDecision> {
    static constexpr std::tuple list{Field{"module", "module", &ModuleDecision::module, true},
                                     Field{"reason", "reason", &ModuleDecision::reason, true},
                                     Field{"", "loadable", &ModuleDecision::loadable},
                                     Field{"file", "file", &ModuleDecision::file},
                                     Field{"built_in", "built-in", &ModuleDecision::built_in},
                                     Field{"kept_out", "", &ModuleDecision::kept_out},
                                     Field{"rule", "", &ModuleDecision::rule},
                                     Field{"because_of", "because-of", &ModuleDecision::because_of},
                                     Field{"detail", "detail", &ModuleDecision::detail},
                                     Field{"chain", "step", &ModuleDecision::chain, true},
                                     Field{"commands", "", &ModuleDecision::commands},
                                     Field{"omitted", "omitted", &ModuleDecision::omitted},
                                     Field{"as_image", "", &ModuleDecision::as_image}};
};

/// What a program is told of the whole in JSON is in events/fields.hpp, with what it is called in the
/// journal.
template <>
struct Fields<Decision> {
    static constexpr std::tuple list{
        Field{"", "token", &Decision::token, true}, Field{"", "mode", &Decision::mode, true},
        Field{"", "verdict", &Decision::judged, true}, Field{"", "reason", &Decision::reason, true},
        Field{"", "", &Decision::rule}};
};

/// Whether `field` of `owner` is to be said.
template <typename Owner, typename Type>
[[nodiscard]] bool is_said(const Field<Owner, Type>& field, const Owner& owner) {
    static const Owner by_default{};
    return field.always || !(owner.*field.member == by_default.*field.member);
}

} // namespace kmodguard::core
