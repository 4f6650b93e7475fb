/* SPDX-License-Identifier: Apache-2.0
 *
 * Parked events as JSON.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../parked.h"
#include "ce_http.h"
#include "dlq.h"

/* ---- lists ---- */

static void put_attribute(struct buf *out, const struct ce_event *e, const char *name, const char *before)
{
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        return;
    buf_printf(out, "%s\"%s\":", before, name);
    buf_put_json_string(out, a.value);
}

static void put_head(struct buf *out, const struct ce_event *e)
{
    put_attribute(out, e, "id", "");
    put_attribute(out, e, "source", ",");
    put_attribute(out, e, "type", ",");
    put_attribute(out, e, "subject", ",");
    put_attribute(out, e, "time", ",");
    buf_printf(out, ",\"bytes\":%zu", ce_event_data(e).len);
}

/* Whole, as it was before it was parked; without memory, `out` fails. */
static void put_whole(struct buf *out, const struct ce_event *e)
{
    const struct ce_event *original;
    buf_put_str(out, "\"event\":");
    if (parked_original(e, &original) == OK) {
        ce_json_encode(original, out);
        ce_event_unref(original);
    } else {
        out->error = ERR_NOMEM;
    }
}

static void put_item(struct buf *out, const struct dlq_item *item, bool full)
{
    const struct engine_subscription *s = dlq_session_subscription(item->session);
    buf_put_char(out, '{');
    if (full)
        put_whole(out, item->event);
    else
        put_head(out, item->event);
    buf_put_str(out, ",\"parked\":");
    parked_put_json(item->event, out);
    buf_put_str(out, ",\"subscription\":");
    buf_put_json_string(out, slice_str(s->key));
    buf_put_str(out, s->wanted ? "}" : ",\"gone\":true}");
}

void dlq_answer_list(struct dlq_call *c)
{
    struct buf body, item;
    size_t matched = 0, said = 0;
    bool full = false; /* no more fits into the answer */
    buf_init(&body, DLQ_ANSWER_BYTES_MAX + 4096);
    buf_init(&item, DLQ_ANSWER_BYTES_MAX);
    buf_put_str(&body, "{\"items\":[");
    for (size_t i = 0; i < c->collection.count; i++) {
        if (!dlq_selects(&c->order.selection, c->collection.items[i].event))
            continue;
        if (matched++ >= c->limit || full)
            continue;
        buf_clear(&item);
        buf_put_str(&item, said ? ",\n" : "\n");
        put_item(&item, &c->collection.items[i], c->full);
        full = buf_error(&item) == ERR_TOO_LARGE || body.len + item.len > DLQ_ANSWER_BYTES_MAX;
        if (buf_error(&item) == ERR_NOMEM)
            body.error = ERR_NOMEM;
        if (full)
            continue;
        buf_put(&body, buf_slice(&item));
        said++;
    }
    buf_printf(&body, "],\"matched\":%zu,\"seen\":%zu,\"total\":%llu,\"more\":%s%s}\n", matched, c->collection.count,
               (unsigned long long)c->collection.total, c->collection.more ? "true" : "false",
               c->collection.elsewhere ? ",\"why\":\"" DLQ_ELSEWHERE "\"" : "");
    buf_fini(&item);
    api_json_text(c->request, 200, &body);
}

/* ---- ids ---- */

/* The sources of the events with this id, at most two that differ. */
static size_t sources_of(const struct dlq_call *c, const char *id, struct slice out[2])
{
    size_t n = 0;
    for (size_t i = 0; i < c->collection.count && n < 2; i++) {
        const struct ce_event *e = c->collection.items[i].event;
        if (!slice_eq_str(ce_event_id(e), id) || !dlq_selects(&c->order.selection, e))
            continue;
        if (n == 0 || !slice_eq(out[0], ce_event_source(e)))
            out[n++] = ce_event_source(e);
    }
    return n;
}

static void answer_missing(struct dlq_call *c, struct slice ids)
{
    const char *beyond = c->collection.elsewhere ? "; " DLQ_ELSEWHERE
                         : c->collection.more ? "; more are parked than can be looked at once, discard or redrive some"
                                              : "";
    api_status(c->request, 404, "NotFound", "no event parked for %s has the id %.*s%s%s%s", c->target.what,
               SLICE_ARG(ids), c->order.selection.source ? " and the source " : "",
               c->order.selection.source ? c->order.selection.source : "", beyond);
}

bool dlq_check_ids(struct dlq_call *c)
{
    const struct dlq_selection *s = &c->order.selection;
    struct buf missing;
    struct slice sources[2];
    bool good = true;
    buf_init(&missing, 600);
    for (size_t i = 0; good && i < s->id_count; i++) {
        size_t n = sources_of(c, s->ids[i], sources);
        if (n == 0)
            buf_printf(&missing, "%s%s", missing.len ? ", " : "", s->ids[i]);
        if (n < 2)
            continue;
        api_status(c->request, 409, "Conflict",
                   "events of several sources have the id %s, such as %.*s and %.*s: say which source", s->ids[i],
                   SLICE_ARG(sources[0]), SLICE_ARG(sources[1]));
        good = false;
    }
    if (good && (missing.len > 0 || missing.error != OK)) {
        answer_missing(c, buf_slice(&missing));
        good = false;
    }
    buf_fini(&missing);
    return good;
}

/* ---- what is parked where ---- */

struct summary {
    struct access_caller who;
    struct buf *out;
    size_t said;
    uint64_t total;
};

static void put_subscription(void *arg, const struct engine_subscription *s)
{
    struct summary *summary = arg;
    const struct bus_probe probe = engine_probe(s->parked_bus, s->parked_handle);
    if ((probe.events == 0 && probe.dropped == 0) || !access_sees(&summary->who, order_key_split(s->key).space))
        return;
    buf_put_str(summary->out, summary->said++ ? ",\n{" : "\n{");
    order_key_put(summary->out, s->key);
    buf_printf(summary->out, "\"parked\":%llu,\"bytes\":%llu,\"dropped\":%llu,\"gone\":%s}",
               (unsigned long long)probe.events, (unsigned long long)probe.bytes, (unsigned long long)probe.dropped,
               s->wanted ? "false" : "true");
    summary->total += probe.events;
}

void dlq_answer_summary(struct api *a, struct http_request *r)
{
    struct buf body;
    struct summary summary = {.who = access_caller_of(&a->access, r), .out = &body};
    buf_init(&body, DLQ_ANSWER_BYTES_MAX);
    buf_put_str(&body, "{\"items\":[");
    engine_each_subscription(a->engine, put_subscription, &summary);
    buf_printf(&body, "],\"total\":%llu}\n", (unsigned long long)summary.total);
    api_json_text(r, 200, &body);
}
