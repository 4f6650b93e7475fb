/* SPDX-License-Identifier: Apache-2.0
 *
 * The dedup window of a stream: which (source, id) pairs it has taken in hand lately. On the dispatcher's loop.
 *
 *     entries   a ring in the order of coming: numbers first to next - 1, number n in place n % capacity
 *     heads     places by hash, chained through entry.chain
 *
 * A pair is known by two SipHashes under keys of this process, 128 bits: who does not know the keys cannot find two
 * pairs that are taken for each other, and nobody meets two by chance. An entry goes when it is older than the window,
 * when the table is full (then the oldest), or when its event went back to the bus; the last leaves a gap in the ring.
 * While the event is in hand its entry points to it, so that a duplicate can wait for its end: dropped at once it would
 * be lost if the first came to no end.
 *
 * The ring doubles up to DISPATCH_DEDUP_MAX. Without memory for that the oldest goes: the window gets shorter, nothing
 * is lost.
 */
#include <assert.h>
#include <stdlib.h>

#include "gates.h"
#include "siphash.h"

#define DEDUP_FIRST 1024
#define NOWHERE UINT32_MAX

struct dedup_entry {
    uint64_t hash[2], seen_ns;
    struct flight *flight; /* in hand; NULL: it has ended */
    uint32_t chain;
    bool known; /* else a gap */
};

struct dedup {
    uint64_t key[2];
    struct dedup_entry *entries;
    uint32_t *heads;
    uint64_t first, next; /* numbers, from 1 */
    uint32_t capacity;
};

static void hash_pair(const struct dedup *d, const struct ce_event *e, uint64_t hash[2])
{
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t outer[2] = {d->key[0] ^ i, d->key[1]};
        uint64_t inner[2] = {siphash13(outer, ce_event_source(e)), d->key[0] + d->key[1]};
        hash[i] = siphash13(inner, ce_event_id(e));
    }
}

static struct dedup_entry *entry_at(const struct dedup *d, uint64_t number)
{
    assert(number >= d->first && number < d->next);
    return &d->entries[number % d->capacity];
}

static uint32_t *head_at(const struct dedup *d, const uint64_t hash[2])
{
    return &d->heads[hash[0] % d->capacity];
}

/* ---- one entry ---- */

static void chain(struct dedup *d, uint64_t number)
{
    struct dedup_entry *e = entry_at(d, number);
    uint32_t *head = head_at(d, e->hash);
    e->chain = *head;
    *head = (uint32_t)(number % d->capacity);
}

static void forget(struct dedup *d, struct dedup_entry *e)
{
    assert(e->known);
    uint32_t *at = head_at(d, e->hash);
    while (&d->entries[*at] != e) {
        assert(*at != NOWHERE);
        at = &d->entries[*at].chain;
    }
    *at = e->chain;
    if (e->flight)
        e->flight->dedup = 0;
    e->flight = NULL;
    e->known = false;
}

static void forget_first(struct dedup *d)
{
    struct dedup_entry *e = entry_at(d, d->first);
    if (e->known)
        forget(d, e);
    d->first++;
}

static struct dedup_entry *find(const struct dedup *d, const uint64_t hash[2])
{
    for (uint32_t at = *head_at(d, hash); at != NOWHERE; at = d->entries[at].chain) {
        struct dedup_entry *e = &d->entries[at];
        if (e->hash[0] == hash[0] && e->hash[1] == hash[1])
            return e;
    }
    return NULL;
}

/* ---- the table ---- */

static bool allocate(struct dedup *d, uint32_t capacity)
{
    struct dedup_entry *entries = malloc(capacity * sizeof *entries);
    uint32_t *heads = malloc(capacity * sizeof *heads);
    if (!entries || !heads) {
        free(entries);
        free(heads);
        return false;
    }
    for (uint32_t i = 0; i < capacity; i++)
        heads[i] = NOWHERE;
    d->entries = entries;
    d->heads = heads;
    d->capacity = capacity;
    return true;
}

/* Twice the room, or as much as there may be. False: it stays. */
static bool grow(struct dedup *d)
{
    struct dedup old = *d;
    uint32_t capacity = d->capacity < DISPATCH_DEDUP_MAX / 2 ? 2 * d->capacity : DISPATCH_DEDUP_MAX;
    if (d->capacity == DISPATCH_DEDUP_MAX || !allocate(d, capacity))
        return false;
    for (uint64_t n = d->first; n < d->next; n++) {
        *entry_at(d, n) = *entry_at(&old, n);
        if (entry_at(d, n)->known)
            chain(d, n);
    }
    free(old.entries);
    free(old.heads);
    return true;
}

struct dedup *dedup_new(const uint64_t hash_key[2])
{
    struct dedup *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->key[0] = hash_key[0];
    d->key[1] = hash_key[1];
    d->first = d->next = 1;
    if (allocate(d, DEDUP_FIRST))
        return d;
    free(d);
    return NULL;
}

struct dedup *dedup_free(struct dedup *d)
{
    if (!d)
        return NULL;
    while (d->first < d->next)
        forget_first(d);
    free(d->entries);
    free(d->heads);
    free(d);
    return NULL;
}

enum dedup_known dedup_enter(struct dedup *d, struct flight *f, uint64_t now_ns, uint64_t window_ns,
                             struct flight **twin)
{
    uint64_t hash[2];
    assert(f->dedup == 0);
    while (d->first < d->next && now_ns - entry_at(d, d->first)->seen_ns >= window_ns)
        forget_first(d);
    hash_pair(d, f->event, hash);
    struct dedup_entry *e = find(d, hash);
    if (e) {
        *twin = e->flight;
        return e->flight ? DEDUP_IN_HAND : DEDUP_ENDED;
    }
    if (d->next - d->first == d->capacity && !grow(d))
        forget_first(d);
    f->dedup = d->next++;
    *entry_at(d, f->dedup) =
        (struct dedup_entry){.hash = {hash[0], hash[1]}, .seen_ns = now_ns, .flight = f, .known = true};
    chain(d, f->dedup);
    return DEDUP_NEW;
}

void dedup_ended(struct dedup *d, struct flight *f)
{
    struct dedup_entry *e = entry_at(d, f->dedup);
    assert(e->known && e->flight == f);
    e->flight = NULL;
    f->dedup = 0;
}

void dedup_forget(struct dedup *d, struct flight *f, struct flight *heir)
{
    struct dedup_entry *e = entry_at(d, f->dedup);
    assert(e->known && e->flight == f);
    if (!heir) {
        forget(d, e);
        return;
    }
    heir->dedup = f->dedup;
    e->flight = heir;
    f->dedup = 0;
}
