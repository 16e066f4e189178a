// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/image_copy.hpp"

#include "modules/decompress.hpp"
#include "modules/image.hpp"

#include <utility>

namespace kmodguard::process {

MemoryBudget::Share MemoryBudget::take(std::uint64_t bytes) {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this, bytes] { return left_ >= bytes; });
    left_ -= bytes;
    return {this, {bytes}};
}

MemoryBudget::Share MemoryBudget::take_at_once(std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);
    if (left_ < bytes) return nullptr;
    left_ -= bytes;
    return {this, {bytes}};
}

void MemoryBudget::GiveBack::operator()(MemoryBudget* budget) const {
    {
        const std::scoped_lock lock(budget->mutex_);
        budget->left_ += bytes;
    }
    budget->returned_.notify_all();
}

core::ImageFacts facts_of(std::span<const std::byte> image) {
    return modules::identify_image(image, {.with_hash = true, .with_aliases = true}).facts;
}

core::ImageFacts facts_without_hash(std::span<const std::byte> image) {
    return modules::identify_image(image, {.with_aliases = true}).facts;
}

core::ImageFacts unreadable(std::string why) {
    return {.problem = std::move(why), .name = {}, .modinfo_name = {}};
}

bool is_compressed(modules::MemorySource& source) {
    const auto container = modules::container_of(source);
    return container && *container != modules::Container::raw;
}

} // namespace kmodguard::process
