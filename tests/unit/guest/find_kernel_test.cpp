// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how a kernel that moved itself is found by where processors are, and known by its banner.
#include "enforce/guest/find_kernel.hpp"
#include "guest/tiny_kernel.hpp"

#include <gtest/gtest.h>

namespace kmodguard::guest {
namespace {

using test::TinyKernel;
using test::TinyMachine;

constexpr std::string_view some_architectures[] = {"amd64", "arm64", "riscv64", "mipsel", "mips64"};

class FindKernelTest : public testing::TestWithParam<std::string_view> {
  protected:
    /// A kernel that was moved by so much runs, or is to run.
    void boot(std::uint64_t offset) { kernel_.emplace(tiny_, offset); }
    /// Processor `on` is so far into the code of the kernel that was linked to where it was.
    void run_at(std::size_t on, std::uint64_t address) { tiny_.reg(on, row_.pc) = address; }

    sys::Result<KernelSearch> find(bool moved_only = false) {
        return find_kernel(machine_, linked_, moved_only);
    }
    void expect_found(std::uint64_t offset, bool moved_only = false) {
        const auto search = find(moved_only);
        ASSERT_TRUE(search) << search.error().what;
        EXPECT_TRUE(search->some_kernel);
        ASSERT_TRUE(search->kernel);
        EXPECT_EQ(search->kernel->kaslr_offset, offset);
        EXPECT_EQ(search->kernel->banner, TinyKernel::banner);
        EXPECT_TRUE(is_kernel_of(*search->kernel, banner_));
    }
    void expect_nothing(bool some_kernel, bool moved_only = false) {
        const auto search = find(moved_only);
        ASSERT_TRUE(search) << search.error().what;
        EXPECT_FALSE(search->kernel);
        EXPECT_EQ(search->some_kernel, some_kernel);
    }

    const symbols::Banner banner_{.text = std::string(TinyKernel::banner), .address = {}};
    const Architecture& row_ = *find_architecture(GetParam());
    std::uint64_t step_ = row_.kaslr_step;
    TinyMachine tiny_{row_, 2};
    /// Where the symbols say that it is.
    std::uint64_t text_ = row_.kernel_base + 0x100'0000;
    KernelAddresses linked_{.functions = {},
                            .load_module = {},
                            .calls = {},
                            .text_begin = text_,
                            .text_end = text_ + 0x8000,
                            .banner = text_ + 0x8000,
                            .restarts = {}};
    std::optional<TinyKernel> kernel_;
    Machine machine_{tiny_.debugger(), row_};
};
INSTANTIATE_TEST_SUITE_P(Every, FindKernelTest, testing::ValuesIn(some_architectures),
                         [](const auto& one) { return std::string(one.param); });

TEST_P(FindKernelTest, ThatWasNotMovedIsWhereItWasLinkedTo) {
    boot(0);
    run_at(0, text_ + 0x1234);
    expect_found(0);
}

TEST_P(FindKernelTest, ThatWasMovedIsFoundAtItsDistanceWhereverTheProcessorIsInIt) {
    for (const std::uint64_t offset : {step_, 5 * step_, 77 * step_}) {
        TinyMachine other(row_);
        TinyKernel kernel(other, offset);
        Machine machine(other.debugger(), row_);
        for (const std::uint64_t into : {0U, 0x1234U, 0x7fffU}) {
            other.reg(0, row_.pc) = text_ + offset + into;
            const auto search = find_kernel(machine, linked_, false);
            ASSERT_TRUE(search);
            ASSERT_TRUE(search->kernel) << offset << " " << into;
            EXPECT_EQ(search->kernel->kaslr_offset, offset);
        }
    }
}

TEST_P(FindKernelTest, AnyProcessorWillDo) {
    boot(3 * step_);
    run_at(0, TinyKernel::user);
    run_at(1, text_ + 3 * step_ + 0x40);
    expect_found(3 * step_);
}

TEST_P(FindKernelTest, IsFoundByItsVectorsWhileAProcessRuns) {
    boot(3 * step_);
    run_at(0, TinyKernel::user);
    if (row_.name.starts_with(
            "mips")) { // its stub describes no registers, so nothing tells where the vectors are
        run_at(1, TinyKernel::user);
        return expect_nothing(false);
    }
    tiny_.processors[0].registers[TinyMachine::vectors] = text_ + 3 * step_ + 0x800;
    expect_found(3 * step_);
}

TEST_P(FindKernelTest, ThatNobodyRunsIsNotFound) {
    boot(0);
    run_at(0, TinyKernel::user);
    run_at(1, 0);
    expect_nothing(false);
}

TEST_P(FindKernelTest, BelowWhereItWasLinkedToIsNoKernelOfOurs) {
    boot(0);
    run_at(0, text_ - 0x10);
    expect_nothing(true);
}

TEST_P(FindKernelTest, WithoutABannerInPlaceIsNotTakenForIt) {
    boot(3 * step_);
    tiny_.put_text(linked_.banner + 3 * step_, "Linux versions are many");
    run_at(0, text_ + 3 * step_ + 0x40);
    expect_nothing(true);
}

TEST_P(FindKernelTest, OfAnotherBannerIsAnotherKernelAndTheErrorNamesBoth) {
    boot(3 * step_);
    tiny_.put_text(linked_.banner + 3 * step_, "Linux version 5.10.0-other (gcc) #1 SMP\n");
    run_at(0, text_ + 3 * step_ + 0x40);
    const auto search = find();
    ASSERT_TRUE(search && search->kernel);
    EXPECT_FALSE(is_kernel_of(*search->kernel, banner_));
    EXPECT_TRUE(is_kernel_of(*search->kernel, std::nullopt)) << "nothing speaks against it";
    const sys::Error error = other_kernel(*search->kernel, banner_);
    EXPECT_EQ(error.kind, sys::ErrorKind::invalid);
    EXPECT_TRUE(error.what.contains("5.10.0-other")) << error.what;
    EXPECT_TRUE(error.what.contains(TinyKernel::banner)) << error.what;
    EXPECT_TRUE(error.hint.contains("--symbols"));
}

TEST_P(FindKernelTest, CopyThatItLeavesWhereItWasLinkedToIsPassedOverIfItIsToMove) {
    boot(0);
    run_at(0, text_ + 0x40);
    expect_nothing(true, true);
    kernel_.emplace(tiny_, 2 * step_);
    run_at(0, text_ + 2 * step_ + 0x40);
    expect_found(2 * step_, true);
}

TEST_P(FindKernelTest, ThatIsKnownToStayIsNotLookedForElsewhere) {
    linked_.fixed = true;
    boot(3 * step_);
    run_at(0, text_ + 3 * step_ + 0x40);
    expect_nothing(true);
}

TEST_P(FindKernelTest, WithoutABannerToKnowItByIsOnlyWhereItWasLinkedTo) {
    linked_.banner = 0;
    boot(0);
    run_at(0, text_ + 0x40);
    const auto search = find();
    ASSERT_TRUE(search && search->kernel);
    EXPECT_EQ(search->kernel->kaslr_offset, 0U);
    EXPECT_EQ(search->kernel->banner, "");
    expect_nothing(true, true);
    run_at(0, text_ + step_ + 0x40);
    expect_nothing(true);
}

TEST_P(FindKernelTest, IsCheckedAtItsStart) {
    boot(0);
    const auto same = kernel_at(machine_.processor({1, 1}), linked_, 0);
    ASSERT_TRUE(same && *same);
    EXPECT_EQ((*same)->banner, TinyKernel::banner);
    EXPECT_TRUE(is_kernel_of(**same, banner_));
    EXPECT_TRUE(is_kernel_of(**same, std::nullopt));
    EXPECT_FALSE(is_kernel_of(**same, symbols::Banner{.text = "Linux version 1", .address = {}}));
    EXPECT_EQ(kernel_at(machine_.processor({1, 1}), linked_, step_), std::nullopt) << "other code";
    linked_.banner = 0;
    const auto unknown = kernel_at(machine_.processor({1, 1}), linked_, 0);
    EXPECT_EQ((*unknown)->banner, "");
    EXPECT_TRUE(is_kernel_of(**unknown, banner_)) << "nothing speaks against it";
}

/// On arm64 the debugger sees no kernel while a process runs. It was taken for gone,
/// and calls that were under way were forgotten.
TEST_P(FindKernelTest, HiddenFromAProcessIsNotGone) {
    boot(step_);
    const KernelAddresses nowhere{.functions = {},
                                  .load_module = {},
                                  .calls = {},
                                  .text_begin = text_,
                                  .text_end = text_ + 0x8000,
                                  .banner = text_ + 0x800'0000, // no memory is there
                                  .restarts = {}};
    const auto presence = [&](const KernelAddresses& addresses) {
        const auto found = presence_of(machine_, addresses, step_);
        EXPECT_TRUE(found);
        return found.value_or(Presence::gone);
    };
    run_at(0, 0x1000);
    run_at(1, 0x2000);
    EXPECT_EQ(presence(nowhere), Presence::unknown) << "processes, and no kernel";
    if (const auto vectors = machine_.debugger().find_register("VBAR")) {
        tiny_.reg(0, *vectors) = text_ + step_;
        EXPECT_EQ(presence(nowhere), Presence::unknown) << "a process with a kernel";
        EXPECT_EQ(presence(linked_), Presence::there);
    }
    run_at(1, text_ + step_ + 0x10);
    EXPECT_EQ(presence(linked_), Presence::there);
    EXPECT_EQ(presence(nowhere), Presence::hidden);
    tiny_.put_text(linked_.banner + step_, "Something else");
    EXPECT_EQ(presence(linked_), Presence::gone);
}

} // namespace
} // namespace kmodguard::guest
