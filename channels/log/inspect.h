/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tools over a log share: where it lies, and which files it is made of.
 */
#ifndef LEAT_CHANNELS_LOG_INSPECT_H
#define LEAT_CHANNELS_LOG_INSPECT_H

#include "disk.h"
#include "record.h"
#include "slice.h"

#define INSPECT_PATH_MAX 4096
#define INSPECT_STRANGE_MAX 16 /* names of files that are none of the log's, kept for being told */

struct inspect_files {
    struct inspect_file {
        char name[32];
        uint64_t first; /* as the name says */
    } * segments;       /* owned; oldest first */
    size_t count, cap;
    char strange[INSPECT_STRANGE_MAX][256];
    size_t strange_count;
    bool no_memory;
};

/* DIR/NAME. ERR_INVALID: too long. */
enum err inspect_path(char out[INSPECT_PATH_MAX], const char *dir, const char *name, struct diag *d) must_check;
/* The folder of the log that `dir` means: itself, or "log" in it. Errors of log_inspect.h. */
enum err inspect_find(struct disk *disk, const char *dir, char out[INSPECT_PATH_MAX], struct diag *d) must_check;
/* Opens the log for reading only. Where a server reclaims and begins segments meanwhile, it is tried again: what is
 * seen is what was there at one time. */
struct log_store;
enum err inspect_open(const char *dir, char path[INSPECT_PATH_MAX], struct log_store **out, struct diag *d) must_check;
enum err inspect_list(struct disk *disk, const char *dir, struct inspect_files *out, struct diag *d) must_check;
/* A name of the catalogue, terminated; the caller frees it. NULL: no memory. */
char *inspect_text(struct slice name);
void inspect_files_fini(struct inspect_files *f);

#endif
