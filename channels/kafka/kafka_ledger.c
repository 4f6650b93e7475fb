/* SPDX-License-Identifier: Apache-2.0
 *
 * The settled offsets of a partition, and their written form; see kafka_ledger.h.
 */
#include "kafka_ledger.h"

#include <assert.h>

#include "text.h"

#define TAG "leat1:"
#define BYTES_MAX (KAFKA_WINDOW / 8)

static uint64_t *word_of(struct kafka_ledger *l, int64_t offset)
{
    return &l->bits[(uint64_t)offset % KAFKA_WINDOW / 64];
}

static uint64_t mask_of(int64_t offset)
{
    return 1ull << ((uint64_t)offset % 64);
}

static bool is_set(const struct kafka_ledger *l, int64_t offset)
{
    assert(offset >= l->base && offset - l->base < KAFKA_WINDOW);
    return l->bits[(uint64_t)offset % KAFKA_WINDOW / 64] & mask_of(offset);
}

static void set(struct kafka_ledger *l, int64_t offset)
{
    if (is_set(l, offset))
        return;
    *word_of(l, offset) |= mask_of(offset);
    l->beyond++;
}

/* The base moves on by one; its place in the ring is free for the offset that comes into the window. */
static void step(struct kafka_ledger *l)
{
    if (is_set(l, l->base)) {
        assert(l->beyond > 0);
        *word_of(l, l->base) &= ~mask_of(l->base);
        l->beyond--;
    }
    l->base++;
}

/* The base is open again, or nothing is known above it. */
static void settle_down(struct kafka_ledger *l)
{
    while (l->beyond > 0 && is_set(l, l->base))
        step(l);
    if (l->top < l->base)
        l->top = l->base;
}

void kafka_ledger_init(struct kafka_ledger *l, int64_t base)
{
    assert(base >= 0);
    *l = (struct kafka_ledger){.base = base, .top = base};
}

bool kafka_ledger_fits(const struct kafka_ledger *l, int64_t offset)
{
    assert(offset >= l->top);
    return l->base == l->top || offset - l->base < KAFKA_WINDOW;
}

void kafka_ledger_skip(struct kafka_ledger *l, int64_t offset)
{
    assert(offset >= l->top && kafka_ledger_fits(l, offset));
    if (l->base == l->top) { /* nothing is open: what no record has is simply behind */
        while (l->base < offset && l->beyond > 0)
            step(l);
        l->base = l->top = offset;
        settle_down(l);
    }
    for (; l->top < offset; l->top++)
        set(l, l->top);
}

void kafka_ledger_reopen(struct kafka_ledger *l)
{
    l->top = l->base;
}

bool kafka_ledger_take(struct kafka_ledger *l, int64_t offset)
{
    assert(offset < INT64_MAX);
    kafka_ledger_skip(l, offset);
    if (l->top > offset) /* that it is settled was known, and nothing older is open */
        return false;
    l->top = offset + 1;
    if (!is_set(l, offset))
        return true;
    settle_down(l);
    return false;
}

void kafka_ledger_settle(struct kafka_ledger *l, int64_t offset)
{
    assert(offset >= l->base && offset < l->top && !is_set(l, offset)); /* else: never taken, or settled before */
    set(l, offset);
    settle_down(l);
}

void kafka_ledger_encode(const struct kafka_ledger *l, struct buf *out)
{
    char bytes[BYTES_MAX] = {0};
    size_t len = 0;
    uint32_t found = 0;
    for (int64_t i = 0; found < l->beyond; i++) {
        assert(i < KAFKA_WINDOW - 1);
        if (!is_set(l, l->base + 1 + i))
            continue;
        len = (size_t)i / 8 + 1;
        bytes[len - 1] = (char)(bytes[len - 1] | 1 << i % 8);
        found++;
    }
    if (found == 0)
        return;
    buf_put_str(out, TAG);
    buf_put_u64(out, (uint64_t)l->base);
    buf_put_char(out, ':');
    base64_put(out, slice_of(bytes, len));
}

bool kafka_ledger_decode(struct kafka_ledger *l, int64_t base, struct slice metadata)
{
    char bytes[BYTES_MAX + 1];
    size_t len = 0;
    uint64_t said = 0;
    kafka_ledger_init(l, base);
    if (metadata.len == 0)
        return true;
    if (metadata.len > KAFKA_METADATA_MAX || !slice_has_prefix(metadata, SLICE(TAG)))
        return false;
    struct slice text = slice_from(metadata, sizeof TAG - 1);
    struct slice number = slice_split(&text, ':');
    if (decimal_parse(number, INT64_MAX - 2 * KAFKA_WINDOW, &said) || said != (uint64_t)base)
        return false; /* another client moved the offset and kept our text: it means nothing there */
    if (base64_decode_into(text, NULL, &len) || len == 0 || len > BYTES_MAX || base64_decode_into(text, bytes, &len))
        return false;
    for (size_t i = 0; i < len * 8 && i < KAFKA_WINDOW - 1; i++)
        if (bytes[i / 8] & 1 << i % 8)
            set(l, base + 1 + (int64_t)i);
    return true;
}
