// SPDX-License-Identifier: AGPL-3.0-only
//
// modules.log has the attempts in the order in which they were made. They are looked at side by side, and the
// name of an image that came without a path is known only after it was copied; so a line that is ready too
// early waits for those before it, as long as not too many wait: one that hangs, on a file of a supervised
// process perhaps, gets its line when it is settled. The loads themselves wait for nothing.
#pragma once

#include "events/recorder.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace kmodguard::process {

class Attempts {
  public:
    explicit Attempts(events::Recorder& recorder) : recorder_(recorder) {}

    /// A number for the next attempt. settle() must be called once with each.
    [[nodiscard]] std::uint64_t begin();
    /// Its line; nothing for what was no attempt after all.
    void settle(std::uint64_t number, std::optional<std::string> line);

  private:
    void write(std::optional<std::string> line);

    events::Recorder& recorder_;
    std::mutex mutex_;
    std::uint64_t last_ = 0;
    std::uint64_t written_ = 0; ///< all up to this number, but those that hang
    std::map<std::uint64_t, std::optional<std::string>> waiting_;
};

} // namespace kmodguard::process
