/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to happenings*.c.
 */
#ifndef LEAT_BROKER_HAPPENINGS_PARTS_H
#define LEAT_BROKER_HAPPENINGS_PARTS_H

#include "happenings.h"
#include "map.h"

#define API_VERSION_MAX 320
#define EVENT_NAME_MAX 254

struct about { /* an object that may be gone meanwhile */
    const struct kind *kind;
    char *namespace_name, *name, *uid; /* owned */
};

struct record {
    struct list by_age, by_due;
    bool due;  /* in by_due: the table shows it as it was */
    char *key; /* owned, as the rest */
    struct about about;
    bool warning;
    char *reason, *message;
    char name[EVENT_NAME_MAX]; /* of its Event; empty: there is none yet */
    uint64_t count, count_written;
    uint64_t last_ns; /* monotonic */
    int64_t first_wall_ns, last_wall_ns;
};

struct happenings {
    struct loop *loop;
    struct resource_table *table;
    const struct kind *kind; /* Event */
    struct map records;      /* by uid of the object, reason, and what is told apart */
    struct list by_age;      /* by their last note, oldest first */
    struct list by_due;
    struct loop_timer write, sweep;
    uint64_t next_write_ns; /* monotonic */
    uint64_t names;         /* given so far */
};

/* Where its Event lies. */
const char *record_namespace(const struct record *r);
/* A resource_status_fn: what its conditions tell of (happenings_conditions.c). */
void happenings_status_told(void *arg, const struct resource *r, const cJSON *before, const cJSON *after);

#endif
