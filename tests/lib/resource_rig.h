/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench for resources: manifests from text, in a folder of its own, so that problems read "m.yaml:LINE:COLUMN".
 */
#ifndef LEAT_RESOURCE_RIG_H
#define LEAT_RESOURCE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "buf.h"
#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static inline void rig_write(const char *name, const char *text)
{
    FILE *f = fopen(name, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static char rig_root[400]; /* where the test began: the root of the project */

/* For group setup: a folder of its own is the working directory from here on. */
static inline int rig_folder(void **state)
{
    static char folder[] = "/tmp/leat-resource-XXXXXX";
    (void)state;
    return getcwd(rig_root, sizeof rig_root) && mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static inline int rig_folder_gone(void **state)
{
    char folder[100];
    (void)state;
    kinds_unload();
    if (!getcwd(folder, sizeof folder))
        return -1;
    unlink("m.yaml");
    unlink("m.json");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

/* Loads m.yaml, or m.json when the text begins with a brace or bracket. Free with manifest_free. */
static inline struct manifest *rig_load(const char *text, struct problems *p)
{
    const char *name = *text == '{' || *text == '[' ? "m.json" : "m.yaml";
    struct manifest *m = NULL;
    rig_write(name, text);
    problems_init(p);
    assert_int_equal(manifest_load(&name, 1, NULL, &m, p), OK);
    return m;
}

/* All problems as they are printed; free(). */
static inline char *rig_problems(const struct problems *p)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < p->count; i++)
        problem_print(&p->list[i], &b);
    buf_put_char(&b, 0);
    assert_int_equal(buf_error(&b), OK);
    return b.ptr;
}

/* A text, and what must be said of it, as it is printed. */
struct rig_mistake {
    const char *text, *said;
};

static inline void rig_mistakes(const struct rig_mistake *mistakes, size_t count)
{
    size_t failures = 0;
    for (size_t i = 0; i < count; i++) {
        struct problems p;
        struct manifest *m = rig_load(mistakes[i].text, &p);
        char *said = rig_problems(&p);
        if (!strstr(said, mistakes[i].said) || p.errors == 0)
            print_error("for:\n%sit said:\n%sinstead of:\n%s\n", mistakes[i].text, said, mistakes[i].said), failures++;
        free(said);
        problems_fini(&p);
        manifest_free(m);
    }
    assert_int_equal(failures, 0);
}

/* What must be without a mistake. */
static inline struct manifest *rig_good(const char *text)
{
    struct problems p;
    struct manifest *m = rig_load(text, &p);
    char *said = rig_problems(&p);
    if (p.errors)
        fail_msg("%s", said);
    free(said);
    problems_fini(&p);
    return m;
}

/* A table that holds what the text says. */
static inline struct resource_table *rig_table(const char *text, const struct clock *clock)
{
    struct resource_table *t = NULL;
    struct problems p;
    struct manifest *m = rig_good(text);
    problems_init(&p);
    assert_int_equal(resource_table_new(clock, &t), OK);
    assert_int_equal(resource_table_sync(t, m, &p), OK);
    assert_int_equal(p.count, 0);
    problems_fini(&p);
    manifest_free(m);
    return t;
}

/* The object of this word and name in default, or in no namespace. */
static inline const struct resource *rig_get(struct resource_table *t, const char *word, const char *name)
{
    const struct kind *k = kind_by_word(word);
    assert_non_null(k);
    return resource_get(t, k, "default", name);
}

static inline const char *rig_text(const cJSON *object, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(m) ? m->valuestring : NULL;
}

/* What is said of it; good until the hundredth call behind this one. */
static inline const cJSON *rig_status(const struct resource *r)
{
    static cJSON *kept[100];
    static unsigned next;
    cJSON **at = &kept[next++ % 100];
    assert_non_null(r);
    cJSON_Delete(*at);
    assert_true(resource_status(r, at));
    return *at;
}

/* "True", or "False REASON message", of a condition; in a buffer that the next call but three reuses. */
static inline const char *rig_condition(const struct resource *r, const char *type)
{
    static char texts[4][900];
    static unsigned next;
    char *out = texts[next++ % 4];
    const cJSON *each;
    assert_non_null(r);
    cJSON_ArrayForEach(each, cJSON_GetObjectItem(rig_status(r), "conditions")) {
        const char *reason = rig_text(each, "reason"), *message = rig_text(each, "message");
        if (strcmp(rig_text(each, "type"), type) != 0)
            continue;
        assert_non_null(rig_text(each, "lastTransitionTime"));
        snprintf(out, sizeof texts[0], "%s%s%s%s%s", rig_text(each, "status"), reason ? " " : "", reason ? reason : "",
                 message ? " " : "", message ? message : "");
        return out;
    }
    return "(none)";
}

static inline struct plan *rig_plan(struct resource_table *t, const char *const *resolve)
{
    const struct plan_options o = {.ingress_url = "http://127.0.0.1:8080",
                                   .default_bus = "memory",
                                   .cluster_domain = "cluster.local",
                                   .resolve = resolve};
    struct plan *plan = NULL;
    assert_int_equal(plan_compile(t, &o, &plan), OK);
    assert_int_equal(plan_publish(t, plan), OK);
    return plan;
}

/* The plan's subscription of this name, or NULL. */
static inline const struct plan_subscription *rig_subscription(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->subscription_count; i++)
        if (strcmp(p->subscriptions[i].name, name) == 0)
            return &p->subscriptions[i];
    return NULL;
}

#endif
