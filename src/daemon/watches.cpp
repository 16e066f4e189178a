// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/watches.hpp"

#include "enforce/autoload/handler.hpp"

#include <sys/inotify.h>

#include <utility>

namespace kmodguard::daemon {
namespace {

constexpr std::uint32_t content_events = IN_CLOSE_WRITE | IN_CREATE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM
                                         | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t parent_events = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR;

std::filesystem::path nearest_existing(std::filesystem::path path) {
    std::error_code error;
    while (path.has_relative_path() && !std::filesystem::is_directory(path, error))
        path = path.parent_path();
    return path;
}

} // namespace

DirectoryWatch::DirectoryWatch(sd_event* loop, std::vector<std::filesystem::path> directories,
                               std::function<void()> changed)
    : loop_(loop), directories_(std::move(directories)), changed_(std::move(changed)) {
    quiet_ = stopped_timer<&DirectoryWatch::on_quiet>(loop_, CLOCK_MONOTONIC, this);
    if (quiet_) watch();
}

void DirectoryWatch::on_quiet() {
    watch(); // directories may have come or been replaced
    changed_();
}

void DirectoryWatch::watch() {
    const auto on_event = [](sd_event_source*, const inotify_event*, void* self) {
        start_timer(static_cast<DirectoryWatch*>(self)->quiet_, quiet);
        return 0;
    };
    watches_.clear();
    for (const auto& directory : directories_) {
        const auto existing = nearest_existing(directory);
        const std::uint32_t mask = existing == directory ? content_events : parent_events;
        sd_event_source* source = nullptr;
        if (sd_event_add_inotify(loop_, &source, existing.c_str(), mask, on_event, this) >= 0)
            watches_.emplace_back(source);
    }
}

std::optional<std::string> HandlerWatch::look(Occasion occasion) {
    const auto handler = autoload::handler_setting(paths_);
    if (!handler || !handler->taken_away()) {
        reported_.reset();
        seen_by_timer_ = false;
        return std::nullopt;
    }
    if (handler->current == handler->original
        && (occasion == Occasion::request || !std::exchange(seen_by_timer_, true)))
        return std::nullopt;
    if (reported_ == handler->current) return std::nullopt;
    reported_ = handler->current.value_or("");
    return reported_;
}

} // namespace kmodguard::daemon
