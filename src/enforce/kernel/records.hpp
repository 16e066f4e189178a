// SPDX-License-Identifier: AGPL-3.0-only
//
// The records that the kernel point's programs leave, read and made into events.
#pragma once

#include "core/admission.hpp"
#include "enforce/kernel/layout.hpp"
#include "enforce/kernel/pins.hpp"
#include "events/event.hpp"
#include "sys/result.hpp"

#include <functional>
#include <memory>

struct ring_buffer;

namespace kmodguard::kernel {

class RecordReader {
  public:
    using Use = std::function<void(const guard_record&)>;

    /// Calls `use` for every record, oldest first. Reading makes room, so there is to be one reader.
    [[nodiscard]] static sys::Result<RecordReader> open(const Pins& pins, Use use);

    /// Becomes readable when there are records.
    [[nodiscard]] int fd() const;
    /// Takes what there is, up to a limit, so that whoever makes records faster than they are read keeps
    /// nobody from his other work. Does not wait. False if there was none.
    [[nodiscard]] bool read();

    /// Whether another process has taken records since the last call. What they were of cannot be known.
    [[nodiscard]] bool was_emptied();

  private:
    struct Unmap {
        void operator()(const unsigned long* page) const;
    };
    using Position = std::unique_ptr<const unsigned long, Unmap>;
    struct Free {
        void operator()(ring_buffer* buffer) const;
    };
    struct Round {
        Use use;
        int left = 0;
    };
    static int take(void* round, void* data, std::size_t size);
    RecordReader(std::unique_ptr<Round> round, ring_buffer* buffer, Position position)
        : round_(std::move(round)), buffer_(buffer), position_(std::move(position)),
          read_to_(position_now()) {}
    [[nodiscard]] unsigned long position_now() const;

    std::unique_ptr<Round> round_; ///< at an address that stays
    std::unique_ptr<ring_buffer, Free> buffer_;
    Position position_;     ///< how far the ring has been read, by whomever: in a page that all readers share
    unsigned long read_to_; ///< how far by this one
    bool emptied_ = false;
};

/// What is known of the policy that judged; the rule that decided is looked up there.
struct Known {
    const core::Policy& policy;
    core::ModuleIndex& index;
    const core::Admissions& admissions;
    std::uint64_t generation = 0;
};

/// The event of an image that was judged, or of something that the seal forbids.
[[nodiscard]] events::Event event_of(const guard_record& record, const Known& known);

/// Who asked.
[[nodiscard]] events::Requester requester_of(const guard_record& record);

/// When, by the wall clock.
[[nodiscard]] std::chrono::system_clock::time_point time_of(const guard_record& record);

/// The path that was recorded from its last component to its first; "" if there is none. One whose beginning
/// is missing begins with ".../".
[[nodiscard]] std::string path_of(const guard_path& path);

} // namespace kmodguard::kernel
