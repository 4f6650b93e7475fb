/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source rabbitmq`: a queue of RabbitMQ to a sink, as a pod. It is a RabbitmqSource (source_served.h); a message
 * is acknowledged when the sink has taken its event.
 */
#include <string.h>

#include "rabbitmq_client.h"
#include "source_served.h"
#include "text.h"

#define SECRET "rabbitmq-connection"
#define PARALLELISM_MAX 1000 /* as a RabbitmqSource's schema has it */
#define NAME_MAX_BYTES 255   /* of a queue or an exchange, as AMQP has it */

static const struct runner_option options[] = {
    {"url", "URL", false, "url", "RABBIT_URL", "amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][/VHOST]."},
    {"username", "NAME", false, "username", "RABBITMQ_USERNAME", "The user, where the URL has none."},
    {"password-file", "FILE", true, "password", "RABBITMQ_PASSWORD", "The password."},
    {"vhost", "NAME", false, "vhost", "RABBITMQ_VHOST", "The virtual host. Default: the URL's, or /."},
    {"queue", "NAME", false, "queueName", "RABBITMQ_QUEUE_NAME", "The queue to read."},
    {"exchange", "NAME", false, "exchangeName", "RABBITMQ_EXCHANGE_NAME",
     "Makes the exchange and the queue where they are missing, and binds them. Default: the queue must be there."},
    {"predeclared", NULL, false, "predeclared", "RABBITMQ_PREDECLARED", "Makes nothing, whatever exchange is named."},
    {"parallelism", "N", false, "parallelism", "RABBITMQ_CHANNEL_PARALLELISM",
     "How many messages are under way at once; 1 keeps their order. Default: 1."},
    {"backoff-policy", "WORD", false, "backoffPolicy", "HTTP_SENDER_BACKOFF_POLICY",
     "How waits between attempts grow: linear or exponential. Default: exponential."},
    {"backoff-delay", "TIME", false, "backoffDelay", "HTTP_SENDER_BACKOFF_DELAY",
     "The unit of these waits, as ISO 8601 has it. Default: PT0.2S."},
    {"tls-ca-file", "FILE", true, "tlsCACert", "RABBITMQ_CA_CERT",
     "Certificates (PEM) to trust. Default: the system's."},
    {"tls-cert-file", "FILE", true, "tlsCert", "RABBITMQ_CLIENT_CERT", "A certificate of its own (PEM)."},
    {"tls-key-file", "FILE", true, "tlsKey", "RABBITMQ_CLIENT_KEY", "The key of that certificate (PEM)."},
    {NULL, NULL, false, NULL, NULL, NULL}};

/* ---- what is wrong with it, before anything is made ---- */

static enum err check_connection(const struct source_spec *spec, struct diag *d)
{
    static const char *const names[][2] = {
        {"url", "url"},          {"username", "username"},       {"password", "password"}, {"vhost", "vhost"},
        {"ssl.ca", "tlsCACert"}, {"ssl.certificate", "tlsCert"}, {"ssl.key", "tlsKey"}};
    struct rabbitmq_client_param params[sizeof names / sizeof names[0]];
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = source_param(spec, names[i][1], NULL);
        if (value)
            params[count++] = (struct rabbitmq_client_param){names[i][0], value};
    }
    return rabbitmq_client_check(params, count, d);
}

static enum err check(const struct source_spec *spec, struct diag *d)
{
    uint64_t n = 0;
    const char *parallelism = source_param(spec, "parallelism", "1");
    if (!source_param(spec, "url", NULL))
        return diag_set(d, ERR_INVALID, "url is missing: set RABBIT_URL, or --url amqp://HOST");
    if (!source_param(spec, "queueName", NULL))
        return diag_set(d, ERR_INVALID, "queueName is missing: set RABBITMQ_QUEUE_NAME, or --queue NAME");
    for (size_t i = 0; i < 2; i++)
        if (strlen(source_param(spec, i ? "exchangeName" : "queueName", "")) > NAME_MAX_BYTES)
            return diag_set(d, ERR_INVALID, "%s is longer than AMQP allows, %d bytes", i ? "exchangeName" : "queueName",
                            NAME_MAX_BYTES);
    if (decimal_parse(slice_str(parallelism), PARALLELISM_MAX, &n) != OK || n == 0)
        return diag_set(d, ERR_INVALID, "parallelism must be a whole number from 1 to %d (it is \"%.60s\")",
                        PARALLELISM_MAX, parallelism);
    return check_connection(spec, d);
}

static const struct source_ops rabbitmq_ops = {.name = "rabbitmq", .check = check};

/* ---- the manifest ---- */

static cJSON *secret(const struct source_spec *spec)
{
    static const char *const keys[][2] = {{"uri", "url"},          {"username", "username"}, {"password", "password"},
                                          {"ca.crt", "tlsCACert"}, {"tls.crt", "tlsCert"},   {"tls.key", "tlsKey"}};
    cJSON *o = served_object(spec, "v1", "Secret", SECRET), *data = cJSON_AddObjectToObject(o, "stringData");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        served_put(data, keys[i][0], source_param(spec, keys[i][1], NULL));
    return o;
}

static cJSON *source(const struct source_spec *s)
{
    cJSON *o = served_object(s, "sources.knative.dev/v1alpha1", "RabbitmqSource", s->name),
          *spec = cJSON_AddObjectToObject(o, "spec"),
          *reference = cJSON_AddObjectToObject(spec, "rabbitmqClusterReference"),
          *resources = cJSON_AddObjectToObject(spec, "rabbitmqResourcesConfig");
    const char *exchange = source_param(s, "exchangeName", NULL);
    uint64_t n = 1;
    enum err e = decimal_parse(slice_str(source_param(s, "parallelism", "1")), PARALLELISM_MAX, &n);
    served_put(cJSON_AddObjectToObject(reference, "connectionSecret"), "name", SECRET);
    served_put(resources, "queueName", source_param(s, "queueName", NULL));
    served_put(resources, "exchangeName", exchange);
    served_put(resources, "vhost", source_param(s, "vhost", NULL));
    cJSON_AddBoolToObject(resources, "predeclared", !exchange || served_is_on(s, "predeclared"));
    cJSON_AddNumberToObject(resources, "parallelism", e == OK ? (double)n : 1);
    return o;
}

/* ---- the program ---- */

static const struct source_served rabbitmq = {
    .program =
        {
            .ops = &rabbitmq_ops,
            .options = options,
            .summary = "Reads a queue of RabbitMQ and posts each message as a CloudEvent to the sink: those that are "
                       "CloudEvents as they are, others as dev.knative.rabbitmq.event. A message that the sink does "
                       "not take is posted again until it does, and only then acknowledged.",
            .examples = "  K_SINK=http://127.0.0.1:9000/ leat source rabbitmq --url amqp://127.0.0.1 --queue orders\n",
        },
    .secret = secret,
    .source = source,
};

int source_rabbitmq_main(int argc, char **argv)
{
    return source_served_main(&rabbitmq, argc, argv);
}
