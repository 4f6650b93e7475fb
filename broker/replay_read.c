/* SPDX-License-Identifier: Apache-2.0
 *
 * A replay on the home loop: pages of the channel's past, and the events of them that count on their way into the
 * stream.
 *
 * One page at a time, and the next one only when all of it is under way: what a replay holds in memory is one page.
 */
#include "replay_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "parked.h"
#include "text.h"

/* ---- which events count ---- */

/* Its time is still to come, and the subscription gets it then. */
static bool is_to_come(const struct replay *r, const struct ce_event *event)
{
    struct ce_attribute a;
    int64_t at;
    return ce_event_attribute(event, SLICE("leatdeliverat"), &a) && rfc3339_parse(a.value, &at) == OK && at > r->now_ns;
}

bool replay_counts(const struct replay *r, const struct ce_event *event)
{
    return (!r->own || filter_match(r->own, event)) && (!r->order.filter || filter_match(r->order.filter, event)) &&
           !is_to_come(r, event);
}

static void put_text(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, ",\"%s\":", name);
    buf_put_json_string(out, value);
}

/* What a dry run says of an event. */
static void show(struct replay *r, const struct ce_event *event, const uint64_t *offset, int64_t wall_ns)
{
    struct buf *out = &r->shown;
    buf_printf(out, "%s{", out->len ? ",\n" : "");
    if (offset)
        buf_printf(out, "\"offset\":%llu,", (unsigned long long)*offset);
    buf_put_str(out, "\"appendedAt\":\"");
    rfc3339_put(out, wall_ns, 3);
    buf_put_char(out, '"');
    put_text(out, "type", ce_event_type(event));
    put_text(out, "source", ce_event_source(event));
    put_text(out, "id", ce_event_id(event));
    buf_put_char(out, '}');
}

void replay_counted(struct replay *r, const struct ce_event *event, const uint64_t *offset, int64_t wall_ns)
{
    if (count_next(&r->task->done) <= REPLAY_SHOWN_MAX)
        show(r, event, offset, wall_ns);
}

/* What was parked goes as it was before. */
static void take(struct replay *r, const struct ce_event *event, uint64_t offset)
{
    const struct ce_event *original = NULL;
    enum err e = r->order.parked ? parked_original(event, &original) : OK;
    if (e != OK) {
        r->error = e;
        r->last = true;
        return;
    }
    r->events[r->count++] = (struct replay_event){original ? original : ce_event_ref(event), offset};
}

static void page_event(void *arg, const struct ce_event *event, uint64_t offset, int64_t wall_ns)
{
    struct replay *r = arg;
    assert(r->reading && r->seen < r->most);
    r->seen++;
    r->bytes += ce_event_size(event);
    if (r->last || offset >= r->end || wall_ns > r->order.to_ns) {
        r->last = true;
        return;
    }
    r->next = (struct bus_start){.kind = BUS_START_OFFSET, .offset = offset + 1};
    atomic_store_explicit(&r->task->at, offset, memory_order_relaxed);
    if (!replay_counts(r, event))
        return;
    if (r->order.dry_run)
        replay_counted(r, event, &offset, wall_ns);
    else
        take(r, event, offset);
}

/* ---- pages ---- */

/* About as many events as make a page's bytes, by what the last ones had. */
static size_t page_length(const struct replay *r)
{
    if (r->seen == 0)
        return REPLAY_PAGE_FIRST;
    size_t n = REPLAY_PAGE_BYTES / (r->bytes / r->seen + 1);
    return n < 1 ? 1 : n > REPLAY_PAGE_MAX ? REPLAY_PAGE_MAX : n;
}

static void page_ended(struct bus_op *op, enum err err)
{
    struct replay *r = container_of(op, struct replay, op);
    r->reading = false;
    r->error = r->error ? r->error : err;
    r->last = r->last || err != OK || r->seen < r->most || r->next.offset >= r->end;
    r->injector.advance(&r->injector);
}

static void page_read(struct replay *r)
{
    struct bus *bus = r->past->bus->bus;
    assert(!r->reading && r->at == r->count);
    r->most = page_length(r);
    r->count = r->at = r->seen = r->bytes = 0;
    r->reading = true;
    r->op = (struct bus_op){.done = page_ended};
    enum err e = bus->ops->read(bus, r->past->handle, &r->next, r->most, page_event, r, &r->op, r->injector.home->loop);
    if (e == OK)
        return;
    r->reading = false;
    r->last = true;
    r->error = e;
}

/* ---- injecting ---- */

void replay_slot_ended(struct replay_slot *slot, enum dispatch_end how)
{
    struct replay *r = slot->replay;
    slot->busy = false;
    r->injector.under_way--;
    if (how == DISPATCH_PARKED)
        count(&r->task->failed);
    else if (how != DISPATCH_RELEASED)
        count(&r->task->done);
    else if (slot->offset < r->released)
        r->released = slot->offset;
}

static void injected(struct dispatch_injection *i, enum dispatch_end how)
{
    struct replay_slot *slot = i->owner;
    struct replay *r = slot->replay;
    replay_slot_ended(slot, how);
    r->injector.advance(&r->injector);
}

struct replay_slot *replay_free_slot(struct replay *r)
{
    for (size_t i = 0; i < INJECTIONS_MAX; i++)
        if (!r->slots[i].busy)
            return &r->slots[i];
    return NULL;
}

/* False: not now; the end of one under way, or the injector, goes on. */
static bool begin_one(struct replay *r)
{
    struct replay_slot *slot = replay_free_slot(r);
    const struct replay_event *event = &r->events[r->at];
    if (!slot || !injector_due(&r->injector))
        return false;
    *slot = (struct replay_slot){.injection = {.done = injected, .owner = slot}, .replay = r, .offset = event->offset};
    enum err e = injector_begin(&r->injector, event->event, &slot->injection);
    if (e == ERR_NOMEM)
        injector_later(&r->injector, INJECT_FULL_WAIT_NS);
    if (e != OK)
        return e == ERR_CLOSED;
    slot->busy = true;
    ce_event_unref(event->event);
    r->at++;
    return true;
}

static void end(struct replay *r)
{
    if (r->at < r->count && r->events[r->at].offset < r->released)
        r->released = r->events[r->at].offset;
    while (r->at < r->count)
        ce_event_unref(r->events[r->at++].event);
    injector_fini(&r->injector);
    r->letter.run = replay_ended;
    loop_post_reserved(engine_control(r->engine), &r->letter);
}

static void advance(struct injector *i)
{
    struct replay *r = container_of(i, struct replay, injector);
    while (!injector_over(i) && !r->reading) {
        if (r->at < r->count) {
            if (!begin_one(r))
                return;
        } else if (r->last) {
            break;
        } else {
            page_read(r);
        }
    }
    if (!r->reading && i->under_way == 0)
        end(r);
}

void replay_arrived(struct letter *m)
{
    struct replay *r = container_of(m, struct replay, letter);
    r->injector.advance = advance;
    injector_init(&r->injector);
    advance(&r->injector);
}
