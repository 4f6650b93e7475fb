/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the Pub/Sub bus, as control sees them: a subscription of the channel's topic each. How they come and
 * go: ../abroad.h.
 */
#include "pubsub_subscription.h"

#include <stdlib.h>
#include <string.h>

#include "siphash.h"

/* ---- made, freed ---- */

void pub_subscription_free(struct abroad_subscription *a)
{
    struct bus_subscription *s = pub_subscription_of(a);
    pub_lease_quit(s);
    post_free(s->post);
    lanes_fini(&s->lanes);
    free(s->id);
    free(s);
}

static void heard(struct lanes *l, unsigned what)
{
    (void)what;
    pub_subscription_todo(&container_of(l, struct bus_subscription, lanes)->abroad);
}

/* Its streams are anywhere; who pulls for it is not. */
static struct pub_loop *home_of(struct pub_bus *k, const char *id)
{
    static const uint64_t fixed[2] = {0};
    return &k->loops[siphash13(fixed, slice_str(id)) % k->desk.env.loop_count];
}

/* Takes the settings in any case. */
static struct bus_subscription *subscription_new(struct bus_channel *c, struct slice name,
                                                 const struct pub_subscription_settings *settings,
                                                 const struct bus_start *from)
{
    struct pub_bus *k = c->bus;
    struct bus_subscription *s = calloc(1, sizeof *s);
    if (!s) {
        free(settings->id);
        return NULL;
    }
    s->channel = c;
    s->bus = k;
    s->id = settings->id;
    s->abroad.id = s->id;
    s->abroad.passing = settings->passing;
    s->abroad.lanes = &s->lanes;
    s->ordered = s->keeps_order = settings->ordered;
    s->from = from ? *from : (struct bus_start){.kind = BUS_START_LATEST};
    s->sought = s->from.kind == BUS_START_LATEST || s->from.kind == BUS_START_OFFSET || c->settings.dead;
    s->home = home_of(k, s->id);
    lanes_init(&s->lanes, clock_system(), heard);
    pub_pull_init(s);
    if (post_new(s->home->loop, pub_pull_arrived, s, &s->post) ||
        abroad_subscription_init(&s->abroad, &c->abroad, name)) {
        pub_subscription_free(&s->abroad);
        return NULL;
    }
    return s;
}

/* ---- made, removed ---- */

static void is_made(struct bus_subscription *s, bool existed, bool keeps_order)
{
    pthread_mutex_lock(&s->lanes.lock);
    s->made = true;
    s->keeps_order = keeps_order;
    s->orphan = s->bare = false;
    if (existed && !s->existed_ns && !s->known)
        s->existed_ns = pub_now();
    if (!existed) /* nothing is in it: what was, is gone with the one before */
        pub_count_is(s, 0);
    pthread_mutex_unlock(&s->lanes.lock);
}

/* Its topic was deleted and made anew, by whomever, also while this process did not run: it gets nothing any more, and
 * another one takes its place as soon as what it still has was delivered. Until then its channel takes no events, for
 * they would miss it. */
static void is_orphan(struct bus_subscription *s)
{
    pthread_mutex_lock(&s->lanes.lock);
    bool first = !s->orphan;
    s->made = true;
    s->orphan = true;
    if (!s->existed_ns && !s->known)
        s->existed_ns = pub_now();
    pthread_mutex_unlock(&s->lanes.lock);
    if (first)
        pub_channel_suspect(s->channel);
    pub_subscription_todo(&s->abroad);
}

static void made(struct pub_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    bool going = s->abroad.state == ABROAD_GOING;
    if (!going && !j->err)
        is_made(s, j->existed, j->ordered);
    else if (!going && j->orphan)
        is_orphan(s);
    else if (!going && j->err == ERR_NOTFOUND) /* the topic: the channel is to be made first */
        pub_channel_suspect(s->channel);
    abroad_subscription_made(&s->abroad, pub_job_answer(j));
}

void pub_subscription_make(struct abroad_subscription *a)
{
    struct bus_subscription *s = pub_subscription_of(a);
    pthread_mutex_lock(&s->lanes.lock);
    bool bare = s->orphan && s->bare;
    pthread_mutex_unlock(&s->lanes.lock);
    pub_job_subscription(&s->job, s, bare, made);
}

static void removed(struct pub_job *j)
{
    abroad_subscription_removed(&container_of(j, struct bus_subscription, job)->abroad, j->err, j->text);
}

void pub_subscription_remove(struct abroad_subscription *a)
{
    struct bus_subscription *s = pub_subscription_of(a);
    pub_job_subscription_remove(&s->job, s->channel, s->id, removed);
}

/* ---- the operations ---- */

enum err pub_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *from,
                       struct filter *filter, const struct bus_param *params, size_t count,
                       struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    struct pub_bus *k = pub_of(b);
    struct pub_subscription_settings settings;
    (void)filter;
    if (desk_closed(&k->desk))
        return diag_set(d, ERR_CLOSED, "the bus is stopping");
    enum err e =
        pub_subscription_settings_read(&k->settings, c->abroad.name, &c->settings, name, params, count, &settings, d);
    if (e)
        return e;
    struct abroad_subscription *found = abroad_subscription_find(&c->abroad, name);
    struct bus_subscription *s = found ? pub_subscription_of(found) : NULL;
    bool other = found && strcmp(found->id, settings.id) != 0;
    bool gets_order = s && settings.ordered && !s->ordered;
    if (s)
        free(settings.id);
    else
        s = subscription_new(c, name, &settings, from);
    if (other)
        return diag_set(d, ERR_INVALID, "subscription: it has another one, and cannot change it while it is there");
    if (!s)
        return diag_set(d, ERR_NOMEM, "out of memory");
    s->ordered = settings.ordered;
    *out = s;
    abroad_subscribe(&s->abroad, gets_order, op);
    return OK;
}

void pub_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b;
    abroad_unsubscribe(&s->abroad, remove, op);
}
