// SPDX-License-Identifier: AGPL-3.0-only
//
// A piece of work on the guest that stops in the middle, while the guest runs on: "call this function there,
// then look at what it returned". Between the two, any number of other processors and tasks of the guest may
// stop and be handled; so the work is a coroutine, and reads as if it were done in one go.
//
// One thread runs them all. A task begins when it is awaited, or by start(); its owner may destroy it
// at any point where it waits. What TRY is to a function, or_end() is to a task.
#pragma once

#include "sys/result.hpp"

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace kmodguard::guest {

template <typename T>
class [[nodiscard]] Task {
  public:
    // NOLINTBEGIN(readability-identifier-naming): names that the language looks for
    struct promise_type {
        std::optional<T> value; ///< there when it has ended
        std::coroutine_handle<> awaited_by;

        /// What goes on when it has ended: the task that awaits it, or else whoever has started it.
        [[nodiscard]] std::coroutine_handle<> next() const noexcept {
            return awaited_by ? awaited_by : std::coroutine_handle<>(std::noop_coroutine());
        }
        struct HandBack {
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            [[nodiscard]] std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
                return ended.promise().next();
            }
            void await_resume() const noexcept {}
        };

        Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        HandBack final_suspend() noexcept { return {}; }
        void return_value(T result) { value.emplace(std::move(result)); }
        // Nothing here throws but for want of memory.
        [[noreturn]] void unhandled_exception() { std::terminate(); }
    };
    // NOLINTEND(readability-identifier-naming)

    Task(Task&& other) noexcept : work_(std::exchange(other.work_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (work_) work_.destroy();
    }

    void start() { work_.resume(); }
    [[nodiscard]] bool done() const { return work_.promise().value.has_value(); }
    /// Of a task that is done.
    [[nodiscard]] const T& result() const { return *work_.promise().value; }

    [[nodiscard]] auto operator co_await() const noexcept {
        struct Awaiter {
            std::coroutine_handle<promise_type> work;
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            [[nodiscard]] std::coroutine_handle<>
            await_suspend(std::coroutine_handle<> waiting) const noexcept {
                work.promise().awaited_by = waiting;
                return work;
            }
            [[nodiscard]] T await_resume() const { return std::move(*work.promise().value); }
        };
        return Awaiter{work_};
    }

  private:
    explicit Task(std::coroutine_handle<promise_type> work) : work_(work) {}

    std::coroutine_handle<promise_type> work_;
};

/// Whether an error means that the guest is out of reach, not only a part of it.
[[nodiscard]] inline bool is_lost(const sys::Error& error) {
    return error.kind == sys::ErrorKind::unreachable;
}

template <typename T>
struct OrEnd {
    sys::Result<T> result;

    [[nodiscard]] bool await_ready() const noexcept { return result.has_value(); }
    /// The task that awaits this waits for ever: it has ended, and is only to be destroyed.
    template <typename Promise>
    [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> task) {
        task.promise().value.emplace(std::unexpected(std::move(result).error()));
        return task.promise().next();
    }
    T await_resume() { return sys::take(std::move(result)); }
};

template <typename T>
struct UnlessLost : OrEnd<T> {
    [[nodiscard]] bool await_ready() const noexcept {
        return this->result.has_value() || !is_lost(this->result.error());
    }
    [[nodiscard]] sys::Result<T> await_resume() { return std::move(this->result); }
};

/// `co_await or_end(result)`: the value of a Result; where it has none, the task ends with its error.
template <typename T>
[[nodiscard]] OrEnd<T> or_end(sys::Result<T> result) {
    return {std::move(result)};
}

/// `co_await unless_lost(result)`: the Result itself, for a task that can do without its value; but where the
/// guest is out of reach, the task ends with that error.
template <typename T>
[[nodiscard]] UnlessLost<T> unless_lost(sys::Result<T> result) {
    return {{std::move(result)}};
}

} // namespace kmodguard::guest
