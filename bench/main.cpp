// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodguard_bench: the decision measured natively, on the index of a real kernel. It wants the path of a
// kernel's modules, /lib/modules/RELEASE, in KMODGUARD_BENCH_MODULES or as --modules=DIR; all other arguments
// are Google Benchmark's.
#include "decisions.hpp"
#include "sample.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

namespace {

/// Takes --modules=DIR out of the arguments; without it, the environment's.
std::string take_modules(int& count, char** arguments) {
    constexpr std::string_view option = "--modules=";
    const char* given = std::getenv("KMODGUARD_BENCH_MODULES");
    std::string modules = given != nullptr ? given : "";
    int kept = 1;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = arguments[i];
        if (argument.starts_with(option))
            modules = argument.substr(option.size());
        else
            arguments[kept++] = arguments[i];
    }
    count = kept;
    return modules;
}

} // namespace

int main(int count, char** arguments) try {
    const std::string modules = take_modules(count, arguments);
    if (modules.empty()) {
        fmt::print(stderr, "kmodguard_bench: give --modules=/lib/modules/RELEASE\n");
        return 2;
    }
    const kmodguard::bench::Sample sample(modules);
    kmodguard::bench::register_decisions(sample);
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
} catch (const std::exception& error) {
    fmt::print(stderr, "kmodguard_bench: {}\n", error.what());
    return 1;
}
