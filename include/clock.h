/* SPDX-License-Identifier: Apache-2.0
 *
 * Time. Nothing outside base/ calls clock_gettime: a `struct clock` is handed in, so that a simulator can hand in its
 * own. All functions may be called from any thread.
 */
#ifndef LEAT_CLOCK_H
#define LEAT_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

struct clock {
    /* Nanoseconds from an arbitrary start; never goes back. */
    uint64_t (*monotonic_ns)(const struct clock *);
    /* Nanoseconds since 1970-01-01T00:00:00Z, without leap seconds; may jump. */
    int64_t (*wall_ns)(const struct clock *);
};

static inline uint64_t clock_monotonic_ns(const struct clock *c)
{
    return c->monotonic_ns(c);
}

static inline int64_t clock_wall_ns(const struct clock *c)
{
    return c->wall_ns(c);
}

/* The operating system's clocks. */
const struct clock *clock_system(void);

/* A clock that stands still until it is moved: for tests and the simulator. */
struct clock_fake {
    struct clock base; /* hand out &fake.base */
    uint64_t monotonic;
    int64_t wall;
};
void clock_fake_init(struct clock_fake *f, uint64_t monotonic_ns, int64_t wall_ns);
void clock_fake_advance(struct clock_fake *f, uint64_t ns);

#endif
