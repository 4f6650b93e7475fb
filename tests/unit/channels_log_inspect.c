/* SPDX-License-Identifier: Apache-2.0
 *
 * What the operator's tools say of a log: what is in it, that it is whole or where it is not, and its events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "channels/log/slot.h"
#include "crc32c.h"
#include "log_inspect.h"
#include "tests/lib/store_rig.h"

struct tools {
    struct rig rig;
    struct log_inspect *seen;
    /* What verify found. */
    struct log_verified sums;
    char found[4096]; /* "damage FIRST-LAST PLACE: TEXT\n" ... */
    /* What dump gave. */
    uint64_t sequences[64];
    char channels[64][32];
    size_t count, most;
    uint64_t lost;
};

static int set_up(void **state)
{
    struct tools *t = calloc(1, sizeof *t);
    rig_init(&t->rig);
    t->most = 64;
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct tools *t = *state;
    log_inspect_free(t->seen);
    rig_fini(&t->rig);
    free(t);
    return 0;
}

/* ---- a log with something in it ---- */

static void put_cursor(struct rig *r, uint32_t number, uint32_t channel, const char *name, struct slice value)
{
    struct log_object o = {.type = LOG_CURSOR,
                           .number = number,
                           .channel = channel,
                           .since_ns = 5,
                           .name = slice_str(name),
                           .value = value};
    struct log_write w = {.kind = LOG_OBJECT, .object = &o};
    assert_int_equal(log_store_append(r->store, &w, 1), OK);
}

static void put_fresh_cursor(struct rig *r, uint32_t number, uint32_t channel, const char *name, uint64_t from)
{
    struct buf value;
    buf_init(&value, 4096);
    slot_ledger_put_fresh(from, 1, &value);
    put_cursor(r, number, channel, name, buf_slice(&value));
    buf_fini(&value);
}

/* Two channels with `each` events in turn, a cursor at the beginning of the first; several segments when `each` is
 * large. Returns the sequence of the first event. */
static uint64_t fill(struct tools *t, unsigned each)
{
    struct rig *r = &t->rig;
    uint64_t first = 0;
    assert_int_equal(rig_open(r), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 1, "default/a", ""), OK);
    assert_int_equal(rig_object(r, LOG_OBJECT, LOG_CHANNEL, 2, "default/b", ""), OK);
    put_fresh_cursor(r, 1, 1, "reader", 1);
    for (unsigned i = 0; i < 2 * each; i++) {
        uint64_t sequence = rig_append(r, 1 + i % 2, i, 1000);
        assert_true(sequence > 0);
        first = first ? first : sequence;
        clock_fake_advance(&r->clock, NS_PER_S);
    }
    assert_true(rig_commit(r));
    return first;
}

static void look(struct tools *t, const char *dir)
{
    log_inspect_free(t->seen);
    t->seen = NULL;
    assert_int_equal(log_inspect(dir, true, NULL, NULL, &t->seen, &t->rig.diag), OK);
}

static void found(void *arg, const struct log_finding *f)
{
    struct tools *t = arg;
    size_t len = strlen(t->found);
    snprintf(t->found + len, sizeof t->found - len, "%s %" PRIu64 "-%" PRIu64 " %s: %s\n",
             f->verdict == LOG_VERDICT_DAMAGE ? "damage" : "note", f->first, f->last, f->place, f->text);
}

static void verify(struct tools *t)
{
    t->found[0] = '\0';
    assert_int_equal(log_verify(t->rig.dir, false, found, NULL, t, &t->sums, &t->rig.diag), OK);
    if (getenv("SHOW"))
        fprintf(stderr, "%s--\n", t->found);
}

static bool give(void *arg, const struct log_dump_event *e)
{
    struct tools *t = arg;
    assert_true(t->count < 64);
    snprintf(t->channels[t->count], sizeof t->channels[0], "%s", e->channel);
    t->sequences[t->count++] = e->sequence;
    assert_non_null(e->event);
    return t->count < t->most;
}

static enum err dump(struct tools *t, struct log_dump_query q)
{
    if (!q.to_wall_ns)
        q.from_wall_ns = INT64_MIN, q.to_wall_ns = INT64_MAX;
    t->count = 0;
    return log_dump(t->rig.dir, &q, give, t, &t->lost, &t->rig.diag);
}

/* ---- the files ---- */

static const char *file_path(struct tools *t, uint64_t name, const char *suffix)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%020" PRIu64 "%s", t->rig.dir, name, suffix);
    return path;
}

static void poke(const char *path, off_t offset, int value)
{
    unsigned char byte = (unsigned char)value;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    if (value < 0) {
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0xff;
    }
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

/* Where the record of this sequence lies: its file and its first byte. */
static off_t place(struct tools *t, uint64_t sequence, uint64_t *segment)
{
    struct log_reader *reader;
    struct log_view v;
    assert_int_equal(rig_open(&t->rig), OK);
    assert_int_equal(log_reader_new(t->rig.store, 0, sequence, &reader), OK);
    assert_int_equal(log_reader_next(reader, &v), OK);
    assert_int_equal(v.record.sequence, sequence);
    *segment = v.segment;
    off_t at = (off_t)v.offset;
    log_reader_free(reader);
    rig_close(&t->rig);
    return at;
}

/* ---- inspect ---- */

static void channels_segments_and_cursors_are_told(void **state)
{
    struct tools *t = *state;
    const uint64_t first = fill(t, 100); /* the store is open: as beside a running server */
    look(t, t->rig.dir);
    const struct log_inspect *i = t->seen;
    assert_int_equal(i->events, 200);
    assert_int_equal(strlen(i->id), 32);
    assert_int_equal(i->committed, log_store_committed(t->rig.store));
    assert_true(i->segment_count >= 3);
    assert_int_equal(i->lost, 0);
    uint64_t events = 0;
    for (size_t n = 0; n < i->segment_count; n++) {
        events += i->segments[n].events;
        assert_int_equal(i->segments[n].newest, n + 1 == i->segment_count);
        if (n)
            assert_int_equal(i->segments[n].first, i->segments[n - 1].last + 1);
    }
    assert_int_equal(events, 200);
    assert_int_equal(i->channel_count, 2);
    assert_string_equal(i->channels[0].name, "default/a");
    assert_string_equal(i->channels[1].name, "default/b");
    assert_int_equal(i->channels[0].events, 100);
    assert_int_equal(i->channels[0].first, first);
    assert_true(i->channels[0].last_wall_ns > i->channels[0].first_wall_ns);
    assert_int_equal(i->cursor_count, 1);
    assert_string_equal(i->cursors[0].name, "reader");
    assert_string_equal(i->cursors[0].channel, "default/a");
    assert_true(i->cursors[0].readable);
    assert_int_equal(i->cursors[0].events, 100);
    assert_int_equal(i->cursors[0].bytes, i->channels[0].bytes);
    assert_int_equal(i->cursors[0].oldest_wall_ns, i->channels[0].first_wall_ns);
    assert_int_equal(i->cursors[0].unused_since_wall_ns, 5);
}

static void what_was_settled_out_of_order_is_not_behind(void **state)
{
    struct tools *t = *state;
    struct rig *r = &t->rig;
    struct slot s;
    struct buf value;
    struct slot_entry *taken[20];
    const struct ce_event *event = rig_event(1, 10);
    const uint64_t first = fill(t, 100);
    slot_init(&s, first, false);
    for (unsigned i = 0; i < 20; i++) { /* of channel 1: every second sequence */
        assert_int_equal(slot_push(&s, first + 2 * i, event, 100), OK);
        taken[i] = slot_take(&s);
    }
    for (unsigned i = 3; i < 20; i += 2)
        slot_acknowledge(&s, taken[i]);
    slot_acknowledge(&s, taken[0]);
    buf_init(&value, 4096);
    slot_ledger_put(&s, 1, first + 40, NULL, &value);
    put_cursor(r, 2, 1, "worker", buf_slice(&value));
    assert_true(rig_commit(r));
    look(t, r->dir);
    assert_int_equal(t->seen->cursor_count, 2);
    const struct log_inspect_cursor *c = &t->seen->cursors[1];
    assert_string_equal(c->name, "worker");
    assert_int_equal(c->from, first + 2);
    assert_int_equal(c->events, 100 - 10);
    slot_fini(&s);
    buf_fini(&value);
    ce_event_unref(event);
}

static void a_cursor_at_the_end_is_not_behind_and_a_broken_one_is_told(void **state)
{
    struct tools *t = *state;
    fill(t, 100);
    put_fresh_cursor(&t->rig, 2, 2, "at-the-end", log_store_last(t->rig.store) + 1);
    put_cursor(&t->rig, 3, 77, "broken", SLICE("?"));
    assert_true(rig_commit(&t->rig));
    look(t, t->rig.dir);
    assert_int_equal(t->seen->cursor_count, 3); /* in the order of their channels: one is gone, so its name is empty */
    assert_string_equal(t->seen->cursors[0].name, "broken");
    assert_string_equal(t->seen->cursors[0].channel, "");
    assert_false(t->seen->cursors[0].readable);
    assert_string_equal(t->seen->cursors[2].name, "at-the-end");
    assert_int_equal(t->seen->cursors[2].events, 0);
    assert_int_equal(t->seen->cursors[2].oldest_wall_ns, 0);
}

static void a_data_directory_means_the_log_in_it(void **state)
{
    struct tools *t = *state;
    fill(t, 1);
    rig_close(&t->rig);
    look(t, t->rig.root);
    assert_string_equal(t->seen->dir, t->rig.dir);
    assert_int_equal(t->seen->events, 2);
}

static void what_is_no_log_is_said(void **state)
{
    struct tools *t = *state;
    struct log_inspect *i;
    struct diag d = {0};
    assert_int_equal(log_inspect(t->rig.root, true, NULL, NULL, &i, &d), ERR_NOTFOUND);
    assert_non_null(strstr(d.text, t->rig.root));
    assert_int_equal(log_inspect("/nonexistent/x", true, NULL, NULL, &i, &d), ERR_NOTFOUND);
    assert_non_null(strstr(d.text, "/nonexistent/x"));
    assert_int_equal(log_verify(t->rig.root, false, found, NULL, t, &t->sums, &d), ERR_NOTFOUND);
    assert_int_equal(dump(t, (struct log_dump_query){0}), ERR_NOTFOUND);
}

static void nothing_is_written_and_no_lock_is_taken(void **state)
{
    struct tools *t = *state;
    struct stat before, after;
    fill(t, 100); /* open: its lock is held */
    assert_int_equal(stat(t->rig.dir, &before), 0);
    look(t, t->rig.dir);
    verify(t);
    t->most = 1;
    assert_int_equal(dump(t, (struct log_dump_query){0}), OK);
    assert_int_equal(stat(t->rig.dir, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_true(rig_append(&t->rig, 1, 1000, 10));
    assert_true(rig_commit(&t->rig));
}

/* ---- verify ---- */

static void a_whole_log_is_whole(void **state)
{
    struct tools *t = *state;
    fill(t, 200);
    verify(t);
    assert_string_equal(t->found, "");
    rig_close(&t->rig);
    for (int round = 0; round < 2; round++) { /* closed, and opened and closed again */
        verify(t);
        assert_string_equal(t->found, "");
        assert_int_equal(t->sums.events, 400);
        assert_true(t->sums.records > 400 && t->sums.segments >= 6 && t->sums.bytes > 400 * 1000);
        assert_int_equal(rig_open(&t->rig), OK);
        rig_close(&t->rig);
    }
}

static bool needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    (void)arg, (void)first, (void)last;
    return channel == 2 && first <= 20;
}

static bool wanted(void *arg, const struct log_view *event)
{
    (void)arg;
    return event->record.channel == 2 && event->record.sequence <= 20;
}

static void a_compacted_log_is_whole(void **state)
{
    struct tools *t = *state;
    struct log_reclaimed done;
    fill(t, 400);
    const struct log_policy policy = {
        .needed = needed, .wanted = wanted, .below = log_store_committed(t->rig.store) + 1};
    for (int i = 0; i < 4; i++)
        assert_int_equal(log_store_reclaim(t->rig.store, &policy, &done), OK);
    for (int round = 0; round < 2; round++) { /* beside the one who writes it, and alone */
        look(t, t->rig.dir);
        assert_true(t->seen->segments[0].compacted || t->seen->segments[1].compacted);
        verify(t);
        assert_string_equal(t->found, "");
        assert_int_equal(t->sums.events, t->seen->events);
        assert_true(t->seen->events < 400);
        if (round == 0)
            rig_close(&t->rig);
    }
    assert_int_equal(dump(t, (struct log_dump_query){.to = 20}), OK);
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++)
        kept += strcmp(t->channels[i], "default/b") == 0;
    assert_true(kept >= 5); /* what is wanted is there; the first segment may hold more */
}

static void a_flipped_byte_is_found_and_named(void **state)
{
    struct tools *t = *state;
    uint64_t segment;
    char wanted[200];
    const uint64_t first = fill(t, 200);
    rig_close(&t->rig);
    const uint64_t newest = first + 2 * 200 - 5, hit[] = {first + 10, newest};
    for (size_t i = 0; i < 2; i++) { /* in a full segment, and in the newest */
        const off_t at = place(t, hit[i], &segment);
        poke(file_path(t, segment, ".seg"), at + 100, -1);
        verify(t);
        snprintf(wanted, sizeof wanted, "damage %" PRIu64 "-%" PRIu64 " %020" PRIu64 ".seg, byte %jd:", hit[i], hit[i],
                 segment, (intmax_t)at);
        assert_non_null(strstr(t->found, wanted));
        assert_int_equal(t->sums.damages, 1);
        poke(file_path(t, segment, ".seg"), at + 100, -1);
    }
    verify(t);
    assert_string_equal(t->found, "");
}

static void a_damaged_head_costs_no_record(void **state)
{
    struct tools *t = *state;
    fill(t, 200);
    rig_close(&t->rig);
    poke(file_path(t, 1, ".seg"), 50, -1);
    verify(t);
    assert_int_equal(t->sums.damages, 1);
    assert_int_equal(t->sums.events, 400);
    assert_non_null(strstr(t->found, "damage 0-0 00000000000000000001.seg:"));
}

static void a_torn_tail_is_no_damage(void **state)
{
    struct tools *t = *state;
    fill(t, 5);
    verify(t);
    const uint64_t last = log_store_last(t->rig.store);
    struct log_view v;
    struct log_reader *reader;
    assert_int_equal(log_reader_new(t->rig.store, 0, last, &reader), OK);
    assert_int_equal(log_reader_next(reader, &v), OK);
    const off_t end = (off_t)(v.offset + log_record_size(v.record.payload_len));
    log_reader_free(reader);
    for (off_t i = 0; i < 100; i++) /* half of a record, while the server is killed */
        poke(file_path(t, 1, ".seg"), end + i, 1 + (int)i % 3);
    verify(t);
    assert_int_equal(t->sums.damages, 0);
    assert_int_equal(t->sums.notes, 1);
    assert_non_null(strstr(t->found, "note "));
    rig_close(&t->rig); /* a mark over it would make it whole: reopened it is cut, and stays where it is */
}

static void a_missing_segment_is_a_loss(void **state)
{
    struct tools *t = *state;
    fill(t, 200);
    look(t, t->rig.dir);
    const uint64_t first = t->seen->segments[2].first, last = t->seen->segments[2].last;
    char wanted[100];
    rig_close(&t->rig);
    assert_int_equal(unlink(file_path(t, first, ".seg")), 0);
    verify(t);
    snprintf(wanted, sizeof wanted, "damage %" PRIu64 "-%" PRIu64 " ", first, last);
    assert_non_null(strstr(t->found, wanted));
    assert_int_equal(t->sums.damages, 1);
    look(t, t->rig.dir);
    assert_int_equal(t->seen->lost, last - first + 1);
    assert_int_equal(t->seen->loss_count, 1);
    assert_int_equal(t->seen->losses[0].first, first);
}

static void a_cut_file_is_damage(void **state)
{
    struct tools *t = *state;
    fill(t, 200);
    look(t, t->rig.dir);
    const uint64_t name = t->seen->segments[1].first;
    rig_close(&t->rig);
    assert_int_equal(truncate(file_path(t, name, ".seg"), 30000), 0);
    verify(t);
    assert_true(t->sums.damages >= 2); /* the file, and the sequences that went with it */
    assert_non_null(strstr(t->found, "byte 30000: the file was made with"));
}

static void an_index_is_looked_at(void **state)
{
    struct tools *t = *state;
    fill(t, 200);
    rig_close(&t->rig);
    poke(file_path(t, 1, ".idx"), 130, -1);
    verify(t);
    assert_int_equal(t->sums.damages, 0);
    assert_int_equal(t->sums.notes, 1);
    assert_non_null(strstr(t->found, "its index is damaged"));
    assert_int_equal(unlink(file_path(t, 1, ".idx")), 0);
    verify(t);
    assert_int_equal(t->sums.damages, 0);
    assert_non_null(strstr(t->found, "its index is missing"));
}

static void a_cursor_ahead_of_the_data_is_damage(void **state)
{
    struct tools *t = *state;
    fill(t, 5);
    put_fresh_cursor(&t->rig, 2, 1, "ahead", 1000000);
    assert_true(rig_commit(&t->rig));
    rig_close(&t->rig);
    verify(t);
    assert_int_equal(t->sums.damages, 1);
    assert_non_null(strstr(t->found, "a cursor is ahead of the data"));
}

static void a_damaged_format_file_is_said_and_read_around(void **state)
{
    struct tools *t = *state;
    char path[160];
    fill(t, 5);
    rig_close(&t->rig);
    snprintf(path, sizeof path, "%s/format", t->rig.dir);
    poke(path, 15, 'x');
    verify(t);
    assert_int_equal(t->sums.damages, 1);
    assert_non_null(strstr(t->found, "damage 0-0 format:"));
    assert_int_equal(t->sums.events, 10);
    assert_int_equal(unlink(path), 0);
    verify(t);
    assert_int_equal(t->sums.damages, 1);
    assert_int_equal(t->sums.events, 10);
}

static void a_later_format_is_refused(void **state)
{
    struct tools *t = *state;
    char path[160], text[100] = "", sum[16];
    struct log_inspect *i;
    struct diag d = {0};
    fill(t, 5);
    rig_close(&t->rig);
    snprintf(path, sizeof path, "%s/format", t->rig.dir);
    int fd = open(path, O_RDWR);
    assert_true(read(fd, text, sizeof text - 1) > 45);
    text[9] = '9';
    snprintf(sum, sizeof sum, "%08x\n", crc32c(0, text, 44));
    assert_int_equal(pwrite(fd, text, 44, 0), 44);
    assert_int_equal(pwrite(fd, sum, 9, 44), 9);
    close(fd);
    assert_int_equal(log_verify(t->rig.dir, false, found, NULL, t, &t->sums, &d), ERR_UNSUPPORTED);
    assert_non_null(strstr(d.text, "format 9"));
    assert_int_equal(log_inspect(t->rig.dir, true, NULL, NULL, &i, &d), ERR_UNSUPPORTED);
    assert_non_null(strstr(d.text, "format 9"));
}

static void a_strange_file_is_noted(void **state)
{
    struct tools *t = *state;
    char path[160];
    fill(t, 5);
    rig_close(&t->rig);
    snprintf(path, sizeof path, "%s/shopping-list", t->rig.dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    verify(t);
    assert_int_equal(t->sums.damages, 0);
    assert_non_null(strstr(t->found, "note 0-0 shopping-list"));
}

static void the_newest_alone_is_quick(void **state)
{
    struct tools *t = *state;
    uint64_t segment;
    const uint64_t first = fill(t, 200);
    rig_close(&t->rig);
    poke(file_path(t, 1, ".seg"), place(t, first, &segment) + 100, -1);
    t->found[0] = '\0';
    assert_int_equal(log_verify(t->rig.dir, true, found, NULL, t, &t->sums, &t->rig.diag), OK);
    assert_int_equal(t->sums.damages, 0);
    assert_true(t->sums.segments >= 6 && t->sums.events < 100);
    poke(file_path(t, 1, ".seg"), 20, -1); /* but all heads are looked at */
    assert_int_equal(log_verify(t->rig.dir, true, found, NULL, t, &t->sums, &t->rig.diag), OK);
    assert_int_equal(t->sums.damages, 1);
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    assert_true(done <= total && done > 0);
    return false;
}

static void it_can_be_given_up(void **state)
{
    struct tools *t = *state;
    struct diag d = {0};
    fill(t, 200);
    rig_close(&t->rig);
    assert_int_equal(log_verify(t->rig.dir, false, found, stop_at_once, t, &t->sums, &d), ERR_CANCELED);
}

/* Whatever byte is turned, wherever the file ends: nothing crashes, and verify has a word for it. */
static void nothing_that_is_turned_goes_unseen(void **state)
{
    struct tools *t = *state;
    struct log_inspect *i;
    struct diag d = {0};
    fill(t, 15);
    look(t, t->rig.dir);
    const off_t used = (off_t)t->seen->segments[0].bytes, size = (off_t)t->seen->segments[0].size;
    rig_close(&t->rig);
    for (off_t at = 0; at < used; at += at < 600 ? 1 : 37) {
        poke(file_path(t, 1, ".seg"), at, -1);
        t->found[0] = '\0';
        enum err e = log_verify(t->rig.dir, false, found, NULL, t, &t->sums, &d);
        if (e == OK && t->sums.damages + t->sums.notes == 0)
            fail_msg("byte %jd", (intmax_t)at);
        if (log_inspect(t->rig.dir, true, NULL, NULL, &i, &d) == OK)
            log_inspect_free(i);
        e = dump(t, (struct log_dump_query){0});
        assert_true(e != OK || t->count <= 30);
        poke(file_path(t, 1, ".seg"), at, -1);
    }
    for (off_t at = size - 1; at >= 0; at -= at < used ? 41 : 4096) {
        assert_int_equal(truncate(file_path(t, 1, ".seg"), at), 0);
        t->found[0] = '\0';
        enum err e = log_verify(t->rig.dir, false, found, NULL, t, &t->sums, &d);
        assert_true(e != OK || t->sums.damages > 0);
        if (log_inspect(t->rig.dir, true, NULL, NULL, &i, &d) == OK)
            log_inspect_free(i);
    }
}

/* ---- dump ---- */

static void events_come_in_order_with_their_channels(void **state)
{
    struct tools *t = *state;
    const uint64_t first = fill(t, 10);
    assert_int_equal(dump(t, (struct log_dump_query){0}), OK);
    assert_int_equal(t->count, 20);
    assert_int_equal(t->lost, 0);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(t->sequences[i], first + i);
        assert_string_equal(t->channels[i], i % 2 ? "default/b" : "default/a");
    }
    t->most = 3;
    assert_int_equal(dump(t, (struct log_dump_query){0}), OK);
    assert_int_equal(t->count, 3);
}

static void a_part_of_them(void **state)
{
    struct tools *t = *state;
    const uint64_t first = fill(t, 10);
    assert_int_equal(dump(t, (struct log_dump_query){.channel = "default/b"}), OK);
    assert_int_equal(t->count, 10);
    assert_int_equal(t->sequences[0], first + 1);
    assert_int_equal(dump(t, (struct log_dump_query){.from = first + 4, .to = first + 7}), OK);
    assert_int_equal(t->count, 4);
    assert_int_equal(t->sequences[0], first + 4);
    const int64_t begun = 1000000000, second = (int64_t)NS_PER_S; /* the rig's clock; one event a second */
    assert_int_equal(
        dump(t, (struct log_dump_query){.from_wall_ns = begun + 5 * second, .to_wall_ns = begun + 8 * second}), OK);
    assert_int_equal(t->count, 3);
    assert_int_equal(t->sequences[0], first + 5);
    assert_int_equal(dump(t, (struct log_dump_query){.channel = "default/none"}), ERR_NOTFOUND);
    assert_non_null(strstr(t->rig.diag.text, "default/none"));
}

static void damage_is_left_out_and_counted(void **state)
{
    struct tools *t = *state;
    uint64_t segment;
    const uint64_t first = fill(t, 10);
    rig_close(&t->rig);
    const off_t at = place(t, first + 3, &segment);
    poke(file_path(t, segment, ".seg"), at + 60, -1);
    assert_int_equal(dump(t, (struct log_dump_query){0}), OK);
    assert_int_equal(t->count, 19);
    assert_int_equal(t->lost, 1);
}

/* ---- beside a server that gives disk back meanwhile ---- */

/* The oldest go whole, and of the others one in so many stays. */
#define OLDEST 1000
static uint64_t apart;

static bool stays(uint64_t sequence)
{
    return sequence > OLDEST && sequence % apart == 0;
}

static bool is_wanted(void *arg, const struct log_view *event)
{
    (void)arg;
    return stays(event->record.sequence);
}

static bool is_needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    (void)arg, (void)channel;
    return last / apart * apart >= first && last > OLDEST;
}

static void reclaim(struct tools *t)
{
    struct log_reclaimed done;
    const struct log_policy policy = {
        .needed = is_needed, .wanted = is_wanted, .below = log_store_committed(t->rig.store) + 1};
    for (int i = 0; i < 4; i++)
        assert_int_equal(log_store_reclaim(t->rig.store, &policy, &done), OK);
}

/* The first two of `sequences`: the last one, and how many are to be kept. */
static bool count_kept(void *arg, const struct log_dump_event *e)
{
    struct tools *t = arg;
    assert_true(e->sequence > t->sequences[0]);
    t->sequences[0] = e->sequence;
    t->sequences[1] += stays(e->sequence);
    return true;
}

static bool count_and_reclaim(void *arg, const struct log_dump_event *e)
{
    struct tools *t = arg;
    if (t->count++ == 0)
        reclaim(t);
    return count_kept(arg, e);
}

static void what_is_kept_is_dumped_while_the_rest_goes(void **state)
{
    struct tools *t = *state;
    const struct log_dump_query q = {.from_wall_ns = INT64_MIN, .to_wall_ns = INT64_MAX};
    apart = 500;
    t->rig.segment_bytes = 512u << 10;
    fill(t, 2000);
    assert_int_equal(log_dump(t->rig.dir, &q, count_kept, t, &t->lost, &t->rig.diag), OK);
    const uint64_t last = t->sequences[0], kept = t->sequences[1];
    t->sequences[0] = t->sequences[1] = 0;
    assert_int_equal(log_dump(t->rig.dir, &q, count_and_reclaim, t, &t->lost, &t->rig.diag), OK);
    assert_int_equal(t->lost, 0);
    assert_int_equal(t->sequences[0], last);
    assert_int_equal(t->sequences[1], kept);
    assert_true(kept >= 5 && t->count < 2000);
}

static bool reclaim_once(void *arg, uint64_t done, uint64_t total)
{
    struct tools *t = arg;
    (void)done, (void)total;
    if (t->count++ == 0)
        reclaim(t);
    return true;
}

static void what_is_in_it_is_told_while_it_goes(void **state)
{
    struct tools *t = *state;
    struct rig *r = &t->rig;
    struct slot s;
    struct buf value;
    const struct ce_event *event = rig_event(1, 10);
    apart = 5000;
    r->segment_bytes = 1u << 20; /* of more records than are read without a word of progress */
    const uint64_t first = fill(t, 1);
    slot_init(&s, first, false);
    assert_int_equal(slot_push(&s, first, event, 100), OK);
    assert_int_equal(slot_push(&s, first + 30000, event, 100), OK);
    (void)slot_take(&s);
    slot_acknowledge(&s, slot_take(&s));
    buf_init(&value, 4096);
    slot_ledger_put(&s, 1, first + 30001, NULL, &value);
    for (unsigned i = 0; i < 30000; i++)
        assert_true(rig_append(r, 1, i, 10) > 0);
    put_cursor(r, 2, 1, "worker", buf_slice(&value));
    assert_true(rig_commit(r));
    assert_int_equal(log_inspect(r->dir, true, reclaim_once, t, &t->seen, &r->diag), OK);
    assert_true(t->count > 0);
    assert_true(t->seen->segments[0].compacted || t->seen->segments[1].compacted);
    assert_int_equal(t->seen->lost, 0);
    slot_fini(&s);
    buf_fini(&value);
    ce_event_unref(event);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(channels_segments_and_cursors_are_told),
        TEST(what_was_settled_out_of_order_is_not_behind),
        TEST(a_cursor_at_the_end_is_not_behind_and_a_broken_one_is_told),
        TEST(a_data_directory_means_the_log_in_it),
        TEST(what_is_no_log_is_said),
        TEST(nothing_is_written_and_no_lock_is_taken),
        TEST(a_whole_log_is_whole),
        TEST(a_compacted_log_is_whole),
        TEST(a_flipped_byte_is_found_and_named),
        TEST(a_damaged_head_costs_no_record),
        TEST(a_torn_tail_is_no_damage),
        TEST(a_missing_segment_is_a_loss),
        TEST(a_cut_file_is_damage),
        TEST(an_index_is_looked_at),
        TEST(a_cursor_ahead_of_the_data_is_damage),
        TEST(a_damaged_format_file_is_said_and_read_around),
        TEST(a_later_format_is_refused),
        TEST(a_strange_file_is_noted),
        TEST(the_newest_alone_is_quick),
        TEST(it_can_be_given_up),
        TEST(nothing_that_is_turned_goes_unseen),
        TEST(events_come_in_order_with_their_channels),
        TEST(a_part_of_them),
        TEST(damage_is_left_out_and_counted),
        TEST(what_is_kept_is_dumped_while_the_rest_goes),
        TEST(what_is_in_it_is_told_while_it_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
