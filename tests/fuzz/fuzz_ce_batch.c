/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Batches: all events or none; what decodes is encoded as a batch again and decodes to as many, of the same ids. */
#include <stdlib.h>

#include "ce_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BATCH_MAX 6
static const struct ce_http_limits limits = {1 << 20, BATCH_MAX}, wide = {8 << 20, BATCH_MAX};
static const struct http_header header = {SLICE_INIT("Content-Type"), SLICE_INIT("application/cloudevents-batch+json")};

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ce_event *first[BATCH_MAX] = {NULL}, *second[BATCH_MAX] = {NULL};
    struct diag d;
    size_t count = 0, again = 0;
    if (ce_http_decode(&header, 1, slice_of((const char *)data, size), &limits, first, BATCH_MAX, &count, &d)) {
        must(d.text[0]);
        for (size_t i = 0; i < BATCH_MAX; i++)
            must(!first[i]);
        return 0;
    }
    struct buf b;
    buf_init(&b, 8 << 20);
    for (size_t i = 0; i < count; i++) {
        buf_put_char(&b, i ? ',' : '[');
        ce_json_encode(first[i], &b);
    }
    buf_put_str(&b, count ? "]" : "[]");
    must(buf_error(&b) == OK);
    must(ce_http_decode(&header, 1, buf_slice(&b), &wide, second, BATCH_MAX, &again, &d) == OK && again == count);
    for (size_t i = 0; i < count; i++) {
        must(slice_eq(ce_event_id(first[i]), ce_event_id(second[i])));
        must(ce_event_equal(first[i], second[i]) || ce_event_data_kind(first[i]) == CE_DATA_BYTES);
        ce_event_unref(first[i]);
        ce_event_unref(second[i]);
    }
    buf_fini(&b);
    return 0;
}
