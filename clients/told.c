/* SPDX-License-Identifier: Apache-2.0
 *
 * How often one cause may be told. Pure but for its state.
 */
#include "told.h"

#include "clock.h"
#include "siphash.h"

#define MINUTE_NS (60 * NS_PER_S)

bool told_admit(struct told *t, const char *text, unsigned a_minute, uint64_t now_ns, unsigned *held)
{
    static const uint64_t key[2] = {0};
    uint64_t hash = siphash13(key, slice_str(text));
    if (t->lines == 0 || now_ns - t->minute_ns >= MINUTE_NS) {
        t->minute_ns = now_ns;
        t->lines = 0;
    }
    bool again = hash == t->last_hash && now_ns - t->last_ns < MINUTE_NS;
    if (again || t->lines == a_minute) {
        t->held++;
        return false;
    }
    t->lines++;
    t->last_hash = hash;
    t->last_ns = now_ns;
    *held = t->held;
    t->held = 0;
    return true;
}
