// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/kernel_report.hpp"
#include "ctl/loaded_report.hpp"
#include "ctl/mode_report.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace kmodguard::ctl {
namespace {

using Daemon = sys::Result<protocol::Answer>;

/// A point that no daemon holds, but commands, each for what it has started or watches.
struct PointOfCommands {
    std::string_view point;
    std::string_view held_by;
};
constexpr std::array<PointOfCommands, 2> points_of_commands = {
    {{"process", "kmodctl exec and kmodctl oci-agent, for what they start"},
     {"guest", "kmodctl guest, for the emulator that it watches"}}};

std::int64_t number_of(const std::string& text) {
    std::int64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

void print_points(const Context& context, const autoload::HandlerStatus& handler, const Daemon& daemon,
                  const kernel::Status& kernel) {
    std::string autoload = describe(handler);
    if (daemon)
        autoload +=
            fmt::format("; {} allowed, {} refused", daemon->value("allowed"), daemon->value("refused"));
    if (daemon && daemon->value("audited") != "0")
        autoload += fmt::format(", {} let pass by audit mode", daemon->value("audited"));
    context.text(fmt::format("autoload  {}", autoload));
    std::string_view label = "kernel";
    for (const std::string& line : lines_of(kernel)) {
        context.text(fmt::format("{:<10}{}", label, line));
        label = "";
    }
    for (const PointOfCommands& row : points_of_commands)
        context.text(fmt::format("{:<10}by {}", row.point, row.held_by));
}

events::Json::Object handler_object(const autoload::HandlerStatus& handler, const Daemon& daemon) {
    const bool armed = handler.armed && !handler.static_helper;
    events::Json::Object object{{"point", "autoload"},
                                {"active", armed},
                                {"armed", armed},
                                {"handler", handler.current.value_or("")},
                                {"detail", describe(handler)}};
    if (handler.original) object.emplace_back("original", *handler.original);
    if (daemon)
        for (const char* count : {"allowed", "refused", "audited"})
            object.emplace_back(count, number_of(daemon->value(count)));
    return object;
}

events::Json::List point_objects(const autoload::HandlerStatus& handler, const Daemon& daemon,
                                 const kernel::Status& kernel) {
    events::Json::List points{handler_object(handler, daemon), object_of(kernel)};
    for (const PointOfCommands& row : points_of_commands)
        points.emplace_back(events::Json::Object{{"point", row.point}, {"held_by", row.held_by}});
    return points;
}

/// What the points that are held do not stop.
std::string_view limits_of(const kernel::Status& kernel) {
    if (kernel.state == kernel::State::unknown)
        return "what is built in or was loaded before stays; root can take an unsealed guard away";
    if (!kernel.is_enforced())
        return "modules loaded by root, udev or insmod do not pass here; what is built in or loaded stays";
    if (kernel.sealed)
        return "root, udev and insmod are judged too; what is built in or was loaded before stays; raw "
               "access "
               "to memory or disk by ways that the seal does not close is not stopped";
    return "root, udev and insmod are judged too; what is built in or was loaded before stays; root can take "
           "the guard away (kmodctl seal keeps it), and raw access to memory or disk is not stopped";
}

void print_daemon(const Context& context, const protocol::Answer& daemon) {
    context.text(fmt::format("daemon    running, version {}, kernel {}", daemon.value("version"),
                             daemon.value("kernel")));
    context.text(fmt::format("mode      {}", mode_in_words(daemon)));
    if (const std::string wanted = daemon.value("wanted-mode"); !wanted.empty())
        context.text(
            fmt::format("          WANTED: {}, and not in force because it could not be published: {}; tried "
                        "again every few seconds",
                        wanted, daemon.value("wanted-problem")));
    context.text(fmt::format("policy    generation {}: allow.modules {}, allow.aliases {}, denied {}",
                             daemon.value("generation"), daemon.value("allowed-modules"),
                             daemon.value("allowed-aliases"), daemon.value("denied")));
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "policy" || field.key == "policy-warning")
            context.text(fmt::format("          {}", field.value));
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "policy-newer")
            context.text(fmt::format("          NOT IN FORCE: {} has changed since; kmodctl reload reads it",
                                     field.value));
    if (const std::string error = daemon.value("policy-error"); !error.empty())
        context.text(fmt::format("          INVALID: {}", error));
    if (const std::string error = daemon.value("index-error"); !error.empty())
        context.text(fmt::format("          NO MODULE INDEX: {}", error));
    if (const std::string unsaved = daemon.value("unsaved-changes"); unsaved != "0")
        context.text(fmt::format("          {} unsaved changes: kmodctl apply keeps them", unsaved));
    if (const std::string lost = daemon.value("events-lost"); lost != "0")
        context.text(fmt::format("events    {} were lost, because logging could not keep up", lost));
}

events::Json::Object daemon_object(const protocol::Answer& daemon) {
    events::Json::Object object{{"running", true}};
    events::Json::List files;
    events::Json::List newer;
    for (const protocol::Field& field : daemon.fields) {
        std::string key = field.key;
        std::ranges::replace(key, '-', '_');                  // as in events
        if (field.key.starts_with("kernel-point-")) continue; // among the points
        if (field.key == "policy")
            files.emplace_back(field.value);
        else if (field.key == "policy-newer")
            newer.emplace_back(field.value);
        else if (!field.value.empty() && field.value.find_first_not_of("0123456789") == std::string::npos)
            object.emplace_back(key, number_of(field.value));
        else
            object.emplace_back(key, field.value);
    }
    object.emplace_back("policy", std::move(files));
    if (!newer.empty()) object.emplace_back("policy_newer", std::move(newer));
    return object;
}

} // namespace

int run_status(const Context& context) {
    const auto handler = autoload::handler_status(context.paths);
    if (!handler) return context.fail(handler.error());
    const Daemon daemon = context.ask("STATUS");
    const kernel::Status kernel = kernel_status(context.paths, daemon);
    print_points(context, *handler, daemon, kernel);
    if (daemon)
        print_daemon(context, *daemon);
    else if (daemon.error().kind == sys::ErrorKind::denied)
        context.text("daemon    only root may ask it");
    else
        context.text(
            fmt::format("daemon    not running{}", handler->armed ? ": every request is refused" : ""));
    const LoadedReport loaded = loaded_report(context);
    if (const std::string sentence = sentence_of(loaded); !sentence.empty())
        context.text(fmt::format("loaded    {}", sentence));
    context.text(fmt::format("limits    {}", limits_of(kernel)));
    context.object({{"points", point_objects(*handler, daemon, kernel)},
                    {"loaded", object_of(loaded)},
                    {"daemon", daemon ? daemon_object(*daemon) : events::Json::Object{{"running", false}}}});
    return daemon ? int{exit_done} : int{exit_code_of(daemon.error().kind)};
}

} // namespace kmodguard::ctl
