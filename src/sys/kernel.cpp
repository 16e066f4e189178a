// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/kernel.hpp"

#include "sys/file.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <system_error>

namespace kmodguard::sys {

std::string kernel_release() {
    utsname name{};
    ::uname(&name);
    return static_cast<const char*>(name.release);
}

std::optional<std::string> kernel_parameter(const Paths& paths, std::string_view key) {
    std::istringstream words(read_pseudo_file(paths.kernel_command_line()).value_or(""));
    const std::string prefix = std::string(key) + "=";
    std::optional<std::string> value;
    for (std::string word; words >> word;)
        if (word.starts_with(prefix)) value = word.substr(prefix.size());
    return value;
}

Result<std::vector<std::string>> loaded_modules(const Paths& paths) {
    constexpr std::size_t max_size = std::size_t{4} << 20U;
    const auto text = TRY(read_pseudo_file(paths.loaded_modules(), max_size));
    std::istringstream lines(text);
    std::vector<std::string> names;
    for (std::string line; std::getline(lines, line);)
        names.push_back(line.substr(0, line.find(' ')));
    return names;
}

bool has_live_module(std::string_view name) {
    if (name.empty() || name.starts_with('.') || name.find_first_of(std::string_view("/\0", 2)) != name.npos)
        return false; // it would be another path
    // Of what is built in there is a folder as well, but no such file.
    std::string path = "/sys/module/";
    path.append(name).append("/initstate");
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); // mostly there is none
    constexpr std::string_view live = "live";
    std::array<char, live.size()> state{};
    return file && ::read(file.get(), state.data(), state.size()) == static_cast<ssize_t>(state.size())
           && std::string_view(state.data(), state.size()) == live;
}

std::vector<std::string> device_aliases(const Paths& paths) {
    namespace fs = std::filesystem;
    constexpr std::size_t max_devices = 1'000'000;
    std::vector<std::string> aliases;
    std::error_code error;
    for (fs::directory_iterator bus(paths.buses(), error); !error && bus != fs::directory_iterator();
         bus.increment(error)) {
        std::error_code ended;
        fs::directory_iterator device(bus->path() / "devices", ended);
        for (; !ended && device != fs::directory_iterator(); device.increment(ended)) {
            std::string alias = read_pseudo_file(device->path() / "modalias").value_or("");
            if (alias.ends_with('\n')) alias.pop_back();
            if (!alias.empty() && aliases.size() < max_devices) aliases.push_back(std::move(alias));
        }
    }
    return aliases;
}

bool is_memory_short(const Paths& paths) {
    constexpr std::string_view key = "some avg10=";
    constexpr int short_from = 10; // percent
    const std::string text = read_pseudo_file(paths.memory_pressure()).value_or("");
    int percent = 0;
    return text.starts_with(key)
           && std::from_chars(text.data() + key.size(), text.data() + text.size(), percent).ec == std::errc()
           && percent >= short_from;
}

std::string in_kernel_compression(const Paths& paths) {
    const std::string method = read_pseudo_file(paths.compression()).value_or("");
    if (method.starts_with("xz")) return ".xz";
    if (method.starts_with("zstd")) return ".zst";
    if (method.starts_with("gzip")) return ".gz";
    return "";
}

} // namespace kmodguard::sys
