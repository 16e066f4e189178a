// SPDX-License-Identifier: AGPL-3.0-only
//
// The hook as a function, in a folder that has all it touches: the daemon's socket, syslog, the saved
// original handler, which is a script that notes what it was called with.
#pragma once

#include "enforce/autoload/hook/hook.hpp"
#include "sys/unique_fd.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::autoload {

class HookFixture : public ::testing::Test {
  protected:
    HookFixture();
    ~HookFixture() override;

    int run(std::vector<std::string> arguments) const;
    int request(const std::string& token = "kmt_token") const;

    /// What a daemon that answers with these lines makes the hook return.
    int run_answer(const std::string& answer) const;

    /// What came in at syslog since the last call.
    std::vector<std::string> log() const;
    /// What the original handler was called with, one line of [words] a call.
    std::string trace() const;
    void original(const std::string& script) const;

    test::TemporaryDirectory directory;
    const std::string socket = directory / "daemon.sock";
    const std::string saved = directory / "original_modprobe";
    const std::string command_line = directory / "cmdline";
    const std::string loaded = directory / "loaded";
    const std::string log_socket = directory / "log";
    const std::string kernel_log = directory / "kmsg";
    HookPaths paths;

  private:
    static sys::UniqueFd listen_for_log(const std::filesystem::path& path);
    sys::UniqueFd syslog_;
};

inline const std::string log_prefix = "<84>kmodguard-hook: ";

} // namespace kmodguard::autoload
