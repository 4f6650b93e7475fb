/* SPDX-License-Identifier: Apache-2.0
 *
 * EventTypes that make themselves, from what passes a Broker or Channel. Control loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "plan.h"
#include "siphash.h"

#define GROUP "eventing.knative.dev"
#define VERSION "v1beta3"

/* What a channel's key says: "Broker.eventing.knative.dev/default/orders". */
struct channel_key {
    struct slice kind;
    const char *api_version;
};

/* Only objects that Knative makes EventTypes for. */
static bool key_read(const char *key, struct channel_key *out)
{
    struct slice rest = slice_str(key), head = slice_split(&rest, '/');
    out->kind = slice_split(&head, '.');
    out->api_version = slice_eq_str(head, GROUP)                     ? GROUP "/v1"
                       : slice_eq_str(head, "messaging.knative.dev") ? "messaging.knative.dev/v1"
                                                                     : NULL;
    return out->api_version != NULL;
}

static uint64_t hash_of(const struct plan_channel *c, struct slice type, struct slice source)
{
    static const uint64_t key[2] = {0x6c6561742d657674ull, 0x7970652d6e616d65ull}; /* fixed: names must stay the same */
    struct slice parts[4] = {type, source, slice_str(c->namespace_name), slice_str(c->name)};
    uint64_t hash = 0;
    for (size_t i = 0; i < 4; i++)
        hash = (hash << 1 | hash >> 63) ^ siphash13(key, parts[i]);
    return hash;
}

static bool add_text(cJSON *object, const char *name, struct slice value)
{
    char *text = malloc(value.len + 1);
    if (text) {
        memcpy(text, value.len ? value.ptr : "", value.len);
        text[value.len] = '\0';
    }
    bool good = text && cJSON_AddStringToObject(object, name, text);
    free(text);
    return good;
}

static bool add_attribute(cJSON *list, const char *name, struct slice value, bool required)
{
    cJSON *a = list ? cJSON_CreateObject() : NULL;
    if (!a || !cJSON_AddItemToArray(list, a)) {
        cJSON_Delete(a);
        return false;
    }
    return cJSON_AddStringToObject(a, "name", name) && cJSON_AddBoolToObject(a, "required", required) &&
           (!value.len || add_text(a, "value", value));
}

static bool fill_spec(cJSON *spec, const struct plan_channel *c, const struct channel_key *key, struct slice type,
                      struct slice source, struct slice schema)
{
    cJSON *ref = spec ? cJSON_AddObjectToObject(spec, "reference") : NULL,
          *list = ref ? cJSON_AddArrayToObject(spec, "attributes") : NULL;
    return list && cJSON_AddStringToObject(ref, "apiVersion", key->api_version) && add_text(ref, "kind", key->kind) &&
           cJSON_AddStringToObject(ref, "namespace", c->namespace_name) &&
           cJSON_AddStringToObject(ref, "name", c->name) &&
           cJSON_AddStringToObject(spec, "description", "made by leat from an event that passed") &&
           add_attribute(list, "type", type, true) && add_attribute(list, "source", source, true) &&
           add_attribute(list, "specversion", (struct slice){0}, true) &&
           add_attribute(list, "id", (struct slice){0}, true) &&
           (!schema.len || add_attribute(list, "dataschema", schema, false));
}

static cJSON *object_new(const struct plan_channel *c, const char *name)
{
    cJSON *o = cJSON_CreateObject(), *metadata = o ? cJSON_AddObjectToObject(o, "metadata") : NULL;
    if (metadata && cJSON_AddStringToObject(o, "apiVersion", GROUP "/" VERSION) &&
        cJSON_AddStringToObject(o, "kind", "EventType") && cJSON_AddStringToObject(metadata, "name", name) &&
        cJSON_AddStringToObject(metadata, "namespace", c->namespace_name))
        return o;
    cJSON_Delete(o);
    return NULL;
}

static size_t count_of(const struct resource_table *t, const struct kind *kind)
{
    size_t cursor = 0, count = 0;
    while (resource_next(t, kind, NULL, &cursor))
        count++;
    return count;
}

enum err eventtype_ensure(struct resource_table *t, const struct plan_channel *c, struct slice type,
                          struct slice source, struct slice schema, bool *made)
{
    const struct kind *kind = kind_find(GROUP "/" VERSION, "EventType");
    struct channel_key key;
    struct diag d;
    char name[254];
    if (made)
        *made = false;
    if (!kind || !key_read(c->key, &key))
        return OK;
    snprintf(name, sizeof name, "et-%.200s-%016llx", c->name, (unsigned long long)hash_of(c, type, source));
    if (resource_get(t, kind, c->namespace_name, name))
        return OK;
    if (count_of(t, kind) >= EVENT_TYPES_AUTO_MAX)
        return ERR_FULL;
    cJSON *o = object_new(c, name);
    bool good = o && fill_spec(cJSON_AddObjectToObject(o, "spec"), c, &key, type, source, schema);
    enum err e = good ? resource_create(t, "leat", kind, o, NULL, &d) : ERR_NOMEM;
    if (e != OK)
        cJSON_Delete(o);
    else if (made)
        *made = true;
    return e;
}
