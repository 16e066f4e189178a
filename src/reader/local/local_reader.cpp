// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/local/local_reader.hpp"

#include "config/policy_edit.hpp"
#include "config/policy_file.hpp"
#include "modules/image.hpp"
#include "modules/kmod_index.hpp"

#include <sys/mman.h>

#include <utility>

namespace kmodguard::reader {
namespace {

std::vector<config::Edit> edits_of(const core::RuntimeChanges& changes) {
    using config::List;
    std::vector<config::Edit> edits;
    for (const std::string& module : changes.removed) {
        edits.emplace_back(config::RemoveEntry{List::allow_modules, module});
        edits.emplace_back(config::RemoveEntry{List::deny_modules, module});
    }
    for (const std::string& alias : changes.removed_aliases) {
        edits.emplace_back(config::RemoveEntry{List::allow_aliases, alias});
        edits.emplace_back(config::RemoveEntry{List::deny_aliases, alias});
    }
    for (const std::string& module : changes.allowed)
        edits.emplace_back(config::AddEntry{List::allow_modules, module});
    for (const std::string& module : changes.denied)
        edits.emplace_back(config::AddEntry{List::deny_modules, module});
    for (const auto& [folded, alias] : changes.denied_aliases)
        edits.emplace_back(config::AddEntry{List::deny_aliases, alias});
    if (changes.mode) edits.emplace_back(config::SetMode{*changes.mode});
    return edits;
}

} // namespace

LocalReader::LocalReader(sys::Paths paths) : paths_(std::move(paths)) {}

sys::Result<std::string> LocalReader::index_bytes(const std::string& release) {
    const auto index = TRY(modules::KmodIndex::open(paths_, release));
    return compiled::compile(index->source());
}

sys::Result<compiled::File> LocalReader::index(const std::string& release) {
    const std::string bytes = TRY(index_bytes(release));
    const sys::UniqueFd file = sys::memory_file("index");
    if (!file || !sys::write_all(file.get(), bytes))
        return sys::system_failure("cannot write", "a file in memory");
    return compiled::File::open(file, "the module index of " + release);
}

sys::Result<ReadPolicy> LocalReader::policy() {
    auto loaded = config::load_policy(paths_);
    if (!loaded) return std::unexpected(config::to_error(loaded.error()));
    ReadPolicy policy{.source = std::move(loaded->source), .warnings = {}};
    for (config::Diagnostic& warning : loaded->warnings) { // each on one line, as an answer's field
        const std::string hint = std::exchange(warning.hint, {});
        policy.warnings.push_back(render(warning) + (hint.empty() ? "" : "; " + hint));
    }
    return policy;
}

sys::Result<std::vector<NewText>> LocalReader::edited(const core::RuntimeChanges& changes) {
    const auto files = config::policy_files(paths_);
    if (!files) return std::unexpected(config::to_error({files.error()}));
    std::vector<NewText> texts;
    for (config::EditedFile& file : TRY(config::edit_files(*files, edits_of(changes))))
        texts.push_back({std::move(file.target), std::move(file.path), std::move(file.text)});
    return texts;
}

sys::Result<LocalReader::Read> LocalReader::read(const std::filesystem::path& image, const Wanted& wanted) {
    const compiled::UnpackedFile unpacked = wanted.unpacked.value_or(compiled::UnpackedFile());
    auto found = TRY(modules::identify_file(image, {.image = {.with_hash = wanted.hash,
                                                              .with_aliases = wanted.aliases,
                                                              .with_is_signed = wanted.is_signed},
                                                    .key = wanted.key,
                                                    .unpacked_name = unpacked.name,
                                                    .unpacked_limit = unpacked.limit}));
    return Read{found.file, std::move(found.identity.facts), found.tag, std::move(found.unpacked)};
}

} // namespace kmodguard::reader
