/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of the store, SQLite's own too, and every operation on its files fails once, and from then on for
 * ever: the store says so, what was there before is whole, and after a new start it is the state before or after the
 * write, nothing between.
 */
#include "../lib/kept_rig.h"

#include "../lib/fault.h"

#define STEP_MAX 20000

/* ---- SQLite allocates through the wrapped malloc ---- */

static void *sql_malloc(int n)
{
    size_t *p = malloc((size_t)n + sizeof(size_t) * 2);
    if (!p)
        return NULL;
    *p = (size_t)n;
    return p + 2;
}
static void sql_free(void *p)
{
    free(p ? (size_t *)p - 2 : NULL);
}
static int sql_size(void *p)
{
    return p ? (int)((size_t *)p)[-2] : 0;
}
static void *sql_realloc(void *p, int n)
{
    size_t *q = realloc((size_t *)p - 2, (size_t)n + sizeof(size_t) * 2);
    if (!q)
        return NULL;
    *q = (size_t)n;
    return q + 2;
}
static int sql_roundup(int n)
{
    return (n + 7) & ~7;
}
static int sql_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}
static void sql_shutdown(void *arg)
{
    (void)arg;
}

static void *json_malloc(size_t size)
{
    return malloc(size);
}

/* ---- its files fail through a VFS around the system's ---- */

static struct {
    sqlite3_vfs vfs, *system;
    sqlite3_io_methods methods;
    unsigned count, fail_at; /* 0: never */
    bool for_ever, fired;
    int code;
} disk;

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind it in the same memory */
};

static bool fails(void)
{
    disk.count++;
    bool now = disk.fail_at && (disk.count == disk.fail_at || (disk.for_ever && disk.count > disk.fail_at));
    disk.fired = disk.fired || now;
    return now;
}

#define REAL(f) (((struct file *)(f))->real)

static int file_close(sqlite3_file *f)
{
    return REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
}
static int file_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return fails() ? SQLITE_IOERR_READ : REAL(f)->pMethods->xRead(REAL(f), to, n, at);
}
static int file_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (!fails())
        return REAL(f)->pMethods->xWrite(REAL(f), from, n, at);
    REAL(f)->pMethods->xWrite(REAL(f), from, n / 2, at); /* a part of it may be there */
    return disk.code;
}
static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return fails() ? SQLITE_IOERR_TRUNCATE : REAL(f)->pMethods->xTruncate(REAL(f), size);
}
static int file_sync(sqlite3_file *f, int flags)
{
    (void)f; /* nothing crashes here: waiting for the disk would prove nothing */
    (void)flags;
    return fails() ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}
static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return fails() ? SQLITE_IOERR_FSTAT : REAL(f)->pMethods->xFileSize(REAL(f), size);
}
static int file_lock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xLock(REAL(f), level);
}
static int file_unlock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}
static int file_reserved(sqlite3_file *f, int *out)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), out);
}
static int file_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int file_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}
static int file_device(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}
static int file_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return fails() ? SQLITE_IOERR_SHMMAP : REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, out);
}
static int file_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), offset, n, flags);
}
static void file_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}
static int file_shm_unmap(sqlite3_file *f, int delete)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), delete);
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct file *file = (struct file *)f;
    (void)vfs;
    file->real = (sqlite3_file *)(file + 1);
    file->base.pMethods = NULL;
    if (fails())
        return SQLITE_CANTOPEN;
    int code = disk.system->xOpen(disk.system, name, file->real, flags, out);
    if (file->real->pMethods)
        file->base.pMethods = &disk.methods;
    return code;
}
static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    return fails() ? SQLITE_IOERR_DELETE : disk.system->xDelete(disk.system, name, sync);
}
static int disk_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    return fails() ? SQLITE_IOERR_ACCESS : disk.system->xAccess(disk.system, name, flags, out);
}

static void disk_register(void)
{
    disk.system = sqlite3_vfs_find(NULL);
    assert_non_null(disk.system);
    disk.vfs = *disk.system;
    disk.vfs.zName = "failing";
    disk.vfs.szOsFile = (int)sizeof(struct file) + disk.system->szOsFile;
    disk.vfs.pNext = NULL;
    disk.vfs.xOpen = disk_open;
    disk.vfs.xDelete = disk_delete;
    disk.vfs.xAccess = disk_access;
    disk.methods =
        (sqlite3_io_methods){2,           file_close,   file_read,     file_write,       file_truncate,  file_sync,
                             file_size,   file_lock,    file_unlock,   file_reserved,    file_control,   file_sector,
                             file_device, file_shm_map, file_shm_lock, file_shm_barrier, file_shm_unmap, NULL,
                             NULL};
    assert_int_equal(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
}

static void disk_arm(unsigned at, bool for_ever, int code)
{
    disk.count = 0;
    disk.fail_at = at;
    disk.for_ever = for_ever;
    disk.fired = false;
    disk.code = code;
}

static bool disk_disarm(void)
{
    disk.fail_at = 0;
    return disk.fired;
}

/* ---- what is done meanwhile ---- */

static cJSON *a1, *a2, *b1;

static int begin(void **state)
{
    static const sqlite3_mem_methods memory = {sql_malloc,  sql_free, sql_realloc,  sql_size,
                                               sql_roundup, sql_init, sql_shutdown, NULL};
    cJSON_Hooks hooks = {json_malloc, free};
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK)
        return -1;
    disk_register();
    cJSON_InitHooks(&hooks);
    a1 = store_object("a", 1, "one");
    a2 = store_object("a", 2, "two");
    b1 = store_object("b", 1, "one");
    struct diag d;
    return kinds_load(&d) == OK && rig_folder(state) == 0 ? store_setup(state) : -1;
}

static int end(void **state)
{
    cJSON_Delete(a1);
    cJSON_Delete(a2);
    cJSON_Delete(b1);
    int code = store_teardown(state) == 0 ? rig_folder_gone(state) : -1;
    return sqlite3_shutdown() == SQLITE_OK ? code : -1;
}

static const char before[] = "a:u-a:1:api:", after[] = "a:u-a:2:api:";

/* A database with "a" of generation 1 in it. */
static void prepare(void)
{
    struct diag d = {0};
    store_wipe();
    struct store *s = store_opened(store_folder);
    const struct store_change c = store_change_of("a", NULL, a1);
    assert_int_equal(store_write(s, &c, 1, 1, &d), OK);
    store_close(s, 1);
}

/* Changes "a" and makes "b", asks for the trail, keeps a cursor. *wrote: what came of the first. */
static enum err use(struct store *s, enum err *wrote)
{
    struct diag d = {0};
    char cursor[STORE_CURSOR_MAX];
    cJSON *trail = NULL;
    const struct store_change changes[2] = {store_change_of("a", a1, a2), store_change_of("b", NULL, b1)};
    const struct store_audit_query q = {.limit = 10};
    enum err e = *wrote = store_write(s, changes, 2, 3, &d);
    if (e == OK)
        e = store_audit(s, &q, &trail, &d);
    cJSON_Delete(trail);
    if (e == OK)
        e = store_cursor_keep(s, "key", "uid", &d);
    if (e == OK)
        e = store_places_keep(s, &(struct store_place){"key", "1"}, 1, &d);
    if (e == OK)
        e = store_cursor_kept(s, "key", cursor, &d);
    if (e == OK)
        e = store_version_reserve(s, 1000000, &d);
    assert_true(e == OK || d.text[0]);
    return e;
}

/* Both changes or none of them. */
static bool is_new(struct store *s)
{
    const char *text = store_text(s);
    bool new = strncmp(text, after, strlen(after)) == 0;
    assert_true(new || strncmp(text, before, strlen(before)) == 0);
    assert_int_equal(strstr(text, "b:u-b:1:api:") != NULL, new);
    return new;
}

static void test_every_allocation(void **state)
{
    (void)state;
    for (int opening = 0; opening < 2; opening++) {
        for (unsigned n = 1;; n++) {
            struct store *s = NULL;
            struct diag d = {0};
            enum err wrote = ERR_CANCELED;
            assert_true(n < STEP_MAX);
            prepare();
            if (!opening)
                s = store_opened(store_folder);
            fault_arm(n);
            enum err e = opening ? store_open(store_folder, clock_system(), &s, &d) : OK;
            if (e == OK)
                e = use(s, &wrote);
            bool fired = fault_disarm();
            /* SQLite goes on without some of its memory (a cache that does not grow), and so do we. */
            assert_true(e == OK || (fired && e == ERR_NOMEM));
            if (s) {
                assert_int_equal(is_new(s), wrote == OK);
                store_close(s, 3);
            }
            s = store_opened(store_folder);
            assert_int_equal(is_new(s), wrote == OK);
            assert_int_equal(use(s, &wrote), OK);
            store_close(s, 3);
            if (!fired)
                break;
        }
    }
}

static void fail_every_operation(bool for_ever, int code)
{
    for (int opening = 0; opening < 2; opening++) {
        for (unsigned n = 1;; n++) {
            struct store *s = NULL;
            struct diag d = {0};
            enum err wrote = ERR_CANCELED;
            assert_true(n < STEP_MAX);
            prepare();
            if (!opening)
                s = store_opened(store_folder);
            disk_arm(n, for_ever, code);
            enum err e = opening ? store_open(store_folder, clock_system(), &s, &d) : OK;
            if (e == OK)
                e = use(s, &wrote);
            bool fired = disk_disarm();
            if (e != OK && !(fired && (e == ERR_IO || e == ERR_FULL || e == ERR_DENIED || e == ERR_CORRUPT)))
                fail_msg("operation %u: %s: %s", n, err_name(e), d.text);
            if (s) {
                assert_int_equal(is_new(s), wrote == OK);
                store_free(s); /* as a kill leaves it */
            }
            s = store_opened(store_folder);
            /* A write whose last sync failed may be there after all: nobody was told that it is not, but that it
             * failed. */
            assert_true(is_new(s) || wrote != OK);
            store_close(s, 3);
            if (!fired)
                break;
        }
    }
}

static void test_every_operation_once(void **state)
{
    (void)state;
    fail_every_operation(false, SQLITE_IOERR_WRITE);
}

static void test_every_operation_for_ever(void **state)
{
    (void)state;
    fail_every_operation(true, SQLITE_IOERR_WRITE);
}

static void test_every_operation_full(void **state)
{
    (void)state;
    fail_every_operation(true, SQLITE_FULL);
}

/* ---- the table over it ---- */

static const char manifest_text[] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\ndata: {k: one}\n---\n"
                                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: back}\ndata: {k: two}\n";
static const char object_text[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"},\"data\":{\"k\":\"%s\"}}";

static enum err put(struct resource_table *t, const char *name, const char *value, bool replace)
{
    char text[300];
    struct problems p;
    struct diag d;
    const struct kind *k;
    cJSON *o = NULL;
    problems_init(&p);
    snprintf(text, sizeof text, object_text, name, value);
    enum err e = object_parse(slice_str(text), NULL, &o, &k, &p);
    if (e == OK)
        e = replace ? resource_replace(t, "test", k, o, NULL, &d) : resource_create(t, "test", k, o, NULL, &d);
    if (e != OK)
        cJSON_Delete(o);
    problems_fini(&p);
    return e;
}

static enum err sync_manifest(struct resource_table *t, const struct manifest *m)
{
    struct problems p;
    problems_init(&p);
    enum err e = resource_table_sync(t, m, &p);
    problems_fini(&p);
    return e;
}

/* The table's objects as the API would show them, "NAME:VALUE:VERSION " each. */
static char *table_text(struct resource_table *t)
{
    struct buf b;
    size_t cursor = 0;
    buf_init(&b, 1u << 20);
    for (const struct resource *r; (r = resource_next(t, NULL, NULL, &cursor));)
        buf_printf(
            &b, "%s:%s%s:%s:%llu ", r->name, r->origin ? r->origin : "api", r->quarantined ? " quarantined" : "",
            r->quarantined ? "" : rig_text(cJSON_GetObjectItem(r->object, "data"), "k"),
            r->quarantined ? 0 : (unsigned long long)r->version); /* that of a quarantined one is new at each start */
    return buf_take_string(&b);
}

/* Good ones, a broken one, one of no kind, and one whose file is gone. */
static void prepare_table(void)
{
    struct diag d = {0};
    struct resource_table *t;
    store_wipe();
    struct store *s = store_opened(store_folder);
    assert_int_equal(resource_table_new(clock_system(), &t), OK);
    assert_int_equal(resource_table_keep(t, s, NULL, NULL, &d), OK);
    struct manifest *m = rig_good(manifest_text);
    assert_int_equal(sync_manifest(t, m), OK);
    assert_int_equal(put(t, "good", "one", false), OK);
    assert_int_equal(put(t, "broken", "one", false), OK);
    assert_int_equal(put(t, "stranger", "one", false), OK);
    manifest_free(m);
    assert_int_equal(sqlite3_exec(s->db,
                                  "UPDATE objects SET object = '{\"kind\":7}' WHERE name = 'broken';"
                                  "UPDATE objects SET kind = 'New' WHERE name = 'stranger';"
                                  "UPDATE objects SET absent_since = 9000000000000000000 WHERE name = 'back'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    store_close(s, resource_table_version(t));
    resource_table_free(t);
}

static void test_loading(void **state)
{
    (void)state;
    prepare_table();
    for (unsigned n = 1;; n++) {
        struct diag d = {0};
        struct resource_table *t;
        size_t strangers;
        struct store *s = store_opened(store_folder);
        assert_int_equal(resource_table_new(clock_system(), &t), OK);
        fault_arm(n);
        enum err e = resource_table_keep(t, s, NULL, NULL, &d);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        if (e == OK) {
            char *text = table_text(t);
            assert_string_equal(text, "broken:api quarantined::0 f:m.yaml:one:1 good:api:one:3 ");
            free(text);
            resource_strangers(t, &strangers);
            assert_int_equal(strangers, 1);
        }
        store_close(s, 5);
        resource_table_free(t);
        if (!fired)
            break;
    }
}

static enum err write_kind(struct resource_table *t, int which, const struct manifest *m)
{
    struct diag d = {0};
    size_t count;
    const struct kind *k = kind_by_word("configmap");
    const struct stranger *strangers = resource_strangers(t, &count);
    switch (which) {
    case 0:
        return put(t, "new", "one", false);
    case 1:
        return put(t, "good", "two", true);
    case 2:
        return put(t, "broken", "mended", true);
    case 3:
        return resource_delete(t, "test", k, "default", "good", &d);
    case 4:
        return sync_manifest(t, m);
    case 5:
        return put(t, "back", "taken", false);
    default:
        return count ? resource_stranger_delete(t, "test", strangers[0].id, &d) : OK;
    }
}

/* After each write that failed, table and store are what they were; after one that did not, a new start finds it. */
static void test_writing(void **state)
{
    (void)state;
    struct manifest *m = rig_good(manifest_text);
    for (int which = 0; which < 7; which++) {
        for (unsigned n = 1;; n++) {
            struct diag d = {0};
            struct resource_table *t;
            size_t strangers = 0;
            prepare_table();
            struct store *s = store_opened(store_folder);
            assert_int_equal(resource_table_new(clock_system(), &t), OK);
            assert_int_equal(resource_table_keep(t, s, NULL, NULL, &d), OK);
            char *was = table_text(t), *rows = strdup(store_text(s));
            fault_arm(n);
            enum err e = write_kind(t, which, m);
            bool fired = fault_disarm();
            assert_true(e == OK || (fired && e == ERR_NOMEM));
            char *now = table_text(t);
            resource_strangers(t, &strangers);
            if (e != OK) {
                assert_string_equal(now, was);
                assert_string_equal(store_text(s), rows);
            }
            assert_int_equal(strangers, which == 6 && e == OK ? 0 : 1);
            store_close(s, resource_table_version(t));
            resource_table_free(t);
            s = store_opened(store_folder);
            assert_int_equal(resource_table_new(clock_system(), &t), OK);
            assert_int_equal(resource_table_keep(t, s, NULL, NULL, &d), OK);
            char *then = table_text(t);
            assert_string_equal(then, now);
            store_close(s, resource_table_version(t));
            resource_table_free(t);
            free(was);
            free(rows);
            free(now);
            free(then);
            if (!fired)
                break;
        }
    }
    manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation),
        cmocka_unit_test(test_every_operation_once),
        cmocka_unit_test(test_every_operation_for_ever),
        cmocka_unit_test(test_every_operation_full),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_writing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
