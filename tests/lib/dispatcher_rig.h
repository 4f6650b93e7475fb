/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench for the dispatcher: a clock that stands still, a bus that checks every rule of credit and tokens, sinks
 * that answer by script, a parking place. Everything happens on one loop whose turns the test makes. Fake sinks and
 * the bus call back from tasks and timers, never inside the call, as their contracts say.
 */
#ifndef LEAT_DISPATCHER_RIG_H
#define LEAT_DISPATCHER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatcher.h"
#include "log.h"

#define RIG_EVENTS_MAX 512
#define RIG_SEEN_MAX 8192
#define RIG_BATCH_MAX 32
#define MS NS_PER_MS

struct rig;

/* ---- sinks ---- */

struct rig_step {
    enum err at_once; /* not OK: sink_send itself fails */
    enum err err;     /* else the answer's */
    int status;
    struct slice body;
    const char *detail;
    uint64_t delay_ns, retry_after_ns;
    const struct ce_event *reply; /* borrowed */
    bool malformed;
    bool hang; /* ERR_TIMEOUT after the request's own timeout */
};

struct rig_sink {
    struct sink base;
    struct rig *rig;
    char letter;                  /* S, R or D: who it is in rig.trace */
    const struct rig_step *steps; /* the last one repeats */
    size_t step_count;
    struct prng *random; /* instead of steps */
    unsigned calls, canceled, freed;
    struct list under_way;
};

struct rig_call {
    struct list link;
    struct rig_sink *sink;
    struct sink_call *call;
    struct rig_step step;
    struct loop_timer timer;
    struct loop_task task;
    const struct ce_event *events[RIG_BATCH_MAX];
    size_t event_count;
};

struct rig_seen { /* one request */
    char who;
    uint64_t at_ns;
    const struct ce_event *event;                /* the only one, or the first of the batch */
    const struct ce_event *batch[RIG_BATCH_MAX]; /* borrowed from the bench: it keeps what it published */
    size_t batch_count;
    bool want_reply;
    int format;
    uint64_t timeout_ns;
    char namespace_name[32];
};

/* ---- the bus ---- */

struct rig_event {
    const struct ce_event *event;
    enum { RIG_READY, RIG_OUT, RIG_ACKED } state;
    unsigned deliveries, releases;
};

struct rig_bus {
    struct bus base;
    struct rig *rig;
    struct rig_event events[RIG_EVENTS_MAX];
    size_t count, out;
    unsigned credit, unsettled_max;
    bool attached, in_call;
    const struct bus_stream_callbacks *callbacks;
    void *arg;
    struct loop_task task;
    struct bus_op *detach;
    struct loop_task detach_task;
};

/* ---- parking ---- */

struct rig_park {
    unsigned failures_first; /* this many tries fail */
    bool hold;               /* answers only at rig_park_answer */
    unsigned tries, parked;
    char destination[128], cause[128];
    char reason[32], cause_reason[32];
    int status;
    enum err err;
    unsigned attempts;
    int64_t first_wall_ns;
    char data[1024];
    size_t data_len;
    struct rig_park_call {
        struct rig *rig;
        struct loop_task task;
        void (*done)(void *arg, enum err err);
        void *arg;
        enum err result;
        bool used;
    } calls[RIG_EVENTS_MAX];
};

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct prng prng;
    struct dispatcher *dispatcher;
    struct dispatch_stream *stream;
    struct dispatch_counters counters;
    struct dispatch_spec spec;
    struct rig_bus bus;
    struct rig_sink subscriber, reply, dead_letter;
    struct rig_park park;
    struct rig_seen seen[RIG_SEEN_MAX];
    size_t seen_count;
    bool one_per_key; /* the subscriber must never have two events of a partitionkey at a time */
    bool one_at_all;  /* nor two requests */
    char trace[RIG_SEEN_MAX + 1]; /* the letters of seen, as a string */
    bool stopped;
    uint64_t stopped_at_ns;
    int log_fd;
};

/* ---- sinks ---- */

static inline void rig_call_free(struct rig_call *c)
{
    loop_timer_stop(c->sink->rig->loop, &c->timer);
    loop_task_cancel(&c->task);
    list_remove(&c->link);
    for (size_t i = 0; i < c->event_count; i++)
        ce_event_unref(c->events[i]);
    free(c);
}

static inline void rig_answer(struct rig_call *c)
{
    struct rig_step step = c->step;
    struct sink_call *call = c->call;
    struct sink_answer a = {
        .err = step.hang ? ERR_TIMEOUT : step.err, .url = c->sink->base.url, .detail = slice_str(step.detail)};
    if (!step.hang) {
        a.status = step.err == OK ? step.status : 0;
        a.body = step.body;
        a.retry_after_ns = step.retry_after_ns;
        a.reply = step.reply;
        a.reply_malformed = step.malformed;
    }
    rig_call_free(c);
    call->done(call, &a);
}

static inline void rig_on_timer(struct loop_timer *t)
{
    rig_answer(container_of(t, struct rig_call, timer));
}

static inline void rig_on_task(struct loop_task *t)
{
    rig_answer(container_of(t, struct rig_call, task));
}

/* A random step: half of them good. */
static inline struct rig_step rig_random_step(struct rig_sink *s)
{
    static const int statuses[] = {200, 202, 204, 200, 200, 302, 400, 404, 408, 409, 413, 422, 429, 500, 503, 599};
    static const enum err errors[] = {ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_PROTOCOL, ERR_FULL, ERR_TOO_LARGE, ERR_CLOSED};
    struct rig_step step = {.delay_ns = prng_below(s->random, 4) * 10 * MS};
    uint64_t kind = prng_below(s->random, 10);
    if (kind == 0) {
        step.at_once = errors[prng_below(s->random, 6)];
    } else if (kind == 1) {
        step.err = errors[prng_below(s->random, 6)];
    } else if (kind == 2) {
        step.hang = true;
    } else {
        step.status = statuses[prng_below(s->random, 16)];
        step.retry_after_ns = prng_below(s->random, 2) * 500 * MS;
        step.malformed = step.status == 200 && prng_below(s->random, 8) == 0;
        step.body = SLICE("body of an answer");
    }
    return step;
}

static inline bool rig_same_key(const struct ce_event *a, const struct ce_event *b)
{
    struct ce_attribute x, y;
    return ce_event_attribute(a, SLICE("partitionkey"), &x) && ce_event_attribute(b, SLICE("partitionkey"), &y) &&
           slice_eq(x.value, y.value);
}

/* What is under way at this sink may stand beside `e`. */
static inline void rig_check_order(struct rig_sink *s, const struct ce_event *e)
{
    if (s->rig->one_at_all)
        assert_true(list_empty(&s->under_way));
    list_each(l, tmp, &s->under_way)
    {
        struct rig_call *c = container_of(l, struct rig_call, link);
        for (size_t i = 0; i < c->event_count && s->rig->one_per_key; i++)
            assert_false(rig_same_key(c->events[i], e));
    }
}

static inline enum err rig_send(struct sink *base, struct sink_call *call, const struct sink_request *request)
{
    struct rig_sink *s = container_of(base, struct rig_sink, base);
    struct rig *r = s->rig;
    assert_true(base->refs > 0);
    assert_true(r->seen_count < RIG_SEEN_MAX);
    struct rig_seen *seen = &r->seen[r->seen_count];
    *seen = (struct rig_seen){.who = s->letter, .at_ns = r->clock.monotonic, .event = ce_event_ref(request->event)};
    assert_true(request->batch_count <= RIG_BATCH_MAX);
    seen->batch_count = request->batch_count;
    for (size_t i = 0; i < request->batch_count; i++)
        seen->batch[i] = request->batch[i];
    for (size_t i = 0; s->letter == 'S' && i < (request->batch_count ? request->batch_count : 1); i++)
        rig_check_order(s, request->batch_count ? request->batch[i] : request->event);
    seen->want_reply = request->want_reply;
    seen->format = request->format;
    seen->timeout_ns = request->timeout_ns;
    snprintf(seen->namespace_name, sizeof seen->namespace_name, "%.*s", SLICE_ARG(request->namespace_name));
    r->trace[r->seen_count++] = s->letter;
    r->trace[r->seen_count] = '\0';

    size_t n = s->calls < s->step_count ? s->calls : s->step_count - 1;
    s->calls++;
    struct rig_step step = s->random ? rig_random_step(s) : s->steps[n];
    if (!s->random && s->letter == 'S' && step.reply == NULL && step.malformed)
        assert_int_equal(step.err, OK);
    if (step.at_once != OK)
        return step.at_once;
    struct rig_call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->sink = s;
    c->call = call;
    c->step = step;
    c->event_count = request->batch_count ? request->batch_count : 1;
    for (size_t i = 0; i < c->event_count; i++)
        c->events[i] = ce_event_ref(request->batch_count ? request->batch[i] : request->event);
    loop_timer_init(&c->timer, rig_on_timer);
    loop_task_init(&c->task, rig_on_task);
    list_push_back(&s->under_way, &c->link);
    uint64_t delay = step.hang ? request->timeout_ns : step.delay_ns;
    if (delay)
        loop_timer_start(r->loop, &c->timer, delay);
    else
        loop_defer(r->loop, &c->task);
    return OK;
}

static inline void rig_cancel(struct sink *base, struct sink_call *call)
{
    struct rig_sink *s = container_of(base, struct rig_sink, base);
    list_each(l, tmp, &s->under_way)
    {
        struct rig_call *c = container_of(l, struct rig_call, link);
        if (c->call == call) {
            s->canceled++;
            rig_call_free(c);
            return;
        }
    }
    fail_msg("canceled a call that is not under way");
}

static inline void rig_sink_free(struct sink *base)
{
    struct rig_sink *s = container_of(base, struct rig_sink, base);
    assert_true(list_empty(&s->under_way));
    s->freed++;
}

static inline void rig_sink_init(struct rig_sink *s, struct rig *r, char letter, const char *url)
{
    static const struct sink_ops ops = {.send = rig_send, .cancel = rig_cancel, .free = rig_sink_free};
    static const struct rig_step good[] = {{.status = 200}};
    *s = (struct rig_sink){
        .base = {.ops = &ops, .refs = 1, .url = url}, .rig = r, .letter = letter, .steps = good, .step_count = 1};
    list_init(&s->under_way);
}

#define RIG_SCRIPT(sink, ...)                                                                                          \
    do {                                                                                                               \
        static const struct rig_step script_[] = {__VA_ARGS__};                                                        \
        rig_script((sink), script_, sizeof script_ / sizeof *script_);                                                 \
    } while (0)

static inline void rig_script(struct rig_sink *s, const struct rig_step *steps, size_t count)
{
    assert_true(count > 0);
    s->steps = steps;
    s->step_count = count;
    s->calls = 0;
}

/* ---- the bus ---- */

static inline void rig_bus_deliver(struct loop_task *t)
{
    struct rig_bus *b = container_of(t, struct rig_bus, task);
    for (size_t i = 0; i < b->count && b->attached && b->credit > 0; i++) {
        struct rig_event *e = &b->events[i];
        if (e->state != RIG_READY)
            continue;
        b->credit--;
        b->out++;
        if (b->out > b->unsettled_max)
            b->unsettled_max = (unsigned)b->out;
        e->state = RIG_OUT;
        e->deliveries++;
        b->callbacks->deliver(b->arg, (struct bus_stream *)b, e->event, (struct bus_token){i, e->deliveries},
                              e->deliveries);
    }
}

static inline enum err rig_attach(struct bus *base, struct bus_subscription *sub, struct loop *loop,
                                  const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    struct rig_bus *b = container_of(base, struct rig_bus, base);
    (void)sub;
    assert_ptr_equal(loop, b->rig->loop);
    assert_false(b->attached);
    b->attached = true;
    b->callbacks = callbacks;
    b->arg = arg;
    b->credit = 0;
    *out = (struct bus_stream *)b;
    return OK;
}

static inline void rig_on_detach(struct loop_task *t)
{
    struct rig_bus *b = container_of(t, struct rig_bus, detach_task);
    struct bus_op *op = b->detach;
    b->detach = NULL;
    op->done(op, OK);
}

static inline void rig_detach(struct bus *base, struct bus_stream *stream, struct bus_op *op)
{
    struct rig_bus *b = container_of(base, struct rig_bus, base);
    (void)stream;
    assert_true(b->attached);
    b->attached = false;
    b->detach = op;
    b->out = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->events[i].state == RIG_OUT)
            b->events[i].state = RIG_READY;
    loop_defer(b->rig->loop, &b->detach_task);
}

static inline void rig_credit(struct bus *base, struct bus_stream *stream, unsigned n)
{
    struct rig_bus *b = container_of(base, struct rig_bus, base);
    (void)stream;
    assert_true(b->attached && n > 0);
    b->credit += n;
    loop_defer(b->rig->loop, &b->task);
}

static inline void rig_settle(struct bus *base, struct bus_stream *stream, struct bus_token token, enum bus_settle how)
{
    struct rig_bus *b = container_of(base, struct rig_bus, base);
    (void)stream;
    assert_true(b->attached && token.a < b->count);
    struct rig_event *e = &b->events[token.a];
    assert_int_equal(e->state, RIG_OUT);
    assert_int_equal(e->deliveries, token.b);
    b->out--;
    e->state = how == BUS_ACK ? RIG_ACKED : RIG_READY;
    e->releases += how == BUS_RELEASE;
    loop_defer(b->rig->loop, &b->task);
}

static inline void rig_bus_init(struct rig_bus *b, struct rig *r)
{
    static const struct bus_ops ops = {
        .name = "rig", .attach = rig_attach, .detach = rig_detach, .credit = rig_credit, .settle = rig_settle};
    b->base = (struct bus){.ops = &ops, .hold_ms_max = UINT64_MAX};
    b->rig = r;
    loop_task_init(&b->task, rig_bus_deliver);
    loop_task_init(&b->detach_task, rig_on_detach);
}

/* Takes the event back, as after a rebalance; it will come again when there is credit. */
static inline void rig_revoke(struct rig *r, size_t i)
{
    struct rig_event *e = &r->bus.events[i];
    assert_int_equal(e->state, RIG_OUT);
    e->state = RIG_READY;
    r->bus.out--;
    loop_defer(r->loop, &r->bus.task);
    r->bus.callbacks->revoked(r->bus.arg, (struct bus_stream *)&r->bus, (struct bus_token){i, e->deliveries});
}

/* ---- parking ---- */

static inline void rig_on_parked(struct loop_task *t)
{
    struct rig_park_call *c = container_of(t, struct rig_park_call, task);
    c->used = false;
    c->rig->park.parked += c->result == OK;
    c->done(c->arg, c->result);
}

static inline void rig_park(void *arg, const struct dispatch_failure *f, void (*done)(void *arg, enum err err),
                            void *done_arg)
{
    struct rig *r = arg;
    struct rig_park *p = &r->park;
    assert_non_null(f->event);
    assert_true(f->data.len <= DISPATCH_ERROR_DATA_MAX);
    snprintf(p->destination, sizeof p->destination, "%s", f->destination);
    snprintf(p->cause, sizeof p->cause, "%s", f->cause ? f->cause->destination : "");
    snprintf(p->reason, sizeof p->reason, "%s", f->reason);
    snprintf(p->cause_reason, sizeof p->cause_reason, "%s", f->cause ? f->cause->reason : "");
    p->first_wall_ns = f->first_wall_ns;
    p->status = f->status;
    p->err = f->err;
    p->attempts = f->attempts;
    p->data_len = f->data.len;
    if (f->data.len)
        memcpy(p->data, f->data.ptr, f->data.len);
    struct rig_park_call *c = p->calls;
    while (c->used)
        c++;
    assert_true(c < p->calls + RIG_EVENTS_MAX);
    *c = (struct rig_park_call){.rig = r, .done = done, .arg = done_arg, .used = true};
    c->result = p->tries++ < p->failures_first ? ERR_FULL : OK;
    loop_task_init(&c->task, rig_on_parked);
    if (!p->hold)
        loop_defer(r->loop, &c->task);
}

/* Ends the parkings that were held. */
static inline void rig_park_answer(struct rig *r)
{
    for (size_t i = 0; i < RIG_EVENTS_MAX; i++)
        if (r->park.calls[i].used)
            loop_defer(r->loop, &r->park.calls[i].task);
}

/* ---- the bench ---- */

/* An event with one more attribute, unless `name` is NULL. */
static inline const struct ce_event *rig_event_with(const char *id, const char *name, const char *value)
{
    struct ce_builder b;
    const struct ce_event *e = NULL;
    ce_builder_init(&b);
    if (name)
        ce_builder_set(&b, slice_str(name), CE_STRING, slice_str(value));
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("rid"));
    ce_builder_data(&b, CE_DATA_BYTES, SLICE("payload"));
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    return e;
}

static inline const struct ce_event *rig_event(const char *id)
{
    return rig_event_with(id, NULL, NULL);
}

static inline struct rig *rig_new(uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    clock_fake_init(&r->clock, 1000 * NS_PER_S, 1500000000 * (int64_t)NS_PER_S);
    r->log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(r->log_fd >= 0);
    log_setup(&r->clock.base, LOG_INFO, false, false);
    log_set_fd(r->log_fd);
    assert_int_equal(loop_new(&r->clock.base, 64, &r->loop), OK);
    assert_int_equal(loop_turn(r->loop, 0), OK);
    prng_seed(&r->prng, seed);
    assert_int_equal(dispatcher_new(r->loop, &r->prng, &r->dispatcher), OK);
    rig_bus_init(&r->bus, r);
    rig_sink_init(&r->subscriber, r, 'S', "http://subscriber.example/");
    rig_sink_init(&r->reply, r, 'R', "http://reply.example/");
    rig_sink_init(&r->dead_letter, r, 'D', "http://dead.example/");
    r->spec = (struct dispatch_spec){
        .name = "ns/sub",
        .namespace_name = "ns",
        .subscriber = &r->subscriber.base,
        .delivery = {.format = -1, .backoff_policy = BACKOFF_EXPONENTIAL, .backoff_delay_ns = 200 * MS},
        .park = rig_park,
        .park_arg = r,
        .counters = &r->counters};
    return r;
}

static inline void rig_start(struct rig *r)
{
    assert_int_equal(dispatch_stream_start(r->dispatcher, &r->bus.base, NULL, &r->spec, &r->stream), OK);
}

static inline void rig_turn(struct rig *r)
{
    assert_int_equal(loop_turn(r->loop, 0), OK);
}

/* Time passes in steps of tick_ns, a turn after each. */
static inline void rig_pass(struct rig *r, uint64_t ns, uint64_t tick_ns)
{
    rig_turn(r);
    for (uint64_t at = 0; at < ns; at += tick_ns) {
        clock_fake_advance(&r->clock, tick_ns);
        rig_turn(r);
    }
}

/* The bus has one more event, whose reference it takes. */
static inline void rig_publish_event(struct rig *r, const struct ce_event *e)
{
    assert_true(r->bus.count < RIG_EVENTS_MAX);
    r->bus.events[r->bus.count++] = (struct rig_event){.event = e};
    loop_defer(r->loop, &r->bus.task);
}

/* What it is called is its place: "0", "1" ... */
static inline void rig_publish_with(struct rig *r, const char *name, const char *value)
{
    char id[24];
    snprintf(id, sizeof id, "%zu", r->bus.count);
    rig_publish_event(r, rig_event_with(id, name, value));
}

static inline void rig_publish(struct rig *r)
{
    rig_publish_with(r, NULL, NULL);
}

/* The ids of all requests so far, in order, with a space between; those of a batch in brackets. In a static buffer. */
static inline const char *rig_ids(const struct rig *r)
{
    static char text[1 << 16];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < r->seen_count; i++) {
        const struct rig_seen *s = &r->seen[i];
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", s->batch_count ? "[" : "");
        for (size_t k = 0; k < (s->batch_count ? s->batch_count : 1); k++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", k ? " " : "",
                                  SLICE_ARG(ce_event_id(s->batch_count ? s->batch[k] : s->event)));
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", s->batch_count ? "]" : "");
        assert_true(n < sizeof text);
    }
    return text;
}

/* When the nth request went out, counted from the first. */
static inline uint64_t rig_after(const struct rig *r, size_t n)
{
    assert_true(n < r->seen_count);
    return r->seen[n].at_ns - r->seen[0].at_ns;
}

static inline void rig_stopped(void *arg)
{
    struct rig *r = arg;
    assert_false(r->stopped);
    assert_int_equal(r->subscriber.base.refs + r->reply.base.refs + r->dead_letter.base.refs,
                     3); /* all given back by now */
    r->stopped = true;
    r->stopped_at_ns = r->clock.monotonic;
    r->stream = NULL;
}

static inline void rig_stop(struct rig *r, uint64_t deadline_ns)
{
    dispatch_stream_stop(r->stream, deadline_ns, rig_stopped, r);
    assert_false(r->stopped);
}

/* Stops what still runs and proves that nothing is left: no call, no reference to a sink, no event in hand. */
static inline void rig_free(struct rig *r)
{
    if (r->stream) {
        rig_stop(r, 0);
        rig_turn(r);
        assert_true(r->stopped);
    }
    assert_int_equal(r->counters.in_flight, 0);
    dispatcher_free(r->dispatcher);
    rig_park_answer(r);
    rig_turn(r);
    struct rig_sink *sinks[] = {&r->subscriber, &r->reply, &r->dead_letter};
    for (size_t i = 0; i < 3; i++) {
        assert_true(list_empty(&sinks[i]->under_way));
        assert_int_equal(sinks[i]->base.refs, 1);
        assert_int_equal(sinks[i]->freed, 0);
    }
    for (size_t i = 0; i < r->bus.count; i++)
        ce_event_unref(r->bus.events[i].event);
    for (size_t i = 0; i < r->seen_count; i++)
        ce_event_unref(r->seen[i].event);
    loop_free(r->loop);
    log_set_fd(STDERR_FILENO);
    close(r->log_fd);
    free(r);
}

/* The value of an attribute, "(none)" when absent; in a static buffer. */
static inline const char *rig_attribute(const struct ce_event *e, const char *name)
{
    static char text[2048];
    struct ce_attribute a;
    if (!ce_event_attribute(e, slice_str(name), &a))
        return "(none)";
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(a.value));
    return text;
}

/* Lines of the log so far that hold `word`. */
static inline unsigned rig_log_lines(struct rig *r, const char *word)
{
    static char text[1 << 16];
    ssize_t n = pread(r->log_fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    unsigned lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        lines += strstr(line, word) != NULL;
    return lines;
}

#endif
