// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_context.hpp"

#include "sys/paths.hpp"

#include <fmt/format.h>
#include <libkmod.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace kmodguard::modules {
namespace {

/// While it lives, libkmod writes nothing to standard error. What it finds wrong in modprobe.d it says while
/// the context is made, before a log function can be set; the environment alone is asked before.
class Silence {
  public:
    Silence() : lock_(mutex()) {
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
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }

    std::scoped_lock<std::mutex> lock_;
    std::optional<std::string> before_;
};

/// What libkmod reads in a folder of modprobe.d.
bool is_configuration(const std::filesystem::path& file) {
    const std::string name = file.filename();
    return !name.starts_with('.') && (name.ends_with(".conf") || name.ends_with(".alias"));
}

std::size_t count(kmod_config_iter* entries) {
    std::size_t number = 0;
    while (entries != nullptr && kmod_config_iter_next(entries))
        ++number;
    kmod_config_iter_free_iter(entries);
    return number;
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
    namespace fs = std::filesystem;
    std::vector<fs::path> folders = paths.modprobe_configuration();
    if (!paths.moved()) return folders;
    std::map<std::string, fs::path>
        files; // one of a name hides those in weaker folders, a link to /dev/null too
    bool leads_out = false;
    for (const fs::path& folder : folders) {
        std::error_code error;
        for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
             entry.increment(error)) {
            const fs::path& path = entry->path();
            if (!is_configuration(path)) continue;
            const fs::path followed = sys::follow_below(paths.root(), path);
            const bool first = files.emplace(path.filename(), followed).second;
            leads_out = leads_out || (first && followed != path);
        }
    }
    if (!leads_out) return folders;
    std::vector<fs::path> found;
    for (const auto& [name, file] : files) {
        std::error_code error;
        if (fs::is_regular_file(file, error)) found.push_back(file);
    }
    return found;
}

void keep_kmod_silent() {
    ::setenv(Silence::variable, Silence::silent, 1); // NOLINT(concurrency-mt-unsafe)
}

sys::Result<CommandLineEntries> command_line_entries(const std::filesystem::path& directory) {
    const auto context = TRY(open_kmod_context(directory));
    return CommandLineEntries{.blacklists = count(kmod_config_get_blacklists(context.get())),
                              .options = count(kmod_config_get_options(context.get()))};
}

} // namespace kmodguard::modules
