/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Kafka bus promises of topics beyond the contract, on a real Kafka, which tests/real starts and names in
 * LEAT_KAFKA: how they are made, those that are there, those of others, those that somebody deletes, and what is too
 * large for them. `channels_contract_kafka_topics WORD` runs the cases whose name holds WORD.
 */
#include "../bus/contract.c"

#include <dirent.h>

#include "channels/kafka/kafka_channel.h"
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

static const struct contract one = {"kafka", "bootstrap.servers=$LEAT_KAFKA prefix=* topic.partitions=1", 1, THREADS,
                                    .notice = notice};
static const struct contract three = {"kafka", "bootstrap.servers=$LEAT_KAFKA prefix=* topic.partitions=3", 2, THREADS,
                                      .notice = notice};

/* ---- somebody else at the cluster ---- */

static rd_kafka_t *stranger(void)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    must(rd_kafka_conf_set(conf, "bootstrap.servers", getenv("LEAT_KAFKA"), why, sizeof why) == RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    must(rk);
    return rk;
}

/* 0: there is no such topic. */
static int partitions_of(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *md = NULL;
    int n = 0;
    must(rd_kafka_metadata(rk, 1, NULL, &md, 20000) == RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int i = 0; i < md->topic_cnt; i++)
        n = strcmp(md->topics[i].topic, topic) == 0 ? md->topics[i].partition_cnt : n;
    rd_kafka_metadata_destroy(md);
    return n;
}

static void stranger_deletes(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(rk, &t, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    rd_kafka_event_destroy(e);
    rd_kafka_DeleteTopic_destroy(t);
    rd_kafka_queue_destroy(q);
    while (partitions_of(rk, topic) != 0)
        continue;
}

static void stranger_makes(rd_kafka_t *rk, const char *topic, int partitions)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, 1, NULL, 0);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    rd_kafka_event_destroy(e);
    rd_kafka_NewTopic_destroy(t);
    rd_kafka_queue_destroy(q);
    while (partitions_of(rk, topic) != partitions)
        continue;
}

/* A setting of the topic as the broker has it. */
static void config_of(rd_kafka_t *rk, const char *topic, const char *name, char *out, size_t room)
{
    size_t n = 0;
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_DescribeConfigs(rk, &r, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(e), &n);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(found[0], &n);
    *out = '\0';
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
            snprintf(out, room, "%s", rd_kafka_ConfigEntry_value(entries[i]));
    }
    rd_kafka_event_destroy(e);
    rd_kafka_ConfigResource_destroy(r);
    rd_kafka_queue_destroy(q);
}

static const char *topic_of(struct bus_channel *c)
{
    return c->list[0].name;
}

/* Provisions and waits, whatever comes of it. */
static enum err provision(struct rig *r, const char *name, const char *params, struct bus_channel **out, char *why,
                          size_t room)
{
    char text[200];
    struct bus_param list[8];
    static struct rig_op o;
    o = (struct rig_op){.op.done = rig_op_done};
    snprintf(text, sizeof text, "%s", params);
    size_t n = rig_params(text, list, 8);
    assert_int_equal(r->ops->provision(r->bus, slice_str(name), list, n, out, &o.op, NULL), OK);
    rig_until(r, o.ended > 0);
    struct bus_probe p = rig_probe(r, *out);
    snprintf(why, room, "%s", p.reason);
    return o.err;
}

static void stranger_cuts(rd_kafka_t *rk, const char *topic, int64_t first)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = first;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &request, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    rd_kafka_event_destroy(e);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(q);
}

static void stranger_commits(rd_kafka_t *rk, const char *group, const char *topic, int64_t offset)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    rd_kafka_AlterConsumerGroupOffsets_t *request = rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_AlterConsumerGroupOffsets(rk, &request, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    rd_kafka_event_destroy(e);
    rd_kafka_AlterConsumerGroupOffsets_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(q);
}

static enum err append_of(struct rig *r, struct bus_channel *c, size_t bytes, const char *key)
{
    const struct ce_event *e = rig_event("e", key, bytes);
    enum err err = rig_append_try(r, 0, c, e);
    ce_event_unref(e);
    return err;
}

/* Somebody deletes its topic: a sender is told 503, and then it is there again, with what was sent. */
static void deleted_and_made_anew(struct rig *r, rd_kafka_t *rk, struct bus_channel *c)
{
    enum err e;
    stranger_deletes(rk, topic_of(c));
    while ((e = append_of(r, c, 10, NULL)) == ERR_UNAVAILABLE)
        continue;
    assert_int_equal(e, OK);
}

/* ---- cases ---- */

static void topic_is_made_as_the_parameters_say(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    char value[40];
    struct bus_channel *c = rig_channel_with(
        r, "ns/c", "topic.partitions=5 topic.replication=1 topic.retention=PT2H topic.config.cleanup.policy=compact");
    assert_int_equal(partitions_of(rk, topic_of(c)), 5);
    assert_int_equal(atomic_load(&c->topics.partitions), 5);
    config_of(rk, topic_of(c), "retention.ms", value, sizeof value);
    assert_string_equal(value, "7200000");
    config_of(rk, topic_of(c), "cleanup.policy", value, sizeof value);
    assert_string_equal(value, "compact");
    config_of(rk, topic_of(rig_channel(r, "dead-letter/x")), "retention.ms", value, sizeof value);
    assert_string_equal(value, "-1");
    rig_release(r, c, false);
    c = rig_channel_with(r, "ns/c", "topic.partitions=2"); /* it is there: taken as it is, and told */
    rig_until(r, heard("TopicDiffers"));
    assert_int_equal(atomic_load(&c->topics.partitions), 5);
    char topic[200];
    snprintf(topic, sizeof topic, "%s", topic_of(c));
    rig_release(r, c, true);
    assert_int_equal(partitions_of(rk, topic), 0);
    rd_kafka_destroy(rk);
}

static void what_the_broker_refuses_is_said_in_its_words(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = NULL;
    char why[320];
    assert_int_equal(provision(r, "ns/d", "topic.config.no.such.thing=1", &c, why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, "no.such.thing"));
}

/* A cluster that begins has one broker, too, for a moment. */
static void too_few_brokers_are_the_users_mistake_only_when_no_more_come(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = NULL;
    char why[320];
    assert_int_equal(provision(r, "ns/c", "topic.replication=3", &c, why, sizeof why), ERR_UNAVAILABLE);
    assert_non_null(strstr(why, "a replication factor of 3 needs as many brokers, and the cluster has 1 now"));
    assert_int_equal(append_of(r, c, 10, NULL), ERR_UNAVAILABLE);
    kafka_of(r->bus)->brokers_ns -= KAFKA_SETTLED_NS;
    assert_int_equal(provision(r, "ns/c", "topic.replication=3", &c, why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, "the cluster has 1: "));
    assert_non_null(strstr(why, "broker(s) are registered")); /* Kafka's own words */
    assert_int_equal(provision(r, "ns/c", "topic.replication=1", &c, why, sizeof why), OK);
    assert_string_equal(why, "");
    assert_int_equal(append_of(r, c, 10, NULL), OK);
}

static void one_partition_is_refused_where_the_topic_has_more(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = NULL;
    char why[320];
    rig_release(r, rig_channel(r, "ns/c"), false);
    assert_int_equal(provision(r, "ns/c", "partitions=1", &c, why, sizeof why), ERR_CONFLICT);
    assert_non_null(strstr(why, "3 partitions"));
}

static void topics_of_others_are_never_made_nor_removed(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = NULL, *again = NULL;
    char name[64], params[200], why[320];
    rig_word(name, sizeof name);
    snprintf(params, sizeof params, "topic=%s topic.external=true", name);
    assert_int_equal(provision(r, "ns/c", params, &c, why, sizeof why), ERR_NOTFOUND);
    assert_non_null(strstr(why, "no such topic"));
    assert_int_equal(append_of(r, c, 10, NULL), ERR_UNAVAILABLE);
    assert_int_equal(partitions_of(rk, name), 0);
    stranger_makes(rk, name, 2);
    assert_int_equal(provision(r, "ns/c", params, &again, why, sizeof why), OK);
    assert_int_equal(append_of(r, c, 10, NULL), OK);
    rig_release(r, c, true);
    rig_release(r, again, true);
    assert_int_equal(partitions_of(rk, name), 2);
    stranger_deletes(rk, name);
    rd_kafka_destroy(rk);
}

static void what_comes_later_is_taken_without_being_asked_for(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = NULL;
    char name[64], params[200], why[320];
    rig_word(name, sizeof name);
    snprintf(params, sizeof params, "topic=%s topic.external=true", name);
    assert_int_equal(provision(r, "ns/c", params, &c, why, sizeof why), ERR_NOTFOUND);
    assert_false(heard("TopicFailed")); /* the operation said so */
    assert_false(rig_probe(r, c).healthy);
    assert_true(rig_probe(r, NULL).healthy); /* the bus itself is well: other channels take events */
    stranger_makes(rk, name, 1);
    rig_until(r, rig_probe(r, c).healthy);
    assert_true(heard("TopicReady"));
    assert_int_equal(append_of(r, c, 10, NULL), OK);
    stranger_deletes(rk, name);
    rd_kafka_destroy(rk);
}

static void a_topic_that_somebody_deleted_is_made_again(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    for (int i = 0; i < 5; i++)
        assert_int_equal(append_of(r, c, 10, NULL), OK);
    assert_int_equal(kafka_channel_end(c, 0, 0), 5);
    deleted_and_made_anew(r, rk, c);
    rig_until(r, heard("TopicDeleted"));
    assert_int_equal(partitions_of(rk, topic_of(c)), 1);
    rig_until(r, rig_probe(r, c).end == 1);
    rd_kafka_destroy(rk);
}

/* While nobody sends: a question finds out, and it is made again all the same. */
static void a_deleted_topic_does_not_answer(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c"), *other = rig_channel(r, "ns/other");
    assert_int_equal(verify_once(r, c), OK);
    stranger_deletes(rk, topic_of(c));
    enum err e;
    while ((e = verify_once(r, c)) == OK) /* a broker may know it for a moment still */
        continue;
    assert_int_equal(e, ERR_NOTFOUND);
    assert_int_equal(verify_once(r, other), OK);
    while ((e = verify_once(r, c)) != OK)
        assert_true(e == ERR_NOTFOUND || e == ERR_UNAVAILABLE);
    assert_int_equal(partitions_of(rk, topic_of(c)), 1);
    assert_int_equal(append_of(r, c, 10, NULL), OK);
    rd_kafka_destroy(rk);
}

/* More than are looked at one by one: one request for all of them. */
static void many_topics_are_asked_about_in_one_go(void **state)
{
    enum { MANY = 70 };
    static struct rig_op ops[MANY];
    struct bus_channel *c[MANY];
    struct rig *r = *state;
    char name[20];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "ns/m%d", i);
        c[i] = rig_channel(r, name);
    }
    for (int i = 0; i < MANY; i++)
        rig_verify(r, c[i], &ops[i]);
    for (int i = 0; i < MANY; i++)
        rig_wait(r, &ops[i]);
    for (int i = 0; i < MANY; i++) { /* all at once, too */
        ops[i] = (struct rig_op){.op.done = rig_op_done};
        r->ops->release(r->bus, c[i], true, &ops[i].op);
    }
    for (int i = 0; i < MANY; i++)
        rig_wait(r, &ops[i]);
}

static void too_large_is_what_the_topic_does_not_take(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", "topic.config.max.message.bytes=10000"),
                       *d = rig_channel_with(r, "ns/d", "topic.config.max.message.bytes=3000000"),
                       *usual = rig_channel_with(r, "ns/usual",
                                                 "topic.config.max.message.bytes=1048588"); /* as Kafka has it */
    assert_int_equal(append_of(r, c, 10100, NULL), ERR_TOO_LARGE);
    assert_int_equal(append_of(r, c, 9000, NULL), OK);
    assert_int_equal(append_of(r, usual, 1100000, NULL), ERR_TOO_LARGE);
    assert_int_equal(append_of(r, usual, 1000000, NULL), OK);
    assert_int_equal(append_of(r, d, 2900000, NULL), OK);
    assert_int_equal(append_of(r, d, 3100000, NULL), ERR_TOO_LARGE);
}

/* Many small ones that come at once do not make a request that is too large for the topic. */
static void small_events_are_taken_by_a_topic_of_small_records(void **state)
{
    struct rig *r = *state;
    struct bus_channel *c = rig_channel_with(r, "ns/c", "topic.config.max.message.bytes=5000");
    static struct rig_append a[400];
    const struct ce_event *e = rig_event("small", "one key", 500);
    for (size_t i = 0; i < 400; i++)
        rig_append_start(r, i % r->loop_count, c, e, &a[i]);
    for (size_t i = 0; i < 400; i++) {
        rig_until(r, rig_append_ended(&a[i]));
        assert_int_equal(a[i].at_once, OK);
        assert_int_equal(a[i].err, OK);
    }
    ce_event_unref(e);
}

static void a_topic_that_grows_is_followed(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(topic_of(c), 4, NULL, 0);
    rd_kafka_CreatePartitions(rk, &more, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 20000);
    must(e && !rd_kafka_event_error(e));
    while (partitions_of(rk, topic_of(c)) != 4)
        continue;
    kafka_channel_suspect(c); /* as an append does that came into the fourth, or a consumer that got it */
    rig_until(r, kafka_channel_end(c, 0, 3) == 0);
    assert_int_equal(atomic_load(&c->topics.partitions), 4);
    rd_kafka_event_destroy(e);
    rd_kafka_NewPartitions_destroy(more);
    rd_kafka_queue_destroy(q);
    rd_kafka_destroy(rk);
}

static void ends_that_others_made_are_seen_when_asked_for(void **state)
{
    struct rig *r = *state;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    assert_int_equal(rig_probe(r, c).end, 0);
    assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic_of(c)), RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(rk, 20000), RD_KAFKA_RESP_ERR_NO_ERROR);
    rig_until(r, rig_probe(r, c).end == 1);
    rd_kafka_destroy(rk);
}

/* e0 ... */
static void append_from(struct rig *r, struct bus_channel *c, unsigned first, unsigned count)
{
    char id[16];
    for (unsigned i = first; i < first + count; i++) {
        snprintf(id, sizeof id, "e%u", i);
        rig_append(r, 0, c, id, NULL);
    }
}

/* Ten of twenty are settled, every second; then retention takes the first ten, when nobody drains. */
static void what_retention_removed_is_counted_and_told(void **state)
{
    struct rig *r = *state;
    struct tap t;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    tap_attach(r, s, 0, &t);
    tap_credit(&t, 20);
    append_from(r, c, 0, 20);
    rig_until(r, tap_open(&t) == 20);
    for (unsigned i = 1; i < 20; i += 2) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        assert_true(tap_settle(&t, id, BUS_ACK));
    }
    rig_until(r, backlog(r, s) == 10);
    tap_close(&t);
    open_anew(r);
    c = rig_channel(r, "ns/c");
    s = rig_subscribe(r, c, "s");
    stranger_cuts(rk, topic_of(c), 10);
    append_from(r, c, 20, 5);
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_is(&t, "e24"));
    rig_until(r, backlog(r, s) == 0);
    assert_int_equal(tap_count(&t), 10); /* e10, e12 ... e18, e20 ... e24: what was settled beyond is still known */
    assert_true(tap_is(&t, "e10") && tap_is(&t, "e18") && !tap_is(&t, "e8") && !tap_is(&t, "e11"));
    assert_int_equal(rig_probe_subscription(r, s).dropped, 5);
    rig_until(r, heard("EventsExpired"));
    tap_close(&t);
    rd_kafka_destroy(rk);
}

/* All of it went, and nothing came since. */
static void a_topic_that_retention_emptied_leaves_no_backlog(void **state)
{
    struct rig *r = *state;
    struct tap t;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    append_from(r, c, 0, 7);
    stranger_cuts(rk, topic_of(c), 7);
    tap_drain(r, s, 0, &t);
    rig_until(r, rig_probe_subscription(r, s).dropped == 7);
    rig_until(r, backlog(r, s) == 0);
    append_from(r, c, 7, 1);
    rig_until(r, tap_is(&t, "e7"));
    assert_int_equal(tap_count(&t), 1);
    tap_close(&t);
    rd_kafka_destroy(rk);
}

/* Threads of this process: librdkafka's among them, since it names none. */
static unsigned threads(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/task");
    must(d);
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

/* The consumer of a topic that somebody deleted ends with all of its threads, whatever it had in hand. */
static void a_deleted_topic_leaves_no_thread_behind(void **state)
{
    struct rig *r = *state;
    struct tap t;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    tap_drain(r, s, 0, &t);
    append_from(r, c, 0, 20);
    rig_until(r, tap_is(&t, "e19"));
    unsigned before = threads();
    deleted_and_made_anew(r, rk, c);
    rig_until(r, tap_is(&t, "e"));
    rig_until(r, threads() <= before); /* as many as with the one that went */
    tap_close(&t);
    rd_kafka_destroy(rk);
}

/* A group that stands where the topic never was: everything that is there comes, and nothing counts as lost. */
static void an_offset_beyond_the_topic_begins_at_the_oldest(void **state)
{
    struct rig *r = *state;
    struct tap t;
    char group[200];
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    append_from(r, c, 0, 7);
    snprintf(group, sizeof group, "%sleat.ns.c.s", c->bus->settings.prefix);
    stranger_commits(rk, group, topic_of(c), 1000);
    tap_drain(r, s, 0, &t);
    rig_until(r, tap_is(&t, "e6"));
    rig_until(r, backlog(r, s) == 0);
    rig_until(r, heard("OffsetGone"));
    assert_int_equal(tap_count(&t), 7);
    assert_int_equal(rig_probe_subscription(r, s).dropped, 0);
    tap_close(&t);
    rd_kafka_destroy(rk);
}

/* An open transaction of somebody else hides what came after it from those who ask how far a topic reaches. */
static void a_transaction_that_is_open_is_no_deletion(void **state)
{
    struct rig *r = *state;
    char why[200];
    struct tap t;
    struct bus_channel *c = rig_channel(r, "ns/c");
    tap_drain(r, rig_subscribe(r, c, "s"), 0, &t);
    rig_append(r, 0, c, "before", NULL);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    must(rd_kafka_conf_set(conf, "bootstrap.servers", getenv("LEAT_KAFKA"), why, sizeof why) == RD_KAFKA_CONF_OK);
    must(rd_kafka_conf_set(conf, "transactional.id", topic_of(c), why, sizeof why) == RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    must(rk && !rd_kafka_init_transactions(rk, 20000) && !rd_kafka_begin_transaction(rk));
    assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic_of(c)), RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END), 0);
    assert_int_equal(rd_kafka_flush(rk, 20000), 0);
    rig_append(r, 0, c, "after", NULL);
    uint64_t until = clock_monotonic_ns(clock_system()) + 3 * KAFKA_LOOK_NS;
    rig_until(r, (rig_probe(r, c), clock_monotonic_ns(clock_system()) > until));
    must(!rd_kafka_abort_transaction(rk, 20000));
    rd_kafka_destroy(rk);
    rig_until(r, tap_is(&t, "after"));
    assert_false(heard("TopicDeleted"));
    assert_int_equal(tap_count(&t), 2);
    tap_close(&t);
}

/* As who wants fewer partitions does it: the parameters say so, and the topic is deleted. */
static void a_topic_made_again_with_fewer_partitions_is_drained(void **state)
{
    struct rig *r = *state;
    struct tap t;
    rd_kafka_t *rk = stranger();
    struct bus_channel *c = rig_channel(r, "ns/c");
    struct bus_subscription *s = rig_subscribe(r, c, "s");
    tap_drain(r, s, 0, &t);
    append_from(r, c, 0, 20);
    rig_until(r, tap_acked(&t) == 20);
    assert_ptr_equal(rig_channel_with(r, "ns/c", "topic.partitions=1"), c);
    deleted_and_made_anew(r, rk, c);
    rig_until(r, heard("TopicDeleted"));
    assert_int_equal(partitions_of(rk, topic_of(c)), 1);
    rig_until(r, tap_is(&t, "e"));
    rig_until(r, backlog(r, s) == 0);
    (void)rig_subscribe(r, c, "another");
    tap_close(&t);
    rd_kafka_destroy(rk);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
#define ON(name, bus) {#name, name, contract_setup, contract_teardown, (void *)(uintptr_t) & (bus)}
        ON(topic_is_made_as_the_parameters_say, one),
        ON(what_the_broker_refuses_is_said_in_its_words, one),
        ON(too_few_brokers_are_the_users_mistake_only_when_no_more_come, one),
        ON(one_partition_is_refused_where_the_topic_has_more, three),
        ON(topics_of_others_are_never_made_nor_removed, one),
        ON(what_comes_later_is_taken_without_being_asked_for, one),
        ON(a_topic_that_somebody_deleted_is_made_again, one),
        ON(a_deleted_topic_does_not_answer, one),
        ON(many_topics_are_asked_about_in_one_go, one),
        ON(too_large_is_what_the_topic_does_not_take, one),
        ON(small_events_are_taken_by_a_topic_of_small_records, three),
        ON(a_topic_that_grows_is_followed, three),
        ON(ends_that_others_made_are_seen_when_asked_for, one),
        ON(what_retention_removed_is_counted_and_told, one),
        ON(a_topic_that_retention_emptied_leaves_no_backlog, one),
        ON(a_deleted_topic_leaves_no_thread_behind, three),
        ON(a_topic_made_again_with_fewer_partitions_is_drained, three),
        ON(an_offset_beyond_the_topic_begins_at_the_oldest, one),
        ON(a_transaction_that_is_open_is_no_deletion, one),
    };
    if (!getenv("LEAT_KAFKA")) {
        printf("LEAT_KAFKA names no Kafka (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 2};
    children_add(&all, tests, sizeof tests / sizeof *tests);
    return children_run(&all, "topics of the Kafka bus", argc > 1 ? argv[1] : NULL);
}
