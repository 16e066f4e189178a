// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what stands in one line of the JSON log and of `kmodctl --json`: which fields, in which order, that
// every byte of hostile text is escaped, and that a line is one line.
#include "core/names.hpp"
#include "events/event_lines.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <string>

namespace kmodguard::events {
namespace {

using namespace std::chrono_literals;

Attempt refused_event() {
    Attempt event(core::Point::autoload, 7, {});
    event.time = std::chrono::sys_days(std::chrono::year(2026) / 11 / 21) + 1h + 2min + 3s + 45us;
    event.decision.token = "net-pf-9";
    event.decision.reason = core::Reason::denied_module;
    event.decision.rule = core::Rule{core::RuleKind::deny_module, "x25", "/etc/kmodguard/policy.toml", 12};
    core::ModuleDecision& module = event.decision.modules.emplace_back();
    module.module = "x25";
    module.reason = core::Reason::denied_module;
    module.rule = event.decision.rule;
    module.because_of = "lapb";
    module.detail = "more";
    module.chain = {{"lapb", true}, {"crc", false}, {"x25", true}};
    module.omitted = {"spare"};
    return event;
}

nlohmann::json parsed(const Attempt& event) {
    return nlohmann::json::parse(line_of(event));
}

TEST(EventJson, HasEveryFieldInItsOrder) {
    EXPECT_EQ(
        line_of(refused_event()),
        R"({"time":"2026-11-21T01:02:03.000045Z","point":"autoload","generation":7,"token":"net-pf-9",)"
        R"("verdict":"refuse","will_load":false,"judged":"refuse","mode":"enforce","reason":"denied-module","blocked":true,)"
        R"("rule":{"list":"deny.modules","text":"x25","file":"/etc/kmodguard/policy.toml","line":12},)"
        R"("modules":[{"module":"x25","reason":"denied-module",)"
        R"("rule":{"list":"deny.modules","text":"x25","file":"/etc/kmodguard/policy.toml","line":12},)"
        R"("because_of":"lapb","detail":"more","chain":[{"module":"lapb","required":true},)"
        R"({"module":"crc","required":false},{"module":"x25","required":true}],"omitted":["spare"],)"
        R"("verdict":"refuse","loads":false,"will_load":false}],)"
        R"("explanation":"refused: x25 is on the deny list: lapb (more), by deny.modules \"x25\" )"
        R"x((/etc/kmodguard/policy.toml:12)"})x");
}

TEST(EventJson, RuleGivenAtRunTimeHasNoLine) {
    Attempt event = refused_event();
    event.decision.rule = core::Rule{core::RuleKind::deny_module, "x25", "", 0};
    const auto rule = parsed(event)["rule"];
    EXPECT_EQ(rule, (nlohmann::json{{"list", "deny.modules"}, {"text", "x25"}}));
}

TEST(EventJson, TellsWhatWasJudgedFromWhatAuditModeDid) {
    Attempt event = refused_event();
    event.decision.mode = core::Mode::audit;
    const auto json = parsed(event);
    EXPECT_EQ(json["judged"], "refuse");
    EXPECT_EQ(json["verdict"], "allow");
    EXPECT_EQ(json["mode"], "audit");
    EXPECT_EQ(json["modules"][0]["verdict"], "refuse");
    EXPECT_EQ(json["modules"][0]["loads"], true);
}

TEST(EventJson, NamesTheRequesterWhereItIsKnown) {
    Attempt event = refused_event();
    EXPECT_FALSE(parsed(event).contains("requester"));
    event.requester = Requester{.pid = 42,
                                .uid = 1000,
                                .user_namespace = 4026531837,
                                .command = "evil",
                                .executable = "/tmp/evil",
                                .cgroup = "/user.slice",
                                .container = "c0ffee"};
    EXPECT_EQ(parsed(event)["requester"], (nlohmann::json{{"pid", 42},
                                                          {"uid", 1000},
                                                          {"user_namespace", 4026531837},
                                                          {"comm", "evil"},
                                                          {"exe", "/tmp/evil"},
                                                          {"cgroup", "/user.slice"},
                                                          {"container", "c0ffee"}}));
}

TEST(EventJson, TellsWhatTheKernelPointKnowsOfAnImage) {
    Attempt event = refused_event();
    for (const char* member : {"call", "file", "sha256", "repeated", "note"})
        EXPECT_FALSE(parsed(event).contains(member));
    event.call = "finit_module";
    event.file = "/tmp/dummy.ko";
    event.sha256 = core::Sha256{0xab};
    event.repeated = 7;
    event.note = "n";
    const auto json = parsed(event);
    EXPECT_EQ(json["call"], "finit_module");
    EXPECT_EQ(json["file"], "/tmp/dummy.ko");
    EXPECT_EQ(json["sha256"], "ab" + std::string(62, '0'));
    EXPECT_EQ(json["repeated"], 7);
    EXPECT_EQ(json["note"], "n");
}

TEST(EventJson, HostileTextStaysInItsStringAndOnItsLine) {
    Attempt event = refused_event();
    event.decision.token = std::string("a\"},\n{\"verdict\":\"allow\\\0\x1b\x7f", 26);
    const std::string line = line_of(event);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(line.find('\0'), std::string::npos);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["token"], event.decision.token);
    EXPECT_EQ(json["verdict"], "refuse");
}

TEST(EventJson, InvalidUtf8BecomesTheReplacementCharacter) {
    Attempt event = refused_event();
    event.decision.token = "a\xff\xc3z";
    EXPECT_EQ(parsed(event)["token"], "a\xEF\xBF\xBD\xEF\xBF\xBDz");
}

TEST(EventJson, ValuesOfEveryType) {
    const Json::Object object{{"none", Json()},
                              {"yes", true},
                              {"big", std::int64_t{-5'000'000'000}},
                              {"text", std::string_view("t")},
                              {"list", Json::List{1U, "two", Json::Object{}}}};
    EXPECT_EQ(Json(object).line(),
              R"({"none":null,"yes":true,"big":-5000000000,"text":"t","list":[1,"two",{}]})");
}

TEST(Timestamp, IsRfc3339InUtcWithMicroseconds) {
    using std::chrono::system_clock;
    EXPECT_EQ(Timestamp(system_clock::time_point{}).text(), "1970-01-01T00:00:00.000000Z");
    EXPECT_EQ(Timestamp(system_clock::time_point{} + 951'782'399s + 999'999us).text(),
              "2000-02-28T23:59:59.999999Z");
    EXPECT_EQ(Timestamp(system_clock::time_point{} - 1us).text(), "1969-12-31T23:59:59.999999Z");
}

// The journal's headline of an image's event was ": refuse", since nothing had been asked for.
TEST(EventSubject, NamesWhatWasAskedForOrTheModuleOrTheFile) {
    Attempt event = refused_event();
    EXPECT_EQ(subject_of(event), "net-pf-9");
    event.decision.token.clear();
    EXPECT_EQ(subject_of(event), "x25");
    event.decision.modules.clear();
    EXPECT_EQ(subject_of(event), "an image");
    event.file = "/tmp/a\nb.ko";
    EXPECT_EQ(subject_of(event), core::printable(event.file));
}

TEST(EventSummary, IsOnePrintableLine) {
    Attempt event = refused_event();
    EXPECT_EQ(summary(event),
              "autoload net-pf-9: refused: x25 is on the deny list: lapb (more), by deny.modules "
              "\"x25\" (/etc/kmodguard/policy.toml:12)");
    event.decision.token = "a\nb\x1b[2J";
    EXPECT_TRUE(summary(event).starts_with("autoload a\\x0ab\\x1b[2J: refused: "));
    event.decision.token.clear();
    event.point = core::Point::kernel;
    EXPECT_TRUE(summary(event).starts_with("kernel image: refused: "));
}

TEST(EventSummary, NotableIsWhatTheRulesRefuseEvenIfAuditModeLetsItPass) {
    Attempt event = refused_event();
    EXPECT_TRUE(is_notable(event));
    event.decision.mode = core::Mode::audit;
    EXPECT_TRUE(is_notable(event));
    event.decision.judged = core::Verdict::allow;
    EXPECT_FALSE(is_notable(event));
    event.withheld = true;
    EXPECT_TRUE(is_notable(event)) << "what an allowed caller did not get";
    EXPECT_EQ(parsed(event)["withheld"], true);
}

// A boot of 6.12 gave 26 warnings for ciphers that no module has.
TEST(EventSummary, NameThatNothingAnswersToIsNotNotable) {
    Attempt event = refused_event();
    event.decision.modules.clear();
    event.decision.reason = core::Reason::no_such_module;
    EXPECT_FALSE(is_notable(event));
}

Requester doctor() {
    Requester requester;
    requester.pid = 7;
    requester.uid = 0;
    requester.command = "kmodctl";
    return requester;
}

// Doctor's trials stood in the log as warnings of somebody's attempts.
TEST(EventSummary, TrialOfDoctorIsMarkedAndNotNotable) {
    Attempt trial = refused_event();
    trial.point = core::Point::kernel;
    trial.call = "init_module";
    trial.decision.token.clear();
    trial.decision.modules[0].module = core::canary_name;
    trial.requester = doctor();
    EXPECT_TRUE(is_trial(trial));
    EXPECT_FALSE(is_notable(trial));
    EXPECT_EQ(parsed(trial)["trial"], true);
    EXPECT_TRUE(summary(trial).ends_with("; a trial of kmodctl doctor")) << summary(trial);

    Attempt packed = trial; // nobody knows what is in it
    packed.decision.modules[0].module.clear();
    packed.file = "/memfd:kmodguard_canary";
    EXPECT_TRUE(is_trial(packed));

    Attempt request = trial;
    request.call.clear();
    request.decision.token = "net-pf-12";
    request.decision.modules.clear();
    EXPECT_FALSE(is_trial(request)) << "for what there is";
    request.decision.reason = core::Reason::no_such_module;
    EXPECT_TRUE(is_trial(request));
}

TEST(EventSummary, WhatOnlyLooksLikeATrialIsNone) {
    Attempt trial = refused_event();
    trial.point = core::Point::kernel;
    trial.call = "init_module";
    trial.decision.modules[0].module = core::canary_name;
    trial.requester = doctor();
    const auto with = [&trial](auto change) {
        Attempt event = trial;
        change(event);
        return event;
    };
    for (const Attempt& event : {
             with([](Attempt& e) { e.decision.modules[0].module = "evil"; }),
             with([](Attempt& e) { e.decision.judged = core::Verdict::allow; }),
             with([](Attempt& e) { e.requester->uid = 1000; }),
             with([](Attempt& e) { e.requester->container = "c"; }),
             with([](Attempt& e) { e.requester->command = "insmod"; }),
             with([](Attempt& e) { e.requester.reset(); }),
             with([](Attempt& e) { e.point = core::Point::guest; }),
         })
        EXPECT_FALSE(is_trial(event)) << summary(event);
}

TEST(EventJson, SaysHowManyWereCountedAndSinceWhenAndWhatTheyAskedFor) {
    Attempt event = refused_event();
    event.repeated = 5'000'000'000;
    EXPECT_EQ(parsed(event)["repeated"], 5'000'000'000);
    EXPECT_FALSE(parsed(event).contains("repeated_since"));
    EXPECT_TRUE(summary(event).ends_with(", 5000000000 times more since the last record")) << summary(event);
    event.repeated_since = event.time - 1500ms;
    event.other_tokens = {"net-pf-8", "net-\n"};
    EXPECT_EQ(parsed(event)["repeated_since"], "2026-11-21T01:02:01.500045Z");
    EXPECT_EQ(parsed(event)["other_tokens"], (nlohmann::json{"net-pf-8", "net-\n"}));
    EXPECT_TRUE(
        summary(event).ends_with(", 5000000000 times more in the 1.5 s before, also for net-pf-8, net-\\x0a"))
        << summary(event);
}

TEST(EventJson, NamesTheCallThatTheSameAttemptWasMadeByBefore) {
    Attempt event = refused_event();
    event.call = "init_module";
    event.after = EarlierCall{.call = "finit_module", .file = "/m/x25.ko.xz", .answer = "ENOSYS"};
    EXPECT_EQ(parsed(event)["after"],
              (nlohmann::json{{"call", "finit_module"}, {"file", "/m/x25.ko.xz"}, {"answer", "ENOSYS"}}));
    EXPECT_TRUE(summary(event).ends_with("; after finit_module")) << summary(event);
}

} // namespace
} // namespace kmodguard::events
