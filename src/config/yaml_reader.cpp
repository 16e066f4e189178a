// SPDX-License-Identifier: AGPL-3.0-only
//
// yaml-cpp's parser gives events, and not its document, since that recurses over what it has and lets a few
// lines of aliases expand to gigabytes: events can be counted, and refused as they come. It keeps its tokens
// until it knows whether they are a key, which can be the whole file, so there may not be too many of them.
// It counts columns in bytes; people count characters. Two programs must not read one policy in two ways, so
// bytes that parsers disagree about (other encodings, control characters, line breaks other than LF and CRLF)
// are refused before.
#include "config/document.hpp"
#include "config/toml_scan.hpp"
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

constexpr std::size_t max_yaml_depth = 64; ///< of mappings and lists in one another
constexpr std::size_t max_yaml_message = 400;
constexpr const char* own_file_hint = "keep plugins.kmods in a file of its own";
constexpr std::string_view standard_tags = "tag:yaml.org,2002:";

constexpr std::string_view yaml_byte_order_mark = "\xEF\xBB\xBF";
constexpr std::string_view digits = "0123456789";
constexpr std::string_view indicators = "[]{},:!?&*\"'";

/// Control characters, and what some parsers take for a line break or the mark of an encoding.
bool is_refused(char32_t code) {
    if (code == '\t' || code == '\n') return false;
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 || code == 0xFEFF
           || code == 0xFFFE || code == 0xFFFF;
}

std::string name_of(core::Character character, std::string_view text) {
    if (character.length == 0)
        return fmt::format("the byte 0x{:02x} is not UTF-8", static_cast<unsigned char>(text.front()));
    if (character.code == '\0') return "a NUL byte: this is not a text file";
    if (character.code == '\r') return "a carriage return without a line feed";
    return fmt::format("the character U+{:04X} has no place in a policy",
                       static_cast<unsigned>(character.code));
}

/// What keeps `text` from being given to the parser; its first such place.
std::optional<Diagnostic> check_text(std::string_view text, const std::string& shown_name) {
    std::size_t i = text.starts_with(yaml_byte_order_mark) ? yaml_byte_order_mark.size() : 0;
    unsigned line = 1;
    unsigned column = 1;
    while (i < text.size()) {
        const std::string_view rest = text.substr(i);
        const core::Character character = core::first_character(rest);
        const bool line_break = rest.starts_with("\r\n");
        if (character.length == 0 || (is_refused(character.code) && !line_break))
            return error_at(shown_name, {line, column}, name_of(character, rest),
                            "save the file as plain text, in UTF-8");
        i += character.length;
        const bool ends_line = character.code == '\n';
        line += ends_line ? 1 : 0;
        column = ends_line ? 1 : column + 1;
    }
    const auto marks = std::ranges::count_if(text, [](char c) { return indicators.find(c) != nowhere; });
    if (static_cast<std::size_t>(marks) > max_yaml_indicators)
        return error_at(shown_name, {}, "too much structure: this is not a policy", own_file_hint);
    return std::nullopt;
}

/// Positions in a checked text. Cheap as long as it is asked about places in their order.
class YamlPlaces {
  public:
    explicit YamlPlaces(std::string_view text)
        : text_(text.starts_with(yaml_byte_order_mark) ? text.substr(yaml_byte_order_mark.size()) : text) {}

    /// Of what is `column` bytes into line `line`, both from 0.
    Position at(std::size_t line, std::size_t column) {
        go_to(line, column);
        return {static_cast<unsigned>(line_ + 1), static_cast<unsigned>(characters_ + 1)};
    }

    /// The '-' of an entry without a value, given the place of the next token, which is all that the parser
    /// knows of it.
    Position of_empty_entry(std::size_t line, std::size_t column) {
        const Position next = at(line, column);
        std::size_t begin = line_begin_;
        for (unsigned number = next.line; number-- > 1;) {
            begin = config::line_begin(text_, begin - 1);
            std::string_view content = text_.substr(begin, line_end(text_, begin) - begin);
            if (const std::size_t comment = content.find(" #"); comment != nowhere)
                content = content.substr(0, comment);
            const std::size_t last = content.find_last_not_of(" \t\r");
            if (last == nowhere || content[content.find_first_not_of(" \t")] == '#') continue;
            if (content[last] != '-') break;
            return {number, static_cast<unsigned>(last + 1)};
        }
        return next;
    }

  private:
    void go_to(std::size_t line, std::size_t column) {
        if (line < line_) line_ = line_begin_ = 0;
        if (line != line_ || column < bytes_) bytes_ = characters_ = 0;
        while (line_ < line) {
            const std::size_t end = line_end(text_, line_begin_);
            if (end == text_.size()) { // behind the last line, where the end of the text is meant
                column = end - line_begin_;
                break;
            }
            line_begin_ = end + 1;
            ++line_;
        }
        const std::size_t end = std::min(line_begin_ + column, text_.size());
        for (std::size_t i = line_begin_ + bytes_; i < end; ++i)
            if ((static_cast<unsigned char>(text_[i]) & 0xC0U) != 0x80U) ++characters_;
        bytes_ = std::max(end - line_begin_, bytes_);
    }

    std::string_view text_;
    std::size_t line_ = 0;       ///< from 0
    std::size_t line_begin_ = 0; ///< its first byte, behind a byte order mark
    std::size_t bytes_ = 0;      ///< of the line, up to the place last asked for
    std::size_t characters_ = 0; ///< in these bytes
};

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
    if (text.starts_with("0x")) return holds_only(text.substr(2), "0123456789abcdefABCDEF");
    if (text.starts_with("0o")) return holds_only(text.substr(2), "01234567");
    return holds_only(without_sign(text), digits);
}

bool is_floating(std::string_view text) {
    if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return true;
    text = without_sign(text);
    if (is_one_of(text, {".inf", ".Inf", ".INF"})) return true;
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

/// Ends the parsing; what is wrong is in the builder.
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
        put({.kind = Node::Kind::null, .at = place_of_null(mark), .members = {}});
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        put({.kind = Node::Kind::alias, .at = place_of(mark), .members = {}});
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
        refusal_ = error_at(shown_name_, at, std::move(message), std::move(hint));
        throw Refused{};
    }

    void check_tag(Position at, const std::string& tag) {
        if (tag == "?" || tag == "!" || tag.starts_with(standard_tags)) return;
        refuse(at, "a tag that is not known here: " + in_quotes(tag), "remove it");
    }

    /// Of a missing value the parser knows only the place of the next token.
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
            refuse(fresh.node.at, fmt::format("nested more than {} deep", max_yaml_depth), own_file_hint);
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
            refuse(node.at, fmt::format("more than {} values", max_document_values), own_file_hint);
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
    return error_at(
        file, at, "not YAML: " + core::printable(message, max_yaml_message),
        "indent with spaces, and put in quotes what holds any of : # [ ] { } , & * ! | > ' \" % @ `");
}

} // namespace

std::expected<Node, Diagnostic> read_yaml(std::string_view text, const std::string& shown_name) {
    if (auto misfit = check_text(text, shown_name)) return std::unexpected(std::move(*misfit));
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
