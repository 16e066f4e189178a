// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/deferred.hpp"

#include <sched.h>

#include <new>
#include <system_error>
#include <utility>

namespace kmodguard::process {
namespace {

std::uint64_t bytes_of(const DeferredRecord& record) {
    return record.image ? record.image->size() : 0;
}

} // namespace

Deferred::Deferred(events::Recorder& recorder, const DeferredLimits& limits)
    : recorder_(recorder), limits_(limits) {}

Deferred::~Deferred() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    added_.notify_one();
    finish(); // not at idle priority: somebody waits
    if (thread_.joinable()) thread_.join();
}

void Deferred::add(DeferredRecord record) {
    {
        const std::scoped_lock lock(mutex_);
        if (!thread_.joinable()) start_thread();
        bytes_ += bytes_of(record);
        waiting_.push_back(std::move(record));
    }
    added_.notify_one();
    while (is_over_limit() && do_oldest()) {
    }
}

void Deferred::finish() {
    while (do_oldest()) {
    }
}

void Deferred::start_thread() {
    try {
        thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) { // NOLINT(bugprone-empty-catch): who brings a record does it
    }
}

void Deferred::run() {
    const sched_param none{};
    ::sched_setscheduler(0, SCHED_IDLE, &none); // else it is as busy as the others
    std::unique_lock lock(mutex_);
    while (true) {
        added_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (stopping_) return; // what is left is done by finish()
        lock.unlock();
        static_cast<void>(do_oldest());
        lock.lock();
    }
}

bool Deferred::is_over_limit() {
    const std::scoped_lock lock(mutex_);
    return !thread_.joinable() || waiting_.size() > limits_.records || bytes_ > limits_.bytes;
}

/// False: none waits, and none is being done.
bool Deferred::do_oldest() {
    const std::scoped_lock doing(doing_);
    std::unique_lock lock(mutex_);
    if (waiting_.empty()) return false;
    DeferredRecord oldest = std::move(waiting_.front());
    waiting_.pop_front();
    bytes_ -= bytes_of(oldest);
    lock.unlock();
    record(std::move(oldest));
    return true;
}

void Deferred::record(DeferredRecord record) {
    try {
        if (record.line) record.line->place.write(std::move(record.line->text));
        if (!record.event) return;
        if (record.image) record.event->sha256 = record.image->sha256();
        recorder_.record(std::move(*record.event));
    } catch (const std::bad_alloc&) {
        recorder_.record_loss(1);
    }
}

} // namespace kmodguard::process
