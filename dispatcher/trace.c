/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace of one loop: a ring of records, and an index over it.
 *
 *     buckets[]  by the hash of an id: the position of the newest record there ──┐
 *     ring       ... | record | record | filler | record | ...                   │
 *                       ↑ before ──────────────────┘ ←───────────────────────────┘
 *
 * Positions count bytes for ever and never repeat, so that what a position names is either still there or known to be
 * gone: everything older than the ring is long (`intact`). Nobody ever takes records out or mends chains. A record lies
 * in one piece; where it does not fit before the end of the ring, the rest there is skipped.
 *
 * Ids and sources are kept as hashes of 64 bits under a secret key, so that notes are small; an EVENT's note holds the
 * event itself, without data.
 */
#include "trace.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "siphash.h"

#define SEGMENTS 64          /* so exactly is known how far back the notes go */
#define BYTES_PER_BUCKET 256 /* about a record each: chains stay short */
/* How long the wall clock is reckoned from the loop's before it is read again. */
#define WALL_AGAIN_NS (NS_PER_S / 10)

struct record {
    uint64_t before; /* position of the one before in the same bucket */
    uint64_t id, source;
    int64_t wall_ns;
    uint32_t subject;
    uint16_t text_len; /* bytes behind the record: answer, cause, what was made */
    uint8_t kind;      /* enum trace_kind */
    uint8_t detail;    /* enum trace_end or enum trace_phase */
};
/* Each is followed by its text. */
struct event_record {
    struct record head;
    uint64_t request;
    uint64_t event[]; /* the copy of event_bytes, then the text */
};
struct attempt_record {
    struct record head;
    uint64_t duration_ns, next_wait_ns;
    uint32_t number;
    int16_t status;
    uint8_t err;
    uint8_t ended; /* 1 + enum trace_end: the event ended with this attempt; 0: another note tells */
    char text[];
};

struct trace {
    struct loop *loop;
    void *memory;
    size_t memory_bytes;
    uint64_t *buckets;
    size_t bucket_mask;
    char *ring;
    size_t size;     /* of the ring; a multiple of 8 */
    uint64_t next;   /* position of the next record; the first is `size`, so that 0 names none */
    size_t offset;   /* of `next` in the ring */
    uint64_t key[2]; /* of the hashes */
    uint64_t wall_read_ns;
    int64_t wall_less_loop_ns;
    int64_t born_ns;
    /* The attempt that was noted last, if nothing was noted since and no other attempt follows it; of this event. */
    struct attempt_record *last;
    const struct ce_event *last_event;
    struct {
        uint64_t position;
        int64_t wall_ns;
    } begins[SEGMENTS]; /* the first record in each part of the ring */
    size_t segment;     /* where `next` is */
};

const char *trace_end_name(enum trace_end how)
{
    static const char *const names[TRACE_END_COUNT] = {
        [TRACE_DELIVERED] = "delivered", [TRACE_DEAD_LETTERED] = "dead-lettered",
        [TRACE_PARKED] = "parked",       [TRACE_FILTERED] = "filtered",
        [TRACE_EXPIRED] = "expired",     [TRACE_DUPLICATE] = "duplicate",
        [TRACE_RELEASED] = "released",
    };
    assert(how < TRACE_END_COUNT);
    return names[how];
}

static int64_t wall_ns(struct trace *t)
{
    uint64_t now = loop_now_ns(t->loop);
    if (now - t->wall_read_ns >= WALL_AGAIN_NS) {
        t->wall_read_ns = now;
        /* `now` may be as old as the turn is long, so the two clocks are read side by side. */
        t->wall_less_loop_ns = clock_wall_ns(loop_clock(t->loop)) - (int64_t)clock_monotonic_ns(loop_clock(t->loop));
    }
    return (int64_t)now + t->wall_less_loop_ns;
}

/* The largest power of two that leaves a bucket about BYTES_PER_BUCKET of ring. */
static size_t bucket_count(size_t bytes)
{
    size_t n = 1;
    while (n * 2 * BYTES_PER_BUCKET <= bytes)
        n *= 2;
    return n;
}

enum err trace_new(struct loop *loop, size_t bytes, const uint64_t key[2], struct trace **out)
{
    assert(bytes >= TRACE_BYTES_MIN);
    size_t buckets = bucket_count(bytes);
    struct trace *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->memory_bytes = bytes / 8 * 8;
    t->memory = mmap(NULL, t->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t->memory == MAP_FAILED) {
        free(t);
        return ERR_NOMEM;
    }
    t->loop = loop;
    t->buckets = t->memory;
    t->bucket_mask = buckets - 1;
    t->ring = (char *)(t->buckets + buckets);
    t->size = t->memory_bytes - buckets * sizeof *t->buckets;
    t->next = t->size;
    t->key[0] = key[0];
    t->key[1] = key[1];
    t->wall_read_ns = loop_now_ns(loop) - WALL_AGAIN_NS;
    t->born_ns = wall_ns(t);
    t->segment = SIZE_MAX;
    *out = t;
    return OK;
}

void trace_free(struct trace *t)
{
    if (!t)
        return;
    munmap(t->memory, t->memory_bytes);
    free(t);
}

/* ---- writing ---- */

static uint64_t hash(const struct trace *t, struct slice s)
{
    return siphash13(t->key, s);
}

/* Room for a record of so many bytes, its head filled and in its chain. Until the caller has filled the rest nobody
 * reads it: all of it is on the loop. */
static void *place(struct trace *t, enum trace_kind kind, const struct ce_event *about, uint32_t subject, size_t bytes)
{
    bytes = (bytes + 7) / 8 * 8;
    assert(bytes <= t->size);
    if (t->offset + bytes > t->size) {
        t->next += t->size - t->offset;
        t->offset = 0;
    }
    struct record *r = (struct record *)(void *)(t->ring + t->offset);
    uint64_t id = hash(t, ce_event_id(about));
    uint64_t *bucket = &t->buckets[id & t->bucket_mask];
    *r = (struct record){.before = *bucket,
                         .id = id,
                         .source = hash(t, ce_event_source(about)),
                         .wall_ns = wall_ns(t),
                         .subject = subject,
                         .kind = (uint8_t)kind};
    size_t segment = t->offset / (t->size / SEGMENTS + 1);
    if (segment != t->segment) {
        t->segment = segment;
        t->begins[segment].position = t->next;
        t->begins[segment].wall_ns = r->wall_ns;
    }
    *bucket = t->next;
    t->next += bytes;
    t->offset += bytes;
    t->last = NULL;
    return r;
}

static void put_text(struct record *r, char *at, struct slice text)
{
    r->text_len = (uint16_t)text.len;
    if (text.len)
        memcpy(at, text.ptr, text.len);
}

static struct slice cut(struct slice s, size_t most)
{
    return slice_of(s.ptr, s.len < most ? s.len : most);
}

/* Bytes of the copy in an event's record, 0: too long to be kept. A multiple of 8. */
static size_t copy_bytes(const struct ce_event *e)
{
    size_t n = ce_event_head_size(e);
    return n <= TRACE_ATTRIBUTES_MAX ? (n + 7) / 8 * 8 : 0;
}

void trace_event(struct trace *t, const struct ce_event *e, uint32_t channel, uint64_t request,
                 const struct ce_event *cause)
{
    if (!t)
        return;
    struct slice from = cause ? cut(ce_event_id(cause), TRACE_ID_MAX) : slice_of(NULL, 0);
    size_t copy = copy_bytes(e);
    struct event_record *r = place(t, TRACE_NOTE_EVENT, e, channel, sizeof *r + copy + from.len);
    r->request = request;
    r->head.detail = copy > 0;
    if (copy)
        ce_event_head_copy(e, r->event);
    put_text(&r->head, (char *)r->event + copy, from);
    if (!cause)
        return;
    struct slice made = cut(ce_event_id(e), TRACE_ID_MAX);
    struct record *m = place(t, TRACE_NOTE_MADE, cause, channel, sizeof *m + made.len);
    put_text(m, (char *)(m + 1), made);
}

void trace_attempt(struct trace *t, const struct ce_event *e, uint32_t subscription, const struct trace_attempt *a)
{
    if (!t)
        return;
    struct slice text = cut(a->text, TRACE_BODY_MAX);
    struct attempt_record *r = place(t, TRACE_NOTE_ATTEMPT, e, subscription, sizeof *r + text.len);
    r->head.detail = (uint8_t)a->phase;
    r->duration_ns = a->duration_ns;
    r->next_wait_ns = a->next_wait_ns;
    r->number = a->number;
    r->status = (int16_t)a->status;
    r->err = (uint8_t)a->err;
    r->ended = 0;
    put_text(&r->head, r->text, text);
    if (a->next_wait_ns > 0)
        return;
    t->last = r;
    t->last_event = e;
}

/* Nearly every event ends with its first attempt: then one note tells both. */
void trace_ended(struct trace *t, const struct ce_event *e, uint32_t subscription, enum trace_end how)
{
    if (!t)
        return;
    assert(how < TRACE_END_COUNT);
    if (t->last && t->last_event == e && t->last->head.subject == subscription) {
        t->last->ended = (uint8_t)(how + 1);
        t->last = NULL;
        return;
    }
    struct record *r = place(t, TRACE_NOTE_END, e, subscription, sizeof *r);
    r->detail = (uint8_t)how;
}

/* ---- reading ---- */

static bool intact(const struct trace *t, uint64_t position)
{
    assert(position < t->next);
    return position != 0 && position + t->size >= t->next;
}

static void read_event(const struct event_record *r, struct trace_note *n)
{
    n->request = r->request;
    n->event = r->head.detail ? (const struct ce_event *)(const void *)r->event : NULL;
    size_t copy = n->event ? copy_bytes(n->event) : 0;
    n->other = slice_of((const char *)r->event + copy, r->head.text_len);
}

static void read_attempt(const struct attempt_record *r, struct trace_note *n)
{
    n->attempt = (struct trace_attempt){.phase = (enum trace_phase)r->head.detail,
                                        .number = r->number,
                                        .status = r->status,
                                        .err = (enum err)r->err,
                                        .duration_ns = r->duration_ns,
                                        .next_wait_ns = r->next_wait_ns,
                                        .text = slice_of(r->text, r->head.text_len)};
}

static void read_record(const struct record *r, struct trace_note *n)
{
    *n = (struct trace_note){
        .kind = (enum trace_kind)r->kind, .mark = r->source, .wall_ns = r->wall_ns, .subject = r->subject};
    switch (n->kind) {
    case TRACE_NOTE_EVENT:
        read_event((const struct event_record *)(const void *)r, n);
        return;
    case TRACE_NOTE_MADE:
        n->other = slice_of((const char *)(r + 1), r->text_len);
        return;
    case TRACE_NOTE_ATTEMPT:
        read_attempt((const struct attempt_record *)(const void *)r, n);
        return;
    case TRACE_NOTE_END:
        n->end = (enum trace_end)r->detail;
        return;
    }
    assert(false && "a record is of one of these kinds");
}

/* The notes of a record, newest first; false: no more are wanted. */
static bool tell(const struct record *r, trace_note_fn *note, void *arg)
{
    struct trace_note n;
    const struct attempt_record *a = (const struct attempt_record *)(const void *)r;
    read_record(r, &n);
    if (n.kind == TRACE_NOTE_ATTEMPT && a->ended) {
        struct trace_note end = {.kind = TRACE_NOTE_END,
                                 .mark = n.mark,
                                 .wall_ns = n.wall_ns,
                                 .subject = n.subject,
                                 .end = (enum trace_end)(a->ended - 1)};
        if (!note(arg, &end))
            return false;
    }
    return note(arg, &n);
}

void trace_find(const struct trace *t, struct slice id, struct slice source, trace_note_fn *note, void *arg)
{
    uint64_t wanted = hash(t, id), wanted_source = hash(t, source);
    uint64_t at = t->buckets[wanted & t->bucket_mask];
    while (intact(t, at)) {
        const struct record *r = (const struct record *)(const void *)(t->ring + at % t->size);
        assert(r->before < at);
        if (r->id == wanted && (source.len == 0 || r->source == wanted_source) && !tell(r, note, arg))
            return;
        at = r->before;
    }
}

int64_t trace_since(const struct trace *t)
{
    if (t->next <= t->size * 2) /* nothing was overwritten as yet */
        return t->born_ns;
    size_t oldest = t->segment;
    for (size_t i = 0; i < SEGMENTS; i++)
        if (intact(t, t->begins[i].position) && t->begins[i].position < t->begins[oldest].position)
            oldest = i;
    return t->begins[oldest].wall_ns;
}
