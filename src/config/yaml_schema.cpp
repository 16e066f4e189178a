// SPDX-License-Identifier: AGPL-3.0-only
//
// The YAML form, as the emulation framework reads it.
#include "config/entry.hpp"
#include "config/policy_schema.hpp"
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

constexpr const char* pattern_hint =
    "patterns mean nothing here; a TOML policy (`kmodctl convert`) takes them in allow.aliases";
constexpr const char* merged_hint =
    "write it out, or give the core_config.yaml of a run's output folder, in which the framework has done so";
constexpr const char* quote_hint = "put the name in quotes";

class KmodsReader : private SchemaReport {
  public:
    KmodsReader(core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                Diagnostics& diagnostics)
        : SchemaReport(source, file, Form::yaml, max_entries, diagnostics), source_(source) {}

    void read(const Node& root) {
        const Member* kmods = find_kmods(root);
        if (kmods == nullptr) {
            if (errors() == 0) check_missing(root);
            // The framework has the plugin on whether its configuration mentions it or not.
            if (errors() == 0) begin(Position{1, 1});
            return;
        }
        if (!expect(kmods->value, Node::Kind::table, "a mapping", "kmods",
                    "\"kmods: {}\" allows nothing but the framework's module"))
            return;
        read_keys(kmods->value);
        begin(kmods->at);
    }

    /// A file that adds to a configuration, and need not have anything for the plugin.
    void read_patch(const Node& root) {
        if (root.kind == Node::Kind::null || !expect(root, Node::Kind::table, "a mapping", "a patch")) return;
        find_value(root, "plugins", Node::Kind::table, "a mapping");
        const Member* kmods = errors() == 0 ? find_kmods(root) : nullptr;
        if (kmods == nullptr || kmods->value.kind == Node::Kind::null) return;
        if (expect(kmods->value, Node::Kind::table, "a mapping", "kmods")) read_keys(kmods->value);
    }

    YamlPatches patches_of(const Node& root) {
        YamlPatches patches;
        if (const Node* core = find_value(root, "core", Node::Kind::table, "a mapping")) {
            const Member* automatic = core->find("auto_patching");
            patches.beside =
                automatic == nullptr || read_boolean(automatic->value, "core.auto_patching").value_or(true);
        }
        if (const Node* named = find_value(root, "patches", Node::Kind::array, "a list of files"))
            for (const Node& item : named->items)
                if (expect(item, Node::Kind::string, "a file", "patches", merged_hint))
                    patches.named.push_back({item.text, item.at});
        return patches;
    }

  private:
    struct Key {
        std::string_view name;
        void (KmodsReader::*read)(const Node& value);
    };
    static const std::array<Key, 8> keys;

    /// What holds whatever the lists have. The emulation rests on the framework's module.
    void begin(Position at) {
        source_.mode = core::Mode::enforce;
        source_.answer = core::CallerAnswer::pretend;
        source_.dependencies = false;
        const bool listed =
            std::ranges::find(source_.allow_modules, framework_module, &core::PolicySource::Entry::text)
            != source_.allow_modules.end();
        if (!listed && take_room(at))
            source_.allow_modules.push_back({std::string(framework_module), origin(at)});
    }

    /// The value of `key`, if there is any; it is an error if that is not of `kind`.
    const Node* find_value(const Node& root, std::string_view key, Node::Kind kind,
                           std::string_view expected) {
        const Member* member = root.find(key);
        if (member == nullptr || member->value.kind == Node::Kind::null) return nullptr;
        return expect(member->value, kind, expected, key, merged_hint) ? &member->value : nullptr;
    }

    const Member* find_kmods(const Node& root) {
        const Member* plugins = root.find("plugins");
        const Member* kmods = plugins != nullptr ? plugins->value.find("kmods") : nullptr;
        const Member* at_the_top = root.find("kmods");
        for (const Node* node : {&root, plugins != nullptr ? &plugins->value : nullptr})
            if (const Member* merged = node != nullptr ? node->find("<<") : nullptr; merged != nullptr)
                error(merged->at, "a merge (\"<<\") of what may be about kmods, which is not read",
                      merged_hint);
        if (kmods != nullptr && at_the_top != nullptr) {
            error(at_the_top->at, "kmods is both here and under plugins", "remove this one");
            return nullptr;
        }
        if (at_the_top != nullptr) {
            warning(at_the_top->at, "kmods is at the top of the file, which the framework means to give up",
                    "move it under plugins");
            return at_the_top;
        }
        return kmods;
    }

    /// It is an error if there is no policy in it, or what may be a misspelt one.
    void check_missing(const Node& root) {
        find_value(root, "plugins", Node::Kind::table, "a mapping");
        if (errors() != 0) return;
        const Member* plugins = root.find("plugins");
        const Node& where = plugins != nullptr ? plugins->value : root;
        const std::string_view wanted = plugins != nullptr ? "kmods" : "plugins";
        std::vector<std::string_view> names;
        std::ranges::transform(where.members, std::back_inserter(names), &Member::key);
        const std::string_view near = nearest(wanted, names);
        const Member* project = root.find("core"); // every configuration of the framework has one
        if (near.empty() && project != nullptr && project->value.kind == Node::Kind::table) return;
        const Position at =
            near.empty() ? (plugins != nullptr ? plugins->at : Position{1, 1}) : where.find(near)->at;
        error(at, "there is no plugins.kmods, which is all that a YAML policy consists of",
              near.empty() ? "write plugins: { kmods: { allowlist: [...] } }, or the policy as TOML"
                           : fmt::format("did you mean \"{}\" instead of {}?", wanted, in_quotes(near)));
    }

    void read_keys(const Node& kmods) {
        std::vector<std::string_view> names;
        std::ranges::transform(keys, std::back_inserter(names), &Key::name);
        for (const Member& member : kmods.members) {
            const auto known = std::ranges::find(keys, member.key, &Key::name);
            if (known != keys.end()) {
                (this->*known->read)(member.value);
                continue;
            }
            const std::string_view near = nearest(member.key, names);
            error(member.at, fmt::format("unknown key {} in plugins.kmods", in_quotes(member.key)),
                  near.empty() ? "known here: allowlist, denylist, quiet, pins"
                               : fmt::format("did you mean \"{}\"?", near));
        }
    }

    /// What every plugin has, and means nothing to a policy.
    void skip(const Node& /*value*/) {}

    void read_enabled(const Node& value) {
        if (const auto enabled = read_boolean(value, "enabled"); enabled && !*enabled)
            error(value.at, "this plugin is switched off, so its lists are no policy",
                  "remove \"enabled\", or set it to true");
    }

    void read_quiet(const Node& value) {
        if (const auto quiet = read_boolean(value, "quiet")) source_.quiet = *quiet;
    }

    /// As the framework takes one (pydantic, not strict). Nothing at all is no answer.
    std::optional<bool> read_boolean(const Node& value, std::string_view name) {
        if (value.kind == Node::Kind::null) return std::nullopt;
        if (value.kind == Node::Kind::string || value.kind == Node::Kind::integer) {
            std::string text = value.text;
            std::ranges::transform(text, text.begin(), [](char c) {
                return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
            });
            for (const std::string_view yes : {"true", "t", "yes", "y", "on", "1"})
                if (text == yes) return true;
            for (const std::string_view no : {"false", "f", "no", "n", "off", "0"})
                if (text == no) return false;
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
            if (!expect(item, Node::Kind::string, "a module name", name, quote_hint)) continue;
            auto module = name_of(item.text, name, item.at);
            if (module && take_room(item.at)) entries.push_back({std::move(*module), origin(item.at)});
        }
    }

    /// A path means the module of that file here, as it does to the plugin.
    std::optional<std::string> name_of(std::string_view text, std::string_view list, Position at) {
        if (auto name = core::module_name_of(text)) return name;
        const auto checked = check_module(text, pattern_hint);
        const bool is_template = text.contains("{{") || text.contains("{%");
        error(at, fmt::format("{}: {}", list, checked.error().what),
              is_template ? merged_hint : checked.error().hint);
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
    KmodsReader(source, file, max_entries, diagnostics).read(root);
}

void read_yaml_patch(const Node& root, core::PolicySource& source, std::uint32_t file,
                     std::size_t max_entries, Diagnostics& diagnostics) {
    KmodsReader(source, file, max_entries, diagnostics).read_patch(root);
}

YamlPatches yaml_patches(const Node& root, const core::PolicySource& source, std::uint32_t file,
                         Diagnostics& diagnostics) {
    core::PolicySource unused;
    unused.files = source.files;
    return KmodsReader(unused, file, 0, diagnostics).patches_of(root);
}

} // namespace kmodguard::config
