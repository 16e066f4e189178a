// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/handler.hpp"

#include "installation.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

namespace kmodguard::autoload {
namespace {

/// Where modprobe lives, in the kernel's own order of preference (CONFIG_MODPROBE_PATH) first.
constexpr std::array<const char*, 4> usual_handlers = {"/sbin/modprobe", "/usr/sbin/modprobe",
                                                       "/usr/bin/modprobe", "/bin/modprobe"};

sys::Result<std::optional<std::string>> read_if_there(const std::filesystem::path& path) {
    auto text = sys::read_pseudo_file(path);
    if (!text && text.error().kind == sys::ErrorKind::not_found) return std::nullopt;
    if (text && text->ends_with('\n')) text->pop_back();
    return text;
}

sys::Result<std::string> usual_handler(const sys::Paths& paths) {
    for (const char* handler : usual_handlers)
        if (::access(paths.below(handler + 1).c_str(), X_OK) == 0) return handler;
    return sys::failure(sys::ErrorKind::not_found, "no modprobe is installed", "install kmod");
}

bool has_static_helper(const sys::Paths& paths) {
    const auto config =
        sys::read_file(paths.below("boot/config-" + sys::kernel_release()), std::size_t{4} << 20U);
    return config && config->find("\nCONFIG_STATIC_USERMODEHELPER=y") != std::string::npos;
}

sys::Result<void> save_original(const sys::Paths& paths, const std::string& handler) {
    constexpr mode_t directory_mode = 0755;
    constexpr mode_t file_mode = 0644; // nothing secret, and kmodctl status is for everybody
    TRY(sys::make_directory(paths.runtime_directory(), directory_mode));
    return sys::write_file_atomically(paths.original_handler(), handler + "\n", file_mode);
}

sys::Result<void> forget_original(const sys::Paths& paths) {
    if (::unlink(paths.original_handler().c_str()) != 0 && errno != ENOENT)
        return sys::system_failure("cannot remove", paths.original_handler().native());
    return {};
}

/// What to save as the original before arming; "" if the saved one is to be kept.
sys::Result<std::string> original_to_save(const sys::Paths& paths, const HandlerStatus& status,
                                          std::string& warning) {
    if (status.original) {
        if (status.taken_away()) warning = fmt::format("the handler had been changed to {}", *status.current);
        return "";
    }
    if (!status.armed) return *status.current;
    auto usual = usual_handler(paths);
    if (usual) warning = fmt::format("the saved original handler was lost; {} takes its place", *usual);
    return usual;
}

} // namespace

sys::Result<HandlerStatus> handler_status(const sys::Paths& paths) {
    auto status = handler_setting(paths);
    if (status) status->static_helper = has_static_helper(paths);
    return status;
}

sys::Result<HandlerStatus> handler_setting(const sys::Paths& paths) {
    HandlerStatus status;
    status.current = TRY(read_if_there(paths.handler_setting()));
    auto original = TRY(read_if_there(paths.original_handler()));
    const bool usable = original && original->starts_with('/') && *original != installation::hook;
    if (usable) status.original = std::move(original); // else it is lost
    status.armed = status.current == installation::hook;
    return status;
}

std::string describe(const HandlerStatus& status) {
    if (!status.current) return "this kernel has no module loading";
    if (status.static_helper)
        return "this kernel ignores the setting (CONFIG_STATIC_USERMODEHELPER): not guarded";
    if (status.disabled()) return "autoloading is switched off (kernel.modprobe is empty): nothing is loaded";
    if (status.armed && !status.original)
        return "armed, but the original handler is lost: kmodctl arm finds one";
    if (status.armed) return fmt::format("armed, instead of {}", *status.original);
    if (status.taken_away())
        return fmt::format("NOT armed: another process has set the handler to {}: kmodctl arm takes it back",
                           *status.current);
    return fmt::format("not armed: the kernel runs {}", *status.current);
}

sys::Result<ArmResult> arm(const sys::Paths& paths) {
    const auto status = TRY(handler_status(paths));
    if (!status.current)
        return sys::failure(sys::ErrorKind::not_found,
                            "this kernel has no module loading: there is nothing to arm");
    ArmResult result;
    if (status.disabled()) {
        result.warning = "autoloading is switched off (kernel.modprobe is empty), and stays so";
        return result;
    }
    const std::string original = TRY(original_to_save(paths, status, result.warning));
    if (!original.empty()) TRY(save_original(paths, original));
    result.original = original.empty() ? *status.original : original;
    if (status.static_helper)
        result.warning = "this kernel ignores the setting (CONFIG_STATIC_USERMODEHELPER)";
    if (status.armed) return result;
    TRY(sys::write_setting(paths.handler_setting(), fmt::format("{}\n", installation::hook)));
    result.changed = true;
    return result;
}

sys::Result<DisarmResult> disarm(const sys::Paths& paths, bool force) {
    const auto status = TRY(handler_status(paths));
    DisarmResult result;
    result.handler = status.current.value_or("");
    const bool foreign = !status.armed && !force;
    if (foreign || !status.current) {
        if (status.taken_away())
            result.warning =
                fmt::format("the handler is {}, set by another program: left as it is", result.handler);
        TRY(forget_original(paths));
        return result;
    }
    if (!status.original && !force)
        return sys::failure(
            sys::ErrorKind::not_found,
            fmt::format("the original handler is not known: {} is gone", paths.original_handler().native()),
            "kmodctl disarm --force sets a modprobe that exists");
    std::string handler =
        TRY(status.original ? sys::Result<std::string>(*status.original) : usual_handler(paths));
    TRY(sys::write_setting(paths.handler_setting(), handler + "\n"));
    TRY(forget_original(paths));
    result.changed = result.handler != handler;
    result.handler = std::move(handler);
    return result;
}

} // namespace kmodguard::autoload
