// SPDX-License-Identifier: AGPL-3.0-only
//
// A Watch on a TinyKernel, by a policy that allows "good", and what it records.
#pragma once

#include "core/judge.hpp"
#include "events/recorder.hpp"
#include "guest/tiny_kernel.hpp"
#include "modules/elf_builder.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

namespace kmodguard::guest::test {

using kmodguard::test::PolicyBuilder;

/// What was recorded. Read it after Recorder::flush().
struct Records {
    std::vector<events::Event> events;
    std::vector<std::string> attempts; ///< lines of modules.log
};

class RecordsSink final : public events::Sink {
  public:
    explicit RecordsSink(Records& records) : records_(records) {}
    void write(const events::Event& event) override { records_.events.push_back(event); }
    void write_attempt(std::string_view line) override { records_.attempts.emplace_back(line); }
    void write_loss(std::size_t /*count*/) override { ADD_FAILURE() << "lost events"; }

  private:
    Records& records_;
};

inline std::vector<std::unique_ptr<events::Sink>> sink_for(Records& records) {
    std::vector<std::unique_ptr<events::Sink>> sinks;
    sinks.push_back(std::make_unique<RecordsSink>(records));
    return sinks;
}

class WatchFixture : public testing::TestWithParam<const Architecture*> {
  protected:
    struct Options {
        core::Answer answer = core::Answer::refuse;
        bool hash = false;
        bool audit = false;
        bool no_unload = false;
    };

    /// Begins to watch. The kernel's layout and the rest may be changed before.
    void watch(Options options) {
        PolicyBuilder policy;
        policy.allow("good");
        if (options.audit) policy.audit();
        if (options.no_unload) policy.source().unload_denied = true;
        judge_.emplace(policy.build(), nullptr, options.answer);
        watch_.emplace(machine_, *judge_, recorder_, Watch::Settings{.hash = options.hash});
        ASSERT_TRUE(watch_->guard(places_));
    }
    void TearDown() override {
        EXPECT_EQ(tiny_.troubles, std::vector<std::string>{});
        EXPECT_EQ(kernel_.allocated, 0U) << "what was allocated for a look must be given back";
    }
    /// The guest runs until there is nothing left to do, and stands still then.
    void run() {
        ASSERT_TRUE(machine_.resume());
        for (int turns = 0; turns < 10'000; ++turns) {
            const auto turn = machine_.turn(std::chrono::milliseconds(0));
            ASSERT_TRUE(turn) << turn.error().what;
            if (*turn != Machine::Turn::idle) continue;
            ASSERT_EQ(machine_.halt(), Machine::Halt::halted);
            return recorder_.flush();
        }
        FAIL() << "it never ends";
    }
    static std::vector<std::byte> image(const std::string& name) {
        return kmodguard::test::build(kmodguard::test::module_spec(name));
    }
    /// Somebody runs insmod, by either call.
    void load_image(const std::string& name, const std::string& parameters = "", std::uint64_t task = 0) {
        kernel_.make_call(0, task, Call::init_module, kernel_.image_of_process(image(name), parameters));
    }
    void load_file(const std::string& name, std::uint64_t descriptor = 3, std::size_t on = 0,
                   std::uint64_t task = 0) {
        kernel_.files[descriptor] = {"/lib/modules/" + name + ".ko", image(name)};
        kernel_.make_call(on, task, Call::finit_module, {descriptor, kernel_.text_of_process(""), 0});
    }
    /// The only event there is.
    const events::Event& event() {
        EXPECT_EQ(records_.events.size(), 1U);
        static const events::Event none;
        return records_.events.empty() ? none : records_.events.front();
    }
    /// What the task that made a call was told.
    [[nodiscard]] std::vector<std::int64_t> answers() const {
        std::vector<std::int64_t> all;
        for (const auto& [task, answer] : kernel_.answers)
            all.push_back(answer);
        return all;
    }
    /// Whether no breakpoint is left but those that are always there: the calls', load_module()'s, panic()'s.
    [[nodiscard]] bool is_quiet() const { return tiny_.breakpoints.size() == places_.calls.size() + 2; }

    Records records_;
    events::Recorder recorder_{sink_for(records_)};
    TinyMachine tiny_{*GetParam(), 2};
    TinyKernel kernel_{tiny_};
    Places places_ = kernel_.places();
    Machine machine_{tiny_.debugger(), *GetParam()};
    std::optional<core::Judge> judge_;
    std::optional<Watch> watch_;
};

inline auto every_architecture() {
    std::vector<const Architecture*> rows;
    for (const Architecture& row : architectures())
        rows.push_back(&row);
    return testing::ValuesIn(rows);
}
inline std::string name_of_architecture(const testing::TestParamInfo<const Architecture*>& one) {
    return std::string(one.param->name);
}

} // namespace kmodguard::guest::test
