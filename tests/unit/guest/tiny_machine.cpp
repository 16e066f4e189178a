// SPDX-License-Identifier: AGPL-3.0-only
#include "guest/tiny_machine.hpp"

#include "gdb/remote_packet.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace kmodguard::guest::test {

TinyMachine::TinyMachine(const Architecture& architecture, std::size_t count)
    : processors(count), row(architecture), described_(!architecture.name.starts_with("mips")) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::runtime_error("no socket pair");
    server_ = sys::UniqueFd(ends[0]);
    client_ = sys::UniqueFd(ends[1]);
    for (Processor& one : processors)
        for (std::uint16_t number = 0; number <= privilege; ++number)
            one.registers[number] = 0;
    for (std::size_t on = 0; on < count; ++on)
        run_process(on, false);
    thread_ = std::thread([this] { serve(); });
}

TinyMachine::~TinyMachine() {
    hang_up();
    thread_.join();
}

gdb::Client TinyMachine::debugger() {
    auto made = gdb::Client::adopt(std::move(client_), "the stub", std::chrono::seconds(60));
    if (!made) throw std::runtime_error(made.error().what);
    made->set_byte_order(row.order);
    made->set_answer_timeout(std::chrono::seconds(60));
    return std::move(*made);
}

void TinyMachine::hang_up() {
    ::shutdown(server_.get(), SHUT_RDWR);
}

void TinyMachine::map(std::uint64_t address, std::uint64_t size, bool seen) {
    for (std::uint64_t page = address / page_size; page * page_size < address + size; ++page) {
        pages_.try_emplace(page);
        if (seen)
            unseen_.erase(page);
        else
            unseen_.insert(page);
    }
}

void TinyMachine::put(std::uint64_t address, std::span<const std::byte> bytes) {
    for (const std::byte one : bytes) {
        byte_at(address) = one;
        ++address;
    }
}

void TinyMachine::put_text(std::uint64_t address, std::string_view text) {
    put(address, std::as_bytes(std::span(text)));
    byte_at(address + text.size()) = std::byte{0};
}

void TinyMachine::put_word(std::uint64_t address, std::uint64_t value) {
    for (std::uint64_t i = 0; i < row.word; ++i)
        byte_at(address + i) = static_cast<std::byte>(value >> shift(i));
}

std::uint64_t TinyMachine::word_at(std::uint64_t address) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < row.word; ++i)
        value |= std::to_integer<std::uint64_t>(byte_at(address + i)) << shift(i);
    return value;
}

std::vector<std::byte> TinyMachine::bytes_at(std::uint64_t address, std::size_t count) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < count; ++i)
        bytes.push_back(byte_at(address + i));
    return bytes;
}

std::string TinyMachine::text_at(std::uint64_t address) {
    std::string text;
    for (; byte_at(address) != std::byte{0}; ++address)
        text.push_back(std::to_integer<char>(byte_at(address)));
    return text;
}

std::uint64_t& TinyMachine::reg(std::size_t processor, gdb::Register name) {
    return processors.at(processor).registers[name.number];
}

void TinyMachine::run_process(std::size_t on, bool process) {
    const std::uint16_t number = row.privilege.where ? row.privilege.where->number : privilege;
    std::uint64_t& value = processors.at(on).registers[number];
    const std::uint64_t kernel = row.privilege.user == 0 ? row.privilege.mask & 0x3U : 0;
    value = (value & ~row.privilege.mask) | (process ? row.privilege.user : kernel);
}

void TinyMachine::define(std::uint64_t address, Code code) {
    for (std::uint64_t at = address; at <= address + row.entry; at += instruction)
        code_[at] = [this](std::size_t on) { reg(on, row.pc) += instruction; };
    code_[address] = [this, address](std::size_t on) {
        if (row.target && reg(on, *row.target) != address)
            troubles.push_back(fmt::format("{:#x} is called without its address", address));
        reg(on, row.pc) += instruction;
    };
    code_[address + row.entry + instruction] = std::move(code);
}

void TinyMachine::define_here(std::uint64_t address, Code code) {
    code_[address] = std::move(code);
}

void TinyMachine::define_function(std::uint64_t address, Function function) {
    define(address, [this, function = std::move(function)](std::size_t on) {
        give_back(on, function(arguments(on)));
    });
}

std::array<std::uint64_t, 3> TinyMachine::arguments(std::size_t on) {
    return {reg(on, row.arguments[0]), reg(on, row.arguments[1]), reg(on, row.arguments[2])};
}

void TinyMachine::give_back(std::size_t on, std::uint64_t value) {
    reg(on, row.result) = value & row.address_mask();
    return_from(on);
}

void TinyMachine::return_from(std::size_t on) {
    if (row.link) {
        const std::uint64_t thumb = row.state && (reg(on, *row.state) & 0x20U) != 0 ? 1 : 0;
        if ((reg(on, *row.link) & 1U) != thumb) troubles.emplace_back("code of the other kind");
        reg(on, row.pc) = reg(on, *row.link) & ~thumb;
        return;
    }
    reg(on, row.pc) = word_at(reg(on, row.stack));
    reg(on, row.stack) += row.word;
}

void TinyMachine::call(std::size_t on, std::uint64_t function, std::array<std::uint64_t, 3> arguments,
                       std::uint64_t back) {
    for (std::size_t i = 0; i < arguments.size(); ++i)
        reg(on, row.arguments.at(i)) = arguments.at(i) & row.address_mask();
    if (row.link) {
        reg(on, *row.link) = back;
    } else {
        reg(on, row.stack) -= row.word;
        put_word(reg(on, row.stack), back);
    }
    if (row.target) reg(on, *row.target) = function;
    reg(on, row.pc) = function;
    processors.at(on).busy = true;
}

std::uint64_t TinyMachine::shift(std::uint64_t i) const {
    return 8 * (row.order == std::endian::big ? row.word - 1 - i : i);
}

std::byte& TinyMachine::byte_at(std::uint64_t address) {
    const auto page = pages_.find(address / page_size);
    if (page != pages_.end()) return page->second.at(address % page_size);
    troubles.push_back(fmt::format("no memory at {:#x}", address));
    return nowhere_ = std::byte{0};
}

bool TinyMachine::seen(std::uint64_t address, std::uint64_t size) const {
    for (std::uint64_t page = address / page_size; page * page_size < address + size; ++page)
        if (!pages_.contains(page) || unseen_.contains(page)) return false;
    return true;
}

void TinyMachine::serve() {
    std::string buffer;
    std::array<char, 4096> received{};
    while (true) {
        const ssize_t count = ::recv(server_.get(), received.data(), received.size(), 0);
        if (count <= 0) return;
        buffer.append(received.data(), static_cast<std::size_t>(count));
        while (take(buffer)) {
        }
    }
}

bool TinyMachine::take(std::string& buffer) {
    if (buffer.empty()) return false;
    if (buffer.front() != '$') {
        const bool interrupt = buffer.front() == '\x03';
        buffer.erase(0, 1);
        if (interrupt && std::exchange(running_, false)) send(gdb::encode_packet("T02thread:p01.01;"));
        return true;
    }
    const std::size_t end = buffer.find('#');
    if (end == std::string::npos || buffer.size() < end + 3) return false;
    const std::string command = buffer.substr(1, end - 1);
    buffer.erase(0, end + 3);
    send("+" + (command == "vCont;c" ? run() : gdb::encode_packet(answer_to(command))));
    return true;
}

void TinyMachine::send(std::string_view bytes) {
    static_cast<void>(sys::send_all(server_, bytes));
}

void TinyMachine::execute(std::size_t on) {
    const auto code = code_.find(reg(on, row.pc));
    if (code == code_.end()) {
        troubles.push_back(fmt::format("no code at {:#x}", reg(on, row.pc)));
        processors[on].busy = false;
        return;
    }
    const Code one = code->second; // it may be defined anew meanwhile
    one(on);
}

std::string TinyMachine::run() {
    running_ = true;
    for (int rounds = 0; rounds < 100'000; ++rounds) {
        bool idle = true;
        for (std::size_t on = 0; on < processors.size(); ++on) {
            if (!processors[on].busy) continue;
            idle = false;
            if (breakpoints.contains(reg(on, row.pc))) {
                running_ = false;
                return gdb::encode_packet(fmt::format("T05thread:p01.{:02x};", on + 1));
            }
            execute(on);
        }
        if (!idle) continue;
        if (events.empty()) return "";
        const auto event = std::move(events.front());
        events.pop_front();
        event();
    }
    troubles.emplace_back("it runs for ever");
    return "";
}

std::string TinyMachine::answer_to(std::string_view command) {
    if (command.starts_with("qSupported"))
        return fmt::format("PacketSize=1000;{}vContSupported+;multiprocess+",
                           described_ ? "qXfer:features:read+;" : "");
    if (command == "?") {
        breakpoints.clear(); // as QEMU does
        return "T05thread:p01.01;";
    }
    if (command.starts_with("qXfer:features:read:target.xml:0,"))
        return fmt::format(R"(l<target><feature><reg name="pc" bitsize="{0}"/>)"
                           R"(<reg name="VBAR" bitsize="{0}" regnum="{1}"/>)"
                           R"(<reg name="priv" bitsize="{0}" regnum="{2}"/></feature></target>)",
                           8 * row.word, vectors, privilege);
    if (command == "qfThreadInfo") {
        std::string list = "m";
        for (std::size_t on = 0; on < processors.size(); ++on)
            list += fmt::format("{}p01.{:02x}", on == 0 ? "" : ",", on + 1);
        return list;
    }
    if (command == "qsThreadInfo") return "l";
    if (command.starts_with("Hg")) {
        selected_ = gdb::parse_hex(command.substr(command.find('.') + 1)).value() - 1;
        return "OK";
    }
    if (command.starts_with("vCont;s:")) {
        execute(gdb::parse_hex(command.substr(command.find('.') + 1)).value() - 1);
        return fmt::format("T05thread:{};", command.substr(8));
    }
    if (command.starts_with("Z1,") || command.starts_with("z1,")) {
        const auto address = gdb::parse_hex(command.substr(3, command.find(',', 3) - 3)).value();
        if (command.front() == 'Z')
            breakpoints.insert(address);
        else
            breakpoints.erase(address);
        return "OK";
    }
    if (command.starts_with("D")) return "OK";
    return state_answer(command);
}

std::string TinyMachine::state_answer(std::string_view command) {
    if (command == "g") {
        std::string all;
        for (std::uint16_t number = 0; number < vectors; ++number)
            all += hex_of(number);
        return all;
    }
    if (command.starts_with("G")) {
        for (std::uint16_t number = 0; number < vectors; ++number)
            set_from_hex(number, command.substr(1 + std::size_t{2} * row.word * number, 2UZ * row.word));
        return "OK";
    }
    if (command.starts_with("p"))
        return hex_of(static_cast<std::uint16_t>(gdb::parse_hex(command.substr(1)).value()));
    if (command.starts_with("P")) {
        const std::size_t equals = command.find('=');
        set_from_hex(static_cast<std::uint16_t>(gdb::parse_hex(command.substr(1, equals - 1)).value()),
                     command.substr(equals + 1));
        return "OK";
    }
    if (command.starts_with("m") || command.starts_with("M")) return memory_answer(command);
    return "";
}

std::string TinyMachine::hex_of(std::uint16_t number) {
    const bool half = row.privilege.where && row.privilege.where->number == number; // it may be half a word
    const std::size_t size = half ? row.privilege.where->size : row.word;
    std::array<std::byte, 8> bytes{};
    for (std::uint64_t i = 0; i < size; ++i) {
        const std::uint64_t by = row.order == std::endian::big ? 8 * (size - 1 - i) : 8 * i;
        bytes.at(i) = static_cast<std::byte>(processors.at(selected_).registers[number] >> by);
    }
    return gdb::to_hex(std::span(bytes).first(size));
}

void TinyMachine::set_from_hex(std::uint16_t number, std::string_view digits) {
    std::array<std::byte, 8> bytes{};
    if (!gdb::from_hex(digits, std::span(bytes).first(row.word)))
        troubles.emplace_back("no register's value");
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < row.word; ++i)
        value |= std::to_integer<std::uint64_t>(bytes.at(i)) << shift(i);
    processors.at(selected_).registers[number] = value;
}

std::string TinyMachine::memory_answer(std::string_view command) {
    const std::size_t comma = command.find(',');
    const std::size_t colon = std::min(command.find(':'), command.size());
    const auto address = gdb::parse_hex(command.substr(1, comma - 1)).value();
    const auto length = gdb::parse_hex(command.substr(comma + 1, colon - comma - 1)).value();
    if (length > 0x800) return "E22";
    if (!seen(address, length)) return "E14";
    if (command.front() == 'm') return gdb::to_hex(bytes_at(address, length));
    std::vector<std::byte> bytes(length);
    if (!gdb::from_hex(command.substr(colon + 1), bytes)) return "E22";
    put(address, bytes);
    return "OK";
}

} // namespace kmodguard::guest::test
