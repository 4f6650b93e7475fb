/* SPDX-License-Identifier: Apache-2.0
 *
 * An event as bytes and back, for stores of our own: everything that ce_event_equal compares, and mode and transport
 * headers. No text format: lengths and bytes, little-endian, so that packing is copying. The layout is fixed by
 * CE_PACK_FORMAT and the head comment of events/pack.c; a change of it is a new format.
 *
 * Packed bytes may come from a disk that lies: unpacking believes nothing.
 */
#ifndef LEAT_CE_PACK_H
#define LEAT_CE_PACK_H

#include "event.h"

#define CE_PACK_FORMAT 1

/* Bytes that ce_pack writes. */
size_t ce_pack_size(const struct ce_event *e);
/* `to` has room for ce_pack_size(e) bytes. */
void ce_pack(const struct ce_event *e, void *to);
/* ERR_CORRUPT with *d; ERR_NOMEM. */
enum err ce_unpack(struct slice in, const struct ce_event **out, struct diag *d) must_check;

#endif
