// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what becomes of a policy where the kernel has nothing to enforce it with; what it enforces is shown
// in tests/vm.
#include "enforce/kernel/kernel_point.hpp"
#include "policy_builder.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

namespace kmodguard::kernel {
namespace {

using Outcome = Published::Outcome;
using test::PolicyBuilder;

/// None of the points here comes to ask for one.
class NoImages final : public compiled::ImageReader {
    sys::Result<Read> read(const std::filesystem::path& /*image*/, const Wanted& /*wanted*/) override {
        return sys::failure(sys::ErrorKind::failed, "there are no images");
    }
};

class KernelPointTest : public ::testing::Test {
  protected:
    const test::TemporaryDirectory root;
    NoImages no_images;
    compiled::RememberedImages images{no_images, root / "images"};
    KernelPoint point(Problem problem, std::optional<sys::Error> loader_error = std::nullopt) {
        KernelPoint::Dependencies dependencies{
            .support = {}, .loader = std::nullopt, .loader_error = std::move(loader_error)};
        dependencies.support.problem = problem;
        dependencies.support.notes = {Note::may_skip};
        return {sys::Paths(root.path()),
                std::move(dependencies),
                images,
                {.record = {}, .lost = {}, .judge = {}, .unpacked = {}}};
    }
    static core::Policy policy(std::vector<core::Point> points) {
        PolicyBuilder builder;
        builder.source().points = std::move(points);
        return builder.build();
    }
    static Published publish(KernelPoint& point, const core::Policy& policy) {
        return point.publish({.policy = policy, .index = nullptr, .generation = 1});
    }
};

TEST_F(KernelPointTest, AMachineThatCannotHaveItDoesWithoutAndSaysWhy) {
    KernelPoint kernel_point = point(Problem::no_types);
    const core::Policy any = policy({});
    const Published published = publish(kernel_point, any);
    EXPECT_EQ(published.outcome, Outcome::unavailable);
    EXPECT_TRUE(published.is_accepted());
    const Status status = kernel_point.status();
    EXPECT_EQ(status.state, State::inactive);
    EXPECT_EQ(status.problem, Problem::no_types);
    EXPECT_EQ(status.notes, std::vector{Note::may_skip});
    EXPECT_EQ(kernel_point.fd(), -1);
    EXPECT_EQ(kernel_point.look_after(), KernelPoint::Health::fit);
}

TEST_F(KernelPointTest, OnlyAPolicyThatNamesItFallsShortWithoutIt) {
    KernelPoint kernel_point = point(Problem::no_types);
    EXPECT_EQ(kernel_point.why_not_enforced(policy({})), "");
    EXPECT_EQ(kernel_point.why_not_enforced(policy({core::Point::autoload})), "");
    EXPECT_EQ(kernel_point.why_not_enforced(policy({core::Point::kernel})),
              "the kernel point is not enforced: the kernel does not describe its types (no "
              "/sys/kernel/btf/vmlinux); boot a kernel with CONFIG_DEBUG_INFO_BTF");
}

TEST_F(KernelPointTest, APolicyThatLeavesItOutIsInForceWithoutIt) {
    KernelPoint kernel_point = point(Problem::none);
    const core::Policy without = policy({core::Point::autoload});
    EXPECT_EQ(publish(kernel_point, without).outcome, Outcome::left_out);
    EXPECT_EQ(kernel_point.status().problem, Problem::left_out);
    EXPECT_EQ(kernel_point.why_not_enforced(without), "");
}

TEST_F(KernelPointTest, AProcessThatCouldNotBeStartedIsTheReason) {
    KernelPoint kernel_point =
        point(Problem::none, sys::Error{sys::ErrorKind::failed, "cannot fork the loader", "make room"});
    EXPECT_EQ(publish(kernel_point, policy({})).outcome, Outcome::unavailable);
    EXPECT_EQ(kernel_point.status().problem, Problem::failed);
    EXPECT_EQ(error_of(kernel_point.status()).what, "cannot fork the loader");
    EXPECT_EQ(kernel_point.why_not_enforced(policy({core::Point::kernel})),
              "the kernel point is not enforced: cannot fork the loader; make room");
}

TEST_F(KernelPointTest, WithoutItNothingIsRefusedBesides) {
    KernelPoint kernel_point = point(Problem::no_types);
    core::ModuleDecision decision;
    decision.chain = {{.module = "loop"}};
    EXPECT_FALSE(kernel_point.refused_of(decision));
    EXPECT_FALSE(kernel_point.admit_next());
    EXPECT_FALSE(kernel_point.requester_of("loop"));
}

} // namespace
} // namespace kmodguard::kernel
