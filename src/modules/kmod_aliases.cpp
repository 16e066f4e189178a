// SPDX-License-Identifier: AGPL-3.0-only
//
// The aliases of modules. libkmod looks those of depmod's index up one at a time, by token; all of them it
// only writes to a descriptor. Here that is one in memory, which is gone again with the mapped index when
// they have been visited: the caller keeps what it needs of some 26,000, and the daemon stays small.
//
// libkmod does not say whether its writes succeed, and a line that is cut in the middle is a shorter alias,
// which a pattern may match that the whole one does not. So the room is reserved before: within it, no write
// can fail for want of memory.
#include "core/names.hpp"
#include "modules/kmod_index.hpp"
#include "sys/file.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libkmod.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace kmodguard::modules {
namespace {

constexpr std::uint64_t min_room = 64U << 10U;
constexpr std::uint64_t max_room = 1U << 30U;

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
        if (end == 0) return true;
        text_ = ::mmap(nullptr, static_cast<std::size_t>(end), PROT_READ, MAP_SHARED, fd_.get(), 0);
        if (text_ == MAP_FAILED) return sys::system_failure("cannot map", "a file in memory");
        size_ = static_cast<std::size_t>(end);
        return true;
    }

    [[nodiscard]] std::string_view text() const {
        return size_ == 0 ? std::string_view() : std::string_view(static_cast<const char*>(text_), size_);
    }

  private:
    sys::UniqueFd fd_;
    void* text_ = MAP_FAILED;
    std::size_t size_ = 0;
};

/// Calls `use` with each line of one of depmod's indexes, `name` in `directory`, as libkmod writes it. On
/// failure it was called with none.
template <typename Use>
sys::Result<void> for_each_index_line(const std::filesystem::path& directory, kmod_index index,
                                      const char* name, Use use) {
    const auto file = TRY(sys::file_identity(directory / name));
    // A context of its own, since every page of the index that is looked at stays mapped for as long as it
    // lives.
    const auto context = TRY(open_kmod_context(directory));
    kmod_load_resources(context.get()); // otherwise it is read byte by byte
    // The text is about as long as the index. If it is much longer, more room is tried.
    for (std::uint64_t room = min_room + file.size * 2; room <= max_room; room *= 2) {
        Dump dump;
        if (!TRY(dump.fill(context.get(), index, room))) continue;
        std::string_view text = dump.text(); // what no newline ends is no line
        for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
            use(text.substr(0, end));
            text.remove_prefix(end + 1);
        }
        return {};
    }
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{} has too many aliases", directory.native()));
}

/// Calls `visit` with the name of each module, as if it were an alias of that module.
sys::Result<void> for_each_indexed_name(const std::filesystem::path& directory,
                                        const core::AliasVisitor& visit) {
    return for_each_index_line(
        directory, KMOD_INDEX_MODULES_DEP, "modules.dep.bin", [&visit](std::string_view line) {
            const std::string_view name = line.substr(0, line.find(' ')); // then its file and what it needs
            if (!name.empty()) visit(name, name);
        });
}

} // namespace

sys::Result<void> for_each_indexed_alias(const std::filesystem::path& directory,
                                         const core::AliasVisitor& visit) {
    return for_each_index_line(
        directory, KMOD_INDEX_MODULES_ALIAS, "modules.alias.bin", [&visit](std::string_view line) {
            // "alias ALIAS MODULE". An alias may have spaces in it, a module's name may not. Anything else,
            // which only an index has that is not of depmod's making, names no module.
            constexpr std::string_view keyword = "alias ";
            if (!line.starts_with(keyword)) return;
            line.remove_prefix(keyword.size());
            const std::size_t space = line.rfind(' ');
            if (space == std::string_view::npos || space == 0 || space + 1 == line.size()) return;
            visit(line.substr(0, space), line.substr(space + 1));
        });
}

std::optional<std::vector<std::string>> KmodIndex::read_aliases(const core::ModuleRecord& record) const {
    const KmodModule module = module_called(record.name);
    if (module == nullptr) return std::nullopt;
    const char* path = kmod_module_get_path(module.get());
    if (record.path != (path != nullptr ? path : "")) {
        // libkmod would open another file than the one below the root.
        const auto image = identify_file(record.path, {.image = {.with_aliases = true}});
        if (!image || !image->identity.facts.problem.empty() || !image->identity.facts.aliases)
            return std::nullopt;
        return with_configured(*image->identity.facts.aliases, record);
    }
    kmod_list* information = nullptr;
    if (!record.command_only && kmod_module_get_info(module.get(), &information) < 0) return std::nullopt;
    const std::unique_ptr<kmod_list, void (*)(kmod_list*)> list(information, kmod_module_info_free_list);
    std::vector<std::string> aliases;
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        const char* alias = kmod_module_info_get_value(entry);
        if (alias != nullptr && std::string_view(kmod_module_info_get_key(entry)) == "alias")
            aliases.emplace_back(alias);
    }
    return with_configured(std::move(aliases), record);
}

/// And those of modprobe.d.
std::vector<std::string> KmodIndex::with_configured(std::vector<std::string> aliases,
                                                    const core::ModuleRecord& record) const {
    for_each_line(kmod_config_get_aliases(context_.get()),
                  [&](const std::string& alias, const std::string& module_name) {
                      if (core::fold(module_name) == record.name) aliases.push_back(alias);
                  });
    return aliases;
}

const std::vector<std::string>* KmodIndex::aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr) return nullptr;
    sys::FileIdentity now; // of what has no file: none, it does not change
    if (!record->built_in && !record->command_only) {
        const auto identity = sys::file_identity(record->path);
        if (!identity) return nullptr;
        now = *identity;
    }
    const auto known = aliases_.find(name);
    if (known != aliases_.end() && known->second.file == now) return &known->second.aliases;
    auto read = read_aliases(*record);
    if (!read) return nullptr; // and not remembered: it may be readable the next time
    const auto kept = aliases_.insert_or_assign(std::string(name), KnownAliases{now, std::move(*read)});
    return &kept.first->second.aliases;
}

bool KmodIndex::for_each_alias(const core::AliasVisitor& visit) {
    const auto visit_folded = [&visit](std::string_view alias, std::string_view module) {
        visit(alias, core::fold(module));
    };
    // Without the index nothing is known to be admitted by an alias, and so nothing is.
    const auto aliases = for_each_indexed_alias(kmod_get_dirname(context_.get()), visit_folded);
    const auto names = for_each_indexed_name(kmod_get_dirname(context_.get()), visit_folded);
    for_each_line(kmod_config_get_aliases(context_.get()), visit_folded);
    for (const auto& [name, command] : commands_) // of which those of no module are not in the index
        visit(name, name);
    return aliases && names;
}

bool KmodIndex::has_indexed_aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr || record->built_in || record->command_only) return false;
    const std::filesystem::path directory = kmod_get_dirname(context_.get());
    const auto index = sys::file_identity(directory / "modules.alias.bin");
    const auto file = sys::file_identity(record->path);
    if (!index || !file || file->changed_ns > index->changed_ns) return false;
    const auto known = aliases_.find(name);
    return known == aliases_.end() || known->second.file != *file;
}

} // namespace kmodguard::modules
