// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/oci_handover.hpp"

#include "sys/unix_socket.hpp"

#include <fmt/format.h>

#include <array>

namespace kmodguard::process {
namespace {

std::unexpected<sys::Error> refuse_handover(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what));
}

} // namespace

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
        TRY(parse_oci_state(text_)); // with what may come after the object, which is no white space then
    if (state.fds != descriptors_.size())
        return refuse_handover(
            fmt::format("the state names {} descriptors, and {} came", state.fds, descriptors_.size()));
    sys::UniqueFd listener = std::move(descriptors_[state.listener]);
    return HandOver{.state = std::move(state), .listener = std::move(listener)};
}

} // namespace kmodguard::process
