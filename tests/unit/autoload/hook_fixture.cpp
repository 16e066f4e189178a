// SPDX-License-Identifier: AGPL-3.0-only
#include "autoload/hook_fixture.hpp"

#include "fake_daemon.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace kmodguard::autoload {

HookFixture::HookFixture() : syslog_(listen_for_log(directory / "log")) {
    original("#!/bin/sh\nfor a in \"$@\"; do printf '[%s]' \"$a\"; done >> " + (directory / "trace").native()
             + "\necho >> " + (directory / "trace").native() + "\n");
    directory.write("original_modprobe", (directory / "modprobe").native() + "\n");
    paths.socket = socket.c_str();
    paths.original_handler = saved.c_str();
    paths.kernel_command_line = command_line.c_str();
    paths.loaded_modules = loaded.c_str();
    paths.syslog = log_socket.c_str();
    paths.kernel_log = kernel_log.c_str();
    paths.answer_seconds = 60;
}

HookFixture::~HookFixture() = default;

int HookFixture::run(std::vector<std::string> arguments) const {
    std::vector<char*> pointers;
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    return run_hook(pointers, paths);
}

int HookFixture::request(const std::string& token) const {
    return run({"-q", "--", token});
}

int HookFixture::run_answer(const std::string& answer) const {
    const test::FakeDaemon daemon(socket, answer);
    return request();
}

std::vector<std::string> HookFixture::log() const {
    std::vector<std::string> messages;
    std::array<char, 4096> buffer{};
    for (ssize_t count = 0; (count = ::recv(syslog_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT)) >= 0;)
        messages.emplace_back(buffer.data(), static_cast<std::size_t>(count));
    return messages;
}

std::string HookFixture::trace() const {
    std::ifstream file(directory / "trace");
    return {std::istreambuf_iterator<char>(file), {}};
}

void HookFixture::original(const std::string& script) const {
    directory.write("modprobe", script);
    ASSERT_EQ(::chmod((directory / "modprobe").c_str(), 0755), 0);
}

sys::UniqueFd HookFixture::listen_for_log(const std::filesystem::path& path) {
    sys::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        throw std::runtime_error("cannot bind the log");
    return fd;
}

} // namespace kmodguard::autoload
