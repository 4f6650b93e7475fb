/* SPDX-License-Identifier: Apache-2.0
 *
 * Up to where sources have done their work, and what replays may have left on a bus, kept in the store over a restart.
 * Control loop.
 */
#ifndef LEAT_BROKER_PLACES_H
#define LEAT_BROKER_PLACES_H

#include "engine.h"
#include "resource/store.h"

/* What fails is logged, and comes again with the next place. */
void places_keep(struct store *store, const struct resource_table *table, const struct engine_place *places,
                 size_t count);
/* What was kept for the source of this key, for this very state of its object; 0: nothing. */
uint64_t places_kept(struct store *store, const struct resource_table *table, const char *key);

/* Whether the bus of the subscription with this cursor has one of its own for a replay into it (replay_rewind.c).
 * Likewise. */
void replay_keep(struct store *store, const char *cursor, bool there);
bool replay_kept(struct store *store, const char *cursor);

#endif
