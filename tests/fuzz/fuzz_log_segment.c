/* SPDX-License-Identifier: Apache-2.0 */
/* room: channels */
/* Any bytes as the only segment of a log, opened to look at and opened to go on. The first byte chooses: the bytes are
 * the whole file; or what stands behind a good head; or tell of records that are then sealed with right checksums, so
 * that what they hold is met too, not only the checksum. Properties: no bad access, no hang; inspection writes nothing;
 * sequences rise; what was written before a close is there after it, and the second opening finds what the first did.
 */
#include <stdlib.h>

#include "../../channels/log/store.h"
#include "../lib/fake_disk.h"
#include "prng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT "/data/log/00000000000000000001.seg"
#define FILE_BYTES LOG_SEGMENT_BYTES_MIN

static struct clock_fake now;
static struct fake_disk *empty; /* with a log in it that has nothing yet */
static unsigned char head[LOG_SEGMENT_HEAD], id[LOG_ID_BYTES];

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct log_store *open_store(struct fake_disk *d, bool read_only)
{
    struct log_store_options o = {.disk = fake_disk_base(d),
                                  .clock = &now.base,
                                  .dir = "/data/log",
                                  .segment_bytes = FILE_BYTES,
                                  .read_only = read_only};
    struct log_store *s = NULL;
    struct diag diag = {0};
    enum err e = log_store_open(&o, &s, &diag);
    must(e == OK ? s != NULL : !s && diag.text[0]);
    return s;
}

static void make_empty(void)
{
    unsigned char *bytes;
    size_t len;
    struct log_object o = {.type = LOG_CHANNEL, .number = 1, .name = SLICE_INIT("c"), .value = SLICE_INIT("")};
    struct log_write w = {.kind = LOG_OBJECT, .object = &o};
    clock_fake_init(&now, 1, 1700000000000000000);
    empty = fake_disk_new(1);
    struct log_store *s = open_store(empty, false);
    must(s && log_store_append(s, &w, 1) == OK && log_store_commit(s) == OK);
    log_store_close(s);
    must(fake_disk_get(empty, SEGMENT, &bytes, &len) && len == FILE_BYTES);
    memcpy(head, bytes, sizeof(head));
    memcpy(id, head + 16, sizeof(id));
    free(bytes);
}

static uint64_t signed_step(uint64_t from, uint8_t step)
{
    return step < 128 ? from + step : from - (256u - step);
}

/* Records from a telling of 8 bytes each: kind, how the sequence goes on, what is committed, channel, spread, two of
 * the length, and whether a bit of it is turned over. */
static size_t seal(const uint8_t *data, size_t size, unsigned char *to, size_t room)
{
    size_t used = 0;
    uint64_t sequence = 0;
    while (size >= 8) {
        size_t len = data[5] | (size_t)(data[6] & 7) << 8;
        struct log_record r = {.kind = (enum log_kind)(1 + data[0] % 5), .channel = data[3], .spread = data[4]};
        uint8_t broken = data[7];
        sequence = r.sequence = signed_step(sequence, data[1]);
        if (sequence == 0)
            return used;
        r.committed = signed_step(sequence, data[2]);
        if (r.committed >= sequence) /* is never sealed */
            r.committed = sequence - 1;
        r.wall_ns = now.wall + data[3];
        data += 8;
        size -= 8;
        len = len < size ? len : size;
        r.payload_len = (uint32_t)len;
        size_t whole = (size_t)log_record_size(len);
        if (used + whole > room)
            break;
        memcpy(to + used + LOG_RECORD_HEAD, data, len);
        log_record_encode(&r, id, to + used);
        if (broken >= 128)
            to[used + broken % whole] ^= 1;
        used += whole;
        data += len;
        size -= len;
    }
    return used;
}

struct seen {
    uint64_t records, last, sum;
};

static struct seen read_all(struct log_store *s, uint32_t channel)
{
    struct seen seen = {0};
    struct log_reader *r = NULL;
    struct log_view v;
    must(log_reader_new(s, channel, 0, &r) == OK);
    enum err e;
    while ((e = log_reader_next(r, &v)) == OK) {
        must(v.record.sequence > seen.last && v.record.sequence <= log_store_committed(s));
        must(channel == 0 || v.record.channel == channel);
        seen.last = v.record.sequence;
        seen.records++;
        for (size_t i = 0; i < v.payload.len; i++)
            seen.sum = seen.sum * 31 + (unsigned char)v.payload.ptr[i];
    }
    must(e == ERR_PENDING);
    log_reader_free(r);
    return seen;
}

static void on_object(void *arg, const struct log_object *o)
{
    *(size_t *)arg += o->name.len + o->value.len + 1;
}

static struct seen look(struct log_store *s)
{
    size_t sum = 0;
    struct log_channel_usage u;
    for (uint32_t c = 1; c < 4; c++) {
        log_store_usage(s, c, &u);
        (void)read_all(s, c);
        (void)log_store_seek_time(s, c, now.wall + 1);
    }
    log_store_each_object(s, on_object, &sum);
    return read_all(s, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[FILE_BYTES];
    if (size < 1)
        return 0;
    if (!empty)
        make_empty();
    uint8_t how = data[0] % 4;
    size_t len = size - 1 < FILE_BYTES - LOG_SEGMENT_HEAD ? size - 1 : FILE_BYTES - LOG_SEGMENT_HEAD;
    memset(file, 0, sizeof(file));
    memcpy(file, head, sizeof(head));
    if (how == 0)
        memcpy(file, data + 1, len);
    else if (how == 1)
        memcpy(file + LOG_SEGMENT_HEAD, data + 1, len);
    else
        (void)seal(data + 1, size - 1, file + LOG_SEGMENT_HEAD, FILE_BYTES - LOG_SEGMENT_HEAD);
    struct fake_disk *d = fake_disk_kill(empty, 1);
    fake_disk_put(d, SEGMENT, file, how == 0 ? len : FILE_BYTES);
    struct log_store *s = open_store(d, true);
    if (s)
        (void)look(s);
    log_store_close(s);
    must(fake_disk_count(d, FAKE_CHANGES) == 0);
    s = open_store(d, false);
    if (s) {
        struct seen first = look(s);
        struct log_object o = {.type = LOG_CHANNEL,
                               .number = log_store_next_number(s, LOG_CHANNEL),
                               .name = SLICE_INIT("new"),
                               .value = SLICE_INIT("v")};
        struct log_write w = {.kind = LOG_OBJECT, .object = &o};
        if (o.number) {
            must(log_store_append(s, &w, 1) == OK && log_store_commit(s) == OK);
            must(w.sequence > first.last && read_all(s, 0).last == w.sequence);
        }
        log_store_close(s);
        s = open_store(d, false);
        must(s && (!o.number || read_all(s, 0).last >= w.sequence));
        log_store_close(s);
    }
    fake_disk_free(d);
    return 0;
}
