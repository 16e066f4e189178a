// SPDX-License-Identifier: AGPL-3.0-only
#include "process/oci_runtime.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace kmodguard::test {

std::string state_of(const std::string& id, const std::string& fds, const std::string& more) {
    return R"({"ociVersion":"1.0.2","fds":)" + fds + R"(,"pid":1,"state":{"id":")" + id + "\"" + more + "}}";
}

bool send_with(int socket, std::string_view text, const std::vector<int>& descriptors) {
    std::string bytes(text);
    iovec from{.iov_base = bytes.data(), .iov_len = bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 64)> control{};
    msghdr message{};
    message.msg_iov = &from;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
        std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(int) * descriptors.size());
    }
    return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

Canary::Canary() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    read_.reset(ends[0]);
    write_.reset(ends[1]);
}

int Canary::fd() const {
    return write_.get();
}

bool Canary::wait_until_closed() {
    write_.reset();
    char byte = 0;
    return ::read(read_.get(), &byte, 1) == 0;
}

bool Canary::is_open() {
    write_.reset();
    ::fcntl(read_.get(), F_SETFL, O_NONBLOCK);
    char byte = 0;
    return ::read(read_.get(), &byte, 1) < 0 && errno == EAGAIN;
}

} // namespace kmodguard::test
