/* SPDX-License-Identifier: Apache-2.0
 *
 * Flights: the deliveries of one stream that are not yet settled, as a table that grows. A token names one by index and
 * generation, so that a token settled twice, or never given, ends the program by an assertion: going on would lose or
 * repeat an event silently. Whoever owns the stream guards it; nothing here blocks.
 */
#ifndef LEAT_CHANNELS_FLIGHTS_H
#define LEAT_CHANNELS_FLIGHTS_H

#include "bus.h"

struct flight {
    void *entry; /* the backend's; NULL: free */
    void *of;    /* likewise, where the entry alone does not say it; may be NULL */
    uint32_t generation;
    uint32_t next_free;
};

struct flights {
    struct flight *at; /* owned */
    uint32_t count, first_free;
};

/* Without any memory: flights_room is what makes room. */
void flights_init_empty(struct flights *f);
/* With room for `count` (> 0). ERR_NOMEM: nothing is left behind. */
enum err flights_init(struct flights *f, uint32_t count) must_check;
void flights_fini(struct flights *f);
/* Whether the next one needs a longer table. */
bool flights_full(const struct flights *f);
/* Room for one more. ERR_NOMEM leaves what there is: the next that ends makes room, where there are any. */
enum err flights_room(struct flights *f) must_check;
/* After flights_room's OK. */
struct bus_token flights_begin(struct flights *f, void *entry, void *of);
/* The token of the flight at this index, which is under way. */
struct bus_token flights_token(const struct flights *f, uint32_t index);
/* Ends it; what it was. */
struct flight flights_end(struct flights *f, struct bus_token token);
/* Sorts the table, free ones among it, for a stream that ends: no token means anything any more. */
void flights_sort(struct flights *f, int (*by)(const void *a, const void *b));

#endif
