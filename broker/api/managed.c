/* SPDX-License-Identifier: Apache-2.0
 *
 * Who owns which fields: reading and writing metadata.managedFields, and what writes make of it. Managers are few (a
 * handful), so they are looked for one by one. tests/fuzz/fuzz_apply.c.
 */
#include "managed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../resource/check.h"

void managed_init(struct managed *m, struct fields_work *w)
{
    *m = (struct managed){.work = w};
}

static enum err no_memory(struct managed *m)
{
    m->work->nomem = true;
    return ERR_NOMEM;
}

static struct manager *manager_new(struct managed *m)
{
    if (m->count == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 8;
        struct manager *grown = arena_alloc(m->work->arena, cap * sizeof *grown);
        if (!grown) {
            m->work->nomem = true;
            return NULL;
        }
        if (m->count)
            memcpy(grown, m->list, m->count * sizeof *grown);
        m->list = grown;
        m->cap = cap;
    }
    m->list[m->count] = (struct manager){.name = "", .version = "", .subresource = "", .time = ""};
    return &m->list[m->count++];
}

static const char *kept(struct managed *m, const char *text)
{
    const char *copy = text ? arena_copy(m->work->arena, text, strlen(text)) : "";
    m->work->nomem = m->work->nomem || !copy;
    return copy ? copy : "";
}

/* Who an entry is of: of an applier the version does not count. */
static bool same(const struct manager *a, const struct manager *b)
{
    return a->apply == b->apply && strcmp(a->name, b->name) == 0 && strcmp(a->subresource, b->subresource) == 0 &&
           (a->apply || strcmp(a->version, b->version) == 0);
}

static struct manager *find(const struct managed *m, const struct manager *who)
{
    for (size_t i = 0; i < m->count; i++)
        if (same(&m->list[i], who))
            return &m->list[i];
    return NULL;
}

const struct manager *managed_find(const struct managed *m, const struct manager *who)
{
    return find(m, who);
}

/* ---- in ---- */

static enum err read_entry(struct managed *m, const cJSON *entry)
{
    const char *operation = json_text(entry, "operation"), *name = json_text(entry, "manager"),
               *type = json_text(entry, "fieldsType");
    const cJSON *tree = json_object(entry, "fieldsV1");
    const struct fields *fields = NULL;
    bool apply = operation && strcmp(operation, "Apply") == 0;
    if ((!apply && (!operation || strcmp(operation, "Update") != 0)) || !type || strcmp(type, "FieldsV1") != 0 ||
        m->count == MANAGERS_MAX || (name && strlen(name) > MANAGER_NAME_MAX))
        return ERR_INVALID;
    enum err e = tree ? fields_read(m->work, tree, &fields) : OK;
    if (e != OK || !fields)
        return e;
    struct manager one = {.name = kept(m, name),
                          .version = kept(m, json_text(entry, "apiVersion")),
                          .apply = apply,
                          .subresource = kept(m, json_text(entry, "subresource")),
                          .time = kept(m, json_text(entry, "time")),
                          .fields = fields};
    struct manager *there = find(m, &one), *to = there ? there : manager_new(m);
    if (to)
        *to = one;
    return m->work->nomem ? ERR_NOMEM : OK;
}

enum err managed_read(struct managed *m, const cJSON *list)
{
    const cJSON *each;
    enum err e = !list || cJSON_IsArray(list) ? OK : ERR_INVALID;
    m->count = 0;
    cJSON_ArrayForEach(each, list) {
        if (e == OK)
            e = read_entry(m, each);
    }
    if (e != OK)
        m->count = 0;
    return e;
}

enum err managed_read_text(struct managed *m, const char *text)
{
    m->count = 0;
    if (!text || !*text)
        return OK;
    cJSON *list = cJSON_Parse(text);
    enum err e = list ? managed_read(m, list) : ERR_INVALID;
    cJSON_Delete(list);
    return e;
}

bool managed_is_reset(const cJSON *list)
{
    const cJSON *only = cJSON_IsArray(list) ? list->child : NULL;
    return only && !only->next && cJSON_IsObject(only) && !only->child;
}

/* ---- out ---- */

/* Appliers first, then by time, then by name. */
static int by_age(const void *x, const void *y)
{
    const struct manager *a = x, *b = y;
    int o = (int)b->apply - (int)a->apply;
    o = o ? o : strcmp(a->time, b->time);
    o = o ? o : strcmp(a->name, b->name);
    o = o ? o : strcmp(a->version, b->version);
    return o ? o : strcmp(a->subresource, b->subresource);
}

/* The oldest of too many become one for each version of the kind. */
static void cap_updates(struct managed *m)
{
    size_t updates = 0, from = 0;
    if (m->count)
        qsort(m->list, m->count, sizeof *m->list, by_age);
    for (size_t i = 0; i < m->count; i++)
        updates += !m->list[i].apply;
    while (from < m->count && m->list[from].apply)
        from++;
    for (size_t left = updates; left > 0 && updates > MANAGERS_UPDATE_MAX; left--) {
        struct manager old = m->list[from];
        memmove(&m->list[from], &m->list[from + 1], (m->count - from - 1) * sizeof *m->list);
        m->count--;
        const char *time = old.time;
        old.name = "ancient-changes";
        struct manager *one = find(m, &old);
        if (one) {
            one->fields = fields_union(m->work, one->fields, old.fields);
            one->time = strcmp(one->time, time) < 0 ? time : one->time;
            updates--;
        } else {
            m->list[m->count++] = old; /* there is room: one has just gone */
        }
    }
    if (m->count)
        qsort(m->list, m->count, sizeof *m->list, by_age);
}

static void put_member(struct buf *out, const char *name, const char *text)
{
    if (!*text)
        return;
    cJSON *node = cJSON_CreateString(text);
    char *quoted = node ? cJSON_PrintUnformatted(node) : NULL;
    buf_printf(out, "\"%s\":", name);
    buf_put_str(out, quoted ? quoted : "\"\"");
    buf_put_char(out, ',');
    cJSON_free(quoted);
    cJSON_Delete(node);
}

static void put_entry(const struct manager *one, struct buf *out)
{
    buf_put_char(out, '{');
    put_member(out, "manager", one->name);
    put_member(out, "operation", one->apply ? "Apply" : "Update");
    put_member(out, "apiVersion", one->version);
    put_member(out, "time", one->time);
    buf_put_str(out, "\"fieldsType\":\"FieldsV1\",");
    put_member(out, "subresource", one->subresource);
    buf_put_str(out, "\"fieldsV1\":");
    fields_put(one->fields, out);
    buf_put_char(out, '}');
}

enum err managed_put(const struct managed *m, char **out, struct diag *d)
{
    struct buf text;
    const char *before = "[";
    if (m->count > MANAGERS_MAX)
        return diag_set(d, ERR_TOO_LARGE, "more than %d managers own fields of it", MANAGERS_MAX);
    buf_init(&text, MANAGED_BYTES_MAX);
    for (size_t i = 0; i < m->count; i++) {
        buf_put_str(&text, before);
        put_entry(&m->list[i], &text);
        before = ",";
    }
    if (m->count)
        buf_put_char(&text, ']');
    enum err e = m->work->nomem ? ERR_NOMEM : buf_error(&text);
    char *string = e == OK ? buf_take_string(&text) : NULL;
    buf_fini(&text);
    if (e == OK && !string)
        e = ERR_NOMEM;
    if (e == OK)
        *out = string;
    else if (e != ERR_NOMEM)
        e = diag_set(d, ERR_TOO_LARGE,
                     "metadata.managedFields would be larger than 1 MiB: too many managers own too many fields of it");
    else
        e = diag_set(d, ERR_NOMEM, "out of memory");
    return e;
}

void manager_put(const struct manager *m, struct buf *out)
{
    buf_printf(out, "\"%s\"", m->name);
    if (*m->subresource)
        buf_printf(out, " with subresource \"%s\"", m->subresource);
    if (!m->apply)
        buf_printf(out, " using %s", m->version);
}

/* ---- writes ---- */

/* Takes who owns nothing out of the list. */
static void drop_empty(struct managed *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->list[i].fields)
            m->list[n++] = m->list[i];
    m->count = n;
}

/* What others lose: what has been changed, and what is gone. */
static void others_lose(struct managed *m, const struct manager *who, const struct fields *lost)
{
    for (size_t i = 0; i < m->count; i++)
        if (!same(&m->list[i], who))
            m->list[i].fields = fields_minus(m->work, m->list[i].fields, lost);
}

static struct manager *taken_on(struct managed *m, const struct manager *who)
{
    struct manager *one = find(m, who);
    if (one || !(one = manager_new(m)))
        return one;
    *one = *who;
    one->fields = NULL;
    one->time = "";
    return one;
}

enum err managed_update(struct managed *m, const struct shape *s, const cJSON *before, const cJSON *after,
                        const struct manager *who, const char *now)
{
    struct fields_work *w = m->work;
    struct shape_difference d = shape_compare(w, s, before, after);
    const struct fields *taken = fields_union(w, d.added, d.modified);
    others_lose(m, who, fields_union(w, taken, d.removed));
    struct manager *one = taken || find(m, who) ? taken_on(m, who) : NULL;
    if (one) {
        one->fields = fields_union(w, fields_minus(w, one->fields, d.removed), taken);
        one->time = taken ? now : one->time;
    }
    drop_empty(m);
    cap_updates(m);
    return w->nomem ? ERR_NOMEM : OK;
}

/* ---- apply ---- */

struct gathering {
    struct managed *managed;
    struct conflicts *conflicts;
    const struct manager *with;
};

static void gather(void *arg, const char *path)
{
    struct gathering *g = arg;
    struct conflicts *c = g->conflicts;
    if (c->count == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 8;
        struct conflict *grown = arena_alloc(g->managed->work->arena, cap * sizeof *grown);
        if (!grown) {
            (void)no_memory(g->managed);
            return;
        }
        if (c->count)
            memcpy(grown, c->list, c->count * sizeof *grown);
        c->list = grown;
        c->cap = cap;
    }
    c->list[c->count++] = (struct conflict){g->with, kept(g->managed, path)};
}

/* What others own of what would change. */
static void find_conflicts(struct managed *m, const struct manager *who, const struct fields *changed,
                           const struct fields *forced, struct conflicts *c)
{
    for (size_t i = 0; i < m->count; i++) {
        struct gathering g = {m, c, &m->list[i]};
        if (!same(g.with, who))
            fields_each(fields_minus(m->work, fields_common(m->work, g.with->fields, changed), forced), gather, &g);
    }
}

/* What the applier named before and names no longer, and nobody owns. */
static const struct fields *left_alone(struct managed *m, const struct fields *last)
{
    const struct fields *owned = NULL;
    for (size_t i = 0; i < m->count; i++)
        owned = fields_union(m->work, owned, m->list[i].fields);
    return fields_minus(m->work, fields_with_parents(m->work, last), fields_with_parents(m->work, owned));
}

enum err managed_apply(struct managed *m, const struct shape *s, cJSON *object, const cJSON *applied,
                       const struct manager *who, bool force, const struct fields *forced, struct conflicts *c)
{
    struct fields_work *w = m->work;
    cJSON *before = cJSON_Duplicate(object, true);
    struct manager *one = taken_on(m, who);
    enum err e = before && one ? apply_merge(w, s, object, applied) : ERR_NOMEM;
    if (e == OK) {
        const struct fields *last = one->fields;
        one->fields = shape_applied(w, s, applied);
        one->version = who->version;
        e = apply_remove(w, s, object, left_alone(m, last));
    }
    if (e == OK) {
        struct shape_difference d = shape_compare(w, s, before, object);
        const struct fields *changed = fields_union(w, d.added, d.modified);
        *c = (struct conflicts){0};
        if (!force)
            find_conflicts(m, who, changed, forced, c);
        others_lose(m, who, fields_union(w, changed, d.removed));
        e = w->nomem ? ERR_NOMEM : c->count ? ERR_CONFLICT : OK;
    }
    if (e == OK) {
        drop_empty(m);
        cap_updates(m);
        e = w->nomem ? ERR_NOMEM : OK;
    }
    cJSON_Delete(before);
    return e;
}

void managed_touch(struct managed *m, const struct manager *who, const char *now)
{
    struct manager *one = find(m, who);
    if (one)
        one->time = now;
    if (m->count)
        qsort(m->list, m->count, sizeof *m->list, by_age);
}
