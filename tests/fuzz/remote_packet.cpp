// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as what a stub sends. Packets must be the same wherever the stream is cut, and
// no longer than their limit; what is in them is read as a stop and as a description of registers, which must
// not say more than their types allow.
#include "gdb/remote_packet.hpp"

#include "gdb/target_description.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace kmodguard;
using gdb::Received;

void require(bool condition) {
    if (!condition) std::abort();
}

struct Stream {
    std::vector<Received> items;
    bool failed = false;

    bool operator==(const Stream&) const = default;
};

/// Decodes until an error or the end.
void feed(gdb::PacketDecoder& decoder, std::string_view bytes, Stream& stream) {
    while (!stream.failed && !bytes.empty()) {
        const std::size_t before = bytes.size();
        auto item = decoder.take(bytes);
        require(bytes.size() < before);
        stream.failed = !item;
        if (item && *item) stream.items.push_back(std::move(**item));
    }
}

Stream decode(std::string_view bytes, std::size_t cut) {
    gdb::PacketDecoder decoder;
    Stream stream;
    feed(decoder, bytes.substr(0, cut), stream);
    feed(decoder, bytes.substr(cut), stream);
    return stream;
}

void try_stop(std::string_view payload) {
    const auto stop = gdb::parse_stop_reply(payload);
    if (!stop) require(stop.error().kind == sys::ErrorKind::invalid && !stop.error().what.empty());
    if (!stop || !*stop) return;
    const auto again = gdb::parse_thread_id(gdb::to_string((*stop)->thread));
    require(again.has_value());
    if ((*stop)->thread.process != 0) require(*again == (*stop)->thread);
}

void try_description(std::string_view xml) {
    gdb::TargetDescription description;
    for (int document = 0; document < 2; ++document) {
        const auto included = description.add_document(xml);
        if (!included)
            require(included.error().kind == sys::ErrorKind::invalid && !included.error().what.empty());
        if (!included) continue;
        require(included->size() <= gdb::max_documents);
        for (const std::string& name : *included)
            require(!name.empty() && name.find_first_of(":#$;,/") == std::string::npos);
    }
    require(description.size() <= gdb::max_described_registers);
    for (const char* name : {"a", "rax", "gs_base"}) {
        const auto found = description.find(name);
        if (found) require(found->size >= 1 && found->size <= 8 && found->offset == 0);
    }
}

void try_hex(std::string_view text) {
    std::array<std::byte, 8> bytes{};
    if (gdb::from_hex(text, bytes)) require(gdb::to_hex(bytes).size() == text.size());
    if (const auto number = gdb::parse_hex(text))
        require(text.size() == 16 || *number >> (4 * text.size()) == 0);
}

} // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const Stream whole = decode(text, text.size());
    for (std::size_t cut = 0; cut <= text.size(); cut += 1 + text.size() / 16)
        require(decode(text, cut) == whole);
    for (const Received& item : whole.items) {
        require(item.payload.size() <= gdb::max_payload);
        try_stop(item.payload);
        try_description(item.payload);
    }
    try_stop(text);
    try_description(text);
    try_hex(text);
    // What is encoded is what is decoded.
    const Stream own = decode(gdb::encode_packet(text), 0);
    require(!own.failed
            && own.items == std::vector{Received{.kind = Received::Kind::packet, .payload = text}});
    return 0;
}
