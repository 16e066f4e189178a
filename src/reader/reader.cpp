// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/reader.hpp"

#include "sys/file.hpp"

#include <fmt/ranges.h>

namespace kmodguard::reader {

sys::Result<std::vector<std::string>> write(const std::vector<NewText>& files) {
    std::vector<std::string> written;
    for (const NewText& file : files) {
        if (auto done = sys::replace_file_atomically(file.file, file.text); !done) {
            if (!written.empty())
                done.error().what += fmt::format("; already written: {}", fmt::join(written, ", "));
            return std::unexpected(std::move(done.error()));
        }
        written.push_back(file.shown_as.native());
    }
    return written;
}

} // namespace kmodguard::reader
