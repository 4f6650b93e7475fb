/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka_mock.h"

#include <stdio.h>
#include <stdlib.h>

void kafka_mock_init(struct kafka_mock *m, int brokers)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "3", NULL, 0); /* it wants for a cluster to connect to, which it is itself */
    m->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    m->cluster = m->handle ? rd_kafka_mock_cluster_new(m->handle, brokers) : NULL;
    if (!m->cluster) {
        fprintf(stderr, "no mock cluster\n");
        abort();
    }
    setenv("LEAT_KAFKA_MOCK", rd_kafka_mock_cluster_bootstraps(m->cluster), 1);
}

void kafka_mock_fini(struct kafka_mock *m)
{
    rd_kafka_mock_cluster_destroy(m->cluster);
    rd_kafka_destroy(m->handle);
}

void kafka_mock_topic(struct kafka_mock *m, const char *ns, const char *name, unsigned partitions)
{
    char topic[200];
    snprintf(topic, sizeof topic, "knative-messaging-kafka.%s.%s", ns, name);
    if (rd_kafka_mock_topic_create(m->cluster, topic, (int)partitions, 1)) {
        fprintf(stderr, "no topic %s\n", topic);
        abort();
    }
}
