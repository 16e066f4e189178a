// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/client.hpp"

#include "sys/unix_socket.hpp"

#include <sys/socket.h>

#include <array>
#include <utility>

namespace kmodguard::protocol {
namespace {

/// `waiting`: called once when nothing comes in time, and then it is waited on. Empty: that is an error.
sys::Result<std::string> receive(const sys::UniqueFd& socket, std::function<void()> waiting) {
    std::string text;
    const bool waits = static_cast<bool>(waiting);
    std::array<char, 16384> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): recv() fills it
    while (!is_complete(text)) {
        const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN && waits) {
            if (waiting) std::exchange(waiting, nullptr)();
            continue;
        }
        if (count < 0 && errno == EAGAIN)
            return sys::failure(sys::ErrorKind::unreachable, "the daemon does not answer in time",
                                "see whether it runs: kmodctl status");
        if (count < 0 && errno != ECONNRESET) return sys::system_failure("cannot receive from", "the daemon");
        if (count <= 0 && waits)
            return sys::failure(sys::ErrorKind::unreachable,
                                "the daemon closed the connection: whether the change was made is not known",
                                "kmodctl status and kmodctl list show what is in force");
        if (count <= 0) return sys::failure(sys::ErrorKind::unreachable, "the daemon closed the connection");
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > max_list)
            return sys::failure(sys::ErrorKind::invalid, "the daemon's answer is too long");
    }
    return text;
}

} // namespace

namespace {

sys::Result<Answer> ask_and_receive(const std::filesystem::path& socket, const Request& request,
                                    std::chrono::milliseconds timeout, std::function<void()> waiting) {
    const std::string line = encode(request);
    // A newline in the argument would make it two requests.
    TRY(parse_request(std::string_view(line).substr(0, line.size() - 1)));
    const auto connection = sys::connect_unix(socket, timeout);
    if (!connection) {
        sys::Error error = connection.error();
        if (error.kind == sys::ErrorKind::unreachable) error.hint = "start it with kmodctl start";
        return std::unexpected(std::move(error));
    }
    // If sending fails the daemon may have said why before it hung up: that it answers only root, for
    // example.
    static_cast<void>(sys::send_all(*connection, line));
    const auto text = TRY(receive(*connection, std::move(waiting)));
    auto answer = parse_answer(text);
    if (answer && answer->outcome == Outcome::error) return std::unexpected(error_of(*answer));
    return answer;
}

} // namespace

sys::Result<Answer> ask(const std::filesystem::path& socket, const Request& request,
                        std::chrono::milliseconds timeout) {
    return ask_and_receive(socket, request, timeout, nullptr);
}

sys::Result<Answer> ask_for_change(const std::filesystem::path& socket, const Request& request,
                                   const std::function<void()>& waiting, std::chrono::milliseconds timeout) {
    return ask_and_receive(socket, request, timeout, waiting);
}

} // namespace kmodguard::protocol
