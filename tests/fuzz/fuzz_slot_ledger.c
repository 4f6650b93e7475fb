/* SPDX-License-Identifier: Apache-2.0 */
/* room: channels */
/* A cursor's ledger of any bytes. Properties: no bad access; what is read answers every question; clamped, nothing at
 * or above the end is done; where a slot begins to read, nothing of it before is undone. */
#include <stdlib.h>

#include "../../channels/log/slot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void ask(const struct slot_ledger *l, uint64_t sequence)
{
    for (uint32_t spread = 0; spread < 7; spread++) {
        for (size_t count = 1; count < 5; count++)
            if (!slot_ledger_done(l, sequence, spread))
                must(slot_ledger_from(l, spread % count, count) <= sequence);
        must(!slot_ledger_done(l, sequence, spread) || sequence < slot_ledger_end(l));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slot_ledger *l = NULL;
    enum err e = slot_ledger_read(slice_of((const char *)data, size), &l);
    if (e != OK) {
        must(e == ERR_CORRUPT && !l);
        return 0;
    }
    static const uint64_t sequences[] = {0, 1, 2, 3, 7, 100, 1000, 1u << 20, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++)
        ask(l, sequences[i]);
    for (size_t i = 0; i + 8 <= size && i < 400; i += 2) { /* numbers that stand in it */
        uint64_t v = 0;
        for (size_t k = 8; k-- > 0;)
            v = v << 8 | data[i + k];
        ask(l, v);
        ask(l, v + 1);
    }
    uint64_t end = size >= 8 ? 1 + (uint64_t)data[size - 1] * 9 : 5;
    (void)slot_ledger_clamp(l, end);
    must(!slot_ledger_clamp(l, end));
    for (uint32_t spread = 0; spread < 7; spread++)
        must(!slot_ledger_done(l, end, spread) && !slot_ledger_done(l, UINT64_MAX, spread));
    slot_ledger_free(l);
    return 0;
}
