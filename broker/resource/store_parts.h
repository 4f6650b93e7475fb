/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to store*.c: the store itself, its statements, and what its two files share.
 */
#ifndef LEAT_BROKER_RESOURCE_STORE_PARTS_H
#define LEAT_BROKER_RESOURCE_STORE_PARTS_H

#include <sqlite3.h>

#include "store.h"

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    OBJECT_EACH,
    OBJECT_PUT,
    OBJECT_DELETE,
    OBJECT_DELETE_ID,
    OBJECT_ABSENT,
    OBJECT_PAUSE,
    OBJECT_PLAN,
    OBJECT_PURGE,
    AUDIT_PUT,
    AUDIT_OLDEST,
    AUDIT_NEWEST,
    AUDIT_DELETE,
    AUDIT_EACH,
    NUMBER_GET,
    NUMBER_SET,
    CURSOR_PUT,
    CURSOR_GET,
    CURSOR_DELETE,
    PLACE_PUT,
    PLACE_GET,
    PLACE_PURGE,
    STATEMENT_COUNT
};

struct store {
    char *path; /* owned; NULL: in memory */
    const struct clock *clock;
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t version, reserved;         /* where this start begins; no number above the latter is given */
    int64_t audit_oldest, audit_newest; /* numbers; the newest is one less when there is none */
    uint64_t audit_bytes;
    uint64_t audit_max, audit_bytes_max;
};

/* Frees it as it stands. */
void store_free(struct store *s);
/* What SQLite's code means, in our words. */
enum err store_failed(struct store *s, struct diag *d, int code);

/* A statement without bindings; at most one of a kind is under way. */
sqlite3_stmt *store_statement(struct store *s, enum statement which);
/* The text must live until the statement has run. NULL: null. */
void store_bind_text(sqlite3_stmt *st, int at, const char *text);
/* Runs one whose rows nobody wants. */
enum err store_run(struct store *s, sqlite3_stmt *st, struct diag *d) must_check;
enum err store_number(struct store *s, const char *name, uint64_t *value, struct diag *d) must_check;
enum err store_number_set(struct store *s, const char *name, uint64_t value, struct diag *d) must_check;

/* ---- store_audit.c ---- */

/* An object as text, with or without its status; cJSON_free. NULL: no memory. */
char *store_json(const cJSON *object, bool status);
enum err store_audit_open(struct store *s, struct diag *d) must_check;
/* Within a transaction; what they count is to be put back when that fails. */
enum err store_audit_put(struct store *s, const struct store_change *c, struct diag *d) must_check;
enum err store_audit_trim(struct store *s, struct diag *d) must_check;

#endif
