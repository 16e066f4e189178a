// SPDX-License-Identifier: AGPL-3.0-only
//
// BTF is a header, the types one after the other, and a table of strings; a type is known by its number,
// which is where it stands in that order, from 1 (Documentation/bpf/btf.rst of the kernel's sources).
#include "enforce/kernel/needed_types.hpp"

#include <fmt/format.h>
#include <linux/btf.h>

#include <bitset>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <vector>

namespace kmodguard::kernel {
namespace {

constexpr std::uint32_t max_indirections = 32;             ///< const, volatile and typedef around one type
constexpr std::size_t max_found = 10'000;                  ///< types; some hundred are usual
constexpr std::size_t max_strings = std::size_t{4} << 20U; ///< bytes of their names
constexpr std::uint32_t void_pointer = 1;                  ///< in what is made: the first

std::unexpected<sys::Error> malformed(std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid,
                        fmt::format("cannot read the description of the kernel's types: {}", why));
}

std::uint32_t kind_of(const btf_type& type) {
    return BTF_INFO_KIND(type.info);
}

std::uint32_t count_of(const btf_type& type) {
    return BTF_INFO_VLEN(type.info);
}

/// The bytes that follow a btf_type; nothing: of no known kind.
std::optional<std::size_t> size_after(const btf_type& type) {
    switch (kind_of(type)) {
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG: return 0;
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG: return sizeof(std::uint32_t);
    case BTF_KIND_ARRAY: return sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION: return count_of(type) * sizeof(btf_member);
    case BTF_KIND_ENUM: return count_of(type) * sizeof(btf_enum);
    case BTF_KIND_FUNC_PROTO: return count_of(type) * sizeof(btf_param);
    case BTF_KIND_DATASEC: return count_of(type) * sizeof(btf_var_secinfo);
    case BTF_KIND_ENUM64: return count_of(type) * sizeof(btf_enum64);
    default: return std::nullopt;
    }
}

bool has_own_name(std::uint32_t kind) {
    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ENUM
           || kind == BTF_KIND_ENUM64;
}

/// The first two characters of the names, by which most others are passed over without being read.
class Beginnings {
  public:
    explicit Beginnings(const NeededTypes::Names& names) {
        for (const std::string& name : names)
            seen_.set(number(name.c_str()));
    }
    [[nodiscard]] bool may_have(const char* name) const { return seen_[number(name)]; }

  private:
    static std::size_t number(const char* name) {
        const auto first = static_cast<unsigned char>(name[0]);
        return first == 0 ? 0 : std::size_t{first} << 8U | static_cast<unsigned char>(name[1]);
    }
    std::bitset<65536> seen_;
};

/// The kernel's BTF.
class Source {
  public:
    static sys::Result<Source> open(std::string_view bytes) {
        btf_header header{};
        if (bytes.size() < sizeof header) return malformed("it is too short");
        std::memcpy(&header, bytes.data(), sizeof header);
        if (header.magic != BTF_MAGIC || header.version != BTF_VERSION || header.hdr_len < sizeof header
            || header.hdr_len > bytes.size())
            return malformed("it does not begin as one");
        bytes.remove_prefix(header.hdr_len);
        const auto is_outside = [&](std::size_t offset, std::size_t size) {
            return offset > bytes.size() || size > bytes.size() - offset;
        };
        if (is_outside(header.type_off, header.type_len) || is_outside(header.str_off, header.str_len))
            return malformed("it ends early");
        Source source(bytes.substr(header.type_off, header.type_len),
                      bytes.substr(header.str_off, header.str_len));
        if (source.strings_.empty() || source.strings_.front() != '\0' || source.strings_.back() != '\0')
            return malformed("its strings do not end");
        return source;
    }

    /// Shows all types in order, `visit(number, type)`, and remembers where each is.
    template <typename Visitor>
    sys::Result<void> walk(Visitor visit) {
        positions_.reserve(types_.size() / (2 * sizeof(btf_type)));
        positions_.push_back(0); // void
        for (std::size_t at = 0; at < types_.size();) {
            if (types_.size() - at < sizeof(btf_type)) return malformed("its last type ends early");
            const auto type = read<btf_type>(at);
            const auto after = size_after(type);
            if (!after) return malformed(fmt::format("it has types of kind {}", kind_of(type)));
            if (*after > types_.size() - at - sizeof type) return malformed("its last type ends early");
            if (type.name_off >= strings_.size()) return malformed("a name is outside of it");
            visit(static_cast<std::uint32_t>(positions_.size()), type);
            positions_.push_back(static_cast<std::uint32_t>(at));
            at += sizeof type + *after;
        }
        return {};
    }

    /// Of a type that was shown.
    [[nodiscard]] const char* name(std::uint32_t offset) const { return strings_.data() + offset; }
    [[nodiscard]] bool has_name(std::uint32_t offset) const { return offset < strings_.size(); }

    /// Whether that is the number of a type, void not counted.
    [[nodiscard]] bool has(std::uint32_t number) const { return number != 0 && number < positions_.size(); }
    [[nodiscard]] btf_type type(std::uint32_t number) const { return read<btf_type>(positions_[number]); }
    /// What follows it, the `index`th of those.
    template <typename T>
    [[nodiscard]] T after(std::uint32_t number, std::uint32_t index = 0) const {
        return read<T>(positions_[number] + sizeof(btf_type) + index * sizeof(T));
    }

  private:
    Source(std::string_view types, std::string_view strings) : types_(types), strings_(strings) {}

    template <typename T>
    [[nodiscard]] T read(std::size_t at) const {
        T value;
        std::memcpy(&value, types_.data() + at, sizeof value);
        return value;
    }

    std::string_view types_;
    std::string_view strings_;
    std::vector<std::uint32_t> positions_; ///< in types_, by number
};

/// Makes BTF of some of the kernel's types, and of those that lie within them.
class Extract {
  public:
    Extract(const Source& source, const NeededTypes::Names& members) : source_(source), members_(members) {
        put(btf_type{.name_off = 0, .info = BTF_KIND_PTR << 24U, .type = 0});
    }

    sys::Result<void> add(std::uint32_t number) {
        TRY(renumbered(number));
        return {};
    }

    sys::Result<std::string> take() {
        for (; next_ < chosen_.size(); ++next_)
            TRY(copy(chosen_[next_]));
        const btf_header header{.magic = BTF_MAGIC,
                                .version = BTF_VERSION,
                                .flags = 0,
                                .hdr_len = sizeof header,
                                .type_off = 0,
                                .type_len = static_cast<std::uint32_t>(types_.size()),
                                .str_off = static_cast<std::uint32_t>(types_.size()),
                                .str_len = static_cast<std::uint32_t>(strings_.size())};
        std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
        bytes += types_;
        bytes += strings_;
        return bytes;
    }

  private:
    template <typename T>
    void put(const T& value) {
        types_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }

    sys::Result<std::uint32_t> renamed(std::uint32_t offset) {
        if (offset == 0) return 0;
        if (!source_.has_name(offset)) return malformed("a name is outside of it");
        if (strings_.size() > max_strings) return malformed("too much lies within the types needed");
        const auto [known, is_new] = names_.try_emplace(offset, static_cast<std::uint32_t>(strings_.size()));
        if (is_new) {
            strings_ += source_.name(offset);
            strings_ += '\0';
        }
        return known->second;
    }

    /// The number, in what is made, of what lies where a member has that type.
    sys::Result<std::uint32_t> renumbered(std::uint32_t number) {
        for (std::uint32_t i = 0; i < max_indirections; ++i) {
            if (!source_.has(number)) return malformed("a type is outside of it");
            const btf_type type = source_.type(number);
            switch (kind_of(type)) {
            case BTF_KIND_TYPEDEF:
            case BTF_KIND_VOLATILE:
            case BTF_KIND_CONST:
            case BTF_KIND_RESTRICT:
            case BTF_KIND_TYPE_TAG: number = type.type; continue;
            case BTF_KIND_INT:
            case BTF_KIND_ARRAY:
            case BTF_KIND_STRUCT:
            case BTF_KIND_UNION:
            case BTF_KIND_ENUM:
            case BTF_KIND_ENUM64:
            case BTF_KIND_FLOAT: break;
            default: return void_pointer;
            }
            const auto [known, is_new] =
                numbers_.try_emplace(number, static_cast<std::uint32_t>(chosen_.size() + void_pointer + 1));
            if (is_new) chosen_.push_back(number);
            if (chosen_.size() > max_found) return malformed("too much lies within the types needed");
            return known->second;
        }
        return malformed("a type leads back to itself");
    }

    sys::Result<void> copy(std::uint32_t number) {
        btf_type type = source_.type(number);
        type.name_off = TRY(renamed(type.name_off));
        switch (kind_of(type)) {
        case BTF_KIND_INT:
            put(type);
            put(source_.after<std::uint32_t>(number));
            return {};
        case BTF_KIND_ARRAY: {
            auto array = source_.after<btf_array>(number);
            array.type = TRY(renumbered(array.type));
            array.index_type = TRY(renumbered(array.index_type));
            put(type);
            put(array);
            return {};
        }
        case BTF_KIND_ENUM: put(type); return copy_enumerators<btf_enum>(number, count_of(type));
        case BTF_KIND_ENUM64: put(type); return copy_enumerators<btf_enum64>(number, count_of(type));
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION: return copy_members(number, type);
        default: // a floating-point number
            put(type);
            return {};
        }
    }

    template <typename Enumerator>
    sys::Result<void> copy_enumerators(std::uint32_t number, std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            auto enumerator = source_.after<Enumerator>(number, i);
            enumerator.name_off = TRY(renamed(enumerator.name_off));
            put(enumerator);
        }
        return {};
    }

    /// Members without a name are kept: what lies within counts as the structure's own.
    sys::Result<void> copy_members(std::uint32_t number, btf_type type) {
        std::vector<btf_member> kept;
        for (std::uint32_t i = 0; i < count_of(type); ++i) {
            auto member = source_.after<btf_member>(number, i);
            if (!source_.has_name(member.name_off)) return malformed("a name is outside of it");
            if (member.name_off != 0 && !members_.contains(source_.name(member.name_off))) continue;
            member.name_off = TRY(renamed(member.name_off));
            member.type = TRY(renumbered(member.type));
            kept.push_back(member);
        }
        constexpr std::uint32_t count_bits = 0xffff;
        type.info = (type.info & ~count_bits) | static_cast<std::uint32_t>(kept.size());
        put(type);
        for (const btf_member& member : kept)
            put(member);
        return {};
    }

    const Source& source_;
    const NeededTypes::Names& members_;
    std::string types_;
    std::string strings_ = std::string(1, '\0');
    std::unordered_map<std::uint32_t, std::uint32_t> names_;   ///< the new offset by the old one
    std::unordered_map<std::uint32_t, std::uint32_t> numbers_; ///< likewise
    std::vector<std::uint32_t> chosen_;                        ///< old numbers, in the order of the new ones
    std::size_t next_ = 0;
};

} // namespace

sys::Result<FoundTypes> find_types(std::string_view btf, const NeededTypes& needed) {
    auto source = TRY(Source::open(btf));
    const Beginnings types(needed.types);
    const Beginnings functions(needed.functions);
    FoundTypes found;
    std::vector<std::uint32_t> chosen;
    TRY(source.walk([&](std::uint32_t number, const btf_type& type) {
        const std::uint32_t kind = kind_of(type);
        const char* name = source.name(type.name_off);
        if (kind == BTF_KIND_FUNC) {
            if (functions.may_have(name) && needed.functions.contains(name))
                found.functions.try_emplace(name, number);
        } else if (type.name_off != 0 && has_own_name(kind) && types.may_have(name)
                   && needed.types.contains(name)) {
            chosen.push_back(number);
        }
    }));
    Extract extract(source, needed.members);
    for (const std::uint32_t number : chosen)
        TRY(extract.add(number));
    found.btf = TRY(extract.take());
    return found;
}

} // namespace kmodguard::kernel
