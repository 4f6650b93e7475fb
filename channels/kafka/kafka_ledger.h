/* SPDX-License-Identifier: Apache-2.0
 *
 * Which offsets of one partition are settled, and how a commit says so. Pure bookkeeping: no Kafka, no lock, no thread.
 *
 *                    base                                 top
 *      ────────────────┬───────────────────────────────────┬──────────────────────────────→ offsets
 *       all settled    │ taken: open, or settled (a bit)    │ not taken; of what a commit said
 *                      │ the first one is open              │ to be settled here too, a bit
 *
 * What is settled beyond the base fits into KAFKA_WINDOW bits, since nothing is taken further above it. Offsets that no
 * record has (compaction, transactions) are settled as soon as a record above them is taken.
 *
 * The commit of a partition is the base, as every Kafka client understands it, with a text beside it, the commit's
 * metadata, which only this reader understands:
 *
 *      "leat1:" base in decimal ":" the bits in base64
 *
 * where bit k of byte n (from the least) stands for offset base + 1 + 8 n + k, and trailing zero bytes are left out.
 * Without any such bit the metadata is empty.
 */
#ifndef LEAT_CHANNELS_KAFKA_LEDGER_H
#define LEAT_CHANNELS_KAFKA_LEDGER_H

#include "buf.h"
#include "slice.h"

/* Offsets; as bits in base64 2,732 of the 4,096 bytes that a broker takes as metadata (offset.metadata.max.bytes). */
#define KAFKA_WINDOW 16384
#define KAFKA_METADATA_MAX 2800 /* bytes that kafka_ledger_encode writes at most */

struct kafka_ledger {
    int64_t base, top;                /* 0 <= base <= top */
    uint32_t beyond;                  /* bits that are set */
    uint64_t bits[KAFKA_WINDOW / 64]; /* a ring, by offset % KAFKA_WINDOW; of [base, base + KAFKA_WINDOW) */
};

/* Nothing is known but that all below `base` is settled. */
void kafka_ledger_init(struct kafka_ledger *l, int64_t base);

/* Whether this offset, at or above top, may be taken now; if not, then after older ones are settled. */
bool kafka_ledger_fits(const struct kafka_ledger *l, int64_t offset);
/* Takes a record at or above top that fits: top is one above it then. False: it is known to be settled, and is not to
 * be delivered. */
bool kafka_ledger_take(struct kafka_ledger *l, int64_t offset);
/* No offset below this one, above top and fitting, has a record any more: what lies between is settled. */
void kafka_ledger_skip(struct kafka_ledger *l, int64_t offset);
/* Nothing is taken any more: what is open will be read again. */
void kafka_ledger_reopen(struct kafka_ledger *l);
/* A taken one, once. */
void kafka_ledger_settle(struct kafka_ledger *l, int64_t offset);

/* Appends the metadata that goes with a commit of the base. */
void kafka_ledger_encode(const struct kafka_ledger *l, struct buf *out);
/* A ledger as a commit of `base` left it, nothing taken. False: the metadata is somebody else's, or damaged; the ledger
 * then knows the base alone, so that more is delivered again, never less. */
bool kafka_ledger_decode(struct kafka_ledger *l, int64_t base, struct slice metadata);

#endif
