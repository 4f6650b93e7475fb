/* SPDX-License-Identifier: Apache-2.0
 *
 * What the RabbitMQ bus promises beyond the contract, on a real node, which tests/real starts and names in
 * LEAT_RABBITMQ: what it makes there; queues and exchanges that somebody deletes; a connection that is cut, or whose
 * other side stands still; deliveries that are held for too long; several processes on one queue.
 * `channels_contract_rabbitmq_faults WORD` runs the cases whose name holds WORD.
 */
#include "../bus/contract.c"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/lib/children.h"

/* ---- what the bus told ---- */

static struct {
    char codes[64][32];
    size_t count;
} told;

static void notice(void *arg, struct bus *b, int severity, const char *code, const char *text)
{
    (void)arg, (void)b;
    printf("notice %d %s: %s\n", severity, code, text);
    must(told.count < 64);
    snprintf(told.codes[told.count++], sizeof told.codes[0], "%s", code);
}

static bool heard(const char *code)
{
    for (size_t i = 0; i < told.count; i++) {
        if (strcmp(told.codes[i], code) == 0)
            return true;
    }
    return false;
}

/* ---- somebody else at the node ---- */

static amqp_connection_state_t node;
static char prefix[64];

static char *named(const char *name)
{
    static char text[8][200];
    static unsigned n;
    char *out = text[n++ % 8];
    snprintf(out, sizeof text[0], "%s%s", prefix, name);
    return out;
}

static amqp_bytes_t bytes_named(const char *name)
{
    return amqp_cstring_bytes(named(name));
}

static void node_open(void)
{
    char host[200];
    snprintf(host, sizeof host, "%s", getenv("LEAT_RABBITMQ"));
    char *colon = strrchr(host, ':');
    must(colon);
    *colon = '\0';
    node = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(node);
    must(socket && amqp_socket_open(socket, host, atoi(colon + 1)) == AMQP_STATUS_OK);
    must(amqp_login(node, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type ==
         AMQP_RESPONSE_NORMAL);
    must(amqp_channel_open(node, 1));
}

/* What it says of a queue; -1: there is none. */
static int64_t node_counts(const char *queue)
{
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(node, 1, bytes_named(queue), 1, 1, 0, 0, amqp_empty_table);
    if (ok)
        return ok->message_count;
    amqp_channel_close_ok_t closed = {0};
    amqp_send_method(node, 1, AMQP_CHANNEL_CLOSE_OK_METHOD, &closed);
    must(amqp_channel_open(node, 1));
    return -1;
}

static void node_deletes_queue(const char *queue)
{
    must(amqp_queue_delete(node, 1, bytes_named(queue), 0, 0));
}

static void node_deletes_exchange(const char *exchange)
{
    must(amqp_exchange_delete(node, 1, bytes_named(exchange), 0));
}

static void node_makes_exchange(const char *exchange, const char *type)
{
    must(amqp_exchange_declare(node, 1, bytes_named(exchange), amqp_cstring_bytes(type), 0, 1, 0, 0, amqp_empty_table));
}

static void node_makes_queue(const char *queue)
{
    must(amqp_queue_declare(node, 1, bytes_named(queue), 0, 1, 0, 0, amqp_empty_table));
}

static void node_publishes(const char *queue, const char *text)
{
    const amqp_basic_properties_t id = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG, .message_id = amqp_cstring_bytes("m1")};
    must(amqp_basic_publish(node, 1, amqp_empty_bytes, bytes_named(queue), 0, 0, &id, amqp_cstring_bytes(text)) == 0);
}

static void prefix_choose(const struct CMUnitTest *test)
{
    uint64_t word;
    (void)test;
    must(getrandom(&word, sizeof word, 0) == sizeof word);
    snprintf(prefix, sizeof prefix, "faults-%016llx.", (unsigned long long)word);
    must(setenv("LEAT_RABBITMQ_PREFIX", prefix, 1) == 0);
    node_open();
}

static void all_gone(const struct CMUnitTest *test)
{
    (void)test;
    for (const char *const *name = (const char *const[]){"leat.ns.c.s", "leat.ns.c.t", "in", NULL}; *name; name++)
        node_deletes_queue(*name);
    for (const char *const *name = (const char *const[]){"leat.ns.c", "theirs", NULL}; *name; name++)
        node_deletes_exchange(*name);
    amqp_connection_close(node, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(node);
}

/* ---- a way to the node that can be cut or stand still ---- */

#define WAYS_MAX 64

static struct way {
    int listener, port;
    pthread_t thread;
    atomic_bool quit, cut, closed, still; /* closed: nobody gets through; still: nothing moves */
    struct {
        int ends[2];
    } pairs[WAYS_MAX];
    size_t count;
} way;

static int node_connect(void)
{
    char host[200];
    snprintf(host, sizeof host, "%s", getenv("LEAT_RABBITMQ"));
    char *colon = strrchr(host, ':');
    *colon = '\0';
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    must(inet_pton(AF_INET, host, &at.sin_addr) == 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return fd;
}

static void pair_close(size_t i)
{
    close(way.pairs[i].ends[0]);
    close(way.pairs[i].ends[1]);
    way.pairs[i] = way.pairs[--way.count];
}

static bool pair_move(size_t i, int from)
{
    char bytes[16384];
    ssize_t n = read(way.pairs[i].ends[from], bytes, sizeof bytes);
    for (ssize_t at = 0; at < n;) {
        ssize_t w = send(way.pairs[i].ends[1 - from], bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (w < 0)
            return false;
        at += w;
    }
    return n > 0;
}

static void way_accept(void)
{
    int fd = accept4(way.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (atomic_load(&way.closed) || way.count == WAYS_MAX) {
        close(fd);
        return;
    }
    way.pairs[way.count].ends[0] = fd;
    way.pairs[way.count++].ends[1] = node_connect();
}

static void *way_run(void *arg)
{
    (void)arg;
    while (!atomic_load(&way.quit)) {
        struct pollfd fds[1 + 2 * WAYS_MAX] = {{.fd = way.listener, .events = POLLIN}};
        if (atomic_exchange(&way.cut, false))
            while (way.count > 0)
                pair_close(0);
        size_t count = atomic_load(&way.still) ? 0 : way.count;
        for (size_t i = 0; i < 2 * count; i++)
            fds[1 + i] = (struct pollfd){.fd = way.pairs[i / 2].ends[i % 2], .events = POLLIN};
        if (poll(fds, 1 + 2 * count, 5) <= 0)
            continue;
        for (size_t i = count; i-- > 0;) {
            bool open = true;
            for (int from = 0; from < 2 && open; from++)
                open = !fds[1 + 2 * i + (size_t)from].revents || pair_move(i, from);
            if (!open)
                pair_close(i);
        }
        if (fds[0].revents)
            way_accept();
    }
    return NULL;
}

/* Names it in LEAT_RABBITMQ_WAY. */
static void way_open(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    char text[64];
    way.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(way.listener >= 0 && bind(way.listener, (struct sockaddr *)&at, sizeof at) == 0);
    must(listen(way.listener, 16) == 0 && getsockname(way.listener, (struct sockaddr *)&at, &n) == 0);
    snprintf(text, sizeof text, "127.0.0.1:%d", ntohs(at.sin_port));
    must(setenv("LEAT_RABBITMQ_WAY", text, 1) == 0);
    must(pthread_create(&way.thread, NULL, way_run, NULL) == 0);
}

static void way_close(void)
{
    atomic_store(&way.quit, true);
    pthread_join(way.thread, NULL);
    while (way.count > 0)
        pair_close(0);
    close(way.listener);
}

static int way_setup(void **state)
{
    way_open();
    return contract_setup(state);
}

static int way_teardown(void **state)
{
    int r = contract_teardown(state);
    way_close();
    return r;
}

/* ---- words ---- */

/* Appends until it is taken; how often it was not. */
static unsigned appended_after(struct rig *r, struct bus_channel *c, const char *id)
{
    const struct ce_event *event = rig_event(id, NULL, 10);
    unsigned refusals = 0;
    enum err e;
    while ((e = rig_append_try(r, 0, c, event))) {
        assert_int_equal(e, ERR_UNAVAILABLE);
        refusals++;
        rig_turn(r);
    }
    ce_event_unref(event);
    return refusals;
}

static bool unwell(struct rig *r)
{
    return !rig_probe(r, NULL).healthy;
}

/* ---- what it makes ---- */

static void test_names_can_be_read_at_the_node(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "e", NULL);
    assert_int_equal(node_counts("leat.ns.c.s"), 1);
    rig_unsubscribe(r, s, true);
    assert_int_equal(node_counts("leat.ns.c.s"), -1);
    rig_release(r, c, true);
}

static void test_a_queue_of_another_kind_is_taken_as_it_is(void **state)
{
    struct rig *r = *state;
    node_makes_queue("leat.ns.c.s"); /* classic, not ours */
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "e", NULL);
    struct tap t;
    tap_drain(r, s, 0, &t);
    takes_exactly(&t, 1);
    tap_close(&t);
    assert_true(heard("QueueDiffers"));
}

static void refused_done(struct bus_op *op, enum err err)
{
    struct rig_op *o = container_of(op, struct rig_op, op);
    o->err = err;
    o->ended++;
    printf("refused: %s\n", op->text ? op->text : "");
    assert_non_null(op->text);
}

static void test_an_exchange_of_others_must_be_there(void **state)
{
    struct rig *r = *state;
    char *name = named("theirs");
    struct bus_param params[] = {{"exchange", name}, {"exchange.external", "true"}};
    struct rig_op o = {.op.done = refused_done};
    struct bus_channel *c = NULL;
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), params, 2, &c, &o.op, NULL), OK);
    rig_until(r, o.ended);
    assert_int_equal(o.err, ERR_NOTFOUND);
    assert_false(rig_probe(r, c).healthy);
    assert_int_equal(verify_once(r, c), ERR_NOTFOUND);
    node_makes_exchange("theirs", "fanout");
    rig_until(r, heard("ChannelWell")); /* asked again, and told, so that who shows it looks */
    assert_true(rig_probe(r, c).healthy);
    assert_int_equal(verify_once(r, c), OK);
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "e", NULL);
    backlog_is(r, s, 1);
    rig_unsubscribe(r, s, true);
    rig_release(r, c, true);
    node_makes_exchange("theirs", "fanout"); /* of the same kind: it is there still, or it would have been made */
}

/* The channel is somebody's queue: what lies there comes, as events of their own. */
static void test_a_channel_that_is_a_queue(void **state)
{
    struct rig *r = *state;
    char *name = named("in");
    struct bus_param params[] = {{"queue", name}, {"queue.external", "true"}, {"record.source", "/here"}};
    struct rig_op o = {.op.done = rig_op_done};
    struct bus_channel *c = NULL;
    struct tap t;
    node_makes_queue("in");
    node_publishes("in", "hello");
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/c"), params, 3, &c, &o.op, NULL), OK);
    rig_wait(r, &o);
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    backlog_is(r, s, 1);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1);
    rig_until(r, tap_open(&t) == 1);
    assert_true(slice_eq_str(ce_event_data(t.items[0].event), "hello"));
    assert_true(slice_eq_str(ce_event_type(t.items[0].event), "dev.knative.rabbitmq.event"));
    tap_settle(&t, NULL, BUS_ACK);
    tap_close(&t);
    rig_unsubscribe(r, s, true);
    rig_release(r, c, true);
    rig_until(r, node_counts("in") == 0); /* neither the queue nor its messages but for ours go */
}

/* ---- what somebody deletes ---- */

static void test_a_queue_deleted_while_consumed_is_made_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    tap_drain(r, s, 0, &t);
    rig_append(r, 0, c, "before", NULL);
    takes_exactly(&t, 1);
    node_deletes_queue("leat.ns.c.s");
    rig_until(r, heard("QueueGone") && node_counts("leat.ns.c.s") >= 0);
    appended_after(r, c, "after");
    takes_exactly(&t, 2);
    tap_close(&t);
}

/* While its consumer waits for a moment to take more. */
static void test_a_queue_deleted_while_more_is_wanted_is_consumed_soon(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append(r, 0, c, "before", NULL);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1);
    rig_until(r, tap_open(&t) == 1);
    tap_credit(&t, 62);
    node_deletes_queue("leat.ns.c.s");
    rig_until(r, heard("QueueGone") && node_counts("leat.ns.c.s") >= 0);
    uint64_t then_ns = clock_monotonic_ns(clock_system());
    appended_after(r, c, "after");
    rig_until(r, tap_open(&t) == 2);
    assert_true(clock_monotonic_ns(clock_system()) - then_ns < 5 * NS_PER_S);
    while (tap_settle(&t, NULL, BUS_ACK))
        continue;
    tap_close(&t);
}

/* Nobody consumes it: an append finds out, and is refused rather than lost. */
static void test_a_queue_deleted_while_paused_loses_no_append(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    node_deletes_queue("leat.ns.c.s");
    assert_true(appended_after(r, c, "e") > 0);
    backlog_is(r, s, 1);
    assert_int_equal(rig_probe(r, c).dropped, 0);
}

/* While nobody sends: a question finds out, and it is made again all the same. */
static void test_a_deleted_exchange_does_not_answer(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    assert_int_equal(verify_once(r, c), OK);
    node_deletes_exchange("leat.ns.c");
    assert_int_equal(verify_once(r, c), ERR_NOTFOUND);
    assert_int_equal(verify_once(r, d), OK);
    enum err e;
    while ((e = verify_once(r, c)) != OK)
        assert_int_equal(e, ERR_NOTFOUND);
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "e", NULL);
    backlog_is(r, s, 1);
}

static void test_an_exchange_deleted_is_made_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "before", NULL);
    node_deletes_exchange("leat.ns.c");
    assert_true(appended_after(r, c, "after") > 0);
    backlog_is(r, s, 2);
    assert_true(heard("PublisherTrouble"));
}

/* RabbitMQ (3.10) ends the whole connection (541) of who sends the first message to a quorum queue that is just being
 * deleted; with it would go all that is under way, of every channel. */
static void test_a_queue_that_goes_takes_no_append_along(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    const struct ce_event *event = rig_event("e", NULL, 10);
    for (unsigned round = 0; round < 30; round++) {
        struct bus_subscription *s = rig_subscribe(r, c, "s");
        struct rig_op o = {.op.done = rig_op_done};
        r->ops->unsubscribe(r->bus, s, true, &o.op);
        while (!o.ended)
            assert_int_equal(rig_append_try(r, 0, c, event), OK);
        assert_int_equal(node_counts("leat.ns.c.s"), -1);
    }
    ce_event_unref(event);
    assert_false(heard("BrokerDown"));
}

/* ---- the connection ---- */

static void test_a_cut_connection_revokes_and_brings_all_again(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append_many(r, c, 20);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 10);
    rig_until(r, tap_open(&t) == 10);
    atomic_store(&way.closed, true);
    atomic_store(&way.cut, true);
    rig_until(r, tap_revocations(&t) == 10);
    rig_until(r, unwell(r));
    const struct ce_event *event = rig_event("no", NULL, 10);
    struct rig_append a;
    rig_append_start(r, 0, c, event, &a);
    assert_int_equal(a.at_once, ERR_UNAVAILABLE); /* nothing queues up */
    ce_event_unref(event);
    uint64_t cut_ns = clock_monotonic_ns(clock_system());
    atomic_store(&way.closed, false);
    rig_until(r, tap_open(&t) > 0);
    assert_true(clock_monotonic_ns(clock_system()) - cut_ns < 5 * NS_PER_S);
    while (tap_acked(&t) < 20) {
        if (!tap_settle(&t, NULL, BUS_ACK))
            rig_turn(r);
        tap_credit(&t, 1);
    }
    rig_until(r, backlog(r, s) == 0);
    rig_until(r, !unwell(r));
    tap_close(&t);
}

/* Appends under way when it is cut end, and are in doubt. */
static void test_a_cut_connection_ends_appends(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e", NULL, 10);
    struct rig_append a[50];
    rig_append(r, 0, c, "first", NULL);
    atomic_store(&way.still, true);
    for (size_t i = 0; i < 50; i++)
        rig_append_start(r, 0, c, event, &a[i]);
    atomic_store(&way.cut, true);
    atomic_store(&way.still, false);
    for (size_t i = 0; i < 50; i++) {
        rig_until(r, rig_append_ended(&a[i]));
        assert_int_equal(a[i].at_once ? a[i].at_once : a[i].err, ERR_UNAVAILABLE);
    }
    ce_event_unref(event);
    appended_after(r, c, "again");
    rig_until(r, backlog(r, s) >= 2);
}

static void test_a_node_that_stands_still_is_found_out(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    rig_append(r, 0, c, "before", NULL);
    atomic_store(&way.still, true);
    const struct ce_event *event = rig_event("e", NULL, 10);
    assert_int_equal(rig_append_try(r, 0, c, event), ERR_UNAVAILABLE); /* by the heartbeat */
    ce_event_unref(event);
    atomic_store(&way.still, false);
    appended_after(r, c, "after");
    rig_until(r, backlog(r, s) >= 2);
}

/* Without heartbeats, and with a node that confirms nothing: found out by what it owes, soon where it never did. */
static void test_a_node_that_confirms_nothing_is_left(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e", NULL, 10);
    uint64_t began_ns = clock_monotonic_ns(clock_system());
    atomic_store(&way.still, true);
    assert_int_equal(rig_append_try(r, 0, c, event), ERR_UNAVAILABLE);
    assert_true(clock_monotonic_ns(clock_system()) - began_ns < 6 * NS_PER_S);
    ce_event_unref(event);
    atomic_store(&way.still, false);
    appended_after(r, c, "after");
}

static void test_a_node_that_lets_nobody_consume_is_left(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    rig_append(r, 0, c, "e", NULL);
    atomic_store(&way.still, true);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1);
    rig_until(r, heard("BrokerDown"));
    atomic_store(&way.still, false);
    rig_until(r, tap_open(&t) == 1);
    tap_close(&t);
}

static void test_stop_without_a_node_ends(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = NULL;
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    tap_drain(r, s, 0, &t);
    rig_append(r, 0, c, "e", NULL);
    takes_exactly(&t, 1);
    atomic_store(&way.closed, true);
    atomic_store(&way.cut, true);
    rig_until(r, unwell(r));
    struct rig_op o = {.op.done = refused_done};
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/d"), NULL, 0, &d, &o.op, NULL), OK);
    rig_until(r, o.ended);
    assert_int_equal(o.err, ERR_UNAVAILABLE);
    rig_stop(r);
    atomic_store(&r->silent, false);
    tap_close(&t);
}

/* How long it takes to free the bus, which has stopped. */
static uint64_t leaves_ns(struct rig *r)
{
    uint64_t began_ns = clock_monotonic_ns(clock_system());
    threads_stop(r);
    r->ops->unbind(r->bus, r->loops[0]);
    r->ops->fini(r->bus);
    r->finished = true;
    return clock_monotonic_ns(clock_system()) - began_ns;
}

/* The node answers nothing any more, neither appends nor jobs nor good-byes, and takes new connections without a word:
 * stop and fini end all the same, within seconds. */
static void test_stop_with_a_node_that_says_nothing_ends(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = NULL;
    struct bus_subscription *s = rig_subscribe(r, c, "s"), *more = NULL;
    struct tap t;
    struct rig_op channel = {.op.done = rig_op_done}, subscription = channel;
    struct bus_start latest = {.kind = BUS_START_LATEST};
    struct rig_append a[10];
    tap_drain(r, s, 0, &t);
    rig_append(r, 0, c, "e", NULL);
    takes_exactly(&t, 1);
    atomic_store(&way.still, true);
    const struct ce_event *event = rig_event("e", NULL, 10);
    for (size_t i = 0; i < 10; i++)
        rig_append_start(r, 0, c, event, &a[i]);
    ce_event_unref(event);
    assert_int_equal(r->ops->provision(r->bus, SLICE("ns/d"), NULL, 0, &d, &channel.op, NULL), OK);
    assert_int_equal(r->ops->subscribe(r->bus, c, SLICE("t"), &latest, NULL, NULL, 0, &more, &subscription.op, NULL),
                     OK);
    uint64_t began_ns = clock_monotonic_ns(clock_system());
    rig_stop(r);
    assert_true(clock_monotonic_ns(clock_system()) - began_ns < 5 * NS_PER_S);
    for (size_t i = 0; i < 10; i++)
        assert_true(rig_append_ended(&a[i]));
    assert_true(channel.ended && subscription.ended);
    atomic_store(&r->silent, false);
    tap_close(&t);
    assert_true(leaves_ns(r) < 4 * NS_PER_S);
}

/* It stops as it should, and only the good-byes are not answered. */
static void test_leaving_a_node_that_says_nothing_ends(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_append(r, 0, c, "e", NULL);
    rig_stop(r);
    atomic_store(&way.still, true);
    assert_true(leaves_ns(r) < 4 * NS_PER_S);
}

/* ---- held for too long ---- */

/* consumer.timeout=2s: what nobody takes goes back after 0.2 s and comes again; what somebody has is taken back
 * at 1.87.
 */
static void test_what_is_held_too_long_goes_back(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    assert_int_equal(r->bus->hold_ms_max, 1666);
    rig_append_many(r, c, 10);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 3);
    rig_until(r, tap_open(&t) == 3);
    rig_until(r, tap_revocations(&t) == 3); /* and credit comes back with each */
    rig_until(r, tap_count(&t) > 3);
    t.acks = true;
    while (tap_acked(&t) < 10) {
        if (!tap_settle(&t, NULL, BUS_ACK))
            rig_turn(r);
        tap_credit(&t, 1);
    }
    rig_until(r, backlog(r, s) == 0);
    tap_close(&t);
}

static void test_order_is_kept_by_what_goes_back(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    int last[8] = {0};
    unsigned taken = burst(r, c, 0, 1);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 1);
    rig_until(r, tap_open(&t) == 1);
    rig_until(r, tap_revocations(&t) == 1); /* the others were handed back several times until then */
    pthread_mutex_lock(&r->lock);
    t.acks = true;
    pthread_mutex_unlock(&r->lock);
    while (tap_settle(&t, NULL, BUS_ACK))
        continue;
    tap_credit(&t, 8);
    rig_until(r, tap_acked(&t) >= taken);
    keys_are_in_order(&t, last);
    tap_close(&t);
}

/* All in one turn, the youngest first, as a dispatcher does it. */
static void release_all_here(void *arg)
{
    struct tap *t = arg;
    t->how = BUS_RELEASE;
    for (uint64_t i = t->count; i-- > 0;) {
        if (!t->items[i].open)
            continue;
        t->id = t->items[i].id;
        tap_settle_here(t);
    }
}

/* What was held for longer than others wait goes back to the node when it is released, and comes in its order again. */
static void test_order_is_kept_by_what_is_released_late(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    for (int i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof id, "a-%d", i);
        rig_append(r, 0, c, id, "a");
    }
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 6);
    rig_until(r, tap_open(&t) == 6);
    uint64_t then_ns = clock_monotonic_ns(clock_system());
    rig_until(r, clock_monotonic_ns(clock_system()) - then_ns > 400 * NS_PER_MS);
    rig_on(r, 0, release_all_here, &t);
    uint64_t before = tap_count(&t);
    tap_credit(&t, 6);
    rig_until(r, tap_open(&t) == 6);
    for (uint64_t i = before; i < before + 6; i++)
        assert_int_equal(t.items[i].id[2] - '0', i - before);
    tap_settle(&t, NULL, BUS_RELEASE);
    tap_close(&t);
}

/* ---- held bytes ---- */

static void append_sized(struct rig *r, struct bus_channel *c, unsigned from, unsigned count, size_t bytes)
{
    for (unsigned i = from; i < from + count; i++) {
        char id[16];
        snprintf(id, sizeof id, "n-%04u", i);
        const struct ce_event *event = rig_event(id, "a", bytes);
        rig_append_event(r, 0, c, event);
        ce_event_unref(event);
    }
}

/* Acknowledges until so many are; the most that were held meanwhile. */
static uint64_t ack_until(struct rig *r, struct tap *t, uint64_t count)
{
    uint64_t most = 0;
    while (tap_acked(t) < count) {
        uint64_t open = tap_open(t);
        most = open > most ? open : most;
        if (!tap_settle(t, NULL, BUS_ACK))
            rig_turn(r);
    }
    return most;
}

static void came_in_order(const struct tap *t, unsigned count)
{
    assert_int_equal(t->count, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(atoi(t->items[i].id + 2), i);
}

/* held=64KiB: what was on its way is taken, and then, whatever the credit, few events of 10,000 bytes at a time. Small
 * ones come in numbers again. */
static void test_what_is_held_is_bounded_in_bytes(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    append_sized(r, c, 0, 20, 10000);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 300);
    rig_until(r, tap_open(&t) == 20);
    assert_true(heard("DeliveriesBounded"));
    append_sized(r, c, 20, 40, 10000);
    append_sized(r, c, 60, 200, 10);
    rig_quiet(r);
    assert_int_equal(tap_count(&t), 20);
    ack_until(r, &t, 20);
    assert_true(ack_until(r, &t, 60) <= 6);
    rig_until(r, tap_open(&t) > 6);
    ack_until(r, &t, 260);
    came_in_order(&t, 260);
    backlog_is(r, s, 0);
    tap_close(&t);
}

/* What is far beyond that goes back; an event that is larger than all of it comes, alone. */
static void test_what_is_far_too_much_goes_back(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    struct tap t;
    append_sized(r, c, 0, 60, 10000);
    append_sized(r, c, 60, 1, 300000);
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 300);
    rig_until(r, tap_open(&t) == 25);
    rig_quiet(r);
    assert_true(heard("DeliveriesBounded"));
    assert_int_equal(tap_open(&t), 25);
    backlog_is(r, s, 61);
    assert_int_equal(ack_until(r, &t, 25), 25);
    assert_true(ack_until(r, &t, 61) <= 6);
    came_in_order(&t, 61);
    backlog_is(r, s, 0);
    tap_close(&t);
}

/* ---- what is refused ---- */

/* An exchange that nobody may publish to: it ends the node's channel, but not again and again that of the others. */
static void test_a_refused_exchange_does_not_stop_the_others(void **state)
{
    struct rig *r = *state;
    char *name = named("theirs"), params[200];
    must(amqp_exchange_declare(node, 1, amqp_cstring_bytes(name), amqp_cstring_bytes("fanout"), 0, 1, 0, 1,
                               amqp_empty_table));
    snprintf(params, sizeof params, "exchange=%s exchange.external=true", name);
    struct bus_channel *refused = rig_channel_with(r, "ns/d", params), *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    const struct ce_event *event = rig_event("e", NULL, 10);
    struct rig_append a;
    assert_int_equal(rig_append_try(r, 0, refused, event), ERR_UNAVAILABLE);
    appended_after(r, c, "first");
    for (unsigned i = 0; i < 50; i++) {
        rig_append_start(r, 0, refused, event, &a);
        assert_int_equal(a.at_once, ERR_UNAVAILABLE);
        assert_int_equal(rig_append_try(r, 0, c, event), OK);
    }
    ce_event_unref(event);
    backlog_is(r, s, 51);
}

/* ---- two processes ---- */

struct pair {
    struct rig *rig[2];
    struct bus_subscription *s[2];
    struct bus_channel *c[2];
};

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    must(p);
    for (int i = 0; i < 2; i++) {
        void *one = *state;
        must(contract_setup(&one) == 0);
        p->rig[i] = one;
        p->c[i] = rig_channel(p->rig[i], "ns/c");
        p->s[i] = rig_subscribe(p->rig[i], p->c[i], "s");
    }
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < 2; i++) {
        void *one = p->rig[i];
        contract_teardown(&one);
    }
    free(p);
    return 0;
}

#define pair_until(p, fact) rig_until((p)->rig[0], (rig_turn((p)->rig[1]), (fact)))

static void test_one_consumes_and_the_other_takes_over(void **state)
{
    struct pair *p = *state;
    struct tap a, b;
    int last[8] = {0};
    tap_drain(p->rig[0], p->s[0], 0, &a);
    rig_append(p->rig[1], 0, p->c[1], "a-1", "a");
    pair_until(p, tap_acked(&a) == 1);
    tap_drain(p->rig[1], p->s[1], 0, &b);
    unsigned taken = burst(p->rig[1], p->c[1], 0, 2);
    pair_until(p, tap_acked(&a) == taken + 1);
    assert_int_equal(tap_count(&b), 0);
    tap_close(&a);
    taken += burst(p->rig[0], p->c[0], 0, 400);
    pair_until(p, tap_acked(&b) >= 160);
    keys_are_in_order(&b, last);
    tap_close(&b);
}

/* More credit is asked for by a new consumer; the one that waits for the queue must not come between while something
 * is unsettled, or it would overtake that. */
static void test_more_credit_does_not_give_the_queue_away(void **state)
{
    struct pair *p = *state;
    struct tap a, b;
    tap_attach(p->rig[0], p->s[0], 0, &a);
    tap_credit(&a, 1);
    unsigned taken = burst(p->rig[0], p->c[0], 0, 0);
    pair_until(p, tap_open(&a) == 1);
    tap_drain(p->rig[1], p->s[1], 0, &b);
    uint64_t more_ns = clock_monotonic_ns(clock_system());
    tap_credit(&a, 62);
    pair_until(p, tap_open(&a) >= 32); /* what the node sent for the smaller credit */
    for (unsigned i = 0; i < 20; i++, taken++) {
        char id[16];
        snprintf(id, sizeof id, "another-%u", i);
        rig_append(p->rig[1], 0, p->c[1], id, NULL);
        uint64_t came = tap_count(&b); /* it is waited for 200 ms at most; this machine may be slower */
        assert_true(came == 0 || clock_monotonic_ns(clock_system()) - more_ns > 200 * NS_PER_MS);
    }
    while (tap_settle(&a, NULL, BUS_ACK))
        continue;
    tap_credit(&a, 100);
    while (tap_acked(&a) + tap_acked(&b) < taken) {
        if (!tap_settle(&a, NULL, BUS_ACK))
            pair_until(p, true);
        tap_credit(&a, 1);
    }
    tap_close(&a);
    tap_close(&b);
}

static void test_shared_work_is_shared(void **state)
{
    struct pair *p = *state;
    struct tap a, b;
    tap_drain(p->rig[0], p->s[0], 0, &a);
    tap_drain(p->rig[1], p->s[1], 0, &b);
    unsigned taken = 0;
    while (tap_acked(&a) == 0 || tap_acked(&b) == 0) {
        taken += burst(p->rig[0], p->c[0], 0, 1 + (int)taken);
        rig_turn(p->rig[1]);
    }
    pair_until(p, tap_acked(&a) + tap_acked(&b) >= taken);
    tap_close(&a);
    tap_close(&b);
}

#define ANEW_MAX 20 /* a node that does not hear of its own queue within 250 ms says that it is empty */

static void count_anew(struct pair *p)
{
    must(p->rig[0]->ops->recount);
    p->rig[0]->ops->recount(p->rig[0]->bus);
}

/* What is known of a queue would do for a second. */
static void test_what_another_process_appends_is_counted_anew(void **state)
{
    struct pair *p = *state;
    struct bus_probe probe = {.events = 0};
    rig_until(p->rig[0], !rig_probe_subscription(p->rig[0], p->s[0]).counting);
    for (unsigned n = 1; n <= 5; n++) {
        rig_append(p->rig[1], 0, p->c[1], "e", NULL);
        for (unsigned i = 0; i == 0 || (i < ANEW_MAX && probe.events == 0); i++) {
            count_anew(p);
            rig_until(p->rig[0], !(probe = rig_probe_subscription(p->rig[0], p->s[0])).counting);
        }
        assert_in_range(probe.events, n, n + p->rig[1]->in_doubt);
    }
}

/* Counts with an append of its own under way all the time; `own`: those that ended well. */
static uint64_t counted_beside_appends(struct pair *p, const struct ce_event *event, unsigned *own)
{
    struct rig_append a;
    struct bus_probe probe;
    count_anew(p);
    do {
        unsigned before = *own;
        rig_append_start(p->rig[0], 0, p->c[0], event, &a);
        probe = rig_probe_subscription(p->rig[0], p->s[0]);
        rig_until(p->rig[0], rig_append_ended(&a));
        p->rig[0]->in_doubt += a.err == ERR_UNAVAILABLE;
        *own += !a.at_once && !a.err;
        probe.events -= before < probe.events ? before : probe.events; /* those of others */
    } while (probe.counting);
    return probe.events;
}

/* An answer may have what was under way, or not: none is counted too few, and all are right when it is quiet. */
static void test_it_is_counted_anew_while_events_come(void **state)
{
    struct pair *p = *state;
    struct bus_probe probe = {.events = 0};
    const struct ce_event *event = rig_event("own", NULL, 10);
    unsigned own = 0;
    for (unsigned n = 1; n <= 5; n++) {
        uint64_t others = 0;
        rig_append(p->rig[1], 0, p->c[1], "other's", NULL);
        for (unsigned i = 0; i < ANEW_MAX && others < n; i++)
            others = counted_beside_appends(p, event, &own);
        assert_true(others >= n);
    }
    ce_event_unref(event);
    for (unsigned i = 0; i < ANEW_MAX && probe.events < own + 5; i++) {
        count_anew(p);
        rig_until(p->rig[0], !(probe = rig_probe_subscription(p->rig[0], p->s[0])).counting);
    }
    assert_in_range(probe.events, own + 5, own + 5 + p->rig[0]->in_doubt + p->rig[1]->in_doubt);
}

#define AT "host=$LEAT_RABBITMQ prefix=$LEAT_RABBITMQ_PREFIX"
#define ON_RABBITMQ .bus = "rabbitmq", .how = THREADS, .notice = notice

static const struct contract plain = {ON_RABBITMQ, .params = AT, .loops = 1};
static const struct contract impatient = {ON_RABBITMQ, .params = AT " consumer.timeout=2s", .loops = 1};
static const struct contract small = {ON_RABBITMQ, .params = AT " held=64KiB", .loops = 1};
static const struct contract work = {ON_RABBITMQ, .params = AT " shared=work", .loops = 1};
static const struct contract by_the_way = {
    ON_RABBITMQ, .params = "host=$LEAT_RABBITMQ_WAY prefix=$LEAT_RABBITMQ_PREFIX heartbeat=1", .loops = 1};

static const struct contract heartless = {
    ON_RABBITMQ, .params = "host=$LEAT_RABBITMQ_WAY prefix=$LEAT_RABBITMQ_PREFIX heartbeat=0", .loops = 1};

#define CASE(test, of, setup, teardown)                                                                                \
    {                                                                                                                  \
#test, test, setup, teardown, (void *)(uintptr_t)&of                                                           \
    }

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        CASE(test_names_can_be_read_at_the_node, plain, contract_setup, contract_teardown),
        CASE(test_a_queue_of_another_kind_is_taken_as_it_is, plain, contract_setup, contract_teardown),
        CASE(test_an_exchange_of_others_must_be_there, plain, contract_setup, contract_teardown),
        CASE(test_a_channel_that_is_a_queue, plain, contract_setup, contract_teardown),
        CASE(test_a_queue_deleted_while_consumed_is_made_again, plain, contract_setup, contract_teardown),
        CASE(test_a_queue_deleted_while_more_is_wanted_is_consumed_soon, plain, contract_setup, contract_teardown),
        CASE(test_a_queue_deleted_while_paused_loses_no_append, plain, contract_setup, contract_teardown),
        CASE(test_a_deleted_exchange_does_not_answer, plain, contract_setup, contract_teardown),
        CASE(test_an_exchange_deleted_is_made_again, plain, contract_setup, contract_teardown),
        CASE(test_a_queue_that_goes_takes_no_append_along, plain, contract_setup, contract_teardown),
        CASE(test_a_cut_connection_revokes_and_brings_all_again, by_the_way, way_setup, way_teardown),
        CASE(test_a_cut_connection_ends_appends, by_the_way, way_setup, way_teardown),
        CASE(test_a_node_that_stands_still_is_found_out, by_the_way, way_setup, way_teardown),
        CASE(test_a_node_that_confirms_nothing_is_left, heartless, way_setup, way_teardown),
        CASE(test_a_node_that_lets_nobody_consume_is_left, heartless, way_setup, way_teardown),
        CASE(test_stop_without_a_node_ends, by_the_way, way_setup, way_teardown),
        CASE(test_stop_with_a_node_that_says_nothing_ends, heartless, way_setup, way_teardown),
        CASE(test_leaving_a_node_that_says_nothing_ends, heartless, way_setup, way_teardown),
        CASE(test_what_is_held_too_long_goes_back, impatient, contract_setup, contract_teardown),
        CASE(test_order_is_kept_by_what_goes_back, impatient, contract_setup, contract_teardown),
        CASE(test_order_is_kept_by_what_is_released_late, impatient, contract_setup, contract_teardown),
        CASE(test_what_is_held_is_bounded_in_bytes, small, contract_setup, contract_teardown),
        CASE(test_what_is_far_too_much_goes_back, small, contract_setup, contract_teardown),
        CASE(test_a_refused_exchange_does_not_stop_the_others, plain, contract_setup, contract_teardown),
        CASE(test_more_credit_does_not_give_the_queue_away, plain, pair_setup, pair_teardown),
        CASE(test_one_consumes_and_the_other_takes_over, plain, pair_setup, pair_teardown),
        CASE(test_shared_work_is_shared, work, pair_setup, pair_teardown),
        CASE(test_what_another_process_appends_is_counted_anew, plain, pair_setup, pair_teardown),
        CASE(test_it_is_counted_anew_while_events_come, plain, pair_setup, pair_teardown),
    };
    if (!getenv("LEAT_RABBITMQ")) {
        printf("LEAT_RABBITMQ names no RabbitMQ (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 3, .before = prefix_choose, .after = all_gone};
    children_add(&all, tests, sizeof tests / sizeof *tests);
    return children_run(&all, "faults on a real RabbitMQ", argc > 1 ? argv[1] : NULL);
}
