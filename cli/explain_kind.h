/* SPDX-License-Identifier: Apache-2.0
 *
 * The side of `leat explain` that tells of kinds. The verb has two: an event's id is looked for on the server, a kind
 * with or without the path of a field is told of from the schemas.
 */
#ifndef LEAT_CLI_EXPLAIN_KIND_H
#define LEAT_CLI_EXPLAIN_KIND_H

#include "client.h"

/* The kind that a word names ("trigger", "trigger.spec.filter", "channels.messaging.knative.dev"), and the path behind
 * it, "" for none; `api_version` NULL: the preferred one. NULL: it names none. */
const struct kind *explain_kind_of(const char *word, const char *api_version, const char **path);
/* Prints what the field is and what lies in it; the exit code. */
int explain_kind(const struct invocation *in, const struct kind *k, const char *path, bool json);

#endif
