// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what becomes of the records that the kernel's programs leave: the event, with the reason that
// decide() gives where the record is of the same policy, who asked, and from which container.
#include "enforce/kernel/records.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>
#include <time.h> // NOLINT(modernize-deprecated-headers): clock_gettime

#include <algorithm>
#include <chrono>
#include <cstring>

namespace kmodguard::kernel {
namespace {

using core::Reason;
using core::Verdict;
using namespace std::chrono_literals;

/// As the programs write it: from the last component to the first.
guard_path path(const std::vector<std::string>& components, bool whole = true) {
    guard_path written{};
    for (const std::string& component : components) {
        std::memcpy(written.text + written.size, component.data(), component.size());
        written.size += static_cast<std::uint32_t>(component.size() + 1);
    }
    written.whole = whole ? 1 : 0;
    return written;
}

TEST(RecordPath, IsTurnedAround) {
    EXPECT_EQ(path_of(path({"modprobe", "bin", "usr"})), "/usr/bin/modprobe");
    EXPECT_EQ(path_of(path({"modprobe"})), "/modprobe");
}

TEST(RecordPath, WithoutComponentsThereIsNone) {
    EXPECT_EQ(path_of(guard_path{}), "");
    EXPECT_EQ(path_of(path({})), "");
}

TEST(RecordPath, ShowsThatItsBeginningIsMissing) {
    EXPECT_EQ(path_of(path({"c.ko", "b"}, false)), ".../b/c.ko");
}

TEST(RecordPath, FileThatNoMountShowsHasNoSlashOfItsOwn) {
    EXPECT_EQ(path_of(path({"memfd:module"}, false)), ".../memfd:module");
    EXPECT_EQ(path_of(path({"c.ko", "/"}, false)), "...//c.ko");
}

TEST(RecordPath, OneThatIsFullIsReadToItsEndAndNotBeyond) {
    guard_path full = path({"x"});
    std::memset(full.text, 'a', sizeof full.text);
    full.size = sizeof full.text;
    EXPECT_EQ(path_of(full), "/" + std::string(sizeof full.text, 'a'));
    full.size = sizeof full.text + 1000;
    EXPECT_EQ(path_of(full), "/" + std::string(sizeof full.text, 'a'));
}

const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

TEST(Container, IsFoundWhereTheEnginesPutIt) {
    EXPECT_EQ(events::container_of_cgroup("/system.slice/docker-" + id + ".scope"), id);
    EXPECT_EQ(events::container_of_cgroup("/docker/" + id), id);
    EXPECT_EQ(events::container_of_cgroup("/machine.slice/libpod-" + id + ".scope"), id);
    EXPECT_EQ(events::container_of_cgroup("/machine.slice/libpod-" + id + ".scope/container"), id);
    EXPECT_EQ(events::container_of_cgroup(
                  "/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:" + id),
              id);
    EXPECT_EQ(events::container_of_cgroup(
                  "/kubepods.slice/kubepods-burstable.slice/"
                  "kubepods-burstable-pod3c2f5b4e_8f5e_4f0a_9d38_2f6f3b1c9a77.slice/cri-containerd-"
                  + id + ".scope"),
              id);
    EXPECT_EQ(events::container_of_cgroup("/kubepods.slice/kubepods-pod3c2f5b4e.slice/crio-" + id + ".scope"),
              id);
    EXPECT_EQ(events::container_of_cgroup("/lxc.payload.web-1"), "web-1");
    EXPECT_EQ(events::container_of_cgroup("/lxc.payload.web-1/system.slice/cron.service"), "web-1");
}

TEST(Container, IsNotTakenFromANameThatAUserMayChoose) {
    const std::string other(64, 'f');
    EXPECT_EQ(events::container_of_cgroup("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"
                                          + id + ".scope/container"),
              "");
    EXPECT_EQ(events::container_of_cgroup("/user.slice/user-1000.slice/user@1000.service/lxc.payload.web"),
              "");
    EXPECT_EQ(events::container_of_cgroup("/system.slice/web.service/" + id), "");
    EXPECT_EQ(
        events::container_of_cgroup("/machine.slice/libpod-" + id + ".scope/docker-" + other + ".scope"), id);
    EXPECT_EQ(events::container_of_cgroup("/lxc.payload.web/docker/" + id), "web");
    EXPECT_EQ(events::container_of_cgroup("/docker/" + id + "/lxc.payload.web"), id);
    EXPECT_EQ(events::container_of_cgroup(".../docker/" + id), "") << "what is before is not known";
}

TEST(Container, IsNoneWhereNothingNamesOne) {
    EXPECT_EQ(events::container_of_cgroup(""), "");
    EXPECT_EQ(events::container_of_cgroup("/"), "");
    EXPECT_EQ(events::container_of_cgroup("/user.slice/user-1000.slice/session-3.scope"), "");
    EXPECT_EQ(events::container_of_cgroup("/system.slice/" + id.substr(1) + ".scope"), "") << "63 digits";
    EXPECT_EQ(events::container_of_cgroup("/system.slice/" + id + "0.scope"), "") << "65 digits";
    EXPECT_EQ(events::container_of_cgroup("/system.slice/" + std::string(64, 'F')), "") << "upper case";
    EXPECT_EQ(events::container_of_cgroup("/lxc.monitor.web-1"), "");
}

class EventTest : public ::testing::Test {
  protected:
    EventTest() {
        index.module("loop").alias("block-major-7-*");
        index.module("cifs").alias("fs-cifs");
        index.module("ext4").needs("jbd2");
        index.module("jbd2");
        record.generation = 7;
        record.kind = GUARD_IMAGE;
        record.reason = GUARD_NOT_LISTED;
        record.refused = 1;
        set_name("loop");
    }

    void set_name(std::string_view name) {
        record.name = name_key(name).value();
        record.modinfo_name = record.name;
    }
    /// The event of `record` where the daemon's policy is this one, of generation 7.
    events::Attempt event(const test::PolicyBuilder& builder = test::PolicyBuilder()) {
        const core::Policy policy = builder.build();
        const core::Admissions admissions(policy, index);
        return event_of(record, {policy, index, admissions, 7});
    }
    core::ModuleDecision judged(const test::PolicyBuilder& builder = test::PolicyBuilder()) {
        return event(builder).decision.modules.at(0);
    }

    test::FakeIndex index;
    guard_record record{};
};

TEST_F(EventTest, IsOfTheKernelPointAndOfTheGenerationThatJudged) {
    record.generation = 5;
    const events::Attempt made = event();
    EXPECT_EQ(made.point, core::Point::kernel);
    EXPECT_EQ(made.generation, 5U);
}

TEST_F(EventTest, TellsTheCallAndTheFile) {
    record.call = GUARD_INIT_MODULE;
    EXPECT_EQ(event().call, "init_module");
    EXPECT_EQ(event().file, "");
    record.call = GUARD_FINIT_MODULE;
    record.file = path({"loop.ko", "lib"});
    EXPECT_EQ(event().call, "finit_module");
    EXPECT_EQ(event().file, "/lib/loop.ko");
}

TEST_F(EventTest, HasTheHashOnlyIfOneWasMade) {
    EXPECT_EQ(event().sha256, std::nullopt);
    record.hashed = 1;
    std::ranges::copy(test::content(3), record.sha256);
    EXPECT_EQ(event().sha256, test::content(3));
}

TEST_F(EventTest, TellsWhoAsked) {
    guard_requester& by = record.requester;
    by.pid = 12;
    by.thread = 13;
    by.uid = 4294967294;
    by.user_namespace = 4026531837;
    std::memcpy(by.command, "a_name_of_15_ch", 15);
    by.executable = path({"modprobe", "sbin"});
    by.cgroup = path({"docker-" + id + ".scope", "system.slice"});
    const events::Requester requester = event().requester.value();
    EXPECT_EQ(requester.pid, 12);
    EXPECT_EQ(requester.uid, 4294967294U);
    EXPECT_EQ(requester.user_namespace, 4026531837U);
    EXPECT_EQ(requester.command, "a_name_of_15_ch");
    EXPECT_EQ(requester.executable, "/sbin/modprobe");
    EXPECT_EQ(requester.cgroup, "/system.slice/docker-" + id + ".scope");
    EXPECT_EQ(requester.container, id);
}

TEST_F(EventTest, AKernelThreadIsNoUsersProcess) {
    record.requester.uid = 0;
    record.requester.kernel_thread = 1;
    std::memcpy(record.requester.command, "cryptomgr_probe", 15);
    const events::Requester requester = event().requester.value();
    EXPECT_TRUE(requester.kernel_thread);
    EXPECT_EQ(requester.uid, std::nullopt) << "root has not asked";
    EXPECT_TRUE(events::summary(event()).contains("(by the kernel's thread cryptomgr_probe[0])"))
        << events::summary(event());
}

TEST_F(EventTest, TheRootOfAllCgroupsIsASlashAndOneThatWasNotReadIsNothing) {
    record.requester.cgroup = path({});
    EXPECT_EQ(requester_of(record).cgroup, "/");
    record.requester.cgroup.whole = 0;
    EXPECT_EQ(requester_of(record).cgroup, "");
}

TEST_F(EventTest, ClockSinceBootBecomesTheWallClock) {
    timespec now{};
    ASSERT_EQ(::clock_gettime(CLOCK_BOOTTIME, &now), 0);
    const auto before = std::chrono::system_clock::now();
    constexpr std::uint64_t second = 1'000'000'000;
    record.time = static_cast<std::uint64_t>(now.tv_sec) * second + static_cast<std::uint64_t>(now.tv_nsec)
                  + 3600 * second;
    const auto after_an_hour = time_of(record.time);
    EXPECT_GT(after_an_hour, before + 1h - 30s);
    EXPECT_LT(after_an_hour, before + 1h + 30s);
}

TEST_F(EventTest, AdmittedModuleIsAllowedForTheReasonOnRecord) {
    record.reason = GUARD_ADMITTED;
    record.refused = 0;
    record.generation = 6;
    for (const Reason reason : {Reason::listed, Reason::alias_listed, Reason::dependency}) {
        record.admission = static_cast<std::uint32_t>(reason);
        const core::Decision decision = event().decision;
        EXPECT_EQ(decision.judged, Verdict::allow);
        EXPECT_EQ(decision.effective(), Verdict::allow);
        EXPECT_EQ(decision.reason, reason);
        EXPECT_EQ(decision.modules.at(0).reason, reason);
        EXPECT_EQ(decision.modules.at(0).module, "loop");
    }
}

TEST_F(EventTest, AdmissionForAReasonThatIsNoneIsStillAnAdmission) {
    record.reason = GUARD_ADMITTED;
    record.refused = 0;
    record.generation = 6;
    for (const std::uint32_t reason : {static_cast<std::uint32_t>(Reason::not_listed), 1000U}) {
        record.admission = reason;
        EXPECT_EQ(event().decision.judged, Verdict::allow) << reason;
    }
}

struct Refusal {
    guard_reason recorded;
    Reason reason;
    const char* detail;
};

TEST_F(EventTest, EveryRefusalHasItsReasonAndItsDetail) {
    const std::vector<Refusal> refusals = {
        {GUARD_NOT_LISTED, Reason::not_listed, ""},
        {GUARD_TIGHTENED, Reason::not_listed, "it was taken away since the machine was sealed"},
        {GUARD_CONTRADICTORY, Reason::contradictory_image, "the image calls itself loop and loop_b"},
        {GUARD_PIN_MISMATCH, Reason::pin_mismatch, ""},
        {GUARD_TOO_LARGE_TO_HASH, Reason::pin_mismatch,
         "larger than the 67108864 bytes that are hashed in the kernel"},
        {GUARD_UNKNOWN_CONTENT, Reason::unreadable_image, "compressed, and this content was not checked"},
        {GUARD_NO_POLICY, Reason::no_policy, "there is no policy in the kernel"},
        {GUARD_IN_PIECES, Reason::unreadable_image, "the kernel would not show the whole image"},
        {GUARD_NOT_A_MODULE, Reason::not_a_module, "not an ELF file"},
    };
    record.modinfo_name = name_key("loop_b").value();
    record.generation = 6;
    for (const auto& [recorded, reason, detail] : refusals) {
        record.reason = recorded;
        const core::Decision decision = event().decision;
        EXPECT_EQ(decision.judged, Verdict::refuse) << recorded;
        EXPECT_EQ(decision.effective(), Verdict::refuse) << recorded;
        EXPECT_EQ(decision.mode, core::Mode::enforce) << recorded;
        EXPECT_EQ(decision.reason, reason) << recorded;
        EXPECT_EQ(decision.modules.at(0).reason, reason) << recorded;
        EXPECT_EQ(decision.modules.at(0).detail, detail) << recorded;
        EXPECT_EQ(decision.rule, std::nullopt) << recorded;
        EXPECT_TRUE(events::is_notable(event())) << recorded;
    }
}

TEST_F(EventTest, WhatIsNoModuleIsNotLoadedInAuditModeEither) {
    record.reason = GUARD_NOT_A_MODULE;
    record.name = {};
    record.refused = 0; // the kernel answers by itself
    EXPECT_EQ(event().decision.effective(), Verdict::refuse);
    EXPECT_FALSE(event().decision.audited());
}

TEST_F(EventTest, EveryProblemOfAnImageIsTold) {
    record.reason = GUARD_UNREADABLE;
    record.name = {};
    std::vector<std::string> told;
    for (std::uint32_t problem = GUARD_NOT_ELF; problem <= GUARD_FAULT; ++problem) {
        record.problem = problem;
        const core::ModuleDecision decision = judged();
        EXPECT_EQ(decision.reason, Reason::unreadable_image);
        EXPECT_FALSE(decision.detail.empty()) << problem;
        EXPECT_EQ(decision.detail.find("unknown"), std::string::npos) << problem;
        EXPECT_EQ(std::ranges::find(told, decision.detail), told.end()) << problem;
        told.push_back(decision.detail);
    }
    record.problem = GUARD_NOT_ELF;
    EXPECT_EQ(judged().detail, "not an ELF file");
    record.problem = GUARD_FAULT;
    EXPECT_EQ(judged().detail, "the image cannot be read");
    record.problem = GUARD_FAULT + 1; // of a later version of the programs
    EXPECT_EQ(judged().detail, "unknown (14)");
}

TEST_F(EventTest, WhatAuditModeLetPassIsJudgedARefusal) {
    record.refused = 0;
    const events::Attempt made = event();
    EXPECT_EQ(made.decision.judged, Verdict::refuse);
    EXPECT_EQ(made.decision.mode, core::Mode::audit);
    EXPECT_TRUE(made.decision.audited());
    EXPECT_TRUE(events::is_notable(made));
}

TEST_F(EventTest, RuleIsAddedIfThePolicyIsTheOneThatJudged) {
    const auto policy = test::PolicyBuilder().allow("ext4").deny("loop").deny_alias("fs-*");
    EXPECT_EQ(judged(policy).reason, Reason::denied_module);
    EXPECT_EQ(event(policy).decision.reason, Reason::denied_module);
    EXPECT_EQ(event(policy).decision.rule.value().line, 2U);
    EXPECT_EQ(event(policy).decision.rule, judged(policy).rule);
    set_name("cifs");
    EXPECT_EQ(judged(policy).reason, Reason::denied_alias);
    EXPECT_EQ(judged(policy).rule.value().line, 3U);
    record.generation = 6;
    EXPECT_EQ(judged(policy).reason, Reason::not_listed);
    EXPECT_EQ(judged(policy).rule, std::nullopt);
    EXPECT_EQ(event(policy).decision.rule, std::nullopt);
}

TEST_F(EventTest, RuleOfAnAdmittedModuleIsAddedLikewise) {
    const auto policy = test::PolicyBuilder().allow("ext4").allow_alias("block-*");
    record.reason = GUARD_ADMITTED;
    record.refused = 0;
    record.admission = static_cast<std::uint32_t>(Reason::alias_listed);
    EXPECT_EQ(judged(policy).rule.value().line, 2U);
    set_name("jbd2");
    record.admission = static_cast<std::uint32_t>(Reason::dependency);
    EXPECT_EQ(judged(policy).reason, Reason::dependency);
    EXPECT_EQ(judged(policy).because_of, "ext4");
    record.generation = 8;
    EXPECT_EQ(judged(policy).because_of, "");
}

TEST_F(EventTest, PinThatDidNotMatchIsNamed) {
    const auto policy = test::PolicyBuilder().allow("loop").pin("loop", test::content(1));
    record.reason = GUARD_PIN_MISMATCH;
    record.hashed = 1;
    std::ranges::copy(test::content(2), record.sha256);
    EXPECT_EQ(judged(policy).reason, Reason::pin_mismatch);
    EXPECT_EQ(judged(policy).rule.value().kind, core::RuleKind::pin);
    EXPECT_EQ(judged(policy).rule.value().line, 2U);
    EXPECT_EQ(judged(policy).detail, "sha256 " + core::to_hex(test::content(2)));
}

/// The policy is the same, and the index is not any more: a module was installed meanwhile.
TEST_F(EventTest, VerdictOnRecordStaysWhateverIsKnownNow) {
    const auto policy = test::PolicyBuilder().allow("loop");
    EXPECT_EQ(judged(policy).reason, Reason::not_listed);
    EXPECT_EQ(event(policy).decision.judged, Verdict::refuse);
    EXPECT_EQ(judged(policy).rule, std::nullopt);
    set_name("cifs");
    record.reason = GUARD_ADMITTED;
    record.refused = 0;
    record.admission = static_cast<std::uint32_t>(Reason::dependency);
    EXPECT_EQ(judged(policy).reason, Reason::dependency);
    EXPECT_EQ(event(policy).decision.judged, Verdict::allow);
}

TEST_F(EventTest, WhatLoadsIsTheModuleAlone) {
    set_name("ext4");
    record.reason = GUARD_ADMITTED;
    record.refused = 0;
    record.admission = static_cast<std::uint32_t>(Reason::listed);
    EXPECT_EQ(judged(test::PolicyBuilder().allow("ext4")).chain,
              (std::vector<core::Step>{{.module = "ext4"}}));
}

TEST_F(EventTest, WhatTheSealForbidsIsNamed) {
    record.kind = GUARD_SEAL;
    std::vector<std::string> named;
    for (std::uint32_t what = GUARD_FORBIDDEN_UNPIN; what <= GUARD_FORBIDDEN_BPF; ++what) {
        record.reason = what;
        const events::SealRefusal refusal = seal_refusal_of(record);
        EXPECT_EQ(refusal.generation, record.generation);
        EXPECT_TRUE(summary(refusal).starts_with(refusal.forbidden + ": refused: the machine is sealed"));
        EXPECT_EQ(refusal.forbidden.find("unknown"), std::string::npos);
        EXPECT_EQ(std::ranges::find(named, refusal.forbidden), named.end());
        named.push_back(refusal.forbidden);
    }
    EXPECT_EQ(named.at(GUARD_FORBIDDEN_HANDLER), "changing kernel.modprobe");
    EXPECT_EQ(named.at(GUARD_FORBIDDEN_KEXEC), "loading another kernel");
}

} // namespace
} // namespace kmodguard::kernel
