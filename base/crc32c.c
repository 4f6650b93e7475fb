/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC32C in two ways: by the processor's instruction, eight bytes at a time, and by eight tables of 256 entries, for
 * processors without it. Pure; any thread.
 *
 * One chain of instructions gives 8 bytes in 3 cycles. Three chains side by side would be faster on long input, but
 * need their results joined by a multiplication, and a record of 1 KiB costs some 0.1 µs as it is, far less than
 * writing it.
 *
 * The tables are constants. A CRC is linear: the entry of a byte is the sum (xor) of the entries of its bits, and the
 * entry of bit j in table t is the polynomial moved on by 8t + 7 - j bits, which is P_(8t + 7 - j) below.
 */
#include "crc32c.h"

#include "crc32c_paths.h"

#include <string.h>

#define POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 with its bits mirrored */
#define STEP(c) (((c) >> 1) ^ (((c)&1u) ? POLYNOMIAL : 0u))

enum power {
    P_0 = POLYNOMIAL,
#define NEXT(n, before) P_##n = STEP((unsigned)P_##before)
    NEXT(1, 0),
    NEXT(2, 1),
    NEXT(3, 2),
    NEXT(4, 3),
    NEXT(5, 4),
    NEXT(6, 5),
    NEXT(7, 6),
    NEXT(8, 7),
    NEXT(9, 8),
    NEXT(10, 9),
    NEXT(11, 10),
    NEXT(12, 11),
    NEXT(13, 12),
    NEXT(14, 13),
    NEXT(15, 14),
    NEXT(16, 15),
    NEXT(17, 16),
    NEXT(18, 17),
    NEXT(19, 18),
    NEXT(20, 19),
    NEXT(21, 20),
    NEXT(22, 21),
    NEXT(23, 22),
    NEXT(24, 23),
    NEXT(25, 24),
    NEXT(26, 25),
    NEXT(27, 26),
    NEXT(28, 27),
    NEXT(29, 28),
    NEXT(30, 29),
    NEXT(31, 30),
    NEXT(32, 31),
    NEXT(33, 32),
    NEXT(34, 33),
    NEXT(35, 34),
    NEXT(36, 35),
    NEXT(37, 36),
    NEXT(38, 37),
    NEXT(39, 38),
    NEXT(40, 39),
    NEXT(41, 40),
    NEXT(42, 41),
    NEXT(43, 42),
    NEXT(44, 43),
    NEXT(45, 44),
    NEXT(46, 45),
    NEXT(47, 46),
    NEXT(48, 47),
    NEXT(49, 48),
    NEXT(50, 49),
    NEXT(51, 50),
    NEXT(52, 51),
    NEXT(53, 52),
    NEXT(54, 53),
    NEXT(55, 54),
    NEXT(56, 55),
    NEXT(57, 56),
    NEXT(58, 57),
    NEXT(59, 58),
    NEXT(60, 59),
    NEXT(61, 60),
    NEXT(62, 61),
    NEXT(63, 62),
#undef NEXT
};

/* The sum of the powers that stand for the bits of b, highest first. */
#define BIT(b, j, p) (((b)&1u << (j)) ? (unsigned)(p) : 0u)
#define SUM(b, p0, p1, p2, p3, p4, p5, p6, p7)                                                                         \
    (BIT(b, 7, P_##p0) ^ BIT(b, 6, P_##p1) ^ BIT(b, 5, P_##p2) ^ BIT(b, 4, P_##p3) ^ BIT(b, 3, P_##p4) ^               \
     BIT(b, 2, P_##p5) ^ BIT(b, 1, P_##p6) ^ BIT(b, 0, P_##p7))
#define SUM4(b, ...)                                                                                                   \
    SUM(b, __VA_ARGS__), SUM((b) + 1, __VA_ARGS__), SUM((b) + 2, __VA_ARGS__), SUM((b) + 3, __VA_ARGS__)
#define SUM16(b, ...)                                                                                                  \
    SUM4(b, __VA_ARGS__), SUM4((b) + 4, __VA_ARGS__), SUM4((b) + 8, __VA_ARGS__), SUM4((b) + 12, __VA_ARGS__)
#define SUM64(b, ...)                                                                                                  \
    SUM16(b, __VA_ARGS__), SUM16((b) + 16, __VA_ARGS__), SUM16((b) + 32, __VA_ARGS__), SUM16((b) + 48, __VA_ARGS__)
#define TABLE(...)                                                                                                     \
    {                                                                                                                  \
        SUM64(0u, __VA_ARGS__), SUM64(64u, __VA_ARGS__), SUM64(128u, __VA_ARGS__), SUM64(192u, __VA_ARGS__)            \
    }

/* table[t][b]: the state after byte b and t bytes of zero. */
static const uint32_t table[8][256] = {
    TABLE(0, 1, 2, 3, 4, 5, 6, 7),         TABLE(8, 9, 10, 11, 12, 13, 14, 15),   TABLE(16, 17, 18, 19, 20, 21, 22, 23),
    TABLE(24, 25, 26, 27, 28, 29, 30, 31), TABLE(32, 33, 34, 35, 36, 37, 38, 39), TABLE(40, 41, 42, 43, 44, 45, 46, 47),
    TABLE(48, 49, 50, 51, 52, 53, 54, 55), TABLE(56, 57, 58, 59, 60, 61, 62, 63),
};

/* Eight bytes as a number whose lowest byte comes first, on any machine. */
static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap64(v);
}

uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint32_t c = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t v = load64(p) ^ c;
        c = table[7][v & 0xFF] ^ table[6][v >> 8 & 0xFF] ^ table[5][v >> 16 & 0xFF] ^ table[4][v >> 24 & 0xFF] ^
            table[3][v >> 32 & 0xFF] ^ table[2][v >> 40 & 0xFF] ^ table[1][v >> 48 & 0xFF] ^ table[0][v >> 56];
    }
    for (; len; len--, p++)
        c = c >> 8 ^ table[0][(c ^ *p) & 0xFF];
    return ~c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAS_INSTRUCTION __attribute__((target("sse4.2")))
#define CRC_8(c, byte) _mm_crc32_u8(c, byte)
#define CRC_64(c, word) ((uint32_t)_mm_crc32_u64(c, word))
#define INSTRUCTION_THERE (__builtin_cpu_supports("sse4.2") != 0)
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAS_INSTRUCTION
#define CRC_8(c, byte) __crc32cb(c, byte)
#define CRC_64(c, word) __crc32cd(c, word)
#define INSTRUCTION_THERE true
#else
#define HAS_INSTRUCTION
#define CRC_8(c, byte) ((c) >> 8 ^ table[0][((c) ^ (byte)) & 0xFF])
#define CRC_64(c, word) ((void)(word), __builtin_trap(), (c))
#define INSTRUCTION_THERE false
#endif

bool crc32c_instruction_there(void)
{
    return INSTRUCTION_THERE;
}

HAS_INSTRUCTION uint32_t crc32c_by_instruction(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint32_t c = ~crc;
    for (; len >= 8; len -= 8, p += 8)
        c = CRC_64(c, load64(p));
    for (; len; len--, p++)
        c = CRC_8(c, *p);
    return ~c;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    return INSTRUCTION_THERE ? crc32c_by_instruction(crc, bytes, len) : crc32c_by_tables(crc, bytes, len);
}
