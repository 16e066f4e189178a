// SPDX-License-Identifier: AGPL-3.0-only
//
// index_oracle ROOT RELEASE: compares the compiled index of a kernel's modules with libkmod, of whose answers
// it is made, for a token of every alias and every name that there is, for tokens that nearly are such, and
// for the record of every module. Prints how much was compared, or what differs, and is 1 then.
#include "compiled/index.hpp"
#include "core/names.hpp"
#include "modules/kmod_index.hpp"
#include "reader/local/local_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

namespace {

using namespace kmodguard;

/// A text that `pattern` matches.
std::string token_for(std::string_view pattern) {
    std::string token;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (pattern[i] == '*') {
            token += "Z9";
        } else if (pattern[i] == '?') {
            token += 'q';
        } else if (pattern[i] == '[') {
            token += pattern[i + 1];
            i = std::min(pattern.find(']', i), pattern.size() - 1);
        } else {
            token += pattern[i];
        }
    }
    return token;
}

auto parts_of(const core::ModuleRecord& record) {
    return std::tie(record.name, record.path, record.built_in, record.command_only, record.blacklisted,
                    record.install_command, record.named_by_command, record.by_modprobe, record.options,
                    record.dependencies, record.soft_before, record.soft_after);
}

class Comparison {
  public:
    Comparison(modules::KmodIndex& kmod, compiled::CompiledIndex& index) : kmod_(kmod), index_(index) {}

    void all() {
        std::set<std::string> tokens;
        std::set<std::string> modules;
        kmod_.for_each_alias([&](std::string_view alias, std::string_view module) {
            const std::string token = token_for(alias);
            tokens.insert(token);
            tokens.insert(token + "x");
            tokens.insert(token.substr(0, token.size() - 1));
            modules.emplace(module);
        });
        for (const std::string& token : tokens)
            look_up(token);
        for (const std::string& module : modules)
            compare_record(module);
    }

    [[nodiscard]] int report() const {
        if (differences_ == 0) fmt::print("{} tokens, {} found, {} records\n", tokens_, found_, records_);
        return differences_ == 0 ? 0 : 1;
    }

  private:
    void look_up(const std::string& token) {
        const auto theirs = kmod_.resolve(token);
        const auto ours = index_.resolve(token);
        ++tokens_;
        if (!theirs.empty()) ++found_;
        if (ours != theirs)
            differ(token, fmt::format("{}", fmt::join(ours, " ")), fmt::format("{}", fmt::join(theirs, " ")));
    }

    void compare_record(const std::string& module) {
        const core::ModuleRecord* theirs = kmod_.find(module);
        const core::ModuleRecord* ours = index_.find(module);
        ++records_;
        if ((theirs == nullptr) != (ours == nullptr)
            || (ours != nullptr && parts_of(*ours) != parts_of(*theirs)))
            differ("the record of " + module, "one", "another");
    }

    void differ(std::string_view what, std::string_view ours, std::string_view theirs) {
        constexpr int shown = 20;
        if (++differences_ <= shown) fmt::print("{}: {}, and libkmod has {}\n", what, ours, theirs);
    }

    modules::KmodIndex& kmod_;
    compiled::CompiledIndex& index_;
    std::size_t tokens_ = 0;
    std::size_t found_ = 0;
    std::size_t records_ = 0;
    int differences_ = 0;
};

} // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    const sys::Paths paths(arguments[1]);
    const std::string release = arguments[2];
    auto kmod = modules::KmodIndex::open(paths, release);
    reader::LocalReader reader(paths);
    auto file = reader.index(release);
    if (!kmod || !file) {
        fmt::print("{}\n", !kmod ? kmod.error().what : file.error().what);
        return 2;
    }
    compiled::CompiledIndex index(std::move(*file), paths, reader);
    Comparison comparison(**kmod, index);
    comparison.all();
    return comparison.report();
}
