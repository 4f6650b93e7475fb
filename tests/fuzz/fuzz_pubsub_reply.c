/* SPDX-License-Identifier: Apache-2.0 */
/* room: clients */
/* Answers of Pub/Sub: a pull's, a publish's and an error's JSON. Properties: what is read lies whole in memory of its
 * own, decodes or is refused as a CloudEvent, and can be wrapped; what is no answer is refused with a reason. */
#include <stdlib.h>

#include "clients/pubsub_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static unsigned sum(struct slice s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += (unsigned char)s.ptr[i];
    return n;
}

static void read_message(const struct ce_pubsub_message *m)
{
    static const struct ce_pubsub_rules rules = {.event_bytes_max = 1 << 20,
                                                 .topic = SLICE_INIT("projects/p/topics/t")};
    const struct ce_event *e = NULL, *wrapped = NULL;
    struct diag d = {0};
    unsigned n = sum(m->data) + sum(m->ordering_key) + sum(m->publish_time) + sum(m->message_id);
    for (size_t i = 0; i < m->attribute_count; i++)
        n += sum(m->attributes[i].name) + sum(m->attributes[i].value);
    must(n || m->message_id.len);
    if (ce_pubsub_decode(m, &rules, &e, &d) == OK)
        ce_event_unref(e);
    else
        must(d.text[0]);
    if (ce_pubsub_wrap(m, &rules, &wrapped, &d) == OK)
        ce_event_unref(wrapped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    struct pubsub_reply r;
    struct pubsub_failure f;
    struct diag d = {0};
    if (pubsub_reply_pulled(text, &r, &d) == OK) {
        for (size_t i = 0; i < r.received_count; i++) {
            sum(r.received[i].ack_id);
            read_message(&r.received[i].message);
        }
        pubsub_reply_fini(&r);
    } else {
        must(d.text[0]);
    }
    if (pubsub_reply_published(text, &r, &d) == OK) {
        for (size_t i = 0; i < r.id_count; i++)
            sum(r.ids[i]);
        pubsub_reply_fini(&r);
    }
    static const int statuses[] = {400, 401, 403, 404, 409, 413, 429, 500, 501, 504, 302};
    const struct pubsub_about about = {"https://h", "p", (char *)(uintptr_t) "asking", "roles/r", NULL};
    const struct http_response answer = {statuses[size % 11], NULL, 0, text, false};
    pubsub_failure_read(&f, &about, &answer);
    must(f.err != OK && f.code && f.text[0]);
    pubsub_failure_token(&f, size & 1 ? PUBSUB_KEY : PUBSUB_METADATA, "https://t", OK, &answer, "");
    must(f.err != OK && f.text[0]);
    return 0;
}
