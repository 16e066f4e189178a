// SPDX-License-Identifier: AGPL-3.0-only
//
// Not a shell: commands are kept apart, words unquoted, and nothing is expanded. A word that a shell would
// expand is known to be one, and what depends on it is not known.
#include "core/module_index.hpp"
#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

namespace kmodguard::core {
namespace {

constexpr std::size_t max_text = 4096;
constexpr std::size_t max_loads = 64;
constexpr int max_depth = 3; ///< of sh -c in sh -c
constexpr std::string_view digits = "0123456789";

struct Word {
    std::string text;
    bool expanded = false; ///< $NAME, `...`: a shell makes something else of it
};
using Words = std::vector<Word>;

/// Splits shell text into simple commands. Parentheses, pipes and all that joins commands separate them
/// alike.
class Splitter {
  public:
    explicit Splitter(std::string_view text) : text_(text) {}

    std::vector<Words> split() {
        while (at_ < text_.size())
            step(text_[at_++]);
        end_command();
        return std::move(commands_);
    }
    /// A quote that does not end, or a command whose output becomes part of another.
    [[nodiscard]] bool is_obscure() const { return obscure_; }

  private:
    void step(char c) {
        constexpr std::string_view separators = ";&|()\n";
        if (separators.contains(c)) return end_command();
        if (c == ' ' || c == '\t') return end_word();
        if (c == '#' && !word_) return skip_comment();
        if (c == '<' || c == '>') return redirect();
        if (c == '\'') return quote(c, [this](char quoted) { word().text += quoted; });
        if (c == '"') return quote(c, [this](char quoted) { plain(quoted); });
        plain(c);
    }

    /// A character that is no separator and begins no quote.
    void plain(char c) {
        if (c == '\\' && at_ < text_.size())
            c = text_[at_++];
        else if (c == '$' || c == '`')
            word().expanded = true;
        if (c == '`' || (c == '$' && at_ < text_.size() && text_[at_] == '(')) obscure_ = true;
        word().text += c;
    }

    template <typename Take>
    void quote(char end, Take take) {
        word(); // "" is a word
        while (at_ < text_.size() && text_[at_] != end)
            take(text_[at_++]);
        if (at_ == text_.size()) obscure_ = true;
        ++at_;
    }

    /// The word after it names a file or a descriptor, and one of digits before it a descriptor.
    void redirect() {
        if (word_ && word_->text.find_first_not_of(digits) == std::string::npos) word_.reset();
        end_word();
        while (at_ < text_.size() && (text_[at_] == '>' || text_[at_] == '<' || text_[at_] == '&'))
            ++at_;
        while (at_ < text_.size() && text_[at_] == ' ')
            ++at_;
        is_target_ = true;
    }

    void skip_comment() { at_ = std::min(text_.find('\n', at_), text_.size()); }

    Word& word() {
        if (!word_) word_.emplace();
        return *word_;
    }
    void end_word() {
        if (word_ && !std::exchange(is_target_, false)) command_.push_back(std::move(*word_));
        word_.reset();
    }
    void end_command() {
        end_word();
        is_target_ = false;
        if (!command_.empty()) commands_.push_back(std::move(command_));
        command_.clear();
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::optional<Word> word_;
    bool is_target_ = false;
    bool obscure_ = false;
    Words command_;
    std::vector<Words> commands_;
};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

/// NAME=VALUE before a command.
bool is_assignment(const Word& word) {
    constexpr std::string_view of_a_name = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    const std::size_t end = word.text.find_first_not_of(of_a_name);
    return end != std::string::npos && end > 0 && word.text[end] == '='
           && !digits.contains(word.text.front());
}

/// The options of modprobe(8) that matter here; all others change nothing of what is loaded.
struct ModprobeOptions {
    bool all = false;          ///< every word is a name, not the first alone
    bool loads = true;         ///< neither takes out, nor only shows
    bool elsewhere = false;    ///< other modules or other configuration than this machine's
    bool takes_a_word = false; ///< the next word belongs to the option
};

void read_short_options(std::string_view letters, ModprobeOptions& options) {
    for (std::size_t i = 0; i < letters.size(); ++i) {
        const char letter = letters[i];
        if (letter == 'a') options.all = true;
        if (std::string_view("rnDcRVh").contains(letter)) options.loads = false;
        if (!std::string_view("CdSw").contains(letter)) continue;
        options.elsewhere |= letter != 'w';
        options.takes_a_word = i + 1 == letters.size();
        return; // the rest of the word is the option's
    }
}

void read_long_option(std::string_view text, ModprobeOptions& options) {
    constexpr std::array<std::string_view, 10> not_loading = {
        "remove",      "remove-dependencies", "remove-holders", "resolve-alias", "show-depends",
        "show-config", "showconfig",          "dry-run",        "show",          "help"};
    constexpr std::array<std::string_view, 3> elsewhere = {"config", "dirname", "set-version"};
    const std::string_view name = text.substr(0, text.find('='));
    // As getopt_long(3) takes them, also cut short; what only shows is believed by its whole name alone.
    const auto may_be = [name](std::string_view option) { return option.starts_with(name); };
    if (may_be("all")) options.all = true;
    if (is_one_of(not_loading, name)) options.loads = false;
    if (std::ranges::any_of(elsewhere, may_be) || may_be("wait")) {
        options.elsewhere |= !may_be("wait");
        options.takes_a_word = !text.contains('=');
    }
}

class Reader {
  public:
    explicit Reader(InstallCommand& result) : result_(result) {}

    void read(std::string_view text, int depth) {
        Splitter splitter(text);
        for (const Words& command : splitter.split())
            read_simple(command, depth);
        if (splitter.is_obscure()) not_known(std::string(text));
    }

    void not_known(std::string part) {
        if (result_.unknown.empty()) result_.unknown = std::move(part);
    }

  private:
    void read_simple(std::span<const Word> words, int depth) {
        constexpr std::array<std::string_view, 13> prefixes = {
            "{", "}", "!", "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "exec"};
        constexpr std::array<std::string_view, 12> harmless = {"true",   "false", ":",      "exit",
                                                               "return", "echo",  "printf", "sleep",
                                                               "logger", "test",  "[",      "nologin"};
        constexpr std::array<std::string_view, 4> shells = {"sh", "bash", "dash", "ash"};
        const std::span<const Word> whole = words;
        bool in_other_environment = false; // PATH and MODPROBE_OPTIONS among others
        while (!words.empty() && (is_one_of(prefixes, words.front().text) || is_assignment(words.front()))) {
            in_other_environment = in_other_environment || is_assignment(words.front());
            words = words.subspan(1);
        }
        if (in_other_environment && !words.empty()) not_known(joined(whole));
        if (words.empty()) return;
        const std::string_view path = words.front().text;
        const std::string_view program = path.substr(path.rfind('/') + 1);
        const bool is_named = !words.front().expanded;
        if (is_named && program == "modprobe")
            read_modprobe(words);
        else if (is_named && program == "insmod")
            read_insmod(words);
        else if (is_named && is_one_of(shells, program) && words.size() == 3 && words[1].text == "-c"
                 && depth < max_depth && !words[2].expanded)
            read(words[2].text, depth + 1);
        else if (!is_named || !is_one_of(harmless, program))
            not_known(joined(words));
    }

    void read_modprobe(std::span<const Word> words) {
        ModprobeOptions options;
        std::vector<const Word*> names;
        bool only_names = false;
        for (const Word& word : words.subspan(1)) {
            const std::string_view text = word.text;
            if (std::exchange(options.takes_a_word, false)) continue;
            if (only_names || word.expanded || !text.starts_with('-') || text == "-")
                names.push_back(&word);
            else if (text == "--")
                only_names = true;
            else if (text.starts_with("--"))
                read_long_option(text.substr(2), options);
            else
                read_short_options(text.substr(1), options);
        }
        if (!options.loads) return;
        if (options.elsewhere) not_known(joined(words));
        for (const Word* name : names) {
            if (name->expanded)
                not_known(joined(words)); // what comes next may be the name, or not
            else if (name->text.contains('/'))
                load_file(name->text, words);
            else
                load(name->text);
            if (!options.all && !name->expanded) break; // the others are parameters
        }
    }

    void read_insmod(std::span<const Word> words) {
        const auto file = std::ranges::find_if(words.subspan(1),
                                               [](const Word& word) { return !word.text.starts_with('-'); });
        if (file == words.end()) return;
        if (file->expanded) return not_known(joined(words));
        load_file(file->text, words);
    }

    /// By its name; what is in a file that need not be the module's own is not known.
    void load_file(std::string_view path, std::span<const Word> words) {
        not_known(joined(words));
        if (auto name = module_name_of(path)) load(*name);
    }

    void load(const std::string& name) {
        if (std::ranges::find(result_.loads, name) != result_.loads.end()) return;
        if (result_.loads.size() == max_loads) return not_known(name);
        result_.loads.push_back(name);
    }

    static std::string joined(std::span<const Word> words) {
        std::string text;
        for (const Word& word : words)
            text += (text.empty() ? "" : " ") + word.text;
        return text;
    }

    InstallCommand& result_;
};

} // namespace

InstallCommand read_install_command(std::string_view text) {
    InstallCommand command;
    command.text = text;
    Reader reader(command);
    reader.read(text.substr(0, max_text), 0);
    if (text.size() > max_text) reader.not_known(std::string(text.substr(max_text)));
    return command;
}

} // namespace kmodguard::core
