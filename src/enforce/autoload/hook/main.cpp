// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodguard-hook: run by the kernel, root's environment, standard streams closed or on /dev/null.
#include "enforce/autoload/hook/hook.hpp"

int main(int count, char** arguments) {
    const std::span<char* const> all(arguments, static_cast<std::size_t>(count > 0 ? count : 0));
    return kmodguard::autoload::run_hook(all.empty() ? all : all.subspan(1), {});
}
