// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/modprobe_lines.hpp"

#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace kmodguard::modules {
namespace {

constexpr std::size_t max_file_size = std::size_t{1} << 20U;

struct Directive {
    std::string_view word;
    std::size_t arguments; ///< that it takes at least
};
// Those of modprobe.d(5). weakdep is not known to kmod before version 33; it loads nothing there either.
constexpr std::array<Directive, 7> directives = {{{"alias", 2},
                                                  {"blacklist", 1},
                                                  {"options", 2},
                                                  {"install", 2},
                                                  {"remove", 2},
                                                  {"softdep", 2},
                                                  {"weakdep", 2}}};

/// A line, with those that a backslash at its end joins to it.
struct Line {
    std::string text;
    unsigned number = 0;
};

std::vector<Line> joined_lines(std::string_view text) {
    std::vector<Line> lines;
    unsigned number = 1;
    Line line{.text = {}, .number = number};
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '\n') {
            ++i;
            ++number;
        } else if (text[i] == '\n') {
            lines.push_back(std::exchange(line, {.text = {}, .number = ++number}));
        } else {
            line.text += text[i];
        }
    }
    lines.push_back(std::move(line));
    return lines;
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    for (std::size_t begin = text.find_first_not_of(" \t"); begin != std::string::npos;) {
        const std::size_t end = text.find_first_of(" \t", begin);
        words.push_back(text.substr(begin, end - begin));
        begin = text.find_first_not_of(" \t", end);
    }
    return words;
}

bool is_obeyed(const std::vector<std::string>& words) {
    const auto known = std::ranges::find(directives, words.front(), &Directive::word);
    return known != directives.end() && words.size() > known->arguments;
}

/// The files, by name: one in an earlier folder replaces those of its name in later ones.
std::map<std::string, std::filesystem::path> files_of(const sys::Paths& paths) {
    std::map<std::string, std::filesystem::path> files;
    for (const auto& directory : paths.modprobe_configuration()) {
        std::error_code error;
        std::filesystem::directory_iterator entry(directory, error);
        for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
            const std::string name = entry->path().filename();
            if (!name.starts_with('.') && (name.ends_with(".conf") || name.ends_with(".alias")))
                files.try_emplace(name, entry->path());
        }
    }
    return files;
}

} // namespace

std::vector<IgnoredLine> ignored_lines_of(std::string_view text) {
    std::vector<IgnoredLine> ignored;
    for (const Line& line : joined_lines(text)) {
        if (line.text.starts_with('#')) continue; // there alone: behind a blank it begins no comment
        const auto words = words_of(line.text);
        if (!words.empty() && !is_obeyed(words))
            ignored.push_back({.file = {}, .line = line.number, .word = words.front()});
    }
    return ignored;
}

std::vector<IgnoredLine> ignored_lines(const sys::Paths& paths) {
    std::vector<IgnoredLine> ignored;
    for (const auto& [name, file] : files_of(paths)) {
        const auto text = sys::read_file(file, max_file_size);
        if (!text) continue;
        for (IgnoredLine& line : ignored_lines_of(*text)) {
            line.file = file;
            ignored.push_back(std::move(line));
        }
    }
    return ignored;
}

} // namespace kmodguard::modules
