/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Packed events of any bytes. Properties: no bad access; what unpacks obeys the rules of events, and packs again to
 * bytes that unpack to the same event. */
#include <stdlib.h>

#include "../lib/event_rules.h"
#include "ce_pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void same(const struct ce_event *a, const struct ce_event *b)
{
    must(ce_event_equal(a, b) && ce_event_mode(a) == ce_event_mode(b));
    must(ce_event_header_count(a) == ce_event_header_count(b));
    for (size_t i = 0; i < ce_event_header_count(a); i++) {
        struct slice an, av, bn, bv;
        ce_event_header_at(a, i, &an, &av);
        ce_event_header_at(b, i, &bn, &bv);
        must(slice_eq(an, bn) && slice_eq(av, bv));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ce_event *e = NULL, *again = NULL;
    struct diag d = {0};
    enum err err = ce_unpack(slice_of((const char *)data, size), &e, &d);
    if (err != OK) {
        must(err == ERR_CORRUPT && !e && d.text[0]);
        return 0;
    }
    must(obeys_the_rules(e));
    size_t len = ce_pack_size(e);
    char *bytes = malloc(len), *twice = malloc(len);
    must(bytes && twice);
    ce_pack(e, bytes);
    must(ce_unpack(slice_of(bytes, len), &again, &d) == OK);
    same(e, again);
    must(ce_pack_size(again) == len);
    ce_pack(again, twice);
    must(memcmp(bytes, twice, len) == 0);
    ce_event_unref(again);
    ce_event_unref(e);
    free(bytes);
    free(twice);
    return 0;
}
