/* SPDX-License-Identifier: Apache-2.0
 *
 * What waits for each object that delivers, as a column of `leat get`: it is no part of the objects, and is asked for
 * beside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "map.h"

#define OBJECTS_MAX 1000000

const struct kind_column backlog_column = {.name = "Backlog", .type = "string", .json_path = ".backlog"};

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

static struct slice key_of(const char *namespace_name, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s", namespace_name, name);
    return slice_of(out, n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1);
}

struct sum {
    double events;
    bool counting; /* there are more */
};

/* The parts of a Sequence or Parallel count for the whole. */
static void add(struct map *sums, const struct kind *kind, const cJSON *subscription)
{
    char text[600];
    const cJSON *backlog = cJSON_GetObjectItemCaseSensitive(subscription, "backlog");
    struct slice key = key_of(text_of(subscription, "namespace"), text_of(subscription, "name"), text, sizeof text);
    char group[300];
    snprintf(group, sizeof group, "%s.%s/", kind->kind, kind->group);
    if (strncmp(text_of(subscription, "subscription"), group, strlen(group)) != 0)
        return;
    struct sum *sum = map_get(sums, key);
    if (!sum) {
        sum = calloc(1, sizeof *sum);
        if (!sum || map_add(sums, key, sum) != OK) {
            free(sum);
            return;
        }
    }
    sum->events += cJSON_IsNumber(backlog) ? backlog->valuedouble : 0;
    sum->counting |= cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(subscription, "counting"));
}

bool backlog_put(struct client *cl, const struct invocation *in, const struct kind *kind, cJSON *items)
{
    struct map sums;
    struct buf url;
    char text[600];
    cJSON *item;
    int status;
    ask_url(&url, in, "/leat/v1/subscriptions");
    buf_put_char(&url, '\0');
    cJSON *tree = buf_error(&url) == OK ? api_send(cl, "GET", url.ptr, NULL, &status) : NULL;
    map_init(&sums, OBJECTS_MAX);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(tree, "items"))
        add(&sums, kind, item);
    cJSON_ArrayForEach(item, items) {
        const struct sum *sum =
            map_get(&sums, key_of(metadata_of(item, "namespace"), metadata_of(item, "name"), text, sizeof text));
        snprintf(text, sizeof text, "%.0f%s", sum ? sum->events : 0, sum && sum->counting ? "+" : "");
        if (sum)
            cJSON_AddStringToObject(item, "backlog", text);
    }
    bool any = sums.count > 0;
    map_each(e, tmp, &sums)
        free(e->value);
    map_fini(&sums);
    cJSON_Delete(tree);
    buf_fini(&url);
    return any;
}
