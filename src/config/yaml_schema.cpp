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
constexpr std::string_view merged_hint =
    "write it out, or give the core_config.yaml of a run's output folder, in which the framework has done so";
constexpr std::string_view quote_hint = "put the name in quotes";

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

    /// A file that adds to a configuration, and need not say anything of the plugin.
    void read_patch(const Node& root) {
        if (root.kind == Node::Kind::null) return;
        const Member* plugins = root.find("plugins");
        if (!expect(root, Node::Kind::table, "a mapping", "a patch")
            || (plugins != nullptr && plugins->value.kind != Node::Kind::null
                && !expect(plugins->value, Node::Kind::table, "a mapping", "plugins",
                           std::string(merged_hint))))
            return;
        const Member* kmods = find_kmods(root);
        if (kmods == nullptr || kmods->value.kind == Node::Kind::null) return;
        if (expect(kmods->value, Node::Kind::table, "a mapping", "kmods")) read_keys(kmods->value);
    }

    YamlPatches patches_of(const Node& root) {
        YamlPatches patches;
        const Member* core = root.find("core");
        if (core != nullptr && core->value.kind != Node::Kind::null
            && expect(core->value, Node::Kind::table, "a mapping", "core", std::string(merged_hint))) {
            const Member* automatic = core->value.find("auto_patching");
            patches.beside =
                automatic == nullptr || read_boolean(automatic->value, "core.auto_patching").value_or(true);
        }
        const Member* named = root.find("patches");
        if (named == nullptr || named->value.kind == Node::Kind::null
            || !expect(named->value, Node::Kind::array, "a list of files", "patches",
                       std::string(merged_hint)))
            return patches;
        for (const Node& item : named->value.items)
            if (expect(item, Node::Kind::string, "a file", "patches", std::string(merged_hint)))
                patches.named.push_back({item.text, item.at});
        return patches;
    }

  private:
    struct Key {
        std::string_view name;
        void (KmodsReader::*read)(const Node& value);
    };
    static const std::array<Key, 8> keys;

    /// Every configuration of the framework has one.
    static bool is_project(const Node& root) {
        const Member* core = root.find("core");
        return core != nullptr && core->value.kind == Node::Kind::table;
    }

    void begin(Position at) {
        source_.mode = core::Mode::enforce;
        source_.answer = core::CallerAnswer::pretend;
        source_.dependencies = false;
        allow_framework(at);
    }

    const Member* find_kmods(const Node& root) {
        const Member* plugins = root.find("plugins");
        const Member* kmods = plugins != nullptr ? plugins->value.find("kmods") : nullptr;
        const Member* at_the_top = root.find("kmods");
        for (const Node* node : {&root, plugins != nullptr ? &plugins->value : nullptr})
            if (const Member* merged = node != nullptr ? node->find("<<") : nullptr; merged != nullptr)
                error(merged->at, "a merge (\"<<\") of what may be about kmods, which is not read",
                      std::string(merged_hint));
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

    /// Says so if there is no policy in it, or if it may be a misspelt one.
    void check_missing(const Node& root) {
        const Member* plugins = root.find("plugins");
        if (plugins != nullptr && plugins->value.kind != Node::Kind::null
            && !expect(plugins->value, Node::Kind::table, "a mapping", "plugins", std::string(merged_hint)))
            return;
        const Node& where = plugins != nullptr ? plugins->value : root;
        const std::string_view wanted = plugins != nullptr ? "kmods" : "plugins";
        std::vector<std::string_view> names;
        for (const Member& member : where.members)
            names.push_back(member.key);
        const std::string_view near = nearest(wanted, names);
        if (near.empty() && is_project(root)) return;
        const Position at =
            near.empty() ? (plugins != nullptr ? plugins->at : Position{1, 1}) : where.find(near)->at;
        error(at, "there is no plugins.kmods, which is all that a YAML policy consists of",
              near.empty() ? "write plugins: { kmods: { allowlist: [...] } }, or the policy as TOML"
                           : fmt::format("did you mean \"{}\" instead of {}?", wanted, in_quotes(near)));
    }

    void read_keys(const Node& kmods) {
        for (const Member& member : kmods.members)
            read_key(member);
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
            if (!expect(item, Node::Kind::string, "a module name", name, std::string(quote_hint))) continue;
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
              is_template ? std::string(merged_hint) : checked.error().hint);
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

/// Reads a document by `reading`, and adds what is found by its place there.
void read_by(void (KmodsReader::*reading)(const Node&), const Node& root, core::PolicySource& source,
             std::uint32_t file, std::size_t max_entries, Diagnostics& diagnostics) {
    Diagnostics found;
    KmodsReader reader(source, file, max_entries, found);
    (reader.*reading)(root);
    sort_by_place(found);
    diagnostics.insert(diagnostics.end(), std::make_move_iterator(found.begin()),
                       std::make_move_iterator(found.end()));
}

} // namespace

void read_yaml_schema(const Node& root, core::PolicySource& source, std::uint32_t file,
                      std::size_t max_entries, Diagnostics& diagnostics) {
    read_by(&KmodsReader::read, root, source, file, max_entries, diagnostics);
}

void read_yaml_patch(const Node& root, core::PolicySource& source, std::uint32_t file,
                     std::size_t max_entries, Diagnostics& diagnostics) {
    read_by(&KmodsReader::read_patch, root, source, file, max_entries, diagnostics);
}

YamlPatches yaml_patches(const Node& root, const core::PolicySource& source, std::uint32_t file,
                         Diagnostics& diagnostics) {
    core::PolicySource unused;
    unused.files = source.files;
    return KmodsReader(unused, file, 0, diagnostics).patches_of(root);
}

} // namespace kmodguard::config
