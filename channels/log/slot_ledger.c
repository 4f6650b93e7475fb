/* SPDX-License-Identifier: Apache-2.0
 *
 * Ledgers: where slots stood, written and read; the layout is in slot.h. Pure. A ledger in memory is one block: parts,
 * then where each slot stood, then the ranges.
 */
#include "slot.h"

#include <assert.h>
#include <stdlib.h>

struct range {
    uint64_t first, last;
};

struct stand { /* of one slot */
    uint64_t from;
    struct range *ranges; /* in order, none below from */
    uint32_t count;
};

struct part {
    struct stand *stands;
    size_t slots;
};

struct slot_ledger {
    struct part parts[SLOT_PARTS_MAX];
    size_t count;
};

#define VERSION 1

/* ---- writing ---- */

static void put_number(struct buf *b, uint64_t v, size_t bytes)
{
    char *to = buf_reserve(b, bytes);
    if (!to)
        return;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)(v >> 8 * i);
    b->len += bytes;
}

static void put_range(struct buf *out, uint64_t first, uint64_t last)
{
    put_number(out, first, 8);
    put_number(out, last, 8);
}

static bool worth_saying(const struct range *r, uint64_t position)
{
    return r->last >= position;
}

/* How many ranges of an older ledger reach beyond a slot's position. */
static uint32_t count_beyond(const struct stand *before, uint64_t position)
{
    uint32_t n = 0;
    for (uint32_t i = 0; before && i < before->count; i++)
        n += worth_saying(&before->ranges[i], position);
    return n;
}

static uint32_t at_most(uint32_t n, uint32_t max)
{
    return n < max ? n : max;
}

/* The done ranges of the window, and behind them those that an older ledger of the same slot knows beyond its position.
 */
static void put_slot(const struct slot *s, uint64_t end, const struct stand *before, struct buf *out)
{
    uint64_t from = slot_needs_from(s, end), position = s->behind ? s->position : end;
    uint32_t own = at_most(s->ranges, SLOT_RANGES_MAX);
    uint32_t older = at_most(count_beyond(before, position), SLOT_RANGES_MAX - own);
    put_number(out, from, 8);
    put_number(out, own + older, 4);
    uint32_t left = own;
    for (struct list *l = s->window.next; l != &s->window && left; l = l->next) {
        const struct slot_entry *e = container_of(l, struct slot_entry, link);
        if (e->state != SLOT_DONE)
            continue;
        put_range(out, e->sequence, e->last);
        left--;
    }
    assert(left == 0);
    for (uint32_t i = 0; older; i++) {
        const struct range *r = &before->ranges[i];
        if (!worth_saying(r, position))
            continue;
        put_range(out, r->first > position ? r->first : position, r->last);
        older--;
    }
}

static void put_part(const struct part *p, struct buf *out)
{
    put_number(out, p->slots, 2);
    for (size_t i = 0; i < p->slots; i++) {
        const struct stand *s = &p->stands[i];
        put_number(out, s->from, 8);
        put_number(out, s->count, 4);
        for (uint32_t k = 0; k < s->count; k++)
            put_range(out, s->ranges[k].first, s->ranges[k].last);
    }
}

static void put_head(size_t parts, struct buf *out)
{
    put_number(out, VERSION, 2);
    put_number(out, parts, 2);
}

/* Whether a slot has not looked yet at all that an older ledger knows to be done. */
static bool still_says(const struct slot_ledger *before, const struct slot *slots, size_t count)
{
    uint64_t end = before ? slot_ledger_end(before) : 0;
    for (size_t i = 0; i < count; i++)
        if (slots[i].behind && slots[i].position < end)
            return true;
    return false;
}

void slot_ledger_put(const struct slot *slots, size_t count, uint64_t end, const struct slot_ledger *before,
                     struct buf *out)
{
    assert(count > 0 && count <= UINT16_MAX && end > 0);
    const struct part *same = NULL, *others[SLOT_PARTS_MAX];
    size_t n = 0;
    bool says = still_says(before, slots, count);
    for (size_t i = 0; says && i < before->count; i++) {
        if (before->parts[i].slots == count)
            same = &before->parts[i];
        else if (n < SLOT_PARTS_MAX - 1)
            others[n++] = &before->parts[i];
    }
    put_head(1 + n, out);
    put_number(out, count, 2);
    for (size_t i = 0; i < count; i++)
        put_slot(&slots[i], end, same ? &same->stands[i] : NULL, out);
    for (size_t i = 0; i < n; i++)
        put_part(others[i], out);
}

void slot_ledger_put_fresh(uint64_t from, size_t count, struct buf *out)
{
    assert(count > 0 && count <= UINT16_MAX && from > 0);
    put_head(1, out);
    put_number(out, count, 2);
    for (size_t i = 0; i < count; i++) {
        put_number(out, from, 8);
        put_number(out, 0, 4);
    }
}

/* ---- reading ---- */

struct cursor {
    struct slice in;
    bool bad; /* more was asked for than there was, or a rule was broken */
};

static uint64_t get(struct cursor *c, size_t bytes)
{
    uint64_t v = 0;
    if (c->in.len < bytes) {
        c->bad = true;
        c->in.len = 0;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)(unsigned char)c->in.ptr[i] << 8 * i;
    c->in = slice_from(c->in, bytes);
    return v;
}

/* Where the second walk writes to; the first one only counts. */
struct filling {
    struct slot_ledger *l; /* NULL: counting */
    struct stand *stands;
    struct range *ranges;
    size_t stand_count, range_count;
};

static void read_stand(struct cursor *c, struct filling *f)
{
    struct stand s;
    s.from = get(c, 8);
    s.count = (uint32_t)get(c, 4);
    c->bad |= s.from == 0 || s.from == UINT64_MAX || s.count > SLOT_RANGES_MAX;
    s.ranges = f->l ? f->ranges + f->range_count : NULL;
    uint64_t above = s.from;
    for (uint32_t i = 0; i < s.count && !c->bad; i++) {
        struct range r;
        r.first = get(c, 8);
        r.last = get(c, 8);
        c->bad |= r.first < above || r.last < r.first || r.last == UINT64_MAX;
        above = r.last + 1;
        if (f->l)
            s.ranges[i] = r;
    }
    if (f->l)
        f->stands[f->stand_count] = s;
    f->stand_count++;
    f->range_count += s.count;
}

static void read_ledger(struct slice value, struct cursor *c, struct filling *f)
{
    *c = (struct cursor){value, false};
    f->stand_count = f->range_count = 0;
    c->bad |= get(c, 2) != VERSION;
    size_t parts = (size_t)get(c, 2), seen[SLOT_PARTS_MAX];
    c->bad |= parts == 0 || parts > SLOT_PARTS_MAX;
    for (size_t i = 0; i < parts && !c->bad; i++) {
        struct part p = {f->l ? f->stands + f->stand_count : NULL, (size_t)get(c, 2)};
        seen[i] = p.slots;
        c->bad |= p.slots == 0;
        for (size_t k = 0; k < i; k++)
            c->bad |= seen[k] == p.slots;
        for (size_t k = 0; k < p.slots && !c->bad; k++)
            read_stand(c, f);
        if (f->l)
            f->l->parts[f->l->count++] = p;
    }
    c->bad |= c->in.len > 0;
}

enum err slot_ledger_read(struct slice value, struct slot_ledger **out)
{
    struct cursor c;
    struct filling f = {0};
    read_ledger(value, &c, &f);
    if (c.bad)
        return ERR_CORRUPT;
    struct slot_ledger *l =
        malloc(sizeof *l + f.stand_count * sizeof(struct stand) + f.range_count * sizeof(struct range));
    if (!l)
        return ERR_NOMEM;
    l->count = 0;
    f.l = l;
    f.stands = (struct stand *)(void *)(l + 1);
    f.ranges = (struct range *)(void *)(f.stands + f.stand_count);
    read_ledger(value, &c, &f);
    assert(!c.bad);
    *out = l;
    return OK;
}

void slot_ledger_free(struct slot_ledger *l)
{
    free(l);
}

/* ---- questions ---- */

bool slot_ledger_clamp(struct slot_ledger *l, uint64_t end)
{
    assert(end > 0);
    bool above = false;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = 0; k < l->parts[i].slots; k++) {
            struct stand *s = &l->parts[i].stands[k];
            above |= s->from > end || (s->count && s->ranges[s->count - 1].last >= end);
            if (s->from > end)
                s->from = end;
            while (s->count && s->ranges[s->count - 1].first >= end)
                s->count--;
            if (s->count && s->ranges[s->count - 1].last >= end)
                s->ranges[s->count - 1].last = end - 1;
        }
    return above;
}

size_t slot_ledger_slots(const struct slot_ledger *l)
{
    assert(l->count > 0);
    return l->parts[0].slots;
}

static size_t common_divisor(size_t a, size_t b)
{
    while (b) {
        size_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* The lowest of all the part's slots that an event of this slot may have been in: a spread that leaves `index` when
 * divided by `count` can leave k when divided by the part's number exactly when both agree on their common divisor. */
static uint64_t part_from(const struct part *p, size_t index, size_t count)
{
    size_t step = common_divisor(count, p->slots);
    uint64_t from = UINT64_MAX;
    for (size_t k = index % step; k < p->slots; k += step)
        if (p->stands[k].from < from)
            from = p->stands[k].from;
    assert(from < UINT64_MAX);
    return from;
}

uint64_t slot_ledger_from(const struct slot_ledger *l, size_t index, size_t count)
{
    assert(index < count);
    uint64_t from = 1;
    for (size_t i = 0; i < l->count; i++) {
        uint64_t f = part_from(&l->parts[i], index, count);
        if (f > from)
            from = f;
    }
    return from;
}

static bool stand_done(const struct stand *s, uint64_t sequence)
{
    if (sequence < s->from)
        return true;
    size_t low = 0, high = s->count; /* the first range that ends at or above it is in [low, high] */
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->ranges[mid].last < sequence)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->count && s->ranges[low].first <= sequence;
}

bool slot_ledger_done(const struct slot_ledger *l, uint64_t sequence, uint32_t spread)
{
    for (size_t i = 0; i < l->count; i++)
        if (stand_done(&l->parts[i].stands[spread % l->parts[i].slots], sequence))
            return true;
    return false;
}

uint64_t slot_ledger_end(const struct slot_ledger *l)
{
    uint64_t end = 1;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = 0; k < l->parts[i].slots; k++) {
            const struct stand *s = &l->parts[i].stands[k];
            uint64_t e = s->count ? s->ranges[s->count - 1].last + 1 : s->from;
            if (e > end)
                end = e;
        }
    return end;
}
