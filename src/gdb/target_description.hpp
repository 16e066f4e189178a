// SPDX-License-Identifier: AGPL-3.0-only
//
// The registers of a machine by name. A stub describes them in small XML documents (GDB manual, "Target
// Description Format") whose numbers depend on the processor's model, so they cannot be in a table here. Only
// `<reg>` and
// `<xi:include>` are looked at, and a scanner for those is less than an XML library would let a hostile stub
// reach: no entities are expanded, nothing nests, nothing is fetched.
#pragma once

#include "gdb/register.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::gdb {

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
