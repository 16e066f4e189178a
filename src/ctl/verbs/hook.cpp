// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/hook/hook.hpp"

#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

sys::Result<int> run_hook(const Context& context, const RawOptions& options) {
    const std::string socket = context.paths.socket();
    const std::string original = context.paths.original_handler();
    const std::string command_line = context.paths.kernel_command_line();
    const std::string loaded = context.paths.below("sys/module");
    const std::string syslog = context.paths.below("dev/log");
    const std::string kernel_log = context.paths.below("dev/kmsg");
    autoload::HookPaths paths;
    paths.socket = socket.c_str();
    paths.original_handler = original.c_str();
    paths.kernel_command_line = command_line.c_str();
    paths.loaded_modules = loaded.c_str();
    paths.syslog = syslog.c_str();
    paths.kernel_log = kernel_log.c_str();
    Words arguments = options.words;
    std::vector<char*> pointers;
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    return autoload::run_hook(pointers, paths);
}

} // namespace kmodguard::ctl
