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
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/reclaim_rig.h"

#define SEGMENT (512u << 10)     /* of eight blocks */
#if defined(__SANITIZE_THREAD__) /* what one thread does alone is told by the other sanitizers */
#define RANDOM_SEEDS 1u
#define STOP_STRIDE 6u
#else
#define RANDOM_SEEDS 4u
#define STOP_STRIDE 1u
#endif

static struct rig *real_rig(uint64_t seed)
{
    char root[] = "/tmp/leat-reclaim-XXXXXX", dir[64];
    assert_non_null(mkdtemp(root));
    snprintf(dir, sizeof dir, "%s/log", root);
    return rig_new(disk_system(), dir, SEGMENT, seed);
}

static void remove_file(struct rig *r, const char *path)
{
    (void)r;
    assert_int_equal(unlink(path), 0);
}

static void rig_free(struct rig *r)
{
    log_store_close(r->store);
    each_file(r, "", remove_file);
    assert_int_equal(rmdir(r->dir), 0);
    *strrchr(r->dir, '/') = 0;
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
}

/* ---- the cases ---- */

static void what_nobody_needs_goes(void **state)
{
    (void)state;
    struct rig *r = real_rig(1);
    fill_segments(r, 1, 5);
    struct log_reclaimed out = reclaim_all(r);
    assert_int_equal(out.segments_removed, 3);
    assert_int_equal(out.segments_compacted, 0);
    assert_int_equal(out.bytes, 3 * SEGMENT);
    assert_int_equal(segments(r).count, 2); /* the newest two stay (S6) */
    assert_int_equal(each_file(r, ".seg", NULL), 2);
    assert_int_equal(each_file(r, ".tmp", NULL), 0);
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
    struct rig *r = real_rig(2);
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
    struct rig *r = real_rig(3);
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
    struct rig *r = real_rig(4);
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
    struct rig *r = real_rig(5);
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
    struct rig *r = real_rig(6);
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
    struct rig *r = real_rig(7);
    r->events[append(r, 1, 1000)].needed = true;
    fill_segments(r, 1, 6);
    unsigned before = segments(r).count;
    for (r->stop_after = 1; r->stop_after < 40; r->stop_after += STOP_STRIDE) {
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
    struct rig *r = real_rig(8);
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
    struct rig *r = real_rig(9);
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

static void save_file(struct rig *r, const char *path)
{
    (void)r;
    char command[600];
    snprintf(command, sizeof command, "cp -p %s %s/", path, saved_dir);
    assert_int_equal(system(command), 0);
}

/* Joined, and the others were not removed yet. */
static void leftovers_of_joining_go(void **state)
{
    (void)state;
    struct rig *r = real_rig(10);
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
    assert_int_equal(each_file(r, ".seg", NULL), count);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    rig_free(r);
}

/* ---- damage ---- */

static char first_segment[400];

static void note_first(struct rig *r, const char *path)
{
    (void)r;
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
    struct rig *r = real_rig(11);
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

/* Nor forgotten: who came upon it while reading leaves no index that would keep the next opening from looking. */
static void damage_that_a_reader_finds_is_found_again(void **state)
{
    (void)state;
    struct rig *r = real_rig(16);
    fill_segments(r, 1, 3);
    damage(r, 200000, 0, 0);
    assert_int_equal(log_store_commit(r->store), OK);
    struct log_reader *reader;
    struct log_view v;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(log_reader_new(r->store, 1, 1, &reader), OK);
        while (log_reader_next(reader, &v) == OK)
            continue;
        log_reader_free(reader);
        assert_int_equal(log_store_lost(r->store), 1);
    }
    for (int i = 0; i < 2; i++) { /* by looking, then by the new index */
        reopen(r);
        assert_int_equal(log_store_lost(r->store), 1);
        assert_int_equal(each_file(r, ".idx", NULL), 2);
    }
    rig_free(r);
}

/* In a compacted segment a loss is told from what was left out: in the middle, at the end, all of it. */
static void damage_in_what_was_compacted_is_named(void **state)
{
    (void)state;
    for (int where = 0; where < 3; where++) {
        struct rig *r = real_rig(12);
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
    struct rig *r = real_rig(13);
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

/* The last reader leaves the newest segment while the writer begins the next one: the index of the full one is whole
 * all the same, and reclaiming goes by it. */
static struct log_reader *leaver;

static void close_and_leave(struct disk *k, struct disk_file *f)
{
    struct log_reader *r = leaver;
    leaver = NULL;
    log_reader_free(r);
    disk_system()->ops->close(k, f);
}

static void a_reader_leaves_while_a_segment_ends(void **state)
{
    (void)state;
    struct disk_ops ops = *disk_system()->ops;
    struct disk disk = {&ops};
    ops.close = close_and_leave;
    struct rig *r = real_rig(15);
    log_store_close(r->store);
    r->disk = &disk;
    open_store(r);
    struct log_view v;
    r->events[append(r, 1, 1000)].needed = true;
    assert_int_equal(log_store_commit(r->store), OK);
    struct log_reader *reader;
    assert_int_equal(log_reader_new(r->store, 1, 1, &reader), OK);
    assert_int_equal(log_reader_next(reader, &v), OK);
    leaver = reader; /* goes with the next file that is closed: the full segment's */
    fill_segments(r, 1, 4);
    assert_null(leaver);
    r->cautious = true;
    reclaim_all(r);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    rig_free(r);
}

/* ---- all threads at once ---- */

#define MANY 6000
#define TAILS 3

struct beside {
    struct log_store *store;
    const struct ce_event *event;
    _Atomic uint64_t position[TAILS]; /* the lowest sequence that each may still need */
    uint64_t seen[TAILS];
    _Atomic bool written;
};

static bool tail_needs(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    struct beside *b = arg;
    (void)first;
    for (int i = 0; i < TAILS; i++)
        if (channel == 1 && atomic_load(&b->position[i]) <= last)
            return true;
    return false;
}

static bool tail_wants(void *arg, const struct log_view *v)
{
    return tail_needs(arg, v->record.channel, v->record.sequence, v->record.sequence);
}

static void *write_many(void *arg)
{
    struct beside *b = arg;
    for (int i = 0; i < MANY; i += 20) {
        struct log_write w[20];
        for (int k = 0; k < 20; k++) /* a fifth is read, and so is needed; the rest makes segments sparse */
            w[k] = (struct log_write){.kind = LOG_EVENT, .channel = k % 5 ? 2 : 1, .event = b->event};
        assert_int_equal(log_store_append(b->store, w, 20), OK);
        assert_int_equal(log_store_commit(b->store), OK);
    }
    atomic_store(&b->written, true);
    return NULL;
}

struct tail {
    struct beside *beside;
    int index;
};

/* Reads as a subscription does: what is behind it is needed no more. */
static void *read_many(void *arg)
{
    struct tail *t = arg;
    struct beside *b = t->beside;
    struct log_reader *r;
    struct log_view v;
    assert_int_equal(log_reader_new(b->store, 1, 1, &r), OK);
    while (b->seen[t->index] < MANY / 5) {
        bool over = atomic_load(&b->written);
        enum err e = log_reader_next(r, &v);
        if (e == ERR_PENDING) {
            assert_false(over); /* then all of it was there */
            sched_yield();
            continue;
        }
        assert_int_equal(e, OK);
        assert_true(v.record.sequence >= atomic_load(&b->position[t->index]));
        atomic_store(&b->position[t->index], v.record.sequence + 1);
        b->seen[t->index]++;
        if (b->seen[t->index] % 50 == 0) /* now and then it comes back, as from memory to the disk */
            log_reader_seek(r, v.record.sequence + 1);
    }
    log_reader_free(r);
    return NULL;
}

static void all_at_once(void **state)
{
    (void)state;
    struct rig *r = real_rig(14);
    struct beside b = {.store = r->store, .event = event_of(1, 4000)};
    struct tail tails[TAILS];
    pthread_t threads[TAILS + 1];
    for (int i = 0; i < TAILS; i++) {
        atomic_store(&b.position[i], 1);
        tails[i] = (struct tail){&b, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_many, &tails[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[TAILS], NULL, write_many, &b), 0);
    struct log_policy p = {.needed = tail_needs, .wanted = tail_wants, .arg = &b, .below = UINT64_MAX};
    struct log_reclaimed sum = {0}, out;
    while (!atomic_load(&b.written)) {
        assert_int_equal(log_store_reclaim(r->store, &p, &out), OK);
        sum.segments_removed += out.segments_removed;
        sum.segments_compacted += out.segments_compacted;
        assert_int_equal(log_store_prepare(r->store, 0), OK);
    }
    for (int i = 0; i <= TAILS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(log_store_lost(r->store), 0);
    assert_true(sum.segments_removed + sum.segments_compacted > 0);
    ce_event_unref(b.event);
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
    for (uint64_t seed = 100; seed < 100 + RANDOM_SEEDS; seed++) {
        struct rig *r = real_rig(seed);
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
        cmocka_unit_test(damage_that_a_reader_finds_is_found_again),
        cmocka_unit_test(damage_in_what_was_compacted_is_named),
        cmocka_unit_test(the_next_segment_is_made_ahead),
        cmocka_unit_test(a_reader_leaves_while_a_segment_ends),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
