// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/processor.hpp"

#include <algorithm>
#include <array>

namespace kmodguard::guest {
namespace {

std::uint64_t word_from(std::span<const std::byte> bytes, gdb::ByteOrder order) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::size_t place = order == gdb::ByteOrder::big ? i : bytes.size() - 1 - i;
        value = value << 8U | std::to_integer<std::uint64_t>(bytes[place]);
    }
    return value;
}

void put_word(std::uint64_t value, std::span<std::byte> into, gdb::ByteOrder order) {
    for (std::size_t i = 0; i < into.size(); ++i) {
        const std::size_t place = order == gdb::ByteOrder::big ? into.size() - 1 - i : i;
        into[place] = static_cast<std::byte>(value & 0xffU);
        value >>= 8U;
    }
}

} // namespace

void Processor::remember(gdb::Register name, std::uint64_t value) const {
    const auto found = std::ranges::find(known_, name, &gdb::RegisterValue::where);
    if (found != known_.end())
        found->value = value;
    else
        known_.push_back({.where = name, .value = value});
}

sys::Result<std::uint64_t> Processor::get(gdb::Register name) const {
    const auto values = get(std::span(&name, 1));
    if (!values) return std::unexpected(values.error());
    return values->front();
}

sys::Result<std::vector<std::uint64_t>> Processor::get(std::span<const gdb::Register> names) const {
    std::vector<gdb::Register> unknown;
    for (const gdb::Register name : names)
        if (std::ranges::find(known_, name, &gdb::RegisterValue::where) == known_.end())
            unknown.push_back(name);
    if (!unknown.empty()) {
        const auto values = debugger_->read_registers(thread_, unknown);
        if (!values) return values;
        for (std::size_t i = 0; i < unknown.size(); ++i)
            remember(unknown[i], (*values)[i]);
    }
    std::vector<std::uint64_t> values;
    for (const gdb::Register name : names)
        values.push_back(std::ranges::find(known_, name, &gdb::RegisterValue::where)->value);
    return values;
}

sys::Result<void> Processor::set(std::span<const gdb::Register> names,
                                 std::span<const std::uint64_t> values) const {
    std::vector<gdb::RegisterValue> changed;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::uint64_t value = names[i].size == 4 ? values[i] & 0xffff'ffffU : values[i];
        const auto known = std::ranges::find(known_, names[i], &gdb::RegisterValue::where);
        if (known == known_.end() || known->value != value)
            changed.push_back({.where = names[i], .value = value});
    }
    if (changed.empty()) return {};
    auto written = debugger_->write_registers(thread_, changed);
    if (!written) { // some of them may be
        known_.clear();
        return written;
    }
    for (const gdb::RegisterValue& one : changed)
        remember(one.where, one.value);
    return {};
}

sys::Result<void> Processor::read(std::uint64_t address, std::span<std::byte> into) const {
    return debugger_->read_memory(thread_, address & architecture_->address_mask(), into);
}

sys::Result<void> Processor::write(std::uint64_t address, std::span<const std::byte> bytes) const {
    return debugger_->write_memory(thread_, address & architecture_->address_mask(), bytes);
}

sys::Result<std::vector<std::uint64_t>> Processor::read_words(std::uint64_t address,
                                                              std::size_t count) const {
    const std::size_t size = architecture_->word;
    std::vector<std::byte> bytes(count * size);
    if (const auto done = read(address, bytes); !done) return std::unexpected(done.error());
    std::vector<std::uint64_t> words(count);
    for (std::size_t i = 0; i < count; ++i)
        words[i] = word_from(std::span(bytes).subspan(i * size, size), architecture_->order);
    return words;
}

sys::Result<void> Processor::write_words(std::uint64_t address, std::span<const std::uint64_t> words) const {
    const std::size_t size = architecture_->word;
    std::vector<std::byte> bytes(words.size() * size);
    for (std::size_t i = 0; i < words.size(); ++i)
        put_word(words[i], std::span(bytes).subspan(i * size, size), architecture_->order);
    return write(address, bytes);
}

sys::Result<std::uint64_t> Processor::return_address() const {
    if (architecture_->link) {
        const auto link = get(*architecture_->link);
        if (!link) return link;
        const std::uint64_t mode = architecture_->state ? 1 : 0; // bit 0 only tells Thumb from ARM
        return *link & ~mode;
    }
    const auto stack = get(architecture_->stack);
    if (!stack) return stack;
    const auto slot = read_words(*stack, 1);
    if (!slot) return std::unexpected(slot.error());
    return slot->front();
}

std::uint64_t Processor::stack_after_return(std::uint64_t stack) const {
    return architecture_->link ? stack : stack + architecture_->word;
}

sys::Result<void> Processor::return_now(std::uint64_t value) const {
    const auto address = return_address();
    if (!address) return std::unexpected(address.error());
    const auto stack = get(architecture_->stack);
    if (!stack) return std::unexpected(stack.error());
    const std::array names = {architecture_->result, architecture_->stack, architecture_->pc};
    const std::array values = {value & architecture_->address_mask(), stack_after_return(*stack), *address};
    return set(names, values);
}

} // namespace kmodguard::guest
