/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * Which module an image is, read from the bytes that the kernel is about to load. It is modules/image_elf.cpp
 * and modules/image.cpp over again, check by check: those files say why each is made. A test gives both
 * the same images.
 *
 * The image is hostile. Whatever it says, each loop ends, since the verifier made sure of it, and each byte is
 * read by a helper that fails where there is none.
 */
#ifndef KMODGUARD_IMAGE_BPF_H
#define KMODGUARD_IMAGE_BPF_H

#include "scratch.bpf.h"

#define MAX_NAME_TABLE (8U << 20)
#define MAX_MODINFO (4U << 20)
#define MAX_RELOCATIONS (64U << 10)
#define SHF_COMPRESSED 0x800

static __always_inline bool text_is(const char *text, const char *wanted, int size)
{
	for (int i = 0; i < size; ++i)
		if (text[i] != wanted[i])
			return false;
	return true;
}

static __always_inline long read_image(struct guard_scratch *s, void *into, __u32 size, __u64 offset)
{
	if (bpf_probe_read_kernel(into, size, (const void *)(s->bytes + offset))) {
		s->problem = GUARD_FAULT;
		return -1;
	}
	return 0;
}

static __always_inline long read_section(struct guard_scratch *s, __u32 index)
{
	return read_image(s, &s->section, sizeof(s->section), s->section_headers + (__u64)index * sizeof(Elf64_Shdr));
}

static __always_inline bool has_content(const Elf64_Shdr *section)
{
	return section->sh_type != SHT_NULL && section->sh_type != SHT_NOBITS;
}

static __always_inline bool outside(struct guard_scratch *s, __u64 offset, __u64 size)
{
	return offset > s->size || size > s->size - offset;
}

static __always_inline bool overlap(__u64 a, __u64 a_size, __u64 b, __u64 b_size)
{
	return a_size && b_size && a < b + b_size && b < a + a_size;
}

/* Whether it may be an ELF file: may_be_elf() of modules/elf_file.hpp. */
static __noinline bool is_elf(struct guard_scratch *s)
{
	return s->size >= sizeof(Elf32_Ehdr) && !read_image(s, s->text, SELFMAG, 0) && s->text[0] == 0x7f && s->text[1] == 'E' &&
	       s->text[2] == 'L' && s->text[3] == 'F';
}

static __always_inline __u32 read_header(struct guard_scratch *s)
{
	const Elf64_Ehdr *header = &s->header;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const unsigned char native = ELFDATA2LSB;
#else
	const unsigned char native = ELFDATA2MSB;
#endif

	if (!is_elf(s))
		return GUARD_NOT_ELF;
	if (s->size < sizeof(*header) || read_image(s, &s->header, sizeof(s->header), 0))
		return GUARD_ELF_HEADER;
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != native || header->e_type != ET_REL ||
	    header->e_shentsize != sizeof(Elf64_Shdr) || header->e_ehsize != sizeof(*header) || header->e_phoff != 0)
		return GUARD_ELF_HEADER;
	s->section_headers = header->e_shoff;
	s->section_count = header->e_shnum;
	const __u32 name_table = header->e_shstrndx; /* before the section takes the header's place */

	const __u64 headers_size = (__u64)s->section_count * sizeof(Elf64_Shdr);
	if (!s->section_count || s->section_headers >= s->size || headers_size > s->size - s->section_headers)
		return GUARD_SECTION_HEADERS;
	if (!name_table || name_table >= s->section_count || read_section(s, name_table))
		return GUARD_SECTION_NAMES;
	if (s->section.sh_type != SHT_STRTAB || !s->section.sh_size || s->section.sh_size > MAX_NAME_TABLE ||
	    outside(s, s->section.sh_offset, s->section.sh_size))
		return GUARD_SECTION_NAMES;
	s->names = s->section.sh_offset;
	s->names_size = s->section.sh_size;
	if (read_image(s, s->text, 1, s->names + s->names_size - 1) || s->text[0])
		return GUARD_SECTION_NAMES;
	return GUARD_FINE;
}

/* Whether the section may be the one of its name; `found` is the index of another of that name. */
static __always_inline __u32 check_candidate(const Elf64_Shdr *section, __u32 found)
{
	if (found)
		return GUARD_TWICE;
	if (section->sh_type != SHT_PROGBITS || !(section->sh_flags & SHF_ALLOC) ||
	    (section->sh_flags & SHF_COMPRESSED) || !section->sh_size)
		return GUARD_NOT_PLAIN_DATA;
	return GUARD_FINE;
}

static __always_inline __u32 check_section(struct guard_scratch *s, __u32 index)
{
	const Elf64_Shdr *section = &s->section;

	if (read_section(s, index))
		return GUARD_FAULT;
	if (index == 0)
		return section->sh_type != SHT_NULL || section->sh_size || section->sh_addr ? GUARD_SECTION_HEADERS :
											       GUARD_FINE;
	if (has_content(section) && outside(s, section->sh_offset, section->sh_size))
		return GUARD_SECTION_BOUNDS;
	if (section->sh_name >= s->names_size)
		return GUARD_SECTION_NAMES;
	/* The table ends in a NUL, so this does not read beyond it. */
	const long length = bpf_probe_read_kernel_str(s->text, sizeof(s->text),
						      (const void *)(s->bytes + s->names + section->sh_name));
	if (length < 0)
		return GUARD_FAULT;
	__u32 problem = GUARD_FINE;
	if (length == sizeof(".modinfo") && text_is(s->text, ".modinfo", 8)) {
		problem = check_candidate(section, s->modinfo);
		s->modinfo = index;
		s->modinfo_offset = section->sh_offset;
		s->modinfo_size = section->sh_size;
	} else if (length == sizeof(".gnu.linkonce.this_module") &&
		   text_is(s->text, ".gnu.linkonce.this_module", 25)) {
		problem = check_candidate(section, s->this_module);
		s->this_module = index;
		s->this_module_offset = section->sh_offset;
		s->this_module_size = section->sh_size;
	}
	return problem;
}

static long on_section(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;

	if (!s)
		return 1;
	s->problem = check_section(s, index);
	return s->problem != GUARD_FINE;
}

/* One relocation of struct module: it must leave the name alone. */
static long on_relocation(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;
	const __u64 name = bpf_core_field_offset(struct module, name);
	__u64 place;

	if (!s)
		return 1;
	if (read_image(s, &place, sizeof(place), s->relocations + (__u64)index * s->relocation_size))
		return 1;
	if (place < name + GUARD_NAME_SIZE && place + sizeof(__u64) > name)
		s->problem = GUARD_RELOCATED;
	return s->problem != GUARD_FINE;
}

/* The two sections have their bytes to themselves, and nothing rewrites the name. */
static long on_other_section(__u32 index, void *context)
{
	struct guard_loop *loop = context;
	struct guard_scratch *s = loop->scratch;

	if (!s)
		return 1;
	if (read_section(s, index))
		return 1;
	const Elf64_Shdr *section = &s->section;
	if (index == 0 || !has_content(section))
		return 0;
	if ((index != s->this_module &&
	     overlap(s->this_module_offset, s->this_module_size, section->sh_offset, section->sh_size)) ||
	    (s->modinfo && index != s->modinfo &&
	     overlap(s->modinfo_offset, s->modinfo_size, section->sh_offset, section->sh_size))) {
		s->problem = GUARD_OVERLAP;
		return 1;
	}
	if ((section->sh_type != SHT_REL && section->sh_type != SHT_RELA) || section->sh_info != s->this_module)
		return 0;
	if (s->relocation_size || section->sh_size > MAX_RELOCATIONS) { /* linkers make one, of two entries */
		s->problem = GUARD_RELOCATED;
		return 1;
	}
	s->relocations = section->sh_offset;
	s->relocation_size = section->sh_type == SHT_RELA ? 24 : 16;
	__u32 count = (__u32)section->sh_size / (section->sh_type == SHT_RELA ? 24 : 16);
	bpf_loop(count, on_relocation, loop, 0);
	return s->problem != GUARD_FINE;
}

static __always_inline bool is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	       c == '+';
}

static long on_name_character(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;
	__u64 place = index;

	barrier_var(place); /* or the verifier is shown a check of one copy and a use of another */
	if (!s || place >= GUARD_NAME_SIZE)
		return 1;
	const char c = s->record.name.text[place];
	if (!c)
		s->name_ended = 1;
	else if (s->name_ended || !is_name_character(c))
		s->problem = GUARD_BAD_NAME;
	return s->problem != GUARD_FINE;
}

/* The name in struct module: a module name, and zero from there on. */
static __always_inline __u32 read_name(struct guard_scratch *s)
{
	const __u64 offset = bpf_core_field_offset(struct module, name);
	char *name = s->record.name.text;
	struct guard_loop loop = {.scratch = s};

	if (offset + GUARD_NAME_SIZE > s->this_module_size)
		return GUARD_BAD_NAME;
	if (read_image(s, name, GUARD_NAME_SIZE, s->this_module_offset + offset))
		return GUARD_FAULT;
	if (name[0] == '.' || !name[0] || name[GUARD_NAME_SIZE - 1])
		return GUARD_BAD_NAME;
	s->name_ended = 0;
	bpf_loop(GUARD_NAME_SIZE, on_name_character, &loop, 0);
	return s->problem;
}

/* A "name=" record of `length` bytes at `address`: kept if it is the first, else the same as that. */
static __always_inline __u32 take_modinfo_name(struct guard_scratch *s, __u64 address, long length)
{
	__u64 *kept = (__u64 *)&s->record.modinfo_name, *other = (__u64 *)&s->other_name;
	__u64 difference = 0;

	if (length > 5 + GUARD_NAME_SIZE) /* longer than any name */
		return GUARD_BAD_MODINFO;
	__builtin_memset(&s->other_name, 0, sizeof(s->other_name));
	if (bpf_probe_read_kernel_str(s->other_name.text, GUARD_NAME_SIZE, (const void *)(address + 5)) <= 0)
		return GUARD_FAULT;
	for (int i = 0; i < GUARD_NAME_SIZE / 8; ++i)
		difference |= kept[i] ^ other[i];
	if (s->names_seen && difference)
		return GUARD_BAD_MODINFO;
	s->record.modinfo_name = s->other_name;
	s->names_seen = 1;
	return GUARD_FINE;
}

/* One record of .modinfo, or the next 63 bytes of a long one. */
static long on_record(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;

	if (!s || s->cursor >= s->modinfo_size)
		return 1;
	/* The section ends in a NUL. */
	const __u64 address = s->bytes + s->modinfo_offset + s->cursor;
	const long length = bpf_probe_read_kernel_str(s->text, sizeof(s->text), (const void *)address);
	if (length <= 0) {
		s->problem = GUARD_FAULT;
		return 1;
	}
	if (!s->inside_record && length > 5 && text_is(s->text, "name=", 5)) {
		s->problem = take_modinfo_name(s, address, length);
		if (s->problem)
			return 1;
	}
	/* A full buffer: the record goes on, if with its NUL alone. */
	s->inside_record = length == sizeof(s->text);
	s->cursor += s->inside_record ? sizeof(s->text) - 1 : (__u64)length;
	return 0;
}

static long on_modinfo_character(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;
	__u64 place = index;

	barrier_var(place);
	if (!s || place >= GUARD_NAME_SIZE)
		return 1;
	const char c = s->record.modinfo_name.text[place];
	s->names_differ |= s->record.name.text[place] != (c == '-' ? '_' : c);
	return 0;
}

/* The names agree, '-' and '_' being alike; images of old kernels have but one. */
static __noinline bool names_agree(struct guard_scratch *s)
{
	struct guard_loop loop = {.scratch = s};

	if (!s->record.modinfo_name.text[0])
		return true;
	s->names_differ = 0;
	bpf_loop(GUARD_NAME_SIZE, on_modinfo_character, &loop, 0);
	return !s->names_differ;
}

/* Fills in the names of the record. Returns what is wrong with the image, or GUARD_FINE. */
static __noinline __u32 read_identity(struct guard_scratch *s)
{
	struct guard_loop loop = {.scratch = s};
	__u32 problem = read_header(s);

	if (problem)
		return problem;
	bpf_loop(s->section_count, on_section, &loop, 0);
	if (s->problem)
		return s->problem;
	if (!s->this_module)
		return GUARD_NO_THIS_MODULE;
	const __u64 headers_size = (__u64)s->section_count * sizeof(Elf64_Shdr);
	if (overlap(s->this_module_offset, s->this_module_size, 0, sizeof(Elf64_Ehdr)) ||
	    overlap(s->this_module_offset, s->this_module_size, s->section_headers, headers_size))
		return GUARD_OVERLAP;
	if (s->modinfo && (overlap(s->modinfo_offset, s->modinfo_size, 0, sizeof(Elf64_Ehdr)) ||
			   overlap(s->modinfo_offset, s->modinfo_size, s->section_headers, headers_size)))
		return GUARD_OVERLAP;
	bpf_loop(s->section_count, on_other_section, &loop, 0);
	if (s->problem)
		return s->problem;
	problem = read_name(s);
	if (problem || !s->modinfo)
		return problem;
	if (s->modinfo_size > MAX_MODINFO || read_image(s, s->text, 1, s->modinfo_offset + s->modinfo_size - 1) ||
	    s->text[0])
		return GUARD_BAD_MODINFO;
	bpf_loop(MAX_MODINFO, on_record, &loop, 0);
	return s->problem;
}

#endif
