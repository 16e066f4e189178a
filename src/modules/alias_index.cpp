// SPDX-License-Identifier: AGPL-3.0-only
//
// libkmod does not say whether its writes succeed, and a line that is cut in the middle is a shorter alias,
// which a pattern may match that the whole one does not. So the room is reserved before: within it, no write
// can fail for want of memory.
#include "modules/alias_index.hpp"

#include "modules/kmod_context.hpp"
#include "sys/file.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libkmod.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace kmodguard::modules {
namespace {

constexpr std::uint64_t min_room = 64U << 10U;
constexpr std::uint64_t max_room = 1U << 30U;

/// A context of its own, since every page of the index that is looked at stays mapped for as long as it
/// lives.
sys::Result<KmodContext> open_context(const std::filesystem::path& directory) {
    auto context = open_kmod_context(directory);
    if (context) kmod_load_resources(context->get()); // otherwise it is read byte by byte
    return context;
}

/// A file in memory.
class Dump {
  public:
    Dump() = default;
    Dump(const Dump&) = delete;
    Dump& operator=(const Dump&) = delete;
    ~Dump() {
        if (text_ != MAP_FAILED) ::munmap(text_, size_);
    }

    /// Whether all of the index fits into `room` bytes; text() is of no use if not.
    [[nodiscard]] sys::Result<bool> fill(kmod_ctx* context, kmod_index index, std::uint64_t room) {
        fd_ = sys::memory_file("aliases");
        if (!fd_) return sys::system_failure("cannot create", "a file in memory");
        if (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(room)) != 0)
            return sys::system_failure("cannot reserve", fmt::format("{} bytes of memory", room));
        if (const int code = kmod_dump_index(context, index, fd_.get()); code < 0)
            return sys::system_failure("cannot read", "depmod's index", -code);
        const off_t end = ::lseek(fd_.get(), 0, SEEK_CUR);
        if (end < 0) return sys::system_failure("cannot read", "a file in memory");
        // Not even if it ends there: what came after may have found no memory.
        if (static_cast<std::uint64_t>(end) >= room) return false;
        return map(static_cast<std::size_t>(end));
    }

    [[nodiscard]] std::string_view text() const {
        return size_ == 0 ? std::string_view() : std::string_view(static_cast<const char*>(text_), size_);
    }

  private:
    sys::Result<bool> map(std::size_t size) {
        if (size == 0) return true;
        text_ = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd_.get(), 0);
        if (text_ == MAP_FAILED) return sys::system_failure("cannot map", "a file in memory");
        size_ = size;
        return true;
    }

    sys::UniqueFd fd_;
    void* text_ = MAP_FAILED;
    std::size_t size_ = 0;
};

/// The text is about as long as the index. If it is much longer, more room is tried.
sys::Result<void> fill(Dump& dump, const std::filesystem::path& directory, kmod_index index,
                       const char* name) {
    const auto file = TRY(sys::file_identity(directory / name));
    const auto context = TRY(open_context(directory));
    for (std::uint64_t room = min_room + file.size * 2; room <= max_room; room *= 2) {
        const auto filled = TRY(dump.fill(context.get(), index, room));
        if (filled) return {};
    }
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{} has too many aliases", directory.native()));
}

/// Visits a line "alias ALIAS MODULE". An alias may have spaces in it, a module's name may not. Anything
/// else, which only an index has that is not of depmod's making, names no module.
void visit_line(std::string_view line, const AliasVisitor& visit) {
    constexpr std::string_view keyword = "alias ";
    if (!line.starts_with(keyword)) return;
    line.remove_prefix(keyword.size());
    const std::size_t space = line.rfind(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size()) return;
    visit(line.substr(0, space), line.substr(space + 1));
}

} // namespace

namespace {

template <typename Use>
void for_each_line(std::string_view text, Use use) {
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
        use(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
}

} // namespace

sys::Result<void> for_each_indexed_alias(const std::filesystem::path& directory, const AliasVisitor& visit) {
    Dump dump;
    TRY(fill(dump, directory, KMOD_INDEX_MODULES_ALIAS, "modules.alias.bin"));
    for_each_line(dump.text(), [&visit](std::string_view line) { visit_line(line, visit); });
    return {};
}

sys::Result<void> for_each_indexed_name(const std::filesystem::path& directory, const AliasVisitor& visit) {
    Dump dump;
    TRY(fill(dump, directory, KMOD_INDEX_MODULES_DEP, "modules.dep.bin"));
    for_each_line(dump.text(), [&visit](std::string_view line) {
        const std::string_view name = line.substr(0, line.find(' ')); // then its file and what it needs
        if (!name.empty()) visit(name, name);
    });
    return {};
}

} // namespace kmodguard::modules
