// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how the hook carries out a plan: what ends a group and what does not, what it hands to the original
// handler, and that it loads the file that was judged or none. No module is loaded here, for the files hold
// none; which image was tried, and why it failed, is in the log.
#include "autoload/hook_fixture.hpp"
#include "enforce/autoload/hook/hook_parts.hpp"
#include "fake_daemon.hpp"
#include "protocol/message.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tuple>

namespace kmodguard::autoload {
namespace {

using Log = std::vector<std::string>;

static_assert(max_images == protocol::max_images, "the hook, which has no library, takes what it is sent");

class HookPlanTest : public HookFixture {
  protected:
    HookPlanTest() {
        directory.write("image.ko", "no module");
        struct stat status{};
        EXPECT_EQ(::stat(image.c_str(), &status), 0);
        identity = {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
                    status.st_size, status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
    }
    static std::string failure(const std::string& module, const std::string& why) {
        return log_prefix + "cannot load " + module + " for kmt_token: " + why;
    }
    static std::string judged(const std::vector<std::int64_t>& file) {
        return fmt::format("judged {} {} {} {}\n", file[0], file[1], file[2], file[3]);
    }
    void make_loaded(const std::string& module, const std::string& state) const {
        std::filesystem::create_directories(directory / ("loaded/" + module));
        directory.write("loaded/" + module + "/initstate", state);
    }
    const std::string image = directory / "image.ko";
    const std::string missing = directory / "missing.ko";
    const std::string not_there = "No such file or directory";
    const std::string changed = "Stale file handle (its file changed after it was judged)";
    std::vector<std::int64_t> identity;
};

TEST_F(HookPlanTest, ModprobeStepRunsTheSavedOriginalForThatModuleAlone) {
    EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_b\njudged any\nmodprobe soft "
                         "kmt_c\njudged any\nmodprobe required kmt_a\nOK\n"),
              hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_b]\n[-q][--][kmt_c]\n[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, ModprobeIsAskedByTheAliasThatThePlanNamesForThatStepAlone) {
    EXPECT_EQ(run_answer("group kmt_a\nasked kmt alias\njudged any\nmodprobe required kmt_a \n"
                         "judged any\nmodprobe required kmt_a \nOK\n"),
              hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt alias]\n[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, SavedOriginalWithoutANewlineIsReadToo) {
    directory.write("original_modprobe", (directory / "modprobe").native());
    EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, LostOriginalIsAFailureThatSaysWhatToDo) {
    for (const char* handler : {"", "\n", "modprobe\n"}) {
        directory.write("original_modprobe", handler);
        EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_failed);
        EXPECT_EQ(
            log(),
            (Log{log_prefix + "the original handler is not known, so kmt_a cannot be loaded: kmodctl arm",
                 failure("kmt_a", not_there)}));
    }
    directory.write("original_modprobe", "/no/such/program\n");
    EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", not_there)});
}

TEST_F(HookPlanTest, OriginalThatFailsIsAFailure) {
    for (const char* script : {"#!/bin/sh\nexit 1\n", "#!/bin/sh\nkill -9 $$\n"}) {
        original(script);
        EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_failed);
        EXPECT_EQ(log().size(), 1U);
    }
}

TEST_F(HookPlanTest, RequiredStepThatFailsEndsItsGroupButNotTheNext) {
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_base " + missing
                         + "\njudged any\nmodprobe required kmt_a\ninsert required kmt_z " + missing
                         + "\ngroup kmt_b\njudged any\nmodprobe required kmt_b\nOK\n"),
              hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_base", not_there)});
    EXPECT_EQ(trace(), "[-q][--][kmt_b]\n");
}

TEST_F(HookPlanTest, LaterSuccessDoesNotHideAnEarlierFailure) {
    EXPECT_EQ(
        run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\ngroup kmt_b\ninsert required kmt_b "
                   + missing + "\nOK\n"),
        hook_failed);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, SoftFailuresAreLoggedAndIgnored) {
    EXPECT_EQ(run_answer("group kmt_a\ninsert soft kmt_s " + missing
                         + "\njudged any\nmodprobe required kmt_a\nOK\n"),
              hook_done);
    EXPECT_EQ(log(), Log{failure("kmt_s", not_there)});
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, DependencyThatIsLiveIsNotLoadedAgain) {
    make_loaded("kmt_base", "live\n");
    make_loaded("kmt_coming", "coming\n");
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_base " + missing
                         + "\njudged any\nmodprobe required kmt_a\nOK\n"),
              hook_done);
    EXPECT_EQ(log(), Log{});
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_coming " + missing + "\nOK\n"), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_coming", not_there)});
}

TEST_F(HookPlanTest, WhatTheGroupIsForIsTriedEvenIfItLooksLive) {
    make_loaded("kmt_a", "live\n");
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_a " + missing + "\nOK\n"), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", not_there)});
}

TEST_F(HookPlanTest, FileThatIsTheJudgedOneIsHandedToTheKernel) {
    EXPECT_EQ(run_answer("group kmt_a\n" + judged(identity) + "insert required kmt_a " + image + "\nOK\n"),
              hook_failed);
    const Log messages = log(); // the kernel has no right to it, or finds no module in it
    ASSERT_EQ(messages.size(), 1U);
    EXPECT_NE(messages.front(), failure("kmt_a", changed));
    EXPECT_NE(messages.front(), failure("kmt_a", not_there));
    EXPECT_TRUE(messages.front().starts_with(failure("kmt_a", ""))) << messages.front();
}

/// ENOSYS, as the kernel point answers to compressed content that nobody has checked, and a kernel without
/// modules to everything: the original handler unpacks it. Any other answer is a failure.
TEST_F(HookPlanTest, CompressedFileThatTheKernelWantsUnpackedGoesToTheOriginalHandler) {
    const bool wants_unpacked = ::syscall(SYS_finit_module, -1, "", 4) != 0 && errno == ENOSYS;
    const int result = run_answer("group kmt_a\n" + judged(identity) + "insert-compressed required kmt_a "
                                  + image + "\nOK\n");
    EXPECT_EQ(result, wants_unpacked ? hook_done : hook_failed);
    EXPECT_EQ(trace(), wants_unpacked ? "[-q][--][kmt_a]\n" : "");
}

TEST_F(HookPlanTest, FileOtherThanTheJudgedOneIsNotLoaded) {
    for (std::size_t i = 0; i < identity.size(); ++i)
        for (const std::int64_t difference : {-1, 1}) {
            auto other = identity;
            other[i] += difference;
            EXPECT_EQ(
                run_answer("group kmt_a\n" + judged(other) + "insert required kmt_a " + image + "\nOK\n"),
                hook_failed);
            EXPECT_EQ(log(), Log{failure("kmt_a", changed)}) << "number " << i << " " << difference;
        }
}

TEST_F(HookPlanTest, FileThatWasReplacedAfterItWasJudgedIsNotLoaded) {
    directory.write("other.ko", "no module"); // the same size
    std::filesystem::rename(directory / "other.ko", image);
    EXPECT_EQ(run_answer("group kmt_a\n" + judged(identity) + "insert required kmt_a " + image + "\nOK\n"),
              hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", changed)});
}

/// The daemon answers by what it has judged, and looks at no file; so it is asked to look.
TEST_F(HookPlanTest, FileThatChangedIsAskedAboutOnceMore) {
    auto other = identity;
    ++other[1];
    const std::string outdated =
        "group kmt_a\n" + judged(other) + "insert required kmt_a " + image + "\nOK\n";
    const std::string gone = "group kmt_a\n" + judged(identity) + "insert soft kmt_a " + missing + "\nOK\n";
    const std::string by_modprobe =
        "group kmt_a\n" + judged(other) + "modprobe required kmt_a " + image + "\nOK\n";
    for (const std::string& first : {outdated, gone, by_modprobe}) {
        for (const auto& [second, result, log] :
             {std::tuple{std::string("DENY\n"), hook_refused, Log{}},
              std::tuple{std::string("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_done,
                         Log{}},
              std::tuple{outdated, hook_failed, Log{failure("kmt_a", changed)}}}) {
            const test::FakeDaemon daemon(
                socket, [&](test::FakeDaemon::Connection& connection, const std::string& request) {
                    connection.send(request.starts_with("AUTOLOAD ") ? first : second);
                });
            EXPECT_EQ(HookFixture::request(), result) << first << second;
            EXPECT_EQ(daemon.requests(), (Log{"AUTOLOAD kmt_token", "REJUDGE kmt_token"}));
            EXPECT_EQ(this->log(), log);
        }
    }
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n[-q][--][kmt_a]\n[-q][--][kmt_a]\n");
}

/// That the kernel loads it is shown in tests/vm.
TEST_F(HookPlanTest, UnpackedImageIsNotLoadedForAFileThatIsNotTheOneThatWasJudged) {
    const sys::UniqueFd unpacked = sys::sealed_image_file("image", "no module");
    auto other = identity;
    ++other[1];
    const auto answer = [&](const std::vector<std::int64_t>& state, const std::string& path) {
        const std::string text = "group kmt_a\n" + judged(state)
                                 + "unpacked 4096\ninsert-compressed required kmt_a " + path + "\nOK\n";
        const test::FakeDaemon daemon(socket,
                                      [&](test::FakeDaemon::Connection& connection, const std::string&) {
                                          connection.send_with(unpacked, text);
                                      });
        return request();
    };
    EXPECT_EQ(answer(other, image), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", changed)});
    EXPECT_EQ(answer(identity, missing), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", changed)});
    EXPECT_EQ(answer(identity, image), hook_failed);
    const Log messages = log(); // the kernel has no right to it, or finds no module in it
    ASSERT_EQ(messages.size(), 1U);
    EXPECT_NE(messages.front(), failure("kmt_a", changed));
}

/// As where a security module does not let a descriptor through: then it is loaded by its file.
TEST_F(HookPlanTest, UnpackedImageThatDidNotComeIsLoadedByItsFile) {
    for (const char* lines :
         {"unpacked 1\n", "unpacked 1\nunpacked 1\nunpacked 1\nunpacked 1\nunpacked 1\nunpacked "
                          "1\nunpacked 1\nunpacked 1\nunpacked 1\n"}) {
        EXPECT_EQ(run_answer("group kmt_a\n" + judged(identity) + lines + "insert required kmt_a " + missing
                             + "\nOK\n"),
                  hook_failed);
        EXPECT_EQ(log(), Log{failure("kmt_a", not_there)});
    }
}

TEST_F(HookPlanTest, WhatWasLoadedBeforeAChangeWasFoundIsNotLoadedAgain) {
    original("#!/bin/sh\necho $3 >>" + (directory / "trace").native() + "\nmkdir -p " + loaded
             + "/$3\necho live >" + loaded + "/$3/initstate\n");
    auto other = identity;
    ++other[3];
    const std::string first = "group kmt_a\njudged any\nmodprobe required kmt_a\ngroup kmt_b\n"
                              + judged(other) + "insert required kmt_b " + image + "\nOK\n";
    const std::string second = "group kmt_a\njudged any\nmodprobe required kmt_a\ngroup kmt_b\njudged any\n"
                               "modprobe required kmt_b\nOK\n";
    const test::FakeDaemon daemon(socket,
                                  [&](test::FakeDaemon::Connection& connection, const std::string& request) {
                                      connection.send(request.starts_with("AUTOLOAD ") ? first : second);
                                  });
    EXPECT_EQ(request(), hook_done);
    EXPECT_EQ(trace(), "kmt_a\nkmt_b\n");
}

TEST_F(HookPlanTest, JudgedLineIsForTheNextStepOnly) {
    auto other = identity;
    ++other[1];
    for (const std::string& next : {judged(identity), std::string("judged any\n")}) {
        EXPECT_EQ(run_answer("group kmt_a\n" + judged(other) + "insert soft kmt_s " + image + "\n" + next
                             + "insert required kmt_a " + image + "\nOK\n"),
                  hook_failed);
        const Log messages = log();
        ASSERT_EQ(messages.size(), 2U);
        EXPECT_EQ(messages[0], failure("kmt_s", changed));
        EXPECT_NE(messages[1], failure("kmt_a", changed)) << next;
    }
}

/// It was loaded as if there were no such line.
TEST_F(HookPlanTest, JudgedLineThatCannotBeReadMatchesNoFile) {
    for (const std::string& line :
         {std::string("judged"), std::string("judged x"), std::string("judged 1 2 3 x"),
          std::string("judged 1 2"), std::string("judged -1 -2 -3 -4")}) {
        EXPECT_EQ(run_answer("group kmt_a\n" + line + "\ninsert required kmt_a " + image + "\nOK\n"),
                  hook_failed);
        EXPECT_EQ(log(), Log{failure("kmt_a", changed)}) << line;
    }
}

TEST_F(HookPlanTest, WhatWasNotJudgedIsNotLoaded) {
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_a " + image + "\nOK\n"), hook_failed);
    EXPECT_EQ(log(), Log{failure("kmt_a", changed)});
    EXPECT_EQ(run_answer("group kmt_a\nmodprobe required kmt_a " + image + "\nOK\n"), hook_failed);
    EXPECT_EQ(trace(), "");
}

TEST_F(HookPlanTest, ModprobeStepIsForTheFileThatWasJudged) {
    auto other = identity;
    ++other[1];
    EXPECT_EQ(run_answer("group kmt_a\n" + judged(other) + "modprobe required kmt_a " + image + "\nOK\n"),
              hook_failed);
    EXPECT_EQ(trace(), "");
    EXPECT_EQ(run_answer("group kmt_a\n" + judged(identity) + "modprobe required kmt_a " + image + "\nOK\n"),
              hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
}

TEST_F(HookPlanTest, WhatIsNoRegularFileIsNotWaitedFor) {
    ASSERT_EQ(::mkfifo((directory / "fifo.ko").c_str(), 0600), 0);
    EXPECT_EQ(run_answer("group kmt_a\ninsert required kmt_a " + (directory / "fifo.ko").native() + "\nOK\n"),
              hook_failed);
    EXPECT_EQ(log().size(), 1U);
}

TEST_F(HookPlanTest, PathMayHaveBlanks) {
    std::filesystem::rename(image, directory / "a b.ko");
    EXPECT_EQ(run_answer("group kmt_a\njudged any\ninsert required kmt_a " + (directory / "a b.ko").native()
                         + "\nOK\n"),
              hook_failed);
    const Log messages = log();
    ASSERT_EQ(messages.size(), 1U);
    EXPECT_NE(messages.front(), failure("kmt_a", not_there));
}

TEST_F(HookPlanTest, LinesThatItDoesNotKnowArePassedOver) {
    EXPECT_EQ(run_answer("\n \nfuture x\nmodprobes required kmt_b\n modprobe required kmt_b\ngroup "
                         "kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"),
              hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
    EXPECT_EQ(log(), Log{});
}

} // namespace
} // namespace kmodguard::autoload
