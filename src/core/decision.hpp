// SPDX-License-Identifier: AGPL-3.0-only
//
// The decision: decide() for a token, decide_image() for an image, decide_unload() for a module that is to be
// taken out. They answer every enforcement point,
// `kmodctl check`, `explain` and the tests, and core/admission.hpp says beforehand what they would of images:
//
//  1. A deny rule that matches the token, or any module that the request would load, dependencies and soft
//     dependencies included, refuses that module. Deny always wins.
//  2. A token resolves to all modules that modprobe would load for it. Each is judged by itself; the plan
//     loads only the allowed ones.
//  3. A module is allowed if allow.modules lists it, if an allow.aliases pattern matches the token, or if it
//     is a dependency of an allowed module being loaded.
//  4. Anything else, and anything that resolves to nothing, is refused. Where an image is seen there is no
//     token: there a pattern that equals one of the module's own aliases in the index, or matches it, admits
//     it; and so does any module that is admitted by itself, pulls it in as a dependency, and pulls in
//     nothing denied. Where aliases are denied, a module that the index has not is judged by those that its
//     image says it has; where these are not known either, it is refused.
//  5. In audit mode nothing is refused; what would have been is recorded as such.
//  6. An image is judged by what is in it, never by its file name; unreadable or contradictory: refused. What
//     no kernel could take for a module is refused too, but the kernel's own answer to it is what its caller
//     is told, in every mode: there is nothing to guard, and programs go by that answer.
#pragma once

#include "core/module_index.hpp"
#include "core/policy.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

class Admissions;

enum class Verdict { allow, refuse };

enum class Reason {
    // allowed
    listed,         ///< in allow.modules
    alias_listed,   ///< the token, or for an image one of its own aliases, matches allow.aliases
    dependency,     ///< for an image: an allowed module depends on it
    built_in,       ///< part of the kernel: nothing is loaded
    already_loaded, ///< for an image that no rule allows: a module of its name is in the kernel, which says
                    ///< so
    unload,         ///< taking a module out, which no rule forbids
    // refused
    not_listed,          ///< no rule allows it
    no_policy,           ///< no rule allows it, since no policy file could be read
    denied_token,        ///< deny.aliases matches the token
    denied_module,       ///< deny.modules lists the module
    denied_alias,        ///< deny.aliases matches one of the module's own aliases
    denied_dependency,   ///< a deny rule matches a module that it would pull in
    unlisted_dependency, ///< dependencies = false, and one it needs is not listed
    missing_dependency,  ///< the index names a dependency that does not exist
    blacklisted,         ///< modprobe.d hides it from aliases, so modprobe would not load it either
    unreadable_image,    ///< the image, or that of a dependency, cannot be judged
    not_a_module,        ///< the image is none, and the kernel itself says so
    contradictory_image, ///< the names in the image disagree, or differ from the module's, unless an install
                         ///< command loads that file and the policy lists the name in it
    pin_mismatch,        ///< the content differs from what the policy pins
    switched_off,        ///< modprobe.d: alias TOKEN off
    shadowed_name,       ///< only modprobe can load it, and modprobe.d makes its name an alias of others
    no_such_module,      ///< nothing answers to the token
    not_a_name,          ///< the token is not a valid name
    denied_unload,       ///< deny.unload: nothing may be taken out
};

[[nodiscard]] std::string_view to_string(Verdict verdict);
[[nodiscard]] std::string_view to_string(Reason reason); ///< "not-listed"
[[nodiscard]] std::optional<Verdict> verdict_from(std::string_view text);
[[nodiscard]] std::optional<Reason> reason_from(std::string_view text);
[[nodiscard]] Verdict verdict_of(Reason reason);
/// Why what no rule of `policy` allows is refused.
[[nodiscard]] Reason reason_without_rule(const Policy& policy);

/// One image to load.
struct Step {
    std::string module;
    bool required = true;    ///< false: a soft dependency, whose failure is ignored
    std::string judged = {}; ///< ImageFacts::state of the image that was judged; "" if none was
    bool by_command = false; ///< the install command of a later step loads it, if the command comes to it
    /// Of what is to be loaded; in which state its file was found is nothing that decisions differ by.
    bool operator==(const Step& other) const {
        return module == other.module && required == other.required && by_command == other.by_command;
    }
};

/// What else keeps a module out that the rules allow. No verdict: who lifts it needs no other policy.
enum class Hindrance {
    install_command,  ///< modprobe.d has a command run in its place that loads nothing
    kernel_blacklist, ///< module_blacklist= on the kernel's command line
    unsigned_image,   ///< the kernel loads signed modules alone
    loading_disabled, ///< kernel.modules_disabled: nothing loads any more
    sealed_policy,    ///< the machine is sealed with an earlier policy, which does not admit it
};

[[nodiscard]] std::string_view to_string(Hindrance hindrance); ///< "install-command"
[[nodiscard]] std::optional<Hindrance> hindrance_from(std::string_view text);

struct KeptOut {
    Hindrance by = Hindrance::install_command;
    std::string module; ///< that is kept out: the one that was judged, or a dependency that it needs
    std::string detail; ///< the command, or what wants the signature
    bool operator==(const KeptOut&) const;
};

/// A command of modprobe.d that is run in the place of loading a module.
struct RunCommand {
    std::string module;
    std::string text;
    std::string unknown; ///< the first part of it whose effect is not known; "" if all is
    bool operator==(const RunCommand&) const;
};

/// Why a module may load where its image is seen and no token is (rule 4): by its name alone.
struct Admission {
    Reason reason = Reason::listed; ///< listed, alias_listed or dependency: the first of them that holds
    std::optional<Rule> rule;       ///< that lists it, or the first that admits one of its aliases
    std::string because_of;         ///< dependency: the admitted module that brings it
    bool operator==(const Admission&) const;
};

/// The judgement on one of the modules a token resolves to.
struct ModuleDecision {
    std::string module;
    Reason reason = Reason::not_listed;
    std::optional<Rule> rule;              ///< the rule that decided, if one did
    std::string because_of;                ///< the dependency that decided; empty: the module itself
    std::string file;                      ///< of its image in the index; "" if it has none there
    std::vector<Step> chain;               ///< what loading it takes, in order, the module itself included
    std::vector<std::string> omitted;      ///< soft dependencies left out (audit mode: only recorded as such)
    std::string detail;                    ///< more about an image that was refused
    bool loadable = true;                  ///< without a guard: it exists, is not built in, not blacklisted
    bool built_in = false;                 ///< in the kernel itself, and there whatever is decided
    std::vector<RunCommand> commands = {}; ///< that loading it runs
    std::optional<KeptOut> kept_out = std::nullopt; ///< though it is to be loaded
    /// A name that is in an image had a part in it, or would have had, could the image be read. The file may
    /// be another the next time, and nothing of the index with it.
    bool looked_inside = false;
    /// Refused as it was asked for, and admitted as an image. Found out only for people (note_images()), and
    /// without the rule.
    std::optional<Admission> as_image = std::nullopt;

    [[nodiscard]] Verdict verdict() const { return verdict_of(reason); }
    /// Refused for want of a rule, and not by one.
    [[nodiscard]] bool is_unlisted() const {
        return reason == Reason::not_listed || reason == Reason::no_policy;
    }
    bool operator==(const ModuleDecision&) const;
};

struct Decision {
    std::string token;
    Mode mode = Mode::enforce;
    Verdict judged = Verdict::refuse;       ///< by the rules: allow if at least one module is
    Reason reason = Reason::no_such_module; ///< of the module that decided the verdict
    std::optional<Rule> rule;
    std::vector<ModuleDecision> modules; ///< one for each that the token resolves to

    /// What happens: as judged, but audit mode lets pass whatever could be loaded without a guard.
    [[nodiscard]] Verdict effective() const;
    /// Refused by the rules and let pass by audit mode.
    [[nodiscard]] bool audited() const { return judged == Verdict::refuse && effective() == Verdict::allow; }
    /// Refused, and something is kept out by it: what is built into the kernel is there all the same.
    [[nodiscard]] bool blocks() const;
    /// Whether `module` of this decision is to be loaded.
    [[nodiscard]] bool loads(const ModuleDecision& module) const;
    /// Whether it is to be loaded and nothing that is known keeps it out.
    [[nodiscard]] bool will_load(const ModuleDecision& module) const;
    /// Whether any of its modules will.
    [[nodiscard]] bool will_load() const;
    /// Whether it is the same as long as policy and index are. One that a file had a part in that cannot be
    /// judged now is not: the file may be repaired the next time.
    [[nodiscard]] bool is_lasting() const;
    bool operator==(const Decision&) const;
};

/// Judges a request for `token`. No I/O but what `index` does, no state, no failure: what cannot be judged is
/// refused.
[[nodiscard]] Decision decide(const Policy& policy, ModuleIndex& index, std::string_view token);

/// The same for an image that a system call brings, where no token is known, by what was gathered before:
/// `admissions` of this `policy` and `index`.
[[nodiscard]] Decision decide_image(const Policy& policy, ModuleIndex& index, const Admissions& admissions,
                                    const ImageFacts& facts);

/// Judges taking `module` out of the kernel. Audit mode lets it pass.
[[nodiscard]] Decision decide_unload(const Policy& policy, std::string_view module);

/// What modprobe would load for `module`, in its order: hard dependencies and the module, each between its
/// soft ones (libkmod, kmod_module_get_probe_list), and before a module with an install command what the
/// command loads. Built-in modules are left out, names that the index does not know are not. A soft
/// dependency that `skip` names is left out with all that only it would bring.
[[nodiscard]] std::vector<Step> load_order(ModuleIndex& index, std::string_view module,
                                           const std::vector<std::string>& skip = {});

/// Adds to `decision`, by its chain, which commands of modprobe.d are run and what else than the policy keeps
/// the module out. Nothing is decided by it; it is said, since "allowed" alone is taken for "loads".
void add_hindrances(ModuleDecision& decision, ModuleIndex& index);

/// What keeps an image out whatever the file that it comes from.
[[nodiscard]] std::optional<KeptOut> hindrance_of(const ImageFacts& facts, const KernelLimits& limits);

/// One sentence for people: "refused: af_key is not on the allow list". It is outcome_of(), a colon, and
/// reasons_of().
[[nodiscard]] std::string explain(const Decision& decision);
[[nodiscard]] std::string outcome_of(const Decision& decision);
[[nodiscard]] std::string reasons_of(const Decision& decision);
[[nodiscard]] std::string explain(const ModuleDecision& decision);
/// The end of such a sentence on `module`: "modprobe.d runs "/bin/false" in its place".
[[nodiscard]] std::string explain(const KeptOut& kept_out, std::string_view module);
[[nodiscard]] std::string explain(const Admission& image);
/// "allow.modules \"loop\" (/etc/kmodguard/policy.toml:12)".
[[nodiscard]] std::string describe(const Rule& rule);

} // namespace kmodguard::core
