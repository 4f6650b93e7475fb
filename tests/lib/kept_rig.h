/* SPDX-License-Identifier: Apache-2.0
 *
 * A store of resources in a folder of its own, and objects for it.
 */
#ifndef LEAT_KEPT_RIG_H
#define LEAT_KEPT_RIG_H

#include "resource_rig.h"

#include "broker/resource/store_parts.h"

static char store_folder[] = "/tmp/leat-store-XXXXXX";

static inline void store_wipe(void)
{
    static const char *const names[] = {"resources.db", "resources.db-wal", "resources.db-shm", "resources.db-journal"};
    char path[200];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", store_folder, names[i]);
        unlink(path);
    }
}

static inline int store_setup(void **state)
{
    (void)state;
    return mkdtemp(store_folder) ? 0 : -1;
}

static inline int store_teardown(void **state)
{
    (void)state;
    store_wipe();
    return rmdir(store_folder);
}

static inline cJSON *store_object(const char *name, int generation, const char *value)
{
    char text[400];
    snprintf(
        text, sizeof text,
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\","
        "\"uid\":\"u-%s\",\"creationTimestamp\":\"2018-07-31T12:00:00Z\",\"generation\":%d},\"data\":{\"k\":\"%s\"},"
        "\"status\":{\"s\":1}}",
        name, name, generation, value);
    cJSON *object = cJSON_Parse(text);
    assert_non_null(object);
    return object;
}

static inline struct store_change store_change_of(const char *name, const cJSON *before, const cJSON *after)
{
    return (struct store_change){.group = "",
                                 .kind = "ConfigMap",
                                 .namespace_name = "default",
                                 .name = name,
                                 .who = "test",
                                 .before = before,
                                 .after = after};
}

/* All rows as text: "NAME:UID:GENERATION:ORIGIN:VALUE ", in the store's order. */
static inline enum err store_row_text(void *arg, const struct store_row *row)
{
    char *out = arg;
    size_t n = strlen(out);
    snprintf(out + n, 4000 - n, "%s:%s:%lld:%s%s:%.*s ", row->name, row->uid, (long long)row->generation,
             row->origin ? row->origin : "api", row->absent ? "(absent)" : "", SLICE_ARG(row->object));
    return OK;
}

static inline const char *store_text(struct store *s)
{
    static char texts[4][4000];
    static unsigned next;
    char *out = texts[next++ % 4];
    struct diag d = {0};
    *out = 0;
    enum err e = store_each(s, store_row_text, out, &d);
    if (e != OK)
        fail_msg("%s", d.text);
    return out;
}

static inline struct store *store_opened(const char *dir)
{
    struct store *s = NULL;
    struct diag d = {0};
    if (store_open(dir, clock_system(), &s, &d) != OK)
        fail_msg("%s", d.text);
    return s;
}

#endif
