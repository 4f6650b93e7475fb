/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus has at a system outside: subscriptions. See abroad.h.
 */
#include "abroad.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct abroad_subscription *subscription_at(struct list *l)
{
    return container_of(l, struct abroad_subscription, link);
}

static const struct abroad_ops *how(const struct abroad_subscription *s)
{
    return s->channel->abroad->how;
}

static struct desk *desk_of(const struct abroad_subscription *s)
{
    return s->channel->abroad->desk;
}

/* ---- made, freed ---- */

static void begin(struct loop_task *t);

static void subscription_free(struct abroad_subscription *s)
{
    struct list *l;
    while ((l = list_pop_front(&s->lanes->streams)))
        stream_free(container_of(l, struct bus_stream, link));
    loop_task_cancel(&s->begin);
    list_remove(&s->link);
    list_remove(&s->closing_link);
    free(s->name);
    how(s)->subscription_free(s);
}

enum err abroad_subscription_init(struct abroad_subscription *s, struct abroad_channel *c, struct slice name)
{
    assert(s->id && s->lanes);
    s->name = strndup(name.ptr ? name.ptr : "", name.len);
    if (!s->name)
        return ERR_NOMEM;
    s->channel = c;
    list_init(&s->closing_link);
    loop_task_init(&s->begin, begin);
    list_push_back(&c->subscriptions, &s->link);
    abroad_channel_pin(c);
    return OK;
}

struct abroad_subscription *abroad_subscription_find(struct abroad_channel *c, struct slice name)
{
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = subscription_at(l);
        if (s->state != ABROAD_GOING && slice_eq_str(name, s->name))
            return s;
    }
    return NULL;
}

/* ---- making ---- */

static void going_on(struct abroad_subscription *s);

static void refused(struct abroad_subscription *s, const struct abroad_answer *a)
{
    struct desk *desk = desk_of(s);
    bool same = strcmp(s->reason, a->text) == 0;
    snprintf(s->reason, sizeof s->reason, "%s", a->text[0] ? a->text : err_name(a->err));
    s->ask_ns = clock_monotonic_ns(desk->clock) + ABROAD_RETRY_NS;
    if (!same && !a->away && (!s->ops || a->gives)) /* else who waits for it tells */
        desk_notice(desk, 1, how(s)->subscription_failed, "subscription %s: %s", s->name, s->reason);
    if (!(s->state == ABROAD_READY && a->away))
        s->state = ABROAD_REFUSED;
}

static void well(struct abroad_subscription *s)
{
    if (s->reason[0] && !s->ops &&
        !desk_notice(desk_of(s), 0, how(s)->subscription_well, "subscription %s: %s%s is well again", s->name,
                     how(s)->subscription_word, s->id))
        s->channel->abroad->untold = true;
    s->reason[0] = '\0';
    s->state = ABROAD_READY;
    if (!s->counted_in && !s->passing) {
        s->counted_in = true;
        atomic_fetch_add(&s->channel->subscription_count, 1);
    }
    how(s)->subscription_todo(s);
}

void abroad_subscription_made(struct abroad_subscription *s, struct abroad_answer a)
{
    s->busy = false;
    if (s->state == ABROAD_GOING) {
        bus_ops_end(&s->ops, ERR_CANCELED, NULL);
        going_on(s);
        return;
    }
    if (a.err)
        refused(s, &a);
    else
        well(s);
    abroad_channel_whole(s->channel);
    bus_ops_end(&s->ops, a.gives ? OK : a.err, s->reason);
}

static void make(struct abroad_subscription *s)
{
    if (s->busy)
        return;
    if (s->state != ABROAD_READY)
        s->state = ABROAD_MAKING;
    s->busy = true;
    how(s)->subscription_make(s);
}

/* Whether one that goes has the same there. */
static bool taken(const struct abroad_subscription *s)
{
    list_each(l, tmp, &s->channel->subscriptions) {
        struct abroad_subscription *other = subscription_at(l);
        if (other != s && other->state == ABROAD_GOING && strcmp(other->id, s->id) == 0)
            return true;
    }
    return false;
}

static void start(struct abroad_subscription *s)
{
    struct abroad_channel *c = s->channel;
    int state = atomic_load(&c->state);
    if (taken(s) || state == ABROAD_MAKING || state == ABROAD_WAITING) {
        s->state = ABROAD_WAITING;
    } else if (state == ABROAD_READY) {
        make(s);
    } else {
        s->state = ABROAD_REFUSED;
        snprintf(s->reason, sizeof s->reason, "%s", c->reason);
        bus_ops_end(&s->ops, c->err ? c->err : ERR_UNAVAILABLE, s->reason);
    }
}

void abroad_subscriptions_start(struct abroad_channel *c)
{
    bool ready = atomic_load(&c->state) == ABROAD_READY;
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = subscription_at(l);
        if (s->state == ABROAD_WAITING)
            start(s);
        else if (s->state != ABROAD_GOING && ready)
            make(s);
    }
}

void abroad_subscriptions_look(struct abroad_channel *c)
{
    uint64_t now = clock_monotonic_ns(c->abroad->desk->clock);
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = subscription_at(l);
        if (s->state == ABROAD_REFUSED && now >= s->ask_ns)
            make(s);
    }
}

static void begin(struct loop_task *t)
{
    struct abroad_subscription *s = container_of(t, struct abroad_subscription, begin);
    if (s->state == ABROAD_WAITING)
        start(s);
    else if (s->state == ABROAD_READY) /* something else is wanted of it */
        make(s);
}

void abroad_subscribe(struct abroad_subscription *s, bool changed, struct bus_op *op)
{
    struct loop *control = desk_of(s)->env.control;
    bool fresh = s->refs == 0;
    s->refs++;
    op->text = NULL;
    if (s->state == ABROAD_READY && !changed) {
        bus_op_end(control, op, OK);
        return;
    }
    op->owner = s->ops;
    s->ops = op;
    if (fresh || changed || s->state == ABROAD_REFUSED) {
        s->state = s->state == ABROAD_READY ? ABROAD_READY : ABROAD_WAITING;
        loop_defer(control, &s->begin);
    }
}

/* ---- going ---- */

static void closing(struct abroad_subscription *s)
{
    pthread_mutex_lock(&s->lanes->lock);
    bool first = !s->close;
    s->close = true;
    pthread_mutex_unlock(&s->lanes->lock);
    if (!first)
        return;
    list_push_back(&s->channel->abroad->closing, &s->closing_link);
    how(s)->subscription_todo(s);
}

static bool is_closed(struct abroad_subscription *s)
{
    pthread_mutex_lock(&s->lanes->lock);
    bool closed = s->closed;
    pthread_mutex_unlock(&s->lanes->lock);
    return closed;
}

static struct abroad_left *left_of(const struct abroad_subscription *s)
{
    list_each(l, tmp, &s->channel->left) {
        struct abroad_left *left = container_of(l, struct abroad_left, link);
        if (strcmp(left->id, s->id) == 0)
            return left;
    }
    return NULL;
}

/* Without memory for that it stays there when the channel goes. */
static void leave(const struct abroad_subscription *s)
{
    size_t n = strlen(s->id) + 1;
    struct abroad_left *left = left_of(s) ? NULL : malloc(sizeof *left + n);
    if (!left)
        return;
    memcpy(left->id, s->id, n);
    list_push_back(&s->channel->left, &left->link);
}

static void unleave(const struct abroad_subscription *s)
{
    struct abroad_left *left = left_of(s);
    if (!left)
        return;
    list_remove(&left->link);
    free(left);
}

static void gone(struct abroad_subscription *s)
{
    struct abroad_channel *c = s->channel;
    struct bus_op *op = s->going;
    if (s->remove)
        unleave(s);
    else if (!s->external)
        leave(s);
    subscription_free(s);
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *other = subscription_at(l);
        if (other->state == ABROAD_WAITING)
            start(other);
    }
    abroad_channel_unpin(c);
    op->text = NULL;
    op->done(op, OK);
}

void abroad_subscription_removed(struct abroad_subscription *s, enum err err, const char *text)
{
    s->busy = false;
    if (err && err != ERR_NOTFOUND)
        desk_notice(desk_of(s), 1, how(s)->subscription_stays,
                    "subscription %s is gone, and %s%s could not be deleted: %s", s->name, how(s)->subscription_word,
                    s->id, text[0] ? text : err_name(err));
    gone(s);
}

/* One step nearer to its end, if nothing of it is under way. */
static void going_on(struct abroad_subscription *s)
{
    if (s->busy || !is_closed(s))
        return;
    if (!s->remove) {
        gone(s);
        return;
    }
    s->busy = true;
    how(s)->subscription_remove(s);
}

void abroad_subscriptions_closed(struct abroad *a)
{
    list_each(l, tmp, &a->closing) {
        struct abroad_subscription *s = container_of(l, struct abroad_subscription, closing_link);
        if (!is_closed(s))
            continue;
        list_remove(l);
        if (s->state == ABROAD_GOING)
            going_on(s);
    }
}

void abroad_unsubscribe(struct abroad_subscription *s, bool remove, struct bus_op *op)
{
    assert(s->refs > 0 && s->state != ABROAD_GOING);
    op->text = NULL;
    if (--s->refs > 0) {
        bus_op_end(desk_of(s)->env.control, op, OK);
        return;
    }
    if (!s->busy) /* it had not begun */
        abroad_ops_cancel(s->channel->abroad, &s->ops);
    s->remove = remove && !s->external && !taken(s); /* where another one of its id goes, it is that one's */
    s->state = ABROAD_GOING;
    s->going = op;
    if (s->counted_in) /* from here on no event is owed to it: who appends while it goes is not refused */
        atomic_fetch_sub(&s->channel->subscription_count, 1);
    s->counted_in = false;
    closing(s);
    desk_call(desk_of(s));
}

/* ---- stop, fini ---- */

void abroad_subscriptions_stop(struct abroad_channel *c)
{
    list_each(l, tmp, &c->subscriptions) {
        struct abroad_subscription *s = subscription_at(l);
        if (!s->busy && s->ops)
            bus_ops_end(&s->ops, ERR_CLOSED, NULL);
        closing(s);
    }
}

void abroad_subscriptions_free(struct abroad_channel *c)
{
    while (!list_empty(&c->subscriptions))
        subscription_free(subscription_at(c->subscriptions.next));
}
