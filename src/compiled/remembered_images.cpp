// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/remembered_images.hpp"

#include "sys/trace.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace kmodguard::compiled {

/// Of Table::images, which is in the order of the paths.
struct ImageEntry {
    Text path;
    Text name;
    Text modinfo_name;
    Range aliases; ///< of Table::names
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t changed_ns = 0;

    [[nodiscard]] sys::FileIdentity file() const { return {device, inode, size, changed_ns}; }
};

namespace {

bool is_for_aliases_alone(const ImageReader::Wanted& wanted) {
    return wanted.aliases && !wanted.hash && !wanted.is_signed && !wanted.key && !wanted.unpacked;
}

} // namespace

RememberedImages::RememberedImages(ImageReader& reader, std::filesystem::path path)
    : reader_(reader), path_(std::move(path)) {
    auto kept = File::open_kept(path_);
    if (kept)
        kept_.emplace(std::move(*kept));
    else
        sys::trace(sys::Topic::files, "{}", kept.error().what);
}

const ImageEntry* RememberedImages::kept_entry(const std::string& image,
                                               const sys::FileIdentity& file) const {
    if (!kept_ || !sys::has_time_of_change(file)) return nullptr;
    const auto entries = kept_->table<ImageEntry>(Table::images);
    const auto path_of = [this](const ImageEntry& entry) { return kept_->text(entry.path); };
    const auto found = std::ranges::lower_bound(entries, std::string_view(image), {}, path_of);
    const bool is_it = found != entries.end() && path_of(*found) == image && found->file() == file;
    return is_it ? &*found : nullptr;
}

auto RememberedImages::image_of(const ImageEntry& entry) const -> Image {
    Image image{.file = entry.file(),
                .name = std::string(kept_->text(entry.name)),
                .modinfo_name = std::string(kept_->text(entry.modinfo_name)),
                .aliases = {}};
    for (const Text alias : File::part(kept_->table<Text>(Table::names), entry.aliases))
        image.aliases.emplace_back(kept_->text(alias));
    return image;
}

auto RememberedImages::known(const std::filesystem::path& image) const -> Known {
    const auto now = sys::file_identity(image);
    if (!now) return {};
    const auto learned = learned_.find(image.native());
    if (learned == learned_.end()) return {.kept = kept_entry(image.native(), *now)};
    return {.learned = learned->second.file == *now ? &learned->second : nullptr};
}

bool RememberedImages::knows_aliases(const std::filesystem::path& image) const {
    const Known found = known(image);
    return found.learned != nullptr || found.kept != nullptr;
}

auto RememberedImages::read(const std::filesystem::path& image, const Wanted& wanted) -> sys::Result<Read> {
    if (is_for_aliases_alone(wanted))
        if (const auto [learned, kept] = known(image); learned != nullptr || kept != nullptr) {
            Image found = learned != nullptr ? *learned : image_of(*kept);
            return Read{.file = found.file,
                        .facts = {.problem = {},
                                  .name = std::move(found.name),
                                  .modinfo_name = std::move(found.modinfo_name),
                                  .aliases = std::move(found.aliases)}};
        }
    Read read = TRY(reader_.read(image, wanted));
    if (wanted.aliases && read.facts.problem.empty() && read.facts.aliases)
        learned_.insert_or_assign(image.native(), Image{.file = read.file,
                                                        .name = read.facts.name,
                                                        .modinfo_name = read.facts.modinfo_name,
                                                        .aliases = *read.facts.aliases});
    return read;
}

sys::Result<void> RememberedImages::keep() {
    const auto can_be_kept = [](const auto& learned) { return sys::has_time_of_change(learned.second.file); };
    if (std::ranges::none_of(learned_, can_be_kept)) return {};
    if (kept_)
        for (const ImageEntry& entry : kept_->table<ImageEntry>(Table::images)) {
            const std::filesystem::path path(kept_->text(entry.path));
            if (!learned_.contains(path.native()) && knows_aliases(path))
                learned_.emplace(path.native(), image_of(entry));
        }
    FileWriter writer;
    std::vector<ImageEntry> entries;
    std::vector<Text> names;
    for (const auto& [path, image] : learned_ | std::views::filter(can_be_kept)) {
        const Range aliases{static_cast<std::uint32_t>(names.size()),
                            static_cast<std::uint32_t>(image.aliases.size())};
        for (const std::string& alias : image.aliases)
            names.push_back(writer.add(alias));
        entries.push_back({.path = writer.add(path),
                           .name = writer.add(image.name),
                           .modinfo_name = writer.add(image.modinfo_name),
                           .aliases = aliases,
                           .device = image.file.device,
                           .inode = image.file.inode,
                           .size = image.file.size,
                           .changed_ns = image.file.changed_ns});
    }
    writer.set(Table::images, entries);
    writer.set(Table::names, names);
    const std::string bytes = TRY(writer.finish());
    TRY(compiled::keep(bytes, path_));
    kept_.emplace(TRY(File::open_kept(path_)));
    std::erase_if(learned_, can_be_kept); // what is mapped is no memory of this process's own
    return {};
}

} // namespace kmodguard::compiled
