// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/own_change.hpp"

#include "events/sinks.hpp"

#include <unistd.h>

#include <algorithm>
#include <string>

namespace kmodguard::ctl {
namespace {

/// A daemon that hangs must not keep the guard from being stopped.
constexpr std::chrono::seconds max_wait{1};

void log_by_itself(events::Action action, const sys::Error* error) {
    events::Change change(action, 0, error != nullptr ? std::optional(error->what) : std::nullopt);
    change.by = sys::identify_process(::getpid(), ::geteuid());
    const auto sink = events::has_journal() ? events::journal_sink() : events::syslog_sink();
    sink->write(change);
}

} // namespace

void record_change(const Context& context, events::Action action, const sys::Error* error) {
    std::string argument(to_string(action));
    if (error != nullptr) argument += " " + error->what.substr(0, protocol::max_request / 2);
    std::ranges::replace(argument, '\n', ' '); // a request is one line
    const auto recorded = protocol::ask(context.paths.socket(), {"RECORD", argument}, max_wait);
    if (!recorded && !context.paths.moved()) log_by_itself(action, error);
}

int record_failure(const Context& context, events::Action action, const sys::Error& error) {
    record_change(context, action, &error);
    return context.fail(error);
}

} // namespace kmodguard::ctl
