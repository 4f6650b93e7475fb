/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose cursors and dead-letter channels of a log are: their names are uids, and resources.db beside the log knows the
 * objects.
 */
#ifndef LEAT_CLI_LOG_OWNERS_H
#define LEAT_CLI_LOG_OWNERS_H

#include <stddef.h>

struct log_owners;

/* Reads what there is; never fails, since without it names are shown as they are. `dir`: of the log. NULL: nothing. */
struct log_owners *log_owners_read(const char *dir);
void log_owners_free(struct log_owners *o);
/* "Subscription default/orders", "Sequence default/flow, step-1", "dead letters of ..."; an empty text when it is not
 * known, or says it itself. Returns `out`. */
const char *log_owner(const struct log_owners *o, const char *name, char *out, size_t size);

#endif
