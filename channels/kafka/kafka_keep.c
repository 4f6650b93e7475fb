/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups that nobody drains: a paused subscription, a dead letter channel. A broker forgets what a group has committed
 * offsets.retention.minutes (7 days by default) after its last member left, and committing again does not help: the
 * time counts from the leaving. So from time to time a consumer joins, which commits what there is and leaves. One at
 * a time for a bus. Should another process drain the group meanwhile, it shares its partitions with it for a moment.
 * All on control.
 */
#include "kafka_member.h"

#define FIRST_PART 24 /* the first time comes sooner: the process before may have ended right before its time */
#define WAIT_NS NS_PER_S
#define VAIN_NS (60 * NS_PER_S) /* it was not let in */

static void arm(struct bus_subscription *s, uint64_t ns)
{
    loop_timer_start(s->bus->desk.env.control, &s->keep, ns < s->bus->settings.keep_ns ? ns : s->bus->settings.keep_ns);
}

static bool is_idle(const struct bus_subscription *s)
{
    return !s->member && s->stream_count == 0 && s->state == KAFKA_SUB_READY && !desk_closed(&s->bus->desk);
}

void kafka_keep_due(struct loop_timer *t)
{
    struct bus_subscription *s = container_of(t, struct bus_subscription, keep);
    struct diag d = {0};
    if (!is_idle(s))
        return; /* it begins again when its consumer has gone */
    if (s->bus->keeping || s->busy || s->anew) {
        arm(s, WAIT_NS);
        return;
    }
    if (kafka_member_new(s, &d)) {
        arm(s, VAIN_NS);
        return;
    }
    s->keeping = s->bus->keeping = true;
    kafka_member_linger(s->member, true);
}

void kafka_keep_begin(struct bus_subscription *s)
{
    if (is_idle(s) && !loop_timer_armed(&s->keep))
        arm(s, s->bus->settings.keep_ns / FIRST_PART);
}

void kafka_keep_end(struct bus_subscription *s)
{
    if (s->keeping)
        s->keeping = s->bus->keeping = false;
}

void kafka_keep_left(struct bus_subscription *s, bool was_in)
{
    kafka_keep_end(s);
    if (is_idle(s))
        arm(s, was_in ? UINT64_MAX : VAIN_NS);
}
