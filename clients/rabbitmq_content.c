/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages: published, returned, delivered, settled, confirmed.
 *
 * A message is three kinds of frames, a method, a header, bodies, and other channels' frames may stand between them.
 * What comes is copied into the channel's buffers until it is whole, but for a body that is one frame.
 */
#include "rabbitmq_conn.h"

#define KEEP_BYTES (64u << 10) /* of a channel's buffers between messages */

/* ---- coming in ---- */

void rabbitmq_content_fini(struct rabbitmq_content *content)
{
    buf_fini(&content->head);
    buf_fini(&content->body);
    content->wants = RABBITMQ_NO_CONTENT;
}

static void reset(struct rabbitmq_content *content)
{
    content->wants = RABBITMQ_NO_CONTENT;
    buf_clear(&content->head);
    buf_clear(&content->body);
    if (content->head.cap > KEEP_BYTES)
        buf_fini(&content->head);
    if (content->body.cap > KEEP_BYTES)
        buf_fini(&content->body);
}

static void breach(struct rabbitmq_channel *c, const char *what)
{
    rabbitmq_lose(c->link, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent %s on channel %u", what, c->number);
}

static void keep(struct rabbitmq_channel *c, struct buf *b, struct slice bytes)
{
    buf_put(b, bytes);
    if (buf_error(b) != OK)
        rabbitmq_lose(c->link, ERR_NOMEM, RABBITMQ_DOWN, "is given up: no memory for a message");
}

void rabbitmq_content_begin(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    struct rabbitmq_content *content = &c->content;
    if (c->state != RABBITMQ_LIVE)
        return;
    content->method = f->method;
    content->method_len = f->payload.len;
    content->wants = RABBITMQ_WANT_HEADER;
    keep(c, &content->head, f->payload);
}

static void tell_delivery(struct rabbitmq_channel *c, struct slice method, struct rabbitmq_message *m)
{
    const amqp_basic_deliver_t *d = rabbitmq_decode(c->link, AMQP_BASIC_DELIVER_METHOD, method);
    if (!d)
        return;
    m->tag = d->delivery_tag;
    m->redelivered = d->redelivered;
    m->consumer = rabbitmq_slice(d->consumer_tag);
    m->exchange = rabbitmq_slice(d->exchange);
    m->routing_key = rabbitmq_slice(d->routing_key);
    if (c->events->deliver)
        c->events->deliver(c->arg, m);
}

static void tell_return(struct rabbitmq_channel *c, struct slice method, struct rabbitmq_message *m)
{
    const amqp_basic_return_t *r = rabbitmq_decode(c->link, AMQP_BASIC_RETURN_METHOD, method);
    if (!r)
        return;
    m->exchange = rabbitmq_slice(r->exchange);
    m->routing_key = rabbitmq_slice(r->routing_key);
    if (c->events->returned)
        c->events->returned(c->arg, r->reply_code, rabbitmq_slice(r->reply_text), m);
}

/* It is whole. */
static void tell(struct rabbitmq_channel *c, struct slice body)
{
    struct rabbitmq_content *content = &c->content;
    struct slice head = buf_slice(&content->head), method = slice_of(head.ptr, content->method_len);
    struct slice properties = slice_from(head, content->method_len);
    struct rabbitmq_message m = {.body = content->too_large ? SLICE("") : body,
                                 .body_bytes = content->body_bytes,
                                 .too_large = content->too_large};
    amqp_bytes_t bytes = {properties.len, (void *)(uintptr_t)properties.ptr};
    void *decoded = NULL;
    int status = amqp_decode_properties(AMQP_BASIC_CLASS, &c->link->pool, bytes, &decoded);
    m.properties = decoded;
    if (status == AMQP_STATUS_NO_MEMORY)
        rabbitmq_lose(c->link, ERR_NOMEM, RABBITMQ_DOWN, "is given up: no memory for a message");
    else if (status < 0)
        breach(c, "properties of a message that cannot be read");
    else if (c->state == RABBITMQ_LIVE && content->method == AMQP_BASIC_DELIVER_METHOD)
        tell_delivery(c, method, &m);
    else if (c->state == RABBITMQ_LIVE)
        tell_return(c, method, &m);
    reset(content);
}

static void on_header(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    struct rabbitmq_content *content = &c->content;
    if (content->wants != RABBITMQ_WANT_HEADER) {
        breach(c, "a content header without a message");
        return;
    }
    if (!rabbitmq_properties_good(f->payload)) {
        breach(c, "properties of a message that cannot be read");
        return;
    }
    keep(c, &content->head, f->payload);
    content->wants = RABBITMQ_WANT_BODY;
    content->body_bytes = f->body_bytes;
    content->got = 0;
    content->too_large = f->body_bytes > c->link->config.message_bytes_max;
    if (f->body_bytes == 0 && !c->link->lost)
        tell(c, SLICE(""));
}

static void on_body(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    struct rabbitmq_content *content = &c->content;
    if (content->wants != RABBITMQ_WANT_BODY) {
        breach(c, "a body without a message");
        return;
    }
    if (f->payload.len > content->body_bytes - content->got) {
        breach(c, "a body longer than announced");
        return;
    }
    bool alone = content->got == 0 && f->payload.len == content->body_bytes;
    content->got += f->payload.len;
    if (!alone && !content->too_large)
        keep(c, &content->body, f->payload);
    if (content->got == content->body_bytes && !c->link->lost)
        tell(c, alone ? f->payload : buf_slice(&content->body));
}

void rabbitmq_content_frame(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    if (c->state != RABBITMQ_LIVE)
        return; /* of a message that nobody waits for any more */
    if (f->type == RABBITMQ_HEADER)
        on_header(c, f);
    else
        on_body(c, f);
}

void rabbitmq_content_confirmed(struct rabbitmq_channel *c, const struct rabbitmq_frame *f)
{
    const void *decoded = rabbitmq_decode(c->link, f->method, f->payload);
    if (!decoded || c->state != RABBITMQ_LIVE)
        return;
    bool ok = f->method == AMQP_BASIC_ACK_METHOD;
    const amqp_basic_ack_t *ack = decoded;
    const amqp_basic_nack_t *nack = decoded;
    uint64_t sequence = ok ? ack->delivery_tag : nack->delivery_tag;
    bool multiple = ok ? ack->multiple : nack->multiple;
    if (sequence == 0 && multiple) /* all of them, says the specification */
        sequence = c->sequence;
    if (!c->confirms || sequence > c->sequence)
        breach(c, "a confirm of what was not published");
    else if (c->events->confirmed)
        c->events->confirmed(c->arg, sequence, multiple, ok);
}

/* ---- going out ---- */

static enum err put_message(struct rabbitmq_channel *c, const struct rabbitmq_publish *p)
{
    struct rabbitmq_link *l = c->link;
    amqp_basic_publish_t m = {
        .exchange = {p->exchange.len, (void *)(uintptr_t)p->exchange.ptr},
        .routing_key = {p->routing_key.len, (void *)(uintptr_t)p->routing_key.ptr},
        .mandatory = p->mandatory,
    };
    enum err e = rabbitmq_put_method(&l->out, c->number, AMQP_BASIC_PUBLISH_METHOD, &m, l->frame_max);
    if (!e)
        e = rabbitmq_put_header(&l->out, c->number, p->body.len, p->properties, l->frame_max);
    if (!e)
        e = rabbitmq_put_body(&l->out, c->number, p->body, l->frame_max);
    return e;
}

enum err rabbitmq_publish(struct rabbitmq_channel *c, const struct rabbitmq_publish *p, uint64_t *sequence)
{
    struct rabbitmq_link *l = c->link;
    if (c->state != RABBITMQ_LIVE || !rabbitmq_link_is_up(l))
        return ERR_CLOSED;
    if (l->blocked)
        return ERR_UNAVAILABLE;
    if (p->exchange.len > RABBITMQ_SHORT_MAX || p->routing_key.len > RABBITMQ_SHORT_MAX)
        return ERR_INVALID;
    size_t before = l->out.len;
    enum err e = rabbitmq_link_unsent(l) >= l->config.unsent_bytes_max ? ERR_FULL : put_message(c, p);
    if (e) {
        l->out.len = before;
        l->starved = l->starved || e == ERR_FULL;
        return e;
    }
    if (c->confirms)
        c->sequence++;
    if (sequence)
        *sequence = c->sequence;
    rabbitmq_send_later(l);
    return OK;
}

void rabbitmq_ack(struct rabbitmq_channel *c, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t m = {.delivery_tag = tag, .multiple = multiple};
    if (c->state == RABBITMQ_LIVE && rabbitmq_link_is_up(c->link))
        rabbitmq_send_method(c->link, c->number, AMQP_BASIC_ACK_METHOD, &m);
}

void rabbitmq_nack(struct rabbitmq_channel *c, uint64_t tag, bool multiple, bool requeue)
{
    amqp_basic_nack_t m = {.delivery_tag = tag, .multiple = multiple, .requeue = requeue};
    if (c->state == RABBITMQ_LIVE && rabbitmq_link_is_up(c->link))
        rabbitmq_send_method(c->link, c->number, AMQP_BASIC_NACK_METHOD, &m);
}
