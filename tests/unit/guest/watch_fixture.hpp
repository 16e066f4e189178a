// SPDX-License-Identifier: AGPL-3.0-only
//
// A Watch on a TinyKernel, by a policy that allows "good", and what it records.
#pragma once

#include "core/judge.hpp"
#include "enforce/guest/watch.hpp"
#include "event_sink.hpp"
#include "events/recorder.hpp"
#include "guest/tiny_kernel.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::guest::test {

using kmodguard::test::PolicyBuilder;

/// What was recorded. Read it after Recorder::flush().
struct Records {
    std::vector<events::Attempt> events;
    std::vector<std::string> attempts; ///< lines of modules.log
};

class RecordsSink final : public kmodguard::test::EventSink {
  public:
    explicit RecordsSink(Records& records);
    void take(const events::Event& event) override;

  private:
    Records& records_;
};

std::vector<std::unique_ptr<events::Sink>> sink_for(Records& records);

class WatchFixture : public testing::TestWithParam<const Architecture*> {
  protected:
    struct Options {
        core::CallerAnswer answer = core::CallerAnswer::refuse;
        bool hash = false;
        bool audit = false;
        bool no_unload = false;
        Watch::Unseen unseen = Watch::Unseen::nothing;
    };

    WatchFixture();
    ~WatchFixture() override;

    /// Begins to watch. The kernel's layout and the rest may be changed before.
    void watch(Options options);
    void TearDown() override;
    /// The guest runs until there is nothing left to do, and stands still then.
    void run();
    static std::vector<std::byte> image(const std::string& name);
    /// Somebody runs insmod, by either call.
    void load_image(const std::string& name, const std::string& parameters = "", std::uint64_t task = 0);
    void load_file(const std::string& name, std::uint64_t descriptor = 3, std::size_t on = 0,
                   std::uint64_t task = 0);
    /// The only event there is.
    const events::Attempt& event();
    /// What the task that made a call was told.
    [[nodiscard]] std::vector<std::int64_t> answers() const;
    /// Whether no breakpoint is left but those that are always there: the calls' and load_module()'s.
    [[nodiscard]] bool is_quiet() const;
    /// Whether whoever comes back from an injected call is stopped.
    [[nodiscard]] bool stops_at_returns() const;

    Records records_;
    events::Recorder recorder_{sink_for(records_)};
    TinyMachine tiny_{*GetParam(), 2};
    TinyKernel kernel_{tiny_};
    KernelAddresses addresses_ = kernel_.addresses();
    Machine machine_{tiny_.debugger(), *GetParam()};
    std::optional<core::Judge> judge_;
    std::optional<Watch> watch_;
};

[[nodiscard]] std::vector<const Architecture*> every_architecture();
std::string name_of_architecture(const testing::TestParamInfo<const Architecture*>& one);

} // namespace kmodguard::guest::test
