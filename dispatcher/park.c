/* SPDX-License-Identifier: Apache-2.0
 *
 * Parking: the end of an event that neither its destination nor a dead letter sink took. It is handed to whoever
 * keeps parked events; until that one has said OK the event stays unsettled, so that a crash brings it back. Parking
 * that fails is tried again for ever, with waits that grow to 30 s.
 */
#include <assert.h>

#include "flight.h"

static void park_failed(struct flight *f, enum err err)
{
    struct dispatch_stream *s = f->stream;
    const struct delivery *d = &s->terms->spec.delivery;
    s->report.park_failed++;
    s->report.err = err;
    report_soon(s);
    uint64_t wait = backoff_wait_ns(d, f->tries, s->dispatcher->prng);
    flight_wait(f, wait < PARK_WAIT_MAX_NS ? wait : PARK_WAIT_MAX_NS);
}

static void on_parked(void *arg, enum err err)
{
    struct flight *f = arg;
    assert(f->activity == ACTIVITY_PARKING);
    assert(err != ERR_PENDING);
    f->activity = ACTIVITY_NONE;
    if (!f->stream)
        flight_drop(f);
    else if (err != OK)
        park_failed(f, err);
    else
        flight_end(f, DISPATCH_PARKED);
}

static void fill(struct dispatch_failure *to, const struct flight *f, const struct failure *from)
{
    *to = (struct dispatch_failure){.event = f->event,
                                    .destination = from->url,
                                    .status = from->status,
                                    .err = from->err,
                                    .data = from->data,
                                    .attempts = f->subscriber_tries};
}

void flight_park(struct flight *f)
{
    assert(f->phase == PHASE_PARK && f->activity == ACTIVITY_NONE);
    assert(f->failure);
    struct dispatch_failure failure, cause;
    fill(&failure, f, f->failure);
    if (f->failure->cause) {
        assert(!f->failure->cause->cause); /* a destination, then the dead letter sink: there is no third */
        fill(&cause, f, f->failure->cause);
        failure.cause = &cause;
    }
    f->tries++;
    f->activity = ACTIVITY_PARKING;
    const struct dispatch_spec *spec = &f->terms->spec;
    spec->park(spec->park_arg, &failure, on_parked, f);
}
