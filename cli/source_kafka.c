/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source kafka`: topics of Kafka to a sink, as a pod. Options and the environment of Knative's receive adapter
 * become one KafkaSource, which the broker runs as it would run any other: without ingress, with nothing kept here. An
 * event that the sink does not take is tried again until it does, and only behind it the group's offset moves.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../sources/runner.h"
#include "command.h"
#include "log.h"
#include "serve.h"
#include "source_kafka.h"

#define DRAIN_NS (10 * NS_PER_S) /* for attempts under way; less than the 30 s that Kubernetes gives */
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

static bool is_on(const struct source_spec *spec, const char *name)
{
    const char *v = source_param(spec, name, "false");
    return strcmp(v, "true") == 0 || strcmp(v, "1") == 0;
}

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
    if (is_on(spec, "saslEnable") && !source_param(spec, "saslUser", NULL) &&
        strcmp(source_param(spec, "saslType", "PLAIN"), "OAUTHBEARER") != 0)
        return diag_set(d, ERR_INVALID, "SASL is on without a user: set KAFKA_NET_SASL_USER, or --sasl-user NAME");
    if (!source_param(spec, "tlsCert", NULL) != !source_param(spec, "tlsKey", NULL))
        return diag_set(d, ERR_INVALID, "a certificate and its key go together: one of them is missing");
    return OK;
}

static const struct source_ops kafka_ops = {.name = "kafka", .check = check};

static const struct runner_program program = {
    .ops = &kafka_ops,
    .options = options,
    .summary =
        "Reads topics of Kafka and posts each record as a CloudEvent to the sink: those that are CloudEvents as "
        "they are, others as dev.knative.kafka.event. A record that the sink does not take is posted again until "
        "it does; offsets are committed behind it.",
    .examples = "  K_SINK=http://127.0.0.1:9000/ leat source kafka --bootstrap-servers 127.0.0.1:9092 --topics orders "
                "--group orders-to-billing\n",
};

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

static void put(cJSON *to, const char *name, const char *value)
{
    if (value)
        cJSON_AddStringToObject(to, name, value);
}

/* A value of the Secret, where there is one. */
static void put_ref(cJSON *to, const char *name, const char *key, const char *value)
{
    if (!value)
        return;
    cJSON *ref = cJSON_AddObjectToObject(cJSON_AddObjectToObject(to, name), "secretKeyRef");
    put(ref, "name", SECRET);
    put(ref, "key", key);
}

static cJSON *object(const struct source_spec *spec, const char *version, const char *kind, const char *name)
{
    cJSON *o = cJSON_CreateObject(), *metadata;
    put(o, "apiVersion", version);
    put(o, "kind", kind);
    metadata = cJSON_AddObjectToObject(o, "metadata");
    put(metadata, "namespace", spec->namespace_name);
    put(metadata, "name", name);
    return o;
}

static cJSON *secret(const struct source_spec *spec)
{
    static const char *const keys[] = {"saslType", "saslUser", "saslPassword", "tlsCACert", "tlsCert", "tlsKey"};
    cJSON *o = object(spec, "v1", "Secret", SECRET), *data = cJSON_AddObjectToObject(o, "stringData");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        put(data, keys[i], source_param(spec, keys[i], strcmp(keys[i], "saslType") == 0 ? "PLAIN" : NULL));
    return o;
}

static void put_net(cJSON *to, const struct source_spec *spec)
{
    cJSON *net = cJSON_AddObjectToObject(to, "net");
    if (is_on(spec, "saslEnable")) {
        cJSON *sasl = cJSON_AddObjectToObject(net, "sasl");
        cJSON_AddBoolToObject(sasl, "enable", true);
        put_ref(sasl, "type", "saslType", "");
        put_ref(sasl, "user", "saslUser", source_param(spec, "saslUser", NULL));
        put_ref(sasl, "password", "saslPassword", source_param(spec, "saslPassword", NULL));
    }
    if (is_on(spec, "tlsEnable")) {
        cJSON *tls = cJSON_AddObjectToObject(net, "tls");
        cJSON_AddBoolToObject(tls, "enable", true);
        put_ref(tls, "caCert", "tlsCACert", source_param(spec, "tlsCACert", NULL));
        put_ref(tls, "cert", "tlsCert", source_param(spec, "tlsCert", NULL));
        put_ref(tls, "key", "tlsKey", source_param(spec, "tlsKey", NULL));
    }
}

/* Seconds, as K_SINK_TIMEOUT has them. */
static void put_delivery(cJSON *to, const struct source_spec *spec)
{
    char text[64];
    const char *seconds = source_param(spec, "sinkTimeoutSeconds", NULL);
    cJSON *delivery = cJSON_AddObjectToObject(to, "delivery");
    put(delivery, "backoffPolicy", "exponential");
    put(delivery, "backoffDelay", "PT0.2S");
    if (!seconds)
        return;
    snprintf(text, sizeof text, "PT%.32sS", seconds);
    put(delivery, "timeout", text);
}

static cJSON *source(const struct runner_config *c)
{
    const struct source_spec *s = &c->spec;
    cJSON *o = object(s, "sources.knative.dev/v1", "KafkaSource", s->name), *spec = cJSON_AddObjectToObject(o, "spec");
    const char *key_type = source_param(s, "keyType", NULL);
    if (key_type)
        put(cJSON_AddObjectToObject(cJSON_GetObjectItemCaseSensitive(o, "metadata"), "labels"),
            "kafkasources.sources.knative.dev/key-type", key_type);
    put_list(spec, "bootstrapServers", source_param(s, "bootstrapServers", ""));
    put_list(spec, "topics", source_param(s, "topics", ""));
    put(spec, "consumerGroup", source_param(s, "consumerGroup", NULL));
    put(spec, "initialOffset", source_param(s, "initialOffset", NULL));
    put(spec, "ordering", source_param(s, "ordering", NULL));
    put_net(spec, s);
    put_delivery(spec, s);
    put(cJSON_AddObjectToObject(spec, "sink"), "uri", c->sink);
    cJSON *extensions = cJSON_AddObjectToObject(cJSON_AddObjectToObject(spec, "ceOverrides"), "extensions");
    for (size_t i = 0; i < s->ce_override_count; i++)
        put(extensions, s->ce_overrides[i].name, s->ce_overrides[i].value);
    return o;
}

/* Both objects in a file without a name, so that no secret lies on a disk. The descriptor; -1: it could not be made. */
static int manifest(const struct runner_config *c, char *path, size_t size)
{
    cJSON *objects[] = {secret(&c->spec), source(c)};
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    bool good = fd >= 0;
    for (size_t i = 0; i < 2; i++) {
        char *text = cJSON_PrintUnformatted(objects[i]);
        good = good && text && dprintf(fd, "---\n%s\n", text) > 0;
        cJSON_free(text);
        cJSON_Delete(objects[i]);
    }
    if (!good && fd >= 0)
        close(fd);
    if (good)
        snprintf(path, size, "/proc/self/fd/%d", fd);
    return good ? fd : -1;
}

/* ---- the program ---- */

static int run(const struct runner_config *c)
{
    char path[64], ca[64];
    const char *const paths[] = {path, NULL}, *const none[] = {NULL};
    int fd = manifest(c, path, sizeof path), ca_fd = -1;
    struct serve_options o = {.paths = paths,
                              .path_count = 1,
                              .resolve = none,
                              .bus = "memory",
                              .api = c->health,
                              .health_only = true,
                              .forever = true,
                              .event_bytes_max = c->event_bytes_max,
                              .drain_ns = DRAIN_NS};
    if (c->ca_certs && (ca_fd = runner_ca_file(c->ca_certs, ca, sizeof ca)) >= 0)
        o.ca_file = ca;
    enum serve_end end = SERVE_FAILED;
    if (fd < 0 || (c->ca_certs && ca_fd < 0))
        fprintf(stderr, "leat source kafka: no memory for its manifest and certificates.\n");
    else
        end = serve(&o);
    if (fd >= 0)
        close(fd);
    if (ca_fd >= 0)
        close(ca_fd);
    return end == SERVE_OK ? EXIT_CODE_OK : end == SERVE_BAD_INPUT ? EXIT_CODE_INPUT : EXIT_CODE_FAILED;
}

int source_kafka_main(int argc, char **argv)
{
    struct runner_config c;
    int code = runner_config_read(&program, argc, argv, &c);
    if (code < 0) {
        log_setup(clock_system(), LOG_INFO, c.log_json, !c.log_json && colours_on(STDERR_FILENO));
        code = run(&c);
    }
    runner_config_fini(&c);
    return code;
}
