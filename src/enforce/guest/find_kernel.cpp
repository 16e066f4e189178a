// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/find_kernel.hpp"

#include "gdb/remote_packet.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <ranges>
#include <set>
#include <system_error>

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

constexpr std::chrono::seconds dump_timeout{60};
constexpr std::chrono::seconds usual_timeout{5};
constexpr std::uint64_t min_range = 1U << 20U; ///< a kernel takes several times as much

/// One line of the listing, "0000000040000000-000000004fffffff (prio 0, ram): mach-virt.ram
/// @0000000000000000".
struct Line {
    MemoryRange range;
    std::string_view what; ///< the name and the offset in what it names
};

std::optional<Line> ram_line(std::string_view text) {
    constexpr std::size_t digits = 16;
    constexpr std::string_view kind = ", ram): ";
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const auto named = text.find(kind);
    if (named == std::string_view::npos || text.size() < 2 * digits + 1 || text[digits] != '-')
        return std::nullopt;
    const auto first = gdb::parse_hex(text.substr(0, digits));
    const auto last = gdb::parse_hex(text.substr(digits + 1, digits));
    if (!first || !last || *last <= *first) return std::nullopt;
    return Line{.range = {.begin = *first, .size = *last - *first + 1},
                .what = text.substr(named + kind.size())};
}

/// A folder that is removed with all that is in it.
class ScratchFolder {
  public:
    [[nodiscard]] static sys::Result<ScratchFolder> create() {
        std::error_code failed;
        const auto parent = std::filesystem::temp_directory_path(failed);
        std::string name = ((failed ? "/tmp" : parent) / "kmodguard-memory-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) return sys::system_failure("cannot make a folder", name);
        return ScratchFolder(name);
    }
    ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    ScratchFolder& operator=(ScratchFolder&&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
    std::filesystem::path path_;
};

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

std::vector<MemoryRange> memory_ranges(std::string_view listing) {
    std::vector<MemoryRange> found;
    std::set<std::string_view> known; // some machines show the same memory at several addresses
    bool in_memory = false;
    std::uint64_t left = max_memory;
    for (const auto part : std::views::split(listing, '\n')) {
        std::string_view text(part);
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (text.starts_with("FlatView")) in_memory = false;
        if (text.starts_with(" AS \"memory\"")) in_memory = true;
        const auto line = in_memory ? ram_line(text) : std::nullopt;
        if (left == 0 || !line || line->range.size < min_range || !known.insert(line->what).second) continue;
        found.push_back({.begin = line->range.begin, .size = std::min(line->range.size, left)});
        left -= found.back().size;
    }
    return found;
}

sys::Result<std::optional<symbols::Symbols>> symbols_in_memory(gdb::Client& debugger) {
    const auto listing = TRY(debugger.monitor("info mtree -f"));
    const auto folder = TRY(ScratchFolder::create());
    const auto file = folder.path() / "memory";
    for (const MemoryRange range : memory_ranges(listing)) {
        debugger.set_answer_timeout(dump_timeout);
        const auto said = debugger.monitor(
            fmt::format("pmemsave {:#x} {:#x} \"{}\"", range.begin, range.size, file.native()));
        debugger.set_answer_timeout(usual_timeout);
        if (!said) return std::unexpected(said.error());
        const auto content = sys::read_file(file, max_memory);
        if (!content)
            return sys::failure(sys::ErrorKind::failed,
                                fmt::format("the emulator did not write its machine's memory to {}: {}",
                                            file.native(), said->empty() ? content.error().what : *said),
                                "give the symbols of its kernel with --symbols");
        auto symbols = symbols::recover_symbols(std::as_bytes(std::span(*content)));
        if (!symbols) continue;
        symbols->set_source("the guest's memory");
        return std::move(*symbols);
    }
    return std::nullopt;
}

} // namespace kmodguard::guest
