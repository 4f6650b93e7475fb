/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop guard: knativebrokerttl, the hops from channel to channel that an event may still make. Pure.
 *
 * Each sending into a channel of this program spends one, whatever the bus: a subscriber, a reply or a dead letter sink
 * that is a channel. Services do not see the attribute, and so cannot refresh it: a reply goes on with the hops of the
 * event that it answers.
 */
#include <assert.h>

#include "gates.h"
#include "text.h"

#define HOPS_ATTRIBUTE SLICE("knativebrokerttl")

/* A value above the limit is cut to it, and one that is no number counts as none: neither makes a loop longer. */
int hops_parse(struct slice value)
{
    uint64_t hops;
    if (value.len && value.ptr[0] == '-')
        return 0;
    if (decimal_parse(value, UINT64_MAX, &hops) != OK)
        return -1;
    return hops < DISPATCH_HOPS_MAX ? (int)hops : DISPATCH_HOPS_MAX;
}

static enum err rewrite(const struct ce_event *base, int hops, const struct ce_event **out)
{
    struct ce_builder b;
    struct buf text;
    buf_init(&text, 8);
    ce_builder_from(&b, base);
    if (hops < 0) {
        ce_builder_remove(&b, HOPS_ATTRIBUTE);
    } else {
        buf_put_u64(&text, (uint64_t)hops);
        ce_builder_replace(&b, HOPS_ATTRIBUTE, CE_INTEGER, buf_slice(&text));
    }
    enum err e = buf_error(&text);
    if (e == OK)
        e = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, NULL);
    buf_fini(&text);
    return e;
}

enum err hops_event(const struct ce_event *base, int hops, bool local, const struct ce_event **out)
{
    if (!local) {
        if (ce_event_attribute(base, HOPS_ATTRIBUTE, NULL))
            return rewrite(base, -1, out);
        *out = NULL;
        return OK;
    }
    int left = (hops < 0 ? DISPATCH_HOPS_MAX : hops) - 1;
    return left > 0 ? rewrite(base, left, out) : ERR_DENIED;
}
