/* SPDX-License-Identifier: Apache-2.0
 *
 * What kind of file system a directory is on, and what an fdatasync is worth there.
 */
#ifndef LEAT_CLI_FILE_SYSTEM_H
#define LEAT_CLI_FILE_SYSTEM_H

#include "err.h"

struct file_system {
    char name[32];       /* "ext4", "nfs", or "0x..." of one that is not known here */
    const char *warning; /* a sentence; NULL: a sync is what it should be, as far as one can tell from here */
};

/* ERR_NOTFOUND, ERR_DENIED, ERR_IO with *d. */
enum err file_system_of(const char *path, struct file_system *out, struct diag *d) must_check;

#endif
