/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of the Pub/Sub bus: a name and its topic. How they come and go: ../abroad.h. Control's but where said.
 *
 * A READY channel that is suspect (its topic or a subscription is missing) is made again where it stands. Meanwhile
 * nothing is published to it: a topic that is new has none of the subscriptions yet, and what came there would be lost
 * for them. It is well again when all of them have been made, too.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

void pub_channel_free(struct abroad_channel *a)
{
    struct bus_channel *c = pub_channel_of(a);
    pub_outlets_fini(c);
    pub_channel_settings_fini(&c->settings);
    free(c->outlets);
    free(c);
}

/* Takes the settings in any case. */
static enum err channel_new(struct pub_bus *k, struct slice name, struct pub_channel_settings *s,
                            struct bus_channel **out)
{
    struct bus_channel *c = calloc(1, sizeof *c);
    struct pub_outlet *outlets = calloc(k->desk.env.loop_count, sizeof *outlets);
    enum err e = c && outlets ? abroad_channel_init(&c->abroad, &k->abroad, name) : ERR_NOMEM;
    if (e) {
        pub_channel_settings_fini(s);
        free(outlets);
        free(c);
        return e;
    }
    c->bus = k;
    c->settings = *s;
    c->abroad.external = s->external;
    c->outlets = outlets;
    atomic_init(&c->structured, s->mode == CE_MODE_STRUCTURED);
    list_init(&c->verify_link);
    pub_outlets_init(c);
    *out = c;
    return OK;
}

/* Counted before it is told (P1): what was published until now does not count. */
void pub_channel_suspect(struct bus_channel *c)
{
    atomic_fetch_add(&c->epoch, 1);
    abroad_suspect(&c->abroad);
}

/* ---- made, removed ---- */

static void made(struct pub_job *j)
{
    abroad_channel_made(&container_of(j, struct bus_channel, job)->abroad, pub_job_answer(j));
}

void pub_channel_make(struct abroad_channel *a)
{
    struct bus_channel *c = pub_channel_of(a);
    pub_job_topic(&c->job, c, made);
}

bool pub_channel_same(const struct abroad_channel *a, const struct abroad_channel *b)
{
    return strcmp(pub_channel_of(a)->settings.topic, pub_channel_of(b)->settings.topic) == 0;
}

static void removed(struct pub_job *j)
{
    abroad_channel_removed(&container_of(j, struct bus_channel, job)->abroad, j->err, j->text);
}

/* One that was left is gone, or could not be deleted. */
static void left_removed(struct pub_job *j)
{
    struct abroad_channel *c = &container_of(j, struct bus_channel, job)->abroad;
    struct abroad_left *left = container_of(list_pop_front(&c->left), struct abroad_left, link);
    if (j->err)
        desk_notice(&j->bus->desk, 1, "SubscriptionStays", "channel %s is gone, and %s could not be deleted: %s",
                    c->name, left->id, j->text[0] ? j->text : err_name(j->err));
    free(left);
    pub_channel_remove(c);
}

void pub_channel_remove(struct abroad_channel *a)
{
    struct bus_channel *c = pub_channel_of(a);
    if (list_empty(&a->left))
        pub_job_topic_remove(&c->job, c, removed);
    else
        pub_job_subscription_remove(&c->job, c, container_of(a->left.next, struct abroad_left, link)->id, left_removed);
}

/* ---- the operations ---- */

static enum err provision(struct pub_bus *k, struct slice name, struct pub_channel_settings *s,
                          struct bus_channel **out, struct diag *d)
{
    struct abroad_channel *found = abroad_channel_find(&k->abroad, name);
    struct bus_channel *c = found ? pub_channel_of(found) : NULL;
    if (c && (strcmp(c->settings.topic, s->topic) != 0 || c->settings.external != s->external)) {
        pub_channel_settings_fini(s);
        return diag_set(d, ERR_INVALID, "topic: the channel has another one, and cannot change it while it is there");
    }
    if (!c) {
        enum err e = channel_new(k, name, s, out);
        return e ? diag_set(d, e, "out of memory") : OK;
    }
    atomic_store(&c->structured, s->mode == CE_MODE_STRUCTURED);
    pub_channel_settings_fini(s);
    *out = c;
    return OK;
}

enum err pub_provision(struct bus *b, struct slice name, const struct bus_param *params, size_t count,
                       struct bus_channel **out, struct bus_op *op, struct diag *d)
{
    struct pub_bus *k = pub_of(b);
    struct pub_channel_settings s;
    if (k->desk.stopping)
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e = pub_channel_settings_read(&k->settings, name, params, count, &s, d);
    if (!e)
        e = provision(k, name, &s, out, d);
    if (!e)
        abroad_provision(&(*out)->abroad, false, op);
    return e;
}

void pub_release(struct bus *b, struct bus_channel *c, bool remove, struct bus_op *op)
{
    assert(c->bus == pub_of(b));
    abroad_release(&c->abroad, remove, op);
}
