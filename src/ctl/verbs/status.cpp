// SPDX-License-Identifier: AGPL-3.0-only
//
// The machine's status on a page: for people a labelled line for each fact, for programs one object.
#include "ctl/machine_status.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace kmodguard::ctl {
namespace {

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

void print_line(const Context& context, std::string_view label, std::string_view text) {
    context.text(fmt::format("{:<10}{}", label, text));
}

void print_points(const Context& context, const MachineStatus& status) {
    std::string autoload = describe(*status.handler);
    if (const auto& daemon = status.daemon)
        autoload += fmt::format("; {} allowed, {} refused", daemon->allowed, daemon->refused);
    if (status.daemon && status.daemon->audited != 0)
        autoload += fmt::format(", {} let pass by audit mode", status.daemon->audited);
    print_line(context, "autoload", autoload);
    std::string_view label = "kernel";
    for (const std::string& line : lines_of(status.kernel))
        print_line(context, std::exchange(label, ""), line);
    for (const PointOfCommands& row : points_of_commands)
        print_line(context, row.point, fmt::format("by {}", row.held_by));
}

void print_daemon(const Context& context, const DaemonStatus& daemon) {
    const auto print_more = [&context](std::string_view text) { print_line(context, "", text); };
    print_line(context, "daemon",
               fmt::format("running, version {}, kernel {}", daemon.version, daemon.kernel));
    print_line(context, "mode", describe_mode(daemon));
    if (daemon.wanted_mode)
        print_more(fmt::format("WANTED: {}, and not in force because it could not be published: {}; tried "
                               "again every few seconds",
                               to_string(*daemon.wanted_mode), daemon.wanted_problem.value_or("")));
    print_line(context, "policy",
               fmt::format("generation {}: allow.modules {}, allow.aliases {}, denied {}", daemon.generation,
                           daemon.allowed_modules, daemon.allowed_aliases, daemon.denied));
    if (daemon.user_namespaces.value_or(false))
        print_more(
            "allow.user_namespaces: kmodctl exec and oci-agent load for callers in user namespaces, too");
    for (const auto* texts : {&daemon.policy_files, &daemon.policy_warnings})
        std::ranges::for_each(*texts, print_more);
    for (const std::string& file : daemon.newer_files)
        print_more(fmt::format("NOT IN FORCE: {} has changed since; kmodctl reload reads it", file));
    if (daemon.policy_error) print_more(fmt::format("INVALID: {}", *daemon.policy_error));
    if (daemon.index_error) print_more(fmt::format("NO MODULE INDEX: {}", *daemon.index_error));
    if (daemon.unsaved_changes != 0)
        print_more(fmt::format("{} unsaved changes: kmodctl apply keeps them", daemon.unsaved_changes));
    if (daemon.events_lost != 0)
        print_line(context, "events",
                   fmt::format("{} were lost, because logging could not keep up", daemon.events_lost));
}

std::string why_no_daemon(const MachineStatus& status) {
    const sys::Error& error = status.daemon.error();
    if (error.kind == sys::ErrorKind::denied) return "only root may ask it";
    if (error.kind != sys::ErrorKind::unreachable) return error.what;
    return status.handler->armed ? "not running: every request is refused" : "not running";
}

/// What the points that are there do not stop.
std::string_view limits_of(const kernel::Status& kernel) {
    if (kernel.state == kernel::State::unknown)
        return "what is built in or was loaded before stays; root can take an unsealed guard away";
    if (!kernel.is_enforced())
        return "modules loaded by root, udev or insmod do not pass here; what is built in or loaded stays";
    if (kernel.sealed)
        return "root, udev and insmod are judged too; what is built in or was loaded before stays; raw "
               "access to memory or disk by ways that the seal does not close is not stopped";
    return "root, udev and insmod are judged too; what is built in or was loaded before stays; root can take "
           "the guard away (kmodctl seal keeps it), and raw access to memory or disk is not stopped";
}

/// A value of the daemon's status; nothing: there is no such member.
std::optional<Json> json_of(const Json& value) {
    return value;
}
std::optional<Json> json_of(core::Mode value) {
    return to_string(value);
}
std::optional<Json> json_of(const std::vector<std::string>& values) {
    if (values.empty()) return std::nullopt;
    return Json::List(values.begin(), values.end());
}
template <typename Value>
std::optional<Json> json_of(const std::optional<Value>& value) {
    return value ? json_of(*value) : std::nullopt;
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

Json::Object object_of(const autoload::HandlerStatus& handler, const sys::Result<DaemonStatus>& daemon) {
    const bool armed = handler.armed && !handler.static_helper;
    Json::Object object{{"point", "autoload"},
                        {"active", armed},
                        {"armed", armed},
                        {"handler", handler.current.value_or("")},
                        {"detail", describe(handler)}};
    if (handler.original) object.emplace_back("original", *handler.original);
    if (!daemon) return object;
    object.emplace_back("allowed", daemon->allowed);
    object.emplace_back("refused", daemon->refused);
    object.emplace_back("audited", daemon->audited);
    return object;
}

Json::Object object_of(const LoadedReport& loaded) {
    if (!loaded) return {{"problem", loaded.error().what}};
    Json::List modules;
    for (const core::ModuleDecision& module : *loaded) {
        Json::Object object{
            {"module", module.module}, {"reason", to_string(module.reason)}, {"denied", is_denied(module)}};
        if (module.rule) object.emplace_back("rule", events::json_of(*module.rule));
        modules.emplace_back(std::move(object));
    }
    return {{"not_admitted", std::move(modules)}};
}

} // namespace

sys::Result<int> run_status(const Context& context) {
    const MachineStatus status = machine_status(context);
    if (!status.handler) return std::unexpected(status.handler.error());
    Json::List points{object_of(*status.handler, status.daemon), object_of(status.kernel)};
    for (const PointOfCommands& row : points_of_commands)
        points.emplace_back(Json::Object{{"point", row.point}, {"held_by", row.held_by}});
    context.object({{"points", std::move(points)},
                    {"loaded", object_of(status.loaded)},
                    {"daemon", object_of(status.daemon)}});
    print_points(context, status);
    if (status.daemon)
        print_daemon(context, *status.daemon);
    else
        print_line(context, "daemon", why_no_daemon(status));
    if (const std::string sentence = sentence_of(status.loaded); !sentence.empty())
        print_line(context, "loaded", sentence);
    print_line(context, "limits", limits_of(status.kernel));
    return status.daemon ? int{exit_done} : int{exit_code_of(status.daemon.error().kind)};
}

} // namespace kmodguard::ctl
