// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/kernel_modules.hpp"

#include "sys/file.hpp"
#include "sys/kernel.hpp"
#include "sys/unique_fd.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace kmodguard::process {
namespace {

int error_of(long result) {
    return result == 0 ? 0 : errno;
}

} // namespace

int RunningKernel::load(const modules::Buffer& image, const std::string& parameters) {
    return error_of(::syscall(SYS_init_module, image.data(), image.size(), parameters.c_str()));
}

int RunningKernel::load_file(modules::Buffer image, const std::string& parameters, int flags) {
    const std::string_view bytes(reinterpret_cast<const char*>(image.all().data()), image.all().size());
    const sys::UniqueFd file = sys::sealed_image_file("module", bytes);
    if (!file) return errno != 0 ? errno : EIO;
    image = modules::Buffer(0);
    return error_of(::syscall(SYS_finit_module, file.get(), parameters.c_str(), flags));
}

bool RunningKernel::is_loaded(const std::string& module) {
    return sys::has_live_module(module);
}

int RunningKernel::unload(const std::string& module, unsigned flags) {
    return error_of(::syscall(SYS_delete_module, module.c_str(), flags));
}

} // namespace kmodguard::process
