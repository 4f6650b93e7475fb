/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a RabbitMQ bus, its channels and subscriptions (rabbitmq.h lists them). Pure.
 */
#include "rabbitmq.h"
#include "text.h"
#include "../params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES (32ull << 20)
#define HELD_BYTES (32ull << 20) /* thousands of events of some KiB, which is more than a stream has credit for */
#define TIMEOUT_NS (30ull * 60 * NS_PER_S)
#define RETENTION_NS (24ull * 3600 * NS_PER_S) /* of a stream; both as on the log */
#define RETENTION_BYTES (1ull << 30)
#define OVERRIDES_MAX 64 /* record.override.* of one channel */

/* ---- values ---- */

/* What RabbitMQ takes as a name of ours: "amq." is its own, and a name is a short string. */
static enum err name_check(const char *what, const char *name, struct diag *d)
{
    size_t n = strlen(name);
    if (n == 0 || n > CE_AMQP_SHORT_MAX || !utf8_valid(slice_str(name)) || strncmp(name, "amq.", 4) == 0)
        return diag_set(
            d, ERR_INVALID,
            "%s: \"%s\" cannot be a name of RabbitMQ's; it takes 1 to %d bytes of UTF-8, not beginning with amq.", what,
            name, CE_AMQP_SHORT_MAX);
    return OK;
}

/* prefix + name, checked. */
static enum err name_make(const char *what, const char *prefix, const char *name, char **out, struct diag *d)
{
    char *text = NULL;
    if (asprintf(&text, "%s%s", prefix, name) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = *name ? name_check(what, text, d) : diag_set(d, ERR_INVALID, "%s is empty", what);
    if (e) {
        free(text);
        return e;
    }
    free(*out);
    *out = text;
    return OK;
}

/* ---- of a bus ---- */

static enum err timeout_read(const struct bus_param *p, uint64_t *out, struct diag *d)
{
    uint64_t ns = 0;
    enum err e = param_duration(p, &ns, d);
    if (e)
        return e;
    if (ns < NS_PER_S || ns > 365 * 24 * 3600 * NS_PER_S)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from 1s to 8760h", p->name, p->value);
    *out = ns;
    return OK;
}

static bool is_retention(const struct bus_param *p)
{
    return strncmp(p->name, "retention-", strlen("retention-")) == 0;
}

static enum err retention_read(const struct bus_param *p, struct rabbit_retention *out, struct diag *d)
{
    if (strcmp(p->name, "retention-bytes") == 0)
        return param_bytes(p, 0, INT64_MAX, &out->bytes, d);
    if (strcmp(p->name, "retention-age") == 0)
        return param_duration(p, &out->age_ns, d);
    return diag_set(d, ERR_INVALID, "unknown parameter \"%s\"; there are retention-age and retention-bytes", p->name);
}

static enum err streams_read(const struct bus_param *p, enum rabbit_streams *out, struct diag *d)
{
    static const char *const words[] = {"false", "dead-letters", "true"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(p->value, words[i]) == 0) {
            *out = (enum rabbit_streams)i;
            return OK;
        }
    }
    return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is false, dead-letters or true", p->name, p->value);
}

static enum err bus_read(const struct bus_param *p, struct rabbit_settings *out, struct diag *d)
{
    if (rabbitmq_client_knows(p->name))
        return OK;
    if (strcmp(p->name, "prefix") == 0) {
        enum err e = param_text(p, &out->prefix, d);
        return !e && *out->prefix ? name_check(p->name, out->prefix, d) : e;
    }
    if (strcmp(p->name, "queue.type") == 0)
        return param_word(p, "quorum", "classic", &out->classic, d);
    if (strcmp(p->name, "shared") == 0)
        return param_word(p, "order", "work", &out->work, d);
    if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    if (strcmp(p->name, "bare") == 0)
        return param_bool(p, &out->bare, d);
    if (strcmp(p->name, "buffer") == 0)
        return param_bytes(p, 1 << 10, INT32_MAX, &out->buffer, d);
    if (strcmp(p->name, "held") == 0)
        return param_bytes(p, 1 << 10, INT32_MAX, &out->held, d);
    if (strcmp(p->name, "consumer.timeout") == 0)
        return timeout_read(p, &out->timeout_ns, d);
    if (strcmp(p->name, "stream") == 0)
        return streams_read(p, &out->streams, d);
    if (is_retention(p))
        return retention_read(p, &out->retention, d);
    return diag_set(
        d, ERR_INVALID,
        "unknown parameter \"%s\" of a rabbitmq bus; beside those of the connection (url, host, port, vhost, "
        "username, password, heartbeat, ssl*) it knows prefix, queue.type, shared, mode, bare, buffer, held, stream, "
        "retention-age, retention-bytes and consumer.timeout",
        p->name);
}

enum err rabbit_settings_read(const struct bus_param *params, size_t count, struct rabbit_settings *out, struct diag *d)
{
    struct rabbit_settings s = {.prefix = strdup(""),
                                .mode = CE_MODE_BINARY,
                                .buffer = BUFFER_BYTES,
                                .retention = {RETENTION_NS, RETENTION_BYTES},
                                .held = HELD_BYTES,
                                .timeout_ns = TIMEOUT_NS};
    enum err e = s.prefix ? OK : diag_set(d, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count && !e; i++)
        e = bus_read(&params[i], &s, d);
    if (e)
        rabbit_settings_fini(&s);
    else
        *out = s;
    return e;
}

void rabbit_settings_fini(struct rabbit_settings *s)
{
    free(s->prefix);
    s->prefix = NULL;
}

/* ---- of a channel ---- */

static enum err override_add(struct rabbit_channel_settings *s, const char *name, const char *value, struct diag *d)
{
    enum err e = ce_name_check(slice_str(name), d);
    if (e)
        return e;
    if (s->override_count == OVERRIDES_MAX)
        return diag_set(d, ERR_INVALID, "more than %d parameters like record.override.%s", OVERRIDES_MAX, name);
    struct ce_attribute *grown = realloc(s->overrides, (s->override_count + 1) * sizeof *grown);
    if (!grown)
        return diag_set(d, ERR_NOMEM, "out of memory");
    s->overrides = grown;
    char *n = strdup(name), *v = strdup(value);
    grown[s->override_count++] = (struct ce_attribute){.name = {n, n ? strlen(n) : 0}, .value = {v, v ? strlen(v) : 0}};
    return n && v ? OK : diag_set(d, ERR_NOMEM, "out of memory");
}

/* What the names are is looked at when all is read, since prefix and default depend on it. */
struct names {
    const char *exchange, *queue;
};

static enum err channel_read(const struct bus_param *p, struct rabbit_channel_settings *out, struct names *names,
                             struct diag *d)
{
    static const char over[] = "record.override.";
    bool one = false;
    if (strcmp(p->name, "exchange") == 0)
        names->exchange = p->value;
    else if (strcmp(p->name, "queue") == 0)
        names->queue = p->value;
    else if (strcmp(p->name, "exchange.external") == 0)
        return param_bool(p, &out->exchange_external, d);
    else if (strcmp(p->name, "queue.external") == 0)
        return param_bool(p, &out->queue_external, d);
    else if (strcmp(p->name, "queue.type") == 0)
        return param_word(p, "quorum", "classic", &out->classic, d);
    else if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    else if (strcmp(p->name, "bare") == 0)
        return param_bool(p, &out->bare, d);
    else if (strcmp(p->name, "stream") == 0)
        return param_bool(p, &out->is_stream, d);
    else if (is_retention(p))
        return retention_read(p, &out->retention, d);
    else if (strcmp(p->name, "partitions") == 0) {
        enum err e = param_word(p, "1", "1", &one, d);
        out->one_part = one;
        return e;
    } else if (strcmp(p->name, "record.source") == 0)
        return param_text(p, &out->source, d);
    else if (strncmp(p->name, over, sizeof over - 1) == 0)
        return override_add(out, p->name + sizeof over - 1, p->value, d);
    else
        return diag_set(
            d, ERR_INVALID,
            "unknown parameter \"%s\" of a channel on a rabbitmq bus; it knows exchange, exchange.external, "
            "queue, queue.external, queue.type, mode, bare, stream, retention-age, retention-bytes, partitions, "
            "record.source and record.override.NAME",
            p->name);
    return OK;
}

static enum err exchange_default(struct rabbit_channel_settings *s, const char *prefix, struct slice name,
                                 struct diag *d)
{
    char *text = name_of_channel(name);
    enum err e = text ? name_make("exchange", prefix, text, &s->exchange, d) : diag_set(d, ERR_NOMEM, "out of memory");
    free(text);
    return e;
}

/* The prefix is in the exchange's name, unless that is somebody else's: the stream is ours all the same. */
static enum err stream_name(struct rabbit_channel_settings *s, const char *prefix, struct diag *d)
{
    char *text = NULL;
    if (asprintf(&text, "%s.stream", s->exchange) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = OK;
    if (s->is_stream || strlen(text) <= CE_AMQP_SHORT_MAX) /* a longer one is no matter where there is none */
        e = name_make("exchange", s->exchange_external ? prefix : "", text, &s->stream, d);
    free(text);
    return e;
}

static enum err names_read(struct rabbit_channel_settings *s, const char *prefix, struct slice name,
                           const struct names *given, struct diag *d)
{
    if (s->exchange_external && !given->exchange)
        return diag_set(d, ERR_INVALID, "exchange.external is true, so exchange must say which");
    if (s->queue_external && !given->queue)
        return diag_set(d, ERR_INVALID, "queue.external is true, so queue must say which");
    enum err e = OK;
    if (given->queue) /* somebody else's world: its names are taken as they are */
        e = name_make("queue", "", given->queue, &s->queue, d);
    if (!e && given->exchange && *given->exchange)
        e = name_make("exchange", s->exchange_external || given->queue ? "" : prefix, given->exchange, &s->exchange, d);
    else if (!e && !given->queue)
        e = exchange_default(s, prefix, name, d);
    if (!e && !s->queue)
        e = stream_name(s, prefix, d);
    return e;
}

enum err rabbit_channel_settings_read(const struct rabbit_settings *bus, struct slice name,
                                      const struct bus_param *params, size_t count, struct rabbit_channel_settings *out,
                                      struct diag *d)
{
    struct rabbit_channel_settings s = {
        .classic = bus->classic, .bare = bus->bare, .mode = bus->mode, .retention = bus->retention};
    struct names names = {0};
    enum err e = OK;
    s.is_stream =
        bus->streams == RABBIT_STREAMS_ALL || (bus->streams == RABBIT_STREAMS_PARKED && is_dead_letters(name));
    for (size_t i = 0; i < count && !e; i++)
        e = channel_read(&params[i], &s, &names, d);
    if (!e)
        e = names_read(&s, bus->prefix, name, &names, d);
    if (!e && s.queue) {
        s.bare = true; /* whoever writes there may be one of Knative's parts */
        s.is_stream = false;
    }
    if (e)
        rabbit_channel_settings_fini(&s);
    else
        *out = s;
    return e;
}

void rabbit_channel_settings_fini(struct rabbit_channel_settings *s)
{
    for (size_t i = 0; i < s->override_count; i++) {
        free((void *)(uintptr_t)s->overrides[i].name.ptr);
        free((void *)(uintptr_t)s->overrides[i].value.ptr);
    }
    free(s->overrides);
    free(s->exchange);
    free(s->queue);
    free(s->stream);
    free(s->source);
    *s = (struct rabbit_channel_settings){0};
}

/* ---- of a subscription ---- */

/* `overflow` is for buses with a bound of their own: a queue here is as long as its node lets it be. */
static enum err subscription_read(const struct bus_param *p, struct rabbit_subscription_settings *out,
                                  const char **queue, struct diag *d)
{
    if (strcmp(p->name, "queue") == 0)
        *queue = p->value;
    else if (strcmp(p->name, "queue.type") == 0)
        return param_word(p, "quorum", "classic", &out->classic, d);
    else if (strcmp(p->name, "shared") == 0)
        return param_word(p, "order", "work", &out->work, d);
    else if (strcmp(p->name, "overflow") != 0)
        return diag_set(
            d, ERR_INVALID,
            "unknown parameter \"%s\" of a subscription on a rabbitmq bus; it knows queue, queue.type and shared",
            p->name);
    return OK;
}

static enum err queue_read(const struct rabbit_settings *bus, const char *channel, struct slice name, const char *given,
                           char **out, struct diag *d)
{
    if (given)
        return name_make("queue", bus->prefix, given, out, d);
    char *text = name_dotted("leat.%s.%.*s", channel, SLICE_ARG(name));
    enum err e = text ? name_make("queue", bus->prefix, text, out, d) : diag_set(d, ERR_NOMEM, "out of memory");
    free(text);
    return e;
}

enum err rabbit_subscription_settings_read(const struct rabbit_settings *bus, const char *channel,
                                           const struct rabbit_channel_settings *of_it, struct slice name,
                                           const struct bus_param *params, size_t count,
                                           struct rabbit_subscription_settings *out, struct diag *d)
{
    struct rabbit_subscription_settings s = {.classic = of_it->classic, .work = bus->work};
    const char *queue = NULL;
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++)
        e = subscription_read(&params[i], &s, &queue, d);
    if (!e && of_it->queue)
        e = name_make("queue", "", of_it->queue, &s.queue, d);
    else if (!e)
        e = queue_read(bus, channel, name, queue, &s.queue, d);
    if (e)
        rabbit_subscription_settings_fini(&s);
    else
        *out = s;
    return e;
}

void rabbit_subscription_settings_fini(struct rabbit_subscription_settings *s)
{
    free(s->queue);
    s->queue = NULL;
}
