/* SPDX-License-Identifier: Apache-2.0
 *
 * P: the link that publishes. One AMQP channel in confirm mode; every message is persistent and mandatory. A message
 * that no queue takes comes back before its confirm: with a subscription that is an error and a reason to look after
 * exchange and queues, without one a counted drop.
 *
 *     append ──→ in ──→ written, numbered, in the ring ──→ confirm (or refusal) ──→ the loop's list ──→ done
 *                 └──→ held, while the link has no room
 *
 * When the AMQP channel ends, what is in the ring is in doubt: ERR_UNAVAILABLE, and it may be there all the same. What
 * was not confirmed for RABBIT_SEND_NS is given up likewise; its confirm finds nobody then.
 *
 * A message that the node refuses ends the AMQP channel for all. Its exchange is named in the reason, and publishes
 * nothing for ABROAD_RETRY_NS, so that a channel whose exchange may not be written to does not end that of the others
 * with each append. The largest body that the node takes is learned from its reason likewise.
 *
 * All on the link's thread but rabbit_publisher_send, _start and _quit.
 */
#include "rabbitmq_bus.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAILBOX_MAX 4096
#define RING_MIN 256
#define LATE_NS (500 * NS_PER_MS)
#define FIRST_NS (3 * NS_PER_S)
#define BLOCKED_NS (400 * NS_PER_MS)
#define AGAIN_NS (200 * NS_PER_MS)
#define PERSISTENT 2

static struct loop *loop_of(const struct rabbit_publisher *p)
{
    return rabbitmq_link_loop(p->link);
}

/* ---- ending ---- */

static void ended(struct rabbit_publisher *p, struct bus_append *a, enum err e)
{
    struct rabbit_loop *l = a->owner;
    homeward_ended(&l->homeward, a, e);
    loop_defer(loop_of(p), &p->flush);
}

static void flush(struct loop_task *t)
{
    struct rabbit_bus *k = container_of(t, struct rabbit_publisher, flush)->bus;
    for (size_t i = 0; i < k->desk.env.loop_count; i++)
        homeward_hand_over(&k->loops[i].homeward, k->loops[i].post);
}

/* ---- the ring ---- */

static struct rabbit_sent *at(struct rabbit_publisher *p, uint64_t number)
{
    return &p->sent[number & (p->size - 1)];
}

static enum err ring_room(struct rabbit_publisher *p)
{
    if (p->next - p->base < p->size)
        return OK;
    size_t size = p->size ? p->size * 2 : RING_MIN;
    struct rabbit_sent *grown = calloc(size, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    for (uint64_t n = p->base; n < p->next; n++)
        grown[n & (size - 1)] = *at(p, n);
    free(p->sent);
    p->sent = grown;
    p->size = size;
    return OK;
}

static void ring_answer(struct rabbit_publisher *p, uint64_t number, enum err e)
{
    struct rabbit_sent *s = at(p, number);
    struct bus_append *a = s->append;
    if (!a)
        return; /* given up before */
    struct bus_channel *c = a->channel;
    bool homeless = !e && s->returned;
    s->append = NULL;
    if (homeless && atomic_load(&c->abroad.subscription_count) > 0) {
        abroad_suspect(&c->abroad); /* a binding is gone */
        e = ERR_UNAVAILABLE;
        homeless = false;
    }
    if (!e) {
        atomic_store_explicit(&c->stalled, false, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->abroad.appended, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->abroad.appended_bytes, ce_event_size(a->event), memory_order_relaxed);
    }
    if (homeless)
        atomic_fetch_add_explicit(&c->abroad.dropped, 1, memory_order_relaxed);
    ended(p, a, e);
}

static void ring_trim(struct rabbit_publisher *p)
{
    while (p->base < p->next && !at(p, p->base)->append)
        p->base++;
}

/* ---- writing ---- */

static enum err header(void *arg, struct slice name, struct slice value)
{
    struct rabbit_publisher *p = arg;
    if (p->header_count == p->header_room) {
        size_t room = p->header_room ? p->header_room * 2 : 32;
        struct amqp_table_entry_t_ *grown = realloc(p->headers, room * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        p->headers = grown;
        p->header_room = room;
    }
    p->headers[p->header_count++] = (amqp_table_entry_t){
        .key = {name.len, (void *)(uintptr_t)name.ptr},
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = {value.len, (void *)(uintptr_t)value.ptr}}};
    return OK;
}

static amqp_bytes_t bytes(struct slice s)
{
    return (amqp_bytes_t){s.len, (void *)(uintptr_t)s.ptr};
}

/* When it was appended, for who reads it again: a stream tells times of its chunks only. The property is AMQP's own. */
static enum err put_time(struct rabbit_publisher *p, amqp_basic_properties_t *properties)
{
    int64_t ms = clock_wall_ns(clock_system()) / (int64_t)NS_PER_MS;
    enum err e = header(p, SLICE(RABBIT_TIME_HEADER), SLICE(""));
    if (e)
        return e;
    p->headers[p->header_count - 1].value = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value.i64 = ms};
    properties->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
    properties->timestamp = (uint64_t)(ms / 1000);
    return OK;
}

static enum err publish(struct rabbit_publisher *p, struct bus_append *a)
{
    const struct rabbit_channel_settings *s = &atomic_load(&a->channel->rules)->settings;
    struct ce_amqp_written w;
    uint64_t number = 0;
    p->header_count = 0;
    enum err e =
        rabbit_channel_barred(a->channel) || rabbit_channel_unseen(a->channel) ? ERR_UNAVAILABLE : ring_room(p);
    if (!e)
        e = ce_amqp_encode(a->event, s->mode, true, p->frame_max, &p->scratch, header, p, &w);
    if (!e && p->body_bytes_max && w.body.len > p->body_bytes_max)
        e = ERR_TOO_LARGE;
    if (e)
        return e;
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                          .delivery_mode = PERSISTENT};
    if (s->is_stream && (e = put_time(p, &properties)))
        return e;
    properties.headers = (amqp_table_t){(int)p->header_count, p->headers};
    if (w.content_type.len > 0) {
        properties._flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
        properties.content_type = bytes(w.content_type);
    }
    if (w.message_id.len > 0) {
        properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        properties.message_id = bytes(w.message_id);
    }
    const struct rabbitmq_publish m = {
        .exchange = slice_str(s->exchange), .mandatory = true, .properties = &properties, .body = w.body};
    e = rabbitmq_publish(p->channel, &m, &number);
    if (e)
        return e;
    assert(number == p->next);
    *at(p, p->next++) = (struct rabbit_sent){.append = a, .since_ns = rabbit_now()};
    if (!loop_timer_armed(&p->late))
        loop_timer_start(loop_of(p), &p->late, LATE_NS);
    return OK;
}

/* ---- marks (rabbitmq_read.h) ---- */

struct mark {
    struct letter letter;
    char text[RABBIT_MARK_MAX];
    char exchange[];
};

/* Confirmed like an append, to nobody. */
static void publish_mark(struct rabbit_publisher *p, const struct mark *mark)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(RABBIT_MARK_HEADER),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(mark->text)}};
    const amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                                .delivery_mode = PERSISTENT,
                                                .headers = {1, &entry}};
    const struct rabbitmq_publish m = {.exchange = slice_str(mark->exchange), .properties = &properties};
    uint64_t number = 0;
    if (!p->channel || ring_room(p) || rabbitmq_publish(p->channel, &m, &number))
        return;
    assert(number == p->next);
    *at(p, p->next++) = (struct rabbit_sent){.since_ns = rabbit_now()};
}

static void send_marks(struct rabbit_publisher *p)
{
    pthread_mutex_lock(&p->lock);
    struct letter *l = p->marks;
    p->marks = NULL;
    pthread_mutex_unlock(&p->lock);
    while (l) {
        struct mark *mark = container_of(l, struct mark, letter);
        l = l->next;
        publish_mark(p, mark);
        free(mark);
    }
    ring_trim(p);
}

void rabbit_publisher_mark(struct rabbit_publisher *p, const char *exchange, const char *text)
{
    size_t n = strlen(exchange) + 1;
    struct mark *mark = malloc(sizeof *mark + n);
    if (!mark)
        return;
    memcpy(mark->exchange, exchange, n);
    snprintf(mark->text, sizeof mark->text, "%s", text);
    pthread_mutex_lock(&p->lock);
    mark->letter.next = p->marks;
    p->marks = &mark->letter;
    pthread_mutex_unlock(&p->lock);
    post_send(p->post);
}

/* In order: what the link has no room for waits, and all behind it. */
static void send_held(struct rabbit_publisher *p)
{
    if (atomic_load(&p->connecting) && !desk_closed(&p->bus->desk))
        return;
    while (p->held) {
        struct bus_append *a = container_of(p->held, struct bus_append, letter);
        struct letter *next = p->held->next;
        enum err e = p->channel ? publish(p, a) : ERR_UNAVAILABLE;
        if (e == ERR_FULL)
            return;
        p->held = next;
        if (e)
            ended(p, a, e == ERR_CLOSED ? ERR_UNAVAILABLE : e);
    }
    p->held_end = &p->held;
}

static void arrived(void *owner)
{
    struct rabbit_publisher *p = owner;
    if (atomic_load(&p->bus->hurry))
        rabbitmq_link_reset(p->link, ERR_CLOSED, RABBIT_HURRY_TEXT);
    pthread_mutex_lock(&p->lock);
    struct letter *in = p->in, **in_end = p->in_end;
    p->in = NULL;
    p->in_end = &p->in;
    pthread_mutex_unlock(&p->lock);
    bool waiting = p->held != NULL;
    if (in) {
        *p->held_end = in;
        p->held_end = in_end;
    }
    if (!waiting || !p->channel)
        send_held(p);
    send_marks(p);
}

void rabbit_publisher_send(struct rabbit_publisher *p, struct bus_append *a)
{
    a->letter.next = NULL;
    pthread_mutex_lock(&p->lock);
    bool first = !p->in;
    *p->in_end = &a->letter;
    p->in_end = &a->letter.next;
    pthread_mutex_unlock(&p->lock);
    if (first)
        post_send(p->post);
}

/* ---- what the node says ---- */

static void confirmed(void *arg, uint64_t number, bool multiple, bool ok)
{
    struct rabbit_publisher *p = arg;
    if (number < p->base || number >= p->next)
        return; /* given up before */
    atomic_store_explicit(&p->stalled, false, memory_order_relaxed);
    p->confirms = true;
    p->heard_ns = rabbit_now();
    p->resets = 0;
    for (uint64_t n = multiple ? p->base : number; n <= number; n++)
        ring_answer(p, n, ok ? OK : ERR_UNAVAILABLE);
    ring_trim(p);
}

static bool is_it(const struct rabbit_sent *s, const struct rabbitmq_message *m)
{
    const amqp_basic_properties_t *p = m->properties;
    if (!s->append || s->returned ||
        !slice_eq_str(m->exchange, atomic_load(&s->append->channel->rules)->settings.exchange))
        return false;
    if (!(p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG))
        return ce_event_id(s->append->event).len > CE_AMQP_SHORT_MAX;
    return slice_eq(ce_event_id(s->append->event), (struct slice){p->message_id.bytes, p->message_id.len});
}

/* They come in the order in which they were sent, so the next one is mostly behind the last one. Two events of one id
 * under way at a time are the same event, or as good as. */
static void returned(void *arg, unsigned code, struct slice text, const struct rabbitmq_message *m)
{
    struct rabbit_publisher *p = arg;
    uint64_t from = p->hint > p->base && p->hint < p->next ? p->hint : p->base, count = p->next - p->base;
    (void)code, (void)text;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = from + i < p->next ? from + i : p->base + (from + i - p->next);
        if (!is_it(at(p, n), m))
            continue;
        at(p, n)->returned = true;
        p->hint = n + 1;
        return;
    }
}

/* ---- the channel ---- */

/* Whether the reason names the channel's exchange: "access to exchange 'leat.ns.c' in vhost '/' refused ...". */
static bool is_named(const struct bus_channel *c, const char *text)
{
    char quoted[CE_AMQP_SHORT_MAX + 12];
    snprintf(quoted, sizeof quoted, "exchange '%s'", atomic_load(&c->rules)->settings.exchange);
    return strstr(text, quoted) != NULL;
}

static void give_up(struct rabbit_publisher *p, unsigned code, const char *text)
{
    for (uint64_t n = p->base; n < p->next; n++) {
        struct bus_append *a = at(p, n)->append;
        if (a && code == AMQP_NOT_FOUND)
            abroad_suspect(&a->channel->abroad);
        else if (a && code && is_named(a->channel, text))
            atomic_store(&a->channel->barred_ns, rabbit_now() + ABROAD_RETRY_NS);
        ring_answer(p, n, ERR_UNAVAILABLE);
    }
    p->base = p->next = 1; /* of the next channel */
    p->hint = 0;
    p->confirms = false;
}

/* "message size 200 is larger than configured max size 100": such a message is refused here from now on. */
static void learn(struct rabbit_publisher *p, const char *text)
{
    const char *at = strstr(text, "max size ");
    unsigned long long n = at && strstr(text, "message size ") ? strtoull(at + strlen("max size "), NULL, 10) : 0;
    if (n > 0)
        p->body_bytes_max = (size_t)n;
}

static void closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct rabbit_publisher *p = arg;
    atomic_store(&p->up, false);
    p->channel = NULL;
    learn(p, text);
    give_up(p, code, text);
    send_held(p);
    if (!rabbitmq_link_is_up(p->link))
        return; /* `up` comes again */
    if (e)
        desk_notice(&p->bus->desk, 1, "PublisherTrouble",
                    "the node refused a message, and what was under way is answered with 503: %s", text);
    loop_timer_start(loop_of(p), &p->again, AGAIN_NS);
}

static void open_channel(struct rabbit_publisher *p)
{
    static const struct rabbitmq_channel_events events = {
        .returned = returned, .confirmed = confirmed, .closed = closed};
    const amqp_confirm_select_t select = {.nowait = 0};
    if (p->channel || !rabbitmq_link_is_up(p->link))
        return;
    p->base = p->next = 1;
    if (rabbitmq_channel_open(p->link, &events, p, &p->channel)) {
        p->channel = NULL;
        loop_timer_start(loop_of(p), &p->again, AGAIN_NS);
        return;
    }
    if (rabbitmq_call(p->channel, AMQP_CONFIRM_SELECT_METHOD, &select, NULL, NULL)) {
        rabbitmq_channel_close(p->channel);
        return;
    }
    atomic_store(&p->up, rabbitmq_link_blocked(p->link) == NULL);
}

static void again(struct loop_timer *t)
{
    open_channel(container_of(t, struct rabbit_publisher, again));
}

/* How long the node may take. A node that has just been started may lose what is written before its queues have a
 * leader, and then never confirms anything on that connection: so until a first confirm less is waited for, a little
 * longer each time. */
static uint64_t patience(const struct rabbit_publisher *p)
{
    uint64_t ns = p->confirms ? RABBIT_SEND_NS : FIRST_NS << (p->resets < 4 ? p->resets : 4);
    if (rabbitmq_link_blocked(p->link))
        return BLOCKED_NS; /* it says so when it gets a message, and confirms none that came behind its alarm */
    return ns < RABBIT_SEND_NS ? ns : RABBIT_SEND_NS;
}

/* The oldest was not confirmed in time. When nothing was, the connection is given up, and another one may be better.
 * While the node says that it takes no messages, or confirms others (a queue of this one is not well: its leader is
 * gone), only what is late is given up. */
static void late(struct loop_timer *t)
{
    struct rabbit_publisher *p = container_of(t, struct rabbit_publisher, late);
    uint64_t now = rabbit_now(), most = patience(p), n = p->base;
    bool is_blocked = rabbitmq_link_blocked(p->link) != NULL;
    for (; n < p->next && now - at(p, n)->since_ns > most; n++) {
        if (at(p, n)->append && !is_blocked)
            atomic_store(&at(p, n)->append->channel->stalled, true);
    }
    bool silent = n > p->base && !is_blocked && (!p->confirms || now - p->heard_ns > most);
    if (silent) {
        atomic_store(&p->stalled, true);
        p->resets++;
        rabbitmq_link_reset(p->link, ERR_TIMEOUT, "RabbitMQ confirmed no message in time");
        return;
    }
    for (uint64_t i = p->base; i < n; i++)
        ring_answer(p, i, ERR_UNAVAILABLE);
    ring_trim(p);
    if (p->base < p->next)
        loop_timer_start(loop_of(p), t, LATE_NS);
}

/* ---- the link ---- */

/* Another connection may be to another life of the node. What was found before the first one counts for that. */
static void is_another(struct rabbit_publisher *p)
{
    if (atomic_load(&p->connecting))
        return;
    atomic_fetch_add(&p->connection, 1);
    atomic_store(&p->bus->abroad.suspects, true);
    desk_call(&p->bus->desk);
}

static void up(void *arg, const struct rabbitmq_server *server)
{
    struct rabbit_publisher *p = arg;
    is_another(p);
    p->frame_max = server->frame_bytes_max;
    p->body_bytes_max = 0;
    loop_timer_stop(loop_of(p), &p->again);
    open_channel(p);
    atomic_store(&p->connecting, false);
    send_held(p);
}

static void blocked(void *arg, const char *why)
{
    struct rabbit_publisher *p = arg;
    atomic_store(&p->up, !why && p->channel);
    pthread_mutex_lock(&p->lock);
    snprintf(p->blocked, sizeof p->blocked, "%s", why ? why : "");
    pthread_mutex_unlock(&p->lock);
    if (why)
        loop_timer_start(loop_of(p), &p->late, BLOCKED_NS);
    else
        send_held(p);
}

static void down(void *arg, enum err e, const char *why)
{
    struct rabbit_publisher *p = arg;
    (void)e, (void)why;
    blocked(p, NULL);
    atomic_store(&p->up, false);
    atomic_store(&p->connecting, false);
    send_held(p);
}

static void room(void *arg)
{
    send_held(arg);
}

enum err rabbit_publisher_start(struct rabbit_bus *k)
{
    static const struct rabbitmq_link_events events = {.up = up, .down = down, .blocked = blocked, .room = room};
    struct rabbit_publisher *p = &k->publisher;
    const struct rabbitmq_link_config config = {.name = "leat publisher",
                                                .message_bytes_max = CE_EVENT_BYTES_MAX,
                                                .unsent_bytes_max = RABBIT_UNSENT_BYTES,
                                                .mailbox_max = MAILBOX_MAX,
                                                .events = &events,
                                                .arg = p};
    atomic_store(&p->connecting, true);
    loop_task_init(&p->flush, flush);
    loop_timer_init(&p->late, late);
    loop_timer_init(&p->again, again);
    enum err e = rabbitmq_link_new(k->client, &config, &p->link);
    return e ? e : post_new(loop_of(p), arrived, p, &p->post);
}

/* What is still there when the link has ended is forgotten; nobody is told. */
void rabbit_publisher_quit(struct rabbit_bus *k)
{
    struct rabbit_publisher *p = &k->publisher;
    rabbitmq_link_free(p->link);
    p->link = NULL;
    *p->held_end = p->in;
    for (struct letter *m = p->held; m;) {
        struct bus_append *a = container_of(m, struct bus_append, letter);
        m = m->next;
        ce_event_unref(a->event);
    }
    while (p->marks) {
        struct mark *mark = container_of(p->marks, struct mark, letter);
        p->marks = mark->letter.next;
        free(mark);
    }
    for (uint64_t n = p->base; n < p->next; n++) {
        if (at(p, n)->append)
            ce_event_unref(at(p, n)->append->event);
    }
    post_free(p->post);
    free(p->sent);
    free(p->headers);
    buf_fini(&p->scratch);
}
