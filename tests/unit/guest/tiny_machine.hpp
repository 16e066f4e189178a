// SPDX-License-Identifier: AGPL-3.0-only
//
// A machine that is just enough of one to be watched: processors with registers, memory with holes, and code
// that is C++, in steps of four bytes. It stands behind a stub like QEMU's on a socket pair, in a thread of
// its own; while it stands still, or runs with nothing to do, a test may look at it and change it.
#pragma once

#include "enforce/guest/architecture.hpp"
#include "gdb/client.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace kmodguard::guest::test {

class TinyMachine {
  public:
    using Registers = std::map<std::uint16_t, std::uint64_t>; ///< by number
    using Code = std::function<void(std::size_t processor)>;
    struct Processor {
        Registers registers;
        bool busy = false; ///< has code to run
    };

    static constexpr std::uint64_t page_size = 4096;
    static constexpr std::uint64_t instruction = 4;
    static constexpr std::uint16_t vectors = 100;   ///< the number of a register that is called "VBAR"
    static constexpr std::uint16_t privilege = 101; ///< of one that is called "priv"

    explicit TinyMachine(const Architecture& architecture, std::size_t count = 1);
    TinyMachine(const TinyMachine&) = delete;
    TinyMachine& operator=(const TinyMachine&) = delete;
    ~TinyMachine();

    /// A client of its stub. Once.
    gdb::Client debugger();
    void hang_up();

    /// Memory that there is; if it is not `seen`, only for the guest itself.
    void map(std::uint64_t address, std::uint64_t size, bool seen = true);
    void put(std::uint64_t address, std::span<const std::byte> bytes);
    void put_text(std::uint64_t address, std::string_view text);
    void put_word(std::uint64_t address, std::uint64_t value);
    std::uint64_t word_at(std::uint64_t address);
    std::vector<std::byte> bytes_at(std::uint64_t address, std::size_t count);
    std::string text_at(std::uint64_t address);

    std::uint64_t& reg(std::size_t processor, gdb::Register name);

    /// Whether a processor runs a process or the kernel; the kernel, at first.
    void run_process(std::size_t on, bool process);

    /// From now on a processor that comes to `address` takes a step or more of nothing, and then does this.
    void define(std::uint64_t address, Code code);
    /// The same without the step.
    void define_here(std::uint64_t address, Code code);
    /// A function of C++ that gives what it returns; it finds its arguments.
    using Function = std::function<std::uint64_t(std::array<std::uint64_t, 3> arguments)>;
    void define_function(std::uint64_t address, Function function);
    std::array<std::uint64_t, 3> arguments(std::size_t on);
    void give_back(std::size_t on, std::uint64_t value);
    void return_from(std::size_t on);
    /// Puts `on` at the first instruction of a function that will return to `back`.
    void call(std::size_t on, std::uint64_t function, std::array<std::uint64_t, 3> arguments,
              std::uint64_t back);

    std::vector<Processor> processors;
    std::deque<std::function<void()>> events; ///< one happens whenever all processors are idle
    const Architecture& row;
    std::set<std::uint64_t> breakpoints;
    std::vector<std::string> troubles; ///< what no machine may be made to do

  private:
    [[nodiscard]] std::uint64_t shift(std::uint64_t i) const;
    std::byte& byte_at(std::uint64_t address);
    [[nodiscard]] bool seen(std::uint64_t address, std::uint64_t size) const;

    void serve();
    bool take(std::string& buffer);
    void send(std::string_view bytes);

    void execute(std::size_t on);
    /// Until a breakpoint, or until there is nothing to do.
    std::string run();

    std::string answer_to(std::string_view command);
    std::string state_answer(std::string_view command);
    std::string hex_of(std::uint16_t number);
    void set_from_hex(std::uint16_t number, std::string_view digits);
    std::string memory_answer(std::string_view command);

    bool described_;
    bool running_ = false;
    std::size_t selected_ = 0;
    std::map<std::uint64_t, std::array<std::byte, page_size>> pages_;
    std::set<std::uint64_t> unseen_; ///< pages that the debugger does not see
    std::map<std::uint64_t, Code> code_;
    std::byte nowhere_{};
    sys::UniqueFd server_;
    sys::UniqueFd client_;
    std::thread thread_;
};

} // namespace kmodguard::guest::test
