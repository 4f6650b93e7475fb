/* SPDX-License-Identifier: Apache-2.0
 *
 * Application properties of AMQP 1.0 out of the header in which RabbitMQ before 3.13 keeps them for clients of 0.9.1
 * (later ones make headers of them; 3.11 and 3.12 some, when told to). The header's value is the section as it was sent
 * (AMQP 1.0, parts 1.6 and 3.2.5):
 *
 *     00 DESCRIPTOR MAP          the descriptor is the number 0x74
 *     c1 SIZE COUNT ...          a map: one byte each; d1 with four; COUNT is of keys and values together
 *     CODE VALUE                 a key, a string, and its value, a simple type; the upper half of the code says how
 *                                many bytes the value has: 4x none, 5x 1, 6x 2, 7x 4, 8x 8, 9x 16, ax and bx (as cx
 *                                to fx) as many as the length says that comes first, in one byte or four
 *
 * Milliseconds of a timestamp are cut off, as later versions of RabbitMQ do. Pure functions, any thread.
 */
#include "amqp_private.h"
#include "event_private.h"

#define SECTION_HEADER SLICE("x-amqp-1.0-app-properties")
#define SECTION_DESCRIPTOR 0x74
#define MAP8 0xc1
#define MAP32 0xd1

static bool take(struct slice *rest, size_t n, struct slice *out)
{
    if (rest->len < n)
        return false;
    *out = slice_of(rest->ptr, n);
    *rest = slice_from(*rest, n);
    return true;
}

static bool take_number(struct slice *rest, size_t n, uint64_t *out)
{
    struct slice bytes;
    if (!take(rest, n, &bytes))
        return false;
    *out = ce_big_endian(bytes);
    return true;
}

/* A code and the bytes of its value; what lies in a list or map stays there. */
static bool take_coded(struct slice *rest, unsigned *code, struct slice *bytes)
{
    static const unsigned char fixed[] = {[4] = 0, [5] = 1, [6] = 2, [7] = 4, [8] = 8, [9] = 16};
    uint64_t c, len;
    if (!take_number(rest, 1, &c) || c < 0x40)
        return false;
    *code = (unsigned)c;
    if (c < 0xa0)
        len = fixed[c >> 4];
    else if (!take_number(rest, c & 0x10 ? 4 : 1, &len))
        return false;
    return take(rest, len, bytes);
}

static double real_of(struct slice bytes, uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float single;
    double number;
    memcpy(&single, &low, sizeof single);
    memcpy(&number, &bits, sizeof number);
    return bytes.len == sizeof single ? (double)single : number;
}

/* A number of this many bytes in two's complement. */
static int64_t signed_of(struct slice bytes, uint64_t bits)
{
    unsigned above = 64 - 8 * (unsigned)bytes.len;
    return (int64_t)(bits << above) >> above;
}

static struct ce_amqp_value value_of(unsigned code, struct slice bytes)
{
    uint64_t bits = bytes.len <= 8 ? ce_big_endian(bytes) : 0;
    switch (code) {
    case 0x40: /* null */
        return (struct ce_amqp_value){.kind = CE_AMQP_VOID};
    case 0x41: /* true */
        return (struct ce_amqp_value){.kind = CE_AMQP_BOOLEAN, .boolean = true};
    case 0x42: /* false */
    case 0x56: /* boolean */
        return (struct ce_amqp_value){.kind = CE_AMQP_BOOLEAN, .boolean = bits != 0};
    case 0x43: /* uint 0, ulong 0; ubyte, ushort, uint and ulong, the shorter forms of the last two */
    case 0x44:
    case 0x50:
    case 0x52:
    case 0x53:
    case 0x60:
    case 0x70:
    case 0x80:
        return (struct ce_amqp_value){.kind = CE_AMQP_UNSIGNED, .natural = bits};
    case 0x51: /* byte, short, int and long, the shorter forms of the last two */
    case 0x54:
    case 0x55:
    case 0x61:
    case 0x71:
    case 0x81:
        return (struct ce_amqp_value){.kind = CE_AMQP_INTEGER, .integer = signed_of(bytes, bits)};
    case 0x72: /* float */
    case 0x82: /* double */
        return (struct ce_amqp_value){.kind = CE_AMQP_DOUBLE, .number = real_of(bytes, bits)};
    case 0x83: /* timestamp, milliseconds; one before 1970 is far beyond all that 0.9.1 can say */
        return (struct ce_amqp_value){.kind = CE_AMQP_TIMESTAMP, .seconds = bits / 1000};
    case 0xa0: /* binary */
    case 0xb0:
        return (struct ce_amqp_value){.kind = CE_AMQP_BYTES, .text = bytes};
    case 0xa1: /* string */
    case 0xb1:
    case 0xa3: /* symbol */
    case 0xb3:
        return (struct ce_amqp_value){.kind = CE_AMQP_STRING, .text = bytes};
    default:
        return (struct ce_amqp_value){.kind = CE_AMQP_TABLE}; /* no value of an attribute */
    }
}

static bool take_value(struct slice *rest, struct ce_amqp_value *out)
{
    unsigned code;
    struct slice bytes;
    if (!take_coded(rest, &code, &bytes))
        return false;
    *out = value_of(code, bytes);
    return true;
}

/* The pairs of a section; false: malformed. */
static bool take_section(struct slice section, struct slice *pairs, uint64_t *count)
{
    unsigned code;
    uint64_t zero;
    struct ce_amqp_value descriptor;
    if (!take_number(&section, 1, &zero) || zero || !take_value(&section, &descriptor) ||
        descriptor.kind != CE_AMQP_UNSIGNED || descriptor.natural != SECTION_DESCRIPTOR)
        return false;
    return take_coded(&section, &code, pairs) && (code == MAP8 || code == MAP32) &&
           take_number(pairs, code == MAP8 ? 1 : 4, count);
}

static bool take_properties(struct slice section, struct ce_amqp_header *out, size_t *out_count)
{
    struct slice pairs;
    uint64_t count;
    size_t n = 0;
    if (!take_section(section, &pairs, &count))
        return false;
    for (; n < count / 2 && n < AMQP_PROPERTIES_MAX; n++) {
        struct ce_amqp_value key;
        if (!take_value(&pairs, &key) || key.kind != CE_AMQP_STRING || !take_value(&pairs, &out[n].value))
            return false;
        out[n].name = key.text;
    }
    *out_count = n;
    return true;
}

const struct ce_amqp_message *amqp_unfold(const struct ce_amqp_message *m, struct ce_amqp_message *plain,
                                          struct ce_amqp_header room[AMQP_PROPERTIES_MAX])
{
    size_t count;
    for (size_t i = 0; i < m->header_count; i++) {
        const struct ce_amqp_header *h = &m->headers[i];
        bool text = h->value.kind == CE_AMQP_STRING || h->value.kind == CE_AMQP_BYTES;
        if (text && slice_eq(h->name, SECTION_HEADER) && take_properties(h->value.text, room, &count)) {
            *plain = *m;
            plain->headers = room;
            plain->header_count = count;
            return plain;
        }
    }
    return m;
}
