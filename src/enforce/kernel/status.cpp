// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/status.hpp"

#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ranges>
#include <utility>

namespace kmodguard::kernel {
namespace {

constexpr std::string_view prefix = "kernel-point-";

constexpr std::array<std::string_view, 2> mechanisms = {"lsm", "fmod_ret"};
constexpr std::array<std::string_view, 4> states = {"inactive", "active", "unattended", "unknown"};

struct ProblemText {
    std::string_view word;
    std::string_view what;
    std::string_view hint;
};

/// In the order of Problem.
constexpr std::array<ProblemText, 12> problem_texts = {{
    {"", "", ""},
    {"other-root", "paths are below another root than the machine's", "leave --root out"},
    {"no-modules", "the kernel loads no modules (CONFIG_MODULES)", "there is nothing to guard"},
    {"no-types", "the kernel does not describe its types (no /sys/kernel/btf/vmlinux)",
     "boot a kernel with CONFIG_DEBUG_INFO_BTF"},
    {"confidentiality",
     "lockdown in confidentiality mode keeps programs from reading what the kernel is to load",
     "boot with lockdown=integrity"},
    {"left-out", "the policy's points leave it out", ""},
    {"no-daemon", "the daemon does not run", "kmodctl start"},
    {"pins-missing", "what was pinned in the kernel is not all there any more", "kmodctl start"},
    {"audit", "it was left in AUDIT MODE, and refuses nothing", "kmodctl start"},
    {"tracing-off", "kernel.ftrace_enabled is 0, which keeps its programs from running: NOTHING IS JUDGED",
     "kmodctl doctor --fix, or sysctl kernel.ftrace_enabled=1"},
    {"not-root", "only root can tell", ""},
    {"failed", "", ""},
}};
static_assert(problem_texts.size() == static_cast<std::size_t>(Problem::failed) + 1);

struct NoteWords {
    std::string_view word;
    NoteText text;
};

/// In the order of Note.
constexpr std::array<NoteWords, 3> note_texts = {{
    {"no-securityfs",
     {"/sys/kernel/security is not mounted, so it is not known whether bpf is an active security module",
      "mount -t securityfs securityfs /sys/kernel/security"}},
    {"bpf-inactive",
     {"bpf is not among the active security modules", "add it to lsm= on the kernel's command line"}},
    {"may-skip",
     {"this kernel preempts tasks inside of the kernel, and skips a program that was interrupted on the same "
      "processor: two loads at the same instant can leave one unjudged",
      "preempt=voluntary closes this"}},
}};
static_assert(note_texts.size() == static_cast<std::size_t>(Note::may_skip) + 1);

/// The enumerator whose word is `word`, in a table that has them in their order.
template <typename Enum, typename Table, typename Word>
std::optional<Enum> find(const Table& table, std::string_view word, Word of) {
    const auto found = std::ranges::find(table, word, of);
    if (found == table.end()) return std::nullopt;
    return static_cast<Enum>(found - table.begin());
}

std::uint64_t number_of(std::string_view text) {
    std::uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

/// Whether the comma-separated list of active security modules has bpf's.
bool lists_bpf(std::string_view list) {
    return std::ranges::any_of(std::views::split(list.substr(0, list.find('\n')), ','),
                               [](auto module) { return std::string_view(module) == "bpf"; });
}

/// "6.1.0-56-amd64" is {6, 1}.
std::pair<int, int> version_of(const std::string& release) {
    int major = 0;
    int minor = 0;
    const char* end = release.data() + release.size();
    const auto first = std::from_chars(release.data(), end, major);
    if (first.ptr != end && *first.ptr == '.') std::from_chars(first.ptr + 1, end, minor);
    return {major, minor};
}

/// Whether tasks can be preempted inside of the kernel, as far as it says so.
bool preempts(const sys::Paths& paths) {
    if (const auto chosen = sys::kernel_parameter(paths, "preempt"))
        return *chosen == "full" || *chosen == "lazy";
    utsname running{};
    if (::uname(&running) != 0) return true;
    const std::string_view version = running.version;
    return version.contains("PREEMPT")
           && (!version.contains("PREEMPT_DYNAMIC")
               || version_of(running.release) >= std::pair(6, 13)); // voluntary by default before
}

/// Kernels skip a program that is already running on the same processor: always if it is fmod_ret, and before
/// Linux 6.2 if it is lsm (bpf_prog_check_recur of kernel/bpf/trampoline.c).
bool skips_when_interrupted(Mechanism mechanism) {
    return mechanism == Mechanism::fmod_ret || version_of(sys::kernel_release()) < std::pair(6, 2);
}

} // namespace

std::string_view to_string(Mechanism mechanism) {
    return mechanisms.at(static_cast<std::size_t>(mechanism));
}

sys::Error error_of(Problem problem) {
    const ProblemText& text = problem_texts.at(static_cast<std::size_t>(problem));
    return {sys::ErrorKind::failed, std::string(text.what), std::string(text.hint)};
}

sys::Error error_of(const Status& status) {
    return status.problem == Problem::failed ? status.error : error_of(status.problem);
}

NoteText text_of(Note note) {
    return note_texts.at(static_cast<std::size_t>(note)).text;
}

Support inspect(const sys::Paths& paths) {
    Support support;
    support.kernel_decompresses = !sys::in_kernel_compression(paths).empty();
    const auto fail = [&support](Problem problem) {
        support.problem = problem;
        return support;
    };
    if (paths.moved()) return fail(Problem::other_root);
    if (::access("/proc/modules", F_OK) != 0) return fail(Problem::no_modules);
    if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) return fail(Problem::no_types);
    const auto lockdown = sys::read_pseudo_file("/sys/kernel/security/lockdown");
    if (lockdown && lockdown->contains("[confidentiality]")) return fail(Problem::confidentiality);
    const auto active = sys::read_pseudo_file("/sys/kernel/security/lsm");
    // Where the list cannot be read, the means that works whatever is in it.
    support.mechanism = active && lists_bpf(*active) ? Mechanism::lsm : Mechanism::fmod_ret;
    if (!active)
        support.notes.push_back(Note::no_securityfs);
    else if (support.mechanism == Mechanism::fmod_ret)
        support.notes.push_back(Note::bpf_inactive);
    if (skips_when_interrupted(support.mechanism) && preempts(paths)) support.notes.push_back(Note::may_skip);
    return support;
}

bool Support::may_skip() const {
    return std::ranges::find(notes, Note::may_skip) != notes.end();
}

bool is_tracing_off() {
    return sys::read_pseudo_file(tracing_setting).value_or("").starts_with('0');
}

std::vector<protocol::Field> fields_of(const Status& status) {
    std::vector<protocol::Field> fields;
    const auto add = [&fields](std::string_view key, std::string value) {
        fields.push_back({fmt::format("{}{}", prefix, key), std::move(value)});
    };
    add("state", std::string(states.at(static_cast<std::size_t>(status.state))));
    if (status.problem != Problem::none)
        add("problem", std::string(problem_texts.at(static_cast<std::size_t>(status.problem)).word));
    if (status.problem == Problem::failed) {
        add("error", status.error.what);
        if (!status.error.hint.empty()) add("hint", status.error.hint);
    }
    for (const Note note : status.notes)
        add("note", std::string(note_texts.at(static_cast<std::size_t>(note)).word));
    if (!status.is_enforced()) return fields;
    if (status.mechanism) add("mechanism", std::string(to_string(*status.mechanism)));
    if (status.generation) add("generation", std::to_string(*status.generation));
    if (status.modules) add("modules", std::to_string(*status.modules));
    add("sealed", status.sealed ? "yes" : "no");
    add("audit", status.audit ? "yes" : "no");
    for (const Counter& counter : counter_table)
        add(counter.name, std::to_string(status.counters.*counter.value));
    return fields;
}

Status status_of(const protocol::Answer& answer) {
    const auto value = [&answer](std::string_view key) {
        return answer.value(fmt::format("{}{}", prefix, key));
    };
    Status status;
    const auto state = find<State>(states, value("state"), std::identity{});
    if (!state)
        return {.state = State::unknown,
                .problem = Problem::failed,
                .error = {sys::ErrorKind::failed, "the daemon is of another version, and does not tell",
                          "restart the daemon"}};
    status.state = *state;
    const std::string problem = value("problem");
    status.problem = find<Problem>(problem_texts, problem, &ProblemText::word).value_or(Problem::failed);
    if (status.problem == Problem::failed)
        status.error = {sys::ErrorKind::failed, value("error"), value("hint")};
    if (status.problem == Problem::failed && status.error.what.empty()) status.error.what = problem;
    for (const protocol::Field& field : answer.fields)
        if (field.key == fmt::format("{}note", prefix))
            if (const auto note = find<Note>(note_texts, field.value, &NoteWords::word))
                status.notes.push_back(*note);
    if (!status.is_enforced()) return status;
    status.mechanism = find<Mechanism>(mechanisms, value("mechanism"), std::identity{});
    status.generation = number_of(value("generation"));
    status.modules = number_of(value("modules"));
    status.sealed = value("sealed") == "yes";
    status.audit = value("audit") == "yes";
    for (const Counter& counter : counter_table)
        status.counters.*counter.value = number_of(value(counter.name));
    return status;
}

} // namespace kmodguard::kernel
