// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/find_kernel.hpp"

#include <fmt/format.h>

#include <array>

namespace kmodguard::guest {
namespace {

constexpr std::string_view banner_start = "Linux version ";
constexpr std::size_t max_banner = 512;

/// The text at `address`, if it is a banner; "" if it is not, or nothing can be read there.
sys::Result<std::string> banner_at(const Processor& processor, std::uint64_t address) {
    std::array<char, max_banner> text{};
    const auto all = std::as_writable_bytes(std::span(text));
    const std::string_view whole(text.data(), text.size());
    const bool begins = TRY(processor.sees(address, all.first(banner_start.size())));
    if (!begins || !whole.starts_with(banner_start)) return std::string();
    const bool seen = TRY(processor.sees(address, all));
    return std::string(seen ? whole.substr(0, whole.find_first_of(std::string_view("\n\0", 2))) : "");
}

/// Addresses that are in the kernel's code if the processor has begun to run a kernel: where it is, and where
/// it goes on exceptions.
sys::Result<std::vector<std::uint64_t>> signs(Machine& machine, gdb::ThreadId thread) {
    const Processor processor = machine.processor(thread);
    const auto pc = TRY(processor.get(machine.architecture().pc));
    std::vector<std::uint64_t> found{pc};
    for (const std::string_view name : {"VBAR", "VBAR_EL1", "stvec"}) {
        const auto vectors = machine.debugger().find_register(name);
        if (!vectors) continue;
        const auto address = processor.get(*vectors);
        if (!address && is_lost(address.error())) return std::unexpected(address.error());
        if (address) found.push_back(*address);
    }
    std::erase_if(found, [&](std::uint64_t sign) { return sign < machine.architecture().kernel_base; });
    return found;
}

/// The kernel that has `sign` in its code, if it is at any offset at which that can be.
sys::Result<std::optional<FoundKernel>> kernel_around(const Processor& processor, std::uint64_t sign,
                                                      const KernelAddresses& linked, bool moved_only) {
    if (sign < linked.text_begin) return std::nullopt; // kernels are moved up
    const std::uint64_t most = sign - linked.text_begin;
    const std::uint64_t least = sign >= linked.text_end ? sign - linked.text_end + 1 : 0;
    if (linked.banner == 0) // nothing to know it by
        return least == 0 && !moved_only ? std::optional(FoundKernel{}) : std::nullopt;
    const std::uint64_t step = linked.fixed ? 0 : processor.architecture().kaslr_step;
    if (step == 0 && (least > 0 || moved_only)) return std::nullopt;
    std::uint64_t offset = step == 0 ? 0 : (least + step - 1) / step * step;
    if (offset == 0 && moved_only) offset = step;
    for (; offset <= most; offset += step) {
        auto found = TRY(kernel_at(processor, linked, offset));
        if (found) return found;
        if (step == 0) break;
    }
    return std::nullopt;
}

} // namespace

bool is_kernel_of(const FoundKernel& found, const std::optional<symbols::Banner>& expected) {
    return found.banner.empty() || !expected || expected->text.empty() || found.banner == expected->text;
}

sys::Error other_kernel(const FoundKernel& found, const symbols::Banner& expected) {
    return {sys::ErrorKind::invalid,
            fmt::format("the symbols are of another kernel: the guest runs \"{}\", they are of \"{}\"",
                        found.banner, expected.text),
            "give the guest's own with --symbols"};
}

sys::Result<KernelSearch> find_kernel(Machine& machine, const KernelAddresses& linked, bool moved_only) {
    KernelSearch search;
    const auto threads = TRY(machine.debugger().threads());
    for (const gdb::ThreadId thread : threads) {
        const auto all = TRY(signs(machine, thread));
        for (const std::uint64_t sign : all) {
            search.some_kernel = true;
            search.kernel = TRY(kernel_around(machine.processor(thread), sign, linked, moved_only));
            if (search.kernel) return search;
        }
    }
    return search;
}

sys::Result<std::optional<FoundKernel>> kernel_at(const Processor& processor, const KernelAddresses& linked,
                                                  std::uint64_t offset) {
    if (linked.banner == 0) return FoundKernel{.kaslr_offset = offset, .banner = {}};
    auto banner = TRY(banner_at(processor, linked.banner + offset));
    if (banner.empty()) return std::nullopt;
    return FoundKernel{.kaslr_offset = offset, .banner = std::move(banner)};
}

sys::Result<Presence> presence_of(Machine& machine, const KernelAddresses& linked, std::uint64_t offset) {
    const auto threads = TRY(machine.debugger().threads());
    Presence presence = Presence::unknown;
    for (const gdb::ThreadId thread : threads) {
        const auto all = TRY(signs(machine, thread));
        if (all.empty()) continue;
        const Processor processor = machine.processor(thread);
        std::array<char, banner_start.size()> text{};
        const bool seen =
            TRY(processor.sees(linked.banner + offset, std::as_writable_bytes(std::span(text))));
        if (seen && std::string_view(text.data(), text.size()) == banner_start) return Presence::there;
        const auto pc = TRY(processor.get(machine.architecture().pc));
        if (seen)
            presence = Presence::gone;
        else if (pc >= machine.architecture().kernel_base && presence == Presence::unknown)
            presence = Presence::hidden;
    }
    return presence;
}

} // namespace kmodguard::guest
