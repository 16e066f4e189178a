// SPDX-License-Identifier: AGPL-3.0-only
//
// A child process that keeps what loading the programs takes, while its parent gives every capability up and
// only then reads its first byte of input. It waits for the word, loads, and ends; if its parent needs it
// not, or ends, it ends as well.
#pragma once

#include "enforce/kernel/programs.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

namespace kmodguard::kernel {

class Loader {
  public:
    /// To be called before the process has other threads.
    [[nodiscard]] static sys::Result<Loader> start(const LoadOptions& options);
    Loader(Loader&& other) noexcept;
    Loader& operator=(Loader&&) = delete;
    ~Loader();

    /// Loads and pins, and returns when that is done. Once.
    [[nodiscard]] sys::Result<void> load();

  private:
    Loader(pid_t child, sys::UniqueFd channel) : child_(child), channel_(std::move(channel)) {}
    void wait();

    pid_t child_ = -1;
    sys::UniqueFd channel_;
};

} // namespace kmodguard::kernel
