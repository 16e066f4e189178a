// SPDX-License-Identifier: AGPL-3.0-only
//
// How much memory the copies of images may take: a share is taken before a copy is made, and given back with
// it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

namespace kmodguard::process {

/// Bytes that may be held at one time.
class MemoryBudget {
  public:
    explicit MemoryBudget(std::uint64_t bytes) : left_(bytes) {}

    class Share {
      public:
        /// Of nothing yet: take() gives one of more.
        explicit Share(MemoryBudget& budget) : budget_(budget) {}
        Share(const Share&) = delete;
        Share& operator=(const Share&) = delete;
        ~Share();

      private:
        friend class MemoryBudget;
        MemoryBudget& budget_;
        std::uint64_t bytes_ = 0;
    };

    /// Waits until `bytes`, which is no more than the budget as a whole, are left.
    [[nodiscard]] std::unique_ptr<Share> take(std::uint64_t bytes);
    /// nullptr if so many are not left now.
    [[nodiscard]] std::unique_ptr<Share> take_at_once(std::uint64_t bytes);

  private:
    std::mutex mutex_;
    std::condition_variable returned_;
    std::uint64_t left_;
};

} // namespace kmodguard::process
