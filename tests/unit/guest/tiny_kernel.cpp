// SPDX-License-Identifier: AGPL-3.0-only
#include "guest/tiny_kernel.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <stdexcept>
#include <utility>

namespace kmodguard::guest::test {

TinyKernel::TinyKernel(TinyMachine& machine, std::uint64_t offset)
    : machine_(machine), row_(machine.row), base_(row_.kernel_base + 0x100'0000 + offset) {
    machine_.map(base_, 0x1'0000);
    machine_.map(stacks(), 0x2'0000);
    machine_.map(heap(), 0x10'0000);
    machine_.map(user, 0x10'0000, false);
    machine_.put_text(base_ + 0x8000, std::string(banner) + "\n");
    define_functions();
    define_calls();
}

TinyKernel::~TinyKernel() = default;

Functions TinyKernel::functions() const {
    return {.return_trampoline = at(0),
            .copy = at(1),
            .get_file = at(2),
            .put_file = at(3),
            .file_path = at(4),
            .duplicate_text = at(5),
            .duplicate_memory = at(6),
            .free = at(7),
            .process_id = at(8)};
}

KernelAddresses TinyKernel::addresses() const {
    KernelAddresses addresses{.functions = functions(),
                              .load_module = {at(12) + row_.entry},
                              .calls = {},
                              .text_begin = base_,
                              .text_end = base_ + 0x8000,
                              .banner = base_ + 0x8000,
                              .restarts = {}};
    for (const Call call : {Call::init_module, Call::finit_module, Call::delete_module})
        addresses.calls.push_back({.call = call,
                                   .address = address_of(call) + row_.entry,
                                   .convention = row_.system_calls.front()});
    return addresses;
}

std::uint64_t TinyKernel::address_of(Call call) const {
    return at(9 + static_cast<std::uint64_t>(call));
}

std::uint64_t TinyKernel::stack_of(std::uint64_t task) const {
    return stacks() + 0x4000 * (task + 1) - 0x400;
}

void TinyKernel::make_call(std::size_t on, std::uint64_t task, Call call,
                           std::array<std::uint64_t, 3> arguments) {
    std::uint16_t number = 0;
    for (const gdb::Register one : row_.stop_registers()) // whatever they held before
        machine_.reg(on, one) = (0x1111'1111'1111'1111U * ++number) & row_.address_mask();
    machine_.reg(on, row_.stack) = stack_of(task);
    const auto& convention = row_.system_calls.front();
    auto given = arguments;
    if (convention.kind == CallConvention::Kind::saved) {
        const std::uint64_t saved = stack_of(task) + 0x20; // struct pt_regs is above
        given = {saved, 0x77, 0x78};
        for (std::size_t i = 0; i < 3; ++i)
            machine_.put_word(saved + convention.offsets.at(i), arguments.at(i));
    }
    machine_.call(on, address_of(call), given, exit_of_calls());
    tasks[machine_.reg(on, row_.stack)] = {call, arguments, machine_.processors[on].registers};
}

std::array<std::uint64_t, 3> TinyKernel::image_of_process(std::span<const std::byte> image,
                                                          std::string_view parameters) {
    machine_.put(user + 0x1000, image);
    machine_.put_text(user, parameters);
    return {user + 0x1000, image.size(), user};
}

std::uint64_t TinyKernel::text_of_process(std::string_view text) {
    machine_.put_text(user, text);
    return user;
}

void TinyKernel::continue_load(std::size_t on) {
    load(on);
}

std::uint64_t TinyKernel::at(std::uint64_t number) const {
    return base_ + 0x1000 + 0x100 * number;
}

std::uint64_t TinyKernel::exit_of_calls() const {
    return at(13);
}

std::uint64_t TinyKernel::after_load() const {
    return at(14);
}

std::uint64_t TinyKernel::stacks() const {
    return base_ + 0x1'0000;
}

std::uint64_t TinyKernel::heap() const {
    return base_ + 0x4'0000;
}

std::uint64_t TinyKernel::allocate(std::span<const std::byte> bytes) {
    const std::uint64_t address = heap() + used_;
    used_ += (bytes.size() + 0x1fff) & ~std::uint64_t{0xfff};
    machine_.put(address, bytes);
    ++allocated;
    return address;
}

std::uint64_t TinyKernel::failed(int error) {
    return static_cast<std::uint64_t>(std::int64_t{-error});
}

bool TinyKernel::is_of_process(std::uint64_t address) {
    return address >= user && address < user + 0x10'0000;
}

void TinyKernel::helper(std::uint64_t number, const std::string& name, TinyMachine::Function function) {
    machine_.define_function(at(number), [this, name, function = std::move(function)](Three given) {
        called.push_back(name);
        return function(given);
    });
}

void TinyKernel::define_functions() {
    machine_.define_here(at(0), [this](std::size_t on) {
        machine_.troubles.emplace_back("the kernel panics");
        machine_.reg(on, machine_.row.pc) += TinyMachine::instruction;
        machine_.processors[on].busy = false;
    });
    helper(1, "memcpy", [this](Three given) {
        machine_.put(given[0], machine_.bytes_at(given[1], given[2]));
        return given[0];
    });
    machine_.define(at(2), [this](std::size_t on) {
        called.emplace_back("fget");
        const auto file = files.find(machine_.arguments(on)[0]);
        const std::uint64_t found = file == files.end() ? 0 : heap() + 0x10 * file->first;
        if (in_fget) in_fget(on);
        machine_.give_back(on, found);
    });
    helper(3, "fput", [](Three) { return 0U; });
    helper(4, "file_path", [this](Three given) {
        const std::string& path = files.at((given[0] - heap()) / 0x10).path;
        if (path.size() + 1 > given[2]) return failed(ENAMETOOLONG);
        const std::uint64_t begin = given[1] + given[2] - path.size() - 1; // at the end of the buffer
        machine_.put_text(begin, path);
        return begin;
    });
    helper(5, "strndup_user", [this](Three given) {
        if (!is_of_process(given[0])) return failed(EFAULT);
        const std::string text = machine_.text_at(given[0]);
        if (text.size() + 1 > given[1]) return failed(EINVAL);
        return allocate(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
    });
    helper(6, "memdup_user", [this](Three given) {
        if (!is_of_process(given[0])) return failed(EFAULT);
        return allocate(machine_.bytes_at(given[0], given[1]));
    });
    helper(7, "kfree", [this](Three) {
        --allocated;
        return 0U;
    });
    helper(8, "getpid", [](Three) { return 321U; });
}

void TinyKernel::define_calls() {
    for (const Call call : {Call::init_module, Call::finit_module})
        machine_.define(address_of(call), [this](std::size_t on) { load(on); });
    machine_.define(address_of(Call::delete_module), [this](std::size_t on) {
        removed.push_back(machine_.text_at(current(on).arguments[0]));
        machine_.give_back(on, 0);
    });
    machine_.define(at(12), [this](std::size_t on) {
        const std::uint64_t word = layout == Layout::before ? 1 : layout == Layout::of_4_18 ? 2 : 3;
        const auto size = machine_.word_at(machine_.arguments(on)[0] + word * row_.word);
        if (size != 0) loaded.push_back(size);
        machine_.give_back(on, size == 0 ? failed(ENOEXEC) : static_cast<std::uint64_t>(verdict));
    });
    machine_.define_here(after_load(), [this](std::size_t on) {
        machine_.reg(on, row_.stack) += frame;
        if (row_.link) machine_.reg(on, *row_.link) = exit_of_calls();
        machine_.return_from(on);
    });
    machine_.define_here(exit_of_calls(), [this](std::size_t on) {
        const std::uint64_t stack = machine_.reg(on, row_.stack) - (row_.link ? 0 : row_.word);
        const auto result = static_cast<std::uint32_t>(machine_.reg(on, row_.result));
        answers[stack] = static_cast<std::int32_t>(result);
        machine_.processors[on].busy = false;
    });
}

const TinyKernel::Task& TinyKernel::current(std::size_t on) {
    const auto task = tasks.find(machine_.reg(on, row_.stack));
    if (task == tasks.end()) throw std::logic_error("a system call on nobody's stack");
    for (const gdb::Register one : row_.saved())
        if (one != row_.pc && one != row_.result
            && task->second.before.at(one.number) != machine_.reg(on, one))
            machine_.troubles.push_back(fmt::format("register {} has changed", one.number));
    return task->second;
}

void TinyKernel::load(std::size_t on) {
    const Task& task = current(on);
    if (answers_itself) return machine_.give_back(on, failed(EBUSY));
    const bool of_file = task.call == Call::finit_module;
    const auto image =
        of_file ? files.at(task.arguments[0]).image : machine_.bytes_at(task.arguments[0], task.arguments[1]);
    const std::uint64_t copy = allocate(image);
    --allocated; // load_module() gives it back
    machine_.map(copy, image.size() + 1, copies_seen);
    const std::uint64_t info = machine_.reg(on, row_.stack) - 0x200;
    std::array<std::uint64_t, 4> words{};
    if (layout == Layout::since_4_20) words = {0, 0, copy, image.size()};
    if (layout == Layout::of_4_18) words = {0, copy, image.size(), 0x55};
    if (layout == Layout::before) words = {copy, image.size(), 0x55, 0x55};
    if (layout == Layout::unknown) words = {1, 2, 3, image.size()};
    for (std::size_t i = 0; i < words.size(); ++i)
        machine_.put_word(info + i * row_.word, words.at(i));
    machine_.reg(on, row_.stack) -= frame;
    machine_.call(on, at(12), {info, task.arguments[of_file ? 1 : 2], 0}, after_load());
}

} // namespace kmodguard::guest::test
