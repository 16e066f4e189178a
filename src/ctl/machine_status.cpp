// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/machine_status.hpp"

#include "ctl/decide.hpp"
#include "protocol/answers.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace kmodguard::ctl {
namespace {

LoadedReport loaded_report(const Context& context) {
    const auto answer = context.ask("LOADED");
    if (answer) return protocol::modules_of(answer->fields);
    if (!has_no_daemon(answer.error())) return std::unexpected(answer.error());
    auto judge = TRY(LocalJudge::create(context.paths));
    const auto loaded = TRY(sys::loaded_modules(context.paths));
    return judge.not_admitted(loaded);
}

std::string_view mechanism_in_words(std::optional<kernel::Mechanism> mechanism) {
    if (!mechanism) return "means unknown";
    return *mechanism == kernel::Mechanism::lsm ? "BPF LSM" : "overriding the security hooks (fmod_ret)";
}

std::string first_line(const kernel::Status& status) {
    if (status.state == kernel::State::unknown) return error_of(status).what;
    if (!status.is_enforced()) return fmt::format("not enforced: {}", error_of(status).what);
    std::string line =
        fmt::format("{} by {}", status.state == kernel::State::active ? "active" : "keeps enforcing",
                    mechanism_in_words(status.mechanism));
    if (status.generation) line += fmt::format(", generation {}", *status.generation);
    if (status.modules) line += fmt::format(", {} modules", *status.modules);
    std::string_view separator = "; ";
    for (const kernel::Counter& counter : kernel::counter_table)
        if (!counter.shown.empty())
            line += fmt::format("{}{} {}", std::exchange(separator, ", "), status.counters.*counter.value,
                                counter.shown);
    return line;
}

} // namespace

MachineStatus machine_status(const Context& context) {
    const auto answer = context.ask("STATUS");
    return {.daemon = read_daemon_status(answer),
            .handler = autoload::handler_status(context.paths),
            .kernel = kernel_status(context.paths, answer),
            .loaded = loaded_report(context)};
}

sys::Result<protocol::DaemonStatus> read_daemon_status(const sys::Result<protocol::Answer>& answer) {
    if (!answer) return std::unexpected(answer.error());
    return protocol::daemon_status_of(answer->fields);
}

kernel::Status kernel_status(const sys::Paths& paths, const sys::Result<protocol::Answer>& daemon) {
    return daemon ? kernel::status_of(*daemon) : kernel::pinned_status(paths);
}

sys::Result<void> require_unsealed(const sys::Paths& paths) {
    if (!kernel::pinned_status(paths).sealed) return {};
    return sys::failure(sys::ErrorKind::denied, "the machine is sealed: the guard stays until it restarts",
                        "restart the machine; kmodguard.mode=off on its command line leaves the guard out");
}

std::string describe_mode(const protocol::DaemonStatus& daemon) {
    std::string line(daemon.mode ? to_string(*daemon.mode) : "not known");
    if (daemon.mode_forced) line += fmt::format(" (by {})", *daemon.mode_forced);
    if (daemon.mode_seconds_left) line += fmt::format(" (for {} s more)", *daemon.mode_seconds_left);
    return line;
}

std::string sentence_of(const LoadedReport& loaded) {
    if (loaded) return core::explain_loaded(*loaded);
    return "whether the policy would admit what is loaded is not known: " + loaded.error().what;
}

std::string sentence_of(kernel::Note note) {
    const auto [what, remedy] = text_of(note);
    return fmt::format("{} ({})", what, remedy);
}

std::string skipped_in_words(const kernel::Counters& counters) {
    if (counters.skipped == 0) return "";
    return fmt::format("UP TO {} {} NOT JUDGED: the kernel left out runs of the programs (see the note)",
                       counters.skipped, counters.skipped == 1 ? "LOAD WAS" : "LOADS WERE");
}

std::string lost_in_words(const kernel::Counters& counters) {
    if (counters.lost == 0) return "";
    return fmt::format("{} {} LOST: there was no room; the attempts were judged all the same", counters.lost,
                       counters.lost == 1 ? "RECORD WAS" : "RECORDS WERE");
}

std::vector<std::string> lines_of(const kernel::Status& status) {
    std::vector<std::string> lines{first_line(status)};
    const auto add = [&lines](std::string line) {
        if (!line.empty()) lines.push_back(std::move(line));
    };
    const sys::Error error = error_of(status);
    if (status.is_enforced() && !error.what.empty()) add(fmt::format("PROBLEM: {}", error.what));
    if (!error.hint.empty()) add(fmt::format("hint: {}", error.hint));
    if (status.sealed) add("sealed until the machine restarts");
    add(skipped_in_words(status.counters));
    add(lost_in_words(status.counters));
    for (const kernel::Note note : status.notes)
        add(fmt::format("note: {}", sentence_of(note)));
    return lines;
}

events::Json::Object object_of(const kernel::Status& status) {
    events::Json::Object object{{"point", "kernel"}, {"active", status.is_enforced()}};
    const sys::Error error = error_of(status);
    if (status.state == kernel::State::unknown) {
        object.emplace_back("problem", error.what);
        return object;
    }
    if (status.is_enforced()) {
        object.emplace_back("mechanism", status.mechanism ? to_string(*status.mechanism) : "");
        if (status.generation) object.emplace_back("generation", *status.generation);
        object.emplace_back("sealed", status.sealed);
        if (status.modules) object.emplace_back("modules", *status.modules);
        for (const kernel::Counter& counter : kernel::counter_table)
            object.emplace_back(counter.name, status.counters.*counter.value);
    }
    object.emplace_back("problem", error.what);
    object.emplace_back("hint", error.hint);
    events::Json::List notes;
    for (const kernel::Note note : status.notes)
        notes.emplace_back(sentence_of(note));
    object.emplace_back("notes", std::move(notes));
    return object;
}

} // namespace kmodguard::ctl
