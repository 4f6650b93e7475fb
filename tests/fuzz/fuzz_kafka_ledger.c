/* SPDX-License-Identifier: Apache-2.0 */
/* room: channels */
/* A commit's metadata of any bytes. Properties: no bad access; what is not understood leaves the base alone; whatever
 * is understood is written again as it was, and taking and settling all of the window ends above it. */
#include <stdlib.h>

#include "../../channels/kafka/kafka_ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* What was read, written and read again, is the same. */
static void write_again(const struct kafka_ledger *l)
{
    struct kafka_ledger again;
    struct buf b;
    buf_init(&b, KAFKA_METADATA_MAX);
    kafka_ledger_encode(l, &b);
    must(buf_error(&b) == OK);
    must(kafka_ledger_decode(&again, l->base, buf_slice(&b)));
    must(again.beyond == l->beyond && !memcmp(again.bits, l->bits, sizeof l->bits));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kafka_ledger l;
    int64_t base = size ? data[0] : 0; /* a digit of the text, more often than not */
    struct slice text = slice_of((const char *)data, size);
    if (size > 8 && slice_has_prefix(text, SLICE("leat1:")))
        base = data[6] - '0' < 0 ? 0 : data[6] - '0';
    bool known = kafka_ledger_decode(&l, base, text);
    must(l.base == base && l.top == base && (known || l.beyond == 0));
    write_again(&l);
    uint32_t beyond = l.beyond, fresh = 0;
    int64_t end = base + KAFKA_WINDOW;
    for (int64_t i = base; i < end; i++) {
        if (i < l.top)
            continue;
        if (kafka_ledger_take(&l, i)) {
            fresh++;
            if (i % 3) /* some at once */
                kafka_ledger_settle(&l, i);
        }
    }
    must(fresh + beyond == KAFKA_WINDOW);
    write_again(&l);
    for (int64_t i = base; i < end; i++)
        if (i >= l.base && !(l.bits[(uint64_t)i % KAFKA_WINDOW / 64] >> (uint64_t)i % 64 & 1))
            kafka_ledger_settle(&l, i);
    must(l.base == end && l.top == end && l.beyond == 0);
    return 0;
}
