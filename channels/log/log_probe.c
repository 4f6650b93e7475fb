/* SPDX-License-Identifier: Apache-2.0
 *
 * What the log bus says of itself. Control asks; the numbers are those that appends and settlements keep (I7), so they
 * are right while others run, though not of one instant. Ages come from a short list of times, a sample a second or so:
 * an entry does not carry its time, and what is behind is not in memory at all.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdio.h>

#define SAMPLE_NS NS_PER_S
#define SAMPLES (sizeof((struct log_bus *)0)->times / sizeof(struct log_time))

/* Full: every second sample goes, so that the list reaches twice as far back, half as fine where it is old. */
void log_times_add(struct log_bus *g, uint64_t sequence, int64_t wall_ns)
{
    pthread_mutex_lock(&g->times_lock);
    assert(g->time_count == 0 || g->times[g->time_count - 1].sequence < sequence);
    const struct log_time *last = g->time_count ? &g->times[g->time_count - 1] : NULL;
    if (!last || wall_ns - last->wall_ns >= (int64_t)SAMPLE_NS || wall_ns < last->wall_ns) {
        if (g->time_count == SAMPLES) {
            g->time_count /= 2;
            for (size_t i = 0; i < g->time_count; i++)
                g->times[i] = g->times[2 * i];
        }
        g->times[g->time_count++] = (struct log_time){sequence, wall_ns};
    }
    pthread_mutex_unlock(&g->times_lock);
}

struct search {
    uint64_t sequence;
    int64_t wall_ns;
};

static void in_segment(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage, size_t count)
{
    struct search *s = arg;
    (void)usage, (void)count;
    if (i->first <= s->sequence)
        s->wall_ns = i->made_wall_ns;
}

/* When this sequence was written, or a little before. */
static int64_t time_of(struct log_bus *g, uint64_t sequence)
{
    int64_t found = 0;
    pthread_mutex_lock(&g->times_lock);
    for (size_t i = 0; i < g->time_count && g->times[i].sequence <= sequence; i++)
        found = g->times[i].wall_ns;
    pthread_mutex_unlock(&g->times_lock);
    if (found)
        return found;
    struct search s = {.sequence = sequence};
    log_store_each_segment(g->store, in_segment, &s);
    return s.wall_ns;
}

/* The oldest event of the subscription that is not settled; UINT64_MAX when there is none. */
static uint64_t oldest(struct bus_subscription *s)
{
    uint64_t first = UINT64_MAX;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->slot_count; i++) {
        uint64_t from = slot_needs_from(&s->slots[i], UINT64_MAX);
        first = from < first ? from : first;
    }
    pthread_mutex_unlock(&s->lock);
    return first;
}

static uint64_t positive(_Atomic int64_t *n)
{
    int64_t v = atomic_load_explicit(n, memory_order_relaxed);
    return v > 0 ? (uint64_t)v : 0;
}

static void add_age(struct log_bus *g, uint64_t sequence, struct bus_probe *out)
{
    if (sequence == UINT64_MAX)
        return;
    int64_t now = clock_wall_ns(g->clock), then = time_of(g, sequence);
    uint64_t age = now > then ? (uint64_t)(now - then) : 1;
    if (age > out->oldest_age_ns)
        out->oldest_age_ns = age;
}

/* A channel keeps for its subscriptions what the one with the longest backlog needs, at least. */
static void add_channel(struct bus_channel *c, uint64_t *first, struct bus_probe *out)
{
    uint64_t events = 0, bytes = 0;
    map_each(entry, tmp, &c->subscriptions) {
        struct bus_subscription *s = entry->value;
        uint64_t n = positive(&s->events), b = positive(&s->bytes);
        uint64_t from = n ? oldest(s) : UINT64_MAX;
        events = n > events ? n : events;
        bytes = b > bytes ? b : bytes;
        *first = from < *first ? from : *first;
        pthread_mutex_lock(&s->lock);
        out->counting |= s->census.wanted;
        pthread_mutex_unlock(&s->lock);
    }
    out->events += events;
    out->bytes += bytes;
    out->appended += stat_read(&c->appended);
    out->dropped += stat_read(&c->dropped);
    out->unmatched += stat_read(&c->unmatched);
}

void log_probe(struct bus *b, struct bus_channel *c, struct bus_probe *out)
{
    struct log_bus *g = log_of(b);
    struct diag why = {0};
    uint64_t first = UINT64_MAX;
    assert(out && (!c || c->bus == g));
    *out = (struct bus_probe){.healthy = !log_store_failed(g->store, &why),
                              .end = log_store_committed(g->store) + 1,
                              .commits = stat_read(&g->commits),
                              .committed = stat_read(&g->committed),
                              .lost = log_store_lost(g->store)};
    if (!out->healthy) { /* what to do comes first: the rest may be cut */
        static const char advice[] = "see to the disk, then restart leat: ";
        snprintf(out->reason, sizeof out->reason, "%s%.*s", advice, (int)(sizeof out->reason - sizeof advice),
                 why.text);
    } else if (atomic_load(&g->low)) { /* no numbers, which would make it another reason each time */
        out->healthy = !c;
        out->err = ERR_FULL;
        snprintf(out->reason, sizeof out->reason,
                 "the disk of %.150s has no room beyond the reserve: new events are refused until there is; make room, "
                 "or give the bus a smaller reserve",
                 g->dir);
    }
    if (c)
        add_channel(c, &first, out);
    else
        map_each(entry, tmp, &g->channels)
            add_channel(entry->value, &first, out);
    add_age(g, first, out);
}

void log_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    struct log_bus *g = log_of(b);
    assert(out && s->channel->bus == g);
    *out = (struct bus_probe){.healthy = !log_store_failed(g->store, NULL),
                              .events = positive(&s->events),
                              .bytes = positive(&s->bytes),
                              .appended = stat_read(&s->appended),
                              .dropped = stat_read(&s->dropped)};
    pthread_mutex_lock(&s->lock);
    out->counting = s->census.wanted;
    pthread_mutex_unlock(&s->lock);
    if (out->events)
        add_age(g, oldest(s), out);
}
