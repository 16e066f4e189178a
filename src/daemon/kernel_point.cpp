// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/kernel_point.hpp"

#include "core/loosening.hpp"
#include "core/names.hpp"
#include "modules/image_file.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::daemon {
namespace {

constexpr std::size_t max_pending = 4096;
/// The hook gives up after 5 s, and its request is on its way before.
constexpr std::chrono::seconds patience{10};
/// Rounds of records that a request is looked for in.
constexpr int most_reads = 16;

bool wants_kernel_point(const core::Policy& policy) {
    return core::wants_point(policy.source(), core::Point::kernel);
}

} // namespace

KernelPointMeans prepare_kernel_point(const sys::Paths& paths) {
    KernelPointMeans means{.support = kernel::examine(paths), .loader = std::nullopt};
    if (!means.support.problem.empty()) return means;
    auto loader = kernel::Loader::start({.mechanism = means.support.mechanism,
                                         .kernel_unpacks = means.support.kernel_unpacks,
                                         .directory = kernel::new_pin_directory()});
    if (loader)
        means.loader.emplace(std::move(*loader));
    else
        means.support.problem = loader.error().what;
    return means;
}

KernelPoint::KernelPoint(Engine& engine, KernelPointMeans means, Log log)
    : engine_(engine), means_(std::move(means)), log_(std::move(log)), problem_(means_.support.problem),
      hint_(means_.support.hint) {}

sys::Result<void> KernelPoint::hold(const core::Policy& policy, core::ModuleIndex& index,
                                    std::uint64_t generation) {
    if (!wants_kernel_point(policy)) return give_up();
    if (!guard_) {
        if (!means_.support.problem.empty()) return {}; // this machine cannot hold it, and status says why
        if (auto established = establish(); !established) {
            problem_ = established.error().what;
            hint_ = established.error().hint;
            return {};
        }
    }
    if (!reader_) // a policy did without it
        if (auto reading = read_from_guard(); !reading) return reading;
    const bool stood = armed_;
    auto published = publish(policy, index, generation);
    if (!published && stood) return published; // the change is undone, and what is held stands as it did
    problem_ = published ? "" : published.error().what;
    hint_ = published ? "" : published.error().hint;
    return published;
}

sys::Result<void> KernelPoint::establish() {
    if (!means_.loader) // it loads once, and has said why it could not
        return sys::failure(sys::ErrorKind::failed, problem_, "restart the daemon");
    auto guard = kernel::Guard::establish(*means_.loader, engine_.paths().sealed_table());
    means_.loader.reset();
    if (!guard) return std::unexpected(guard.error());
    guard_.emplace(std::move(*guard));
    return read_from_guard();
}

sys::Result<void> KernelPoint::read_from_guard() {
    auto reader =
        kernel::RecordReader::open(guard_->pins(), [this](const guard_record& record) { on_record(record); });
    if (!reader) return std::unexpected(reader.error());
    reader_.emplace(std::move(*reader));
    return {};
}

std::string KernelPoint::shortfall(const core::Policy& policy) const {
    if (armed_ || !wants_kernel_point(policy)) return "";
    // On a machine that cannot hold it a policy that names no points asks for what there is.
    if (policy.source().points.empty() && !means_.support.problem.empty()) return "";
    return fmt::format("the kernel point is not held: {}{}{}", problem_, hint_.empty() ? "" : "; ", hint_);
}

sys::Result<void> KernelPoint::publish(const core::Policy& policy, core::ModuleIndex& index,
                                       std::uint64_t generation) {
    // What a seal takes away never comes back before the machine restarts: not by mistake, then, as by a
    // policy file that cannot be read, or an index that is just being made.
    if (guard_->sealed() && !engine_.has_policy())
        return sys::failure(sys::ErrorKind::bad_policy,
                            "there is no valid policy, and the machine is sealed: what it held is held on");
    if (guard_->sealed() && engine_.index() == nullptr)
        return sys::failure(sys::ErrorKind::failed,
                            "there is no module index, and the machine is sealed: what it held is held on",
                            "depmod makes one");
    if (guard_->sealed() && armed_ && generation == generation_) // the index is another
        return guard_->forget_refusals(); // something may answer now to what was refused
    core::Admissions admissions(policy, index);
    const auto table = kernel::compile(policy, admissions, generation);
    if (!table) return std::unexpected(table.error());
    auto published = guard_->publish(*table);
    // Sealed, with a policy that is looser than what is held: what is held goes on.
    if (!published && !guard_->sealed()) return published;
    if (published) {
        admissions_ = std::move(admissions);
        generation_ = generation;
        warm_up_position_.clear();
    }
    if (armed_) return published; // look_after() sees to the rest
    if (const auto armed = guard_->arm(); !armed) return std::unexpected(armed.error());
    armed_ = true;
    return published;
}

sys::Result<void> KernelPoint::give_up() {
    tell_all();
    if (!engine_.paths().moved()) // else what guards this machine is another daemon's
        if (auto removed = guard_ ? guard_->detach() : kernel::remove_guard(); !removed) return removed;
    reader_.reset();
    armed_ = false;
    problem_ = "the policy's points leave it out";
    hint_.clear();
    return {};
}

bool KernelPoint::read_records() {
    return reader_ && reader_->read();
}

void KernelPoint::on_record(const guard_record& record) {
    switch (record.kind) {
    case GUARD_REQUEST: on_request(record); break;
    case GUARD_REFUSED_REQUEST: {
        events::Attempt attempt = refused_request(kernel::text_of(record.name.text));
        attempt.time = kernel::time_of(record.time);
        attempt.requester = kernel::requester_of(record);
        attempt.repeated = record.repeated;
        if (attempt.repeated != 0) attempt.repeated_since = kernel::time_of(record.repeated_since);
        log_.record(std::move(attempt));
        break;
    }
    case GUARD_SEAL: log_.record(kernel::seal_refusal_of(record)); break;
    default: on_image(record);
    }
}

events::Attempt KernelPoint::refused_request(std::string_view token) {
    core::Decision decision = engine_.decide(token);
    if (decision.effective() != core::Verdict::refuse) { // the policy is another by now
        decision = core::Decision{};
        decision.token = token;
        decision.reason = core::Reason::not_listed;
    }
    return {core::Point::kernel, engine_.generation(), std::move(decision)};
}

/// Of refusals that the kernel has counted without a record, and that no record of their kind has told of
/// since.
void KernelPoint::tell_counted(kernel::Guard::Counted which) {
    for (const auto& [what, how] : guard_->take_counted(which)) {
        events::Requester by;
        by.pid = static_cast<pid_t>(how.pid);
        by.kernel_thread = how.kernel_thread != 0;
        if (!by.kernel_thread) by.uid = how.uid;
        by.command = kernel::text_of(how.command);
        const auto record = [&](auto refusal) {
            refusal.time = kernel::time_of(how.last);
            refusal.requester = std::move(by);
            refusal.repeated = how.unrecorded - 1;
            if (refusal.repeated != 0) refusal.repeated_since = kernel::time_of(how.since);
            log_.record(std::move(refusal));
        };
        if (what.name.text[0] == GUARD_SEAL_MARK)
            record(events::SealRefusal(
                generation_, kernel::forbidden_text(static_cast<unsigned char>(what.name.text[1])), by));
        else
            record(refused_request(kernel::text_of(what.name.text)));
    }
    if (const std::uint64_t lost = guard_->take_lost(); lost != 0) log_.lost(lost);
}

void KernelPoint::tell_all() {
    if (!guard_) return;
    for (int reads = 0; reads < most_reads; ++reads)
        if (!read_records()) break;
    tell_counted(kernel::Guard::Counted::all);
}

void KernelPoint::on_request(const guard_record& record) {
    if (pending_.size() >= max_pending) pending_.pop_front();
    pending_.push_back({.token = kernel::text_of(record.name.text),
                        .requester = kernel::requester_of(record),
                        .since = std::chrono::steady_clock::now(),
                        .time = kernel::time_of(record.time)});
}

void KernelPoint::on_image(const guard_record& record) {
    const kernel::Known known{engine_.policy(), engine_.index_or_none(), admissions_, generation_};
    events::Attempt event = kernel::event_of(record, known);
    if (record.kind == GUARD_IMAGE && record.reason == GUARD_UNKNOWN_CONTENT) {
        if (event.other_form_wanted)
            event.note = "answered ENOSYS, so that it is handed over unpacked";
        else
            judge_by_file(event);
    }
    const bool for_want_of_a_rule =
        event.decision.reason == core::Reason::not_listed || event.decision.reason == core::Reason::no_policy;
    if (for_want_of_a_rule && record.kind == GUARD_IMAGE && record.refused != 0
        && sys::has_live_module(kernel::text_of(record.name.text)))
        event.note = "a module of this name is loaded; without the guard the kernel would say that it exists";
    log_.record(std::move(event));
}

/// Audit mode has let a compressed image pass that nobody knew. What it is, its file tells, if it is still
/// the same; nothing depends on that but the record.
void KernelPoint::judge_by_file(events::Attempt& event) {
    // Nothing but the system's modules: a path from elsewhere could keep the daemon waiting.
    if (!event.file.starts_with("/usr/lib/modules/") && !event.file.starts_with("/lib/modules/")) return;
    const auto found = modules::identify_file(event.file, {.image = {.with_hash = true}});
    if (!found || !found->identity.facts.problem.empty()) return;
    event.decision =
        core::decide_image(engine_.policy(), engine_.index_or_none(), admissions_, found->identity.facts);
    event.note = "judged by what the file holds now";
}

std::optional<events::Requester> KernelPoint::requester_of(std::string_view token) {
    const auto here = [this, token] { return std::ranges::find(pending_, token, &Pending::token); };
    // The kernel recorded it before it ran the hook.
    for (int reads = 0; reads < most_reads && here() == pending_.end(); ++reads)
        if (!read_records()) break;
    const auto found = here();
    if (found == pending_.end()) return std::nullopt;
    events::Requester requester = std::move(found->requester);
    pending_.erase(found);
    return requester;
}

void KernelPoint::expire_pending() {
    const auto now = std::chrono::steady_clock::now();
    while (!pending_.empty() && now - pending_.front().since > patience) {
        Pending& old = pending_.front();
        events::Attempt attempt(core::Point::kernel, engine_.generation(), engine_.decide(old.token));
        attempt.time = old.time;
        attempt.requester = std::move(old.requester);
        attempt.note = "the hook did not bring this request";
        log_.record(std::move(attempt));
        pending_.pop_front();
    }
}

void KernelPoint::remember_refusal(std::string_view token) {
    if (guard_ && engine_.policy().mode() == core::Mode::enforce) guard_->remember_refusal(token);
}

void KernelPoint::admit_contents(const core::Decision& decision) {
    if (!guard_ || engine_.index() == nullptr) return;
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        for (const core::Step& step : module.chain)
            if (const core::ModuleRecord* record = engine_.index()->find(step.module)) admit_content(*record);
    }
}

/// Of a compressed file that the kernel would be shown packed only. An image that is not what its file's name
/// says is not admitted, nor one that has a problem: it is then judged when somebody unpacks it.
void KernelPoint::admit_content(const core::ModuleRecord& module) {
    if (!means_.support.kernel_unpacks || module.built_in || module.path.ends_with(".ko")) return;
    const auto now = sys::file_identity(module.path);
    const auto known = contents_.find(module.name);
    if (!now || (known != contents_.end() && known->second == *now)) return;
    const auto image = modules::KmodIndex::packed_image(module, guard_->content_key());
    if (!image || !image->tag || !image->identity.facts.sha256) return;
    const core::ImageFacts& facts = image->identity.facts;
    const bool agrees = facts.name == module.name
                        && (facts.modinfo_name.empty() || core::fold(facts.modinfo_name) == module.name);
    if (!facts.problem.empty() || !agrees) return;
    auto admitted = guard_->admit_content(*image->tag, facts.name, *facts.sha256);
    if (!admitted && !guard_->sealed()) { // full
        guard_->forget_contents();
        contents_.clear();
        admitted = guard_->admit_content(*image->tag, facts.name, *facts.sha256);
    }
    if (admitted) contents_.insert_or_assign(module.name, image->file);
}

bool KernelPoint::admit_next() {
    if (!guard_ || !means_.support.kernel_unpacks || engine_.index() == nullptr) return false;
    const auto next = admissions_.all().upper_bound(warm_up_position_);
    if (next == admissions_.all().end()) return false;
    warm_up_position_ = next->first;
    if (const core::ModuleRecord* record = engine_.index()->find(next->first)) admit_content(*record);
    return true;
}

bool KernelPoint::look_after() {
    expire_pending();
    if (!armed_) return true;
    tell_counted(kernel::Guard::Counted::ended);
    if (reader_ && reader_->was_emptied())
        report("another process has taken records of the kernel point, whose attempts have no events");
    const auto mended = guard_->mend();
    if (!mended) {
        if (!broken_ || broken_->kind != mended.error().kind) report(mended.error().what);
        broken_ = mended.error();
        if (broken_->hint.empty()) broken_->hint = "restart the daemon, which makes the kernel point anew";
        return mended.error().kind != sys::ErrorKind::invalid;
    }
    broken_.reset();
    look_at_tracing();
    for (const std::string& what : *mended)
        report(what);
    return true;
}

void KernelPoint::look_at_tracing() {
    const bool off = kernel::is_tracing_off();
    if (off && !tracing_off_) report("kernel.ftrace_enabled is 0, and the programs do not run");
    tracing_off_ = off;
}

void KernelPoint::report(const std::string& what) {
    log_.record(events::Tampering(generation_, what));
}

std::vector<protocol::Field> KernelPoint::status() {
    std::vector<protocol::Field> fields;
    const auto add = [&fields](std::string key, std::string value) {
        fields.push_back({"kernel-point-" + std::move(key), std::move(value)});
    };
    add("active", armed_ ? "yes" : "no");
    if (armed_) look_at_tracing(); // who asks has perhaps just changed it
    sys::Error wrong{sys::ErrorKind::failed, problem_, hint_};
    if (armed_ && tracing_off_)
        wrong = {sys::ErrorKind::failed,
                 "kernel.ftrace_enabled is 0, which keeps its programs from running: NOTHING IS JUDGED",
                 "kmodctl doctor --mend, or sysctl kernel.ftrace_enabled=1"};
    else if (armed_ && broken_)
        wrong = *broken_;
    if (!wrong.what.empty()) add("problem", wrong.what);
    if (!wrong.hint.empty()) add("hint", wrong.hint);
    for (const std::string& note : means_.support.notes)
        add("note", note);
    if (!armed_) return fields;
    const kernel::Counters counters = guard_->counters();
    add("mechanism", std::string(to_string(means_.support.mechanism)));
    add("generation", std::to_string(guard_->held_generation()));
    add("modules", std::to_string(guard_->held_modules()));
    add("sealed", guard_->sealed() ? "yes" : "no");
    add("allowed", std::to_string(counters.allowed));
    add("refused", std::to_string(counters.refused));
    add("audited", std::to_string(counters.audited));
    add("requests", std::to_string(counters.requests));
    add("remembered", std::to_string(counters.remembered));
    add("lost", std::to_string(counters.lost));
    add("skipped", std::to_string(counters.skipped));
    return fields;
}

} // namespace kmodguard::daemon
