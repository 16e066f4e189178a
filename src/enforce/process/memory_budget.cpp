// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/memory_budget.hpp"

namespace kmodguard::process {

std::unique_ptr<MemoryBudget::Share> MemoryBudget::take(std::uint64_t bytes) {
    auto share = std::make_unique<Share>(*this);
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this, bytes] { return left_ >= bytes; });
    left_ -= bytes;
    share->bytes_ = bytes;
    return share;
}

std::unique_ptr<MemoryBudget::Share> MemoryBudget::take_at_once(std::uint64_t bytes) {
    auto share = std::make_unique<Share>(*this);
    const std::scoped_lock lock(mutex_);
    if (left_ < bytes) return nullptr;
    left_ -= bytes;
    share->bytes_ = bytes;
    return share;
}

MemoryBudget::Share::~Share() {
    {
        const std::scoped_lock lock(budget_.mutex_);
        budget_.left_ += bytes_;
    }
    budget_.returned_.notify_all();
}

} // namespace kmodguard::process
