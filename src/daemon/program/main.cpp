// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodguard: decides which modules may be loaded, and records it. Started by kmodctl or systemd. Its five
// options are read by getopt: CLI11, as in kmodctl, would make a program that stays in memory 160 KB (5 %)
// larger, and has its one translation unit. What it traces is chosen on the command line alone, and not in
// the environment: it runs as root on behalf of others.
#include "daemon/service.hpp"
#include "installation.hpp"
#include "sys/number.hpp"
#include "sys/trace.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

constexpr const char* help = R"(usage: kmodguard [OPTION]...
Decide which kernel modules may be loaded. Runs in the foreground; kmodctl start runs it for you.

  --root DIR       take every path below DIR (also: KMODGUARD_ROOT)
  --events FILE    append every event to FILE, a JSON object a line
  --ready-fd N     write a newline to descriptor N when requests are served
  --background     let go of the standard streams then
  --debug[=TOPICS] trace to standard error: all, or a list of bpf, cache, decisions, files
  --help, --version
)";

enum Option : int { root = 1, events, ready_fd, background, debug, show_help, show_version };

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

} // namespace

int main(int count, char** arguments) {
    const option options[] = {
        {"root", required_argument, nullptr, root},         {"events", required_argument, nullptr, events},
        {"ready-fd", required_argument, nullptr, ready_fd}, {"background", no_argument, nullptr, background},
        {"debug", optional_argument, nullptr, debug},       {"help", no_argument, nullptr, show_help},
        {"version", no_argument, nullptr, show_version},    {nullptr, 0, nullptr, 0}};
    kmodguard::daemon::ServiceOptions service;
    if (const char* moved = ::secure_getenv("KMODGUARD_ROOT")) service.paths = kmodguard::sys::Paths(moved);
    while (true) {
        const int chosen = ::getopt_long(count, arguments, "", options, nullptr);
        if (chosen == -1) break;
        switch (chosen) {
        case root: service.paths = kmodguard::sys::Paths(optarg); break;
        case events: service.events_file = optarg; break;
        case ready_fd:
            service.ready_fd = kmodguard::sys::number_in<int>(optarg).value_or(-1);
            if (service.ready_fd >= 0) break;
            fmt::print(stderr, "kmodguard: \"{}\" is not the number of a descriptor\n{}", optarg, help);
            return exit_usage;
        case background: service.background = true; break;
        case debug:
            if (const auto started = kmodguard::sys::start_trace(optarg != nullptr ? optarg : "all");
                !started) {
                fmt::print(stderr, "kmodguard: {}\n  hint: {}\n", started.error().what, started.error().hint);
                return exit_usage;
            }
            break;
        case show_help: fmt::print("{}", help); return 0;
        case show_version: fmt::print("kmodguard {}\n", kmodguard::installation::version); return 0;
        default: fmt::print(stderr, "{}", help); return exit_usage;
        }
    }
    if (optind < count) {
        fmt::print(stderr, "kmodguard takes no argument \"{}\"\n{}", arguments[optind], help);
        return exit_usage;
    }
    try {
        const auto served = kmodguard::daemon::run_service(service);
        if (served) return 0;
        fmt::print(stderr, "kmodguard: {}\n", served.error().what);
        if (!served.error().hint.empty()) fmt::print(stderr, "  hint: {}\n", served.error().hint);
    } catch (const std::exception& error) { // memory is out: the hook refuses until a new daemon is there
        std::fprintf(stderr, "kmodguard: %s\n", error.what());
    }
    return exit_failed;
}
