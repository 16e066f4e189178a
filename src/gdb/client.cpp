// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/client.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;

constexpr std::size_t bytes_of_one_timeout = 1048576;

// While the machine runs a stub may pass on output of the program that it debugs. QEMU's does not.
constexpr int max_outputs = 4096;

bool is_refusal(std::string_view answer) {
    return answer.size() == 3 && answer.front() == 'E' && parse_hex(answer.substr(1)).has_value();
}

} // namespace

Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Deadline Client::deadline(std::size_t bytes) const {
    const auto times = static_cast<std::chrono::milliseconds::rep>(1 + bytes / bytes_of_one_timeout);
    return std::chrono::steady_clock::now() + timeout_ * times;
}

sys::Error Client::error(ErrorKind kind, std::string_view what, std::string_view hint) const {
    return sys::Error{kind, fmt::format("{}: {}", connection_.name(), what), std::string(hint)};
}

sys::Result<void> Client::require_stopped() const {
    switch (state_) {
    case State::stopped: return {};
    case State::running:
        return std::unexpected(error(ErrorKind::failed, "the machine runs", "stop it first"));
    case State::ended: break;
    }
    return std::unexpected(
        error(ErrorKind::unreachable, "the emulator has ended, or was let go", "connect again"));
}

sys::Result<std::string> Client::ask(std::string_view command, Deadline deadline) {
    TRY(require_stopped());
    TRY(connection_.send(command, deadline));
    auto answer = TRY(connection_.receive(deadline));
    return check_answer(command, std::move(answer));
}

sys::Result<std::string> Client::check_answer(std::string_view command, std::string answer) const {
    const std::string_view name = command.substr(0, std::min(command.find_first_of(":,"), command.size()));
    if (answer.empty())
        return std::unexpected(
            error(ErrorKind::invalid, fmt::format("the command {} is not known there", name)));
    if (is_refusal(answer))
        return std::unexpected(error(ErrorKind::not_found, fmt::format("{} was refused ({})", name, answer)));
    return answer;
}

sys::Result<std::vector<std::string>> Client::ask_all(std::span<const std::string> commands,
                                                      Deadline deadline) {
    TRY(require_stopped());
    std::vector<std::string> answers;
    while (!commands.empty()) {
        const auto part = commands.first(std::min(commands.size(), RemoteConnection::max_together));
        auto some = TRY(connection_.exchange(part, deadline));
        for (std::size_t i = 0; i < part.size(); ++i) {
            auto answer = TRY(check_answer(part[i], std::move(some[i])));
            answers.push_back(std::move(answer));
        }
        commands = commands.subspan(part.size());
    }
    return answers;
}

sys::Result<void> Client::ask_for_ok(std::string_view command, Deadline deadline) {
    const auto answer = TRY(ask(command, deadline));
    if (answer == "OK") return {};
    return std::unexpected(
        error(ErrorKind::invalid, fmt::format("neither yes nor no to {}", command.substr(0, 1))));
}

sys::Result<void> Client::select(ThreadId thread, Deadline deadline) {
    TRY(require_stopped());
    if (selected_ == thread) return {};
    selected_.reset();
    TRY(ask_for_ok(fmt::format("Hg{}", to_string(thread)), deadline));
    selected_ = thread;
    return {};
}

sys::Result<std::vector<ThreadId>> Client::threads() {
    const Deadline until = deadline();
    std::vector<ThreadId> found;
    std::string_view command = "qfThreadInfo";
    while (found.size() <= max_threads) {
        const auto answer = TRY(ask(command, until));
        if (answer == "l") return found;
        std::string_view list = answer;
        if (!list.starts_with('m')) break;
        do { // "m" id {"," id}
            list.remove_prefix(1);
            const std::size_t end = std::min(list.find(','), list.size());
            const auto id = parse_thread_id(list.substr(0, end));
            if (!id) return std::unexpected(error(ErrorKind::invalid, "a processor without a usable number"));
            found.push_back(*id);
            list.remove_prefix(end);
        } while (!list.empty());
        command = "qsThreadInfo";
    }
    return std::unexpected(error(ErrorKind::invalid, "a list of processors that is malformed, or too long"));
}

sys::Result<std::string> Client::monitor(std::string_view command) {
    const Deadline until = deadline();
    std::string output;
    auto answer = ask(fmt::format("qRcmd,{}", to_hex(std::as_bytes(std::span(command)))), until);
    while (true) {
        if (!answer) return std::unexpected(answer.error());
        if (*answer == "OK") return output;
        std::string_view digits = *answer;
        const bool more = digits.starts_with('O');
        if (more) digits.remove_prefix(1);
        std::string part(digits.size() / 2, '\0');
        if (!from_hex(digits, std::as_writable_bytes(std::span(part)))) break;
        output += part;
        if (output.size() > max_monitor_output)
            return std::unexpected(
                error(ErrorKind::invalid,
                      fmt::format("its monitor printed more than {} bytes", max_monitor_output)));
        if (!more) return output;
        answer = connection_.receive(until);
    }
    return std::unexpected(error(ErrorKind::invalid, "its monitor answered what is no text"));
}

sys::Result<void> Client::insert_breakpoint(std::uint64_t address, std::uint8_t kind) {
    TRY(require_stopped());
    if (breakpoints_.contains(address)) return {}; // QEMU would count a second one
    TRY(ask_for_ok(fmt::format("Z1,{:x},{:x}", address, kind), deadline()));
    breakpoints_.emplace(address, kind);
    return {};
}

sys::Result<void> Client::remove_breakpoint(std::uint64_t address) {
    TRY(require_stopped());
    const auto found = breakpoints_.find(address);
    if (found == breakpoints_.end()) return {};
    TRY(ask_for_ok(fmt::format("z1,{:x},{:x}", address, found->second), deadline()));
    breakpoints_.erase(found);
    return {};
}

sys::Result<void> Client::start_running(std::string_view command) {
    TRY(require_stopped());
    TRY(connection_.send(command, deadline()));
    state_ = State::running;
    selected_.reset(); // a stop selects the processor that it comes from
    return {};
}

sys::Result<void> Client::resume() {
    return start_running("vCont;c");
}

sys::Result<Stop> Client::step(ThreadId thread) {
    const Deadline until = deadline();
    TRY(start_running(fmt::format("vCont;s:{}", to_string(thread))));
    auto stop = TRY(next_stop(until));
    if (stop) return *stop;
    return std::unexpected(error(ErrorKind::failed, "a single step does not end", "interrupt the machine"));
}

void Client::leave_to_others() {
    if (state_ == State::stopped) state_ = State::running;
}

sys::Result<void> Client::interrupt() {
    if (state_ == State::running) return connection_.send_interrupt(deadline());
    return require_stopped();
}

sys::Result<std::optional<Stop>> Client::wait_stop(std::chrono::milliseconds timeout) {
    if (state_ == State::stopped)
        return std::unexpected(error(ErrorKind::failed, "the machine is stopped: no stop will come"));
    if (auto ended = state_ == State::ended ? require_stopped() : sys::Result<void>{}; !ended)
        return std::unexpected(ended.error());
    return next_stop(std::chrono::steady_clock::now() + timeout);
}

sys::Result<std::optional<Stop>> Client::next_stop(Deadline deadline) {
    for (int outputs = 0; outputs < max_outputs; ++outputs) {
        auto packet = connection_.receive_if_any(deadline);
        if (!packet && connection_.has_ended()) {
            state_ = State::ended;
            return last_stop_ = Stop{.kind = Stop::Kind::exited, .signal = 0, .thread = {}};
        }
        if (!packet) return std::unexpected(packet.error());
        if (!*packet) return std::nullopt;
        if ((*packet)->empty() || is_refusal(**packet)) { // the answer to the command: it does not run
            state_ = State::stopped;
            return std::unexpected(error(ErrorKind::not_found, "it refuses to let the machine run"));
        }
        auto stop = parse_stop_reply(**packet);
        if (!stop) return std::unexpected(error(stop.error().kind, stop.error().what));
        if (!*stop) continue; // output
        state_ = (*stop)->kind == Stop::Kind::exited ? State::ended : State::stopped;
        last_stop_ = **stop;
        return stop;
    }
    return std::unexpected(error(ErrorKind::invalid, "output without end, and no stop"));
}

sys::Result<void> Client::detach() {
    TRY(require_stopped());
    while (!breakpoints_.empty())
        TRY(remove_breakpoint(breakpoints_.begin()->first));
    const std::uint32_t process = last_stop_.thread.process;
    const std::string command = process == 0 ? "D" : fmt::format("D;{:x}", process);
    TRY(ask_for_ok(command, deadline()));
    connection_.close();
    state_ = State::ended;
    return {};
}

} // namespace kmodguard::gdb
