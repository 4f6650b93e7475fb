/* SPDX-License-Identifier: Apache-2.0
 *
 * The data directory: where it is, that it is ours, that nobody else uses it. What lies in it and who may change what
 * is in docs/internals/data_directory.md.
 *
 *     DATA/format         "leat data 1"
 *     DATA/lock           held locked by the process that serves; its number is the content
 *     DATA/tokens         who may use the API (tokens.h)
 *     DATA/resources.db   objects (SQLite)
 *     DATA/kubernetes/    what sources of that kind have told
 *     DATA/log/           events of the default bus
 *     DATA/buses/NAME/    events of a Bus that names no directory
 */
#ifndef LEAT_DATA_DIR_H
#define LEAT_DATA_DIR_H

#include "err.h"

#define DATA_DIR_KUBERNETES "kubernetes" /* the folder of that name */
#define DATA_DIR_FORMAT 1                /* what this program writes; it reads all from 1 on */

/* Where the data are: `given` (--data-dir; may be NULL), else the first of $STATE_DIRECTORY, else $XDG_STATE_HOME/leat,
 * else ~/.local/state/leat. Absolute, the caller's (free). ERR_INVALID with *d when nothing says it; ERR_NOMEM. */
enum err data_dir_choose(const char *given, char **out, struct diag *d) must_check;

/* Makes the directory when it is not there (0700), for who puts something there before it is served first. Errors as of
 * data_dir_open. */
enum err data_dir_make(const char *path, struct diag *d) must_check;

struct data_dir;
/* Makes the directory when it is not there (0700), checks its format and takes the lock. Errors say what to do.
 * ERR_EXISTS: another process serves it; ERR_UNSUPPORTED: a newer leat wrote it, and nothing was touched; ERR_CORRUPT:
 * it is no data directory; ERR_INVALID: its path cannot be one; ERR_DENIED, ERR_FULL, ERR_IO, ERR_NOMEM. */
enum err data_dir_open(const char *path, struct data_dir **out, struct diag *d) must_check;
void data_dir_close(struct data_dir *d); /* NULL is fine */
const char *data_dir_path(const struct data_dir *d);

/* For who only looks: the format that is written there; ERR_NOTFOUND when the directory is not there or holds none,
 * ERR_CORRUPT when the file says something else. */
enum err data_dir_format(const char *path, unsigned *format, struct diag *d) must_check;
/* The process that serves it; 0: none, -1: some, but its number is not known. */
int data_dir_user(const char *path);

#endif
