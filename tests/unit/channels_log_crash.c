/* SPDX-License-Identifier: Apache-2.0
 *
 * Crash simulation of the durable log: at every change of the disk that a scenario makes, the power fails (or the
 * process is killed), the log is opened again and compared with what was acknowledged; one time in ten it fails again
 * while it is being opened. The scenario itself goes on undisturbed, since each crash happens on a copy; its own
 * sessions end by a close or a crash as well, and the next one goes on from there.
 *
 *     POINTS=n   crash points in all (make crash POINTS=10000000 is the long form)
 *     FIRST=n    the first scenario's seed
 *     PROFILE=p  only the scenarios of this profile
 *     SEED=s:p   replays scenario s and, of its crash points, p alone, telling every operation; it is what a failure
 * prints
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/log_lab.h"

#if defined(__SANITIZE_ADDRESS__)
#define POINTS_DEFAULT 6000u /* the sanitizers' run looks for other things */
#else
#define POINTS_DEFAULT 100000u
#endif

struct run {
    struct lab lab;
    uint64_t points, second, only; /* only: of the replay */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    struct prng p;
    prng_seed(&p, a * 1000003 + b);
    return prng_next(&p);
}

static struct fake_disk *crash(struct lab *l, struct prng *random)
{
    bool kill = l->profile->kills && prng_below(random, 4) == 0;
    return kill ? fake_disk_kill(l->disk, prng_next(random)) : fake_disk_power_loss(l->disk, prng_next(random));
}

static void next_disk(struct lab *l, struct fake_disk *d)
{
    lab_close(l);
    fake_disk_free(l->disk);
    l->disk = d;
}

/* Opens, and dies in it or a little later; what is left must open all the same. */
static void second_crash(struct lab *l, struct prng *random)
{
    fake_disk_stop_after(l->disk, 1 + prng_below(random, 14));
    enum err e = lab_open(l, false);
    if (e == OK && !fake_disk_stopped(l->disk))
        lab_verify(l);
    lab_check(l, e == OK || fake_disk_stopped(l->disk), "opening: %s", l->diag.text);
    l->story = "second crash";
    next_disk(l, crash(l, random));
}

static void must_open(struct lab *l)
{
    enum err e = lab_open(l, false);
    lab_check(l, e == OK, "%s: %s", err_name(e), l->diag.text);
    lab_verify(l);
}

/* The log that came out of a crash is as good as any: written, closed, opened, and a crash later still whole. */
static void go_on(struct lab *l, struct prng *random)
{
    for (unsigned i = 0; i < 6; i++) {
        enum err e = lab_step(l);
        lab_check(l, e == OK || (e == ERR_FULL && l->profile->capacity), "a step gave %s", err_name(e));
    }
    l->story = prng_below(random, 2) ? "closed after a crash" : "crash after a crash";
    if (l->story[1] == 'r')
        next_disk(l, crash(l, random));
    else
        lab_close(l);
    must_open(l);
}

static void look_only(struct lab *l)
{
    enum err e = lab_open(l, true);
    uint64_t changes = fake_disk_count(l->disk, FAKE_CHANGES);
    if (e != OK) { /* there may be no log yet */
        lab_check(l, l->model.acknowledged == 0, "read only: %s", l->diag.text);
        return;
    }
    struct lab copy;
    lab_fork(l, l->disk, 1, &copy);
    copy.store = l->store;
    copy.story = "read only";
    lab_verify(&copy);
    lab_close(l);
    free(copy.model.records);
    lab_check(l, fake_disk_count(l->disk, FAKE_CHANGES) == changes, "inspection wrote");
}

static void crash_here(struct run *r)
{
    struct prng random;
    struct lab l;
    r->lab.point++;
    if (r->only && r->lab.point != r->only)
        return;
    r->points++;
    prng_seed(&random, mix(r->lab.seed, r->lab.point));
    lab_fork(&r->lab, crash(&r->lab, &random), prng_next(&random), &l);
    l.story = "crash";
    if (r->only)
        fprintf(stderr, "---- the crash\n");
    fake_disk_trace(l.disk, r->only != 0);
    if (prng_below(&random, 20) == 0)
        look_only(&l);
    if (prng_below(&random, 10) == 0) {
        r->second++;
        second_crash(&l, &random);
    }
    must_open(&l);
    if (prng_below(&random, 4) == 0)
        go_on(&l, &random);
    lab_check(&l, fake_disk_breaches(l.disk) == 0);
    lab_fini(&l);
}

/* What names survive is decided at few changes, and in many ways. */
static void at_change(void *arg, enum fake_op op)
{
    bool names = FAKE_BIT(op) & (FAKE_BIT(FAKE_UNLINK) | FAKE_BIT(FAKE_RENAME) | FAKE_BIT(FAKE_SYNC_DIR));
    for (unsigned i = 0; i < (names ? 4 : 1); i++)
        crash_here(arg);
}

/* From an open to a close or a crash. */
static void session(struct run *r)
{
    struct lab *l = &r->lab;
    l->story = "scenario";
    if (r->only)
        fprintf(stderr, "---- a session\n");
    bool dies = prng_below(&l->random, 2);
    if (dies)
        fake_disk_stop_after(l->disk, 1 + prng_below(&l->random, 2 * l->profile->steps));
    fake_disk_watch(l->disk, at_change, r);
    fake_disk_trace(l->disk, r->only != 0);
    enum err e = lab_open(l, false);
    if (e == OK && !fake_disk_stopped(l->disk))
        lab_verify(l);
    for (unsigned i = 0; e == OK && !fake_disk_stopped(l->disk) && i < l->profile->steps; i++) {
        e = lab_step(l);
        if (e == ERR_FULL && l->profile->capacity)
            e = OK;
    }
    lab_check(l, e == OK || fake_disk_stopped(l->disk), "a step gave %s: %s", err_name(e), l->diag.text);
    lab_close(l);
    lab_check(l, fake_disk_open_files(l->disk) == 0, "%zu files are open", fake_disk_open_files(l->disk));
    lab_check(l, fake_disk_breaches(l->disk) == 0);
    fake_disk_watch(l->disk, NULL, NULL);
    if (fake_disk_stopped(l->disk) || prng_below(&l->random, 2)) {
        struct fake_disk *d = crash(l, &l->random);
        fake_disk_free(l->disk);
        l->disk = d;
    }
}

static void scenario(struct run *r, uint64_t seed, const struct lab_profile *p)
{
    lab_init(&r->lab, seed, p);
    for (unsigned i = 0; i < 4; i++)
        session(r);
    lab_fini(&r->lab);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static void crashes(const struct lab_profile *p)
{
    struct run r = {0};
    const char *profile = getenv("PROFILE");
    if (profile && *profile && strcmp(profile, p->name) != 0)
        return;
    uint64_t seed = number("FIRST", 1), share = number("POINTS", POINTS_DEFAULT) * p->share / 100 + 1, first = seed;
    const char *replay = getenv("SEED");
    if (replay && *replay) {
        const char *colon = strchr(replay, ':');
        r.only = colon ? strtoull(colon + 1, NULL, 10) : 0;
        seed = strtoull(replay, NULL, 10);
        if (&lab_profiles[seed % LAB_PROFILES] == p)
            scenario(&r, seed, p);
        return;
    }
    while (seed % LAB_PROFILES != (uint64_t)(p - lab_profiles))
        seed++;
    uint64_t began = clock_monotonic_ns(clock_system());
    for (; r.points < share; seed += LAB_PROFILES)
        scenario(&r, seed, p);
    uint64_t took = clock_monotonic_ns(clock_system()) - began;
    printf("%-10s %llu crash points, %llu of them twice, seeds %llu to %llu, %llu us each\n", p->name,
           (unsigned long long)r.points, (unsigned long long)r.second, (unsigned long long)first,
           (unsigned long long)seed, (unsigned long long)(took / r.points / 1000));
}

#define CRASHES(i, name)                                                                                               \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        crashes(&lab_profiles[i]);                                                                                     \
    }
CRASHES(0, small_events)
CRASHES(1, events_of_one_size)
CRASHES(2, a_lively_catalogue)
CRASHES(3, many_segments)
CRASHES(4, of_everything)
CRASHES(5, records_larger_than_a_segment)
CRASHES(6, while_space_is_reclaimed)
CRASHES(7, on_a_disk_that_is_full)

static int cool_down(void **state)
{
    (void)state;
    lab_cool_down();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_events),
        cmocka_unit_test(events_of_one_size),
        cmocka_unit_test(a_lively_catalogue),
        cmocka_unit_test(many_segments),
        cmocka_unit_test(of_everything),
        cmocka_unit_test(records_larger_than_a_segment),
        cmocka_unit_test(while_space_is_reclaimed),
        cmocka_unit_test(on_a_disk_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, cool_down);
}
