/* SPDX-License-Identifier: Apache-2.0
 *
 * How often one cause may be told: an operator reads the lines, a disk keeps them. Of a minute's lines so many, and the
 * same text once a minute; the next line that is told says how many were not. Under the owner's lock.
 */
#ifndef LEAT_CLIENTS_TOLD_H
#define LEAT_CLIENTS_TOLD_H

#include <stdbool.h>
#include <stdint.h>

struct told { /* one cause; starts as zeroes */
    uint64_t minute_ns;
    unsigned lines, held;
    uint64_t last_hash, last_ns; /* the text of the last line */
};

/* Whether a line with this text may go out now; *held: how many did not since the last one. */
bool told_admit(struct told *t, const char *text, unsigned a_minute, uint64_t now_ns, unsigned *held);

#endif
