// SPDX-License-Identifier: AGPL-3.0-only
//
// The client's first words with a stub. Asking why the machine is stopped is more than a question: QEMU takes
// it for the beginning of a session and drops all breakpoints, those of a predecessor that died among them.
#include "gdb/client.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;

// Less than a command with an address and a few bytes needs; more than a payload may have here.
constexpr std::size_t min_packet_size = 256;
constexpr std::size_t max_packet_size = max_payload;

/// Whether `feature` is one of the words between semicolons.
bool offers(std::string_view features, std::string_view feature) {
    while (!features.empty()) {
        const std::size_t end = std::min(features.find(';'), features.size());
        if (features.substr(0, end) == feature) return true;
        features.remove_prefix(std::min(end + 1, features.size()));
    }
    return false;
}

/// The size of a packet that the stub takes, from "PacketSize=<hex>".
std::optional<std::size_t> packet_size_of(std::string_view features) {
    constexpr std::string_view key = "PacketSize=";
    const std::size_t position = features.find(key);
    if (position == std::string_view::npos) return std::nullopt;
    const std::string_view value = features.substr(position + key.size());
    const auto size = parse_hex(value.substr(0, std::min(value.find(';'), value.size())));
    if (!size || *size < min_packet_size) return std::nullopt;
    return std::min<std::size_t>(*size, max_packet_size);
}

} // namespace

sys::Result<Client> Client::connect(const std::filesystem::path& socket, std::chrono::milliseconds timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    auto connected = sys::connect_unix(socket, timeout);
    if (!connected) {
        sys::Error failed = connected.error();
        if (failed.hint.empty())
            failed.hint =
                fmt::format("start the emulator with -gdb unix:{},server=on,wait=off", socket.native());
        return std::unexpected(std::move(failed));
    }
    const auto left = until - std::chrono::steady_clock::now();
    return adopt(std::move(*connected), fmt::format("the gdb stub on {}", socket.native()),
                 std::chrono::ceil<std::chrono::milliseconds>(left));
}

sys::Result<Client> Client::adopt(sys::UniqueFd socket, std::string name, std::chrono::milliseconds timeout) {
    Client debugger(RemoteConnection(std::move(socket), std::move(name)));
    if (auto done = debugger.shake_hands(std::chrono::steady_clock::now() + timeout); !done) {
        sys::Error failed = done.error();
        if (failed.kind == ErrorKind::unreachable && !debugger.connection_.has_ended())
            failed.hint = "another debugger may be connected: a stub serves one at a time";
        return std::unexpected(std::move(failed));
    }
    return debugger;
}

sys::Result<void> Client::shake_hands(Deadline deadline) {
    const auto features = TRY(ask("qSupported:multiprocess+;vContSupported+", deadline));
    TRY(take_features(features));
    const auto reason = TRY(ask("?", deadline));
    const auto stop = parse_stop_reply(reason);
    if (!stop) return std::unexpected(error(stop.error().kind, stop.error().what));
    if (!*stop) return std::unexpected(error(ErrorKind::invalid, "no answer to why the machine is stopped"));
    if ((*stop)->kind == Stop::Kind::exited)
        return std::unexpected(error(ErrorKind::unreachable, "the emulator has ended"));
    last_stop_ = **stop;
    return offers_description_ ? read_description(deadline) : sys::Result<void>{};
}

sys::Result<void> Client::take_features(std::string_view answer) {
    const auto size = packet_size_of(answer);
    if (!size)
        return std::unexpected(error(ErrorKind::invalid, "no usable packet size in its list of features"));
    if (!offers(answer, "vContSupported+"))
        return std::unexpected(
            error(ErrorKind::invalid, "it cannot let a single processor run", "use QEMU 7.2 or newer"));
    packet_size_ = *size;
    offers_description_ = offers(answer, "qXfer:features:read+");
    return {};
}

sys::Result<void> Client::read_description(Deadline deadline) {
    const auto main = TRY(read_document("target.xml", deadline));
    const auto included = description_.add_document(main);
    if (!included) return std::unexpected(error(included.error().kind, included.error().what));
    for (const std::string& name : *included) {
        const auto document = TRY(read_document(name, deadline));
        const auto nested = description_.add_document(document);
        if (!nested) return std::unexpected(error(nested.error().kind, nested.error().what));
        if (!nested->empty())
            return std::unexpected(
                error(ErrorKind::invalid, "documents of its registers that include others"));
    }
    described_ = true;
    return {};
}

/// Parts come as `m` and data, the last one as `l` and data (GDB manual, "qXfer read").
sys::Result<std::string> Client::read_document(std::string_view name, Deadline deadline) {
    std::string document;
    const std::size_t part_size = packet_size_ / 2;
    while (document.size() <= max_description) {
        const auto part = TRY(
            ask(fmt::format("qXfer:features:read:{}:{:x},{:x}", name, document.size(), part_size), deadline));
        const char kind = part.front();
        if ((kind != 'm' && kind != 'l') || (kind == 'm' && part.size() == 1)) break;
        document.append(part, 1);
        if (kind == 'l') return document;
    }
    return std::unexpected(
        error(ErrorKind::invalid,
              fmt::format("the document {} of its registers has no end, or is malformed", name)));
}

} // namespace kmodguard::gdb
