// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/fake_stub.hpp"

#include "gdb/remote_packet.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <span>
#include <stdexcept>
#include <utility>

namespace kmodguard::gdb::test {

sys::Result<std::uint64_t> read_register(Client& debugger, ThreadId thread, Register where) {
    const auto values = debugger.read_registers(thread, {&where, 1});
    if (!values) return std::unexpected(values.error());
    return values->at(0);
}

sys::Result<void> write_register(Client& debugger, ThreadId thread, Register where, std::uint64_t value) {
    const RegisterValue one{.where = where, .value = value};
    return debugger.write_registers(thread, {&one, 1});
}

bool is_running(Client& debugger) {
    constexpr std::uint64_t without_breakpoint = 0xdead'0000;
    const auto removed = debugger.remove_breakpoint(without_breakpoint);
    return !removed && removed.error().kind == sys::ErrorKind::failed;
}

FakeStub::FakeStub(bool describes_registers) : describes_registers_(describes_registers) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::runtime_error("no socket pair");
    server_ = sys::UniqueFd(ends[0]);
    client_ = sys::UniqueFd(ends[1]);
    for (std::size_t i = 0; i < memory.size(); ++i)
        memory[i] = static_cast<std::byte>(i * 7);
    thread_ = std::thread([this] { serve(); });
}

FakeStub::~FakeStub() {
    hang_up();
    thread_.join();
}

sys::Result<Client> FakeStub::connect(std::chrono::milliseconds timeout) {
    return Client::adopt(std::move(client_), "the stub", timeout);
}

Client FakeStub::connected() {
    auto debugger = connect();
    if (!debugger) throw std::runtime_error(debugger.error().what);
    debugger->set_answer_timeout(std::chrono::seconds(60));
    forget_commands();
    return std::move(*debugger);
}

sys::UniqueFd FakeStub::client_end() {
    return std::move(client_);
}

void FakeStub::answer(const std::string& command, std::string_view payload) {
    answer_raw(command, "+" + encode_packet(payload));
}

void FakeStub::answer_raw(const std::string& command, std::string bytes) {
    const std::scoped_lock lock(mutex_);
    answers_[command] = std::move(bytes);
}

void FakeStub::answer_once_raw(const std::string& command, std::string bytes) {
    const std::scoped_lock lock(mutex_);
    single_answers_[command] = std::move(bytes);
}

void FakeStub::send(std::string_view bytes) {
    static_cast<void>(sys::send_all(server_, bytes));
}

void FakeStub::hit_breakpoint() {
    {
        const std::scoped_lock lock(mutex_);
        if (!running_) return;
        running_ = false;
    }
    send(encode_packet("T05thread:p01.02;"));
}

void FakeStub::hang_up() {
    ::shutdown(server_.get(), SHUT_RDWR);
}

std::vector<std::string> FakeStub::commands() const {
    const std::scoped_lock lock(mutex_);
    return commands_;
}

void FakeStub::forget_commands() {
    const std::scoped_lock lock(mutex_);
    commands_.clear();
}

void FakeStub::wait_for_commands(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(60), [&] { return commands_.size() >= count; });
}

void FakeStub::serve() {
    std::string buffer;
    std::array<char, 4096> received{};
    while (true) {
        const ssize_t count = ::recv(server_.get(), received.data(), received.size(), 0);
        if (count <= 0) return;
        buffer.append(received.data(), static_cast<std::size_t>(count));
        take(buffer);
    }
}

void FakeStub::take(std::string& buffer) {
    while (!buffer.empty()) {
        if (buffer.front() != '$' || is_running()) {
            const bool interrupt = buffer.front() == '\x03';
            buffer.erase(0, 1);
            if (interrupt) record("^C");
            stop_running();
            continue;
        }
        const std::size_t end = buffer.find('#');
        if (end == std::string::npos || buffer.size() < end + 3) return;
        const std::string payload = buffer.substr(1, end - 1);
        buffer.erase(0, end + 3);
        const std::string bytes = handle(payload);
        record(payload);
        send(bytes);
        const std::scoped_lock lock(mutex_);
        last_answered_ = payload;
        changed_.notify_all();
    }
}

bool FakeStub::is_running() const {
    const std::scoped_lock lock(mutex_);
    return running_;
}

void FakeStub::stop_running() {
    {
        const std::scoped_lock lock(mutex_);
        if (!running_) return;
        running_ = false;
    }
    send(encode_packet("T02thread:p01.01;"));
}

void FakeStub::record(const std::string& command) {
    const std::scoped_lock lock(mutex_);
    commands_.push_back(command);
    changed_.notify_all();
}

std::string FakeStub::handle(const std::string& payload) {
    const std::scoped_lock lock(mutex_);
    if (const auto once = single_answers_.extract(payload)) return once.mapped();
    const auto replaced = answers_.find(payload);
    if (replaced != answers_.end()) return replaced->second;
    if (payload == "vCont;c") {
        running_ = true;
        return "+";
    }
    return "+" + encode_packet(answer_to(payload));
}

std::string FakeStub::answer_to(std::string_view command) {
    if (command.starts_with("qSupported"))
        return fmt::format("PacketSize=1000;{}vContSupported+;multiprocess+",
                           describes_registers_ ? "qXfer:features:read+;" : "");
    if (command == "?") return "T05thread:p01.01;";
    if (command.starts_with("qXfer:features:read:target.xml:0,"))
        return R"(l<target><xi:include href="core.xml"/></target>)";
    if (command.starts_with("qXfer:features:read:core.xml:0,"))
        return R"(l<feature><reg name="r0" bitsize="64"/><reg name="r1" bitsize="64"/></feature>)";
    if (command == "qfThreadInfo") return "mp01.01";
    if (command == "qsThreadInfo" && std::exchange(second_listed_, !second_listed_)) return "l";
    if (command == "qsThreadInfo") return "mp01.02";
    if (command.starts_with("vCont;s:")) return fmt::format("T05thread:{};", command.substr(8));
    if (command.starts_with("H") || command.starts_with("Z1,") || command.starts_with("z1,")
        || command.starts_with("D"))
        return "OK";
    return state_answer(command);
}

std::string FakeStub::state_answer(std::string_view command) {
    if (command == "g") return to_hex(registers);
    if (command.starts_with("G")) return from_hex(command.substr(1), std::span(registers)) ? "OK" : "E22";
    if (command.starts_with("p") && describes_registers_)
        return to_hex(std::span(registers).subspan(8 * parse_hex(command.substr(1)).value(), 8));
    if (command.starts_with("P") && describes_registers_) {
        const std::size_t equals = command.find('=');
        const auto place =
            std::span(registers).subspan(8 * parse_hex(command.substr(1, equals - 1)).value(), 8);
        return from_hex(command.substr(equals + 1), place) ? "OK" : "E22";
    }
    if (command.starts_with("m") || command.starts_with("M")) return memory_answer(command);
    return "";
}

std::string FakeStub::memory_answer(std::string_view command) {
    const std::size_t comma = command.find(',');
    const std::size_t colon = std::min(command.find(':'), command.size());
    const std::uint64_t address = parse_hex(command.substr(1, comma - 1)).value();
    const std::uint64_t length = parse_hex(command.substr(comma + 1, colon - comma - 1)).value();
    if (length > 0x800) return "E22";
    if (address < memory_start || address + length > memory_start + memory_size) return "E14";
    const auto place = std::span(memory).subspan(address - memory_start, length);
    if (command.starts_with("m")) return to_hex(place);
    return from_hex(command.substr(colon + 1), place) ? "OK" : "E22";
}

} // namespace kmodguard::gdb::test
