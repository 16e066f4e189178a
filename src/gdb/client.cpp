// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/client.hpp"

#include "sys/unix_socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;

constexpr std::size_t bytes_of_one_timeout = 1048576;

// While the machine runs a stub may pass on output of the program that it debugs. QEMU's does not.
constexpr int max_outputs = 4096;

bool is_refusal(std::string_view answer) {
    return answer.size() == 3 && answer.front() == 'E' && parse_hex(answer.substr(1)).has_value();
}

// Less than a command with an address and a few bytes needs; more than a payload may have here.
constexpr std::size_t min_packet_size = 256;
constexpr std::size_t max_packet_size = max_payload;

/// What a stub says of itself, words between semicolons.
struct Features {
    std::optional<std::size_t> packet_size; ///< none: no usable one
    bool single_processors = false;         ///< can let one of them run
    bool description = false;               ///< describes its registers
};

Features parse_features(std::string_view answer) {
    Features features;
    for (const auto part : std::views::split(answer, ';')) {
        const std::string_view word(part);
        constexpr std::string_view size = "PacketSize=";
        if (word.starts_with(size))
            if (const auto bytes = parse_hex(word.substr(size.size())); bytes && *bytes >= min_packet_size)
                features.packet_size = std::min<std::size_t>(*bytes, max_packet_size);
        features.single_processors |= word == "vContSupported+";
        features.description |= word == "qXfer:features:read+";
    }
    return features;
}

} // namespace

sys::Result<Client> Client::connect(const std::filesystem::path& socket, std::chrono::milliseconds timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    auto connected = sys::connect_unix(socket, timeout);
    if (!connected) {
        sys::Error failed = connected.error();
        if (failed.hint.empty())
            failed.hint =
                fmt::format("start the emulator with -gdb unix:{},server=on,wait=off", socket.native());
        return std::unexpected(std::move(failed));
    }
    const auto left = until - std::chrono::steady_clock::now();
    return adopt(std::move(*connected), fmt::format("the gdb stub on {}", socket.native()),
                 std::chrono::ceil<std::chrono::milliseconds>(left));
}

sys::Result<Client> Client::adopt(sys::UniqueFd socket, std::string name, std::chrono::milliseconds timeout) {
    Client debugger(RemoteConnection(std::move(socket), std::move(name)));
    if (auto done = debugger.shake_hands(std::chrono::steady_clock::now() + timeout); !done) {
        sys::Error failed = done.error();
        if (failed.kind == ErrorKind::unreachable && !debugger.connection_.has_ended())
            failed.hint = "another debugger may be connected: a stub serves one at a time";
        return std::unexpected(std::move(failed));
    }
    return debugger;
}

/// Asking why the machine is stopped is more than a question: QEMU takes it for the beginning of a session
/// and drops all breakpoints, those of a predecessor that died among them.
sys::Result<void> Client::shake_hands(Deadline deadline) {
    const auto answer = TRY(ask("qSupported:multiprocess+;vContSupported+", deadline));
    const Features features = parse_features(answer);
    if (!features.packet_size)
        return failure(ErrorKind::invalid, "no usable packet size in its list of features");
    if (!features.single_processors)
        return failure(ErrorKind::invalid, "it cannot let a single processor run", "use QEMU 7.2 or newer");
    packet_size_ = *features.packet_size;

    const auto reason = TRY(ask("?", deadline));
    const auto stop = parse_stop_reply(reason);
    if (!stop) return failure(stop.error().kind, stop.error().what);
    if (!*stop) return failure(ErrorKind::invalid, "no answer to why the machine is stopped");
    if ((*stop)->kind == Stop::Kind::exited) return failure(ErrorKind::unreachable, "the emulator has ended");
    process_ = (*stop)->thread.process;
    return features.description ? read_description(deadline) : sys::Result<void>{};
}

sys::Result<void> Client::read_description(Deadline deadline) {
    const auto main = TRY(read_document("target.xml", deadline));
    const auto included = description_.add_document(main);
    if (!included) return failure(included.error().kind, included.error().what);
    for (const std::string& name : *included) {
        const auto document = TRY(read_document(name, deadline));
        const auto nested = description_.add_document(document);
        if (!nested) return failure(nested.error().kind, nested.error().what);
        if (!nested->empty())
            return failure(ErrorKind::invalid, "documents of its registers that include others");
    }
    described_ = true;
    return {};
}

/// Parts come as `m` and data, the last one as `l` and data (GDB manual, "qXfer read").
sys::Result<std::string> Client::read_document(std::string_view name, Deadline deadline) {
    std::string document;
    const std::size_t part_size = packet_size_ / 2;
    while (document.size() <= max_description) {
        const auto part = TRY(
            ask(fmt::format("qXfer:features:read:{}:{:x},{:x}", name, document.size(), part_size), deadline));
        const char kind = part.front();
        if ((kind != 'm' && kind != 'l') || (kind == 'm' && part.size() == 1)) break;
        document.append(part, 1);
        if (kind == 'l') return document;
    }
    return failure(ErrorKind::invalid,
                   fmt::format("the document {} of its registers has no end, or is malformed", name));
}

Deadline Client::deadline(std::size_t bytes) const {
    const auto times = static_cast<std::chrono::milliseconds::rep>(1 + bytes / bytes_of_one_timeout);
    return std::chrono::steady_clock::now() + timeout_ * times;
}

std::unexpected<sys::Error> Client::failure(ErrorKind kind, std::string_view what, std::string hint) const {
    return sys::failure(kind, fmt::format("{}: {}", connection_.name(), what), std::move(hint));
}

sys::Result<void> Client::require_stopped() const {
    switch (state_) {
    case State::stopped: return {};
    case State::running: return failure(ErrorKind::failed, "the machine runs", "stop it first");
    case State::ended: break;
    }
    return failure(ErrorKind::unreachable, "the emulator has ended, or was let go", "connect again");
}

sys::Result<std::string> Client::ask(std::string command, Deadline deadline) {
    auto answers = TRY(ask_all({&command, 1}, deadline));
    return std::move(answers.front());
}

sys::Result<std::vector<std::string>> Client::ask_all(std::span<const std::string> commands,
                                                      Deadline deadline) {
    TRY(require_stopped());
    std::vector<std::string> answers;
    while (!commands.empty()) {
        const auto part = commands.first(std::min(commands.size(), RemoteConnection::max_together));
        auto some = TRY(connection_.exchange(part, deadline));
        for (std::size_t i = 0; i < part.size(); ++i) {
            const auto name = part[i].substr(0, part[i].find_first_of(":,"));
            if (some[i].empty())
                return failure(ErrorKind::invalid, fmt::format("the command {} is not known there", name));
            if (is_refusal(some[i]))
                return failure(ErrorKind::not_found, fmt::format("{} was refused ({})", name, some[i]));
            answers.push_back(std::move(some[i]));
        }
        commands = commands.subspan(part.size());
    }
    return answers;
}

sys::Result<void> Client::ask_for_ok(std::string command, Deadline deadline) {
    const char letter = command.front();
    const auto answer = TRY(ask(std::move(command), deadline));
    if (answer == "OK") return {};
    return failure(ErrorKind::invalid, fmt::format("neither yes nor no to {}", letter));
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
    std::string command = "qfThreadInfo";
    while (found.size() <= max_threads) {
        const auto answer = TRY(ask(command, until));
        if (answer == "l") return found;
        if (!answer.starts_with('m') || answer.size() == 1) break;
        for (const auto part : std::views::split(std::string_view(answer).substr(1), ',')) {
            const auto id = parse_thread_id(std::string_view(part));
            if (!id) return failure(ErrorKind::invalid, "a processor without a usable number");
            found.push_back(*id);
        }
        command = "qsThreadInfo";
    }
    return failure(ErrorKind::invalid, "a list of processors that is malformed, or too long");
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
            return failure(ErrorKind::invalid,
                           fmt::format("its monitor printed more than {} bytes", max_monitor_output));
        if (!more) return output;
        answer = connection_.receive(until);
    }
    return failure(ErrorKind::invalid, "its monitor answered what is no text");
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
    return failure(ErrorKind::failed, "a single step does not end", "interrupt the machine");
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
        return failure(ErrorKind::failed, "the machine is stopped: no stop will come");
    if (state_ == State::ended) TRY(require_stopped());
    return next_stop(std::chrono::steady_clock::now() + timeout);
}

sys::Result<std::optional<Stop>> Client::next_stop(Deadline deadline) {
    for (int outputs = 0; outputs < max_outputs; ++outputs) {
        auto packet = connection_.receive_if_any(deadline);
        if (!packet && connection_.has_ended()) {
            state_ = State::ended;
            return Stop{.kind = Stop::Kind::exited};
        }
        if (!packet) return std::unexpected(packet.error());
        if (!*packet) return std::nullopt;
        if ((*packet)->empty() || is_refusal(**packet)) { // the answer to the command: it does not run
            state_ = State::stopped;
            return failure(ErrorKind::not_found, "it refuses to let the machine run");
        }
        auto stop = parse_stop_reply(**packet);
        if (!stop) return failure(stop.error().kind, stop.error().what);
        if (!*stop) continue; // output
        state_ = (*stop)->kind == Stop::Kind::exited ? State::ended : State::stopped;
        process_ = (*stop)->thread.process;
        return stop;
    }
    return failure(ErrorKind::invalid, "output without end, and no stop");
}

sys::Result<void> Client::detach() {
    TRY(require_stopped());
    while (!breakpoints_.empty())
        TRY(remove_breakpoint(breakpoints_.begin()->first));
    TRY(ask_for_ok(process_ == 0 ? "D" : fmt::format("D;{:x}", process_), deadline()));
    connection_.close();
    state_ = State::ended;
    return {};
}

} // namespace kmodguard::gdb
