/* SPDX-License-Identifier: Apache-2.0
 *
 * Up to where the sources of one loop have done their work: read off their counters once a second, and told when it has
 * changed, all at once. Control loop; the loops of the sources write the counters.
 */
#include "engine_parts.h"

#include <stdlib.h>

#define LOOK_NS                                                                                                        \
    (1 * NS_PER_S) /* what a kill may cost: times that came due meanwhile are told as missed, though sent              \
                    */

static uint64_t place_of(const struct engine_source *s)
{
    return __atomic_load_n(&s->counters.place, __ATOMIC_RELAXED);
}

static bool has_moved(const struct engine_source *s)
{
    return s->ops->one_loop && place_of(s) != s->place_told;
}

/* Without memory the next look tells it. */
static void tell(struct engine *e)
{
    size_t count = 0;
    list_each(l, tmp, &e->sources)
        count += has_moved(container_of(l, struct engine_source, link));
    struct engine_place *places = count && e->reports.places ? calloc(count, sizeof *places) : NULL;
    if (!places)
        return;
    size_t n = 0;
    list_each(l, tmp, &e->sources) {
        struct engine_source *s = container_of(l, struct engine_source, link);
        if (n == count || !has_moved(s))
            continue;
        s->place_told = place_of(s);
        places[n++] = (struct engine_place){s->key, s->place_told};
    }
    e->reports.places(e->reports.arg, places, n);
    free(places);
}

static void look(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, places);
    bool any = false;
    tell(e);
    list_each(l, tmp, &e->sources)
        any = any || container_of(l, struct engine_source, link)->ops->one_loop;
    if (any)
        loop_timer_start(e->control, t, LOOK_NS);
}

void engine_places_init(struct engine *e)
{
    loop_timer_init(&e->places, look);
}

void engine_places_watch(struct engine *e)
{
    if (!e->stopped && !loop_timer_armed(&e->places))
        loop_timer_start(e->control, &e->places, LOOK_NS);
}

void engine_places_stop(struct engine *e)
{
    loop_timer_stop(e->control, &e->places);
    tell(e);
}
