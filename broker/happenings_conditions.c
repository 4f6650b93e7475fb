/* SPDX-License-Identifier: Apache-2.0
 *
 * What conditions tell of an object's life: one that turns False, or is False for another reason, has happened; so has
 * its end. Ready is made of the others, and deliveries are told by themselves, with their counts (engine_health.c).
 *
 *     False        Warning, the condition's reason and message     of what a user has paused: Normal
 *     True again   Normal, the condition's type
 *
 * Where several conditions have one and the same trouble, it is told as that of the first.
 */
#include <stdio.h>
#include <string.h>

#include "happenings_parts.h"
#include "resource/check.h"
#include "resource/table.h"

static bool is_silent(const char *type)
{
    return strcmp(type, "Ready") == 0 || strcmp(type, CONDITION_HEALTHY) == 0;
}

static bool is_false(const cJSON *condition)
{
    const char *status = json_text(condition, "status");
    return status && strcmp(status, "False") == 0;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static void note_false(struct happenings *h, const struct resource *r, const char *type, const cJSON *now)
{
    const char *reason = json_text(now, "reason"), *message = json_text(now, "message");
    char fallback[100];
    snprintf(fallback, sizeof fallback, "%.80s is False", type);
    happenings_note(h, r,
                    &(struct happening){.warning = strcmp(type, CONDITION_DELIVERING) != 0,
                                        .reason = reason && *reason ? reason : type,
                                        .kind = type,
                                        .message = message && *message ? message : fallback});
}

static void note_end(struct happenings *h, const struct resource *r, const char *type)
{
    bool paused = strcmp(type, CONDITION_DELIVERING) == 0;
    char message[100];
    snprintf(message, sizeof message, paused ? "deliveries go on" : "%.80s is True again", type);
    happenings_note(h, r, &(struct happening){.reason = paused ? "Resumed" : type, .kind = type, .message = message});
}

static bool same_trouble(const cJSON *a, const cJSON *b)
{
    return is_false(a) && is_false(b) && same_text(json_text(a, "reason"), json_text(b, "reason")) &&
           same_text(json_text(a, "message"), json_text(b, "message"));
}

/* Whether the trouble of a condition is told already, as that of one before it: one fault may turn several. */
static bool told_before(const cJSON *status, const cJSON *condition)
{
    const char *message = json_text(condition, "message");
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(status, "conditions")) {
        if (each == condition || !message || !*message)
            return false;
        if (json_text(each, "type") && !is_silent(json_text(each, "type")) && same_trouble(each, condition))
            return true;
    }
    return false;
}

static void look_at(struct happenings *h, const struct resource *r, const cJSON *before, const cJSON *was,
                    const cJSON *after, const cJSON *now)
{
    const char *type = json_text(now ? now : was, "type");
    if (!type || is_silent(type))
        return;
    if (is_false(now)) {
        if (!told_before(after, now) && (!same_trouble(was, now) || told_before(before, was)))
            note_false(h, r, type, now);
    } else if (is_false(was) && !told_before(before, was)) {
        const char *status = json_text(now, "status");
        if (now ? status && strcmp(status, "True") == 0 : strcmp(type, CONDITION_DELIVERING) == 0)
            note_end(h, r, type);
    }
}

void happenings_status_told(void *arg, const struct resource *r, const cJSON *before, const cJSON *after)
{
    struct happenings *h = arg;
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(after, "conditions"))
        look_at(h, r, before, condition_find(before, json_text(each, "type") ? json_text(each, "type") : ""), after,
                each);
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(before, "conditions"))
        if (json_text(each, "type") && !condition_find(after, json_text(each, "type")))
            look_at(h, r, before, each, after, NULL);
}

void happenings_note_quarantine(struct happenings *h)
{
    size_t cursor = 0;
    for (const struct resource *r; (r = resource_next(h->table, NULL, NULL, &cursor));) {
        if (!r->quarantined)
            continue;
        cJSON *status = NULL;
        if (!resource_status(r, &status))
            continue; /* without memory it is forgotten: the log tells of the same */
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(status, "conditions");
        const char *why = json_text(cJSON_GetArrayItem(list, 0), "message");
        happenings_note(h, r,
                        &(struct happening){.warning = true,
                                            .reason = "Quarantined",
                                            .message = why ? why : "what was stored of it is not valid"});
        cJSON_Delete(status);
    }
}
