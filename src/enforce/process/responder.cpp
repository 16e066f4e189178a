// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/responder.hpp"

#include "core/admission.hpp"
#include "core/names.hpp"
#include "modules/decompress.hpp"
#include "modules/hash.hpp"
#include "sys/result.hpp"
#include "sys/trace.hpp"

#include <fmt/format.h>
#include <linux/module.h>

#include <new>
#include <utility>

namespace kmodguard::process {
namespace {

constexpr std::uint64_t generation = 1; ///< a supervisor's policy stays
constexpr const char* lost_caller = "the caller was gone before it could be looked at";
/// MODULE_NAME_LEN - 1, and room to see that a name is longer.
constexpr std::size_t max_unload_name = 64;
constexpr std::size_t max_deferred_image = 1U << 20U; ///< bytes of one that is hashed after the answer
/// Bytes of an image that is known again when its process brings it once more.
constexpr std::size_t max_remembered_image = 256U << 10U;

/// What is no module is the kernel's own to answer.
bool is_enforced_refusal(const core::Decision& decision) {
    return decision.effective() == core::Verdict::refuse && decision.reason != core::Reason::not_a_module;
}

/// Whether the kernel is to decompress what it is given, or to do with it what no flag meant until now.
bool asks_to_decompress(const Notification& notification) {
    constexpr std::uint32_t as_it_is = MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC;
    const auto flags = static_cast<std::uint32_t>(notification.arguments[2]);
    return notification.call == ModuleCall::finit_module && (flags & ~as_it_is) != 0;
}

/// Those of the module, which the caller has in its memory.
Taken<std::string> parameters_of(const Notification& notification, const Caller& caller) {
    const bool from_file = notification.call == ModuleCall::finit_module;
    auto parameters = caller.copy_text(notification.arguments[from_file ? 1 : 2], max_parameters);
    if (!parameters) return refused(parameters.error().error, "the parameters: " + parameters.error().why);
    return parameters;
}

std::optional<core::Sha256> hash_of(std::span<const std::byte> image) {
    const auto hash = modules::sha256(image);
    return hash ? std::optional(*hash) : std::nullopt;
}

} // namespace

Responder::Responder(const Listener& listener, core::Judge& judge, KernelModules& kernel,
                     events::Recorder& recorder, const SupervisorSettings& settings)
    : listener_(listener), judge_(judge), kernel_(kernel), recorder_(recorder),
      container_(settings.container), limits_(settings.limits), log_order_(recorder, container_),
      budget_(std::max(limits_.memory, limits_.image_bytes)), powerless_(settings.powerless),
      processes_(limits_.known_processes), unjudged_(judge.decide(unreadable(lost_caller))),
      lender_({.judge = judge,
               .kernel = kernel,
               .memory = budget_,
               .decompressing = decompressing_,
               .limit = limits_.image_bytes},
              settings.user_namespace),
      deferred_(recorder) {
    if (!powerless_) powerless_ = std::make_shared<MemoryBudget>(limits_.powerless_memory);
}

void Responder::respond(const Notification& notification) {
    sys::trace(sys::Topic::calls, "{} by thread {}", to_string(notification.call), notification.thread);
    if (notification.thread == 0)
        return refuse_unseen(notification, EPERM,
                             "the caller is in a pid namespace that is not below kmodctl's");
    try {
        switch (notification.call) {
        case ModuleCall::init_module:
        case ModuleCall::finit_module: return respond_to_load(notification);
        case ModuleCall::delete_module: return respond_to_unload(notification);
        case ModuleCall::other: break; // of another program's filter
        }
        refuse_unseen(notification, ENOSYS, "a system call that is not decided on");
    } catch (const std::bad_alloc&) {
        listener_.answer(notification.id, -ENOMEM); // first of all; there may be no memory for the record
        refuse_unseen(notification, ENOMEM, "there was no memory to look at it");
    }
}

bool Responder::is_powerless(const Look& look) {
    return !look.has_capability || look.requester.user_namespace != initial_user_namespace;
}

events::Attempt Responder::event_of(const Notification& notification, const Look& look, Time began,
                                    core::Decision decision) const {
    events::Attempt event(core::Point::process, generation, std::move(decision),
                          to_string(notification.call));
    event.time = began;
    event.requester = look.requester;
    if (!container_.empty()) event.requester->container = container_;
    event.powerless = is_powerless(look);
    return event;
}

void Responder::respond_to_load(const Notification& notification) {
    const Time began = events::WallClock::now();
    LogOrder::Line line(log_order_);
    const Look look = processes_.look(notification.thread);
    std::optional<Taken<void>> served; ///< where the caller could load nothing itself
    if (is_powerless(look)) served = lender_.serves(look.caller);
    const Power power = served && !*served ? Power::none : Power::some;
    std::string file;
    auto image = take(notification, look, power, file);
    // All that was read until here was the caller's, if the caller is still there.
    if (!listener_.is_waiting(notification.id))
        return record_unjudged(notification, began, is_powerless(look),
                               DeferredRecord::Line{.place = std::move(line), .text = "?"});

    core::Decision decision = image ? judge(*image) : judge_.decide(unreadable(image.error().why));
    const bool has_name = image && !image->facts.name.empty();
    DeferredRecord record{.event = event_of(notification, look, began, std::move(decision)),
                          .line = DeferredRecord::Line{.place = std::move(line),
                                                       .text = !file.empty() ? file
                                                               : has_name    ? image->facts.name
                                                                             : "?"}};
    events::Attempt& event = *record.event;
    event.file = std::move(file);
    if (image) event.sha256 = image->facts.sha256;

    int result = 0;
    if (!image) {
        // What cannot be taken cannot be loaded either, whatever the policy says.
        result = image.error().error;
    } else if (is_enforced_refusal(event.decision)) {
        const bool exists = is_loaded_already(look.caller, image->facts, event);
        result = exists ? EEXIST : events::answer_refused(event, judge_.answer());
        if (image->lacks_hash) record.image = keep_image(std::move(*image), look);
    } else {
        deferred_.add({.line = std::move(record.line)}); // a load may take for ever
        record.line.reset();
        if (served && *served)
            result = lend(notification, look.caller, std::move(*image), event);
        else if (served)
            result = refuse(event, served->error());
        else if (const auto may = look.caller.may_load(); !may)
            result = refuse(event, may.error());
        else
            result = load(notification, look.caller, std::move(*image), event);
    }
    processes_.keep(look);
    finish(notification, result, std::move(record));
}

/// What a refused image is hashed from when there is time; its process brings the same again, perhaps.
std::shared_ptr<SeenImage> Responder::keep_image(Brought image, const Look& look) {
    if (image.seen) return image.seen;
    auto seen = std::make_shared<SeenImage>(std::move(image.bytes), std::move(image.facts));
    if (look.process && seen->size() <= max_remembered_image) look.process->image = seen;
    return seen;
}

/// By its hash only if the policy pins the module. What is not refused is hashed as well, since it is about
/// to be handed over, and what is large, since it is not to wait in memory.
core::Decision Responder::judge(Brought& image) {
    const auto hash = [&image] {
        if (!std::exchange(image.lacks_hash, false)) return;
        image.facts.sha256 = image.seen ? image.seen->sha256() : hash_of(image.bytes.all());
    };
    const bool is_large = image.bytes.size() > max_deferred_image;
    if (is_large || !judge_.policy().pins(core::fold(image.facts.name)).empty()) hash();
    core::Decision decision = judge_.decide(image.facts);
    if (!is_enforced_refusal(decision)) hash();
    return decision;
}

Taken<Responder::Brought> Responder::take(const Notification& notification, const Look& look, Power power,
                                          std::string& path) {
    const std::uint64_t limit = power == Power::none ? limits_.powerless_bytes : limits_.image_bytes;
    const auto& arguments = notification.arguments;
    Brought image;
    if (notification.call == ModuleCall::finit_module) {
        const auto file = TRY(look.caller.open_file(static_cast<int>(arguments[0])));
        path = file.path;
        image.share = TRY(reserve(notification, std::min(file.size, limit), power));
        image.bytes = TRY(Caller::copy_file(file, limit));
    } else {
        image.share = TRY(reserve(notification, std::min(arguments[1], limit), power));
        image.bytes = TRY(look.caller.copy_memory(arguments[0], arguments[1], limit));
    }
    identify(notification, image, look, limit);
    return image;
}

/// A caller that may load nothing does not wait: another such may hold its memory for as long as it likes, by
/// a file that it serves itself, and the answer is known.
Taken<MemoryBudget::Share> Responder::reserve(const Notification& notification, std::uint64_t size,
                                              Power power) {
    if (power == Power::some) return budget_.take(size);
    // What is decompressed grows by doubling, up to the limit.
    const std::uint64_t decompressed = asks_to_decompress(notification) ? 2 * limits_.powerless_bytes : 0;
    auto share = powerless_->take_at_once(size + decompressed);
    if (share) return share;
    return refused(EPERM, "too many callers that may load nothing, to look at them all");
}

/// What the kernel would take the bytes for. What is compressed is decompressed if the call asks for that.
/// Then another program than the kernel's has decompressed it, and what is no module to the one may be one to
/// the other: it is refused like all that cannot be judged.
void Responder::identify(const Notification& notification, Brought& image, const Look& look,
                         std::uint64_t limit) {
    if (asks_to_decompress(notification)) {
        image.facts = identify_decompressed(image.bytes, limit);
        image.facts.no_module = false;
        return;
    }
    image.lacks_hash = true;
    if (look.process && look.process->image && look.process->image->is(image.bytes.all())) {
        image.seen = look.process->image;
        image.facts = image.seen->facts();
    } else {
        image.facts = facts_without_hash(image.bytes.all());
    }
}

core::ImageFacts Responder::identify_decompressed(const modules::Buffer& bytes, std::uint64_t limit) {
    modules::MemorySource source(bytes.all());
    if (!is_compressed(source)) return facts_of(bytes.all());
    const std::scoped_lock lock(decompressing_);
    const auto content = modules::decompress(source, limit);
    return content ? facts_of(*content) : unreadable(content.error().what);
}

/// Whether the kernel would have said that the module exists, to what is refused because no rule allows it:
/// scripts go by that answer, and it is no attempt at a load. It is not asked, since the module may be gone
/// the next moment. Who may not load is told that first, and pretending is for what is not there.
bool Responder::is_loaded_already(const Caller& caller, const core::ImageFacts& facts,
                                  events::Attempt& event) {
    return judge_.answer() == core::CallerAnswer::refuse && kernel_.is_loaded(facts.name) && caller.may_load()
           && core::take_for_loaded(event.decision);
}

/// What a caller gets that the policy would let pass. A reader of the verdict alone would look for the
/// mistake in the policy.
int Responder::refuse(events::Attempt& event, const Refusal& refusal) {
    event.note = "not carried out: " + refusal.why;
    event.withheld = true;
    return refusal.error;
}

/// Loads the copy: 0 or an errno.
int Responder::load(const Notification& notification, const Caller& caller, Brought image,
                    events::Attempt& event) {
    const auto parameters = parameters_of(notification, caller);
    if (!parameters) {
        event.note = parameters.error().why;
        return parameters.error().error;
    }
    if (!listener_.is_waiting(notification.id)) {
        event.note = "the caller was gone before its module was loaded";
        return EINTR;
    }
    if (notification.call == ModuleCall::init_module) return kernel_.load(image.bytes, *parameters);
    return kernel_.load_file(std::move(image.bytes), *parameters,
                             static_cast<int>(notification.arguments[2]));
}

/// Loads this machine's own file of the module that the image says it is: 0 or an errno.
int Responder::lend(const Notification& notification, const Caller& caller, Brought image,
                    events::Attempt& event) {
    if (image.facts.no_module) return ENOEXEC; // as the kernel would say
    if (event.decision.judged != core::Verdict::allow)
        return refuse(event,
                      {.error = EPERM,
                       .why = "audit mode lets pass what loads without a guard, and nothing would for a "
                              "caller in a user namespace"});
    const auto parameters = parameters_of(notification, caller);
    if (!parameters) return refuse(event, parameters.error());
    if (!parameters->empty())
        return refuse(event,
                      {.error = EPERM,
                       .why = "a caller in a user namespace gives a module no parameters; those of this "
                              "machine's modprobe.d count"});
    image.bytes = modules::Buffer(0); // its name was all that counts, and what follows takes memory too
    image.share.reset();
    auto attempts = lender_.load(event.decision.modules.at(0).module,
                                 [&] { return listener_.is_waiting(notification.id); });
    if (!attempts && attempts.error().error == EEXIST) return EEXIST;
    if (!attempts) return refuse(event, attempts.error());
    event.powerless = false; // what else it tries, as often as it likes, is not to push out others' records
    const Lender::Attempt& last = attempts->back();
    const bool is_own = last.module == event.decision.modules.at(0).module;
    for (const Lender::Attempt& tried : *attempts)
        if (&tried != &last || !is_own) record_needed(event, tried);
    if (!last.why.empty()) return refuse(event, {.error = last.error, .why = last.why});
    event.note = !is_own ? fmt::format("{}, which it needs, does not load", last.module)
                         : fmt::format("loaded for a user namespace, by this machine's own {}{}", last.file,
                                       last.sha256 == image.facts.sha256 ? "" : ", which has other content");
    return last.error;
}

/// What was loaded before the module that `event` is about.
void Responder::record_needed(events::Attempt event, const Lender::Attempt& tried) {
    event.note = tried.why.empty() ? fmt::format("for {}, on behalf of a user namespace",
                                                 event.decision.modules.at(0).module)
                                   : "not carried out: " + tried.why;
    event.withheld = !tried.why.empty();
    event.file = tried.file;
    event.decision = tried.decision;
    event.sha256 = tried.sha256;
    event.answer = sys::error_name(tried.error);
    deferred_.add({.event = std::move(event)});
}

void Responder::respond_to_unload(const Notification& notification) {
    const Time began = events::WallClock::now();
    const Look look = processes_.look(notification.thread);
    const Caller& caller = look.caller;
    const auto name = caller.copy_text(notification.arguments[0], max_unload_name);
    if (!listener_.is_waiting(notification.id))
        return record_unjudged(notification, began, is_powerless(look));
    DeferredRecord record{.event = event_of(notification, look, began,
                                            core::decide_unload(judge_.policy(), name.value_or("")))};
    events::Attempt& event = *record.event;
    int result = 0;
    if (!name) {
        result = name.error().error == E2BIG ? ENOENT : name.error().error; // no module has so long a name
        event.note = name.error().why;
    } else if (is_enforced_refusal(event.decision)) {
        result = events::answer_refused(event, judge_.answer());
    } else if (const auto may = caller.may_load(); !may) {
        result = refuse(event, may.error());
    } else {
        result = kernel_.unload(*name, static_cast<unsigned>(notification.arguments[1]));
    }
    processes_.keep(look);
    finish(notification, result, std::move(record));
}

void Responder::refuse_unseen(const Notification& notification, int error, const std::string& why) {
    listener_.answer(notification.id, -error);
    events::Attempt event(core::Point::process, generation, judge_.decide(unreadable(why)),
                          to_string(notification.call));
    event.answer = sys::error_name(error);
    if (!container_.empty()) event.requester.emplace().container = container_;
    deferred_.add({.event = std::move(event)});
}

/// For a caller that is gone: another process may have its number by now, and what was read be that one's.
void Responder::record_unjudged(const Notification& notification, Time began, bool powerless,
                                std::optional<DeferredRecord::Line> line) {
    events::Attempt event(core::Point::process, generation, unjudged_, to_string(notification.call));
    event.time = began;
    event.powerless = powerless;
    if (!container_.empty()) event.requester.emplace().container = container_;
    deferred_.add({.event = std::move(event), .line = std::move(line)});
}

void Responder::finish(const Notification& notification, int result, DeferredRecord record) {
    events::Attempt& event = *record.event;
    event.answer = sys::error_name(result);
    sys::trace(sys::Topic::calls, "{} by thread {}: {}", event.call, notification.thread, event.answer);
    if (!listener_.answer(notification.id, -result) && event.note.empty())
        event.note = "the caller was gone before it was answered";
    deferred_.add(std::move(record));
}

} // namespace kmodguard::process
