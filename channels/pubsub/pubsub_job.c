/* SPDX-License-Identifier: Apache-2.0
 *
 * What control asks the service: topics and subscriptions made, looked at, removed. On control.
 *
 *     topic          create (external: get)                     there already: well
 *     subscription   create ─ there already ─→ get: is it one of our topic, and in order?
 *                       ↑                        │ its topic was deleted: an orphan; when it is empty: delete
 *                       └────────────────────────┘
 *     one that begins in the past: does the topic keep one? ─→ create ─→ seek; a replay's that is there is deleted
 * first
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
#define PASSING_S (24ull * 3600)      /* until a replay's that was left behind goes: the service's least */
#define PAST_S_MAX (31ll * 24 * 3600) /* a topic keeps nothing longer */

/* ---- beginning and end ---- */

static void finish(struct pub_job *j)
{
    struct pub_bus *k = j->bus;
    assert(k->abroad.jobs_open > 0);
    k->abroad.jobs_open--;
    j->done(j);          /* which may free what the job lies in */
    desk_call(&k->desk); /* a stop may wait for it */
}

static void finish_task(struct loop_task *t)
{
    finish(container_of(t, struct pub_job, task));
}

static void begin(struct pub_job *j, struct bus_channel *c, struct bus_subscription *s, pub_job_fn *done)
{
    *j = (struct pub_job){.bus = c->bus, .channel = c, .subscription = s, .done = done};
    loop_task_init(&j->task, finish_task);
    c->bus->abroad.jobs_open++;
}

struct abroad_answer pub_job_answer(const struct pub_job *j)
{
    return (struct abroad_answer){.err = j->err, .away = j->away, .gives = j->orphan, .text = j->text};
}

/* What a function that begins a call said. */
static void asked(struct pub_job *j, enum err e)
{
    if (!e)
        return;
    j->err = e;
    snprintf(j->text, sizeof j->text, "%s", e == ERR_NOMEM ? "out of memory" : "Pub/Sub cannot take this name");
    loop_defer(j->bus->desk.env.control, &j->task);
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
    const struct pubsub_topic_settings settings = {.retention_s = c->settings.past_s};
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
static void begins(struct pub_job *j);

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

static enum err read(struct slice body, struct said *out)
{
    struct json_value all, v;
    *out = (struct said){0};
    enum err e = json_check(body, JSON_DEPTH, &all, NULL);
    if (e || all.type != JSON_OBJECT)
        return e ? e : ERR_PROTOCOL;
    if (json_find(all, (const char *const[]){"topic", NULL}, &v) && v.type == JSON_STRING &&
        v.raw.len - 2 < sizeof out->topic)
        out->topic[json_unescape_into(v.raw, out->topic)] = '\0';
    if (json_find(all, (const char *const[]){"ackDeadlineSeconds", NULL}, &v) &&
        (v.type != JSON_NUMBER || !json_int32(v.raw, &out->lease_s)))
        out->lease_s = 0;
    if (json_find(all, (const char *const[]){"enableMessageOrdering", NULL}, &v))
        out->ordered = v.type == JSON_TRUE;
    return OK;
}

bool pub_job_orphaned(struct slice subscription)
{
    struct said said;
    return read(subscription, &said) == OK && strcmp(said.topic, DELETED_TOPIC) == 0;
}

static void unreadable(struct pub_job *j, enum err e)
{
    j->err = e;
    snprintf(j->text, sizeof j->text, "%s", e == ERR_NOMEM ? "out of memory" : "what Pub/Sub answered cannot be read");
    finish(j);
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
    enum err e = read(a->body, &said);
    if (e) {
        unreadable(j, e);
        return;
    }
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

/* ---- where a new one begins ---- */

static void stays(struct pub_job *j, const char *why)
{
    struct bus_subscription *s = j->subscription;
    if (s->abroad.passing) {
        j->err = ERR_UNSUPPORTED;
        snprintf(j->text, sizeof j->text, "%.300s", why);
        finish(j);
        return;
    }
    s->sought = true;
    desk_notice(&j->bus->desk, 1, "StartNotHeeded", "subscription %s begins with the events from now on: %s", s->id,
                why);
}

static void sought(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    struct bus_subscription *s = j->subscription;
    if (a->err == ERR_UNSUPPORTED && !s->abroad.passing) {
        stays(j, a->text ? a->text : err_name(a->err));
    } else if (a->err) {
        failed(j, a);
        return;
    }
    j->existed = !a->err; /* something may be in it */
    s->sought = true;
    finish(j);
}

/* It is there. */
static void begins(struct pub_job *j)
{
    struct bus_subscription *s = j->subscription;
    if (s->sought) {
        finish(j);
        return;
    }
    int64_t oldest_ns = clock_wall_ns(j->bus->desk.clock) - PAST_S_MAX * (int64_t)NS_PER_S,
            at_ns = s->from.kind == BUS_START_TIME ? s->from.wall_ns : 0;
    asked(j, pubsub_seek(j->bus->client, s->id, at_ns > oldest_ns ? at_ns : oldest_ns, sought, j, NULL));
}

/* Whether the topic keeps a past at all; one that does not takes a seek all the same, and nothing comes. */
static void topic_looked(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    struct json_value all, v;
    char why[300];
    if (a->err) {
        failed(j, a);
        return;
    }
    enum err e = json_check(a->body, JSON_DEPTH, &all, NULL);
    if (e) {
        unreadable(j, e);
        return;
    }
    bool keeps = all.type == JSON_OBJECT && json_find(all, (const char *const[]){"messageRetentionDuration", NULL}, &v);
    if (!keeps) {
        snprintf(why, sizeof why,
                 "topic %.80s keeps nothing of what has passed; `gcloud pubsub topics update %.80s "
                 "--message-retention-duration=1d` lets it from then on",
                 j->channel->settings.topic, j->channel->settings.topic);
        stays(j, why);
    }
    if (keeps || !j->subscription->abroad.passing)
        create(j);
}

static void created(void *arg, const struct pubsub_answer *a)
{
    struct pub_job *j = arg;
    struct bus_subscription *s = j->subscription;
    j->ordered = s->ordered;
    s->ours |= !a->err;
    if (!a->err || (a->err == ERR_EXISTS && s->ours && !s->sought)) {
        pub_heard(j->bus, a);
        begins(j);
    } else if (a->err == ERR_EXISTS && s->abroad.passing) { /* left by a process that was killed */
        pub_heard(j->bus, a);
        asked(j, pubsub_subscription_delete(j->bus->client, s->id, deleted, j, NULL));
    } else if (a->err == ERR_EXISTS) {
        pub_heard(j->bus, a);
        s->sought = true; /* where it stood */
        asked(j, pubsub_subscription_get(j->bus->client, j->subscription->id, looked, j, NULL));
    } else {
        failed(j, a);
    }
}

static void create(struct pub_job *j)
{
    bool passing = j->subscription->abroad.passing;
    const struct pubsub_subscription_settings settings = {.topic = j->channel->settings.topic,
                                                          .ack_deadline_s = j->bus->settings.lease_s,
                                                          .retention_s =
                                                              passing ? PASSING_S : j->bus->settings.retention_s,
                                                          .ordering = j->subscription->ordered,
                                                          .never_expires = !passing,
                                                          .expires_s = passing ? PASSING_S : 0};
    asked(j, pubsub_subscription_create(j->bus->client, j->subscription->id, &settings, created, j, NULL));
}

void pub_job_subscription(struct pub_job *j, struct bus_subscription *s, bool anew, pub_job_fn *done)
{
    struct bus_channel *c = s->channel;
    begin(j, c, s, done);
    j->anew = anew;
    j->ordered = s->ordered;
    j->existed =
        s->abroad.passing && s->sought; /* it is made once: one that went meanwhile is no longer what was asked for */
    if (j->existed)
        loop_defer(j->bus->desk.env.control, &j->task);
    else if (!s->sought && !s->ours)
        asked(j, pubsub_topic_get(c->bus->client, c->settings.topic, topic_looked, j, NULL));
    else
        create(j);
}

void pub_job_subscription_remove(struct pub_job *j, struct bus_channel *c, const char *id, pub_job_fn *done)
{
    begin(j, c, NULL, done);
    asked(j, pubsub_subscription_delete(c->bus->client, id, removed, j, NULL));
}
