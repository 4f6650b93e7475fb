/* SPDX-License-Identifier: Apache-2.0
 *
 * The table's side of the store: what a write means to it, and how what is stored comes back.
 *
 * A stored object is read like one that comes over the API: parsed, defaulted, validated, and held against the identity
 * that is stored beside it. What fails is quarantined: an entry with the condition that says why, which no plan sees,
 * and which a write replaces or deletes like any other. Where not even its place is known (no such kind in this
 * program, a name that is none) it is a stranger.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "check.h"
#include "json.h"
#include "table.h"
#include "text.h"

#define WHY_PROBLEMS_MAX 3 /* of those of one object; more are of no help in a condition */

/* ---- absent ones ---- */

static void absent_key(const struct kind *kind, const char *ns, const char *name, struct buf *out)
{
    buf_init(out, SIZE_MAX);
    buf_printf(out, "%s/%s/%s/%s", kind->group, kind->kind, ns, name);
}

struct entry *kept_absent(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name)
{
    struct buf key;
    if (t->absent.count == 0)
        return NULL;
    absent_key(kind, ns, name, &key);
    struct entry *e = buf_error(&key) == OK ? map_get(&t->absent, buf_slice(&key)) : NULL;
    buf_fini(&key);
    return e;
}

bool kept_absent_put(struct resource_table *t, struct entry *e)
{
    const struct resource *r = &e->public;
    struct buf key;
    absent_key(r->kind, r->namespace_name, r->name, &key);
    bool good = buf_error(&key) == OK && map_add(&t->absent, buf_slice(&key), e) == OK;
    buf_fini(&key);
    return good;
}

void kept_absent_forget(struct resource_table *t, const struct entry *e)
{
    const struct resource *r = &e->public;
    map_each(each, tmp, &t->absent) { /* they are few, and go with the first plans */
        struct entry *there = each->value;
        if (there != e &&
            (!kind_same(there->public.kind, r->kind) || strcmp(there->public.namespace_name, r->namespace_name) != 0 ||
             strcmp(there->public.name, r->name) != 0))
            continue;
        map_remove(&t->absent, each->key);
        if (there != e)
            entry_free(there);
    }
}

/* ---- writing ---- */

struct store_change kept_change(const char *who, const struct entry *before, const struct entry *e, const cJSON *after)
{
    const struct resource *r = &e->public;
    return (struct store_change){.group = r->kind->group,
                                 .kind = r->kind->kind,
                                 .namespace_name = r->namespace_name,
                                 .name = r->name,
                                 .origin = e->origin,
                                 .who = who,
                                 .before = before ? before->public.object : NULL,
                                 .after = after,
                                 .others = e->others,
                                 .managed = e->next_managed ? e->next_managed : e->managed,
                                 .status = kind_status_kept(r->kind)};
}

enum err kept_write(struct resource_table *t, const char *who, const struct entry *before, const struct entry *e,
                    const cJSON *after, struct diag *d)
{
    if (kind_is_passing(e->public.kind))
        return kept_version_reserve(t, d);
    const struct store_change change = kept_change(who, before, e, after);
    return t->store ? store_write(t->store, &change, 1, t->version + 1, d) : OK;
}

enum err kept_version_reserve(struct resource_table *t, struct diag *d)
{
    return t->store ? store_version_reserve(t->store, t->version + 1, d) : OK;
}

/* ---- reading ---- */

struct load {
    struct resource_table *table;
    void (*said)(void *arg, const char *object, const char *why);
    void *arg;
    struct diag *d;
};

static enum err no_memory(struct load *l)
{
    return diag_set(l->d, ERR_NOMEM, "out of memory");
}

/* The kind of a row; of several versions the one that the object names. NULL: this program has none such. */
static const struct kind *kind_of(const struct store_row *row, const cJSON *tree)
{
    const char *version = json_text(tree, "apiVersion");
    const struct kind *k = version ? kind_find(version, row->kind) : NULL, *each;
    if (k && strcmp(k->group, row->group) == 0)
        return k->stored;
    k = NULL;
    for (size_t i = 0; !k && (each = kind_at(i)); i++)
        if (strcmp(each->kind, row->kind) == 0 && strcmp(each->group, row->group) == 0)
            k = each->stored;
    return k;
}

/* Whether an object is the one that the row says; else *why is filled. */
static bool is_of_row(const struct store_row *row, const struct kind *kind, const cJSON *object, struct buf *why)
{
    const cJSON *metadata = json_object(object, "metadata"),
                *generation = cJSON_GetObjectItemCaseSensitive(metadata, "generation");
    const char *ns = json_text(metadata, "namespace"), *version = json_text(metadata, "resourceVersion"), *what = NULL;
    const struct {
        const char *name, *stored, *says;
    } texts[] = {{"name", row->name, json_text(metadata, "name")},
                 {"namespace", row->namespace_name, kind->namespaced && ns ? ns : ""},
                 {"uid", row->uid, json_text(metadata, "uid")},
                 {"creationTimestamp", row->created, json_text(metadata, "creationTimestamp")}};
    uint64_t number;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !what; i++)
        if (!texts[i].says || strcmp(texts[i].says, texts[i].stored) != 0)
            what = texts[i].name;
    if (!what && strlen(row->uid) == 0)
        what = "uid";
    if (!what && (!cJSON_IsNumber(generation) || generation->valuedouble < 1 ||
                  (int64_t)generation->valuedouble != row->generation))
        what = "generation";
    if (!what && (!version || decimal_parse(slice_str(version), UINT64_MAX, &number) != OK))
        what = "resourceVersion";
    if (what)
        buf_printf(why, "metadata.%s is not what was stored of it", what);
    return !what;
}

static void problems_say(const struct problems *p, struct buf *out)
{
    for (size_t i = 0, said = 0; i < p->count && said < WHY_PROBLEMS_MAX; i++) {
        const struct problem *each = &p->list[i];
        if (!each->warning)
            buf_printf(out, "%s%s%s%s", said++ ? "; " : "", each->path ? each->path : "", each->path ? ": " : "",
                       each->text);
    }
}

/* The object of a row when it is as it should be; else NULL, with *why. ERR_NOMEM. */
static enum err read_valid(const struct store_row *row, cJSON **object, const struct kind **kind, struct buf *why)
{
    struct problems problems;
    problems_init(&problems);
    *object = NULL;
    enum err e = object_parse(row->object, row->namespace_name, object, kind, &problems);
    if (e != OK)
        problems_say(&problems, why);
    else if (strcmp((*kind)->kind, row->kind) != 0 || strcmp((*kind)->group, row->group) != 0)
        buf_printf(why, "kind: it was stored as %s.%s", row->kind, row->group);
    else if (is_of_row(row, *kind, *object, why))
        why = NULL; /* there is nothing to say */
    if (why) {
        cJSON_Delete(*object);
        *object = NULL;
    }
    problems_fini(&problems);
    return e == ERR_NOMEM ? e : OK;
}

/* ---- quarantine ---- */

/* What reads of a broken object, for people; NULL when that is nothing. */
static cJSON *read_anyhow(struct slice text)
{
    struct json_value v;
    bool reads = text.len <= MANIFEST_BYTES_MAX && json_check(text, MANIFEST_DEPTH_MAX, &v, NULL) == OK;
    cJSON *tree = reads ? cJSON_ParseWithLength(text.ptr, text.len) : NULL;
    if (cJSON_IsObject(tree))
        return tree;
    cJSON_Delete(tree);
    return NULL;
}

/* A text of a row that can be shown and kept: `fallback` for one that is none. */
static const char *shown(const char *text, const char *fallback)
{
    return *text && utf8_valid(slice_str(text)) ? text : fallback;
}

static bool member_move(cJSON *from, cJSON *to, const char *name)
{
    cJSON *member = cJSON_DetachItemFromObjectCaseSensitive(from, name);
    bool good = !member || cJSON_AddItemToObject(to, name, member);
    if (!good)
        cJSON_Delete(member);
    return good;
}

/* Identity from the row, so that what replaces it is the same object to all who know it. */
static bool put_identity(struct resource_table *t, const struct store_row *row, const struct kind *kind,
                         cJSON *metadata)
{
    char uid[37], now[40];
    prng_uuid(&t->prng, uid);
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "generation");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "namespace");
    return table_now(t, now, sizeof now) && object_text_set(metadata, "name", row->name) &&
           (!kind->namespaced || cJSON_AddStringToObject(metadata, "namespace", row->namespace_name)) &&
           object_text_set(metadata, "uid", shown(row->uid, uid)) &&
           object_text_set(metadata, "creationTimestamp", shown(row->created, now)) &&
           cJSON_AddNumberToObject(metadata, "generation", row->generation < 1 ? 1 : (double)row->generation);
}

static bool put_condition(struct resource_table *t, cJSON *status, const char *why)
{
    char now[40];
    return status && table_now(t, now, sizeof now) && condition_put(status, "Ready", "False", "Quarantined", why) &&
           cJSON_AddStringToObject(condition_find(status, "Ready"), "lastTransitionTime", now);
}

/* The object as it is shown: its identity, the condition, and what else of it reads. */
static cJSON *quarantined_object(struct resource_table *t, const struct store_row *row, const struct kind *kind,
                                 cJSON *tree, const char *why)
{
    char version[300];
    cJSON *o = cJSON_CreateObject(), *metadata = cJSON_DetachItemFromObjectCaseSensitive(tree, "metadata");
    snprintf(version, sizeof version, "%s%s%s", kind->group, *kind->group ? "/" : "", kind->version);
    if (!cJSON_IsObject(metadata)) {
        cJSON_Delete(metadata);
        metadata = cJSON_CreateObject();
    }
    bool good = o && cJSON_AddStringToObject(o, "apiVersion", version) && cJSON_AddStringToObject(o, "kind", row->kind);
    if (!good || !metadata || !cJSON_AddItemToObject(o, "metadata", metadata)) {
        cJSON_Delete(metadata);
        good = false;
    }
    good = good && put_identity(t, row, kind, metadata) && object_version_reserve(o);
    static const char *const ours[] = {"apiVersion", "kind", "status"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(tree, ours[i]);
    while (good && tree && tree->child)
        good = tree->child->string && member_move(tree, o, tree->child->string);
    if (good && put_condition(t, cJSON_AddObjectToObject(o, "status"), why)) {
        object_version_set(o, t->version);
        return o;
    }
    cJSON_Delete(o);
    return NULL;
}

/* ---- strangers ---- */

static void stranger_free(struct stranger *s)
{
    free(s->group);
    free(s->kind);
    free(s->namespace_name);
    free(s->name);
    free(s->why);
}

static char *text_of(const char *text)
{
    return strdup(shown(text, ""));
}

static enum err add_stranger(struct load *l, const struct store_row *row, const char *why)
{
    struct resource_table *t = l->table;
    struct stranger s = {
        row->id,    text_of(row->group), text_of(row->kind), text_of(row->namespace_name), text_of(row->name),
        strdup(why)};
    struct stranger *grown = realloc(t->strangers, (t->stranger_count + 1) * sizeof *grown);
    if (grown)
        t->strangers = grown;
    if (!grown || !s.group || !s.kind || !s.namespace_name || !s.name || !s.why) {
        stranger_free(&s);
        return no_memory(l);
    }
    t->strangers[t->stranger_count++] = s;
    return OK;
}

const struct stranger *resource_strangers(const struct resource_table *t, size_t *count)
{
    *count = t->stranger_count;
    return t->strangers;
}

enum err resource_stranger_delete(struct resource_table *t, const char *who, int64_t id, struct diag *d)
{
    for (size_t i = 0; i < t->stranger_count; i++) {
        struct stranger *s = &t->strangers[i];
        if (s->id != id)
            continue;
        cJSON *before = cJSON_CreateObject();
        const struct store_change change = {.id = id,
                                            .group = s->group,
                                            .kind = s->kind,
                                            .namespace_name = s->namespace_name,
                                            .name = s->name,
                                            .who = who,
                                            .before = before};
        enum err e = before ? store_write(t->store, &change, 1, t->version, d) : diag_set(d, ERR_NOMEM, "no memory");
        cJSON_Delete(before);
        if (e == OK) {
            stranger_free(s);
            t->strangers[i] = t->strangers[--t->stranger_count];
        }
        return e;
    }
    return diag_set(d, ERR_NOTFOUND, "there is no such object in quarantine");
}

/* ---- loading ---- */

/* Who owns its fields: a list in JSON, or nobody. false: no memory. */
static bool read_managed(struct entry *e, const char *text)
{
    struct json_value v;
    if (!text || json_check(slice_str(text), MANIFEST_DEPTH_MAX, &v, NULL) != OK || v.type != JSON_ARRAY)
        return true;
    cJSON *node = cJSON_CreateRaw(text);
    if (!node)
        return false;
    e->public.managed = e->managed = node->valuestring;
    node->valuestring = NULL;
    cJSON_Delete(node);
    return true;
}

/* What others said of it, which is all its status for now. false: no memory. */
static bool read_others(struct entry *e, const char *text, cJSON *object)
{
    struct json_value v;
    if (!text || json_check(slice_str(text), MANIFEST_DEPTH_MAX, &v, NULL) != OK || v.type != JSON_OBJECT)
        return true;
    e->others = cJSON_Parse(text);
    if (!e->others || cJSON_GetObjectItemCaseSensitive(object, "status"))
        return e->others;
    cJSON *copy = cJSON_Duplicate(e->others, true);
    if (copy && cJSON_AddItemToObject(object, "status", copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

static enum err add_entry(struct load *l, const struct store_row *row, const struct kind *kind, cJSON *object,
                          bool quarantined)
{
    struct resource_table *t = l->table;
    struct entry *e = calloc(1, sizeof *e);
    uint64_t version = t->version; /* also of one that was not valid: it has changed */
    const char *stored = metadata_text(object, "resourceVersion");
    if (!quarantined && decimal_parse(slice_str(stored), t->version, &version) != OK)
        version = t->version;
    char *origin = row->origin ? text_of(row->origin) : NULL;
    cJSON *flat = NULL;
    bool good = e && (origin || !row->origin) && read_managed(e, row->managed) && read_others(e, row->others, object) &&
                status_take(kind->stored, object, &e->status) && object_version_reserve(object) &&
                table_reserve(t, 1) && (flat = flat_new(object));
    if (good) {
        e->origin = origin;
        e->public.kind = kind->stored;
        e->public.object = e->object = flat;
        e->public.quarantined = quarantined;
        e->public.paused_ns = row->paused_ns;
        e->planned = e->planned_kept = row->planned;
        e->told = !row->absent;
        object_version_set(flat, e->public.version = version);
        entry_view(e);
        if (!row->absent)
            table_insert(t, e);
        else
            good = kept_absent_put(t, e);
    }
    cJSON_Delete(object);
    if (good)
        return OK;
    if (e) {
        cJSON_free(e->managed);
        cJSON_Delete(e->others);
        free(e->status);
    }
    free(origin);
    free(flat);
    free(e);
    return no_memory(l);
}

static enum err quarantine(struct load *l, const struct store_row *row, struct buf *why)
{
    char label[600];
    cJSON *tree = read_anyhow(row->object);
    const struct kind *kind = kind_of(row, tree);
    bool placed = kind && *shown(row->name, "") && (!*row->namespace_name || *shown(row->namespace_name, ""));
    if (!placed && why->len == 0)
        buf_put_str(why, "this leat has no such kind");
    buf_put_char(why, 0);
    const char *text = buf_error(why) == OK ? why->ptr : "it is not valid";
    cJSON *object = placed ? quarantined_object(l->table, row, kind, tree, text) : NULL;
    cJSON_Delete(tree);
    if (placed && !object)
        return no_memory(l);
    enum err e = placed ? add_entry(l, row, kind, object, true) : add_stranger(l, row, text);
    snprintf(label, sizeof label, "%.80s.%.100s/%.100s/%.253s", shown(row->kind, "?"), shown(row->group, ""),
             shown(row->namespace_name, ""), shown(row->name, "?"));
    if (e == OK && l->said && !row->absent)
        l->said(l->arg, label, text);
    return e;
}

static enum err load_row(void *arg, const struct store_row *row)
{
    struct load *l = arg;
    const struct kind *kind = NULL;
    cJSON *object;
    struct buf why;
    buf_init(&why, 2000);
    enum err e = read_valid(row, &object, &kind, &why);
    if (e == ERR_NOMEM)
        e = no_memory(l);
    else if (object)
        e = add_entry(l, row, kind, object, false);
    else
        e = quarantine(l, row, &why);
    buf_fini(&why);
    return e;
}

enum err resource_table_keep(struct resource_table *t, struct store *store,
                             void (*said)(void *arg, const char *object, const char *why), void *arg, struct diag *d)
{
    struct load l = {t, said, arg, d};
    assert(!t->store && t->count == 0 && t->version == 0);
    enum err e = store_purge(store, d);
    t->version = store_version(store);
    if (e == OK)
        e = store_each(store, load_row, &l, d);
    t->store = store;
    return e;
}

void kept_fini(struct resource_table *t)
{
    map_each(e, tmp, &t->absent)
        entry_free(e->value);
    map_fini(&t->absent);
    for (size_t i = 0; i < t->stranger_count; i++)
        stranger_free(&t->strangers[i]);
    free(t->strangers);
}
