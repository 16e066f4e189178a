# SPDX-License-Identifier: AGPL-3.0-only
"""Module images as small as kmod's depmod and kmodguard accept them: an ELF file with the sections that name it.

They are read, never run: no kernel loads one of them.
"""

import struct

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 1, 2, 3
SHF_ALLOC = 2
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
ET_REL, EM_X86_64 = 1, 62
STB_GLOBAL = 1 << 4


def _terminated(texts):
    return b"".join(text.encode() + b"\0" for text in texts)


def _struct_module(name):
    """struct module as far as its name: behind its state and its list head, in an array of 56 bytes."""
    return b"\0" * 24 + name.encode().ljust(896 - 24, b"\0")


def _undefined_symbols(names):
    """A symbol table that asks for `names`, and its string table."""
    strings, symbols = b"\0", SYMBOL.pack(0, 0, 0, 0, 0, 0)
    for name in names:
        symbols += SYMBOL.pack(len(strings), STB_GLOBAL, 0, 0, 0, 0)
        strings += _terminated([name])
    return symbols, strings


def module_image(name, aliases=(), exports=(), imports=(), modinfo=(), modinfo_name=None):
    """The image of module `name`. `exports` and `imports` are symbols, from which depmod makes dependencies."""
    records = ["license=GPL", *(f"alias={alias}" for alias in aliases), *modinfo,
               f"name={modinfo_name or name}", "vermagic=for no kernel at all"]
    sections = [(".text", SHT_PROGBITS, SHF_ALLOC, b"\x90" * 16),
                (".modinfo", SHT_PROGBITS, SHF_ALLOC, _terminated(records)),
                (".gnu.linkonce.this_module", SHT_PROGBITS, SHF_ALLOC, _struct_module(name))]
    if exports:
        sections.append(("__ksymtab_strings", SHT_PROGBITS, SHF_ALLOC, _terminated(exports)))
    if imports:
        symbols, strings = _undefined_symbols(imports)
        sections += [(".symtab", SHT_SYMTAB, 0, symbols), (".strtab", SHT_STRTAB, 0, strings)]
    return _elf(sections)


def _elf(sections):
    names = _terminated(["", *(section[0] for section in sections), ".shstrtab"])
    sections = [*sections, (".shstrtab", SHT_STRTAB, 0, names)]
    image = bytearray(ELF_HEADER.size)
    headers = [SECTION_HEADER.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    for name, kind, flags, content in sections:
        image += b"\0" * (-len(image) % 8)
        entry = SYMBOL.size if kind == SHT_SYMTAB else 0
        headers.append(SECTION_HEADER.pack(names.index(b"\0" + name.encode() + b"\0") + 1, kind, flags, 0, len(image),
                                           len(content), 0, 0, 1, entry))
        image += content
    image += b"\0" * (-len(image) % 8)
    table = len(image)
    image += b"".join(headers)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    image[:ELF_HEADER.size] = ELF_HEADER.pack(identity, ET_REL, EM_X86_64, 1, 0, 0, table, 0, ELF_HEADER.size, 0, 0,
                                              SECTION_HEADER.size, len(headers), len(headers) - 1)
    return bytes(image)
