// SPDX-License-Identifier: AGPL-3.0-only
#include "events/requester.hpp"

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

} // namespace kmodguard::events
