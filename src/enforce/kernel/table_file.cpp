// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/table_file.hpp"

#include "modules/hash.hpp"
#include "sys/file.hpp"

#include <span>

namespace kmodguard::kernel {
namespace {

struct Entry {
    guard_name name;
    guard_rule rule;
};
constexpr std::size_t max_size = GUARD_MAX_MODULES * sizeof(Entry);

} // namespace

std::string text_of_table(const Table& table) {
    std::string content;
    content.reserve(table.size() * sizeof(Entry));
    for (const auto& [name, rule] : table) {
        const Entry entry{.name = name, .rule = rule};
        content.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    }
    return content;
}

sys::Result<Table> parse_table(std::string_view content) {
    if (content.size() % sizeof(Entry) != 0)
        return sys::failure(sys::ErrorKind::invalid, "no table of the kernel point");
    Table table;
    for (std::size_t at = 0; at < content.size(); at += sizeof(Entry)) {
        Entry entry;
        std::memcpy(&entry, content.data() + at, sizeof entry);
        table.emplace(entry.name, entry.rule);
    }
    return table;
}

sys::Result<core::Sha256> hash_of(const Table& table) {
    const std::string content = text_of_table(table);
    return modules::sha256(std::as_bytes(std::span(content)));
}

sys::Result<void> save_table(const std::filesystem::path& path, const Table& table) {
    constexpr mode_t owner_only = 0600;
    return sys::write_file_atomically(path, text_of_table(table), owner_only);
}

sys::Result<Table> load_table(const std::filesystem::path& path) {
    const std::string content = TRY(sys::read_file(path, max_size));
    auto table = parse_table(content);
    if (!table) table.error().what = path.native() + " is " + table.error().what;
    return table;
}

} // namespace kmodguard::kernel
