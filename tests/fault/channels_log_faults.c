/* SPDX-License-Identifier: Apache-2.0
 *
 * Whichever operation of the disk fails, once or for ever, and whichever allocation: nothing that was acknowledged is
 * lost, nothing is acknowledged that is not there after the next open, no sync is asked for again after one failed,
 * nothing is written any more after a failed write or sync, and the log opens when the fault is gone: after a restart,
 * a killed process, a power loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/fault.h"
#include "../lib/log_lab.h"

#if defined(__SANITIZE_ADDRESS__)
#define DISK_SCENARIOS 4
#define MEMORY_SCENARIOS LAB_PROFILES /* each once; all of them run without sanitizers */
#else
#define DISK_SCENARIOS 30
#define MEMORY_SCENARIOS 42
#endif
#define STEPS 14

/* Of one run: either the disk's fault or an allocation's. */
struct sweep {
    struct lab lab;
    unsigned allocation; /* the one that fails, from the last arming on; 0: none */
    bool fired;
};

static void hold(struct sweep *s)
{
    fake_disk_hold_faults(s->lab.disk, true);
    if (s->allocation) {
        unsigned seen = fault_count();
        s->fired |= fault_disarm();
        s->allocation = s->fired ? 0 : s->allocation - seen;
    }
}

static void release(struct sweep *s)
{
    fake_disk_hold_faults(s->lab.disk, false);
    if (s->allocation)
        fault_arm(s->allocation);
}

/* An open may meet the fault; then it says so, and the next one does, or not. */
static bool open_under_faults(struct sweep *s)
{
    struct lab *l = &s->lab;
    for (unsigned i = 0; i < 3; i++) {
        enum err e = lab_open(l, false);
        if (e == OK)
            return true;
        hold(s);
        lab_check(l, fake_disk_faults(l->disk) || s->fired, "open: %s: %s", err_name(e), l->diag.text);
        lab_check(l, e == ERR_IO || e == ERR_FULL || e == ERR_NOMEM, "open: %s: %s", err_name(e), l->diag.text);
        lab_check(l, fake_disk_open_files(l->disk) == 0, "%zu files stay open", fake_disk_open_files(l->disk));
        release(s);
    }
    return false;
}

/* Steps go on whatever they give, as a broker's do. */
static void steps(struct sweep *s)
{
    struct lab *l = &s->lab;
    for (unsigned i = 0; i < STEPS; i++) {
        bool failed = log_store_failed(l->store, NULL);
        uint64_t writes = fake_disk_count(l->disk, FAKE_BIT(FAKE_WRITE) | FAKE_BIT(FAKE_SYNC));
        enum err e = i % 4 == 0 ? lab_append(l, 1 + i % 3) : i % 4 == 3 ? lab_commit(l) : lab_step(l);
        hold(s);
        bool fault = fake_disk_faults(l->disk) || s->fired;
        lab_check(l, e == OK || fault, "a step gave %s", err_name(e));
        lab_check(l, e == OK || e == ERR_IO || e == ERR_FULL || e == ERR_NOMEM, "a step gave %s", err_name(e));
        if (failed) {
            lab_check(l, i % 4 == 1 || i % 4 == 2 || e != OK, "written on after a failure");
            lab_check(l, fake_disk_count(l->disk, FAKE_BIT(FAKE_WRITE) | FAKE_BIT(FAKE_SYNC)) == writes,
                      "it writes after a failure");
        }
        lab_check(l, fault || !log_store_failed(l->store, NULL));
        release(s);
    }
}

static void must_open(struct lab *l)
{
    enum err e = lab_open(l, false);
    lab_check(l, e == OK, "%s: %s", err_name(e), l->diag.text);
    lab_verify(l);
}

/* What is left holds all that was acknowledged, and can be written again; and still after the power failed then. */
static void check_left(const struct sweep *s, struct fake_disk *disk, const char *story)
{
    struct lab l;
    lab_fork(&s->lab, disk, s->lab.seed, &l);
    l.story = story;
    must_open(&l);
    enum err e = lab_append(&l, 2);
    lab_check(&l, e == OK, "append: %s", err_name(e));
    e = lab_commit(&l);
    lab_check(&l, e == OK, "commit: %s", err_name(e));
    struct fake_disk *after = fake_disk_power_loss(l.disk, l.seed + l.point);
    lab_close(&l);
    lab_check(&l, fake_disk_breaches(l.disk) == 0);
    fake_disk_free(l.disk);
    l.disk = after;
    must_open(&l);
    lab_fini(&l);
}

/* Two sessions under the fault; true: it happened. */
static bool run(uint64_t seed, uint64_t point, const struct fake_fault *disk_fault, unsigned allocation)
{
    static const char *const stories[] = {"power loss under a fault", "restart after a fault",
                                          "power loss after a fault"};
    struct lab_profile p = lab_profiles[seed % LAB_PROFILES];
    struct sweep s = {.allocation = allocation};
    struct lab *l = &s.lab;
    p.reopen = p.read = 0;
    p.capacity = 0; /* what is full is full by plan */
    lab_init(l, seed, &p);
    l->story = disk_fault ? "fault of the disk" : "no memory";
    l->point = point;
    fake_disk_fault(l->disk, disk_fault);
    fake_disk_trace(l->disk, getenv("LAB_TRACE") != NULL);
    if (allocation)
        fault_arm(allocation);
    for (unsigned i = 0; i < 2 && open_under_faults(&s); i++) {
        hold(&s);
        if (log_store_lost(l->store) == 0)
            lab_verify(l);
        else
            (void)lab_verify_damaged(l, false); /* what could not be read just now */
        release(&s);
        steps(&s);
        if (i == 1)
            break;
        lab_close(l);
    }
    hold(&s);
    bool fired = fake_disk_faults(l->disk) || s.fired;
    l->damaged = false;
    struct fake_disk *cut = fake_disk_power_loss(l->disk, seed + point);
    if (l->store && !l->model.tentatives)
        lab_look(l);
    release(&s);
    lab_close(l);
    hold(&s);
    fired |= fake_disk_faults(l->disk) || s.fired;
    lab_check(l, fake_disk_breaches(l->disk) == 0, "a sync was asked for again after it failed");
    lab_check(l, fake_disk_open_files(l->disk) == 0);
    unsigned ending = (unsigned)(point % 3);
    check_left(&s,
               ending == 0   ? cut
               : ending == 1 ? fake_disk_kill(l->disk, seed)
                             : fake_disk_power_loss(l->disk, seed),
               stories[ending]);
    if (ending)
        fake_disk_free(cut);
    lab_fini(l);
    return fired;
}

static const struct fault_kind {
    const char *name;
    unsigned ops;
    enum err err;
} kinds[] = {
    {"write", FAKE_BIT(FAKE_WRITE), ERR_IO},
    {"write, full", FAKE_BIT(FAKE_WRITE), ERR_FULL},
    {"sync", FAKE_BIT(FAKE_SYNC), ERR_IO},
    {"open", FAKE_BIT(FAKE_OPEN) | FAKE_BIT(FAKE_CREATE), ERR_IO},
    {"create, full", FAKE_BIT(FAKE_CREATE), ERR_FULL},
    {"rename", FAKE_BIT(FAKE_RENAME), ERR_IO},
    {"allocate", FAKE_BIT(FAKE_ALLOCATE), ERR_IO},
    {"allocate, full", FAKE_BIT(FAKE_ALLOCATE), ERR_FULL},
    {"truncate, unlink", FAKE_BIT(FAKE_TRUNCATE) | FAKE_BIT(FAKE_UNLINK), ERR_IO},
    {"read, size", FAKE_BIT(FAKE_READ) | FAKE_BIT(FAKE_SIZE), ERR_IO},
    {"directory", FAKE_BIT(FAKE_MAKE_DIR) | FAKE_BIT(FAKE_SYNC_DIR) | FAKE_BIT(FAKE_LIST), ERR_IO},
    {"space, lock", FAKE_BIT(FAKE_SPACE) | FAKE_BIT(FAKE_LOCK), ERR_IO},
    {"full", FAKE_BIT(FAKE_WRITE) | FAKE_BIT(FAKE_ALLOCATE) | FAKE_BIT(FAKE_CREATE), ERR_FULL},
};

static const char *only; /* SEED=s:p of a failure */

static void disk_faults(bool for_ever)
{
    size_t runs = 0;
    for (uint64_t seed = 1; seed <= (getenv("FEW") ? 8 : DISK_SCENARIOS); seed++) {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            for (uint64_t n = 1;; n++) {
                uint64_t point = n + 1000 * (2 * k + for_ever);
                struct fake_fault f = {.ops = kinds[k].ops, .nth = n, .for_ever = for_ever, .err = kinds[k].err};
                char here[64];
                snprintf(here, sizeof(here), "%llu:%llu", (unsigned long long)seed, (unsigned long long)point);
                if (only && strcmp(only, here) != 0) {
                    if (n == 1000)
                        break;
                    continue;
                }
                runs++;
                if (!run(seed, point, &f, 0) || only)
                    break;
            }
        }
    }
    printf("%zu runs with a fault of the disk%s\n", runs, for_ever ? " for ever" : "");
}

static void each_operation_fails_once(void **state)
{
    (void)state;
    disk_faults(false);
}

static void each_operation_fails_for_ever(void **state)
{
    (void)state;
    disk_faults(true);
}

static void each_allocation_fails(void **state)
{
    (void)state;
    size_t runs = 0;
    for (uint64_t seed = 1; seed <= MEMORY_SCENARIOS && !only; seed++) {
        unsigned n = 1;
        while (run(seed, 90000 + n, NULL, n))
            n++;
        runs += n;
    }
    printf("%zu runs with a failed allocation\n", runs);
}

static int cool_down(void **state)
{
    (void)state;
    lab_cool_down();
    return 0;
}

int main(void)
{
    only = getenv("SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_fails_once),
        cmocka_unit_test(each_operation_fails_for_ever),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, cool_down);
}
