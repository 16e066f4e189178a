// SPDX-License-Identifier: AGPL-3.0-only
//
// What changes behind the daemon's back: the index and modprobe.d, of which the kernel says when they do, and
// kernel.modprobe, of which it does not.
#pragma once

#include "daemon/event_loop.hpp"
#include "sys/paths.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::daemon {

/// Notices that depmod ran or that modprobe.d changed, without asking before every decision. A directory that
/// does not exist yet is waited for in its nearest parent that does.
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
    void on_quiet();

    sd_event* loop_;
    std::vector<std::filesystem::path> directories_;
    std::function<void()> changed_;
    std::vector<EventSource> watches_;
    EventSource quiet_;
};

/// Notices that kernel.modprobe was changed by another process than kmodctl, by looking now and then.
class HandlerWatch {
  public:
    explicit HandlerWatch(sys::Paths paths) : paths_(std::move(paths)) {}

    enum class Occasion { request, timer };

    /// The handler in force, once each time that it was made another than the one that was armed. The
    /// original one counts at the second look of the timer only: kmodctl arms and disarms in two steps,
    /// between which it is as if another process had put it back.
    [[nodiscard]] std::optional<std::string> look(Occasion occasion);

  private:
    sys::Paths paths_;
    std::optional<std::string> reported_;
    bool seen_by_timer_ = false; ///< the original, while the hook was to be there
};

} // namespace kmodguard::daemon
