// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/process.hpp"

#include "reader/messages.hpp"
#include "sys/trace.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace kmodguard::reader {

namespace {

/// The program as a descriptor that is not in the way of the one that it is given.
sys::UniqueFd open_program(const std::filesystem::path& program) {
    constexpr int lowest = 4;
    const sys::UniqueFd opened(::open(program.c_str(), O_PATH | O_CLOEXEC));
    return sys::UniqueFd(opened ? ::fcntl(opened.get(), F_DUPFD_CLOEXEC, lowest) : -1);
}

} // namespace

ReaderProcess::ReaderProcess(sys::Paths paths, const Settings& settings)
    : paths_(std::move(paths)), program_(open_program(settings.program)), timeout_(settings.timeout) {
    if (!program_) program_error_ = sys::system_error("cannot find", settings.program.native());
}

std::filesystem::path ReaderProcess::program_beside_this() {
    std::error_code error; // then it is not found
    return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "kmodguard-reader";
}

ReaderProcess::~ReaderProcess() {
    rest();
}

sys::Result<void> ReaderProcess::start() {
    if (running_) return {};
    if (!program_) return std::unexpected(program_error_);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return sys::system_failure("cannot create", "a pair of sockets");
    sys::UniqueFd ours(ends[0]);
    const sys::UniqueFd theirs(ends[1]);
    sigset_t signals;
    ::sigemptyset(&signals);
    auto child = TRY(
        sys::start_child({fmt::format("/proc/self/fd/{}", program_.get()), "--root", paths_.root().native()},
                         signals, theirs));
    running_.emplace(std::move(child), std::move(ours), false);
    return {};
}

void ReaderProcess::rest() {
    if (running_) static_cast<void>(end({}, {}));
}

sys::Error ReaderProcess::end(std::string_view shown, std::string_view why) {
    ::syscall(SYS_pidfd_send_signal, running_->child.process.get(), SIGKILL, nullptr, 0);
    static_cast<void>(sys::wait_for(running_->child.process));
    running_.reset();
    return {.kind = sys::ErrorKind::failed,
            .what = fmt::format("cannot read {}: {}", shown, why),
            .hint = "the file may be damaged, or made to be"};
}

sys::Result<Message> ReaderProcess::receive(std::string_view shown) {
    pollfd answer{.fd = running_->channel.get(), .events = POLLIN, .revents = 0};
    int ready = 0;
    while ((ready = ::poll(&answer, 1, static_cast<int>(timeout_.count()))) < 0)
        if (errno != EINTR) return std::unexpected(end(shown, "it cannot be waited for"));
    if (ready == 0) return std::unexpected(end(shown, "the process that reads it takes too long"));
    auto message = receive_message(running_->channel);
    if (!message) return std::unexpected(end(shown, message.error().what));
    return message;
}

sys::Result<sys::UniqueFd> ReaderProcess::ask(char question, std::string_view about, std::string_view shown) {
    if (auto started = start(); !started) {
        started.error().kind = sys::ErrorKind::failed; // it is not what is asked about that is not there
        return std::unexpected(std::move(started.error()));
    }
    running_->has_read = true;
    if (const auto sent = send_message(running_->channel, question, about); !sent)
        return std::unexpected(end(shown, sent.error().what));
    auto message = TRY(receive(shown));
    switch (static_cast<Answer>(message.kind)) {
    case Answer::value: return std::move(message.file);
    case Answer::error: {
        sys::Error error;
        const auto content = content_of(message);
        if (content && decode(*content, error)) return std::unexpected(std::move(error));
        break;
    }
    case Answer::image: break;
    }
    return std::unexpected(end(shown, "the process that reads it has ended"));
}

template <typename Value>
sys::Result<Value> ReaderProcess::ask_for(char question, std::string_view about, std::string_view shown) {
    const Message answer{.kind = question, .file = TRY(ask(question, about, shown))};
    const std::string content = TRY(content_of(answer));
    Value value;
    if (!decode(content, value)) return nonsense(shown);
    return value;
}

std::unexpected<sys::Error> ReaderProcess::nonsense(std::string_view shown) {
    return std::unexpected(end(shown, "the process that reads it talks nonsense"));
}

sys::Result<compiled::File> ReaderProcess::index(const std::string& release) {
    const std::string shown = fmt::format("the module index of {}", release);
    const auto file = TRY(ask(static_cast<char>(Question::index), encoded(release), shown));
    return compiled::File::open(file, shown);
}

sys::Result<ReadPolicy> ReaderProcess::policy() {
    return ask_for<ReadPolicy>(static_cast<char>(Question::policy), {}, paths_.policy().native());
}

sys::Result<std::vector<NewText>> ReaderProcess::edited(const core::RuntimeChanges& changes) {
    return ask_for<std::vector<NewText>>(static_cast<char>(Question::edits), encoded(changes),
                                         paths_.policy().native());
}

sys::Result<ReaderProcess::Read> ReaderProcess::read(const std::filesystem::path& image,
                                                     const Wanted& wanted) {
    // A file that has taken the reader over could put another image in the place of the next one's.
    if (wanted.unpacked && running_ && running_->has_read) rest();
    const std::string& shown = image.native();
    const Message answer{.kind = static_cast<char>(Question::image),
                         .file = TRY(ask(static_cast<char>(Question::image), encoded(image, wanted), shown))};
    const std::string content = TRY(content_of(answer));
    Read read;
    bool image_follows = false;
    if (!decode(content, read, image_follows) || (image_follows && !wanted.unpacked)) return nonsense(shown);
    if (!image_follows) return read;
    auto unpacked = TRY(receive(shown));
    if (static_cast<Answer>(unpacked.kind) != Answer::image) return nonsense(shown);
    read.unpacked = std::move(unpacked.file);
    return read;
}

} // namespace kmodguard::reader
