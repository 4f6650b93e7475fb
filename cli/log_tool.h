/* SPDX-License-Identifier: Apache-2.0
 *
 * What the verbs about a log on disk share: which log, progress, and numbers as people read them.
 */
#ifndef LEAT_CLI_LOG_TOOL_H
#define LEAT_CLI_LOG_TOOL_H

#include "ask.h"
#include "log_inspect.h"

extern const struct command log_inspect_command;

/* The directory that is meant: the operand, else the data directory; NULL (said); the caller frees it. */
char *log_tool_dir(const struct invocation *in);
/* Says an error and returns its exit code. */
int log_tool_fail(const struct invocation *in, enum err e, const struct diag *d);

/* A log_progress_fn: a line on standard error that is written over, when that is a terminal and it takes long. */
struct log_progress {
    uint64_t begun_ns, shown_ns; /* 0: not yet */
};
bool log_progress(void *arg, uint64_t done, uint64_t total);
/* Wipes the line. */
void log_progress_end(struct log_progress *p);

/* "112.4 MiB" */
void table_bytes(struct ask_table *t, uint64_t bytes);
const char *bytes_text(uint64_t bytes, char out[32]);
void table_number(struct ask_table *t, uint64_t n);
/* A time in UTC; "-" for 0. */
void table_time(struct ask_table *t, int64_t wall_ns);
/* A member with a time, "NAME":"2026-...", or null for 0. A comma first. */
void put_time(struct buf *out, const char *name, int64_t wall_ns);

#endif
