/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Records of Kafka: one byte of choices, lines "name: value" ("name" alone: null), an empty line, the value; the first
 * line's value is the key as well. Properties: what decodes obeys the rules of events, is written in both modes and
 * decodes again to the same event; whatever does not is refused with a reason; any record can be wrapped. */
#include <stdlib.h>

#include "../lib/event_rules.h"
#include "../lib/kafka_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void back_and_forth(const struct ce_event *e)
{
    static const struct ce_kafka_rules wide = {.event_bytes_max = 16 << 20};
    for (int wire = CE_MODE_BINARY; wire <= CE_MODE_STRUCTURED; wire++) {
        struct record r;
        const struct ce_event *back = NULL;
        record_init(&r);
        must(record_write(&r, e, (enum ce_mode)wire, true) == OK);
        must(ce_kafka_is_event(&r.r));
        must(ce_kafka_decode(&r.r, &wide, &back, NULL) == OK);
        must(ce_event_mode(back) == ce_event_mode(e));
        must((wire == CE_MODE_STRUCTURED && !envelope_keeps(e)) || ce_event_equal(e, back));
        ce_event_unref(back);
        record_fini(&r);
    }
}

static void choices(uint8_t bits, struct ce_kafka_rules *rules)
{
    static const struct ce_kafka_header team = {SLICE_INIT("team"), SLICE_INIT("a")};
    *rules = (struct ce_kafka_rules){.event_bytes_max = 1 << 20, .key = (enum ce_kafka_key)(bits >> 1 & 3)};
    if (bits & 8)
        rules->source = "/apis/v1/namespaces/ns/kafkasources/ks";
    if (bits & 16) {
        rules->overrides = &team;
        rules->override_count = 1;
    }
}

static void read_lines(struct record *r, struct slice *text)
{
    while (text->len && r->r.header_count < RECORD_HEADERS_MAX) {
        struct slice value = slice_split(text, '\n');
        if (!value.len)
            break;
        struct slice name = slice_split(&value, ':');
        must(record_header(r, name, value.ptr ? slice_trim(value) : value) == OK);
    }
    if (r->r.header_count)
        r->r.key = r->headers[0].value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct record r;
    struct ce_kafka_rules rules;
    const struct ce_event *e = NULL, *wrapped = NULL;
    struct diag d = {0};
    struct slice text = slice_of((const char *)data + 1, size - 1);
    record_init(&r);
    choices(data[0], &rules);
    read_lines(&r, &text);
    r.r.value = data[0] & 1 ? slice_of(NULL, 0) : text.ptr ? text : SLICE("");
    if (ce_kafka_decode(&r.r, &rules, &e, &d)) {
        must(!e && d.text[0]);
    } else {
        must(obeys_the_rules(e));
        back_and_forth(e);
        ce_event_unref(e);
    }
    must(ce_kafka_wrap(&r.r, &rules, &wrapped, &d) == OK);
    must(obeys_the_rules(wrapped));
    back_and_forth(wrapped);
    ce_event_unref(wrapped);
    record_fini(&r);
    return 0;
}
