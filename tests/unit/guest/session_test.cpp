// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what follows what in a session: a kernel is found by looking or at its start, given up at its end,
// and found again in the next boot, with symbols that were given and with those of the guest's memory.
#include "enforce/guest/session.hpp"
#include "guest/watch_fixture.hpp"

#include <algorithm>

namespace kmodguard::guest {
namespace {

using test::TinyKernel;
using test::TinyMachine;
using Boot = Session::Boot;

constexpr std::string_view some_architectures[] = {"amd64", "arm64", "riscv64", "mipsel"};

class SessionTest : public testing::TestWithParam<std::string_view> {
  protected:
    /// The kernel of `offset`, as its symbols have it.
    KnownKernel linked(const TinyKernel& kernel, std::uint64_t offset) const {
        KernelAddresses addresses = kernel.addresses().moved(0 - offset);
        addresses.start = text_ + start;
        addresses.restarts = {text_ + restart};
        return {.addresses = addresses,
                .banner = symbols::Banner{.text = std::string(TinyKernel::banner), .address = {}}};
    }
    void open(std::optional<KnownKernel> kernel, Boot boot) {
        Session::Setup setup;
        setup.boot = boot;
        setup.search_memory = [this](gdb::Client&) -> sys::Result<std::optional<KnownKernel>> {
            return searched_;
        };
        setup.report = [this](const std::string& text) { reports_.push_back(text); };
        session_.emplace(tiny_.debugger(), row_, std::move(kernel), judge_, recorder_, std::move(setup));
        const auto begun = session_->begin();
        ASSERT_TRUE(begun) << begun.error().what;
    }
    void poll_until(bool found) {
        while (session_->found() != found) {
            const auto polled = session_->poll();
            ASSERT_TRUE(polled && *polled) << (polled ? "it has ended" : polled.error().what);
        }
    }
    /// The first processor executes one instruction at `address`, when the machine is idle.
    void run_at(std::uint64_t address) {
        tiny_.define_here(address, [this](std::size_t on) {
            tiny_.reg(on, row_.pc) += TinyMachine::instruction;
            tiny_.processors[on].busy = false;
        });
        tiny_.reg(0, row_.pc) = address;
        tiny_.processors[0].busy = true;
    }
    /// Whether loads are decided on at `offset`.
    bool is_hooked(const KnownKernel& kernel, std::uint64_t offset) const {
        return std::ranges::all_of(kernel.addresses.calls, [&](const SystemCall& call) {
            return tiny_.breakpoints.contains(call.address + offset);
        });
    }
    /// The kernel's code where a breakpoint is of no use before somebody makes a call.
    bool has_breakpoint(std::uint64_t linked_address, std::uint64_t offset) const {
        return tiny_.breakpoints.contains(linked_address + offset);
    }
    std::size_t reported(std::string_view text) const {
        return static_cast<std::size_t>(
            std::ranges::count_if(reports_, [text](const std::string& one) { return one.contains(text); }));
    }

    static constexpr std::uint64_t start = 0x7000;
    static constexpr std::uint64_t restart = 0x7100;
    const Architecture& row_ = *find_architecture(GetParam());
    std::uint64_t offset_ = 3 * std::uint64_t{row_.kaslr_step};
    std::uint64_t text_ = row_.kernel_base + 0x100'0000;
    TinyMachine tiny_{row_, 2};
    test::Records records_;
    events::Recorder recorder_{test::sink_for(records_)};
    core::Judge judge_{test::PolicyBuilder().allow("good").build(), nullptr, core::CallerAnswer::refuse};
    std::optional<KnownKernel> searched_; ///< what is in the guest's memory
    std::vector<std::string> reports_;
    std::optional<Session> session_;
};
INSTANTIATE_TEST_SUITE_P(Every, SessionTest, testing::ValuesIn(some_architectures),
                         [](const auto& one) { return std::string(one.param); });

TEST_P(SessionTest, KernelOfAGuestThatRunsIsFoundAtOnceAndHookedWhereItIs) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(known, Boot::attached);
    EXPECT_TRUE(session_->found());
    EXPECT_TRUE(is_hooked(known, offset_));
    EXPECT_FALSE(is_hooked(known, 0));
    EXPECT_EQ(reported("the guest runs Linux version"), 1U);
}

TEST_P(SessionTest, KernelThatIsNotThereYetIsFoundLater) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    open(known, Boot::attached);
    EXPECT_FALSE(session_->found());
    EXPECT_TRUE(is_hooked(known, 0)) << "where it begins if it is not moved";
    EXPECT_EQ(reported("its kernel is not to be seen yet"), 1U);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, offset_));
}

TEST_P(SessionTest, KernelThatStartsWhereItWasLinkedToSaysSoByItself) {
    const TinyKernel kernel(tiny_, 0);
    const KnownKernel known = linked(kernel, 0);
    tiny_.events.emplace_back([this] { run_at(text_ + start); });
    open(known, Boot::first);
    EXPECT_FALSE(session_->found());
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, 0));
    EXPECT_EQ(reported("the guest runs Linux version"), 1U);
}

TEST_P(SessionTest, KernelThatWasSeenFromItsStartHasNoBreakpointsButThoseThatLeadToAllOthers) {
    const TinyKernel kernel(tiny_, 0);
    const KnownKernel known = linked(kernel, 0);
    tiny_.events.emplace_back([this] { run_at(text_ + start); });
    open(known, Boot::first);
    EXPECT_TRUE(has_breakpoint(text_, start)) << "by which it is found";
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, 0));
    EXPECT_TRUE(has_breakpoint(text_, restart));
    EXPECT_EQ(tiny_.breakpoints.size(),
              known.addresses.calls.size() + known.addresses.load_module.size() + 1);
}

TEST_P(SessionTest, KernelThatRanBeforeItWasFoundMayHaveALoadUnderWay) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    open(known, Boot::first);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    poll_until(true);
    EXPECT_TRUE(has_breakpoint(known.addresses.load_module.front(), offset_));
}

TEST_P(SessionTest, KernelThatIsFoundAgainByLookingMayNeverHaveEnded) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(known, Boot::attached);
    tiny_.put_text(known.addresses.banner + offset_, "Something else");
    poll_until(false);
    EXPECT_TRUE(has_breakpoint(text_, start)) << "the next one says so by itself if it starts here";
    tiny_.put_text(known.addresses.banner + offset_, TinyKernel::banner);
    poll_until(true);
    EXPECT_TRUE(has_breakpoint(known.addresses.functions.return_trampoline, offset_))
        << "a task may be in a call that another kmodctl injected";
}

TEST_P(SessionTest, ATaskThatAPredecessorLeftInACallIsWaitedForInAGuestThatRuns) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(known, Boot::attached);
    EXPECT_TRUE(has_breakpoint(known.addresses.functions.return_trampoline, offset_));
    EXPECT_TRUE(has_breakpoint(known.addresses.load_module.front(), offset_));
}

TEST_P(SessionTest, KernelThatEndsIsSearchedForAgainAndFoundInTheNextBoot) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    tiny_.events.emplace_back([this] { run_at(text_ + offset_ + restart); });
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(known, Boot::attached);
    ASSERT_TRUE(session_->found());
    poll_until(false);
    EXPECT_EQ(tiny_.bytes_at(known.addresses.banner + offset_, 1), std::vector{std::byte{0}})
        << "what has ended must not be found again";
    tiny_.put_text(known.addresses.banner + offset_, TinyKernel::banner);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, offset_));
    EXPECT_EQ(reported("the guest runs Linux version"), 2U);
    EXPECT_EQ(tiny_.troubles, std::vector<std::string>{});
}

TEST_P(SessionTest, KernelThatIsGoneWithoutAWordIsSearchedForAgain) {
    const TinyKernel kernel(tiny_, offset_);
    const KnownKernel known = linked(kernel, offset_);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(known, Boot::attached);
    ASSERT_TRUE(session_->found());
    tiny_.put_text(known.addresses.banner + offset_, "Something else");
    poll_until(false);
}

TEST_P(SessionTest, SymbolsOfTheGuestsMemoryAreSearchedForUntilThereAreSome) {
    const TinyKernel kernel(tiny_, 0);
    KnownKernel known = linked(kernel, 0);
    known.addresses.of_this_boot = true;
    tiny_.reg(0, row_.pc) = text_ + 0x40;
    open(std::nullopt, Boot::attached);
    EXPECT_FALSE(session_->found());
    EXPECT_EQ(reported("there are no symbols"), 1U);
    searched_ = known;
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, 0));
}

TEST_P(SessionTest, KernelOfOtherSymbolsEndsTheWatchAndIsNamed) {
    const TinyKernel kernel(tiny_, offset_);
    tiny_.put_text(linked(kernel, offset_).addresses.banner + offset_,
                   "Linux version 5.10.0-other (gcc) #1 SMP\n");
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    Session::Setup setup{.watch = {}, .boot = Boot::attached, .search_memory = {}, .report = {}};
    Session session(tiny_.debugger(), row_, linked(kernel, offset_), judge_, recorder_, std::move(setup));
    const auto begun = session.begin();
    ASSERT_FALSE(begun);
    EXPECT_EQ(begun.error().kind, sys::ErrorKind::invalid);
    EXPECT_TRUE(begun.error().what.contains("5.10.0-other")) << begun.error().what;
    EXPECT_FALSE(session.found());
}

TEST_P(SessionTest, SymbolsInMemoryOfAnotherKernelThanRunsAreSearchedForAgain) {
    const TinyKernel kernel(tiny_, 0);
    KnownKernel known = linked(kernel, 0);
    known.addresses.of_this_boot = true;
    known.banner->text = "Linux version 5.10.0-other (gcc) #1 SMP";
    searched_ = known;
    tiny_.reg(0, row_.pc) = text_ + 0x40;
    open(std::nullopt, Boot::attached);
    EXPECT_FALSE(session_->found());
    known.banner->text = std::string(TinyKernel::banner);
    searched_ = known;
    poll_until(true);
    EXPECT_TRUE(is_hooked(known, 0));
}

TEST_P(SessionTest, SymbolsOfOneBootAreNotTakenForThoseOfTheNext) {
    const TinyKernel kernel(tiny_, 0);
    KnownKernel known = linked(kernel, 0);
    known.addresses.of_this_boot = true;
    searched_ = known;
    tiny_.events.emplace_back([this] { run_at(text_ + restart); });
    tiny_.reg(0, row_.pc) = text_ + 0x40;
    open(std::nullopt, Boot::attached);
    ASSERT_TRUE(session_->found());
    searched_.reset();
    poll_until(false);
    tiny_.put_text(known.addresses.banner, TinyKernel::banner);
    searched_ = known;
    poll_until(true);
    EXPECT_EQ(reported("the guest runs Linux version"), 2U);
}

TEST_P(SessionTest, LeavesTheGuestWithoutHooks) {
    const TinyKernel kernel(tiny_, offset_);
    tiny_.reg(0, row_.pc) = text_ + offset_ + 0x40;
    open(linked(kernel, offset_), Boot::attached);
    ASSERT_FALSE(tiny_.breakpoints.empty());
    const auto left = session_->leave();
    ASSERT_TRUE(left) << left.error().what;
    EXPECT_TRUE(tiny_.breakpoints.empty());
}

} // namespace
} // namespace kmodguard::guest
