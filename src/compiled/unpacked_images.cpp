// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/unpacked_images.hpp"

#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

namespace kmodguard::compiled {
namespace {

/// A load is recorded within moments of the hand-over.
constexpr std::size_t max_handed = 128;

/// A name that no other process can guess, and so give to a file of its own: the kernel's records have it.
std::optional<std::string> new_name(const std::string& module) {
    std::uint64_t number = 0;
    if (::getentropy(&number, sizeof number) != 0) return std::nullopt;
    return fmt::format("kmodguard:{}:{:016x}", module, number);
}

/// Bytes of memory that the file takes.
std::size_t size_in_memory(const sys::UniqueFd& file) {
    constexpr std::size_t block = 512; // stat(2), st_blocks
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return 0;
    return static_cast<std::size_t>(status.st_blocks) * block;
}

} // namespace

UnpackedImages::Scope UnpackedImages::judging_for(Purpose purpose) {
    return {*this, purpose};
}

std::optional<UnpackedFile> UnpackedImages::wanted(const std::string& module) const {
    if (purpose_ == Purpose::looking || memory_short_) return std::nullopt;
    const bool has_room = bytes_ < limits_.bytes && images_.size() < limits_.images;
    if (purpose_ == Purpose::ahead && !has_room) return std::nullopt;
    if (!paths_.moved() && sys::has_live_module(module)) return std::nullopt;
    auto name = new_name(module);
    if (!name) return std::nullopt;
    const std::size_t limit = purpose_ == Purpose::ahead ? limits_.bytes - bytes_ : limits_.bytes;
    return UnpackedFile{.name = std::move(*name), .limit = limit};
}

void UnpackedImages::keep(const std::string& module, const std::filesystem::path& file,
                          const core::ImageFacts& facts, const std::string& name, sys::UniqueFd unpacked) {
    const auto former = std::ranges::find(images_, module, [](const Handle& image) { return image->module; });
    if (former != images_.end()) drop(former);
    const std::size_t size = size_in_memory(unpacked);
    if (size == 0 || size > limits_.bytes) return;
    while (bytes_ + size > limits_.bytes || images_.size() >= limits_.images)
        drop(std::prev(images_.end()));
    images_.push_front(std::make_shared<const Image>(Image{.name = name,
                                                           .module = module,
                                                           .state = facts.state,
                                                           .origin = {file, facts.sha256},
                                                           .size = size,
                                                           .file = std::move(unpacked)}));
    bytes_ += size;
}

UnpackedImages::Handle UnpackedImages::find(std::string_view module, std::string_view state) {
    const auto found = std::ranges::find_if(
        images_, [&](const Handle& image) { return image->module == module && image->state == state; });
    if (found == images_.end() || state.empty()) return nullptr;
    images_.splice(images_.begin(), images_, found);
    Handle image = images_.front();
    if (!origin_of(image->name)) handed_.emplace_front(image->name, image->origin);
    if (handed_.size() > max_handed) handed_.pop_back();
    return image;
}

std::optional<UnpackedImages::Origin> UnpackedImages::origin_of(std::string_view name) const {
    const auto found = std::ranges::find(handed_, name, &std::pair<std::string, Origin>::first);
    if (found == handed_.end()) return std::nullopt;
    return found->second;
}

void UnpackedImages::look_after() {
    memory_short_ = sys::is_memory_short(paths_);
    for (auto image = images_.begin(); image != images_.end();) {
        const auto next = std::next(image);
        if (memory_short_ || (!paths_.moved() && sys::has_live_module((*image)->module))) drop(image);
        image = next;
    }
}

void UnpackedImages::drop(std::list<Handle>::iterator image) {
    bytes_ -= (*image)->size;
    images_.erase(image);
}

} // namespace kmodguard::compiled
