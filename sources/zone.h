/* SPDX-License-Identifier: Apache-2.0
 *
 * Time zones by name, as the system's tzdata has them (TZif files, RFC 8536). A zone is immutable: any thread may read
 * it. Unlike the C library's it is no state of the process, so that each source has its own.
 */
#ifndef LEAT_SOURCES_ZONE_H
#define LEAT_SOURCES_ZONE_H

#include "err.h"
#include "slice.h"

struct zone;

#define ZONE_NAME_MAX 100 /* the longest of tzdata has 32 letters */

/* Loads "Europe/Berlin". "UTC" and "" need no tzdata; "Local" is the system's own: what TZ in the environment names,
 * else /etc/localtime, else UTC. ERR_INVALID: no such zone, with *d saying so; ERR_CORRUPT: its file is damaged;
 * ERR_NOMEM. */
enum err zone_load(struct slice name, struct zone **out, struct diag *d) must_check;
/* The zone that the bytes of a TZif file describe; `zone_load` is this and a file. */
enum err zone_parse(struct slice bytes, struct zone **out, struct diag *d) must_check;
/* NULL is fine. */
void zone_free(struct zone *z);

/* What the clocks there show for a while. */
struct zone_span {
    int64_t from, until; /* seconds since 1970 UTC: [from, until); INT64_MIN and INT64_MAX at the ends */
    int32_t offset;      /* seconds east of UTC */
};
/* The span that holds the second `utc`. Spans of one offset may follow each other. */
struct zone_span zone_at(const struct zone *z, int64_t utc);

/* ---- the calendar, without zones: days since 1970-01-01, of any year ---- */

struct zone_date {
    int64_t year;
    unsigned month, day; /* from 1 */
};
struct zone_date zone_date_of(int64_t days);
int64_t zone_days_of(int64_t year, unsigned month, unsigned day);
/* 0: Sunday. */
unsigned zone_weekday_of(int64_t days);
unsigned zone_month_length(int64_t year, unsigned month);

#endif
