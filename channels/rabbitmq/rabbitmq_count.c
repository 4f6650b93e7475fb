/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a queue is. AMQP tells how many messages of it are ready; those that a consumer was sent are not among them,
 * and no node tells how many they are. Of a queue that we consume they are those that we hold. So the queue is asked
 * twice on its consumer's channel: what had left it when the first answer was made has arrived here when the second one
 * does, so that the first answer and what is held then count no event too few. What another process holds is not seen.
 * From then on what this process appends is added, and what arrives here is taken off.
 *
 * On Q.
 */
#include "rabbitmq_subscription.h"

#include <amqp.h>
#include <amqp_framing.h>

static void answered(void *arg, const struct rabbitmq_answer *a);

static enum err ask(struct bus_subscription *s)
{
    const amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(s->settings.queue), .passive = 1};
    return rabbitmq_call(s->counts_on, AMQP_QUEUE_DECLARE_METHOD, &m, answered, s);
}

/* Under the lock. Whether nothing moved while it was asked: else what came or was appended meanwhile may be in the
 * answer, or not, and is counted beside it. What is known is right for what this process does, so it is kept for a
 * while then: shorter where it is to be counted anew, since it lacks what others did. */
static bool counts(const struct bus_subscription *s)
{
    const struct bus_channel *c = s->channel;
    bool still = s->abroad.arrivals == s->first_arrivals && atomic_load(&c->abroad.appended) == s->first_appended &&
                 !s->first_moves && atomic_load(&c->abroad.pending) == 0;
    bool owed = s->counted_as != s->first_as && s->moved >= RABBIT_MOVED_MAX;
    return still || owed || !s->counted_ns || rabbit_now() - s->counted_ns > RABBIT_STALE_NS;
}

static void finish(struct bus_subscription *s, bool counted)
{
    s->counting = false;
    pthread_mutex_lock(&s->lanes.lock);
    s->asked = false;
    if (counted && counts(s)) {
        abroad_count_is(&s->abroad, s->first_count, s->first_appended);
        s->counted_ns = s->first_asked_ns;
        s->counted_as = s->first_as;
        s->moved = 0;
    } else if (counted) {
        s->moved++;
    }
    pthread_mutex_unlock(&s->lanes.lock);
    rabbit_consumer_todo(s, RABBIT_TEND); /* what waited for this */
}

static void missing(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    s->missing = true;
    pthread_mutex_unlock(&s->lanes.lock);
    abroad_suspect(&s->channel->abroad);
    s->first_count = 0;
    s->first_arrivals = s->abroad.arrivals;
    finish(s, true);
}

static void refused(struct bus_subscription *s, enum err e)
{
    struct rabbit_consumer *q = s->consumer;
    bool shared = s->counts_on != s->amqp, mine = s->counts_on == q->looking;
    if (mine)
        q->looking = NULL; /* it closes itself; those that were asked behind us fail with our error */
    if (e == ERR_NOTFOUND && (mine || !shared))
        missing(s);
    else
        finish(s, false);
    if (e == ERR_NOTFOUND && shared && !mine)
        rabbit_consumer_todo(s, RABBIT_COUNT);
}

static void answered(void *arg, const struct rabbitmq_answer *a)
{
    struct bus_subscription *s = arg;
    const amqp_queue_declare_ok_t *ok = a->decoded;
    if (a->e) {
        refused(s, a->e);
        return;
    }
    bool first = s->first_count == UINT64_MAX;
    if (first) {
        s->first_count = ok->message_count;
        s->first_arrivals = s->abroad.arrivals; /* which only this thread changes */
    }
    if (!first || s->counts_on != s->amqp)
        finish(s, true);
    else if (s->changing || ask(s))
        finish(s, false);
}

static void looking_closed(void *arg, enum err e, unsigned code, const char *text)
{
    (void)arg, (void)e, (void)code, (void)text; /* who was asked for on it knows by now */
}

void rabbit_consumer_looking_closed(struct rabbit_consumer *q)
{
    q->looking = NULL;
}

static enum err looking(struct rabbit_consumer *q)
{
    static const struct rabbitmq_channel_events events = {.closed = looking_closed};
    return q->looking ? OK : rabbitmq_channel_open(q->link, &events, q, &q->looking);
}

void rabbit_consumer_count(struct bus_subscription *s)
{
    struct rabbit_consumer *q = s->consumer;
    if (s->counting)
        return;
    bool own = s->amqp && s->consuming && !s->changing && !s->closing;
    s->first_count = UINT64_MAX;
    s->first_as = atomic_load(&s->bus->recounts);
    s->first_appended = atomic_load(&s->channel->abroad.appended);
    s->first_moves = atomic_load(&s->channel->abroad.pending) > 0 || (s->amqp && (s->changing || s->closing));
    s->first_asked_ns = rabbit_now();
    s->counting = true;
    bool asked = own || (atomic_load(&q->up) && !looking(q));
    s->counts_on = own ? s->amqp : q->looking;
    if (!asked || ask(s))
        finish(s, false);
}
