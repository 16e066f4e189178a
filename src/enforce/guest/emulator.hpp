// SPDX-License-Identifier: AGPL-3.0-only
//
// QEMU, started so that nothing of its machine has run before the debugger is there. Its stub listens on a
// socket that kmodctl has made and that QEMU inherits: there is never a moment at which another process could
// connect first, nor one to wait for. The socket has a place in the file system so that another kmodctl can
// attach if this one dies.
#pragma once

#include "sys/process.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::guest {

/// A folder of its own with the socket in it; both go with the object.
class StubSocket {
  public:
    /// In `directory`, or where none is given in $XDG_RUNTIME_DIR, if it is this user's own, or /tmp.
    [[nodiscard]] static sys::Result<StubSocket> create(const std::filesystem::path& directory);
    StubSocket(StubSocket&&) noexcept = default;
    StubSocket& operator=(StubSocket&&) = delete;
    ~StubSocket();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] const sys::UniqueFd& listener() const { return listener_; }
    /// QEMU has it: when that ends, no process listens any more.
    void hand_over() { listener_.reset(); }

  private:
    StubSocket(std::filesystem::path path, sys::UniqueFd listener)
        : path_(std::move(path)), listener_(std::move(listener)) {}

    std::filesystem::path path_;
    sys::UniqueFd listener_;
};

/// Starts QEMU's `command` with its machine halted and its stub on `socket`, and `signals` as its signal
/// mask. ErrorKind::invalid: the command asks for a stub of its own.
[[nodiscard]] sys::Result<sys::Child> start_emulator(std::vector<std::string> command,
                                                     const StubSocket& socket, const sigset_t& signals);

/// Whether QEMU's command has `option`, with one dash or two.
[[nodiscard]] bool has_option(const std::vector<std::string>& command, std::string_view option);

/// The word after `option` in QEMU's command, with one dash or two; "" if it is not there.
[[nodiscard]] std::string option_of(const std::vector<std::string>& command, std::string_view option);

} // namespace kmodguard::guest
