// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/kernel_point.hpp"

#include "core/names.hpp"
#include "enforce/kernel/pinned.hpp"
#include "sys/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace kmodguard::kernel {
namespace {

/// So many images a publication waits for, where aliases are denied: a policy's own list of modules, some
/// milliseconds each. The thousands that a pattern admits would take minutes on a slow machine.
constexpr std::size_t max_awaited_images = 256;

bool wants_kernel_point(const core::Policy& policy) {
    return policy.source().wants(core::Point::kernel);
}

} // namespace

KernelPoint::Dependencies KernelPoint::prepare(const sys::Paths& paths) {
    Dependencies dependencies{
        .support = inspect(paths), .loader = std::nullopt, .loader_error = std::nullopt};
    const Support& support = dependencies.support;
    if (support.problem != Problem::none) return dependencies;
    auto loader = Loader::start(support);
    if (loader)
        dependencies.loader.emplace(std::move(*loader));
    else
        dependencies.loader_error = loader.error();
    return dependencies;
}

KernelPoint::KernelPoint(sys::Paths paths, Dependencies dependencies, compiled::RememberedImages& images,
                         Callbacks callbacks)
    : paths_(std::move(paths)), dependencies_(std::move(dependencies)), image_reader_(images),
      callbacks_(std::move(callbacks)), problem_(dependencies_.support.problem) {
    if (dependencies_.loader_error) fail(*dependencies_.loader_error);
}

bool KernelPoint::is_unavailable() const {
    return dependencies_.support.problem != Problem::none || dependencies_.loader_error.has_value();
}

Published KernelPoint::publish(const Publication& publication) {
    if (std::exchange(index_, publication.index) != publication.index) {
        warm_up_position_.clear();
        images_ = Images::unread;
    }
    if (!wants_kernel_point(publication.policy) && !is_sealed()) return leave_out();
    if (!guard_) {
        if (is_unavailable()) return {.outcome = Published::Outcome::unavailable};
        if (auto established = establish(); !established) {
            fail(established.error());
            return {.outcome = Published::Outcome::unavailable};
        }
    }
    if (!reader_) // a policy did without it
        if (auto opened = open_reader(); !opened) return Published::failed(opened.error());
    const bool was_enforcing = enforcing_;
    Published published = enforce(publication);
    if (published.is_accepted())
        problem_ = Problem::none;
    else if (!was_enforcing) // else the change is undone, and what is in force stays as it was
        fail(published.error);
    return published;
}

bool KernelPoint::is_sealed() {
    return guard_ ? guard_->sealed() : pinned_status(paths_).sealed;
}

sys::Result<void> KernelPoint::establish() {
    if (!dependencies_.loader) // it loads once, and has said why it could not
        return sys::failure(sys::ErrorKind::failed, error_.what, "restart the daemon");
    auto guard = Guard::establish(*dependencies_.loader, paths_.sealed_table());
    dependencies_.loader.reset();
    guard_.emplace(TRY(std::move(guard)));
    return open_reader();
}

sys::Result<void> KernelPoint::open_reader() {
    reader_ =
        TRY(RecordReader::open(guard_->pins(), [this](const guard_record& record) { on_record(record); }));
    return {};
}

std::string KernelPoint::why_not_enforced(const core::Policy& policy) const {
    if (enforcing_ || !wants_kernel_point(policy)) return "";
    // On a machine that cannot have it a policy that names no points asks for what there is.
    if (policy.source().points.empty() && is_unavailable()) return "";
    const sys::Error why = error_of({.problem = problem_, .error = error_});
    return fmt::format("the kernel point is not enforced: {}{}{}", why.what, why.hint.empty() ? "" : "; ",
                       why.hint);
}

Published KernelPoint::enforce(const Publication& publication) {
    Published published = guard_->sealed() ? publish_sealed(publication) : publish_table(publication);
    if (enforcing_) return published; // look_after() sees to the rest
    // A sealed machine goes on with what is in force, and that is looked after.
    if (!published.is_accepted() && !guard_->sealed()) return published;
    if (const auto armed = guard_->arm(); !armed) return Published::failed(armed.error());
    enforcing_ = true;
    return published;
}

/// What a seal takes away never comes back before the machine restarts: not by mistake, then, as by a policy
/// file that cannot be read, or an index that is just being made.
Published KernelPoint::publish_sealed(const Publication& publication) {
    const core::Policy& policy = publication.policy;
    if (!wants_kernel_point(policy))
        return {Published::Outcome::sealed,
                {sys::ErrorKind::denied,
                 "the machine is sealed: the kernel point stays, which the policy's points leave out",
                 "it goes when the machine restarts"}};
    if (!policy.source().valid)
        return Published::failed(
            {sys::ErrorKind::bad_policy,
             "there is no valid policy, and the machine is sealed: what was in force stays"});
    if (!publication.index)
        return Published::failed(
            {sys::ErrorKind::failed,
             "there is no module index, and the machine is sealed: what was in force stays",
             "depmod makes one"});
    if (generation_ != publication.generation) return publish_table(publication);
    // The index is another, and something may answer now to what was refused.
    if (auto forgotten = guard_->forget_refusals(); !forgotten)
        return Published::failed(std::move(forgotten.error()));
    return {};
}

Published KernelPoint::publish_table(const Publication& publication) {
    const auto& [policy, index, generation] = publication;
    core::Admissions admissions(policy, index_or_none());
    // Without an index nothing that has an image is admitted where aliases are denied.
    const bool heeds_images = !policy.has_deny_aliases() || !index || awaits_images(admissions);
    FromImages learned;
    if (policy.has_deny_aliases() && index && heeds_images)
        learned = take_denied_by_images(policy, admissions);
    const auto table = compile(policy, admissions, generation);
    if (!table) return Published::failed(table.error());
    Published published = guard_->publish(*table);
    if (!published.is_accepted()) return published;
    policy_ = policy;
    admissions_ = std::move(admissions);
    generation_ = generation;
    warm_up_position_.clear();
    images_ = heeds_images ? Images::heeded : Images::unread;
    unread_ = std::move(learned.unread);
    if (!learned.taken.empty()) record_withdrawal(learned.taken);
    return published;
}

std::optional<std::string> KernelPoint::refused_of(const core::ModuleDecision& decision) const {
    if (generation_ || !enforcing_ || !guard_ || !guard_->pins().sealed) return std::nullopt;
    for (const core::Step& step : decision.chain)
        if (!step.by_command && step.required && !guard_->seal_admits(step.module)) return step.module;
    return std::nullopt;
}

Published KernelPoint::leave_out() {
    report_all();
    if (!paths_.moved()) // else what is enforced on this machine is another daemon's
        if (auto removed = guard_ ? guard_->detach() : remove_pinned(); !removed)
            return Published::failed(std::move(removed.error()));
    reader_.reset();
    enforcing_ = false;
    problem_ = Problem::left_out;
    return {.outcome = Published::Outcome::left_out};
}

void KernelPoint::fail(sys::Error error) {
    problem_ = Problem::failed;
    error_ = std::move(error);
}

core::ModuleIndex& KernelPoint::index_or_none() const {
    static core::NoModules none;
    if (index_) return *index_;
    return none;
}

void KernelPoint::remember_refusal(std::string_view token) {
    if (guard_) guard_->remember_refusal(token);
}

void KernelPoint::admit_contents(const core::Decision& decision,
                                 const std::vector<compiled::UnpackedImages::Handle>& unpacked) {
    const auto is_unpacked = [&unpacked](const std::string& module) {
        return std::ranges::any_of(unpacked, [&](const auto& image) { return image->module == module; });
    };
    if (!guard_ || !index_) return;
    for (const core::ModuleDecision& module : decision.modules) {
        if (!decision.loads(module)) continue;
        for (const core::Step& step : module.chain)
            if (const core::ModuleRecord* record = index_->find(step.module);
                record != nullptr && !is_unpacked(step.module))
                admit_content(*record);
    }
}

/// Of a compressed file that the kernel shows to programs in its compressed form only. An image that is not
/// what its file's name says is not admitted, nor one that has a problem: it is then judged when it is handed
/// over decompressed.
void KernelPoint::admit_content(const core::ModuleRecord& module) {
    if (!dependencies_.support.kernel_decompresses || module.built_in || module.path.ends_with(".ko")) return;
    const auto now = sys::file_identity(module.path);
    const auto known = contents_.find(module.name);
    if (!now || (known != contents_.end() && known->second == *now)) return;
    const auto image = image_reader_.read(module.path, {.hash = true, .key = guard_->content_key()});
    if (!image || !image->tag || !image->facts.sha256) return;
    const core::ImageFacts& facts = image->facts;
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

std::vector<const core::ModuleRecord*> KernelPoint::with_images(const core::Admissions& admissions) const {
    std::vector<const core::ModuleRecord*> modules;
    for (const auto& [module, admission] : admissions.all())
        if (const core::ModuleRecord* record = index_->find(module))
            if (!record->built_in && !record->command_only) modules.push_back(record);
    return modules;
}

/// Whether publication waits for what the images of `admissions` say.
bool KernelPoint::awaits_images(const core::Admissions& admissions) const {
    const auto is_unread = [this](const core::ModuleRecord* module) {
        return !image_reader_.knows_aliases(module->path);
    };
    return std::cmp_less_equal(std::ranges::count_if(with_images(admissions), is_unread), max_awaited_images);
}

/// depmod's files, by which `admissions` were made, may have been made for other images, and lack an alias
/// that is denied: the images have it. Takes those out, and returns what is not admitted any more. One that
/// cannot be read may have such an alias, too. It may be readable the next moment, and what a seal takes away
/// never comes back: there it stays meanwhile, if it was admitted.
auto KernelPoint::take_denied_by_images(const core::Policy& policy, core::Admissions& admissions)
    -> FromImages {
    bool any = false;
    FromImages learned;
    std::set<std::string, std::less<>> unknown;
    for (const core::ModuleRecord* module : with_images(admissions)) {
        const auto image = image_reader_.read(module->path, {.aliases = true});
        if (!image) learned.unread.push_back(module->name);
        if (!image || !image->facts.problem.empty() || !image->facts.aliases) {
            if (policy.refuses_unknown_aliases() && (image || !guard_->sealed()))
                unknown.insert(module->name);
        } else if (policy.denies_aliases(*image->facts.aliases)) {
            static_cast<void>(index_->aliases(module->name)); // it learns them as well
            any = true;
        }
    }
    if (const auto kept = image_reader_.keep(); !kept) sys::trace(sys::Topic::files, "{}", kept.error().what);
    if (any) learned.taken = admissions.keep_only(core::Admissions(policy, *index_));
    std::ranges::move(admissions.take_away(unknown), std::back_inserter(learned.taken));
    return learned;
}

/// Looks once more at one of the images that could not be read, and publishes anew if it can be now.
void KernelPoint::retry_unread() {
    if (unread_.empty() || !index_ || !generation_) return;
    std::ranges::rotate(unread_, unread_.begin() + 1);
    const std::string module = unread_.back();
    if (const core::ModuleRecord* record = index_->find(module))
        if (!image_reader_.read(record->path, {.aliases = true})) return;
    const core::Policy policy = policy_;
    const Published published =
        publish_table({.policy = policy, .index = index_, .generation = *generation_});
    if (!published.is_accepted())
        sys::trace(sys::Topic::bpf, "{}", published.error.what); // it is tried again
}

bool KernelPoint::admit_next() {
    const bool asks_images = policy_.has_deny_aliases() && images_ == Images::unread;
    if (!enforcing_ || !index_ || !(dependencies_.support.kernel_decompresses || asks_images)) return false;
    const auto next = admissions_.all().upper_bound(warm_up_position_);
    if (next == admissions_.all().end()) {
        if (asks_images && generation_) heed_images();
        return false;
    }
    warm_up_position_ = next->first;
    if (const core::ModuleRecord* record = index_->find(next->first)) {
        if (asks_images && !record->built_in && !record->command_only) // they are remembered
            static_cast<void>(image_reader_.read(record->path, {.aliases = true}));
        admit_content(*record);
    }
    return true;
}

/// What publication did not wait for. This only takes away.
void KernelPoint::heed_images() {
    core::Admissions kept = admissions_;
    auto [denied, unread] = take_denied_by_images(policy_, kept);
    if (!denied.empty()) {
        const auto table = compile(policy_, kept, *generation_);
        Published published = table ? guard_->publish(*table) : Published::failed(table.error());
        if (!published.is_accepted()) {
            if (images_ != Images::not_heeded) record_withdrawal(denied, published.error.what);
            images_ = Images::not_heeded;
            images_error_ = std::move(published.error);
            return;
        }
        record_withdrawal(denied);
    }
    admissions_ = std::move(kept);
    unread_ = std::move(unread);
    images_ = Images::heeded;
}

KernelPoint::Health KernelPoint::look_after() {
    expire_pending();
    if (!enforcing_) return Health::fit;
    report_counted(Guard::Counted::ended);
    if (reader_ && reader_->was_emptied())
        report("another process has taken records of the kernel point, whose attempts have no events");
    const auto before = last_repair_.outcome;
    last_repair_ = guard_->repair();
    if (last_repair_.outcome != Repair::Outcome::whole) {
        if (last_repair_.outcome != before) report(last_repair_.error.what);
        return last_repair_.outcome == Repair::Outcome::needs_new_set ? Health::needs_restart : Health::fit;
    }
    look_at_tracing();
    for (const std::string& what : last_repair_.repaired)
        report(what);
    if (images_ == Images::not_heeded)
        heed_images();
    else
        retry_unread();
    return Health::fit;
}

void KernelPoint::look_at_tracing() {
    const bool off = is_tracing_off();
    if (off && !tracing_off_) report("kernel.ftrace_enabled is 0, and the programs do not run");
    tracing_off_ = off;
}

Status KernelPoint::status() {
    Status status{.problem = problem_, .error = error_, .notes = dependencies_.support.notes};
    if (!enforcing_) return status;
    look_at_tracing(); // the one who asks has perhaps just changed it
    if (tracing_off_) {
        status.problem = Problem::tracing_off;
    } else if (last_repair_.outcome != Repair::Outcome::whole) {
        status.problem = Problem::failed;
        status.error = last_repair_.error;
        if (status.error.hint.empty())
            status.error.hint = "restart the daemon, which loads the kernel point again";
    } else if (images_ == Images::not_heeded) {
        status.problem = Problem::failed;
        status.error = images_error_;
    }
    status.state = State::active;
    status.mechanism = dependencies_.support.mechanism;
    status.sealed = guard_->sealed();
    status.this_build = true;
    if (const auto& table = guard_->in_force()) {
        status.audit = (head_of(*table).flags & GUARD_AUDIT) != 0;
        status.generation = head_of(*table).number;
        status.modules = modules_of(*table);
    }
    status.counters = read_counters(guard_->pins());
    return status;
}

} // namespace kmodguard::kernel
