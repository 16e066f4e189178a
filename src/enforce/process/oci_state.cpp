// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/oci_state.hpp"

#include "core/names.hpp"
#include "events/json.hpp"

#include <fmt/format.h>

#include <algorithm>
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

std::unexpected<sys::Error> refuse_state(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, "the container process state " + std::move(what));
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
    const auto pid = pid_of(*message);
    if (!pid) return std::unexpected(pid.error());
    state.pid = *pid;
    const Json* container = message->find("state");
    if (container == nullptr || container->object() == nullptr)
        return refuse_state("has no object \"state\"");
    const Json* id = container->find("id");
    if (id == nullptr || id->text() == nullptr || !is_container_id(*id->text()))
        return refuse_state("has no \"id\" that can be a container's");
    state.id = *id->text();
    if (const Json* bundle = container->find("bundle"); bundle != nullptr && bundle->text() != nullptr)
        if (bundle->text()->starts_with('/')) state.bundle = *bundle->text();
    auto policy = policy_of(*container);
    if (!policy) return std::unexpected(policy.error());
    state.policy = std::move(*policy);
    return state;
}

bool has_user_namespace(std::string_view configuration) {
    const auto read = Json::parse(configuration, {.bytes = max_oci_configuration, .depth = max_depth * 2});
    const Json* kernel_part = read ? read->find("linux") : nullptr;
    const Json* namespaces = kernel_part != nullptr ? kernel_part->find("namespaces") : nullptr;
    if (namespaces == nullptr || namespaces->list() == nullptr) return false;
    return std::ranges::any_of(*namespaces->list(), [](const Json& one) {
        const Json* type = one.find("type");
        return type != nullptr && type->text() != nullptr && *type->text() == "user";
    });
}

bool is_policy_name(std::string_view name) {
    static constexpr std::string_view others = "_.-";
    const auto may_be_in_it = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
               || others.find(c) != std::string_view::npos;
    };
    return !name.empty() && name.size() <= max_policy_name && name.front() != '.'
           && std::ranges::all_of(name, may_be_in_it);
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
            if (white_space.find(byte) != std::string_view::npos) continue;
            if (byte != '{') return Found::no_object;
        }
        if (closes(byte)) {
            ++position_;
            return Found::end;
        }
    }
    return Found::nothing;
}

} // namespace kmodguard::process
