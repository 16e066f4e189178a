// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/judge_and_sinks.hpp"

#include "ctl/decide.hpp"
#include "events/sinks.hpp"
#include "sys/file.hpp"

#include <filesystem>

namespace kmodguard::ctl {
namespace {

sys::Result<void> add_files(Sinks& sinks, const std::filesystem::path& directory) {
    constexpr mode_t owner_only = 0700;
    TRY(sys::make_directory(directory, owner_only));
    sinks.push_back(TRY(events::json_lines_sink(directory / "events.jsonl")));
    sinks.push_back(TRY(events::modules_log_sink(directory / "modules.log")));
    return {};
}

} // namespace

sys::Result<std::unique_ptr<core::Judge>>
make_judge(const sys::Paths& paths, const SupervisionOptions& options, core::PolicySource policy) {
    auto index = modules::KmodIndex::open(paths, chosen_kernel(options.kernel));
    if (!index && options.kernel) return std::unexpected(index.error());
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), index ? std::move(*index) : nullptr,
                                         options.answer);
}

sys::Result<Sinks> open_sinks(const Context& context, const File& log_dir, bool quiet) {
    Sinks sinks;
    if (!quiet) {
        sinks.push_back(events::has_journal() ? events::journal_sink() : events::syslog_sink());
        sinks.push_back(context.json ? events::json_stderr_sink() : events::stderr_sink());
    }
    if (log_dir) TRY(add_files(sinks, *log_dir));
    return sinks;
}

} // namespace kmodguard::ctl
