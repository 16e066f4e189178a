// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/directory_watch.hpp"

#include <sys/inotify.h>

namespace kmodguard::daemon {
namespace {

constexpr std::uint64_t quiet_microseconds = DirectoryWatch::quiet.count();
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
    const auto on_quiet = [](sd_event_source*, std::uint64_t, void* self) {
        auto& watcher = *static_cast<DirectoryWatch*>(self);
        watcher.watch(); // directories may have come or been replaced
        watcher.changed_();
        return 0;
    };
    sd_event_source* timer = nullptr;
    if (sd_event_add_time_relative(loop_, &timer, CLOCK_MONOTONIC, quiet_microseconds, 0, on_quiet, this) < 0)
        return;
    sd_event_source_set_enabled(timer, SD_EVENT_OFF);
    quiet_.reset(timer);
    watch();
}

void DirectoryWatch::watch() {
    const auto on_event = [](sd_event_source*, const inotify_event*, void* self) {
        static_cast<DirectoryWatch*>(self)->on_change();
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

void DirectoryWatch::on_change() {
    sd_event_source_set_time_relative(quiet_.get(), quiet_microseconds);
    sd_event_source_set_enabled(quiet_.get(), SD_EVENT_ONESHOT);
}

} // namespace kmodguard::daemon
