// SPDX-License-Identifier: AGPL-3.0-only
//
// The symbols' addresses, the table that has changed most. It is before the count of the names, since 6.4
// behind the tokens, and has one number a symbol, ascending with the names' order:
//
//   absolute         the address, a word: before 4.6; since 7.0 again, where the kernel is a 32-bit one that
//                    cannot be moved
//   relative         32 bits, the distance from kallsyms_relative_base, a word that follows: 4.6 to 6.19
//   relative_percpu  the same on x86-64 up to 6.14, where per-CPU symbols are small numbers and no addresses:
//                    a number from 0 up is one of these, one below is the distance from the base, negated and
//                    less 1
//   place_relative   32 bits, the distance from the number itself to the symbol: since 7.0
//
// Which it is, no flag says. But only one reading yields addresses that ascend.
#include "symbols/kallsyms.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace kmodguard::symbols {
namespace {

constexpr std::size_t offset_size = 4;

bool has_base(AddressForm form) {
    return form == AddressForm::relative || form == AddressForm::relative_percpu;
}

/// Where a table of one form would be.
struct TableAt {
    std::size_t begin = 0;
    std::size_t base_at = 0;
};

/// Since 6.4 behind the tokens' index; before, the table ends, padded, at kallsyms_num_syms or at the base
/// that is between.
std::optional<TableAt> table_at(const KernelBytes& bytes, const TokenTable& tokens, const NameTable& names,
                                AddressForm form, bool is_new) {
    const auto entry = form == AddressForm::absolute ? bytes_of(names.word_size) : offset_size;
    const auto size = names.count * entry;
    if (is_new) {
        const auto begin = aligned(tokens.end, names.alignment);
        const auto base_at = aligned(begin + size, names.alignment);
        if (!bytes.has(begin, size) || (has_base(form) && !bytes.has(base_at, bytes_of(names.word_size))))
            return std::nullopt;
        return TableAt{begin, base_at};
    }
    const auto base_size = has_base(form) ? names.alignment : 0;
    const auto table_size = aligned(size, names.alignment);
    if (table_size + base_size > names.count_at) return std::nullopt;
    return TableAt{names.count_at - base_size - table_size, names.count_at - base_size};
}

/// What 32 bits mean as a signed number, modulo 2^64.
std::uint64_t sign_extended(std::uint32_t value) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(value)));
}

bool is_negative(std::uint32_t value) {
    return (value >> 31U) != 0;
}

AddressTable read_values(const KernelBytes& bytes, const NameTable& names, AddressForm form, TableAt at) {
    AddressTable table{form, at.begin, at.base_at, {}, {}};
    table.values.reserve(names.count);
    for (std::size_t i = 0; i < names.count; ++i) {
        if (form == AddressForm::absolute) {
            table.values.push_back(bytes.word(at.begin + i * bytes_of(names.word_size), names.word_size));
            continue;
        }
        const auto value = bytes.read<std::uint32_t>(at.begin + i * offset_size);
        switch (form) {
        case AddressForm::relative: table.values.push_back(value); break;
        case AddressForm::place_relative:
            table.values.push_back(sign_extended(value) + i * offset_size);
            break;
        default: // relative_percpu
            table.is_fixed.push_back(!is_negative(value));
            table.values.push_back(is_negative(value) ? ~sign_extended(value) : value);
        }
    }
    return table;
}

/// How often the values do not ascend, and how often they do.
struct Course {
    std::size_t drops = 0;
    std::size_t rises = 0;
};

Course course_of(const AddressTable& table) {
    Course course;
    std::optional<std::uint64_t> last;
    const auto bias = table.form == AddressForm::place_relative ? std::uint64_t{1} << 63U : 0;
    for (std::size_t i = 0; i < table.values.size(); ++i) {
        if (!table.is_fixed.empty() && table.is_fixed[i]) continue;
        const auto value = table.values[i] + bias; // as unsigned, in the order of signed numbers
        if (last && value < *last) ++course.drops;
        if (last && value > *last) ++course.rises;
        last = value;
    }
    return course;
}

/// Whether the values ascend, and are not mostly the same: two hundred thousand symbols have some hundred
/// thousand addresses. Kernels since 5.0 sort them; in older ones one in 500 may be out of order. Absolute
/// addresses of 32 bits also ascend as place-relative numbers, but those not as absolute ones: where a
/// function has two names the second number is the smaller one.
bool ascends(const AddressTable& table, bool is_new) {
    const auto [drops, rises] = course_of(table);
    return drops <= (is_new ? 0 : table.values.size() / 500) && rises >= table.values.size() / 4;
}

/// What distinguishes a form from the others that ascend as well.
bool is_typical(const KernelBytes& bytes, const NameTable& names, const AddressTable& table) {
    switch (table.form) {
    case AddressForm::absolute: return table.values.back() >> (bytes_of(names.word_size) * 8 - 1) != 0;
    case AddressForm::relative: // from the lowest symbol, over less than 2 GiB
        return table.values.front() < 1U << 20U && table.values.back() < 1U << 31U;
    case AddressForm::relative_percpu:
        return std::ranges::count(table.is_fixed, false) > std::ssize(table.values) / 2;
    case AddressForm::place_relative:
        return is_negative(bytes.read<std::uint32_t>(table.begin)); // text is below
    }
    std::unreachable();
}

} // namespace

std::optional<AddressTable> find_address_table(const KernelBytes& bytes, const TokenTable& tokens,
                                               const NameTable& names) {
    constexpr std::array forms{AddressForm::relative, AddressForm::relative_percpu, AddressForm::absolute,
                               AddressForm::place_relative};
    for (const auto form : forms) {
        for (const bool is_new : {true, false}) {
            const auto at = table_at(bytes, tokens, names, form, is_new);
            if (!at || (form == AddressForm::place_relative && !is_new)) continue;
            auto table = read_values(bytes, names, form, *at);
            if (is_typical(bytes, names, table) && ascends(table, is_new)) return table;
        }
    }
    return std::nullopt;
}

} // namespace kmodguard::symbols
