/* SPDX-License-Identifier: Apache-2.0
 *
 * The store: what it keeps and in which order, bounds of the trail, numbers, cursors, and what it says of a database
 * that refuses.
 */
#include "../lib/kept_rig.h"

#include <sys/stat.h>

#define JSON(name, generation, value)                                                                                  \
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"" name                                     \
    "\",\"namespace\":\"default\",\"uid\":\"u-" name                                                                   \
    "\",\"creationTimestamp\":\"2018-07-31T12:00:00Z\",\"generation\":" #generation "},\"data\":{\"k\":\"" value       \
    "\"}}"

static void write_one(struct store *s, const char *name, const cJSON *before, const cJSON *after, uint64_t version)
{
    const struct store_change c = store_change_of(name, before, after);
    struct diag d = {0};
    if (store_write(s, &c, 1, version, &d) != OK)
        fail_msg("%s", d.text);
}

static void execute(struct store *s, const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(s->db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
}

static int wipe(void **state)
{
    (void)state;
    store_wipe();
    return 0;
}

static void test_objects(void **state)
{
    (void)state;
    cJSON *b = store_object("b", 1, "x"), *a = store_object("a", 1, "y"), *next = store_object("b", 2, "z");
    struct store *s = store_opened(store_folder);
    struct diag d = {0};
    write_one(s, "b", NULL, b, 1);
    write_one(s, "a", NULL, a, 2);
    assert_string_equal(store_text(s), "a:u-a:1:api:" JSON("a", 1, "y") " b:u-b:1:api:" JSON("b", 1, "x") " ");
    write_one(s, "b", b, next, 3);
    write_one(s, "a", a, NULL, 4);
    store_close(s, 4);
    s = store_opened(store_folder);
    assert_string_equal(store_text(s), "b:u-b:2:api:" JSON("b", 2, "z") " ");

    /* Several at once; one that goes may leave its identity, for a week. */
    struct store_change changes[2] = {store_change_of("a", NULL, a), store_change_of("b", next, NULL)};
    changes[0].origin = "m.yaml";
    changes[1].absent = true;
    assert_int_equal(store_write(s, changes, 2, 6, &d), OK);
    assert_string_equal(store_text(s),
                        "a:u-a:1:m.yaml:" JSON("a", 1, "y") " b:u-b:2:api(absent):" JSON("b", 2, "z") " ");
    assert_int_equal(store_purge(s, &d), OK);
    execute(s, "UPDATE objects SET absent_since = absent_since - 7 * 24 * 3600 * 1000000000 - 1000000000");
    assert_int_equal(store_purge(s, &d), OK);
    assert_string_equal(store_text(s), "a:u-a:1:m.yaml:" JSON("a", 1, "y") " ");
    store_close(s, 6);
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(next);
}

static void test_status(void **state)
{
    (void)state;
    cJSON *a = store_object("a", 1, "x");
    struct store *s = store_opened(store_folder);
    struct store_change c = store_change_of("a", NULL, a);
    struct diag d;
    c.status = true;
    assert_int_equal(store_write(s, &c, 1, 1, &d), OK);
    assert_non_null(strstr(store_text(s), "\"status\":{\"s\":1}"));
    store_close(s, 1);
    cJSON_Delete(a);
}

static void test_versions(void **state)
{
    (void)state;
    struct diag d;
    cJSON *a = store_object("a", 1, "x");
    struct store *s = store_opened(store_folder);
    assert_int_equal(store_version(s), 0);
    write_one(s, "a", NULL, a, 1);
    store_close(s, 17); /* as a clean stop tells it */
    s = store_opened(store_folder);
    assert_int_equal(store_version(s), 17);
    /* Whatever is given between two writes is below what the next start begins with. */
    for (uint64_t v = 18; v < 400000; v++) {
        uint64_t stored = 0;
        assert_int_equal(store_version_reserve(s, v, &d), OK);
        if (v % 1000 == 0) {
            assert_int_equal(store_number(s, "version", &stored, &d), OK);
            assert_true(stored >= v && stored < v + 100000);
        }
    }
    write_one(s, "a", a, a, 400000);
    store_free(s); /* as a kill leaves it */
    s = store_opened(store_folder);
    assert_in_range(store_version(s), 400000, 500000);
    store_close(s, store_version(s));
    cJSON_Delete(a);
}

static size_t audit_count(struct store *s, const struct store_audit_query *q, char *names, size_t size)
{
    struct diag d = {0};
    cJSON *list = NULL;
    const cJSON *each;
    if (store_audit(s, q, &list, &d) != OK)
        fail_msg("%s", d.text);
    *names = 0;
    cJSON_ArrayForEach(each, list)
        snprintf(names + strlen(names), size - strlen(names), "%s:%s ", rig_text(each, "verb"), rig_text(each, "name"));
    size_t n = (size_t)cJSON_GetArraySize(list);
    cJSON_Delete(list);
    return n;
}

static void test_audit_bounds(void **state)
{
    (void)state;
    char names[4000], name[20];
    const struct store_audit_query all = {.limit = 1000}, two = {.limit = 2}, one = {.name = "n7", .limit = 5};
    for (int memory = 0; memory < 2; memory++) {
        struct store *s = store_opened(memory ? NULL : store_folder);
        s->audit_max = 5;
        for (int i = 0; i < 8; i++) {
            snprintf(name, sizeof name, "n%d", i);
            cJSON *o = store_object(name, 1, "x");
            write_one(s, name, NULL, o, (uint64_t)i + 1);
            cJSON_Delete(o);
        }
        assert_int_equal(audit_count(s, &all, names, sizeof names), 5);
        assert_string_equal(names, "create:n7 create:n6 create:n5 create:n4 create:n3 ");
        assert_int_equal(audit_count(s, &two, names, sizeof names), 2);
        assert_int_equal(audit_count(s, &one, names, sizeof names), 1);
        /* By bytes: each is some 170. */
        s->audit_bytes_max = 400;
        cJSON *o = store_object("n8", 1, "x");
        write_one(s, "n8", NULL, o, 9);
        assert_int_equal(audit_count(s, &all, names, sizeof names), 2);
        /* One that is too large by itself is told of without its JSON. */
        s->audit_bytes_max = 100000;
        char *large = calloc(1, STORE_AUDIT_OBJECT_MAX + 1);
        memset(large, 'x', STORE_AUDIT_OBJECT_MAX);
        cJSON_AddStringToObject(o, "large", large);
        write_one(s, "n9", NULL, o, 10);
        assert_int_equal(audit_count(s, &all, names, sizeof names), 3);
        assert_in_range(s->audit_bytes, 300, 600);
        uint64_t bytes = s->audit_bytes;
        store_close(s, 10);
        if (!memory) {
            s = store_opened(store_folder);
            assert_int_equal(s->audit_bytes, bytes);
            assert_int_equal(s->audit_newest - s->audit_oldest + 1, 3);
            store_close(s, 10);
        }
        free(large);
        cJSON_Delete(o);
    }
}

static void test_cursors(void **state)
{
    (void)state;
    char cursor[STORE_CURSOR_MAX] = "untouched", longer[STORE_CURSOR_MAX + 1];
    struct diag d;
    for (int memory = 0; memory < 2; memory++) {
        struct store *s = store_opened(memory ? NULL : store_folder);
        assert_int_equal(store_cursor_kept(s, "Subscription.x/ns/s", cursor, &d), ERR_NOTFOUND);
        assert_int_equal(store_cursor_keep(s, "Subscription.x/ns/s", "uid-1", &d), OK);
        assert_int_equal(store_cursor_keep(s, "Subscription.x/ns/s", "uid-2", &d), OK);
        assert_int_equal(store_cursor_keep(s, "Subscription.x/ns/t", "uid-3", &d), OK);
        assert_int_equal(store_cursor_kept(s, "Subscription.x/ns/s", cursor, &d), OK);
        assert_string_equal(cursor, "uid-2");
        memset(longer, 'x', sizeof longer - 1);
        longer[sizeof longer - 1] = 0;
        assert_int_equal(store_cursor_keep(s, "k", longer, &d), ERR_INVALID);
        if (!memory) {
            store_close(s, 0);
            s = store_opened(store_folder);
        }
        assert_int_equal(store_cursor_forget(s, "Subscription.x/ns/s", &d), OK);
        assert_int_equal(store_cursor_forget(s, "Subscription.x/ns/s", &d), OK);
        assert_int_equal(store_cursor_kept(s, "Subscription.x/ns/s", cursor, &d), ERR_NOTFOUND);
        assert_int_equal(store_cursor_kept(s, "Subscription.x/ns/t", cursor, &d), OK);
        store_close(s, 0);
    }
}

/* Replaced, kept over a restart, and gone with their objects. */
static void test_places(void **state)
{
    (void)state;
    char place[STORE_CURSOR_MAX] = "untouched";
    struct diag d;
    const struct store_place first[] = {{"ConfigMap./default/a", "1"},
                                        {"PingSource.x/ns/gone", "2"}};
    struct store *s = store_opened(store_folder);
    cJSON *a = store_object("a", 1, "x");
    write_one(s, "a", NULL, a, 1);
    assert_int_equal(store_place_kept(s, first[0].key, place, &d), ERR_NOTFOUND);
    assert_string_equal(place, "untouched");
    assert_int_equal(store_places_keep(s, first, 2, &d), OK);
    assert_int_equal(store_places_keep(s, &(struct store_place){first[0].key, "3"}, 1, &d), OK);
    store_close(s, 1);
    s = store_opened(store_folder);
    assert_int_equal(store_place_kept(s, first[0].key, place, &d), OK);
    assert_string_equal(place, "3");
    assert_int_equal(store_place_kept(s, first[1].key, place, &d), OK);
    assert_int_equal(store_purge(s, &d), OK);
    assert_int_equal(store_place_kept(s, first[0].key, place, &d), OK);
    assert_int_equal(store_place_kept(s, first[1].key, place, &d), ERR_NOTFOUND);
    store_close(s, 1);
    cJSON_Delete(a);
}

static void test_full(void **state)
{
    (void)state;
    struct diag d = {0};
    struct store *s = store_opened(store_folder);
    cJSON *a = store_object("a", 1, "x"), *big = store_object("big", 1, "x");
    write_one(s, "a", NULL, a, 1);
    const char *before = store_text(s);
    execute(s, "PRAGMA max_page_count = 1"); /* the present size is the least that it takes */
    char *large = calloc(1, 200001);
    memset(large, 'x', 200000);
    cJSON_AddStringToObject(big, "large", large);
    struct store_change both[2] = {store_change_of("a", a, NULL), store_change_of("big", NULL, big)};
    uint64_t bytes = s->audit_bytes;
    int64_t newest = s->audit_newest;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_write(s, both, 2, 3, &d), ERR_FULL);
        assert_non_null(strstr(d.text, "the disk is full"));
        assert_string_equal(store_text(s), before);
        assert_true(s->audit_bytes == bytes && s->audit_newest == newest);
    }
    execute(s, "PRAGMA max_page_count = 100000");
    assert_int_equal(store_write(s, both, 2, 3, &d), OK);
    assert_null(strstr(store_text(s), "a:u-a"));
    store_close(s, 3);
    free(large);
    cJSON_Delete(a);
    cJSON_Delete(big);
}

static void test_read_only(void **state)
{
    (void)state;
    struct diag d = {0};
    struct store *s = store_opened(store_folder);
    cJSON *a = store_object("a", 1, "x");
    const struct store_change c = store_change_of("a", NULL, a);
    execute(s, "PRAGMA query_only = 1");
    assert_int_equal(store_write(s, &c, 1, 1, &d), ERR_DENIED);
    assert_non_null(strstr(d.text, "resources.db"));
    assert_string_equal(store_text(s), "");
    execute(s, "PRAGMA query_only = 0");
    assert_int_equal(store_write(s, &c, 1, 1, &d), OK);
    store_close(s, 1);
    cJSON_Delete(a);
}

static void test_durable(void **state)
{
    (void)state;
    struct store *s = store_opened(store_folder);
    sqlite3_stmt *st;
    struct stat file;
    char path[200];
    assert_int_equal(sqlite3_prepare_v2(s->db, "PRAGMA synchronous", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), 2); /* FULL */
    sqlite3_finalize(st);
    assert_int_equal(sqlite3_prepare_v2(s->db, "PRAGMA journal_mode", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), "wal");
    sqlite3_finalize(st);
    snprintf(path, sizeof path, "%s/resources.db", store_folder);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    store_close(s, 0);
}

/* ---- a database that is not as it should be ---- */

static enum err open_after(const char *sql, struct diag *d)
{
    struct store *s = store_opened(store_folder);
    execute(s, sql);
    store_free(s);
    s = NULL;
    enum err e = store_open(store_folder, clock_system(), &s, d);
    assert_true((e == OK) == (s != NULL));
    if (s)
        store_free(s);
    return e;
}

static void test_strange_databases(void **state)
{
    static const struct {
        const char *sql;
        enum err err;
        const char *said;
    } cases[] = {
        {"PRAGMA user_version = 2", ERR_UNSUPPORTED, "newer leat"},
        {"PRAGMA user_version = -1", ERR_CORRUPT, "no database of leat"},
        {"PRAGMA application_id = 1", ERR_CORRUPT, "no database of leat"},
        {"DROP TABLE objects", ERR_IO, "objects"},
        {"DELETE FROM numbers WHERE name = 'version'", ERR_CORRUPT, "damaged"},
        {"UPDATE numbers SET value = -1", ERR_CORRUPT, "damaged"},
        {"DELETE FROM audit", OK, NULL},
        {"CREATE TABLE more (x)", OK, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct diag d = {0};
        store_wipe();
        assert_int_equal(open_after(cases[i].sql, &d), cases[i].err);
        if (cases[i].said && !strstr(d.text, cases[i].said))
            fail_msg("%s: %s", cases[i].sql, d.text);
    }
}

/* Every byte of a small database is harmed, one at a time: it opens or says why not, and never ends the program. */
static void test_damage(void **state)
{
    char path[200], byte;
    struct diag d;
    (void)state;
    cJSON *a = store_object("a", 1, "x");
    struct store *s = store_opened(store_folder);
    write_one(s, "a", NULL, a, 1);
    store_close(s, 1);
    cJSON_Delete(a);
    snprintf(path, sizeof path, "%s/resources.db", store_folder);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    for (long at = 0; at < file.st_size; at += at < 4096 ? 1 : 13) {
        FILE *f = fopen(path, "r+e");
        assert_non_null(f);
        assert_true(fseek(f, at, SEEK_SET) == 0 && fread(&byte, 1, 1, f) == 1);
        char harmed = (char)(byte ^ 0x55);
        assert_true(fseek(f, at, SEEK_SET) == 0 && fwrite(&harmed, 1, 1, f) == 1);
        fclose(f);
        s = NULL;
        char out[4000] = "";
        enum err e = store_open(store_folder, clock_system(), &s, &d);
        if (e == OK) {
            e = store_each(s, store_row_text, out, &d);
            store_free(s);
        }
        if (e != OK)
            assert_true(strlen(d.text) > 0);
        f = fopen(path, "r+e");
        assert_non_null(f);
        assert_true(fseek(f, at, SEEK_SET) == 0 && fwrite(&byte, 1, 1, f) == 1);
        fclose(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_objects, wipe),  cmocka_unit_test_teardown(test_status, wipe),
        cmocka_unit_test_teardown(test_versions, wipe), cmocka_unit_test_teardown(test_audit_bounds, wipe),
        cmocka_unit_test_teardown(test_places, wipe),   cmocka_unit_test_teardown(test_cursors, wipe),
        cmocka_unit_test_teardown(test_full, wipe),     cmocka_unit_test_teardown(test_read_only, wipe),
        cmocka_unit_test_teardown(test_durable, wipe),  cmocka_unit_test_teardown(test_strange_databases, wipe),
        cmocka_unit_test_teardown(test_damage, wipe),
    };
    return cmocka_run_group_tests(tests, store_setup, store_teardown);
}
