// SPDX-License-Identifier: AGPL-3.0-only
//
// What a decision costs beside the one look-up in libkmod that no resolver of modprobe's aliases can do
// without. One iteration asks for every token of a list once; the counter "token" is the time of one token,
// in seconds. "cold" benchmarks open the index anew for each iteration, outside the time: every module is met
// for the first time. The others have met every module before.
#include "decisions.hpp"

#include "compiled/index.hpp"
#include "core/decision.hpp"
#include "core/pattern_set.hpp"
#include "daemon/engine.hpp"
#include "policies.hpp"
#include "reader/local/local_reader.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <libkmod.h>
#include <time.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kmodguard::bench {
namespace {

using Tokens = std::vector<std::string>;
using Context = std::unique_ptr<kmod_ctx, kmod_ctx* (*)(kmod_ctx*)>;

constexpr std::size_t pattern_count = 10'000;
constexpr std::size_t denied_patterns = 10;
constexpr std::array<std::size_t, 3> policy_sizes = {10, 200, 10'000};

Context open_context(const Sample& sample) {
    const char* no_configuration[] = {nullptr};
    kmod_ctx* context = kmod_new(sample.paths().modules(sample.release()).c_str(), no_configuration);
    kmod_load_resources(context);
    return {context, kmod_unref};
}

/// As the daemon has it, and what reads for it. It is compiled once, as before a start of the daemon.
struct OpenIndex {
    explicit OpenIndex(const Sample& sample)
        : reader(sample.paths()), index(open(sample, reader), sample.paths(), reader) {}

    static compiled::File open(const Sample& sample, reader::LocalReader& reader) {
        const auto path = sample.paths().kept_index(sample.release());
        if (auto kept = compiled::File::open_kept(path)) return std::move(*kept);
        auto made = reader.index(sample.release());
        if (!made || !compiled::keep(made->bytes(), path))
            throw std::runtime_error("cannot compile the index");
        return std::move(*made);
    }

    reader::LocalReader reader;
    compiled::CompiledIndex index;
    core::Policy policy;
};

void look_up(kmod_ctx* context, const std::string& token) {
    kmod_list* found = nullptr;
    kmod_module_new_from_lookup(context, token.c_str(), &found);
    benchmark::DoNotOptimize(found);
    kmod_module_unref_list(found);
}

void decide(const core::Policy& policy, core::ModuleIndex& index, const std::string& token) {
    core::Decision decision = core::decide(policy, index, token);
    benchmark::DoNotOptimize(decision);
}

/// Seconds that this thread has run, for the machine may be busy with other things.
double processor_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Calls `ask` for every token in each iteration.
template <typename Ask>
void measure(benchmark::State& state, const Tokens& tokens, Ask ask) {
    for (const std::string& token : tokens)
        ask(token); // what is met for the first time, is met here
    for (auto _ : state)
        for (const std::string& token : tokens)
            ask(token);
    using benchmark::Counter;
    state.counters["token"] =
        Counter(static_cast<double>(tokens.size()), Counter::kIsIterationInvariantRate | Counter::kInvert);
}

/// The same with something new from `open` for each iteration.
template <typename Open, typename Ask>
void measure_cold(benchmark::State& state, const Tokens& tokens, Open open, Ask ask) {
    for (auto _ : state) {
        const auto opened = open();
        const double begin = processor_seconds();
        for (const std::string& token : tokens)
            ask(*opened, token);
        state.SetIterationTime(processor_seconds() - begin);
    }
    using benchmark::Counter;
    state.counters["token"] =
        Counter(static_cast<double>(tokens.size()), Counter::kIsIterationInvariantRate | Counter::kInvert);
}

void register_one(const std::string& name, std::function<void(benchmark::State&)> run, bool cold = false) {
    auto* registered = benchmark::RegisterBenchmark(name.c_str(), std::move(run));
    if (cold) registered->UseManualTime();
    registered->Unit(benchmark::kMicrosecond);
}

void register_look_ups(const Sample& sample, const std::string& kind, const Tokens& tokens) {
    register_one("lookup/" + kind, [&](benchmark::State& state) {
        const Context context = open_context(sample);
        measure(state, tokens, [&](const std::string& token) { look_up(context.get(), token); });
    });
    register_one(
        "lookup-cold/" + kind,
        [&](benchmark::State& state) {
            measure_cold(
                state, tokens, [&] { return open_context(sample); },
                [](kmod_ctx& context, const std::string& token) { look_up(&context, token); });
        },
        true);
}

void register_decide(const Sample& sample, const std::string& kind, const Tokens& tokens,
                     core::PolicySource source) {
    const auto policy = std::make_shared<core::Policy>(std::move(source));
    register_one("decide/" + kind, [&sample, &tokens, policy](benchmark::State& state) {
        OpenIndex open(sample);
        const core::Policy fitted = policy->for_modules_of(open.index);
        measure(state, tokens, [&](const std::string& token) { decide(fitted, open.index, token); });
    });
    register_one(
        "decide-cold/" + kind,
        [&sample, &tokens, policy](benchmark::State& state) {
            measure_cold(
                state, tokens,
                [&] {
                    auto open = std::make_unique<OpenIndex>(sample);
                    open->policy = policy->for_modules_of(open->index); // once a publication
                    return open;
                },
                [](OpenIndex& open, const std::string& token) { decide(open.policy, open.index, token); });
        },
        true);
}

/// What the daemon does for a token that it has decided on before.
void register_seen(const Sample& sample, const std::string& kind, const Tokens& tokens,
                   core::PolicySource source) {
    register_one("seen/" + kind, [&sample, &tokens, policy = std::move(source)](benchmark::State& state) {
        write_policy(sample, policy);
        reader::LocalReader reader(sample.paths());
        daemon::Engine engine(sample.paths(), sample.release(), reader);
        if (const auto error = engine.status().policy_error) state.SkipWithError(error->c_str());
        measure(state, tokens, [&](const std::string& token) {
            benchmark::DoNotOptimize(engine.decide(token, daemon::Engine::Known::as_judged).judged);
        });
    });
}

void register_patterns(const Sample& sample) {
    register_one(fmt::format("patterns/{}", pattern_count), [&](benchmark::State& state) {
        core::PatternSet patterns;
        std::uint32_t id = 0;
        for (const auto& entry : refusing_policy(sample, 2 * pattern_count).allow_aliases)
            patterns.add(entry.text, id++);
        measure(state, sample.tokens(),
                [&](const std::string& token) { benchmark::DoNotOptimize(patterns.match(token)); });
    });
}

} // namespace

void register_decisions(const Sample& sample) {
    register_look_ups(sample, "device", sample.devices());
    register_look_ups(sample, "request", sample.requests());
    register_look_ups(sample, "unknown", sample.unknown());
    for (const std::size_t entries : policy_sizes) {
        const auto refusing = refusing_policy(sample, entries);
        register_decide(sample, fmt::format("device/{}", entries), sample.devices(), refusing);
        register_decide(sample, fmt::format("request/{}", entries), sample.requests(), refusing);
        register_decide(sample, fmt::format("unknown/{}", entries), sample.unknown(), refusing);
        register_seen(sample, fmt::format("refused/{}", entries), sample.tokens(), refusing);
    }
    const auto denying = refusing_policy_with_denials(sample, 200, denied_patterns);
    register_decide(sample, "denials/device", sample.devices(), denying);
    register_decide(sample, "denials/request", sample.requests(), denying);
    const auto allowing = allowing_policy(sample, 10'000);
    register_decide(sample, "allowed/device", sample.devices(), allowing);
    register_decide(sample, "allowed/request", sample.requests(), allowing);
    register_seen(sample, "allowed", sample.known(), allowing);
    register_patterns(sample);
}

} // namespace kmodguard::bench
