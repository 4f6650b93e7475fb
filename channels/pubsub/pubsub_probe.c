/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Pub/Sub bus says of itself, beside what ../abroad_probe.c has of what waits. The service tells no numbers:
 * what waits in a subscription is known when it was found empty, or counted (pubsub_pull.c). On control.
 */
#include "pubsub_subscription.h"
#include "../probes.h"

#include <assert.h>
#include <string.h>

#define COUNT_AGAIN_NS (5 * NS_PER_S) /* until one that could not be counted is tried again */

/* Has it counted, too, where that is not known. */
void pub_subscription_probe(struct abroad_subscription *a, uint64_t now_ns, struct bus_probe *out)
{
    struct bus_subscription *s = pub_subscription_of(a);
    out->counting = s->made && !a->close && !s->known;
    if (!out->counting || s->count || s->lanes.stream_count > 0 ||
        (s->count_ns && now_ns - s->count_ns <= COUNT_AGAIN_NS))
        return;
    s->count = true;
    s->count_ns = now_ns;
    if (s->post)
        post_send(s->post);
}

static void add_service(struct pub_bus *k, struct bus_probe *out)
{
    char why[sizeof k->away];
    pthread_mutex_lock(&k->away_lock);
    memcpy(why, k->away, sizeof why);
    pthread_mutex_unlock(&k->away_lock);
    if (why[0])
        bus_probe_unwell(out, OK, why);
}

void pub_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct pub_bus *k = pub_of(b);
    *out = (struct bus_probe){.healthy = true};
    add_service(k, out);
    abroad_probe(&k->abroad, c ? &c->abroad : NULL, out);
}

void pub_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    assert(s->bus == pub_of(b));
    *out = (struct bus_probe){.healthy = true};
    add_service(s->bus, out);
    abroad_probe_subscription(&s->abroad, out);
}
