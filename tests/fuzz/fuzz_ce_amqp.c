/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Messages of AMQP: one byte of choices, one for the frame, lines "name= value" (tests/lib/amqp_message.h has the kinds
 * of values), an empty line, the body; the first line's value is the content_type where its name is "content_type", and
 * the message_id otherwise. Properties: what decodes obeys the rules of events, is written in both modes within any
 * frame and decodes again to the same event; whatever does not is refused with a reason; any message can be wrapped. */
#include <stdlib.h>

#include "../lib/amqp_message.h"
#include "../lib/event_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Whether any frame has room for the types of its extensions. */
static bool types_fit(const struct ce_event *e)
{
    size_t len = 0;
    for (size_t i = 0; i < ce_event_attribute_count(e); i++)
        len += ce_event_attribute_at(e, i).name.len + 16;
    return len < 3000;
}

static void back_and_forth(const struct ce_event *e, size_t frame_max)
{
    static const struct ce_amqp_rules wide = {.event_bytes_max = 16 << 20};
    for (int wire = CE_MODE_BINARY; wire <= CE_MODE_STRUCTURED; wire++) {
        struct message m;
        const struct ce_event *back = NULL;
        message_init(&m);
        must(message_write_within(&m, e, (enum ce_mode)wire, true, frame_max) == OK);
        must(!frame_max || message_frame(&m) <= frame_max);
        must(ce_amqp_is_event(&m.m, false));
        must(ce_amqp_decode(&m.m, &wide, &back, NULL) == OK);
        must(ce_event_mode(back) == ce_event_mode(e));
        if (m.written.mode == CE_MODE_BINARY || envelope_keeps(e)) {
            must(ce_event_attribute_count(back) == ce_event_attribute_count(e));
            must((frame_max && !types_fit(e)) || ce_event_equal(e, back));
        }
        ce_event_unref(back);
        message_fini(&m);
    }
}

static void choices(uint8_t bits, struct ce_amqp_rules *rules, struct message *m)
{
    static const struct ce_attribute team = {SLICE_INIT("team"), SLICE_INIT("a"), CE_STRING};
    *rules = (struct ce_amqp_rules){.event_bytes_max = 1 << 20, .knative = bits & 1};
    if (bits & 2)
        rules->source = "/apis/v1/namespaces/ns/rabbitmqsources/rs";
    if (bits & 4) {
        rules->overrides = &team;
        rules->override_count = 1;
    }
    m->m.has_time = bits & 8;
    m->m.time_s = (uint64_t)bits << (bits >> 4) * 4;
}

static void read_lines(struct message *m, struct slice *text)
{
    bool first = true;
    while (text->len && m->m.header_count < MESSAGE_HEADERS_MAX) {
        struct slice value = slice_split(text, '\n');
        if (!value.len)
            break;
        struct slice name = slice_split(&value, '=');
        value = slice_trim(value);
        if (first && slice_eq(name, SLICE("content_type")))
            m->m.content_type = value;
        else if (first)
            m->m.message_id = value;
        message_add(m, name, message_value(value));
        first = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct message m;
    struct ce_amqp_rules rules;
    const struct ce_event *e = NULL, *wrapped = NULL;
    struct diag d = {0};
    struct slice text = slice_of((const char *)data + 2, size - 2);
    size_t frame_max = data[1] ? 4096 + (size_t)data[1] * 64 : 0;
    message_init(&m);
    choices(data[0], &rules, &m);
    read_lines(&m, &text);
    m.m.body = text;
    m.m.queue = slice_of((const char *)data, size < 300 ? size : 300);
    if (ce_amqp_decode(&m.m, &rules, &e, &d)) {
        must(!e && d.text[0]);
    } else {
        must(obeys_the_rules(e));
        back_and_forth(e, frame_max);
        ce_event_unref(e);
    }
    must(ce_amqp_wrap(&m.m, &rules, &wrapped, &d) == OK);
    must(obeys_the_rules(wrapped));
    back_and_forth(wrapped, frame_max);
    ce_event_unref(wrapped);
    message_fini(&m);
    return 0;
}
