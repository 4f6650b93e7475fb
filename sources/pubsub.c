/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub source: a subscription of its own to a topic, from which it pulls; each message becomes an event. On one
 * loop.
 *
 *     making ──> pulling ──> pulling ──> …         one call at a time (`call`)
 *       ^ └ refused, unreachable: 0.5 s … 60 s ┘
 *       └── the subscription is gone ──┘
 *
 * A pull asks for as many messages as may still be held, and waits for them at Pub/Sub. What is held has its ack
 * deadline moved on, three times within it. At the end what is under way gets a few seconds, what is accepted is
 * acknowledged, and the rest is given back, so that it comes at once to who pulls next.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "prng.h"
#include "pubsub_source.h"

#define TRY_NS (500 * NS_PER_MS)
#define TRY_NS_MAX (60 * NS_PER_S)
#define RETRY_AFTER_NS_MAX (600 * NS_PER_S)
#define GRACE_NS (5 * NS_PER_S) /* for what is under way at the end; a plan waits as long at most */

static struct pubsub_source *source_of(struct source *s)
{
    return container_of(s, struct pubsub_source, head);
}

uint64_t pubsub_backoff_ns(unsigned n, uint64_t least_ns, uint64_t most_ns)
{
    struct prng p;
    uint64_t wait = n < 16 ? least_ns << (n - 1) : most_ns;
    wait = wait < most_ns ? wait : most_ns;
    prng_seed_system(&p);
    return wait - wait / 10 + prng_below(&p, wait / 5 + 1);
}

/* ---- how it stands ---- */

static void all_well(struct pubsub_source *s)
{
    bool news = s->trouble || !s->well;
    if (s->trouble)
        pubsub_notice(s, false, "pubsub.recovered", "messages of %s come again", s->topic);
    s->trouble = NULL;
    s->failures = 0;
    s->well = true;
    if (news && s->host.report)
        s->host.report(s->host.arg, NULL, NULL);
}

static void tell(struct pubsub_source *s, const char *code, const char *text)
{
    if (s->trouble && strcmp(s->trouble, code) == 0)
        return;
    s->trouble = code;
    pubsub_notice(s, true, "pubsub.failed", "%s: %s", code, text);
    if (s->host.report)
        s->host.report(s->host.arg, code, text);
}

/* Tries again, later each time. */
static void fail(struct pubsub_source *s, const char *code, const char *text, uint64_t asked_ns)
{
    uint64_t wait = pubsub_backoff_ns(++s->failures, TRY_NS, TRY_NS_MAX);
    asked_ns = asked_ns < RETRY_AFTER_NS_MAX ? asked_ns : RETRY_AFTER_NS_MAX;
    tell(s, code, text);
    loop_timer_start(s->loop, &s->retry, wait > asked_ns ? wait : asked_ns);
}

static void begun(struct pubsub_source *s, enum err e)
{
    if (e == OK)
        return;
    s->call = NULL;
    fail(s, "Unavailable", err_name(e), 0);
}

/* ---- pulling ---- */

static void pull(struct pubsub_source *s);
static void make(struct pubsub_source *s);

static void pulled(void *arg, const struct pubsub_answer *a)
{
    struct pubsub_source *s = arg;
    s->call = NULL;
    if (a->err == OK || a->err == ERR_TIMEOUT) { /* nobody answered for two minutes: as good as nothing there */
        all_well(s);
        s->pull_max = s->pull_max * 2 < PUBSUB_SOURCE_HELD_MAX ? s->pull_max * 2 : PUBSUB_SOURCE_HELD_MAX;
        for (size_t i = 0; i < a->received_count; i++)
            pubsub_take(s, &a->received[i]);
        pubsub_pump(s);
        if (s->held > 0 && !loop_timer_armed(&s->renew))
            loop_timer_start(s->loop, &s->renew, s->options.ack_deadline_s * NS_PER_S / 3);
        pull(s);
    } else if (a->err == ERR_NOTFOUND && !s->options.external && s->failures == 0) {
        s->failures = 1;
        make(s); /* somebody deleted it */
    } else {
        if (a->err == ERR_TOO_LARGE)
            s->pull_max = s->pull_max > 4 ? s->pull_max / 4 : 1;
        fail(s, a->code, a->text, a->retry_after_ns);
    }
}

static void pull(struct pubsub_source *s)
{
    if (s->closing || s->call || loop_timer_armed(&s->retry) || s->held >= PUBSUB_SOURCE_HELD_MAX)
        return;
    /* The first, and after a failure, does not wait: how it stands is to be known at once. */
    bool at_once = s->trouble || !s->well;
    unsigned room = (unsigned)(PUBSUB_SOURCE_HELD_MAX - s->held);
    begun(s, pubsub_pull(s->client, s->subscription, room < s->pull_max ? room : s->pull_max, at_once, pulled, s,
                         &s->call));
}

/* ---- the subscription ---- */

static void made(void *arg, const struct pubsub_answer *a)
{
    struct pubsub_source *s = arg;
    s->call = NULL;
    if (a->err != OK && a->err != ERR_EXISTS) {
        fail(s, a->code, a->text, a->retry_after_ns);
        return;
    }
    pull(s);
}

static void make(struct pubsub_source *s)
{
    const struct pubsub_subscription_settings settings = {.topic = s->topic,
                                                          .ack_deadline_s = s->options.ack_deadline_s,
                                                          .retention_s = s->options.retention_s,
                                                          .retain_acked = s->options.retain_acked,
                                                          .never_expires = true};
    if (s->options.external)
        pull(s);
    else
        begun(s, pubsub_subscription_create(s->client, s->subscription, &settings, made, s, &s->call));
}

static void retry(struct loop_timer *t)
{
    make(container_of(t, struct pubsub_source, retry)); /* is there already, usually; then it pulls */
}

/* ---- leases ---- */

static void renewed(void *arg, const struct pubsub_answer *a)
{
    struct pubsub_source *s = arg;
    s->lease = NULL;
    if (a->err != OK && !a->retryable)
        pubsub_notice(s, true, "pubsub.lease", "%s; messages under way may come a second time", a->text);
}

static size_t put_ids(struct list *items, struct slice *ids, size_t n)
{
    list_each(l, tmp, items)
        ids[n++] = slice_str(container_of(l, struct pubsub_item, link)->ack_id);
    return n;
}

static void renew(struct loop_timer *t)
{
    struct pubsub_source *s = container_of(t, struct pubsub_source, renew);
    struct slice ids[PUBSUB_SOURCE_HELD_MAX];
    size_t n = put_ids(&s->waiting, ids, 0);
    n = put_ids(&s->flying, ids, n);
    assert(n <= PUBSUB_SOURCE_HELD_MAX);
    if (n > 0 && !s->lease &&
        pubsub_modify_ack_deadline(s->client, s->subscription, ids, n, s->options.ack_deadline_s, renewed, s,
                                   &s->lease) != OK)
        s->lease = NULL;
    pubsub_settle(s); /* what could not be acknowledged before */
    if (s->held > 0)
        loop_timer_start(s->loop, t, s->options.ack_deadline_s * NS_PER_S / 3);
}

static void settle_task(struct loop_task *t)
{
    pubsub_settle(container_of(t, struct pubsub_source, settle_task));
}

/* ---- the end ---- */

static void finish(struct loop_task *t)
{
    struct pubsub_source *s = container_of(t, struct pubsub_source, closed_task);
    struct list *const lists[] = {&s->waiting, &s->accepted, &s->settling, &s->released};
    assert(list_empty(&s->flying));
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        while (!list_empty(lists[i]))
            pubsub_item_free(container_of(lists[i]->next, struct pubsub_item, link));
    loop_timer_stop(s->loop, &s->retry);
    loop_timer_stop(s->loop, &s->renew);
    loop_timer_stop(s->loop, &s->grace);
    loop_task_cancel(&s->settle_task);
    pubsub_client_free(s->client);
    sink_unref(s->sink);
    pubsub_options_fini(&s->options);
    void (*closed)(void *arg) = s->closed;
    void *arg = s->closed_arg;
    free(s);
    closed(arg);
}

static void given_back(void *arg, const struct pubsub_answer *a)
{
    struct pubsub_source *s = arg;
    (void)a; /* else they come after their deadline */
    s->nack = NULL;
    pubsub_went_on(s);
}

/* What was not sent comes at once to who pulls next. */
static void give_back(struct pubsub_source *s)
{
    struct slice ids[PUBSUB_SOURCE_HELD_MAX];
    list_splice_back(&s->released, &s->waiting);
    size_t n = put_ids(&s->released, ids, 0);
    if (n > 0 && pubsub_modify_ack_deadline(s->client, s->subscription, ids, n, 0, given_back, s, &s->nack) != OK)
        s->nack = NULL;
}

void pubsub_went_on(struct pubsub_source *s)
{
    if (!s->closing) {
        pull(s);
        return;
    }
    if (!list_empty(&s->flying))
        return;
    if (!list_empty(&s->waiting))
        give_back(s);
    pubsub_settle(s);
    if (!s->ack && !s->nack)
        loop_defer(s->loop, &s->closed_task);
}

/* What is still at the sink, or asked of Pub/Sub, is taken back; whether it came there is not known. */
static void grace(struct loop_timer *t)
{
    struct pubsub_source *s = container_of(t, struct pubsub_source, grace);
    while (!list_empty(&s->flying)) {
        struct pubsub_item *item = container_of(s->flying.next, struct pubsub_item, link);
        sink_cancel(&item->call);
        list_remove(&item->link);
        list_push_back(&s->waiting, &item->link);
    }
    loop_defer(s->loop, &s->closed_task);
}

static void close_source(struct source *head, void (*closed)(void *arg), void *arg)
{
    struct pubsub_source *s = source_of(head);
    assert(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_arg = arg;
    pubsub_cancel(s->call);
    s->call = NULL;
    loop_timer_stop(s->loop, &s->retry);
    loop_timer_start(s->loop, &s->grace, GRACE_NS);
    pubsub_went_on(s);
}

/* ---- life ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    struct pubsub_options options;
    enum err e = pubsub_options_parse(spec, &options, d);
    if (e)
        return e;
    e = pubsub_options_client(&options, NULL, NULL, d);
    pubsub_options_fini(&options);
    return e;
}

static void full_name(char *out, size_t size, const struct pubsub_source *s, const char *kind, const char *name)
{
    if (strchr(name, '/'))
        snprintf(out, size, "%s", name);
    else
        snprintf(out, size, "projects/%s/%s/%s", pubsub_client_project(s->client), kind, name);
}

static void begin(struct pubsub_source *s)
{
    s->pull_max = PUBSUB_SOURCE_HELD_MAX;
    list_init(&s->waiting);
    list_init(&s->flying);
    list_init(&s->accepted);
    list_init(&s->settling);
    list_init(&s->released);
    loop_timer_init(&s->retry, retry);
    loop_timer_init(&s->renew, renew);
    loop_timer_init(&s->grace, grace);
    loop_task_init(&s->settle_task, settle_task);
    loop_task_init(&s->closed_task, finish);
    full_name(s->topic, sizeof s->topic, s, "topics", s->options.topic);
    full_name(s->subscription, sizeof s->subscription, s, "subscriptions", s->options.subscription);
    loop_timer_start(s->loop, &s->retry, 0);
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    struct pubsub_source *s = calloc(1, sizeof *s);
    enum err e = s ? pubsub_options_parse(spec, &s->options, d) : ERR_NOMEM;
    if (!e)
        e = pubsub_options_client(&s->options, host->loop, &s->client, d);
    if (e) {
        if (s)
            pubsub_options_fini(&s->options);
        free(s);
        return e;
    }
    s->head.ops = &pubsub_source_ops;
    s->loop = host->loop;
    s->sink = sink_ref(host->sink);
    s->host = *host;
    begin(s);
    *out = &s->head;
    return OK;
}

static const char *last_failure(const struct source *s)
{
    return container_of(s, const struct pubsub_source, head)->last_failure;
}

const struct source_ops pubsub_source_ops = {
    .name = "pubsub",
    .one_loop = true,
    .check = check,
    .open = open_source,
    .close = close_source,
    .last_failure = last_failure,
    .register_start = pubsub_register_start,
    .register_stop = pubsub_register_stop,
    .main = pubsub_main,
};
