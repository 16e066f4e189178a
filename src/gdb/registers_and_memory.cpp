// SPDX-License-Identifier: AGPL-3.0-only
//
// The client's registers and memory. Registers go one by one where the stub knows their numbers; where it
// does not (QEMU's mips), all of them are read together, and written back with the wanted ones changed.
#include "gdb/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;

// What a packet of memory has besides the data: "M", two numbers, two separators, a terminator on QEMU's
// side.
constexpr std::size_t memory_header = 64;
constexpr std::size_t max_register_size = 8;

bool is_usable(Register where) {
    return where.size > 0 && where.size <= max_register_size;
}

} // namespace

/// Selects `thread` with the same exchange, if it is not selected.
sys::Result<std::vector<std::string>> Client::ask_of(ThreadId thread, std::vector<std::string> commands,
                                                     Deadline deadline) {
    const bool selected = selected_ == thread;
    if (!selected) commands.insert(commands.begin(), fmt::format("Hg{}", to_string(thread)));
    selected_.reset();
    auto answers = TRY(ask_all(commands, deadline));
    selected_ = thread;
    if (!selected) answers.erase(answers.begin());
    return answers;
}

sys::Result<std::vector<std::uint64_t>>
Client::read_numbered(ThreadId thread, std::span<const Register> where, Deadline deadline) {
    std::vector<std::string> commands;
    for (const Register one : where)
        commands.push_back(fmt::format("p{:x}", one.number));
    const auto answers = TRY(ask_of(thread, std::move(commands), deadline));
    std::vector<std::uint64_t> values;
    for (std::size_t i = 0; i < where.size(); ++i) {
        std::array<std::byte, max_register_size> buffer{};
        const auto bytes = std::span(buffer).first(where[i].size);
        if (!from_hex(answers[i], bytes))
            return failure(ErrorKind::invalid, fmt::format("register {} is no number of {} bytes",
                                                           where[i].number, where[i].size));
        values.push_back(value_of(bytes, order_));
    }
    return values;
}

sys::Result<void> Client::write_numbered(ThreadId thread, std::span<const RegisterValue> values,
                                         Deadline deadline) {
    std::vector<std::string> commands;
    for (const auto& [where, value] : values) {
        std::array<std::byte, max_register_size> buffer{};
        const auto bytes = std::span(buffer).first(where.size);
        put_value(value, order_, bytes);
        commands.push_back(fmt::format("P{:x}={}", where.number, to_hex(bytes)));
    }
    const auto answers = TRY(ask_of(thread, std::move(commands), deadline));
    if (std::ranges::count(answers, "OK") == std::ssize(answers)) return {};
    selected_.reset();
    return failure(ErrorKind::invalid, "neither yes nor no to P");
}

sys::Result<std::vector<std::byte>> Client::read_all_registers(ThreadId thread, Deadline deadline) {
    TRY(select(thread, deadline));
    const auto answer = TRY(ask("g", deadline));
    std::vector<std::byte> all(answer.size() / 2);
    if (!from_hex(answer, all)) return failure(ErrorKind::invalid, "registers that are no numbers");
    return all;
}

sys::Result<std::span<std::byte>> Client::bytes_of(Register where, std::span<std::byte> all) const {
    if (std::size_t{where.offset} + where.size > all.size())
        return failure(ErrorKind::not_found,
                       fmt::format("register {} is not among its registers", where.number));
    return all.subspan(where.offset, where.size);
}

sys::Result<std::vector<std::uint64_t>> Client::read_registers(ThreadId thread,
                                                               std::span<const Register> where) {
    if (!std::ranges::all_of(where, is_usable))
        return failure(ErrorKind::invalid, "a register of more than 8 bytes was asked for");
    const Deadline until = deadline();
    if (described_) return read_numbered(thread, where, until);
    auto all = TRY(read_all_registers(thread, until));
    std::vector<std::uint64_t> values;
    for (const Register one : where) {
        const auto bytes = TRY(bytes_of(one, all));
        values.push_back(value_of(bytes, order_));
    }
    return values;
}

sys::Result<void> Client::write_registers(ThreadId thread, std::span<const RegisterValue> values) {
    if (!std::ranges::all_of(values, is_usable, &RegisterValue::where))
        return failure(ErrorKind::invalid, "a register of more than 8 bytes was to be written");
    const Deadline until = deadline();
    if (described_) return write_numbered(thread, values, until);
    auto all = TRY(read_all_registers(thread, until));
    for (const auto& [where, value] : values) {
        const auto bytes = TRY(bytes_of(where, all));
        put_value(value, order_, bytes);
    }
    return ask_for_ok(fmt::format("G{}", to_hex(all)), until);
}

sys::Result<void> Client::read_memory(ThreadId thread, std::uint64_t address, std::span<std::byte> bytes) {
    const Deadline until = deadline(bytes.size());
    TRY(select(thread, until));
    while (!bytes.empty()) {
        const auto chunk = bytes.first(std::min(bytes.size(), packet_size_ / 2));
        const auto answer = ask(fmt::format("m{:x},{:x}", address, chunk.size()), until);
        if (!answer && answer.error().kind != ErrorKind::not_found) return std::unexpected(answer.error());
        // What is shorter than asked for ends where memory does that can be read.
        if (!answer || answer->size() < 2 * chunk.size())
            return failure(ErrorKind::not_found,
                           fmt::format("cannot read {} bytes at {:#x}", chunk.size(), address));
        if (!from_hex(*answer, chunk))
            return failure(ErrorKind::invalid,
                           fmt::format("no {} bytes of memory at {:#x}", chunk.size(), address));
        bytes = bytes.subspan(chunk.size());
        address += chunk.size();
    }
    return {};
}

sys::Result<void> Client::write_memory(ThreadId thread, std::uint64_t address,
                                       std::span<const std::byte> bytes) {
    const Deadline until = deadline(bytes.size());
    TRY(select(thread, until));
    while (!bytes.empty()) {
        const auto chunk = bytes.first(std::min(bytes.size(), (packet_size_ - memory_header) / 2));
        auto done = ask_for_ok(fmt::format("M{:x},{:x}:{}", address, chunk.size(), to_hex(chunk)), until);
        if (!done && done.error().kind == ErrorKind::not_found)
            return failure(ErrorKind::not_found,
                           fmt::format("cannot write {} bytes at {:#x}", chunk.size(), address));
        if (!done) return done;
        bytes = bytes.subspan(chunk.size());
        address += chunk.size();
    }
    return {};
}

} // namespace kmodguard::gdb
