// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::events {

bool is_notable(const Event& event) {
    if (event.withheld) return true;
    return event.decision.judged == core::Verdict::refuse
           && event.decision.reason != core::Reason::no_such_module;
}

std::string subject_of(const Event& event) {
    const core::Decision& decision = event.decision;
    if (!decision.token.empty()) return core::printable(decision.token);
    for (const core::ModuleDecision& module : decision.modules)
        if (!module.module.empty()) return core::printable(module.module);
    return event.file.empty() ? "an image" : core::printable(event.file);
}

Importance importance_of(const Event& event) {
    const core::Decision& decision = event.decision;
    if (decision.reason == core::Reason::sealed || decision.reason == core::Reason::tampered)
        return Importance::important;
    if (event.powerless) return Importance::routine;
    const bool refused_request = event.call.empty() && decision.effective() == core::Verdict::refuse;
    return refused_request ? Importance::routine : Importance::important;
}

std::string summary(const Event& event) {
    const core::Decision& decision = event.decision;
    std::string asked = core::printable(decision.token);
    if (asked.empty()) asked = event.file.empty() ? "image" : core::printable(event.file);
    std::string text = fmt::format("{} {}: {}", to_string(event.point), asked, explain(decision));
    if (const auto& by = event.requester)
        text += fmt::format(" (by {}{}[{}]{})", by->kernel_thread ? "the kernel's thread " : "",
                            core::printable(by->command), by->pid,
                            by->uid ? fmt::format(", uid {}", *by->uid) : "");
    if (event.repeated != 0) text += fmt::format(", {} times more since the last record", event.repeated);
    if (!event.note.empty()) text += "; " + event.note;
    return text;
}

std::string container_of_cgroup(std::string_view cgroup) {
    constexpr std::size_t id_length = 64;
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    for (std::size_t begin = 0; begin + id_length <= cgroup.size(); ++begin) {
        const std::string_view id = cgroup.substr(begin, id_length);
        const bool starts = begin == 0 || !is_hex(cgroup[begin - 1]);
        const bool ends = begin + id_length == cgroup.size() || !is_hex(cgroup[begin + id_length]);
        if (starts && ends && std::ranges::all_of(id, is_hex)) return std::string(id);
    }
    constexpr std::string_view lxc = "lxc.payload.";
    const auto payload = cgroup.find(lxc);
    if (payload == std::string_view::npos) return "";
    const std::string_view name = cgroup.substr(payload + lxc.size());
    return std::string(name.substr(0, name.find('/')));
}

} // namespace kmodguard::events
