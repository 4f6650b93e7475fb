/* SPDX-License-Identifier: Apache-2.0
 *
 * What a crash leaves of a fake disk. Each crash has a manner, drawn from its seed: nothing unsynced survives, or all,
 * or all up to a moment, or each sector and each name on its own.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_disk_parts.h"

struct manner {
    enum { NONE, ALL, UP_TO, EACH } kind;
    uint64_t moment;     /* UP_TO: the last stamp that survives */
    unsigned keep, tear; /* EACH: of 1,000 */
};

static struct manner draw_manner(struct prng *random, uint64_t first, uint64_t last)
{
    static const unsigned keeps[] = {50, 500, 500, 900, 985}, tears[] = {0, 0, 100, 500};
    uint64_t kind = prng_below(random, 20);
    struct manner m = {.kind = kind < 2 ? NONE : kind < 4 ? ALL : kind < 9 ? UP_TO : EACH};
    m.moment = last > first ? first + prng_below(random, last - first + 1) : last;
    m.keep = keeps[prng_below(random, 5)];
    m.tear = m.kind == NONE || m.kind == ALL ? 0 : tears[prng_below(random, 4)];
    return m;
}

static bool chance(struct prng *random, unsigned of_1000)
{
    return of_1000 && prng_below(random, 1000) < of_1000;
}

/* How many of the file's changes its length has seen. */
static size_t length_changes(const struct node *n, const struct manner *m, struct prng *random)
{
    size_t seen = 0;
    switch (m->kind) {
    case NONE:
        return 0;
    case ALL:
        return n->changes;
    case UP_TO:
        while (seen < n->changes && n->journal[seen].stamp <= m->moment)
            seen++;
        return seen;
    case EACH:
        return chance(random, m->keep) ? n->changes : (size_t)prng_below(random, n->changes + 1);
    }
    return 0;
}

/* The part of [*from, *to) that this change covers; false: none. *zeros: since it cut the file there. */
static bool covers(const struct change *c, uint64_t *from, uint64_t *to, bool *zeros)
{
    *zeros = c->size < c->old_size;
    uint64_t a = *zeros ? c->size : c->offset, b = *zeros ? c->old_size : c->offset + c->len;
    if (a < *from)
        a = *from;
    if (b > *to)
        b = *to;
    *from = a;
    *to = b;
    return a < b;
}

/* Tears a sector: part of the first change from `version` on that covers it is there too, or garbage in its place:
 * but a byte that the write would not have changed is what it was. */
static void tear(const struct node *n, struct page **pages, uint64_t sector, size_t version, size_t end,
                 struct prng *random)
{
    for (size_t i = version; i < end; i++) {
        uint64_t from = sector, to = sector + FAKE_SECTOR;
        bool zeros;
        if (!covers(&n->journal[i], &from, &to, &zeros) || zeros)
            continue;
        uint64_t cut = from + prng_below(random, to - from + 1);
        if (prng_below(random, 2))
            from = cut;
        else
            to = cut;
        if (prng_below(random, 4)) {
            node_put(pages, from, n->journal[i].bytes + (from - n->journal[i].offset), to - from);
            return;
        }
        unsigned char garbage[FAKE_SECTOR];
        const unsigned char *written = n->journal[i].bytes + (from - n->journal[i].offset);
        node_get(pages, from, garbage, to - from);
        for (size_t k = 0; k < to - from; k++)
            if (garbage[k] != written[k])
                garbage[k] = (unsigned char)prng_next(random);
        node_put(pages, from, garbage, to - from);
        return;
    }
}

/* One sector becomes one of its versions. The length has seen `seen` changes: what a cut cut off cannot be there when
 * the length has seen it, and nothing that came after one that it has not seen. */
static void sector_survives(const struct node *n, struct page **pages, uint64_t sector, size_t seen,
                            const struct manner *m, struct prng *random)
{
    size_t version = 0, end = n->changes;
    for (size_t i = 0; i < end; i++) {
        uint64_t from = sector, to = sector + FAKE_SECTOR;
        bool zeros;
        if (!covers(&n->journal[i], &from, &to, &zeros))
            continue;
        if (zeros && i >= seen)
            end = i;
        else if (zeros || m->kind == ALL || (m->kind == UP_TO && n->journal[i].stamp <= m->moment) ||
                 (m->kind == EACH && chance(random, m->keep)))
            version = i + 1;
    }
    for (size_t i = 0; i < version; i++) {
        uint64_t from = sector, to = sector + FAKE_SECTOR;
        bool zeros;
        if (covers(&n->journal[i], &from, &to, &zeros))
            node_put(pages, from, zeros ? NULL : n->journal[i].bytes + (from - n->journal[i].offset), to - from);
    }
    if (chance(random, m->tear))
        tear(n, pages, sector, version, end, random);
}

/* Makes what is on the disk, in pages and *size, into what is there after the crash. */
static void survives(const struct node *n, struct page **pages, uint64_t *size, const struct manner *m,
                     struct prng *random)
{
    if (n->changes == 0)
        return;
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < n->changes; i++) {
        uint64_t from = 0, to = UINT64_MAX;
        bool zeros;
        if (!covers(&n->journal[i], &from, &to, &zeros))
            continue;
        first = from < first ? from : first;
        last = to > last ? to : last;
    }
    size_t seen = length_changes(n, m, random);
    if (seen)
        *size = n->journal[seen - 1].size;
    for (uint64_t sector = first / FAKE_SECTOR * FAKE_SECTOR; sector < last; sector += FAKE_SECTOR)
        sector_survives(n, pages, sector, seen, m, random);
    if (*size < n->page_cap * PAGE)
        node_put(pages, *size, NULL, n->page_cap * PAGE - *size);
}

void node_settle_some(struct node *n, struct prng *random)
{
    uint64_t first = n->changes ? n->journal[0].stamp : 0, last = n->changes ? n->journal[n->changes - 1].stamp : 0;
    struct manner m = draw_manner(random, first, last);
    survives(n, n->disk_pages, &n->disk_size, &m, random);
    for (size_t i = 0; i < n->changes; i++)
        free(n->journal[i].bytes);
    n->changes = 0;
}

/* ---- whole disks ---- */

static struct fake_disk *empty_like(const struct fake_disk *old, uint64_t seed)
{
    struct fake_disk *d = fake_disk_new(seed);
    names_free(&d->now);
    names_free(&d->durable);
    d->now = d->durable = (struct names){0};
    d->capacity = old->capacity;
    d->tracing = old->tracing;
    d->stamp = old->stamp;
    list_each(l, tmp, &old->nodes)
        container_of(l, struct node, link)->copy = NULL;
    return d;
}

/* The node's copy in the new disk, so far with what is on the disk only; keeps one reference until let_copies_go. */
static struct node *copy_of(struct fake_disk *d, struct node *n)
{
    if (n->copy)
        return n->copy;
    struct node *c = n->copy = node_new(d, n->directory);
    node_pages(c, n->page_cap * PAGE);
    for (size_t i = 0; i < n->page_cap; i++)
        c->disk_pages[i] = page_ref(n->disk_pages[i]);
    c->size = c->disk_size = n->disk_size;
    return c;
}

static void copy_names(struct fake_disk *d, struct names *to, const struct names *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct move m = {.node = copy_of(d, from->at[i].node)};
        snprintf(m.to, sizeof(m.to), "%s", from->at[i].path);
        bool done = names_move(to, &m);
        assert(done);
        (void)done;
    }
}

/* Names whose directory is gone go with it. */
static void drop_orphans(struct names *n)
{
    for (size_t i = n->count; i-- > 0;) {
        struct move gone = {0};
        char parent[PATH_MAX_LEN];
        snprintf(gone.from, sizeof(gone.from), "%s", n->at[i].path);
        snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(gone.from, '/') - gone.from), gone.from);
        if (parent[0] && !names_find(n, parent))
            (void)names_move(n, &gone);
    }
}

static uint64_t first_stamp(const struct fake_disk *d)
{
    uint64_t first = d->move_count ? d->moves[0].stamp : d->stamp;
    list_each(l, tmp, &d->nodes) {
        const struct node *n = container_of(l, struct node, link);
        if (n->changes && n->journal[0].stamp < first)
            first = n->journal[0].stamp;
    }
    return first ? first - 1 : 0;
}

/* From now on a copy lives by its names. */
static void let_copies_go(struct fake_disk *d)
{
    list_each(l, tmp, &d->nodes)
        node_unref(container_of(l, struct node, link));
}

/* Changes of one name reach the disk in their order: file systems know files, not names, so a rename never gets hold of
 * a file that had the name before. So what follows a change that did not survive, by a name, does not either. */
static bool hangs_on_lost(const struct fake_disk *d, const bool *lost, size_t at)
{
    const struct move *m = &d->moves[at];
    for (size_t i = 0; i < at; i++) {
        const struct move *o = &d->moves[i];
        const char *names[] = {o->from, o->to};
        for (size_t k = 0; k < 2 && lost[i]; k++)
            if (names[k][0] && (!strcmp(names[k], m->from) || !strcmp(names[k], m->to)))
                return true;
    }
    return false;
}

struct fake_disk *fake_disk_power_loss(struct fake_disk *old, uint64_t seed)
{
    pthread_mutex_lock(&old->lock);
    struct fake_disk *d = empty_like(old, seed ^ 0x5eed);
    struct prng random;
    prng_seed(&random, seed);
    struct manner m = draw_manner(&random, first_stamp(old), old->stamp);
    copy_names(d, &d->durable, &old->durable);
    bool *lost = fake_take(old->move_count + 1);
    for (size_t i = 0; i < old->move_count; i++) {
        struct move move = old->moves[i];
        move.node = move.node ? copy_of(d, move.node) : NULL;
        lost[i] = !(m.kind == ALL || (m.kind == UP_TO && move.stamp <= m.moment) ||
                    (m.kind == EACH && chance(&random, m.keep))) ||
                  hangs_on_lost(old, lost, i);
        if (!lost[i])
            (void)names_move(&d->durable, &move);
    }
    free(lost);
    drop_orphans(&d->durable);
    list_each(l, tmp, &old->nodes) {
        struct node *n = container_of(l, struct node, link), *c = n->copy;
        if (!c)
            continue;
        survives(n, c->disk_pages, &c->disk_size, &m, &random);
        c->size = c->disk_size;
        c->reserved = (c->size + PAGE - 1) / PAGE * PAGE;
        for (size_t i = 0; i < c->page_cap; i++)
            c->pages[i] = page_ref(c->disk_pages[i]);
    }
    for (size_t i = 0; i < d->durable.count; i++) {
        struct move same = {.node = d->durable.at[i].node};
        snprintf(same.to, sizeof(same.to), "%s", d->durable.at[i].path);
        (void)names_move(&d->now, &same);
    }
    let_copies_go(d);
    pthread_mutex_unlock(&old->lock);
    return d;
}

static void copy_unsynced(struct node *c, const struct node *n)
{
    for (size_t i = 0; i < n->page_cap; i++)
        c->pages[i] = page_ref(n->pages[i]);
    c->size = n->size;
    c->reserved = n->reserved;
    for (size_t i = 0; i < n->changes; i++) {
        struct change change = n->journal[i];
        if (change.len) {
            change.bytes = fake_take((size_t)change.len);
            memcpy(change.bytes, n->journal[i].bytes, (size_t)change.len);
        }
        fake_grow((void **)&c->journal, &c->change_cap, c->changes, sizeof(*c->journal));
        c->journal[c->changes++] = change;
    }
}

struct fake_disk *fake_disk_kill(struct fake_disk *old, uint64_t seed)
{
    pthread_mutex_lock(&old->lock);
    struct fake_disk *d = empty_like(old, seed);
    copy_names(d, &d->durable, &old->durable);
    copy_names(d, &d->now, &old->now);
    for (size_t i = 0; i < old->move_count; i++) {
        struct move move = old->moves[i];
        if (move.node) {
            move.node = copy_of(d, move.node);
            move.node->refs++;
        }
        fake_grow((void **)&d->moves, &d->move_cap, d->move_count, sizeof(*d->moves));
        d->moves[d->move_count++] = move;
    }
    list_each(l, tmp, &old->nodes) {
        struct node *n = container_of(l, struct node, link);
        if (n->copy)
            copy_unsynced(n->copy, n);
    }
    let_copies_go(d);
    pthread_mutex_unlock(&old->lock);
    return d;
}
