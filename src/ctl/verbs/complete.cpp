// SPDX-License-Identifier: AGPL-3.0-only
//
// Completion for the shells: `kmodctl __complete kmodctl WORD... CURRENT` prints what CURRENT can become, one
// word a line, a tab and its meaning behind it where it has one. ":files" or ":directories" leaves it to the
// shell. All of it comes from the table of verbs, so the scripts in data/completions know nothing of kmodctl.
#include "ctl/verbs.hpp"
#include "modules/kmod_index.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>

namespace kmodguard::ctl {
namespace {

using WordSpan = std::span<const std::string>;

constexpr std::array global_options = {
    Option{"root", "DIR", "take every path below DIR"}, Option{"json", "", "print JSON, one object a line"},
    Option{"debug", "", debug_help}, Option{"help", "", "show how it is used"}};

const Option* find_option(std::span<const Option> options, std::string_view word) {
    if (!word.starts_with("--")) return nullptr;
    const auto found = std::ranges::find(options, word.substr(2), &Option::name);
    return found == options.end() ? nullptr : &*found;
}

/// What precedes the word to be completed.
struct Line {
    const Verb* verb = nullptr;
    const Option* open = nullptr; ///< the option whose value comes next
    std::size_t arguments = 0;    ///< of the verb
    std::string root;
    bool valid = true;
};

Line read_line(WordSpan words) {
    Line line;
    for (const std::string& word : words) {
        if (line.open != nullptr) {
            if (line.open->name == "root") line.root = word;
            line.open = nullptr;
        } else if (word.starts_with('-')) {
            const Option* option = line.verb != nullptr ? find_option(line.verb->options, word) : nullptr;
            if (option == nullptr) option = find_option(global_options, word);
            if (option != nullptr && !option->value.empty()) line.open = option;
        } else if (line.verb != nullptr) {
            ++line.arguments;
        } else {
            line.verb = find_verb(word);
            line.valid = line.verb != nullptr;
        }
    }
    return line;
}

class Completion {
  public:
    Completion(const Context& context, std::string_view current)
        : paths_(context.paths), kernel_(sys::kernel_release()), current_(current) {}

    void complete(const Line& line) {
        if (!line.valid) return;
        if (!line.root.empty()) paths_ = sys::Paths(line.root);
        if (line.open != nullptr)
            value(*line.open);
        else if (current_.starts_with('-'))
            options(line.verb);
        else if (line.verb == nullptr)
            verbs();
        else if (line.arguments < line.verb->arguments.max)
            argument(line.verb->arguments.kind);
    }

  private:
    void offer(std::string_view word, std::string_view meaning = "") const {
        if (!word.starts_with(current_)) return;
        fmt::print("{}{}{}\n", word, meaning.empty() ? "" : "\t", meaning);
    }

    void verbs() const {
        for (const Verb& verb : ctl::verbs())
            if (!verb.name.starts_with("__")) offer(verb.name, verb.help);
    }

    void options(const Verb* verb) const {
        if (verb != nullptr)
            for (const Option& option : verb->options)
                offer(fmt::format("--{}", option.name), option.help);
        for (const Option& option : global_options)
            offer(fmt::format("--{}", option.name), option.help);
    }

    void value(const Option& option) const {
        if (option.value == "FILE") fmt::print(":files\n");
        if (option.value == "DIR") fmt::print(":directories\n");
        if (option.value == "RELEASE") kernels();
        if (option.value == "refuse|pretend") {
            offer("refuse", "EPERM");
            offer("pretend", "success, and nothing is loaded");
        }
        if (option.value == "TIME")
            for (const char* time : {"10m", "30m", "1h", "8h", "1d"})
                offer(time);
    }

    void argument(Argument kind) const {
        switch (kind) {
        case Argument::module:
        case Argument::token: return modules();
        case Argument::listed_module: return listed();
        case Argument::file: return fmt::print(":files\n");
        case Argument::mode:
            offer("enforce", "refuse what the policy does not allow");
            return offer("audit", "only record what it would refuse");
        case Argument::none:
        case Argument::command: // after "--", where completion does not ask
        case Argument::raw: return;
        }
    }

    void modules() const {
        for (const std::string& name : modules::installed_modules(paths_, kernel_))
            offer(name);
    }

    /// What the daemon lists; it answers root alone.
    void listed() const {
        const auto answer = protocol::ask(paths_.socket(), {"LIST", ""});
        if (!answer) return;
        for (const auto& field : answer->fields)
            if (field.key.ends_with(".modules")) offer(field.value, field.key);
    }

    void kernels() const {
        std::set<std::string> releases;
        std::error_code error;
        for (std::filesystem::directory_iterator entry(paths_.below("lib/modules"), error);
             !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
            releases.insert(entry->path().filename());
        for (const std::string& release : releases)
            offer(release);
    }

    sys::Paths paths_;
    std::string kernel_;
    std::string_view current_;
};

} // namespace

sys::Result<int> run_complete(const Context& context, const RawOptions& options) {
    const WordSpan words = options.words;
    if (words.size() < 2) return exit_usage;
    Completion(context, words.back()).complete(read_line(words.subspan(1, words.size() - 2)));
    return exit_done;
}

} // namespace kmodguard::ctl
