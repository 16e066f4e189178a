// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_context.hpp"

#include <fmt/format.h>
#include <libkmod.h>

#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
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

void keep_kmod_silent() {
    ::setenv(Silence::variable, Silence::silent, 1); // NOLINT(concurrency-mt-unsafe)
}

sys::Result<CommandLineEntries> command_line_entries(const std::filesystem::path& directory) {
    const auto context = open_kmod_context(directory);
    if (!context) return std::unexpected(context.error());
    return CommandLineEntries{.blacklists = count(kmod_config_get_blacklists(context->get())),
                              .options = count(kmod_config_get_options(context->get()))};
}

} // namespace kmodguard::modules
