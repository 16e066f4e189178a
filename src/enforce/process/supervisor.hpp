// SPDX-License-Identifier: AGPL-3.0-only
//
// Answers the module system calls of the processes under one filter. For each the image is copied out of the
// caller, the copy is judged, and what is allowed the supervisor loads itself: the copy, with the caller's
// parameters and flags, if the caller itself had the right to. Nothing is ever answered with "continue",
// for by the time the kernel would look the caller's memory and descriptors may hold anything.
//
// A thread for each call that is being answered: a load takes as long as the module's init does, and one call
// may wait for another's.
#pragma once

#include "enforce/process/caller.hpp"
#include "enforce/process/judge.hpp"
#include "enforce/process/kernel_modules.hpp"
#include "enforce/process/notification.hpp"
#include "events/recorder.hpp"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace kmodguard::process {

struct Limits {
    std::uint64_t image_bytes = 512ULL << 20U; ///< of one image
    std::uint64_t memory = 1ULL << 30U;        ///< of the copies that are held at one time
    std::size_t threads = 64;                  ///< calls answered at one time; further ones wait
};

class Supervisor {
  public:
    struct Settings {
        std::string container; ///< its id, for events; "" where there is none
        Limits limits = {};
    };

    /// Answers what comes to `listener` from now on, by `judge`; events and attempts go to `recorder`. All
    /// three, and `kernel`, must outlive it.
    Supervisor(Listener listener, Judge& judge, KernelModules& kernel, events::Recorder& recorder,
               Settings settings);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    /// Waits for the calls that are being answered. Calls that come later fail with ENOSYS: the kernel's answer
    /// where nobody listens.
    ~Supervisor();

    /// Readable with POLLHUP when no process is left under the filter.
    [[nodiscard]] int fd() const;

  private:
    class Threads;
    std::unique_ptr<Threads> threads_;
};

} // namespace kmodguard::process
