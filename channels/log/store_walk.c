/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking over the records of one file. Behind bytes that are no record the next good one is looked for at every
 * LOG_ALIGN: a record counts when its checksum holds and its sequence fits in. What that search may cost is bounded:
 * whoever can choose payloads could fill a segment with heads of large records, each of which wants its checksum
 * computed.
 */
#include "store_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "crc32c.h"

#define PIECE_BYTES 4096
#define SEARCH_BYTES (1ull << 30) /* checksums computed in one search; then the rest of the file is given up */

void log_walk_init(struct log_walk *w, struct log_store *s, size_t chunk)
{
    assert(chunk >= LOG_BLOCK);
    *w = (struct log_walk){.disk = s->disk, .id = s->id, .chunk = chunk};
}

void log_walk_fini(struct log_walk *w)
{
    free(w->buf);
    w->buf = NULL;
    w->room = w->len = 0;
}

void log_walk_begin(struct log_walk *w, struct disk_file *file, uint64_t offset, uint64_t end, uint64_t expect,
                    uint64_t most)
{
    assert(offset >= LOG_SEGMENT_HEAD && offset % LOG_ALIGN == 0);
    w->file = file;
    w->offset = offset;
    w->end = end;
    w->expect = expect;
    w->most = most;
    w->damaged = false;
    w->len = 0;
}

static enum err grow(struct log_walk *w, size_t room)
{
    if (w->room == room)
        return OK;
    free(w->buf); /* nothing in it is wanted any more */
    w->len = 0;
    w->room = 0;
    w->buf = malloc(room);
    if (!w->buf)
        return ERR_NOMEM;
    w->room = room;
    return OK;
}

/* A bad spot of the disk is damage like any other: what can be read around it is, and the rest is made to look like no
 * record. When nothing can be read, it is the disk that is in trouble. */
static enum err read_around(struct log_walk *w, size_t want, uint64_t offset)
{
    bool any = false;
    assert(want <= w->room);
    w->len = 0;
    while (w->len < want) {
        size_t n = want - w->len < PIECE_BYTES ? want - w->len : PIECE_BYTES, got = 0;
        enum err e = w->disk->ops->read(w->disk, w->file, w->buf + w->len, n, offset + w->len, &got, NULL);
        if (e && e != ERR_IO)
            return e;
        if (e) {
            memset(w->buf + w->len, 0xff, n);
            got = n;
        }
        any |= e == OK;
        w->len += got;
        if (got < n)
            break;
    }
    return any ? OK : ERR_IO;
}

/* *out gets the bytes at `offset`, of which `need` are there, or fewer (*got) at the end. */
static enum err bytes_at(struct log_walk *w, uint64_t offset, size_t need, const unsigned char **out, size_t *got)
{
    if (offset >= w->at && offset + need <= w->at + w->len) {
        *out = w->buf + (offset - w->at);
        *got = need;
        return OK;
    }
    enum err e = grow(w, need > w->chunk ? need : w->chunk);
    if (e)
        return e;
    uint64_t left = offset < w->end ? w->end - offset : 0;
    size_t want = left < w->room ? (size_t)left : w->room;
    w->len = 0;
    e = w->disk->ops->read(w->disk, w->file, w->buf, want, offset, &w->len, NULL);
    if (e == ERR_IO)
        e = read_around(w, want, offset);
    if (e) {
        w->len = 0;
        return e == ERR_NOMEM ? e : ERR_IO;
    }
    w->at = offset;
    *out = w->buf;
    *got = w->len < need ? w->len : need;
    return OK;
}

/* The checksum of a record that is larger than what is read at once: nothing is allocated for what may be damage. */
static enum err check_in_pieces(struct log_walk *w, uint64_t offset, size_t bytes, bool *good)
{
    const unsigned char *p;
    size_t got;
    enum err e = bytes_at(w, offset, LOG_RECORD_HEAD, &p, &got);
    if (e || got < LOG_RECORD_HEAD)
        return e;
    assert(bytes > w->chunk - LOG_ALIGN);
    uint32_t crc = log_record_crc_start(w->id), wanted = log_record_crc(p);
    for (size_t done = LOG_RECORD_CHECKED; done < bytes; done += got) {
        size_t n = bytes - done < w->chunk ? bytes - done : w->chunk;
        e = bytes_at(w, offset + done, n, &p, &got);
        if (e || got < n)
            return e;
        crc = crc32c(crc, p, n);
    }
    *good = crc == wanted;
    return OK;
}

/* Whether a good record lies at w->offset; then *out is it. ERR_NOTFOUND: zeros; ERR_CORRUPT: something else; `budget`:
 * bytes of checksums that may be computed still. */
static enum err record_at(struct log_walk *w, struct log_view *out, uint64_t *budget)
{
    const unsigned char *p;
    size_t got;
    assert(w->offset + LOG_RECORD_HEAD <= w->end);
    enum err e = bytes_at(w, w->offset, LOG_RECORD_HEAD, &p, &got);
    if (e)
        return e;
    struct log_record r;
    uint64_t whole;
    e = log_record_peek(p, got, &r, &whole);
    if (e)
        return e == ERR_NOTFOUND ? e : ERR_CORRUPT;
    if (r.sequence < w->expect || r.sequence > w->most || whole > w->end - w->offset || whole > *budget)
        return ERR_CORRUPT;
    *budget -= whole;
    if (whole > w->chunk) {
        bool good = false;
        e = check_in_pieces(w, w->offset, LOG_RECORD_HEAD + (size_t)r.payload_len, &good);
        if (e || !good)
            return e ? e : ERR_CORRUPT;
    }
    e = bytes_at(w, w->offset, (size_t)whole, &p, &got);
    if (e)
        return e;
    if (got < whole || !log_record_check(p, w->id))
        return ERR_CORRUPT;
    *out = (struct log_view){
        .record = r, .payload = slice_of((const char *)p + LOG_RECORD_HEAD, r.payload_len), .offset = w->offset};
    return OK;
}

/* Moves on over zeros, of which a head's worth lies at w->offset, to the last place from which a head could begin. */
static void pass_zeros(struct log_walk *w)
{
    const unsigned char *p = w->buf + (w->offset - w->at), *end = w->buf + w->len;
    uint64_t word;
    for (; p + LOG_ALIGN <= end; p += LOG_ALIGN, w->offset += LOG_ALIGN) {
        memcpy(&word, p, sizeof word);
        if (word)
            break;
    }
    /* A head may begin with a word of zeros: no payload, and a checksum of 0. */
    w->offset -= 2 * LOG_ALIGN; /* of which the caller's step takes one back */
}

enum err log_walk_next(struct log_walk *w, struct log_view *out)
{
    assert(w->file && w->offset % LOG_ALIGN == 0);
    uint64_t budget = SEARCH_BYTES, from = w->offset;
    w->damaged = false;
    if (w->expect > w->most)
        return ERR_NOTFOUND;
    for (; w->offset + LOG_RECORD_HEAD <= w->end; w->offset += LOG_ALIGN) {
        enum err e = record_at(w, out, &budget);
        if (e == OK) {
            w->damaged |= w->offset != from;
            w->offset += log_record_size(out->record.payload_len);
            w->expect = out->record.sequence + 1;
            return OK;
        }
        if (e == ERR_CORRUPT)
            w->damaged = true;
        else if (e == ERR_NOTFOUND)
            pass_zeros(w);
        else
            return e;
    }
    /* What is left is shorter than a head: zeros, unless damaged. */
    const unsigned char *p;
    size_t got = 0, left = w->end > w->offset ? (size_t)(w->end - w->offset) : 0;
    enum err e = left ? bytes_at(w, w->offset, left, &p, &got) : OK;
    for (size_t i = 0; i < got && !e; i++)
        w->damaged |= p[i] != 0;
    return e ? e : ERR_NOTFOUND;
}
