// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows, for every architecture, that functions of a guest's kernel are called in the name of a task without
// a trace in it, whatever other tasks and processors do meanwhile, and that a task which a predecessor left
// in the middle of a call is put back.
#include "guest/tiny_kernel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace kmodguard::guest {
namespace {

using test::TinyKernel;
using test::TinyMachine;
using Polled = Machine::Polled;

class CallInjectionTest : public testing::TestWithParam<const Architecture*> {
  protected:
    /// What is done in the name of the task that makes a system call.
    using Work = std::function<Task<sys::Result<void>>(CallInjection&)>;

    void SetUp() override { hook(machine_); }
    void TearDown() override { EXPECT_EQ(tiny_.troubles, std::vector<std::string>{}); }

    void hook(Machine& machine) {
        Machine::Hooks hooks;
        for (const SystemCall& call : addresses_.calls)
            hooks.emplace(call.address, [this, &machine](Processor processor, Location location) {
                return inject(machine, processor, location);
            });
        ASSERT_TRUE(machine.set_hooks(std::move(hooks)));
    }
    Machine::Work inject(Machine& machine, Processor processor, Location location) {
        CallInjection one(machine, addresses_.functions, processor, location);
        ++injections_;
        auto done = co_await work_(one);
        EXPECT_TRUE(done) << (done ? "" : done.error().what);
        auto left = one.leave();
        co_return left;
    }
    /// The guest runs until there is nothing left to do.
    void run() {
        ASSERT_TRUE(machine_.resume());
        for (int polls = 0; polls < 10'000; ++polls) {
            const auto polled = machine_.poll(std::chrono::milliseconds(0));
            ASSERT_TRUE(polled) << polled.error().what;
            if (*polled == Polled::idle) return;
        }
        FAIL() << "it never ends";
    }
    /// Task number `task` begins the system call in which calls are injected.
    void begin_call(std::size_t on, std::uint64_t task, std::uint64_t name) {
        kernel_.make_call(on, task, Call::delete_module, {name, 0, 0});
    }
    /// Ends the watch while task 0 is in a call of get_file that was injected. `before`: its registers before
    /// it.
    void die_in_a_call(TinyMachine::Registers& before) {
        work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
            before = tiny_.processors[0].registers;
            auto value = co_await injection.call(addresses_.functions.get_file, 5);
            co_return sys::Result<void>{};
        };
        tiny_.define(addresses_.functions.get_file,
                     [&](std::size_t on) { tiny_.processors[on].busy = false; });
        begin_call(0, 0, TinyKernel::user);
        run();
        ASSERT_EQ(machine_.halt(), Machine::Halt::halted);
    }
    /// All of the frame's magic is gone from the task's stack.
    void expect_clean_stack(std::uint64_t task) {
        const std::array magic = {std::byte{0x72}, std::byte{0x61}, std::byte{0x75}, std::byte{0x67}};
        const auto stack = tiny_.bytes_at(kernel_.stack_of(task) - 0x2000, 0x2000);
        EXPECT_TRUE(std::ranges::search(stack, magic).empty());
    }
    /// Where the tasks were stopped in which a predecessor injected calls.
    Machine::Hooks hooks() const {
        Machine::Hooks hooks;
        for (const SystemCall& call : addresses_.calls)
            hooks.emplace(call.address, nullptr);
        return hooks;
    }
    std::uint64_t mask(std::uint64_t value) const { return value & GetParam()->address_mask(); }

    TinyMachine tiny_{*GetParam(), 2};
    TinyKernel kernel_{tiny_};
    KernelAddresses addresses_ = kernel_.addresses();
    Machine machine_{tiny_.debugger(), *GetParam()};
    Work work_ = [](CallInjection&) -> Task<sys::Result<void>> { co_return sys::Result<void>{}; };
    int injections_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Every, CallInjectionTest, testing::ValuesIn([] {
                             std::vector<const Architecture*> rows;
                             for (const Architecture& row : architectures())
                                 rows.push_back(&row);
                             return rows;
                         }()),
                         [](const auto& one) { return std::string(one.param->name); });

TEST_P(CallInjectionTest, LeavesEveryRegisterAsItWasAndNothingOnTheStack) {
    std::optional<std::uint64_t> pid;
    TinyMachine::Registers before;
    TinyMachine::Registers after;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        before = tiny_.processors[0].registers;
        auto value = co_await injection.call(addresses_.functions.process_id, 7, 8, 9);
        if (value) pid = *value;
        auto left = injection.leave();
        after = tiny_.processors[0].registers;
        co_return left;
    };
    begin_call(0, 0, TinyKernel::user);
    tiny_.put_text(TinyKernel::user, "dummy");
    run();
    EXPECT_EQ(pid, 321U);
    for (const gdb::Register one : GetParam()->saved())
        EXPECT_EQ(after[one.number], before[one.number]) << one.number;
    EXPECT_EQ(kernel_.called, std::vector<std::string>{"getpid"});
    EXPECT_EQ(kernel_.removed, std::vector<std::string>{"dummy"})
        << "the call goes on as if nothing had been";
    EXPECT_EQ(injections_, 1);
    EXPECT_FALSE(machine_.busy());
    EXPECT_EQ(tiny_.breakpoints.size(), addresses_.calls.size()) << "the return_trampoline's is gone";
    expect_clean_stack(0);
}

TEST_P(CallInjectionTest, GivesCallsTheirArgumentsAndAnAlignedStack) {
    std::array<std::uint64_t, 3> given{};
    std::uint64_t stack = 0;
    tiny_.define_function(addresses_.functions.get_file, [&](std::array<std::uint64_t, 3> arguments) {
        given = arguments;
        stack = tiny_.reg(0, GetParam()->stack);
        return ~std::uint64_t{0};
    });
    std::uint64_t result = 0;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(addresses_.functions.get_file, 0x11, 0x2222'2222, 0x3333);
        result = value.value_or(0);
        co_return sys::Result<void>{};
    };
    begin_call(0, 0, TinyKernel::user);
    run();
    EXPECT_EQ(given, (std::array<std::uint64_t, 3>{0x11, 0x2222'2222, 0x3333}));
    EXPECT_EQ(result, GetParam()->address_mask());
    EXPECT_EQ((stack + (GetParam()->link ? 0 : GetParam()->word)) % 16, 0U);
    EXPECT_LT(stack, kernel_.stack_of(0) - CallInjection::scratch_bytes);
}

TEST_P(CallInjectionTest, OfAFunctionThatIsNotThereIsNotFoundAndChangesNothing) {
    std::optional<sys::ErrorKind> kind;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(0);
        if (!value) kind = value.error().kind;
        co_return sys::Result<void>{};
    };
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    run();
    EXPECT_EQ(kind, sys::ErrorKind::not_found);
    EXPECT_EQ(kernel_.removed.size(), 1U);
}

TEST_P(CallInjectionTest, ReadsMemoryThatOnlyTheGuestItselfSees) {
    std::vector<std::byte> expected(3000);
    for (std::size_t i = 0; i < expected.size(); ++i)
        expected[i] = static_cast<std::byte>(i % 253);
    const std::uint64_t hidden = GetParam()->kernel_base + 0x300'0000;
    tiny_.map(hidden, 0x2000, false);
    tiny_.put(hidden + 0x123, expected);
    std::vector<std::byte> bytes(expected.size());
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        return injection.read(hidden + 0x123, bytes);
    };
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    run();
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(kernel_.called, std::vector<std::string>(3, "memcpy"));
    expect_clean_stack(0);
}

TEST_P(CallInjectionTest, ReadsATextOfTheProcessAndGivesItsCopyBack) {
    sys::Result<std::string> good;
    sys::Result<std::string> long_one;
    sys::Result<std::string> nowhere;
    const std::string text(200, 'x');
    tiny_.put_text(TinyKernel::user + 0xfe0, text); // over the end of a page
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        good = co_await injection.user_text(TinyKernel::user + 0xfe0, 201);
        long_one = co_await injection.user_text(TinyKernel::user + 0xfe0, 200);
        nowhere = co_await injection.user_text(0x10, 100);
        co_return sys::Result<void>{};
    };
    begin_call(0, 0, TinyKernel::user + 0xfe0);
    run();
    EXPECT_EQ(good, text);
    ASSERT_FALSE(long_one);
    EXPECT_EQ(long_one.error().kind, sys::ErrorKind::invalid);
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(nowhere.error().kind, sys::ErrorKind::invalid);
    EXPECT_EQ(kernel_.allocated, 0U);
}

TEST_P(CallInjectionTest, TellsThePathOfAnOpenFileAndLetsGoOfIt) {
    kernel_.files[3] = {"/lib/modules/6.1/dummy.ko", {}};
    kernel_.files[4] = {"/" + std::string(1500, 'd'), {}};
    sys::Result<std::string> path;
    sys::Result<std::string> closed;
    sys::Result<std::string> long_one;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        path = co_await injection.path_of(3);
        closed = co_await injection.path_of(9);
        long_one = co_await injection.path_of(4);
        co_return sys::Result<void>{};
    };
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    run();
    EXPECT_EQ(path, "/lib/modules/6.1/dummy.ko");
    EXPECT_EQ(closed, "");
    EXPECT_FALSE(long_one);
    EXPECT_EQ(std::ranges::count(kernel_.called, "fput"), 2) << "one for each that was open";
}

TEST_P(CallInjectionTest, OfTwoTasksInTheSameCallAreToldApartByTheirStacks) {
    std::map<std::uint64_t, std::uint64_t> results; // by stack pointer
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(addresses_.functions.get_file, injection.location().stack);
        results[injection.location().stack] = value.value_or(0);
        co_return sys::Result<void>{};
    };
    // The first one sleeps in the call until the second one has come back from it.
    std::optional<std::size_t> sleeper;
    tiny_.define(addresses_.functions.get_file, [&](std::size_t on) {
        if (!std::exchange(sleeper, on)) {
            tiny_.processors[on].busy = false;
            return;
        }
        tiny_.give_back(on, tiny_.arguments(on)[0] + 1);
    });
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    tiny_.events.emplace_back([&] { begin_call(1, 1, TinyKernel::user); });
    tiny_.events.emplace_back([&] {
        tiny_.processors[0].busy = true;
        tiny_.give_back(0, tiny_.arguments(0)[0] + 1);
    });
    run();
    ASSERT_EQ(results.size(), 2U);
    for (const auto& [stack, result] : results)
        EXPECT_EQ(result, stack + 1);
    EXPECT_EQ(kernel_.removed.size(), 2U);
    EXPECT_FALSE(machine_.busy());
    EXPECT_EQ(tiny_.breakpoints.size(), addresses_.calls.size());
    expect_clean_stack(0);
    expect_clean_stack(1);
}

TEST_P(CallInjectionTest, OfATaskThatComesBackOnAnotherProcessorGoesOnThere) {
    std::optional<gdb::ThreadId> came_back_on;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(addresses_.functions.get_file, 5);
        EXPECT_EQ(value, 55U);
        came_back_on = injection.processor().thread();
        auto again = co_await injection.call(addresses_.functions.process_id);
        EXPECT_EQ(again, 321U);
        co_return sys::Result<void>{};
    };
    tiny_.define(addresses_.functions.get_file, [&](std::size_t on) {
        tiny_.give_back(on, 55);
        std::swap(tiny_.processors[0], tiny_.processors[1]);
    });
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    run();
    EXPECT_EQ(came_back_on, (gdb::ThreadId{1, 2}));
    EXPECT_EQ(kernel_.removed.size(), 1U);
    EXPECT_FALSE(machine_.busy());
    expect_clean_stack(0);
}

TEST_P(CallInjectionTest, WhoComesToTheReturnTrampolineWithAnotherStackIsNotTakenForTheTask) {
    std::optional<std::uint64_t> result;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(addresses_.functions.get_file, 5);
        result = value.value_or(0);
        co_return sys::Result<void>{};
    };
    tiny_.define(addresses_.functions.get_file, [&](std::size_t on) { tiny_.processors[on].busy = false; });
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    tiny_.events.emplace_back([&] { // the kernel itself panics on another processor
        tiny_.reg(1, GetParam()->stack) = kernel_.stack_of(1);
        tiny_.call(1, addresses_.functions.return_trampoline, {}, 0);
    });
    run();
    EXPECT_FALSE(result);
    EXPECT_TRUE(machine_.busy()) << "and is waited for as before";
    EXPECT_EQ(std::exchange(tiny_.troubles, {}), std::vector<std::string>{"the kernel panics"});
}

TEST_P(CallInjectionTest, ThatWaitsIsForgottenWithTheKernelItWasIn) {
    bool came_back = false;
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        auto value = co_await injection.call(addresses_.functions.get_file, 5);
        came_back = true;
        co_return sys::Result<void>{};
    };
    tiny_.define(addresses_.functions.get_file, [&](std::size_t on) { tiny_.processors[on].busy = false; });
    begin_call(0, 0, TinyKernel::user);
    run();
    ASSERT_TRUE(machine_.busy());
    EXPECT_TRUE(machine_.expects_at(addresses_.functions.return_trampoline));
    ASSERT_EQ(machine_.halt(), Machine::Halt::halted);
    ASSERT_TRUE(machine_.forget());
    EXPECT_FALSE(machine_.busy());
    EXPECT_FALSE(machine_.expects_at(addresses_.functions.return_trampoline));
    EXPECT_EQ(tiny_.breakpoints.size(), addresses_.calls.size());
    tiny_.give_back(0, 1);
    tiny_.processors[0].busy = true;
    run();
    EXPECT_FALSE(came_back);
    EXPECT_EQ(std::exchange(tiny_.troubles, {}), std::vector<std::string>{"the kernel panics"});
}

TEST_P(CallInjectionTest, LeftByADeadPredecessorIsPutBackAtTheReturnTrampoline) {
    TinyMachine::Registers before;
    die_in_a_call(before);
    tiny_.give_back(0, 1); // it comes back to the return trampoline, and what waited for it is gone
    ASSERT_EQ(tiny_.reg(0, GetParam()->pc), addresses_.functions.return_trampoline);
    ASSERT_EQ(CallInjection::recover(machine_.processor({1, 1}), hooks()), true);
    for (const gdb::Register one : GetParam()->saved())
        EXPECT_EQ(tiny_.reg(0, one), before[one.number]) << one.number;
    expect_clean_stack(0);
    EXPECT_EQ(CallInjection::recover(machine_.processor({1, 1}), hooks()), false) << "and that is that";
}

TEST_P(CallInjectionTest, LeftByADeadPredecessorIsPutBackAtTheEntry) {
    TinyMachine::Registers before;
    die_in_a_call(before);
    tiny_.processors[0].registers = before; // the frame was made, or not yet wiped, when it died
    tiny_.reg(0, GetParam()->arguments[0]) = mask(0x4711);
    ASSERT_EQ(CallInjection::recover(machine_.processor({1, 1}), hooks()), true);
    for (const gdb::Register one : GetParam()->saved())
        EXPECT_EQ(tiny_.reg(0, one), before[one.number]) << one.number;
    expect_clean_stack(0);
}

TEST_P(CallInjectionTest, ProcessThatJumpsToAWatchedFunctionIsLeftAlone) {
    work_ = [&](CallInjection& injection)
        -> Task<sys::Result<void>> { // an injected call would write to the stack
        auto value = co_await injection.call(addresses_.functions.process_id);
        co_return sys::Result<void>{};
    };
    begin_call(0, 0, TinyKernel::user);
    tiny_.run_process(0, true); // with a stack pointer that it has made up
    const auto stack = tiny_.bytes_at(kernel_.stack_of(0) - 0x2000, 0x2000);
    run();
    EXPECT_EQ(injections_, 0);
    EXPECT_EQ(kernel_.called, std::vector<std::string>{});
    // Every byte: of a frame that was written and left only the magic would be gone.
    EXPECT_EQ(tiny_.bytes_at(kernel_.stack_of(0) - 0x2000, 0x2000), stack);
}

TEST_P(CallInjectionTest, NothingIsPutBackWhereNothingWasLeft) {
    begin_call(0, 0, TinyKernel::user);
    const auto before = tiny_.processors[0].registers;
    EXPECT_EQ(CallInjection::recover(machine_.processor({1, 1}), hooks()), false);
    EXPECT_EQ(tiny_.processors[0].registers, before);
    tiny_.reg(0, GetParam()->stack) = 0x10; // no memory there
    EXPECT_EQ(CallInjection::recover(machine_.processor({1, 1}), hooks()), false);
}

class ThumbCallInjectionTest : public CallInjectionTest {};
INSTANTIATE_TEST_SUITE_P(On, ThumbCallInjectionTest, testing::Values(find_architecture("armhf")));

TEST_P(ThumbCallInjectionTest, ReturnsFromThumbCodeByAnOddAddress) {
    std::uint64_t back = 0;
    tiny_.define(addresses_.functions.get_file, [&](std::size_t on) {
        back = tiny_.reg(on, *GetParam()->link);
        tiny_.give_back(on, 5);
    });
    work_ = [&](CallInjection& injection) -> Task<sys::Result<void>> {
        EXPECT_EQ(co_await injection.call(addresses_.functions.get_file), 5U);
        co_return sys::Result<void>{};
    };
    tiny_.put_text(TinyKernel::user, "dummy");
    begin_call(0, 0, TinyKernel::user);
    tiny_.reg(0, *GetParam()->state) = 0x1d3 | 0x20;
    tiny_.reg(0, *GetParam()->link) |= 1;
    kernel_.tasks.begin()->second.before = tiny_.processors[0].registers;
    run();
    EXPECT_EQ(back, addresses_.functions.return_trampoline | 1);
    EXPECT_EQ(kernel_.removed.size(), 1U);
}

TEST(ErrorPointers, AreTheLast4095Addresses) {
    const Architecture& wide = *find_architecture("amd64");
    const Architecture& narrow = *find_architecture("armhf");
    EXPECT_TRUE(is_error_pointer(static_cast<std::uint64_t>(-1), wide));
    EXPECT_TRUE(is_error_pointer(static_cast<std::uint64_t>(-4095), wide));
    EXPECT_FALSE(is_error_pointer(static_cast<std::uint64_t>(-4096), wide));
    EXPECT_FALSE(is_error_pointer(0, wide));
    EXPECT_TRUE(is_error_pointer(0xffff'f001, narrow));
    EXPECT_FALSE(is_error_pointer(0xffff'f000, narrow));
}

} // namespace
} // namespace kmodguard::guest
