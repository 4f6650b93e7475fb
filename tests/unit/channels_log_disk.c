/* SPDX-License-Identifier: Apache-2.0
 *
 * The operating system's disk: each operation does what disk.h says, and its errors are the right ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channels/log/disk.h"

static char root[64];
static struct disk *k;

static const char *in(const char *name)
{
    static char paths[4][200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/leat-disk-XXXXXX");
    k = disk_system();
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void messages_name_the_file_as_it_is_called_now(void **state)
{
    (void)state;
    struct disk_file *f, *g;
    struct diag d;
    assert_int_equal(k->ops->open(k, in("new.tmp"), DISK_CREATE, &g, &d), OK);
    assert_int_equal(k->ops->open(k, in("new.tmp"), DISK_READ, &f, &d), OK);
    assert_int_equal(k->ops->rename(k, in("new.tmp"), in("old"), &d), OK);
    assert_int_equal(k->ops->write(k, f, "x", 1, 0, &d), ERR_IO);
    assert_non_null(strstr(d.text, in("old")));
    assert_null(strstr(d.text, "new.tmp"));
    k->ops->close(k, f);
    k->ops->close(k, g);
}

static void files_are_opened_as_asked(void **state)
{
    (void)state;
    struct disk_file *f, *g;
    struct diag d;
    assert_int_equal(k->ops->open(k, in("a"), DISK_READ, &f, &d), ERR_NOTFOUND);
    assert_non_null(strstr(d.text, "/a: "));
    assert_int_equal(k->ops->open(k, in("a"), DISK_WRITE, &f, &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->open(k, in("a"), DISK_CREATE, &f, &d), OK);
    assert_int_equal(k->ops->open(k, in("a"), DISK_CREATE, &g, &d), ERR_EXISTS);
    assert_int_equal(k->ops->open(k, in("a"), DISK_READ, &g, &d), OK);
    assert_int_equal(k->ops->write(k, g, "x", 1, 0, &d), ERR_IO);
    k->ops->close(k, g);
    k->ops->close(k, f);
}

static void bytes_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct disk_file *f;
    struct diag d;
    char bytes[32] = "";
    size_t got = 99;
    uint64_t size;
    assert_int_equal(k->ops->open(k, in("a"), DISK_CREATE, &f, &d), OK);
    assert_int_equal(k->ops->write(k, f, "hello", 5, 10, &d), OK);
    assert_int_equal(k->ops->sync(k, f, &d), OK);
    assert_int_equal(k->ops->size(k, f, &size, &d), OK);
    assert_int_equal(size, 15);
    assert_int_equal(k->ops->read(k, f, bytes, sizeof bytes, 8, &got, &d), OK);
    assert_int_equal(got, 7);
    assert_memory_equal(bytes, "\0\0hello", 7);
    assert_int_equal(k->ops->read(k, f, bytes, sizeof bytes, 100, &got, &d), OK);
    assert_int_equal(got, 0);
    assert_int_equal(k->ops->truncate(k, f, 12, &d), OK);
    assert_int_equal(k->ops->allocate(k, f, 8192, &d), OK);
    assert_int_equal(k->ops->size(k, f, &size, &d), OK);
    assert_int_equal(size, 8192);
    assert_int_equal(k->ops->read(k, f, bytes, 8, 9, &got, &d), OK);
    assert_memory_equal(bytes, "\0he\0\0\0\0\0", 8);
    assert_int_equal(k->ops->allocate(k, f, 100, &d), OK);
    assert_int_equal(k->ops->size(k, f, &size, &d), OK);
    assert_int_equal(size, 8192);
    k->ops->close(k, f);
}

static void count(void *arg, const char *name)
{
    unsigned *seen = arg;
    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    (*seen)++;
}

static void directories(void **state)
{
    (void)state;
    struct disk_file *f;
    struct diag d;
    unsigned seen = 0;
    uint64_t available, total;
    assert_int_equal(k->ops->make_dir(k, in("d"), &d), OK);
    assert_int_equal(k->ops->make_dir(k, in("d"), &d), OK);
    assert_int_equal(k->ops->make_dir(k, in("no/d"), &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->open(k, in("d/x"), DISK_CREATE, &f, &d), OK);
    k->ops->close(k, f);
    assert_int_equal(k->ops->rename(k, in("d/x"), in("d/y"), &d), OK);
    assert_int_equal(k->ops->rename(k, in("d/x"), in("d/y"), &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->sync_dir(k, in("d"), &d), OK);
    assert_int_equal(k->ops->sync_dir(k, in("e"), &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->list(k, in("d"), count, &seen, &d), OK);
    assert_int_equal(seen, 1);
    assert_int_equal(k->ops->unlink(k, in("d/y"), &d), OK);
    assert_int_equal(k->ops->unlink(k, in("d/y"), &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->list(k, in("e"), count, &seen, &d), ERR_NOTFOUND);
    assert_int_equal(k->ops->space(k, root, &available, &total, &d), OK);
    assert_int_equal(k->ops->writable(k, root, &d), OK);
    assert_int_equal(k->ops->writable(k, in("nothing"), &d), ERR_NOTFOUND);
    assert_non_null(strstr(d.text, "nothing"));
    assert_true(available > 0 && total >= available);
}

static void a_lock_keeps_others_out_and_names_its_holder(void **state)
{
    (void)state;
    struct disk_file *f, *g;
    struct diag d;
    char pid[32];
    assert_int_equal(k->ops->lock(k, in("lock"), &f, &d), OK);
    assert_int_equal(k->ops->lock(k, in("lock"), &g, &d), ERR_CONFLICT);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_non_null(strstr(d.text, pid));
    k->ops->close(k, f);
    assert_int_equal(k->ops->lock(k, in("lock"), &f, &d), OK);
    k->ops->close(k, f);
}

static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    struct disk_file *f;
    struct diag d;
    pid_t child = fork();
    if (child == 0)
        _exit(k->ops->lock(k, in("lock"), &f, NULL) != OK);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(k->ops->lock(k, in("lock"), &f, &d), OK);
    k->ops->close(k, f);
}

static void a_write_beyond_what_is_allowed_is_an_error(void **state)
{
    (void)state;
    struct disk_file *f;
    struct diag d;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = before;
    small.rlim_cur = 100;
    assert_int_equal(k->ops->open(k, in("a"), DISK_CREATE, &f, &d), OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    char bytes[200] = "";
    enum err e = k->ops->write(k, f, bytes, sizeof bytes, 0, &d); /* the first part is written, the rest is not */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(e, ERR_IO);
    assert_non_null(strstr(d.text, "cannot write"));
    k->ops->close(k, f);
}

static void without_descriptors_it_may_be_tried_again(void **state)
{
    (void)state;
    struct disk_file *f;
    struct diag d;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum err made = k->ops->open(k, in("a"), DISK_CREATE, &f, &d), synced = k->ops->sync_dir(k, in(""), &d);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(made, ERR_NOMEM);
    assert_int_equal(synced, ERR_NOMEM);
    assert_non_null(strstr(d.text, "Too many open files"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_opened_as_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_name_the_file_as_it_is_called_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_are_read_as_they_were_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lock_keeps_others_out_and_names_its_holder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lock_ends_with_its_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_beyond_what_is_allowed_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_descriptors_it_may_be_tried_again, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
