// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/machine_status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kmodguard::ctl {
namespace {

using autoload::HandlerStatus;
using events::Json;
using protocol::DaemonStatus;

/// A point that is not the daemon's, but that of commands, each for what it has started or watches.
struct PointOfCommands {
    std::string_view point;
    std::string_view held_by;
};
constexpr std::array<PointOfCommands, 2> points_of_commands = {
    {{"process", "kmodctl exec and kmodctl oci-agent, for what they start"},
     {"guest", "kmodctl guest, for the emulator that it watches"}}};

// As JSON; nothing: there is no such member.
std::optional<Json> json_of(const std::string& value) {
    return value;
}
std::optional<Json> json_of(std::uint64_t value) {
    return value;
}
std::optional<Json> json_of(bool value) {
    return value;
}
std::optional<Json> json_of(core::Mode value) {
    return to_string(value);
}
template <typename Value>
std::optional<Json> json_of(const std::optional<Value>& value) {
    return value ? json_of(*value) : std::nullopt;
}
std::optional<Json> json_of(const std::vector<std::string>& values) {
    if (values.empty()) return std::nullopt;
    return Json::List(values.begin(), values.end());
}

Json::Object object_of(const sys::Result<DaemonStatus>& daemon) {
    if (!daemon) return {{"running", false}};
    Json::Object object{{"running", true}};
    const auto add = [&](const auto& row) {
        std::string key(row.key);
        std::ranges::replace(key, '-', '_'); // as in events
        auto value = json_of((*daemon).*row.member);
        if (!value && row.shown_when_empty) value = Json::List();
        if (value) object.emplace_back(std::move(key), std::move(*value));
    };
    std::apply([&](const auto&... rows) { (add(rows), ...); }, protocol::daemon_status_table);
    return object;
}

Json::Object object_of(const HandlerStatus& handler, const sys::Result<DaemonStatus>& daemon) {
    const bool armed = handler.armed && !handler.static_helper;
    Json::Object object{{"point", "autoload"},
                        {"active", armed},
                        {"armed", armed},
                        {"handler", handler.current.value_or("")},
                        {"detail", describe(handler)}};
    if (handler.original) object.emplace_back("original", *handler.original);
    if (daemon)
        for (const auto& [name, count] :
             {std::pair("allowed", daemon->allowed), std::pair("refused", daemon->refused),
              std::pair("audited", daemon->audited)})
            object.emplace_back(name, count);
    return object;
}

/// Lines with a label before the first.
class Lines {
  public:
    void add(std::string_view label, std::string_view text) {
        lines_.push_back(fmt::format("{:<10}{}", label, text));
    }
    void add_more(std::string_view text) { add("", text); }
    [[nodiscard]] std::vector<std::string> take() { return std::move(lines_); }

  private:
    std::vector<std::string> lines_;
};

void add_points(Lines& lines, const MachineStatus& status) {
    std::string autoload = describe(*status.handler);
    if (const auto& daemon = status.daemon)
        autoload += fmt::format("; {} allowed, {} refused", daemon->allowed, daemon->refused);
    if (status.daemon && status.daemon->audited != 0)
        autoload += fmt::format(", {} let pass by audit mode", status.daemon->audited);
    lines.add("autoload", autoload);
    std::string_view label = "kernel";
    for (const std::string& line : lines_of(status.kernel))
        lines.add(std::exchange(label, ""), line);
    for (const PointOfCommands& row : points_of_commands)
        lines.add(row.point, fmt::format("by {}", row.held_by));
}

void add_daemon(Lines& lines, const DaemonStatus& daemon) {
    lines.add("daemon", fmt::format("running, version {}, kernel {}", daemon.version, daemon.kernel));
    lines.add("mode", describe_mode(daemon));
    if (daemon.wanted_mode)
        lines.add_more(
            fmt::format("WANTED: {}, and not in force because it could not be published: {}; tried "
                        "again every few seconds",
                        to_string(*daemon.wanted_mode), daemon.wanted_problem.value_or("")));
    lines.add("policy",
              fmt::format("generation {}: allow.modules {}, allow.aliases {}, denied {}", daemon.generation,
                          daemon.allowed_modules, daemon.allowed_aliases, daemon.denied));
    if (daemon.user_namespaces.value_or(false))
        lines.add_more(
            "allow.user_namespaces: kmodctl exec and oci-agent load for callers in user namespaces, too");
    for (const auto* texts : {&daemon.policy_files, &daemon.policy_warnings})
        for (const std::string& text : *texts)
            lines.add_more(text);
    for (const std::string& file : daemon.newer_files)
        lines.add_more(fmt::format("NOT IN FORCE: {} has changed since; kmodctl reload reads it", file));
    if (daemon.policy_error) lines.add_more(fmt::format("INVALID: {}", *daemon.policy_error));
    if (daemon.index_error) lines.add_more(fmt::format("NO MODULE INDEX: {}", *daemon.index_error));
    if (daemon.unsaved_changes != 0)
        lines.add_more(fmt::format("{} unsaved changes: kmodctl apply keeps them", daemon.unsaved_changes));
    if (daemon.events_lost != 0)
        lines.add("events",
                  fmt::format("{} were lost, because logging could not keep up", daemon.events_lost));
}

/// What the points that are there do not stop.
std::string_view limits_of(const kernel::Status& kernel) {
    if (kernel.state == kernel::State::unknown)
        return "what is built in or was loaded before stays; root can take an unsealed guard away";
    if (!kernel.is_enforced())
        return "modules loaded by root, udev or insmod do not pass here; what is built in or loaded stays";
    if (kernel.sealed)
        return "root, udev and insmod are judged too; what is built in or was loaded before stays; raw "
               "access to memory or "
               "disk by ways that the seal does not close is not stopped";
    return "root, udev and insmod are judged too; what is built in or was loaded before stays; root can take "
           "the guard away (kmodctl seal keeps it), and raw access to memory or disk is not stopped";
}

} // namespace

sys::Result<DaemonStatus> read_daemon_status(const sys::Result<protocol::Answer>& answer) {
    if (!answer) return std::unexpected(answer.error());
    return protocol::daemon_status_of(answer->fields);
}

sys::Result<DaemonStatus> daemon_status(const Context& context) {
    return read_daemon_status(context.ask("STATUS"));
}

MachineStatus machine_status(const Context& context) {
    const auto answer = context.ask("STATUS");
    return {.daemon = read_daemon_status(answer),
            .handler = autoload::handler_status(context.paths),
            .kernel = kernel_status(context.paths, answer),
            .loaded = loaded_report(context)};
}

std::string describe_mode(const DaemonStatus& daemon) {
    std::string line(daemon.mode ? to_string(*daemon.mode) : "not known");
    if (daemon.mode_forced) line += fmt::format(" (by {})", *daemon.mode_forced);
    if (daemon.mode_seconds_left) line += fmt::format(" (for {} s more)", *daemon.mode_seconds_left);
    return line;
}

Json::Object object_of(const MachineStatus& status) {
    Json::List points{object_of(*status.handler, status.daemon), object_of(status.kernel)};
    for (const PointOfCommands& row : points_of_commands)
        points.emplace_back(Json::Object{{"point", row.point}, {"held_by", row.held_by}});
    return {{"points", std::move(points)},
            {"loaded", object_of(status.loaded)},
            {"daemon", object_of(status.daemon)}};
}

std::vector<std::string> lines_of(const MachineStatus& status) {
    Lines lines;
    add_points(lines, status);
    if (status.daemon)
        add_daemon(lines, *status.daemon);
    else if (status.daemon.error().kind == sys::ErrorKind::denied)
        lines.add("daemon", "only root may ask it");
    else if (status.daemon.error().kind == sys::ErrorKind::unreachable)
        lines.add("daemon", status.handler->armed ? "not running: every request is refused" : "not running");
    else
        lines.add("daemon", status.daemon.error().what);
    if (const std::string sentence = sentence_of(status.loaded); !sentence.empty())
        lines.add("loaded", sentence);
    lines.add("limits", limits_of(status.kernel));
    return lines.take();
}

} // namespace kmodguard::ctl
