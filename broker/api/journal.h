/* SPDX-License-Identifier: Apache-2.0
 *
 * The last changes of the resources, in order: what a watch reads. It begins with the first request for resources, so
 * that a server which nobody asks keeps nothing, and drops its oldest records at its bounds. Control loop.
 */
#ifndef LEAT_BROKER_API_JOURNAL_H
#define LEAT_BROKER_API_JOURNAL_H

#include "resource.h"

#define JOURNAL_RECORDS_MAX 8192      /* a power of two; about what 4,000 objects make when they appear at once */
#define JOURNAL_BYTES_MAX (16u << 20) /* of the objects' JSON in all */

struct journal_record {
    uint64_t version; /* the object's resourceVersion after the change */
    const struct kind *kind;
    enum resource_change change;
    char *text; /* owned: namespace, name, the object as answers show it, and its labels before, each with its end */
    size_t size;
    const char *namespace_name, *name, *object;
    const char *labels_before; /* JSON; NULL: as they are now */
};

struct journal {
    const struct resource_table *table;
    struct journal_record records[JOURNAL_RECORDS_MAX]; /* the i-th change is at i % JOURNAL_RECORDS_MAX */
    uint64_t first, next;                               /* numbers of the oldest that is kept, and of the next one */
    uint64_t since;                                     /* changes after this version are all kept */
    size_t bytes;
    void (*appended)(void *arg); /* after each */
    void *arg;
};

/* Of the changes of this table, from its present version on. NULL: no memory. */
struct journal *journal_new(const struct resource_table *table, void (*appended)(void *arg), void *arg);
/* NULL is fine. Before the table is freed. */
void journal_free(struct journal *j);
/* The next change, as a table tells of it (resource_told_fn). */
void journal_append(struct journal *j, const struct resource *r, enum resource_change change, const cJSON *before);
/* The change of this version could not be told: what is kept is forgotten. */
void journal_lose(struct journal *j, uint64_t version);
/* The number of the first change after this version; false: some of them are not kept any more, or the version is none
 * that was given yet. */
bool journal_find(const struct journal *j, uint64_t version, uint64_t *number);
/* The change of this number, which is below `next`; NULL: it is not kept any more. */
const struct journal_record *journal_at(const struct journal *j, uint64_t number);

#endif
