// SPDX-License-Identifier: AGPL-3.0-only
//
// A stub like QEMU 7.2's at the other end of a socket pair, in a thread of its own: one machine of two
// processors with 64 KiB of memory. It answers as that one was seen to; a test replaces the answers that it
// is about. While the machine runs every byte stops it, and a command that did so is lost, as there.
#pragma once

#include "enforce/guest/debugger/debugger.hpp"
#include "enforce/guest/debugger/remote_packet.hpp"
#include "sys/unique_fd.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace kmodguard::guest::test {

class FakeStub {
  public:
    static constexpr std::uint64_t memory_start = 0x1000;
    static constexpr std::size_t memory_size = 0x10000;

    explicit FakeStub(bool describes_registers = true) : describes_registers_(describes_registers) {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
            throw std::runtime_error("no socket pair");
        server_ = sys::UniqueFd(ends[0]);
        client_ = sys::UniqueFd(ends[1]);
        for (std::size_t i = 0; i < memory.size(); ++i)
            memory[i] = static_cast<std::byte>(i * 7);
        thread_ = std::thread([this] { serve(); });
    }
    FakeStub(const FakeStub&) = delete;
    FakeStub& operator=(const FakeStub&) = delete;
    ~FakeStub() {
        hang_up();
        thread_.join();
    }

    /// A client of this stub. Once.
    sys::Result<Debugger> connect(std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
        return Debugger::adopt(std::move(client_), "the stub", timeout);
    }
    /// The same where it must succeed; it waits a minute for each answer.
    Debugger connected() {
        auto debugger = connect();
        if (!debugger) throw std::runtime_error(debugger.error().what);
        debugger->set_answer_timeout(std::chrono::seconds(60));
        forget_commands();
        return std::move(*debugger);
    }
    sys::UniqueFd client_end() { return std::move(client_); }

    /// From now on answers `command` so, in place of what this stub says by itself.
    void answer(const std::string& command, std::string_view payload) {
        answer_raw(command, "+" + encode_packet(payload));
    }
    /// The same with exactly these bytes, the acknowledgement among them.
    void answer_raw(const std::string& command, std::string bytes) {
        const std::scoped_lock lock(mutex_);
        answers_[command] = std::move(bytes);
    }
    /// The same, only the next time.
    void answer_once_raw(const std::string& command, std::string bytes) {
        const std::scoped_lock lock(mutex_);
        single_answers_[command] = std::move(bytes);
    }
    /// Sends something unasked.
    void send(std::string_view bytes) { static_cast<void>(sys::send_all(server_, bytes)); }

    /// The machine comes to a breakpoint on processor 2, if it runs.
    void hit_breakpoint() {
        {
            const std::scoped_lock lock(mutex_);
            if (!running_) return;
            running_ = false;
        }
        send(encode_packet("T05thread:p01.02;"));
    }
    void hang_up() { ::shutdown(server_.get(), SHUT_RDWR); }

    /// The commands in their order, "^C" for an interrupt; acknowledgements are not among them.
    [[nodiscard]] std::vector<std::string> commands() const {
        const std::scoped_lock lock(mutex_);
        return commands_;
    }
    void forget_commands() {
        const std::scoped_lock lock(mutex_);
        commands_.clear();
    }
    /// Returns when the client has sent so many commands.
    void wait_for_commands(std::size_t count) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return commands_.size() >= count; });
    }

    /// Returns when all that there is for `command` has been sent.
    void wait_for_answer_to(const std::string& command) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return last_answered_ == command; });
    }

    // The machine. Touch it while the client waits for nothing.
    std::array<std::byte, memory_size> memory{};
    /// Register n is the bytes from 8 n on, or from 4 n on where registers are not described.
    std::array<std::byte, 320> registers{};

  private:
    void serve() {
        std::string buffer;
        std::array<char, 4096> received{};
        while (true) {
            const ssize_t count = ::recv(server_.get(), received.data(), received.size(), 0);
            if (count <= 0) return;
            buffer.append(received.data(), static_cast<std::size_t>(count));
            take(buffer);
        }
    }

    void take(std::string& buffer) {
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

    bool is_running() const {
        const std::scoped_lock lock(mutex_);
        return running_;
    }
    void stop_running() {
        {
            const std::scoped_lock lock(mutex_);
            if (!running_) return;
            running_ = false;
        }
        send(encode_packet("T02thread:p01.01;"));
    }
    void record(const std::string& command) {
        const std::scoped_lock lock(mutex_);
        commands_.push_back(command);
        changed_.notify_all();
    }

    std::string handle(const std::string& payload) {
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

    std::string answer_to(std::string_view command) {
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

    std::string state_answer(std::string_view command) {
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

    std::string memory_answer(std::string_view command) {
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

    bool describes_registers_;
    bool second_listed_ = false;
    bool running_ = false;
    std::map<std::string, std::string> answers_;
    std::map<std::string, std::string> single_answers_;
    std::vector<std::string> commands_;
    std::string last_answered_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    sys::UniqueFd server_;
    sys::UniqueFd client_;
    std::thread thread_;
};

} // namespace kmodguard::guest::test
