/* SPDX-License-Identifier: Apache-2.0
 *
 * Parking: the end of an event that neither its destination nor a dead letter sink took. It is handed to whoever
 * keeps parked events; until that one has said OK the event stays unsettled, so that a crash brings it back. Parking
 * that fails is tried again for ever, with waits that grow to 30 s.
 */
#include <assert.h>

#include "flight.h"

static void note_parking(const struct flight *f, enum err err, uint64_t next_wait_ns)
{
    struct sink_answer answer = {.err = err};
    if (err != OK)
        answer.detail = slice_str(err_name(err));
    note_attempt(f, &answer, next_wait_ns);
}

static void park_failed(struct flight *f, enum err err)
{
    struct dispatch_stream *s = f->stream;
    const struct delivery *d = &s->terms->spec.delivery;
    s->report.park_failed++;
    s->report.err = err;
    report_soon(s);
    uint64_t wait = backoff_wait_ns(d, f->tries, s->dispatcher->prng);
    wait = wait < PARK_WAIT_MAX_NS ? wait : PARK_WAIT_MAX_NS;
    note_parking(f, err, wait);
    flight_wait(f, wait);
}

static void on_parked(void *arg, enum err err)
{
    struct flight *f = arg;
    assert(f->activity == ACTIVITY_PARKING);
    assert(err != ERR_PENDING);
    f->activity = ACTIVITY_NONE;
    if (!f->stream) {
        flight_drop(f);
    } else if (err != OK) {
        park_failed(f, err);
    } else {
        note_parking(f, OK, 0);
        flight_end(f, DISPATCH_PARKED);
    }
}

static void fill(struct dispatch_failure *to, const struct flight *f, const struct failure *from)
{
    struct loop *loop = f->dispatcher->loop;
    uint64_t ago = loop_now_ns(loop) - f->first_ns;
    *to = (struct dispatch_failure){.event = f->event,
                                    .destination = from->url,
                                    .status = from->status,
                                    .err = from->err,
                                    .data = from->data,
                                    .attempts = f->subscriber_tries,
                                    .first_wall_ns = clock_wall_ns(loop_clock(loop)) - (int64_t)ago,
                                    .reason = from->reason};
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
    f->sent_ns = loop_now_ns(f->dispatcher->loop);
    f->activity = ACTIVITY_PARKING;
    const struct dispatch_spec *spec = &f->terms->spec;
    spec->park(spec->park_arg, &failure, on_parked, f);
}
