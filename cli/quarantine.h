/* SPDX-License-Identifier: Apache-2.0
 *
 * What `get` and `delete` do with the word that is no kind: objects in quarantine.
 */
#ifndef LEAT_CLI_QUARANTINE_H
#define LEAT_CLI_QUARANTINE_H

#include "client.h"

#define QUARANTINED "quarantined"

/* Whether an operand is the word, with or without "/ID". */
bool is_quarantined_word(const char *operand);
int quarantine_get(const struct invocation *in, enum output form);
int quarantine_delete(const struct invocation *in);

#endif
