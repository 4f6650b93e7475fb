/* SPDX-License-Identifier: Apache-2.0
 *
 * A parked event: the original, with what happened to it as extensions. Pure functions; any thread.
 *
 *     leatparkedat, leatfirstat     when it was parked, when it was first tried (RFC 3339, UTC)
 *     leatreason                    why: "retries-exhausted", "not-retryable", "deadline", "loop", "too-large", or
 *                                   "dead-letter-failed"
 *     leatattempts                  at the subscriber
 *     knativeerrordest, -code, -data          the subscriber's failure, as dead letters carry it
 *     leatdeadletterdest, -code, -data        the dead letter sink's, where that one failed too
 *
 * When the dead letter sink failed, both failures are told: the subscriber's is the one to repair before a redrive, so
 * it keeps Knative's names, whoever failed last.
 */
#ifndef LEAT_BROKER_PARKED_H
#define LEAT_BROKER_PARKED_H

#include "dispatcher.h"

/* Attributes from the end of this list are left out where the event has no room for all of them. */
#define PARKED_ATTRIBUTES_MAX 10

/* Makes the parked event. An event is never lost for want of room: what does not fit is left out, at last everything,
 * and then *out is the original. ERR_NOMEM only. */
enum err parked_make(const struct dispatch_failure *f, int64_t now_wall_ns, const struct ce_event **out) must_check;

/* The event as it was before it was parked. ERR_NOMEM. */
enum err parked_original(const struct ce_event *parked, const struct ce_event **out) must_check;

/* When it was parked; 0 where it does not say. */
int64_t parked_at_ns(const struct ce_event *parked);

/* What happened, as a JSON object: at, reason, attempts, firstAt, destination, code, error, and deadLetter with
 * destination, code, error. `error` is text: bytes that are no UTF-8 come as errorBase64. */
void parked_put_json(const struct ce_event *parked, struct buf *out);

#endif
