/* SPDX-License-Identifier: Apache-2.0
 *
 * The annotations leat.dev/...: on which kinds each means something, and what it may say. Pure.
 */
#include "annotations.h"

#include <stdlib.h>

#include "check.h"
#include "http_client.h"
#include "json.h"
#include "pubsub.h"
#include "text.h"

/* Kinds that one annotation means the same on. */
enum {
    ON_CHANNEL = 1,           /* whatever events are kept in */
    ON_SUBSCRIPTION = 2,      /* whatever delivers them */
    ON_FLOW = 4,              /* Sequence, Parallel: counts for each of their channels and subscriptions */
    ON_SUBSCRIPTION_2018 = 8, /* the forms of 2018, which have no delivery of their own */
    ON_SOURCE = 16,
    ON_QUEUE = 32,        /* what declares a queue of RabbitMQ and is no channel */
    ON_EVENT_SOURCE = 64, /* of 2018 */
    ON_PUBSUB = 128       /* what takes messages of a topic of Pub/Sub */
};
#define ON_DELIVERIES (ON_SUBSCRIPTION | ON_SUBSCRIPTION_2018 | ON_FLOW)

static const struct kind_use {
    const char *group, *kind;
    unsigned uses;
} kind_uses[] = {
    {"messaging.knative.dev", "Channel", ON_CHANNEL},
    {"channels.knative.dev", "Channel", ON_CHANNEL},
    {"messaging.knative.dev", "InMemoryChannel", ON_CHANNEL},
    {"messaging.knative.dev", "KafkaChannel", ON_CHANNEL},
    {"eventing.knative.dev", "Broker", ON_CHANNEL},
    {"messaging.knative.dev", "Subscription", ON_SUBSCRIPTION},
    {"channels.knative.dev", "Subscription", ON_SUBSCRIPTION_2018},
    {"eventing.knative.dev", "Trigger", ON_SUBSCRIPTION},
    {"flows.knative.dev", "Sequence", ON_FLOW},
    {"flows.knative.dev", "Parallel", ON_FLOW},
    {"flows.knative.dev", "Flow", ON_CHANNEL | ON_SUBSCRIPTION_2018 | ON_SOURCE},
    {"feeds.knative.dev", "Feed", ON_SOURCE},
    {"feeds.knative.dev", "EventSource", ON_EVENT_SOURCE},
    {"feeds.knative.dev", "ClusterEventSource", ON_EVENT_SOURCE},
    {"sources.knative.dev", "GitHubSource", ON_SOURCE},
    {"sources.knative.dev", "KafkaSource", ON_SUBSCRIPTION},
    {"sources.knative.dev", "RabbitmqSource", ON_SUBSCRIPTION | ON_QUEUE},
    {"events.cloud.google.com", "CloudPubSubSource", ON_PUBSUB},
};
#define KIND_USE_COUNT (sizeof kind_uses / sizeof kind_uses[0])

/* "" of what is no Broker. */
static const char *broker_class(const struct kind *kind, const cJSON *object)
{
    bool broker = strcmp(kind->kind, "Broker") == 0 && strcmp(kind->group, "eventing.knative.dev") == 0;
    const char *class = broker ? annotation(object, ANNOTATION_BROKER_CLASS) : NULL;
    return class ? class : "";
}

bool broker_of_kafka(const struct kind *kind, const cJSON *object)
{
    const char *class = broker_class(kind, object);
    return strcmp(class, BROKER_CLASS_KAFKA) == 0 || strcmp(class, BROKER_CLASS_KAFKA_NAMESPACED) == 0;
}

bool broker_of_rabbitmq(const struct kind *kind, const cJSON *object)
{
    return strcmp(broker_class(kind, object), BROKER_CLASS_RABBITMQ) == 0;
}

/* ---- values ---- */

static enum err one_of(const char *value, const char *const *words, const char *list, struct diag *d)
{
    for (; *words; words++)
        if (strcmp(value, *words) == 0)
            return OK;
    return diag_set(d, ERR_INVALID, "must be %s (it is \"%.60s\")", list, value);
}

static enum err check_overflow(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"refuse", "drop-oldest", NULL}, "refuse or drop-oldest", d);
}

enum err start_parse(const char *value, int64_t now_wall_ns, struct bus_start *out, struct diag *d)
{
    struct slice text = slice_str(value);
    uint64_t ago;
    *out = (struct bus_start){.kind = BUS_START_LATEST};
    if (strcmp(value, "latest") == 0)
        return OK;
    out->kind = BUS_START_EARLIEST;
    if (strcmp(value, "earliest") == 0)
        return OK;
    out->kind = BUS_START_OFFSET;
    if (decimal_parse(text, UINT64_MAX, &out->offset) == OK)
        return OK;
    out->kind = BUS_START_TIME;
    if (rfc3339_parse(text, &out->wall_ns) == OK)
        return OK;
    if (now_wall_ns && duration_parse(text, &ago, NULL) == OK) {
        out->wall_ns = ago < (uint64_t)now_wall_ns ? now_wall_ns - (int64_t)ago : 0;
        return OK;
    }
    return diag_set(d, ERR_INVALID,
                    "must be earliest, latest, an offset such as 4711, %s 2026-01-31T08:00:00Z (it is "
                    "\"%.60s\")",
                    now_wall_ns ? "a duration ago such as 2h, or a time such as" : "or a time such as", value);
}

static enum err check_start(const char *value, struct diag *d)
{
    struct bus_start ignored;
    return start_parse(value, 0, &ignored, d);
}

static enum err check_bool(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"true", "false", NULL}, "true or false", d);
}

static enum err check_order(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"none", "key", "strict", NULL}, "none, key or strict", d);
}

static enum err check_partitions(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"1", NULL}, "1; without it leat chooses the number", d);
}

static enum err check_bytes(const char *value, struct diag *d)
{
    uint64_t number;
    struct diag why = {0};
    if (bytes_parse(slice_str(value), &number, &why) == OK && number > 0)
        return OK;
    return diag_set(d, ERR_INVALID, "must be a number of bytes such as 64MiB: %.200s", why.text[0] ? why.text : "zero");
}

static enum err whole(const char *value, unsigned least, unsigned most, struct diag *d)
{
    uint64_t number;
    if (decimal_parse(slice_str(value), most, &number) == OK && number >= least)
        return OK;
    return diag_set(d, ERR_INVALID, "must be a whole number from %u to %u (it is \"%.60s\")", least, most, value);
}

static enum err check_kafka_name(const char *value, struct diag *d)
{
    size_t n = strlen(value);
    if (n > 0 && n <= KAFKA_NAME_MAX && strspn(value, KAFKA_NAME_CHARS) == n && strcmp(value, ".") != 0 &&
        strcmp(value, "..") != 0)
        return OK;
    return diag_set(d, ERR_INVALID, "must be 1 to %d letters, digits, '.', '_' and '-' (it is \"%.60s\")",
                    KAFKA_NAME_MAX, value);
}

static enum err check_kafka_group(const char *value, struct diag *d)
{
    return *value && strlen(value) <= KAFKA_NAME_MAX
               ? OK
               : diag_set(d, ERR_INVALID, "must be 1 to %d characters", KAFKA_NAME_MAX);
}

static enum err check_pubsub_topic(const char *value, struct diag *d)
{
    return pubsub_name_check("topics", value, d);
}

static enum err check_rabbitmq_name(const char *value, struct diag *d)
{
    if (strncmp(value, "amq.", 4) == 0)
        return diag_set(d, ERR_INVALID, "must not begin with amq., which is RabbitMQ's own (it is \"%.60s\")", value);
    return *value && strlen(value) <= RABBITMQ_NAME_MAX
               ? OK
               : diag_set(d, ERR_INVALID, "must be 1 to %d bytes", RABBITMQ_NAME_MAX);
}

static enum err check_external_exchange(const char *value, struct diag *d)
{
    return *value && strlen(value) <= RABBITMQ_NAME_MAX
               ? OK
               : diag_set(d, ERR_INVALID, "must be 1 to %d bytes", RABBITMQ_NAME_MAX);
}

static enum err check_queue_type(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"quorum", "classic", NULL}, "quorum or classic", d);
}

static enum err check_shared(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"order", "work", NULL}, "order or work", d);
}

static enum err check_mode(const char *value, struct diag *d)
{
    return one_of(value, (const char *const[]){"binary", "structured", NULL}, "binary or structured", d);
}

static enum err check_in_flight(const char *value, struct diag *d)
{
    return whole(value, 1, ANNOTATION_IN_FLIGHT_MAX, d);
}

static enum err check_jitter(const char *value, struct diag *d)
{
    return whole(value, 0, 100, d);
}

static enum err check_batch(const char *value, struct diag *d)
{
    return whole(value, 1, DISPATCH_BATCH_MAX, d);
}

static enum err check_retry(const char *value, struct diag *d)
{
    return whole(value, 0, DISPATCH_RETRY_MAX, d);
}

static enum err check_time(const char *value, struct diag *d)
{
    uint64_t ns = 0;
    enum err e = iso8601_duration_parse(slice_str(value), &ns, d);
    return e == OK && ns == 0 ? diag_set(d, ERR_INVALID, "must be longer than zero") : e;
}

enum err rate_parse(const char *value, uint64_t *interval_ns, struct diag *d)
{
    size_t digits = strspn(value, "0123456789"), fraction = 0;
    if (value[digits] == '.')
        fraction = strspn(value + digits + 1, "0123456789");
    size_t end = digits + (value[digits] == '.' ? 1 + fraction : 0);
    bool number = digits > 0 && value[end] == 0 && (value[digits] != '.' || fraction > 0);
    double rate = number ? strtod(value, NULL) : 0;
    if (rate < 0.001 || rate > ANNOTATION_RATE_MAX)
        return diag_set(d, ERR_INVALID,
                        "must be a number of events from 0.001 to %u, such as 0.5 or 100 (it is \"%.60s\")",
                        ANNOTATION_RATE_MAX, value);
    *interval_ns = (uint64_t)(1e9 / rate);
    return OK;
}

static enum err check_rate(const char *value, struct diag *d)
{
    uint64_t ns;
    return rate_parse(value, &ns, d);
}

static void retry_on_add(struct retry_on *r, unsigned first, unsigned count)
{
    for (unsigned code = first; code < first + count; code++)
        r->codes[code / 64] |= 1ull << (code % 64);
}

enum err retry_on_parse(const char *value, struct retry_on *out, struct diag *d)
{
    struct retry_on r = {.given = true};
    for (struct slice rest = slice_str(value); rest.ptr;) {
        struct slice word = slice_trim(slice_split(&rest, ','));
        uint64_t code;
        if (slice_eq_str(word, "no-answer"))
            r.no_answer = true;
        else if (word.len == 3 && word.ptr[0] >= '1' && word.ptr[0] <= '5' &&
                 slice_eq_str(slice_of(word.ptr + 1, 2), "xx"))
            retry_on_add(&r, (unsigned)(word.ptr[0] - '0') * 100, 100);
        else if (word.len == 3 && decimal_parse(word, 599, &code) == OK && code >= 100)
            retry_on_add(&r, (unsigned)code, 1);
        else
            return diag_set(
                d, ERR_INVALID,
                "must be a list of no-answer, codes and classes, such as no-answer,429,5xx (\"%.*s\" is none "
                "of them)",
                word.len < 60 ? (int)word.len : 60, word.ptr);
    }
    *out = r;
    return OK;
}

static enum err check_retry_on(const char *value, struct diag *d)
{
    struct retry_on r;
    return retry_on_parse(value, &r, d);
}

enum err dependency_parse(const char *value, cJSON **out, struct diag *d)
{
    struct json_value v;
    enum err e = json_check(slice_str(value), MANIFEST_DEPTH_MAX, &v, NULL);
    cJSON *ref = e == OK ? cJSON_Parse(value) : NULL;
    if (e == ERR_NOMEM || (e == OK && !ref))
        return ERR_NOMEM;
    if (json_text(ref, "kind") && json_text(ref, "name") && json_text(ref, "apiVersion")) {
        *out = ref;
        return OK;
    }
    cJSON_Delete(ref);
    return diag_set(d, ERR_INVALID,
                    "must be a JSON object with kind, name and apiVersion, such as "
                    "{\"kind\":\"GitHubSource\",\"name\":\"hub\",\"apiVersion\":\"sources.knative.dev/v1alpha1\"}");
}

static enum err check_command(const char *value, struct diag *d)
{
    struct json_value v;
    enum err e = json_check(slice_str(value), MANIFEST_DEPTH_MAX, &v, NULL);
    cJSON *words = e == OK ? cJSON_Parse(value) : NULL, *each;
    if (e == ERR_NOMEM || (e == OK && !words))
        return ERR_NOMEM;
    bool good = cJSON_IsArray(words) && cJSON_GetArraySize(words) > 0;
    cJSON_ArrayForEach(each, words)
        good = good && cJSON_IsString(each);
    cJSON_Delete(words);
    return good ? OK
                : diag_set(d, ERR_INVALID, "must be a JSON list of texts, such as [\"podman\", \"run\", \"IMAGE\"]");
}

static enum err check_pubsub_subscription(const char *value, struct diag *d)
{
    return pubsub_name_check("subscriptions", value, d);
}

static enum err check_pubsub_endpoint(const char *value, struct diag *d)
{
    struct http_url u;
    enum err e = http_url_parse(slice_str(value), &u, d);
    if (e == OK)
        http_url_fini(&u);
    return e;
}

/* ---- the table ---- */

static const struct annotation_rule {
    const char *name;
    unsigned on;
    enum err (*check)(const char *value, struct diag *d);
} rules[] = {
    {ANNOTATION_CAPACITY, ON_CHANNEL | ON_FLOW, check_bytes},
    {ANNOTATION_RETENTION_AGE, ON_CHANNEL | ON_FLOW, check_time},
    {ANNOTATION_RETENTION_BYTES, ON_CHANNEL | ON_FLOW, check_bytes},
    {ANNOTATION_PARTITIONS, ON_CHANNEL | ON_FLOW, check_partitions},
    {ANNOTATION_OVERFLOW, ON_CHANNEL | ON_DELIVERIES, check_overflow},
    {ANNOTATION_IN_FLIGHT, ON_DELIVERIES, check_in_flight},
    {ANNOTATION_RATE, ON_DELIVERIES, check_rate},
    {ANNOTATION_ORDER, ON_DELIVERIES, check_order},
    {ANNOTATION_PAUSED, ON_DELIVERIES, check_bool},
    {ANNOTATION_START_FROM, ON_DELIVERIES, check_start},
    {ANNOTATION_KEEP_CURSOR, ON_SUBSCRIPTION | ON_SUBSCRIPTION_2018, check_bool}, /* a flow's go with its channels */
    {ANNOTATION_DEDUP, ON_DELIVERIES, check_time},
    {ANNOTATION_JITTER, ON_DELIVERIES, check_jitter},
    {ANNOTATION_RETRY_ON, ON_DELIVERIES, check_retry_on},
    {ANNOTATION_DEADLINE, ON_DELIVERIES, check_time},
    {ANNOTATION_BATCH_EVENTS, ON_DELIVERIES, check_batch},
    {ANNOTATION_BATCH_WAIT, ON_DELIVERIES, check_time},
    {ANNOTATION_RETRY, ON_SUBSCRIPTION_2018, check_retry},
    {ANNOTATION_ALLOW_UNSIGNED, ON_SOURCE, check_bool},
    {ANNOTATION_COMMAND, ON_EVENT_SOURCE, check_command},
    {ANNOTATION_KAFKA_TOPIC, ON_CHANNEL, check_kafka_name},
    {ANNOTATION_KAFKA_EXTERNAL_TOPIC, ON_CHANNEL, check_kafka_name},
    {ANNOTATION_KAFKA_GROUP, ON_SUBSCRIPTION | ON_SUBSCRIPTION_2018, check_kafka_group},
    {ANNOTATION_RABBITMQ_EXCHANGE, ON_CHANNEL, check_rabbitmq_name},
    {ANNOTATION_RABBITMQ_EXTERNAL_EXCHANGE, ON_CHANNEL, check_external_exchange},
    {ANNOTATION_RABBITMQ_QUEUE_TYPE, ON_CHANNEL | ON_QUEUE, check_queue_type},
    {ANNOTATION_RABBITMQ_MODE, ON_CHANNEL, check_mode},
    {ANNOTATION_RABBITMQ_BARE_HEADERS, ON_CHANNEL, check_bool},
    {ANNOTATION_RABBITMQ_STREAM, ON_CHANNEL | ON_FLOW, check_bool},
    {ANNOTATION_RABBITMQ_SHARED, ON_SUBSCRIPTION | ON_SUBSCRIPTION_2018, check_shared},
    {ANNOTATION_PUBSUB_TOPIC, ON_CHANNEL, check_pubsub_topic},
    {ANNOTATION_PUBSUB_EXTERNAL_TOPIC, ON_CHANNEL, check_pubsub_topic},
    {ANNOTATION_PUBSUB_SUBSCRIPTION, ON_PUBSUB, check_pubsub_subscription},
    {ANNOTATION_PUBSUB_ENDPOINT, ON_PUBSUB, check_pubsub_endpoint},
};
#define RULE_COUNT (sizeof rules / sizeof rules[0])

static const struct annotation_rule *rule_of(const char *name)
{
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

static enum err unknown(const char *name, struct diag *d)
{
    const char *names[RULE_COUNT];
    char list[RULE_COUNT * 30];
    size_t n = 0;
    for (size_t i = 0; i < RULE_COUNT; i++) {
        names[i] = rules[i].name;
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", names[i] + strlen(ANNOTATION_PREFIX));
    }
    const char *near = word_near(name, names, RULE_COUNT);
    if (near)
        return diag_set(d, ERR_INVALID, "there is no such annotation; did you mean %s?", near);
    return diag_set(d, ERR_INVALID, "there is no such annotation; after " ANNOTATION_PREFIX " leat has: %s", list);
}

enum err annotation_check(const char *name, const char *value, struct diag *d)
{
    if (strncmp(name, ANNOTATION_PREFIX, strlen(ANNOTATION_PREFIX)) != 0)
        return OK;
    const struct annotation_rule *r = rule_of(name);
    return r ? r->check(value, d) : unknown(name, d);
}

enum err annotation_check_kind(const char *name, const struct kind *kind, struct diag *d)
{
    const struct annotation_rule *r = rule_of(name);
    const char *last = "";
    char list[200] = "";
    size_t n = 0;
    for (size_t i = 0; r && i < KIND_USE_COUNT; i++) {
        const struct kind_use *k = &kind_uses[i];
        if (!(k->uses & r->on))
            continue;
        if (strcmp(k->kind, kind->kind) == 0 && strcmp(k->group, kind->group) == 0)
            return OK;
        if (strcmp(last, k->kind) != 0 && n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", k->kind);
        last = k->kind;
    }
    if (r && strcmp(name, ANNOTATION_RETRY) == 0 && kind->has_status)
        return diag_set(d, ERR_INVALID, "is for the kinds of 2018; write spec.delivery.retry here");
    return r ? diag_set(d, ERR_INVALID, "means nothing on a %s; it is for: %s", kind->kind, list) : OK;
}
