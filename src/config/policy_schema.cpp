// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_schema.hpp"

#include "config/entry.hpp"
#include "config/schema_report.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

namespace kmodguard::config {
namespace {

class SchemaReader : private SchemaReport {
  public:
    SchemaReader(core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                 Diagnostics& diagnostics)
        : SchemaReport(source, file, Form::toml, max_entries, diagnostics), source_(source) {}

    void read(const Node& root) {
        if (check_version(root)) read_table(root, {}, root_keys);
    }

  private:
    struct Key {
        std::string_view name;
        void (SchemaReader::*read)(const Node& value);
    };
    using Keys = std::span<const Key>;

    static const std::array<Key, 9> root_keys;
    static const std::array<Key, 4> allow_keys;
    static const std::array<Key, 4> deny_keys;
    static const std::array<Key, 2> pin_keys;

    bool check_version(const Node& root) {
        const Member* version = root.find("version");
        const std::string hint = fmt::format("begin the file with \"version = {}\"", policy_version);
        if (version == nullptr) {
            error({1, 1}, "the file has no version", hint);
            return true;
        }
        const Node& value = version->value;
        if (!expect(value, Node::Kind::integer, "an integer", "version")) return true;
        if (value.integer == policy_version) return true;
        if (value.integer < policy_version) {
            error(value.at, fmt::format("there is no version {}", value.integer), hint);
            return true;
        }
        error(value.at,
              fmt::format("written for a newer kmodguard: version {}, and this one reads version {}",
                          value.integer, policy_version),
              "upgrade kmodguard, or write the policy in version 1");
        return false; // Whatever else is new in it would only be noise.
    }

    void read_table(const Node& table, std::string_view path, Keys keys) {
        for (const Member& member : table.members) {
            const auto known = std::ranges::find(keys, member.key, &Key::name);
            if (known != keys.end())
                (this->*known->read)(member.value);
            else
                unknown_key(member, path, keys);
        }
    }

    void unknown_key(const Member& member, std::string_view path, Keys keys) {
        std::vector<std::string_view> names;
        for (const Key& key : keys)
            names.push_back(key.name);
        std::string hint;
        if (const std::string_view near = nearest(member.key, names); !near.empty())
            hint = fmt::format("did you mean \"{}\"?", near);
        else if (const std::string_view home = home_of(member.key); !home.empty())
            hint = fmt::format("it belongs under {}", home);
        else
            hint = fmt::format("known here: {}", fmt::join(names, ", "));
        error(member.at,
              fmt::format("unknown key {}{}", in_quotes(member.key),
                          path.empty() ? "" : fmt::format(" in [{}]", path)),
              std::move(hint));
    }

    /// Where a key that stands in the wrong table should stand.
    static std::string_view home_of(std::string_view key) {
        const auto in = [key](Keys keys) { return std::ranges::find(keys, key, &Key::name) != keys.end(); };
        if (key == "modules" || key == "aliases") return "[allow] or [deny]";
        if (in(allow_keys)) return "[allow]";
        if (in(deny_keys)) return "[deny]";
        if (in(pin_keys)) return "[[pin]]";
        return in(root_keys) ? "no table: move it above the first one" : "";
    }

    void skip(const Node&) {}

    void read_generated_at(const Node& value) {
        const bool date = value.kind == Node::Kind::date_time || value.kind == Node::Kind::date;
        if (date || expect(value, Node::Kind::string, "a date-time or a string", "generated_at"))
            read_note(value, "generated_at", source_.generated_at);
    }

    void read_kernel_release(const Node& value) {
        if (expect(value, Node::Kind::string, "a string", "kernel_release"))
            read_note(value, "kernel_release", source_.kernel_release);
    }

    /// A text that is only kept for people to read.
    void read_note(const Node& value, std::string_view name, std::string& into) {
        if (value.text.size() > core::max_token || core::printable(value.text, core::max_token) != value.text)
            error(value.at, fmt::format("{} is too long or holds control characters", name), "");
        else
            into = value.text;
    }

    void read_mode(const Node& value) {
        if (!expect(value, Node::Kind::string, "a string", "mode")) return;
        if (const auto mode = core::mode_from(value.text))
            source_.mode = *mode;
        else
            error(value.at, "unknown mode " + in_quotes(value.text), "use \"enforce\" or \"audit\"");
    }

    void read_answer(const Node& value) {
        if (!expect(value, Node::Kind::string, "a string", "deny.answer")) return;
        if (const auto answer = core::answer_from(value.text))
            source_.answer = *answer;
        else
            error(value.at, "unknown answer " + in_quotes(value.text), "use \"refuse\" or \"pretend\"");
    }

    void read_dependencies(const Node& value) {
        if (expect(value, Node::Kind::boolean, "true or false", "allow.dependencies"))
            source_.dependencies = value.boolean;
    }

    void read_user_namespaces(const Node& value) {
        if (!expect(value, Node::Kind::boolean, "true or false", "allow.user_namespaces")) return;
        source_.user_namespaces = value.boolean;
        source_.user_namespaces_origin = origin(value.at);
    }

    void read_quiet(const Node& value) {
        if (expect(value, Node::Kind::boolean, "true or false", "quiet")) source_.quiet = value.boolean;
    }

    void read_unload(const Node& value) {
        if (expect(value, Node::Kind::boolean, "true or false", "deny.unload"))
            source_.unload_denied = value.boolean;
    }

    void read_points(const Node& value) {
        if (!expect(value, Node::Kind::array, "an array of strings", "points")) return;
        if (value.items.empty())
            return error(value.at, "points is empty: nothing would be guarded",
                         "leave the key out to guard every point that this machine can hold");
        std::vector<core::Point> points;
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::string, "a string", "points")) continue;
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

    void read_allow(const Node& value) {
        if (expect(value, Node::Kind::table, "a table", "allow")) read_table(value, "allow", allow_keys);
    }

    void read_deny(const Node& value) {
        if (expect(value, Node::Kind::table, "a table", "deny")) read_table(value, "deny", deny_keys);
    }

    template <List list>
    void read_list(const Node& value) {
        if (!expect(value, Node::Kind::array, "an array of strings", path_of(list))) return;
        auto& entries = entries_of(source_, list);
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::string, "a string", path_of(list))) continue;
            auto entry = check_entry(list, item.text);
            if (!entry)
                error(item.at, fmt::format("{}: {}", path_of(list), entry.error().what), entry.error().hint);
            else if (take_room(item.at))
                entries.push_back({std::move(*entry), origin(item.at)});
        }
    }

    void read_pins(const Node& value) {
        if (!expect(value, Node::Kind::array, "tables headed [[pin]]", "pin")) return;
        for (const Node& item : value.items) {
            if (!expect(item, Node::Kind::table, "tables headed [[pin]]", "pin")) continue;
            pin_ = {};
            pin_.origin = origin(item.at);
            const std::size_t errors_before = errors();
            read_table(item, "[pin]", pin_keys);
            for (const Key& key : pin_keys)
                if (item.find(key.name) == nullptr)
                    error(item.at, fmt::format("a pin without {}", in_quotes(key.name)),
                          "a pin takes module and sha256");
            if (errors() == errors_before && take_room(item.at)) source_.pins.push_back(std::move(pin_));
        }
    }

    void read_pin_module(const Node& value) {
        if (!expect(value, Node::Kind::string, "a string", "pin.module")) return;
        auto name = check_module(value.text, "a pin names one module");
        if (name)
            pin_.module = std::move(*name);
        else
            error(value.at, "pin.module: " + name.error().what, name.error().hint);
    }

    void read_pin_hash(const Node& value) {
        if (const auto hash = read_hash(value, "pin.sha256")) pin_.sha256 = *hash;
    }

    core::PolicySource& source_;
    core::PolicySource::PinEntry pin_;
};

const std::array<SchemaReader::Key, 9> SchemaReader::root_keys = {{
    {"version", &SchemaReader::skip}, // seen to by check_version
    {"generated_at", &SchemaReader::read_generated_at},
    {"kernel_release", &SchemaReader::read_kernel_release},
    {"mode", &SchemaReader::read_mode},
    {"quiet", &SchemaReader::read_quiet},
    {"points", &SchemaReader::read_points},
    {"allow", &SchemaReader::read_allow},
    {"deny", &SchemaReader::read_deny},
    {"pin", &SchemaReader::read_pins},
}};

const std::array<SchemaReader::Key, 4> SchemaReader::allow_keys = {{
    {"modules", &SchemaReader::read_list<List::allow_modules>},
    {"aliases", &SchemaReader::read_list<List::allow_aliases>},
    {"dependencies", &SchemaReader::read_dependencies},
    {"user_namespaces", &SchemaReader::read_user_namespaces},
}};

const std::array<SchemaReader::Key, 4> SchemaReader::deny_keys = {{
    {"modules", &SchemaReader::read_list<List::deny_modules>},
    {"aliases", &SchemaReader::read_list<List::deny_aliases>},
    {"answer", &SchemaReader::read_answer},
    {"unload", &SchemaReader::read_unload},
}};

const std::array<SchemaReader::Key, 2> SchemaReader::pin_keys = {{
    {"module", &SchemaReader::read_pin_module},
    {"sha256", &SchemaReader::read_pin_hash},
}};

} // namespace

void read_schema(const Node& root, core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                 Diagnostics& diagnostics) {
    Diagnostics found;
    SchemaReader(source, file, max_entries, found).read(root);
    sort_by_place(found);
    diagnostics.insert(diagnostics.end(), std::make_move_iterator(found.begin()),
                       std::make_move_iterator(found.end()));
}

} // namespace kmodguard::config
