/* SPDX-License-Identifier: Apache-2.0
 *
 * From a consumed record to an event, by its channel's rules. Any thread.
 */
#include "kafka_channel.h"

#include <stdlib.h>

#define HEADERS_INLINE 64 /* of one record without further memory */

static void headers_copy(const rd_kafka_headers_t *from, struct ce_kafka_header *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        rd_kafka_header_get_all(from, i, &name, &value, &size);
        to[i] = (struct ce_kafka_header){slice_str(name), slice_of(value, size)};
    }
}

/* As upstream: what claims to be a CloudEvent and is none is taken for what it is, a record. */
static enum err event_of(struct bus_channel *c, const struct ce_kafka_record *r, const struct ce_event **out)
{
    const struct ce_kafka_rules *rules = &atomic_load(&c->rules)->ce;
    enum err e = ce_kafka_decode(r, rules, out, NULL);
    if (e == ERR_INVALID || e == ERR_UNSUPPORTED) {
        atomic_fetch_add_explicit(&c->foreign, 1, memory_order_relaxed);
        e = ce_kafka_wrap(r, rules, out, NULL);
    }
    return e;
}

enum err kafka_channel_event(struct bus_channel *c, const rd_kafka_message_t *m, const struct ce_event **out)
{
    struct ce_kafka_header few[HEADERS_INLINE], *headers = few;
    rd_kafka_headers_t *from = NULL;
    rd_kafka_timestamp_type_t kind;
    size_t count = rd_kafka_message_headers(m, &from) ? 0 : rd_kafka_header_cnt(from);
    if (count > HEADERS_INLINE && !(headers = calloc(count, sizeof *headers)))
        return ERR_NOMEM;
    headers_copy(from, headers, count);
    const struct ce_kafka_record r = {.headers = headers,
                                      .header_count = count,
                                      .key = slice_of(m->key, m->key_len),
                                      .value = slice_of(m->payload, m->len),
                                      .topic = slice_str(rd_kafka_topic_name(m->rkt)),
                                      .partition = m->partition,
                                      .offset = m->offset,
                                      .time_ms = rd_kafka_message_timestamp(m, &kind)};
    enum err e = event_of(c, &r, out);
    if (headers != few)
        free(headers);
    return e;
}
