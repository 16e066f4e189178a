// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kmodguard::events {
namespace {

constexpr std::string_view lxc_payload = "lxc.payload.";

/// The 64 hexadecimal digits in a cgroup's name, if they stand by themselves.
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

/// Whether the cgroups below this one are for a user, or for whatever a service runs, to make and to name.
bool is_named_by_users_below(std::string_view component) {
    static constexpr std::array<std::string_view, 6> engines = {"containerd.service", "docker.service",
                                                                "crio.service",       "podman.service",
                                                                "k3s.service",        "kubelet.service"};
    if (component == "user.slice") return true;
    return component.ends_with(".service") && std::ranges::find(engines, component) == engines.end();
}

/// "181 times more in the 0.9 s before".
std::string repetition_of(const Attempt& event) {
    std::string text = fmt::format("{} times more ", event.repeated);
    if (!event.repeated_since) return text + "since the last record";
    using Seconds = std::chrono::duration<double>;
    const double span = std::chrono::duration_cast<Seconds>(event.time - *event.repeated_since).count();
    text += fmt::format("in the {:.1f} s before", std::max(span, 0.0));
    constexpr std::size_t shown = 8;
    for (std::size_t i = 0; i < std::min(shown, event.other_tokens.size()); ++i)
        text += (i == 0 ? ", also for " : ", ") + core::printable(event.other_tokens[i]);
    if (event.other_tokens.size() > shown)
        text += fmt::format(" and {} others", event.other_tokens.size() - shown);
    return text;
}

} // namespace

bool is_trial(const Attempt& event) {
    const core::Decision& decision = event.decision;
    const auto& by = event.requester;
    if (event.point != core::Point::kernel && event.point != core::Point::autoload) return false;
    if (!by || by->uid != uid_t{0} || by->kernel_thread || by->command != "kmodctl" || !by->container.empty()
        || decision.judged != core::Verdict::refuse)
        return false;
    if (event.call.empty()) return decision.reason == core::Reason::no_such_module;
    if (decision.modules.size() != 1) return false;
    const std::string& module = decision.modules.front().module;
    // Of what is packed the kernel point sees the file alone, which is one in memory.
    return module == core::canary_name
           || (module.empty() && event.file.ends_with(fmt::format("memfd:{}", core::canary_name)));
}

bool is_notable(const Attempt& event) {
    if (event.withheld) return true;
    if (is_trial(event)) return false;
    return event.decision.judged == core::Verdict::refuse
           && event.decision.reason != core::Reason::no_such_module;
}

std::string subject_of(const Attempt& event) {
    const core::Decision& decision = event.decision;
    if (!decision.token.empty()) return core::printable(decision.token);
    for (const core::ModuleDecision& module : decision.modules)
        if (!module.module.empty()) return core::printable(module.module);
    return event.file.empty() ? "an image" : core::printable(event.file);
}

bool asks_for_other_form(const Attempt& event) {
    return event.other_form_wanted || event.decision.reason == core::Reason::not_a_module;
}

std::string originator_of(const Attempt& event) {
    if (!event.requester) return "";
    if (!event.requester->container.empty()) return "container " + event.requester->container;
    return event.requester->uid ? fmt::format("user {}", *event.requester->uid) : "";
}

Importance importance_of(const Attempt& event) {
    const core::Decision& decision = event.decision;
    if (decision.reason == core::Reason::sealed || decision.reason == core::Reason::tampered)
        return Importance::important;
    if (event.powerless) return Importance::routine;
    const bool refused_request = event.call.empty() && decision.effective() == core::Verdict::refuse;
    return refused_request ? Importance::routine : Importance::important;
}

std::string summary(const Attempt& event) {
    const core::Decision& decision = event.decision;
    std::string asked = core::printable(decision.token);
    if (asked.empty()) asked = event.file.empty() ? "image" : core::printable(event.file);
    std::string text = fmt::format("{} {}: {}", to_string(event.point), asked, explain(decision));
    if (const auto& by = event.requester)
        text += fmt::format(" (by {}{}[{}]{})", by->kernel_thread ? "the kernel's thread " : "",
                            core::printable(by->command), by->pid,
                            by->uid ? fmt::format(", uid {}", *by->uid) : "");
    if (event.repeated != 0) text += ", " + repetition_of(event);
    if (event.after) text += "; after " + event.after->call;
    if (is_trial(event)) text += "; a trial of kmodctl doctor";
    if (!event.note.empty()) text += "; " + event.note;
    return text;
}

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

} // namespace kmodguard::events
