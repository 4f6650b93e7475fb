/* SPDX-License-Identifier: Apache-2.0
 *
 * Which cluster and with which credentials, as librdkafka is told; handles; and its errors in our words.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kafka_private.h"
#include "pem.h"

static void wipe(const char *owned)
{
    char *s = (char *)(uintptr_t)owned;
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void client_free(struct kafka_client *k)
{
    for (size_t i = 0; i < KAFKA_PARAM_COUNT; i++)
        wipe(k->settings.value[i]);
    kafka_tokens_fini(&k->tokens);
    kafka_watch_fini(&k->watch);
    if (k->chain >= 0)
        close(k->chain);
    free(k);
}

/* Of a PEM text librdkafka (2.0.2) takes the first certificate only, from a file the whole chain. So a chain lies in a
 * file without a name for as long as handles may be made. */
static enum err keep_chain(struct kafka_client *k)
{
    const char *pem = k->settings.value[KAFKA_CERTIFICATE];
    if (!pem || pem_certificates(pem) < 2)
        return OK;
    k->chain = memfd_create("chain", MFD_CLOEXEC);
    return k->chain >= 0 && dprintf(k->chain, "%s", pem) == (int)strlen(pem) ? OK : ERR_NOMEM;
}

enum err kafka_client_new(const struct kafka_client_param *params, size_t count,
                          const struct kafka_client_events *events, struct kafka_client **out, struct diag *d)
{
    struct kafka_settings s;
    enum err e = kafka_params_read(params, count, &s, d);
    if (e != OK)
        return e;
    struct kafka_client *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    if (kafka_watch_init(&k->watch) != OK) {
        free(k);
        return ERR_NOMEM;
    }
    if (kafka_tokens_init(&k->tokens) != OK) {
        kafka_watch_fini(&k->watch);
        free(k);
        return ERR_NOMEM;
    }
    atomic_init(&k->refs, 1);
    k->chain = -1;
    if (events)
        k->events = *events;
    for (size_t i = 0; i < KAFKA_PARAM_COUNT; i++)
        if (s.value[i] && !(k->settings.value[i] = strdup(s.value[i]))) {
            client_free(k);
            return ERR_NOMEM;
        }
    if (keep_chain(k) != OK) {
        client_free(k);
        return ERR_NOMEM;
    }
    *out = k;
    return OK;
}

struct kafka_client *kafka_client_ref(struct kafka_client *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

struct kafka_client *kafka_client_unref(struct kafka_client *k)
{
    if (k && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
        client_free(k);
    return NULL;
}

/* ---- configuration and handles ---- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[300];
    rd_kafka_conf_res_t r = value ? rd_kafka_conf_set(conf, name, value, text, sizeof(text)) : RD_KAFKA_CONF_OK;
    assert(r == RD_KAFKA_CONF_OK);
    (void)r;
}

static void set_security(rd_kafka_conf_t *conf, const struct kafka_client *k)
{
    const struct kafka_settings *s = &k->settings;
    char chain[40];
    snprintf(chain, sizeof(chain), "/proc/self/fd/%d", k->chain);
    set(conf, "security.protocol", s->value[KAFKA_PROTOCOL]);
    set(conf, "ssl.ca.pem", s->value[KAFKA_CA]);
    if (k->chain >= 0)
        set(conf, "ssl.certificate.location", chain);
    else
        set(conf, "ssl.certificate.pem", s->value[KAFKA_CERTIFICATE]);
    set(conf, "ssl.key.pem", s->value[KAFKA_KEY]);
    const char *verify = s->value[KAFKA_VERIFY];
    set(conf, "ssl.endpoint.identification.algorithm", verify && strcmp(verify, "false") == 0 ? "none" : "https");
    set(conf, "sasl.mechanisms", s->value[KAFKA_MECHANISM]);
    set(conf, "sasl.username", s->value[KAFKA_USERNAME]);
    set(conf, "sasl.password", s->value[KAFKA_PASSWORD]);
}

static bool with_tokens(const struct kafka_client *k)
{
    return k->settings.value[KAFKA_TOKEN] || k->settings.value[KAFKA_TOKEN_URL];
}

rd_kafka_conf_t *kafka_client_conf(struct kafka_client *k, const char *const *own)
{
    static const char *const common[] = {
        "client.id",
        "leat",
        "reconnect.backoff.ms",
        "100",
        "reconnect.backoff.max.ms",
        "10000",
        "socket.connection.setup.timeout.ms",
        "10000",
        "socket.timeout.ms",
        "10000", /* a request without an answer: the broker hangs, its connection is given up */
        "socket.keepalive.enable",
        "true",
        "socket.nagle.disable",
        "true",
        "log.thread.name",
        "false",
        NULL,
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!conf)
        return NULL;
    rd_kafka_conf_set_opaque(conf, k);
    if (kafka_watch_add(k, conf) != OK) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    set(conf, "bootstrap.servers", k->settings.value[KAFKA_SERVERS]);
    set_security(conf, k);
    if (with_tokens(k)) {
        rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, kafka_token_refresh);
        rd_kafka_conf_enable_sasl_queue(conf, 1);
    }
    for (const char *const *c = common; *c; c += 2)
        set(conf, c[0], c[1]);
    for (const char *const *c = own; c && *c; c += 2)
        set(conf, c[0], c[1]);
    return conf;
}

enum err kafka_client_open(struct kafka_client *k, int type, rd_kafka_conf_t *conf, rd_kafka_t **out, struct diag *d)
{
    char text[300];
    rd_kafka_t *handle = rd_kafka_new((rd_kafka_type_t)type, conf, text, sizeof(text));
    if (!handle) {
        enum err e = kafka_client_err(rd_kafka_last_error());
        rd_kafka_conf_destroy(conf); /* taken only by success */
        kafka_settings_hide(&k->settings, text);
        return diag_set(d, e == ERR_INVALID ? ERR_INVALID : ERR_NOMEM, "Kafka's client does not start: %s", text);
    }
    if (with_tokens(k)) {
        rd_kafka_error_t *error = rd_kafka_sasl_background_callbacks_enable(handle);
        if (error) {
            enum err e = diag_set(d, ERR_NOMEM, "Kafka's client does not start: %s", rd_kafka_error_string(error));
            rd_kafka_error_destroy(error);
            rd_kafka_destroy(handle);
            return e;
        }
    }
    *out = handle;
    return OK;
}

void kafka_client_wake(struct kafka_client *k, rd_kafka_t *handle)
{
    const char *user = k->settings.value[KAFKA_USERNAME], *password = k->settings.value[KAFKA_PASSWORD];
    rd_kafka_error_t *error = rd_kafka_sasl_set_credentials(handle, user ? user : "", password ? password : "");
    if (error)
        rd_kafka_error_destroy(error);
}

/* ---- errors ---- */

enum err kafka_client_err(int error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return OK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return ERR_TOO_LARGE;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return ERR_FULL;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return ERR_DENIED;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return ERR_NOTFOUND;
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
        return ERR_EXISTS;
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__CONFLICT:
        return ERR_INVALID;
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
        return ERR_UNSUPPORTED;
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
        return ERR_CLOSED;
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
        return ERR_NOMEM;
    default: /* a broker or the network is in trouble, or busy with itself: later may work */
        return ERR_UNAVAILABLE;
    }
}
