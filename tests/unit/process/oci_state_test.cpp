// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that what runtimes send is understood, that what could be understood in two ways is refused, and that
// a container's annotation can name nothing outside of the administrator's folder.
#include "enforce/process/oci_handover.hpp"
#include "oci_runtime.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::process {
namespace {

/// As crun 1.8.1 sends it.
const std::string crun = R"({
    "ociVersion": "0.2.0",
    "fds": [
        "seccompFd"
    ],
    "pid": 4422,
    "metadata": "anything",
    "state": {
        "ociVersion": "0.2.0",
        "id": "web-1",
        "status": "creating",
        "pid": 4422,
        "bundle": "/containers/web",
        "annotations": {
            "io.kmodguard.policy": "web",
            "other": "{\"fds\":[]}"
        }
    }
}
)";

/// As runc 1.1.5 sends it.
const std::string runc =
    R"({"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":31,"state":{"ociVersion":"1.0.2-dev","id":"b",)"
    R"("status":"creating","pid":31,"bundle":"/b"}})";

std::string with(const std::string& fds, const std::string& state, const std::string& more = "") {
    return R"({"fds":)" + fds + R"(,"state":)" + state + more + "}";
}

std::string error_of(const std::string& text) {
    const auto state = parse_oci_state(text);
    if (state) return "none";
    EXPECT_EQ(state.error().kind, sys::ErrorKind::invalid);
    EXPECT_TRUE(state.error().what.starts_with("the container process state ")) << state.error().what;
    return state.error().what;
}

TEST(OciState, OfCrunIsUnderstood) {
    const auto state = parse_oci_state(crun);
    ASSERT_TRUE(state) << state.error().what;
    EXPECT_EQ(state->id, "web-1");
    EXPECT_EQ(state->pid, 4422);
    EXPECT_EQ(state->fds, 1U);
    EXPECT_EQ(state->listener, 0U);
    EXPECT_EQ(state->policy, "web");
}

TEST(OciState, OfRuncIsUnderstood) {
    const auto state = parse_oci_state(runc);
    ASSERT_TRUE(state) << state.error().what;
    EXPECT_EQ(state->id, "b");
    EXPECT_EQ(state->policy, std::nullopt);
}

TEST(OciState, TheListenerIsTheDescriptorOfItsName) {
    const auto state = parse_oci_state(with(R"(["pidFd","seccompFd","other"])", R"({"id":"x"})"));
    ASSERT_TRUE(state) << state.error().what;
    EXPECT_EQ(state->fds, 3U);
    EXPECT_EQ(state->listener, 1U);
    EXPECT_EQ(state->pid, 0) << "it did not say";
}

TEST(OciState, WithoutExactlyOneListenerItIsRefused) {
    EXPECT_NE(error_of(R"({"state":{"id":"x"}})").find("\"fds\""), std::string::npos);
    EXPECT_NE(error_of(with("{}", R"({"id":"x"})")).find("\"fds\""), std::string::npos);
    EXPECT_NE(error_of(with("\"seccompFd\"", R"({"id":"x"})")).find("\"fds\""), std::string::npos);
    EXPECT_NE(error_of(with("[]", R"({"id":"x"})")).find("no descriptor"), std::string::npos);
    EXPECT_NE(error_of(with(R"(["seccompfd","pidFd"])", R"({"id":"x"})")).find("no descriptor"),
              std::string::npos);
    EXPECT_NE(error_of(with(R"(["seccompFd","seccompFd"])", R"({"id":"x"})")).find("two descriptors"),
              std::string::npos);
    EXPECT_NE(error_of(with(R"(["seccompFd",7])", R"({"id":"x"})")).find("not a name"), std::string::npos);
}

TEST(OciState, WithoutAContainersIdItIsRefused) {
    const std::string fds = R"(["seccompFd"])";
    for (const std::string& state :
         {std::string("null"), std::string("[]"), std::string("{}"), std::string(R"({"id":7})"),
          std::string(R"({"id":""})"), std::string(R"({"id":"a\nb"})"), std::string(R"({"id":"\u001b[31m"})"),
          R"({"id":")" + std::string(256, 'x') + "\"}"})
        EXPECT_NE(error_of(with(fds, state)), "none") << state;
    EXPECT_EQ(error_of(with(fds, R"({"id":")" + std::string(255, 'x') + "\"}")), "none");
    EXPECT_NE(error_of(R"({"fds":["seccompFd"]})").find("\"state\""), std::string::npos);
}

TEST(OciState, MembersOfAWrongKindAreRefused) {
    const std::string fds = R"(["seccompFd"])";
    for (const char* more : {R"(,"pid":-1)", R"(,"pid":"1")", R"(,"pid":4294967296)", R"(,"pid":1.5)"})
        EXPECT_NE(error_of(with(fds, R"({"id":"x"})", more)), "none") << more;
    for (const char* annotations : {"[]", "\"\"", R"({"io.kmodguard.policy":7})",
                                    R"({"io.kmodguard.policy":null})", R"({"io.kmodguard.policy":["web"]})"})
        EXPECT_NE(error_of(with(fds, R"({"id":"x","annotations":)" + std::string(annotations) + "}")), "none")
            << annotations;
    EXPECT_EQ(error_of(with(fds, R"({"id":"x","annotations":{"mine":7}})")), "none") << "not ours to judge";
}

TEST(OciState, AnythingSaidTwiceIsRefused) {
    const std::string fds = R"(["seccompFd"])";
    EXPECT_NE(error_of(with(fds, R"({"id":"x","id":"y"})")), "none");
    EXPECT_NE(error_of(with(fds, R"({"id":"x"})", R"(,"fds":["seccompFd"])")), "none");
    EXPECT_NE(error_of(with(fds, R"({"id":"x","annotations":{"io.kmodguard.policy":"a",)"
                                 R"("io.kmodguard.\u0070olicy":"b"}})")),
              "none");
}

TEST(OciState, WhatIsNoObjectOrTooMuchIsRefused) {
    for (const std::string& text :
         {std::string(), std::string("[]"), std::string("null"), crun + "x", crun + crun, "{" + crun,
          std::string(max_oci_state, '['), R"({"a":)" + std::string(30, '[') + std::string(30, ']') + "}"})
        EXPECT_NE(error_of(text), "none") << text.substr(0, 40);
    EXPECT_EQ(error_of(crun + std::string(max_oci_state - crun.size(), ' ')), "none");
    EXPECT_NE(error_of(crun + std::string(max_oci_state - crun.size() + 1, ' ')), "none");
}

TEST(PolicyName, IsAPlainFileName) {
    for (const char* name : {"web", "Web-1.2_x", "a", "-", "x..y", "x."})
        EXPECT_TRUE(is_policy_name(name)) << name;
    for (const std::string& name :
         {std::string(), std::string("."), std::string(".."), std::string(".hidden"), std::string("a/b"),
          std::string("/etc/passwd"), std::string("../x"), std::string("a b"), std::string("a\nb"),
          std::string("a\0b", 3), std::string("\xc3\xa4"), std::string("a\\b"), std::string("a%2fb"),
          std::string(65, 'a')})
        EXPECT_FALSE(is_policy_name(name)) << name;
    EXPECT_TRUE(is_policy_name(std::string(64, 'a')));
}

/// What feeding `parts` one after the other finds, and behind which byte of all of them.
std::pair<ObjectEnd::Found, std::size_t> find_end(const std::vector<std::string>& parts) {
    ObjectEnd end;
    std::size_t before = 0;
    for (const std::string& part : parts) {
        const auto found = end.feed(part);
        if (found != ObjectEnd::Found::nothing) return {found, before + end.position()};
        before += part.size();
    }
    return {ObjectEnd::Found::nothing, before};
}

TEST(ObjectEnd, IsFoundHoweverTheTextIsCut) {
    for (const std::string& text : {crun, runc, std::string(" \n{}"), std::string(R"({"}":"\"}","a":[{}]})"),
                                    std::string(R"({"a":"\\"})"), std::string(R"({"a":"\\\""})")}) {
        const std::size_t end = text.rfind('}') + 1;
        const std::string followed = text + " {}";
        std::vector<std::string> bytes;
        for (const char byte : followed)
            bytes.emplace_back(1, byte);
        EXPECT_EQ(find_end(bytes), std::pair(ObjectEnd::Found::end, end)) << text;
        for (std::size_t cut = 0; cut <= followed.size(); ++cut)
            EXPECT_EQ(find_end({followed.substr(0, cut), followed.substr(cut)}),
                      std::pair(ObjectEnd::Found::end, end))
                << text << " cut at " << cut;
        for (std::size_t cut = 0; cut < end; ++cut)
            EXPECT_EQ(find_end({text.substr(0, cut)}).first, ObjectEnd::Found::nothing) << text;
    }
}

TEST(ObjectEnd, IsNoneWhereThereIsNoObject) {
    for (const char* text : {"x", " [", "\"{}\"", "}", "]", "1"})
        EXPECT_EQ(find_end({text}).first, ObjectEnd::Found::no_object) << text;
}

TEST(OciState, SaysWhereTheConfigurationIsIfThatCanBeFound) {
    const auto bundle_of = [](const std::string& more) {
        const auto state = parse_oci_state(test::state_of("box", R"(["seccompFd"])", more));
        return state ? state->bundle : "refused: " + state.error().what;
    };
    EXPECT_EQ(bundle_of(R"(,"bundle":"/run/box")"), "/run/box");
    for (const char* none : {"", R"(,"bundle":"box")", R"(,"bundle":"")", R"(,"bundle":1)"})
        EXPECT_EQ(bundle_of(none), "") << none;
}

TEST(OciConfiguration, TellsWhetherTheContainerHasAUserNamespace) {
    EXPECT_TRUE(has_user_namespace(R"({"linux":{"namespaces":[{"type":"pid"},{"type":"user"}]}})"));
    EXPECT_TRUE(has_user_namespace(R"({"linux":{"namespaces":[{"type":"user","path":"/proc/1/ns/user"}]}})"));
    for (const char* none : {R"({"linux":{"namespaces":[{"type":"pid"}]}})", R"({"linux":{"namespaces":[]}})",
                             R"({"linux":{}})", "{}", "", "[", R"({"linux":{"namespaces":["user"]}})",
                             R"({"linux":{"namespaces":{"type":"user"}}})",
                             R"({"linux":[],"annotations":{"linux":{"namespaces":[{"type":"user"}]}}})",
                             R"({"linux":{"namespaces":[{"type":["user"]}]}})"})
        EXPECT_FALSE(has_user_namespace(none)) << none;
}

} // namespace
} // namespace kmodguard::process
