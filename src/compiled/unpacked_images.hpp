// SPDX-License-Identifier: AGPL-3.0-only
//
// Images of compressed modules as their reader has unpacked them, to be handed to the kernel: what is
// unpacked to be judged need not be unpacked once more to be loaded. They are sealed files in memory, which
// this process does not map. On the daemon's one thread, which owns it by its engine.
//
// What takes memory is bounded twice over: by a few MiB, and to what is of use. Ahead of any request only
// modules that are not loaded are kept, and only as long as there is room; a request's own pushes out those
// that were used least recently. What is not here is loaded by its file, by the kernel's own decompressor.
#pragma once

#include "compiled/image_reader.hpp"
#include "core/module_index.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"
#include "sys/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kmodguard::compiled {

class UnpackedImages {
  public:
    struct Limits {
        std::size_t bytes = std::size_t{4} << 20U; ///< of all together, in whole pages
        std::size_t images = 64;                   ///< each is a descriptor
    };
    struct Origin {
        std::filesystem::path file; ///< that the image was unpacked from
        std::optional<core::Sha256> sha256;
    };
    struct Image {
        std::string name;   ///< of the file in memory
        std::string module; ///< canonical
        std::string state;  ///< of the file, as ImageFacts::state
        Origin origin;
        std::size_t size = 0; ///< bytes that it takes
        sys::UniqueFd file;
    };
    using Handle = std::shared_ptr<const Image>;

    explicit UnpackedImages(sys::Paths paths) : UnpackedImages(std::move(paths), Limits()) {}
    UnpackedImages(sys::Paths paths, Limits limits) : paths_(std::move(paths)), limits_(limits) {}
    UnpackedImages(const UnpackedImages&) = delete;
    UnpackedImages& operator=(const UnpackedImages&) = delete;

    /// What images are judged for.
    enum class Purpose : std::uint8_t {
        looking, ///< nothing is kept
        ahead,   ///< of a request that may come
        request,
    };
    /// Until the end of the object that is returned.
    class Scope;
    [[nodiscard]] Scope judging_for(Purpose purpose);
    [[nodiscard]] bool is_ahead() const { return purpose_ == Purpose::ahead; }

    /// What to ask the reader of the compressed file of `module` for; nothing where it would not be kept.
    [[nodiscard]] std::optional<UnpackedFile> wanted(const std::string& module) const;
    /// Keeps what the reader has unpacked, in the place of an earlier one of that module.
    void keep(const std::string& module, const std::filesystem::path& file, const core::ImageFacts& facts,
              const std::string& name, sys::UniqueFd unpacked);
    /// The image of `module` as it was when its file was in `state`; nullptr where it is not kept. It stays
    /// as long as who asked has it, and origin_of() knows it from now on.
    [[nodiscard]] Handle find(std::string_view module, std::string_view state);

    /// What the file in memory called `name` was unpacked from, if find() gave it lately.
    [[nodiscard]] std::optional<Origin> origin_of(std::string_view name) const;

    /// Lets go of what is of no use any more, since the module is loaded; and of everything while memory is
    /// short. To be called every few seconds.
    void look_after();
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    void drop(std::list<Handle>::iterator image);

    sys::Paths paths_;
    Limits limits_;
    Purpose purpose_ = Purpose::looking;
    std::list<Handle> images_; ///< what was used last is first
    std::size_t bytes_ = 0;
    std::deque<std::pair<std::string, Origin>> handed_; ///< by name, newest first
    bool memory_short_ = false;
};

class UnpackedImages::Scope {
  public:
    Scope(UnpackedImages& images, Purpose purpose) : images_(images) { images_.purpose_ = purpose; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { images_.purpose_ = Purpose::looking; }

  private:
    UnpackedImages& images_;
};

} // namespace kmodguard::compiled
