/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of a segment without reading it: which channels have events in it, and for each block of the file which
 * might, and when. Readers skip by it; it may say yes where the answer is no, never the other way round.
 */
#include "store_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "array.h"

void log_index_fini(struct log_index *x)
{
    free(x->usage);
    free(x->blocks);
    *x = (struct log_index){0};
}

void log_index_drop_blocks(struct log_index *x)
{
    free(x->blocks);
    x->blocks = NULL;
    x->block_count = 0;
}

enum err log_index_reserve_blocks(struct log_index *x, uint64_t size)
{
    assert(!x->blocks && size >= LOG_SEGMENT_HEAD);
    size_t count = (size_t)((size + LOG_BLOCK - 1) / LOG_BLOCK);
    x->blocks = calloc(count, sizeof *x->blocks);
    if (!x->blocks)
        return ERR_NOMEM;
    x->block_count = count;
    return OK;
}

/* The place of the channel, or where it belongs. */
static size_t usage_place(const struct log_index *x, uint32_t channel)
{
    size_t low = 0, high = x->usage_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->usage[middle].channel < channel)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct log_channel_usage *usage_of(const struct log_index *x, uint32_t channel)
{
    size_t at = usage_place(x, channel);
    return at < x->usage_count && x->usage[at].channel == channel ? &x->usage[at] : NULL;
}

const struct log_channel_usage *log_index_usage(const struct log_index *x, uint32_t channel)
{
    const struct log_channel_usage *u = usage_of(x, channel);
    return u && u->events ? u : NULL;
}

bool log_index_reserved(const struct log_index *x, uint32_t channel)
{
    return usage_of(x, channel) != NULL;
}

enum err log_index_reserve(struct log_index *x, uint32_t channel)
{
    size_t at = usage_place(x, channel);
    if (at < x->usage_count && x->usage[at].channel == channel)
        return OK;
    if (!array_reserve(&x->usage, &x->usage_room, x->usage_count + 1, sizeof *x->usage))
        return ERR_NOMEM;
    memmove(x->usage + at + 1, x->usage + at, (x->usage_count - at) * sizeof *x->usage);
    x->usage[at] = (struct log_channel_usage){.channel = channel};
    x->usage_count++;
    return OK;
}

static void block_add(struct log_block *b, const struct log_record *r, uint64_t offset)
{
    if (b->offset == 0) {
        b->offset = offset;
        b->first = r->sequence;
        b->wall_max = r->wall_ns;
    }
    if (r->wall_ns > b->wall_max)
        b->wall_max = r->wall_ns;
    if (r->kind == LOG_EVENT)
        b->channels |= log_channel_bit(r->channel);
}

void log_index_add(struct log_index *x, const struct log_record *r, uint64_t offset)
{
    assert(offset / LOG_BLOCK < x->block_count);
    if (r->wall_ns > x->wall_max)
        x->wall_max = r->wall_ns;
    block_add(&x->blocks[offset / LOG_BLOCK], r, offset);
    if (r->kind != LOG_EVENT)
        return;
    struct log_channel_usage *u = usage_of(x, r->channel);
    assert(u);
    if (u->events == 0) {
        u->first = r->sequence;
        u->first_wall_ns = u->last_wall_ns = r->wall_ns;
    }
    u->events++;
    u->bytes += log_record_size(r->payload_len);
    u->last = r->sequence;
    if (r->wall_ns < u->first_wall_ns)
        u->first_wall_ns = r->wall_ns;
    if (r->wall_ns > u->last_wall_ns)
        u->last_wall_ns = r->wall_ns;
}
