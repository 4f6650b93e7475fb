/* SPDX-License-Identifier: Apache-2.0
 *
 * The laboratory reclaims: what cursors of the model need and want is kept, whatever becomes of the rest.
 */
#include "log_lab_parts.h"

/* Whether a cursor of the channel stands at or before this sequence. */
static bool needed(const struct lab_model *m, uint32_t channel, uint64_t sequence)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct lab_record *r = &m->records[i];
        if (r->kind == LOG_OBJECT && r->type == LOG_CURSOR && r->channel == channel && r->position <= sequence &&
            lab_object_at(m, r->type, r->object, UINT64_MAX) == r)
            return true;
    }
    return false;
}

/* Filters let few events through, so that there is something to compact. */
static bool wanted(const struct lab_model *m, uint32_t channel, uint32_t spread, uint64_t sequence)
{
    return spread % 8 == 0 && needed(m, channel, sequence);
}

static bool on_needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    const struct lab *l = arg;
    lab_check(l, first <= last && channel);
    return needed(&l->model, channel, last);
}

static bool on_wanted(void *arg, const struct log_view *v)
{
    const struct lab *l = arg;
    lab_check(l, v->record.kind == LOG_EVENT && v->record.sequence <= log_store_committed(l->store));
    return wanted(&l->model, v->record.channel, v->record.spread, v->record.sequence);
}

static void on_retention(void *arg, uint32_t channel, int64_t *age_ns, uint64_t *bytes)
{
    (void)arg;
    *age_ns = channel % 3 == 1 ? 3 * (int64_t)NS_PER_S : 0;
    *bytes = channel % 3 == 1 ? 30000 : 0;
}

static bool on_stop(void *arg)
{
    struct lab *l = arg;
    return prng_below(&l->random, 200) == 0;
}

enum err lab_reclaim(struct lab *l)
{
    struct lab_model *m = &l->model;
    struct log_reclaimed out = {0};
    const struct log_policy policy = {.needed = on_needed,
                                      .wanted = on_wanted,
                                      .retention = on_retention,
                                      .stop = on_stop,
                                      .arg = l,
                                      .below = log_store_committed(l->store) + 1};
    for (size_t i = 0; i < m->count; i++) {
        struct lab_record *r = &m->records[i];
        if (r->sequence <= log_store_committed(l->store))
            r->dispensable |= r->kind != LOG_EVENT || !wanted(m, r->channel, r->spread, r->sequence);
    }
    m->reclaimed = true;
    return log_store_reclaim(l->store, &policy, &out);
}
