/* SPDX-License-Identifier: Apache-2.0
 *
 * uid → object, from the database of resources: of objects that are there, and of cursors that a deleted one left.
 */
#include "log_owners.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

#define UID_LEN 36

struct log_owners {
    struct map names; /* uid → text, owned */
};

static void remember(struct log_owners *o, const char *uid, const char *text)
{
    char *copy = strdup(text);
    if (!copy || map_add(&o->names, slice_of(uid, UID_LEN), copy) != OK)
        free(copy); /* the object that is there wins */
}

static void read_all(struct log_owners *o, sqlite3 *db)
{
    /* A cursor's key is "Kind.group/NS/NAME", and its name the uid of the first object of that key: the one that is
     * there now has it, whatever its own uid. */
    static const char query[] =
        "SELECT uid, kind || ' ' || namespace || '/' || name FROM objects UNION ALL "
        "SELECT c.cursor, substr(c.key, 1, instr(c.key, '.') - 1) || ' ' || substr(c.key, instr(c.key, '/') + 1) || "
        "CASE WHEN EXISTS (SELECT 1 FROM objects AS o WHERE o.kind || '.' || o.api_group || '/' || o.namespace || '/' "
        "|| o.name = c.key) THEN '' ELSE ', deleted' END FROM cursors AS c";
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, query, -1, &s, NULL) == SQLITE_OK)
        while (sqlite3_step(s) == SQLITE_ROW) {
            const char *uid = (const char *)sqlite3_column_text(s, 0), *text = (const char *)sqlite3_column_text(s, 1);
            if (uid && text && strlen(uid) >= UID_LEN)
                remember(o, uid, text);
        }
    sqlite3_finalize(s);
}

struct log_owners *log_owners_read(const char *dir)
{
    struct log_owners *o = calloc(1, sizeof *o);
    char path[4200];
    sqlite3 *db = NULL;
    if (!o)
        return NULL;
    map_init(&o->names, 1u << 20);
    snprintf(path, sizeof path, "%s/../resources.db", dir);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, 2000);
        read_all(o, db);
    }
    sqlite3_close(db);
    return o;
}

void log_owners_free(struct log_owners *o)
{
    if (!o)
        return;
    map_each(entry, tmp, &o->names)
        free(entry->value);
    map_fini(&o->names);
    free(o);
}

const char *log_owner(const struct log_owners *o, const char *name, char *out, size_t size)
{
    static const char parked[] = "dead-letter/";
    const bool dead = strncmp(name, parked, sizeof parked - 1) == 0;
    const char *uid = dead ? name + sizeof parked - 1 : name;
    const char *owner = o && strlen(uid) >= UID_LEN ? map_get(&o->names, slice_of(uid, UID_LEN)) : NULL;
    out[0] = '\0';
    if (owner)
        snprintf(out, size, "%s%s%s%s", dead ? "dead letters of " : "", owner, uid[UID_LEN] == '-' ? ", " : "",
                 uid[UID_LEN] == '-' ? uid + UID_LEN + 1 : "");
    return out;
}
