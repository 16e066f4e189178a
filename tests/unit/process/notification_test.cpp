// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a module system call is known by whichever table it was made through, and that nothing but a
// seccomp listener is taken for one.
#include "enforce/process/attempts.hpp"
#include "enforce/process/filter.hpp"
#include "enforce/process/notification.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>

#include <vector>

namespace kmodguard::process {
namespace {

TEST(CallOf, KnowsTheNumbersOfEveryTable) {
    // asm/unistd_64.h, unistd_32.h, unistd_x32.h; asm-generic/unistd.h
    constexpr int x32 = 0x40000000;
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 175), Call::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 313), Call::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 176), Call::delete_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, x32 + 175), Call::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, x32 + 313), Call::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 128), Call::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 350), Call::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 129), Call::delete_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_AARCH64, 105), Call::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_AARCH64, 273), Call::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_ARM, 379), Call::finit_module);
}

TEST(CallOf, TakesNoOtherForOneOfThem) {
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 128), Call::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 175), Call::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 100'000), Call::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, -1), Call::other);
    EXPECT_EQ(call_of(0, 175), Call::other);
}

TEST(Listener, IsNothingElse) {
    EXPECT_FALSE(Listener::adopt(sys::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))).has_value());
    EXPECT_FALSE(Listener::adopt(sys::UniqueFd()).has_value());
}

TEST(Filter, IsForEveryTableOfTheKernel) {
    const auto program = build_filter();
    ASSERT_TRUE(program.has_value()) << program.error().what;
    EXPECT_GT(program->size(), 8U);
}

struct Lines final : events::Sink {
    explicit Lines(std::vector<std::string>& into) : into_(into) {}
    void write(const events::Event& event) override {
        into_.push_back(std::get<events::LogLine>(event).text);
    }
    std::vector<std::string>& into_;
};

TEST(Attempts, AreWrittenInTheirOrderHoweverTheyAreSettled) {
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks));
        Attempts attempts(recorder, "");
        const auto first = attempts.begin();
        const auto second = attempts.begin();
        const auto third = attempts.begin();
        attempts.settle(third, "third");
        attempts.skip(second);
        recorder.flush();
        EXPECT_TRUE(lines.empty());
        attempts.settle(first, "first");
        attempts.settle(attempts.begin(), "fourth");
    }
    EXPECT_EQ(lines, (std::vector<std::string>{"first", "third", "fourth"}));
}

TEST(Attempts, DoNotWaitLongForOneThatHangs) {
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks));
        Attempts attempts(recorder, "");
        const auto now = Attempts::Clock::now();
        const auto hanging = attempts.begin();
        attempts.settle(attempts.begin(), "early", now);
        recorder.flush();
        EXPECT_TRUE(lines.empty());
        attempts.settle(attempts.begin(), "late", now + std::chrono::seconds(3));
        recorder.flush();
        EXPECT_EQ(lines, (std::vector<std::string>{"early", "late"}));
        attempts.settle(hanging, "at last", now);
    }
    EXPECT_EQ(lines, (std::vector<std::string>{"early", "late", "at last"}));
}

TEST(Attempts, DoNotWaitForEverForOneThatHangs) {
    constexpr int many = 5000;
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks), 2 * many);
        Attempts attempts(recorder, "");
        const auto hanging = attempts.begin();
        for (int i = 0; i < many; ++i)
            attempts.settle(attempts.begin(), std::to_string(i));
        recorder.flush();
        ASSERT_EQ(lines.size(), std::size_t{many});
        EXPECT_EQ(lines.front(), "0");
        EXPECT_EQ(lines.back(), std::to_string(many - 1));
        attempts.settle(hanging, "at last");
    }
    EXPECT_EQ(lines.back(), "at last");
}

} // namespace
} // namespace kmodguard::process
