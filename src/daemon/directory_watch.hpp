// SPDX-License-Identifier: AGPL-3.0-only
//
// Notices that depmod ran or that modprobe.d changed, without asking before every decision. A directory that
// does not exist yet is waited for in its nearest parent that does.
#pragma once

#include "daemon/event_loop.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <vector>

namespace kmodguard::daemon {

class DirectoryWatch {
  public:
    /// How long things have to be quiet: depmod writes its dozen files one after the other.
    static constexpr std::chrono::microseconds quiet{200'000};

    /// Calls `changed` on `loop` once things have been quiet for a moment after a change in one of
    /// `directories`. If the system's inotify limits are reached some are not watched: then a reload is what
    /// it takes.
    DirectoryWatch(sd_event* loop, std::vector<std::filesystem::path> directories,
                   std::function<void()> changed);
    DirectoryWatch(const DirectoryWatch&) = delete;
    DirectoryWatch& operator=(const DirectoryWatch&) = delete;

  private:
    void watch();
    void on_change();

    sd_event* loop_;
    std::vector<std::filesystem::path> directories_;
    std::function<void()> changed_;
    std::vector<EventSource> watches_;
    EventSource quiet_;
};

} // namespace kmodguard::daemon
