// SPDX-License-Identifier: AGPL-3.0-only
//
// modules.log has the attempts in the order in which they were made. They are looked at side by side, and the
// name of an image that came without a path is known only after it was copied; so a line that is ready too
// early waits for those before it, but neither long nor with many others: one that hangs, on a file that the
// caller itself serves perhaps, gets its line when it is known. The loads themselves wait for nothing.
#pragma once

#include "events/recorder.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace kmodguard::process {

class LogOrder {
  public:
    using Clock = std::chrono::steady_clock;

    /// `container`: whose attempts they are; "" where they are none's.
    LogOrder(events::Recorder& recorder, std::string container)
        : recorder_(recorder), container_(std::move(container)) {}

    /// The line of one attempt, with its place in the order. If it goes without having been written it is
    /// left out.
    class Line {
      public:
        explicit Line(LogOrder& order);
        Line(Line&& other) noexcept
            : order_(other.order_), number_(other.number_), written_(std::exchange(other.written_, true)) {}
        Line& operator=(Line&&) = delete;
        ~Line();
        /// Once.
        void write(std::string text, Clock::time_point now = Clock::now());

      private:
        LogOrder& order_;
        std::uint64_t number_;
        bool written_ = false; ///< or another has its place now
    };

    /// Writes what waits for those that hang.
    void release();

  private:
    struct Waiting {
        std::optional<std::string> text;
        Clock::time_point since;
    };

    void add(std::uint64_t number, std::optional<std::string> text, Clock::time_point now);
    void write_ready(Clock::time_point now);
    void write(std::optional<std::string> text);

    events::Recorder& recorder_;
    std::string container_;
    std::mutex mutex_;
    std::uint64_t last_ = 0;
    std::uint64_t written_ = 0; ///< all up to this number, but those that hang
    std::map<std::uint64_t, Waiting> waiting_;
};

} // namespace kmodguard::process
