/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub source's spec, taken apart and checked. Pure.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "crc32c.h"
#include "pubsub_source.h"
#include "text.h"

#define ACK_DEADLINE_S 30 /* knative-gcp's */
#define RETENTION_S_MIN 600
#define RETENTION_S_MAX (31u * 24 * 3600)
#define WORD_MAX 100 /* of a namespace or name in a subscription's id */

void pubsub_options_fini(struct pubsub_options *o)
{
    free(o->overrides);
    o->overrides = NULL;
}

/* ---- names ---- */

/* "projects/P/topics/T": P, unless the spec names one. */
static enum err parse_topic(struct pubsub_options *o, struct diag *d)
{
    struct slice rest;
    const char *project = source_param(o->spec, "project", NULL);
    o->topic = source_param(o->spec, "topic", "");
    if (!*o->topic)
        return diag_set(d, ERR_INVALID, "topic is missing: its id, or projects/PROJECT/topics/TOPIC");
    struct diag why = {0};
    if (pubsub_name_check("topics", o->topic, &why) != OK)
        return diag_set(d, ERR_INVALID, "topic: %.400s", why.text);
    rest = slice_str(o->topic);
    if (!strchr(o->topic, '/'))
        return OK;
    slice_split(&rest, '/');
    struct slice of_topic = slice_split(&rest, '/');
    if (!project) /* else it is another project's topic, perhaps: the subscription lies in ours */
        snprintf(o->project, sizeof o->project, "%.*s", SLICE_ARG(of_topic));
    return OK;
}

/* What may stand in an id; the rest becomes a hyphen. */
static void put_word(struct buf *b, const char *word)
{
    for (size_t i = 0; word[i] && i < WORD_MAX; i++)
        buf_put_char(b, isalnum((unsigned char)word[i]) || strchr("-_.~", word[i]) ? word[i] : '-');
}

/* Ours: of namespace, name and topic, the same in every life of the source, another for another topic. */
static enum err parse_subscription(struct pubsub_options *o, struct diag *d)
{
    const char *given = source_param(o->spec, "subscription", NULL);
    struct diag why = {0};
    o->external = given != NULL;
    if (given && pubsub_name_check("subscriptions", given, &why) != OK)
        return diag_set(d, ERR_INVALID, "subscription: %.400s", why.text);
    if (given && strlen(given) >= sizeof o->subscription)
        return diag_set(d, ERR_INVALID, "subscription has more than %d characters", PUBSUB_NAME_LEN_MAX);
    if (given) {
        snprintf(o->subscription, sizeof o->subscription, "%s", given);
        return OK;
    }
    struct buf b;
    buf_init(&b, sizeof o->subscription - 1);
    uint32_t sum = 0;
    const char *const parts[] = {o->spec->namespace_name, "/", o->spec->name, "/", o->topic};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sum = crc32c(sum, parts[i], strlen(parts[i]));
    buf_put_str(&b, "leat-");
    put_word(&b, o->spec->namespace_name);
    buf_put_char(&b, '-');
    put_word(&b, o->spec->name);
    buf_printf(&b, "-%08x", sum);
    enum err e = buf_error(&b);
    if (!e)
        snprintf(o->subscription, sizeof o->subscription, "%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return e;
}

/* ---- the rest ---- */

/* "30s", "168h" as Go writes durations, or ISO 8601; whole seconds. */
static enum err parse_seconds(struct pubsub_options *o, const char *name, uint64_t least, uint64_t most, uint64_t *out,
                              struct diag *d)
{
    const char *text = source_param(o->spec, name, NULL);
    uint64_t ns;
    if (!text)
        return OK;
    if (duration_parse(slice_str(text), &ns, NULL) != OK || ns / NS_PER_S < least || ns > most * NS_PER_S)
        return diag_set(d, ERR_INVALID, "%s is '%.40s'; it is a duration from %llus to %llus, as 30s, 10m or 168h",
                        name, text, (unsigned long long)least, (unsigned long long)most);
    *out = ns / NS_PER_S;
    return OK;
}

static enum err parse_bool(struct pubsub_options *o, const char *name, bool *out, struct diag *d)
{
    const char *text = source_param(o->spec, name, "false");
    *out = strcmp(text, "true") == 0;
    if (!*out && strcmp(text, "false") != 0)
        return diag_set(d, ERR_INVALID, "%s is '%.40s'; it is true or false", name, text);
    return OK;
}

static enum err parse_form(struct pubsub_options *o, struct diag *d)
{
    const char *form = source_param(o->spec, "form", "today");
    bool old = strcmp(form, "2018") == 0;
    o->form = old ? CE_PUBSUB_2018 : CE_PUBSUB_TODAY;
    if (!old && strcmp(form, "today") != 0)
        return diag_set(d, ERR_INVALID, "form is '%.40s'; it is today or 2018", form);
    return OK;
}

static enum err parse_overrides(struct pubsub_options *o, struct diag *d)
{
    size_t count = o->spec->ce_override_count;
    enum err e = source_overrides_check(o->spec, d);
    if (e || !count)
        return e;
    o->overrides = calloc(count, sizeof *o->overrides);
    if (!o->overrides)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        o->overrides[i] = (struct ce_attribute){slice_str(o->spec->ce_overrides[i].name),
                                                slice_str(o->spec->ce_overrides[i].value), CE_STRING};
    o->override_count = count;
    return OK;
}

static enum err parse(struct pubsub_options *o, struct diag *d)
{
    uint64_t deadline = ACK_DEADLINE_S;
    enum err e = parse_topic(o, d);
    if (!e)
        e = parse_subscription(o, d);
    if (!e)
        e = parse_form(o, d);
    if (!e)
        e = parse_seconds(o, "ackDeadline", PUBSUB_ACK_DEADLINE_S_MIN, PUBSUB_ACK_DEADLINE_S_MAX, &deadline, d);
    o->ack_deadline_s = (unsigned)deadline;
    if (!e)
        e = parse_seconds(o, "retentionDuration", RETENTION_S_MIN, RETENTION_S_MAX, &o->retention_s, d);
    if (!e)
        e = parse_bool(o, "retainAckedMessages", &o->retain_acked, d);
    if (!e)
        e = source_sink_timeout(o->spec, &o->sink_timeout_ns, d);
    return e ? e : parse_overrides(o, d);
}

enum err pubsub_options_parse(const struct source_spec *spec, struct pubsub_options *out, struct diag *d)
{
    struct pubsub_options o = {.spec = spec};
    enum err e = parse(&o, d);
    if (e)
        pubsub_options_fini(&o);
    else
        *out = o;
    return e;
}

/* The client's parameters have the same names in the spec. NULL: no memory. */
static struct pubsub_param *client_params(const struct pubsub_options *o, size_t *count)
{
    struct pubsub_param *params = calloc(o->spec->param_count + 1, sizeof *params);
    *count = 0;
    for (size_t i = 0; i < o->spec->param_count && params; i++)
        if (pubsub_client_knows(o->spec->params[i].name))
            params[(*count)++] = (struct pubsub_param){o->spec->params[i].name, o->spec->params[i].value};
    if (params && o->project[0])
        params[(*count)++] = (struct pubsub_param){"project", o->project};
    return params;
}

enum err pubsub_options_client(const struct pubsub_options *o, struct loop *loop, struct pubsub_client **out,
                               struct diag *d)
{
    size_t count;
    struct pubsub_param *params = client_params(o, &count);
    enum err e = !params ? ERR_NOMEM
                 : loop  ? pubsub_client_new(loop, params, count, out, d)
                         : pubsub_client_check(params, count, d);
    free(params);
    return e;
}
