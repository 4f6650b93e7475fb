/* SPDX-License-Identifier: Apache-2.0
 *
 * Reclaiming, in real folders: what nobody needs goes and what somebody needs stays, to the byte, also for who reads
 * beside it and after opening again; nothing is named as lost that is not, and damage is not tidied away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ce_pack.h"
#include "channels/log/store.h"
#include "prng.h"

#define SEGMENT (512u << 10) /* of eight blocks */
#define EVENTS_MAX 20000
#define CHANNELS 3

struct kept {
    uint32_t channel, size;
    int64_t wall_ns;
    bool needed;
};

struct rig {
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

static void notice(void *arg, int severity, const char *code, const char *text)
{
    struct rig *r = arg;
    (void)severity;
    (void)text;
    r->lost_notices += !strcmp(code, "LogLost");
}

static void open_store(struct rig *r)
{
    struct log_store_options o = {.disk = disk_system(),
                                  .clock = &r->clock.base,
                                  .dir = r->dir,
                                  .segment_bytes = SEGMENT,
                                  .notice = notice,
                                  .arg = r};
    struct diag d = {0};
    if (log_store_open(&o, &r->store, &d))
        fail_msg("%s", d.text);
}

static void reopen(struct rig *r)
{
    log_store_close(r->store);
    open_store(r);
}

static struct rig *rig_new(uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    strcpy(r->dir, "/tmp/leat-reclaim-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    clock_fake_init(&r->clock, 1, 1800000000ll * (int64_t)NS_PER_S);
    prng_seed(&r->p, seed);
    open_store(r);
    return r;
}

/* Calls visit with the path of each file that ends so; returns how many there are. */
static unsigned each_file(struct rig *r, const char *suffix, void (*visit)(const char *path))
{
    unsigned n = 0;
    DIR *dir = opendir(r->dir);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.' || !slice_has_suffix(slice_str(e->d_name), slice_str(suffix)))
            continue;
        char path[400];
        snprintf(path, sizeof path, "%s/%s", r->dir, e->d_name);
        n++;
        if (visit)
            visit(path);
    }
    closedir(dir);
    return n;
}

static void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void rig_free(struct rig *r)
{
    log_store_close(r->store);
    each_file(r, "", remove_file);
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
}

/* ---- events, known by their sequence ---- */

static const struct ce_event *event_of(uint64_t number, uint32_t size)
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
static uint64_t append(struct rig *r, uint32_t channel, uint32_t size)
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

static void fill_segments(struct rig *r, uint32_t channel, unsigned segments)
{
    unsigned before = each_file(r, ".seg", NULL);
    while (each_file(r, ".seg", NULL) < before + segments)
        for (int i = 0; i < 10; i++)
            append(r, channel, 8000);
}

/* ---- the policy ---- */

static bool needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    struct rig *r = arg;
    for (uint64_t s = r->cautious ? 1 : first; s <= (r->cautious ? r->last : last) && s < EVENTS_MAX; s++)
        if (r->events[s].channel == channel && r->events[s].needed)
            return true;
    return false;
}

static bool wanted(void *arg, const struct log_view *v)
{
    struct rig *r = arg;
    assert_int_equal(v->record.kind, LOG_EVENT);
    return r->events[v->record.sequence].needed;
}

static void retention(void *arg, uint32_t channel, int64_t *age_ns, uint64_t *bytes)
{
    struct rig *r = arg;
    *age_ns = r->age_ns[channel];
    *bytes = r->bytes[channel];
}

static bool stop(void *arg)
{
    struct rig *r = arg;
    return r->stop_after && ++r->asked > r->stop_after;
}

static enum err reclaim(struct rig *r, struct log_reclaimed *out)
{
    struct log_policy p = {.needed = needed, .wanted = wanted, .retention = retention, .stop = stop, .arg = r};
    p.below = UINT64_MAX;
    assert_int_equal(log_store_commit(r->store), OK);
    return log_store_reclaim(r->store, &p, out);
}

/* Until there is nothing to do any more. */
static struct log_reclaimed reclaim_all(struct rig *r)
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

static void is_the_event(const struct rig *r, const struct log_view *v)
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
static unsigned check(struct rig *r, bool *seen)
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

static void look_at_segment(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage,
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

static struct seen_segments segments(struct rig *r)
{
    struct seen_segments s = {0};
    assert_int_equal(log_store_commit(r->store), OK);
    log_store_each_segment(r->store, look_at_segment, &s);
    assert_int_equal(s.count, each_file(r, ".seg", NULL));
    assert_int_equal(each_file(r, ".tmp", NULL), 0);
    return s;
}

/* ---- the cases ---- */

static void what_nobody_needs_goes(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    fill_segments(r, 1, 5);
    struct log_reclaimed out = reclaim_all(r);
    assert_int_equal(out.segments_removed, 3);
    assert_int_equal(out.segments_compacted, 0);
    assert_int_equal(out.bytes, 3 * SEGMENT);
    assert_int_equal(segments(r).count, 2); /* the newest two stay (S6) */
    assert_int_equal(each_file(r, ".idx", NULL), 1);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    append(r, 1, 100);
    rig_free(r);
}

static void one_event_does_not_pin_the_disk(void **state)
{
    (void)state;
    struct rig *r = rig_new(2);
    append(r, 1, 1000);
    uint64_t one = append(r, 1, 1000);
    r->events[one].needed = true;
    fill_segments(r, 1, 20);
    struct log_reclaimed out = reclaim_all(r);
    assert_int_equal(out.segments_removed, 0);
    assert_true(out.segments_compacted >= 18);
    struct seen_segments s = segments(r);
    assert_true(s.count <= 6 && s.compacted == s.count - 2);
    assert_true(s.size < 3 * SEGMENT);
    check(r, NULL);
    reopen(r);
    assert_int_equal(r->lost_notices, 0);
    segments(r);
    check(r, NULL);
    fill_segments(r, 1, 8);
    reclaim_all(r);
    assert_true(segments(r).count <= 6); /* however long it goes on */
    check(r, NULL);
    r->events[one].needed = false;
    reclaim_all(r);
    assert_int_equal(segments(r).count, 2);
    rig_free(r);
}

/* Little is needed in every segment, and by a channel that is busy too: the blocks tell. */
static void a_little_of_each(void **state)
{
    (void)state;
    struct rig *r = rig_new(3);
    for (int i = 0; i < 2000; i++) {
        uint64_t s = append(r, 1 + (uint32_t)(i % 2), 4000);
        r->events[s].needed = i % 160 == 0;
    }
    unsigned before = segments(r).count;
    reclaim_all(r);
    assert_true(before > 10 && segments(r).count <= 7);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    reclaim_all(r);
    check(r, NULL);
    rig_free(r);
}

static void what_is_needed_much_is_left_alone(void **state)
{
    (void)state;
    struct rig *r = rig_new(4);
    for (int i = 0; i < 400; i++)
        r->events[append(r, 1, 8000)].needed = i < 200;
    unsigned before = segments(r).count;
    struct log_reclaimed out = reclaim_all(r);
    assert_int_equal(out.segments_removed, 0);
    assert_true(segments(r).compacted < before - 2);
    check(r, NULL);
    rig_free(r);
}

static void kept_for_replay_by_age(void **state)
{
    (void)state;
    struct rig *r = rig_new(5);
    r->age_ns[1] = 100 * (int64_t)NS_PER_S;
    r->bytes[1] = UINT64_MAX;
    uint64_t first[10];
    for (int i = 0; i < 10; i++) {
        first[i] = append(r, 1, 1000);
        fill_segments(r, 2, 2);
        clock_fake_advance(&r->clock, 20 * NS_PER_S);
    }
    static bool seen[EVENTS_MAX];
    reclaim_all(r); /* 200 s after the first, 20 s after the last */
    check(r, seen);
    for (int i = 0; i < 10; i++)
        assert_int_equal(seen[first[i]], i > 5);
    clock_fake_advance(&r->clock, 1000 * NS_PER_S);
    reclaim_all(r);
    assert_int_equal(segments(r).count, 2);
    rig_free(r);
}

static void kept_for_replay_by_bytes(void **state)
{
    (void)state;
    struct rig *r = rig_new(6);
    r->age_ns[1] = INT64_MAX;
    r->bytes[1] = 3 * SEGMENT;
    fill_segments(r, 1, 10);
    reclaim_all(r);
    unsigned count = segments(r).count;
    assert_true(count >= 4 && count <= 5);
    check(r, NULL);
    r->bytes[1] = 0;
    reclaim_all(r);
    assert_int_equal(segments(r).count, 2);
    rig_free(r);
}

static void it_stops_when_it_is_told(void **state)
{
    (void)state;
    struct rig *r = rig_new(7);
    r->events[append(r, 1, 1000)].needed = true;
    fill_segments(r, 1, 6);
    unsigned before = segments(r).count;
    for (r->stop_after = 1; r->stop_after < 40; r->stop_after++) {
        struct log_reclaimed out;
        r->asked = 0;
        assert_int_equal(reclaim(r, &out), OK);
        segments(r);
        check(r, NULL);
    }
    r->stop_after = 0;
    reclaim_all(r);
    assert_true(segments(r).size < before * SEGMENT / 2);
    rig_free(r);
}

static void the_cursors_must_know_first(void **state)
{
    (void)state;
    struct rig *r = rig_new(8);
    fill_segments(r, 1, 5);
    struct log_policy p = {.needed = needed, .wanted = wanted, .arg = r, .below = 2};
    struct log_reclaimed out;
    assert_int_equal(log_store_commit(r->store), OK);
    assert_int_equal(log_store_reclaim(r->store, &p, &out), OK);
    assert_int_equal(out.segments_removed, 0);
    p.below = log_store_committed(r->store) + 1;
    assert_int_equal(log_store_reclaim(r->store, &p, &out), OK);
    assert_int_equal(out.segments_removed, 3);
    rig_free(r);
}

/* Readers that are inside when their segment goes read on, and see everything from there on that was there. */
static void who_reads_is_not_disturbed(void **state)
{
    (void)state;
    struct rig *r = rig_new(9);
    fill_segments(r, 1, 8);
    assert_int_equal(log_store_commit(r->store), OK);
    for (uint64_t s = 1; s <= r->last; s += 60)
        r->events[s].needed = r->events[s].channel != 0;
    struct log_reader *readers[40];
    struct log_view v;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(log_reader_new(r->store, i % 2 ? 1 : 0, 1 + (uint64_t)i * r->last / 40, &readers[i]), OK);
        assert_int_equal(log_reader_next(readers[i], &v), OK);
    }
    reclaim_all(r);
    for (int i = 0; i < 40; i++) {
        uint64_t before = 1 + (uint64_t)i * r->last / 40;
        static bool seen[EVENTS_MAX];
        memset(seen, 0, sizeof seen);
        while (log_reader_next(readers[i], &v) == OK) {
            assert_true(v.record.sequence > before);
            before = v.record.sequence;
            seen[before] = true;
            if (v.record.kind == LOG_EVENT && r->events[before].channel)
                is_the_event(r, &v);
        }
        for (uint64_t s = 2 + (uint64_t)i * r->last / 40; s <= r->last; s++)
            if (r->events[s].needed)
                assert_true(seen[s] || s == 1 + (uint64_t)i * r->last / 40);
        log_reader_free(readers[i]);
    }
    check(r, NULL);
    rig_free(r);
}

/* ---- crashes between the steps ---- */

static char saved_dir[64];

static void save_file(const char *path)
{
    char command[600];
    snprintf(command, sizeof command, "cp -p %s %s/", path, saved_dir);
    assert_int_equal(system(command), 0);
}

/* Joined, and the others were not removed yet. */
static void leftovers_of_joining_go(void **state)
{
    (void)state;
    struct rig *r = rig_new(10);
    for (int i = 0; i < 6; i++) {
        r->events[append(r, 1, 1000)].needed = true;
        fill_segments(r, 2, 1);
    }
    strcpy(saved_dir, "/tmp/leat-reclaim-saved-XXXXXX");
    assert_non_null(mkdtemp(saved_dir));
    struct log_reclaimed out;
    each_file(r, "", save_file);
    assert_int_equal(reclaim(r, &out), OK);
    assert_true(out.segments_compacted > 0);
    unsigned count = segments(r).count;
    log_store_close(r->store);
    char command[300];
    snprintf(command, sizeof command, "cp -n %s/* %s/; rm -r %s", saved_dir, r->dir, saved_dir);
    assert_int_equal(system(command), 0);
    assert_true(each_file(r, ".seg", NULL) > count);
    open_store(r);
    assert_int_equal(segments(r).count, count);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    rig_free(r);
}

/* ---- damage ---- */

static char first_segment[400];

static void note_first(const char *path)
{
    if (!first_segment[0] || strcmp(path, first_segment) < 0)
        strcpy(first_segment, path);
}

/* `how` 0: flips a byte; 1: writes zeros over `len` bytes. */
static void damage(struct rig *r, off_t at, size_t len, int how)
{
    first_segment[0] = 0;
    each_file(r, ".seg", note_first);
    int fd = open(first_segment, O_RDWR);
    unsigned char bytes[2000] = {0};
    assert_true(fd >= 0 && len <= sizeof bytes);
    if (how == 0) {
        assert_int_equal(pread(fd, bytes, 1, at), 1);
        bytes[0] ^= 0x10;
        len = 1;
    }
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

static void damage_is_not_tidied_away(void **state)
{
    (void)state;
    struct rig *r = rig_new(11);
    uint64_t one = append(r, 1, 1000);
    r->events[one].needed = true;
    fill_segments(r, 1, 5);
    damage(r, 200000, 0, 0);
    struct log_reclaimed out;
    assert_int_equal(reclaim(r, &out), OK);
    assert_int_equal(log_store_lost(r->store), 1);
    assert_int_equal(r->lost_notices, 1);
    struct log_lost lost;
    assert_true(log_store_lost_at(r->store, 0, &lost));
    assert_true(lost.first > one && lost.first == lost.last);
    assert_int_equal(reclaim(r, &out), OK); /* it knows by now */
    assert_int_equal(log_store_lost(r->store), 1);
    reopen(r);
    assert_int_equal(log_store_lost(r->store), 1);
    assert_int_equal(reclaim(r, &out), OK);
    struct stat st;
    assert_int_equal(stat(first_segment, &st), 0);
    assert_true(st.st_size == SEGMENT);
    r->events[one].needed = false; /* but whole it goes */
    reclaim_all(r);
    assert_int_equal(segments(r).count, 2);
    rig_free(r);
}

/* In a compacted segment a loss is told from what was left out: in the middle, at the end, all of it. */
static void damage_in_what_was_compacted_is_named(void **state)
{
    (void)state;
    for (int where = 0; where < 3; where++) {
        struct rig *r = rig_new(12);
        uint64_t some[3];
        for (int i = 0; i < 3; i++) {
            some[i] = append(r, 1, 1000);
            r->events[some[i]].needed = true;
            append(r, 1, 1000);
        }
        fill_segments(r, 1, 3);
        reclaim_all(r);
        check(r, NULL);
        log_store_close(r->store);
        each_file(r, ".idx", remove_file);
        if (where == 0)
            damage(r, LOG_SEGMENT_HEAD + 1200, 1100, 1); /* all of the second, of about 1,150 */
        else if (where == 1)
            damage(r, LOG_SEGMENT_HEAD + 2500, 1400, 1);
        else
            damage(r, LOG_SEGMENT_HEAD + 200, 0, 0);
        open_store(r);
        assert_true(log_store_lost(r->store) > 0);
        assert_true(r->lost_notices > 0);
        rig_free(r);
    }
}

/* ---- the segment made ahead ---- */

static void the_next_segment_is_made_ahead(void **state)
{
    (void)state;
    struct rig *r = rig_new(13);
    assert_int_equal(log_store_prepare(r->store, UINT64_MAX / 2), ERR_FULL);
    assert_int_equal(each_file(r, ".tmp", NULL), 0);
    assert_int_equal(log_store_prepare(r->store, 0), OK);
    assert_int_equal(log_store_prepare(r->store, UINT64_MAX / 2), OK); /* there is one */
    assert_int_equal(each_file(r, ".tmp", NULL), 1);
    fill_segments(r, 1, 1);
    assert_int_equal(each_file(r, ".tmp", NULL), 0); /* it is in use */
    assert_int_equal(log_store_prepare(r->store, 0), OK);
    fill_segments(r, 1, 2);
    assert_int_equal(log_store_prepare(r->store, 0), OK);
    check(r, NULL);
    reopen(r);
    assert_int_equal(each_file(r, ".tmp", NULL), 0);
    check(r, NULL);
    rig_free(r);
}

/* ---- anything, in any order ---- */

static void settle_some(struct rig *r)
{
    uint64_t from = 1 + prng_below(&r->p, r->last + 1), n = prng_below(&r->p, 300);
    for (uint64_t s = from; s < from + n && s <= r->last; s++)
        if (prng_below(&r->p, 20))
            r->events[s].needed = false;
}

static void random_step(struct rig *r)
{
    struct log_reclaimed out;
    switch (prng_below(&r->p, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        for (uint64_t n = prng_below(&r->p, 150); n; n--) {
            uint64_t s = append(r, 1 + (uint32_t)prng_below(&r->p, CHANNELS), (uint32_t)prng_below(&r->p, 12000));
            r->events[s].needed = prng_below(&r->p, 3) > 0;
        }
        break;
    case 4:
    case 5:
    case 6:
        settle_some(r);
        break;
    case 7:
        clock_fake_advance(&r->clock, prng_below(&r->p, 20 * NS_PER_S));
        break;
    case 8:
        (void)!log_store_prepare(r->store, 0);
        break;
    case 9:
        reopen(r);
        break;
    default:
        r->asked = 0;
        r->stop_after = prng_below(&r->p, 4) ? 0 : 1 + (unsigned)prng_below(&r->p, 300);
        r->cautious = prng_below(&r->p, 2);
        assert_int_equal(reclaim(r, &out), OK);
        break;
    }
}

static void random_operations(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 106; seed++) {
        struct rig *r = rig_new(seed);
        r->age_ns[1] = (int64_t)prng_below(&r->p, 60 * NS_PER_S);
        r->bytes[1] = prng_below(&r->p, 3000000);
        for (int i = 0; i < 120 && r->last < EVENTS_MAX - 1000; i++)
            random_step(r);
        r->stop_after = 0;
        check(r, NULL);
        reclaim_all(r);
        check(r, NULL);
        reopen(r);
        check(r, NULL);
        for (uint64_t s = 1; s <= r->last; s++)
            r->events[s].needed = false;
        memset(r->age_ns, 0, sizeof r->age_ns);
        reclaim_all(r);
        assert_int_equal(segments(r).count <= 2, true);
        assert_int_equal(r->lost_notices, 0);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_needs_goes),
        cmocka_unit_test(one_event_does_not_pin_the_disk),
        cmocka_unit_test(a_little_of_each),
        cmocka_unit_test(what_is_needed_much_is_left_alone),
        cmocka_unit_test(kept_for_replay_by_age),
        cmocka_unit_test(kept_for_replay_by_bytes),
        cmocka_unit_test(it_stops_when_it_is_told),
        cmocka_unit_test(the_cursors_must_know_first),
        cmocka_unit_test(who_reads_is_not_disturbed),
        cmocka_unit_test(leftovers_of_joining_go),
        cmocka_unit_test(damage_is_not_tidied_away),
        cmocka_unit_test(damage_in_what_was_compacted_is_named),
        cmocka_unit_test(the_next_segment_is_made_ahead),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
