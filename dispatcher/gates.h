/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to dispatcher/: what stands between an event in hand and its attempts, and the calls between those files. A
 * flight comes to the gates in the order of this header. Everything here is on the dispatcher's loop.
 */
#ifndef LEAT_DISPATCHER_GATES_H
#define LEAT_DISPATCHER_GATES_H

#include "flight.h"

/* ---- held.c ---- */
/* The first gates: expired, twin, time. It ends, waits, or goes on to order_enter. */
void flight_admit(struct flight *f);
/* The same for one that a twin held back. */
void flight_readmit(struct flight *f);
bool flight_expired(const struct flight *f);

/* ---- order.c ---- */
void order_start(struct dispatch_stream *s);
void order_stop(struct dispatch_stream *s);
/* Its time has come: behind its key, or to a place. */
void order_enter(struct flight *f);
/* It leaves: the next of its key gets ready. */
void order_leave(struct flight *f);
/* It is taken back, to come again: what would overtake it goes back as well. */
void order_revoked(struct flight *f);
/* The order changes: nobody waits for a key any more. */
void order_dissolve(struct dispatch_stream *s);
/* Soon, not within this call: places are given to those that are ready, and batches looked at. */
void order_advance(struct dispatch_stream *s);

/* ---- rate.c ---- */
void rate_start(struct dispatch_stream *s);
void rate_stop(struct dispatch_stream *s);
/* Whether there is a token; takes it. */
bool rate_take(struct dispatch_stream *s);
bool rate_ready(const struct dispatch_stream *s);
/* Waits its turn for one. */
void rate_wait(struct flight *f);
/* Calls rate_run when there is the next token. */
void rate_arm(struct dispatch_stream *s);
/* The rate has changed. */
void rate_update(struct dispatch_stream *s);

/* ---- dedup.c ---- */
/* NULL without memory. */
struct dedup *dedup_new(const uint64_t hash_key[2]);
/* NULL is fine; NULL back. */
struct dedup *dedup_free(struct dedup *d);
enum dedup_known { DEDUP_NEW, DEDUP_IN_HAND, DEDUP_ENDED };
/* What is known of the flight's source and id. NEW: entered under f->dedup. IN_HAND: *twin has it. */
enum dedup_known dedup_enter(struct dedup *d, struct flight *f, uint64_t now_ns, uint64_t window_ns,
                             struct flight **twin);
/* It has ended: what comes is a duplicate. */
void dedup_ended(struct dedup *d, struct flight *f);
/* It has not, and comes again: forgotten. `heir` (may be NULL) takes its place. */
void dedup_forget(struct dedup *d, struct flight *f, struct flight *heir);

/* ---- batch.c ---- */
void batch_start(struct dispatch_stream *s);
void batch_stop(struct dispatch_stream *s);
void batch_join(struct flight *f);
/* Sends what is due. */
void batch_run(struct dispatch_stream *s);
/* The attempt of one that is in a batch under way is withdrawn; the last one takes the request with it. */
void batch_cancel(struct flight *f);
/* The terms have changed: those that gather start anew. */
void batch_dissolve(struct dispatch_stream *s);

/* ---- hops.c ---- */
/* Hops that an event may still make, from its knativebrokerttl. */
int hops_parse(struct slice value);
/* What goes out in `base`'s stead: *out is NULL where that is `base` itself. ERR_DENIED: its hops are spent; ERR_NOMEM;
 * what the builder says. */
enum err hops_event(const struct ce_event *base, int hops, bool local, const struct ce_event **out) must_check;

#endif
