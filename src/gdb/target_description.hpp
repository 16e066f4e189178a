// SPDX-License-Identifier: AGPL-3.0-only
//
// How a stub names a processor's registers. One that describes them is asked for a register by number; others
// only know the packet with all of them, in which each has a fixed offset.
//
// The description is small XML documents (GDB manual, "Target Description Format"). Its numbers depend on the
// processor's model, so they cannot be in a table here. Only `<reg>` and `<xi:include>` are looked at, and a
// scanner for those is less than an XML library would let a hostile stub reach: no entities are expanded,
// nothing nests, nothing is fetched.
#pragma once

#include "sys/result.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::gdb {

struct Register {
    std::uint16_t number = 0; ///< in the packets `p` and `P`
    std::uint16_t offset = 0; ///< in the packet of all registers (`g`), bytes
    std::uint8_t size = 8;    ///< bytes: 4 or 8

    bool operator==(const Register&) const = default;
};

/// The number that `bytes` (8 at most) are in `order`.
[[nodiscard]] constexpr std::uint64_t value_of(std::span<const std::byte> bytes, std::endian order) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        value = value << 8U
                | std::to_integer<std::uint64_t>(bytes[order == std::endian::big ? i : bytes.size() - 1 - i]);
    return value;
}

/// The lower bytes of `value`, in `order`.
constexpr void put_value(std::uint64_t value, std::endian order, std::span<std::byte> bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i, value >>= 8U)
        bytes[order == std::endian::big ? bytes.size() - 1 - i : i] = static_cast<std::byte>(value & 0xffU);
}

/// Most bytes of one document, most documents, and most registers in all of them together. QEMU's longest
/// document, arm64's system registers, has some 30 KiB and 300 registers.
inline constexpr std::size_t max_description = 262144;
inline constexpr std::size_t max_documents = 32;
inline constexpr std::size_t max_described_registers = 4096;

/// Most bytes of a register's or a document's name.
inline constexpr std::size_t max_description_name = 64;

class TargetDescription {
  public:
    /// Adds the registers of one document; documents come in the order in which the first one includes them,
    /// since a register without a number has the next one after the register before. Returns the names of the
    /// documents that this one includes. ErrorKind::invalid: no such document, or over a limit; what was
    /// added stays.
    [[nodiscard]] sys::Result<std::vector<std::string>> add_document(std::string_view xml);

    /// The register of that name, in the case in which the stub writes it; the first one of several. Its
    /// `offset` is not known (0). nullopt: there is none, or it is not of whole bytes, 1 to 8.
    [[nodiscard]] std::optional<Register> find(std::string_view name) const;

    /// How many registers find() knows.
    [[nodiscard]] std::size_t size() const { return registers_.size(); }

  private:
    [[nodiscard]] sys::Result<void> add_register(std::string_view attributes);

    std::map<std::string, Register, std::less<>> registers_;
    std::uint32_t next_number_ = 0;
    std::size_t seen_ = 0;
};

} // namespace kmodguard::gdb
