/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* An object, what is applied to it, and its managers, a line each. Properties: no bad access; the same applied twice
 * changes nothing the second time; managers that are written read back as they were; nobody but the applier comes to
 * own anything; an ordinary write that changes nothing changes no manager. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../broker/api/managed.h"
#include "slice.h"
#include "tests/lib/json_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIST "{\"type\":\"array\",\"x-kubernetes-list-type\":"
static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},"
    "\"whole\":{\"type\":\"object\",\"x-kubernetes-map-type\":\"atomic\"},\"list\":{\"type\":\"array\"},"
    "\"open\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true},"
    "\"keys\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\"}},\"set\":" LIST
    "\"set\"},\"map\":" LIST
    "\"map\",\"x-kubernetes-list-map-keys\":[\"name\",\"port\"],\"items\":{\"type\":\"object\",\"properties\":{"
    "\"name\":{\"type\":\"string\"},\"port\":{\"default\":80},\"value\":{\"type\":\"string\"},\"set\":" LIST
    "\"set\"}}}}}}},\"status\":{\"type\":\"object\"}}}";

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct kind *kind_of_test(void)
{
    static struct kind k;
    struct diag d;
    if (!k.schema) {
        must(kinds_load(&d) == OK);
        k = (struct kind){
            .group = "g", .version = "v1", .kind = "K", .has_status = true, .schema = cJSON_Parse(schema)};
        k.stored = &k;
        must(k.schema != NULL);
    }
    return &k;
}

static char *text_of(const struct managed *m)
{
    char *text = NULL;
    struct diag d;
    enum err e = managed_put(m, &text, &d);
    must(e == OK || e == ERR_TOO_LARGE);
    return text;
}

/* What is written reads back, and is written the same. */
static void round_trip(struct fields_work *w, const char *text)
{
    struct managed again;
    managed_init(&again, w);
    must(managed_read_text(&again, text) == OK);
    char *twice = text_of(&again);
    must(twice && strcmp(twice, text) == 0);
    free(twice);
}

static void apply(struct fields_work *w, cJSON *object, const cJSON *applied, const char *before, const char *name,
                  bool status)
{
    const struct shape s = {.kind = kind_of_test(), .status = status};
    const struct manager who = {
        .name = name, .version = "g/v1", .apply = true, .subresource = status ? "status" : "", .time = ""};
    struct conflicts c;
    struct managed m;
    managed_init(&m, w);
    must(managed_read_text(&m, before) == OK);
    size_t count = m.count;
    cJSON *kept = cJSON_Duplicate(object, true);
    enum err e = managed_apply(&m, &s, object, applied, &who, false, NULL, &c);
    must(e == OK || (e == ERR_CONFLICT && c.count > 0));
    if (e == ERR_CONFLICT) {
        must(managed_read_text(&m, before) == OK);
        while (object->child)
            cJSON_Delete(cJSON_DetachItemViaPointer(object, object->child));
        while (kept->child) {
            cJSON *each = cJSON_DetachItemViaPointer(kept, kept->child);
            must(cJSON_AddItemToObject(object, each->string, each));
        }
        must(managed_apply(&m, &s, object, applied, &who, true, NULL, &c) == OK);
    }
    must(m.count <= count + 1);
    char *once = text_of(&m);
    cJSON *first = cJSON_Duplicate(object, true);
    must(managed_apply(&m, &s, object, applied, &who, false, NULL, &c) == OK);
    char *twice = text_of(&m);
    must(cJSON_Compare(first, object, true));
    must(!once == !twice && (!once || strcmp(once, twice) == 0));
    if (once)
        round_trip(w, once);
    must(managed_update(&m, &s, object, first,
                        &(struct manager){.name = "u", .version = "g/v1", .subresource = "", .time = ""}, "now") == OK);
    char *third = text_of(&m);
    must(!once == !third && (!once || strcmp(once, third) == 0));
    free(third);
    free(once);
    free(twice);
    cJSON_Delete(first);
    cJSON_Delete(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of((const char *)data, size), first = slice_split(&rest, '\n'),
                 second = slice_split(&rest, '\n');
    cJSON *object = cJSON_ParseWithLength(first.ptr, first.len),
          *applied = cJSON_ParseWithLength(second.ptr, second.len), *list = cJSON_ParseWithLength(rest.ptr, rest.len);
    struct fields_work w = {.arena = arena_new()};
    struct managed m;
    managed_init(&m, &w);
    must(w.arena != NULL);
    bool good =
        cJSON_IsObject(object) && cJSON_IsObject(applied) && names_stand_once(object) && names_stand_once(applied);
    if (good && (!list || managed_read(&m, list) == OK)) {
        char *text = text_of(&m);
        if (text) {
            round_trip(&w, text);
            apply(&w, object, applied, text, "m", size % 2);
        }
        free(text);
    }
    arena_free(w.arena);
    cJSON_Delete(object);
    cJSON_Delete(applied);
    cJSON_Delete(list);
    return 0;
}
