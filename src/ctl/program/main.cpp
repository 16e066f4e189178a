// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodctl: reads the command line and runs its verb.
#include "ctl/arguments.hpp"
#include "linking/lazy_libraries.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

namespace {

/// A file that is opened while one of them is closed would become standard output.
void open_standard_descriptors() {
    while (true) {
        const int null = ::open("/dev/null", O_RDWR); // NOLINT(android-cloexec-open): as they are
        if (null > STDERR_FILENO) ::close(null);
        if (null < 0 || null > STDERR_FILENO) return;
    }
}

} // namespace

int main(int count, char** arguments) {
    open_standard_descriptors();
    try {
        const auto parsed = kmodguard::ctl::parse_arguments(count, arguments);
        if (const int* code = std::get_if<int>(&parsed)) return *code;
        const auto& invocation = std::get<kmodguard::ctl::Invocation>(parsed);
        if (invocation.verb->loads_first)
            if (const auto loaded = kmodguard::linking::load_libraries(); !loaded)
                return invocation.context.fail(loaded.error());
        return invocation.run();
    } catch (const std::exception& error) { // memory is out, or standard output is full
        std::fprintf(stderr, "kmodctl: %s\n", error.what());
        return kmodguard::ctl::exit_failed;
    }
}
