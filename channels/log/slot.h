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
 *
 * `end` below is the sequence that the next record of the log will get: one more than the last.
 */
#ifndef LEAT_CHANNELS_LOG_SLOT_H
#define LEAT_CHANNELS_LOG_SLOT_H

#include "buf.h"
#include "event.h"
#include "list.h"
#include "slice.h"

#define SLOT_QUEUE_MAX 256 /* events waiting in memory; more are read again when their turn comes */
/* Done ranges of a slot that are written down: above the largest credit. What follows is delivered again after a crash.
 */
#define SLOT_RANGES_MAX 4096
#define SLOT_PARTS_MAX 4 /* of a ledger: an older one that knows more is forgotten, and delivered again */

enum slot_state { SLOT_QUEUED, SLOT_FLIGHT, SLOT_DONE };

struct slot_entry {
    struct list link;             /* in the window */
    uint64_t sequence, last;      /* last: of a DONE range; else the same */
    const struct ce_event *event; /* a reference; NULL when DONE */
    uint32_t bytes;               /* in the log */
    unsigned attempt;             /* times handed out */
    enum slot_state state;
};

struct slot_ledger; /* below */

struct slot {
    struct list window;      /* never begins with a DONE entry, and no two of them are neighbours */
    struct list *next;       /* the first queued entry, or the window's head: where slot_take goes on */
    struct list *fresh;      /* the first that was never taken, or the head: from here on none is in flight */
    uint64_t position;       /* BEHIND: the first sequence that has not been looked at */
    uint32_t queued, flight; /* how many */
    uint32_t given_back;     /* of the queued, those before `fresh` */
    uint32_t ranges;         /* DONE entries */
    uint64_t queued_bytes;
    bool behind;
};

void slot_init(struct slot *s, uint64_t position, bool behind);
/* Drops all entries and their references. */
void slot_fini(struct slot *s);

/* An event of this slot, of a sequence above all before it; takes a reference. Moves the position of a BEHIND one past
 * it. ERR_FULL: the queue is; ERR_NOMEM: both mean that a LIVE one is to fall behind at this sequence, and that a
 * BEHIND one stays where it is. */
enum err slot_push(struct slot *s, uint64_t sequence, const struct ce_event *event, uint32_t bytes) must_check;
/* Likewise for an event that is known to be settled (slot_ledger_done): it is not delivered, but kept in mind while
 * older ones are not settled. ERR_NOMEM. */
enum err slot_push_done(struct slot *s, uint64_t sequence) must_check;
/* BEHIND: all before this sequence has been looked at; never moves the position back. */
void slot_looked(struct slot *s, uint64_t position);
/* BEHIND → LIVE: the position is the end of the log. */
void slot_catch_up(struct slot *s);
/* LIVE → BEHIND: what is at `position` and above is to be read from the log. Queued entries stay. */
void slot_fall_behind(struct slot *s, uint64_t position);

/* The next queued event, oldest first; now in flight. NULL: none is queued. Valid until settled. */
struct slot_entry *slot_take(struct slot *s);
/* In flight → done; the entry may be gone or joined to a neighbour afterwards. */
void slot_acknowledge(struct slot *s, struct slot_entry *e);
/* In flight → queued again, at its place: slot_take gives it before younger ones. */
void slot_give_back(struct slot *s, struct slot_entry *e);
/* Drops the oldest queued event: done without having been delivered. False: none is queued. *bytes: of the one dropped.
 */
bool slot_drop_oldest(struct slot *s, uint32_t *bytes);

/* The lowest sequence that may still be needed: of the first entry, else the position, or `end` of a LIVE one. */
uint64_t slot_needs_from(const struct slot *s, uint64_t end);
/* Whether it may still need something in [first, last]; exact but for what is above the position. What was committed
 * and not pushed yet it does not know. */
bool slot_needs(const struct slot *s, uint64_t first, uint64_t last);

/* ---- written down: the ledger ---- */

/* Where the slots of a subscription stood, and what was done beyond: the value of its cursor (store.h). Read back there
 * may be another number of slots, so a ledger answers questions about events.
 *
 *      u16 version 1, u16 parts, and each part: u16 slots, then for each slot:
 *          u64 from: everything of this slot below is done, u32 ranges, and each range: u64 first, u64 last: done too
 *
 * An event is done when one part says so. The first part is of the slots that there were when it was written; another
 * is there while they had not looked yet at all that an older ledger, of another number of slots, knew to be done. So
 * nothing is forgotten by a second crash soon after the first. All parts differ in their number of slots.
 */

/* Appends where the slots of one subscription stand. `before`: the ledger with which they began, at least for as long
 * as one of them is BEHIND at a position below its end; else NULL. What it says beyond their positions stays said. */
void slot_ledger_put(const struct slot *slots, size_t count, uint64_t end, const struct slot_ledger *before,
                     struct buf *out);
/* The same for a cursor that stands at `from` and has done nothing. */
void slot_ledger_put_fresh(uint64_t from, size_t count, struct buf *out);
/* ERR_CORRUPT, ERR_NOMEM. */
enum err slot_ledger_read(struct slice value, struct slot_ledger **out) must_check;
void slot_ledger_free(struct slot_ledger *l); /* NULL is fine */
/* Cursors are never ahead of the data: lowers everything to at most `end`; returns whether anything was above. */
bool slot_ledger_clamp(struct slot_ledger *l, uint64_t end);
/* How many slots there were. */
size_t slot_ledger_slots(const struct slot_ledger *l);
/* Where to begin reading for slot `index` of `count`: everything of that slot before it is done. */
uint64_t slot_ledger_from(const struct slot_ledger *l, size_t index, size_t count);
/* Whether this event was settled when the ledger was written. */
bool slot_ledger_done(const struct slot_ledger *l, uint64_t sequence, uint32_t spread);
/* Nothing at or above it is done: a slot at this position does not need the ledger any more. */
uint64_t slot_ledger_end(const struct slot_ledger *l);

#endif
