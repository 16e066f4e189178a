// SPDX-License-Identifier: AGPL-3.0-only
//
// A command that is under the filter from its first instruction on, and that does not begin before the parent
// is there to answer for the filter.
#pragma once

#include "enforce/process/seccomp.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <csignal>
#include <string>
#include <utility>
#include <vector>

namespace kmodguard::process {

class Launched {
  public:
    /// A child of this process that will be `command` (searched in PATH, no shell) and is under `filter`,
    /// with `signals` as its signal mask and everything else as it is here: terminal, process group,
    /// descriptors without close-on-exec. It waits for go(). Must be called before there are threads.
    [[nodiscard]] static sys::Result<Launched> create(const std::vector<std::string>& command,
                                                      const FilterProgram& filter, const sigset_t& signals);
    /// A child that has not been let go is ended: nothing of the command has run.
    ~Launched();
    Launched(Launched&&) = default;
    Launched& operator=(Launched&&) = delete;

    /// Lets it become the command. One that is not there is not_found, one that cannot be run denied.
    [[nodiscard]] sys::Result<void> go();

    sys::UniqueFd listener; ///< of its filter
    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] const sys::UniqueFd& process() const { return process_; } ///< its pidfd

  private:
    Launched(pid_t pid, sys::UniqueFd process, sys::UniqueFd reports, std::string name)
        : pid_(pid), process_(std::move(process)), reports_(std::move(reports)), name_(std::move(name)) {}

    pid_t pid_;
    sys::UniqueFd process_;
    sys::UniqueFd reports_; ///< until it has been let go
    std::string name_;
};

} // namespace kmodguard::process
