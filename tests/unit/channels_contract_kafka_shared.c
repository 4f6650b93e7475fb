/* SPDX-License-Identifier: Apache-2.0
 *
 * Two buses with the same settings behave as two processes do: they share the work of a subscription, and each takes
 * over from the other, whether it leaves or vanishes. On librdkafka's mock cluster, and, where LEAT_KAFKA names one, on
 * a real Kafka. `channels_contract_kafka_shared WORD` runs the cases whose name holds WORD and shows what they say.
 */
#include "../bus/contract.c"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/children.h"
#include "tests/lib/kafka_mock.h"

#define PARTITIONS 4
#define EVENTS_MAX 8000
/* What may come twice when a member joins: librdkafka's thread may have decided to join again a moment before a commit
 * is sent, which then is refused and makes it give up all it has (docs/internals/kafka.md). What was settled since the
 * commit before is repeated: that is KAFKA_COMMIT_MS, 200 ms, of the 500 events a second that are appended at most here
 * (one at a time, each waited for). As a rule it is none. */
#define TWICE_MAX 100

struct pair {
    struct rig *rig[2];
    struct bus_channel *c[2];
    struct bus_subscription *s[2];
    struct tap tap[2];
    unsigned appended;
    unsigned earlier[EVENTS_MAX]; /* acknowledged by a bus that has left */
};

static struct kafka_mock mock;

/* A process that will vanish: forked before there is any thread, it waits for its environment. */
static struct {
    pid_t pid;
    int order, done; /* its ends are the other ones */
} doomed;

/* ---- two of them ---- */

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    must(p);
    void *one = *state, *two = *state;
    must(contract_setup(&one) == 0 && contract_setup(&two) == 0);
    p->rig[0] = one;
    p->rig[1] = two;
    if (p->rig[1]->params[0]) /* the same words where each has fresh ones */
        memcpy(p->rig[1]->params, p->rig[0]->params, sizeof p->rig[0]->params);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < 2; i++) {
        void *one = p->rig[i];
        if (one)
            contract_teardown(&one);
        free(p->tap[i].items);
    }
    free(p);
    return 0;
}

static void both_turn(struct pair *p)
{
    rig_turn(p->rig[0]);
    if (p->rig[1])
        rig_turn(p->rig[1]);
}

#define both_until(p, fact)                                                                                            \
    do {                                                                                                               \
        for (int turns_ = 0; !(fact); turns_++) {                                                                      \
            if (turns_ == RIG_TURNS_MAX)                                                                               \
                fail_msg("never came: %s", #fact);                                                                     \
            both_turn(p);                                                                                              \
        }                                                                                                              \
    } while (0)

static void pair_subscribe(struct pair *p, int i)
{
    p->c[i] = rig_channel(p->rig[i], "ns/c");
    p->s[i] = rig_subscribe(p->rig[i], p->c[i], "s");
}

/* Appends through the first bus, or whichever is there; keys spread them over the partitions. */
static void pair_append(struct pair *p, int through, unsigned n)
{
    for (unsigned i = 0; i < n; i++, p->appended++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "e%u", p->appended);
        snprintf(key, sizeof key, "k%u", p->appended % 50);
        rig_append(p->rig[through], 0, p->c[through], id, key);
        if (p->rig[!through])
            rig_turn(p->rig[!through]);
    }
}

/* How often each event was acknowledged, by both together. */
static void count_acked(struct pair *p, unsigned counts[EVENTS_MAX])
{
    memcpy(counts, p->earlier, sizeof p->earlier);
    for (int t = 0; t < 2; t++) {
        if (!p->tap[t].r)
            continue;
        pthread_mutex_lock(&p->rig[t]->lock);
        for (uint64_t i = 0; i < p->tap[t].count; i++) {
            const struct tap_item *item = &p->tap[t].items[i];
            must(item->id[0] == 'e' && atoi(item->id + 1) < EVENTS_MAX);
            counts[atoi(item->id + 1)] += item->acked;
        }
        pthread_mutex_unlock(&p->rig[t]->lock);
    }
}

static bool all_acked(struct pair *p)
{
    unsigned counts[EVENTS_MAX], n = 0;
    count_acked(p, counts);
    for (unsigned i = 0; i < p->appended; i++)
        n += counts[i] > 0;
    return n == p->appended;
}

static unsigned acked_twice(struct pair *p)
{
    unsigned counts[EVENTS_MAX], n = 0;
    count_acked(p, counts);
    for (unsigned i = 0; i < p->appended; i++)
        n += counts[i] > 1;
    return n;
}

/* ---- cases ---- */

static void they_share_the_work(void **state)
{
    struct pair *p = *state;
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_drain(p->rig[0], p->s[0], 0, &p->tap[0]);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    while (tap_count(&p->tap[0]) == 0 || tap_count(&p->tap[1]) == 0) {
        pair_append(p, 0, 1);
        both_turn(p);
        assert_true(p->appended < EVENTS_MAX - 500);
    }
    pair_append(p, 0, 200);
    pair_append(p, 1, 200);
    both_until(p, all_acked(p));
    assert_in_range(acked_twice(p), 0, TWICE_MAX);
    assert_true(tap_acked(&p->tap[0]) > 50 && tap_acked(&p->tap[1]) > 50);
    both_until(p, backlog(p->rig[0], p->s[0]) == 0);
}

static bool on_mock(const struct contract *c)
{
    return strstr(c->params, "MOCK") != NULL;
}

static void mock_begin(void)
{
    kafka_mock_init(&mock, 2);
    kafka_mock_topic(&mock, "ns", "c", PARTITIONS);
}

/* Another pair, on another mock: nothing is there that the one before made. */
static void mocked_pair_anew(void **state)
{
    const struct contract *c = ((struct pair *)*state)->rig[0]->contract;
    must(pair_teardown(state) == 0);
    kafka_mock_fini(&mock);
    mock_begin();
    *state = (void *)(uintptr_t)c;
    must(pair_setup(state) == 0);
}

/* How many of what one settles while the other comes are repeated by it. */
static unsigned repeated_by_a_join(struct pair *p)
{
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_drain(p->rig[0], p->s[0], 0, &p->tap[0]);
    both_until(p, (pair_append(p, 0, 1), tap_count(&p->tap[0]) > 100));
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    while (tap_count(&p->tap[1]) < 20) {
        pair_append(p, 0, 1);
        must(p->appended < EVENTS_MAX - 100);
    }
    pair_append(p, 0, 50);
    both_until(p, all_acked(p));
    return acked_twice(p);
}

/* None is, but for the last moment. On the mock that is luck: when who joins asks for its part (SyncGroup) before the
 * leader has said what it is, the mock refuses, has it join once more, and refuses every commit until then, which Kafka
 * takes. Then all comes again; so it may, but not each time. */
#define JOINS_MAX 3

static void joins(void **state, void (*before)(void))
{
    for (int i = 1;; i++) {
        before();
        unsigned repeated = repeated_by_a_join(*state);
        if (repeated <= TWICE_MAX)
            return;
        if (i == JOINS_MAX || !on_mock(((struct pair *)*state)->rig[0]->contract))
            fail_msg("%u of %u came twice", repeated, ((struct pair *)*state)->appended);
        mocked_pair_anew(state);
    }
}

static void as_it_is(void)
{
}

static void one_joins_under_load(void **state)
{
    joins(state, as_it_is);
}

static void commits_are_slow(void)
{
    for (int32_t broker = 1; broker <= 2; broker++)
        for (int i = 0; i < 100; i++)
            must(!rd_kafka_mock_broker_push_request_error_rtts(mock.cluster, broker, 8 /* OffsetCommit */, 1,
                                                               RD_KAFKA_RESP_ERR_NO_ERROR, 400));
}

/* The same where a commit takes 400 ms, twice KAFKA_COMMIT_MS: then there is always something new to be committed of
 * the partitions that stay while those that go are given up, and the next JoinGroup follows at once. Sent behind that
 * it would repeat what was settled in 600 ms and more, 300 events. */
static void one_joins_while_commits_are_slow(void **state)
{
    joins(state, commits_are_slow);
}

/* The first bus goes, as a process that is stopped. */
static void first_leaves(struct pair *p)
{
    unsigned counts[EVENTS_MAX];
    count_acked(p, counts);
    memcpy(p->earlier, counts, sizeof counts);
    if (p->tap[0].r)
        tap_close(&p->tap[0]);
    p->tap[0] = (struct tap){0};
    void *one = p->rig[0];
    p->rig[0] = NULL;
    contract_teardown(&one);
}

static void settle_every_second(struct tap *t)
{
    for (unsigned i = 0; i < 40; i += 2) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        must(tap_settle(t, id, BUS_ACK));
    }
}

/* What it had not settled comes to the other one, also from between what it had; and nothing else. */
static void one_leaves(void **state)
{
    struct pair *p = *state;
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_attach(p->rig[0], p->s[0], 0, &p->tap[0]);
    tap_credit(&p->tap[0], 100);
    pair_append(p, 0, 40);
    both_until(p, tap_open(&p->tap[0]) == 40);
    settle_every_second(&p->tap[0]);
    first_leaves(p);
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 20);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    rig_until(p->rig[1], all_acked(p));
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 0);
    assert_int_equal(acked_twice(p), 0);
    assert_int_equal(tap_count(&p->tap[1]), 20);
}

/* In the other process: holds 40 events, settles half of them, and waits for its end. */
static void doomed_main(int order, int done, const struct contract *c)
{
    char address[200] = "";
    must(read(order, address, sizeof address - 1) > 0);
    setenv("LEAT_KAFKA_MOCK", address, 1);
    setenv("LEAT_KAFKA", address, 1);
    void *state = (void *)(uintptr_t)c;
    must(contract_setup(&state) == 0);
    struct rig *r = state;
    struct tap t;
    tap_attach(r, rig_subscribe(r, rig_channel(r, "ns/c"), "s"), 0, &t);
    tap_credit(&t, 100);
    must(write(done, "1", 1) == 1);
    while (tap_open(&t) < 40)
        rig_turn(r);
    settle_every_second(&t);
    for (;;)
        rig_turn(r);
}

/* No farewell: the other takes over within the session's time, and repeats only what was not settled. */
static void one_vanishes(void **state)
{
    struct pair *p = *state;
    char ready;
    first_leaves(p); /* it was never there */
    pair_subscribe(p, 1);
    const char *address = getenv(on_mock(p->rig[1]->contract) ? "LEAT_KAFKA_MOCK" : "LEAT_KAFKA");
    must(write(doomed.order, address, strlen(address)) == (ssize_t)strlen(address));
    must(read(doomed.done, &ready, 1) == 1);
    pair_append(p, 1, 40);
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 20); /* what the other settled has been committed */
    must(kill(doomed.pid, SIGKILL) == 0 && waitpid(doomed.pid, NULL, 0) == doomed.pid);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    rig_until(p->rig[1], tap_acked(&p->tap[1]) == 20);
    for (unsigned i = 1; i < 40; i += 2) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        assert_true(tap_is(&p->tap[1], id));
    }
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 0);
    assert_int_equal(tap_count(&p->tap[1]), 20);
}

/* Tokens of partitions that go to the other one are revoked, and their events come there; the others stay. */
static void a_rebalance_revokes(void **state)
{
    struct pair *p = *state;
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_attach(p->rig[0], p->s[0], 0, &p->tap[0]);
    tap_credit(&p->tap[0], 100);
    pair_append(p, 0, 40);
    both_until(p, tap_open(&p->tap[0]) == 40);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    both_until(p, tap_revocations(&p->tap[0]) > 0 && tap_acked(&p->tap[1]) == tap_revocations(&p->tap[0]));
    assert_true(tap_open(&p->tap[0]) > 0);
    while (tap_settle(&p->tap[0], NULL, BUS_ACK))
        continue;
    both_until(p, all_acked(p));
    both_until(p, backlog(p->rig[1], p->s[1]) == 0);
    assert_int_equal(acked_twice(p), 0);
}

/* What a stream may take instead of what was taken from it comes to it, though nobody settles anything. */
static void credit_inside_revoked_counts(void **state)
{
    struct pair *p = *state;
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_attach(p->rig[0], p->s[0], 0, &p->tap[0]);
    pair_append(p, 0, 200);
    tap_credit(&p->tap[0], 40);
    both_until(p, tap_open(&p->tap[0]) == 40);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    both_until(p, tap_revocations(&p->tap[0]) > 0);
    both_until(p, tap_open(&p->tap[0]) == 40);
}

/* Heartbeats go on while a subscriber takes longer than a session: nobody takes its events away. */
static void events_are_held_for_long(void **state)
{
    struct pair *p = *state;
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    tap_attach(p->rig[0], p->s[0], 0, &p->tap[0]);
    tap_credit(&p->tap[0], 20);
    pair_append(p, 0, 10);
    both_until(p, tap_open(&p->tap[0]) == 10);
    uint64_t until = clock_monotonic_ns(clock_system()) + 2 * 3 * NS_PER_S;
    both_until(p, clock_monotonic_ns(clock_system()) > until);
    assert_int_equal(tap_revocations(&p->tap[0]), 0);
    assert_int_equal(tap_open(&p->tap[0]), 10);
    while (tap_settle(&p->tap[0], NULL, BUS_ACK))
        continue;
    both_until(p, backlog(p->rig[1], p->s[1]) == 0);
    pair_append(p, 1, 5);
    both_until(p, tap_open(&p->tap[0]) == 5);
}

/* A group's coordinator that moves, or is only just starting, is asked again; and the group begins where it stood. */
static void the_coordinator_moves(void **state)
{
    struct pair *p = *state;
    rd_kafka_mock_push_request_errors(mock.cluster, 9 /* OffsetFetch */, 3, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    pair_subscribe(p, 0);
    pair_subscribe(p, 1);
    pair_append(p, 0, 10);
    rd_kafka_mock_push_request_errors(mock.cluster, 9, 2, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    tap_drain(p->rig[0], p->s[0], 0, &p->tap[0]);
    both_until(p, all_acked(p));
    rd_kafka_mock_push_request_errors(mock.cluster, 8 /* OffsetCommit */, 2, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    pair_append(p, 1, 10);
    both_until(p, all_acked(p));
    both_until(p, backlog(p->rig[1], p->s[1]) == 0);
    assert_int_equal(acked_twice(p), 0);
}

/* Deletes the channel's topic behind everybody's back. */
static void delete_topic(void)
{
    char topic[200], text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(topic, sizeof topic, "%sknative-messaging-kafka.ns.c", getenv("LEAT_PREFIX"));
    must(!rd_kafka_conf_set(conf, "bootstrap.servers", getenv("LEAT_KAFKA"), text, sizeof text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *request = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(rk, &request, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    must(event && !rd_kafka_event_error(event));
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

/* What is accepted after a topic was deleted and made anew is delivered, though it has lower offsets than before. */
static void a_topic_is_made_anew(void **state)
{
    struct pair *p = *state;
    first_leaves(p);
    pair_subscribe(p, 1);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    pair_append(p, 1, 50);
    rig_until(p->rig[1], all_acked(p));
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 0);
    delete_topic();
    unsigned first = p->appended;
    pair_append(p, 1, 10);
    char id[16];
    snprintf(id, sizeof id, "e%u", first + 9);
    rig_until(p->rig[1], tap_is(&p->tap[1], id));
    pair_append(p, 1, 10);
    snprintf(id, sizeof id, "e%u", first + 19);
    rig_until(p->rig[1], tap_is(&p->tap[1], id));
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 0);
}

/* The marks of transactions are offsets that no record has: the backlog ends all the same, and so does the commit. */
static void a_transaction_leaves_marks(void **state)
{
    struct pair *p = *state;
    char topic[200], text[200];
    first_leaves(p);
    pair_subscribe(p, 1);
    tap_drain(p->rig[1], p->s[1], 0, &p->tap[1]);
    pair_append(p, 1, 5);
    snprintf(topic, sizeof topic, "%sknative-messaging-kafka.ns.c", getenv("LEAT_PREFIX"));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    must(!rd_kafka_conf_set(conf, "bootstrap.servers", getenv("LEAT_KAFKA"), text, sizeof text));
    must(!rd_kafka_conf_set(conf, "transactional.id", topic, text, sizeof text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    must(rk && !rd_kafka_init_transactions(rk, 20000));
    for (int i = 0; i < 2; i++) { /* the second one in vain */
        must(!rd_kafka_begin_transaction(rk));
        must(!rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(i), RD_KAFKA_V_VALUE("x", 1),
                                RD_KAFKA_V_HEADER("ce_specversion", "1.0", -1), RD_KAFKA_V_HEADER("ce_id", "e5", -1),
                                RD_KAFKA_V_HEADER("ce_source", "/t", -1), RD_KAFKA_V_HEADER("ce_type", "t", -1),
                                RD_KAFKA_V_END));
        must(!rd_kafka_flush(rk, 20000));
        must(!(i ? rd_kafka_abort_transaction(rk, 20000) : rd_kafka_commit_transaction(rk, 20000)));
    }
    rd_kafka_destroy(rk);
    p->appended++;
    rig_until(p->rig[1], all_acked(p));
    rig_until(p->rig[1], backlog(p->rig[1], p->s[1]) == 0);
    tap_close(&p->tap[1]);
    p->tap[1] = (struct tap){0};
}

#define SHARED(stamp_, parameters)                                                                                     \
    static const struct contract stamp_ = {.bus = "kafka", .how = THREADS, .params = parameters, .loops = 1};
/* Nobody is to be missed, however busy the machine is. Not on the mock: it has each rebalance last for a session. */
SHARED(shared_real_long, "bootstrap.servers=$LEAT_KAFKA prefix=$LEAT_PREFIX session=30s topic.partitions=4")
/* Where commits or the coordinator fail on a busy machine, librdkafka's retries cost seconds: a shorter session is lost
 * meanwhile, and what was settled since the last commit rightly comes again. */
SHARED(shared_mock_long, "bootstrap.servers=$LEAT_KAFKA_MOCK session=6s topic.partitions=4")
SHARED(shared_mock, "bootstrap.servers=$LEAT_KAFKA_MOCK session=3s topic.partitions=4")
SHARED(shared_real, "bootstrap.servers=$LEAT_KAFKA prefix=$LEAT_PREFIX session=3s topic.partitions=4")

static void doomed_begin(const struct contract *c)
{
    int order[2], done[2];
    must(pipe(order) == 0 && pipe(done) == 0);
    doomed.order = order[1];
    doomed.done = done[0];
    doomed.pid = fork();
    must(doomed.pid >= 0);
    if (doomed.pid == 0) {
        close(order[1]);
        close(done[0]);
        doomed_main(order[0], done[1], c);
    }
    close(order[0]);
    close(done[1]);
}

static void case_begin(const struct CMUnitTest *test)
{
    char prefix[40];
    rig_word(prefix, sizeof prefix);
    setenv("LEAT_PREFIX", prefix, 1);
    if (strstr(test->name, "vanishes"))
        doomed_begin(test->initial_state);
    if (on_mock(test->initial_state))
        mock_begin();
}

static void case_end(const struct CMUnitTest *test)
{
    if (on_mock(test->initial_state))
        kafka_mock_fini(&mock);
}

#define CASE(name, stamp)                                                                                              \
    {                                                                                                                  \
#stamp "_" #name, name, pair_setup, pair_teardown, (void *)(uintptr_t)&stamp                                   \
    }
#define CASES(stamp, long_stamp)                                                                                       \
    {                                                                                                                  \
        CASE(they_share_the_work, long_stamp), CASE(one_joins_under_load, long_stamp), CASE(one_leaves, stamp),        \
            CASE(one_vanishes, stamp), CASE(a_rebalance_revokes, stamp), CASE(events_are_held_for_long, stamp)         \
    }

int main(int argc, char **argv)
{
    static const struct CMUnitTest
        mocked[] = CASES(shared_mock, shared_mock),
        real[] = CASES(shared_real, shared_real_long),
        faults[] = {CASE(the_coordinator_moves, shared_mock_long),
                    CASE(one_joins_while_commits_are_slow, shared_mock_long)},
        topics[] = {
            CASE(a_topic_is_made_anew, shared_real),
            /* On the mock its end met an assertion of librdkafka 2.0.2 (docs/internals/kafka.md, Known limits). */
            CASE(credit_inside_revoked_counts, shared_real), CASE(a_transaction_leaves_marks, shared_real)};
    struct children all = {.most = 3, .before = case_begin, .after = case_end};
    children_add(&all, mocked, sizeof mocked / sizeof mocked[0]);
    children_add(&all, faults, sizeof faults / sizeof faults[0]);
#ifdef __SANITIZE_THREAD__ /* ten times as slow: what a real Kafka waits for comes too late */
    bool on_real = false;
#else
    bool on_real = getenv("LEAT_KAFKA") != NULL;
#endif
    if (on_real)
        children_add(&all, real, sizeof real / sizeof real[0]),
            children_add(&all, topics, sizeof topics / sizeof topics[0]);
    return children_run(&all, "Kafka shared by two", argc > 1 ? argv[1] : NULL);
}
