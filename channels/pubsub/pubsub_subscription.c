/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the Pub/Sub bus, as control sees them: a subscription of the channel's topic each.
 *
 *     subscribe ─→ WAITING (for its channel, or for one of the same id that goes) ─→ MAKING (a job) ─→ READY
 *                                                                                       └─→ REFUSED ─ later again
 *     unsubscribe ─→ GOING ─ its home loop lets it go ─→ a job deletes it, where asked ─→ freed
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

static struct loop *control_of(const struct bus_subscription *s)
{
    return s->bus->env.control;
}

static struct bus_subscription *subscription_at(struct list *l)
{
    return container_of(l, struct bus_subscription, link);
}

/* ---- made, freed ---- */

static void begin(struct loop_task *t);

static void subscription_free(struct bus_subscription *s)
{
    struct list *l;
    while ((l = list_pop_front(&s->lanes.streams)))
        stream_free(container_of(l, struct bus_stream, link));
    pub_lease_quit(s);
    loop_task_cancel(&s->begin);
    list_remove(&s->link);
    list_remove(&s->closing_link);
    post_free(s->post);
    lanes_fini(&s->lanes);
    free(s->name);
    free(s->id);
    free(s);
}

static void heard(struct lanes *l, unsigned what)
{
    (void)what;
    pub_subscription_todo(container_of(l, struct bus_subscription, lanes));
}

/* Its streams are anywhere; who pulls for it is not. */
static struct pub_loop *home_of(struct pub_bus *k, const char *id)
{
    static const uint64_t fixed[2] = {0};
    return &k->loops[siphash13(fixed, slice_str(id)) % k->env.loop_count];
}

/* Takes the settings in any case. */
static struct bus_subscription *subscription_new(struct bus_channel *c, struct slice name,
                                                 const struct pub_subscription_settings *settings,
                                                 const struct bus_start *from)
{
    struct pub_bus *k = c->bus;
    struct bus_subscription *s = calloc(1, sizeof *s);
    char *copy = strndup(name.ptr ? name.ptr : "", name.len);
    char *id = settings->id;
    struct pub_loop *home = home_of(k, id);
    if (!s || !copy || post_new(home->loop, pub_pull_arrived, s, &s->post)) {
        free(copy);
        free(id);
        free(s);
        return NULL;
    }
    s->channel = c;
    s->bus = k;
    s->name = copy;
    s->id = id;
    s->ordered = s->keeps_order = settings->ordered;
    s->passing = settings->passing;
    s->from = from ? *from : (struct bus_start){.kind = BUS_START_LATEST};
    s->sought = s->from.kind == BUS_START_LATEST || s->from.kind == BUS_START_OFFSET || c->settings.dead;
    s->home = home;
    lanes_init(&s->lanes, clock_system(), heard);
    list_init(&s->closing_link);
    pub_pull_init(s);
    loop_task_init(&s->begin, begin);
    list_push_back(&c->subscriptions, &s->link);
    pub_channel_pin(c);
    return s;
}

/* ---- making ---- */

static void going_on(struct bus_subscription *s);

static void refused(struct bus_subscription *s, const struct pub_job *j)
{
    bool same = strcmp(s->reason, j->text) == 0;
    snprintf(s->reason, sizeof s->reason, "%s", j->text[0] ? j->text : err_name(j->err));
    s->ask_ns = clock_monotonic_ns(s->bus->clock) + PUB_RETRY_NS;
    if (!same && !j->away && !s->ops)
        pub_notice(s->bus, 1, "SubscriptionFailed", "subscription %s: %s", s->name, s->reason);
    if (j->err == ERR_NOTFOUND) /* the topic: the channel is to be made first */
        pub_channel_suspect(s->channel);
}

static void is_made(struct bus_subscription *s, bool existed, bool keeps_order)
{
    if (s->reason[0] && !s->ops &&
        !pub_notice(s->bus, 0, "SubscriptionWell", "subscription %s: %s is well again", s->name, s->id))
        s->bus->untold = true;
    s->reason[0] = '\0';
    s->state = PUB_READY;
    if (!s->counted_in && !s->passing) {
        s->counted_in = true;
        atomic_fetch_add(&s->channel->subscription_count, 1);
    }
    pthread_mutex_lock(&s->lanes.lock);
    s->made = true;
    s->keeps_order = keeps_order;
    s->orphan = s->bare = false;
    if (existed && !s->existed_ns && !s->known)
        s->existed_ns = pub_now();
    if (!existed) /* nothing is in it: what was, is gone with the one before */
        pub_count_is(s, 0);
    pthread_mutex_unlock(&s->lanes.lock);
    pub_subscription_todo(s);
}

/* Its topic was deleted and made anew: it gets nothing any more, and another one takes its place as soon as what it
 * still has was delivered. Until then its channel takes no events, for they would miss it. */
static void is_orphan(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    s->made = true;
    s->orphan = true;
    pthread_mutex_unlock(&s->lanes.lock);
    pub_subscription_todo(s);
}

static void made(struct pub_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    enum err err = j->err;
    s->busy = false;
    if (s->state == PUB_GOING) {
        bus_ops_end(&s->ops, ERR_CANCELED, NULL);
        going_on(s);
        return;
    }
    if (!err) {
        is_made(s, j->existed, j->ordered);
    } else {
        if (j->orphan)
            is_orphan(s);
        refused(s, j);
        if (!(s->state == PUB_READY && j->away)) /* which says nothing about it */
            s->state = PUB_REFUSED;
    }
    pub_channel_checked(s->channel);
    bus_ops_end(&s->ops, err, s->reason);
}

static void make(struct bus_subscription *s)
{
    if (s->busy)
        return;
    if (s->state != PUB_READY)
        s->state = PUB_MAKING;
    s->busy = true;
    pthread_mutex_lock(&s->lanes.lock);
    bool bare = s->orphan && s->bare;
    pthread_mutex_unlock(&s->lanes.lock);
    pub_job_subscription(&s->job, s, bare, made);
}

/* Whether one that goes has its id. */
static bool id_taken(const struct bus_subscription *s)
{
    list_each(l, tmp, &s->channel->subscriptions) {
        struct bus_subscription *other = subscription_at(l);
        if (other != s && other->state == PUB_GOING && strcmp(other->id, s->id) == 0)
            return true;
    }
    return false;
}

static void start(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    int state = atomic_load(&c->state);
    if (id_taken(s) || state == PUB_MAKING || state == PUB_WAITING) {
        s->state = PUB_WAITING;
    } else if (state == PUB_READY) {
        make(s);
    } else {
        s->state = PUB_REFUSED;
        snprintf(s->reason, sizeof s->reason, "%s", c->reason);
        bus_ops_end(&s->ops, c->err ? c->err : ERR_UNAVAILABLE, s->reason);
    }
}

void pub_subscriptions_start(struct bus_channel *c)
{
    bool ready = atomic_load(&c->state) == PUB_READY;
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state == PUB_WAITING)
            start(s);
        else if (s->state != PUB_GOING && ready)
            make(s);
    }
}

void pub_subscriptions_look(struct bus_channel *c)
{
    uint64_t now = clock_monotonic_ns(c->bus->clock);
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state == PUB_REFUSED && now >= s->ask_ns)
            make(s);
    }
}

static void begin(struct loop_task *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, begin);
    if (s->state == PUB_WAITING)
        start(s);
    else if (s->state == PUB_READY) /* something else is wanted of it */
        make(s);
}

static struct bus_subscription *find(struct bus_channel *c, struct slice name)
{
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state != PUB_GOING && slice_eq_str(name, s->name))
            return s;
    }
    return NULL;
}

enum err pub_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *from,
                       struct filter *filter, const struct bus_param *params, size_t count,
                       struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct pub_bus *k = pub_of(b);
    struct pub_subscription_settings settings;
    (void)filter;
    if (pub_bus_closed(k))
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = pub_subscription_settings_read(&k->settings, c->name, &c->settings, name, params, count, &settings, d);
    if (e)
        return e;
    struct bus_subscription *s = find(c, name);
    bool fresh = !s, other = s && strcmp(s->id, settings.id) != 0;
    if (fresh)
        s = subscription_new(c, name, &settings, from);
    else
        free(settings.id);
    if (other)
        return diag_set(d, ERR_INVALID, "subscription: it has another one, and cannot change it while it is there");
    if (!s)
        return diag_set(d, ERR_NOMEM, "out of memory");
    bool gets_order = !fresh && settings.ordered && !s->ordered;
    s->ordered = settings.ordered;
    s->refs++;
    *out = s;
    op->text = NULL;
    if (s->state == PUB_READY && !fresh && !gets_order) {
        bus_op_end(control_of(s), op, OK);
        return OK;
    }
    op->owner = s->ops;
    s->ops = op;
    if (fresh || gets_order || s->state == PUB_REFUSED) {
        s->state = s->state == PUB_READY ? PUB_READY : PUB_WAITING;
        loop_defer(control_of(s), &s->begin);
    }
    return OK;
}

/* ---- going ---- */

static void closing(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool first = !s->close;
    s->close = true;
    pthread_mutex_unlock(&s->lanes.lock);
    if (!first)
        return;
    list_push_back(&s->bus->closing, &s->closing_link);
    pub_subscription_todo(s);
}

/* Without memory for that it stays at the service when the channel goes. */
static void leave_id(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    size_t n = strlen(s->id) + 1;
    list_each(l, tmp, &c->left) {
        if (strcmp(container_of(l, struct pub_left, link)->id, s->id) == 0)
            return;
    }
    struct pub_left *left = malloc(sizeof *left + n);
    if (!left)
        return;
    memcpy(left->id, s->id, n);
    list_push_back(&c->left, &left->link);
}

/* It is gone, or taken up again. */
static void unleave_id(struct bus_channel *c, const char *id)
{
    list_each(l, tmp, &c->left) {
        struct pub_left *left = container_of(l, struct pub_left, link);
        if (strcmp(left->id, id) == 0) {
            list_remove(l);
            free(left);
        }
    }
}

static void gone(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    struct bus_op *op = s->going;
    if (s->remove)
        unleave_id(c, s->id);
    else
        leave_id(s);
    subscription_free(s);
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *other = subscription_at(l);
        if (other->state == PUB_WAITING)
            start(other);
    }
    pub_channel_unpin(c);
    op->text = NULL;
    op->done(op, OK);
}

static void removed(struct pub_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    s->busy = false;
    if (j->err && j->err != ERR_NOTFOUND)
        pub_notice(s->bus, 1, "SubscriptionStays", "subscription %s is gone, and %s could not be deleted: %s", s->name,
                   s->id, j->text[0] ? j->text : err_name(j->err));
    gone(s);
}

/* One step nearer to its end, if nothing of it is under way. */
static void going_on(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool closed = s->closed;
    pthread_mutex_unlock(&s->lanes.lock);
    if (s->busy || !closed)
        return;
    if (!s->remove) {
        gone(s);
        return;
    }
    s->busy = true;
    pub_job_subscription_remove(&s->job, s->channel, s->id, removed);
}

void pub_subscriptions_closed(struct pub_bus *k)
{
    list_each(l, tmp, &k->closing) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, closing_link);
        pthread_mutex_lock(&s->lanes.lock);
        bool closed = s->closed;
        pthread_mutex_unlock(&s->lanes.lock);
        if (!closed)
            continue;
        list_remove(l);
        if (s->state == PUB_GOING)
            going_on(s);
    }
}

void pub_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b;
    assert(s->refs > 0 && s->state != PUB_GOING);
    op->text = NULL;
    if (--s->refs > 0) {
        bus_op_end(control_of(s), op, OK);
        return;
    }
    while (!s->busy && s->ops) { /* it had not begun */
        struct bus_op *waiting = s->ops;
        s->ops = waiting->owner;
        waiting->text = NULL;
        bus_op_end(control_of(s), waiting, ERR_CANCELED);
    }
    s->remove = remove && !id_taken(s); /* where another one of its id goes, it is that one's */
    s->state = PUB_GOING;
    s->going = op;
    if (s->counted_in) /* from here on no event is owed to it: who appends while it goes is not refused */
        atomic_fetch_sub(&s->channel->subscription_count, 1);
    s->counted_in = false;
    closing(s);
    post_send(s->bus->post);
}

/* ---- stop, fini ---- */

static void stop_one(struct bus_subscription *s)
{
    if (!s->busy && s->ops)
        bus_ops_end(&s->ops, ERR_CLOSED, NULL);
    closing(s);
}

void pub_subscriptions_stop(struct pub_bus *k)
{
    map_each(entry, tmp, &k->channels) {
        struct bus_channel *c = entry->value;
        list_each(l, t, &c->subscriptions)
            stop_one(subscription_at(l));
    }
    list_each(l, tmp, &k->going) {
        struct bus_channel *c = container_of(l, struct bus_channel, link);
        list_each(m, t, &c->subscriptions)
            stop_one(subscription_at(m));
    }
}

void pub_subscriptions_free(struct bus_channel *c)
{
    while (!list_empty(&c->subscriptions))
        subscription_free(subscription_at(c->subscriptions.next));
}
