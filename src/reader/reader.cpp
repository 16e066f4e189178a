// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/reader.hpp"

#include "compiled/file.hpp"
#include "reader/messages.hpp"
#include "sys/file.hpp"

#include <fmt/ranges.h>

namespace kmodguard::reader {
namespace {

/// The bytes of a kept policy: the one text of the file.
std::string_view content_of(const compiled::File& file) {
    const auto texts = file.table<compiled::Text>(compiled::Table::identity);
    return texts.empty() ? std::string_view() : file.text(texts.front());
}

} // namespace

sys::Result<void> keep(const ReadPolicy& policy, const std::filesystem::path& path) {
    const std::string content = encoded(policy);
    if (const auto kept = compiled::File::open_kept(path); kept && content_of(*kept) == content) return {};
    compiled::FileWriter writer;
    writer.set<compiled::Text>(compiled::Table::identity, {writer.add(content)});
    const auto file = writer.finish();
    auto kept = file ? compiled::keep(*file, path) : std::unexpected(file.error());
    if (!kept) {
        std::error_code unknown; // where nothing can be written nothing can be removed either
        std::filesystem::remove(path, unknown);
    }
    return kept;
}

sys::Result<ReadPolicy> kept_policy(const std::filesystem::path& path) {
    const auto file = TRY(compiled::File::open_kept(path));
    ReadPolicy policy;
    if (decode(content_of(file), policy)) return policy;
    return sys::failure(sys::ErrorKind::invalid, path.native() + " is of another version");
}

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
