/* SPDX-License-Identifier: Apache-2.0
 *
 * What control asks the service: topics and subscriptions made, looked at, removed. On control.
 *
 *     topic          create (external: get)                     there already: well
 *     subscription   create ─ there already ─→ get: is it one of our topic, and in order?
 *                       ↑                        │ its topic was deleted: an orphan; when it is empty: delete
 *                       └────────────────────────┘
 *
 * Each is idempotent. A job that cannot even be asked ends at the end of the turn.
 */
#include "pubsub_subscription.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

#define JSON_DEPTH 16
#define DELETED_TOPIC "_deleted-topic_"

/* ---- beginning and end ---- */

static void finish(struct pub_job *j)
{
    struct pub_bus *k = j->bus;
    assert(k->jobs_open > 0);
    k->jobs_open--;
    j->done(j);         /* which may free what the job lies in */
    post_send(k->post); /* a stop may wait for it */
}

static void finish_task(struct loop_task *t)
{
    finish(container_of(t, struct pub_job, task));
}

static void begin(struct pub_job *j, struct bus_channel *c, struct bus_subscription *s, pub_job_fn *done)
{
    *j = (struct pub_job){.bus = c->bus, .channel = c, .subscription = s, .done = done};
    loop_task_init(&j->task, finish_task);
    c->bus->jobs_open++;
}

/* What a function that begins a call said. */
static void asked(struct pub_job *j, enum err e)
{
    if (!e)
        return;
    j->err = e;
    snprintf(j->text, sizeof j->text, "%s", e == ERR_NOMEM ? "out of memory" : "Pub/Sub cannot take this name");
    loop_defer(j->bus->env.control, &j->task);
}

static void failed(struct pub_job *j, const struct pubsub_answer *a)
{
    j->err = a->err;
    j->away = pub_heard(j->bus, a);
    snprintf(j->text, sizeof j->text, "%s", a->text ? a->text : err_name(a->err));
    finish(j);
}

/* Answered: OK, or what counts as OK. */
static void answered(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    if (a->err && a->err != ERR_EXISTS) {
        failed(j, a);
        return;
    }
    pub_heard(j->bus, a);
    j->existed = a->err == ERR_EXISTS;
    finish(j);
}

static void removed(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    if (a->err && a->err != ERR_NOTFOUND) {
        failed(j, a);
        return;
    }
    pub_heard(j->bus, a);
    finish(j);
}

/* ---- topics ---- */

void pub_job_topic(struct pub_job *j, struct bus_channel *c, pub_job_fn *done)
{
    const struct pubsub_topic_settings settings = {0};
    struct pubsub_client *client = c->bus->client;
    begin(j, c, NULL, done);
    asked(j, c->settings.external ? pubsub_topic_get(client, c->settings.topic, answered, j, NULL)
                                  : pubsub_topic_create(client, c->settings.topic, &settings, answered, j, NULL));
}

void pub_job_topic_remove(struct pub_job *j, struct bus_channel *c, pub_job_fn *done)
{
    begin(j, c, NULL, done);
    asked(j, pubsub_topic_delete(c->bus->client, c->settings.topic, removed, j, NULL));
}

/* ---- subscriptions ---- */

static void create(struct pub_job *j);

/* "projects/P/topics/T" or "T" of the client's project: whether they are the same. */
static bool is_topic(const struct pub_job *j, const char *said)
{
    const char *ours = j->channel->settings.topic;
    char full[2 * PUB_ID_MAX + 64];
    if (strncmp(ours, "projects/", 9) == 0)
        return strcmp(said, ours) == 0;
    snprintf(full, sizeof full, "projects/%s/topics/%s", pubsub_client_project(j->bus->client), ours);
    return strcmp(said, full) == 0;
}

static void deleted(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    if (a->err && a->err != ERR_NOTFOUND)
        failed(j, a);
    else
        create(j);
}

static void of_other_topic(struct pub_job *j, const char *topic)
{
    const char *id = j->subscription->id;
    j->orphan = strcmp(topic, DELETED_TOPIC) == 0;
    if (j->orphan && j->anew) {
        j->orphan = false;
        asked(j, pubsub_subscription_delete(j->bus->client, id, deleted, j, NULL));
        return;
    }
    j->err = ERR_CONFLICT;
    if (j->orphan)
        snprintf(j->text, sizeof j->text,
                 "subscription %s belonged to a topic that was deleted; it is made anew when what it still holds was "
                 "delivered, and until then the channel takes no events",
                 id);
    else
        snprintf(j->text, sizeof j->text,
                 "subscription %s is of another topic (%.160s): delete it, or give the bus another prefix", id, topic);
    finish(j);
}

/* What the service says of a subscription that is there. */
struct said {
    char topic[2 * PUB_ID_MAX + 64]; /* empty: nothing */
    int32_t lease_s;                 /* 0: nothing */
    bool ordered;
};

static void read(struct slice body, struct said *out)
{
    struct json_value all, v;
    *out = (struct said){0};
    if (json_check(body, JSON_DEPTH, &all, NULL) || all.type != JSON_OBJECT)
        return;
    if (json_find(all, (const char *const[]){"topic", NULL}, &v) && v.type == JSON_STRING &&
        v.raw.len - 2 < sizeof out->topic)
        out->topic[json_unescape_into(v.raw, out->topic)] = '\0';
    if (json_find(all, (const char *const[]){"ackDeadlineSeconds", NULL}, &v) &&
        (v.type != JSON_NUMBER || !json_int32(v.raw, &out->lease_s)))
        out->lease_s = 0;
    if (json_find(all, (const char *const[]){"enableMessageOrdering", NULL}, &v))
        out->ordered = v.type == JSON_TRUE;
}

static void looked(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    struct bus_subscription *s = j->subscription;
    struct said said;
    if (a->err) { /* one that went meanwhile is made the next time */
        failed(j, a);
        return;
    }
    read(a->body, &said);
    if (said.lease_s > 0) {
        pthread_mutex_lock(&s->lanes.lock);
        s->lease_s = (uint64_t)said.lease_s;
        pthread_mutex_unlock(&s->lanes.lock);
    }
    j->existed = true;
    if (said.topic[0] && !is_topic(j, said.topic)) {
        of_other_topic(j, said.topic);
        return;
    }
    j->ordered = said.ordered;
    if (!said.ordered && s->ordered) {
        j->err = ERR_CONFLICT;
        snprintf(j->text, sizeof j->text,
                 "subscription %.100s was made without message ordering, which Pub/Sub cannot change: delete it when "
                 "nothing waits in it, and it is made anew, or ask for no order",
                 s->id);
    }
    finish(j);
}

static void created(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    j->ordered = j->subscription->ordered;
    if (!a->err) {
        answered(arg, a);
    } else if (a->err == ERR_EXISTS) {
        pub_heard(j->bus, a);
        asked(j, pubsub_subscription_get(j->bus->client, j->subscription->id, looked, j, NULL));
    } else {
        failed(j, a);
    }
}

static void create(struct pub_job *j)
{
    const struct pubsub_subscription_settings settings = {.topic = j->channel->settings.topic,
                                                          .ack_deadline_s = j->bus->settings.lease_s,
                                                          .retention_s = j->bus->settings.retention_s,
                                                          .ordering = j->subscription->ordered,
                                                          .never_expires = true};
    asked(j, pubsub_subscription_create(j->bus->client, j->subscription->id, &settings, created, j, NULL));
}

void pub_job_subscription(struct pub_job *j, struct bus_subscription *s, bool anew, pub_job_fn *done)
{
    begin(j, s->channel, s, done);
    j->anew = anew;
    create(j);
}

void pub_job_subscription_remove(struct pub_job *j, struct bus_channel *c, const char *id, pub_job_fn *done)
{
    begin(j, c, NULL, done);
    asked(j, pubsub_subscription_delete(c->bus->client, id, removed, j, NULL));
}
