// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>
#include <syslog.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace kmodguard::events {
namespace {

constexpr std::string_view lxc_payload = "lxc.payload.";

/// The 64 hexadecimal digits in a cgroup's name, if nothing hexadecimal touches them.
std::string_view container_id_in(std::string_view component) {
    constexpr std::size_t id_length = 64;
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    for (std::size_t begin = 0; begin + id_length <= component.size(); ++begin) {
        const std::string_view id = component.substr(begin, id_length);
        const bool starts = begin == 0 || !is_hex(component[begin - 1]);
        const bool ends = begin + id_length == component.size() || !is_hex(component[begin + id_length]);
        if (starts && ends && std::ranges::all_of(id, is_hex)) return id;
    }
    return {};
}

/// Whether the cgroups below this one are for a user, or what a service runs, to make and to name.
bool is_named_by_users_below(std::string_view component) {
    static constexpr std::array<std::string_view, 6> engines = {"containerd.service", "docker.service",
                                                                "crio.service",       "podman.service",
                                                                "k3s.service",        "kubelet.service"};
    if (component == "user.slice") return true;
    return component.ends_with(".service") && std::ranges::find(engines, component) == engines.end();
}

/// ", also for net-pf-8 and 3 others".
std::string others_text(const std::vector<std::string>& tokens) {
    std::string text;
    constexpr std::size_t shown = 8;
    for (std::size_t i = 0; i < std::min(shown, tokens.size()); ++i)
        text += (i == 0 ? ", also for " : ", ") + core::printable(tokens[i]);
    if (tokens.size() > shown) text += fmt::format(" and {} others", tokens.size() - shown);
    return text;
}

/// ", 181 times more in the 0.9 s before"; "" if there were none.
std::string repetition_text(std::uint64_t repeated, WallClock::time_point time,
                            std::optional<WallClock::time_point> since) {
    if (repeated == 0) return "";
    std::string text = fmt::format(", {} times more ", repeated);
    if (!since) return text + "since the last record";
    using Seconds = std::chrono::duration<double>;
    const double span = std::chrono::duration_cast<Seconds>(time - *since).count();
    return text + fmt::format("in the {:.1f} s before", std::max(span, 0.0));
}

// In the order of the enumerators.
constexpr std::array<std::string_view, 16> action_words = {
    "allow", "deny", "remove", "apply",   "mode",    "reload",   "arm",     "disarm",
    "stop",  "seal", "end",    "connect", "handler", "mode-end", "publish", "withdraw"};
static_assert(static_cast<std::size_t>(Action::withdraw) + 1 == action_words.size());

constexpr std::size_t max_text = 4096;

} // namespace

std::string container_of_cgroup(std::string_view cgroup) {
    if (!cgroup.starts_with('/')) return "";
    while (!cgroup.empty()) {
        cgroup.remove_prefix(1);
        const std::string_view component = cgroup.substr(0, cgroup.find('/'));
        cgroup.remove_prefix(component.size());
        if (component.starts_with(lxc_payload)) return std::string(component.substr(lxc_payload.size()));
        if (const std::string_view id = container_id_in(component); !id.empty()) return std::string(id);
        if (is_named_by_users_below(component)) return "";
    }
    return "";
}

std::string originator_of(const std::optional<Requester>& by) {
    if (!by) return "";
    if (!by->container.empty()) return "container " + by->container;
    return by->uid ? fmt::format("user {}", *by->uid) : "";
}

std::string describe(const Requester& by) {
    return fmt::format("{}{}[{}]{}", by.kernel_thread ? "the kernel's thread " : "",
                       core::printable(by.command), by.pid, by.uid ? fmt::format(", uid {}", *by.uid) : "");
}

bool is_trial(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    const auto& by = attempt.requester;
    if (attempt.point != core::Point::kernel && attempt.point != core::Point::autoload) return false;
    if (!by || by->uid != uid_t{0} || by->kernel_thread || by->command != "kmodctl" || !by->container.empty()
        || decision.judged != core::Verdict::refuse)
        return false;
    if (attempt.call.empty()) return decision.reason == core::Reason::no_such_module;
    if (decision.modules.size() != 1) return false;
    const std::string& module = decision.modules.front().module;
    // Of what is compressed the kernel point sees the file alone, which is one in memory.
    return module == core::canary_name
           || (module.empty() && attempt.file.ends_with(fmt::format("memfd:{}", core::canary_name)));
}

std::string_view to_string(ModuleCall call) {
    switch (call) {
    case ModuleCall::init_module: return "init_module";
    case ModuleCall::finit_module: return "finit_module";
    case ModuleCall::delete_module: return "delete_module";
    case ModuleCall::other: break;
    }
    return "another system call";
}

bool is_notable(const Attempt& attempt) {
    if (attempt.withheld) return true;
    if (is_trial(attempt)) return false;
    return attempt.decision.judged == core::Verdict::refuse
           && attempt.decision.reason != core::Reason::no_such_module;
}

std::string subject_of(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    if (!decision.token.empty()) return core::printable(decision.token);
    for (const core::ModuleDecision& module : decision.modules)
        if (!module.module.empty()) return core::printable(module.module);
    return attempt.file.empty() ? "an image" : core::printable(attempt.file);
}

int answer_refused(Attempt& attempt, core::CallerAnswer answer) {
    if (answer == core::CallerAnswer::refuse) return EPERM;
    if (attempt.note.empty()) attempt.note = "pretended: nothing was done";
    return 0;
}

bool asks_for_other_form(const Attempt& attempt) {
    return attempt.other_form_wanted || attempt.decision.reason == core::Reason::not_a_module;
}

Importance importance_of(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    if (attempt.powerless) return Importance::routine;
    const bool refused_request = attempt.call.empty() && decision.effective() == core::Verdict::refuse;
    return refused_request ? Importance::routine : Importance::important;
}

std::string summary(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    std::string asked = core::printable(decision.token);
    if (asked.empty()) asked = attempt.file.empty() ? "image" : core::printable(attempt.file);
    std::string text = fmt::format("{} {}: {}", to_string(attempt.point), asked, explain(decision));
    if (attempt.requester) text += " (by " + describe(*attempt.requester) + ")";
    text += repetition_text(attempt.repeated, attempt.time, attempt.repeated_since);
    if (attempt.repeated_since) text += others_text(attempt.other_tokens);
    if (attempt.after) text += "; after " + attempt.after->call;
    if (is_trial(attempt)) text += "; a trial of kmodctl doctor";
    if (!attempt.note.empty()) text += "; " + attempt.note;
    return text;
}

std::string_view to_string(Action action) {
    return action_words.at(static_cast<std::size_t>(action));
}

std::optional<Action> action_from(std::string_view text) {
    const auto found = std::ranges::find(action_words, text);
    if (found == action_words.end()) return std::nullopt;
    return static_cast<Action>(found - action_words.begin());
}

bool is_notable(const Change& change) {
    return change.error || change.action == Action::handler;
}

std::string summary(const Change& change) {
    std::string text(to_string(change.action));
    if (!change.argument.empty()) text += " " + core::printable(change.argument, max_text);
    text += change.error ? ": failed: " + core::printable(*change.error, max_text) : ": done";
    if (const auto& by = change.by) {
        text += fmt::format(" (by {}[{}], uid {}", core::printable(by->command), by->pid, by->uid);
        if (by->login_uid) text += fmt::format(", login uid {}", *by->login_uid);
        text += ")";
    }
    if (change.repeated != 0) text += fmt::format(", {} times more since the last record", change.repeated);
    return text;
}

int priority_of(const Attempt& attempt) {
    return is_notable(attempt) ? LOG_WARNING : LOG_INFO;
}

int priority_of(const Change& change) {
    // None is below notice to those who watch over the guard.
    return is_notable(change) ? LOG_WARNING : LOG_NOTICE;
}

int priority_of(const SealRefusal& /*refusal*/) {
    return LOG_WARNING;
}

int priority_of(const Tampering& /*tampering*/) {
    return LOG_WARNING;
}

int priority_of(const Loss& /*loss*/) {
    return LOG_ERR;
}

std::string summary(const SealRefusal& refusal) {
    std::string text = core::printable(refusal.forbidden, max_text) + ": refused: the machine is sealed";
    if (refusal.requester) text += " (by " + describe(*refusal.requester) + ")";
    return text + repetition_text(refusal.repeated, refusal.time, refusal.repeated_since);
}

std::string summary(const Tampering& tampering) {
    return "the kernel point was changed from outside: " + core::printable(tampering.found, max_text);
}

std::string summary(const Loss& loss) {
    return fmt::format("{} events were lost: logging could not keep up", loss.count);
}

std::string originator_of(const Event& event) {
    if (const auto* attempt = std::get_if<Attempt>(&event)) return originator_of(attempt->requester);
    if (const auto* refusal = std::get_if<SealRefusal>(&event)) return originator_of(refusal->requester);
    return "";
}

std::uint64_t count_of(const Event& event) {
    if (const auto* attempt = std::get_if<Attempt>(&event)) return 1 + attempt->repeated;
    if (const auto* refusal = std::get_if<SealRefusal>(&event)) return 1 + refusal->repeated;
    return 1;
}

} // namespace kmodguard::events
