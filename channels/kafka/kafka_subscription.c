/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the Kafka bus, as control sees them: a consumer group each. K finds or makes the group's offsets;
 * the first stream brings a consumer, the last one's detach lets it go (K6).
 *
 *     subscribe ─→ WAITING (for one of the same group that goes) ─→ STARTING (K) ─→ READY ⇄ its streams and its member
 *                                                                       └─→ REFUSED ─ subscribe ─→ STARTING
 *     unsubscribe ─→ GOING ─ the member leaves ─→ K removes the group, where asked ─→ freed
 */
#include "../round.h"
#include "kafka_member.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

static struct loop *control_of(const struct bus_subscription *s)
{
    return s->bus->desk.env.control;
}

/* ---- words ---- */

void kafka_subscription_says(struct bus_subscription *s, enum err err, const char *format, ...)
{
    char said[sizeof s->reason] = "";
    if (format) {
        va_list args;
        va_start(args, format);
        vsnprintf(said, sizeof said, format, args);
        va_end(args);
    }
    if (strcmp(said, s->reason) == 0)
        return;
    memcpy(s->reason, said, sizeof said);
    s->err = err;
    if (format)
        desk_notice(&s->bus->desk, 1, "GroupTrouble", "subscription %s: %s", s->name, said);
    else
        desk_notice(&s->bus->desk, 0, "GroupWell", "subscription %s: group %s is well again", s->name, s->group);
}

/* ---- what stop waits for ---- */

void kafka_subscriptions_busy(struct kafka_bus *k)
{
    k->subscriptions_busy++;
}

static void look_whether_all_are_gone(struct kafka_bus *k)
{
    void (*gone)(struct kafka_bus *) = k->subscriptions_gone;
    if (!gone || k->subscriptions_busy > 0)
        return;
    k->subscriptions_gone = NULL;
    gone(k);
}

void kafka_subscriptions_idle(struct kafka_bus *k)
{
    assert(k->subscriptions_busy > 0);
    k->subscriptions_busy--;
    look_whether_all_are_gone(k);
}

/* ---- made, freed ---- */

static void subscription_free(struct bus_subscription *s)
{
    assert(!s->member);
    kafka_cursors_free(s);
    if (s->found)
        rd_kafka_topic_partition_list_destroy(s->found);
    loop_timer_stop(control_of(s), &s->again);
    loop_timer_stop(control_of(s), &s->keep);
    loop_task_cancel(&s->quietly);
    list_remove(&s->look_link);
    list_remove(&s->link);
    free(s->group);
    free(s->name);
    free(s);
}

static void again_due(struct loop_timer *t);
static void gone_quietly(struct loop_task *t);

/* "leat.NS.CHANNEL.CURSOR" */
static char *default_group(const struct bus_channel *c, struct slice name)
{
    char *group = NULL;
    if (asprintf(&group, "%sleat.%s.%.*s", c->bus->settings.prefix, c->name, SLICE_ARG(name)) < 0)
        return NULL;
    for (char *p = group; *p; p++)
        if (*p == '/')
            *p = '.';
    return group;
}

/* Parameters as they are given; `overflow` is for buses with a bound of their own, here retention is the topic's. */
static enum err read_params(const struct bus_param *params, size_t count, const char **group, bool *latest,
                            struct diag *d)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = params[i].name, *value = params[i].value;
        if (strcmp(name, "group") == 0) {
            if (!*value || strlen(value) > 255)
                return diag_set(d, ERR_INVALID, "group is \"%s\"; it must be 1 to 255 characters", value);
            *group = value;
        } else if (strcmp(name, "group.start") == 0) {
            *latest = strcmp(value, "latest") == 0;
            if (!*latest && strcmp(value, "earliest") != 0)
                return diag_set(d, ERR_INVALID, "group.start is \"%s\"; it must be earliest or latest", value);
        } else if (strcmp(name, "overflow") != 0)
            return diag_set(d, ERR_INVALID,
                            "unknown parameter \"%s\" of a subscription on a kafka bus; it knows group, group.start",
                            name);
    }
    return OK;
}

static struct bus_subscription *subscription_new(struct bus_channel *c, struct slice name, const char *group)
{
    struct bus_subscription *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->channel = c;
    s->bus = c->bus;
    list_init(&s->link);
    list_init(&s->look_link);
    list_init(&s->streams);
    loop_timer_init(&s->again, again_due);
    loop_timer_init(&s->keep, kafka_keep_due);
    loop_task_init(&s->quietly, gone_quietly);
    s->name = strndup(name.ptr ? name.ptr : "", name.len);
    s->cursors = calloc(c->topics.count, sizeof *s->cursors);
    s->group = group ? NULL : default_group(c, name);
    if (group && asprintf(&s->group, "%s%s", c->bus->settings.prefix, group) < 0)
        s->group = NULL;
    if (!s->name || !s->cursors || !s->group) {
        subscription_free(s);
        return NULL;
    }
    list_push_back(&c->subscriptions, &s->link);
    kafka_channel_pin(c);
    return s;
}

/* ---- starting ---- */

static void ops_end(struct bus_subscription *s, enum err err, const char *text)
{
    while (s->ops) {
        struct bus_op *op = s->ops;
        s->ops = op->owner;
        op->text = err ? text : NULL;
        op->done(op, err);
    }
}

static void going_on(struct bus_subscription *s);
static void join(struct bus_subscription *s);
static void ask(struct bus_subscription *s, kafka_job_fn *work, kafka_job_fn *done);

static void started(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    struct kafka_bus *k = s->bus;
    assert(s->state != KAFKA_SUB_WAITING && s->busy);
    s->busy = false;
    if (!j->err) {
        s->looked_ns = clock_monotonic_ns(k->desk.clock);
        s->looked_as = s->asked_as;
    }
    if (s->looking)
        k->looking = s->looking = false;
    if (s->found) {
        kafka_cursors_take(s, s->found);
        rd_kafka_topic_partition_list_destroy(s->found);
        s->found = NULL;
    }
    if (s->state == KAFKA_SUB_STARTING)
        s->state = j->err ? KAFKA_SUB_REFUSED : KAFKA_SUB_READY;
    ops_end(s, j->err, j->text[0] ? j->text : NULL);
    if (s->state == KAFKA_SUB_GOING)
        going_on(s);
    else
        join(s);
    kafka_keep_begin(s);
    kafka_subscriptions_look(k);
    kafka_subscriptions_idle(k);
}

static void ask(struct bus_subscription *s, kafka_job_fn *work, kafka_job_fn *done)
{
    assert(!s->busy);
    s->busy = true;
    s->asked_as = s->bus->recounts;
    s->job.work = work;
    s->job.done = done;
    kafka_subscriptions_busy(s->bus);
    kafka_clerk_ask(s->bus, &s->job);
}

/* One at a time, so that K has time for others. */
void kafka_subscriptions_look(struct kafka_bus *k)
{
    struct list *l;
    while (!k->looking && !desk_closed(&k->desk) && (l = list_pop_front(&k->to_look))) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, look_link);
        if (s->busy || s->state != KAFKA_SUB_READY)
            continue;
        k->looking = s->looking = true;
        ask(s, kafka_offsets_look, started);
    }
}

static void start(struct bus_subscription *s)
{
    list_each(l, tmp, &s->channel->subscriptions) {
        struct bus_subscription *other = container_of(l, struct bus_subscription, link);
        if (other != s && other->state == KAFKA_SUB_GOING && strcmp(other->group, s->group) == 0) {
            s->state = KAFKA_SUB_WAITING;
            return;
        }
    }
    s->state = KAFKA_SUB_STARTING;
    ask(s, kafka_offsets_start, started);
}

static struct bus_subscription *find(struct bus_channel *c, struct slice name)
{
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        if (s->state != KAFKA_SUB_GOING && slice_eq_str(name, s->name))
            return s;
    }
    return NULL;
}

enum err kafka_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *from,
                         struct filter *filter, const struct bus_param *params, size_t count,
                         struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    const char *group = NULL;
    bool latest = false;
    (void)filter;
    if (desk_closed(&kafka_of(b)->desk))
        return ERR_CLOSED;
    enum err e = read_params(params, count, &group, &latest, d);
    if (e)
        return e;
    struct bus_subscription *s = find(c, name);
    bool fresh = !s;
    if (!s && !(s = subscription_new(c, name, group)))
        return ERR_NOMEM;
    if (fresh)
        s->start = from ? *from : (struct bus_start){.kind = BUS_START_LATEST};
    s->refs++;
    s->latest = latest;
    *out = s;
    if (s->state == KAFKA_SUB_READY && !fresh) {
        bus_op_end(control_of(s), op, OK);
        return OK;
    }
    op->owner = s->ops;
    s->ops = op;
    if (fresh || s->state == KAFKA_SUB_REFUSED)
        start(s);
    return OK;
}

/* ---- streams ---- */

/* What a group had committed of topics that were made anew is to go first. */
static void anew(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    s->anew |= j->err != OK;
    if (j->err && s->state == KAFKA_SUB_READY && !desk_closed(&s->bus->desk))
        loop_timer_start(control_of(s), &s->again, KAFKA_AGAIN_NS);
    started(j);
}

/* A consumer, where there are streams and none is there. */
static void join(struct bus_subscription *s)
{
    struct diag d = {0};
    if (s->member || s->busy || s->state != KAFKA_SUB_READY || desk_closed(&s->bus->desk) ||
        loop_timer_armed(&s->again))
        return;
    if (s->anew) {
        s->anew = false; /* perhaps it comes again meanwhile */
        ask(s, kafka_offsets_anew, anew);
        return;
    }
    if (s->stream_count == 0 || !kafka_member_new(s, &d))
        return;
    kafka_subscription_says(s, ERR_NOMEM, "no consumer can be made: %s", d.text[0] ? d.text : "no memory");
    loop_timer_start(control_of(s), &s->again, KAFKA_AGAIN_NS);
}

static void again_due(struct loop_timer *t)
{
    join(container_of(t, struct bus_subscription, again));
}

void kafka_subscription_hello(struct letter *m)
{
    struct bus_stream *st = container_of(m, struct bus_stream, hello);
    struct bus_subscription *s = st->subscription;
    list_push_back(&s->streams, &st->link);
    s->stream_count++;
    if (!s->member)
        join(s);
    else {
        kafka_keep_end(s);
        kafka_member_linger(s->member, false);
        kafka_member_deal(s->member);
    }
}

void kafka_subscription_bye(struct letter *m)
{
    struct bus_stream *st = container_of(m, struct bus_stream, bye);
    struct bus_subscription *s = st->subscription;
    list_remove(&st->link);
    assert(s->stream_count > 0);
    s->stream_count--;
    if (s->member && s->stream_count == 0)
        kafka_member_linger(s->member, true);
    else if (s->member)
        kafka_member_deal(s->member);
    kafka_stream_leave(st);
}

/* ---- going ---- */

/* Those that waited for this group to go. */
static void start_waiting(struct bus_channel *c, const char *group)
{
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        if (s->state == KAFKA_SUB_WAITING && strcmp(s->group, group) == 0 && !desk_closed(&c->bus->desk))
            start(s);
    }
}

static void gone(struct bus_subscription *s)
{
    struct bus_channel *c = s->channel;
    struct bus_op *op = s->going;
    struct kafka_bus *k = s->bus;
    char *group = s->group;
    s->group = NULL;
    subscription_free(s);
    start_waiting(c, group);
    free(group);
    kafka_channel_unpin(c);
    op->text = NULL;
    op->done(op, OK);
    kafka_subscriptions_idle(k);
}

static void gone_quietly(struct loop_task *t)
{
    gone(container_of(t, struct bus_subscription, quietly));
}

static void removed(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    struct kafka_bus *k = s->bus;
    if (j->err && j->err != ERR_CLOSED)
        desk_notice(&k->desk, 1, "GroupStays", "subscription %s is gone, but %s", s->name,
                    j->text[0] ? j->text : err_name(j->err));
    gone(s);
    kafka_subscriptions_idle(k);
}

/* One step nearer to its end, if nothing of it is under way. */
static void going_on(struct bus_subscription *s)
{
    assert(s->state == KAFKA_SUB_GOING);
    if (s->busy)
        return;
    if (s->member)
        kafka_member_close(s->member);
    else if (s->remove && !desk_closed(&s->bus->desk))
        ask(s, kafka_offsets_remove, removed);
    else {
        s->busy = true;
        loop_defer(control_of(s), &s->quietly);
    }
}

void kafka_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b;
    assert(s->refs > 0 && s->state != KAFKA_SUB_GOING);
    if (--s->refs > 0) {
        bus_op_end(control_of(s), op, OK);
        return;
    }
    assert(s->stream_count == 0);
    loop_timer_stop(control_of(s), &s->again);
    loop_timer_stop(control_of(s), &s->keep);
    while (!s->busy && s->ops) { /* it had not begun */
        struct bus_op *waiting = s->ops;
        s->ops = waiting->owner;
        waiting->text = NULL;
        bus_op_end(control_of(s), waiting, ERR_CANCELED);
    }
    s->remove = remove && s->state != KAFKA_SUB_WAITING; /* else it is another's that goes */
    s->state = KAFKA_SUB_GOING;
    s->going = op;
    kafka_subscriptions_busy(s->bus);
    going_on(s);
}

void kafka_subscription_memberless(struct bus_subscription *s, bool was_in)
{
    if (s->state == KAFKA_SUB_GOING)
        going_on(s);
    else
        join(s);
    kafka_keep_left(s, was_in);
}

/* ---- a topic made anew, stop, fini ---- */

void kafka_subscriptions_restart(struct bus_channel *c)
{
    list_each(l, tmp, &c->subscriptions) {
        struct bus_subscription *s = container_of(l, struct bus_subscription, link);
        for (size_t t = 0; t < c->topics.count; t++) {
            if (!c->list[t].anew)
                continue;
            atomic_store(&s->cursors[t].anew, true);
            for (int32_t i = 0; i < s->cursors[t].count; i++) {
                atomic_store(&s->cursors[t].at[i]->base, 0);
                atomic_store(&s->cursors[t].at[i]->beyond, 0);
            }
        }
        s->anew = true;
        if (s->member) { /* which would learn of the new topics in minutes only */
            s->member->stale = true;
            kafka_member_close(s->member);
        }
        join(s);
    }
    for (size_t t = 0; t < c->topics.count; t++)
        c->list[t].anew = false;
}

static void stop(struct bus_subscription *s)
{
    loop_timer_stop(control_of(s), &s->again);
    loop_timer_stop(control_of(s), &s->keep);
    if (!s->busy && s->state == KAFKA_SUB_WAITING)
        ops_end(s, ERR_CLOSED, NULL);
    if (s->member)
        kafka_member_close(s->member);
}

void kafka_subscriptions_stop(struct kafka_bus *k, void (*done)(struct kafka_bus *k))
{
    k->subscriptions_gone = done;
    for (struct bus_channel *c = NULL; (c = kafka_bus_channel_next(k, c));)
        list_each(l, tmp, &c->subscriptions)
            stop(container_of(l, struct bus_subscription, link));
    look_whether_all_are_gone(k);
}

void kafka_subscriptions_free(struct bus_channel *c)
{
    struct list *l, *of = &c->subscriptions;
    while (!list_empty(of)) {
        struct bus_subscription *s = container_of(of->next, struct bus_subscription, link);
        while ((l = list_pop_front(&s->streams)))
            kafka_stream_free(container_of(l, struct bus_stream, link));
        if (s->member)
            kafka_member_free(s->member);
        s->member = NULL;
        subscription_free(s);
    }
}
