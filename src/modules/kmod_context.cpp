// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_context.hpp"

#include "compiled/inputs.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"

#include <fmt/format.h>
#include <libkmod.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

namespace kmodguard::modules {
namespace {

/// While it lives, libkmod writes nothing to standard error. What it finds wrong in modprobe.d it says while
/// the context is made, before a log function can be set; the environment alone is asked before.
class Silence {
  public:
    Silence() : lock_(mutex) {
        if (const char* level = std::getenv(variable)) before_ = level; // NOLINT(concurrency-mt-unsafe)
        if (before_ != silent) ::setenv(variable, silent, 1);           // NOLINT(concurrency-mt-unsafe)
    }
    Silence(const Silence&) = delete;
    Silence& operator=(const Silence&) = delete;
    ~Silence() {
        if (before_ == silent) return;
        if (before_)
            ::setenv(variable, before_->c_str(), 1); // NOLINT(concurrency-mt-unsafe)
        else
            ::unsetenv(variable); // NOLINT(concurrency-mt-unsafe)
    }

    static constexpr const char* variable = "KMOD_LOG";
    static constexpr const char* silent = "0";

  private:
    static inline std::mutex mutex;
    std::scoped_lock<std::mutex> lock_;
    std::optional<std::string> before_;
};

std::size_t count(kmod_config_iter* entries) {
    std::size_t number = 0;
    for_each_line(entries, [&number](const std::string&, const std::string&) { ++number; });
    return number;
}

constexpr std::size_t max_modprobe_file = std::size_t{1} << 20U;

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

} // namespace

sys::Result<KmodContext> open_kmod_context(const std::filesystem::path& directory,
                                           std::span<const std::filesystem::path> configuration) {
    std::vector<const char*> folders;
    for (const auto& path : configuration)
        folders.push_back(path.c_str());
    folders.push_back(nullptr);
    const Silence silence;
    KmodContext context(kmod_new(directory.c_str(), folders.data()), kmod_unref);
    if (context == nullptr)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("libkmod cannot read {}", directory.native()));
    kmod_set_log_fn(
        context.get(), [](void*, int, const char*, int, const char*, const char*, va_list) {}, nullptr);
    return context;
}

std::vector<std::filesystem::path> modprobe_configuration_files(const sys::Paths& paths) {
    if (!paths.moved()) return paths.modprobe_configuration();
    std::vector<std::filesystem::path> found;
    bool leads_out = false;
    for (const auto& [name, path] : compiled::modprobe_files(paths)) {
        const auto followed = sys::follow_below(paths.root(), path);
        leads_out = leads_out || followed != path;
        std::error_code error;
        if (std::filesystem::is_regular_file(followed, error)) found.push_back(followed);
    }
    return leads_out ? found : paths.modprobe_configuration();
}

void for_each_line(kmod_config_iter* iterator,
                   const std::function<void(const std::string& key, const std::string& value)>& use,
                   std::size_t left_out) {
    const auto text = [](const char* part) { return std::string(part != nullptr ? part : ""); };
    std::vector<std::pair<std::string, std::string>> lines;
    while (iterator != nullptr && kmod_config_iter_next(iterator))
        lines.emplace_back(text(kmod_config_iter_get_key(iterator)),
                           text(kmod_config_iter_get_value(iterator)));
    kmod_config_iter_free_iter(iterator);
    lines.resize(lines.size() - std::min(lines.size(), left_out));
    for (const auto& [key, value] : lines)
        use(key, value);
}

void keep_kmod_silent() {
    ::setenv(Silence::variable, Silence::silent, 1); // NOLINT(concurrency-mt-unsafe)
}

sys::Result<CommandLineEntries> command_line_entries(const std::filesystem::path& directory) {
    const auto context = TRY(open_kmod_context(directory));
    return CommandLineEntries{.blacklists = count(kmod_config_get_blacklists(context.get())),
                              .options = count(kmod_config_get_options(context.get()))};
}

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
    for (const auto& [name, file] : compiled::modprobe_files(paths)) {
        const auto text = sys::read_file(file, max_modprobe_file);
        if (!text) continue;
        for (IgnoredLine& line : ignored_lines_of(*text)) {
            line.file = file;
            ignored.push_back(std::move(line));
        }
    }
    return ignored;
}

} // namespace kmodguard::modules
