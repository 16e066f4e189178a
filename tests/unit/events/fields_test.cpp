// SPDX-License-Identifier: AGPL-3.0-only
//
// Holds what is written about events against the list of their fields: the tables in docs/events.md and the
// entries of the message catalog. Where a field has changed, KMODGUARD_WRITE_DOCS=1 test_events
// --gtest_filter='Fields.*' writes the tables.
#include "events/event_lines.hpp"
#include "events/fields.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace kmodguard::events {
namespace {

const std::filesystem::path sources = std::filesystem::path(FIXTURES) / "../..";
const std::filesystem::path document = sources / "docs/events.md";

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Calls `use` with each field of events of `Type`.
template <typename Type, typename Use>
void each_field(Use use) {
    visit_fields(static_cast<const Type*>(nullptr), [&use](const auto& list, const auto* /*of*/) {
        for (const auto& field : list)
            use(field);
    });
}

std::string code(std::string_view name) {
    return name.empty() ? "" : "`" + std::string(name) + "`";
}

template <typename Type>
std::string table_of() {
    std::string table = "| journal field | JSON | meaning |\n|---|---|---|\n";
    each_field<Type>([&table](const auto& field) {
        table += "| " + code(field.journal) + " | " + code(field.json) + " | " + std::string(field.meaning)
                 + " |\n";
    });
    return table;
}

template <typename Type>
std::set<std::string, std::less<>> journal_names_of() {
    std::set<std::string, std::less<>> names;
    each_field<Type>([&names](const auto& field) { names.emplace(field.journal); });
    return names;
}

const std::map<std::string, std::string> tables = {{"attempts", table_of<Attempt>()},
                                                   {"changes", table_of<Change>()},
                                                   {"the seal", table_of<SealRefusal>()},
                                                   {"tampering", table_of<Tampering>()},
                                                   {"losses", table_of<Loss>()}};

TEST(Fields, TablesOfTheDocumentAreThoseOfTheList) {
    std::string text = text_of(document);
    for (const auto& [name, table] : tables) {
        const std::string mark = "<!-- fields of " + name + ", from src/events/fields.hpp -->\n\n";
        const std::size_t begin = text.find(mark);
        ASSERT_NE(begin, std::string::npos) << mark;
        const std::size_t first = begin + mark.size();
        const std::size_t end = text.find("\n\n", first) + 1;
        if (std::getenv("KMODGUARD_WRITE_DOCS") == nullptr) // NOLINT(concurrency-mt-unsafe)
            EXPECT_EQ(text.substr(first, end - first), table) << name;
        else
            text.replace(first, end - first, table);
    }
    if (text != text_of(document)) std::ofstream(document) << text;
}

TEST(Fields, CatalogNamesWhatAnEventOfItsTypeHas) {
    const std::map<std::string_view, std::set<std::string, std::less<>>> names = {
        {Attempt::message_id, journal_names_of<Attempt>()},
        {Change::message_id, journal_names_of<Change>()},
        {SealRefusal::message_id, journal_names_of<SealRefusal>()},
        {Tampering::message_id, journal_names_of<Tampering>()},
    };
    const std::string catalog = text_of(sources / "data/kmodguard.catalog");
    for (const auto& [id, fields] : names) {
        const std::size_t begin = catalog.find("-- " + std::string(id) + "\n");
        ASSERT_NE(begin, std::string::npos) << id;
        const std::string entry = catalog.substr(begin, catalog.find("\n-- ", begin) - begin);
        const std::regex field("@(\\w+)@");
        for (std::sregex_iterator one(entry.begin(), entry.end(), field); one != std::sregex_iterator();
             ++one)
            EXPECT_TRUE(fields.contains((*one)[1].str())) << (*one)[1];
    }
}

TEST(Fields, EachNameIsThereOnce) {
    const auto once = [](const auto& names_of) {
        std::set<std::string_view> seen;
        names_of([&seen](std::string_view name) {
            EXPECT_TRUE(name.empty() || seen.insert(name).second) << name;
        });
    };
    once([](auto use) { each_field<Attempt>([use](const auto& field) { use(field.json); }); });
    once([](auto use) { each_field<Attempt>([use](const auto& field) { use(field.journal); }); });
    once([](auto use) { each_field<Change>([use](const auto& field) { use(field.json); }); });
    once([](auto use) { each_field<Change>([use](const auto& field) { use(field.journal); }); });
}

TEST(EventJson, OfTamperingSaysWhatWasFound) {
    Tampering tampering(7, "pins were missing");
    tampering.time = {};
    EXPECT_EQ(line_of(tampering), R"({"time":"1970-01-01T00:00:00.000000Z","point":"kernel","generation":7,)"
                                  R"("reason":"tampered","found":"pins were missing"})");
    EXPECT_EQ(summary(tampering), "the kernel point was changed from outside: pins were missing");
}

TEST(EventJson, OfWhatTheSealForbidsSaysWhoTriedIt) {
    SealRefusal refusal(7, "loading another kernel", Requester{.pid = 42, .uid = 0, .command = "kexec"});
    refusal.time = {};
    refusal.repeated = 2;
    EXPECT_EQ(line_of(refusal),
              R"({"time":"1970-01-01T00:00:00.000000Z","point":"kernel","generation":7,"reason":"sealed",)"
              R"("forbidden":"loading another kernel","repeated":2,"requester":{"pid":42,"uid":0,)"
              R"("user_namespace":0,"comm":"kexec","exe":"","cgroup":"","container":""}})");
}

} // namespace
} // namespace kmodguard::events
