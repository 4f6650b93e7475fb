/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of hashes under a secret key, open addressing, at most half full. It never forgets: once it is full, what is
 * new is not told any more.
 */
#include "observe.h"

#include <stdlib.h>

#include "log.h"
#include "siphash.h"

struct observed {
    uint64_t key[2];
    size_t count;
    uint64_t slots[OBSERVED_MAX * 2]; /* 0: free */
};
_Static_assert((OBSERVED_MAX & (OBSERVED_MAX - 1)) == 0, "slots are found by a mask");

struct observation { /* on its way to the control loop */
    struct letter letter;
    struct engine *engine;
    uint32_t channel;
    const struct ce_event *event;
};

enum err observed_new(const uint64_t key[2], struct observed **out)
{
    struct observed *o = calloc(1, sizeof *o);
    if (!o)
        return ERR_NOMEM;
    o->key[0] = key[0];
    o->key[1] = key[1];
    *out = o;
    return OK;
}

void observed_free(struct observed *o)
{
    free(o);
}

static uint64_t rotate(uint64_t x)
{
    return x << 1 | x >> 63;
}

/* Where this hash is, or the free slot where it belongs. */
static uint64_t *find(struct observed *o, uint64_t hash)
{
    size_t mask = OBSERVED_MAX * 2 - 1, i = hash & mask;
    while (o->slots[i] && o->slots[i] != hash)
        i = (i + 1) & mask;
    return &o->slots[i];
}

static void arrived(struct letter *m)
{
    struct observation *o = container_of(m, struct observation, letter);
    engine_observed(o->engine, o->channel, o->event);
    ce_event_unref(o->event);
    free(o);
}

static bool tell(struct shard *s, uint32_t channel, const struct ce_event *e)
{
    struct observation *o = malloc(sizeof *o);
    if (!o)
        return false;
    *o = (struct observation){{.run = arrived}, s->engine, channel, ce_event_ref(e)};
    loop_post_reserved(engine_control(s->engine), &o->letter);
    return true;
}

void observe(struct shard *s, uint32_t channel, const struct ce_event *e)
{
    struct observed *o = s->observed;
    uint64_t hash = rotate(rotate(siphash13(o->key, ce_event_type(e))) ^ siphash13(o->key, ce_event_source(e))) ^
                    channel * 0x9e3779b97f4a7c15u;
    uint64_t *slot = find(o, hash | 1); /* never that of a free slot */
    if (*slot || o->count == OBSERVED_MAX || !tell(s, channel, e))
        return; /* without memory the next such event tries again */
    *slot = hash | 1;
    if (++o->count == OBSERVED_MAX)
        log_line(LOG_WARN, "event_types.full", "loop=%u text=%s", s->index,
                 log_value("no further types and sources are observed until the next start"));
}
