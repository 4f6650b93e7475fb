/* SPDX-License-Identifier: Apache-2.0
 *
 * The store on SQLite. Schema 1 (PRAGMA user_version), all tables STRICT:
 *
 *     objects  one row an object, whole as JSON without what each start finds out anew (status); identity and owner
 *              beside it, so that they survive JSON that does not read.
 *              `absent_since`: a file's object that its file no longer had when leat started; kept for its identity,
 *              gone after STORE_ABSENT_NS.
 *              `planned`: not NULL while the last plan has subscriptions of it, which may hold events.
 *              `managed`: who owns its fields (metadata.managedFields), NULL where that is nobody's.
 *              `others`: what others than leat wrote into its status.
 *     audit    one row a change, the newest STORE_AUDIT_MAX; its numbers have no gaps, since only the oldest go
 *     cursors  key of a subscription in a plan → name on the bus
 *     places   key of a source in a plan → up to where it has done its work
 *     numbers  `version`: no resourceVersion above it was given; `audit_bytes`: of all rows of audit
 *
 * A newer schema only adds tables and columns, so that an older leat can be told apart by user_version alone.
 */
#include "store.h"

#include <assert.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_parts.h"

#define SCHEMA 1
#define APPLICATION 0x6c656174   /* "leat" in the file's head */
#define BUSY_MS 2000             /* how long a write waits for somebody who looks into the file with another program */
#define VERSION_BLOCK (1u << 16) /* numbers reserved at once: statuses of a large table take thousands at a time */
/* Few KiB of pages do: they serve writes alone. */
#define SETTINGS "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -256"
#define PLACES "CREATE TABLE IF NOT EXISTS places (key TEXT PRIMARY KEY, place TEXT NOT NULL) STRICT;"

static const char schema[] =
    "CREATE TABLE objects (id INTEGER PRIMARY KEY, api_group TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT "
    "NULL, name TEXT NOT NULL, uid TEXT NOT NULL, generation INTEGER NOT NULL, created TEXT NOT NULL, origin TEXT, "
    "absent_since INTEGER, paused_at INTEGER, object TEXT NOT NULL, planned INTEGER, managed TEXT, others TEXT, UNIQUE "
    "(api_group, "
    "kind, "
    "namespace, "
    "name)) STRICT;"
    "CREATE TABLE audit (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, verb TEXT NOT NULL, "
    "api_group TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL, "
    "before TEXT, after TEXT) STRICT;"
    "CREATE INDEX audit_object ON audit (kind, namespace, name);"
    "CREATE TABLE cursors (key TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT;" PLACES
    "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"
    "INSERT INTO numbers VALUES ('version', 0), ('audit_bytes', 0);";

static const char *const texts[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [OBJECT_EACH] =
        "SELECT api_group, kind, namespace, name, uid, generation, created, origin, object, "
        "absent_since, id, paused_at, planned, managed, others FROM objects ORDER BY api_group, kind, namespace, name",
    [OBJECT_PUT] = "INSERT INTO objects (api_group, kind, namespace, name, uid, generation, created, origin, object, "
                   "managed, others) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (api_group, "
                   "kind, namespace, name) DO "
                   "UPDATE SET paused_at = iif(uid = ?5, paused_at, NULL), planned = iif(uid = ?5, planned, NULL), uid "
                   "= ?5, generation = ?6, created = ?7, "
                   "origin = ?8, object = ?9, managed = ?10, others = ?11, absent_since = NULL",
    [OBJECT_DELETE] = "DELETE FROM objects WHERE api_group = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4",
    [OBJECT_DELETE_ID] = "DELETE FROM objects WHERE id = ?1",
    [OBJECT_ABSENT] = "UPDATE objects SET absent_since = ?5 WHERE api_group = ?1 AND kind = ?2 AND namespace = ?3 AND "
                      "name = ?4",
    [OBJECT_PAUSE] = "UPDATE objects SET paused_at = ?5 WHERE api_group = ?1 AND kind = ?2 AND namespace = ?3 AND "
                     "name = ?4",
    [OBJECT_PLAN] =
        "UPDATE objects SET planned = ?5 WHERE api_group = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4",
    [OBJECT_PURGE] = "DELETE FROM objects WHERE absent_since < ?1",
    [AUDIT_PUT] = "INSERT INTO audit (at, who, verb, api_group, kind, namespace, name, bytes, before, after) VALUES "
                  "(?5, ?6, ?7, ?1, ?2, ?3, ?4, ?8, ?9, ?10)",
    [AUDIT_OLDEST] = "SELECT number, bytes FROM audit ORDER BY number LIMIT 1",
    [AUDIT_NEWEST] = "SELECT number FROM audit ORDER BY number DESC LIMIT 1",
    [AUDIT_DELETE] = "DELETE FROM audit WHERE number = ?1",
    [AUDIT_EACH] = "SELECT number, at, who, verb, api_group, kind, namespace, name, before, after FROM audit WHERE "
                   "(?1 IS NULL OR api_group = ?1) AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR namespace = ?3) "
                   "AND (?4 IS NULL OR name = ?4) ORDER BY number DESC LIMIT ?5",
    [NUMBER_GET] = "SELECT value FROM numbers WHERE name = ?1",
    [NUMBER_SET] = "UPDATE numbers SET value = ?2 WHERE name = ?1",
    [CURSOR_PUT] = "INSERT INTO cursors VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET cursor = ?2",
    [CURSOR_GET] = "SELECT cursor FROM cursors WHERE key = ?1",
    [CURSOR_DELETE] = "DELETE FROM cursors WHERE key = ?1",
    [PLACE_PUT] = "INSERT INTO places VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET place = ?2",
    [PLACE_GET] = "SELECT place FROM places WHERE key = ?1",
    [PLACE_PURGE] =
        "DELETE FROM places WHERE key NOT IN (SELECT kind || '.' || api_group || '/' || namespace || '/' || "
        "name FROM objects)",
};

/* ---- errors ---- */

enum err store_failed(struct store *s, struct diag *d, int code)
{
    const char *where = s->path ? s->path : "the store in memory",
               *why = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return diag_set(d, ERR_NOMEM, "out of memory");
    case SQLITE_FULL:
        return diag_set(d, ERR_FULL,
                        "%.200s cannot be written: the disk is full, or a quota is reached; free some space", where);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return diag_set(d, ERR_CORRUPT,
                        "%.200s is damaged (%.60s). Nothing was changed: put a backup in its place, or move it away to "
                        "begin without the objects that were made over the API",
                        where, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return diag_set(d, ERR_UNAVAILABLE, "%.200s is held locked by another program; end that one", where);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return diag_set(d, ERR_DENIED, "%.200s cannot be written (%.60s): let user %u write it", where, why,
                        (unsigned)geteuid());
    default:
        return diag_set(d, ERR_IO, "%.200s: %.100s", where, why);
    }
}

/* ---- statements ---- */

sqlite3_stmt *store_statement(struct store *s, enum statement which)
{
    sqlite3_stmt *st = s->statements[which];
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return st;
}

enum err store_run(struct store *s, sqlite3_stmt *st, struct diag *d)
{
    int code = sqlite3_step(st);
    enum err e = code == SQLITE_DONE || code == SQLITE_ROW ? OK : store_failed(s, d, code);
    sqlite3_reset(st);
    return e;
}

void store_bind_text(sqlite3_stmt *st, int at, const char *text)
{
    if (text) /* the memory of a statement is its own: what fails here fails in its step */
        sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, at);
}

enum err store_number(struct store *s, const char *name, uint64_t *value, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, NUMBER_GET);
    store_bind_text(st, 1, name);
    int code = sqlite3_step(st);
    int64_t v = code == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return store_failed(s, d, code);
    if (code == SQLITE_DONE || v < 0)
        return store_failed(s, d, SQLITE_CORRUPT);
    *value = (uint64_t)v;
    return OK;
}

enum err store_number_set(struct store *s, const char *name, uint64_t value, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, NUMBER_SET);
    store_bind_text(st, 1, name);
    sqlite3_bind_int64(st, 2, (int64_t)value);
    return store_run(s, st, d);
}

/* Ends a transaction: it is on disk, or nothing of it is there. */
static enum err finish(struct store *s, enum err e, struct diag *d)
{
    if (e == OK)
        e = store_run(s, store_statement(s, COMMIT), d);
    if (e != OK && !sqlite3_get_autocommit(s->db)) { /* some errors have rolled back already */
        int code = sqlite3_step(store_statement(s, ROLLBACK));
        assert(code == SQLITE_DONE || sqlite3_get_autocommit(s->db));
        sqlite3_reset(s->statements[ROLLBACK]);
    }
    return e;
}

/* ---- opening ---- */

static enum err execute(struct store *s, const char *sql, struct diag *d)
{
    int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : store_failed(s, d, code);
}

/* The one number that a pragma answers. */
static enum err ask(struct store *s, const char *sql, int *out, struct diag *d)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return code == SQLITE_ROW ? OK : store_failed(s, d, code);
}

static enum err make_schema(struct store *s, struct diag *d)
{
    char sql[sizeof schema + 200];
    snprintf(sql, sizeof sql, "BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
             schema, APPLICATION, SCHEMA);
    return execute(s, sql, d);
}

/* What has come since the schema was first written. */
static enum err add_columns(struct store *s, struct diag *d)
{
    static const char *const columns[][2] = {
        {"SELECT count(*) FROM pragma_table_info('objects') WHERE name = 'planned'",
         "ALTER TABLE objects ADD COLUMN planned INTEGER"},
        {"SELECT count(*) FROM pragma_table_info('objects') WHERE name = 'managed'",
         "ALTER TABLE objects ADD COLUMN managed TEXT"},
        {"SELECT count(*) FROM pragma_table_info('objects') WHERE name = 'others'",
         "ALTER TABLE objects ADD COLUMN others TEXT"},
    };
    enum err e = OK;
    for (size_t i = 0; i < sizeof columns / sizeof columns[0] && e == OK; i++) {
        int there = 0;
        e = ask(s, columns[i][0], &there, d);
        if (e == OK && !there)
            e = execute(s, columns[i][1], d);
    }
    return e == OK ? execute(s, PLACES, d) : e;
}

static enum err check_schema(struct store *s, struct diag *d)
{
    int version = 0, application = 0, tables = 0;
    enum err e = ask(s, "PRAGMA user_version", &version, d);
    if (e == OK)
        e = ask(s, "PRAGMA application_id", &application, d);
    if (e == OK)
        e = ask(s, "SELECT count(*) FROM sqlite_schema", &tables, d);
    if (e != OK)
        return e;
    if (tables == 0 && version == 0)
        return make_schema(s, d);
    if (application != APPLICATION || version < 1)
        return diag_set(d, ERR_CORRUPT, "%.200s is no database of leat; move it away, or name another --data-dir",
                        s->path);
    if (version > SCHEMA)
        return diag_set(d, ERR_UNSUPPORTED,
                        "%.200s was written by a newer leat (schema %d; this one knows up to %d). Run that version. "
                        "Nothing was changed",
                        s->path, version, SCHEMA);
    return add_columns(s, d);
}

/* Whether the objects read whole: a start is the time to say that they do not. */
static enum err check_objects(struct store *s, struct diag *d)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(objects)", -1, &st, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    bool good = text && strcmp(text, "ok") == 0;
    sqlite3_finalize(st);
    return good ? OK : store_failed(s, d, code == SQLITE_ROW ? SQLITE_CORRUPT : code);
}

static enum err prepare(struct store *s, struct diag *d)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        int code = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);
        if (code != SQLITE_OK)
            return store_failed(s, d, code);
    }
    return OK;
}

/* Nobody else's eyes: there are Secrets among the objects. SQLite gives its journal the mode of the file. */
static enum err make_file(struct store *s, struct diag *d)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return store_failed(s, d, SQLITE_CANTOPEN);
    close(fd);
    return OK;
}

static enum err open_database(struct store *s, struct diag *d)
{
    enum err e = s->path ? make_file(s, d) : OK;
    if (e != OK)
        return e;
    int code =
        sqlite3_open_v2(s->path ? s->path : ":memory:", &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return store_failed(s, d, code);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    /* The schema of a file from elsewhere must not make us run what it says. */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    e = check_schema(s, d);
    if (e == OK && s->path)
        e = execute(s, SETTINGS, d);
    if (e == OK)
        e = prepare(s, d);
    if (e == OK && s->path)
        e = check_objects(s, d);
    if (e == OK)
        e = store_number(s, "version", &s->version, d);
    return e;
}

enum err store_open(const char *dir, const struct clock *clock, struct store **out, struct diag *d)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return diag_set(d, ERR_NOMEM, "out of memory");
    s->clock = clock;
    bool named = !dir || asprintf(&s->path, "%s/resources.db", dir) >= 0;
    if (!named)
        s->path = NULL;
    enum err e = named ? open_database(s, d) : diag_set(d, ERR_NOMEM, "out of memory");
    if (e == OK)
        e = store_audit_open(s, d);
    if (e != OK) {
        store_free(s);
        return e;
    }
    s->reserved = s->version;
    *out = s;
    return OK;
}

void store_free(struct store *s)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    int code = sqlite3_close(s->db);
    assert(code == SQLITE_OK);
    free(s->path);
    free(s);
}

void store_close(struct store *s, uint64_t version)
{
    struct diag d;
    if (!s)
        return;
    /* If it fails, the next start skips some numbers. */
    if (version < s->reserved && store_number_set(s, "version", version, &d) == OK)
        s->reserved = version;
    store_free(s);
}

/* ---- versions ---- */

uint64_t store_version(const struct store *s)
{
    return s->version;
}

/* Within a transaction, or as one of its own. *reserved becomes valid with it. */
static enum err reserve(struct store *s, uint64_t version, uint64_t *reserved, struct diag *d)
{
    *reserved = s->reserved;
    if (version + VERSION_BLOCK / 2 <= s->reserved)
        return OK;
    *reserved = version + VERSION_BLOCK;
    return store_number_set(s, "version", *reserved, d);
}

enum err store_version_reserve(struct store *s, uint64_t version, struct diag *d)
{
    uint64_t reserved;
    if (version <= s->reserved) /* the block's second half is taken along by the next write */
        return OK;
    enum err e = reserve(s, version, &reserved, d);
    if (e == OK)
        s->reserved = reserved;
    return e;
}

/* ---- objects ---- */

static const char *column(sqlite3_stmt *st, int i)
{
    const char *text = (const char *)sqlite3_column_text(st, i);
    return text ? text : "";
}

enum err store_each(struct store *s, enum err (*row)(void *arg, const struct store_row *row), void *arg, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, OBJECT_EACH);
    enum err e = OK;
    int code;
    while (e == OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const struct store_row r = {.id = sqlite3_column_int64(st, 10),
                                    .group = column(st, 0),
                                    .kind = column(st, 1),
                                    .namespace_name = column(st, 2),
                                    .name = column(st, 3),
                                    .uid = column(st, 4),
                                    .generation = sqlite3_column_int64(st, 5),
                                    .created = column(st, 6),
                                    .origin = (const char *)sqlite3_column_text(st, 7),
                                    .object = {column(st, 8), (size_t)sqlite3_column_bytes(st, 8)},
                                    .absent = sqlite3_column_type(st, 9) != SQLITE_NULL,
                                    .paused_ns = sqlite3_column_int64(st, 11),
                                    .planned = sqlite3_column_type(st, 12) != SQLITE_NULL,
                                    .managed = (const char *)sqlite3_column_text(st, 13),
                                    .others = (const char *)sqlite3_column_text(st, 14)};
        e = sqlite3_errcode(s->db) == SQLITE_NOMEM ? diag_set(d, ERR_NOMEM, "out of memory") : row(arg, &r);
    }
    sqlite3_reset(st);
    return e != OK || code == SQLITE_DONE ? e : store_failed(s, d, code);
}

static void bind_key(sqlite3_stmt *st, const struct store_change *c)
{
    store_bind_text(st, 1, c->group);
    store_bind_text(st, 2, c->kind);
    store_bind_text(st, 3, c->namespace_name);
    store_bind_text(st, 4, c->name);
}

static const char *text_in(const cJSON *metadata, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, name));
    return text ? text : "";
}

static enum err put_object(struct store *s, const struct store_change *c, struct diag *d)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(c->after, "metadata"),
                *generation = cJSON_GetObjectItemCaseSensitive(metadata, "generation");
    char *json = store_json(c->after, c->status), *others = c->others ? cJSON_PrintUnformatted(c->others) : NULL;
    if (!json || (c->others && !others)) {
        cJSON_free(json);
        return diag_set(d, ERR_NOMEM, "out of memory");
    }
    sqlite3_stmt *st = store_statement(s, OBJECT_PUT);
    bind_key(st, c);
    store_bind_text(st, 5, text_in(metadata, "uid"));
    sqlite3_bind_int64(st, 6, generation ? (int64_t)generation->valuedouble : 1);
    store_bind_text(st, 7, text_in(metadata, "creationTimestamp"));
    store_bind_text(st, 8, c->origin);
    store_bind_text(st, 9, json);
    store_bind_text(st, 11, others);
    store_bind_text(st, 10, c->managed && *c->managed ? c->managed : NULL);
    enum err e = store_run(s, st, d);
    sqlite3_clear_bindings(st);
    cJSON_free(json);
    cJSON_free(others);
    return e;
}

static enum err take_object(struct store *s, const struct store_change *c, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, c->id ? OBJECT_DELETE_ID : c->absent ? OBJECT_ABSENT : OBJECT_DELETE);
    if (c->id)
        sqlite3_bind_int64(st, 1, c->id);
    else
        bind_key(st, c);
    if (c->absent)
        sqlite3_bind_int64(st, 5, clock_wall_ns(s->clock));
    return store_run(s, st, d);
}

/* What stands beside the object in its row. */
static enum err mark_object(struct store *s, const struct store_change *c, struct diag *d)
{
    bool plan = c->beside == STORE_PLANNED || c->beside == STORE_UNPLANNED;
    sqlite3_stmt *st = store_statement(s, plan ? OBJECT_PLAN : OBJECT_PAUSE);
    bind_key(st, c);
    if (c->beside == STORE_PAUSE)
        sqlite3_bind_int64(st, 5, c->paused_ns);
    else if (c->beside == STORE_PLANNED)
        sqlite3_bind_int64(st, 5, 1);
    else
        sqlite3_bind_null(st, 5);
    return store_run(s, st, d);
}

static enum err apply(struct store *s, const struct store_change *c, struct diag *d)
{
    enum err e = OK;
    assert(c->before || c->after);
    if (s->path && c->beside != STORE_OBJECT)
        e = mark_object(s, c, d);
    else if (s->path)
        e = c->after ? put_object(s, c, d) : take_object(s, c, d);
    return e == OK && c->who ? store_audit_put(s, c, d) : e;
}

enum err store_write(struct store *s, const struct store_change *changes, size_t count, uint64_t version,
                     struct diag *d)
{
    uint64_t reserved = s->reserved, audit_bytes = s->audit_bytes;
    int64_t oldest = s->audit_oldest, newest = s->audit_newest;
    if (count == 0)
        return OK;
    enum err e = store_run(s, store_statement(s, BEGIN), d);
    if (e != OK)
        return e;
    for (size_t i = 0; i < count && e == OK; i++)
        e = apply(s, &changes[i], d);
    if (e == OK)
        e = reserve(s, version, &reserved, d);
    if (e == OK)
        e = store_audit_trim(s, d);
    e = finish(s, e, d);
    if (e == OK) {
        s->reserved = reserved;
        return OK;
    }
    s->audit_bytes = audit_bytes;
    s->audit_oldest = oldest;
    s->audit_newest = newest;
    return e;
}

enum err store_purge(struct store *s, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, OBJECT_PURGE);
    sqlite3_bind_int64(st, 1, clock_wall_ns(s->clock) - (int64_t)STORE_ABSENT_NS);
    enum err e = store_run(s, st, d);
    return e == OK ? store_run(s, store_statement(s, PLACE_PURGE), d) : e;
}

/* ---- cursors ---- */

enum err store_cursor_keep(struct store *s, const char *key, const char *cursor, struct diag *d)
{
    if (strlen(cursor) >= STORE_CURSOR_MAX)
        return diag_set(d, ERR_INVALID, "the name of a cursor is longer than %d bytes", STORE_CURSOR_MAX - 1);
    sqlite3_stmt *st = store_statement(s, CURSOR_PUT);
    store_bind_text(st, 1, key);
    store_bind_text(st, 2, cursor);
    return store_run(s, st, d);
}

/* The text beside a key. */
static enum err kept_text(struct store *s, enum statement which, const char *key, char text[STORE_CURSOR_MAX],
                          struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, which);
    store_bind_text(st, 1, key);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        snprintf(text, STORE_CURSOR_MAX, "%s", column(st, 0));
    sqlite3_reset(st);
    if (code == SQLITE_DONE)
        return diag_set(d, ERR_NOTFOUND, "nothing is kept for %.200s", key);
    return code == SQLITE_ROW ? OK : store_failed(s, d, code);
}

enum err store_cursor_kept(struct store *s, const char *key, char cursor[STORE_CURSOR_MAX], struct diag *d)
{
    return kept_text(s, CURSOR_GET, key, cursor, d);
}

enum err store_cursor_forget(struct store *s, const char *key, struct diag *d)
{
    sqlite3_stmt *st = store_statement(s, CURSOR_DELETE);
    store_bind_text(st, 1, key);
    return store_run(s, st, d);
}

/* ---- places ---- */

enum err store_places_keep(struct store *s, const struct store_place *places, size_t count, struct diag *d)
{
    enum err e = store_run(s, store_statement(s, BEGIN), d);
    if (e != OK)
        return e;
    for (size_t i = 0; i < count && e == OK; i++) {
        assert(strlen(places[i].place) < STORE_CURSOR_MAX);
        sqlite3_stmt *st = store_statement(s, PLACE_PUT);
        store_bind_text(st, 1, places[i].key);
        store_bind_text(st, 2, places[i].place);
        e = store_run(s, st, d);
    }
    return finish(s, e, d);
}

enum err store_place_kept(struct store *s, const char *key, char place[STORE_CURSOR_MAX], struct diag *d)
{
    return kept_text(s, PLACE_GET, key, place, d);
}
