/* SPDX-License-Identifier: GPL-2.0-only OR AGPL-3.0-only
 *
 * Two digests of the bytes that the kernel holds: SHA-256 (FIPS 180-4), where a pin names a content, and
 * SipHash-2-4 with 128 bits (Aumasson and Bernstein), which tells known compressed content at a tenth of the
 * cost. No kernel gives programs of this kind a hash function for memory.
 */
#ifndef KMODGUARD_DIGEST_BPF_H
#define KMODGUARD_DIGEST_BPF_H

#include "scratch.bpf.h"

struct guard_key {
	__u64 half[2];
};

static const __u32 sha256_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static __always_inline __u32 rotate_right(__u32 x, int n)
{
	return x >> n | x << (32 - n);
}

static __always_inline void sha256_schedule(__u32 *words)
{
	for (int i = 16; i < 64; ++i) {
		const __u32 a = words[i - 15], b = words[i - 2];
		words[i] = words[i - 16] + words[i - 7] +
			   (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
			   (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
	}
}

static __always_inline void sha256_compress(struct guard_scratch *s)
{
	__u32 a = s->sha256[0], b = s->sha256[1], c = s->sha256[2], d = s->sha256[3];
	__u32 e = s->sha256[4], f = s->sha256[5], g = s->sha256[6], h = s->sha256[7];

	for (int i = 0; i < 64; ++i) {
		const __u32 first = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
				    ((e & f) ^ (~e & g)) + sha256_constants[i] + s->words[i];
		const __u32 second = (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) +
				     ((a & b) ^ (a & c) ^ (b & c));
		h = g;
		g = f;
		f = e;
		e = d + first;
		d = c;
		c = b;
		b = a;
		a = first + second;
	}
	s->sha256[0] += a;
	s->sha256[1] += b;
	s->sha256[2] += c;
	s->sha256[3] += d;
	s->sha256[4] += e;
	s->sha256[5] += f;
	s->sha256[6] += g;
	s->sha256[7] += h;
}

/* One block of 64 bytes; the last one or two carry the padding. */
static long on_sha256_block(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;
	const __u64 offset = (__u64)index * 64;

	if (!s)
		return 1;
	__builtin_memset(s->words, 0, 64);
	__u64 present = s->size > offset ? s->size - offset : 0;
	if (present >= 64) {
		if (bpf_probe_read_kernel(s->words, 64, (const void *)(s->bytes + offset))) {
			s->problem = GUARD_FAULT;
			return 1;
		}
	} else {
		present &= 63;
		if (present && bpf_probe_read_kernel(s->words, present, (const void *)(s->bytes + offset))) {
			s->problem = GUARD_FAULT;
			return 1;
		}
		if (s->size >= offset)
			((__u8 *)s->words)[present] = 0x80;
	}
	for (int i = 0; i < 16; ++i)
		s->words[i] = __builtin_bswap32(s->words[i]);
	if (present < 56 && s->size < offset + 56) { /* the length fits in: this is the last */
		s->words[14] = (__u32)(s->size >> 29);
		s->words[15] = (__u32)(s->size << 3);
	}
	sha256_schedule(s->words);
	sha256_compress(s);
	return 0;
}

/* Of the image; into the record. Anything but 0: it could not be read. */
static __noinline long hash_image(struct guard_scratch *s)
{
	struct guard_loop loop = {.scratch = s};
	__u32 *result = (__u32 *)s->record.sha256;

	s->sha256[0] = 0x6a09e667;
	s->sha256[1] = 0xbb67ae85;
	s->sha256[2] = 0x3c6ef372;
	s->sha256[3] = 0xa54ff53a;
	s->sha256[4] = 0x510e527f;
	s->sha256[5] = 0x9b05688c;
	s->sha256[6] = 0x1f83d9ab;
	s->sha256[7] = 0x5be0cd19;
	s->problem = GUARD_FINE;
	bpf_loop((__u32)((s->size + 8) / 64 + 1), on_sha256_block, &loop, 0);
	for (int i = 0; i < 8; ++i)
		result[i] = __builtin_bswap32(s->sha256[i]);
	s->record.hashed = s->problem == GUARD_FINE;
	return s->problem;
}

static __always_inline __u64 rotate_left(__u64 x, int n)
{
	return x << n | x >> (64 - n);
}

#define SIP_ROUND(v0, v1, v2, v3)          \
	do {                               \
		v0 += v1;                  \
		v1 = rotate_left(v1, 13);  \
		v1 ^= v0;                  \
		v0 = rotate_left(v0, 32);  \
		v2 += v3;                  \
		v3 = rotate_left(v3, 16);  \
		v3 ^= v2;                  \
		v0 += v3;                  \
		v3 = rotate_left(v3, 21);  \
		v3 ^= v0;                  \
		v2 += v1;                  \
		v1 = rotate_left(v1, 17);  \
		v1 ^= v2;                  \
		v2 = rotate_left(v2, 32);  \
	} while (0)

/* All whole words of `chunk` up to `count`. */
static __always_inline void siphash_words(struct guard_scratch *s, __u32 count)
{
	__u64 v0 = s->siphash[0], v1 = s->siphash[1], v2 = s->siphash[2], v3 = s->siphash[3];

	for (__u32 i = 0; i < 32; ++i) {
		if (i >= count)
			break;
		const __u64 word = s->chunk[i];
		v3 ^= word;
		SIP_ROUND(v0, v1, v2, v3);
		SIP_ROUND(v0, v1, v2, v3);
		v0 ^= word;
	}
	s->siphash[0] = v0;
	s->siphash[1] = v1;
	s->siphash[2] = v2;
	s->siphash[3] = v3;
}

static long on_siphash_chunk(__u32 index, void *context)
{
	struct guard_scratch *s = ((struct guard_loop *)context)->scratch;

	if (!s)
		return 1;
	if (bpf_probe_read_kernel(s->chunk, sizeof(s->chunk),
				  (const void *)(s->bytes + (__u64)index * sizeof(s->chunk)))) {
		s->problem = GUARD_FAULT;
		return 1;
	}
	siphash_words(s, 32);
	return 0;
}

/* The last word has the length modulo 256 on top. */
static __always_inline long siphash_tail(struct guard_scratch *s)
{
	const __u32 rest = (__u32)s->size & 255, whole = rest >> 3;

	__builtin_memset(s->chunk, 0, sizeof(s->chunk));
	if (rest && bpf_probe_read_kernel(s->chunk, rest, (const void *)(s->bytes + (s->size & ~255ULL))))
		return -1;
	s->chunk[whole & 31] |= s->size << 56;
	siphash_words(s, whole + 1);
	return 0;
}

/* The keyed digest of the bytes, into `content`. Anything but 0: they could not be read. */
static __noinline long tag_content(struct guard_scratch *s, const struct guard_key *key)
{
	struct guard_loop loop = {.scratch = s};

	s->siphash[0] = key->half[0] ^ 0x736f6d6570736575;
	s->siphash[1] = key->half[1] ^ 0x646f72616e646f6d ^ 0xee;
	s->siphash[2] = key->half[0] ^ 0x6c7967656e657261;
	s->siphash[3] = key->half[1] ^ 0x7465646279746573;
	s->problem = GUARD_FINE;
	bpf_loop((__u32)(s->size / sizeof(s->chunk)), on_siphash_chunk, &loop, 0);
	if (s->problem || siphash_tail(s))
		return -1;

	__u64 v0 = s->siphash[0], v1 = s->siphash[1], v2 = s->siphash[2], v3 = s->siphash[3];
	v2 ^= 0xee;
	for (int i = 0; i < 4; ++i)
		SIP_ROUND(v0, v1, v2, v3);
	s->content.digest[0] = v0 ^ v1 ^ v2 ^ v3;
	v1 ^= 0xdd;
	for (int i = 0; i < 4; ++i)
		SIP_ROUND(v0, v1, v2, v3);
	s->content.digest[1] = v0 ^ v1 ^ v2 ^ v3;
	s->content.size = s->size;
	return 0;
}

#endif
