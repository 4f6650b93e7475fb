/* SPDX-License-Identifier: Apache-2.0
 *
 * A delivery specification as the dispatcher takes it, and values of Secrets. What the rules have checked is not
 * checked again. Pure but for the arena.
 */
#include <stdlib.h>

#include "buf.h"
#include "planner.h"
#include "text.h"

static uint64_t duration(const cJSON *d, const char *name)
{
    const char *text = json_text(d, name);
    uint64_t ns = 0;
    return text && iso8601_duration_parse(slice_str(text), &ns, NULL) == OK ? ns : 0;
}

void delivery_read(const cJSON *d, struct delivery *out)
{
    const cJSON *retry = cJSON_GetObjectItemCaseSensitive(d, "retry");
    const char *policy = json_text(d, "backoffPolicy"), *format = json_text(d, "format");
    *out = (struct delivery){.jitter_percent = 10, .format = -1};
    if (cJSON_IsNumber(retry) && retry->valueint > 0)
        out->retry = (unsigned)retry->valueint;
    out->backoff_policy = policy && strcmp(policy, "linear") == 0 ? BACKOFF_LINEAR : BACKOFF_EXPONENTIAL;
    out->backoff_delay_ns = duration(d, "backoffDelay");
    out->backoff_max_ns = duration(d, "backoffMax");
    out->timeout_ns = duration(d, "timeout");
    out->retry_after_max_ns = duration(d, "retryAfterMax");
    if (format)
        out->format = strcmp(format, "json") == 0 ? CE_MODE_STRUCTURED : CE_MODE_BINARY;
}

const char *secret_value(struct planner *p, const char *ns, const char *name, const char *key, struct why *why)
{
    const struct resource *r = plan_get(p, "", "Secret", ns, name);
    if (!r) {
        *why = why_of(p, "SecretNotFound", "Secret %s/%s is not declared", ns, name);
        return NULL;
    }
    const char *encoded = json_text(json_object(r->object, "data"), key); /* stringData was moved there (rules.c) */
    if (!encoded) {
        *why = why_of(p, "SecretKeyNotFound", "Secret %s/%s has no key \"%s\"", ns, name, key);
        return NULL;
    }
    size_t len = 0;
    char *out = arena_alloc(p->arena, strlen(encoded) + 1);
    if (!out || base64_decode_into(slice_str(encoded), out, &len) != OK) {
        p->nomem = p->nomem || !out;
        *why = why_of(p, "SecretInvalid", "Secret %s/%s: \"%s\" is not base64", ns, name, key);
        return NULL;
    }
    out[len] = 0;
    if (memchr(out, 0, len)) {
        *why = why_of(p, "SecretInvalid", "Secret %s/%s: \"%s\" holds a NUL character", ns, name, key);
        return NULL;
    }
    return out;
}
