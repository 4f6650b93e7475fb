/* SPDX-License-Identifier: Apache-2.0
 *
 * A message's way to the sink, and its acknowledgement. On the source's loop.
 *
 *     waiting ──> flying ──> accepted ──> settling ──> freed
 *        ^─ 50 ms … 30 s ─┘        ^─ not answered ─┘
 *
 * No failure is final: there is no place to park an event, and Pub/Sub keeps it. Of an ordering key one message is
 * under way at a time, in the order in which they came.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pubsub_source.h"

#define AGAIN_NS (50 * NS_PER_MS)
#define AGAIN_NS_MAX (30 * NS_PER_S) /* a sink that is back is found within this */
#define RETRY_AFTER_NS_MAX (600 * NS_PER_S)
#define REFUSED_S 600 /* what can be no event comes again so much later: the most that Pub/Sub waits */

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void pubsub_notice(const struct pubsub_source *s, bool trouble, const char *what, const char *format, ...)
{
    char text[700];
    va_list args;
    if (!s->host.notice)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->host.notice(s->host.arg, trouble, what, text);
}

void pubsub_item_free(struct pubsub_item *item)
{
    struct pubsub_source *s = item->source;
    loop_timer_stop(s->loop, &item->again);
    list_remove(&item->link);
    ce_event_unref(item->event);
    free(item->ack_id);
    free(item->key);
    free(item);
    assert(s->held > 0);
    s->held--;
}

/* ---- sending ---- */

static void remember_failure(struct pubsub_source *s, const struct sink_answer *a)
{
    if (a->err == OK)
        snprintf(s->last_failure, sizeof s->last_failure, "the sink answered %d", a->status);
    else
        snprintf(s->last_failure, sizeof s->last_failure, "%s%s%.*s", err_name(a->err), a->detail.len ? ": " : "",
                 SLICE_ARG(a->detail));
}

static void failed(struct pubsub_source *s, struct pubsub_item *item, const struct sink_answer *a)
{
    remember_failure(s, a);
    if (!s->sink_fails)
        pubsub_notice(s, true, "pubsub.retry",
                      "%s: %s; the message %.*s, and those that follow, are tried again until it takes them",
                      s->sink->url, s->last_failure, SLICE_ARG(ce_event_id(item->event)));
    s->sink_fails = true;
    uint64_t wait = pubsub_backoff_ns(++item->attempts, AGAIN_NS, AGAIN_NS_MAX);
    uint64_t asked = a->retry_after_ns < RETRY_AFTER_NS_MAX ? a->retry_after_ns : RETRY_AFTER_NS_MAX;
    list_push_front(&s->waiting, &item->link); /* it came before those that wait for their first attempt */
    if (!s->closing)
        loop_timer_start(s->loop, &item->again, wait > asked ? wait : asked);
}

static void accepted(struct pubsub_source *s, struct pubsub_item *item)
{
    count(&s->host.counters->emitted, 1);
    if (s->sink_fails)
        pubsub_notice(s, false, "pubsub.recovered", "%s takes events again", s->sink->url);
    s->sink_fails = false;
    list_push_back(&s->accepted, &item->link);
    loop_defer(s->loop, &s->settle_task);
}

static void sent(struct sink_call *call, const struct sink_answer *a)
{
    struct pubsub_item *item = container_of(call, struct pubsub_item, call);
    struct pubsub_source *s = item->source;
    list_remove(&item->link);
    if (a->err == OK && a->status >= 200 && a->status < 300)
        accepted(s, item);
    else
        failed(s, item, a);
    pubsub_pump(s);
    pubsub_went_on(s);
}

static void send_one(struct pubsub_source *s, struct pubsub_item *item)
{
    const struct sink_request request = {.event = item->event,
                                         .format = CE_MODE_BINARY,
                                         .timeout_ns = s->options.sink_timeout_ns,
                                         .namespace_name = slice_str(s->options.spec->namespace_name)};
    item->call.done = sent;
    list_remove(&item->link);
    enum err e = sink_send(s->sink, &item->call, &request);
    if (e == OK)
        list_push_back(&s->flying, &item->link);
    else
        failed(s, item, &(struct sink_answer){.err = e});
}

static bool key_in(struct list *items, const char *key, const struct pubsub_item *before)
{
    list_each(l, tmp, items) {
        const struct pubsub_item *i = container_of(l, struct pubsub_item, link);
        if (i == before)
            return false;
        if (i->key && strcmp(i->key, key) == 0)
            return true;
    }
    return false;
}

/* Whether an earlier message of its key is still on its way. */
static bool blocked(struct pubsub_source *s, const struct pubsub_item *item)
{
    return item->key && (key_in(&s->flying, item->key, NULL) || key_in(&s->waiting, item->key, item));
}

void pubsub_pump(struct pubsub_source *s)
{
    list_each(l, tmp, &s->waiting) {
        struct pubsub_item *item = container_of(l, struct pubsub_item, link);
        if (!s->closing && !loop_timer_armed(&item->again) && !blocked(s, item))
            send_one(s, item);
    }
}

static void again(struct loop_timer *t)
{
    pubsub_pump(container_of(t, struct pubsub_item, again)->source);
}

/* ---- taking ---- */

static struct pubsub_item *find_in(struct list *items, struct slice id)
{
    list_each(l, tmp, items) {
        struct pubsub_item *i = container_of(l, struct pubsub_item, link);
        if (slice_eq(ce_event_id(i->event), id))
            return i;
    }
    return NULL;
}

/* A message that is here already came again: its deadline passed under way. The newer ack id counts. */
static bool known(struct pubsub_source *s, const struct pubsub_received *m)
{
    struct list *const lists[] = {&s->waiting, &s->flying, &s->accepted, &s->settling};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct pubsub_item *item = find_in(lists[i], m->message.message_id);
        char *newer = item ? strndup(m->ack_id.ptr, m->ack_id.len) : NULL;
        if (newer) {
            free(item->ack_id);
            item->ack_id = newer;
        }
        if (item)
            return true;
    }
    return false;
}

static void put_off_done(void *arg, const struct pubsub_answer *a)
{
    (void)arg;
    (void)a; /* it comes again sooner, then */
}

/* It can be no event here, whoever sends it again: it stays in the subscription, out of the way. */
static void put_off(struct pubsub_source *s, const struct pubsub_received *m, const char *why)
{
    count(&s->host.counters->refused_invalid, 1);
    pubsub_notice(s, true, "pubsub.refused", "the message %.*s of %s stays in the subscription: %s",
                  SLICE_ARG(m->message.message_id), s->topic, why);
    (void)!pubsub_modify_ack_deadline(s->client, s->subscription, &m->ack_id, 1, REFUSED_S, put_off_done, NULL, NULL);
}

static struct pubsub_item *item_new(struct pubsub_source *s, const struct pubsub_received *m, struct diag *d)
{
    const struct ce_pubsub_rules rules = {.event_bytes_max = s->host.event_bytes_max,
                                          .topic = slice_str(s->topic),
                                          .subscription = slice_str(s->subscription),
                                          .form = s->options.form,
                                          .overrides = s->options.overrides,
                                          .override_count = s->options.override_count};
    struct slice key = m->message.ordering_key;
    struct pubsub_item *item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->ack_id = strndup(m->ack_id.ptr, m->ack_id.len);
    item->key = key.len ? strndup(key.ptr, key.len) : NULL;
    enum err e =
        item->ack_id && (!key.len || item->key) ? ce_pubsub_wrap(&m->message, &rules, &item->event, d) : ERR_NOMEM;
    if (e) {
        free(item->ack_id);
        free(item->key);
        free(item);
        return NULL;
    }
    item->source = s;
    loop_timer_init(&item->again, again);
    return item;
}

void pubsub_take(struct pubsub_source *s, const struct pubsub_received *m)
{
    struct diag d = {0};
    if (known(s, m))
        return;
    count(&s->host.counters->received, 1);
    struct pubsub_item *item = item_new(s, m, &d);
    if (!item && d.text[0]) {
        put_off(s, m, d.text);
    } else if (item) { /* else there is no memory: it comes again */
        list_push_back(&s->waiting, &item->link);
        s->held++;
    }
}

/* ---- acknowledging ---- */

static void settled(void *arg, const struct pubsub_answer *a)
{
    struct pubsub_source *s = arg;
    s->ack = NULL;
    bool lost = a->err != OK && a->retryable && !s->closing;
    if (a->err != OK)
        pubsub_notice(s, true, "pubsub.acknowledge", "%s; the messages may come again", a->text);
    if (lost)
        list_splice_back(&s->accepted, &s->settling); /* once more with the next that are accepted, or when they come */
    while (!list_empty(&s->settling))
        pubsub_item_free(container_of(s->settling.next, struct pubsub_item, link));
    if (!lost && !list_empty(&s->accepted))
        loop_defer(s->loop, &s->settle_task);
    pubsub_went_on(s);
}

void pubsub_settle(struct pubsub_source *s)
{
    struct slice ids[PUBSUB_SOURCE_HELD_MAX];
    size_t n = 0;
    if (s->ack || list_empty(&s->accepted))
        return;
    list_splice_back(&s->settling, &s->accepted);
    list_each(l, tmp, &s->settling)
        ids[n++] = slice_str(container_of(l, struct pubsub_item, link)->ack_id);
    assert(n <= PUBSUB_SOURCE_HELD_MAX);
    if (pubsub_acknowledge(s->client, s->subscription, ids, n, settled, s, &s->ack) != OK) {
        s->ack = NULL;
        list_splice_back(&s->accepted, &s->settling);
    }
}
