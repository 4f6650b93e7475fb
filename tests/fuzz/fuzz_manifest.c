/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/*
 * Manifests of any bytes: loaded, and what has no error is put in a table and compiled to a plan. Property: no bad
 * access, no leak (the sanitizers'), and every refusal says something.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "buf.h"
#include "plan.h"

static void compile(const struct manifest *m, struct problems *p)
{
    const struct plan_options options = {.ingress_url = "http://127.0.0.1:8080", .cluster_domain = "cluster.local"};
    struct resource_table *table;
    struct plan *plan;
    if (resource_table_new(clock_system(), &table) != OK)
        return;
    if (resource_table_sync(table, m, p) == OK && plan_compile(table, &options, &plan) == OK)
        plan_unref(plan);
    resource_table_free(table);
}

static void as_object(struct slice bytes)
{
    const struct kind *kind;
    struct problems p;
    cJSON *object;
    struct buf b;
    problems_init(&p);
    if (object_parse(bytes, NULL, &object, &kind, &p) == OK) {
        assert(kind && p.errors == 0);
        buf_init(&b, 4 << 20);
        yaml_put(object, &b);
        assert(buf_error(&b) == OK && b.len > 0);
        buf_fini(&b);
        cJSON_Delete(object);
    } else {
        assert(p.errors > 0 && p.list[0].text[0]);
    }
    problems_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char name[64];
    const char *path = name;
    struct manifest *m = NULL;
    struct problems p;
    struct diag d;
    if (fd < 0) {
        fd = memfd_create("manifest", 0);
        assert(fd >= 0 && kinds_load(&d) == OK);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    problems_init(&p);
    assert(manifest_load(&path, 1, NULL, &m, &p) == OK);
    for (size_t i = 0; i < p.count; i++)
        assert(p.list[i].text && p.list[i].text[0]);
    if (p.errors == 0)
        compile(m, &p);
    manifest_free(m);
    problems_fini(&p);
    as_object(slice_of((const char *)data, size));
    return 0;
}
