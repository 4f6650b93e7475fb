/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the RabbitMQ bus, as control sees them: a queue each, bound to the channel's exchange. How they come
 * and go: ../abroad.h.
 */
#include "rabbitmq_subscription.h"
#include "../params.h"

#include <stdlib.h>
#include <string.h>

/* ---- made, freed ---- */

void rabbit_subscription_free(struct abroad_subscription *a)
{
    struct bus_subscription *s = rabbit_subscription_of(a);
    rabbit_subscription_settings_fini(&s->settings);
    lanes_fini(&s->lanes);
    free(s);
}

static void heard(struct lanes *l, unsigned what)
{
    rabbit_consumer_todo(container_of(l, struct bus_subscription, lanes),
                         (what & LANES_SETTLED ? RABBIT_SETTLED : 0u) | (what & LANES_WANTED ? RABBIT_TEND : 0u));
}

void rabbit_subscription_todo(struct abroad_subscription *a)
{
    rabbit_consumer_todo(rabbit_subscription_of(a), RABBIT_TEND);
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
    if (!s) {
        rabbit_subscription_settings_fini(settings);
        return NULL;
    }
    s->channel = c;
    s->bus = k;
    s->settings = *settings;
    s->abroad.id = s->settings.queue;
    s->abroad.external = c->abroad.external;
    s->abroad.lanes = &s->lanes;
    lanes_init(&s->lanes, clock_system(), heard);
    s->lanes.goes_back = goes_back;
    s->lanes.held_by_all = &k->held_bytes;
    list_init(&s->todo_link);
    list_init(&s->tend_link);
    list_init(&s->out);
    rabbit_consumer_timers_init(s);
    if (abroad_subscription_init(&s->abroad, &c->abroad, name)) {
        rabbit_subscription_free(&s->abroad);
        return NULL;
    }
    s->consumer = &k->consumers[k->dealt[is_dead_letters(slice_str(c->abroad.name))]++ % RABBIT_CONSUMERS];
    return s;
}

/* ---- made, removed ---- */

static void is_made(struct bus_subscription *s, uint64_t messages, bool differs)
{
    pthread_mutex_lock(&s->lanes.lock);
    s->made = true;
    s->missing = false;
    if (!s->counted_ns) {
        abroad_count_is(&s->abroad, messages, atomic_load(&s->channel->abroad.appended));
        s->counted_ns = rabbit_now();
    }
    pthread_mutex_unlock(&s->lanes.lock);
    if (differs && s->abroad.state == ABROAD_MAKING)
        desk_notice(&s->bus->desk, 0, "QueueDiffers",
                    "subscription %s: queue %s is there and of another kind than asked for; it is taken as it is",
                    s->abroad.name, s->settings.queue);
}

static void made(struct rabbit_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    bool going = s->abroad.state == ABROAD_GOING;
    if (!going && !j->err)
        is_made(s, j->messages, j->differs);
    else if (!going && j->code == 404) /* the exchange: the channel is to be made first */
        abroad_suspect(&s->channel->abroad);
    abroad_subscription_made(&s->abroad, rabbit_job_answer(j));
}

void rabbit_subscription_make(struct abroad_subscription *a)
{
    struct bus_subscription *s = rabbit_subscription_of(a);
    rabbit_job_ask(s->bus, &s->job, rabbit_topology_subscription, made);
}

static void removed(struct rabbit_job *j)
{
    abroad_subscription_removed(&container_of(j, struct bus_subscription, job)->abroad, j->err, j->text);
}

void rabbit_subscription_remove(struct abroad_subscription *a)
{
    struct bus_subscription *s = rabbit_subscription_of(a);
    rabbit_job_ask(s->bus, &s->job, rabbit_topology_subscription_remove, removed);
}

/* ---- the operations ---- */

enum err rabbit_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *from,
                          struct filter *filter, const struct bus_param *params, size_t count,
                          struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct rabbit_bus *k = rabbit_of(b);
    struct rabbit_subscription_settings settings;
    (void)filter, (void)from; /* an exchange keeps nothing: whatever it says, it begins now */
    if (desk_closed(&k->desk))
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = rabbit_subscription_settings_read(&k->settings, c->abroad.name, &atomic_load(&c->rules)->settings,
                                                   name, params, count, &settings, d);
    if (e)
        return e;
    struct abroad_subscription *found = abroad_subscription_find(&c->abroad, name);
    struct bus_subscription *s = found ? rabbit_subscription_of(found) : NULL;
    bool other = found && strcmp(found->id, settings.queue) != 0;
    if (s)
        rabbit_subscription_settings_fini(&settings);
    else
        s = subscription_new(c, name, &settings);
    if (other)
        return diag_set(d, ERR_INVALID,
                        "queue: the subscription has another one, and cannot change it while it is there");
    if (!s)
        return diag_set(d, ERR_NOMEM, "out of memory");
    *out = s;
    abroad_subscribe(&s->abroad, false, op);
    return OK;
}

void rabbit_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b;
    abroad_unsubscribe(&s->abroad, remove, op);
}
