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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_directory_becomes_a_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_are_found_again_in_order_and_equal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_see_only_what_is_committed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_larger_than_a_segment_gets_one_of_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_catalogue_is_what_was_written_last, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
