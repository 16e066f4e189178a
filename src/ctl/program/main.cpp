// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodctl: finds the verb, checks what it needs, runs it.
#include "ctl/arguments.hpp"
#include "ctl/verbs.hpp"

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

int run(const kmodguard::ctl::Context& context) {
    const kmodguard::ctl::Verb& verb = *kmodguard::ctl::find_verb(context.verb);
    if (verb.needs_root)
        if (const auto allowed = context.require_root(); !allowed) return context.fail(allowed.error());
    return verb.run(context);
}

} // namespace

int main(int count, char** arguments) {
    open_standard_descriptors();
    try {
        const auto parsed = kmodguard::ctl::parse_arguments(count, arguments);
        if (const int* code = std::get_if<int>(&parsed)) return *code;
        return run(std::get<kmodguard::ctl::Context>(parsed));
    } catch (const std::exception& error) { // memory is out, or standard output is full
        std::fprintf(stderr, "kmodctl: %s\n", error.what());
        return kmodguard::ctl::exit_failed;
    }
}
