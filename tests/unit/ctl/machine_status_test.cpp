// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how the kernel point is shown, by what the daemon says of it.
#include "ctl/machine_status.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::ctl {
namespace {

using Lines = std::vector<std::string>;

protocol::Answer answer_with(std::vector<protocol::Field> fields) {
    protocol::Answer answer;
    answer.fields = std::move(fields);
    return answer;
}

/// Of a point that is held; of fields that are there twice the first counts.
protocol::Answer status(std::vector<protocol::Field> fields) {
    const std::vector<protocol::Field> usual{
        {"kernel-point-state", "active"},  {"kernel-point-mechanism", "lsm"},
        {"kernel-point-generation", "3"},  {"kernel-point-modules", "57"},
        {"kernel-point-allowed", "4"},     {"kernel-point-refused", "9"},
        {"kernel-point-audited", "0"},     {"kernel-point-requests", "7"},
        {"kernel-point-remembered", "120"}};
    fields.insert(fields.end(), usual.begin(), usual.end());
    return answer_with(std::move(fields));
}

kernel::Status report(const std::vector<protocol::Field>& more = {}) {
    return kernel_status({}, status(more));
}

const events::Json* member(const events::Json::Object& object, std::string_view name) {
    for (const auto& [key, value] : object)
        if (key == name) return &value;
    return nullptr;
}

constexpr auto active_line = "active by BPF LSM, generation 3, 57 modules; 4 allowed, 9 refused, 0 audited, "
                             "120 requests refused unasked";

constexpr auto bpf_line =
    "note: bpf is not among the active security modules (add it to lsm= on the kernel's command line)";
constexpr auto may_skip_line =
    "note: this kernel preempts tasks inside of the kernel, and skips a program that was interrupted on the "
    "same processor: two loads at the same instant can leave one unjudged (preempt=voluntary closes this)";

TEST(KernelReport, IsOneLineWhereAllIsWell) {
    EXPECT_EQ(lines_of(report()), Lines{active_line});
}

TEST(KernelReport, NamesTheOtherMechanism) {
    EXPECT_TRUE(lines_of(report({{"kernel-point-mechanism", "fmod_ret"}}))
                    .front()
                    .starts_with("active by overriding the security hooks (fmod_ret), generation 3"));
}

TEST(KernelReport, SaysWhyItIsNotHeldAndWhatToDo) {
    const auto answer = answer_with({{"kernel-point-state", "inactive"},
                                     {"kernel-point-problem", "failed"},
                                     {"kernel-point-error", "bpffs is not mounted"},
                                     {"kernel-point-hint", "mount it"},
                                     {"kernel-point-note", "may-skip"}});
    EXPECT_EQ(lines_of(kernel_status({}, answer)),
              (Lines{"not enforced: bpffs is not mounted", "hint: mount it", may_skip_line}));
}

TEST(KernelReport, ShowsWhatElseIsToBeKnown) {
    EXPECT_EQ(lines_of(report({{"kernel-point-sealed", "yes"},
                               {"kernel-point-skipped", "2"},
                               {"kernel-point-lost", "1"},
                               {"kernel-point-problem", "failed"},
                               {"kernel-point-error", "the machine is sealed"},
                               {"kernel-point-note", "bpf-inactive"},
                               {"kernel-point-note", "may-skip"}})),
              (Lines{active_line, "PROBLEM: the machine is sealed", "sealed until the machine restarts",
                     "UP TO 2 LOADS WERE NOT JUDGED: the kernel left out runs of the programs (see the note)",
                     "1 RECORD WAS LOST: there was no room; the attempts were judged all the same", bpf_line,
                     may_skip_line}));
}

TEST(KernelReport, StandsWhateverTheDaemonSays) {
    EXPECT_EQ(report({{"kernel-point-generation", "many"}}).generation.value_or(1), 0U);
    EXPECT_EQ(lines_of(kernel_status({}, protocol::Answer{})),
              (Lines{"the daemon is of another version, and does not tell", "hint: restart the daemon"}));
    EXPECT_EQ(lines_of(report({{"kernel-point-problem", "moonstruck"}, {"kernel-point-note", "odd"}})),
              (Lines{active_line, "PROBLEM: moonstruck"}));
}

TEST(KernelReport, IsAnObjectWithNumbersAndNotes) {
    const auto object =
        object_of(report({{"kernel-point-sealed", "yes"}, {"kernel-point-note", "bpf-inactive"}}));
    EXPECT_EQ(
        events::Json(object).line(),
        R"({"point":"kernel","active":true,"mechanism":"lsm","generation":3,"sealed":true,"modules":57,)"
        R"("allowed":4,"refused":9,"audited":0,"requests":7,"remembered":120,"unattributed":0,"lost":0,"skipped":0,)"
        R"("problem":"","hint":"","notes":["bpf is not among the active security modules (add it to lsm= on the kernel's )"
        R"x(command line)"]})x");
}

TEST(KernelReport, ObjectOfOneThatIsNotHeldHasNoCounts) {
    const auto object = object_of(kernel_status({}, answer_with({{"kernel-point-state", "inactive"}})));
    EXPECT_EQ(member(object, "allowed"), nullptr);
    EXPECT_NE(member(object, "notes"), nullptr);
}

TEST(KernelReport, BelowAnotherRootNothingIsHeldAndNothingSealed) {
    const test::TemporaryDirectory root;
    const sys::Paths paths(root.path());
    const auto report = kernel_status(paths, std::unexpected(sys::Error{sys::ErrorKind::unreachable, "no"}));
    EXPECT_FALSE(report.is_enforced());
    EXPECT_TRUE(lines_of(report).front().starts_with("not enforced: paths are below another root"));
    EXPECT_TRUE(require_unsealed(paths));
}

} // namespace
} // namespace kmodguard::ctl
