/* SPDX-License-Identifier: Apache-2.0
 *
 * The operating system's clocks, and one that tests move by hand. Any thread: the fake's two numbers are atomic.
 */
#include "clock.h"

#include <assert.h>
#include <stddef.h>
#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec t;
    int rc = clock_gettime(id, &t);
    assert(rc == 0);
    return t;
}

static uint64_t system_monotonic(const struct clock *c)
{
    (void)c;
    struct timespec t = read_clock(CLOCK_MONOTONIC);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static int64_t system_wall(const struct clock *c)
{
    (void)c;
    struct timespec t = read_clock(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

const struct clock *clock_system(void)
{
    static const struct clock c = {system_monotonic, system_wall};
    return &c;
}

static const struct clock_fake *fake_of(const struct clock *c)
{
    return (const struct clock_fake *)(const void *)c;
}

static uint64_t fake_monotonic(const struct clock *c)
{
    return __atomic_load_n(&fake_of(c)->monotonic, __ATOMIC_RELAXED);
}

static int64_t fake_wall(const struct clock *c)
{
    return __atomic_load_n(&fake_of(c)->wall, __ATOMIC_RELAXED);
}

void clock_fake_init(struct clock_fake *f, uint64_t monotonic_ns, int64_t wall_ns)
{
    static_assert(offsetof(struct clock_fake, base) == 0, "fake_of casts");
    *f = (struct clock_fake){{fake_monotonic, fake_wall}, monotonic_ns, wall_ns};
}

void clock_fake_advance(struct clock_fake *f, uint64_t ns)
{
    __atomic_fetch_add(&f->monotonic, ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&f->wall, (int64_t)ns, __ATOMIC_RELAXED);
}
