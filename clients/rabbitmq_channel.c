/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels of a link: opened, closed by either side; calls and their answers.
 *
 * A server does the calls of a channel one after the other, but RabbitMQ has consume-ok and cancel-ok sent by the
 * queue, so that they may come behind the answers of later calls, and one queue's behind another's. So an answer is
 * that of the first call which waits for one of its kind, and for its consumer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"
#include "siphash.h"

/* ---- calls ---- */

/* The numbers of answers follow their requests', but for one. */
static uint32_t answer_of(uint32_t method)
{
    return method == AMQP_EXCHANGE_UNBIND_METHOD ? AMQP_EXCHANGE_UNBIND_OK_METHOD : method + 1;
}

static bool has_answer(uint32_t method)
{
    static const amqp_method_number_t known[] = {
        AMQP_CHANNEL_OPEN_METHOD,    AMQP_CHANNEL_CLOSE_METHOD, AMQP_EXCHANGE_DECLARE_METHOD,
        AMQP_EXCHANGE_DELETE_METHOD, AMQP_EXCHANGE_BIND_METHOD, AMQP_EXCHANGE_UNBIND_METHOD,
        AMQP_QUEUE_DECLARE_METHOD,   AMQP_QUEUE_BIND_METHOD,    AMQP_QUEUE_PURGE_METHOD,
        AMQP_QUEUE_DELETE_METHOD,    AMQP_QUEUE_UNBIND_METHOD,  AMQP_BASIC_QOS_METHOD,
        AMQP_BASIC_CONSUME_METHOD,   AMQP_BASIC_CANCEL_METHOD,  AMQP_BASIC_RECOVER_METHOD,
        AMQP_CONFIRM_SELECT_METHOD,  AMQP_TX_SELECT_METHOD,     AMQP_TX_COMMIT_METHOD,
        AMQP_TX_ROLLBACK_METHOD};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (known[i] == method)
            return true;
    return false;
}

static uint64_t hash_of(amqp_bytes_t tag)
{
    static const uint64_t key_of_hash[2] = {0x6c656174, 1};
    return tag.len ? siphash13(key_of_hash, rabbitmq_slice(tag)) | 1 : 0;
}

/* Of a call's method. */
static uint64_t consumer_of(uint32_t method, const void *decoded)
{
    const amqp_basic_consume_t *consume = decoded;
    const amqp_basic_cancel_t *cancel = decoded;
    return method == AMQP_BASIC_CONSUME_METHOD  ? hash_of(consume->consumer_tag)
           : method == AMQP_BASIC_CANCEL_METHOD ? hash_of(cancel->consumer_tag)
                                                : 0;
}

static void watch_calls(struct rabbitmq_link *l)
{
    if (list_empty(&l->calls))
        return;
    struct rabbitmq_call_made *first = container_of(l->calls.next, struct rabbitmq_call_made, of_link);
    uint64_t now = loop_now_ns(l->loop);
    loop_timer_start(l->loop, &l->overdue, first->due_ns > now ? first->due_ns - now : 0);
}

/* By their deadlines; most have the same time, and belong at the end. */
static void put_by_deadline(struct rabbitmq_link *l, struct rabbitmq_call_made *made)
{
    struct list *at = l->calls.prev;
    while (at != &l->calls && container_of(at, struct rabbitmq_call_made, of_link)->due_ns > made->due_ns)
        at = at->prev;
    list_insert_after(at, &made->of_link);
    if (l->calls.next == &made->of_link)
        watch_calls(l);
}

static enum err call(struct rabbitmq_channel *c, unsigned ms, uint32_t method, const void *decoded,
                     rabbitmq_answer_fn *done, void *arg)
{
    struct rabbitmq_link *l = c->link;
    if (l->call_count >= RABBITMQ_CALLS_MAX)
        return ERR_FULL;
    struct rabbitmq_call_made *made = calloc(1, sizeof(*made));
    if (!made)
        return ERR_NOMEM;
    enum err e = rabbitmq_put_method(&l->out, c->number, method, decoded, l->frame_max);
    if (e) {
        free(made);
        return e;
    }
    made->channel = c;
    made->answer = answer_of(method);
    made->consumer = consumer_of(method, decoded);
    made->done = done;
    made->arg = arg;
    made->ms = ms;
    made->due_ns = loop_now_ns(l->loop) + ms * NS_PER_MS;
    list_push_back(&c->calls, &made->of_channel);
    put_by_deadline(l, made);
    l->call_count++;
    rabbitmq_send_later(l);
    return OK;
}

enum err rabbitmq_call_within(struct rabbitmq_channel *c, unsigned ms, uint32_t method, const void *decoded,
                              rabbitmq_answer_fn *done, void *arg)
{
    if (c->state != RABBITMQ_LIVE || !rabbitmq_link_is_up(c->link))
        return ERR_CLOSED;
    if (!has_answer(method) || method == AMQP_CHANNEL_OPEN_METHOD || method == AMQP_CHANNEL_CLOSE_METHOD)
        return ERR_UNSUPPORTED;
    enum err e = call(c, ms, method, decoded, done, arg);
    if (!e && method == AMQP_CONFIRM_SELECT_METHOD)
        c->confirms = true;
    return e;
}

enum err rabbitmq_call(struct rabbitmq_channel *c, uint32_t method, const void *decoded, rabbitmq_answer_fn *done,
                       void *arg)
{
    return rabbitmq_call_within(c, c->link->client->answer_ms, method, decoded, done, arg);
}

/* Takes the call out and tells its answer. */
static void answer(struct rabbitmq_call_made *made, const struct rabbitmq_answer *a)
{
    list_remove(&made->of_channel);
    list_remove(&made->of_link);
    made->channel->link->call_count--;
    if (made->done)
        made->done(made->arg, a);
    free(made);
}

static struct rabbitmq_call_made *first_call(struct rabbitmq_channel *c)
{
    return list_empty(&c->calls) ? NULL : container_of(c->calls.next, struct rabbitmq_call_made, of_channel);
}

/* ---- channels ---- */

static void drop(struct rabbitmq_channel *c)
{
    struct rabbitmq_link *l = c->link;
    l->channels[c->number] = NULL;
    l->channel_count--;
    rabbitmq_content_fini(&c->content);
    free(c);
}

/* Answers what is open and tells `closed`. The channel is DEAD then, and still in its place. */
static void tell_closed(struct rabbitmq_channel *c, enum err e, unsigned code, const char *text)
{
    const struct rabbitmq_answer none = {.e = e ? e : ERR_CLOSED, .code = code, .text = text};
    bool told = c->state == RABBITMQ_DEAD;
    struct rabbitmq_call_made *made;
    c->state = RABBITMQ_DEAD;
    while ((made = first_call(c)))
        answer(made, &none);
    if (!told && c->events->closed)
        c->events->closed(c->arg, e, code, text);
}

static void channel_end(struct rabbitmq_channel *c, enum err e, unsigned code, const char *text)
{
    tell_closed(c, e, code, text);
    drop(c);
}

void rabbitmq_channels_end(struct rabbitmq_link *l, enum err e, unsigned code, const char *text)
{
    for (size_t i = 1; i < l->channel_room; i++)
        if (l->channels[i])
            channel_end(l->channels[i], e, code, text);
}

static enum err free_number(struct rabbitmq_link *l, uint16_t *out)
{
    if (l->channel_count >= l->server.channels_max)
        return ERR_FULL;
    size_t wanted = (size_t)l->channel_count + 2;
    if (l->channel_room < wanted) {
        size_t n = l->channel_room ? 2 * l->channel_room : 16;
        struct rabbitmq_channel **grown = realloc(l->channels, n * sizeof(struct rabbitmq_channel *));
        if (!grown)
            return ERR_NOMEM;
        memset(grown + l->channel_room, 0, (n - l->channel_room) * sizeof(struct rabbitmq_channel *));
        l->channels = grown;
        l->channel_room = n;
    }
    size_t most = l->channel_room - 1 < l->server.channels_max ? l->channel_room - 1 : l->server.channels_max;
    size_t n = l->channel_last;
    do /* in turn, so that a number rests before it is used again */
        n = n >= most ? 1 : n + 1;
    while (l->channels[n]);
    *out = l->channel_last = (uint16_t)n;
    return OK;
}

enum err rabbitmq_channel_open(struct rabbitmq_link *l, const struct rabbitmq_channel_events *events, void *arg,
                               struct rabbitmq_channel **out)
{
    amqp_channel_open_t m = {.out_of_band = amqp_empty_bytes};
    uint16_t number = 0;
    if (!rabbitmq_link_is_up(l))
        return ERR_UNAVAILABLE;
    enum err e = free_number(l, &number);
    if (e)
        return e;
    struct rabbitmq_channel *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    *c = (struct rabbitmq_channel){.link = l, .number = number, .events = events, .arg = arg};
    list_init(&c->calls);
    buf_init(&c->content.head, 2 * (size_t)RABBITMQ_FRAME_BYTES_MAX);
    buf_init(&c->content.body, l->config.message_bytes_max);
    e = call(c, l->client->answer_ms, AMQP_CHANNEL_OPEN_METHOD, &m, NULL, NULL);
    if (e) {
        free(c);
        return e;
    }
    l->channels[number] = c;
    l->channel_count++;
    *out = c;
    return OK;
}

static void send_close(struct rabbitmq_channel *c, unsigned code, const char *text)
{
    amqp_channel_close_t m = {.reply_code = (uint16_t)code, .reply_text = amqp_cstring_bytes(text)};
    if (call(c, c->link->client->farewell_ms, AMQP_CHANNEL_CLOSE_METHOD, &m, NULL, NULL) != OK)
        rabbitmq_lose(c->link, ERR_UNAVAILABLE, RABBITMQ_DOWN, "is given up: no memory to close a channel");
}

void rabbitmq_channel_close(struct rabbitmq_channel *c)
{
    if (c->state != RABBITMQ_LIVE)
        return;
    c->state = RABBITMQ_CLOSING;
    if (rabbitmq_link_is_up(c->link))
        send_close(c, AMQP_REPLY_SUCCESS, "");
}

struct rabbitmq_link *rabbitmq_channel_link(const struct rabbitmq_channel *c)
{
    return c->link;
}

/* The channel is closed for its user at once; the server is told, and its number waits for the server's answer. When
 * that does not come either, the connection is given up. */
static void overdue(struct rabbitmq_call_made *made)
{
    struct rabbitmq_channel *c = made->channel;
    struct rabbitmq_link *l = c->link;
    char text[400];
    double seconds = made->ms / 1000.0;
    snprintf(text, sizeof(text), "RabbitMQ at %s did not answer within %g s", l->address_text, seconds);
    if (c->state != RABBITMQ_LIVE || made->answer == AMQP_CHANNEL_OPEN_OK_METHOD) {
        rabbitmq_lose(l, ERR_TIMEOUT, RABBITMQ_DOWN, "did not %s a channel within %g s",
                      c->state == RABBITMQ_LIVE ? "open" : "close", seconds);
        return;
    }
    tell_closed(c, ERR_TIMEOUT, 0, text);
    if (rabbitmq_link_is_up(l))
        send_close(c, AMQP_REPLY_SUCCESS, "no answer in time");
}

void rabbitmq_calls_overdue(struct loop_timer *t)
{
    struct rabbitmq_link *l = container_of(t, struct rabbitmq_link, overdue);
    while (!l->lost && !list_empty(&l->calls)) {
        struct rabbitmq_call_made *first = container_of(l->calls.next, struct rabbitmq_call_made, of_link);
        if (first->due_ns > loop_now_ns(l->loop))
            break;
        overdue(first);
    }
    if (!l->lost)
        watch_calls(l);
}

/* ---- what comes ---- */

static void breach(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH,
                  "sent method %u.%u of AMQP on channel %u, which does not belong there", f->method >> 16,
                  f->method & 0xffff, f->channel);
}

static void on_close(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    struct rabbitmq_link *l = c->link;
    const amqp_channel_close_t *m = rabbitmq_decode(l, f->method, f->payload);
    amqp_channel_close_ok_t ok = {0};
    char text[sizeof(l->address_text) + 320];
    if (!m)
        return;
    struct slice said = rabbitmq_slice(m->reply_text);
    snprintf(text, sizeof(text), "%.*s (RabbitMQ at %s, %u)", SLICE_ARG(said), l->address_text, m->reply_code);
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    rabbitmq_settings_hide(&l->client->settings, text);
    rabbitmq_send_method(l, c->number, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    enum err e = rabbitmq_reply_err(m->reply_code);
    channel_end(c, e == OK ? ERR_CLOSED : e, m->reply_code, text);
}

/* Behind what was called before; of a channel that the server closed meanwhile it comes late, and nobody waits. */
static void on_close_ok(struct rabbitmq_channel *c)
{
    if (c->state != RABBITMQ_LIVE)
        channel_end(c, OK, 0, "closed");
}

static void on_cancel(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    const amqp_basic_cancel_t *m = rabbitmq_decode(c->link, f->method, f->payload);
    if (!m || c->state != RABBITMQ_LIVE)
        return;
    if (!m->nowait) {
        amqp_basic_cancel_ok_t ok = {.consumer_tag = m->consumer_tag};
        rabbitmq_send_method(c->link, c->number, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
    }
    if (c->events->canceled)
        c->events->canceled(c->arg, rabbitmq_slice(m->consumer_tag));
}

static void on_flow(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    const amqp_channel_flow_t *m = rabbitmq_decode(c->link, f->method, f->payload);
    if (!m || c->state != RABBITMQ_LIVE)
        return;
    amqp_channel_flow_ok_t ok = {.active = m->active}; /* RabbitMQ slows connections down, and does not ask for it */
    rabbitmq_send_method(c->link, c->number, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
}

/* Decoded is only what is waited for: a client's methods may hold tables that nobody looked at. */
static bool call_for_kind(const struct rabbitmq_channel *c, uint32_t method)
{
    list_each(at, tmp, &c->calls)
        if (container_of(at, struct rabbitmq_call_made, of_channel)->answer == method)
            return true;
    return false;
}

static struct rabbitmq_call_made *call_for(struct rabbitmq_channel *c, uint32_t method, uint64_t consumer)
{
    list_each(at, tmp, &c->calls) {
        struct rabbitmq_call_made *made = container_of(at, struct rabbitmq_call_made, of_channel);
        if (made->answer == method && (!made->consumer || made->consumer == consumer))
            return made;
    }
    return NULL;
}

static void on_answer(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    struct rabbitmq_answer a = {.method = f->method, .text = ""};
    uint64_t consumer = 0;
    if (c->state == RABBITMQ_DEAD) /* of a call that was given up: it comes late */
        return;
    if (!call_for_kind(c, f->method)) {
        breach(c->link, f);
        return;
    }
    a.decoded = rabbitmq_decode(c->link, f->method, f->payload);
    if (!a.decoded)
        return;
    if (f->method == AMQP_BASIC_CONSUME_OK_METHOD)
        consumer = hash_of(((const amqp_basic_consume_ok_t *)a.decoded)->consumer_tag);
    else if (f->method == AMQP_BASIC_CANCEL_OK_METHOD)
        consumer = hash_of(((const amqp_basic_cancel_ok_t *)a.decoded)->consumer_tag);
    struct rabbitmq_call_made *made = call_for(c, f->method, consumer);
    if (made)
        answer(made, &a);
    else
        breach(c->link, f);
}

static void on_method(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    switch (f->method) {
    case AMQP_BASIC_DELIVER_METHOD:
    case AMQP_BASIC_RETURN_METHOD:
        rabbitmq_content_begin(c, f);
        break;
    case AMQP_BASIC_ACK_METHOD:
    case AMQP_BASIC_NACK_METHOD:
        rabbitmq_content_confirmed(c, f);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        on_cancel(c, f);
        break;
    case AMQP_CHANNEL_FLOW_METHOD:
        on_flow(c, f);
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
        on_close(c, f);
        break;
    case AMQP_CHANNEL_CLOSE_OK_METHOD:
        on_close_ok(c);
        break;
    default:
        on_answer(c, f);
        break;
    }
}

void rabbitmq_channel_frame(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    struct rabbitmq_channel *c = f->channel < l->channel_room ? l->channels[f->channel] : NULL;
    bool method = f->type == RABBITMQ_METHOD;
    if (l->state == RABBITMQ_LEAVING)
        return; /* until close-ok nothing else counts */
    if (!c && method && f->method == AMQP_CHANNEL_CLOSE_OK_METHOD)
        return;
    if (!c)
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent a frame on channel %u, which is not open", f->channel);
    else if (!method)
        rabbitmq_content_frame(c, f);
    else if (c->content.wants != RABBITMQ_NO_CONTENT && c->state == RABBITMQ_LIVE)
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent a method on channel %u within a message", f->channel);
    else
        on_method(c, f);
}
