/* SPDX-License-Identifier: Apache-2.0
 *
 * The store on real files: what was committed is found again, in order, with its catalogue; damage is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "ce_pack.h"
#include "tests/lib/store_rig.h"

static int set_up(void **state)
{
    struct rig *r = malloc(sizeof *r);
    rig_init(r);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

/* ---- what is written is read ---- */

static void an_empty_directory_becomes_a_log(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(log_store_committed(r->store), 0);
    uint64_t out[4];
    assert_int_equal(rig_read(r, 0, 0, out, 4), 0);
    rig_close(r);
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(log_store_committed(r->store), 0);
    assert_string_equal(r->said, "");
}

static void events_are_found_again_in_order_and_equal(void **state)
{
    struct rig *r = *state;
    enum { N = 500 };
    uint64_t sequences[N];
    assert_int_equal(rig_open(r), OK);
    for (unsigned i = 0; i < N; i++) {
        sequences[i] = rig_append(r, 1 + i % 3, i, i * 3);
        assert_true(sequences[i] > (i ? sequences[i - 1] : 0));
        if (i % 7 == 0)
            assert_true(rig_commit(r));
    }
    assert_true(rig_commit(r));
    for (int round = 0; round < 2; round++) {
        struct log_reader *reader;
        struct log_view v;
        assert_int_equal(log_reader_new(r->store, 2, 0, &reader), OK);
        for (unsigned i = 1; i < N; i += 3) {
            const struct ce_event *got, *wanted = rig_event(i, i * 3);
            assert_int_equal(log_reader_next(reader, &v), OK);
            assert_int_equal(v.record.sequence, sequences[i]);
            assert_int_equal(v.record.channel, 2);
            assert_int_equal(v.record.spread, 7);
            assert_int_equal(ce_unpack(v.payload, &got, NULL), OK);
            assert_true(ce_event_equal(got, wanted));
            ce_event_unref(got);
            ce_event_unref(wanted);
        }
        assert_int_equal(log_reader_next(reader, &v), ERR_PENDING);
        log_reader_free(reader);
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "");
    }
    assert_int_equal(log_store_lost(r->store), 0);
}

static void readers_see_only_what_is_committed(void **state)
{
    struct rig *r = *state;
    struct log_reader *reader;
    struct log_view v;
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(log_reader_new(r->store, 1, 0, &reader), OK);
    assert_int_equal(log_reader_next(reader, &v), ERR_PENDING);
    for (unsigned i = 0; i < 300; i++) { /* over several segments */
        uint64_t sequence = rig_append(r, 1, i, 1000);
        assert_int_equal(log_reader_next(reader, &v), ERR_PENDING);
        assert_true(log_store_committed(r->store) < sequence);
        assert_true(rig_commit(r));
        assert_int_equal(log_store_committed(r->store), sequence);
        assert_int_equal(log_reader_next(reader, &v), OK);
        assert_int_equal(v.record.sequence, sequence);
    }
    log_reader_seek(reader, 0);
    assert_int_equal(log_reader_next(reader, &v), OK);
    log_reader_free(reader);
}

static void a_record_larger_than_a_segment_gets_one_of_its_size(void **state)
{
    struct rig *r = *state;
    struct log_reader *reader;
    struct log_view v;
    assert_int_equal(rig_open(r), OK);
    assert_true(rig_append(r, 1, 1, 10));
    assert_true(rig_append(r, 1, 2, 3 << 20));
    assert_true(rig_append(r, 1, 3, 10));
    assert_true(rig_commit(r));
    rig_close(r);
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(log_reader_new(r->store, 1, 0, &reader), OK);
    for (uint64_t i = 1; i <= 3; i++) {
        const struct ce_event *got, *wanted = rig_event(i, i == 2 ? 3 << 20 : 10);
        assert_int_equal(log_reader_next(reader, &v), OK);
        assert_int_equal(ce_unpack(v.payload, &got, NULL), OK);
        assert_true(ce_event_equal(got, wanted));
        ce_event_unref(got);
        ce_event_unref(wanted);
    }
    assert_int_equal(log_reader_next(reader, &v), ERR_PENDING);
    log_reader_free(reader);
}

/* ---- the catalogue ---- */

static void put_name(void *arg, const struct log_object *o)
{
    char *text = arg;
    sprintf(text + strlen(text), "%c%u:%.*s=%.*s ", o->type == LOG_CHANNEL ? 'c' : 's', o->number, SLICE_ARG(o->name),
            SLICE_ARG(o->value));
}

static void the_catalogue_is_what_was_written_last(void **state)
{
    struct rig *r = *state;
    char text[400] = "";
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(log_store_next_number(r->store, LOG_CHANNEL), 1);
    assert_int_equal(log_store_next_number(r->store, LOG_CURSOR), 1);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CURSOR, 1, "sub", "a"), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 1, "one", "x"), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 2, "two", ""), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 9, "nine", ""), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT_GONE, LOG_CHANNEL, 9, "nine", ""), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CURSOR, 1, "sub", "b"), OK);
    assert_true(rig_commit(r));
    for (int round = 0; round < 3; round++) {
        text[0] = 0;
        log_store_each_object(r->store, put_name, text);
        assert_string_equal(text, "c1:one=x c2:two= s1:sub=b ");
        for (unsigned i = 0; round == 1 && i < 300; i++)
            assert_true(rig_append(r, 1, i, 1000));
        assert_true(rig_commit(r));
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
    }
    assert_int_equal(log_store_next_number(r->store, LOG_CHANNEL), 10); /* 9 is never used again */
    assert_int_equal(log_store_next_number(r->store, LOG_CURSOR), 2);
    assert_string_equal(r->said, "");
}

/* ---- damage ---- */

static const char *file_of(struct rig *r, uint64_t name, const char *suffix)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%020" PRIu64 "%s", r->dir, name, suffix);
    return path;
}

static void put_bytes(const char *path, uint64_t offset, const void *bytes, size_t len)
{
    int f = open(path, O_WRONLY);
    assert_true(f >= 0);
    assert_int_equal(pwrite(f, bytes, len, (off_t)offset), len);
    close(f);
}

static void flip(const char *path, uint64_t offset)
{
    unsigned char byte;
    int f = open(path, O_RDWR);
    assert_true(f >= 0);
    assert_int_equal(pread(f, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(f, &byte, 1, (off_t)offset), 1);
    close(f);
}

struct where {
    uint64_t segment, offset;
};

static struct where find(struct rig *r, uint64_t sequence)
{
    struct log_reader *reader;
    struct log_view v;
    assert_int_equal(log_reader_new(r->store, 0, sequence, &reader), OK);
    assert_int_equal(log_reader_next(reader, &v), OK);
    assert_int_equal(v.record.sequence, sequence);
    struct where w = {v.segment, v.offset};
    log_reader_free(reader);
    return w;
}

/* Appends `n` events of 1,000 bytes to channel 1, a few of them each in a commit of its own; their sequences. */
static void fill(struct rig *r, unsigned n, uint64_t *sequences)
{
    for (unsigned i = 0; i < n; i++) {
        sequences[i] = rig_append(r, 1, i, 1000);
        assert_true(sequences[i] > 0);
        if (n <= 20 || i % 25 == 24)
            assert_true(rig_commit(r));
    }
    assert_true(rig_commit(r));
}

/* That channel 1 has these, but for those in [without, without + count). */
static void expect(struct rig *r, const uint64_t *sequences, size_t n, size_t without, size_t count)
{
    uint64_t out[1000];
    assert_int_equal(rig_read(r, 1, 0, out, 1000), n - count);
    for (size_t i = 0, j = 0; i < n; i++)
        if (i < without || i >= without + count)
            assert_int_equal(out[j++], sequences[i]);
}

static void expect_lost(struct rig *r, uint64_t first, uint64_t last)
{
    struct log_lost lost;
    assert_int_equal(log_store_lost(r->store), last - first + 1);
    assert_true(log_store_lost_at(r->store, 0, &lost));
    assert_int_equal(lost.first, first);
    assert_int_equal(lost.last, last);
    assert_false(log_store_lost_at(r->store, 1, &lost));
}

static void a_torn_tail_is_cut_and_said(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[12];
    assert_int_equal(rig_open(r), OK);
    fill(r, 10, sequences);
    struct where w = find(r, sequences[9]);
    rig_close(r);
    /* Bytes of a write that was under way, behind a hole where its first sector would be. */
    put_bytes(file_of(r, w.segment, ".seg"), w.offset + 4096, "torn", 4);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, round ? "" : "LogTailCut ");
        assert_int_equal(log_store_lost(r->store), 0);
        expect(r, sequences, 10 + (size_t)round, 0, 0);
        if (round == 0) {
            fill(r, 1, sequences + 10);
            expect(r, sequences, 11, 0, 0);
        }
        rig_close(r);
    }
}

static void damage_that_a_later_record_proves_is_a_named_loss(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[12];
    assert_int_equal(rig_open(r), OK);
    fill(r, 10, sequences);
    struct where w = find(r, sequences[4]);
    rig_close(r);
    flip(file_of(r, w.segment, ".seg"), w.offset + 100);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "LogLost ");
        expect_lost(r, sequences[4], sequences[4]);
        expect(r, sequences, 10 + (round ? 1 : 0), 4, 1);
        if (round == 0)
            fill(r, 1, sequences + 10);
        rig_close(r);
    }
}

static void a_mark_makes_the_last_record_certain(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[10];
    assert_int_equal(rig_open(r), OK);
    fill(r, 10, sequences);
    struct where w = find(r, sequences[9]);
    assert_int_equal(log_store_mark(r->store), OK);
    uint64_t marked = log_store_last(r->store);
    assert_int_equal(log_store_mark(r->store), OK);
    assert_int_equal(log_store_last(r->store), marked); /* nothing new to say */
    rig_close(r);
    flip(file_of(r, w.segment, ".seg"), w.offset + 1000);
    assert_int_equal(rig_open(r), OK);
    expect_lost(r, sequences[9], sequences[9]);
    expect(r, sequences, 10, 9, 1);
}

static void damage_at_the_end_that_nothing_proves_is_cut(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[4];
    struct log_write writes[3];
    assert_int_equal(rig_open(r), OK);
    fill(r, 1, sequences);
    for (unsigned i = 0; i < 3; i++)
        writes[i] = (struct log_write){.kind = LOG_EVENT, .channel = 1, .event = rig_event(i, 1000)};
    assert_int_equal(log_store_append(r->store, writes, 3), OK);
    assert_int_equal(log_store_commit(r->store), OK);
    struct where w = find(r, writes[1].sequence);
    rig_close(r);
    /* The mark of the close goes too, as if the process had been killed. */
    unsigned char zeros[LOG_RECORD_HEAD] = {0};
    put_bytes(file_of(r, w.segment, ".seg"), w.offset + 2 * writes[1].bytes, zeros, sizeof zeros);
    flip(file_of(r, w.segment, ".seg"), w.offset + 100);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogTailCut ");
    assert_int_equal(log_store_lost(r->store), 0);
    sequences[1] = writes[0].sequence;
    expect(r, sequences, 2, 0, 0);
    /* The next one takes the number of the one that was cut, and the third does not come back. */
    assert_int_equal(log_store_committed(r->store), writes[0].sequence);
    fill(r, 1, sequences + 2);
    rig_close(r);
    assert_int_equal(rig_open(r), OK);
    expect(r, sequences, 3, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        ce_event_unref(writes[i].event);
}

/* Fills several segments; the names of the first `n`. */
static void fill_segments(struct rig *r, uint64_t *sequences, unsigned events, uint64_t *names, size_t n)
{
    size_t found = 0;
    assert_int_equal(rig_open(r), OK);
    fill(r, events, sequences);
    for (unsigned i = 0; i < events && found < n; i++) {
        struct where w = find(r, sequences[i]);
        if (found == 0 || names[found - 1] != w.segment)
            names[found++] = w.segment;
    }
    assert_int_equal(found, n);
    rig_close(r);
}

/* The index of the first event at or above this sequence. */
static size_t from(const uint64_t *sequences, size_t n, uint64_t sequence)
{
    size_t i = 0;
    while (i < n && sequences[i] < sequence)
        i++;
    return i;
}

enum { EVENTS = 250 };

static void damage_in_a_full_segment_is_found_by_readers_and_by_opening(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    fill_segments(r, sequences, EVENTS, names, 3);
    assert_int_equal(rig_open(r), OK);
    size_t bad = from(sequences, EVENTS, names[1]) + 5;
    struct where w = find(r, sequences[bad]);
    rig_close(r);
    flip(file_of(r, w.segment, ".seg"), w.offset + 4); /* its checksum */
    /* With its index the segment is not read by opening. */
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "");
    for (int twice = 0; twice < 2; twice++) {
        expect(r, sequences, EVENTS, bad, 1);
        expect_lost(r, sequences[bad], sequences[bad]);
        assert_string_equal(r->said, "LogLost ");
    }
    rig_close(r);
    /* The reader has taken the index away, so it is read now; and the index that is made then remembers. */
    assert_int_equal(access(file_of(r, w.segment, ".idx"), F_OK), -1);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(rig_open(r), OK);
        expect_lost(r, sequences[bad], sequences[bad]);
        expect(r, sequences, EVENTS, bad, 1);
        rig_close(r);
    }
}

static void a_segment_with_a_bad_head_is_read_by_its_name(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    fill_segments(r, sequences, EVENTS, names, 3);
    flip(file_of(r, names[1], ".seg"), 20);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogSegmentBad ");
    expect(r, sequences, EVENTS, 0, 0);
    assert_int_equal(log_store_lost(r->store), 0);
}

static void a_newest_segment_with_a_bad_head_is_not_written_any_more(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[11];
    assert_int_equal(rig_open(r), OK);
    fill(r, 10, sequences);
    rig_close(r);
    flip(file_of(r, 1, ".seg"), 3);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogSegmentBad ");
    fill(r, 1, sequences + 10);
    assert_true(find(r, sequences[10]).segment > 1);
    expect(r, sequences, 11, 0, 0);
}

static void a_missing_segment_is_a_named_loss(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    fill_segments(r, sequences, EVENTS, names, 3);
    assert_int_equal(unlink(file_of(r, names[1], ".seg")), 0);
    size_t first = from(sequences, EVENTS, names[1]), behind = from(sequences, EVENTS, names[2]);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(rig_open(r), OK);
        expect_lost(r, names[1], names[2] - 1);
        expect(r, sequences, EVENTS, first, behind - first);
        rig_close(r);
    }
}

static uint64_t newest_of(struct rig *r)
{
    uint64_t newest = 0;
    DIR *dir = opendir(r->dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strstr(e->d_name, ".seg") && strtoull(e->d_name, NULL, 10) > newest)
            newest = strtoull(e->d_name, NULL, 10);
    closedir(dir);
    return newest;
}

static void a_newest_segment_that_is_gone_is_missed(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS + 1], names[3];
    fill_segments(r, sequences, EVENTS, names, 3);
    uint64_t newest = newest_of(r);
    assert_int_equal(unlink(file_of(r, newest, ".seg")), 0);
    size_t gone = from(sequences, EVENTS, newest);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "LogLost ");
        expect_lost(r, newest, newest); /* at the least */
        expect(r, sequences, gone + (round ? 1 : 0), 0, 0);
        if (round == 0)
            fill(r, 1, sequences + gone);
        rig_close(r);
    }
}

static void a_cut_segment_is_a_named_loss(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    fill_segments(r, sequences, EVENTS, names, 3);
    size_t first = from(sequences, EVENTS, names[0]), behind = from(sequences, EVENTS, names[1]);
    assert_int_equal(truncate(file_of(r, names[0], ".seg"), 30000), 0);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogSegmentBad LogLost ");
    uint64_t out[1000], lost = log_store_lost(r->store);
    size_t n = rig_read(r, 1, 0, out, 1000);
    assert_in_range(n, EVENTS - (behind - first) + 10, EVENTS - 10);
    assert_int_equal(lost, EVENTS - n);
    rig_close(r);
    /* The newest: how much was behind the cut cannot be known, but something is missed. */
    uint64_t newest = newest_of(r);
    assert_int_equal(truncate(file_of(r, newest, ".seg"), LOG_SEGMENT_BYTES_MIN - 4096), 0);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(rig_open(r), OK);
        assert_int_equal(log_store_lost(r->store), lost + 1);
        assert_int_equal(rig_read(r, 1, 0, out, 1000), n);
        assert_true(rig_append(r, 2, 1, 1));
        assert_true(rig_commit(r));
        rig_close(r);
    }
}

static void segments_under_each_others_names_are_read_as_what_they_are(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    char a[200], b[200], other[220];
    fill_segments(r, sequences, EVENTS, names, 3);
    strcpy(a, file_of(r, names[0], ".seg"));
    strcpy(b, file_of(r, names[2], ".seg"));
    snprintf(other, sizeof other, "%s/other", r->root);
    assert_int_equal(rename(a, other) | rename(b, a) | rename(other, b), 0);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogSegmentBad LogSegmentBad ");
    expect(r, sequences, EVENTS, 0, 0);
    assert_int_equal(log_store_lost(r->store), 0);
}

static void a_segment_of_another_log_is_left_alone(void **state)
{
    struct rig *r = *state;
    struct rig other;
    uint64_t sequences[EVENTS], names[3];
    char command[600];
    struct stat st;
    fill_segments(r, sequences, EVENTS, names, 3);
    rig_init(&other);
    uint64_t foreign[EVENTS], foreign_names[3];
    fill_segments(&other, foreign, EVENTS, foreign_names, 3);
    snprintf(command, sizeof command, "cp %s/%020" PRIu64 ".seg %s/%020u.seg", other.dir, foreign_names[1], r->dir,
             9999);
    assert_int_equal(system(command), 0);
    assert_int_equal(rig_open(r), OK);
    assert_string_equal(r->said, "LogSegmentBad ");
    expect(r, sequences, EVENTS, 0, 0);
    assert_int_equal(stat(file_of(r, 9999, ".seg"), &st), 0);
    rig_fini(&other);
}

static void an_index_is_believed_only_when_it_is_whole(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    struct stat st;
    fill_segments(r, sequences, EVENTS, names, 3);
    assert_int_equal(stat(file_of(r, names[1], ".idx"), &st), 0);
    for (off_t at = 0; at < st.st_size; at += 3) {
        flip(file_of(r, names[1], ".idx"), (uint64_t)at);
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "");
        if (at % 16 == 0)
            expect(r, sequences, EVENTS, 0, 0);
        rig_close(r);
    }
    for (off_t len = 0; len < st.st_size; len += 5) {
        assert_int_equal(truncate(file_of(r, names[1], ".idx"), len), 0);
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "");
        rig_close(r);
    }
    assert_int_equal(rig_open(r), OK);
    expect(r, sequences, EVENTS, 0, 0);
}

static void a_damaged_snapshot_is_made_good_from_the_segment_before(void **state)
{
    struct rig *r = *state;
    char text[400] = "";
    uint64_t sequences[EVENTS];
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 1, "one", "x"), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CURSOR, 1, "sub", "a"), OK);
    fill(r, EVENTS, sequences);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CURSOR, 1, "sub", "b"), OK);
    assert_true(rig_commit(r));
    rig_close(r);
    uint64_t newest = newest_of(r);
    flip(file_of(r, newest, ".seg"), LOG_SEGMENT_HEAD + 9);       /* the snapshot's own record */
    flip(file_of(r, newest, ".seg"), LOG_SEGMENT_HEAD + 64 + 50); /* and the channel's */
    assert_int_equal(rig_open(r), OK);
    expect_lost(r, newest, newest + 1);
    log_store_each_object(r->store, put_name, text);
    assert_string_equal(text, "c1:one=x s1:sub=b ");
    expect(r, sequences, EVENTS, 0, 0);
}

/* ---- a disk that fails now and then ---- */

static struct {
    struct disk base;
    struct disk_ops ops;
    const struct disk_ops *system;
    bool full;          /* the next write is done, and said to have met a full disk */
    uint64_t bad_at;    /* an offset that cannot be read; 0: none */
    unsigned bad_reads; /* reads that met it */
} flawed;

static enum err flawed_write(struct disk *k, struct disk_file *f, const void *from, size_t len, uint64_t offset,
                             struct diag *d)
{
    enum err e = flawed.system->write(k, f, from, len, offset, d);
    bool full = flawed.full;
    flawed.full = false;
    return e || !full ? e : diag_set(d, ERR_FULL, "no space left");
}

static enum err flawed_read(struct disk *k, struct disk_file *f, void *to, size_t len, uint64_t offset, size_t *got,
                            struct diag *d)
{
    if (flawed.bad_at && offset <= flawed.bad_at && flawed.bad_at < offset + len) {
        flawed.bad_reads++;
        return diag_set(d, ERR_IO, "input/output error");
    }
    return flawed.system->read(k, f, to, len, offset, got, d);
}

static void use_flawed(struct rig *r)
{
    memset(&flawed, 0, sizeof flawed);
    flawed.system = disk_system()->ops;
    flawed.ops = *flawed.system;
    flawed.ops.write = flawed_write;
    flawed.ops.read = flawed_read;
    flawed.base.ops = &flawed.ops;
    r->disk = &flawed.base;
}

static void what_was_refused_on_a_full_disk_does_not_come_back(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[3];
    struct log_write writes[4];
    char command[300];
    use_flawed(r);
    assert_int_equal(rig_open(r), OK);
    fill(r, 1, sequences);
    for (unsigned i = 0; i < 4; i++)
        writes[i] = (struct log_write){.kind = LOG_EVENT, .channel = 1, .event = rig_event(i, 1000)};
    flawed.full = true;
    assert_int_equal(log_store_append(r->store, writes, 4), ERR_FULL);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(writes[i].sequence, 0);
        ce_event_unref(writes[i].event);
    }
    assert_string_equal(r->said, "LogFull ");
    assert_false(log_store_failed(r->store, NULL));
    /* The next one has the size of the first that was refused; the process dies right behind it. */
    fill(r, 1, sequences + 1);
    snprintf(command, sizeof command, "cp -a %s %s/copy", r->dir, r->root);
    assert_int_equal(system(command), 0);
    strcat(r->dir, "/../copy");
    rig_close(r);
    assert_int_equal(rig_open(r), OK);
    expect(r, sequences, 2, 0, 0);
}

static void a_bad_spot_of_the_disk_is_a_named_loss(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[40];
    use_flawed(r);
    assert_int_equal(rig_open(r), OK);
    fill(r, 20, sequences);
    fill(r, 20, sequences + 20);
    struct where w = find(r, sequences[7]);
    flawed.bad_at = w.offset + 200;
    uint64_t out[40];
    size_t n = rig_read(r, 1, 0, out, 40);
    uint64_t lost = log_store_lost(r->store);
    assert_true(flawed.bad_reads > 0);
    assert_in_range(lost, 1, 6); /* what shares its 4 KiB */
    assert_int_equal(n, 40 - lost);
    rig_close(r);
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(rig_read(r, 1, 0, out, 40), n);
    assert_int_equal(log_store_lost(r->store), lost);
    rig_close(r);
    flawed.bad_at = 0; /* it was the cable */
    assert_int_equal(rig_open(r), OK);
    expect(r, sequences, 40, 0, 0);
    assert_int_equal(log_store_lost(r->store), 0);
}

/* ---- the directory ---- */

static void the_directory_is_one_logs_and_one_process(void **state)
{
    struct rig *r = *state;
    struct rig second;
    char path[200];
    assert_int_equal(rig_open(r), OK);
    second = *r;
    assert_int_equal(rig_open(&second), ERR_CONFLICT);
    second.read_only = true;
    assert_int_equal(rig_open(&second), OK);
    log_store_close(second.store);
    rig_close(r);
    /* Something else lies there. */
    snprintf(path, sizeof path, "%s/other", r->root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/other/letter.txt", r->root);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    second = *r;
    snprintf(second.dir, sizeof second.dir, "%s/other", r->root);
    assert_int_equal(rig_open(&second), ERR_INVALID);
    second.read_only = true;
    snprintf(second.dir, sizeof second.dir, "%s/none", r->root);
    assert_int_equal(rig_open(&second), ERR_NOTFOUND);
}

static void the_format_file_is_made_good_and_a_later_one_refused(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[5];
    char path[200];
    assert_int_equal(rig_open(r), OK);
    fill(r, 5, sequences);
    rig_close(r);
    snprintf(path, sizeof path, "%s/format", r->dir);
    for (int missing = 0; missing < 2; missing++) {
        if (missing)
            assert_int_equal(unlink(path), 0);
        else
            flip(path, 20);
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "LogSegmentBad ");
        expect(r, sequences, 5, 0, 0);
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
        assert_string_equal(r->said, "");
        rig_close(r);
    }
    const char later[] = "leat log 2\n00112233445566778899aabbccddeeff\nd0baaf58\n";
    put_bytes(path, 0, later, sizeof later - 1);
    enum err e = rig_open(r);
    assert_int_equal(e, ERR_UNSUPPORTED);
    assert_non_null(strstr(r->diag.text, "format 2"));
}

static void reading_only_changes_nothing(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS], names[3];
    char command[500], tmp[200];
    fill_segments(r, sequences, EVENTS, names, 3);
    assert_int_equal(unlink(file_of(r, names[0], ".idx")), 0);
    put_bytes(file_of(r, newest_of(r), ".seg"), 60000, "torn", 4);
    snprintf(tmp, sizeof tmp, "%s/x.tmp", r->dir);
    close(open(tmp, O_CREAT | O_WRONLY, 0600));
    snprintf(command, sizeof command, "cp -a %s %s/copy", r->dir, r->root);
    assert_int_equal(system(command), 0);
    r->read_only = true;
    assert_int_equal(rig_open(r), OK);
    expect(r, sequences, EVENTS, 0, 0);
    rig_close(r);
    snprintf(command, sizeof command, "diff -r %s %s/copy", r->dir, r->root);
    assert_int_equal(system(command), 0);
}

/* ---- finding ---- */

static void a_time_is_found_per_channel(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[600];
    int64_t walls[600];
    unsigned x = 1;
    assert_int_equal(rig_open(r), OK);
    for (unsigned i = 0; i < 600; i++) {
        x = x * 1103515245 + 12345;
        /* The clock mostly goes on and sometimes back. */
        r->clock.wall += (int64_t)(x >> 16 & 15) - (i % 50 == 49 ? 200 : 0);
        walls[i] = r->clock.wall;
        sequences[i] = rig_append(r, 1 + i % 2, i, 500);
        if (i % 20 == 19)
            assert_true(rig_commit(r));
    }
    for (int round = 0; round < 2; round++) {
        for (int64_t t = walls[0] - 10; t < r->clock.wall + 100; t += 17) {
            for (uint32_t channel = 1; channel <= 2; channel++) {
                unsigned i = channel - 1;
                while (i < 600 && walls[i] < t)
                    i += 2;
                assert_int_equal(log_store_seek_time(r->store, channel, t),
                                 i < 600 ? sequences[i] : log_store_committed(r->store) + 1);
            }
        }
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
    }
    assert_int_equal(log_store_seek_time(r->store, 77, 0), log_store_committed(r->store) + 1);
}

static void readers_of_a_channel_find_all_of_it_among_others(void **state)
{
    struct rig *r = *state;
    enum { N = 3000, CHANNELS = 130 };
    static uint64_t sequences[N], out[N];
    static uint32_t channels[N];
    unsigned x = 7;
    r->segment_bytes = 512 << 10; /* several blocks in each */
    assert_int_equal(rig_open(r), OK);
    for (unsigned i = 0; i < N; i++) {
        x = x * 1103515245 + 12345;
        channels[i] = i % 1000 == 500 ? CHANNELS : 1 + (x >> 16) % (i < N / 2 ? 3 : 100);
        sequences[i] = rig_append(r, channels[i], i, i % 700 == 0 ? 200000 : x % 1000);
        if (i % 10 == 0)
            assert_true(rig_commit(r));
    }
    assert_true(rig_commit(r));
    for (int round = 0; round < 2; round++) {
        for (uint32_t channel = 1; channel <= CHANNELS; channel++) {
            for (unsigned start = 0; start < N; start += 371) {
                size_t n = rig_read(r, channel, sequences[start], out, N), j = 0;
                for (unsigned i = start; i < N; i++)
                    if (channels[i] == channel)
                        assert_int_equal(out[j++], sequences[i]);
                assert_int_equal(j, n);
            }
        }
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
    }
}

static void sum_usage(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage, size_t count)
{
    struct log_channel_usage *sum = arg;
    assert_true(i->first <= i->last && i->bytes <= i->size);
    for (size_t c = 0; c < count; c++) {
        sum[usage[c].channel].events += usage[c].events;
        sum[usage[c].channel].bytes += usage[c].bytes;
    }
}

static void usage_tells_what_each_channel_has(void **state)
{
    struct rig *r = *state;
    uint64_t sequences[EVENTS];
    struct log_channel_usage u;
    assert_int_equal(rig_open(r), OK);
    fill(r, EVENTS, sequences);
    uint64_t other = rig_append(r, 2, 1, 0);
    assert_true(rig_commit(r));
    for (int round = 0; round < 2; round++) {
        struct log_channel_usage sum[4] = {0};
        log_store_each_segment(r->store, sum_usage, sum);
        log_store_usage(r->store, 1, &u);
        assert_int_equal(u.events, EVENTS);
        assert_int_equal(u.first, sequences[0]);
        assert_int_equal(u.last, sequences[EVENTS - 1]);
        assert_int_equal(sum[1].events, u.events);
        assert_int_equal(sum[1].bytes, u.bytes);
        log_store_usage(r->store, 2, &u);
        assert_int_equal(u.events, 1);
        assert_int_equal(u.first, other);
        log_store_usage(r->store, 3, &u);
        assert_int_equal(u.events, 0);
        rig_close(r);
        assert_int_equal(rig_open(r), OK);
    }
}

/* ---- threads ---- */

struct beside {
    struct rig *rig;
    uint32_t channel;
    atomic_bool stop;
    uint64_t seen, wrong;
};

static void *read_beside(void *arg)
{
    struct beside *b = arg;
    struct log_reader *reader;
    struct log_view v;
    uint64_t last = 0;
    if (log_reader_new(b->rig->store, b->channel, 0, &reader) != OK)
        return NULL;
    for (bool stop = false;;) {
        uint64_t committed = log_store_committed(b->rig->store);
        enum err e = log_reader_next(reader, &v);
        if (e == OK) {
            b->seen++;
            b->wrong += v.record.sequence <= last;
            last = v.record.sequence;
        } else if (e != ERR_PENDING || (b->channel == 0 && last < committed)) {
            b->wrong++;
        } else if (stop) {
            break;
        } else {
            stop = atomic_load(&b->stop);
        }
    }
    log_reader_free(reader);
    return NULL;
}

static void readers_run_beside_the_writer(void **state)
{
    struct rig *r = *state;
    enum { READERS = 3, ROUNDS = 400, BATCH = 8 };
    struct beside beside[READERS];
    pthread_t threads[READERS];
    struct log_write writes[BATCH];
    const struct ce_event *event = rig_event(1, 700);
    assert_int_equal(rig_open(r), OK);
    for (uint32_t i = 0; i < READERS; i++) {
        beside[i] = (struct beside){.rig = r, .channel = i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_beside, &beside[i]), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned j = 0; j < BATCH; j++)
            writes[j] = (struct log_write){.kind = LOG_EVENT, .channel = 1 + (i + j) % 2, .event = event};
        assert_int_equal(log_store_append(r->store, writes, BATCH), OK);
        assert_int_equal(log_store_commit(r->store), OK);
    }
    for (unsigned i = 0; i < READERS; i++)
        atomic_store(&beside[i].stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(beside[i].wrong, 0);
    }
    assert_int_equal(beside[0].seen, log_store_committed(r->store));
    assert_int_equal(beside[1].seen, ROUNDS * BATCH / 2);
    assert_int_equal(beside[2].seen, ROUNDS * BATCH / 2);
    ce_event_unref(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_directory_becomes_a_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_are_found_again_in_order_and_equal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_see_only_what_is_committed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_larger_than_a_segment_gets_one_of_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_catalogue_is_what_was_written_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_cut_and_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_that_a_later_record_proves_is_a_named_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_makes_the_last_record_certain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_at_the_end_that_nothing_proves_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_in_a_full_segment_is_found_by_readers_and_by_opening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_with_a_bad_head_is_read_by_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newest_segment_with_a_bad_head_is_not_written_any_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_segment_is_a_named_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newest_segment_that_is_gone_is_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_segment_is_a_named_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(segments_under_each_others_names_are_read_as_what_they_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_of_another_log_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_index_is_believed_only_when_it_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_snapshot_is_made_good_from_the_segment_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_refused_on_a_full_disk_does_not_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_spot_of_the_disk_is_a_named_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_directory_is_one_logs_and_one_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_format_file_is_made_good_and_a_later_one_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_only_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_time_is_found_per_channel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_of_a_channel_find_all_of_it_among_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(usage_tells_what_each_channel_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_run_beside_the_writer, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
