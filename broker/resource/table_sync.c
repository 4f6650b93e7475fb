/* SPDX-License-Identifier: Apache-2.0
 *
 * The files' objects: what a manifest holds comes into the table all at once, or not at all. Everything that could fail
 * is prepared (changes), written to the store as one transaction, and then put in force.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "manifest.h"
#include "table.h"

struct change {
    struct entry *old;       /* NULL: a new one */
    struct entry *fresh;     /* the new one */
    cJSON *object;           /* the next state of `old`, flat; NULL: unchanged */
    const struct kind *kind; /* of the next state: another version of the old one's, perhaps */
    char *origin;            /* likewise */
    bool back;               /* `old` is absent, and comes back */
};

/* All that a sync does. */
struct sync {
    struct resource_table *table;
    const struct manifest *manifest;
    struct change *changes;    /* one an object of the manifest */
    struct store_change *kept; /* the same for the store, and what vanishes */
    size_t kept_count;
    uint64_t version;
};

static bool sync_problem(struct problems *p, const struct manifest_item *m, const char *text)
{
    char label[400];
    const char *ns = metadata_text(m->object, "namespace"), *name = metadata_text(m->object, "name");
    snprintf(label, sizeof label, "%s %s%s%s", m->kind->kind, ns ? ns : "", ns ? "/" : "", name ? name : "");
    return problem_add(p, false, m->file, m->at, label, NULL, text) == OK;
}

/* The object that is to be changed: the one that is there, or one that was and may come back. */
static struct entry *find_old(const struct resource_table *t, const struct manifest_item *m, const char *name,
                              bool *back)
{
    struct diag unsaid;
    const char *ns = metadata_text(m->object, "namespace");
    ns = m->kind->namespaced && ns ? ns : "";
    struct entry *old = table_find(t, m->kind, ns, name);
    *back = false;
    if (old)
        return old;
    old = kept_absent(t, m->kind, ns, name);
    *back = old && (old->public.quarantined || rules_immutable(m->kind, old->public.object, m->object, &unsaid) == OK);
    return *back ? old : NULL;
}

/* The next state of what is there. */
static enum err prepare_next(const struct manifest_item *m, cJSON *object, struct change *c)
{
    bool changed = true;
    bool good = object_continue(c->old, object, &changed) && (c->origin = strdup(m->file ? m->file : "-"));
    if (good && (changed || c->back || c->old->public.kind != m->kind))
        good = (c->object = flat_new(object)) != NULL;
    return good ? OK : ERR_NOMEM;
}

/* One object of the manifest against the table. */
static enum err prepare(struct resource_table *t, const struct manifest_item *m, struct change *c, struct problems *p)
{
    const char *name = metadata_text(m->object, "name");
    struct diag d = {0};
    if (!name) /* generateName means nothing in a file: each load would make another object */
        return sync_problem(p, m, "an object in a file needs metadata.name") ? ERR_CONFLICT : ERR_NOMEM;
    struct entry *old = find_old(t, m, name, &c->back);
    if (old && !old->origin)
        return sync_problem(p, m, "was made over the API already; delete it there, or take it out of the file")
                   ? ERR_CONFLICT
                   : ERR_NOMEM;
    if (old && !old->public.quarantined && rules_immutable(m->kind, old->public.object, m->object, &d) != OK)
        return sync_problem(p, m, d.text) ? ERR_CONFLICT : ERR_NOMEM;
    enum err e = OK;
    c->old = old;
    c->kind = m->kind;
    if (old && !c->back && old->public.kind == m->kind && object_is_as_before(old, m->object)) {
        c->origin = strdup(m->file ? m->file : "-");
        return c->origin ? OK : ERR_NOMEM;
    }
    cJSON *object = cJSON_Duplicate(m->object, true);
    if (!object)
        return ERR_NOMEM;
    if (old)
        e = prepare_next(m, object, c);
    else if (!(c->fresh = entry_new(t, m->kind, object, m->file ? m->file : "-")) || !entry_flatten(c->fresh))
        e = ERR_NOMEM;
    cJSON_Delete(object);
    return e;
}

/* ---- the store ---- */

/* The trail tells of what users see change, not of a file that was renamed. */
static void keep_change(struct sync *s, const struct change *c)
{
    cJSON *after = c->fresh ? c->fresh->object : c->object;
    const struct entry *e = c->fresh ? c->fresh : c->old;
    const char *origin = c->fresh ? e->origin : c->origin;
    if (after)
        object_version_set(after, ++s->version);
    else if (strcmp(origin, e->origin) == 0)
        return;
    struct store_change *k = &s->kept[s->kept_count++];
    *k = kept_change(after ? origin : NULL, c->fresh || c->back ? NULL : c->old, e, after ? after : e->public.object);
    k->origin = origin;
}

/* Whether nobody has seen it go, what goes now: it may be a file that was forgotten. */
static bool went_unseen(const struct resource_table *t)
{
    return t->plans == 0;
}

/* false: no memory. */
static bool keep_vanished(struct sync *s)
{
    struct resource_table *t = s->table;
    for (size_t i = 0; i < t->count; i++) {
        struct entry *e = t->entries[i];
        if (!e->origin || e->seen)
            continue;
        if (went_unseen(t) && !kept_absent_put(t, e))
            return false;
        struct store_change *k = &s->kept[s->kept_count++];
        *k = kept_change(e->origin, e, e, NULL);
        k->absent = went_unseen(t);
        s->version++;
    }
    return true;
}

static enum err keep(struct sync *s, struct problems *p)
{
    struct diag d = {0};
    s->kept = calloc(s->manifest->count + s->table->count + 1, sizeof *s->kept);
    if (!s->kept)
        return ERR_NOMEM;
    s->version = s->table->version;
    for (size_t i = 0; i < s->manifest->count; i++)
        keep_change(s, &s->changes[i]);
    if (!keep_vanished(s))
        return ERR_NOMEM;
    enum err e = s->table->store ? store_write(s->table->store, s->kept, s->kept_count, s->version, &d) : OK;
    if (e != OK && problem_add(p, false, NULL, (struct place){0, 0}, NULL, NULL, d.text) != OK)
        e = ERR_NOMEM;
    return e;
}

/* ---- in force ---- */

static void commit(struct resource_table *t, struct change *c)
{
    struct entry *e = c->old ? c->old : c->fresh;
    e->seen = true;
    if (c->old) {
        free(e->origin);
        e->origin = c->origin;
        e->public.origin = e->origin;
        if (c->object && e->public.quarantined)
            entry_status_set(e, NULL);
        if (c->object)
            entry_replace(t, e, c->kind, c->object);
    } else {
        table_version_take(t, e, NULL);
    }
    if (c->fresh || c->back) {
        kept_absent_forget(t, e);
        table_insert(t, e);
    }
}

static void commit_all(struct sync *s)
{
    struct resource_table *t = s->table;
    for (size_t i = 0; i < s->manifest->count; i++)
        commit(t, &s->changes[i]);
    for (size_t i = t->count; i > 0; i--) {
        struct entry *e = t->entries[i - 1];
        if (e->origin && !e->seen)
            table_take_out(t, i - 1, !went_unseen(t));
        else
            e->seen = false;
    }
    assert(t->version == s->version);
}

static void give_up(struct sync *s)
{
    struct resource_table *t = s->table;
    for (size_t i = 0; i < t->count && went_unseen(t); i++)
        if (t->entries[i]->origin && !t->entries[i]->seen)
            kept_absent_forget(t, t->entries[i]); /* it stays, and its identity with it */
    for (size_t i = 0; s->changes && i < s->manifest->count; i++) {
        struct change *c = &s->changes[i];
        if (c->old)
            c->old->seen = false;
        entry_free(c->fresh);
        free(c->object);
        free(c->origin);
    }
}

enum err resource_table_sync(struct resource_table *t, const struct manifest *m, struct problems *p)
{
    struct sync s = {.table = t, .manifest = m, .changes = calloc(m->count + 1, sizeof *s.changes)};
    enum err result = s.changes && table_reserve(t, m->count) ? OK : ERR_NOMEM;
    for (size_t i = 0; i < m->count && result != ERR_NOMEM; i++) {
        enum err e = prepare(t, &m->items[i], &s.changes[i], p);
        if (s.changes[i].old)
            s.changes[i].old->seen = true;
        result = e == OK ? result : e;
    }
    if (result == OK)
        result = keep(&s, p);
    if (result == OK)
        commit_all(&s);
    else
        give_up(&s);
    free(s.kept);
    free(s.changes);
    return result;
}
