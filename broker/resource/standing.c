/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands beside an object rather than in it, so that a file's object has it too: since when an operator has paused
 * its deliveries, under which name their cursors lie on their bus, and whether the last plan had them there.
 *
 * A cursor's name is the object's uid, unless an earlier object of the same kind, namespace and name left its cursor
 * behind (leat.dev/keep-cursor). The store remembers the name by the object's key for as long as one of these is there,
 * and for ever when the last one wanted its cursor kept: then the next one takes it up.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "annotations.h"
#include "check.h"
#include "log.h"
#include "table.h"

/* ---- cursors ---- */

#define KEY_MAX 800 /* of "Kind.group/ns/name": each is a DNS name */

static void key_of(const struct entry *e, char out[KEY_MAX])
{
    const struct resource *r = &e->public;
    int n = snprintf(out, KEY_MAX, "%s.%s/%s/%s", r->kind->kind, r->kind->group, r->namespace_name, r->name);
    assert(n > 0 && n < KEY_MAX);
}

static bool wants_kept(const struct entry *e)
{
    const char *text = annotation(e->public.object, ANNOTATION_KEEP_CURSOR);
    return text && strcmp(text, "true") == 0;
}

/* What an earlier one left. */
static enum err ask(struct resource_table *t, struct entry *e, struct diag *d)
{
    char key[KEY_MAX], name[STORE_CURSOR_MAX];
    if (e->cursor_asked || !t->store)
        return OK;
    key_of(e, key);
    enum err err = store_cursor_kept(t->store, key, name, d);
    if (err == OK && strcmp(name, e->public.uid) != 0) {
        e->cursor = strdup(name);
        if (!e->cursor)
            return diag_set(d, ERR_NOMEM, "out of memory");
    }
    e->cursor_kept = err == OK;
    e->cursor_asked = err == OK || err == ERR_NOTFOUND;
    return err == ERR_NOTFOUND ? OK : err;
}

static void keep(struct resource_table *t, struct entry *e)
{
    char key[KEY_MAX];
    struct diag d = {0};
    if (e->cursor_kept || !t->store)
        return;
    key_of(e, key);
    enum err err = store_cursor_keep(t->store, key, e->cursor ? e->cursor : e->public.uid, &d);
    e->cursor_kept = err == OK;
    if (err != OK) /* the next plan tries again */
        log_line(LOG_WARN, "cursor.keep", "key=%s error=%s text=%s", log_value(key), err_name(err), log_value(d.text));
}

const char *entry_cursor(struct resource_table *t, const struct resource *r)
{
    struct entry *e = entry_of(r);
    struct diag d = {0};
    enum err err = ask(t, e, &d);
    if (err != OK) {
        log_line(LOG_ERROR, "cursor.kept", "uid=%s error=%s text=%s", r->uid, err_name(err), log_value(d.text));
        return NULL;
    }
    if (wants_kept(e))
        keep(t, e);
    return e->cursor ? e->cursor : r->uid;
}

void entry_cursor_leave(struct resource_table *t, struct entry *e)
{
    char key[KEY_MAX];
    struct diag d = {0};
    if (!e->cursor_asked || !t->store)
        return; /* no plan has had it */
    if (wants_kept(e)) {
        keep(t, e);
        return;
    }
    key_of(e, key);
    enum err err = e->cursor_kept ? store_cursor_forget(t->store, key, &d) : OK;
    if (err != OK) /* the next one of this key asks for a cursor that is gone, and gets a new one of the old name */
        log_line(LOG_WARN, "cursor.forget", "key=%s error=%s text=%s", log_value(key), err_name(err),
                 log_value(d.text));
}

/* ---- pauses ---- */

/* Whether it delivers, or keeps what is delivered. */
static bool can_pause(const struct kind *k)
{
    struct diag ignored;
    return annotation_check_kind(ANNOTATION_PAUSED, k, &ignored) == OK ||
           annotation_check_kind(ANNOTATION_CAPACITY, k, &ignored) == OK;
}

enum err resource_pause(struct resource_table *t, const char *who, const struct resource *r, bool pause, struct diag *d)
{
    struct entry *e = entry_of(r);
    const char *annotated = annotation(r->object, ANNOTATION_PAUSED);
    if (!can_pause(r->kind))
        return diag_set(d, ERR_INVALID, "a %s delivers nothing that could be paused", r->kind->kind);
    if (!pause && annotated && strcmp(annotated, "true") == 0)
        return diag_set(d, ERR_CONFLICT, "%s/%s is paused by its annotation " ANNOTATION_PAUSED "; change that%s%s",
                        r->kind->singular, r->name, r->origin ? " in the file " : "", r->origin ? r->origin : "");
    if (pause == (r->paused_ns != 0))
        return OK;
    struct store_change change = kept_change(who, e, e, NULL);
    change.beside = pause ? STORE_PAUSE : STORE_RESUME;
    change.paused_ns = pause ? clock_wall_ns(t->clock) : 0;
    enum err err = t->store ? store_write(t->store, &change, 1, t->version, d) : OK;
    if (err == OK)
        e->public.paused_ns = change.paused_ns;
    return err;
}

/* ---- plans ---- */

enum err resource_planned_keep(struct resource_table *t, struct diag *d)
{
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++)
        count += t->entries[i]->planned != t->entries[i]->planned_kept;
    if (!t->store || count == 0)
        return OK;
    struct store_change *changes = calloc(count, sizeof *changes);
    if (!changes)
        return diag_set(d, ERR_NOMEM, "out of memory");
    count = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct entry *e = t->entries[i];
        if (e->planned == e->planned_kept)
            continue;
        changes[count] = kept_change(NULL, e, e, NULL);
        changes[count++].beside = e->planned ? STORE_PLANNED : STORE_UNPLANNED;
    }
    enum err err = store_write(t->store, changes, count, t->version, d);
    free(changes);
    for (size_t i = 0; i < t->count && err == OK; i++)
        t->entries[i]->planned_kept = t->entries[i]->planned;
    return err;
}
