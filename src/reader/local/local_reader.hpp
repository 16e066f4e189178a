// SPDX-License-Identifier: AGPL-3.0-only
//
// Reads in the calling process. It belongs to one thread.
#pragma once

#include "reader/reader.hpp"
#include "sys/paths.hpp"

namespace kmodguard::reader {

class LocalReader final : public Reader {
  public:
    explicit LocalReader(sys::Paths paths);

    [[nodiscard]] sys::Result<compiled::File> index(const std::string& release) override;
    /// The bytes of the compiled file.
    [[nodiscard]] sys::Result<std::string> index_bytes(const std::string& release);
    [[nodiscard]] sys::Result<ReadPolicy> policy() override;
    [[nodiscard]] sys::Result<std::vector<NewText>> edited(const core::RuntimeChanges& changes) override;
    [[nodiscard]] sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override;

  private:
    sys::Paths paths_;
};

} // namespace kmodguard::reader
