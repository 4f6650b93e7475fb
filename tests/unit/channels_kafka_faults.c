/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus under faults that librdkafka's mock cluster is told to make: what the contract promises holds through
 * each of them: an append ends once and with the right error, what was acknowledged is delivered, deliveries go on
 * afterwards, and nobody is told the same thing all the time. `channels_kafka_faults WORD` runs the cases whose name
 * holds WORD and shows what they say.
 */
#include "../bus/contract.c"

#include <semaphore.h>

#include "channels/kafka/kafka_member.h"
#include "tests/lib/children.h"
#include "tests/lib/kafka_mock.h"

#define PRODUCE 0 /* numbers of the protocol's requests */
#define FETCH 1
#define OFFSET_COMMIT 8
#define OFFSET_FETCH 9
#define HEARTBEAT 12

#define STOP_SECONDS 30  /* KAFKA_CLOSE_NS, and what threads take to end on a busy machine: it does not hang */
#define SLACK_SECONDS 15 /* on a busy machine */
#define SEND_SECONDS 10  /* KAFKA_SEND_MS: by then an append that nobody acknowledged has failed */
#define NOTICES_A_MINUTE 10

static struct kafka_mock mock;

/* ---- what the bus told ---- */

#define CODES_MAX 32

static struct told {
    char code[40];
    unsigned count;
} told[CODES_MAX];

static void notice(void *arg, struct bus *b, int severity, const char *code, const char *text)
{
    (void)arg, (void)b;
    printf("notice %d %s: %s\n", severity, code, text);
    for (size_t i = 0; i < CODES_MAX; i++) {
        if (!told[i].count)
            snprintf(told[i].code, sizeof told[i].code, "%s", code);
        if (strcmp(told[i].code, code) == 0) {
            told[i].count++;
            return;
        }
    }
    must(false && "more codes than anybody wants to read");
}

BUS_CONTRACT_OF(faults, .bus = "kafka", .how = THREADS, .loops = 1, .notice = notice,
                .params = "bootstrap.servers=$LEAT_KAFKA_MOCK session=3s topic.partitions=1")

/* ---- tools ---- */

static uint64_t seconds_since(uint64_t began)
{
    return (clock_monotonic_ns(clock_system()) - began) / NS_PER_S;
}

static uint64_t begin_now(void)
{
    return clock_monotonic_ns(clock_system());
}

static void all_brokers(rd_kafka_resp_err_t (*set)(rd_kafka_mock_cluster_t *, int32_t))
{
    for (int32_t id = 1; id <= 2; id++)
        must(!set(mock.cluster, id));
}

/* The next so many requests of this kind are answered with the error, by whichever broker. */
static void fail_next(int16_t request, rd_kafka_resp_err_t err, size_t times)
{
    rd_kafka_resp_err_t errors[1000];
    must(times <= 1000);
    for (size_t i = 0; i < times; i++)
        errors[i] = err;
    rd_kafka_mock_push_request_errors_array(mock.cluster, request, times, errors);
}

/* One append as it ends, whatever comes of it. */
static enum err append_once(struct rig *r, struct bus_channel *c, const char *id)
{
    const struct ce_event *event = rig_event(id, NULL, 10);
    enum err e = rig_append_try(r, 0, c, event);
    ce_event_unref(event);
    return e;
}

/* A channel with a subscription whose tap takes all there is, seen to work. */
struct works {
    struct bus_channel *c;
    struct bus_subscription *s;
    struct tap t;
    unsigned n; /* events acknowledged to us */
};

static void append_and_see(struct rig *r, struct works *w)
{
    char id[16];
    snprintf(id, sizeof id, "w%u", w->n++);
    rig_append(r, 0, w->c, id, NULL);
    rig_until(r, tap_is(&w->t, id));
}

static void works_init(struct rig *r, struct works *w)
{
    memset(w, 0, sizeof *w);
    w->c = rig_channel(r, "ns/c");
    w->s = rig_subscribe(r, w->c, "s");
    tap_drain(r, w->s, 0, &w->t);
    append_and_see(r, w);
}

/* It works again, nothing is left over, and no more than `repeated` events come again when the bus is opened anew. */
static void works_end(struct rig *r, struct works *w, unsigned repeated)
{
    append_and_see(r, w);
    printf("it works again\n");
    backlog_is(r, w->s, 0);
    printf("all is settled\n");
    tap_close(&w->t);
    open_anew(r);
    w->c = rig_channel(r, "ns/c");
    w->s = rig_subscribe(r, w->c, "s");
    rig_until(r, backlog(r, w->s) <= repeated);
    tap_drain(r, w->s, 0, &w->t);
    append_and_see(r, w);
    rig_quiet(r);
    assert_true(tap_acked(&w->t) >= 1 && tap_acked(&w->t) <= 1 + repeated);
    tap_close(&w->t);
    for (size_t i = 0; i < CODES_MAX; i++)
        assert_true(told[i].count <= NOTICES_A_MINUTE);
}

static void works_fini(struct rig *r, struct works *w)
{
    works_end(r, w, 0);
}

/* ---- producing ---- */

static void broker_down(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    all_brokers(rd_kafka_mock_broker_set_down);
    uint64_t began = begin_now();
    assert_int_equal(append_once(r, w.c, "lost"), ERR_UNAVAILABLE);
    assert_true(seconds_since(began) <= SEND_SECONDS + SLACK_SECONDS);
    began = begin_now();
    for (int i = 0; i < 100; i++) /* what is known to be down is said at once: nothing queues up */
        assert_int_equal(append_once(r, w.c, "lost"), ERR_UNAVAILABLE);
    assert_true(seconds_since(began) <= 2);
    struct bus_probe p = rig_probe(r, NULL);
    assert_false(p.healthy);
    assert_string_not_equal(p.reason, "");
    all_brokers(rd_kafka_mock_broker_set_up);
    append_and_see(r, &w); /* asks again until it is taken */
    rig_until(r, rig_probe(r, NULL).healthy);
    works_fini(r, &w);
}

static void broker_down_from_the_start(void **state)
{
    struct rig *r = *state;
    all_brokers(rd_kafka_mock_broker_set_down);
    struct bus *other = NULL;
    uint64_t began = begin_now();
    bus_open_with(r, r->params, &other); /* waits for nobody */
    assert_true(seconds_since(began) <= 2);
    r->ops->fini(other);
    assert_true(seconds_since(began) <= 4);
    all_brokers(rd_kafka_mock_broker_set_up);
}

static void not_enough_replicas_for_a_moment(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 3);
    assert_int_equal(append_once(r, w.c, "late"), OK);
    rig_until(r, tap_is(&w.t, "late"));
    assert_int_equal(tap_count(&w.t), 2);
    works_fini(r, &w);
}

static void not_enough_replicas_for_long(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 1000);
    uint64_t began = begin_now();
    assert_int_equal(append_once(r, w.c, "lost"), ERR_UNAVAILABLE);
    assert_true(seconds_since(began) <= SEND_SECONDS + SLACK_SECONDS);
    rd_kafka_mock_clear_request_errors(mock.cluster, PRODUCE);
    append_and_see(r, &w);
    works_fini(r, &w);
}

static void message_too_large(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1);
    assert_int_equal(append_once(r, w.c, "large"), ERR_TOO_LARGE);
    append_and_see(r, &w);
    assert_false(tap_is(&w.t, "large"));
    works_fini(r, &w);
}

/* An error after which librdkafka's idempotent producer does nothing any more: there is a new one. */
static void producer_fails_for_good(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1);
    append_once(r, w.c, "either way");
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1);
    append_once(r, w.c, "either way");
    append_and_see(r, &w);
    works_fini(r, &w);
}

static void connection_breaks_while_producing(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(PRODUCE, RD_KAFKA_RESP_ERR__TRANSPORT, 2);
    assert_int_equal(append_once(r, w.c, "sent again"), OK);
    rig_until(r, tap_is(&w.t, "sent again"));
    assert_int_equal(tap_count(&w.t), 2);
    works_fini(r, &w);
}

static void slow_broker(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    for (int32_t id = 1; id <= 2; id++)
        rd_kafka_mock_broker_set_rtt(mock.cluster, id, 700);
    append_and_see(r, &w);
    append_and_see(r, &w);
    for (int32_t id = 1; id <= 2; id++)
        rd_kafka_mock_broker_set_rtt(mock.cluster, id, 0);
    works_fini(r, &w);
}

static void leader_moves(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    for (int32_t id = 1; id <= 2; id++) {
        rd_kafka_mock_partition_set_leader(mock.cluster, "knative-messaging-kafka.ns.c", 0, id);
        append_and_see(r, &w);
    }
    works_fini(r, &w);
}

/* A topic whose leader is gone keeps nobody from appending to another one. */
static void one_topic_without_a_leader(void **state)
{
    struct rig *r = *state;
    struct works w;
    static struct rig_append waiting; /* outlives the case, should it fail */
    works_init(r, &w);
    struct bus_channel *d = rig_channel(r, "ns/d");
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, "knative-messaging-kafka.ns.d", 0, -1));
    assert_int_equal(append_once(r, d, "lost"), ERR_UNAVAILABLE);
    const struct ce_event *event = rig_event("lost too", NULL, 10);
    rig_append_start(r, 0, d, event, &waiting);
    assert_int_equal(append_once(r, w.c, "taken"), OK);
    rig_until(r, tap_is(&w.t, "taken"));
    rig_until(r, rig_append_ended(&waiting));
    ce_event_unref(event);
    works_fini(r, &w);
}

/* ---- whether a channel takes events ---- */

static void told_that_no_leader(struct bus_op *op, enum err err)
{
    assert_true(err == OK || strstr(op->text, "partition 2 has no leader"));
    rig_op_done(op, err);
}

/* Of one partition in four: what has its key would be refused. */
static void a_partition_without_a_leader_does_not_answer(void **state)
{
    static const char topic[] = "knative-messaging-kafka.ns.four";
    struct rig *r = *state;
    struct bus_channel *four = rig_channel(r, "ns/four"), *c = rig_channel(r, "ns/c");
    assert_int_equal(verify_once(r, four), OK);
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, topic, 2, -1));
    struct rig_op o = {.op.done = told_that_no_leader};
    r->ops->verify(r->bus, four, &o.op);
    rig_until(r, o.ended);
    assert_int_equal(o.err, ERR_UNAVAILABLE);
    assert_int_equal(verify_once(r, c), OK);
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, topic, 2, 1));
    assert_int_equal(verify_once(r, four), OK);
}

/* All that wait for an answer get one in time, and the bus says that it is away. */
static void brokers_that_are_down_do_not_answer(void **state)
{
    enum { ASKED = 5 };
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c"), *d = rig_channel(r, "ns/d");
    struct rig_op ops[ASKED];
    all_brokers(rd_kafka_mock_broker_set_down);
    uint64_t began = begin_now();
    for (int i = 0; i < ASKED; i++)
        rig_verify(r, i % 2 ? c : d, &ops[i]);
    for (int i = 0; i < ASKED; i++) {
        rig_until(r, ops[i].ended);
        assert_int_equal(ops[i].err, ERR_UNAVAILABLE);
    }
    assert_true(seconds_since(began) <= SEND_SECONDS + SLACK_SECONDS);
    all_brokers(rd_kafka_mock_broker_set_up);
    verify_until_well(r, c);
    verify_until_well(r, d);
}

/* ---- consuming ---- */

static void fetching_fails(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(FETCH, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, 3);
    append_and_see(r, &w);
    fail_next(FETCH, RD_KAFKA_RESP_ERR__TRANSPORT, 3);
    append_and_see(r, &w);
    works_fini(r, &w);
}

static void rebalance_in_progress(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    for (int i = 0; i < 3; i++) {
        fail_next(HEARTBEAT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1);
        append_and_see(r, &w);
    }
    assert_int_equal(tap_count(&w.t), w.n); /* each once: what was settled does not come again */
    /* The stop may meet librdkafka on its way into the next generation of the group, which nobody sees before its
     * request is sent; a commit behind that is refused, and the partition lost. */
    works_end(r, &w, w.n);
}

/* Who is thrown out of his group loses what he holds: it is taken back, and comes again. */
static void member_is_forgotten(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    struct tap held;
    tap_close(&w.t);
    tap_attach(r, w.s, 0, &held);
    rig_append_many(r, w.c, 5);
    tap_credit(&held, 5);
    rig_until(r, tap_open(&held) == 5);
    must(tap_settle(&held, "e1", BUS_ACK) && tap_settle(&held, "e3", BUS_ACK));
    backlog_is(r, w.s, 3);
    fail_next(HEARTBEAT, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1);
    rig_until(r, tap_revocations(&held) == 3);
    rig_until(r, tap_open(&held) >= 3); /* and e1, e3 only if their commit had not been done */
    while (tap_settle(&held, NULL, BUS_ACK))
        continue;
    backlog_is(r, w.s, 0);
    tap_close(&held);
    tap_drain(r, w.s, 0, &w.t);
    w.n = 1;
    works_fini(r, &w);
}

static void coordinator_moves(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    for (int32_t id = 2; id >= 1; id--) {
        must(!rd_kafka_mock_coordinator_set(mock.cluster, "group", "leat.ns.c.s", id));
        append_and_see(r, &w);
        backlog_is(r, w.s, 0);
    }
    works_fini(r, &w);
}

/* What a group has committed of its one partition, asked as anybody may; -1: nothing, or the cluster did not say. */
static int64_t committed(rd_kafka_t *asks, const char *topic)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0);
    int64_t at = rd_kafka_committed(asks, list, 1000) || list->elems[0].err ? -1 : list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return at;
}

static rd_kafka_t *asks_about(const char *group)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    must(!rd_kafka_conf_set(conf, "bootstrap.servers", getenv("LEAT_KAFKA_MOCK"), text, sizeof text));
    must(!rd_kafka_conf_set(conf, "group.id", group, text, sizeof text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    must(rk);
    return rk;
}

/* Here librdkafka sends its commit to a coordinator that is not connected yet, and takes its answer for a coordinator
 * that is gone, over and over, until the session is over: what was settled may be delivered once more, and then it is
 * committed. */
static void commit_refused(void **state)
{
    static const rd_kafka_resp_err_t errors[] = {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                                                 RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                                                 RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR__TRANSPORT};
    struct rig *r = *state;
    struct works w;
    rd_kafka_t *asks = asks_about("leat.ns.c.s");
    works_init(r, &w);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        fail_next(OFFSET_COMMIT, errors[i], 1);
        append_and_see(r, &w);
    }
    rig_until(r, committed(asks, "knative-messaging-kafka.ns.c") == w.n);
    rd_kafka_destroy(asks);
    works_fini(r, &w);
}

/* Who is to leave while his commits are refused stays until they are taken. */
static void commit_refused_while_leaving(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    fail_next(OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 2);
    works_fini(r, &w);
}

/* A group's coordinator that is away for longer than anybody waits, and comes back: that ends no process. */
static void coordinator_is_away_for_long(void **state)
{
    struct rig *r = *state;
    struct works w;
    static struct rig_op o;
    struct bus_subscription *s = NULL;
    works_init(r, &w);
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, "knative-messaging-kafka.ns.c", 0, 1));
    must(!rd_kafka_mock_coordinator_set(mock.cluster, "group", "leat.ns.c.t", 2));
    must(!rd_kafka_mock_broker_set_down(mock.cluster, 2));
    for (bool back = false; !back || o.err; back = true) { /* it may be asked once more until there is a connection */
        if (back)
            must(!rd_kafka_mock_broker_set_up(mock.cluster, 2));
        o = (struct rig_op){.op.done = rig_op_done};
        assert_int_equal(r->ops->subscribe(r->bus, w.c, SLICE("t"), NULL, NULL, NULL, 0, &s, &o.op, NULL), OK);
        rig_until(r, o.ended > 0);
        assert_int_equal(o.err, back && !o.err ? OK : ERR_UNAVAILABLE);
    }
    append_and_see(r, &w);
    works_fini(r, &w);
}

/* The coordinator is on its way elsewhere while a group's offsets are asked for: that ends no process. */
static void offsets_not_told(void **state)
{
    static const rd_kafka_resp_err_t errors[] = {RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                                 RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                                 RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS};
    struct rig *r = *state;
    struct works w;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rd_kafka_mock_push_request_errors_array(mock.cluster, OFFSET_FETCH, 3, errors);
    rig_subscribe(r, c, "t");
    works_init(r, &w);
    works_fini(r, &w);
}

static void broker_down_while_consuming(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    struct tap held;
    tap_close(&w.t);
    tap_attach(r, w.s, 0, &held);
    rig_append_many(r, w.c, 6);
    tap_credit(&held, 100);
    rig_until(r, tap_open(&held) == 6);
    all_brokers(rd_kafka_mock_broker_set_down);
    must(tap_settle(&held, "e0", BUS_ACK)); /* nobody is there to commit to */
    rig_quiet(r);
    all_brokers(rd_kafka_mock_broker_set_up);
    rig_append(r, 0, w.c, "after", NULL);
    rig_until(r, tap_settle(&held, "after", BUS_ACK));
    while (tap_settle(&held, NULL, BUS_ACK)) /* whatever is still ours */
        continue;
    rig_until(r, (tap_settle(&held, NULL, BUS_ACK), backlog(r, w.s) == 0));
    tap_close(&held);
    tap_drain(r, w.s, 0, &w.t);
    w.n = 1;
    works_fini(r, &w);
}

/* ---- a stream that goes while partitions are on their way to it ---- */

struct standstill {
    struct tap t;
    sem_t over;
    struct letter letter;
};

static void stand_still_and_detach(struct letter *m)
{
    struct standstill *still = container_of(m, struct standstill, letter);
    sem_wait(&still->over);
    tap_detach_here(&still->t);
}

/* Control has given it four while its loop was busy; it is detached before it takes them, and they come home one after
 * another: with each, control counts what every stream has. */
static void detached_while_partitions_are_on_their_way(void **state)
{
    struct rig *r = *state;
    struct standstill still;
    struct bus_channel *c = rig_channel(r, "ns/four");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    tap_attach(r, s, 0, &still.t);
    const struct bus_stream *st = still.t.stream;
    must(sem_init(&still.over, 0, 0) == 0 && st->given == 0);
    still.letter.run = stand_still_and_detach;
    loop_post_reserved(r->loops[0], &still.letter);
    rig_until(r, st->given == 4);
    sem_post(&still.over);
    rig_until(r, tap_ended(&still.t));
    free(still.t.items);
    tap_drain(r, s, 0, &still.t);
    rig_append(r, 0, c, "after", NULL);
    rig_until(r, tap_is(&still.t, "after"));
    tap_close(&still.t);
    sem_destroy(&still.over);
}

/* It leaves before it knows the offsets of what it was given. librdkafka takes the answer for giving up all, and yet
 * asks for that, too: whoever answers that as well may end the program. */
static void leaves_while_it_is_given_partitions(void **state)
{
    struct rig *r = *state;
    struct tap t;
    struct bus_channel *c = rig_channel(r, "ns/four");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    fail_next(OFFSET_FETCH, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 1000);
    tap_attach(r, s, 0, &t);
    rig_until(r, s->member && s->member->asking);
    struct kafka_member *m = s->member;
    kafka_member_close(m);
    rig_until(r, m->farewell);
    uint64_t began = begin_now();
    while (!rd_kafka_consumer_closed(m->rk) && seconds_since(began) < STOP_SECONDS)
        sched_yield(); /* control stands still meanwhile, and has not seen the question */
    kafka_member_serve(m);
    assert_true(m->parted && !m->rebalance && m->committing == 0);
    rig_until(r, s->member != m);
    rd_kafka_mock_clear_request_errors(mock.cluster, OFFSET_FETCH);
    tap_close(&t);
    tap_drain(r, s, 0, &t);
    rig_append(r, 0, c, "after", NULL);
    rig_until(r, tap_is(&t, "after"));
    tap_close(&t);
}

/* ---- reading ---- */

static void read_start(struct page *p, struct rig *r, struct bus_channel *c)
{
    *p = (struct page){.r = r, .c = c, .from = {.kind = BUS_START_EARLIEST}, .most = 64};
    p->op.op.done = page_done;
    rig_on(r, 0, page_here, p);
    assert_int_equal(p->at_once, OK);
}

/* Nobody can say what it holds, so nobody may say that it holds nothing. */
static void a_partition_without_a_leader_is_not_read_as_empty(void **state)
{
    static const char topic[] = "knative-messaging-kafka.ns.d";
    static struct page p;
    struct rig *r = *state;
    struct bus_channel *d = rig_channel(r, "ns/d");
    rig_append(r, 0, d, "e", NULL);
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, topic, 0, -1));
    read_start(&p, r, d);
    rig_until(r, page_ended(&p));
    assert_int_equal(p.op.err, ERR_UNAVAILABLE);
    must(!rd_kafka_mock_partition_set_leader(mock.cluster, topic, 0, 1));
    const struct bus_start earliest = {.kind = BUS_START_EARLIEST};
    assert_int_equal(page_read(&p, r, d, earliest, 64)->count, 1);
}

/* ---- what is said again ---- */

static size_t rules_of(const struct bus_channel *c)
{
    size_t count = 0;
    for (const struct kafka_rules *one = atomic_load(&c->rules); one; one = one->older)
        count++;
    return count;
}

/* As the engine does each minute while something is wrong. */
static void the_same_parameters_again_take_no_memory(void **state)
{
    static const char params[] = "mode=structured topic.config.retention.bytes=1 record.override.x=y record.source=/a";
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", params);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(rig_channel_with(r, "ns/c", params), c);
        assert_int_equal(rules_of(c), 1);
    }
    assert_ptr_equal(rig_channel_with(r, "ns/c", "mode=structured record.override.x=z record.source=/a"), c);
    assert_int_equal(rules_of(c), 2);
    assert_string_equal(atomic_load(&c->rules)->settings.overrides[0].value, "z");
}

/* ---- stopping ---- */

static void stop_ends_a_read_that_gets_nothing(void **state)
{
    static struct page p;
    struct rig *r = *state;
    struct bus_channel *c = rig_channel(r, "ns/c");
    rig_append(r, 0, c, "e", NULL);
    fail_next(FETCH, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, 1000);
    read_start(&p, r, c);
    uint64_t began = begin_now();
    rig_until(r, seconds_since(began) >= 1); /* it waits for a record by then, as a rule */
    rig_stop(r);
    assert_true(page_ended(&p));
    assert_int_equal(p.op.err, ERR_CLOSED);
    rd_kafka_mock_clear_request_errors(mock.cluster, FETCH);
}

/* What it was to deliver at the end of a turn is not delivered when the loop goes, over what was freed before. */
static void freed_with_a_delivery_still_to_come(void **state)
{
    struct rig *r = *state;
    struct tap t;
    struct bus_channel *c = rig_channel(r, "ns/c");
    tap_attach(r, rig_subscribe(r, c, "s"), 0, &t);
    tap_credit(&t, 2);
    rig_append(r, 0, c, "e", NULL);
    rig_until(r, tap_open(&t) == 1);
    rig_quiet(r);
    threads_stop(r);
    assert_true(tap_settle(&t, NULL, BUS_RELEASE));
    r->ops->unbind(r->bus, r->loops[0]);
    r->ops->fini(r->bus);
    r->finished = true;
    free(t.items);
}

static void stop_while_the_broker_is_down(void **state)
{
    struct rig *r = *state;
    struct works w;
    works_init(r, &w);
    all_brokers(rd_kafka_mock_broker_set_down);
    struct rig_append a;
    const struct ce_event *event = rig_event("lost", NULL, 10);
    rig_append_start(r, 0, w.c, event, &a);
    uint64_t began = begin_now();
    tap_detach(&w.t);
    rig_stop(r);
    assert_true(seconds_since(began) <= STOP_SECONDS);
    assert_true(rig_append_ended(&a));
    ce_event_unref(event);
    free(w.t.items);
}

/* ---- */

#define CASE(name)                                                                                                     \
    {                                                                                                                  \
#name, name, contract_setup, contract_teardown, (void *)(uintptr_t)&faults                                     \
    }
static const struct CMUnitTest cases[] = {CASE(broker_down),
                                          CASE(broker_down_from_the_start),
                                          CASE(not_enough_replicas_for_a_moment),
                                          CASE(not_enough_replicas_for_long),
                                          CASE(message_too_large),
                                          CASE(producer_fails_for_good),
                                          CASE(connection_breaks_while_producing),
                                          CASE(slow_broker),
                                          CASE(leader_moves),
                                          CASE(one_topic_without_a_leader),
                                          CASE(a_partition_without_a_leader_does_not_answer),
                                          CASE(brokers_that_are_down_do_not_answer),
                                          CASE(fetching_fails),
                                          CASE(rebalance_in_progress),
                                          CASE(member_is_forgotten),
                                          CASE(coordinator_moves),
                                          CASE(coordinator_is_away_for_long),
                                          CASE(commit_refused),
                                          CASE(commit_refused_while_leaving),
                                          CASE(offsets_not_told),
                                          CASE(broker_down_while_consuming),
                                          CASE(detached_while_partitions_are_on_their_way),
                                          CASE(leaves_while_it_is_given_partitions),
                                          CASE(a_partition_without_a_leader_is_not_read_as_empty),
                                          CASE(the_same_parameters_again_take_no_memory),
                                          CASE(stop_ends_a_read_that_gets_nothing),
                                          CASE(freed_with_a_delivery_still_to_come),
                                          CASE(stop_while_the_broker_is_down)};

static void mock_begin(const struct CMUnitTest *test)
{
    (void)test;
    kafka_mock_init(&mock, 2);
    kafka_mock_topic(&mock, "ns", "c", 1);
    kafka_mock_topic(&mock, "ns", "d", 1);
    kafka_mock_topic(&mock, "ns", "four", 4);
}

static void mock_end(const struct CMUnitTest *test)
{
    (void)test;
    kafka_mock_fini(&mock);
}

int main(int argc, char **argv)
{
    struct children all = {.most = 6, .before = mock_begin, .after = mock_end};
    children_add(&all, cases, sizeof cases / sizeof *cases);
    return children_run(&all, "faults of Kafka's mock", argc > 1 ? argv[1] : NULL);
}
