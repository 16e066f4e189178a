// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/call_injection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t callee_area = 128; ///< more than any calling convention gives to who is called
constexpr std::uint64_t frame_bytes = 256; ///< the magic and the registers, eight bytes each
constexpr std::uint64_t red_zone = 288;    ///< powerpc's; nothing of the others is longer
constexpr std::uint64_t stack_alignment = 16;
constexpr std::size_t magic_words = 2;
constexpr std::array<std::uint64_t, magic_words> magic = {0x6b6d'6f64'6775'6172, 0x9e0d'3c1b'75f2'a864};

/// The stack pointer while a function is called in the name of a task whose stack pointer is `stack`.
std::uint64_t stack_in_calls(std::uint64_t stack) {
    const std::uint64_t lowest = stack - red_zone - CallInjection::scratch_bytes - frame_bytes - callee_area;
    return lowest & ~(stack_alignment - 1);
}

std::uint64_t frame_below(std::uint64_t stack) {
    return stack_in_calls(stack) + callee_area;
}

/// The frame as it is in the guest: eight bytes a value, whatever its architecture.
std::vector<std::byte> bytes_of(std::span<const std::uint64_t> saved) {
    std::vector<std::uint64_t> values(magic.begin(), magic.end());
    values.insert(values.end(), saved.begin(), saved.end());
    std::vector<std::byte> bytes(values.size() * sizeof(std::uint64_t));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

sys::Result<void> wipe(const Processor& processor, std::uint64_t frame) {
    const std::array<std::byte, sizeof magic> nothing{};
    return processor.write(frame, nothing);
}

} // namespace

bool is_error_pointer(std::uint64_t value, const Architecture& architecture) {
    constexpr std::uint64_t max_errno = 4095;
    return value >= architecture.address_mask() - max_errno + 1;
}

std::uint64_t CallInjection::scratch() const {
    return frame_below(location_.stack) + frame_bytes;
}

sys::Result<void> CallInjection::make_frame() {
    if (framed_) return {};
    const Architecture& row = processor_.architecture();
    const auto names = row.saved();
    const auto values = TRY(processor_.get(names));
    std::ranges::copy(values, before_.begin());
    return_to_ = functions_.return_trampoline;
    if (row.state) { // a function returns to code of the same kind as its own by an odd address
        const auto state = TRY(processor_.get(*row.state));
        constexpr std::uint64_t thumb = 1U << 5U;
        if ((state & thumb) != 0) return_to_ |= 1U;
    }
    TRY(processor_.write(frame_below(location_.stack), bytes_of(before_)));
    framed_ = true;
    return {};
}

sys::Result<void> CallInjection::enter(std::uint64_t function, std::array<std::uint64_t, 3> arguments) {
    const Architecture& row = processor_.architecture();
    std::uint64_t stack = stack_in_calls(location_.stack);
    std::vector<gdb::Register> names(row.arguments.begin(), row.arguments.end());
    std::vector<std::uint64_t> values(arguments.begin(), arguments.end());
    const auto also = [&](gdb::Register name, std::uint64_t value) {
        names.push_back(name);
        values.push_back(value & row.address_mask());
    };
    if (row.link) {
        also(*row.link, return_to_);
    } else {
        stack -= row.word;
        const std::array slot = {return_to_};
        TRY(processor_.write_words(stack, slot));
    }
    if (row.target) also(*row.target, function);
    also(row.stack, stack);
    also(row.pc, function);
    return processor_.set(names, values);
}

Task<sys::Result<std::uint64_t>> CallInjection::call(std::uint64_t function, std::uint64_t first,
                                                     std::uint64_t second, std::uint64_t third) {
    if (function == 0)
        co_return sys::failure(sys::ErrorKind::not_found, "the guest's kernel has no such function");
    co_await or_end(make_frame());
    co_await or_end(enter(function, {first, second, third}));
    processor_ = co_await or_end(co_await machine_.arrival(
        {.pc = functions_.return_trampoline, .stack = stack_in_calls(location_.stack)}));
    co_return processor_.get(processor_.architecture().result);
}

sys::Result<void> CallInjection::leave() {
    if (!framed_) return {};
    framed_ = false;
    TRY(processor_.set(processor_.architecture().saved(), before_));
    return wipe(processor_, frame_below(location_.stack));
}

sys::Result<bool> CallInjection::recover(const Processor& processor, const Machine::Hooks& hooks) {
    const Architecture& row = processor.architecture();
    const auto stack = TRY(processor.get(row.stack));
    // Back from the call, at the beginning of the called function, or still or again before it.
    for (const std::uint64_t frame :
         {stack + callee_area, stack + row.word + callee_area, frame_below(stack)}) {
        std::array<std::uint64_t, magic_words + saved_registers> found{};
        const auto read = processor.read(frame, std::as_writable_bytes(std::span(found)));
        if (!read && is_lost(read.error())) return std::unexpected(read.error());
        if (!read || !std::ranges::equal(std::span(found).first(magic_words), magic)) continue;
        const auto saved = std::span(found).last(saved_registers);
        const std::uint64_t stack_then = saved[saved_registers - 2];
        const std::uint64_t pc_then = saved[saved_registers - 1];
        if (frame_below(stack_then) != frame || !hooks.contains(pc_then)) continue; // none of ours
        TRY(processor.set(row.saved(), saved));
        TRY(wipe(processor, frame));
        return true;
    }
    return false;
}

Task<sys::Result<void>> CallInjection::read(std::uint64_t address, std::span<std::byte> into) {
    const bool seen = co_await or_end(processor_.sees(address, into));
    for (std::size_t done = 0; !seen && done < into.size();) {
        const std::size_t count = std::min(into.size() - done, scratch_bytes);
        co_await or_end(co_await call(functions_.copy, scratch(), address + done, count));
        co_await or_end(processor_.read(scratch(), into.subspan(done, count)));
        done += count;
    }
    co_return sys::Result<void>{};
}

sys::Result<std::string> CallInjection::text_at(std::uint64_t address, std::size_t limit) const {
    std::string text;
    constexpr std::size_t piece = 64;
    std::array<std::byte, piece> bytes{};
    while (text.size() < limit) {
        // Never over the end of a page, behind which there may be nothing.
        const std::size_t count = piece - (address + text.size()) % piece;
        const std::span part = std::span(bytes).first(count);
        TRY(processor_.read(address + text.size(), part));
        const auto end = std::ranges::find(part, std::byte{0});
        for (auto at = part.begin(); at != end; ++at)
            text.push_back(std::to_integer<char>(*at));
        if (end != part.end()) break;
    }
    if (text.size() >= limit)
        return sys::failure(sys::ErrorKind::invalid, fmt::format("a text of over {} bytes", limit - 1));
    return text;
}

Task<sys::Result<std::string>> CallInjection::user_text(std::uint64_t address, std::size_t limit) {
    // Some processors see their process's memory while they run the kernel, if it is there at the moment. An
    // address of the kernel is for the kernel's own function to refuse.
    if (address < processor_.architecture().kernel_base) {
        auto seen = text_at(address, limit);
        if (seen || seen.error().kind != sys::ErrorKind::not_found) co_return seen;
    }
    const auto copy = co_await or_end(co_await call(functions_.duplicate_text, address, limit));
    if (is_error_pointer(copy, processor_.architecture()))
        co_return sys::failure(
            sys::ErrorKind::invalid,
            fmt::format("the guest's kernel cannot read a text of up to {} bytes there", limit - 1));
    auto text = text_at(copy, limit);
    co_await or_end(co_await call(functions_.free, copy));
    co_return text;
}

Task<sys::Result<void>> CallInjection::user_memory(std::uint64_t address, std::span<std::byte> into) {
    constexpr std::size_t max_piece = 64UZ << 10U; // that any kernel can allocate in one piece
    for (std::size_t done = 0; done < into.size();) {
        const std::size_t count = std::min(into.size() - done, max_piece);
        const auto copy = co_await or_end(co_await call(functions_.duplicate_memory, address + done, count));
        if (is_error_pointer(copy, processor_.architecture()))
            co_return sys::failure(sys::ErrorKind::invalid,
                                   "the guest's kernel cannot read the memory there");
        auto fetched = processor_.read(copy, into.subspan(done, count));
        co_await or_end(co_await call(functions_.free, copy));
        co_await or_end(std::move(fetched));
        done += count;
    }
    co_return sys::Result<void>{};
}

Task<sys::Result<std::string>> CallInjection::path_of(std::uint64_t file_descriptor) {
    if (functions_.file_path == 0 || functions_.put_file == 0)
        co_return sys::failure(sys::ErrorKind::not_found, "the guest's kernel has no file_path()");
    const auto file = co_await or_end(co_await call(functions_.get_file, file_descriptor));
    if (file == 0) co_return std::string();
    const auto text = co_await or_end(co_await call(functions_.file_path, file, scratch(), scratch_bytes));
    sys::Result<std::string> path =
        is_error_pointer(text, processor_.architecture())
            ? sys::failure(sys::ErrorKind::invalid,
                           fmt::format("its path is longer than {} bytes", scratch_bytes - 1))
            : text_at(text, scratch_bytes);
    co_await or_end(co_await call(functions_.put_file, file));
    co_return path;
}

} // namespace kmodguard::guest
