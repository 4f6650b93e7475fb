/* SPDX-License-Identifier: Apache-2.0
 *
 * Reclaiming on a disk that fails: wherever the power goes, also a second time, and whatever operation or allocation
 * fails, once or for ever, what is needed stays, nothing is named as lost, the store works on, and the next round does
 * what this one could not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/fake_disk.h"
#include "tests/lib/fault.h"
#include "tests/lib/reclaim_rig.h"

/* Segments of which a tenth is needed, one that is needed whole among them, and at the front some that nobody needs: so
 * removing, compacting and joining all have something to do. */
static struct rig *scene(struct fake_disk *d)
{
    struct rig *r = rig_new(fake_disk_base(d), "/data/log", LOG_SEGMENT_BYTES_MIN, 1);
    fill_segments(r, 1, 3);
    for (int i = 0; i < 800; i++) {
        uint32_t channel = i % 10 ? 1 : 2;
        if (i > 340 && i < 410)
            channel = 3;
        uint64_t s = append(r, channel, 900);
        r->events[s].needed = channel != 1;
    }
    fill_segments(r, 1, 2);
    log_store_close(r->store);
    r->store = NULL;
    return r;
}

struct copy {
    struct rig *rig;
    struct fake_disk *disk;
};

/* The scene on a disk of its own. */
static struct copy copy_of(const struct rig *scene, struct fake_disk *d, uint64_t seed)
{
    struct copy c = {malloc(sizeof *c.rig), fake_disk_power_loss(d, seed)}; /* all is synced: nothing goes */
    assert_non_null(c.rig);
    *c.rig = *scene;
    c.rig->disk = fake_disk_base(c.disk);
    c.rig->lost_notices = 0;
    return c;
}

static void copy_free(struct copy *c)
{
    assert_int_equal(fake_disk_breaches(c->disk), 0);
    log_store_close(c->rig->store);
    fake_disk_free(c->disk);
    free(c->rig);
}

/* Three rounds: the second joins what the first has compacted. */
static enum err work(struct rig *r, struct log_reclaimed *sum)
{
    for (int i = 0; i < 3; i++) {
        struct log_reclaimed out;
        enum err e = reclaim(r, &out);
        sum->segments_removed += out.segments_removed;
        sum->segments_compacted += out.segments_compacted;
        sum->bytes += out.bytes;
        if (e)
            return e;
    }
    return OK;
}

static void ends_well(struct rig *r, unsigned count)
{
    check(r, NULL);
    segments(r);
    append(r, 1, 100);
    reclaim_all(r);
    assert_int_equal(segments(r).count, count);
    check(r, NULL);
    reopen(r);
    check(r, NULL);
    assert_int_equal(segments(r).count, each_file(r, ".seg", NULL));
    assert_int_equal(each_file(r, ".tmp", NULL), 0);
    assert_int_equal(r->lost_notices, 0);
}

/* How many segments are left when nothing fails. */
static unsigned undisturbed(const struct rig *scene, struct fake_disk *d)
{
    struct copy c = copy_of(scene, d, 1);
    struct log_reclaimed sum = {0};
    open_store(c.rig);
    unsigned before = segments(c.rig).count;
    append(c.rig, 1, 100);
    assert_int_equal(work(c.rig, &sum), OK);
    assert_true(sum.segments_removed >= 2 && sum.segments_compacted > 8);
    unsigned count = segments(c.rig).count;
    assert_true(before > 12 && count + 5 <= before);
    ends_well(c.rig, count);
    copy_free(&c);
    return count;
}

static enum err try_to_open(struct rig *r)
{
    struct log_store_options o = {.disk = r->disk,
                                  .clock = &r->clock.base,
                                  .dir = r->dir,
                                  .segment_bytes = r->segment_bytes,
                                  .notice = notice,
                                  .arg = r};
    return log_store_open(&o, &r->store, NULL);
}

/* The power goes; perhaps again while opening or reclaiming. */
static void lose_power(struct copy *c, uint64_t seed)
{
    struct prng p;
    prng_seed(&p, seed);
    for (bool again = true; again;) {
        struct fake_disk *after = fake_disk_power_loss(c->disk, prng_next(&p));
        log_store_close(c->rig->store); /* its disk is out of order: it cannot do anything */
        c->rig->store = NULL;
        fake_disk_free(c->disk);
        c->disk = after;
        c->rig->disk = fake_disk_base(after);
        again = prng_below(&p, 2);
        if (again) {
            struct log_reclaimed sum = {0};
            fake_disk_stop_after(after, 1 + prng_below(&p, 30));
            if (try_to_open(c->rig) == OK)
                (void)!work(c->rig, &sum);
        }
    }
    assert_int_equal(try_to_open(c->rig), OK);
}

static void power_loss_anywhere(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = scene(d);
    unsigned count = undisturbed(r, d);
    uint64_t points = 0;
    for (bool more = true; more;) {
        points++;
        for (uint64_t seed = 0; seed < 2; seed++) {
            struct copy c = copy_of(r, d, 1);
            struct log_reclaimed sum = {0};
            open_store(c.rig);
            fake_disk_stop_after(c.disk, points);
            (void)!work(c.rig, &sum);
            more = fake_disk_stopped(c.disk);
            lose_power(&c, points * 100 + seed);
            ends_well(c.rig, count);
            copy_free(&c);
        }
    }
    assert_true(points > 40);
    fake_disk_free(d);
    free(r);
}

static const unsigned kinds[] = {
    FAKE_BIT(FAKE_WRITE),
    FAKE_BIT(FAKE_SYNC),
    FAKE_BIT(FAKE_CREATE),
    FAKE_BIT(FAKE_RENAME),
    FAKE_BIT(FAKE_UNLINK),
    FAKE_BIT(FAKE_SYNC_DIR),
    FAKE_BIT(FAKE_OPEN),
    FAKE_BIT(FAKE_READ),
    FAKE_BIT(FAKE_SIZE),
    FAKE_BIT(FAKE_SPACE),
    FAKE_ALL,
};

static void one_fault(const struct rig *scene, struct fake_disk *d, unsigned count, const struct fake_fault *f,
                      bool *fired)
{
    struct copy c = copy_of(scene, d, 1);
    struct log_reclaimed sum = {0};
    open_store(c.rig);
    size_t files = fake_disk_open_files(c.disk);
    fake_disk_fault(c.disk, f);
    enum err e = work(c.rig, &sum);
    *fired = fake_disk_faults(c.disk) > 0;
    fake_disk_fault(c.disk, NULL);
    assert_true(e == OK || (*fired && (e == ERR_IO || e == f->err)));
    assert_int_equal(fake_disk_open_files(c.disk), files);
    assert_false(log_store_failed(c.rig->store, NULL)); /* it is no matter of the log itself */
    check(c.rig, NULL);
    ends_well(c.rig, count);
    copy_free(&c);
}

static void faults_of_the_disk(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = scene(d);
    unsigned count = undisturbed(r, d), tried = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int how = 0; how < 3; how++) {
            bool fired = true;
            for (uint64_t n = 1; fired; n += kinds[k] & (FAKE_BIT(FAKE_READ) | FAKE_BIT(FAKE_OPEN)) ? 4 : 1) {
                struct fake_fault f = {kinds[k], n, how == 1, how == 2 ? ERR_FULL : ERR_IO};
                one_fault(r, d, count, &f, &fired);
                tried++;
            }
        }
    assert_true(tried > 150);
    fake_disk_free(d);
    free(r);
}

static void a_full_disk(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = scene(d);
    unsigned count = undisturbed(r, d);
    for (uint64_t room = 0; room < 300000; room += 7000) {
        struct copy c = copy_of(r, d, 1);
        struct log_reclaimed sum = {0};
        open_store(c.rig);
        assert_int_equal(log_store_commit(c.rig->store), OK);
        uint64_t used = fake_disk_used(c.disk);
        fake_disk_capacity(c.disk, used + room);
        enum err e = work(c.rig, &sum);
        assert_true(e == OK || e == ERR_FULL);
        assert_true(fake_disk_used(c.disk) <= used);
        check(c.rig, NULL);
        assert_false(log_store_failed(c.rig->store, NULL));
        fake_disk_capacity(c.disk, UINT64_MAX);
        ends_well(c.rig, count);
        copy_free(&c);
    }
    fake_disk_free(d);
    free(r);
}

/* Where there is no room for what one run keeps, another gives its own. */
static void a_full_disk_gives_what_it_can(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = rig_new(fake_disk_base(d), "/data/log", LOG_SEGMENT_BYTES_MIN, 1);
    for (int i = 0; i < 300; i++)
        r->events[append(r, i % 6 ? 1 : 2, 900)].needed = i % 6 == 0;
    for (int i = 0; i < 130; i++)
        r->events[append(r, 3, 900)].needed = true;
    fill_segments(r, 1, 6);
    assert_int_equal(log_store_commit(r->store), OK);
    fake_disk_capacity(d, fake_disk_used(d) + 3 * 4096); /* enough for a segment that keeps nothing */
    struct log_reclaimed out;
    assert_int_equal(reclaim(r, &out), ERR_FULL);
    assert_true(out.segments_compacted >= 3 && out.bytes > 2 * LOG_SEGMENT_BYTES_MIN);
    check(r, NULL);
    assert_int_equal(reclaim(r, &out), OK); /* in the room that this made */
    assert_true(out.segments_compacted >= 3);
    check(r, NULL);
    log_store_close(r->store);
    assert_int_equal(fake_disk_breaches(d), 0);
    fake_disk_free(d);
    free(r);
}

static void allocations_fail(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = scene(d);
    unsigned count = undisturbed(r, d), n = 0;
    for (bool fired = true; fired;) {
        struct copy c = copy_of(r, d, 1);
        struct log_reclaimed sum = {0};
        open_store(c.rig);
        fault_arm(++n);
        enum err e = work(c.rig, &sum);
        fired = fault_disarm();
        assert_true(e == OK || (fired && (e == ERR_NOMEM || e == ERR_IO)));
        ends_well(c.rig, count);
        copy_free(&c);
    }
    assert_true(n > 100);
    fake_disk_free(d);
    free(r);
}

/* The segment made ahead: whatever fails in making it, the log is as before. */
static void preparing_fails(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct rig *r = scene(d);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool fired = true;
        for (uint64_t n = 1; fired; n++) {
            struct copy c = copy_of(r, d, 1);
            open_store(c.rig);
            struct fake_fault f = {kinds[k] | FAKE_BIT(FAKE_ALLOCATE), n, false, n % 2 ? ERR_IO : ERR_FULL};
            fake_disk_fault(c.disk, &f);
            enum err e = log_store_prepare(c.rig->store, 0);
            fired = fake_disk_faults(c.disk) > 0;
            fake_disk_fault(c.disk, NULL);
            assert_true(e == OK || (fired && (e == ERR_IO || e == ERR_FULL)));
            assert_int_equal(log_store_prepare(c.rig->store, 0), OK);
            fill_segments(c.rig, 1, 2);
            assert_int_equal(log_store_prepare(c.rig->store, 0), OK);
            check(c.rig, NULL);
            reopen(c.rig);
            check(c.rig, NULL);
            copy_free(&c);
        }
    }
    fake_disk_free(d);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loss_anywhere), cmocka_unit_test(faults_of_the_disk),
        cmocka_unit_test(a_full_disk),         cmocka_unit_test(a_full_disk_gives_what_it_can),
        cmocka_unit_test(allocations_fail),    cmocka_unit_test(preparing_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
