/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the RabbitMQ bus, as control sees them: a queue each, bound to the channel's exchange.
 *
 *     subscribe ─→ WAITING (for its channel, or for one of the same queue that goes) ─→ MAKING (a job) ─→ READY
 *                                                                                          └─→ REFUSED ─ later again
 *     unsubscribe ─→ GOING ─ Q lets it go ─→ a job deletes the queue, where asked ─→ freed
 */
#include "rabbitmq_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    loop_task_cancel(&s->begin);
    list_remove(&s->link);
    list_remove(&s->closing_link);
    rabbit_subscription_settings_fini(&s->settings);
    lanes_fini(&s->lanes);
    free(s->name);
    free(s);
}

static void heard(struct lanes *l, unsigned what)
{
    rabbit_consumer_todo(container_of(l, struct bus_subscription, lanes),
                         (what & LANES_SETTLED ? RABBIT_SETTLED : 0u) | (what & LANES_WANTED ? RABBIT_TEND : 0u));
}

/* What was held for long is not given to the next stream: the node would end its consumer (rabbitmq_consumer.c, sweep).
 */
static bool goes_back(struct lanes *l, const struct lane_entry *e)
{
    const struct bus_subscription *s = container_of(l, struct bus_subscription, lanes);
    return rabbit_now() - container_of(e, struct rabbit_entry, entry)->since_ns > s->bus->wait_ns;
}

/* Takes the settings in any case. */
static struct bus_subscription *subscription_new(struct bus_channel *c, struct slice name,
                                                 struct rabbit_subscription_settings *settings)
{
    struct rabbit_bus *k = c->bus;
    struct bus_subscription *s = calloc(1, sizeof *s);
    char *copy = strndup(name.ptr ? name.ptr : "", name.len);
    if (!s || !copy) {
        rabbit_subscription_settings_fini(settings);
        free(copy);
        free(s);
        return NULL;
    }
    s->channel = c;
    s->bus = k;
    s->name = copy;
    s->settings = *settings;
    s->consumer =
        &k->consumers[k->dealt[slice_has_prefix(slice_str(c->name), SLICE("dead-letter/"))]++ % RABBIT_CONSUMERS];
    lanes_init(&s->lanes, clock_system(), heard);
    s->lanes.goes_back = goes_back;
    s->lanes.held_by_all = &k->held_bytes;
    list_init(&s->closing_link);
    list_init(&s->todo_link);
    list_init(&s->tend_link);
    list_init(&s->out);
    rabbit_consumer_timers_init(s);
    loop_task_init(&s->begin, begin);
    list_push_back(&c->subscriptions, &s->link);
    rabbit_channel_pin(c);
    return s;
}

/* ---- making ---- */

static void going_on(struct bus_subscription *s);

/* As of channels. */
static bool is_away(const struct rabbit_job *j)
{
    return j->err == ERR_UNAVAILABLE && !j->code;
}

static void refused(struct bus_subscription *s, const struct rabbit_job *j)
{
    bool same = strcmp(s->reason, j->text) == 0;
    snprintf(s->reason, sizeof s->reason, "%s", j->text[0] ? j->text : err_name(j->err));
    s->ask_ns = clock_monotonic_ns(s->bus->clock) + RABBIT_RETRY_NS;
    if (!same && !is_away(j) && !s->ops)
        rabbit_notice(s->bus, 1, "QueueFailed", "subscription %s: %s", s->name, s->reason);
    if (j->code == 404) /* the exchange: the channel is to be made first */
        rabbit_channel_suspect(s->channel);
}

static void is_made(struct bus_subscription *s, uint64_t messages, bool differs)
{
    bool first = s->state == RABBIT_MAKING;
    if (s->reason[0] && !s->ops &&
        !rabbit_notice(s->bus, 0, "QueueWell", "subscription %s: queue %s is well again", s->name, s->settings.queue))
        s->bus->untold = true;
    s->reason[0] = '\0';
    s->state = RABBIT_READY;
    if (!s->counted_in) {
        s->counted_in = true;
        atomic_fetch_add(&s->channel->subscription_count, 1);
    }
    pthread_mutex_lock(&s->lanes.lock);
    s->made = true;
    s->missing = false;
    if (!s->counted_ns) {
        s->ready = messages;
        s->appended = atomic_load(&s->channel->appended);
        s->arrived = s->arrivals;
        s->back_at = s->lanes.returned;
        s->counted_ns = rabbit_now();
    }
    pthread_mutex_unlock(&s->lanes.lock);
    if (differs && first)
        rabbit_notice(s->bus, 0, "QueueDiffers",
                      "subscription %s: queue %s is there and of another kind than asked for; it is taken as it is",
                      s->name, s->settings.queue);
    rabbit_consumer_todo(s, RABBIT_TEND);
}

static void made(struct rabbit_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    enum err err = j->err;
    s->busy = false;
    if (s->state == RABBIT_GOING) {
        bus_ops_end(&s->ops, ERR_CANCELED, NULL);
        going_on(s);
        return;
    }
    if (!err) {
        is_made(s, j->messages, j->differs);
    } else {
        refused(s, j);
        if (!(s->state == RABBIT_READY && is_away(j))) /* which says nothing about the queue */
            s->state = RABBIT_REFUSED;
    }
    bus_ops_end(&s->ops, err, s->reason);
}

static void make(struct bus_subscription *s)
{
    if (s->busy)
        return;
    if (s->state != RABBIT_READY)
        s->state = RABBIT_MAKING;
    s->busy = true;
    rabbit_job_ask(s->bus, &s->job, rabbit_topology_subscription, made);
}

/* Whether one that goes has its queue. */
static bool queue_taken(const struct bus_subscription *s)
{
    list_each(l, tmp, &s->channel->subscriptions) {
        struct bus_subscription *other = subscription_at(l);
        if (other != s && other->state == RABBIT_GOING && strcmp(other->settings.queue, s->settings.queue) == 0)
            return true;
    }
    return false;
}

static void start(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    int state = atomic_load(&c->state);
    if (queue_taken(s) || state == RABBIT_MAKING || state == RABBIT_WAITING) {
        s->state = RABBIT_WAITING;
    } else if (state == RABBIT_READY) {
        make(s);
    } else {
        s->state = RABBIT_REFUSED;
        snprintf(s->reason, sizeof s->reason, "%s", c->reason);
        bus_ops_end(&s->ops, c->err ? c->err : ERR_UNAVAILABLE, s->reason);
    }
}

void rabbit_subscriptions_start(struct bus_channel *c)
{
    bool ready = atomic_load(&c->state) == RABBIT_READY;
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state == RABBIT_WAITING)
            start(s);
        else if (s->state != RABBIT_GOING && ready)
            make(s);
    }
}

void rabbit_subscriptions_look(struct bus_channel *c)
{
    uint64_t now = clock_monotonic_ns(c->bus->clock);
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state == RABBIT_REFUSED && now >= s->ask_ns)
            make(s);
    }
}

static void begin(struct loop_task *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, begin);
    if (s->state == RABBIT_WAITING)
        start(s);
}

static struct bus_subscription *find(struct bus_channel *c, struct slice name)
{
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = subscription_at(l);
        if (s->state != RABBIT_GOING && slice_eq_str(name, s->name))
            return s;
    }
    return NULL;
}

enum err rabbit_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *from,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct rabbit_bus *k = rabbit_of(b);
    struct rabbit_subscription_settings settings;
    (void)filter, (void)from; /* an exchange keeps nothing: whatever it says, it begins now */
    if (rabbit_bus_closed(k))
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = rabbit_subscription_settings_read(&k->settings, c->name, &atomic_load(&c->rules)->settings, name,
                                                   params, count, &settings, d);
    if (e)
        return e;
    struct bus_subscription *s = find(c, name);
    bool fresh = !s;
    if (s && strcmp(s->settings.queue, settings.queue) != 0) {
        rabbit_subscription_settings_fini(&settings);
        return diag_set(d, ERR_INVALID,
                        "queue: the subscription has another one, and cannot change it while it is there");
    }
    if (!fresh)
        rabbit_subscription_settings_fini(&settings);
    else if (!(s = subscription_new(c, name, &settings)))
        return diag_set(d, ERR_NOMEM, "out of memory");
    s->refs++;
    *out = s;
    op->text = NULL;
    if (s->state == RABBIT_READY && !fresh) {
        bus_op_end(control_of(s), op, OK);
        return OK;
    }
    op->owner = s->ops;
    s->ops = op;
    if (fresh || s->state == RABBIT_REFUSED) {
        s->state = RABBIT_WAITING;
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
    rabbit_consumer_todo(s, RABBIT_TEND);
}

/* Without memory for that it stays at the node when the channel goes. */
static void leave_queue(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    size_t n = strlen(s->settings.queue) + 1;
    list_each(l, tmp, &c->left) {
        if (strcmp(container_of(l, struct rabbit_left, link)->queue, s->settings.queue) == 0)
            return;
    }
    struct rabbit_left *left = malloc(sizeof *left + n);
    if (!left)
        return;
    memcpy(left->queue, s->settings.queue, n);
    list_push_back(&c->left, &left->link);
}

/* Its queue is gone, or taken up again. */
static void unleave_queue(struct bus_channel *c, const char *queue)
{
    list_each(l, tmp, &c->left) {
        struct rabbit_left *left = container_of(l, struct rabbit_left, link);
        if (strcmp(left->queue, queue) == 0) {
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
        unleave_queue(c, s->settings.queue);
    else if (!atomic_load(&c->rules)->settings.queue)
        leave_queue(s);
    subscription_free(s);
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *other = subscription_at(l);
        if (other->state == RABBIT_WAITING)
            start(other);
    }
    rabbit_channel_unpin(c);
    op->text = NULL;
    op->done(op, OK);
}

static void removed(struct rabbit_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    s->busy = false;
    if (j->err && j->err != ERR_NOTFOUND)
        rabbit_notice(s->bus, 1, "QueueStays", "subscription %s is gone, and its queue %s could not be deleted: %s",
                      s->name, s->settings.queue, j->text[0] ? j->text : err_name(j->err));
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
    rabbit_job_ask(s->bus, &s->job, rabbit_topology_subscription_remove, removed);
}

void rabbit_subscriptions_closed(struct rabbit_bus *k)
{
    list_each(l, tmp, &k->closing) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, closing_link);
        pthread_mutex_lock(&s->lanes.lock);
        bool closed = s->closed;
        pthread_mutex_unlock(&s->lanes.lock);
        if (!closed)
            continue;
        list_remove(l);
        if (s->state == RABBIT_GOING)
            going_on(s);
    }
}

void rabbit_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b;
    assert(s->refs > 0 && s->state != RABBIT_GOING);
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
    /* Where another one of its queue goes, the queue is that one's. What is somebody's queue stays. */
    s->remove = remove && !queue_taken(s) && !atomic_load(&s->channel->rules)->settings.queue;
    s->state = RABBIT_GOING;
    s->going = op;
    if (s->counted_in) /* from here on no event is owed to it: who appends while its queue goes is not refused */
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

void rabbit_subscriptions_stop(struct rabbit_bus *k)
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

void rabbit_subscriptions_free(struct bus_channel *c)
{
    struct list *l;
    while (!list_empty(&c->subscriptions)) {
        struct bus_subscription *s = subscription_at(c->subscriptions.next);
        while ((l = list_pop_front(&s->lanes.streams)))
            stream_free(container_of(l, struct bus_stream, link));
        subscription_free(s);
    }
}
