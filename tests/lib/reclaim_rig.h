/* SPDX-License-Identifier: Apache-2.0
 *
 * A store for the tests of reclaiming: events that are known by their sequences, a policy that needs some of them, and
 * a check of all that must be there. Over any disk.
 */
#ifndef LEAT_TESTS_RECLAIM_RIG_H
#define LEAT_TESTS_RECLAIM_RIG_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ce_pack.h"
#include "channels/log/store.h"
#include "prng.h"

#define EVENTS_MAX 20000
#define CHANNELS 3

struct kept {
    uint32_t channel, size;
    int64_t wall_ns;
    bool needed;
};

struct rig {
    struct disk *disk;
    uint64_t segment_bytes;
    char dir[64];
    struct clock_fake clock;
    struct log_store *store;
    struct kept events[EVENTS_MAX]; /* by sequence; channel 0: no event */
    uint64_t last;
    int64_t age_ns[CHANNELS + 1];
    uint64_t bytes[CHANNELS + 1];
    bool cautious; /* needed() knows of the channel only */
    unsigned lost_notices, stop_after, asked;
    struct prng p;
};

static inline void notice(void *arg, int severity, const char *code, const char *text)
{
    struct rig *r = arg;
    (void)severity;
    (void)text;
    r->lost_notices += !strcmp(code, "LogLost");
}

static inline void open_store(struct rig *r)
{
    struct log_store_options o = {.disk = r->disk,
                                  .clock = &r->clock.base,
                                  .dir = r->dir,
                                  .segment_bytes = r->segment_bytes,
                                  .notice = notice,
                                  .arg = r};
    struct diag d = {0};
    if (log_store_open(&o, &r->store, &d))
        fail_msg("%s", d.text);
}

static inline void reopen(struct rig *r)
{
    log_store_close(r->store);
    open_store(r);
}

/* `dir` need not be there, but what it is in. */
static inline struct rig *rig_new(struct disk *disk, const char *dir, uint64_t segment_bytes, uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    r->disk = disk;
    r->segment_bytes = segment_bytes;
    clock_fake_init(&r->clock, 1, 1800000000ll * (int64_t)NS_PER_S);
    prng_seed(&r->p, seed);
    open_store(r);
    return r;
}

struct each {
    struct rig *rig;
    const char *suffix;
    void (*visit)(struct rig *r, const char *path);
    unsigned count;
};

static inline void each_name(void *arg, const char *name)
{
    struct each *e = arg;
    char path[400];
    if (!slice_has_suffix(slice_str(name), slice_str(e->suffix)))
        return;
    e->count++;
    snprintf(path, sizeof path, "%s/%s", e->rig->dir, name);
    if (e->visit)
        e->visit(e->rig, path);
}

/* Calls visit with the path of each file that ends so; returns how many there are. */
static inline unsigned each_file(struct rig *r, const char *suffix, void (*visit)(struct rig *r, const char *path))
{
    struct each e = {r, suffix, visit, 0};
    assert_int_equal(r->disk->ops->list(r->disk, r->dir, each_name, &e, NULL), OK);
    return e.count;
}

/* ---- events, known by their sequence ---- */

static inline const struct ce_event *event_of(uint64_t number, uint32_t size)
{
    char id[24];
    char *data = malloc(size + 1);
    const struct ce_event *e = NULL;
    assert_non_null(data);
    for (uint32_t i = 0; i < size; i++)
        data[i] = (char)(number * 31 + i);
    snprintf(id, sizeof id, "%" PRIu64, number);
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of(data, size));
    assert_int_equal(ce_builder_seal(&b, 1 << 24, &e, NULL), OK);
    free(data);
    return e;
}

/* An event whose id is the sequence that it is expected to get; segments take some of their own. Not committed. */
static inline uint64_t append(struct rig *r, uint32_t channel, uint32_t size)
{
    uint64_t guess = log_store_last(r->store) + 1;
    for (;;) {
        const struct ce_event *e = event_of(guess, size);
        struct log_write w = {.kind = LOG_EVENT, .channel = channel, .event = e};
        assert_int_equal(log_store_append(r->store, &w, 1), OK);
        ce_event_unref(e);
        uint64_t sequence = w.sequence;
        assert_true(sequence < EVENTS_MAX);
        r->last = sequence;
        if (sequence == guess) {
            r->events[sequence] = (struct kept){channel, size, w.wall_ns, false};
            return sequence;
        }
        guess = sequence + 1; /* it was in a new segment: the event stays there under a wrong name, of no channel */
    }
}

static inline void fill_segments(struct rig *r, uint32_t channel, unsigned segments)
{
    unsigned before = each_file(r, ".seg", NULL);
    while (each_file(r, ".seg", NULL) < before + segments)
        for (int i = 0; i < 10; i++)
            append(r, channel, (uint32_t)(r->segment_bytes / 64));
}

/* ---- the policy ---- */

static inline bool needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    struct rig *r = arg;
    for (uint64_t s = r->cautious ? 1 : first; s <= (r->cautious ? r->last : last) && s < EVENTS_MAX; s++)
        if (r->events[s].channel == channel && r->events[s].needed)
            return true;
    return false;
}

static inline bool wanted(void *arg, const struct log_view *v)
{
    struct rig *r = arg;
    assert_int_equal(v->record.kind, LOG_EVENT);
    return r->events[v->record.sequence].needed;
}

static inline void retention(void *arg, uint32_t channel, int64_t *age_ns, uint64_t *bytes)
{
    struct rig *r = arg;
    *age_ns = r->age_ns[channel];
    *bytes = r->bytes[channel];
}

static inline bool stop(void *arg)
{
    struct rig *r = arg;
    return r->stop_after && ++r->asked > r->stop_after;
}

static inline enum err reclaim(struct rig *r, struct log_reclaimed *out)
{
    struct log_policy p = {.needed = needed, .wanted = wanted, .retention = retention, .stop = stop, .arg = r};
    p.below = UINT64_MAX;
    assert_int_equal(log_store_commit(r->store), OK);
    return log_store_reclaim(r->store, &p, out);
}

/* Until there is nothing to do any more. */
static inline struct log_reclaimed reclaim_all(struct rig *r)
{
    struct log_reclaimed sum = {0}, one;
    for (int round = 0; round < 50; round++) {
        assert_int_equal(reclaim(r, &one), OK);
        sum.segments_removed += one.segments_removed;
        sum.segments_compacted += one.segments_compacted;
        sum.bytes += one.bytes;
        if (!one.segments_removed && !one.segments_compacted)
            return sum;
    }
    fail_msg("reclaiming comes to no end");
    return sum;
}

/* ---- what is there ---- */

static inline void is_the_event(const struct rig *r, const struct log_view *v)
{
    const struct kept *k = &r->events[v->record.sequence];
    const struct ce_event *expected = event_of(v->record.sequence, k->size), *got = NULL;
    assert_int_equal(v->record.channel, k->channel);
    assert_int_equal(v->record.wall_ns, k->wall_ns);
    assert_int_equal(ce_unpack(v->payload, &got, NULL), OK);
    assert_true(ce_event_equal(expected, got));
    ce_event_unref(expected);
    ce_event_unref(got);
}

/* Reads everything, by channel and whole: what is needed is there, what is there is right, in order. `seen` may be
 * NULL; returns how many events there are. */
static inline unsigned check(struct rig *r, bool *seen)
{
    unsigned count = 0;
    static bool there[EVENTS_MAX];
    assert_int_equal(log_store_commit(r->store), OK);
    memset(there, 0, sizeof there);
    for (uint32_t channel = 0; channel <= CHANNELS; channel++) {
        struct log_reader *reader;
        struct log_view v;
        uint64_t before = 0;
        enum err e;
        assert_int_equal(log_reader_new(r->store, channel, 1, &reader), OK);
        while ((e = log_reader_next(reader, &v)) == OK) {
            assert_true(v.record.sequence > before);
            before = v.record.sequence;
            if (v.record.kind != LOG_EVENT || !r->events[before].channel)
                continue;
            is_the_event(r, &v);
            count += channel == 0;
            if (channel == 0)
                there[before] = true;
            else
                assert_true(there[before]);
        }
        assert_int_equal(e, ERR_PENDING);
        log_reader_free(reader);
        for (uint64_t s = 1; s <= r->last && channel; s++)
            if (r->events[s].needed && r->events[s].channel == channel)
                assert_true(there[s]);
    }
    assert_int_equal(log_store_lost(r->store), 0);
    if (seen)
        memcpy(seen, there, sizeof there);
    return count;
}

struct seen_segments {
    unsigned count, compacted;
    uint64_t next, size;
};

static inline void look_at_segment(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage,
                                   size_t count)
{
    struct seen_segments *s = arg;
    (void)usage;
    (void)count;
    if (s->count++)
        assert_int_equal(i->first, s->next); /* R1 */
    s->next = i->last + 1;
    s->compacted += i->compacted;
    s->size += i->size;
}

static inline struct seen_segments segments(struct rig *r)
{
    struct seen_segments s = {0};
    assert_int_equal(log_store_commit(r->store), OK);
    log_store_each_segment(r->store, look_at_segment, &s);
    assert_true(s.count <= each_file(r, ".seg", NULL)); /* what could not be removed goes when the log is opened */
    return s;
}

#endif
