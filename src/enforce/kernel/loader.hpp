// SPDX-License-Identifier: AGPL-3.0-only
//
// The BPF programs as they were built, and their way into the kernel. What takes a capability happens in a
// child process that keeps two, while its parent gives every capability up and only then reads its first byte
// of input. The child waits to be asked, loads, pins what it loaded, and ends; if its parent does not need
// it, or ends, it ends as well. The daemon, which uses the pins, needs no capability. Sealing is kmodctl's
// (pinned.hpp), which is root.
#pragma once

#include "core/policy.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <utility>

namespace kmodguard::kernel {

/// Has a child load the guarding programs, and pin them and their maps, in new_pin_directory().
class Loader {
  public:
    /// For a kernel with this support. To be called before the process has other threads, and with CAP_BPF
    /// and CAP_PERFMON.
    [[nodiscard]] static sys::Result<Loader> start(const Support& support);
    Loader(Loader&& other) noexcept
        : child_(std::exchange(other.child_, -1)), channel_(std::move(other.channel_)) {}
    Loader& operator=(Loader&&) = delete;
    ~Loader();

    /// Returns when that is done. Once.
    [[nodiscard]] sys::Result<void> load();

  private:
    Loader(pid_t child, sys::UniqueFd channel) : child_(child), channel_(std::move(channel)) {}
    int wait();

    pid_t child_;
    sys::UniqueFd channel_;
};

/// Loads the programs that enforce a seal, which work on the maps that are pinned, and pins them beside
/// these, in place of those that an earlier attempt has left. They are attached to nothing yet. The pins must
/// be of this build (guard_settings::object). Needs CAP_BPF and CAP_PERFMON, and that the machine is not
/// sealed.
[[nodiscard]] sys::Result<void> load_sealing_programs(Mechanism mechanism);

/// SHA-256 of the object file: tells one build of the programs from another.
[[nodiscard]] const core::Sha256& programs_hash();

} // namespace kmodguard::kernel
