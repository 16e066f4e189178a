// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/depmod_index.hpp"

#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>

namespace kmodguard::modules {
namespace {

constexpr std::size_t max_file = 256U << 20U;
constexpr std::size_t max_key = 4096; ///< as libkmod has it (PATH_MAX)

constexpr std::uint32_t magic = 0xB007F457;
constexpr std::uint32_t major_version = 2;
// What a reference to a node says of it, beside where it is.
constexpr std::uint32_t has_prefix = 0x80000000;
constexpr std::uint32_t has_values = 0x40000000;
constexpr std::uint32_t has_children = 0x20000000;
constexpr std::uint32_t offset_bits = 0x0FFFFFFF;

/// Takes one thing after the other from the bytes, or nothing once they have ended.
class Cursor {
  public:
    Cursor(std::string_view bytes, std::size_t offset)
        : rest_(offset <= bytes.size() ? bytes.substr(offset) : std::string_view()) {}

    std::optional<std::uint8_t> byte() {
        if (rest_.empty()) return std::nullopt;
        const auto value = static_cast<std::uint8_t>(rest_.front());
        rest_.remove_prefix(1);
        return value;
    }
    /// Of four bytes, the highest first.
    std::optional<std::uint32_t> number() {
        if (rest_.size() < 4) return std::nullopt;
        std::uint32_t value = 0;
        for (int i = 0; i < 4; ++i)
            value = value << 8U | *byte();
        return value;
    }
    /// Up to a NUL.
    std::optional<std::string_view> text() {
        const std::size_t end = rest_.find('\0');
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view text = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return text;
    }

  private:
    std::string_view rest_;
};

struct Node {
    std::uint32_t reference = 0;
    std::string key; ///< that leads to it
};

/// Goes through the tree without recursion: how deep it is, a hostile file says.
class Tree {
  public:
    explicit Tree(std::string_view bytes) : bytes_(bytes) {}

    /// False: it is damaged.
    bool read(std::uint32_t root, std::vector<DepmodEntry>& entries) {
        ahead_.push_back({root, {}});
        // Every node and value of a sound index has bytes of its own: more than bytes are not there.
        for (std::size_t visited = 0; !ahead_.empty(); ++visited) {
            if (visited + entries.size() > bytes_.size()) return false;
            Node node = std::move(ahead_.back());
            ahead_.pop_back();
            if (!read_node(std::move(node), entries)) return false;
        }
        return true;
    }

  private:
    bool read_node(Node node, std::vector<DepmodEntry>& entries) {
        Cursor cursor(bytes_, node.reference & offset_bits);
        if ((node.reference & has_prefix) != 0) {
            const auto prefix = cursor.text();
            if (!prefix) return false;
            node.key += *prefix;
        }
        if (node.key.size() > max_key) return false;
        if ((node.reference & has_children) != 0 && !read_children(cursor, node.key)) return false;
        return (node.reference & has_values) == 0 || read_values(cursor, node.key, entries);
    }

    bool read_children(Cursor& cursor, const std::string& key) {
        const auto first = cursor.byte();
        const auto last = cursor.byte();
        if (!first || !last || *first > *last) return false;
        const std::size_t begin = ahead_.size();
        for (unsigned next = *first; next <= *last; ++next) {
            const auto reference = cursor.number();
            if (!reference) return false;
            if ((*reference & offset_bits) != 0)
                ahead_.push_back({*reference, key + static_cast<char>(next)});
        }
        std::reverse(ahead_.begin() + static_cast<std::ptrdiff_t>(begin), ahead_.end());
        return true;
    }

    bool read_values(Cursor& cursor, const std::string& key, std::vector<DepmodEntry>& entries) const {
        const auto count = cursor.number();
        if (!count || *count > bytes_.size()) return false;
        for (std::uint32_t i = 0; i < *count; ++i) {
            const auto priority = cursor.number();
            const auto value = priority ? cursor.text() : std::nullopt;
            if (!value || entries.size() > bytes_.size()) return false;
            entries.push_back({key, std::string(*value), *priority});
        }
        return true;
    }

    std::string_view bytes_;
    std::vector<Node> ahead_;
};

} // namespace

sys::Result<std::vector<DepmodEntry>> parse_depmod_index(std::string_view bytes, std::string_view shown_as) {
    Cursor header(bytes, 0);
    const auto found_magic = header.number();
    const auto version = header.number();
    const auto root = header.number();
    if (!root || *found_magic != magic || *version >> 16U != major_version)
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is not an index of depmod's", shown_as),
                            "run depmod");
    std::vector<DepmodEntry> entries;
    if ((*root & offset_bits) != 0 && !Tree(bytes).read(*root, entries))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is damaged", shown_as), "run depmod");
    return entries;
}

sys::Result<std::vector<DepmodEntry>> read_depmod_index(const std::filesystem::path& file) {
    const std::string bytes = TRY(sys::read_file(file, max_file));
    return parse_depmod_index(bytes, file.native());
}

} // namespace kmodguard::modules
