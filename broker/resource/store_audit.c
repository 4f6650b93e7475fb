/* SPDX-License-Identifier: Apache-2.0
 *
 * The trail of changes: who, what, before, after. Bounded by number and by bytes; the oldest go, in the transaction
 * that brings the new ones. Values of Secrets are never in it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "check.h"
#include "store_parts.h"
#include "text.h"

#define MEMORY_AUDIT_MAX 1000               /* of a store in memory, which nobody asks for much */
#define MEMORY_AUDIT_BYTES_MAX (4ull << 20) /* likewise */
#define ANSWER_BYTES_MAX (16ull << 20)      /* JSON in one answer: it is a tree in memory for a moment */

/* ---- texts ---- */

/* A tree of the object's own members without one or two of them; NULL: no memory. */
static cJSON *without(const cJSON *object, const char *one, const char *two)
{
    cJSON *copy = cJSON_CreateObject();
    const cJSON *each;
    cJSON_ArrayForEach(each, object) {
        if ((one && strcmp(each->string, one) == 0) || (two && strcmp(each->string, two) == 0))
            continue;
        if (copy && !json_refer(copy, each)) {
            cJSON_Delete(copy);
            copy = NULL;
        }
    }
    return copy;
}

char *store_json(const cJSON *object, bool status)
{
    cJSON *shown = without(object, status ? NULL : "status", NULL);
    char *text = shown ? cJSON_PrintUnformatted(shown) : NULL;
    cJSON_Delete(shown);
    return text;
}

/* The names of a Secret's values, not the values. */
static bool hide(cJSON *shown, const cJSON *object, const char *member)
{
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(object, member), *each;
    cJSON *hidden = values ? cJSON_AddObjectToObject(shown, member) : NULL;
    cJSON_ArrayForEach(each, values)
        if (!hidden || !cJSON_AddStringToObject(hidden, each->string ? each->string : "", "(hidden)"))
            return false;
    return !values || hidden;
}

static char *secret_json(const cJSON *object)
{
    cJSON *shown = without(object, "data", "stringData");
    bool good = shown && hide(shown, object, "data") && hide(shown, object, "stringData");
    char *text = good ? cJSON_PrintUnformatted(shown) : NULL;
    cJSON_Delete(shown);
    return text;
}

/* What the trail has of an object; *out NULL when there is none. false: no memory. */
static bool trail_json(const struct store_change *c, const cJSON *object, char **out)
{
    bool secret = *c->group == 0 && strcmp(c->kind, "Secret") == 0;
    *out = NULL;
    if (!object)
        return true;
    *out = secret ? secret_json(object) : store_json(object, c->status);
    if (*out && strlen(*out) > STORE_AUDIT_OBJECT_MAX) {
        cJSON_free(*out);
        cJSON *note = cJSON_CreateObject();
        bool good = note && cJSON_AddStringToObject(note, "leftOut", "too large for the trail");
        *out = good ? cJSON_PrintUnformatted(note) : NULL;
        cJSON_Delete(note);
    }
    return *out != NULL;
}

/* ---- writing ---- */

enum err store_audit_open(struct store *s, struct diag *d)
{
    s->audit_max = s->path ? STORE_AUDIT_MAX : MEMORY_AUDIT_MAX;
    s->audit_bytes_max = s->path ? STORE_AUDIT_BYTES_MAX : MEMORY_AUDIT_BYTES_MAX;
    sqlite3_stmt *oldest = store_statement(s, AUDIT_OLDEST), *newest = store_statement(s, AUDIT_NEWEST);
    int first = sqlite3_step(oldest), last = sqlite3_step(newest);
    s->audit_oldest = first == SQLITE_ROW ? sqlite3_column_int64(oldest, 0) : 1;
    s->audit_newest = last == SQLITE_ROW ? sqlite3_column_int64(newest, 0) : 0;
    sqlite3_reset(oldest);
    sqlite3_reset(newest);
    if ((first != SQLITE_ROW && first != SQLITE_DONE) || (last != SQLITE_ROW && last != SQLITE_DONE))
        return store_failed(s, d, first != SQLITE_ROW && first != SQLITE_DONE ? first : last);
    return store_number(s, "audit_bytes", &s->audit_bytes, d);
}

static const char *verb_of(const struct store_change *c)
{
    if (c->beside != STORE_OBJECT)
        return c->beside == STORE_PAUSE ? "pause" : "resume";
    return !c->before ? "create" : c->after ? "update" : "delete";
}

enum err store_audit_put(struct store *s, const struct store_change *c, struct diag *d)
{
    char *before = NULL, *after = NULL;
    enum err e = diag_set(d, ERR_NOMEM, "out of memory");
    bool objects = c->beside == STORE_OBJECT; /* else the object stays as it is */
    if (!objects || (trail_json(c, c->before, &before) && trail_json(c, c->after, &after))) {
        size_t bytes = (before ? strlen(before) : 0) + (after ? strlen(after) : 0);
        sqlite3_stmt *st = store_statement(s, AUDIT_PUT);
        store_bind_text(st, 1, c->group);
        store_bind_text(st, 2, c->kind);
        store_bind_text(st, 3, c->namespace_name);
        store_bind_text(st, 4, c->name);
        sqlite3_bind_int64(st, 5, clock_wall_ns(s->clock));
        store_bind_text(st, 6, c->who);
        store_bind_text(st, 7, verb_of(c));
        sqlite3_bind_int64(st, 8, (int64_t)bytes);
        store_bind_text(st, 9, before);
        store_bind_text(st, 10, after);
        e = store_run(s, st, d);
        sqlite3_clear_bindings(st);
        if (e == OK) {
            s->audit_newest = sqlite3_last_insert_rowid(s->db);
            s->audit_bytes += bytes;
        }
    }
    cJSON_free(before);
    cJSON_free(after);
    return e;
}

static enum err drop_oldest(struct store *s, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, AUDIT_OLDEST);
    int code = sqlite3_step(st);
    int64_t number = sqlite3_column_int64(st, 0), bytes = sqlite3_column_int64(st, 1);
    sqlite3_reset(st);
    if (code != SQLITE_ROW)
        return store_failed(s, d, code == SQLITE_DONE ? SQLITE_CORRUPT : code);
    st = store_statement(s, AUDIT_DELETE);
    sqlite3_bind_int64(st, 1, number);
    s->audit_oldest = number + 1;
    s->audit_bytes -= (uint64_t)bytes < s->audit_bytes ? (uint64_t)bytes : s->audit_bytes;
    return store_run(s, st, d);
}

enum err store_audit_trim(struct store *s, struct diag *d)
{
    enum err e = OK;
    assert(s->audit_oldest <= s->audit_newest + 1);
    while (e == OK && s->audit_oldest <= s->audit_newest &&
           ((uint64_t)(s->audit_newest - s->audit_oldest) >= s->audit_max || s->audit_bytes > s->audit_bytes_max))
        e = drop_oldest(s, d);
    return e == OK ? store_number_set(s, "audit_bytes", s->audit_bytes, d) : e;
}

/* ---- reading ---- */

static bool add_time(cJSON *entry, int64_t at)
{
    struct buf b;
    buf_init(&b, 64);
    rfc3339_put(&b, at, 3);
    buf_put_char(&b, 0);
    bool good = buf_error(&b) == OK && cJSON_AddStringToObject(entry, "time", b.ptr);
    buf_fini(&b);
    return good;
}

/* JSON as it is stored; what does not read is told as text. */
static bool add_tree(cJSON *entry, const char *name, const char *json)
{
    cJSON *tree = json ? cJSON_Parse(json) : NULL;
    if (json && !tree)
        tree = cJSON_CreateString(json);
    if (!json || (tree && cJSON_AddItemToObject(entry, name, tree)))
        return true;
    cJSON_Delete(tree);
    return false;
}

static cJSON *entry_of_row(sqlite3_stmt *st)
{
    static const char *const names[] = {"who", "verb", "apiGroup", "kind", "namespace", "name"};
    cJSON *entry = cJSON_CreateObject();
    bool good = entry && add_time(entry, sqlite3_column_int64(st, 1));
    for (int i = 0; i < 6 && good; i++) {
        const char *text = (const char *)sqlite3_column_text(st, i + 2);
        good = cJSON_AddStringToObject(entry, names[i], text ? text : "") != NULL;
    }
    if (good && add_tree(entry, "before", (const char *)sqlite3_column_text(st, 8)) &&
        add_tree(entry, "after", (const char *)sqlite3_column_text(st, 9)))
        return entry;
    cJSON_Delete(entry);
    return NULL;
}

enum err store_audit(struct store *s, const struct store_audit_query *q, cJSON **out, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, AUDIT_EACH);
    cJSON *list = cJSON_CreateArray(), *entry;
    uint64_t bytes = 0;
    int code = SQLITE_DONE;
    bool good = list != NULL;
    store_bind_text(st, 1, q->group);
    store_bind_text(st, 2, q->kind);
    store_bind_text(st, 3, q->namespace_name);
    store_bind_text(st, 4, q->name);
    sqlite3_bind_int64(st, 5, (int64_t)q->limit);
    while (good && bytes < ANSWER_BYTES_MAX && (code = sqlite3_step(st)) == SQLITE_ROW) {
        entry = entry_of_row(st);
        bytes += (uint64_t)sqlite3_column_bytes(st, 8) + (uint64_t)sqlite3_column_bytes(st, 9);
        good = entry && cJSON_AddItemToArray(list, entry);
        if (!good)
            cJSON_Delete(entry);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    if (good && (code == SQLITE_DONE || code == SQLITE_ROW)) {
        *out = list;
        return OK;
    }
    cJSON_Delete(list);
    return good ? store_failed(s, d, code) : diag_set(d, ERR_NOMEM, "out of memory");
}
