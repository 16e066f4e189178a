// SPDX-License-Identifier: AGPL-3.0-only
//
// powerless COMMAND...: gives up every privilege as the daemon does, by the same function, and runs COMMAND.
// What COMMAND then cannot do, the daemon cannot.
#include "sys/process.hpp"

#include <unistd.h>

#include <cstdio>

int main(int count, char** arguments) {
    if (count < 2) return 2;
    if (const auto dropped = kmodguard::sys::drop_all_capabilities(); !dropped) {
        std::fprintf(stderr, "%s\n", dropped.error().what.c_str());
        return 1;
    }
    ::execvp(arguments[1], arguments + 1);
    return 127;
}
