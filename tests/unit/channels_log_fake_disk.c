/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake disk does what its header says: what was synced is there after a power loss, what was not is there or not in
 * every way that the header permits, and nothing else. A simulator that is too kind proves nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/fake_disk.h"

#define FILE_A "/data/a"

static struct disk_file *create(struct fake_disk *d, const char *path)
{
    struct disk *k = fake_disk_base(d);
    struct disk_file *f = NULL;
    assert_int_equal(k->ops->open(k, path, DISK_CREATE, &f, NULL), OK);
    return f;
}

static struct disk_file *open_file(struct fake_disk *d, const char *path)
{
    struct disk *k = fake_disk_base(d);
    struct disk_file *f = NULL;
    assert_int_equal(k->ops->open(k, path, DISK_WRITE, &f, NULL), OK);
    return f;
}

static void close_file(struct fake_disk *d, struct disk_file *f)
{
    fake_disk_base(d)->ops->close(fake_disk_base(d), f);
}

static enum err fill(struct fake_disk *d, struct disk_file *f, char c, size_t len, uint64_t at)
{
    char bytes[20000];
    assert_true(len <= sizeof(bytes));
    memset(bytes, c, len);
    return fake_disk_base(d)->ops->write(fake_disk_base(d), f, bytes, len, at, NULL);
}

static enum err sync_file(struct fake_disk *d, struct disk_file *f)
{
    return fake_disk_base(d)->ops->sync(fake_disk_base(d), f, NULL);
}

static enum err sync_data(struct fake_disk *d)
{
    return fake_disk_base(d)->ops->sync_dir(fake_disk_base(d), "/data", NULL);
}

/* A file with `len` bytes of 'o' on the disk for good. */
static struct fake_disk *disk_with_a(struct disk_file **f, size_t len)
{
    struct fake_disk *d = fake_disk_new(1);
    *f = create(d, FILE_A);
    if (len)
        assert_int_equal(fill(d, *f, 'o', len, 0), OK);
    assert_int_equal(sync_file(d, *f), OK);
    assert_int_equal(sync_data(d), OK);
    return d;
}

static void what_is_synced_survives_every_crash(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 5000);
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        unsigned char *bytes = NULL;
        size_t len = 0;
        assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
        assert_int_equal(len, 5000);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(bytes[i], 'o');
        free(bytes);
        fake_disk_free(after);
    }
    close_file(d, f);
    fake_disk_free(d);
}

/* Two unsynced writes over four sectors: each sector is seen old, after the first, after the second, whatever its
 * neighbour is; torn ones and garbage are seen; bytes outside are never touched. */
static void unsynced_sectors_go_their_own_ways(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 8192);
    bool seen[4][256] = {{0}}, apart = false, torn = false, garbage = false;
    assert_int_equal(fill(d, f, 'x', 2048, 512), OK);
    assert_int_equal(fill(d, f, 'y', 2000, 512), OK);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        unsigned char *bytes = NULL;
        size_t len = 0;
        assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
        assert_int_equal(len, 8192);
        for (size_t i = 0; i < len; i++) {
            if (i < 512 || i >= 2560)
                assert_int_equal(bytes[i], 'o');
            else
                garbage |= bytes[i] != 'o' && bytes[i] != 'x' && bytes[i] != 'y';
        }
        for (size_t s = 0; s < 4; s++) {
            seen[s][bytes[512 + 512 * s]] = true;
            torn |= bytes[512 + 512 * s] != bytes[600 + 512 * s];
        }
        apart |= bytes[512] == 'o' && bytes[1024] == 'y' && bytes[1536] == 'x';
        free(bytes);
        fake_disk_free(after);
    }
    for (size_t s = 0; s < 4; s++)
        assert_true(seen[s]['o'] && seen[s]['x'] && seen[s]['y']);
    assert_true(apart && torn && garbage);
    close_file(d, f);
    fake_disk_free(d);
}

static void lengths_survive_or_not_and_new_parts_are_zeros(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 1000);
    struct disk *k = fake_disk_base(d);
    bool old = false, allocated = false, cut = false, dropped = false;
    assert_int_equal(k->ops->allocate(k, f, 20000, NULL), OK);
    assert_int_equal(fill(d, f, 'x', 1000, 10000), OK);
    assert_int_equal(k->ops->truncate(k, f, 10500, NULL), OK);
    assert_int_equal(k->ops->truncate(k, f, 12000, NULL), OK);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        unsigned char *bytes = NULL;
        size_t len = 0;
        assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
        assert_true(len == 1000 || len == 20000 || len == 10500 || len == 12000);
        old |= len == 1000;
        allocated |= len == 20000;
        cut |= len == 10500;
        for (size_t i = 1000; i < len && i < 10000; i++)
            assert_int_equal(bytes[i], 0);
        for (size_t i = 11000; i < len; i++)
            assert_int_equal(bytes[i], 0);
        if (len == 12000) /* what the cut took does not come back */
            for (size_t i = 10500; i < len; i++)
                assert_int_equal(bytes[i], 0);
        dropped |= len == 20000 && bytes[10300] == 0;
        free(bytes);
        fake_disk_free(after);
    }
    assert_true(old && allocated && cut && dropped);
    close_file(d, f);
    fake_disk_free(d);
}

static void names_survive_or_not_and_a_rename_is_atomic(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 10);
    struct disk *k = fake_disk_base(d);
    unsigned seen = 0;
    struct disk_file *g = create(d, "/data/b.tmp");
    assert_int_equal(fill(d, g, 'n', 20, 0), OK);
    assert_int_equal(sync_file(d, g), OK);
    assert_int_equal(k->ops->rename(k, "/data/b.tmp", FILE_A, NULL), OK);
    close_file(d, create(d, "/data/c"));
    assert_int_equal(k->ops->unlink(k, "/data/c", NULL), OK);
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        bool a_new = fake_disk_size(after, FILE_A) == 20, tmp = fake_disk_exists(after, "/data/b.tmp");
        assert_true(fake_disk_exists(after, FILE_A));
        assert_true(a_new || fake_disk_size(after, FILE_A) == 10);
        assert_false(a_new && tmp);
        seen |= 1u << ((a_new ? 1 : 0) + (tmp ? 2 : 0) + (fake_disk_exists(after, "/data/c") ? 4 : 0));
        fake_disk_free(after);
    }
    assert_int_equal(seen, 0x77);
    assert_int_equal(sync_data(d), OK);
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        assert_int_equal(fake_disk_size(after, FILE_A), 20);
        assert_false(fake_disk_exists(after, "/data/b.tmp") || fake_disk_exists(after, "/data/c"));
        fake_disk_free(after);
    }
    close_file(d, f);
    close_file(d, g);
    fake_disk_free(d);
}

static void a_directory_that_was_not_synced_takes_its_files_along(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(2);
    struct disk *k = fake_disk_base(d);
    unsigned kept = 0, gone = 0;
    assert_int_equal(k->ops->make_dir(k, "/data/log", NULL), OK);
    assert_int_equal(k->ops->make_dir(k, "/data/log", NULL), OK);
    struct disk_file *f = create(d, "/data/log/x");
    assert_int_equal(sync_file(d, f), OK);
    assert_int_equal(k->ops->sync_dir(k, "/data/log", NULL), OK);
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        assert_int_equal(fake_disk_exists(after, "/data/log"), fake_disk_exists(after, "/data/log/x"));
        fake_disk_exists(after, "/data/log") ? kept++ : gone++;
        fake_disk_free(after);
    }
    assert_true(kept && gone);
    close_file(d, f);
    fake_disk_free(d);
}

static void after_a_failed_sync_the_disk_lies(void **state)
{
    (void)state;
    bool lost = false, there = false;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fake_disk *d = fake_disk_new(seed);
        struct disk_file *f = create(d, FILE_A);
        assert_int_equal(sync_data(d), OK);
        fake_disk_fault(d, &(struct fake_fault){.ops = FAKE_BIT(FAKE_SYNC), .nth = 1, .err = ERR_IO});
        assert_int_equal(fill(d, f, 'x', 1000, 0), OK);
        assert_int_equal(sync_file(d, f), ERR_IO);
        assert_int_equal(fake_disk_breaches(d), 0);
        assert_int_equal(fake_disk_size(d, FILE_A), 1000); /* it is still read */
        assert_int_equal(sync_file(d, f), OK);             /* and this says nothing */
        assert_int_equal(fake_disk_breaches(d), 1);
        struct fake_disk *killed = fake_disk_kill(d, seed), *after = fake_disk_power_loss(killed, seed);
        unsigned char *bytes = NULL;
        size_t len = 0;
        assert_int_equal(fake_disk_size(killed, FILE_A), 1000);
        assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
        (len == 1000 && bytes[0] == 'x' && bytes[999] == 'x' ? &there : &lost)[0] = true;
        free(bytes);
        fake_disk_free(after);
        fake_disk_free(killed);
        close_file(d, f);
        fake_disk_free(d);
    }
    assert_true(lost && there);
}

static void a_killed_process_loses_nothing_and_syncs_nothing(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 1000);
    assert_int_equal(fill(d, f, 'x', 1000, 0), OK);
    close_file(d, create(d, "/data/new"));
    struct fake_disk *killed = fake_disk_kill(d, 3);
    unsigned char *bytes = NULL;
    size_t len = 0;
    bool lost = false;
    assert_int_equal(fake_disk_open_files(killed), 0);
    assert_true(fake_disk_get(killed, FILE_A, &bytes, &len));
    assert_true(len == 1000 && bytes[0] == 'x' && bytes[999] == 'x');
    assert_true(fake_disk_exists(killed, "/data/new"));
    free(bytes);
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fake_disk *after = fake_disk_power_loss(killed, seed);
        lost |= !fake_disk_exists(after, "/data/new");
        fake_disk_free(after);
    }
    assert_true(lost);
    struct disk_file *g = open_file(killed, FILE_A);
    assert_int_equal(sync_file(killed, g), OK);
    close_file(killed, g);
    struct fake_disk *after = fake_disk_power_loss(killed, 9);
    assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
    assert_true(bytes[0] == 'x' && bytes[999] == 'x');
    free(bytes);
    fake_disk_free(after);
    fake_disk_free(killed);
    close_file(d, f);
    fake_disk_free(d);
}

static void the_last_change_ends_everything(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 1000);
    fake_disk_stop_after(d, 2);
    assert_int_equal(fill(d, f, 'x', 1000, 0), OK);
    assert_false(fake_disk_stopped(d));
    assert_int_equal(sync_file(d, f), ERR_IO);
    assert_true(fake_disk_stopped(d));
    uint64_t size;
    assert_int_equal(fake_disk_base(d)->ops->size(fake_disk_base(d), f, &size, NULL), ERR_IO);
    assert_int_equal(fill(d, f, 'y', 10, 0), ERR_IO);
    assert_int_equal(sync_file(d, f), ERR_IO);
    bool lost = false, there = false;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fake_disk *after = fake_disk_power_loss(d, seed);
        unsigned char *bytes = NULL;
        size_t len = 0;
        assert_true(fake_disk_get(after, FILE_A, &bytes, &len));
        assert_int_not_equal(bytes[0], 'y');
        lost |= bytes[0] == 'o' && bytes[999] == 'o';
        there |= bytes[0] == 'x' && bytes[999] == 'x';
        free(bytes);
        fake_disk_free(after);
    }
    assert_true(lost && there);
    close_file(d, f);
    fake_disk_free(d);
}

static void faults_come_once_or_for_ever(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 1000);
    struct disk *k = fake_disk_base(d);
    char bytes[10];
    size_t got;
    struct fake_fault once = {.ops = FAKE_BIT(FAKE_READ), .nth = 2, .err = ERR_IO};
    fake_disk_fault(d, &once);
    assert_int_equal(k->ops->read(k, f, bytes, 10, 995, &got, NULL), OK);
    assert_int_equal(got, 5);
    struct diag diag = {0};
    assert_int_equal(k->ops->read(k, f, bytes, 10, 0, &got, &diag), ERR_IO);
    assert_string_equal(diag.text, "read /data/a: io");
    assert_int_equal(k->ops->read(k, f, bytes, 10, 0, &got, NULL), OK);
    assert_int_equal(fake_disk_faults(d), 1);
    struct fake_fault ever = {.ops = FAKE_BIT(FAKE_WRITE), .nth = 1, .for_ever = true, .err = ERR_FULL};
    fake_disk_fault(d, &ever);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fill(d, f, 'x', 10, 0), ERR_FULL);
    assert_int_equal(fake_disk_faults(d), 5);
    fake_disk_fault(d, NULL);
    assert_int_equal(fill(d, f, 'x', 10, 0), OK);
    close_file(d, f);
    assert_int_equal(fake_disk_open_files(d), 0);
    fake_disk_free(d);
}

static void room_ends_and_comes_back(void **state)
{
    (void)state;
    struct disk_file *f;
    struct fake_disk *d = disk_with_a(&f, 1000);
    struct disk *k = fake_disk_base(d);
    uint64_t available = 0, total = 0;
    fake_disk_capacity(d, 16384);
    assert_int_equal(k->ops->space(k, "/data", &available, &total, NULL), OK);
    assert_true(available == 12288 && total == 16384);
    struct disk_file *g = create(d, "/data/b");
    assert_int_equal(k->ops->allocate(k, g, 12288, NULL), OK);
    assert_int_equal(fill(d, f, 'x', 1000, 4000), ERR_FULL);
    assert_int_equal(fill(d, g, 'x', 12288, 0), OK);
    assert_int_equal(k->ops->allocate(k, g, 12289, NULL), ERR_FULL);
    close_file(d, g);
    assert_int_equal(k->ops->unlink(k, "/data/b", NULL), OK);
    assert_int_equal(fill(d, f, 'x', 1000, 4000), OK);
    close_file(d, f);
    fake_disk_free(d);
}

static void one_process_holds_the_lock(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct disk *k = fake_disk_base(d);
    struct disk_file *f = NULL, *g = NULL;
    assert_int_equal(k->ops->lock(k, "/data/lock", &f, NULL), OK);
    assert_int_equal(k->ops->lock(k, "/data/lock", &g, NULL), ERR_CONFLICT);
    struct fake_disk *killed = fake_disk_kill(d, 1);
    assert_int_equal(fake_disk_base(killed)->ops->lock(fake_disk_base(killed), "/data/lock", &g, NULL), OK);
    close_file(killed, g);
    fake_disk_free(killed);
    close_file(d, f);
    assert_int_equal(k->ops->lock(k, "/data/lock", &g, NULL), OK);
    close_file(d, g);
    fake_disk_free(d);
}

static void count_change(void *arg, enum fake_op op)
{
    assert_true(FAKE_BIT(op) & FAKE_CHANGES);
    ++*(unsigned *)arg;
}

static void the_watcher_sees_each_change(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct disk *k = fake_disk_base(d);
    unsigned seen = 0;
    fake_disk_watch(d, count_change, &seen);
    struct disk_file *f = create(d, FILE_A);
    assert_int_equal(k->ops->allocate(k, f, 100, NULL), OK);
    assert_int_equal(fill(d, f, 'x', 10, 0), OK);
    assert_int_equal(sync_file(d, f), OK);
    assert_int_equal(sync_data(d), OK);
    assert_int_equal(k->ops->truncate(k, f, 10, NULL), OK);
    assert_int_equal(k->ops->rename(k, FILE_A, "/data/b", NULL), OK);
    assert_int_equal(k->ops->unlink(k, "/data/b", NULL), OK);
    assert_int_equal(k->ops->make_dir(k, "/data/c", NULL), OK);
    assert_int_equal(seen, 9);
    assert_int_equal(fake_disk_count(d, FAKE_CHANGES), 9);
    close_file(d, f);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_synced_survives_every_crash),
        cmocka_unit_test(unsynced_sectors_go_their_own_ways),
        cmocka_unit_test(lengths_survive_or_not_and_new_parts_are_zeros),
        cmocka_unit_test(names_survive_or_not_and_a_rename_is_atomic),
        cmocka_unit_test(a_directory_that_was_not_synced_takes_its_files_along),
        cmocka_unit_test(after_a_failed_sync_the_disk_lies),
        cmocka_unit_test(a_killed_process_loses_nothing_and_syncs_nothing),
        cmocka_unit_test(the_last_change_ends_everything),
        cmocka_unit_test(faults_come_once_or_for_ever),
        cmocka_unit_test(room_ends_and_comes_back),
        cmocka_unit_test(one_process_holds_the_lock),
        cmocka_unit_test(the_watcher_sees_each_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
