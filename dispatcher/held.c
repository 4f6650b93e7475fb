/* SPDX-License-Identifier: Apache-2.0
 *
 * The first gates: what an event says of its time, and whether it has come before. On the dispatcher's loop.
 *
 *     expirytime      RFC 3339; passed: a counted drop, here and before each attempt
 *     (source, id)    a twin in hand: held until that one's end; a twin that has ended: a counted drop
 *     leatdeliverat   RFC 3339; to come: held until then, and only then does it take its place in the order
 *
 * Both times are by the wall clock, which may jump, so who waits looks at it once a minute. Malformed ones say nothing:
 * a sender's mistake must not lose its event. An event without them costs no look at any clock.
 */
#include <assert.h>

#include "gates.h"
#include "text.h"

static int64_t wall_now(const struct flight *f)
{
    return clock_wall_ns(loop_clock(f->dispatcher->loop));
}

#define REQUIRED_ATTRIBUTES 4 /* of every event, and always its first: none of those sought here */

/* What the attributes say; each name is looked at once. */
static void read_attributes(struct flight *f)
{
    f->expires_ns = INT64_MAX;
    f->deliver_at_ns = INT64_MIN;
    f->hops = -1;
    size_t count = ce_event_attribute_count(f->event);
    for (size_t i = REQUIRED_ATTRIBUTES; i < count; i++) {
        struct ce_attribute a = ce_event_attribute_at(f->event, i);
        int64_t at;
        if (slice_eq(a.name, SLICE("expirytime")) && rfc3339_parse(a.value, &at) == OK)
            f->expires_ns = at;
        else if (slice_eq(a.name, SLICE("leatdeliverat")) && rfc3339_parse(a.value, &at) == OK)
            f->deliver_at_ns = at;
        else if (slice_eq(a.name, SLICE("knativebrokerttl")))
            f->hops = hops_parse(a.value), f->has_hops = true;
    }
}

bool flight_expired(const struct flight *f)
{
    return f->expires_ns != INT64_MAX && wall_now(f) >= f->expires_ns;
}

/* How long its time is still to come; 0: it has. */
static uint64_t time_left(const struct flight *f)
{
    if (f->deliver_at_ns == INT64_MIN)
        return 0;
    int64_t now = wall_now(f);
    return now < f->deliver_at_ns ? (uint64_t)f->deliver_at_ns - (uint64_t)now : 0;
}

static void enter_dedup(struct flight *f)
{
    struct dispatch_stream *s = f->stream;
    struct flight *twin;
    switch (dedup_enter(s->dedup, f, loop_now_ns(s->dispatcher->loop), s->terms->spec.dedup_window_ns, &twin)) {
    case DEDUP_NEW:
        flight_readmit(f);
        break;
    case DEDUP_IN_HAND:
        flight_hold(f, ACTIVITY_TWIN);
        list_push_back(&twin->twins, &f->queue);
        break;
    case DEDUP_ENDED:
        flight_end(f, DISPATCH_DUPLICATE);
        break;
    }
}

void flight_admit(struct flight *f)
{
    assert(f->activity == ACTIVITY_NONE && !f->placed);
    read_attributes(f);
    if (f->injection)
        order_enter(f);
    else if (flight_expired(f))
        flight_end(f, DISPATCH_EXPIRED);
    else if (f->stream->dedup)
        enter_dedup(f);
    else
        flight_readmit(f);
}

void flight_readmit(struct flight *f)
{
    assert(f->activity == ACTIVITY_NONE && !f->placed);
    uint64_t wait = time_left(f);
    if (wait == 0) {
        order_enter(f);
        return;
    }
    flight_hold(f, ACTIVITY_HELD);
    loop_timer_start(f->dispatcher->loop, &f->timer, wait < HOLD_SLICE_NS ? wait : HOLD_SLICE_NS);
}
