/* SPDX-License-Identifier: Apache-2.0
 *
 * What the table keeps on disk: DATA/resources.db (SQLite; its tables are drawn in store.c). Every object with its
 * owner, the trail of changes (audit), and the names of cursors that outlive their subscription. Statuses are not kept:
 * each start finds out anew what is so.
 *
 * One write is one transaction, on disk when the call returns OK (WAL, synchronous=FULL); after any error nothing of it
 * has happened. ERR_NOMEM, ERR_FULL (the disk, or a quota), ERR_IO, ERR_CORRUPT, ERR_UNAVAILABLE (another program holds
 * the file locked), each with *d in words for people. Control loop.
 */
#ifndef LEAT_BROKER_RESOURCE_STORE_H
#define LEAT_BROKER_RESOURCE_STORE_H

#include "resource.h"

#define STORE_AUDIT_MAX 10000                /* changes kept, the newest */
#define STORE_AUDIT_BYTES_MAX (64ull << 20)  /* and their JSON in all */
#define STORE_AUDIT_OBJECT_MAX (64ull << 10) /* of one object's JSON in the trail; a larger one is only told of */
#define STORE_CURSOR_MAX 256                 /* bytes of a cursor's name, with its end */

struct store;

/* Opens the database in this directory, or makes it; `dir` NULL: in memory, where only the trail and the cursors are
 * kept, since the table holds the objects anyway. ERR_UNSUPPORTED: a newer leat wrote it; it is left as it is. */
enum err store_open(const char *dir, const struct clock *clock, struct store **out, struct diag *d) must_check;
/* `version`: the highest resourceVersion that was given; the next start goes on from there. NULL is fine. */
void store_close(struct store *s, uint64_t version);

/* ---- objects ---- */

/* One as it is stored, whatever has become of it; borrowed for the call. Texts are never NULL but `origin`. */
struct store_row {
    int64_t id;
    const char *group, *kind, *namespace_name, *name, *uid;
    const char *origin; /* the file that owns it; NULL: made over the API */
    int64_t generation;
    const char *created; /* metadata.creationTimestamp */
    struct slice object; /* JSON */
    const char *managed; /* metadata.managedFields of it, in JSON; NULL: nobody's */
    const char *others;  /* what others wrote into its status, in JSON; NULL: nothing */
    bool absent;         /* its file went away while no leat ran: nothing but its identity counts */
    int64_t paused_ns;   /* wall time: since when its deliveries are paused; 0: they are not */
    bool planned;        /* the last plan had its subscriptions */
};
/* All of them, in order of (group, kind, namespace, name); ends early with what `row` returns but OK. */
enum err store_each(struct store *s, enum err (*row)(void *arg, const struct store_row *row), void *arg,
                    struct diag *d) must_check;

struct store_change {
    int64_t id; /* the row, where no kind and name lead to it; 0: these do */
    const char *group, *kind, *namespace_name, *name;
    const char *origin;          /* of the next state; NULL: the API's */
    const char *who;             /* "127.0.0.1", "m.yaml": for the trail; NULL: nothing that it would tell of */
    const cJSON *before, *after; /* NULL: it is new; it goes */
    const cJSON *others;         /* what others wrote into the status of the next state; NULL: nothing */
    const char *managed;         /* metadata.managedFields of the next state, in JSON; NULL or "": nobody's */
    bool status;                 /* is the user's too, and kept: that of kinds which others fill elsewhere */
    bool absent;                 /* it goes, but its identity is kept for STORE_ABSENT_NS */
    /* Not STORE_OBJECT: the object stays as it is; its deliveries are paused, or go on; a plan has its subscriptions,
     * or has them no more. */
    enum { STORE_OBJECT, STORE_PAUSE, STORE_RESUME, STORE_PLANNED, STORE_UNPLANNED } beside;
    int64_t paused_ns; /* STORE_PAUSE: since when */
};
#define STORE_ABSENT_NS (7 * 24 * 3600 * NS_PER_S) /* as long as a bus keeps a cursor that nobody asks for */
/* All of them or none. `version`: the highest resourceVersion among them. */
enum err store_write(struct store *s, const struct store_change *changes, size_t count, uint64_t version,
                     struct diag *d) must_check;

/* What was absent for too long goes. */
enum err store_purge(struct store *s, struct diag *d) must_check;

/* resourceVersion never goes back, and most of them (statuses) are never written: so numbers are reserved in blocks. */
uint64_t store_version(const struct store *s); /* the table begins behind this one */
enum err store_version_reserve(struct store *s, uint64_t version, struct diag *d) must_check;

/* ---- cursors that outlive their subscription ---- */

/* Remembers that the subscription of this key of a plan has its cursor under this name on its bus; replaces what was
 * remembered for the key. ERR_INVALID: the name is longer than STORE_CURSOR_MAX. */
enum err store_cursor_keep(struct store *s, const char *key, const char *cursor, struct diag *d) must_check;
/* The name that is remembered for the key. ERR_NOTFOUND. */
enum err store_cursor_kept(struct store *s, const char *key, char cursor[STORE_CURSOR_MAX], struct diag *d) must_check;
/* Forgets it; OK also when there was none. */
enum err store_cursor_forget(struct store *s, const char *key, struct diag *d) must_check;

/* ---- places: up to where sources have done their work ---- */

struct store_place {
    const char *key, *place; /* the latter with less than STORE_CURSOR_MAX bytes; borrowed */
};
/* All of them or none; each replaces what was kept for its key. They go when their object has gone, at the next start.
 */
enum err store_places_keep(struct store *s, const struct store_place *places, size_t count, struct diag *d) must_check;
/* ERR_NOTFOUND. */
enum err store_place_kept(struct store *s, const char *key, char place[STORE_CURSOR_MAX], struct diag *d) must_check;

/* ---- the trail ---- */

struct store_audit_query {
    const char *group, *kind, *namespace_name, *name; /* NULL: any */
    size_t limit;                                     /* the newest so many */
};
/* A JSON array, the newest first: {time, who, verb, apiGroup, kind, namespace, name, before, after}; the caller's. */
enum err store_audit(struct store *s, const struct store_audit_query *q, cJSON **out, struct diag *d) must_check;

#endif
