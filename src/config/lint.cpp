// SPDX-License-Identifier: AGPL-3.0-only
#include "config/lint.hpp"

#include "config/entry.hpp"
#include "config/policy_schema.hpp"
#include "core/decision.hpp"
#include "core/pattern_set.hpp"

#include <fmt/format.h>

#include <algorithm>
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
        : source_(source), policy_(source), index_(index), options_(options) {}

    Diagnostics find() && {
        found_ = find_overlaps(source_);
        for (const List list : {List::allow_modules, List::deny_modules})
            for (const PolicySource::Entry& entry : once(list))
                check_existence(list, entry);
        for (const PolicySource::Entry& entry : once(List::allow_modules))
            check_outcome(entry);
        for (const PolicySource::Entry& entry : once(List::allow_aliases))
            check_reach(entry);
        check_pins();
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
        std::string hint = "check the spelling with `modinfo`; it may belong to another kernel";
        if (!answering.empty())
            hint = fmt::format("it is an alias of {}: list that, or write the alias to {}.aliases",
                               fmt::join(answering, ", "), table_of(list));
        warn(entry.origin, fmt::format("{}: there is no module {} on this kernel", path_of(list), entry.text),
             std::move(hint));
    }

    /// Whether an allowed module would be loaded if it were asked for by name.
    void check_outcome(const PolicySource::Entry& entry) {
        if (index_.find(entry.text) == nullptr) return;
        const auto decision = core::decide(policy_, index_, {.token = entry.text});
        const auto judged = std::ranges::find(decision.modules, entry.text, &core::ModuleDecision::module);
        if (judged == decision.modules.end() || judged->verdict() == core::Verdict::allow) return;
        if (judged->reason == Reason::denied_module) return; // said among the overlaps
        warn(entry.origin,
             fmt::format("{} is allowed, but would be refused: {}", entry.text, core::explain(*judged)),
             hint_for(judged->reason, judged->because_of));
    }

    static std::string hint_for(Reason reason, const std::string& because_of) {
        switch (reason) {
        case Reason::denied_dependency:
            return fmt::format("deny always wins: allow {} by removing the deny rule, or remove this entry",
                               because_of);
        case Reason::unlisted_dependency:
            return fmt::format("add {} to allow.modules, or set allow.dependencies = true", because_of);
        case Reason::missing_dependency: return "run `depmod`, or install the kernel's other module packages";
        case Reason::denied_token:
        case Reason::denied_alias: return "deny always wins: narrow the pattern in deny.aliases";
        case Reason::pin_mismatch: return "if the new content is right, pin its sha256 too";
        default: return "see `kmodctl explain`";
        }
    }

    void check_reach(const PolicySource::Entry& entry) {
        if (entry.text.find_first_not_of("*?") == std::string::npos
            && entry.text.find('*') != std::string::npos)
            return warn(entry.origin, fmt::format("the pattern \"{}\" allows every module", entry.text),
                        "name the families that are needed, such as \"net-pf-17\" or \"usb:*\"");
        const std::size_t reach = modules_admitted_by(entry.text).size();
        if (reach > options_.many_modules)
            warn(entry.origin, fmt::format("the pattern \"{}\" admits {} modules", entry.text, reach),
                 "narrow it, or list in deny.modules what nobody needs");
    }

    /// By what the pattern admits at the kernel point, and as a token at the autoload point.
    std::set<std::string> modules_admitted_by(const std::string& pattern) {
        core::PatternSet set;
        set.add(pattern, 0);
        std::set<std::string> admitted;
        for (std::string& module : index_.resolve(pattern))
            admitted.insert(std::move(module));
        for (const std::string& module : options_.known_modules) {
            const auto covered = [&set](const std::string& alias) { return set.covers(alias).has_value(); };
            if (set.covers(module) || std::ranges::any_of(index_.aliases(module), covered))
                admitted.insert(module);
        }
        return admitted;
    }

    void check_pins() {
        if (source_.pins.empty()) return;
        const std::set<std::string> admitted = admitted_modules();
        // Which modules the patterns admit cannot be told without a list of modules.
        const bool complete = !policy_.has_allow_aliases() || !options_.known_modules.empty();
        for (const PolicySource::PinEntry& pin : source_.pins) {
            if (index_.find(pin.module) == nullptr)
                warn(pin.origin, fmt::format("pin: there is no module {} on this kernel", pin.module),
                     "check the spelling with `modinfo`; it may belong to another kernel");
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
        if (policy_.has_allow_aliases())
            for (const std::string& module : options_.known_modules)
                if (policy_.allows_aliases(index_.aliases(module))) admit(module);
        return admitted;
    }

    void warn(core::Origin origin, std::string message, std::string hint) {
        const bool written = origin.line != 0 && origin.file < source_.files.size();
        found_.push_back({Severity::warning, written ? source_.files[origin.file] : std::string{},
                          written ? origin.line : 0, 0, std::move(message), std::move(hint)});
    }

    const PolicySource& source_;
    core::Policy policy_;
    core::ModuleIndex& index_;
    const LintOptions& options_;
    Diagnostics found_;
};

} // namespace

Diagnostics lint(const PolicySource& source, core::ModuleIndex& index, const LintOptions& options) {
    return Linter(source, index, options).find();
}

} // namespace kmodguard::config
