// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions in words: the fixed ones that programs read, and sentences for people.
#include "core/decision.hpp"
#include "core/names.hpp"

#include <algorithm>
#include <array>

namespace kmodguard::core {
namespace {

struct ReasonText {
    Reason reason;
    Verdict verdict;
    std::string_view id;
    std::string_view sentence; ///< after the module's name
};

constexpr std::array<ReasonText, 24> reason_texts = {{
    {Reason::listed, Verdict::allow, "listed", "is on the allow list"},
    {Reason::alias_listed, Verdict::allow, "alias-listed", "is allowed by an alias pattern"},
    {Reason::dependency, Verdict::allow, "dependency", "is a dependency of an allowed module"},
    {Reason::built_in, Verdict::allow, "built-in",
     "is built into the kernel: nothing is loaded, and no module control applies"},
    {Reason::already_loaded, Verdict::allow, "already-loaded",
     "is loaded already: nothing is loaded, and the caller is told that it exists"},
    {Reason::unload, Verdict::allow, "unload", "may be taken out of the kernel"},
    {Reason::not_listed, Verdict::refuse, "not-listed", "is not on the allow list"},
    {Reason::no_policy, Verdict::refuse, "no-policy",
     "is allowed by nothing, since there is no valid policy"},
    {Reason::denied_token, Verdict::refuse, "denied-token", "is asked for by a denied alias"},
    {Reason::denied_module, Verdict::refuse, "denied-module", "is on the deny list"},
    {Reason::denied_alias, Verdict::refuse, "denied-alias", "has an alias that is denied"},
    {Reason::denied_dependency, Verdict::refuse, "denied-dependency", "would pull in a denied dependency"},
    {Reason::unlisted_dependency, Verdict::refuse, "unlisted-dependency",
     "needs a dependency that is not listed"},
    {Reason::missing_dependency, Verdict::refuse, "missing-dependency",
     "needs a dependency that does not exist on this kernel"},
    {Reason::blacklisted, Verdict::refuse, "blacklisted",
     "is blacklisted in modprobe.d, so modprobe does not load it by an alias"},
    {Reason::unreadable_image, Verdict::refuse, "unreadable-image", "has an image that cannot be judged"},
    {Reason::not_a_module, Verdict::refuse, "not-a-module",
     "is not a kernel module, and is left to the kernel's own answer"},
    {Reason::contradictory_image, Verdict::refuse, "contradictory-image",
     "has an image that is not what its name says"},
    {Reason::pin_mismatch, Verdict::refuse, "pin-mismatch", "has other content than the policy pins"},
    {Reason::switched_off, Verdict::refuse, "switched-off",
     "is switched off in modprobe.d, by an alias line"},
    {Reason::shadowed_name, Verdict::refuse, "shadowed-name",
     "can only be loaded by modprobe, for which its name means something else in modprobe.d"},
    {Reason::no_such_module, Verdict::refuse, "no-such-module",
     "is known neither as a module nor as an alias on this kernel"},
    {Reason::not_a_name, Verdict::refuse, "not-a-name", "is not a valid module name or alias"},
    {Reason::denied_unload, Verdict::refuse, "denied-unload",
     "may not be taken out of the kernel, by deny.unload"},
}};
static_assert(std::ranges::all_of(reason_texts, [](const ReasonText& row) {
    return &row - reason_texts.data() == static_cast<std::ptrdiff_t>(row.reason);
}));

// In the order of the enumerators.
constexpr std::array<std::string_view, 5> hindrance_texts = {
    "install-command", "kernel-blacklist", "unsigned-image", "loading-disabled", "sealed-policy"};
static_assert(static_cast<std::size_t>(Hindrance::sealed_policy) + 1 == hindrance_texts.size());

const ReasonText& text_of(Reason reason) {
    return reason_texts.at(static_cast<std::size_t>(reason));
}

std::string subject(std::string_view name) {
    return name.empty() ? "(no name)" : printable(name);
}

} // namespace

std::string_view to_string(Verdict verdict) {
    return verdict == Verdict::allow ? "allow" : "refuse";
}
std::string_view to_string(Reason reason) {
    return text_of(reason).id;
}

std::optional<Verdict> verdict_from(std::string_view text) {
    if (text == "allow") return Verdict::allow;
    if (text == "refuse") return Verdict::refuse;
    return std::nullopt;
}

std::optional<Reason> reason_from(std::string_view text) {
    const auto found = std::ranges::find(reason_texts, text, &ReasonText::id);
    if (text.empty() || found == reason_texts.end()) return std::nullopt;
    return found->reason;
}

std::string_view to_string(Hindrance hindrance) {
    return hindrance_texts.at(static_cast<std::size_t>(hindrance));
}

std::optional<Hindrance> hindrance_from(std::string_view text) {
    const auto found = std::ranges::find(hindrance_texts, text);
    if (found == hindrance_texts.end()) return std::nullopt;
    return static_cast<Hindrance>(found - hindrance_texts.begin());
}

Verdict verdict_of(Reason reason) {
    return text_of(reason).verdict;
}

std::string describe(const Rule& rule) {
    std::string text(to_string(rule.kind));
    text += " \"" + printable(rule.text) + "\"";
    if (rule.line == 0) return text + " (given at run time, not saved)";
    return text + " (" + printable(rule.file, 4096) + ":" + std::to_string(rule.line) + ")";
}

std::string explain(const KeptOut& kept_out, std::string_view module) {
    const bool is_needed = kept_out.module != module;
    const std::string needed = is_needed ? "it needs " + printable(kept_out.module) + ", and " : "";
    switch (kept_out.by) {
    case Hindrance::install_command:
        return needed + "modprobe.d runs \"" + printable(kept_out.detail) + "\" in its place";
    case Hindrance::kernel_blacklist:
        return needed + "module_blacklist= on the kernel's command line keeps " + (is_needed ? "that" : "it")
               + " out";
    case Hindrance::unsigned_image:
        return (is_needed ? needed + "that" : "it")
               + " has no signature, and the kernel loads signed modules only (" + kept_out.detail + ")";
    case Hindrance::sealed_policy:
        return needed + "the machine is sealed with an earlier policy, which does not admit "
               + (is_needed ? "that" : "it")
               + ": the kernel point decides by that one until the machine restarts";
    case Hindrance::loading_disabled: break;
    }
    return "the kernel loads no module any more (kernel.modules_disabled)";
}

std::string explain(const ModuleDecision& decision) {
    std::string sentence = subject(decision.module) + " " + std::string(text_of(decision.reason).sentence);
    if (!decision.because_of.empty())
        sentence += (decision.reason == Reason::dependency ? ", " : ": ") + printable(decision.because_of);
    if (!decision.detail.empty()) sentence += " (" + printable(decision.detail) + ")";
    if (decision.rule) sentence += ", by " + describe(*decision.rule);
    if (decision.built_in && decision.verdict() == Verdict::refuse)
        sentence += ", but is built into the kernel: it is there already, and no module control applies";
    if (decision.kept_out)
        sentence += (decision.verdict() == Verdict::allow ? ", but " : "; besides, ")
                    + explain(*decision.kept_out, decision.module);
    if (decision.as_image) sentence += "; " + explain(*decision.as_image);
    return sentence;
}

std::string explain(const Admission& image) {
    std::string sentence = "where its image is seen and not what it was asked for by, it may load: it ";
    sentence += text_of(image.reason).sentence;
    if (!image.because_of.empty()) sentence += ", " + printable(image.because_of);
    return sentence;
}

std::string outcome_of(const Decision& decision) {
    if (decision.audited()) return "would be refused";
    if (decision.judged == Verdict::refuse) return decision.blocks() ? "refused" : "refused, but not blocked";
    const auto loads = [&decision](const ModuleDecision& module) { return decision.loads(module); };
    if (decision.reason != Reason::unload && std::ranges::any_of(decision.modules, loads)
        && !decision.will_load())
        return "allowed, but does not load";
    return "allowed";
}

std::string reasons_of(const Decision& decision) {
    if (decision.modules.empty()) {
        const std::string sentence =
            subject(decision.token) + " " + std::string(text_of(decision.reason).sentence);
        return decision.rule ? sentence + ", by " + describe(*decision.rule) : sentence;
    }
    std::string sentence;
    for (const ModuleDecision& module : decision.modules)
        sentence += (sentence.empty() ? "" : "; ") + explain(module);
    return sentence;
}

std::string explain(const Decision& decision) {
    return outcome_of(decision) + ": " + reasons_of(decision);
}

} // namespace kmodguard::core
