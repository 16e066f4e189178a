// SPDX-License-Identifier: AGPL-3.0-only
#include "config/lint.hpp"

#include "config/entry.hpp"
#include "core/admission.hpp"
#include "core/module_index.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

namespace kmodguard::config {
namespace {

using core::PolicySource;
using core::Reason;

class Linter {
  public:
    Linter(const PolicySource& source, core::ModuleIndex& index, const LintOptions& options)
        : source_(source), policy_(core::Policy(source).for_modules_of(index)), index_(index),
          options_(options), reach_(index) {
        for (const auto& [alias, module] : reach_.all()) {
            if (alias == module) modules_.push_back(module);
            if (aliases_.empty() || aliases_.back() != alias) aliases_.push_back(alias);
        }
    }

    Diagnostics find() && {
        found_ = find_overlaps(source_);
        for (const List list : {List::allow_modules, List::deny_modules})
            for (const PolicySource::Entry& entry : once(list))
                check_existence(list, entry);
        for (const PolicySource::Entry& entry : once(List::allow_modules))
            check_outcome(entry);
        for (const List list : {List::allow_aliases, List::deny_aliases})
            for (const PolicySource::Entry& entry : once(list))
                if (list == List::deny_aliases || !check_switched_off(entry)) check_reach(list, entry);
        if (!reach_.is_complete())
            warn({}, "the aliases of this kernel's modules cannot be read",
                 "run `depmod`; what alias patterns reach was not checked");
        check_pins();
        check_loaded();
        std::ranges::sort(found_, {}, [this](const Diagnostic& diagnostic) {
            return std::tuple{std::ranges::find(source_.files, diagnostic.file), diagnostic.line,
                              std::string_view(diagnostic.message)};
        });
        return std::move(found_);
    }

  private:
    /// The entries of a list, each once: of a repeated one the first.
    std::vector<PolicySource::Entry> once(List list) const {
        std::set<std::string> seen;
        std::vector<PolicySource::Entry> entries;
        std::ranges::copy_if(entries_of(source_, list), std::back_inserter(entries),
                             [&](const PolicySource::Entry& entry) {
                                 return seen.insert(comparison_key(list, entry.text)).second;
                             });
        return entries;
    }

    void check_existence(List list, const PolicySource::Entry& entry) {
        const core::ModuleRecord* record = index_.find(entry.text);
        if (record == nullptr) return unknown_module(list, entry);
        if (!record->built_in) return;
        if (list == List::allow_modules)
            warn(entry.origin,
                 fmt::format("{} is built into this kernel: there is nothing to load", entry.text),
                 "the entry does no harm, and is needed on a kernel that has it as a module");
        else
            warn(entry.origin,
                 fmt::format("{} is built into this kernel: it is there already and cannot be refused",
                             entry.text),
                 "no module control applies to it; only a kernel built without it leaves it out");
    }

    void unknown_module(List list, const PolicySource::Entry& entry) {
        const auto answering = index_.resolve(entry.text);
        std::string hint;
        if (const auto successors = successors_of(entry.text); !successors.empty())
            hint = fmt::format("{} here has the aliases that it had on {}: list that",
                               core::first_of(successors), options_.former_release);
        else if (answering.empty())
            hint = hint_for_unknown(entry.text, modules_, modules_left_);
        else if (list == List::deny_modules)
            hint = fmt::format("it is an alias of {}, and denied as one: it belongs into deny.aliases",
                               fmt::join(answering, ", "));
        else
            hint = fmt::format("it is an alias of {}: list that, or write the alias to {}.aliases",
                               fmt::join(answering, ", "), table_of(list));
        warn(entry.origin, fmt::format("{}: there is no module {} on this kernel", path_of(list), entry.text),
             std::move(hint));
    }

    /// The modules that answer here to what `module`, which there is not, answered to on the former kernel,
    /// and that did not answer to it there; the likeliest first.
    std::vector<std::string> successors_of(const std::string& module) {
        if (options_.former == nullptr || successors_left_ == 0) return {};
        core::ModuleIndex& former = *options_.former;
        if (former.find(module) == nullptr) return {};
        --successors_left_; // to ask for a module's aliases decompresses it
        const auto* aliases = former.aliases(module);
        if (aliases == nullptr) return {};
        std::map<std::string, std::size_t> answers;
        for (const std::string& alias : *aliases) {
            const auto before = former.resolve(alias);
            for (const std::string& other : index_.resolve(alias))
                if (std::ranges::find(before, other) == before.end()) ++answers[other];
        }
        std::vector<std::string> successors;
        for (const auto& [name, count] : answers)
            successors.push_back(name);
        std::ranges::sort(successors, {}, [&answers](const std::string& name) {
            return std::pair(-static_cast<std::ptrdiff_t>(answers[name]), name);
        });
        return successors;
    }

    /// Whether an allowed module would be loaded if it were asked for by name.
    void check_outcome(const PolicySource::Entry& entry) {
        if (index_.find(entry.text) == nullptr) return;
        const auto decision = core::decide(policy_, index_, entry.text);
        const auto judged = std::ranges::find(decision.modules, entry.text, &core::ModuleDecision::module);
        if (judged == decision.modules.end()) return;
        if (judged->verdict() == core::Verdict::allow) return check_hindrances(entry, *judged);
        if (judged->reason == Reason::denied_module) return; // one of the overlaps
        warn(entry.origin,
             fmt::format("{} is allowed, but would be refused: {}", entry.text, core::explain(*judged)),
             hint_for(*judged));
    }

    /// What else than the policy an allowed module meets.
    void check_hindrances(const PolicySource::Entry& entry, const core::ModuleDecision& judged) {
        if (judged.kept_out && judged.kept_out->by != core::Hindrance::loading_disabled)
            warn(entry.origin,
                 fmt::format("{} is allowed, but does not load: {}", entry.text,
                             core::explain(*judged.kept_out, judged.module)),
                 hint_for(*judged.kept_out));
        for (const core::RunCommand& command : judged.commands) {
            if (command.unknown.empty()) continue;
            warn(entry.origin,
                 fmt::format("{} is allowed, and the install command of {} may load what is not known: {}",
                             entry.text, command.module, core::printable(command.unknown)),
                 "only the kernel point judges what that loads; a line of the form \"modprobe NAME\" can be "
                 "judged beforehand");
        }
    }

    static std::string hint_for(const core::KeptOut& kept_out) {
        if (kept_out.by == core::Hindrance::unsigned_image)
            return fmt::format("sign {} with a key that this kernel trusts, or remove this entry",
                               kept_out.module);
        if (kept_out.by == core::Hindrance::kernel_blacklist)
            return fmt::format("take {} off module_blacklist=, or remove this entry", kept_out.module);
        return fmt::format("take the install line of {} out of modprobe.d, or remove this entry",
                           kept_out.module);
    }

    /// Whether modprobe.d, which alone says what such an alias means, has switched it off.
    bool check_switched_off(const PolicySource::Entry& entry) {
        if (!index_.is_configured_alias(entry.text)) return false;
        if (core::decide(policy_, index_, entry.text).reason != Reason::switched_off) return false;
        warn(entry.origin,
             fmt::format("the alias \"{}\" is allowed, but switched off in modprobe.d: nothing loads by it",
                         entry.text),
             "take its alias line out of modprobe.d, or remove this entry");
        return true;
    }

    std::string hint_for(const core::ModuleDecision& judged) {
        const std::string& because_of = judged.because_of;
        switch (judged.reason) {
        case Reason::denied_dependency:
            return fmt::format("deny always wins: allow {} by removing the deny rule, or remove this entry",
                               because_of);
        case Reason::unlisted_dependency:
            return fmt::format("add {} to allow.modules, or set allow.dependencies = true", because_of);
        case Reason::missing_dependency: return "run `depmod`, or install the kernel's other module packages";
        case Reason::denied_token:
        case Reason::denied_alias: return "deny always wins: narrow the pattern in deny.aliases";
        case Reason::contradictory_image:
            return hint_for_name(because_of.empty() ? judged.module : because_of);
        case Reason::pin_mismatch: return "if the new content is right, pin its sha256 too";
        default: return "see `kmodctl explain`";
        }
    }

    std::string hint_for_name(const std::string& module) {
        const core::ModuleRecord* record = index_.find(module);
        if (record == nullptr || !record->named_by_command) return "see `kmodctl explain`";
        return fmt::format("the name in the image counts, not the file's: list {}",
                           core::printable(core::fold(index_.image(*record, false).name)));
    }

    void check_reach(List list, const PolicySource::Entry& entry) {
        const bool allows = list == List::allow_aliases;
        if (allows && entry.text.find_first_not_of("*?") == std::string::npos
            && entry.text.find('*') != std::string::npos)
            return warn(entry.origin, fmt::format("the pattern \"{}\" allows every module", entry.text),
                        "name the families that are needed, such as \"net-pf-17\" or \"usb:*\"");
        const std::size_t modules = reach_.modules(entry.text).size();
        if (modules == 0 && reach_.is_complete())
            warn(entry.origin,
                 fmt::format("{}: nothing on this kernel answers to \"{}\"", path_of(list), entry.text),
                 hint_for_unknown(entry.text, aliases_, suggestions_left_));
        else if (allows && modules > options_.many_modules)
            warn(entry.origin, fmt::format("the pattern \"{}\" admits {} modules", entry.text, modules),
                 "narrow it, or list in deny.modules what is not needed");
    }

    /// What a name that nothing has may be a slip for: one of `known`, as long as there is time `left` to
    /// look.
    static std::string hint_for_unknown(const std::string& name, const std::vector<std::string_view>& known,
                                        std::size_t& left) {
        std::string other = "check the spelling with `modinfo`; it may belong to another kernel";
        if (left == 0) return other;
        --left;
        const std::string_view near = nearest(core::fold_pattern(name), known);
        return near.empty()
                   ? other
                   : fmt::format("did you mean \"{}\"? otherwise it may belong to another kernel", near);
    }

    void check_pins() {
        if (source_.pins.empty()) return;
        const std::set<std::string> admitted = admitted_modules();
        // Which modules the patterns admit is not known without their aliases.
        const bool complete = !policy_.has_allow_aliases() || reach_.is_complete();
        for (const PolicySource::PinEntry& pin : source_.pins) {
            if (index_.find(pin.module) == nullptr)
                warn(pin.origin, fmt::format("pin: there is no module {} on this kernel", pin.module),
                     hint_for_unknown(pin.module, modules_, modules_left_));
            else if (complete && !admitted.contains(pin.module))
                warn(pin.origin, fmt::format("{} is pinned, but nothing allows it", pin.module),
                     "a pin narrows what is allowed: add the module to allow.modules, or remove the pin");
        }
    }

    /// Every module that an allow rule admits by itself or as a dependency, whatever [deny] says.
    std::set<std::string> admitted_modules() {
        std::set<std::string> admitted;
        const auto admit = [&](const std::string& module) {
            admitted.insert(module);
            if (!source_.dependencies) return;
            for (core::Step& step : core::load_order(index_, module))
                admitted.insert(std::move(step.module));
        };
        for (const PolicySource::Entry& entry : source_.allow_modules)
            admit(entry.text);
        std::set<std::string> by_alias;
        for (const auto& [alias, module] : reach_.all())
            if (policy_.pattern_allowing(alias)) by_alias.insert(module);
        for (const std::string& module : by_alias)
            admit(module);
        return admitted;
    }

    /// What is loaded already, and would not be admitted: once for each rule that denies some of it, and once
    /// for all that no rule allows.
    void check_loaded() {
        if (!options_.loaded) return;
        std::map<std::pair<std::string, std::uint32_t>, std::vector<core::ModuleDecision>> by_rule;
        for (core::ModuleDecision& module :
             core::not_admitted(policy_, index_, core::Admissions(policy_, index_), *options_.loaded)) {
            const core::Rule rule = module.rule.value_or(core::Rule{});
            by_rule[{rule.file, rule.line}].push_back(std::move(module));
        }
        for (const auto& [rule, modules] : by_rule)
            found_.push_back(warning_at(rule.first, {.line = rule.second}, core::explain_loaded(modules),
                                        std::string(core::remedy_for_loaded)));
    }

    void warn(core::Origin origin, std::string message, std::string hint) {
        found_.push_back(warning_at(source_, origin, std::move(message), std::move(hint)));
    }

    const PolicySource& source_;
    core::Policy policy_;
    core::ModuleIndex& index_;
    const LintOptions& options_;
    core::AliasReach reach_;
    std::vector<std::string_view> modules_; ///< the names of all modules
    std::vector<std::string_view> aliases_; ///< and all aliases, folded; both sorted, each once
    // To compare a name with all others takes some milliseconds, and a list may be of another kernel.
    std::size_t modules_left_ = 256;
    std::size_t suggestions_left_ = 8;
    std::size_t successors_left_ = 64;
    Diagnostics found_;
};

} // namespace

Diagnostics lint(const PolicySource& source, core::ModuleIndex& index, const LintOptions& options) {
    return Linter(source, index, options).find();
}

} // namespace kmodguard::config
