// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy in memory: immutable once built, free of any file format. Every rule remembers the line it was
// written on, because "refused, by which rule?" is the first thing a user asks.
#pragma once

#include "core/names.hpp" // to_hex() of a hash

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

enum class Mode { enforce, audit };
/// What a caller is answered whose load is refused: an error, or a pretended success.
enum class CallerAnswer { refuse, pretend };
enum class Point { autoload, kernel, process, guest };

[[nodiscard]] std::string_view to_string(Mode mode);
[[nodiscard]] std::string_view to_string(CallerAnswer answer);
[[nodiscard]] std::string_view to_string(Point point);
[[nodiscard]] std::optional<Mode> mode_from(std::string_view text);
[[nodiscard]] std::optional<CallerAnswer> answer_from(std::string_view text);
[[nodiscard]] std::optional<Point> point_from(std::string_view text);

/// SHA-256 of an uncompressed image.
using Sha256 = std::array<std::uint8_t, 32>;
/// Exactly 64 hexadecimal digits, either case.
[[nodiscard]] std::optional<Sha256> sha256_from(std::string_view hex);

enum class RuleKind { allow_module, allow_alias, deny_module, deny_alias, pin };
/// "allow.modules", "allow.aliases", "deny.modules", "deny.aliases", "pin".
[[nodiscard]] std::string_view to_string(RuleKind kind);

/// Where a rule was written. Line 0: nowhere, it was given at run time.
struct Origin {
    std::uint32_t file = 0; ///< index into Policy's files
    std::uint32_t line = 0;
};

/// A rule as a decision shows it: complete in itself, valid without the policy it came from.
struct Rule {
    RuleKind kind = RuleKind::allow_module;
    std::string text; ///< as written: a module name or an alias pattern
    std::string file; ///< "" for a rule given at run time
    std::uint32_t line = 0;

    bool operator==(const Rule&) const;
};

/// What a policy file holds, gathered from all of them before it is compiled into a Policy.
struct PolicySource {
    struct Entry {
        std::string text;
        Origin origin;
    };
    struct PinEntry {
        std::string module;
        Sha256 sha256{};
        Origin origin;
    };
    std::vector<std::string> files; ///< paths, as shown to people
    bool valid = true; ///< false: no files could be read, and nothing is in it but what was given at run time
    Mode mode = Mode::enforce;
    /// Of audit mode that ends by itself: when, since the machine started (CLOCK_BOOTTIME). Never written.
    std::optional<std::chrono::seconds> audit_ends;
    CallerAnswer answer = CallerAnswer::refuse;
    bool dependencies = true;     ///< allowed modules may bring their dependencies
    bool quiet = false;           ///< log errors only
    bool user_namespaces = false; ///< modules load on behalf of callers in user namespaces (point process)
    Origin user_namespaces_origin = {};
    bool unload_denied = false; ///< nothing may be taken out of the kernel (points process and guest)
    std::vector<Point> points;  ///< empty: each that the machine can hold
    std::string generated_at;
    std::string kernel_release;
    std::vector<Entry> allow_modules; ///< canonical names
    std::vector<Entry> allow_aliases;
    std::vector<Entry> deny_modules; ///< canonical names
    std::vector<Entry> deny_aliases;
    std::vector<PinEntry> pins;

    /// Whether the policy is to be enforced at `point`: it names it, or names none at all.
    [[nodiscard]] bool wants(Point point) const;
};

/// Whether `next` could let pass something that `now` refuses, by the rules as written. Without one more
/// entry to allow, one less to deny, another pin, a weaker setting or a point less it cannot. A step towards
/// stricter that fails is tried again by itself; one towards looser is not made unless it is asked for again.
[[nodiscard]] bool loosens(const PolicySource& now, const PolicySource& next);

class ModuleIndex;

class Policy {
  public:
    Policy(); ///< allows nothing
    explicit Policy(PolicySource source);
    /// The same rules for the modules of `index`: what deny.modules lists and no module there is called is an
    /// alias, and is denied as one; and which modules have a denied alias, as far as the index knows, is
    /// found out once for all of them. To be made again when the index is another.
    [[nodiscard]] Policy for_modules_of(ModuleIndex& index) const;

    /// The lists and settings as written; for listing, linting and saving.
    [[nodiscard]] const PolicySource& source() const { return *source_; }
    [[nodiscard]] Mode mode() const { return source_->mode; }
    [[nodiscard]] bool dependencies() const { return source_->dependencies; }
    [[nodiscard]] CallerAnswer answer() const { return source_->answer; }
    /// Whether what the rules allow is loaded on behalf of a caller in a user namespace, too.
    [[nodiscard]] bool serves_user_namespaces() const { return source_->user_namespaces; }
    [[nodiscard]] bool denies_unload() const { return source_->unload_denied; }

    /// The rule that lists `module` (canonical), if one does.
    [[nodiscard]] std::optional<Rule> allows_module(std::string_view module) const;
    [[nodiscard]] std::optional<Rule> denies_module(std::string_view module) const;
    /// The first rule whose pattern matches `token`.
    [[nodiscard]] std::optional<Rule> allows_token(std::string_view token) const;
    [[nodiscard]] std::optional<Rule> denies_token(std::string_view token) const;
    /// The first rule whose pattern equals one of a module's own `aliases`, or matches it.
    [[nodiscard]] std::optional<Rule> denies_aliases(const std::vector<std::string>& aliases) const;
    /// The same of the aliases that the index has of `module`, for which the policy was made. Nothing within:
    /// none of them is denied; nothing: it is not known.
    [[nodiscard]] std::optional<std::optional<Rule>> denies_indexed_aliases(std::string_view module) const;
    /// The number in allow_aliases of the first such pattern, of one alias: cheap enough to ask of all.
    [[nodiscard]] std::optional<std::uint32_t> pattern_allowing(std::string_view alias) const;
    /// Whether a pattern of deny_aliases, or what counts as one, is such.
    [[nodiscard]] bool has_pattern_denying(std::string_view alias) const;
    /// Whether a module is denied by its aliases too, so that they must be known to admit it.
    [[nodiscard]] bool has_deny_aliases() const;
    /// Whether a module whose aliases are not known is refused: where deny.aliases has an entry. A name of
    /// deny.modules that no module has asks for less, for it may be of a module that only other kernels have.
    [[nodiscard]] bool refuses_unknown_aliases() const { return !source_->deny_aliases.empty(); }
    [[nodiscard]] bool has_allow_aliases() const { return !source_->allow_aliases.empty(); }

    /// The pins of `module`, in the order written; empty when any content will do.
    [[nodiscard]] std::vector<PolicySource::PinEntry> pins(std::string_view module) const;
    [[nodiscard]] Rule rule(RuleKind kind, std::string_view text, Origin origin) const;

  private:
    struct Indexes;

    [[nodiscard]] std::optional<Rule> entry(RuleKind kind, const std::vector<PolicySource::Entry>& entries,
                                            std::optional<std::uint32_t> number) const;
    /// The rule that is `number` among the patterns that deny.
    [[nodiscard]] std::optional<Rule> denying_entry(std::optional<std::uint32_t> number) const;

    std::shared_ptr<const PolicySource> source_;
    std::shared_ptr<const Indexes> indexes_; ///< into source_; both are shared by copies
};

} // namespace kmodguard::core
