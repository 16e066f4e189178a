// SPDX-License-Identifier: AGPL-3.0-only
//
// The records that the kernel point's programs leave, read and made into events.
#pragma once

#include "core/admission.hpp"
#include "enforce/kernel/layout.hpp"
#include "enforce/kernel/pins.hpp"
#include "events/event.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

struct ring_buffer;

namespace kmodguard::kernel {

/// Reads two rings, so that none of the two keeps the records of the other waiting.
class RecordReader {
  public:
    using Use = std::function<void(const guard_record&)>;

    /// Calls `use` for every record, oldest first in each ring. Reading makes room, so there is to be one
    /// reader.
    [[nodiscard]] static sys::Result<std::unique_ptr<RecordReader>> open(const OpenPins& pins, Use use);
    RecordReader(const RecordReader&) = delete;
    RecordReader& operator=(const RecordReader&) = delete;

    /// Becomes readable when there are records.
    [[nodiscard]] int fd() const { return poll_.get(); }
    /// Takes what there is, up to a limit, so that a process that makes records faster than they are read
    /// keeps the daemon from nothing else. Does not wait. False if there was none.
    [[nodiscard]] bool read();

    /// Whether another process has taken records since the last call. What they were of cannot be known.
    [[nodiscard]] bool was_emptied();

  private:
    struct Unmap {
        void operator()(const unsigned long* page) const;
    };
    struct Free {
        void operator()(ring_buffer* buffer) const;
    };
    struct Ring {
        [[nodiscard]] unsigned long position_now() const;
        /// Whether another process has read since this one did.
        [[nodiscard]] bool is_elsewhere() const { return position_now() != read_to; }

        std::unique_ptr<ring_buffer, Free> buffer;
        /// How far the ring has been read, by whichever process: in a page that all readers share.
        std::unique_ptr<const unsigned long, Unmap> position;
        unsigned long read_to = 0; ///< how far by this one
    };
    explicit RecordReader(Use use) : use_(std::move(use)) {}
    [[nodiscard]] sys::Result<void> add_ring(const RawMap& map);
    static int take(void* reader, void* record, std::size_t size);

    Use use_;
    int left_ = 0; ///< of the records of this round
    std::vector<Ring> rings_;
    sys::UniqueFd poll_;
    bool emptied_ = false;
};

/// What is known of the policy that judged; the rule that decided is looked up there.
struct Known {
    const core::Policy& policy;
    core::ModuleIndex& index;
    const core::Admissions& admissions;
    std::uint64_t generation = 0;
};

/// The attempt of a record of kind GUARD_IMAGE.
[[nodiscard]] events::Attempt event_of(const guard_record& record, const Known& known);

/// What a record of kind GUARD_SEAL says.
[[nodiscard]] events::SealRefusal seal_refusal_of(const guard_record& record);

/// Who asked.
[[nodiscard]] events::Requester requester_of(const guard_record& record);

/// The same as far as `by`, of a record or of refusals that were counted, has it without paths.
template <typename By>
[[nodiscard]] events::Requester brief_requester_of(const By& by) {
    events::Requester requester;
    requester.pid = static_cast<pid_t>(by.pid);
    requester.kernel_thread = by.kernel_thread != 0;
    if (!requester.kernel_thread) requester.uid = by.uid; // root's, but no user's
    requester.command = text_of(by.command);
    return requester;
}

/// When, by the wall clock: of CLOCK_BOOTTIME in ns, as records have it.
[[nodiscard]] std::chrono::system_clock::time_point time_of(std::uint64_t boot_time);

/// When something was refused, how many like it were before that have no record, and since when.
template <typename Refusal>
void set_times(Refusal& refusal, std::uint64_t last, std::uint64_t repeated, std::uint64_t since) {
    refusal.time = time_of(last);
    refusal.repeated = repeated;
    if (repeated != 0) refusal.repeated_since = time_of(since);
}

/// What was forbidden; of refusals that were counted.
[[nodiscard]] std::string forbidden_text(std::uint32_t which);

/// The path that was recorded from its last component to its first; "" if there is none. One whose beginning
/// is missing begins with ".../".
[[nodiscard]] std::string path_of(const guard_path& path);

} // namespace kmodguard::kernel
