/* SPDX-License-Identifier: Apache-2.0
 *
 * Links to RabbitMQ against a server of the test's own: login, calls, channels, messages both ways, confirms, blocked,
 * heartbeats, deadlines, connections that are lost and come back. A real server: tests/server/test_rabbitmq_client.py.
 */
#include "../lib/amqp_rig.h"

#include <netdb.h>
#include <semaphore.h>

#include "../lib/fault.h"

static struct amqp_peer peer;
static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    alarm(60);
    return 0;
}

static void stop(void)
{
    rig_stop(&rig);
    amqp_peer_stop(&peer);
}

/* Logs in and answers what is asked until the end. */
static void serve(struct amqp_peer *p)
{
    amqp_peer_login(p);
    amqp_peer_serve(p, 0);
}

static void open_channel(struct rig *r)
{
    assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &r->channel), OK);
}

/* ---- login ---- */

static void test_it_logs_in_says_what_is_there_and_leaves(void **state)
{
    (void)state;
    amqp_peer_start(&peer, serve, NULL);
    peer.tune = (amqp_connection_tune_t){.channel_max = 5, .frame_max = 8192, .heartbeat = 7};
    rig_start(&rig, &peer, "10");
    assert_string_equal(rig_wait(&rig, "up"), "up Peer 4.1.2 4.1 frame 8192 channels 5 heartbeat 7");
    assert_true(rabbitmq_client_up(rig.client, NULL, 0));
    rabbitmq_link_free(rig.link);
    rig.link = NULL;
    char text[100];
    snprintf(text, sizeof(text), "down closed: RabbitMQ at 127.0.0.1:%u is left", peer.port);
    assert_string_equal(rig_wait(&rig, "down"), text);
    amqp_peer_stop(&peer);
    assert_string_equal(peer.user, ":me:secretword");
    assert_string_equal(peer.vhost, "v/1");
    rig_stop(&rig);
}

static void refuse_login(struct amqp_peer *p)
{
    amqp_connection_close_t m = {.reply_code = 403, .reply_text = amqp_cstring_bytes("ACCESS_REFUSED by secretword.")};
    if (atomic_load(&p->connections) > 1) {
        serve(p);
        return;
    }
    amqp_peer_start_ok(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
    amqp_peer_expect(p, AMQP_CONNECTION_CLOSE_OK_METHOD);
}

static void test_a_login_that_is_refused_is_told_without_the_password(void **state)
{
    (void)state;
    amqp_peer_start(&peer, refuse_login, NULL);
    rig_start(&rig, &peer, "10");
    const char *said = rig_wait(&rig, "notice AuthenticationFailed");
    rig_has(said, "refuses the login of 'me': ACCESS_REFUSED by **********; check username and password");
    rig_has(rig_wait(&rig, "down denied"), "by **********;");
    rig_wait(&rig, "notice BrokerUp");
    rig_wait(&rig, "up");
    for (unsigned i = 0; i < rig.count; i++)
        assert_null(strstr(rig.lines[i], "secretword"));
    stop();
}

static void refuse_vhost(struct amqp_peer *p)
{
    amqp_connection_close_t m = {.reply_code = 530,
                                 .reply_text = amqp_cstring_bytes("NOT_ALLOWED - vhost v/1 not found")};
    if (atomic_load(&p->connections) == 2)
        m.reply_text = amqp_cstring_bytes("NOT_ALLOWED - access to vhost 'v/1' refused for user 'me'");
    amqp_peer_tuned(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
    amqp_peer_expect(p, AMQP_CONNECTION_CLOSE_OK_METHOD);
}

static void test_a_vhost_that_is_not_there_and_one_that_is_closed_to_us(void **state)
{
    char why[300];
    (void)state;
    amqp_peer_start(&peer, refuse_vhost, NULL);
    rig_start(&rig, &peer, "10");
    rig_has(rig_wait(&rig, "notice VhostNotFound"), "has no vhost 'v/1'");
    rig_wait(&rig, "down notfound");
    rig_has(rig_wait(&rig, "notice AccessRefused"), "give 'me' its rights there");
    assert_false(rabbitmq_client_up(rig.client, why, sizeof(why)));
    rig_has(why, "since 20");
    assert_true(rabbitmq_client_failed(rig.client));
    assert_int_equal(rig_count(&rig, "down"), 1); /* once, until it was up */
    stop();
}

static void test_several_hosts_are_tried_in_turn(void **state)
{
    char url[120];
    (void)state;
    static struct amqp_peer closed;
    amqp_peer_start(&closed, amqp_peer_hang, NULL);
    amqp_peer_stop(&closed); /* nobody listens on its port any more */
    amqp_peer_start(&peer, serve, NULL);
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u,nosuch.invalid,127.0.0.1:%u", closed.port, peer.port);
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig_link(&rig);
    rig_wait(&rig, "up");
    assert_int_equal(rig_count(&rig, "notice") + rig_count(&rig, "down"), 0); /* one is there: nothing is down */
    assert_string_equal(peer.user, ":guest:guest");
    stop();

    snprintf(url, sizeof(url), "amqp://nosuch.invalid,127.0.0.1:%u", closed.port); /* none is; one is a mistake */
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig_link(&rig);
    rig_has(rig_wait(&rig, "notice BrokerAddressUnknown"), "nosuch.invalid:5672 is not found");
    rig_has(rig_wait(&rig, "down unavailable"), "nosuch.invalid:5672 is not found");
    assert_int_equal(rig_count(&rig, "notice BrokerDown"), 0);
    rig_stop(&rig);
}

/* A name server that is silent until the test is over. */
static sem_t name_server;
static int silent(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)name, (void)port, (void)hints, (void)out;
    while (sem_wait(&name_server))
        ;
    return EAI_AGAIN;
}

static void test_a_silent_name_server_keeps_nobody(void **state)
{
    char url[120];
    (void)state;
    sem_init(&name_server, 0, 0);
    amqp_peer_start(&peer, serve, NULL);
    snprintf(url, sizeof(url), "amqp://a-name,127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig.client->resolve = silent;
    rig.client->connect_ms = 300;
    rig_link(&rig);
    rig_wait(&rig, "up"); /* the other host, after 0.3 s */
    rig_stop(&rig);
    amqp_peer_stop(&peer);

    rig_client(&rig, (const char *const[]){"url", "amqp://another-name", NULL});
    rig.client->resolve = silent;
    rig.client->connect_ms = 300;
    rig_link(&rig);
    rig_has(rig_wait(&rig, "notice BrokerAddressUnknown"), "another-name:5672 is not found: no name server answers");
    rig_stop(&rig); /* at once, whether it is asked again already or not */
    for (int i = 0; i < 3; i++)
        sem_post(&name_server);
}

/* ---- calls ---- */

static void call_all(struct rig *r)
{
    amqp_table_entry_t arguments[] = {
        {amqp_cstring_bytes("x-queue-type"), {.kind = 'S', .value.bytes = amqp_cstring_bytes("quorum")}}};
    amqp_queue_declare_t queue = {.queue = amqp_cstring_bytes("q"), .arguments = {1, arguments}};
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    amqp_queue_declare_t bad = {.queue = {300, (char[300]){"x"}}};
    open_channel(r);
    assert_int_equal(rig_call(r, r->channel, AMQP_QUEUE_DECLARE_METHOD, &queue, "declare"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_QUEUE_DECLARE_METHOD, &bad, "bad"), ERR_INVALID);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_GET_METHOD, &qos, "get"), ERR_UNSUPPORTED);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_ACK_METHOD, &qos, "ack"), ERR_UNSUPPORTED);
}

static void close_channel(struct rig *r)
{
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    struct rabbitmq_channel *c = r->channel;
    assert_int_equal(rig_call(r, c, AMQP_BASIC_QOS_METHOD, &qos, "late"), OK);
    rabbitmq_channel_close(c);
    rabbitmq_channel_close(c);
    assert_ptr_equal(r->channel, c); /* `closed` comes later */
    assert_int_equal(rig_call(r, c, AMQP_BASIC_QOS_METHOD, &qos, "never"), ERR_CLOSED);
    assert_int_equal(rabbitmq_publish(c, &(struct rabbitmq_publish){.body = SLICE("x")}, NULL), ERR_CLOSED);
    rabbitmq_ack(c, 1, true);
}

static void test_calls_are_answered_in_order_and_a_channel_is_left(void **state)
{
    (void)state;
    amqp_peer_start(&peer, serve, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, call_all);
    assert_string_equal(rig_wait(&rig, "answer"), "answer declare ok 0 ");
    assert_string_equal(rig_wait(&rig, "answer"), "answer qos ok 0 ");
    rig_do(&rig, close_channel);
    assert_string_equal(rig_wait(&rig, "answer"), "answer late ok 0 ");
    assert_string_equal(rig_wait(&rig, "closed"), "closed ok 0 closed");
    stop();
}

static void refuse_declare(struct amqp_peer *p)
{
    amqp_channel_close_t m = {.reply_code = 406,
                              .reply_text = amqp_cstring_bytes("PRECONDITION_FAILED - inequivalent arg 'durable'")};
    amqp_peer_login(p);
    amqp_peer_serve(p, AMQP_QUEUE_DECLARE_METHOD);
    amqp_peer_method(p, p->channel, AMQP_CHANNEL_CLOSE_METHOD, &m);
    amqp_peer_expect(p, AMQP_CHANNEL_CLOSE_OK_METHOD);
    amqp_peer_serve(p, 0);
}

static void test_a_refused_call_ends_its_channel_only(void **state)
{
    (void)state;
    amqp_peer_start(&peer, refuse_declare, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, open_channel);
    struct rabbitmq_channel *other = rig.channel;
    rig_do(&rig, call_all);
    rig_has(rig_wait(&rig, "answer declare conflict 406"),
            "PRECONDITION_FAILED - inequivalent arg 'durable' (RabbitMQ at");
    rig_wait(&rig, "answer qos conflict 406");
    rig_wait(&rig, "closed conflict 406");
    rig.channel = other;
    rig_do(&rig, close_channel);
    rig_wait(&rig, "answer late ok");
    rig_wait(&rig, "closed ok");
    assert_int_equal(rig_count(&rig, "down"), 0);
    stop();
}

/* As RabbitMQ does: what a queue answers comes late, and not in the order of the calls. */
static void answer_late(struct amqp_peer *p)
{
    unsigned number;
    amqp_peer_login(p);
    amqp_peer_serve(p, AMQP_BASIC_CONSUME_METHOD); /* a */
    number = p->channel;
    amqp_peer_expect(p, AMQP_BASIC_CONSUME_METHOD); /* b */
    amqp_peer_expect(p, AMQP_BASIC_QOS_METHOD);
    amqp_peer_method(p, number, AMQP_BASIC_QOS_OK_METHOD, &(amqp_basic_qos_ok_t){0});
    amqp_peer_method(p, number, AMQP_BASIC_CONSUME_OK_METHOD, &(amqp_basic_consume_ok_t){amqp_cstring_bytes("b")});
    amqp_peer_method(p, number, AMQP_BASIC_CONSUME_OK_METHOD, &(amqp_basic_consume_ok_t){amqp_cstring_bytes("a")});
    amqp_peer_expect(p, AMQP_BASIC_CONSUME_METHOD); /* its tag is the server's to choose */
    amqp_peer_method(p, number, AMQP_BASIC_CONSUME_OK_METHOD, &(amqp_basic_consume_ok_t){amqp_cstring_bytes("amq.1")});
    amqp_peer_serve(p, 0);
}

static void consume_two(struct rig *r)
{
    amqp_basic_consume_t a = {.queue = amqp_cstring_bytes("q"), .consumer_tag = amqp_cstring_bytes("a")};
    amqp_basic_consume_t b = {.queue = amqp_cstring_bytes("r"), .consumer_tag = amqp_cstring_bytes("b")};
    amqp_basic_consume_t any = {.queue = amqp_cstring_bytes("s")};
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    open_channel(r);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_CONSUME_METHOD, &a, "a"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_CONSUME_METHOD, &b, "b"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_CONSUME_METHOD, &any, "any"), OK);
}

static void test_answers_of_queues_find_their_calls(void **state)
{
    (void)state;
    amqp_peer_start(&peer, answer_late, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, consume_two);
    assert_string_equal(rig_wait(&rig, "answer"), "answer qos ok 0 ");
    assert_string_equal(rig_wait(&rig, "answer"), "answer b ok 0 ");
    assert_string_equal(rig_wait(&rig, "answer"), "answer a ok 0 ");
    assert_string_equal(rig_wait(&rig, "answer"), "answer any ok 0 ");
    stop();
}

/* Of the first channel nothing is answered, not even its close; the second one is. */
static void answer_others(struct amqp_peer *p)
{
    amqp_channel_open_ok_t open = {.channel_id = amqp_empty_bytes};
    amqp_peer_login(p);
    while (amqp_peer_read(p)) {
        if (p->channel == 0 && p->method == AMQP_CONNECTION_CLOSE_METHOD)
            amqp_peer_method(p, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &(amqp_connection_close_ok_t){0});
        if (p->method == AMQP_CHANNEL_OPEN_METHOD)
            amqp_peer_method(p, p->channel, AMQP_CHANNEL_OPEN_OK_METHOD, &open);
        if (p->method == AMQP_BASIC_QOS_METHOD && p->channel == 2)
            amqp_peer_method(p, 2, AMQP_BASIC_QOS_OK_METHOD, &(amqp_basic_qos_ok_t){0});
    }
}

static void call_soon(struct rig *r)
{
    amqp_queue_declare_t queue = {.queue = amqp_cstring_bytes("q")};
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    struct rig_answer *mine = malloc(sizeof(*mine));
    open_channel(r);
    *mine = (struct rig_answer){r, "short"};
    assert_int_equal(rig_call(r, r->channel, AMQP_QUEUE_DECLARE_METHOD, &queue, "long"), OK);
    assert_int_equal(rabbitmq_call_within(r->channel, 300, AMQP_BASIC_QOS_METHOD, &qos, rig_answered, mine), OK);
}

static void test_an_answer_that_does_not_come_ends_the_channel_then_the_connection(void **state)
{
    (void)state;
    amqp_peer_start(&peer, answer_others, NULL);
    char url[80];
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig.client->answer_ms = 20000;
    rig.client->farewell_ms = 200;
    rig_link(&rig);
    rig_wait(&rig, "up");
    rig_do(&rig, call_soon); /* on channel 1 */
    rig_wait(&rig, "answer long timeout");
    rig_has(rig_wait(&rig, "answer short timeout"), "did not answer within 0.3 s");
    rig_wait(&rig, "closed timeout");
    rig_has(rig_wait(&rig, "down timeout"), "did not close a channel within 0.2 s");
    rig_wait(&rig, "up");
    stop();
}

static void use_all_channels(struct rig *r)
{
    struct rabbitmq_channel *c = NULL;
    for (int i = 0; i < 5; i++)
        assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &c), OK);
    assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &c), ERR_FULL);
    rabbitmq_channel_close(c);
}

static void use_one_more(struct rig *r)
{
    struct rabbitmq_channel *c = NULL;
    assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &c), OK);
}

static void test_channels_are_as_many_as_the_server_takes(void **state)
{
    (void)state;
    amqp_peer_start(&peer, serve, NULL);
    peer.tune.channel_max = 5;
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, use_all_channels);
    rig_wait(&rig, "closed ok");
    rig_do(&rig, use_one_more);
    rabbitmq_link_free(rig.link);
    rig.link = NULL;
    assert_int_equal(rig_count(&rig, "closed"), 6);
    stop();
}

/* ---- messages ---- */

static char large[50000];

static void deliver_some(struct amqp_peer *p)
{
    amqp_basic_deliver_t m = {.consumer_tag = amqp_cstring_bytes("c"), .delivery_tag = 2};
    amqp_basic_properties_t none = {0};
    amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes("c"), .nowait = 1};
    amqp_peer_login(p);
    amqp_peer_serve(p, AMQP_BASIC_QOS_METHOD);
    amqp_peer_deliver(p, 1, 1, "one");
    amqp_peer_method(p, 1, AMQP_BASIC_DELIVER_METHOD, &m); /* of several frames, another channel's between them */
    amqp_peer_deliver(p, 2, 1, "other");
    amqp_peer_header(p, 1, sizeof(large), &none);
    amqp_peer_frame(p, AMQP_FRAME_HEARTBEAT, 0, "", 0);
    for (size_t at = 0; at < sizeof(large); at += 4088)
        amqp_peer_body(p, 1, large + at, sizeof(large) - at < 4088 ? sizeof(large) - at : 4088);
    amqp_peer_deliver(p, 1, 3, "");
    m.delivery_tag = 4;
    amqp_peer_method(p, 1, AMQP_BASIC_DELIVER_METHOD, &m); /* beyond message_bytes_max */
    amqp_peer_header(p, 1, 3 * sizeof(large), &none);
    for (int i = 0; i < 3; i++)
        amqp_peer_body(p, 1, large, sizeof(large));
    amqp_peer_deliver(p, 1, 5, "five");
    amqp_peer_method(p, 1, AMQP_BASIC_CANCEL_METHOD, &cancel);
    amqp_peer_expect(p, AMQP_BASIC_ACK_METHOD);
    amqp_peer_serve(p, 0);
}

static void consume(struct rig *r)
{
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    struct rabbitmq_channel *first;
    open_channel(r);
    first = r->channel;
    open_channel(r);
    assert_int_equal(rig_call(r, first, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
    r->channel = first;
}

static void settle_all(struct rig *r)
{
    rabbitmq_nack(r->channel, 4, false, false);
    rabbitmq_ack(r->channel, 5, true);
}

static void test_messages_come_whole_however_their_frames_do(void **state)
{
    (void)state;
    memset(large, 'L', sizeof(large));
    amqp_peer_start(&peer, deliver_some, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, consume);
    assert_string_equal(rig_wait(&rig, "deliver"), "deliver 1 one (3)");
    assert_string_equal(rig_wait(&rig, "deliver"), "deliver 1 other (5)");
    rig_has(rig_wait(&rig, "deliver 2 LLLLL"), "(50000)");
    assert_string_equal(rig_wait(&rig, "deliver"), "deliver 3  (0)");
    assert_string_equal(rig_wait(&rig, "deliver"), "deliver 4 too large (150000)");
    assert_string_equal(rig_wait(&rig, "deliver"), "deliver 5 five (4)");
    assert_string_equal(rig_wait(&rig, "canceled"), "canceled c");
    rig_do(&rig, settle_all);
    stop();
}

/* What the link sends, put together again: the body of each message, its frames no larger than agreed. */
static void confirm_some(struct amqp_peer *p)
{
    amqp_basic_return_t no_route = {.reply_code = 312, .reply_text = amqp_cstring_bytes("NO_ROUTE")};
    amqp_basic_properties_t none = {0};
    size_t got = 0;
    amqp_peer_login(p);
    amqp_peer_serve(p, AMQP_BASIC_PUBLISH_METHOD);
    while (got < sizeof(large) && amqp_peer_read(p)) {
        assert_true(p->payload.len + 8 <= 4096);
        if (p->type == AMQP_FRAME_BODY)
            got += p->payload.len;
    }
    amqp_peer_expect(p, AMQP_BASIC_PUBLISH_METHOD);
    amqp_peer_method(p, 1, AMQP_BASIC_ACK_METHOD, &(amqp_basic_ack_t){.delivery_tag = 1});
    amqp_peer_method(p, 1, AMQP_BASIC_RETURN_METHOD, &no_route);
    amqp_peer_header(p, 1, 4, &none);
    amqp_peer_body(p, 1, "back", 4);
    amqp_peer_method(p, 1, AMQP_BASIC_ACK_METHOD, &(amqp_basic_ack_t){.delivery_tag = 3, .multiple = 1});
    amqp_peer_method(p, 1, AMQP_BASIC_NACK_METHOD, &(amqp_basic_nack_t){.delivery_tag = 4});
    amqp_peer_serve(p, 0);
}

static void publish_four(struct rig *r)
{
    char name[300] = "";
    uint64_t sequence = 99;
    amqp_table_entry_t entries[] = {{amqp_cstring_bytes("h"), {.kind = 'S', .value.bytes = {sizeof(large), large}}}};
    amqp_basic_properties_t heavy = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {1, entries}};
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .mandatory = true, .body = slice_of(large, sizeof(large))};
    open_channel(r);
    assert_int_equal(rig_call(r, r->channel, AMQP_CONFIRM_SELECT_METHOD, &(amqp_confirm_select_t){0}, "confirm"), OK);
    assert_int_equal(rabbitmq_publish(r->channel, &p, &sequence), OK);
    assert_int_equal(sequence, 1);
    p.body = SLICE("small");
    for (unsigned i = 2; i <= 4; i++) {
        assert_int_equal(rabbitmq_publish(r->channel, &p, &sequence), OK);
        assert_int_equal(sequence, i);
    }
    p.properties = &heavy; /* what cannot be sent counts for nothing */
    assert_int_equal(rabbitmq_publish(r->channel, &p, &sequence), ERR_TOO_LARGE);
    p.properties = NULL;
    p.routing_key = slice_of(name, sizeof(name));
    assert_int_equal(rabbitmq_publish(r->channel, &p, &sequence), ERR_INVALID);
}

static void test_messages_go_out_and_are_confirmed(void **state)
{
    (void)state;
    amqp_peer_start(&peer, confirm_some, NULL);
    peer.tune.frame_max = 4096;
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, publish_four);
    assert_string_equal(rig_wait(&rig, "confirmed"), "confirmed 1 ok");
    assert_string_equal(rig_wait(&rig, "returned"), "returned 312 NO_ROUTE back");
    assert_string_equal(rig_wait(&rig, "confirmed"), "confirmed 3 all ok");
    assert_string_equal(rig_wait(&rig, "confirmed"), "confirmed 4 refused");
    stop();
}

/* ---- blocked, full ---- */

static void block(struct amqp_peer *p)
{
    amqp_connection_blocked_t m = {.reason = amqp_cstring_bytes("low on memory")};
    amqp_peer_login(p);
    amqp_peer_method(p, 0, AMQP_CONNECTION_BLOCKED_METHOD, &m);
    amqp_peer_serve(p, AMQP_BASIC_QOS_METHOD);
    amqp_peer_method(p, 0, AMQP_CONNECTION_UNBLOCKED_METHOD, &(amqp_connection_unblocked_t){0});
    amqp_peer_serve(p, 0);
}

static void publish_while_blocked(struct rig *r)
{
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .body = SLICE("b")};
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    open_channel(r);
    assert_string_equal(rabbitmq_link_blocked(r->link), "low on memory");
    assert_int_equal(rabbitmq_publish(r->channel, &p, NULL), ERR_UNAVAILABLE);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
}

static void publish_again(struct rig *r)
{
    assert_null(rabbitmq_link_blocked(r->link));
    assert_int_equal(rabbitmq_publish(r->channel, &(struct rabbitmq_publish){.body = SLICE("b")}, NULL), OK);
}

static void test_nothing_is_published_while_the_server_is_out_of_memory(void **state)
{
    (void)state;
    amqp_peer_start(&peer, block, NULL);
    rig_start(&rig, &peer, "10");
    rig_has(rig_wait(&rig, "notice BrokerBlocked"), "takes no messages now (low on memory)");
    assert_string_equal(rig_wait(&rig, "blocked"), "blocked low on memory");
    rig_do(&rig, publish_while_blocked);
    rig_wait(&rig, "notice BrokerUnblocked");
    assert_string_equal(rig_wait(&rig, "unblocked"), "unblocked");
    rig_do(&rig, publish_again);
    stop();
}

/* Reads nothing until it is told to. */
static sem_t may_read;
static void read_late(struct amqp_peer *p)
{
    amqp_peer_login(p);
    while (sem_wait(&may_read))
        ;
    sem_post(&may_read);
    amqp_peer_serve(p, 0);
}

static void fill(struct rig *r)
{
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .body = slice_of(large, sizeof(large))};
    enum err e = OK;
    unsigned n = 0;
    open_channel(r);
    for (; !e; n++)
        e = rabbitmq_publish(r->channel, &p, NULL);
    assert_int_equal(e, ERR_FULL);
    assert_true(n > 20);
    size_t unsent = rabbitmq_link_unsent(r->link);
    assert_true(unsent >= 1 << 20 && unsent < (1 << 20) + 60000);
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK); /* calls still are taken */
}

static void test_a_server_that_reads_slowly_fills_a_bounded_buffer(void **state)
{
    (void)state;
    sem_init(&may_read, 0, 0);
    amqp_peer_start(&peer, read_late, NULL);
    rig_start(&rig, &peer, "60");
    rig_wait(&rig, "up");
    rig_do(&rig, fill);
    sem_post(&may_read);
    rig_wait(&rig, "room");
    rig_wait(&rig, "answer qos ok");
    stop();
}

/* ---- silence ---- */

static void freeze(struct amqp_peer *p)
{
    amqp_peer_login(p);
    if (atomic_load(&p->connections) == 1)
        amqp_peer_hang(p);
    else
        amqp_peer_serve(p, 0);
}

static void call_into_the_void(struct rig *r)
{
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    open_channel(r);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
}

static void test_a_silent_server_is_found_out_in_two_heartbeats(void **state)
{
    struct timespec before, after;
    (void)state;
    amqp_peer_start(&peer, freeze, NULL);
    rig_start(&rig, &peer, "1");
    rig_wait(&rig, "up");
    clock_gettime(CLOCK_MONOTONIC, &before);
    rig_do(&rig, call_into_the_void);
    rig_has(rig_wait(&rig, "answer qos unavailable"), "is silent for 2 s");
    rig_wait(&rig, "closed unavailable");
    rig_has(rig_wait(&rig, "down unavailable"), "is silent for 2 s");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_in_range(after.tv_sec - before.tv_sec, 1, 4);
    rig_wait(&rig, "up");
    stop();
}

/* Counts heartbeats, and sends none: whoever sends something is heard. */
static void count_heartbeats(struct amqp_peer *p)
{
    unsigned n = 0;
    amqp_connection_blocked_t m = {.reason = amqp_cstring_bytes("four heartbeats came")};
    amqp_peer_login(p);
    while (n < 4 && amqp_peer_read(p))
        if (p->type == AMQP_FRAME_HEARTBEAT && ++n < 4)
            amqp_peer_frame(p, AMQP_FRAME_HEARTBEAT, 0, "", 0);
    amqp_peer_method(p, 0, AMQP_CONNECTION_BLOCKED_METHOD, &m);
    amqp_peer_serve(p, 0);
}

static void test_heartbeats_are_sent_and_heard(void **state)
{
    (void)state;
    amqp_peer_start(&peer, count_heartbeats, NULL);
    rig_start(&rig, &peer, "1");
    rig_wait(&rig, "blocked four");
    assert_int_equal(rig_count(&rig, "down"), 0);
    stop();
}

static void test_without_heartbeats_a_server_that_takes_nothing_is_given_up(void **state)
{
    (void)state;
    sem_init(&may_read, 0, 0);
    amqp_peer_start(&peer, read_late, NULL);
    char url[80];
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, "heartbeat", "0", NULL});
    rig.client->stall_ms = 1000;
    peer.tune.heartbeat = 0;
    rig_link(&rig);
    rig_wait(&rig, "up");
    rig_do(&rig, fill);
    rig_has(rig_wait(&rig, "down unavailable"), "takes nothing of what is sent for 1 s");
    sem_post(&may_read);
    rig_wait(&rig, "up");
    stop();
}

/* ---- the end ---- */

static void hang_at_the_end(struct amqp_peer *p)
{
    amqp_peer_login(p);
    amqp_peer_hang(p);
}

static void test_a_server_that_does_not_say_goodbye_is_left_in_time(void **state)
{
    (void)state;
    amqp_peer_start(&peer, hang_at_the_end, NULL);
    char url[80];
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig.client->close_ms = 200;
    rig_link(&rig);
    rig_wait(&rig, "up");
    rig_do(&rig, call_into_the_void);
    rabbitmq_link_free(rig.link);
    rig.link = NULL;
    rig_wait(&rig, "answer qos closed");
    rig_wait(&rig, "closed closed");
    rig_wait(&rig, "down closed");
    stop();
}

static void reset_it(struct rig *r)
{
    open_channel(r);
    rabbitmq_link_reset(r->link, ERR_UNAVAILABLE, "for a test");
    assert_false(rabbitmq_link_is_up(r->link));
    assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &r->channel), ERR_UNAVAILABLE);
    assert_int_equal(rabbitmq_publish(r->channel, &(struct rabbitmq_publish){.body = SLICE("b")}, NULL), ERR_CLOSED);
    assert_int_equal(rig_count(r, "down"), 0); /* not within the call */
}

static void test_a_link_is_reset_by_its_user(void **state)
{
    (void)state;
    amqp_peer_start(&peer, serve, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig_do(&rig, reset_it);
    rig_wait(&rig, "closed unavailable");
    rig_has(rig_wait(&rig, "down unavailable"), "is given up: for a test");
    rig_wait(&rig, "up");
    stop();
}

/* Each allocation of the link's thread fails once, in a connection made for it; it comes up again, and nothing leaks.
 */
static unsigned fault_number;
static void use_it(struct rig *r)
{
    struct rabbitmq_publish p = {.exchange = SLICE("x"), .body = SLICE("b")};
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    if (rabbitmq_channel_open(r->link, &rig_channel_events, r, &r->channel) != OK)
        return;
    (void)!rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos");
    (void)!rabbitmq_publish(r->channel, &p, NULL);
    rabbitmq_ack(r->channel, 1, false);
}

static void arm(struct rig *r)
{
    fault_arm(fault_number);
    rabbitmq_link_reset(r->link, ERR_UNAVAILABLE, "for a fault");
}

static bool fired;
static void disarm(struct rig *r)
{
    (void)r;
    fired = fault_disarm();
}

static void test_every_allocation_of_a_link_may_fail(void **state)
{
    (void)state;
    amqp_peer_start(&peer, serve, NULL);
    rig_start(&rig, &peer, "10");
    rig_wait(&rig, "up");
    rig.client->retry_ms_max = 1;
    rig.on_up = use_it;
    for (fault_number = 1, fired = true; fired; fault_number++) {
        rig_do(&rig, arm);
        rig_wait(&rig, "down");
        rig_wait(&rig, "up");
        rig_do(&rig, disarm);
    }
    assert_true(fault_number > 5);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_it_logs_in_says_what_is_there_and_leaves, set_up),
        cmocka_unit_test_setup(test_a_login_that_is_refused_is_told_without_the_password, set_up),
        cmocka_unit_test_setup(test_a_vhost_that_is_not_there_and_one_that_is_closed_to_us, set_up),
        cmocka_unit_test_setup(test_several_hosts_are_tried_in_turn, set_up),
        cmocka_unit_test_setup(test_a_silent_name_server_keeps_nobody, set_up),
        cmocka_unit_test_setup(test_calls_are_answered_in_order_and_a_channel_is_left, set_up),
        cmocka_unit_test_setup(test_a_refused_call_ends_its_channel_only, set_up),
        cmocka_unit_test_setup(test_answers_of_queues_find_their_calls, set_up),
        cmocka_unit_test_setup(test_an_answer_that_does_not_come_ends_the_channel_then_the_connection, set_up),
        cmocka_unit_test_setup(test_channels_are_as_many_as_the_server_takes, set_up),
        cmocka_unit_test_setup(test_messages_come_whole_however_their_frames_do, set_up),
        cmocka_unit_test_setup(test_messages_go_out_and_are_confirmed, set_up),
        cmocka_unit_test_setup(test_nothing_is_published_while_the_server_is_out_of_memory, set_up),
        cmocka_unit_test_setup(test_a_server_that_reads_slowly_fills_a_bounded_buffer, set_up),
        cmocka_unit_test_setup(test_a_silent_server_is_found_out_in_two_heartbeats, set_up),
        cmocka_unit_test_setup(test_heartbeats_are_sent_and_heard, set_up),
        cmocka_unit_test_setup(test_without_heartbeats_a_server_that_takes_nothing_is_given_up, set_up),
        cmocka_unit_test_setup(test_a_server_that_does_not_say_goodbye_is_left_in_time, set_up),
        cmocka_unit_test_setup(test_a_link_is_reset_by_its_user, set_up),
        cmocka_unit_test_setup(test_every_allocation_of_a_link_may_fail, set_up),
    };
    return cmocka_run_group_tests_name("clients_rabbitmq_link", tests, NULL, NULL);
}
