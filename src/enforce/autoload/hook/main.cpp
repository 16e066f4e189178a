// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodguard-hook: run by the kernel, root's environment, standard streams closed or on /dev/null.
#include "enforce/autoload/hook/hook.hpp"

#include <unistd.h>

namespace std {

/// The program does without libstdc++, all but this: what std::string_view::substr calls when its position is
/// beyond the end. That is a mistake of ours; the request fails, as one that crashed would.
void __throw_out_of_range_fmt(const char* /*format*/, ...) { // NOLINT: a name of the library's
    constexpr int status = 1;
    ::_exit(status);
}

} // namespace std

int main(int count, char** arguments) {
    const std::span<char* const> all(arguments, static_cast<std::size_t>(count > 0 ? count : 0));
    return kmodguard::autoload::run_hook(all.empty() ? all : all.subspan(1), {});
}
