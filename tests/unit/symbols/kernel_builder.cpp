// SPDX-License-Identifier: AGPL-3.0-only
#include "kernel_builder.hpp"

#include <algorithm>
#include <cstring>

namespace kmodguard::test {
namespace {

constexpr std::size_t text_begin = 0x2000; ///< of _stext in the kernel
constexpr std::size_t function_size = 128; ///< of the largest
constexpr std::string_view texts_prefix = "this is a message of the kernel, number ";

} // namespace

TestKernel KernelBuilder::build() {
    list_symbols();
    add_tokens();
    auto& at = kernel_.at;
    kernel_.bytes.resize(kernel_.spec.before + text_begin + (kernel_.spec.functions + 16) * function_size);
    at.banner = kernel_.bytes.size();
    put_text(std::string(test_banner) + "\n");
    for (auto& listed : kernel_.listed) {
        if (listed.text == "Rlinux_banner") listed.address = kernel_.address_of(at.banner);
    }
    put_texts();
    if (!is_behind()) put_addresses();
    put_count_and_names();
    if (kernel_.spec.generation == Generation::v6_2) put_sequence();
    put_tokens();
    if (is_behind()) put_addresses();
    if (is_behind()) put_sequence();
    at.end = kernel_.bytes.size();
    put_pointers();
    return std::move(kernel_);
}

void KernelBuilder::list_symbols() {
    const auto& spec = kernel_.spec;
    auto& listed = kernel_.listed;
    const auto text = kernel_.address_of(spec.before + text_begin);
    if (spec.percpu) {
        listed.push_back({"A__per_cpu_start", 0});
        listed.push_back({"Acpu_number", 0x1D0});
    }
    if (spec.lists_data) listed.push_back({"T_text", kernel_.address_of(spec.before)});
    listed.push_back({"T_stext", text});
    constexpr std::array<std::string_view, 8> known{
        "start_kernel", "panic", "schedule", "do_exit", "kfree", "load_module", "__do_sys_delete", "vfree"};
    auto address = text;
    std::uint32_t noise = 1;
    for (std::size_t i = 0; i < spec.functions; ++i) {
        noise = noise * 1664525U + 1013904223U;
        address += 32 + (noise >> 28U) % 7 * 16; // at no regular distance
        if (i % 100 == 7 && i / 100 < known.size()) {
            listed.push_back({"T" + std::string(known.at(i / 100)), address});
        } else {
            listed.push_back({"tdriver_operation_" + std::to_string(i), address});
        }
        if (i % 3 == 0) listed.push_back({"T__weak_alias_" + std::to_string(i), address});
    }
    const auto last = address;
    listed.push_back({"tload_module.constprop.0", last + 16});
    listed.push_back({"tload_module.cold", last + 32});
    listed.push_back({"t_R" + std::string(300, 'x') + "_long", last + 36});
    listed.push_back({"tinit", last + 40});
    listed.push_back({"tinit", last + 44});
    if (spec.lists_data) listed.push_back({"Rlinux_banner", 0});
}

void KernelBuilder::add_tokens() {
    for (const auto& listed : kernel_.listed) {
        for (const char c : listed.text)
            tokens_.at(static_cast<unsigned char>(c)) = c;
    }
    for (char c = '0'; c <= '9'; ++c)
        tokens_.at(static_cast<unsigned char>(c)) = c;
    constexpr std::array<std::string_view, 8> pairs{"tdriver_", "operation_", "T__weak_", "alias_",
                                                    "load_",    "_1",         "xx",       "module"};
    std::size_t next = 0;
    for (auto& token : tokens_) {
        if (token.empty()) token = pairs.at(next++ % pairs.size());
    }
    for (std::size_t code = 0; code < tokens_.size(); ++code) {
        const bool is_new = std::ranges::none_of(
            long_tokens_, [&](auto other) { return tokens_.at(other) == tokens_.at(code); });
        if (tokens_.at(code).size() > 1 && is_new) long_tokens_.push_back(code);
    }
}

std::string KernelBuilder::packed(std::string_view text) const {
    std::string codes;
    while (!text.empty()) {
        std::size_t best = static_cast<unsigned char>(text[0]);
        for (const auto code : long_tokens_) {
            if (text.starts_with(tokens_.at(code)) && tokens_.at(code).size() > tokens_.at(best).size())
                best = code;
        }
        // One name stays unpacked, so that its length takes two bytes.
        if (text.find('x') != std::string_view::npos) best = static_cast<unsigned char>(text[0]);
        codes += static_cast<char>(best);
        text.remove_prefix(tokens_.at(best).size());
    }
    return codes;
}

void KernelBuilder::align() {
    auto& bytes = kernel_.bytes;
    const auto alignment = kernel_.spec.alignment;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

void KernelBuilder::put(std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        const auto place = kernel_.spec.order == std::endian::little ? i : size - 1 - i;
        kernel_.bytes.push_back(static_cast<std::byte>(value >> (8 * place)));
    }
}

void KernelBuilder::put_text(std::string_view text) {
    for (const char c : text)
        kernel_.bytes.push_back(static_cast<std::byte>(c));
    kernel_.bytes.push_back(std::byte{0});
}

void KernelBuilder::put_addresses() {
    align();
    const auto generation = kernel_.spec.generation;
    kernel_.at.addresses = kernel_.bytes.size();
    if (generation == Generation::v2_6 || generation == Generation::v7_0_fixed) {
        for (const auto& listed : kernel_.listed)
            put_word(listed.address);
    } else if (generation == Generation::v7_0) {
        for (const auto& listed : kernel_.listed)
            put(listed.address - kernel_.address_of(kernel_.bytes.size()), 4);
    } else {
        const auto base = kernel_.listed.at(kernel_.spec.percpu ? 2 : 0).address;
        put_offsets(base);
        align();
        kernel_.at.base = kernel_.bytes.size();
        put_word(kernel_.spec.base_in_file ? base : 0);
    }
}

void KernelBuilder::put_offsets(std::uint64_t base) {
    std::size_t index = 0;
    for (const auto& listed : kernel_.listed) {
        const bool is_fixed = kernel_.spec.percpu && index++ < 2;
        put(!kernel_.spec.percpu ? listed.address - base
            : is_fixed           ? listed.address
                                 : base - listed.address - 1,
            4);
    }
}

void KernelBuilder::put_count_and_names() {
    align();
    kernel_.at.count = kernel_.bytes.size();
    put(kernel_.listed.size(), has_words() ? word() : 4);
    align();
    kernel_.at.names = kernel_.bytes.size();
    std::vector<std::size_t> markers;
    for (std::size_t i = 0; i < kernel_.listed.size(); ++i) {
        if (i % 256 == 0) markers.push_back(kernel_.bytes.size() - kernel_.at.names);
        const auto name = packed(kernel_.listed[i].text);
        if (name.size() > 127) {
            put((name.size() & 0x7FU) | 0x80U, 1);
            put(name.size() >> 7U, 1);
        } else {
            put(name.size(), 1);
        }
        for (const char c : name)
            put(static_cast<unsigned char>(c), 1);
    }
    align();
    kernel_.at.markers = kernel_.bytes.size();
    for (const auto marker : markers)
        put(marker, has_words() ? word() : 4);
}

void KernelBuilder::put_sequence() {
    align();
    for (std::size_t i = 0; i < kernel_.listed.size(); ++i) {
        const auto place = i * 7919 % kernel_.listed.size();
        for (const unsigned shift : {16U, 8U, 0U}) // in this order on all machines
            put(place >> shift & 0xFFU, 1);
    }
}

void KernelBuilder::put_tokens() {
    align();
    kernel_.at.tokens = kernel_.bytes.size();
    std::vector<std::size_t> index;
    for (const auto& token : tokens_) {
        index.push_back(kernel_.bytes.size() - kernel_.at.tokens);
        put_text(token);
    }
    align();
    kernel_.at.token_index = kernel_.bytes.size();
    for (const auto begin : index)
        put(begin, 2);
}

void KernelBuilder::put_texts() {
    for (std::size_t i = 0; i < kernel_.spec.pointers; ++i) {
        text_addresses_.push_back(kernel_.address_of(kernel_.bytes.size()));
        put_text(std::string(texts_prefix) + std::to_string(i * i));
    }
    kernel_.bytes.resize((kernel_.bytes.size() + 255) / 256 * 256);
}

void KernelBuilder::put_pointers() {
    kernel_.bytes.resize((kernel_.bytes.size() + 7) / 8 * 8);
    for (std::size_t i = 0; i < kernel_.spec.pointers; ++i) {
        put_word(kernel_.listed.at(3 + i * 13 % kernel_.spec.functions).address);
        put_word(text_addresses_.at(i));
    }
}

} // namespace kmodguard::test
