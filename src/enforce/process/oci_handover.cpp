// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/oci_handover.hpp"

#include "core/names.hpp"
#include "events/json.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

namespace kmodguard::process {
namespace {

using events::Json;

constexpr std::size_t max_id = 255; // it is a directory's name to every runtime
constexpr std::size_t max_policy_name = 64;
constexpr std::string_view listener_name = "seccompFd";
/// Deeper than any that a runtime sends.
constexpr std::size_t max_depth = 8;

std::unexpected<sys::Error> refuse_handover(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what));
}

std::unexpected<sys::Error> refuse_state(std::string what) {
    return refuse_handover("the container process state " + std::move(what));
}

/// The text of a member; nullptr if there is none, or it is no text.
const std::string* text_in(const Json& object, std::string_view name) {
    const Json* member = object.find(name);
    return member == nullptr ? nullptr : member->text();
}

bool is_container_id(std::string_view id) {
    return !id.empty() && id.size() <= max_id && core::printable(id, id.size()) == id;
}

/// Which descriptor is what.
sys::Result<void> read_descriptors(const Json& message, OciState& state) {
    const Json* member = message.find("fds");
    const Json::List* names = member != nullptr ? member->list() : nullptr;
    if (names == nullptr) return refuse_state("has no list \"fds\"");
    std::set<std::string_view> seen;
    for (const Json& item : *names) {
        const std::string* name = item.text();
        if (name == nullptr) return refuse_state("has something in \"fds\" that is not a name");
        if (!seen.insert(*name).second)
            return refuse_state(fmt::format("names two descriptors \"{}\"", core::printable(*name, 32)));
        if (*name == listener_name) state.listener = seen.size() - 1;
    }
    if (!seen.contains(listener_name)) return refuse_state("names no descriptor \"seccompFd\"");
    state.fds = seen.size();
    return {};
}

sys::Result<pid_t> pid_of(const Json& message) {
    const Json* member = message.find("pid");
    if (member == nullptr) return 0;
    const std::int64_t* pid = member->number();
    if (pid == nullptr || *pid < 0 || *pid > std::numeric_limits<pid_t>::max())
        return refuse_state("has a \"pid\" that is none");
    return static_cast<pid_t>(*pid);
}

sys::Result<std::optional<std::string>> policy_of(const Json& container) {
    const Json* annotations = container.find("annotations");
    if (annotations == nullptr) return std::nullopt;
    if (annotations->object() == nullptr) return refuse_state("has \"annotations\" that is not an object");
    const Json* policy = annotations->find(policy_annotation);
    if (policy == nullptr) return std::nullopt;
    if (policy->text() == nullptr)
        return refuse_state(fmt::format("has an annotation {} that is not text", policy_annotation));
    return *policy->text();
}

} // namespace

sys::Result<OciState> parse_oci_state(std::string_view text) {
    const auto message = Json::parse(text, {.bytes = max_oci_state, .depth = max_depth});
    if (!message) return refuse_state("cannot be read: " + message.error().what);
    OciState state;
    TRY(read_descriptors(*message, state));
    state.pid = TRY(pid_of(*message));
    const Json* container = message->find("state");
    if (container == nullptr || container->object() == nullptr)
        return refuse_state("has no object \"state\"");
    const std::string* id = text_in(*container, "id");
    if (id == nullptr || !is_container_id(*id))
        return refuse_state("has no \"id\" that can be a container's");
    state.id = *id;
    const std::string* bundle = text_in(*container, "bundle");
    if (bundle != nullptr && bundle->starts_with('/')) state.bundle = *bundle;
    state.policy = TRY(policy_of(*container));
    return state;
}

bool has_user_namespace(std::string_view configuration) {
    const auto read = Json::parse(configuration, {.bytes = max_oci_configuration, .depth = max_depth * 2});
    const Json* kernel_part = read ? read->find("linux") : nullptr;
    const Json* namespaces = kernel_part != nullptr ? kernel_part->find("namespaces") : nullptr;
    if (namespaces == nullptr || namespaces->list() == nullptr) return false;
    return std::ranges::any_of(*namespaces->list(), [](const Json& one) {
        const std::string* type = text_in(one, "type");
        return type != nullptr && *type == "user";
    });
}

bool is_policy_name(std::string_view name) {
    constexpr std::string_view characters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    return !name.empty() && name.size() <= max_policy_name && name.front() != '.'
           && name.find_first_not_of(characters) == std::string_view::npos;
}

/// Whether `byte` ends the object.
bool ObjectEnd::closes(char byte) {
    if (in_string_) {
        const bool ends = byte == '"' && !escaped_;
        escaped_ = byte == '\\' && !escaped_;
        in_string_ = !ends;
        return false;
    }
    switch (byte) {
    case '"': in_string_ = true; return false;
    case '{':
    case '[': ++depth_; return false;
    case '}':
    case ']': return --depth_ == 0;
    default: return false;
    }
}

ObjectEnd::Found ObjectEnd::feed(std::string_view bytes) {
    constexpr std::string_view white_space = " \t\r\n";
    for (position_ = 0; position_ < bytes.size(); ++position_) {
        const char byte = bytes[position_];
        if (depth_ == 0) {
            if (white_space.contains(byte)) continue;
            if (byte != '{') return Found::no_object;
        }
        if (closes(byte)) {
            ++position_;
            return Found::end;
        }
    }
    return Found::nothing;
}

sys::Result<RuntimeConnection::Received> RuntimeConnection::receive() {
    std::array<char, 4096> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): receive() fills it
    while (true) {
        auto received = TRY(sys::receive(socket_, buffer));
        if (!received) return Incomplete{};
        sys::Received& now = *received;
        if (now.lost_descriptors)
            return refuse_handover(fmt::format("more than {} descriptors came, or more than may be open here",
                                               sys::max_descriptors));
        if (!now.descriptors.empty() && !silent())
            return refuse_handover("descriptors came behind the first bytes");
        if (now.bytes == 0 && silent()) return Closed{};
        if (now.bytes == 0) return refuse_handover("the connection ended in the middle of the state");
        if (silent()) descriptors_ = std::move(now.descriptors);
        const std::string_view bytes(buffer.data(), now.bytes);
        if (text_.size() + bytes.size() > max_oci_state)
            return refuse_handover(fmt::format("the state is larger than {} bytes", max_oci_state));
        text_ += bytes;
        switch (end_.feed(bytes)) {
        case ObjectEnd::Found::nothing: continue;
        case ObjectEnd::Found::no_object: return refuse_handover("what was sent is not a JSON object");
        case ObjectEnd::Found::end: return complete();
        }
    }
}

/// What came with the state and is not taken here is closed with the connection.
sys::Result<RuntimeConnection::Received> RuntimeConnection::complete() {
    OciState state =
        TRY(parse_oci_state(text_)); // an error where more than white space came after the object
    if (state.fds != descriptors_.size())
        return refuse_handover(
            fmt::format("the state names {} descriptors, and {} came", state.fds, descriptors_.size()));
    sys::UniqueFd listener = std::move(descriptors_[state.listener]);
    return HandOver{.state = std::move(state), .listener = std::move(listener)};
}

} // namespace kmodguard::process
