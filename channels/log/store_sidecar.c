/* SPDX-License-Identifier: Apache-2.0
 *
 * NAME.idx, the index of a full segment, so that opening need not read the segment and readers can skip in it:
 *
 *      0   8  "leatidx\n"
 *      8   4  version, 1
 *     12   4  CRC32C of everything behind
 *     16  64  the segment's head: an index of another file, or of this one before it was compacted, is none of it
 *     80   8  last sequence it covers
 *     88   8  bytes used in the segment
 *     96   8  the latest time in it
 *    104   4  channels, then 4: lost ranges, then 4: blocks, then 4: 0
 *    120      channels of 56: number, 0, events, bytes, first, last, first and last time
 *             lost ranges of 16: first, last
 *             blocks of 32: offset, first sequence, latest time, channels
 *
 * Little-endian. It is written without sync: a crash may leave half of one, and then it is made again by reading the
 * segment. There is one only when a segment behind this one was there for certain.
 */
#include "store_parts.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "crc32c.h"

static const char sidecar_magic[8] = {'l', 'e', 'a', 't', 'i', 'd', 'x', '\n'};
#define SIDECAR_VERSION 1
#define SIDECAR_CHECKED 16
#define SIDECAR_HEAD 120
#define USAGE_BYTES 56
#define LOST_BYTES 16
#define BLOCK_BYTES 32
#define SIDECAR_BYTES_MAX (1u << 30)

struct sidecar { /* a view of its bytes */
    uint64_t last, used;
    int64_t wall_max;
    size_t usage_count, lost_count, block_count;
    const unsigned char *usage, *lost, *blocks;
};

static unsigned char *put32(unsigned char *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static unsigned char *put64(unsigned char *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static uint32_t get32(const unsigned char **from)
{
    uint32_t v;
    memcpy(&v, *from, sizeof v);
    *from += sizeof v;
    return le32toh(v);
}

static uint64_t get64(const unsigned char **from)
{
    uint64_t v;
    memcpy(&v, *from, sizeof v);
    *from += sizeof v;
    return le64toh(v);
}

static unsigned char *put_usage(unsigned char *p, const struct log_channel_usage *u)
{
    p = put32(p, u->channel);
    p = put32(p, 0);
    p = put64(p, u->events);
    p = put64(p, u->bytes);
    p = put64(p, u->first);
    p = put64(p, u->last);
    p = put64(p, (uint64_t)u->first_wall_ns);
    return put64(p, (uint64_t)u->last_wall_ns);
}

static const unsigned char *get_usage(const unsigned char *p, struct log_channel_usage *u)
{
    u->channel = get32(&p);
    p += 4;
    u->events = get64(&p);
    u->bytes = get64(&p);
    u->first = get64(&p);
    u->last = get64(&p);
    u->first_wall_ns = (int64_t)get64(&p);
    u->last_wall_ns = (int64_t)get64(&p);
    return p;
}

static bool inside(const struct log_lost *l, const struct log_segment *g)
{
    return l->first >= g->first && l->last <= g->last;
}

static size_t lost_inside(const struct log_store *s, const struct log_segment *g)
{
    size_t n = 0;
    for (size_t i = 0; i < s->lost_count; i++)
        n += inside(&s->lost[i], g);
    return n;
}

static unsigned char *sidecar_encode(const struct log_store *s, const struct log_segment *g, size_t *len)
{
    const struct log_index *x = &g->index;
    size_t lost = lost_inside(s, g);
    *len = SIDECAR_HEAD + x->usage_count * USAGE_BYTES + lost * LOST_BYTES + x->block_count * BLOCK_BYTES;
    unsigned char *bytes = malloc(*len);
    if (!bytes)
        return NULL;
    memcpy(bytes, sidecar_magic, sizeof sidecar_magic);
    put32(bytes + 8, SIDECAR_VERSION);
    memcpy(bytes + SIDECAR_CHECKED, g->head, LOG_SEGMENT_HEAD);
    unsigned char *p = put64(bytes + 80, g->last);
    p = put64(p, g->used);
    p = put64(p, (uint64_t)x->wall_max);
    p = put32(p, (uint32_t)x->usage_count);
    p = put32(p, (uint32_t)lost);
    p = put32(p, (uint32_t)x->block_count);
    p = put32(p, 0);
    for (size_t i = 0; i < x->usage_count; i++)
        p = put_usage(p, &x->usage[i]);
    for (size_t i = 0; i < s->lost_count; i++) {
        if (!inside(&s->lost[i], g))
            continue;
        p = put64(p, s->lost[i].first);
        p = put64(p, s->lost[i].last);
    }
    for (size_t i = 0; i < x->block_count; i++) {
        p = put64(p, x->blocks[i].offset);
        p = put64(p, x->blocks[i].first);
        p = put64(p, (uint64_t)x->blocks[i].wall_max);
        p = put64(p, x->blocks[i].channels);
    }
    assert(p == bytes + *len);
    put32(bytes + 12, crc32c(0, bytes + SIDECAR_CHECKED, *len - SIDECAR_CHECKED));
    return bytes;
}

enum err log_sidecar_write(struct log_store *s, const struct log_segment *g)
{
    assert(g->index.blocks && g->last != UINT64_MAX && !s->read_only);
    char made[STORE_PATH_MAX], path[STORE_PATH_MAX];
    const struct disk_ops *ops = s->disk->ops;
    log_store_lock(s);
    size_t len;
    unsigned char *bytes = sidecar_encode(s, g, &len);
    log_store_unlock(s);
    if (!bytes)
        return ERR_NOMEM;
    log_store_path(s, g->name, ".idx.tmp", made);
    (void)!ops->unlink(s->disk, made, NULL);
    struct disk_file *f;
    enum err e = ops->open(s->disk, made, DISK_CREATE, &f, NULL);
    if (!e) {
        e = ops->write(s->disk, f, bytes, len, 0, NULL);
        ops->close(s->disk, f);
        if (!e)
            e = ops->rename(s->disk, made, log_store_path(s, g->name, ".idx", path), NULL);
        if (e)
            (void)!ops->unlink(s->disk, made, NULL);
    }
    free(bytes);
    return e;
}

static enum err load(struct log_store *s, uint64_t name, unsigned char **out, size_t *len)
{
    char path[STORE_PATH_MAX];
    struct disk_file *f;
    assert(name > 0 && out && len);
    const struct disk_ops *ops = s->disk->ops;
    enum err e = ops->open(s->disk, log_store_path(s, name, ".idx", path), DISK_READ, &f, NULL);
    if (e)
        return e;
    uint64_t size;
    e = ops->size(s->disk, f, &size, NULL);
    unsigned char *bytes = NULL;
    if (!e && (size < SIDECAR_HEAD || size > SIDECAR_BYTES_MAX))
        e = ERR_CORRUPT;
    if (!e && !(bytes = malloc((size_t)size)))
        e = ERR_NOMEM;
    if (!e)
        e = ops->read(s->disk, f, bytes, (size_t)size, 0, len, NULL);
    ops->close(s->disk, f);
    if (e) {
        free(bytes);
        return e;
    }
    *out = bytes;
    return OK;
}

static enum err get_blocks(const unsigned char *p, size_t count, struct log_block **out)
{
    struct log_block *blocks = calloc(count ? count : 1, sizeof *blocks);
    if (!blocks)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        blocks[i].offset = get64(&p);
        blocks[i].first = get64(&p);
        blocks[i].wall_max = (int64_t)get64(&p);
        blocks[i].channels = get64(&p);
    }
    *out = blocks;
    return OK;
}

static enum err parse(const unsigned char *bytes, size_t len, const struct log_segment *g, struct sidecar *out)
{
    assert(bytes && g && out);
    if (len < SIDECAR_HEAD || memcmp(bytes, sidecar_magic, sizeof sidecar_magic))
        return ERR_CORRUPT;
    const unsigned char *p = bytes + 8;
    uint32_t version = get32(&p), crc = get32(&p);
    if (version != SIDECAR_VERSION || crc != crc32c(0, bytes + SIDECAR_CHECKED, len - SIDECAR_CHECKED) ||
        memcmp(p, g->head, LOG_SEGMENT_HEAD))
        return ERR_CORRUPT;
    p = bytes + 80;
    out->last = get64(&p);
    out->used = get64(&p);
    out->wall_max = (int64_t)get64(&p);
    out->usage_count = get32(&p);
    out->lost_count = get32(&p);
    out->block_count = get32(&p);
    if (out->last < g->first || out->last > LOG_SEQUENCE_MAX || out->used < LOG_SEGMENT_HEAD || out->used > g->size)
        return ERR_CORRUPT;
    out->usage = bytes + SIDECAR_HEAD;
    out->lost = out->usage + out->usage_count * USAGE_BYTES;
    out->blocks = out->lost + out->lost_count * LOST_BYTES;
    return out->blocks + out->block_count * BLOCK_BYTES == bytes + len ? OK : ERR_CORRUPT;
}

/* Reads and checks it; *bytes are what *out points into: the caller frees them. */
static enum err open_sidecar(struct log_store *s, const struct log_segment *g, unsigned char **bytes,
                             struct sidecar *out)
{
    size_t len;
    enum err e = load(s, g->name, bytes, &len);
    if (e)
        return e;
    e = parse(*bytes, len, g, out);
    if (e)
        free(*bytes);
    return e;
}

enum err log_sidecar_read(struct log_store *s, struct log_segment *g)
{
    unsigned char *bytes;
    struct sidecar c;
    enum err e = open_sidecar(s, g, &bytes, &c);
    if (e)
        return e;
    struct log_channel_usage *usage = calloc(c.usage_count ? c.usage_count : 1, sizeof *usage);
    if (!usage) {
        free(bytes);
        return ERR_NOMEM;
    }
    const unsigned char *p = c.usage;
    for (size_t i = 0; i < c.usage_count; i++)
        p = get_usage(p, &usage[i]);
    log_index_fini(&g->index);
    g->index.usage = usage;
    g->index.usage_count = g->index.usage_room = c.usage_count;
    g->index.wall_max = c.wall_max;
    g->last = c.last;
    g->used = c.used;
    p = c.lost;
    for (size_t i = 0; i < c.lost_count; i++) {
        uint64_t first = get64(&p), last = get64(&p);
        log_store_lose(s, first, last, "damaged on the disk, and found before");
    }
    free(bytes);
    return OK;
}

enum err log_sidecar_blocks(struct log_store *s, const struct log_segment *g, struct log_block **out, size_t *count)
{
    unsigned char *bytes;
    struct sidecar c;
    enum err e = open_sidecar(s, g, &bytes, &c);
    if (e)
        return e;
    e = get_blocks(c.blocks, c.block_count, out);
    if (!e)
        *count = c.block_count;
    free(bytes);
    return e;
}
