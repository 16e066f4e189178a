// SPDX-License-Identifier: AGPL-3.0-only
#include "config/yaml_reader.hpp"

#include "config/toml_reader.hpp"
#include "config/yaml_text.hpp"
#include "core/names.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_yaml_message = 400;
constexpr std::string_view standard_tags = "tag:yaml.org,2002:";

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
    return std::ranges::find(words, text) != words.end();
}

bool holds_only(std::string_view text, std::string_view characters) {
    return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

std::string_view without_sign(std::string_view text) {
    return text.starts_with('-') || text.starts_with('+') ? text.substr(1) : text;
}

bool is_integer(std::string_view text) {
    static constexpr std::string_view digits = "0123456789";
    if (text.starts_with("0x")) return holds_only(text.substr(2), "0123456789abcdefABCDEF");
    if (text.starts_with("0o")) return holds_only(text.substr(2), "01234567");
    return holds_only(without_sign(text), digits);
}

bool is_floating(std::string_view text) {
    if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return true;
    text = without_sign(text);
    if (is_one_of(text, {".inf", ".Inf", ".INF"})) return true;
    static constexpr std::string_view digits = "0123456789";
    const auto take_digits = [&text] {
        const std::size_t count = std::min(text.find_first_not_of(digits), text.size());
        text.remove_prefix(count);
        return count;
    };
    std::size_t mantissa = take_digits();
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        mantissa += take_digits();
    }
    if (mantissa == 0) return false;
    if (text.empty()) return true;
    return (text.front() == 'e' || text.front() == 'E') && holds_only(without_sign(text.substr(1)), digits);
}

/// What a scalar without quotes and tag is in the core schema (YAML 1.2.2, 10.3.2).
Node::Kind kind_of_plain(std::string_view text) {
    if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return Node::Kind::null;
    if (is_one_of(text, {"true", "True", "TRUE", "false", "False", "FALSE"})) return Node::Kind::boolean;
    if (is_integer(text)) return Node::Kind::integer;
    return is_floating(text) ? Node::Kind::floating : Node::Kind::string;
}

/// Ends the parsing; what is wrong is kept beside it.
struct Refused {};

class TreeBuilder final : public YAML::EventHandler {
  public:
    TreeBuilder(std::string_view text, const std::string& shown_name)
        : places_(text), shown_name_(shown_name) {
        root_.kind = Node::Kind::null;
    }

    void OnDocumentStart(const YAML::Mark& mark) override { // NOLINTBEGIN(readability-identifier-naming)
        if (std::exchange(begun_, true))
            refuse(place_of(mark), "something follows the document, and a policy is one document",
                   "remove it, and a \"---\" or \"...\" before it");
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        Node node;
        node.kind = Node::Kind::null;
        node.at = place_of_null(mark);
        put(std::move(node));
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        Node node;
        node.kind = Node::Kind::alias; // a few of them can stand for gigabytes
        node.at = place_of(mark);
        put(std::move(node));
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                  const std::string& value) override {
        Node node;
        node.at = place_of(mark);
        check_tag(node.at, tag);
        const bool string = tag == "!" || tag == standard_tags_string;
        node.kind = string ? Node::Kind::string : kind_of_plain(value);
        node.text = value;
        node.boolean = node.kind == Node::Kind::boolean && (value.front() == 't' || value.front() == 'T');
        put(std::move(node));
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                         YAML::EmitterStyle::value style) override {
        begin(Node::Kind::array, mark, tag, style);
    }
    void OnSequenceEnd() override { end(); }

    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                    YAML::EmitterStyle::value style) override {
        begin(Node::Kind::table, mark, tag, style);
    }
    void OnMapEnd() override { end(); } // NOLINTEND(readability-identifier-naming)

    [[nodiscard]] Node take_root() { return std::move(root_); }
    [[nodiscard]] Diagnostic take_refusal() { return std::move(refusal_); }

    /// `mark` is what the library blames; it may be none.
    [[nodiscard]] Position place_of(const YAML::Mark& mark) {
        if (mark.line < 0 || mark.column < 0) return {};
        return places_.at(static_cast<std::size_t>(mark.line), static_cast<std::size_t>(mark.column));
    }

  private:
    static constexpr std::string_view standard_tags_string = "tag:yaml.org,2002:str";

    /// A mapping or list that is not closed yet.
    struct Open {
        Node node;
        bool block = false;                   ///< a list of lines with '-'
        std::optional<Member> member;         ///< the mapping's entry whose value comes next
        std::unordered_set<std::string> keys; ///< of the mapping
    };

    [[noreturn]] void refuse(Position at, std::string message, std::string hint) {
        refusal_ = {Severity::error, shown_name_, at.line, at.column, std::move(message), std::move(hint)};
        throw Refused{};
    }

    void check_tag(Position at, const std::string& tag) {
        if (tag == "?" || tag == "!" || tag.starts_with(standard_tags)) return;
        refuse(at, "a tag that is not known here: " + in_quotes(tag), "remove it");
    }

    /// The parser says of a missing value only where the next token stands.
    Position place_of_null(const YAML::Mark& mark) {
        if (!open_.empty()) {
            const Open& top = open_.back();
            if (top.member) return top.member->at;
            if (top.block && mark.line >= 0 && mark.column >= 0)
                return places_.of_empty_entry(static_cast<std::size_t>(mark.line),
                                              static_cast<std::size_t>(mark.column));
        }
        return place_of(mark);
    }

    void begin(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
               YAML::EmitterStyle::value style) {
        Open fresh;
        fresh.node.kind = kind;
        fresh.node.at = place_of(mark);
        fresh.block = kind == Node::Kind::array && style == YAML::EmitterStyle::Block;
        check_tag(fresh.node.at, tag);
        if (expects_key())
            refuse(fresh.node.at, "a key that is a mapping or a list",
                   "keys are words; put what begins with { or [ in quotes");
        if (open_.size() == max_yaml_depth)
            refuse(fresh.node.at, fmt::format("nested more than {} deep", max_yaml_depth),
                   "keep plugins.kmods in a file of its own");
        open_.push_back(std::move(fresh));
    }

    void end() {
        Node node = std::move(open_.back().node);
        open_.pop_back();
        put(std::move(node));
    }

    [[nodiscard]] bool expects_key() const {
        return !open_.empty() && open_.back().node.kind == Node::Kind::table && !open_.back().member;
    }

    void put(Node node) {
        if (expects_key()) return put_key(std::move(node));
        if (++values_ > max_document_values)
            refuse(node.at, fmt::format("more than {} values", max_document_values),
                   "keep plugins.kmods in a file of its own");
        if (open_.empty()) {
            root_ = std::move(node);
            return;
        }
        Open& top = open_.back();
        if (top.node.kind == Node::Kind::array) {
            top.node.items.push_back(std::move(node));
            return;
        }
        top.member->value = std::move(node);
        top.node.members.push_back(std::move(*top.member));
        top.member.reset();
    }

    void put_key(Node node) {
        Open& top = open_.back();
        if (node.kind == Node::Kind::alias)
            refuse(node.at, "an alias as a key, which is not read", "write out what it stands for");
        if (!top.keys.insert(node.text).second)
            refuse(node.at, fmt::format("the key {} is given twice", in_quotes(node.text)),
                   "remove one of them");
        top.member = Member{std::move(node.text), node.at, {}};
    }

    YamlPlaces places_;
    const std::string& shown_name_;
    bool begun_ = false;
    std::size_t values_ = 0;
    std::vector<Open> open_;
    Node root_;
    Diagnostic refusal_;
};

Diagnostic syntax_error(const std::string& file, Position at, std::string_view message) {
    return {Severity::error,
            file,
            at.line,
            at.column,
            "not YAML: " + core::printable(message, max_yaml_message),
            "indent with spaces, and put in quotes what holds any of : # [ ] { } , & * ! | > ' \" % @ `"};
}

} // namespace

std::expected<Node, Diagnostic> read_yaml(std::string_view text, const std::string& shown_name) {
    if (auto misfit = check_yaml_text(text, shown_name)) return std::unexpected(std::move(*misfit));
    TreeBuilder builder(text, shown_name);
    try {
        // Without a last line that is none of the document, the parser takes an open quote for closed there.
        std::istringstream stream{std::string(text) + "\n#"};
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
    } catch (const Refused&) {
        return std::unexpected(builder.take_refusal());
    } catch (const YAML::Exception& exception) {
        return std::unexpected(syntax_error(shown_name, builder.place_of(exception.mark), exception.msg));
    } catch (const std::exception& exception) {
        return std::unexpected(syntax_error(shown_name, {}, exception.what()));
    }
    return builder.take_root();
}

} // namespace kmodguard::config
