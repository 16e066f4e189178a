// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/event_sinks.hpp"

#include <utility>

namespace kmodguard::daemon {

sys::Result<std::vector<std::unique_ptr<events::Sink>>> make_sinks(const sys::Paths& paths,
                                                                   const std::filesystem::path& events_file) {
    std::vector<std::unique_ptr<events::Sink>> sinks;
    if (!paths.moved())
        sinks.push_back(events::has_journal() ? events::journal_sink() : events::syslog_sink());
    if (paths.moved() || !events::has_journal()) sinks.push_back(events::stderr_sink());
    if (!events_file.empty()) {
        auto file = TRY(events::json_lines_sink(events_file));
        sinks.push_back(std::move(file));
    }
    return sinks;
}

} // namespace kmodguard::daemon
