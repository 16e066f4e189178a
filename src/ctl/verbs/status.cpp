// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

events::Json::Object handler_object(const autoload::HandlerStatus& handler) {
    events::Json::Object object{{"point", "autoload"},
                                {"armed", handler.armed && !handler.static_helper},
                                {"handler", handler.current.value_or("")},
                                {"detail", describe(handler)}};
    if (handler.original) object.emplace_back("original", *handler.original);
    return object;
}

std::string mode_line(const protocol::Answer& daemon) {
    std::string line = daemon.value("mode");
    if (const std::string forced = daemon.value("mode-forced"); !forced.empty())
        line += fmt::format(" (by {})", forced);
    if (const std::string left = daemon.value("mode-seconds-left"); !left.empty())
        line += fmt::format(" (for {} s more)", left);
    return line;
}

void print_daemon(const Context& context, const protocol::Answer& daemon) {
    context.text(fmt::format("daemon    running, version {}, kernel {}", daemon.value("version"),
                             daemon.value("kernel")));
    context.text(fmt::format("mode      {}", mode_line(daemon)));
    context.text(fmt::format("policy    generation {}: allow.modules {}, allow.aliases {}, denied {}",
                             daemon.value("generation"), daemon.value("allowed-modules"),
                             daemon.value("allowed-aliases"), daemon.value("denied")));
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "policy" || field.key == "policy-warning")
            context.text(fmt::format("          {}", field.value));
    if (const std::string error = daemon.value("policy-error"); !error.empty())
        context.text(fmt::format("          INVALID: {}", error));
    if (const std::string error = daemon.value("index-error"); !error.empty())
        context.text(fmt::format("          NO MODULE INDEX: {}", error));
    if (const std::string unsaved = daemon.value("unsaved-changes"); unsaved != "0")
        context.text(fmt::format("          {} unsaved changes: kmodctl apply keeps them", unsaved));
    if (const std::string lost = daemon.value("events-lost"); lost != "0")
        context.text(fmt::format("events    {} were lost, because logging could not keep up", lost));
    context.text(fmt::format("requests  {} allowed, {} refused, {} let pass by audit mode",
                             daemon.value("allowed"), daemon.value("refused"), daemon.value("audited")));
}

events::Json::Object daemon_object(const protocol::Answer& daemon) {
    events::Json::Object object{{"running", true}};
    events::Json::List files;
    for (const protocol::Field& field : daemon.fields) {
        std::string key = field.key;
        std::ranges::replace(key, '-', '_'); // as in events
        if (field.key == "policy")
            files.emplace_back(field.value);
        else if (!field.value.empty() && field.value.find_first_not_of("0123456789") == std::string::npos)
            object.emplace_back(key, static_cast<std::int64_t>(std::stoll(field.value)));
        else
            object.emplace_back(key, field.value);
    }
    object.emplace_back("policy", std::move(files));
    return object;
}

} // namespace

int run_status(const Context& context) {
    const auto handler = autoload::handler_status(context.paths);
    if (!handler) return context.fail(handler.error());
    const auto daemon = context.ask("STATUS");
    context.text(fmt::format("autoload  {}", describe(*handler)));
    if (daemon)
        print_daemon(context, *daemon);
    else if (daemon.error().kind == sys::ErrorKind::denied)
        context.text("daemon    only root may ask it");
    else
        context.text(
            fmt::format("daemon    not running{}", handler->armed ? ": every request is refused" : ""));
    context.text("limits    modules loaded by root, udev or insmod do not pass here; what is built in or "
                 "loaded stays");
    context.object({{"points", events::Json::List{handler_object(*handler)}},
                    {"daemon", daemon ? daemon_object(*daemon) : events::Json::Object{{"running", false}}}});
    return daemon ? int{exit_done} : int{exit_code_of(daemon.error().kind)};
}

} // namespace kmodguard::ctl
