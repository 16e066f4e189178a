// SPDX-License-Identifier: AGPL-3.0-only
//
// A stub like QEMU 7.2's at the other end of a socket pair, in a thread of its own: one machine of two
// processors with 64 KiB of memory. It answers as that one was seen to; a test replaces the answers that it
// is about. While the machine runs every byte stops it, and a command that did so is lost, as there.
#pragma once

#include "gdb/client.hpp"
#include "sys/unique_fd.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace kmodguard::gdb::test {

inline constexpr ThreadId first{1, 1}; ///< its first processor

/// Of what has to fail.
template <typename T>
sys::ErrorKind kind_of(const sys::Result<T>& result) {
    EXPECT_FALSE(result);
    return result ? sys::ErrorKind::failed : result.error().kind;
}

/// One register.
sys::Result<std::uint64_t> read_register(Client& debugger, ThreadId thread, Register where);
sys::Result<void> write_register(Client& debugger, ThreadId thread, Register where, std::uint64_t value);

/// Whether the machine counts as running: what needs a stopped one fails then. Sends nothing.
bool is_running(Client& debugger);

class FakeStub {
  public:
    static constexpr std::uint64_t memory_start = 0x1000;
    static constexpr std::size_t memory_size = 0x10000;

    explicit FakeStub(bool describes_registers = true);
    FakeStub(const FakeStub&) = delete;
    FakeStub& operator=(const FakeStub&) = delete;
    ~FakeStub();

    /// A client of this stub. Once.
    sys::Result<Client> connect(std::chrono::milliseconds timeout = std::chrono::seconds(60));
    /// The same where it must succeed; it waits a minute for each answer.
    Client connected();
    sys::UniqueFd client_end();

    /// From now on answers `command` so, in place of what this stub says by itself.
    void answer(const std::string& command, std::string_view payload);
    /// The same with exactly these bytes, the acknowledgement among them.
    void answer_raw(const std::string& command, std::string bytes);
    /// The same, only the next time.
    void answer_once_raw(const std::string& command, std::string bytes);
    /// Sends something unasked.
    void send(std::string_view bytes);

    /// The machine comes to a breakpoint on processor 2, if it runs.
    void hit_breakpoint();
    void hang_up();

    /// The commands in their order, "^C" for an interrupt; acknowledgements are not among them.
    [[nodiscard]] std::vector<std::string> commands() const;
    void forget_commands();
    /// Returns when the client has sent so many commands.
    void wait_for_commands(std::size_t count);

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
    void serve();

    void take(std::string& buffer);

    bool is_running() const;
    void stop_running();
    void record(const std::string& command);

    std::string handle(const std::string& payload);

    std::string answer_to(std::string_view command);

    std::string state_answer(std::string_view command);

    std::string memory_answer(std::string_view command);

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

} // namespace kmodguard::gdb::test
