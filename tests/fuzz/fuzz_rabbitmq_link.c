/* SPDX-License-Identifier: Apache-2.0 */
/* room: clients */
/* A link to RabbitMQ fed with whatever a server may say: its first byte decides how the user of the link behaves, the
 * second in which pieces the rest arrives. Whatever it is, each call is answered once, each channel closed once, and
 * the link can be left. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clients/rabbitmq_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLOSES = 1, ACKS = 2, RESETS = 4, OPENS = 8, PUBLISHES = 16 }; /* what the user does in its callbacks */

static struct user {
    struct rabbitmq_link *link;
    struct rabbitmq_channel *channel;
    unsigned does, calls, answers, channels, closed;
} user;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void act(struct user *u)
{
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .mandatory = true, .body = SLICE("b")};
    if (u->channel && u->does & PUBLISHES)
        (void)!rabbitmq_publish(u->channel, &p, NULL);
    if (u->channel && u->does & ACKS)
        rabbitmq_ack(u->channel, 1, true);
    if (u->channel && u->does & CLOSES)
        rabbitmq_channel_close(u->channel);
    if (u->does & RESETS)
        rabbitmq_link_reset(u->link, ERR_UNAVAILABLE, "for a test");
}

static void walk(const amqp_table_t *t, int depth)
{
    must(depth <= RABBITMQ_TABLE_DEPTH_MAX);
    for (int i = 0; i < t->num_entries; i++)
        if (t->entries[i].value.kind == AMQP_FIELD_KIND_TABLE)
            walk(&t->entries[i].value.value.table, depth + 1);
}

static void on_message(struct user *u, const struct rabbitmq_message *m)
{
    size_t sum = 0;
    for (size_t i = 0; i < m->body.len; i++)
        sum += (unsigned char)m->body.ptr[i];
    must(m->too_large ? m->body.len == 0 : m->body.len == m->body_bytes);
    must(m->properties && sum <= m->body.len * 255);
    if (m->properties->_flags & AMQP_BASIC_HEADERS_FLAG)
        walk(&m->properties->headers, 1);
    act(u);
}

static void on_deliver(void *arg, const struct rabbitmq_message *m)
{
    on_message(arg, m);
}

static void on_returned(void *arg, unsigned code, struct slice text, const struct rabbitmq_message *m)
{
    (void)code, (void)text;
    on_message(arg, m);
}

static void on_confirmed(void *arg, uint64_t sequence, bool multiple, bool ok)
{
    (void)sequence, (void)multiple, (void)ok;
    act(arg);
}

static void on_canceled(void *arg, struct slice consumer)
{
    (void)consumer;
    act(arg);
}

static void on_closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct user *u = arg;
    (void)e, (void)code;
    must(text);
    u->closed++;
    u->channel = NULL;
    act(u);
}

static void on_answer(void *arg, const struct rabbitmq_answer *a)
{
    struct user *u = arg;
    must((a->e == OK) == (a->decoded != NULL) && a->text);
    u->answers++;
    act(u);
}

static void on_up(void *arg, const struct rabbitmq_server *s)
{
    static const struct rabbitmq_channel_events events = {on_deliver, on_returned, on_confirmed, on_canceled,
                                                          on_closed};
    struct user *u = arg;
    amqp_confirm_select_t confirm = {0};
    amqp_queue_declare_t queue = {.queue = amqp_cstring_bytes("q")};
    amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes("q"), .consumer_tag = amqp_cstring_bytes("c")};
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .mandatory = true, .body = SLICE("b")};
    must(s->frame_bytes_max >= RABBITMQ_FRAME_MIN && s->frame_bytes_max <= RABBITMQ_FRAME_BYTES_MAX);
    for (int i = u->does & OPENS ? 0 : 1; i < 2; i++)
        if (rabbitmq_channel_open(u->link, &events, u, &u->channel) == OK) {
            u->channels++;
            u->calls += rabbitmq_call(u->channel, AMQP_CONFIRM_SELECT_METHOD, &confirm, on_answer, u) == OK;
            u->calls += rabbitmq_call(u->channel, AMQP_QUEUE_DECLARE_METHOD, &queue, on_answer, u) == OK;
            u->calls += rabbitmq_call(u->channel, AMQP_BASIC_CONSUME_METHOD, &consume, on_answer, u) == OK;
            (void)!rabbitmq_publish(u->channel, &p, NULL);
        }
}

static void turn(struct rabbitmq_link *l)
{
    for (int i = 0; i < 3; i++)
        must(loop_turn(l->loop, 0) == OK);
}

/* In pieces, each followed by turns of the loop. */
static void feed(struct rabbitmq_link *l, int fd, const uint8_t *data, size_t size, size_t piece)
{
    char answers[4096];
    while (size) {
        size_t n = size < piece ? size : piece;
        if (send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
            break;
        turn(l);
        while (recv(fd, answers, sizeof(answers), MSG_DONTWAIT) > 0)
            ;
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rabbitmq_link_events events = {.up = on_up};
    static const struct rabbitmq_client_param params[] = {{"url", "amqp://127.0.0.1:1"}};
    static struct rabbitmq_client *client;
    struct rabbitmq_link_config config = {.name = "fuzz",
                                          .message_bytes_max = 1000,
                                          .unsent_bytes_max = 10000,
                                          .mailbox_max = 1,
                                          .events = &events,
                                          .arg = &user};
    int pair[2];
    if (size < 2)
        return 0;
    if (!client)
        must(rabbitmq_client_new(params, 1, NULL, &client, NULL) == OK);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    user = (struct user){.does = data[0]};
    must(rabbitmq_link_make(client, &config, &user.link) == OK);
    rabbitmq_link_adopt(user.link, pair[0]);
    feed(user.link, pair[1], data + 2, size - 2, data[1] ? data[1] * 16u : 1);
    shutdown(pair[1], SHUT_RDWR);
    turn(user.link);
    must(user.calls == user.answers && user.channels == user.closed);
    rabbitmq_client_left(client, &user.link->failed, user.link->state >= RABBITMQ_OPEN);
    rabbitmq_link_destroy(user.link);
    close(pair[1]);
    return 0;
}
