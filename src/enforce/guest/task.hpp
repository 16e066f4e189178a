// SPDX-License-Identifier: AGPL-3.0-only
//
// A piece of work on the guest that stops in the middle, while the guest runs on: "call this function there,
// then look at what it returned". Between the two, any number of other processors and tasks of the guest may
// stop and be handled; so the work is a coroutine, and reads as if it were done in one go.
//
// One thread runs them all. A task begins when it is awaited, or by start(); its owner may destroy it
// at any point where it waits.
#pragma once

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
        std::optional<T> value;
        std::coroutine_handle<> awaited_by;

        /// Goes on with who waits for this task.
        struct HandBack {
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            [[nodiscard]] std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
                const auto next = ended.promise().awaited_by;
                return next ? next : std::coroutine_handle<>(std::noop_coroutine());
            }
            void await_resume() const noexcept {}
        };

        Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        HandBack final_suspend() noexcept { return {}; }
        void return_value(T result) { value.emplace(std::move(result)); }
        [[noreturn]] void unhandled_exception() {
            std::terminate();
        } // nothing here throws but for want of memory
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
    [[nodiscard]] bool done() const { return work_.done(); }
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

} // namespace kmodguard::guest
