// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/messages.hpp"

#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace kmodguard::reader {
sys::Result<void> send_message(const sys::UniqueFd& channel, char kind, std::string_view bytes) {
    const sys::UniqueFd file = sys::sealed_file("message", bytes);
    if (!file) return sys::system_failure("cannot make", "a file in memory");
    return send_file(channel, kind, file);
}

sys::Result<void> send_file(const sys::UniqueFd& channel, char kind, const sys::UniqueFd& file) {
    if (!sys::send_descriptor(channel.get(), {&kind, 1}, file.get()))
        return sys::system_failure("cannot send to", "the other process");
    return {};
}

sys::Result<Message> receive_message(const sys::UniqueFd& channel) {
    Message message;
    std::array<char, 2> buffer{};
    auto received = TRY(sys::receive(channel, buffer));
    if (!received || received->bytes == 0) return message;
    const bool is_one =
        received->bytes == 1 && received->descriptors.size() == 1 && !received->lost_descriptors;
    if (!is_one || buffer.front() == 0)
        return sys::failure(sys::ErrorKind::invalid, "the other process sent what is no message");
    message.file = std::move(received->descriptors.front());
    // What could still be changed, or cut short, would be another by the time it is read.
    const int seals = ::fcntl(message.file.get(), F_GET_SEALS);
    if (seals < 0 || (seals & sys::whole_seals) != sys::whole_seals)
        return sys::failure(sys::ErrorKind::invalid,
                            "the other process sent a file that it can still change");
    message.kind = buffer.front();
    return message;
}

sys::Result<std::string> content_of(const Message& message) {
    struct stat status{};
    if (::fstat(message.file.get(), &status) != 0) return sys::system_failure("cannot look at", "a message");
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size > max_message) return sys::failure(sys::ErrorKind::invalid, "a message is too large");
    std::string content(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const ssize_t count =
            ::pread(message.file.get(), content.data() + done, size - done, static_cast<off_t>(done));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return sys::system_failure("cannot read", "a message");
        done += static_cast<std::size_t>(count);
    }
    return content;
}

} // namespace kmodguard::reader
