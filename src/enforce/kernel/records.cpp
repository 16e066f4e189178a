// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/records.hpp"

#include "sys/kernel.hpp"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace kmodguard::kernel {
namespace {

/// Records of one round.
constexpr int max_records = 64;

/// Nanoseconds that no machine runs, a century: beyond them the clocks' arithmetic would overflow.
constexpr std::uint64_t max_run = 3'000'000'000'000'000'000;

/// In the order of guard_problem.
constexpr std::array<std::string_view, 14> problems = {
    "",
    "not an ELF file",
    "ELF header of no module of this kernel",
    "section headers are wrong",
    "a section lies outside the image",
    "section names are wrong",
    "not a kernel module: no .gnu.linkonce.this_module section",
    "a section is there twice",
    "a section is not plain loaded data",
    "sections overlap",
    "no module name where struct module has one",
    "a relocation rewrites the name in struct module",
    ".modinfo is malformed, or has names that differ",
    "the image cannot be read",
};

/// In the order of guard_forbidden.
constexpr std::array<std::string_view, 6> forbidden = {
    "removing the kernel point's pins", "unmounting the kernel point's pins",
    "changing kernel.modprobe",         "loading another kernel",
    "writing to the kernel's memory",   "reaching into the kernel point",
};

static_assert(problems.size() == GUARD_FAULT + 1 && forbidden.size() == GUARD_FORBIDDEN_BPF + 1);

template <std::size_t Size>
std::string name_at(const std::array<std::string_view, Size>& names, std::uint32_t which) {
    return which < Size ? std::string(names[which]) : fmt::format("unknown ({})", which);
}

struct Judged {
    core::Reason reason;
    std::string_view detail = {};
};

/// In the order of guard_reason. What is unreadable for a problem of the image has that for a detail.
constexpr std::array<Judged, 11> judged_by_reason = {{
    {core::Reason::listed}, // or what the record says that it is admitted by
    {core::Reason::not_listed},
    {core::Reason::unreadable_image},
    {core::Reason::contradictory_image},
    {core::Reason::pin_mismatch},
    {core::Reason::pin_mismatch, "larger than the 67108864 bytes that are hashed in the kernel"},
    {core::Reason::unreadable_image, "compressed, and this content was not checked"},
    {core::Reason::not_listed, "it was taken away since the machine was sealed"},
    {core::Reason::no_policy, "there is no policy in the kernel"},
    {core::Reason::unreadable_image, "the kernel would not show the whole image"},
    {core::Reason::not_a_module, problems[GUARD_NOT_ELF]},
}};
static_assert(judged_by_reason.size() == GUARD_NOT_A_MODULE + 1 && GUARD_MAX_PINNED_SIZE == 67'108'864);

/// The judgement that the record alone gives.
core::ModuleDecision judgement_of(const guard_record& record) {
    const bool known = record.reason < judged_by_reason.size();
    const auto row = known ? static_cast<guard_reason>(record.reason) : GUARD_UNREADABLE;
    core::ModuleDecision judged;
    judged.module = text_of(record.name.text);
    judged.reason = judged_by_reason.at(row).reason;
    judged.detail = judged_by_reason.at(row).detail;
    judged.loadable = row != GUARD_NOT_A_MODULE;
    if (row == GUARD_ADMITTED && record.admission <= static_cast<std::uint32_t>(core::Reason::dependency))
        judged.reason = static_cast<core::Reason>(record.admission);
    if (row == GUARD_UNREADABLE) judged.detail = name_at(problems, record.problem);
    if (row == GUARD_CONTRADICTORY)
        judged.detail =
            fmt::format("the image calls itself {} and {}", judged.module, text_of(record.modinfo_name.text));
    return judged;
}

/// The same with rule and reason as core gives them, if they are of the same policy and say the same.
core::ModuleDecision explained(const guard_record& record, core::ModuleDecision judged, const Known& known) {
    const bool named = record.reason == GUARD_ADMITTED || record.reason == GUARD_NOT_LISTED
                       || record.reason == GUARD_PIN_MISMATCH;
    if (!named || record.generation != known.generation) return judged;
    core::ImageFacts facts{
        .problem = {}, .name = text_of(record.name.text), .modinfo_name = text_of(record.modinfo_name.text)};
    if (record.hashed != 0) std::ranges::copy(record.sha256, facts.sha256.emplace().begin());
    // What is not admitted is not hashed, and pins had no part in it.
    const auto pins = known.policy.pins(facts.name);
    if (record.hashed == 0 && !pins.empty()) facts.sha256 = pins.front().sha256;
    const auto decision = core::decide_image(known.policy, known.index, known.admissions, facts);
    if (decision.modules.size() != 1 || decision.modules.front().verdict() != judged.verdict()) return judged;
    return decision.modules.front();
}

std::size_t page_size() {
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace

sys::Result<std::unique_ptr<RecordReader>> RecordReader::open(const OpenPins& pins, Use use) {
    std::unique_ptr<RecordReader> reader( // NOLINT(modernize-make-unique): the constructor is private
        new RecordReader(std::move(use)));
    reader->poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!reader->poll_) return sys::system_failure("cannot wait for", "the kernel point's records");
    TRY(reader->add_ring(pins.records));
    TRY(reader->add_ring(pins.requests));
    return reader;
}

sys::Result<void> RecordReader::add_ring(const RawMap& map) {
    Ring ring;
    ring.buffer.reset(ring_buffer__new(map.fd(), take, this, nullptr));
    if (!ring.buffer) return sys::system_failure("cannot read", "the kernel point's records");
    void* page = ::mmap(nullptr, page_size(), PROT_READ, MAP_SHARED, map.fd(), 0);
    if (page == MAP_FAILED) return sys::system_failure("cannot map", "the kernel point's records");
    ring.position.reset(static_cast<const unsigned long*>(page));
    ring.read_to = ring.position_now();
    epoll_event readable{.events = EPOLLIN, .data = {.fd = map.fd()}};
    if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, map.fd(), &readable) != 0)
        return sys::system_failure("cannot wait for", "the kernel point's records");
    rings_.push_back(std::move(ring));
    return {};
}

int RecordReader::take(void* reader, void* record, std::size_t size) {
    auto& self = *static_cast<RecordReader*>(reader);
    if (size >= sizeof(guard_record)) self.use_(*static_cast<const guard_record*>(record));
    return --self.left_ > 0 ? 0 : -1; // this one is taken; libbpf goes on later
}

void RecordReader::Free::operator()(ring_buffer* buffer) const {
    ring_buffer__free(buffer);
}

void RecordReader::Unmap::operator()(const unsigned long* page) const {
    ::munmap(const_cast<unsigned long*>(page), page_size()); // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

unsigned long RecordReader::Ring::position_now() const {
    return __atomic_load_n(position.get(), __ATOMIC_ACQUIRE);
}

bool RecordReader::read() {
    bool any = false;
    for (Ring& ring : rings_) {
        emptied_ = emptied_ || ring.is_elsewhere();
        left_ = max_records;
        ring_buffer__consume(ring.buffer.get());
        ring.read_to = ring.position_now();
        any = any || left_ != max_records;
    }
    return any;
}

bool RecordReader::was_emptied() {
    bool emptied = std::exchange(emptied_, false);
    for (Ring& ring : rings_) {
        emptied = emptied || ring.is_elsewhere();
        ring.read_to = ring.position_now();
    }
    return emptied;
}

events::Attempt event_of(const guard_record& record, const Known& known) {
    core::ModuleDecision judged = explained(record, judgement_of(record), known);
    judged.chain = {{.module = judged.module, .required = true}};
    core::Decision decision;
    decision.reason = judged.reason;
    decision.rule = judged.rule;
    decision.judged = judged.verdict();
    const bool let_pass = decision.judged == core::Verdict::refuse && record.refused == 0;
    decision.mode = let_pass ? core::Mode::audit : core::Mode::enforce;
    decision.modules.push_back(std::move(judged));
    events::Attempt attempt(core::Point::kernel, record.generation, std::move(decision),
                            record.call == GUARD_INIT_MODULE ? "init_module" : "finit_module");
    attempt.time = time_of(record.time);
    attempt.requester = requester_of(record);
    attempt.file = path_of(record.file);
    attempt.image_size = record.size;
    attempt.other_form_wanted = record.reason == GUARD_UNKNOWN_CONTENT && record.refused != 0;
    if (record.hashed != 0) std::ranges::copy(record.sha256, attempt.sha256.emplace().begin());
    return attempt;
}

events::SealRefusal seal_refusal_of(const guard_record& record) {
    events::SealRefusal refusal(record.generation, forbidden_text(record.reason), requester_of(record));
    set_times(refusal, record.time, record.repeated, record.repeated_since);
    return refusal;
}

events::Requester requester_of(const guard_record& record) {
    const guard_requester& by = record.requester;
    events::Requester requester = brief_requester_of(by);
    requester.user_namespace = by.user_namespace;
    requester.executable = path_of(by.executable);
    requester.cgroup = path_of(by.cgroup);
    if (requester.cgroup.empty() && by.cgroup.whole != 0) requester.cgroup = "/";
    requester.container = events::container_of_cgroup(requester.cgroup);
    return requester;
}

std::chrono::system_clock::time_point time_of(std::uint64_t boot_time) {
    const auto ago = sys::BootClock::now().time_since_epoch()
                     - std::chrono::nanoseconds(std::min<std::uint64_t>(boot_time, max_run));
    return std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::microseconds>(ago);
}

std::string forbidden_text(std::uint32_t which) {
    return name_at(forbidden, which);
}

std::string path_of(const guard_path& path) {
    const std::string_view text(path.text, std::min<std::size_t>(path.size, sizeof path.text));
    std::string result;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\0', begin), text.size());
        const std::string_view component = text.substr(begin, end - begin);
        result.insert(0, component);
        if (component != "/") result.insert(0, "/");
        begin = end + 1;
    }
    if (path.whole == 0 && !result.empty()) result.insert(0, "...");
    return result;
}

} // namespace kmodguard::kernel
