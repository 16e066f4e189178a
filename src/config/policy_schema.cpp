// SPDX-License-Identifier: AGPL-3.0-only
//
// The TOML form. A key is one row of the tables below: its name, what reads it, and what writes it.
#include "config/policy_schema.hpp"

#include "config/entry.hpp"
#include "config/schema_report.hpp"
#include "config/toml_edit.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kmodguard::config {
namespace {

using Source = core::PolicySource;

// What is written behind "key = ".
std::string toml_value(bool value) {
    return value ? "true" : "false";
}
std::string toml_value(const std::string& text) {
    return toml_string(text);
}
std::string toml_value(const core::Sha256& hash) {
    return toml_string(core::to_hex(hash));
}
template <typename Enum>
    requires std::is_enum_v<Enum>
std::string toml_value(Enum value) {
    return toml_string(core::to_string(value));
}
std::string toml_value(const std::vector<core::Point>& points) {
    std::vector<std::string> names;
    for (const core::Point point : points)
        names.emplace_back(core::to_string(point));
    return toml_array(names, false);
}
std::string toml_value(const std::vector<Source::Entry>& entries) {
    std::vector<std::string> texts;
    std::ranges::transform(entries, std::back_inserter(texts), &Source::Entry::text);
    return toml_array(texts, !texts.empty());
}

// The line of a key, or what is there instead.
template <auto member, typename Of>
std::string write_line(const Of& of, std::string_view key) {
    return fmt::format("{} = {}\n", key, toml_value(of.*member));
}
template <auto member> // nothing where it is empty, or false
std::string write_if_set(const Source& source, std::string_view key) {
    return source.*member == Source{}.*member ? "" : write_line<member>(source, key);
}
std::string write_generated_at(const Source& source, std::string_view key) {
    if (is_toml_date_time(source.generated_at)) return fmt::format("{} = {}\n", key, source.generated_at);
    return write_if_set<&Source::generated_at>(source, key);
}
std::string write_points(const Source& source, std::string_view key) {
    if (source.points.empty()) return "# points = [\"autoload\", \"kernel\"]\n";
    return write_line<&Source::points>(source, key);
}
std::string write_user_namespaces(const Source& source, std::string_view key) {
    return (source.user_namespaces ? "" : "# ") + write_line<&Source::user_namespaces>(source, key);
}

class Schema : private SchemaReport {
  public:
    /// `Of` is what the key is a part of: the policy, or one pin.
    template <typename Of>
    struct Key {
        std::string_view name;
        void (Schema::*read)(const Node& value, std::string_view path); ///< path: "allow.modules"
        std::string (*write)(const Of& of, std::string_view key);       ///< as lines of a fresh file
        std::string_view comment = {}; ///< before these lines, where there are any
    };
    template <typename Of>
    using Keys = std::span<const Key<Of>>;

    static Keys<Source> root_keys();
    static Keys<Source> allow_keys();
    static Keys<Source> deny_keys();
    static Keys<Source::PinEntry> pin_keys();

    Schema(Source& source, std::uint32_t file, std::size_t max_entries, Diagnostics& diagnostics)
        : SchemaReport(source, file, Form::toml, max_entries, diagnostics), source_(source) {}

    void read(const Node& root) {
        if (check_version(root)) read_table(root, "", "", root_keys());
    }

  private:
    bool check_version(const Node& root) {
        const Member* version = root.find("version");
        const std::string hint = fmt::format("begin the file with \"version = {}\"", policy_version);
        if (version == nullptr) {
            error({1, 1}, "the file has no version", hint);
            return true;
        }
        const Node& value = version->value;
        if (!expect(value, Node::Kind::integer, "an integer", "version") || value.integer == policy_version)
            return true;
        const bool newer = value.integer > policy_version;
        if (newer)
            error(value.at,
                  fmt::format("written for a newer kmodguard: version {}, and this one reads version {}",
                              value.integer, policy_version),
                  "upgrade kmodguard, or write the policy in version 1");
        else
            error(value.at, fmt::format("there is no version {}", value.integer), hint);
        return !newer; // whatever else is new in it would only be noise
    }

    /// `path` is what the names of the table's keys begin with, `where` what an error says of the table.
    template <typename Of>
    void read_table(const Node& table, std::string_view path, std::string_view where, Keys<Of> keys) {
        for (const Member& member : table.members) {
            const auto known = std::ranges::find(keys, member.key, &Key<Of>::name);
            if (known != keys.end())
                (this->*known->read)(member.value, fmt::format("{}{}", path, known->name));
            else
                unknown_key(member, where, keys);
        }
    }

    template <typename Of>
    void unknown_key(const Member& member, std::string_view where, Keys<Of> keys) {
        std::vector<std::string_view> names;
        std::ranges::transform(keys, std::back_inserter(names), &Key<Of>::name);
        std::string hint;
        if (const std::string_view near = nearest(member.key, names); !near.empty())
            hint = fmt::format("did you mean \"{}\"?", near);
        else if (const std::string_view home = home_of(member.key); !home.empty())
            hint = fmt::format("it belongs under {}", home);
        else
            hint = fmt::format("known here: {}", fmt::join(names, ", "));
        error(member.at, fmt::format("unknown key {}{}", in_quotes(member.key), where), std::move(hint));
    }

    /// The table of a key that is in another one.
    static std::string_view home_of(std::string_view key) {
        const auto in = [key](auto keys) {
            return std::ranges::any_of(keys, [key](const auto& known) { return known.name == key; });
        };
        if (key == "modules" || key == "aliases") return "[allow] or [deny]";
        if (in(allow_keys())) return "[allow]";
        if (in(deny_keys())) return "[deny]";
        if (in(pin_keys())) return "[[pin]]";
        return in(root_keys()) ? "no table: move it above the first one" : "";
    }

    void skip(const Node& /*value*/, std::string_view /*path*/) {}

    void read_generated_at(const Node& value, std::string_view path) {
        if (value.kind == Node::Kind::date_time || value.kind == Node::Kind::date)
            source_.generated_at = value.text;
        else if (expect(value, Node::Kind::string, "a date-time or a string", path))
            read_note<&Source::generated_at>(value, path);
    }

    /// A text that is only kept for people to read.
    template <std::string Source::* note>
    void read_note(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::string, "a string", path)) return;
        if (value.text.size() > core::max_token || core::printable(value.text, core::max_token) != value.text)
            return error(value.at, fmt::format("{} is too long or holds control characters", path));
        source_.*note = value.text;
    }

    void read_mode(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::string, "a string", path)) return;
        if (const auto mode = core::mode_from(value.text))
            source_.mode = *mode;
        else
            error(value.at, "unknown mode " + in_quotes(value.text), "use \"enforce\" or \"audit\"");
    }

    void read_answer(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::string, "a string", path)) return;
        if (const auto answer = core::answer_from(value.text))
            source_.answer = *answer;
        else
            error(value.at, "unknown answer " + in_quotes(value.text), "use \"refuse\" or \"pretend\"");
    }

    template <bool Source::* flag>
    void read_flag(const Node& value, std::string_view path) {
        if (expect(value, Node::Kind::boolean, "true or false", path)) source_.*flag = value.boolean;
    }

    void read_user_namespaces(const Node& value, std::string_view path) {
        read_flag<&Source::user_namespaces>(value, path);
        if (value.kind == Node::Kind::boolean) source_.user_namespaces_origin = origin(value.at);
    }

    void read_points(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::array, "an array of strings", path)) return;
        if (value.items.empty())
            return error(value.at, "points is empty: nothing would be guarded",
                         "leave the key out to guard every point that this machine can hold");
        std::vector<core::Point> points;
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::string, "a string", path)) continue;
            const auto point = core::point_from(item.text);
            if (!point) {
                error(item.at, "unknown point " + in_quotes(item.text), "use \"autoload\" and \"kernel\"");
                continue;
            }
            if (*point == core::Point::process || *point == core::Point::guest)
                warning(item.at, in_quotes(item.text) + " is not armed by a policy",
                        "`kmodctl exec` and `kmodctl guest` hold these points for what they start");
            if (std::ranges::find(points, *point) == points.end()) points.push_back(*point);
        }
        source_.points = std::move(points);
    }

    template <Keys<Source> (*keys)()>
    void read_inner(const Node& value, std::string_view path) {
        if (expect(value, Node::Kind::table, "a table", path))
            read_table(value, fmt::format("{}.", path), fmt::format(" in [{}]", path), keys());
    }

    template <List list>
    void read_list(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::array, "an array of strings", path)) return;
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::string, "a string", path)) continue;
            auto entry = check_entry(list, item.text);
            if (!entry)
                error(item.at, fmt::format("{}: {}", path, entry.error().what), entry.error().hint);
            else if (take_room(item.at))
                entries_of(source_, list).push_back({std::move(*entry), origin(item.at)});
        }
    }

    void read_pins(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::array, "tables headed [[pin]]", path)) return;
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::table, "tables headed [[pin]]", path)) continue;
            pin_ = {};
            pin_.origin = origin(item.at);
            const std::size_t errors_before = errors();
            read_table(item, "pin.", " in [[pin]]", pin_keys());
            for (const auto& key : pin_keys())
                if (item.find(key.name) == nullptr)
                    error(item.at, fmt::format("a pin without {}", in_quotes(key.name)),
                          "a pin takes module and sha256");
            if (errors() == errors_before && take_room(item.at)) source_.pins.push_back(std::move(pin_));
        }
    }

    void read_pin_module(const Node& value, std::string_view path) {
        if (!expect(value, Node::Kind::string, "a string", path)) return;
        auto name = check_module(value.text, "a pin names one module");
        if (name)
            pin_.module = std::move(*name);
        else
            error(value.at, fmt::format("{}: {}", path, name.error().what), name.error().hint);
    }

    void read_pin_hash(const Node& value, std::string_view path) {
        if (const auto hash = read_hash(value, path)) pin_.sha256 = *hash;
    }

    Source& source_;
    Source::PinEntry pin_;
};

template <typename Of>
std::string write_keys(const Of& of, Schema::Keys<Of> keys) {
    std::string text;
    for (const auto& key : keys)
        if (const std::string lines = key.write(of, key.name); !lines.empty())
            text += std::string(key.comment) + lines;
    return text;
}

template <Schema::Keys<Source> (*keys)()>
std::string write_inner(const Source& source, std::string_view /*key*/) {
    return write_keys(source, keys());
}

std::string write_pins(const Source& source, std::string_view key) {
    std::vector<std::string> pins;
    for (const Source::PinEntry& pin : source.pins)
        pins.push_back(fmt::format("[[{}]]\n{}", key, write_keys(pin, Schema::pin_keys())));
    return fmt::format("{}", fmt::join(pins, "\n"));
}

auto Schema::root_keys() -> Keys<Source> {
    static constexpr auto keys = std::to_array<Key<Source>>({
        {"version", &Schema::skip, // seen to by check_version
         [](const Source&, std::string_view) { return fmt::format("version = {}\n", policy_version); }},
        {"generated_at", &Schema::read_generated_at, write_generated_at},
        {"kernel_release", &Schema::read_note<&Source::kernel_release>,
         write_if_set<&Source::kernel_release>},
        {"mode", &Schema::read_mode, write_line<&Source::mode>,
         "\n# \"enforce\" refuses what the lists below do not allow; \"audit\" only records it.\n"},
        {"quiet", &Schema::read_flag<&Source::quiet>, write_if_set<&Source::quiet>, "\n# Log errors only.\n"},
        {"points", &Schema::read_points, write_points,
         "\n# Where the policy holds: \"autoload\" (the kernel asks for a module), \"kernel\" (anyone loads "
         "one).\n# Without this key: each of the two that this machine can hold.\n"},
        {"allow", &Schema::read_inner<&allow_keys>, write_inner<&allow_keys>, "\n[allow]\n"},
        {"deny", &Schema::read_inner<&deny_keys>, write_inner<&deny_keys>,
         "\n# What is refused whatever [allow] says, and with it all that would pull it in as a dependency.\n"
         "[deny]\n"},
        {"pin", &Schema::read_pins, write_pins,
         "\n# These modules only with this content: SHA-256 of the uncompressed image.\n"},
    });
    return keys;
}

auto Schema::allow_keys() -> Keys<Source> {
    static constexpr auto keys = std::to_array<Key<Source>>({
        {"modules", &Schema::read_list<List::allow_modules>, write_line<&Source::allow_modules>,
         "# Modules that may be loaded, by name.\n"},
        {"aliases", &Schema::read_list<List::allow_aliases>, write_line<&Source::allow_aliases>,
         "\n# Names under which the kernel may ask for modules; * ? [...] as in modprobe.d, such as "
         "\"net-pf-17\".\n# Whatever answers to such a name is allowed.\n"},
        {"dependencies", &Schema::read_flag<&Source::dependencies>, write_line<&Source::dependencies>,
         "\n# Whether allowed modules may pull in the modules they depend on.\n"},
        {"user_namespaces", &Schema::read_user_namespaces, write_user_namespaces,
         "\n# Whether `kmodctl exec` and `oci-agent` load allowed modules, from this machine's own files, "
         "for "
         "callers in\n# a user namespace, who may not load any themselves.\n"},
    });
    return keys;
}

auto Schema::deny_keys() -> Keys<Source> {
    static constexpr auto keys = std::to_array<Key<Source>>({
        {"modules", &Schema::read_list<List::deny_modules>, write_line<&Source::deny_modules>},
        {"aliases", &Schema::read_list<List::deny_aliases>, write_line<&Source::deny_aliases>},
        {"answer", &Schema::read_answer, write_line<&Source::answer>,
         "\n# What a refused program hears from `kmodctl exec` and `guest`: \"refuse\" is an error, "
         "\"pretend\" is\n# success with nothing loaded.\n"},
        {"unload", &Schema::read_flag<&Source::unload_denied>, write_if_set<&Source::unload_denied>,
         "\n# There, nothing may be taken out of the kernel either.\n"},
    });
    return keys;
}

auto Schema::pin_keys() -> Keys<Source::PinEntry> {
    using Pin = Source::PinEntry;
    static constexpr auto keys = std::to_array<Key<Pin>>({
        {"module", &Schema::read_pin_module, write_line<&Pin::module>},
        {"sha256", &Schema::read_pin_hash, write_line<&Pin::sha256>},
    });
    return keys;
}

/// With lists and pins sorted, each entry once.
Source sorted(Source source) {
    const auto sort = [](auto& entries, auto order) {
        std::ranges::sort(entries, {}, order);
        const auto repeated = std::ranges::unique(entries, {}, order);
        entries.erase(repeated.begin(), repeated.end());
    };
    for (const List list : all_lists)
        sort(entries_of(source, list), &Source::Entry::text);
    sort(source.pins, [](const Source::PinEntry& pin) { return std::tie(pin.module, pin.sha256); });
    return source;
}

} // namespace

void read_schema(const Node& root, Source& source, std::uint32_t file, std::size_t max_entries,
                 Diagnostics& diagnostics) {
    Schema(source, file, max_entries, diagnostics).read(root);
}

std::string render_policy(const Source& source, std::span<const std::string> header) {
    return toml_comment(header) + write_keys(sorted(source), Schema::root_keys());
}

bool same_meaning(const Source& a, const Source& b) {
    return write_keys(a, Schema::root_keys()) == write_keys(b, Schema::root_keys());
}

std::vector<std::string> policy_keys() {
    std::vector<std::string> names;
    const auto add = [&names](std::string_view path, auto keys) {
        for (const auto& key : keys)
            names.push_back(fmt::format("{}{}", path, key.name));
    };
    add("", Schema::root_keys());
    add("allow.", Schema::allow_keys());
    add("deny.", Schema::deny_keys());
    add("pin.", Schema::pin_keys());
    return names;
}

} // namespace kmodguard::config
