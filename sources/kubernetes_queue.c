/* SPDX-License-Identifier: Apache-2.0
 *
 * What is on its way to the sink. Entries stand in the order in which they were seen, WINDOW of them fly at most, those
 * of one object one after the other; one only while the sink fails. What the sink does not take is sent again until it
 * does: the watch waits meanwhile (`kubernetes_has_room`), and the API server keeps what happens.
 *
 *     waiting → flying → settled, and off the queue when it is the first: only then its place's position moves
 *
 * So what a crash repeats are the changes behind the first that was not accepted: WINDOW at most.
 */
#include "kubernetes_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 16
#define BACKOFF_NS (50 * NS_PER_MS)
#define BACKOFF_NS_MAX (30 * NS_PER_S) /* a sink that is back is found within this */
#define RETRY_AFTER_NS_MAX (600 * NS_PER_S)

bool kubernetes_has_room(const struct kubernetes *k)
{
    return k->queue_count < QUEUE_EVENTS && k->queue_bytes < QUEUE_BYTES && !k->closing;
}

/* ---- settling ---- */

static void entry_free(struct entry *e)
{
    ce_event_unref(e->event);
    free(e->key);
    free(e);
}

static void take_out(struct kubernetes *k, struct entry *e)
{
    struct place *p = e->place;
    list_remove(&e->link);
    k->queue_count--;
    k->queue_bytes -= e->bytes;
    if (p->mark == e)
        p->mark = NULL;
    p->entries--;
    entry_free(e);
    if (p->leaving && p->entries == 0)
        place_free(p);
}

static void settle(struct kubernetes *k)
{
    while (!list_empty(&k->queue)) {
        struct entry *e = container_of(k->queue.next, struct entry, link);
        if (e->state != ENTRY_SETTLED)
            break;
        if (!e->place->leaving)
            kubernetes_state_settle(k->state, e->place->state, e->key, e->uid, e->version, e->gone, e->position);
        take_out(k, e);
    }
    const char *trouble = kubernetes_state_trouble(k->state);
    unsigned held;
    if (*trouble && told_admit(&k->told, trouble, 10, loop_now_ns(k->loop), &held))
        kubernetes_notice(k, true, "kubernetes.state", "%s", trouble);
}

/* ---- sending ---- */

static void remember_failure(struct kubernetes *k, const struct sink_answer *a)
{
    if (a->err == OK)
        snprintf(k->last_failure, sizeof k->last_failure, "the sink answered %d", a->status);
    else
        snprintf(k->last_failure, sizeof k->last_failure, "%s%s%.*s", err_name(a->err), a->detail.len ? ": " : "",
                 (int)(a->detail.len < 150 ? a->detail.len : 150), a->detail.ptr ? a->detail.ptr : "");
}

static void try_again(struct kubernetes *k, struct entry *e, const struct sink_answer *a)
{
    remember_failure(k, a);
    e->state = ENTRY_WAITING;
    if (k->failures == 0)
        kubernetes_notice(k, true, "kubernetes.retry",
                          "%s: %s; the change of %s, and those that follow, are sent again until it takes them",
                          k->sink->url, k->last_failure, e->key);
    if (k->closing || loop_timer_armed(&k->backoff)) /* one of several that flew together has told already */
        return;
    uint64_t wait = k->failures < 16 ? BACKOFF_NS << k->failures : BACKOFF_NS_MAX, after = a->retry_after_ns;
    wait = wait < BACKOFF_NS_MAX ? wait : BACKOFF_NS_MAX;
    after = after < RETRY_AFTER_NS_MAX ? after : RETRY_AFTER_NS_MAX;
    k->failures++;
    loop_timer_start(k->loop, &k->backoff, wait > after ? wait : after);
}

static void sent(struct sink_call *call, const struct sink_answer *a)
{
    struct entry *e = container_of(call, struct entry, call);
    struct kubernetes *k = e->place->kubernetes;
    k->flying_count--;
    if (a->err == OK && a->status >= 200 && a->status < 300) {
        kubernetes_count(&k->host.counters->emitted);
        if (k->failures > 0)
            kubernetes_notice(k, false, "kubernetes.recovered", "%s takes events again; %zu wait", k->sink->url,
                              k->queue_count - 1);
        k->failures = 0;
        loop_timer_stop(k->loop, &k->backoff);
        e->state = ENTRY_SETTLED;
        settle(k);
    } else {
        try_again(k, e, a);
    }
    if (k->closing)
        kubernetes_queue_ended(k);
    else
        kubernetes_pump(k);
}

static void send_one(struct kubernetes *k, struct entry *e)
{
    const struct sink_request request = {.event = e->event,
                                         .format = CE_MODE_BINARY,
                                         .timeout_ns = k->options.sink_timeout_ns,
                                         .namespace_name = slice_str(k->options.spec->namespace_name)};
    e->call.done = sent;
    enum err err = sink_send(k->sink, &e->call, &request);
    if (err != OK) {
        try_again(k, e, &(struct sink_answer){.err = err});
        return;
    }
    e->state = ENTRY_FLYING;
    k->flying_count++;
}

void kubernetes_pump(struct kubernetes *k)
{
    bool busy[256] = {false};
    list_each(l, tmp, &k->queue) {
        struct entry *e = container_of(l, struct entry, link);
        if (loop_timer_armed(&k->backoff) || k->flying_count >= (k->failures > 0 ? 1 : WINDOW))
            break;
        if (e->state == ENTRY_WAITING && !busy[e->lane])
            send_one(k, e);
        busy[e->lane] = busy[e->lane] || e->state != ENTRY_SETTLED;
    }
    if (k->queue_count <= QUEUE_EVENTS / 2 && k->queue_bytes <= QUEUE_BYTES / 2)
        kubernetes_places_room(k);
}

static void backoff(struct loop_timer *t)
{
    kubernetes_pump(container_of(t, struct kubernetes, backoff));
}

/* ---- taking ---- */

static struct entry *entry_new(struct place *p, const struct kube_meta *m)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e || !m)
        return e;
    size_t space = strlen(m->namespace_name), name = strlen(m->name), uid = strlen(m->uid);
    e->key = malloc(space + name + uid + 3);
    if (!e->key) {
        free(e);
        return NULL;
    }
    e->uid = e->key + space + name + 2;
    snprintf(e->key, space + name + 2, "%s/%s", m->namespace_name, m->name);
    memcpy(e->uid, m->uid, uid + 1);
    for (const char *c = e->key; *c; c++)
        e->lane = (unsigned char)(e->lane * 31 + (unsigned char)*c);
    (void)p;
    return e;
}

static void push(struct place *p, struct entry *e)
{
    struct kubernetes *k = p->kubernetes;
    e->place = p;
    p->entries++;
    p->mark = NULL;
    k->queue_count++;
    k->queue_bytes += e->bytes;
    list_push_back(&k->queue, &e->link);
}

/* The entry's event; what cannot be one is told and passed over. */
static void make_event(struct place *p, struct entry *e, const struct kubernetes_happening *h)
{
    struct kubernetes *k = p->kubernetes;
    struct diag d = {0};
    enum err err =
        kubernetes_event_make(&k->options, kube_config_of(k->kube)->server, h, k->host.event_bytes_max, &e->event, &d);
    if (err != OK) {
        kubernetes_count(&k->host.counters->failed);
        snprintf(k->last_failure, sizeof k->last_failure, "%.150s", d.text[0] ? d.text : err_name(err));
        kubernetes_notice(k, true, "kubernetes.lost", "%s %s: no event is made of its change: %s", h->meta->kind,
                          e->key, d.text[0] ? d.text : err_name(err));
    } else if (!e->event) {
        kubernetes_count(&k->host.counters->ignored);
    }
    e->state = e->event ? ENTRY_WAITING : ENTRY_SETTLED;
    e->bytes = sizeof *e + (e->event ? h->object.len + 1024 : 0);
}

void kubernetes_push(struct place *p, enum kube_verb verb, const struct kube_meta *meta, struct slice object,
                     uint64_t position)
{
    struct kubernetes *k = p->kubernetes;
    struct entry *e = entry_new(p, meta);
    kubernetes_count(&k->host.counters->received);
    if (!e) {
        kubernetes_count(&k->host.counters->failed);
        kubernetes_notice(k, true, "kubernetes.lost", "no memory for a change of %s", meta->name);
        return;
    }
    const struct kubernetes_happening h = {.verb = verb,
                                           .meta = meta,
                                           .plural = k->plurals[p->resource],
                                           .object = object,
                                           .wall_ns = clock_wall_ns(loop_clock(k->loop))};
    e->version = meta->version;
    e->position = position;
    e->gone = verb == KUBE_DELETE;
    make_event(p, e, &h);
    kubernetes_state_take(p->state, e->key, e->uid, e->version, e->gone);
    push(p, e);
    settle(k);
    kubernetes_pump(k);
}

void kubernetes_push_mark(struct place *p, uint64_t version)
{
    struct kubernetes *k = p->kubernetes;
    if (p->entries == 0) {
        kubernetes_state_settle(k->state, p->state, NULL, NULL, 0, false, version);
        return;
    }
    struct entry *e = p->mark ? p->mark : entry_new(p, NULL);
    if (!e)
        return; /* the next one tells */
    e->version = e->position = version;
    e->state = ENTRY_SETTLED;
    if (e == p->mark)
        return;
    e->bytes = sizeof *e;
    push(p, e);
    p->mark = e;
}

/* ---- life ---- */

void kubernetes_queue_init(struct kubernetes *k)
{
    list_init(&k->queue);
    loop_timer_init(&k->backoff, backoff);
}

void kubernetes_queue_cancel(struct kubernetes *k)
{
    list_each(l, tmp, &k->queue) {
        struct entry *e = container_of(l, struct entry, link);
        if (e->state != ENTRY_FLYING)
            continue;
        sink_cancel(&e->call);
        e->state = ENTRY_WAITING;
        k->flying_count--;
    }
}

void kubernetes_queue_drop(struct kubernetes *k)
{
    assert(k->flying_count == 0);
    while (!list_empty(&k->queue))
        take_out(k, container_of(k->queue.next, struct entry, link));
}
