// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point in the daemon: brings each published policy into the kernel, gives it what it cannot know
// itself (contents of compressed images, tokens that are refused for good), makes events of what it records,
// and joins the process that the kernel saw asking to the request that the hook then brings.
#pragma once

#include "core/admission.hpp"
#include "daemon/engine.hpp"
#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/loader.hpp"
#include "enforce/kernel/records.hpp"
#include "enforce/kernel/support.hpp"
#include "events/event.hpp"
#include "protocol/message.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::daemon {

/// What it takes to hold the kernel point, made while the process still may.
struct KernelPointMeans {
    kernel::Support support;
    std::optional<kernel::Loader> loader;
};

/// To be called before capabilities are given up and threads started.
[[nodiscard]] KernelPointMeans prepare_kernel_point(const sys::Paths& paths);

class KernelPoint final : public PolicyHolder {
  public:
    /// Where events go, and the number of attempts that will have none.
    struct Log {
        std::function<void(events::Event)> record;
        std::function<void(std::size_t)> lost;
    };

    KernelPoint(Engine& engine, KernelPointMeans means, Log log);

    /// Establishes the point at the first policy that names it, and takes it away at one that does not.
    [[nodiscard]] sys::Result<void> hold(const core::Policy& policy, core::ModuleIndex& index,
                                         std::uint64_t generation) override;

    [[nodiscard]] std::string shortfall(const core::Policy& policy) const override;
    /// Readable when read_records() has something to do; -1 while the point is not active.
    [[nodiscard]] int fd() const { return reader_ ? reader_->fd() : -1; }
    /// Takes some of what there is. False if there was none.
    bool read_records();

    /// The process whose request for `token` the hook brings now, if the kernel saw one.
    [[nodiscard]] std::optional<events::Requester> requester_of(std::string_view token);
    void remember_refusal(std::string_view token);
    /// Sees to it that the kernel knows the contents of all that `decision` loads.
    void admit_contents(const core::Decision& decision);
    /// The same for one more of all admitted modules. False when there is none left.
    bool admit_next();

    /// Looks after it: what was changed from outside is put right and reported. False if only a new start of
    /// the daemon can do that.
    bool look_after();

    /// Makes events of what there is, and of what was counted: before the end, or before what counts goes.
    void tell_all();

    /// For STATUS.
    [[nodiscard]] std::vector<protocol::Field> status();

  private:
    struct Pending {
        std::string token;
        events::Requester requester;
        std::chrono::steady_clock::time_point since;
        std::chrono::system_clock::time_point time;
    };

    [[nodiscard]] sys::Result<void> establish();
    [[nodiscard]] sys::Result<void> read_from_guard();
    [[nodiscard]] sys::Result<void> publish(const core::Policy& policy, core::ModuleIndex& index,
                                            std::uint64_t generation);
    [[nodiscard]] sys::Result<void> give_up();
    void on_record(const guard_record& record);
    void on_request(const guard_record& record);
    void on_image(const guard_record& record);
    [[nodiscard]] events::Attempt refused_request(std::string_view token);
    void tell_counted(kernel::Guard::Counted which);
    void judge_by_file(events::Attempt& event);
    void admit_content(const core::ModuleRecord& module);
    void expire_pending();
    /// Records once that programs are kept from running.
    void look_at_tracing();
    void report(const std::string& what);

    Engine& engine_;
    KernelPointMeans means_;
    Log log_;
    std::optional<kernel::Guard> guard_; ///< what is loaded, also while no policy wants it
    std::optional<kernel::RecordReader> reader_;
    bool armed_ = false;          ///< it guards
    core::Admissions admissions_; ///< of the policy that is held
    std::uint64_t generation_ = 0;
    std::string problem_; ///< why it is not active, or not as it should be
    std::string hint_;
    std::optional<sys::Error> broken_; ///< what could not be put right the last time
    bool tracing_off_ = false;         ///< kernel.ftrace_enabled is 0
    std::deque<Pending> pending_;
    std::map<std::string, sys::FileIdentity, std::less<>> contents_; ///< by module, of admitted files
    std::string warm_up_position_; ///< the last module admit_next() looked at
};

} // namespace kmodguard::daemon
