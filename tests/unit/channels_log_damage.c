/* SPDX-License-Identifier: Apache-2.0
 *
 * Damage to the files of a log that was closed in order: whatever byte is flipped, wherever a file is cut, whichever
 * file is missing, doubled, swapped or another log's. The log opens or says why it does not; it delivers no wrong
 * event; what was acknowledged and is gone is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/log_lab_parts.h"

#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 61u /* prime: all places within a record come up */
#else
#define STRIDE 1u
#endif

static const struct lab_profile profile = {.name = "damage", .sizes_to = 3, .batch_max = 6, .steps = 0};

struct files {
    char segment[8][64], index[8][64];
    size_t segments, indexes;
};

static void on_file(void *arg, const char *path)
{
    struct files *f = arg;
    size_t n = strlen(path);
    if (n > 4 && strcmp(path + n - 4, ".seg") == 0)
        snprintf(f->segment[f->segments++], 64, "%s", path);
    else if (n > 4 && strcmp(path + n - 4, ".idx") == 0)
        snprintf(f->index[f->indexes++], 64, "%s", path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct files files_of(struct fake_disk *d)
{
    struct files f = {0};
    fake_disk_each(d, on_file, &f);
    qsort(f.segment, f.segments, 64, by_name);
    qsort(f.index, f.indexes, 64, by_name);
    return f;
}

/* A closed log of so many segments, all of it acknowledged. */
static struct files make_log(struct lab *l, uint64_t seed, size_t segments)
{
    struct files f;
    lab_init(l, seed, &profile);
    l->story = "damage";
    assert_int_equal(lab_open(l, false), OK);
    do {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(lab_append(l, 1 + prng_below(&l->random, 6)), OK);
        assert_int_equal(lab_put_object(l), OK);
        assert_int_equal(lab_commit(l), OK);
        f = files_of(l->disk);
    } while (f.segments < segments || (segments == 1 && l->model.count < 60));
    lab_look(l);
    lab_close(l);
    return files_of(l->disk);
}

/* The log as it is, on a disk of its own. */
static void copy_log(const struct lab *from, uint64_t point, struct lab *to)
{
    lab_fork(from, fake_disk_kill(from->disk, 1), point, to);
    to->point = point;
}

/* Opens it; false: it says that it cannot. Reads, and writes on. */
static bool survive(struct lab *l, bool unnamed, size_t *gone)
{
    enum err e = lab_open(l, false);
    if (e != OK)
        return false;
    *gone = lab_verify_damaged(l, unnamed);
    if (l->point % 16 == 0 && !unnamed) {
        assert_int_equal(lab_append(l, 3), OK);
        assert_int_equal(lab_commit(l), OK);
        *gone = lab_verify_damaged(l, true);
    }
    lab_close(l);
    return true;
}

static void every_byte_flipped(void **state)
{
    (void)state;
    for (size_t segments = 1; segments <= 3; segments += 2) {
        struct lab l;
        struct files f = make_log(&l, 10 + segments, segments);
        size_t refused = 0, lossy = 0, flips = 0;
        for (size_t s = 0; s < f.segments; s++) {
            uint64_t size = fake_disk_size(l.disk, f.segment[s]), step = segments == 1 ? STRIDE : 7 * STRIDE;
            for (uint64_t at = segments == 1 ? 0 : prng_below(&l.random, step); at < size; at += step) {
                struct lab copy;
                size_t gone = 0;
                copy_log(&l, ((uint64_t)s << 32) + at, &copy);
                uint64_t bits = prng_below(&copy.random, 2) ? 1ull << prng_below(&copy.random, 8)
                                                            : 1 + prng_below(&copy.random, 255);
                fake_disk_flip(copy.disk, f.segment[s], at, (unsigned char)bits);
                if (!survive(&copy, false, &gone))
                    refused++;
                lossy += gone > 0;
                flips++;
                lab_fini(&copy);
            }
        }
        printf("%zu bytes flipped: %zu with loss, all named\n", flips, lossy);
        assert_int_equal(refused, 0);
        assert_true(lossy > 0);
        lab_fini(&l);
    }
}

/* In what compaction left, sequences jump: what a flipped byte takes away there is told from what was not kept. */
static void compacted_segments_flipped(void **state)
{
    (void)state;
    struct lab l;
    size_t lossy = 0, flips = 0, compacted = 0;
    (void)make_log(&l, 15, 5);
    assert_int_equal(lab_open(&l, false), OK);
    for (uint32_t n = 1; n <= l.model.numbers[LOG_CURSOR]; n++) {
        const struct lab_record *cursor = lab_object_at(&l.model, LOG_CURSOR, n, UINT64_MAX);
        if (cursor)
            assert_int_equal(lab_put_cursor(&l, n, cursor->channel, l.model.acknowledged), OK);
    }
    assert_int_equal(lab_put_cursor(&l, 0, 2, 1), OK); /* of one channel: the rest nobody needs */
    assert_int_equal(lab_commit(&l), OK);
    clock_fake_advance(&l.clock, 100 * NS_PER_S);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(lab_reclaim(&l), OK);
    lab_look(&l);
    lab_close(&l);
    struct files f = files_of(l.disk);
    for (size_t s = 0; s + 2 < f.segments; s++) {
        uint64_t size = fake_disk_size(l.disk, f.segment[s]);
        compacted += size < LOG_SEGMENT_BYTES_MIN;
        for (uint64_t at = 0; at < size; at += size < LOG_SEGMENT_BYTES_MIN ? 1 + STRIDE / 8 : 61) {
            for (unsigned with_index = 0; with_index < 2; with_index++) {
                struct lab copy;
                size_t gone = 0;
                copy_log(&l, ((uint64_t)s << 32) + 2 * at + with_index, &copy);
                fake_disk_flip(copy.disk, f.segment[s], at, (unsigned char)(1 + prng_below(&copy.random, 255)));
                if (!with_index)
                    fake_disk_remove(copy.disk, f.index[s]);
                lab_check(&copy, survive(&copy, false, &gone), "%s", copy.diag.text);
                lossy += gone > 0;
                flips++;
                lab_fini(&copy);
            }
        }
    }
    printf("%zu bytes of compacted segments flipped: %zu with loss, all named\n", flips, lossy);
    assert_true(compacted > 0 && lossy > 0);
    lab_fini(&l);
}

static void every_length(void **state)
{
    (void)state;
    struct lab l;
    struct files f = make_log(&l, 20, 2);
    for (size_t s = 0; s < 2; s++) {
        uint64_t size = fake_disk_size(l.disk, f.segment[s]);
        unsigned char *bytes = NULL;
        size_t len = 0, lossy = 0;
        assert_true(fake_disk_get(l.disk, f.segment[s], &bytes, &len));
        for (uint64_t at = 0; at < size; at += s ? STRIDE : 5 * STRIDE) {
            struct lab copy;
            size_t gone = 0;
            copy_log(&l, ((uint64_t)s << 32) + at, &copy);
            fake_disk_put(copy.disk, f.segment[s], bytes, at);
            lab_check(&copy, survive(&copy, true, &gone), "cut to %zu bytes: %s", (size_t)at, copy.diag.text);
            lossy += gone > 0;
            lab_fini(&copy);
        }
        assert_true(lossy > 0);
        free(bytes);
    }
    lab_fini(&l);
}

static void without_its_indexes_or_with_damaged_ones_nothing_is_lost(void **state)
{
    (void)state;
    struct lab l;
    struct files f = make_log(&l, 30, 3);
    assert_true(f.indexes >= 1);
    for (size_t i = 0; i < f.indexes; i++) {
        uint64_t size = fake_disk_size(l.disk, f.index[i]);
        for (uint64_t at = 0; at <= size; at++) {
            struct lab copy;
            copy_log(&l, ((uint64_t)i << 32) + at, &copy);
            if (at < size)
                fake_disk_flip(copy.disk, f.index[i], at, (unsigned char)(1 + prng_below(&copy.random, 255)));
            else
                fake_disk_remove(copy.disk, f.index[i]);
            assert_int_equal(lab_open(&copy, false), OK);
            lab_verify(&copy);
            lab_fini(&copy);
        }
        for (uint64_t at = 0; at < size; at += 3) {
            struct lab copy;
            unsigned char *bytes = NULL;
            size_t len = 0;
            copy_log(&l, ((uint64_t)i << 32) + at, &copy);
            assert_true(fake_disk_get(copy.disk, f.index[i], &bytes, &len));
            fake_disk_put(copy.disk, f.index[i], bytes, (size_t)at);
            assert_int_equal(lab_open(&copy, false), OK);
            lab_verify(&copy);
            free(bytes);
            lab_fini(&copy);
        }
    }
    lab_fini(&l);
}

/* The index of another segment is none. */
static void swapped_indexes(void **state)
{
    (void)state;
    struct lab l;
    struct files f = make_log(&l, 31, 4);
    unsigned char *a = NULL, *b = NULL;
    size_t a_len = 0, b_len = 0;
    assert_true(f.indexes >= 2);
    assert_true(fake_disk_get(l.disk, f.index[0], &a, &a_len) && fake_disk_get(l.disk, f.index[1], &b, &b_len));
    fake_disk_put(l.disk, f.index[0], b, b_len);
    fake_disk_put(l.disk, f.index[1], a, a_len);
    assert_int_equal(lab_open(&l, false), OK);
    lab_verify(&l);
    free(a);
    free(b);
    lab_fini(&l);
}

static void segments_gone_swapped_doubled(void **state)
{
    (void)state;
    struct lab l;
    struct files f = make_log(&l, 40, 4);
    assert_true(f.segments >= 4);
    for (size_t i = 0; i < f.segments; i++) {
        for (size_t k = 0; k < f.segments; k++) {
            struct lab copy;
            unsigned char *a = NULL, *b = NULL;
            size_t a_len, b_len, gone = 0;
            copy_log(&l, 100 * i + k, &copy);
            assert_true(fake_disk_get(copy.disk, f.segment[i], &a, &a_len));
            assert_true(fake_disk_get(copy.disk, f.segment[k], &b, &b_len));
            if (i == k) {
                fake_disk_remove(copy.disk, f.segment[i]); /* gone */
            } else if (i < k) {
                fake_disk_put(copy.disk, f.segment[i], b, b_len); /* swapped */
                fake_disk_put(copy.disk, f.segment[k], a, a_len);
            } else {
                fake_disk_put(copy.disk, f.segment[i], b, b_len); /* doubled, over another */
            }
            copy.headless = i == k && i == 0;
            bool newest = i == f.segments - 1 || k == f.segments - 1;
            lab_check(&copy, survive(&copy, newest, &gone), "%s", copy.diag.text);
            free(a);
            free(b);
            lab_fini(&copy);
        }
    }
    lab_fini(&l);
}

/* Under names that no segment of this log has. */
static void segments_under_other_names(void **state)
{
    (void)state;
    static const char *const names[] = {"00000000000000000000.seg",
                                        "00000000000000000007.seg",
                                        "00000000000000999999.seg",
                                        "18446744073709551615.seg",
                                        "99999999999999999999.seg",
                                        "1.seg",
                                        "x.seg",
                                        ".seg",
                                        "lost+found",
                                        "00000000000000000001.seg.tmp",
                                        "00000000000000000001.idx.tmp"};
    struct lab l;
    struct files f = make_log(&l, 50, 2);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct lab copy;
        unsigned char *a = NULL;
        size_t a_len, gone = 0;
        char path[64];
        copy_log(&l, i, &copy);
        snprintf(path, sizeof(path), LAB_DIR "/%s", names[i]);
        assert_true(fake_disk_get(copy.disk, f.segment[i % 2], &a, &a_len));
        fake_disk_put(copy.disk, path, a, a_len);
        lab_check(&copy, survive(&copy, false, &gone), "%s: %s", names[i], copy.diag.text);
        lab_check(&copy, gone == 0, "%s took %zu records away", names[i], gone);
        free(a);
        lab_fini(&copy);
    }
    lab_fini(&l);
}

static void foreign_segments_are_not_read(void **state)
{
    (void)state;
    struct lab l, other;
    struct files f = make_log(&l, 60, 3), g = make_log(&other, 61, 3);
    for (size_t i = 0; i < f.segments; i++) {
        struct lab copy;
        unsigned char *a = NULL;
        size_t a_len, gone = 0;
        copy_log(&l, i, &copy);
        assert_true(fake_disk_get(other.disk, g.segment[i % g.segments], &a, &a_len));
        fake_disk_put(copy.disk, f.segment[i], a, a_len);
        copy.headless = i == 0;
        if (survive(&copy, i == f.segments - 1, &gone))
            assert_true(gone > 0);
        else
            assert_true(copy.diag.text[0] != '\0');
        free(a);
        lab_fini(&copy);
    }
    lab_fini(&l);
    lab_fini(&other);
}

/* What says which log this is: without it, or with another, the log is whole or refused; never emptied. */
static void the_format_file(void **state)
{
    (void)state;
    struct lab l;
    struct files f = make_log(&l, 70, 2);
    uint64_t size = fake_disk_size(l.disk, LAB_DIR "/format");
    (void)f;
    assert_true(size > 10);
    for (uint64_t at = 0; at <= size + 1; at++) {
        struct lab copy;
        size_t gone = 0;
        copy_log(&l, at, &copy);
        if (at < size)
            fake_disk_flip(copy.disk, LAB_DIR "/format", at, 1);
        else if (at == size)
            fake_disk_remove(copy.disk, LAB_DIR "/format");
        else
            fake_disk_put(copy.disk, LAB_DIR "/format", "", 0);
        if (survive(&copy, false, &gone))
            lab_check(&copy, gone == 0, "%zu records are gone", gone);
        lab_fini(&copy);
    }
    lab_fini(&l);
}

static int cool_down(void **state)
{
    (void)state;
    lab_cool_down();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(compacted_segments_flipped),
        cmocka_unit_test(every_length),
        cmocka_unit_test(without_its_indexes_or_with_damaged_ones_nothing_is_lost),
        cmocka_unit_test(swapped_indexes),
        cmocka_unit_test(segments_gone_swapped_doubled),
        cmocka_unit_test(segments_under_other_names),
        cmocka_unit_test(foreign_segments_are_not_read),
        cmocka_unit_test(the_format_file),
    };
    return cmocka_run_group_tests(tests, NULL, cool_down);
}
