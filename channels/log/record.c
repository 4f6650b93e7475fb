/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and segment heads: bytes to values and back, as record.h draws them. Pure; believes nothing that it reads.
 */
#include "record.h"

#include <assert.h>
#include <endian.h>

#include "crc32c.h"

static const char head_magic[8] = {'l', 'e', 'a', 't', 'l', 'o', 'g', '\n'};
#define SIZE_UNIT 4096
#define HEAD_CHECKED 16 /* where what the head's CRC covers begins, beside the first 12 bytes */

static void put32(unsigned char *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static void put64(unsigned char *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof v);
}

static uint32_t get32(const unsigned char *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const unsigned char *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return le64toh(v);
}

static uint32_t head_crc(const unsigned char *head)
{
    return crc32c(crc32c(0, head, 12), head + HEAD_CHECKED, LOG_SEGMENT_HEAD - HEAD_CHECKED);
}

void log_head_encode(const struct log_head *h, unsigned char out[LOG_SEGMENT_HEAD])
{
    assert(h->first > 0 && (h->last == 0 || h->last >= h->first));
    assert(h->size % SIZE_UNIT == 0 && h->size / SIZE_UNIT <= UINT32_MAX);
    memcpy(out, head_magic, sizeof head_magic);
    put32(out + 8, LOG_FORMAT);
    memcpy(out + 16, h->id, LOG_ID_BYTES);
    put64(out + 32, h->first);
    put64(out + 40, h->last);
    put64(out + 48, (uint64_t)h->made_wall_ns);
    put32(out + 56, (uint32_t)(h->size / SIZE_UNIT));
    put32(out + 60, 0);
    put32(out + 12, head_crc(out));
}

enum err log_head_decode(const unsigned char in[LOG_SEGMENT_HEAD], struct log_head *out, struct diag *d)
{
    assert(in && out);
    if (memcmp(in, head_magic, sizeof head_magic))
        return diag_set(d, ERR_CORRUPT, "it does not begin as a segment");
    if (get32(in + 12) != head_crc(in))
        return diag_set(d, ERR_CORRUPT, "the checksum of its head does not hold");
    uint32_t format = get32(in + 8);
    if (format > LOG_FORMAT)
        return diag_set(d, ERR_UNSUPPORTED, "it is of format %u, and this program knows up to %u", format, LOG_FORMAT);
    struct log_head h = {.first = get64(in + 32),
                         .last = get64(in + 40),
                         .made_wall_ns = (int64_t)get64(in + 48),
                         .size = (uint64_t)get32(in + 56) * SIZE_UNIT};
    if (format == 0 || h.first == 0 || h.first > LOG_SEQUENCE_MAX || h.last > LOG_SEQUENCE_MAX ||
        (h.last && h.last < h.first))
        return diag_set(d, ERR_CORRUPT, "its head makes no sense");
    memcpy(h.id, in + 16, LOG_ID_BYTES);
    *out = h;
    return OK;
}

static bool kind_known(unsigned kind)
{
    return kind >= LOG_EVENT && kind <= LOG_MARK;
}

uint32_t log_record_crc_start(const unsigned char id[LOG_ID_BYTES])
{
    return crc32c(0, id, LOG_ID_BYTES);
}

uint32_t log_record_crc(const unsigned char *head)
{
    assert(head);
    return get32(head + 4);
}

void log_record_encode(const struct log_record *r, const unsigned char id[LOG_ID_BYTES], unsigned char *to)
{
    assert(r->payload_len <= LOG_PAYLOAD_MAX && kind_known(r->kind));
    assert(r->sequence > r->committed);
    put32(to, r->payload_len);
    put64(to + 8, r->sequence);
    put64(to + 16, r->committed);
    put64(to + 24, (uint64_t)r->wall_ns);
    put32(to + 32, r->channel);
    put32(to + 36, r->spread);
    memset(to + 40, 0, 8);
    to[40] = (unsigned char)r->kind;
    size_t bytes = LOG_RECORD_HEAD + (size_t)r->payload_len;
    memset(to + bytes, 0, (size_t)log_record_size(r->payload_len) - bytes);
    put32(to + 4, crc32c(log_record_crc_start(id), to + LOG_RECORD_CHECKED, bytes - LOG_RECORD_CHECKED));
}

enum err log_record_peek(const unsigned char *in, size_t len, struct log_record *out, uint64_t *whole)
{
    assert(in && out && whole);
    if (len < LOG_RECORD_HEAD)
        return ERR_PENDING;
    struct log_record r = {.payload_len = get32(in),
                           .sequence = get64(in + 8),
                           .committed = get64(in + 16),
                           .wall_ns = (int64_t)get64(in + 24),
                           .channel = get32(in + 32),
                           .spread = get32(in + 36)};
    uint64_t last = get64(in + 40);
    if (last == 0 && r.sequence == 0) {
        for (size_t i = 0; i < LOG_RECORD_HEAD; i++)
            if (in[i])
                return ERR_CORRUPT;
        return ERR_NOTFOUND;
    }
    if (last > UINT8_MAX || !kind_known((unsigned)last) || r.payload_len > LOG_PAYLOAD_MAX || r.sequence <= r.committed)
        return ERR_CORRUPT;
    r.kind = (enum log_kind)last;
    *out = r;
    *whole = log_record_size(r.payload_len);
    return OK;
}

bool log_record_check(const unsigned char *in, const unsigned char id[LOG_ID_BYTES])
{
    size_t bytes = LOG_RECORD_HEAD + (size_t)get32(in);
    assert(bytes <= LOG_RECORD_HEAD + (size_t)LOG_PAYLOAD_MAX);
    return crc32c(log_record_crc_start(id), in + LOG_RECORD_CHECKED, bytes - LOG_RECORD_CHECKED) == get32(in + 4);
}
