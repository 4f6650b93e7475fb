/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source kafka`: topics of Kafka to a sink, as a pod. It is a KafkaSource (source_served.h); only behind what
 * the sink has taken the group's offset moves.
 */
#include <stdio.h>
#include <string.h>

#include "source_served.h"

#define SECRET "kafka-net"

static const struct runner_option options[] = {
    {"bootstrap-servers", "LIST", false, "bootstrapServers", "KAFKA_BOOTSTRAP_SERVERS",
     "HOST:PORT, comma separated, of some of the cluster's brokers."},
    {"topics", "LIST", false, "topics", "KAFKA_TOPICS", "The topics to read, comma separated."},
    {"group", "NAME", false, "consumerGroup", "KAFKA_CONSUMER_GROUP",
     "The consumer group: all pods of one group share the partitions."},
    {"initial-offset", "WORD", false, "initialOffset", "INITIAL_OFFSET",
     "Where a new group begins: earliest or latest. Default: latest."},
    {"key-type", "TYPE", false, "keyType", "KEY_TYPE",
     "How keys are read: string, int, float or byte-array. Default: string."},
    {"ordering", "WORD", false, "ordering", NULL,
     "ordered: one event of a partition at a time; or unordered. Default: ordered."},
    {"sasl", NULL, false, "saslEnable", "KAFKA_NET_SASL_ENABLE", "Authenticates by SASL, with the next three."},
    {"sasl-type", "NAME", false, "saslType", "KAFKA_NET_SASL_TYPE",
     "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER. Default: PLAIN."},
    {"sasl-user", "NAME", false, "saslUser", "KAFKA_NET_SASL_USER", "The user."},
    {"sasl-password-file", "FILE", true, "saslPassword", "KAFKA_NET_SASL_PASSWORD", "The password."},
    {"tls", NULL, false, "tlsEnable", "KAFKA_NET_TLS_ENABLE", "Talks TLS to the brokers."},
    {"tls-ca-file", "FILE", true, "tlsCACert", "KAFKA_NET_TLS_CA_CERT",
     "Certificates (PEM) to trust. Default: the system's."},
    {"tls-cert-file", "FILE", true, "tlsCert", "KAFKA_NET_TLS_CERT", "A certificate of its own (PEM)."},
    {"tls-key-file", "FILE", true, "tlsKey", "KAFKA_NET_TLS_KEY", "The key of that certificate (PEM)."},
    {NULL, NULL, false, NULL, NULL, NULL}};

/* ---- what is wrong with it, before anything is made ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    static const struct {
        const char *param, *option;
    } needed[] = {{"bootstrapServers", "KAFKA_BOOTSTRAP_SERVERS, or --bootstrap-servers HOST:PORT"},
                  {"topics", "KAFKA_TOPICS, or --topics NAME"},
                  {"consumerGroup", "KAFKA_CONSUMER_GROUP, or --group NAME"}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!source_param(spec, needed[i].param, NULL))
            return diag_set(d, ERR_INVALID, "%s is missing: set %s", needed[i].param, needed[i].option);
    if (served_is_on(spec, "saslEnable") && !source_param(spec, "saslUser", NULL) &&
        strcmp(source_param(spec, "saslType", "PLAIN"), "OAUTHBEARER") != 0)
        return diag_set(d, ERR_INVALID, "SASL is on without a user: set KAFKA_NET_SASL_USER, or --sasl-user NAME");
    if (!source_param(spec, "tlsCert", NULL) != !source_param(spec, "tlsKey", NULL))
        return diag_set(d, ERR_INVALID, "a certificate and its key go together: one of them is missing");
    return OK;
}

static const struct source_ops kafka_ops = {.name = "kafka", .check = check};

/* ---- the manifest ---- */

/* A list as users and the environment write it: "a,b". */
static void put_list(cJSON *to, const char *name, const char *text)
{
    cJSON *list = cJSON_AddArrayToObject(to, name);
    struct slice rest = slice_str(text);
    char one[300];
    while (rest.len) {
        const struct slice word = slice_trim(slice_split(&rest, ','));
        snprintf(one, sizeof one, "%.*s", SLICE_ARG(word));
        if (word.len)
            cJSON_AddItemToArray(list, cJSON_CreateString(one));
    }
}

/* A value of the Secret, where there is one. */
static void put_ref(cJSON *to, const char *name, const char *key, const char *value)
{
    if (!value)
        return;
    cJSON *ref = cJSON_AddObjectToObject(cJSON_AddObjectToObject(to, name), "secretKeyRef");
    served_put(ref, "name", SECRET);
    served_put(ref, "key", key);
}

static cJSON *secret(const struct source_spec *spec)
{
    static const char *const keys[] = {"saslType", "saslUser", "saslPassword", "tlsCACert", "tlsCert", "tlsKey"};
    cJSON *o = served_object(spec, "v1", "Secret", SECRET), *data = cJSON_AddObjectToObject(o, "stringData");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        served_put(data, keys[i], source_param(spec, keys[i], strcmp(keys[i], "saslType") == 0 ? "PLAIN" : NULL));
    return o;
}

static void put_net(cJSON *to, const struct source_spec *spec)
{
    cJSON *net = cJSON_AddObjectToObject(to, "net");
    if (served_is_on(spec, "saslEnable")) {
        cJSON *sasl = cJSON_AddObjectToObject(net, "sasl");
        cJSON_AddBoolToObject(sasl, "enable", true);
        put_ref(sasl, "type", "saslType", "");
        put_ref(sasl, "user", "saslUser", source_param(spec, "saslUser", NULL));
        put_ref(sasl, "password", "saslPassword", source_param(spec, "saslPassword", NULL));
    }
    if (served_is_on(spec, "tlsEnable")) {
        cJSON *tls = cJSON_AddObjectToObject(net, "tls");
        cJSON_AddBoolToObject(tls, "enable", true);
        put_ref(tls, "caCert", "tlsCACert", source_param(spec, "tlsCACert", NULL));
        put_ref(tls, "cert", "tlsCert", source_param(spec, "tlsCert", NULL));
        put_ref(tls, "key", "tlsKey", source_param(spec, "tlsKey", NULL));
    }
}

static cJSON *source(const struct source_spec *s)
{
    cJSON *o = served_object(s, "sources.knative.dev/v1", "KafkaSource", s->name),
          *spec = cJSON_AddObjectToObject(o, "spec");
    const char *key_type = source_param(s, "keyType", NULL);
    if (key_type)
        served_put(cJSON_AddObjectToObject(cJSON_GetObjectItemCaseSensitive(o, "metadata"), "labels"),
                   "kafkasources.sources.knative.dev/key-type", key_type);
    put_list(spec, "bootstrapServers", source_param(s, "bootstrapServers", ""));
    put_list(spec, "topics", source_param(s, "topics", ""));
    served_put(spec, "consumerGroup", source_param(s, "consumerGroup", NULL));
    served_put(spec, "initialOffset", source_param(s, "initialOffset", NULL));
    served_put(spec, "ordering", source_param(s, "ordering", NULL));
    put_net(spec, s);
    return o;
}

/* ---- the program ---- */

static const struct source_served kafka = {
    .program =
        {
            .ops = &kafka_ops,
            .options = options,
            .summary =
                "Reads topics of Kafka and posts each record as a CloudEvent to the sink: those that are CloudEvents "
                "as they are, others as dev.knative.kafka.event. A record that the sink does not take is posted "
                "again until it does; offsets are committed behind it.",
            .examples =
                "  K_SINK=http://127.0.0.1:9000/ leat source kafka --bootstrap-servers 127.0.0.1:9092 --topics orders "
                "--group orders-to-billing\n",
        },
    .secret = secret,
    .source = source,
};

int source_kafka_main(int argc, char **argv)
{
    return source_served_main(&kafka, argc, argv);
}
