// SPDX-License-Identifier: AGPL-3.0-only
//
// The hook as a function, in a folder that has all it touches: the daemon's socket, syslog, the saved
// original handler, which is a script that notes what it was called with.
#pragma once

#include "enforce/autoload/hook/hook.hpp"
#include "fake_daemon.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace kmodguard::autoload {

class HookFixture : public ::testing::Test {
  protected:
    HookFixture() : syslog_(listen_for_log(directory / "log")) {
        original("#!/bin/sh\nfor a in \"$@\"; do printf '[%s]' \"$a\"; done >> "
                 + (directory / "trace").native() + "\necho >> " + (directory / "trace").native() + "\n");
        directory.write("original_modprobe", (directory / "modprobe").native() + "\n");
        paths.socket = socket.c_str();
        paths.original_handler = saved.c_str();
        paths.kernel_command_line = command_line.c_str();
        paths.loaded_modules = loaded.c_str();
        paths.syslog = log_socket.c_str();
        paths.kernel_log = kernel_log.c_str();
        paths.answer_seconds = 60;
    }

    int run(std::vector<std::string> arguments) const {
        std::vector<char*> pointers;
        for (std::string& argument : arguments)
            pointers.push_back(argument.data());
        return run_hook(pointers, paths);
    }
    int request(const std::string& token = "kmt_token") const { return run({"-q", "--", token}); }

    /// What a daemon that answers with these lines makes the hook return.
    int run_answer(const std::string& answer) const {
        const test::FakeDaemon daemon(socket, answer);
        return request();
    }

    /// What came in at syslog since the last call.
    std::vector<std::string> log() const {
        std::vector<std::string> messages;
        std::array<char, 4096> buffer{};
        for (ssize_t count = 0;
             (count = ::recv(syslog_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT)) >= 0;)
            messages.emplace_back(buffer.data(), static_cast<std::size_t>(count));
        return messages;
    }
    /// What the original handler was called with, one line of [words] a call.
    std::string trace() const {
        std::ifstream file(directory / "trace");
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void original(const std::string& script) const {
        directory.write("modprobe", script);
        ASSERT_EQ(::chmod((directory / "modprobe").c_str(), 0755), 0);
    }

    test::TemporaryDirectory directory;
    const std::string socket = directory / "daemon.sock";
    const std::string saved = directory / "original_modprobe";
    const std::string command_line = directory / "cmdline";
    const std::string loaded = directory / "loaded";
    const std::string log_socket = directory / "log";
    const std::string kernel_log = directory / "kmsg";
    HookPaths paths;

  private:
    static sys::UniqueFd listen_for_log(const std::filesystem::path& path) {
        sys::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("cannot bind the log");
        return fd;
    }
    sys::UniqueFd syslog_;
};

inline const std::string log_prefix = "<84>kmodguard-hook: ";

} // namespace kmodguard::autoload
