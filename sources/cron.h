/* SPDX-License-Identifier: Apache-2.0
 *
 * Cron lines as Knative's PingSource takes them (robfig/cron v3 with an optional field of seconds):
 *
 *     [TZ=ZONE|CRON_TZ=ZONE] [SECOND] MINUTE HOUR DAY MONTH WEEKDAY
 *     [...]                  @yearly @annually @monthly @weekly @daily @midnight @hourly @every DURATION
 *
 * A field is a list of "*", "?" (the same), N, N-M, each with "/STEP"; N/STEP means from N to the field's end. Months
 * and weekdays have names of three letters. Where neither DAY nor WEEKDAY is "*", a day needs to match one of them
 * only.
 *
 * Time. A line comes due at every second of the world at which the clocks of its zone show a time that it describes: a
 * time that is skipped in spring does not come that day, one that is repeated in autumn comes twice.
 */
#ifndef LEAT_SOURCES_CRON_H
#define LEAT_SOURCES_CRON_H

#include "zone.h"

#define CRON_LINE_MAX 1024 /* bytes of a line; every minute of the day written out has fewer */

struct cron {
    uint64_t second, minute, hour, day, month, weekday; /* bit N: N is in it */
    bool any_day, any_weekday;
    uint64_t every_s;  /* "@every": the distance; 0: the fields count */
    struct zone *zone; /* owned */
};

/* Reads a line. `zone` is what stands beside it, empty: the line's own, or the system's. ERR_INVALID with *d naming the
 * field and what is allowed there (column: in the line; 0 when `zone` is wrong), ERR_CORRUPT, ERR_NOMEM. On failure
 * there is nothing to free. */
enum err cron_parse(struct slice line, struct slice zone, struct cron *out, struct diag *d) must_check;
void cron_fini(struct cron *c);

#define CRON_NEVER INT64_MAX /* no such time within the years that are searched; cron_parse refuses lines like that */
/* The first time after this one (seconds since 1970 UTC, both). For "@every" that is `after` and the distance. */
int64_t cron_next(const struct cron *c, int64_t after);
/* How many come due within (after, until]; no more than `most` are counted. */
uint64_t cron_count(const struct cron *c, int64_t after, int64_t until, uint64_t most);

#endif
