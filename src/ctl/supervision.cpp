// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/supervision.hpp"

#include "ctl/local_decision.hpp"
#include "events/sinks.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <filesystem>

namespace kmodguard::ctl {
namespace {

sys::Result<void> add_files(Sinks& sinks, const std::filesystem::path& directory) {
    constexpr mode_t owner_only = 0700;
    if (auto made = sys::make_directory(directory, owner_only); !made) return made;
    auto events = events::json_lines_sink(directory / "events.jsonl");
    if (!events) return std::unexpected(events.error());
    auto attempts = events::modules_log_sink(directory / "modules.log");
    if (!attempts) return std::unexpected(attempts.error());
    sinks.push_back(std::move(*events));
    sinks.push_back(std::move(*attempts));
    return {};
}

} // namespace

sys::Result<std::optional<core::Answer>> chosen_answer(const Context& context) {
    const auto text = context.option("answer");
    if (!text) return std::nullopt;
    if (const auto answer = core::answer_from(*text)) return answer;
    return sys::failure(sys::ErrorKind::invalid, fmt::format("there is no answer \"{}\"", *text),
                        "--answer takes \"refuse\" or \"pretend\"");
}

sys::Result<std::unique_ptr<core::Judge>> make_judge(const Context& context, core::PolicySource policy) {
    const auto answer = chosen_answer(context);
    if (!answer) return std::unexpected(answer.error());
    auto index = modules::KmodIndex::open(context.paths, chosen_kernel(context));
    if (!index && context.has("kernel")) return std::unexpected(index.error());
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), index ? std::move(*index) : nullptr,
                                         *answer);
}

sys::Result<Sinks> open_sinks(const Context& context, bool quiet) {
    Sinks sinks;
    if (!quiet) {
        sinks.push_back(events::has_journal() ? events::journal_sink() : events::syslog_sink());
        sinks.push_back(context.json ? events::json_stderr_sink() : events::stderr_sink());
    }
    if (const auto directory = context.option("log-dir"))
        if (auto added = add_files(sinks, *directory); !added) return std::unexpected(added.error());
    return sinks;
}

} // namespace kmodguard::ctl
