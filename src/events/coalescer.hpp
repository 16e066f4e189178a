// SPDX-License-Identifier: AGPL-3.0-only
//
// Refusals that come again and again are counted. The first of its kind goes on at once; those that follow
// are held back until their span is over, and then the last of them goes on, which has how many there were
// and since when. So the events, and what they count, add up to the attempts. One attempt that a program
// makes by two calls is one event. All else goes through.
//
// It knows no clock but the time that it is given, and no thread: the recorder calls it under its lock.
#pragma once

#include "events/event.hpp"

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::events {

class Coalescer {
  public:
    using Clock = std::chrono::steady_clock;

    /// How long refusals of one kind are counted before one of them goes on: twice as long each time, while
    /// they come.
    static constexpr std::chrono::seconds min_span{1};
    static constexpr std::chrono::seconds max_span{64};
    /// Within which the second call of an attempt follows the first.
    static constexpr std::chrono::seconds retry_span{1};
    static constexpr std::size_t max_kinds =
        1024; ///< a quarter of one container or user; more are not counted
    static constexpr std::size_t max_tokens = 64; ///< that one event names beside its own

    /// What is to be recorded now, `event` being the newest: nothing if it is held back.
    [[nodiscard]] std::vector<Event> take(Event event, Clock::time_point now);

    /// What was held back until `now`: all of it by Clock::time_point::max().
    [[nodiscard]] std::vector<Event> take_due(Clock::time_point now);
    [[nodiscard]] std::optional<Clock::time_point> next_due() const;

  private:
    /// What makes two refusals the same to a reader, all but the process's number and the time, one part
    /// after the other: it is looked up for each, and nothing is copied for that but bytes.
    class Key {
      public:
        void clear() { bytes_.clear(); }
        void add(std::uint64_t number);
        void add(std::string_view text); ///< with its length, so that no two keys are the same by accident
        void add(const std::optional<Requester>& by);
        auto operator<=>(const Key&) const = default;

      private:
        std::string bytes_;
    };
    struct Kind {
        std::string who;
        Clock::duration span = min_span;
        std::optional<Event> last = std::nullopt; ///< of those that were counted
        std::uint64_t repeated = 0;               ///< counted before it
        std::chrono::system_clock::time_point since = {};
        std::vector<std::string> tokens = {};
    };
    using Kinds = std::map<Key, Kind>;

    /// The process that calls; at one point, since another point sees the same call.
    struct Caller {
        core::Point point{};
        pid_t pid = 0;
        std::string container;
        auto operator<=>(const Caller&) const = default;
    };
    /// A call to finit_module that was refused, and that init_module may follow.
    struct FirstCall {
        Attempt attempt;
        bool held_back = false; ///< else it was recorded
        Clock::time_point until = {};
    };

    static void write_key(Key& key, const Attempt& attempt);
    static void write_key(Key& key, const SealRefusal& refusal);
    [[nodiscard]] static std::optional<Caller> caller_of(const Attempt& attempt);
    [[nodiscard]] bool has_room(const std::string& who) const;
    template <typename Refusal>
    static void count(Kind& kind, Refusal refusal);
    [[nodiscard]] static Event take_counted(Kind& kind);
    /// A refusal, or what is none.
    template <typename Type>
    void take_one(Type event, Clock::time_point now, std::vector<Event>& result);
    /// Whether `attempt` was the second call of one that has been recorded.
    [[nodiscard]] bool join(Attempt& attempt, Clock::time_point now, std::vector<Event>& result);

    Key key_; ///< that is looked up
    Kinds kinds_;
    std::map<std::string, std::size_t> kinds_of_; ///< by container or user
    std::multimap<Clock::time_point, Kinds::iterator> ends_;
    std::map<Caller, FirstCall> first_calls_;
};

} // namespace kmodguard::events
