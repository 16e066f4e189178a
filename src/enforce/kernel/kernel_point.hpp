// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point as the daemon has it, on the daemon's one thread: it brings each published policy into the
// kernel, gives it what it cannot know itself (contents of compressed images, tokens that are refused for
// good), makes events of what it records, and joins the process that the kernel saw asking to the request
// that the hook then brings. It knows nothing of the daemon: the policy is published to it, and events and
// questions go through callbacks.
#pragma once

#include "compiled/remembered_images.hpp"
#include "compiled/unpacked_images.hpp"
#include "core/admission.hpp"
#include "enforce/kernel/enforcer.hpp"
#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/loader.hpp"
#include "enforce/kernel/records.hpp"
#include "enforce/kernel/status.hpp"
#include "events/event.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

class KernelPoint final : public Enforcer {
  public:
    /// What it takes to have the kernel point, made while the process still may.
    struct Dependencies {
        Support support;
        std::optional<Loader> loader;
        std::optional<sys::Error> loader_error; ///< why there is none, on a machine that is supported
    };
    /// To be called before capabilities are given up and threads started.
    [[nodiscard]] static Dependencies prepare(const sys::Paths& paths);

    struct Callbacks {
        std::function<void(events::Event)> record;
        std::function<void(std::size_t)> lost; ///< so many attempts have no event
        /// The event of a request for `token`, as the daemon judges it now.
        std::function<events::Attempt(std::string_view token)> judge;
        /// What a file in memory of that name was unpacked from, if the hook was handed it.
        std::function<std::optional<compiled::UnpackedImages::Origin>(std::string_view name)> unpacked;
    };

    /// Images are read by `images`, by which the indexes that are published read them too, and which must
    /// outlive it.
    KernelPoint(sys::Paths paths, Dependencies dependencies, compiled::RememberedImages& images,
                Callbacks callbacks);

    /// Establishes the point at the first policy that names it, and takes it away at one that does not.
    [[nodiscard]] Published publish(const Publication& publication) override;
    [[nodiscard]] std::string why_not_enforced(const core::Policy& policy) const override;
    [[nodiscard]] std::optional<std::string> refused_of(const core::ModuleDecision& decision) const override;

    /// Readable when read_records() has something to do; -1 while the point is not active.
    [[nodiscard]] int fd() const { return reader_ ? reader_->fd() : -1; }
    /// Takes some of what there is. False if there was none.
    bool read_records();

    /// The process whose request for `token` the hook brings now, if the kernel saw one.
    [[nodiscard]] std::optional<events::Requester> requester_of(std::string_view token);
    /// The same where the hook brings it once more, a moment after it was answered.
    [[nodiscard]] std::optional<events::Requester> requester_again(std::string_view token);
    /// Refuses `token` in the kernel until the next publication: one that is refused for good.
    void remember_refusal(std::string_view token);
    /// Sees to it that the kernel knows the contents of all that `decision` loads, but for those that are
    /// handed to it unpacked.
    void admit_contents(const core::Decision& decision,
                        const std::vector<compiled::UnpackedImages::Handle>& unpacked);
    /// The same for one more of all admitted modules, of which it also learns the aliases where some are
    /// denied and publication did not wait for them. False when there is none left: what an image then turned
    /// out to have, and depmod's files have not, counts.
    bool admit_next();

    /// Looks after it, every few seconds: what was changed from outside is put right and recorded.
    enum class Health : std::uint8_t { fit, needs_restart }; ///< only a new start of the daemon helps
    Health look_after();

    /// Makes events of what there is, and of what was counted: before the end, or before what counts goes.
    void report_all();

    [[nodiscard]] Status status();

  private:
    struct Pending {
        std::string token;
        events::Requester requester;
        std::chrono::steady_clock::time_point since;
        std::chrono::system_clock::time_point time;
    };

    [[nodiscard]] bool is_unavailable() const;
    [[nodiscard]] sys::Result<void> establish();
    [[nodiscard]] sys::Result<void> open_reader();
    [[nodiscard]] bool is_sealed();
    [[nodiscard]] Published enforce(const Publication& publication);
    [[nodiscard]] Published publish_sealed(const Publication& publication);
    [[nodiscard]] Published publish_table(const Publication& publication);
    [[nodiscard]] Published leave_out();
    void fail(sys::Error error);
    void on_record(const guard_record& record);
    void on_request(const guard_record& record);
    void on_image(const guard_record& record);
    [[nodiscard]] core::ModuleIndex& index_or_none() const;
    [[nodiscard]] events::Attempt refused_request(std::string_view token);
    void report_counted(Guard::Counted which);
    void judge_by_file(events::Attempt& event);
    void name_unpacked(events::Attempt& event);
    void admit_content(const core::ModuleRecord& module);
    /// The modules of `admissions` that have an image.
    [[nodiscard]] std::vector<const core::ModuleRecord*>
    with_images(const core::Admissions& admissions) const;
    [[nodiscard]] bool awaits_images(const core::Admissions& admissions) const;
    struct FromImages {
        std::vector<std::string> taken;  ///< modules that are not admitted any more
        std::vector<std::string> unread; ///< whose images could not be read
    };
    [[nodiscard]] FromImages take_denied_by_images(const core::Policy& policy, core::Admissions& admissions);
    void heed_images();
    void retry_unread();
    void expire_pending();
    /// Records once that programs are kept from running.
    void look_at_tracing();
    void report(const std::string& what);
    void record_withdrawal(const std::vector<std::string>& modules,
                           std::optional<std::string> why_not = std::nullopt);

    sys::Paths paths_;
    Dependencies dependencies_;
    compiled::RememberedImages& image_reader_;
    Callbacks callbacks_;
    std::optional<Guard> guard_; ///< what is loaded, also while no policy wants it
    std::unique_ptr<RecordReader> reader_;
    bool enforcing_ = false;
    std::shared_ptr<core::ModuleIndex> index_; ///< of the last publication
    // Of the policy in force in the kernel.
    core::Policy policy_;
    core::Admissions admissions_;
    std::optional<std::uint64_t>
        generation_;                  ///< nothing: this daemon has published none, and another's is sealed
    Problem problem_ = Problem::none; ///< why it is not active, or not as it should be
    sys::Error error_;                ///< of a problem that is a failure
    Repair last_repair_;
    /// What the images of all that is admitted say of their aliases, once they were read.
    enum class Images : std::uint8_t { unread, heeded, not_heeded }; ///< not_heeded: tried again
    Images images_ = Images::unread;
    sys::Error images_error_;         ///< why they are not heeded
    std::vector<std::string> unread_; ///< modules whose images could not be read, to be tried again
    bool tracing_off_ = false;        ///< kernel.ftrace_enabled is 0
    std::deque<Pending> pending_;
    std::deque<Pending> brought_; ///< the last of those that the hook has brought, newest first
    std::map<std::string, sys::FileIdentity, std::less<>> contents_; ///< by module, of admitted files
    std::string warm_up_position_; ///< the last module admit_next() looked at
};

} // namespace kmodguard::kernel
