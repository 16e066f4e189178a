// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/processor.hpp"

#include <algorithm>
#include <array>

namespace kmodguard::guest {

gdb::RegisterValue* Processor::known(gdb::Register name) const {
    const auto found = std::ranges::find(known_, name, &gdb::RegisterValue::where);
    return found == known_.end() ? nullptr : &*found;
}

sys::Result<std::uint64_t> Processor::get(gdb::Register name) const {
    const auto values = TRY(get(std::span(&name, 1)));
    return values.front();
}

sys::Result<std::vector<std::uint64_t>> Processor::get(std::span<const gdb::Register> names) const {
    std::vector<gdb::Register> unknown;
    for (const gdb::Register name : names)
        if (known(name) == nullptr && std::ranges::find(unknown, name) == unknown.end())
            unknown.push_back(name);
    if (!unknown.empty()) {
        const auto values = TRY(debugger_->read_registers(thread_, unknown));
        for (std::size_t i = 0; i < unknown.size(); ++i)
            known_.push_back({.where = unknown[i], .value = values[i]});
    }
    std::vector<std::uint64_t> values;
    for (const gdb::Register name : names)
        values.push_back(known(name)->value);
    return values;
}

sys::Result<void> Processor::set(std::span<const gdb::Register> names,
                                 std::span<const std::uint64_t> values) const {
    std::vector<gdb::RegisterValue> changed;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::uint64_t value = names[i].size == 4 ? values[i] & 0xffff'ffffU : values[i];
        const auto* const before = known(names[i]);
        if (before == nullptr || before->value != value)
            changed.push_back({.where = names[i], .value = value});
    }
    if (changed.empty()) return {};
    auto written = debugger_->write_registers(thread_, changed);
    if (!written) { // some of them may be
        known_.clear();
        return written;
    }
    for (const gdb::RegisterValue& one : changed) {
        if (auto* const before = known(one.where))
            before->value = one.value;
        else
            known_.push_back(one);
    }
    return {};
}

sys::Result<void> Processor::read(std::uint64_t address, std::span<std::byte> into) const {
    return debugger_->read_memory(thread_, address & architecture_->address_mask(), into);
}

sys::Result<bool> Processor::sees(std::uint64_t address, std::span<std::byte> into) const {
    const auto done = read(address, into);
    if (!done && done.error().kind != sys::ErrorKind::not_found) return std::unexpected(done.error());
    return done.has_value();
}

sys::Result<void> Processor::write(std::uint64_t address, std::span<const std::byte> bytes) const {
    return debugger_->write_memory(thread_, address & architecture_->address_mask(), bytes);
}

sys::Result<std::vector<std::uint64_t>> Processor::read_words(std::uint64_t address,
                                                              std::size_t count) const {
    const std::size_t size = architecture_->word;
    std::vector<std::byte> bytes(count * size);
    TRY(read(address, bytes));
    std::vector<std::uint64_t> words(count);
    for (std::size_t i = 0; i < count; ++i)
        words[i] = gdb::value_of(std::span(bytes).subspan(i * size, size), architecture_->order);
    return words;
}

sys::Result<void> Processor::write_words(std::uint64_t address, std::span<const std::uint64_t> words) const {
    const std::size_t size = architecture_->word;
    std::vector<std::byte> bytes(words.size() * size);
    for (std::size_t i = 0; i < words.size(); ++i)
        gdb::put_value(words[i], architecture_->order, std::span(bytes).subspan(i * size, size));
    return write(address, bytes);
}

sys::Result<std::uint64_t> Processor::return_address() const {
    if (architecture_->link) {
        const auto link = TRY(get(*architecture_->link));
        const std::uint64_t mode = architecture_->state ? 1 : 0; // bit 0 only says Thumb or ARM
        return link & ~mode;
    }
    const auto stack = TRY(get(architecture_->stack));
    const auto slot = TRY(read_words(stack, 1));
    return slot.front();
}

std::uint64_t Processor::stack_after_return(std::uint64_t stack) const {
    return architecture_->link ? stack : stack + architecture_->word;
}

sys::Result<void> Processor::return_now(std::uint64_t value) const {
    const auto address = TRY(return_address());
    const auto stack = TRY(get(architecture_->stack));
    const std::array names = {architecture_->result, architecture_->stack, architecture_->pc};
    const std::array values = {value & architecture_->address_mask(), stack_after_return(stack), address};
    return set(names, values);
}

} // namespace kmodguard::guest
