/* SPDX-License-Identifier: Apache-2.0
 *
 * What reclaim.c decides and reclaim_rewrite.c does. The keeper's thread alone.
 */
#ifndef LEAT_CHANNELS_LOG_RECLAIM_H
#define LEAT_CHANNELS_LOG_RECLAIM_H

#include "store_parts.h"

/* What is kept of one channel's events in one segment. */
struct reclaim_keep {
    struct log_channel_usage usage;
    bool needed;             /* some may be: the policy is asked for each */
    int64_t younger_wall_ns; /* those from this time on are kept for replay; INT64_MAX: none */
};

struct reclaim_item {            /* one segment that may be touched */
    struct log_segment *segment; /* a reference */
    struct reclaim_keep *keeps;  /* sorted by channel, as the segment's usage */
    size_t keep_count;
    uint64_t kept; /* bytes of records, at most */
    bool fixed;    /* R3 */
};

/* Rewrites neighbours as one compacted segment in the place of the first. OK with *gained 0: it was not done, since
 * the policy said stop or damage was found, which is named then. Whatever fails, all is as it was before. */
enum err reclaim_rewrite(struct log_store *s, const struct log_policy *policy, struct reclaim_item *items, size_t count,
                         uint64_t *gained) must_check;

/* What a compacted segment with so many bytes of records takes on the disk. */
static inline uint64_t reclaim_file_size(uint64_t kept)
{
    return (LOG_SEGMENT_HEAD + kept + LOG_RECORD_HEAD + 4095) & ~(uint64_t)4095;
}

/* Removes NAME.idx and NAME.seg. */
enum err reclaim_unlink(struct log_store *s, uint64_t name) must_check;

#endif
