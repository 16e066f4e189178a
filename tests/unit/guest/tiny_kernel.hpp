// SPDX-License-Identifier: AGPL-3.0-only
//
// The part of a kernel that loads modules, on a TinyMachine: system calls come in as they do on the
// architecture, load_module() takes what its struct load_info says, and the functions that are called from
// outside do what they do in Linux. What nobody may do to a kernel is noted in the machine's troubles.
#pragma once

#include "enforce/guest/kernel_addresses.hpp"
#include "guest/tiny_machine.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::guest::test {

class TinyKernel {
  public:
    enum class Layout : std::uint8_t { since_4_20, of_4_18, before, unknown };
    struct File {
        std::string path;
        std::vector<std::byte> image;
    };
    /// A task in a system call, by its stack pointer there.
    struct Task {
        Call call = Call::init_module;
        std::array<std::uint64_t, 3> arguments{};
        TinyMachine::Registers before = {};
    };

    explicit TinyKernel(TinyMachine& machine, std::uint64_t offset = 0);
    ~TinyKernel();
    TinyKernel(const TinyKernel&) = delete;
    TinyKernel& operator=(const TinyKernel&) = delete;

    static constexpr std::uint64_t user = 0x40'0000;
    static constexpr std::string_view banner = "Linux version 6.1.0-tiny (gcc) #1 SMP";

    [[nodiscard]] Functions functions() const;
    [[nodiscard]] KernelAddresses addresses() const;
    [[nodiscard]] std::uint64_t address_of(Call call) const;
    /// The stack pointer of a task before it makes a call.
    [[nodiscard]] std::uint64_t stack_of(std::uint64_t task) const;

    /// Task number `task` makes a system call on processor `on`.
    void make_call(std::size_t on, std::uint64_t task, Call call, std::array<std::uint64_t, 3> arguments);
    /// The bytes as a process has them, and how to load them.
    std::array<std::uint64_t, 3> image_of_process(std::span<const std::byte> image,
                                                  std::string_view parameters = "");
    std::uint64_t text_of_process(std::string_view text);

    /// What a task in a call to load does next.
    void continue_load(std::size_t on);

    std::map<std::uint64_t, File> files;
    std::map<std::uint64_t, Task> tasks;
    std::map<std::uint64_t, std::int64_t> answers; ///< by task's stack pointer in the call
    std::vector<std::size_t> loaded;               ///< the sizes of the images that it took
    std::vector<std::string> removed;
    std::vector<std::string> called; ///< helpers, in their order
    Layout layout = Layout::since_4_20;
    bool copies_seen = true;     ///< the debugger sees where its copies are
    std::int64_t verdict = 0;    ///< what load_module() says to an image of some length
    bool answers_itself = false; ///< a call ends before load_module()
    std::size_t allocated = 0;
    std::function<void(std::size_t on)> in_fget; ///< happens before it returns

  private:
    [[nodiscard]] std::uint64_t at(std::uint64_t number) const;
    [[nodiscard]] std::uint64_t exit_of_calls() const;
    [[nodiscard]] std::uint64_t after_load() const;
    [[nodiscard]] std::uint64_t stacks() const;
    [[nodiscard]] std::uint64_t heap() const;

    std::uint64_t allocate(std::span<const std::byte> bytes);
    static std::uint64_t failed(int error);
    [[nodiscard]] static bool is_of_process(std::uint64_t address);

    using Three = std::array<std::uint64_t, 3>;
    void helper(std::uint64_t number, const std::string& name, TinyMachine::Function function);
    void define_functions();

    void define_calls();
    const Task& current(std::size_t on);
    void load(std::size_t on);

    static constexpr std::uint64_t frame = 0x800; ///< of a function that calls load_module()

    TinyMachine& machine_;
    const Architecture& row_;
    std::uint64_t base_;
    std::uint64_t used_ = 0x1000;
};

} // namespace kmodguard::guest::test
