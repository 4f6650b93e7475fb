/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a Kafka bus and of its channels (kafka.h lists them). Pure.
 */
#include "kafka_bus.h"
#include "text.h"
#include "../params.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_KAFKA 249 /* of a topic: what a broker takes */
#define CONFIGS_MAX 64     /* topic.config.* and record.override.* of one channel */

static enum err partitions_read(const struct bus_param *p, int32_t *out, struct diag *d)
{
    uint64_t n = 0;
    enum err e = param_number(p, 1, KAFKA_PARTITIONS_MAX, &n, d);
    if (!e)
        *out = (int32_t)n;
    return e;
}

static enum err replication_read(const struct bus_param *p, int16_t *out, struct diag *d)
{
    uint64_t n = 0;
    if (strcmp(p->value, "-1") == 0) {
        *out = -1;
        return OK;
    }
    enum err e = param_number(p, 1, 100, &n, d);
    if (!e)
        *out = (int16_t)n;
    return e;
}

/* What a broker takes in a topic's name. */
static bool topic_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

static enum err topic_check(const char *what, struct slice name, struct diag *d)
{
    size_t good = 0;
    while (good < name.len && topic_char(name.ptr[good]))
        good++;
    if (name.len == 0 || name.len > NAME_MAX_KAFKA || good < name.len || slice_eq_str(name, ".") ||
        slice_eq_str(name, ".."))
        return diag_set(d, ERR_INVALID,
                        "%s: \"%.*s\" cannot be a topic; Kafka takes 1 to %d of the characters a-z A-Z 0-9 . _ -", what,
                        SLICE_ARG(name), NAME_MAX_KAFKA);
    return OK;
}

/* ---- of a bus ---- */

static enum err prefix_read(const struct bus_param *p, struct kafka_settings *out, struct diag *d)
{
    enum err e = *p->value ? topic_check(p->name, slice_str(p->value), d) : OK;
    return e ? e : param_text(p, &out->prefix, d);
}

static enum err time_read(const struct bus_param *p, uint64_t most_ns, const char *most, uint64_t *out, struct diag *d)
{
    enum err e = param_duration(p, out, d);
    if (e)
        return e;
    if (*out < NS_PER_S || *out > most_ns)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from 1s to %s", p->name, p->value, most);
    return OK;
}

static enum err session_read(const struct bus_param *p, struct kafka_settings *out, struct diag *d)
{
    uint64_t ns = 0;
    enum err e = time_read(p, 1800 * NS_PER_S, "30m", &ns, d);
    if (!e)
        out->session_ms = (int)(ns / NS_PER_MS);
    return e;
}

static enum err bus_read(const struct bus_param *p, struct kafka_settings *out, struct diag *d)
{
    if (kafka_client_knows(p->name))
        return OK;
    if (strcmp(p->name, "prefix") == 0)
        return prefix_read(p, out, d);
    if (strcmp(p->name, "topic.partitions") == 0)
        return partitions_read(p, &out->partitions, d);
    if (strcmp(p->name, "topic.replication") == 0)
        return replication_read(p, &out->replication, d);
    if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    if (strcmp(p->name, "buffer") == 0)
        return param_bytes(p, 1 << 10, INT32_MAX, &out->buffer, d);
    if (strcmp(p->name, "fetch") == 0)
        return param_bytes(p, 1 << 10, INT32_MAX, &out->fetch, d);
    if (strcmp(p->name, "session") == 0)
        return session_read(p, out, d);
    if (strcmp(p->name, "keep") == 0)
        return time_read(p, 7 * KAFKA_KEEP_NS, "168h", &out->keep_ns, d);
    return diag_set(d, ERR_INVALID,
                    "unknown parameter \"%s\" of a kafka bus; beside those of the connection (bootstrap.servers, "
                    "security.protocol, sasl.*, ssl.*) it knows prefix, topic.partitions, topic.replication, mode, "
                    "buffer, fetch, session and keep",
                    p->name);
}

enum err kafka_settings_read(const struct bus_param *params, size_t count, struct kafka_settings *out, struct diag *d)
{
    struct kafka_settings s = {.prefix = strdup(""),
                               .partitions = 1,
                               .replication = -1,
                               .mode = CE_MODE_BINARY,
                               .buffer = KAFKA_BUFFER,
                               .fetch = KAFKA_FETCH,
                               .session_ms = 10000,
                               .keep_ns = KAFKA_KEEP_NS};
    enum err e = s.prefix ? OK : diag_set(d, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count && !e; i++)
        e = bus_read(&params[i], &s, d);
    if (e)
        kafka_settings_fini(&s);
    else
        *out = s;
    return e;
}

void kafka_settings_fini(struct kafka_settings *s)
{
    free(s->prefix);
    s->prefix = NULL;
}

/* ---- of a channel ---- */

static enum err pair_add(struct kafka_param **list, size_t *count, const char *name, const char *value, struct diag *d)
{
    if (*count == CONFIGS_MAX)
        return diag_set(d, ERR_INVALID, "more than %d parameters like %s", CONFIGS_MAX, name);
    struct kafka_param *grown = realloc(*list, (*count + 1) * sizeof **list);
    if (!grown)
        return diag_set(d, ERR_NOMEM, "out of memory");
    *list = grown;
    grown[*count] = (struct kafka_param){strdup(name), strdup(value)};
    bool whole = grown[*count].name && grown[*count].value;
    ++*count;
    return whole ? OK : diag_set(d, ERR_NOMEM, "out of memory");
}

static void pairs_free(struct kafka_param *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].name);
        free(list[i].value);
    }
    free(list);
}

static enum err retention_read(const struct bus_param *p, struct kafka_channel_settings *out, struct diag *d)
{
    struct diag why = {0};
    uint64_t ns;
    char text[24];
    if (strcmp(p->value, "forever") == 0)
        return pair_add(&out->configs, &out->config_count, "retention.ms", "-1", d);
    enum err e = duration_parse(slice_str(p->value), &ns, &why);
    if (e)
        return diag_set(d, e, "%s: %s; or it is \"forever\"", p->name, why.text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)(ns / NS_PER_MS));
    return pair_add(&out->configs, &out->config_count, "retention.ms", text, d);
}

static enum err key_read(const struct bus_param *p, enum ce_kafka_key *out, struct diag *d)
{
    static const char *const names[] = {[CE_KAFKA_KEY_STRING] = "string",
                                        [CE_KAFKA_KEY_INT] = "int",
                                        [CE_KAFKA_KEY_FLOAT] = "float",
                                        [CE_KAFKA_KEY_BYTE_ARRAY] = "byte-array"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(p->value, names[i]) == 0) {
            *out = (enum ce_kafka_key)i;
            return OK;
        }
    }
    return diag_set(d, ERR_INVALID, "record.key is \"%s\"; it is string, int, float or byte-array", p->value);
}

static const char *after(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 && name[n] ? name + n : NULL;
}

static enum err one_part_read(const struct bus_param *p, bool *out, struct diag *d)
{
    *out = true;
    return strcmp(p->value, "1") == 0
               ? OK
               : diag_set(d, ERR_INVALID,
                          "partitions is \"%s\"; it is 1, where all events keep their order, or left out "
                          "(topic.partitions says how many a new topic gets)",
                          p->value);
}

static enum err channel_read(const struct bus_param *p, struct kafka_channel_settings *out, const char **topics,
                             struct diag *d)
{
    const char *rest;
    if (strcmp(p->name, "topic") == 0) {
        *topics = p->value;
        return OK;
    }
    if (strcmp(p->name, "topic.external") == 0)
        return param_bool(p, &out->external, d);
    if (strcmp(p->name, "topic.partitions") == 0)
        return partitions_read(p, &out->partitions, d);
    if (strcmp(p->name, "topic.replication") == 0)
        return replication_read(p, &out->replication, d);
    if (strcmp(p->name, "topic.retention") == 0)
        return retention_read(p, out, d);
    if ((rest = after(p->name, "topic.config.")))
        return pair_add(&out->configs, &out->config_count, rest, p->value, d);
    if (strcmp(p->name, "partitions") == 0)
        return one_part_read(p, &out->one_part, d);
    if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    if (strcmp(p->name, "record.source") == 0)
        return param_text(p, &out->source, d);
    if (strcmp(p->name, "record.plain") == 0)
        return param_bool(p, &out->plain, d);
    if (strcmp(p->name, "record.key") == 0)
        return key_read(p, &out->key, d);
    if ((rest = after(p->name, "record.override."))) {
        enum err e = ce_name_check(slice_str(rest), d);
        return e ? e : pair_add(&out->overrides, &out->override_count, rest, p->value, d);
    }
    return diag_set(d, ERR_INVALID,
                    "unknown parameter \"%s\" of a channel on a kafka bus; it knows topic, topic.external, "
                    "topic.partitions, topic.replication, topic.retention, topic.config.NAME, partitions, mode, "
                    "record.plain, record.source, record.key and record.override.NAME",
                    p->name);
}

static enum err topic_add(struct kafka_channel_settings *out, const char *prefix, struct slice name, struct diag *d)
{
    char *text = NULL;
    if (out->topic_count == KAFKA_TOPICS_MAX)
        return diag_set(d, ERR_INVALID, "a channel has at most %d topics", KAFKA_TOPICS_MAX);
    if (asprintf(&text, "%s%.*s", prefix, SLICE_ARG(name)) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = topic_check("topic", slice_str(text), d);
    for (size_t i = 0; i < out->topic_count && !e; i++) {
        if (strcmp(out->topics[i], text) == 0)
            e = diag_set(d, ERR_INVALID, "topic: \"%s\" is named twice", text);
    }
    if (e)
        free(text);
    else
        out->topics[out->topic_count++] = text;
    return e;
}

/* "a,b": several only where they are somebody else's, since an append would not know which. */
static enum err topics_given(struct kafka_channel_settings *out, const char *prefix, const char *given, struct diag *d)
{
    struct slice rest = slice_str(given);
    enum err e = OK;
    do
        e = topic_add(out, out->external ? "" : prefix, slice_trim(slice_split(&rest, ',')), d);
    while (!e && rest.ptr);
    if (!e && out->topic_count > 1 && !out->external)
        e = diag_set(d, ERR_INVALID, "topic names several; only channels with topic.external=true have more than one");
    return e;
}

/* As upstream's KafkaChannel names it, so that its topics can be taken over; parked events have names of our own. */
static enum err topic_default(struct kafka_channel_settings *out, const char *prefix, struct slice name, struct diag *d)
{
    static const char parked[] = "dead-letter/";
    struct slice rest = name;
    char text[NAME_MAX_KAFKA + 8];
    bool dead = is_dead_letters(name);
    if (dead)
        rest = slice_from(name, sizeof parked - 1);
    int n =
        snprintf(text, sizeof text, "%s.%.*s", dead ? "leat-dead-letter" : "knative-messaging-kafka", SLICE_ARG(rest));
    if (n >= (int)sizeof text)
        return diag_set(d, ERR_INVALID, "the channel's name is too long for a topic; give it one (topic)");
    for (char *c = text; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return topic_add(out, prefix, slice_str(text), d);
}

static enum err topics_read(const struct kafka_settings *bus, struct slice name, const char *given,
                            struct kafka_channel_settings *out, struct diag *d)
{
    out->topics = calloc(KAFKA_TOPICS_MAX + 1, sizeof *out->topics);
    if (!out->topics)
        return diag_set(d, ERR_NOMEM, "out of memory");
    if (!given && out->external)
        return diag_set(d, ERR_INVALID, "topic.external is true, so topic must say which");
    return given ? topics_given(out, bus->prefix, given, d) : topic_default(out, bus->prefix, name, d);
}

static bool configured(const struct kafka_channel_settings *s, const char *name)
{
    for (size_t i = 0; i < s->config_count; i++) {
        if (strcmp(s->configs[i].name, name) == 0)
            return true;
    }
    return false;
}

enum err kafka_channel_settings_read(const struct kafka_settings *bus, struct slice name,
                                     const struct bus_param *params, size_t count, struct kafka_channel_settings *out,
                                     struct diag *d)
{
    const char *topics = NULL;
    bool parked = is_dead_letters(name);
    struct kafka_channel_settings s = {
        .partitions = parked ? 1 : bus->partitions, .replication = bus->replication, .mode = bus->mode};
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++)
        e = channel_read(&params[i], &s, &topics, d);
    if (!e)
        e = topics_read(bus, name, topics, &s, d);
    if (!e && s.one_part)
        s.partitions = 1;
    if (!e && parked && !configured(&s, "retention.ms")) /* parked events never expire */
        e = pair_add(&s.configs, &s.config_count, "retention.ms", "-1", d);
    if (e)
        kafka_channel_settings_fini(&s);
    else
        *out = s;
    return e;
}

void kafka_channel_settings_fini(struct kafka_channel_settings *s)
{
    for (size_t i = 0; s->topics && i < s->topic_count; i++)
        free(s->topics[i]);
    free(s->topics);
    pairs_free(s->configs, s->config_count);
    pairs_free(s->overrides, s->override_count);
    free(s->source);
    *s = (struct kafka_channel_settings){0};
}

bool kafka_channel_settings_same_topics(const struct kafka_channel_settings *a, const struct kafka_channel_settings *b)
{
    bool same = a->topic_count == b->topic_count;
    for (size_t i = 0; same && i < a->topic_count; i++)
        same = strcmp(a->topics[i], b->topics[i]) == 0;
    return same;
}

static bool same_pairs(const struct kafka_param *a, size_t count, const struct kafka_param *b, size_t of_b)
{
    bool same = count == of_b;
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(a[i].name, b[i].name) == 0 && strcmp(a[i].value, b[i].value) == 0;
    return same;
}

bool kafka_channel_settings_same(const struct kafka_channel_settings *a, const struct kafka_channel_settings *b)
{
    bool sources = a->source && b->source ? strcmp(a->source, b->source) == 0 : a->source == b->source;
    return kafka_channel_settings_same_topics(a, b) && a->external == b->external && a->one_part == b->one_part &&
           a->partitions == b->partitions && a->replication == b->replication &&
           same_pairs(a->configs, a->config_count, b->configs, b->config_count) && a->mode == b->mode &&
           a->plain == b->plain && sources && a->key == b->key &&
           same_pairs(a->overrides, a->override_count, b->overrides, b->override_count);
}
