/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat doctor`: the data directory, the disk under it, and the database of resources.
 */
#include <errno.h>
#include <pwd.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clock.h"
#include "data_dir.h"
#include "disk_probe.h"
#include "doctor.h"
#include "file_system.h"
#include "log_tool.h"

#define RESERVE (256ull << 20) /* as the log keeps free, or a twentieth of a small disk */
#define SLOW_SYNC_NS (20 * NS_PER_MS)
#define INCREDIBLE_SYNC_NS (8 * NS_PER_US) /* no disk, not even one with a battery, is that fast */
#define PROBE_BYTES (4ull << 20)
#define PROBE_NS (300 * NS_PER_MS)

/* ---- the directory ---- */

static void say_owner(struct doctor *k, const struct stat *st)
{
    const struct passwd *p = getpwuid(st->st_uid);
    char owner[64];
    if (p)
        snprintf(owner, sizeof owner, "%s", p->pw_name);
    else
        snprintf(owner, sizeof owner, "user %u", (unsigned)st->st_uid);
    if (access(k->data_dir, R_OK | W_OK | X_OK) != 0) {
        const bool read_only = errno == EROFS;
        doctor_say(k, geteuid() == st->st_uid || geteuid() == 0 || read_only ? VERDICT_FAIL : VERDICT_WARN,
                   "permissions",
                   read_only ? "Mount the file system for writing"
                             : "Run the server as the owner, or let this user write there",
                   "%s belongs to %s, mode %04o, and this user cannot write there: %m", k->data_dir, owner,
                   (unsigned)st->st_mode & 07777);
        return;
    }
    if (st->st_mode & 077) {
        doctor_say(k, VERDICT_WARN, "permissions", "chmod 700 it: events and secrets lie there",
                   "%s belongs to %s, mode %04o: others may look into it", k->data_dir, owner,
                   (unsigned)st->st_mode & 07777);
        return;
    }
    doctor_say(k, VERDICT_PASS, "permissions", NULL, "it belongs to %s, mode %04o", owner,
               (unsigned)st->st_mode & 07777);
}

static void say_user(struct doctor *k)
{
    k->pid = data_dir_user(k->data_dir);
    if (k->pid > 0)
        doctor_say(k, VERDICT_PASS, "lock", NULL, "the server with the process number %d uses it", k->pid);
    else if (k->pid < 0)
        doctor_say(k, VERDICT_PASS, "lock", NULL, "a server uses it");
    else
        doctor_say(k, VERDICT_PASS, "lock", NULL, "no server uses it now");
}

/* Whether there is anything to look into. */
static bool look_at_directory(struct doctor *k)
{
    struct stat st;
    struct diag d = {0};
    unsigned format = 0;
    if (stat(k->data_dir, &st) != 0 && errno == ENOENT) {
        doctor_say(k, VERDICT_WARN, "data directory",
                   "Start `leat serve`, which makes it, or name another with --data-dir", "%s is not there yet",
                   k->data_dir);
        return false;
    }
    if (stat(k->data_dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        doctor_say(k, VERDICT_FAIL, "data directory", "Name a directory with --data-dir", "%s: %s", k->data_dir,
                   S_ISDIR(st.st_mode) ? strerror(errno) : "it is no directory");
        return false;
    }
    enum err e = data_dir_format(k->data_dir, &format, &d);
    if (e == ERR_NOTFOUND)
        doctor_say(k, VERDICT_WARN, "data directory", "Name the directory that the server uses with --data-dir", "%s",
                   d.text);
    else if (e != OK)
        doctor_say(k, VERDICT_FAIL, "data directory", "Restore it from a backup", "%s", d.text);
    else if (format > DATA_DIR_FORMAT)
        doctor_say(k, VERDICT_FAIL, "data directory", "Use the version of leat that wrote it, or a later one",
                   "%s has format %u, and this program (%s) knows up to %u", k->data_dir, format, LEAT_VERSION,
                   DATA_DIR_FORMAT);
    else
        doctor_say(k, VERDICT_PASS, "data directory", NULL, "%s, format %u", k->data_dir, format);
    k->data_found = e == OK && format <= DATA_DIR_FORMAT;
    if (k->data_found || access(k->data_dir, W_OK) != 0)
        say_owner(k, &st);
    if (k->data_found)
        say_user(k);
    return true;
}

/* ---- the disk ---- */

static void say_space(struct doctor *k)
{
    struct statvfs s;
    char free_text[32], total_text[32], reserve_text[32];
    if (statvfs(k->data_dir, &s) != 0) {
        doctor_say(k, VERDICT_FAIL, "disk space", "Look at the system's log", "%s: %m", k->data_dir);
        return;
    }
    const uint64_t free_bytes = (uint64_t)s.f_bavail * s.f_frsize, total = (uint64_t)s.f_blocks * s.f_frsize;
    const uint64_t reserve = total / 20 < RESERVE ? total / 20 : RESERVE;
    bytes_text(free_bytes, free_text);
    bytes_text(total, total_text);
    bytes_text(reserve, reserve_text);
    if (free_bytes < reserve)
        doctor_say(k, VERDICT_FAIL, "disk space", "Free some: the server goes on by itself",
                   "%s free of %s, less than the reserve of %s: publishers get 503", free_text, total_text,
                   reserve_text);
    else if (free_bytes - reserve < total / 20)
        doctor_say(k, VERDICT_WARN, "disk space", "Free some, or shorten what is kept (retention)",
                   "%s free of %s; below %s publishers get 503", free_text, total_text, reserve_text);
    else
        doctor_say(k, VERDICT_PASS, "disk space", NULL,
                   "%s free of %s; %s of it are the reserve, unless the bus has another", free_text, total_text,
                   reserve_text);
    if (s.f_files && s.f_favail < 1000)
        doctor_say(k, VERDICT_FAIL, "files left", "Remove files, or make the file system anew with more inodes",
                   "only %llu more files can be made there", (unsigned long long)s.f_favail);
}

static void say_file_system(struct doctor *k)
{
    struct file_system fs;
    struct diag d = {0};
    if (file_system_of(k->data_dir, &fs, &d) != OK)
        doctor_say(k, VERDICT_FAIL, "file system", "Look at the system's log", "%s", d.text);
    else if (fs.warning)
        doctor_say(k, VERDICT_WARN, "file system", "Put the data directory on a local disk (ext4, xfs)", "%s: %s",
                   fs.name, fs.warning);
    else
        doctor_say(k, VERDICT_PASS, "file system", NULL, "%s", fs.name);
}

static void say_latency(struct doctor *k, struct disk_probe_result *r)
{
    struct file_system fs = {0};
    const uint64_t p50_ns = disk_probe_quantile(r, 0.5), p99_ns = disk_probe_quantile(r, 0.99);
    const double p50 = (double)p50_ns / NS_PER_US, p99 = (double)p99_ns / NS_PER_US;
    const bool known = file_system_of(k->data_dir, &fs, NULL) == OK && !fs.warning;
    if (known && p50_ns < INCREDIBLE_SYNC_NS)
        doctor_say(k, VERDICT_WARN, "fdatasync",
                   "See that nothing turns syncs off (eatmydata, nobarrier, a driver's cache)",
                   "p50 %.1f us: no disk is that fast, so a power loss may take what was acknowledged", p50);
    else if (p99_ns > SLOW_SYNC_NS)
        doctor_say(k, VERDICT_WARN, "fdatasync", "Use a faster disk; `leat bench disk` measures it",
                   "p50 %.0f us, p99 %.0f us: each 202 waits for one", p50, p99);
    else
        doctor_say(k, VERDICT_PASS, "fdatasync", NULL, "p50 %.0f us, p99 %.0f us, %zu measured", p50, p99, r->syncs);
}

static void say_sync(struct doctor *k)
{
    struct disk_probe *p;
    struct disk_probe_result r = {0};
    struct diag d = {0};
    enum err e = disk_probe_new(k->data_dir, PROBE_BYTES, &p, &d);
    if (e == OK) {
        e = disk_probe_run(p, 1, 1024, PROBE_NS, &r, &d);
        disk_probe_free(p);
    }
    if (e == OK)
        say_latency(k, &r);
    else if (e == ERR_DENIED)
        doctor_say(k, VERDICT_WARN, "fdatasync", "Run this as the user of the server", "not measured: %s", d.text);
    else
        doctor_say(k, VERDICT_FAIL, "fdatasync", "Look at the system's log for errors of the disk", "%s", d.text);
    disk_probe_result_fini(&r);
}

/* ---- resources.db ---- */

/* What quick_check says into `text`; OK: it said "ok". */
static enum err quick_check(sqlite3 *db, char *text, size_t size)
{
    sqlite3_stmt *s = NULL;
    enum err e = ERR_CORRUPT;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(3)", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(s, 0);
        snprintf(text, size, "%s", said ? said : "out of memory");
        e = strcmp(text, "ok") == 0 ? OK : ERR_CORRUPT;
    } else {
        snprintf(text, size, "%s", sqlite3_errmsg(db));
        e = sqlite3_errcode(db) == SQLITE_BUSY ? ERR_UNAVAILABLE : ERR_CORRUPT;
    }
    sqlite3_finalize(s);
    return e;
}

static void say_resources(struct doctor *k)
{
    char path[4096], text[300] = "";
    sqlite3 *db = NULL;
    enum err e = ERR_IO;
    snprintf(path, sizeof path, "%s/resources.db", k->data_dir);
    if (access(path, F_OK) != 0) {
        doctor_say(k, VERDICT_WARN, "resources", "Start `leat serve`, which makes it", "%s is not there", path);
        return;
    }
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, 2000);
        e = quick_check(db, text, sizeof text);
    } else {
        snprintf(text, sizeof text, "%s", db ? sqlite3_errmsg(db) : "out of memory");
    }
    sqlite3_close(db);
    if (e == OK)
        doctor_say(k, VERDICT_PASS, "resources", NULL, "%s is whole", path);
    else
        doctor_say(k, e == ERR_UNAVAILABLE ? VERDICT_WARN : VERDICT_FAIL, "resources",
                   e == ERR_UNAVAILABLE ? "Try again"
                                        : "Restore it from a backup, or move it away and apply your manifests again",
                   "%s: %s", path, text);
}

void doctor_data(struct doctor *k)
{
    if (!look_at_directory(k))
        return;
    say_space(k);
    say_file_system(k);
    if (!k->data_found)
        return;
    say_sync(k);
    say_resources(k);
}
