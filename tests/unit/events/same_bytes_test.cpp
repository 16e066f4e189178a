// SPDX-License-Identifier: AGPL-3.0-only
//
// Holds the lines of the JSON log, byte for byte, against what they were when a general library of JSON made
// them of a tree: that library, member by member, is the reference here. Programs read these lines, and what
// was recorded stays what it was.
#include "core/names.hpp"
#include "events/event_lines.hpp"
#include "events/json_text.hpp"
#include "random.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kmodguard::events {
namespace {

using Tree = nlohmann::ordered_json;

std::string dumped(const Tree& tree) {
    return tree.dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace);
}

std::string time_text(WallClock::time_point time) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(WallClock::to_time_t(seconds)),
                       micros.count());
}

// NOLINTBEGIN(readability-identifier-length): one letter for what each function is about

Tree tree_of(const core::Rule& r) {
    Tree tree{{"list", to_string(r.kind)}, {"text", r.text}};
    if (!r.file.empty()) tree["file"] = r.file;
    if (r.line != 0) tree["line"] = r.line;
    return tree;
}

Tree tree_of(const core::KeptOut& k) {
    Tree tree{{"by", to_string(k.by)}, {"module", k.module}};
    if (!k.detail.empty()) tree["detail"] = k.detail;
    return tree;
}

Tree tree_of(const core::Step& s) {
    Tree tree{{"module", s.module}, {"required", s.required}};
    if (s.by_command) tree["by_command"] = true;
    return tree;
}

Tree tree_of(const core::RunCommand& c) {
    Tree tree{{"module", c.module}, {"command", c.text}};
    if (!c.unknown.empty()) tree["not_known"] = c.unknown;
    return tree;
}

Tree tree_of(const core::Admission& a) {
    Tree tree{{"reason", to_string(a.reason)}};
    if (!a.because_of.empty()) tree["because_of"] = a.because_of;
    tree["verdict"] = to_string(verdict_of(a.reason));
    return tree;
}

template <typename Item>
Tree list_of(const std::vector<Item>& items) {
    Tree list = Tree::array();
    for (const Item& item : items)
        if constexpr (std::is_same_v<Item, std::string>)
            list.push_back(item);
        else
            list.push_back(tree_of(item));
    return list;
}

Tree tree_of(const core::ModuleDecision& m, const core::Decision& decision) {
    Tree tree{{"module", m.module}, {"reason", to_string(m.reason)}};
    if (!m.file.empty()) tree["file"] = m.file;
    if (m.built_in) tree["built_in"] = true;
    if (m.kept_out) tree["kept_out"] = tree_of(*m.kept_out);
    if (m.rule) tree["rule"] = tree_of(*m.rule);
    if (!m.because_of.empty()) tree["because_of"] = m.because_of;
    if (!m.detail.empty()) tree["detail"] = m.detail;
    tree["chain"] = list_of(m.chain);
    if (!m.commands.empty()) tree["commands"] = list_of(m.commands);
    if (!m.omitted.empty()) tree["omitted"] = list_of(m.omitted);
    if (m.as_image) tree["as_image"] = tree_of(*m.as_image);
    tree["verdict"] = to_string(m.verdict());
    tree["loads"] = decision.loads(m);
    tree["will_load"] = decision.will_load(m);
    return tree;
}

void add(Tree& tree, const core::Decision& d) {
    tree["token"] = d.token;
    tree["verdict"] = to_string(d.effective());
    tree["will_load"] = d.will_load();
    tree["judged"] = to_string(d.judged);
    tree["mode"] = to_string(d.mode);
    tree["reason"] = to_string(d.reason);
    if (d.effective() == core::Verdict::refuse) tree["blocked"] = d.blocks();
    if (d.rule) tree["rule"] = tree_of(*d.rule);
    tree["modules"] = Tree::array();
    for (const core::ModuleDecision& module : d.modules)
        tree["modules"].push_back(tree_of(module, d));
    tree["explanation"] = explain(d);
}

void add(Tree& tree, const std::optional<Requester>& by) {
    if (!by) return;
    Tree& r = tree["requester"];
    r["pid"] = by->pid;
    r["uid"] = by->uid ? Tree(*by->uid) : Tree();
    r["user_namespace"] = by->user_namespace;
    r["comm"] = by->command;
    r["exe"] = by->executable;
    r["cgroup"] = by->cgroup;
    r["container"] = by->container;
    if (by->kernel_thread) r["kernel_thread"] = true;
}

template <typename Refusal>
void add_repetitions(Tree& tree, const Refusal& refusal) {
    if (refusal.repeated != 0) tree["repeated"] = static_cast<std::int64_t>(refusal.repeated);
    if (refusal.repeated_since) tree["repeated_since"] = time_text(*refusal.repeated_since);
}

Tree tree_of(const Attempt& a) {
    Tree tree{{"time", time_text(a.time)}, {"point", to_string(a.point)}, {"generation", a.generation}};
    add(tree, a.decision);
    const auto add_text = [&tree](const char* name, const std::string& text) {
        if (!text.empty()) tree[name] = text;
    };
    add_text("call", a.call);
    add_text("file", a.file);
    add_text("parameters", a.parameters);
    if (a.sha256) tree["sha256"] = core::to_hex(*a.sha256);
    add_text("answer", a.answer);
    if (!a.other_tokens.empty()) tree["other_tokens"] = list_of(a.other_tokens);
    add_text("note", a.note);
    if (is_trial(a)) tree["trial"] = true;
    if (a.withheld) tree["withheld"] = true;
    add_repetitions(tree, a);
    if (a.after) {
        tree["after"]["call"] = a.after->call;
        if (!a.after->file.empty()) tree["after"]["file"] = a.after->file;
        if (!a.after->answer.empty()) tree["after"]["answer"] = a.after->answer;
    }
    add(tree, a.requester);
    return tree;
}

Tree tree_of(const Change& c) {
    Tree tree{{"time", time_text(c.time)}, {"change", to_string(c.action)}};
    if (!c.argument.empty()) tree["argument"] = c.argument;
    tree["result"] = c.error ? "failed" : "done";
    if (c.error && !c.error->empty()) tree["error"] = *c.error;
    tree["generation"] = c.generation;
    if (c.repeated != 0) tree["repeated"] = static_cast<std::int64_t>(c.repeated);
    if (!c.by) return tree;
    tree["by"]["pid"] = c.by->pid;
    tree["by"]["uid"] = c.by->uid;
    tree["by"]["comm"] = c.by->command;
    tree["by"]["login_uid"] = c.by->login_uid ? Tree(*c.by->login_uid) : Tree();
    return tree;
}

Tree tree_of(const SealRefusal& s) {
    Tree tree{{"time", time_text(s.time)},
              {"point", "kernel"},
              {"generation", s.generation},
              {"reason", "sealed"},
              {"forbidden", s.forbidden}};
    add_repetitions(tree, s);
    add(tree, s.requester);
    return tree;
}

Tree tree_of(const Tampering& t) {
    return {{"time", time_text(t.time)},
            {"point", "kernel"},
            {"generation", t.generation},
            {"reason", "tampered"},
            {"found", t.found}};
}

Tree tree_of(const Loss& l) {
    return {{"time", time_text(l.time)}, {"lost", l.count}};
}

// NOLINTEND(readability-identifier-length)

/// Events with all that can be in them, and texts that others choose.
class Events {
  public:
    explicit Events(test::Random& random) : random_(random) {}

    Event next() {
        switch (random_.below(12)) {
        case 0: return change();
        case 1: return seal_refusal();
        case 2: return tampering();
        case 3: return Loss{.count = random_.below(1000), .time = time()};
        default: return attempt();
        }
    }

    /// Of ASCII, escapes, characters of each length, and beginnings and ends of such.
    std::string text() {
        static const std::vector<std::string> parts = {"a",
                                                       "net-pf-15",
                                                       "/usr/lib/x.ko",
                                                       "\"",
                                                       "\\",
                                                       "/",
                                                       "\n",
                                                       "\r\t\b\f",
                                                       std::string(1, '\0'),
                                                       "\x01\x1f",
                                                       "\x7f",
                                                       "\xc3\xa4",
                                                       "\xe2\x82\xac",
                                                       "\xf0\x9f\x98\x80",
                                                       "\xc2\x80",
                                                       "\xef\xbf\xbf",
                                                       "\xf4\x8f\xbf\xbf",
                                                       "\xff",
                                                       "\x80",
                                                       "\xbf\xbf",
                                                       "\xc0\x80",
                                                       "\xc3",
                                                       "\xe2\x82",
                                                       "\xe2",
                                                       "\xf0\x9f\x98",
                                                       "\xf0\x9f",
                                                       "\xed\xa0\x80",
                                                       "\xe0\x80\x80",
                                                       "\xf0\x80\x80\x80",
                                                       "\xf4\x90\x80\x80",
                                                       "\xf5\x80"};
        std::string text;
        for (std::size_t i = random_.below(6); i > 0; --i)
            text += random_.flip() ? random_.one_of(parts)
                                   : std::string(1, static_cast<char>(random_.below(256)));
        return text;
    }

  private:
    std::string some() { return random_.flip() ? "" : text(); }
    std::uint64_t number() {
        return random_.flip() ? 0 : random_.below(1U << 31U) * random_.below(1U << 31U);
    }
    WallClock::time_point time() {
        const auto far = static_cast<std::int64_t>(random_.below(1U << 31U)) - (std::int64_t{1} << 30U);
        return WallClock::time_point(std::chrono::seconds(4 * far) // from 1834 to 2106
                                     + std::chrono::nanoseconds(random_.below(1'000'000'000)));
    }
    template <typename Value, typename Make>
    void maybe(std::optional<Value>& value, Make make) {
        if (random_.flip()) value = make();
    }
    template <typename Enum>
    Enum any_to(Enum last) {
        return static_cast<Enum>(random_.below(static_cast<std::size_t>(last) + 1));
    }
    std::vector<std::string> texts() {
        std::vector<std::string> all;
        for (std::size_t i = random_.below(3); i > 0; --i)
            all.push_back(text());
        return all;
    }

    core::Rule rule() {
        return {any_to(core::RuleKind::pin), text(), some(), static_cast<std::uint32_t>(random_.below(3))};
    }
    core::ModuleDecision module() {
        core::ModuleDecision module;
        module.module = text();
        module.reason = any_to(core::Reason::denied_unload);
        maybe(module.rule, [this] { return rule(); });
        module.because_of = some();
        module.file = some();
        for (std::size_t i = random_.below(3); i > 0; --i)
            module.chain.push_back({text(), random_.flip(), some(), random_.once_in(4)});
        module.omitted = texts();
        module.detail = some();
        module.loadable = random_.flip();
        module.built_in = random_.once_in(4);
        for (std::size_t i = random_.below(3); i > 0; --i)
            module.commands.push_back({text(), text(), some()});
        maybe(module.kept_out,
              [this] { return core::KeptOut{any_to(core::Hindrance::sealed_policy), text(), some()}; });
        maybe(module.as_image,
              [this] { return core::Admission{any_to(core::Reason::dependency), std::nullopt, some()}; });
        return module;
    }
    Requester requester() {
        Requester by{.pid = static_cast<pid_t>(random_.below(1U << 22U)),
                     .user_namespace = static_cast<std::uint32_t>(number()),
                     .kernel_thread = random_.once_in(4),
                     .command = random_.once_in(4) ? "kmodctl" : text(),
                     .executable = some(),
                     .cgroup = some(),
                     .container = some()};
        maybe(by.uid, [this] { return random_.flip() ? uid_t{0} : static_cast<uid_t>(number()); });
        return by;
    }
    template <typename Refusal>
    void repeat(Refusal& refusal) {
        refusal.time = time();
        refusal.repeated = number();
        maybe(refusal.repeated_since, [this] { return time(); });
        maybe(refusal.requester, [this] { return requester(); });
    }
    Event attempt() {
        core::Decision decision;
        decision.token = some();
        decision.mode = random_.flip() ? core::Mode::audit : core::Mode::enforce;
        decision.judged = any_to(core::Verdict::refuse);
        decision.reason = any_to(core::Reason::denied_unload);
        maybe(decision.rule, [this] { return rule(); });
        for (std::size_t i = random_.below(3); i > 0; --i)
            decision.modules.push_back(module());
        if (random_.once_in(8)) {
            decision.modules.assign(1, {});
            decision.modules.front().module = core::canary_name;
            decision.judged = core::Verdict::refuse;
        }
        Attempt attempt(any_to(core::Point::guest), number(), std::move(decision), some());
        repeat(attempt);
        attempt.file = some();
        attempt.parameters = some();
        maybe(attempt.sha256, [this] {
            core::Sha256 hash{};
            for (auto& byte : hash)
                byte = static_cast<std::uint8_t>(random_.below(256));
            return hash;
        });
        attempt.answer = some();
        attempt.other_tokens = texts();
        maybe(attempt.after, [this] { return EarlierCall{text(), some(), some()}; });
        attempt.note = some();
        attempt.withheld = random_.once_in(4);
        return attempt;
    }
    Event change() {
        Change change(any_to(Action::publish), number());
        change.time = time();
        change.argument = some();
        maybe(change.error, [this] { return text(); });
        change.repeated = number();
        maybe(change.by, [this] {
            sys::ProcessIdentity by{.pid = static_cast<pid_t>(random_.below(1U << 22U)),
                                    .uid = static_cast<uid_t>(number()),
                                    .command = text(),
                                    .login_uid = std::nullopt};
            maybe(by.login_uid, [this] { return static_cast<uid_t>(number()); });
            return by;
        });
        return change;
    }
    Event seal_refusal() {
        SealRefusal refusal(number(), text(), {});
        refusal.requester.reset();
        repeat(refusal);
        return refusal;
    }
    Event tampering() {
        Tampering tampering(number(), text());
        tampering.time = time();
        return tampering;
    }

    test::Random& random_;
};

TEST(SameBytes, OfGeneratedEvents) {
    test::Random random(13, 20'000);
    Events events(random);
    while (random.next_round()) {
        const Event event = events.next();
        std::string expected;
        visit_logged(event, [&expected](const auto& one) { expected = dumped(tree_of(one)); });
        ASSERT_EQ(line_of(event), expected);
    }
}

TEST(SameBytes, OfGeneratedTexts) {
    test::Random random(13, 100'000);
    Events events(random);
    while (random.next_round()) {
        const std::string text = events.text();
        ASSERT_EQ(Json(text).line(), dumped(text));
    }
}

TEST(SameBytes, OfEveryPairOfBytesInAText) {
    for (int first = 0; first < 256; ++first)
        for (int second = 0; second < 256; ++second) {
            const std::string text{static_cast<char>(first), static_cast<char>(second)};
            ASSERT_EQ(Json(text).line(), dumped(text)) << first << ' ' << second;
            ASSERT_EQ(Json("\xe2" + text + "\xf0" + text).line(), dumped("\xe2" + text + "\xf0" + text))
                << first << ' ' << second;
        }
}

TEST(SameBytes, OfNumbersAndTimes) {
    for (const std::int64_t number : {INT64_MIN, INT64_MAX, std::int64_t{0}, std::int64_t{-1}})
        EXPECT_EQ(Json(number).line(), dumped(number));
    using namespace std::chrono_literals;
    for (const auto since : {-1ns, 0ns, 1ns, 999ns, 1000ns, 999'999'999ns, 1'000'000'000ns})
        for (const auto day : {-40000, -719, 0, 11016, 11017, 20787, 40000}) {
            const WallClock::time_point time = WallClock::time_point(std::chrono::days(day)) + since;
            EXPECT_EQ(Timestamp(time).text(), time_text(time));
        }
}

// Nothing of what comes after a value that did not come is called by its name.
TEST(JsonText, NameWithoutAValueIsForgotten) {
    std::string text;
    JsonText out(text);
    out.begin_list();
    out.begin_object();
    out.name("absent");
    out.name("a");
    out.null();
    out.name("absent");
    out.end_object();
    out.boolean(true);
    out.end_list();
    EXPECT_EQ(text, R"([{"a":null},true])");
}

} // namespace
} // namespace kmodguard::events
