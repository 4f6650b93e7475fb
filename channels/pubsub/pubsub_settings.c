/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a Pub/Sub bus, its channels and subscriptions (pubsub_settings.h lists them). Pure.
 */
#include "pubsub_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../params.h"

#define BUFFER_BYTES (32ull << 20)
#define LEASE_S 20
#define DAY_S (24ull * 3600)
#define RETENTION_S (7 * DAY_S)
#define PAST_S DAY_S

/* ---- values ---- */

static enum err seconds_read(const struct bus_param *p, uint64_t least, uint64_t most, const char *range, uint64_t *out,
                             struct diag *d)
{
    uint64_t ns = 0;
    enum err e = param_duration(p, &ns, d);
    if (e)
        return e;
    if (ns < least * NS_PER_S || ns > most * NS_PER_S)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is %s", p->name, p->value, range);
    *out = ns / NS_PER_S;
    return OK;
}

/* Of a topic. */
static enum err past_read(const struct bus_param *p, uint64_t *out, struct diag *d)
{
    if (strcmp(p->value, "0") == 0) {
        *out = 0;
        return OK;
    }
    return seconds_read(p, 600, 31 * DAY_S, "from 10m to 744h, or 0", out, d);
}

/* prefix + name, checked; "/" in it is ".". */
static enum err id_make(const char *what, const char *kind, const char *prefix, const char *name, char **out,
                        struct diag *d)
{
    char *text = NULL;
    if (asprintf(&text, "%s%s", prefix, name) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    struct diag why = {0};
    enum err e = pubsub_name_check(kind, text, &why);
    if (e) {
        diag_set(d, e, "%s: %s", what, why.text);
        free(text);
        return e;
    }
    free(*out);
    *out = text;
    return OK;
}

/* ---- of a bus ---- */

static enum err bus_read(const struct bus_param *p, struct pub_settings *out, struct diag *d)
{
    uint64_t lease_s = 0;
    if (pubsub_client_knows(p->name))
        return OK;
    if (strcmp(p->name, "prefix") == 0)
        return param_text(p, &out->prefix, d);
    if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    if (strcmp(p->name, "buffer") == 0)
        return param_bytes(p, 1 << 10, INT32_MAX, &out->buffer, d);
    if (strcmp(p->name, "retention") == 0)
        return seconds_read(p, 600, 31 * DAY_S, "from 10m to 744h", &out->retention_s, d);
    if (strcmp(p->name, "retention-age") == 0)
        return past_read(p, &out->past_s, d);
    if (strcmp(p->name, "ack.deadline") == 0) {
        enum err e =
            seconds_read(p, PUBSUB_ACK_DEADLINE_S_MIN, PUBSUB_ACK_DEADLINE_S_MAX, "from 10s to 600s", &lease_s, d);
        out->lease_s = e ? out->lease_s : (unsigned)lease_s;
        return e;
    }
    return diag_set(d, ERR_INVALID,
                    "unknown parameter \"%s\" of a pubsub bus; beside those of the connection (project, credentials, "
                    "credentials.file, emulator, endpoint, token.url, metadata, tls.ca) it knows prefix, mode, buffer, "
                    "ack.deadline, retention and retention-age",
                    p->name);
}

enum err pub_settings_read(const struct bus_param *params, size_t count, struct pub_settings *out, struct diag *d)
{
    struct pub_settings s = {.prefix = strdup(""),
                             .mode = CE_MODE_BINARY,
                             .buffer = BUFFER_BYTES,
                             .lease_s = LEASE_S,
                             .retention_s = RETENTION_S,
                             .past_s = PAST_S};
    enum err e = s.prefix ? OK : diag_set(d, ERR_NOMEM, "out of memory");
    char *tried = NULL;
    for (size_t i = 0; i < count && !e; i++)
        e = bus_read(&params[i], &s, d);
    if (!e)
        e = id_make("prefix", "topics", s.prefix, "leat", &tried, d);
    free(tried);
    if (e)
        pub_settings_fini(&s);
    else
        *out = s;
    return e;
}

void pub_settings_fini(struct pub_settings *s)
{
    free(s->prefix);
    s->prefix = NULL;
}

/* ---- of a channel ---- */

static enum err channel_read(const struct bus_param *p, struct pub_channel_settings *out, const char **topic,
                             struct diag *d)
{
    bool one = false;
    if (strcmp(p->name, "topic") == 0)
        *topic = p->value;
    else if (strcmp(p->name, "topic.external") == 0)
        return param_word(p, "false", "true", &out->external, d);
    else if (strcmp(p->name, "mode") == 0)
        return param_mode(p, &out->mode, d);
    else if (strcmp(p->name, "retention-age") == 0)
        return past_read(p, &out->past_s, d);
    else if (strcmp(p->name, "partitions") == 0) {
        enum err e = param_word(p, "1", "1", &one, d);
        out->one_part = one;
        return e;
    } else
        return diag_set(d, ERR_INVALID,
                        "unknown parameter \"%s\" of a channel on a pubsub bus; it knows topic, topic.external, "
                        "mode, retention-age and partitions",
                        p->name);
    return OK;
}

static enum err topic_default(struct pub_channel_settings *s, const char *prefix, struct slice name, struct diag *d)
{
    char *text = name_of_channel(name);
    enum err e =
        text ? id_make("topic", "topics", prefix, text, &s->topic, d) : diag_set(d, ERR_NOMEM, "out of memory");
    free(text);
    return e;
}

enum err pub_channel_settings_read(const struct pub_settings *bus, struct slice name, const struct bus_param *params,
                                   size_t count, struct pub_channel_settings *out, struct diag *d)
{
    bool dead = is_dead_letters(name);
    struct pub_channel_settings s = {.mode = bus->mode, .ordered = !dead, .dead = dead, .past_s = bus->past_s};
    const char *topic = NULL;
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++)
        e = channel_read(&params[i], &s, &topic, d);
    s.past_s = dead ? 0 : s.past_s;
    if (!e && s.external && !topic)
        e = diag_set(d, ERR_INVALID, "topic.external is true, so topic must say which");
    if (!e)
        e = topic ? id_make("topic", "topics", s.external ? "" : bus->prefix, topic, &s.topic, d)
                  : topic_default(&s, bus->prefix, name, d);
    if (e)
        pub_channel_settings_fini(&s);
    else
        *out = s;
    return e;
}

void pub_channel_settings_fini(struct pub_channel_settings *s)
{
    free(s->topic);
    *s = (struct pub_channel_settings){0};
}

/* ---- of a subscription ---- */

/* `overflow` is for buses with a bound of their own. */
static enum err subscription_read(const struct bus_param *p, const char **id, bool *any, struct diag *d)
{
    if (strcmp(p->name, "subscription") == 0)
        *id = p->value;
    else if (strcmp(p->name, "order") == 0)
        return param_word(p, "key", "none", any, d);
    else if (strcmp(p->name, "overflow") != 0)
        return diag_set(d, ERR_INVALID,
                        "unknown parameter \"%s\" of a subscription on a pubsub bus; it knows subscription and order",
                        p->name);
    return OK;
}

enum err pub_subscription_settings_read(const struct pub_settings *bus, const char *channel,
                                        const struct pub_channel_settings *of, struct slice name,
                                        const struct bus_param *params, size_t count,
                                        struct pub_subscription_settings *out, struct diag *d)
{
    const char *given = NULL;
    char *text = NULL;
    bool any = false;
    enum err e = OK;
    for (size_t i = 0; i < count && !e; i++)
        e = subscription_read(&params[i], &given, &any, d);
    if (e)
        return e;
    bool passing = slice_has_prefix(name, SLICE("replay/"));
    *out = (struct pub_subscription_settings){.ordered = of->ordered && (of->one_part || !any), .passing = passing};
    if (given)
        return id_make("subscription", "subscriptions", bus->prefix, given, &out->id, d);
    text = passing ? name_dotted("leat-%.*s", SLICE_ARG(name)) : name_dotted("leat.%s.%.*s", channel, SLICE_ARG(name));
    e = text ? id_make("subscription", "subscriptions", bus->prefix, text, &out->id, d)
             : diag_set(d, ERR_NOMEM, "out of memory");
    free(text);
    return e;
}
