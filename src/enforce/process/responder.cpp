// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/responder.hpp"

#include "core/admission.hpp"
#include "modules/decompress.hpp"
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

} // namespace

Responder::Responder(const Listener& listener, core::Judge& judge, KernelModules& kernel,
                     events::Recorder& recorder, const SupervisorSettings& settings)
    : listener_(listener), judge_(judge), kernel_(kernel), recorder_(recorder),
      container_(settings.container), limits_(settings.limits), log_order_(recorder, container_),
      budget_(std::max(limits_.memory, limits_.image_bytes)), powerless_(settings.powerless),
      unjudged_(judge.decide(unreadable(lost_caller))), lender_({.judge = judge,
                                                                 .kernel = kernel,
                                                                 .memory = budget_,
                                                                 .decompressing = decompressing_,
                                                                 .limit = limits_.image_bytes},
                                                                settings.user_namespace) {
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

events::Attempt Responder::event_of(const Notification& notification, const Caller& caller) const {
    events::Attempt event(core::Point::process, generation, unjudged_, to_string(notification.call));
    event.requester = caller.requester();
    if (!container_.empty()) event.requester->container = container_;
    event.powerless = !caller.has_capability() || event.requester->user_namespace != initial_user_namespace;
    return event;
}

void Responder::respond_to_load(const Notification& notification) {
    LogOrder::Line line(log_order_);
    const Caller caller(notification.thread);
    events::Attempt event = event_of(notification, caller);
    std::optional<Taken<void>> served; ///< where the caller could load nothing itself
    if (event.powerless) served = lender_.serves(caller);
    const Power power = event.powerless && !(served && *served) ? Power::none : Power::some;
    auto image = take(notification, caller, power, event.file);
    // All that was read until here was the caller's, if the caller is still there.
    if (!listener_.is_waiting(notification.id)) {
        line.write("?");
        return record_unjudged(std::move(event));
    }
    const core::ImageFacts facts = image ? image->facts : unreadable(image.error().why);
    event.decision = judge_.decide(facts);
    event.sha256 = facts.sha256;
    line.write(!event.file.empty() ? event.file : !facts.name.empty() ? facts.name : "?");

    int result = 0;
    if (!image)
        result =
            image.error().error; // what cannot be taken cannot be loaded either, whatever the policy says
    else if (is_loaded_already(caller, facts, event))
        result = EEXIST;
    else if (is_enforced_refusal(event.decision))
        result = events::answer_refused(event, judge_.answer());
    else if (served && *served)
        result = lend(notification, caller, std::move(*image), event);
    else if (served)
        result = refuse(event, served->error());
    else if (const auto may = caller.may_load(); !may)
        result = refuse(event, may.error());
    else
        result = load(notification, caller, std::move(*image), event);

    finish(notification, result, std::move(event));
}

Taken<ImageCopy> Responder::take(const Notification& notification, const Caller& caller, Power power,
                                 std::string& path) {
    const std::uint64_t limit = power == Power::none ? limits_.powerless_bytes : limits_.image_bytes;
    const auto& arguments = notification.arguments;
    ImageCopy image{.share = nullptr, .bytes = modules::Buffer(0), .facts = {}};
    if (notification.call == ModuleCall::finit_module) {
        const auto file = TRY(caller.open_file(static_cast<int>(arguments[0])));
        path = file.path;
        image.share = TRY(reserve(notification, std::min(file.size, limit), power));
        image.bytes = TRY(Caller::copy_file(file, limit));
    } else {
        image.share = TRY(reserve(notification, std::min(arguments[1], limit), power));
        image.bytes = TRY(caller.copy_memory(arguments[0], arguments[1], limit));
    }
    image.facts = identify(notification, image.bytes, limit);
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
core::ImageFacts Responder::identify(const Notification& notification, const modules::Buffer& bytes,
                                     std::uint64_t limit) {
    if (!asks_to_decompress(notification)) return facts_of(bytes.all());
    core::ImageFacts facts = identify_decompressed(bytes, limit);
    facts.no_module = false;
    return facts;
}

core::ImageFacts Responder::identify_decompressed(const modules::Buffer& bytes, std::uint64_t limit) {
    modules::MemorySource source(bytes.all());
    if (!is_compressed(source)) return facts_of(bytes.all());
    const std::scoped_lock lock(decompressing_);
    const auto content = modules::decompress(source, limit);
    return content ? facts_of(*content) : unreadable(content.error().what);
}

/// Whether the kernel would have said that the module exists, to what no rule allows: scripts go by that
/// answer, and it is no attempt at a load. It is not asked, since the module may be gone the next moment. Who
/// may not load is told that first, and pretending is for what is not there.
bool Responder::is_loaded_already(const Caller& caller, const core::ImageFacts& facts,
                                  events::Attempt& event) {
    return is_enforced_refusal(event.decision) && judge_.answer() == core::CallerAnswer::refuse
           && caller.may_load() && kernel_.is_loaded(facts.name) && core::take_for_loaded(event.decision);
}

/// What a caller gets that the policy would let pass. A reader of the verdict alone would look for the
/// mistake in the policy.
int Responder::refuse(events::Attempt& event, const Refusal& refusal) {
    event.note = "not carried out: " + refusal.why;
    event.withheld = true;
    return refusal.error;
}

/// Loads the copy: 0 or an errno.
int Responder::load(const Notification& notification, const Caller& caller, ImageCopy image,
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
int Responder::lend(const Notification& notification, const Caller& caller, ImageCopy image,
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
    recorder_.record(std::move(event));
}

void Responder::respond_to_unload(const Notification& notification) {
    const Caller caller(notification.thread);
    events::Attempt event = event_of(notification, caller);
    const auto name = caller.copy_text(notification.arguments[0], max_unload_name);
    if (!listener_.is_waiting(notification.id)) return record_unjudged(std::move(event));
    event.decision = core::decide_unload(judge_.policy(), name.value_or(""));
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
    finish(notification, result, std::move(event));
}

void Responder::refuse_unseen(const Notification& notification, int error, const std::string& why) {
    listener_.answer(notification.id, -error);
    events::Attempt event(core::Point::process, generation, judge_.decide(unreadable(why)),
                          to_string(notification.call));
    event.answer = sys::error_name(error);
    record_unjudged(std::move(event));
}

/// For a caller that is gone: another process may have its number by now, and what was read be that one's.
void Responder::record_unjudged(events::Attempt event) {
    event.requester.reset();
    if (!container_.empty()) event.requester.emplace().container = container_;
    event.file.clear();
    recorder_.record(std::move(event));
}

void Responder::finish(const Notification& notification, int result, events::Attempt event) {
    event.answer = sys::error_name(result);
    sys::trace(sys::Topic::calls, "{} by thread {}: {}", event.call, notification.thread, event.answer);
    if (!listener_.answer(notification.id, -result) && event.note.empty())
        event.note = "the caller was gone before it was answered";
    recorder_.record(std::move(event));
}

} // namespace kmodguard::process
