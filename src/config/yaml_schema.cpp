// SPDX-License-Identifier: AGPL-3.0-only
#include "config/yaml_schema.hpp"

#include "config/entry.hpp"
#include "config/schema_report.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::config {
namespace {

/// Loads whatever the lists say, unless it is denied: the emulation rests on it.
constexpr std::string_view pattern_hint =
    "patterns mean nothing here; a TOML policy (`kmodctl convert`) takes them in allow.aliases";
constexpr std::string_view quote_hint = "put the name in quotes";

class KmodsReader : private SchemaReport {
  public:
    KmodsReader(core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                Diagnostics& diagnostics)
        : SchemaReport(source, file, Form::yaml, max_entries, diagnostics), source_(source) {}

    void read(const Node& root) {
        const Member* kmods = find_kmods(root);
        if (kmods == nullptr
            || !expect(kmods->value, Node::Kind::table, "a mapping", "kmods",
                       "\"kmods: {}\" allows nothing but the framework's module"))
            return;
        source_.mode = core::Mode::enforce;
        source_.answer = core::Answer::pretend;
        source_.dependencies = false;
        for (const Member& member : kmods->value.members)
            read_key(member);
        allow_framework(kmods->at);
    }

  private:
    struct Key {
        std::string_view name;
        void (KmodsReader::*read)(const Node& value);
    };
    static const std::array<Key, 8> keys;

    const Member* find_kmods(const Node& root) {
        const Member* plugins = root.find("plugins");
        const Member* kmods = plugins != nullptr ? plugins->value.find("kmods") : nullptr;
        const Member* old_place = root.find("kmods");
        if (kmods != nullptr && old_place != nullptr) {
            error(old_place->at, "kmods stands both here and under plugins", "remove this one");
            return nullptr;
        }
        if (old_place != nullptr) {
            warning(old_place->at, "kmods stands at the top of the file, which is its old place",
                    "move it under plugins");
            return old_place;
        }
        if (kmods == nullptr) report_missing(root, plugins);
        return kmods;
    }

    void report_missing(const Node& root, const Member* plugins) {
        if (plugins != nullptr && plugins->value.kind != Node::Kind::null
            && !expect(plugins->value, Node::Kind::table, "a mapping", "plugins"))
            return;
        const Node& where = plugins != nullptr ? plugins->value : root;
        const std::string_view wanted = plugins != nullptr ? "kmods" : "plugins";
        std::vector<std::string_view> names;
        for (const Member& member : where.members)
            names.push_back(member.key);
        const std::string_view near = nearest(wanted, names);
        const Position at =
            near.empty() ? (plugins != nullptr ? plugins->at : Position{1, 1}) : where.find(near)->at;
        error(at, "there is no plugins.kmods, which is all that a YAML policy consists of",
              near.empty() ? "write plugins: { kmods: { allowlist: [...] } }, or the policy as TOML"
                           : fmt::format("did you mean \"{}\" instead of {}?", wanted, in_quotes(near)));
    }

    void read_key(const Member& member) {
        const auto known = std::ranges::find(keys, member.key, &Key::name);
        if (known != keys.end()) return (this->*known->read)(member.value);
        std::vector<std::string_view> names;
        for (const Key& key : keys)
            names.push_back(key.name);
        const std::string_view near = nearest(member.key, names);
        error(member.at, fmt::format("unknown key {} in plugins.kmods", in_quotes(member.key)),
              near.empty() ? "known here: allowlist, denylist, quiet, pins"
                           : fmt::format("did you mean \"{}\"?", near));
    }

    /// What every plugin has, and means nothing to a policy.
    void skip(const Node& /*value*/) {}

    void read_enabled(const Node& value) {
        if (const auto enabled = read_boolean(value, "enabled"); enabled && !*enabled)
            error(value.at, "this plugin is switched off, so its lists are nobody's policy",
                  "remove \"enabled\", or set it to true");
    }

    void read_quiet(const Node& value) {
        if (const auto quiet = read_boolean(value, "quiet")) source_.quiet = *quiet;
    }

    /// Also the words of YAML 1.1, which most Python programs still take. Nothing at all is no answer.
    std::optional<bool> read_boolean(const Node& value, std::string_view name) {
        if (value.kind == Node::Kind::null) return std::nullopt;
        if (value.kind == Node::Kind::string) {
            for (const std::string_view yes : {"yes", "Yes", "YES", "on", "On", "ON"})
                if (value.text == yes) return true;
            for (const std::string_view no : {"no", "No", "NO", "off", "Off", "OFF"})
                if (value.text == no) return false;
        }
        if (!expect(value, Node::Kind::boolean, "true or false", name)) return std::nullopt;
        return value.boolean;
    }

    void read_allowlist(const Node& value) { read_list(value, "allowlist", source_.allow_modules); }
    void read_denylist(const Node& value) { read_list(value, "denylist", source_.deny_modules); }

    void read_list(const Node& value, std::string_view name,
                   std::vector<core::PolicySource::Entry>& entries) {
        if (value.kind == Node::Kind::null
            || !expect(value, Node::Kind::array, "a list of module names", name))
            return;
        for (const Node& item : value.items) {
            if (item.kind == Node::Kind::null || (item.kind == Node::Kind::string && item.text.empty())) {
                warning(item.at, fmt::format("{}: an empty entry names no module and is ignored", name),
                        "remove it");
                continue;
            }
            if (!expect(item, Node::Kind::string, "a module name", name, std::string(quote_hint))) continue;
            auto module = name_of(item.text, name, item.at);
            if (module && take_room(item.at)) entries.push_back({std::move(*module), origin(item.at)});
        }
    }

    /// A path means the module of that file here, as it does to the plugin.
    std::optional<std::string> name_of(std::string_view text, std::string_view list, Position at) {
        if (auto name = core::module_name_of(text)) return name;
        const auto checked = check_module(text, pattern_hint);
        error(at, fmt::format("{}: {}", list, checked.error().what), checked.error().hint);
        return std::nullopt;
    }

    void read_pins(const Node& value) {
        if (value.kind == Node::Kind::null
            || !expect(value, Node::Kind::table, "a mapping of module names to hashes", "pins"))
            return;
        for (const Member& member : value.members) {
            const auto module = name_of(member.key, "pins", member.at);
            if (!module) continue;
            if (member.value.kind != Node::Kind::array) {
                read_pin(*module, member.value);
                continue;
            }
            if (member.value.items.empty())
                error(member.value.at, fmt::format("pins: no hash is given for {}", *module),
                      "give its SHA-256, or remove the pin");
            for (const Node& hash : member.value.items)
                read_pin(*module, hash);
        }
    }

    void read_pin(const std::string& module, const Node& value) {
        const auto hash = read_hash(value, fmt::format("pins.{}", module));
        if (hash && take_room(value.at)) source_.pins.push_back({module, *hash, origin(value.at)});
    }

    void allow_framework(Position at) {
        const bool listed =
            std::ranges::find(source_.allow_modules, framework_module, &core::PolicySource::Entry::text)
            != source_.allow_modules.end();
        if (!listed && take_room(at))
            source_.allow_modules.push_back({std::string(framework_module), origin(at)});
    }

    core::PolicySource& source_;
};

const std::array<KmodsReader::Key, 8> KmodsReader::keys = {{
    {"allowlist", &KmodsReader::read_allowlist},
    {"denylist", &KmodsReader::read_denylist},
    {"quiet", &KmodsReader::read_quiet},
    {"pins", &KmodsReader::read_pins},
    {"enabled", &KmodsReader::read_enabled},
    {"description", &KmodsReader::skip},
    {"depends_on", &KmodsReader::skip},
    {"version", &KmodsReader::skip},
}};

} // namespace

void read_yaml_schema(const Node& root, core::PolicySource& source, std::uint32_t file,
                      std::size_t max_entries, Diagnostics& diagnostics) {
    Diagnostics found;
    KmodsReader(source, file, max_entries, found).read(root);
    sort_by_place(found);
    diagnostics.insert(diagnostics.end(), std::make_move_iterator(found.begin()),
                       std::make_move_iterator(found.end()));
}

} // namespace kmodguard::config
