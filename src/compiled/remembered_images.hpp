// SPDX-License-Identifier: AGPL-3.0-only
//
// The aliases that images say they have, remembered by the state of their files, and kept for the next start.
// depmod's files have them too, and are quicker to read; but they may have been made for other images. To ask
// thousands of images takes seconds, so each is asked once for as long as its file stays what it is.
//
// In front of the reader, which it asks for all else. For one thread.
#pragma once

#include "compiled/file.hpp"
#include "compiled/image_reader.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::compiled {

struct ImageEntry;

class RememberedImages final : public ImageReader {
  public:
    /// With what is kept at `path`, if it can be used. `reader` must outlive it.
    RememberedImages(ImageReader& reader, std::filesystem::path path);

    [[nodiscard]] sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override;

    /// Whether the aliases of the image at `path`, as its file is now, are known without reading it.
    [[nodiscard]] bool knows_aliases(const std::filesystem::path& image) const;

    /// Keeps what was learned, without what has become of no use. Writes nothing if nothing was.
    [[nodiscard]] sys::Result<void> keep();

  private:
    struct Image {
        sys::FileIdentity file;
        std::string name;
        std::string modinfo_name;
        std::vector<std::string> aliases;
    };
    using Images = std::map<std::string, Image, std::less<>>; ///< by path

    struct Known { ///< neither: it is not known
        const Image* learned = nullptr;
        const ImageEntry* kept = nullptr;
    };

    [[nodiscard]] const ImageEntry* kept_entry(const std::string& image, const sys::FileIdentity& file) const;
    [[nodiscard]] Image image_of(const ImageEntry& entry) const;
    [[nodiscard]] Known known(const std::filesystem::path& image) const;

    ImageReader& reader_;
    std::filesystem::path path_;
    std::optional<File> kept_;
    Images learned_; ///< since
};

} // namespace kmodguard::compiled
