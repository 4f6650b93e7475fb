/* SPDX-License-Identifier: Apache-2.0
 *
 * A Kafka cluster inside the test: librdkafka's mock, which speaks the protocol on local ports and can be told to fail.
 * It outlives the bus under test, so that a bus can be opened anew on it.
 *
 * What it cannot do (2.0.2): make or delete topics and groups by request, look offsets up by time. Topics are made here
 * before, or make themselves with four partitions when metadata is asked for with leave to make them.
 */
#ifndef LEAT_TESTS_KAFKA_MOCK_H
#define LEAT_TESTS_KAFKA_MOCK_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

struct kafka_mock {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster;
};

/* Aborts on failure. Its bootstrap.servers are in the environment as LEAT_KAFKA_MOCK from then on. */
void kafka_mock_init(struct kafka_mock *m, int brokers);
void kafka_mock_fini(struct kafka_mock *m);
/* The topic of channel NS/NAME under its default name. */
void kafka_mock_topic(struct kafka_mock *m, const char *ns, const char *name, unsigned partitions);

#endif
