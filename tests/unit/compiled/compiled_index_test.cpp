// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a compiled index answers as libkmod does, of which it was made: on trees that depmod has
// indexed, with modprobe.d of every kind, for names, aliases and what is neither.
#include "compiled/index.hpp"
#include "core/names.hpp"
#include "module_tree.hpp"
#include "modules/image.hpp"
#include "modules/kmod_index.hpp"
#include "random.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace kmodguard::compiled {
namespace {

using test::ModuleTree;
using Names = std::vector<std::string>;

class FileReader final : public ImageReader {
  public:
    sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override {
        ++reads;
        auto found =
            TRY(modules::identify_file(image, {.image = {.with_hash = wanted.hash,
                                                         .with_aliases = wanted.aliases,
                                                         .with_is_signed = wanted.is_signed},
                                               .unpacked_name = wanted.unpacked ? wanted.unpacked->name : "",
                                               .unpacked_limit = 1U << 20U}));
        return Read{found.file, std::move(found.identity.facts), {}, std::move(found.unpacked)};
    }
    int reads = 0;
};

class CompiledIndexTest : public ::testing::Test {
  protected:
    /// Both of the tree as it is now.
    void open() {
        auto opened = modules::KmodIndex::open(tree.paths(), ModuleTree::release);
        if (!opened) throw std::runtime_error(opened.error().what);
        kmod = std::move(*opened);
        const auto bytes = compile(kmod->source());
        if (!bytes) throw std::runtime_error(bytes.error().what);
        const auto path = directory / "index";
        if (!sys::write_file_atomically(path, *bytes, 0600)) throw std::runtime_error("cannot write");
        auto file = File::open(path);
        if (!file) throw std::runtime_error(file.error().what);
        compiled = std::make_unique<CompiledIndex>(std::move(*file), tree.paths(), reader, &unpacked);
    }

    void expect_same_answers(const std::string& token) {
        const Names theirs_all = kmod->resolve(token);
        const Names ours_all = compiled->resolve(token);
        if (token.find_first_of("*?[") == std::string::npos) {
            EXPECT_EQ(ours_all, theirs_all) << token;
        } else { // libkmod may find more by chance (compiled/pattern_table.hpp)
            for (const std::string& module : ours_all)
                EXPECT_NE(std::ranges::find(theirs_all, module), theirs_all.end()) << token << " " << module;
            return;
        }
        EXPECT_EQ(compiled->is_configured_alias(token), kmod->is_configured_alias(token)) << token;
        for (const std::string& module : kmod->resolve(token)) {
            const auto* theirs = kmod->find(module);
            const auto* ours = compiled->find(module);
            ASSERT_EQ(ours == nullptr, theirs == nullptr) << module;
            if (theirs == nullptr) continue;
            const auto asked_theirs = kmod->asked_for(*theirs, token);
            const auto asked_ours = compiled->asked_for(*ours, token);
            ASSERT_EQ(asked_ours.has_value(), asked_theirs.has_value()) << token << " " << module;
            if (asked_ours) expect_same(*asked_ours, *asked_theirs);
        }
    }

    static void expect_same(const core::ModuleRecord& ours, const core::ModuleRecord& theirs) {
        EXPECT_EQ(ours.name, theirs.name);
        EXPECT_EQ(ours.path, theirs.path) << theirs.name;
        EXPECT_EQ(ours.built_in, theirs.built_in) << theirs.name;
        EXPECT_EQ(ours.command_only, theirs.command_only) << theirs.name;
        EXPECT_EQ(ours.blacklisted, theirs.blacklisted) << theirs.name;
        EXPECT_EQ(ours.install_command, theirs.install_command) << theirs.name;
        EXPECT_EQ(ours.named_by_command, theirs.named_by_command) << theirs.name;
        EXPECT_EQ(ours.by_modprobe, theirs.by_modprobe) << theirs.name;
        EXPECT_EQ(ours.options, theirs.options) << theirs.name;
        EXPECT_EQ(ours.dependencies, theirs.dependencies) << theirs.name;
        EXPECT_EQ(ours.soft_before, theirs.soft_before) << theirs.name;
        EXPECT_EQ(ours.soft_after, theirs.soft_after) << theirs.name;
    }

    /// Of all that there is, and of what is much like it.
    void expect_same_index() {
        using Aliases = std::set<std::pair<std::string, std::string>>;
        Aliases theirs;
        Aliases ours;
        const bool all =
            kmod->for_each_alias([&](auto alias, auto module) { theirs.emplace(alias, module); });
        EXPECT_EQ(compiled->for_each_alias([&](auto alias, auto module) { ours.emplace(alias, module); }),
                  all);
        EXPECT_EQ(ours, theirs);
        for (const auto& [alias, module] : theirs) {
            for (std::string token : {alias, module}) {
                expect_same_answers(token);
                std::ranges::replace(token, '*', 'x');
                std::ranges::replace(token, '_', '-');
                expect_same_answers(token);
                expect_same_answers(token + "y");
                expect_same_answers(token.substr(0, token.size() / 2));
                std::ranges::replace(token, '?', 'q');
                std::ranges::replace(token, '[', 'z');
                expect_same_answers(token);
            }
            const auto* record = kmod->find(module);
            ASSERT_EQ(compiled->find(module) == nullptr, record == nullptr) << module;
            if (record == nullptr) continue;
            expect_same(*compiled->find(module), *record);
            expect_same_aliases(module);
        }
    }

    void expect_same_aliases(const std::string& module) {
        const auto* theirs = kmod->aliases(module);
        const auto* ours = compiled->aliases(module);
        const core::ModuleRecord& record = *kmod->find(module);
        if (!record.path.empty() && !kmod->image(record, false).problem.empty()) {
            EXPECT_EQ(ours, nullptr) << "it does not load, so that nothing it says of itself counts";
            return;
        }
        ASSERT_EQ(ours == nullptr, theirs == nullptr) << module;
        if (theirs == nullptr) return;
        const auto folded = [](const Names& names) {
            std::multiset<std::string> all;
            for (const std::string& name : names)
                all.insert(core::fold_pattern(name));
            return all;
        };
        EXPECT_EQ(folded(*ours), folded(*theirs)) << module;
    }

    ModuleTree tree;
    test::TemporaryDirectory directory;
    FileReader reader;
    UnpackedImages unpacked{tree.paths()};
    std::unique_ptr<modules::KmodIndex> kmod;
    std::unique_ptr<CompiledIndex> compiled;
};

TEST_F(CompiledIndexTest, AnswersAsLibkmodDoesForTheUsualModules) {
    add_usual_modules(tree);
    open();
    expect_same_index();
    for (const char* token :
         {"", "-", "_", "kmt", "kmt_base.ko", "kmt.base", "[", "]", "kmt_[", "kmt-twin-[1]", "*", "?",
          "kmt_twin_*", "symbol:kmt_base_symbol", "symbol:", "no-such", "a:b"})
        expect_same_answers(token);
}

TEST_F(CompiledIndexTest, AnswersAsLibkmodDoesWhateverModprobeDHas) {
    add_usual_modules(tree);
    tree.built_in("kmt_inside").depmod();
    for (const char* text :
         {"alias kmt-x* kmt_base\nalias kmt-x1 kmt-dashed\nalias kmt-x kmt_no_such\n",
          "alias net-pf-15 off\nalias kmt_base kmt_deep\n",
          "alias kmt\\*lit kmt_base\nalias kmt-[a-c]* kmt_deep\nalias a?c kmt_deep\n",
          "blacklist kmt_base\nblacklist kmt-twin-a\nblacklist kmt_no_such\n",
          "install kmt_thing modprobe --all kmt_base kmt-twin-1\ninstall kmt_deep /bin/false\n",
          "install kmt_twin* /bin/true\nremove kmt_gone rmmod kmt_base\n",
          "options kmt_base a=1\noptions kmt-base b=2\noptions kmt_x1 c=3\nalias kmt-x* kmt_base\n",
          "options kmt_twin_1 mode=4 miimon=100\noptions kmt_twin_a max=0\n",
          "softdep kmt_base pre: kmt_deep kmt_inside post: kmt_no_such kmt-twin-1\n",
          "options kmt_base \"a=b c\"\ninstall kmt_base modprobe -i kmt_base && echo $CMDLINE_OPTS\n"}) {
        tree.write("etc/modprobe.d/more.conf", text);
        open();
        SCOPED_TRACE(text);
        expect_same_index();
        for (const char* token :
             {"kmt_x1", "kmt-x", "kmt-x12", "kmt*lit", "kmtzlit", "kmt-b", "kmt_a_1", "abc", "kmt_thing",
              "kmt-thing", "kmt_gone", "kmt_twin_1", "net-pf-15", "off"})
            expect_same_answers(token);
    }
}

TEST_F(CompiledIndexTest, FindsWhatManyPatternsHaveInTheOrderOfDepmod) {
    test::Random random(20261130, 500);
    const auto word = [&random](std::size_t length) {
        std::string text;
        for (std::size_t i = 0; i < length; ++i)
            text += "ab_"[random.below(3)];
        return text;
    };
    for (int number = 0; number < 40; ++number) {
        test::FakeImage image{.name = "kmt_" + std::to_string(number)};
        for (int i = 0; i < 8; ++i) {
            std::string alias = word(1 + random.below(3));
            for (std::size_t part = random.below(3); part > 0; --part)
                alias += std::string(1, "*?"[random.below(2)]) + word(random.below(3));
            if (random.below(6) == 0) alias += "[ab]" + word(1);
            image.aliases.push_back(alias);
        }
        tree.add(image);
    }
    tree.depmod();
    open();
    expect_same_index();
    while (random.next_round())
        expect_same_answers(word(random.below(8)));
}

TEST_F(CompiledIndexTest, IsOutdatedAfterDepmod) {
    add_usual_modules(tree);
    open();
    EXPECT_FALSE(compiled->outdated());
    tree.add({.name = "kmt_new"});
    EXPECT_FALSE(compiled->outdated()); // nothing knows of it yet
    tree.depmod();
    EXPECT_TRUE(compiled->outdated());
}

TEST_F(CompiledIndexTest, IsOutdatedAfterANewConfigurationFile) {
    add_usual_modules(tree);
    open();
    EXPECT_FALSE(compiled->outdated());
    tree.write("etc/modprobe.d/more.conf", "blacklist kmt_base\n");
    EXPECT_TRUE(compiled->outdated());
    open();
    EXPECT_FALSE(compiled->outdated());
    EXPECT_TRUE(compiled->find("kmt_base")->blacklisted);
}

TEST_F(CompiledIndexTest, WithoutDepmodsOtherFilesKnowsWhatIsLeft) {
    add_usual_modules(tree);
    for (const char* name : {"modules.alias.bin", "modules.symbols.bin", "modules.builtin.alias.bin"}) {
        std::filesystem::remove(tree / ("lib/modules/" + ModuleTree::release + "/" + name));
        open();
        SCOPED_TRACE(name);
        expect_same_index();
        for (const char* token : {"kmt_base", "kmt_twin_1", "kmt_configured"})
            expect_same_answers(token);
    }
}

/// Whatever its tables say, once it is taken for a whole one: it was damaged where it is mapped.
TEST_F(CompiledIndexTest, OneThatChangesWhileItIsMappedIsNotLeft) {
    add_usual_modules(tree);
    open();
    const auto path = directory / "index";
    const std::string whole = *sys::read_file(path, 1U << 20U);
    const sys::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    test::Random random(11, 400);
    while (random.next_round()) {
        std::string damaged = whole;
        for (int i = 0; i < 12; ++i)
            damaged[32 + random.below(damaged.size() - 32)] = static_cast<char>(random.below(256));
        ASSERT_EQ(::pwrite(file.get(), damaged.data(), damaged.size(), 0),
                  static_cast<ssize_t>(damaged.size()));
        auto again = compiled->for_each_alias([this](auto, auto module) {
            static_cast<void>(compiled->find(module));
            static_cast<void>(compiled->resolve(module));
        });
        static_cast<void>(again);
        static_cast<void>(compiled->resolve("kmt-twin-1"));
    }
}

TEST_F(CompiledIndexTest, ReadsAnImageOnceForEachStateOfItsFile) {
    add_usual_modules(tree);
    open();
    const core::ModuleRecord& module = *compiled->find("kmt_base");
    const core::ImageFacts facts = compiled->image(module, false);
    EXPECT_EQ(facts.name, "kmt_base");
    EXPECT_EQ(facts.state, kmod->image(*kmod->find("kmt_base"), false).state);
    EXPECT_EQ(compiled->image(module, false).state, facts.state);
    EXPECT_EQ(reader.reads, 1);
    EXPECT_TRUE(compiled->image(module, true).sha256);
    EXPECT_FALSE(compiled->image(module, false).problem.size());
    EXPECT_EQ(reader.reads, 2);
    std::filesystem::permissions(module.path, std::filesystem::perms::owner_read);
    EXPECT_NE(compiled->image(module, false).state, facts.state);
    EXPECT_EQ(reader.reads, 3);
    std::filesystem::remove(module.path);
    EXPECT_NE(compiled->image(module, false).problem, "");
}

TEST_F(CompiledIndexTest, KeepsUnpackedWhatIsJudgedToBeHandedToTheKernel) {
    add_usual_modules(tree);
    tree.add({.name = "kmt_packed", .aliases = {"kmt-packed"}, .packing = modules::Container::xz});
    tree.write("sys/module/compression", "xz\n");
    tree.depmod();
    open();
    const core::ModuleRecord& packed = *compiled->find("kmt_packed");
    const auto kept = [&] {
        return unpacked.find("kmt_packed", compiled->image(packed, false).state) != nullptr;
    };
    EXPECT_EQ(compiled->aliases("kmt_packed")->size(), 1U);
    EXPECT_FALSE(kept()) << "for people";
    {
        const auto waited_for = unpacked.judging_for(UnpackedImages::Purpose::request);
        EXPECT_FALSE(kept()) << "it is known, and not read once more while a process waits";
    }
    {
        const auto scope = unpacked.judging_for(UnpackedImages::Purpose::ahead);
        EXPECT_TRUE(kept());
        const int reads = reader.reads;
        EXPECT_TRUE(kept());
        EXPECT_EQ(reader.reads, reads) << "unpacked once";
    }
    EXPECT_TRUE(kept());
    EXPECT_EQ(unpacked.find("kmt_packed", compiled->image(packed, true).state)->origin.sha256,
              compiled->image(packed, true).sha256);
    const auto scope = unpacked.judging_for(UnpackedImages::Purpose::request);
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz, .calls_itself = "kmt_evil"});
    EXPECT_EQ(compiled->image(packed, false).name, "kmt_evil");
    EXPECT_TRUE(kept()) << "the new file's";
    static_cast<void>(compiled->image(*compiled->find("kmt_base"), false));
    EXPECT_EQ(unpacked.bytes(), 4096U) << "what is not compressed needs no unpacking";
}

TEST_F(CompiledIndexTest, UnpacksNothingForAKernelThatIsGivenNoCompressedFile) {
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz}).depmod();
    open();
    const auto scope = unpacked.judging_for(UnpackedImages::Purpose::request);
    EXPECT_EQ(compiled->image(*compiled->find("kmt_packed"), false).name, "kmt_packed");
    EXPECT_EQ(unpacked.bytes(), 0U);
}

} // namespace
} // namespace kmodguard::compiled
