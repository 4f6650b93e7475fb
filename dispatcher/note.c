/* SPDX-License-Identifier: Apache-2.0
 *
 * What the trace gets of a flight. Without a trace nothing is looked at.
 */
#include <assert.h>

#include "flight.h"

_Static_assert((int)TRACE_PARK == (int)PHASE_PARK && (int)TRACE_REPLY == (int)PHASE_REPLY,
               "phases are noted under their own numbers");

static void note(const struct flight *f, const struct sink_answer *answer, struct trace_attempt note)
{
    const struct dispatch_spec *spec = &f->stream->terms->spec;
    if (!spec->trace)
        return;
    note.phase = (enum trace_phase)f->phase;
    note.status = answer->status;
    note.err = answer->err;
    note.text = answer->body.len ? answer->body : answer->detail;
    trace_attempt(spec->trace, f->event, spec->trace_subject, &note);
}

void note_attempt(const struct flight *f, const struct sink_answer *answer, uint64_t next_wait_ns)
{
    uint64_t duration = loop_now_ns(f->dispatcher->loop) - f->sent_ns;
    note(f, answer, (struct trace_attempt){.number = f->tries, .duration_ns = duration, .next_wait_ns = next_wait_ns});
}

void note_refusal(const struct flight *f, const struct sink_answer *answer)
{
    note(f, answer, (struct trace_attempt){.number = 0});
}

void note_ended(const struct flight *f, enum trace_end how)
{
    assert(how < TRACE_END_COUNT);
    const struct dispatch_spec *spec = &f->stream->terms->spec;
    if (spec->trace)
        trace_ended(spec->trace, f->event, spec->trace_subject, how);
}

void note_filtered(const struct dispatch_stream *s, const struct ce_event *e)
{
    const struct dispatch_spec *spec = &s->terms->spec;
    if (spec->trace)
        trace_ended(spec->trace, e, spec->trace_subject, TRACE_FILTERED);
}
