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

/// The bytes of a register in the packet of all. Empty: it is not in there.
template <typename Byte>
std::span<Byte> bytes_of(Register where, std::span<Byte> all) {
    if (std::size_t{where.offset} + where.size > all.size()) return {};
    return all.subspan(where.offset, where.size);
}

} // namespace

sys::Result<std::vector<std::byte>> Client::read_all_registers(Deadline deadline) {
    const auto answer = TRY(ask("g", deadline));
    std::vector<std::byte> all(answer.size() / 2);
    if (!from_hex(answer, all))
        return std::unexpected(error(ErrorKind::invalid, "registers that are no numbers"));
    return all;
}

sys::Result<std::vector<std::uint64_t>>
Client::read_numbered(ThreadId thread, std::span<const Register> where, Deadline deadline) {
    const bool selected = selected_ == thread;
    std::vector<std::string> commands;
    if (!selected) commands.push_back(fmt::format("Hg{}", to_string(thread)));
    for (const Register one : where)
        commands.push_back(fmt::format("p{:x}", one.number));
    selected_.reset();
    const auto answers = TRY(ask_all(commands, deadline));
    selected_ = thread;
    std::vector<std::uint64_t> values;
    for (std::size_t i = 0; i < where.size(); ++i) {
        std::array<std::byte, max_register_size> buffer{};
        const auto bytes = std::span(buffer).first(where[i].size);
        if (!from_hex(answers[i + (selected ? 0 : 1)], bytes))
            return std::unexpected(
                error(ErrorKind::invalid,
                      fmt::format("register {} is no number of {} bytes", where[i].number, where[i].size)));
        values.push_back(value_of(bytes, order_));
    }
    return values;
}

sys::Result<void> Client::write_numbered(ThreadId thread, std::span<const RegisterValue> values,
                                         Deadline deadline) {
    std::vector<std::string> commands;
    if (selected_ != thread) commands.push_back(fmt::format("Hg{}", to_string(thread)));
    for (const auto& [where, value] : values) {
        std::array<std::byte, max_register_size> buffer{};
        const auto bytes = std::span(buffer).first(where.size);
        put_value(value, order_, bytes);
        commands.push_back(fmt::format("P{:x}={}", where.number, to_hex(bytes)));
    }
    selected_.reset();
    const auto answers = TRY(ask_all(commands, deadline));
    for (const std::string& answer : answers)
        if (answer != "OK") return std::unexpected(error(ErrorKind::invalid, "neither yes nor no to P"));
    selected_ = thread;
    return {};
}

sys::Result<std::uint64_t> Client::read_register(ThreadId thread, Register where) {
    const auto values = TRY(read_registers(thread, {&where, 1}));
    return values.front();
}

sys::Result<std::vector<std::uint64_t>> Client::read_registers(ThreadId thread,
                                                               std::span<const Register> where) {
    if (!std::ranges::all_of(where, is_usable))
        return std::unexpected(error(ErrorKind::invalid, "a register of more than 8 bytes was asked for"));
    const Deadline until = deadline();
    if (described_) return read_numbered(thread, where, until);
    TRY(select(thread, until));
    std::vector<std::uint64_t> values;
    const auto all = TRY(read_all_registers(until));
    for (const Register one : where) {
        const auto slot = bytes_of(one, std::span(all));
        if (slot.empty())
            return std::unexpected(error(ErrorKind::not_found,
                                         fmt::format("register {} is not among its registers", one.number)));
        values.push_back(value_of(slot, order_));
    }
    return values;
}

sys::Result<void> Client::write_register(ThreadId thread, Register where, std::uint64_t value) {
    const RegisterValue one{.where = where, .value = value};
    return write_registers(thread, {&one, 1});
}

sys::Result<void> Client::write_registers(ThreadId thread, std::span<const RegisterValue> values) {
    if (!std::ranges::all_of(values, is_usable, &RegisterValue::where))
        return std::unexpected(
            error(ErrorKind::invalid, "a register of more than 8 bytes was to be written"));
    const Deadline until = deadline();
    if (described_) return write_numbered(thread, values, until);
    TRY(select(thread, until));
    auto all = TRY(read_all_registers(until));
    for (const auto& [where, value] : values) {
        const auto slot = bytes_of(where, std::span(all));
        if (slot.empty())
            return std::unexpected(error(
                ErrorKind::not_found, fmt::format("register {} is not among its registers", where.number)));
        put_value(value, order_, slot);
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
            return std::unexpected(error(
                ErrorKind::not_found, fmt::format("cannot read {} bytes at {:#x}", chunk.size(), address)));
        if (!from_hex(*answer, chunk))
            return std::unexpected(error(
                ErrorKind::invalid, fmt::format("no {} bytes of memory at {:#x}", chunk.size(), address)));
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
            return std::unexpected(error(
                ErrorKind::not_found, fmt::format("cannot write {} bytes at {:#x}", chunk.size(), address)));
        if (!done) return done;
        bytes = bytes.subspan(chunk.size());
        address += chunk.size();
    }
    return {};
}

} // namespace kmodguard::gdb
