/* SPDX-License-Identifier: Apache-2.0
 *
 * Parked events of several subscriptions, one session after the other, sorted by when they were parked; and which of
 * them somebody means.
 */
#include "dlq_parts.h"

#include <assert.h>
#include <stdlib.h>

static void let_go(struct dlq_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ce_event_unref(items[i].event);
    free(items);
}

/* Lets the events go, keeps the sessions. */
static void clear(struct dlq_collection *c)
{
    let_go(c->items, c->count);
    c->items = NULL;
    c->count = 0;
    c->total = 0;
    c->more = c->elsewhere = false;
}

void dlq_collection_close(struct dlq_collection *c)
{
    clear(c);
    for (size_t i = 0; i < c->session_count; i++)
        dlq_session_close(c->sessions[i]);
    free(c->sessions);
    c->sessions = NULL;
    c->session_count = 0;
}

enum err dlq_collection_open(struct dlq *d, bool (*choose)(void *arg, const struct engine_subscription *s), void *arg,
                             struct dlq_collection *c)
{
    size_t n = 0;
    enum err e = OK;
    list_each(l, tmp, &d->engine->subscriptions)
        n += choose(arg, container_of(l, struct engine_subscription, link));
    if (n == 0)
        return ERR_NOTFOUND;
    c->sessions = calloc(n, sizeof(struct dlq_session *));
    c->session_count = 0;
    if (!c->sessions)
        return ERR_NOMEM;
    list_each(k, next, &d->engine->subscriptions) {
        struct engine_subscription *s = container_of(k, struct engine_subscription, link);
        if (e == OK && choose(arg, s)) {
            e = dlq_session_open(d, s, &c->sessions[c->session_count]);
            c->session_count += e == OK;
        }
    }
    if (e != OK)
        dlq_collection_close(c);
    return e;
}

/* ---- filling ---- */

static int oldest_first(const void *a, const void *b)
{
    const struct dlq_item *x = a, *y = b;
    if (x->parked_ns != y->parked_ns)
        return x->parked_ns < y->parked_ns ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

void dlq_items_sort(struct dlq_item *items, size_t count)
{
    if (count)
        qsort(items, count, sizeof *items, oldest_first);
}

static void next(struct dlq_collection *c);

static enum err add(struct dlq_collection *c, struct dlq_snapshot *s)
{
    if (s->error != OK)
        return s->error;
    c->total += s->expected > s->count ? s->expected : s->count;
    c->more = c->more || s->more;
    c->elsewhere = c->elsewhere || s->elsewhere;
    if (!c->items) {
        c->items = s->items;
        c->count = s->count;
        return OK;
    }
    struct dlq_item *grown = realloc(c->items, (c->count + s->count + 1) * sizeof *grown);
    if (!grown) {
        let_go(s->items, s->count);
        return ERR_NOMEM;
    }
    if (s->count)
        memcpy(grown + c->count, s->items, s->count * sizeof *grown);
    free(s->items);
    c->items = grown;
    c->count += s->count;
    return OK;
}

static void taken(struct dlq_snapshot *s)
{
    struct dlq_collection *c = container_of(s, struct dlq_collection, snapshot);
    enum err e = add(c, s);
    if (e != OK) {
        clear(c);
        c->done(c, e);
        return;
    }
    c->at++;
    next(c);
}

static void next(struct dlq_collection *c)
{
    if (c->at < c->session_count) {
        c->snapshot = (struct dlq_snapshot){.done = taken};
        dlq_snapshot_take(c->sessions[c->at], &c->snapshot);
        return;
    }
    dlq_items_sort(c->items, c->count);
    c->done(c, OK);
}

void dlq_collection_fill(struct dlq_collection *c)
{
    assert(c->session_count > 0 && !c->items);
    c->at = 0;
    next(c);
}

/* ---- selecting ---- */

void dlq_selection_fini(struct dlq_selection *s)
{
    for (size_t i = 0; i < s->id_count; i++)
        free(s->ids[i]);
    free(s->ids);
    free(s->source);
    filter_unref(s->filter);
    *s = (struct dlq_selection){0};
}

bool dlq_selects(const struct dlq_selection *s, const struct ce_event *event)
{
    if (s->all)
        return true;
    if (s->filter && !filter_match(s->filter, event))
        return false;
    if (s->source && !slice_eq_str(ce_event_source(event), s->source))
        return false;
    for (size_t i = 0; i < s->id_count; i++)
        if (slice_eq_str(ce_event_id(event), s->ids[i]))
            return true;
    return s->id_count == 0;
}
