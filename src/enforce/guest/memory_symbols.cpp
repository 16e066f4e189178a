// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/memory_symbols.hpp"

#include "gdb/remote_packet.hpp"
#include "symbols/symbol_sources.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>

namespace kmodguard::guest {
namespace {

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

std::vector<MemoryRange> memory_ranges(std::string_view listing) {
    std::vector<MemoryRange> found;
    std::set<std::string_view> known; // some machines show the same memory at several addresses
    bool in_memory = false;
    std::uint64_t left = max_memory;
    while (!listing.empty() && left > 0) {
        const auto end = std::min(listing.find('\n'), listing.size());
        std::string_view text = listing.substr(0, end);
        listing.remove_prefix(std::min(end + 1, listing.size()));
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (text.starts_with("FlatView")) in_memory = false;
        if (text.starts_with(" AS \"memory\"")) in_memory = true;
        const auto line = in_memory ? ram_line(text) : std::nullopt;
        if (!line || line->range.size < min_range || !known.insert(line->what).second) continue;
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
