/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Messages of Pub/Sub: one byte of choices, lines "name=value", an empty line, the data. Properties: what decodes obeys
 * the rules of events, is written in both modes within a message's limits and decodes again to the same event; whatever
 * does not is refused with a reason; what has a message id and fits can be wrapped. */
#include <stdlib.h>

#include "../lib/event_rules.h"
#include "ce_pubsub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MAX 120

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void back_and_forth(const struct ce_event *e)
{
    static const struct ce_pubsub_rules wide = {.event_bytes_max = 16 << 20};
    for (int wire = CE_MODE_BINARY; wire <= CE_MODE_STRUCTURED; wire++) {
        struct ce_pubsub_attribute room[CE_PUBSUB_ATTRIBUTES_MAX];
        struct ce_pubsub_written w;
        const struct ce_event *back = NULL;
        struct buf scratch;
        buf_init(&scratch, 16 << 20);
        must(ce_pubsub_encode(e, (enum ce_mode)wire, true, &scratch, room, &w) == OK);
        must(w.message.attribute_count <= CE_PUBSUB_ATTRIBUTES_MAX);
        for (size_t i = 0; i < w.message.attribute_count; i++)
            must(room[i].name.len <= CE_PUBSUB_NAME_MAX && room[i].value.len <= CE_PUBSUB_VALUE_MAX);
        must(w.message.ordering_key.len <= CE_PUBSUB_ORDERING_KEY_MAX);
        must(ce_pubsub_is_event(&w.message) && ce_pubsub_decode(&w.message, &wide, &back, NULL) == OK);
        must(ce_event_mode(back) == ce_event_mode(e));
        if (w.mode == CE_MODE_BINARY)
            must(ce_event_equal(e, back));
        else if (envelope_keeps(e)) /* types of extensions that the hint has no room for are left out */
            must(ce_event_attribute_count(back) == ce_event_attribute_count(e));
        ce_event_unref(back);
        buf_fini(&scratch);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ce_attribute team = {SLICE_INIT("team"), SLICE_INIT("a"), CE_STRING};
    struct ce_pubsub_attribute lines[LINES_MAX];
    struct ce_pubsub_message m = {
        .attributes = lines, .message_id = SLICE("17"), .publish_time = SLICE("2026-11-30T03:00:00Z")};
    const struct ce_event *e = NULL, *wrapped = NULL;
    struct diag d = {0};
    if (size < 1)
        return 0;
    struct ce_pubsub_rules rules = {
        .event_bytes_max = 1 << 20, .topic = SLICE("projects/p/topics/t"), .subscription = SLICE("s")};
    rules.form = data[0] & 1 ? CE_PUBSUB_2018 : CE_PUBSUB_TODAY;
    rules.overrides = data[0] & 2 ? &team : NULL;
    rules.override_count = data[0] & 2 ? 1 : 0;
    struct slice text = slice_of((const char *)data + 1, size - 1);
    while (text.len && m.attribute_count < LINES_MAX) {
        struct slice value = slice_split(&text, '\n');
        if (!value.len)
            break;
        struct slice name = slice_split(&value, '=');
        lines[m.attribute_count++] = (struct ce_pubsub_attribute){name, value};
    }
    m.data = text;
    if (ce_pubsub_decode(&m, &rules, &e, &d)) {
        must(!e && d.text[0]);
    } else {
        must(obeys_the_rules(e));
        back_and_forth(e);
        ce_event_unref(e);
    }
    enum err err = ce_pubsub_wrap(&m, &rules, &wrapped, &d);
    must(err == OK || err == ERR_TOO_LARGE || err == ERR_INVALID);
    if (err == OK) {
        must(obeys_the_rules(wrapped));
        ce_event_unref(wrapped);
    }
    return 0;
}
