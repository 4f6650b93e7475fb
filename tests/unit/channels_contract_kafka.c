/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus keeps the contract, on librdkafka's mock cluster: a fresh one for each case, each case in a process of
 * its own, since a group takes three seconds to form there. `channels_contract_kafka WORD` runs the cases whose name
 * holds WORD and shows what they say.
 */
#include "../bus/contract.c"

#include "tests/lib/children.h"
#include "tests/lib/kafka_mock.h"

/* A session so short because the mock waits for members that left for as long as that. */
#define MOCK "bootstrap.servers=$LEAT_KAFKA_MOCK session=3s topic.partitions="
#define ON_MOCK .bus = "kafka", .how = THREADS, .lacks = LACKS_TOPICS | LACKS_TIME

BUS_CONTRACT_OF(kafka_one, ON_MOCK, .params = MOCK "1", .loops = 1)
BUS_CONTRACT_OF(kafka_four_loops, ON_MOCK, .params = MOCK "1", .loops = 4)
BUS_CONTRACT_OF(kafka_partitions, ON_MOCK, .params = MOCK "4", .loops = 1)
BUS_CONTRACT_OF(kafka_four_loops_partitions, ON_MOCK, .params = MOCK "4", .loops = 4)

static struct kafka_mock mock;

static void mock_begin(const struct CMUnitTest *test)
{
    const struct contract *c = test->initial_state;
    unsigned partitions = (unsigned)atoi(strstr(c->params, "topic.partitions=") + strlen("topic.partitions="));
    kafka_mock_init(&mock, 2);
    for (const char *const *name = (const char *const[]){"c", "d", "other", "gone", NULL}; *name; name++)
        kafka_mock_topic(&mock, "ns", *name, partitions);
    kafka_mock_topic(&mock, "ns", "one", 1);
}

static void mock_end(const struct CMUnitTest *test)
{
    (void)test;
    kafka_mock_fini(&mock);
}

int main(int argc, char **argv)
{
    struct children all = {.most = 10, .before = mock_begin, .after = mock_end};
    children_add(&all, contract_kafka_one, CONTRACT_COUNT);
    children_add(&all, contract_kafka_four_loops, CONTRACT_COUNT);
    children_add(&all, contract_kafka_partitions, CONTRACT_COUNT);
    children_add(&all, contract_kafka_four_loops_partitions, CONTRACT_COUNT);
    return children_run(&all, "the contract on Kafka's mock", argc > 1 ? argv[1] : NULL);
}
