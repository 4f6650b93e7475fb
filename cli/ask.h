/* SPDX-License-Identifier: Apache-2.0
 *
 * What the verbs about parked events and tasks share: requests under /leat/v1, and tasks that are watched.
 */
#ifndef LEAT_CLI_ASK_H
#define LEAT_CLI_ASK_H

#include "client.h"
#include "json.h"

/* Begins a URL: the server's, and `path`. */
void ask_url(struct buf *url, const struct invocation *in, const char *path);
/* Appends an operand "KIND/NAME" as NS/KIND/NAME; false (said, after `say`) when it is none, or there is none. */
bool ask_url_put_target(struct buf *url, const struct invocation *in, size_t operand, const char *say);
/* Sends and waits; false (said) without an answer, on an error status, or on an answer that is no JSON. `out` is for
 * buf_fini when true; `json` is its value. The URL is terminated by it. */
bool ask(struct client *cl, const struct invocation *in, const char *method, struct buf *url, struct slice body,
         struct client_answer *out, struct json_value *json);

/* A member's characters into `out`, terminated and cut where it does not fit; control characters become '?', so that no
 * event can move the cursor. Numbers as they stand; empty when absent. */
const char *member_text(struct json_value object, const char *const *path, char *out, size_t size);
uint64_t member_number(struct json_value object, const char *name);
bool member_is_true(struct json_value object, const char *name);

/* A table: cells are copied, and columns are as wide as their widest cell. */
struct ask_table;
struct ask_table *table_new(size_t columns);
void table_cell(struct ask_table *t, const char *text);
/* Prints, nothing when there is no row below the head, and frees. NULL is fine. */
void table_print(struct ask_table *t);

/* Orders something of KIND/NAME, the first operand: POSTs the JSON that `put` writes to PREFIX NS/KIND/NAME PATH. The
 * answer is a task: with --no-wait its number is printed, else it is followed until it ends, with its progress on
 * standard error. Ctrl-C leaves it running and says how it is stopped. `say` as ask_url_put_target; `put` says what is
 * wrong and returns false. The exit code: 0 when everything was done. */
int ask_order(const struct invocation *in, const char *prefix, const char *say, const char *path,
              bool (*put)(struct buf *out, const struct invocation *in));
/* Appends ,"NAME":"VALUE"; nothing when the value is NULL. */
void put_member(struct buf *out, const char *name, const char *value);

/* A number of events a second above 0; false (said) when it is none. */
bool rate_read(const struct invocation *in, const char *text, double *out);

#endif
