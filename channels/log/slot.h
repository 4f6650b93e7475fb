/* SPDX-License-Identifier: Apache-2.0
 *
 * A slot: one subscription's share of a channel that one stream drains, as a window over the log. Pure bookkeeping: no
 * I/O, no lock (the owner's), no thread.
 *
 * Which slot an event belongs to: `spread % slots`. The spread is in its record: the hash of its key, or the loop it
 * came in on.
 *
 *                  done            window: entries in order of their sequences            position
 *      ──────────────────────┬───────────────────────────────────────────────────────┬───────────────→ sequences
 *       everything of this   │ queued or in flight, and between them ranges of done   │ not looked at
 *       slot is settled      │                                                         │
 *
 * The window is a list of entries; neighbours that are done join into one range, so there is at most one range more
 * than there are unsettled entries, however far settling out of order goes.
 *
 * Modes. LIVE: position is the end of the log; the writer pushes what matches as it commits. BEHIND: events from
 * `position` on are still to be read from the log; what the writer commits is only counted. A push that finds the
 * window full makes a LIVE slot BEHIND; the reader makes it LIVE again when it has come to the end.
 */
#ifndef LEAT_CHANNELS_LOG_SLOT_H
#define LEAT_CHANNELS_LOG_SLOT_H

#include "buf.h"
#include "event.h"
#include "list.h"
#include "slice.h"

#define SLOT_QUEUE_MAX 256 /* events waiting in memory; more are read again when their turn comes */
#define SLOT_RANGES_MAX                                                                                                \
    4096 /* done ranges kept in a ledger: above the largest credit; beyond, what follows is                            \
            delivered again after a crash */

enum slot_state { SLOT_QUEUED, SLOT_FLIGHT, SLOT_DONE };

struct slot_entry {
    struct list link;             /* in the window */
    uint64_t sequence, last;      /* last: of a DONE range; else the same */
    const struct ce_event *event; /* a reference; NULL when DONE */
    uint32_t bytes;               /* in the log */
    unsigned attempt;             /* times handed out */
    enum slot_state state;
};

/* Where slots stood when they were written down, read back: which events were done then. Slots may have been another
 * number, so it is a question about an event, not about a slot. */
struct slot_ledger;

struct slot {
    struct list window;
    struct list *next; /* the first queued entry, or the window's head: where slot_take goes on */
    uint64_t position; /* BEHIND: the first sequence that has not been looked at */
    uint32_t queued, flight, ranges;
    uint64_t queued_bytes;
    bool behind;
};

void slot_init(struct slot *s, uint64_t position, bool behind);
/* Drops all entries and their references. */
void slot_fini(struct slot *s);

/* An event of this slot, of a sequence above all before it; takes a reference. ERR_FULL: the queue is; ERR_NOMEM: both
 * mean that the caller makes it BEHIND at this sequence. */
enum err slot_push(struct slot *s, uint64_t sequence, const struct ce_event *event, uint32_t bytes) must_check;
/* LIVE → BEHIND: what is at `position` and above is to be read from the log. Queued entries stay. */
void slot_fall_behind(struct slot *s, uint64_t position);
/* The next queued event, oldest first; now in flight. NULL: none is queued. Valid until settled. */
struct slot_entry *slot_take(struct slot *s);
/* In flight → done; the entry may be gone or joined to a neighbour afterwards. */
void slot_acknowledge(struct slot *s, struct slot_entry *e);
/* In flight → queued again, at its place: it is the next that slot_take gives, before younger ones. */
void slot_give_back(struct slot *s, struct slot_entry *e);
/* Drops the oldest queued event; false: none is queued. *bytes: of the one dropped. */
bool slot_drop_oldest(struct slot *s, uint32_t *bytes);

/* The lowest sequence that may still be needed: of the first entry that is not done, else the position, or `end` of a
 * LIVE one. */
uint64_t slot_needs_from(const struct slot *s, uint64_t end);
/* Whether it may still need something in [first, last]; exact but for what is above the position. */
bool slot_needs(const struct slot *s, uint64_t first, uint64_t last);

/* ---- written down ---- */

/* Appends where the slots of one subscription stand, as the value of its cursor (store.h): u16 version 1, u16 slots,
 * then for each: u64 needs_from, u32 ranges, ranges of u64 first, u64 last. `end`: as above. */
void slot_ledger_put(const struct slot *slots, size_t count, uint64_t end, struct buf *out);
/* The same for a cursor that stands at `from` and has done nothing. */
void slot_ledger_put_fresh(uint64_t from, size_t count, struct buf *out);
/* ERR_CORRUPT, ERR_NOMEM. */
enum err slot_ledger_read(struct slice value, struct slot_ledger **out) must_check;
void slot_ledger_free(struct slot_ledger *l); /* NULL is fine */
/* Cursors are never ahead of the data: lowers everything to at most `end`; returns whether anything was above. */
bool slot_ledger_clamp(struct slot_ledger *l, uint64_t end);
size_t slot_ledger_slots(const struct slot_ledger *l);
/* Where to begin reading for slot `index` of `count`: everything of that slot before it is done. */
uint64_t slot_ledger_from(const struct slot_ledger *l, size_t index, size_t count);
/* Whether this event was settled when the ledger was written. */
bool slot_ledger_done(const struct slot_ledger *l, uint64_t sequence, uint32_t spread);
/* Nothing at or above it is done: behind this sequence the ledger has no more to say. */
uint64_t slot_ledger_end(const struct slot_ledger *l);

#endif
