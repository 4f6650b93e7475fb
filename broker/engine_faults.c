/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with single channels and subscriptions on their buses: told to whoever keeps conditions, logged without
 * a flood, and tried again.
 *
 *     an operation fails ────────────→ fault ──→ report, a line ──→ the plan is applied again after a while
 *     a bus has something to say ──→ look at what lies on it: well or not ──→ report, a line
 *     a plan is in force, a bus full ──→ likewise
 *
 * A line is written when a fault is new or another than before; of many at once FAULT_LINES_MAX in FAULT_LINES_NS, and
 * one that says how many there were besides.
 */
#include "engine_parts.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "siphash.h"

#define FAULT_LINES_MAX 10
#define FAULT_LINES_NS (60 * NS_PER_S)
#define AGAIN_NS_MIN (500 * NS_PER_MS) /* the first repetition, soon: most of what fails is just starting */
#define AGAIN_NS_MAX (60 * NS_PER_S)   /* as often as a condition may be behind its cause's end */
#define LOOK_NS (100 * NS_PER_MS)      /* notices come in bursts */

/* ---- lines ---- */

static bool line_allowed(struct engine *e)
{
    uint64_t now = loop_now_ns(e->control);
    if (e->fault_lines == 0 || now - e->fault_lines_since_ns >= FAULT_LINES_NS) {
        e->fault_lines_since_ns = now;
        e->fault_lines = 0;
    }
    if (e->fault_lines < FAULT_LINES_MAX) {
        e->fault_lines++;
        return true;
    }
    e->fault_lines_held++;
    return false;
}

static void say_held(struct engine *e)
{
    if (e->fault_lines_held > 0)
        log_line(LOG_ERROR, "plan.faults", "more=%u text=%s", e->fault_lines_held,
                 log_value("each is said in the conditions of its object"));
    e->fault_lines_held = 0;
}

/* ---- faults ---- */

static uint64_t mark_of(enum err err, const char *why)
{
    const uint64_t key[2] = {(uint64_t)err, 1};
    return siphash13(key, slice_str(why)) | 1;
}

void engine_fault(struct engine *e, struct engine_fault *f, const struct engine_failure *what)
{
    uint64_t mark = mark_of(what->err, what->why);
    engine_report_made(e, what->key, what->err, what->why);
    e->again_wanted = e->again_wanted || what->again;
    if (f->mark == mark)
        return;
    f->mark = mark;
    f->err = what->err;
    free(f->why);
    f->why = strdup(*what->why ? what->why : err_name(what->err));
    bool before = f->said;
    f->said = what->line && line_allowed(e);
    if (f->said)
        log_line(LOG_ERROR, what->line, "%s=%s error=%s reason=%s", what->noun, log_value(what->key),
                 err_name(what->err), log_value(what->why));
    f->said = f->said || before;
}

void engine_fault_fini(struct engine_fault *f)
{
    free(f->why);
    *f = (struct engine_fault){0};
}

void engine_fault_over(struct engine *e, struct engine_fault *f, const char *key)
{
    engine_report_made(e, key, OK, "");
    if (f->said)
        log_line(LOG_INFO, "plan.mended", "key=%s", log_value(key));
    engine_fault_fini(f);
}

static bool put_fault(const struct engine_fault *f, const char *noun, const char *key, struct buf *why)
{
    if (!f->mark)
        return true;
    if (why)
        buf_printf(why, "[-] %s %s: %s\n", noun, key, f->why ? f->why : "");
    return false;
}

bool engine_faultless(struct engine *e, struct buf *why)
{
    bool good = true;
    list_each(l, tmp, &e->channels) {
        const struct engine_channel *c = container_of(l, struct engine_channel, link);
        good = put_fault(&c->fault, "channel", c->key, why) && good;
    }
    list_each(m, next, &e->subscriptions) {
        const struct engine_subscription *s = container_of(m, struct engine_subscription, link);
        good = put_fault(&s->fault, "subscription", s->key, why) && good;
    }
    return good;
}

/* ---- once more ---- */

/* What is right already stays as it is; what failed is tried again. */
static void apply_again(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, again);
    if (!e->stopped && !e->applying && e->current)
        engine_begin(e, e->current->plan);
}

void engine_again_soon(struct engine *e)
{
    e->agains = 0;
    if (!e->stopped && loop_timer_armed(&e->again))
        loop_timer_start(e->control, &e->again, LOOK_NS);
}

/* What works now is said to work when it does so for events too. */
static void say_mended(struct engine *e)
{
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        if (c->mended)
            engine_fault_over(e, &c->fault, c->key);
        c->mended = false;
    }
    list_each(m, next, &e->subscriptions) {
        struct engine_subscription *s = container_of(m, struct engine_subscription, link);
        if (s->mended)
            engine_fault_over(e, &s->fault, s->key);
        s->mended = false;
    }
}

/* ---- what a bus says of single things on it ---- */

static void judge(struct engine *e, struct engine_fault *f, const struct engine_bus *bus, const char *noun,
                  const char *key, const struct bus_probe *probe)
{
    if (probe->healthy && f->looked) {
        f->looked = false;
        if (!f->asked)
            engine_fault_over(e, f, key);
    }
    if (probe->healthy || !probe->reason[0])
        return;
    const char *line = bus->sick || bus->full ? NULL : "bus.fault"; /* of the whole bus its notice tells */
    enum err err = probe->err ? probe->err : ERR_UNAVAILABLE;
    const struct engine_failure what = {line, noun, key, err, probe->reason, false};
    engine_fault(e, f, &what);
    f->looked = true;
}

static void look(struct loop_timer *t)
{
    struct engine *e = container_of(t, struct engine, look);
    list_each(k, after, &e->buses) {
        struct engine_bus *b = container_of(k, struct engine_bus, link);
        struct bus_probe probe = {0};
        b->bus->ops->probe(b->bus, NULL, &probe);
        b->sick = !probe.healthy;
        b->full = engine_bus_full(&probe);
    }
    list_each(l, tmp, &e->channels) {
        struct engine_channel *c = container_of(l, struct engine_channel, link);
        struct bus_probe probe = {0};
        if (!c->wanted || !c->ready)
            continue;
        c->bus->bus->ops->probe(c->bus->bus, c->handle, &probe);
        judge(e, &c->fault, c->bus, "channel", c->key, &probe);
    }
    list_each(m, next, &e->subscriptions) {
        struct engine_subscription *s = container_of(m, struct engine_subscription, link);
        if (!s->wanted || !s->ready)
            continue;
        const struct bus_probe probe = engine_probe(s->bus, s->handle);
        judge(e, &s->fault, s->bus, "subscription", s->key, &probe);
    }
    say_held(e);
}

/* As last looked at: to ask them with each plan would have Kafka and RabbitMQ asked how much there is. */
static bool some_bus_is_full(const struct engine *e)
{
    list_each(l, tmp, &e->buses)
        if (container_of(l, struct engine_bus, link)->full)
            return true;
    return false;
}

void engine_faults_plan_done(struct engine *e)
{
    say_mended(e);
    if (some_bus_is_full(e)) /* also of what the plan brought, and what it mended */
        look(&e->look);
    say_held(e);
    loop_timer_stop(e->control, &e->again);
    if (!e->again_wanted) {
        e->agains = 0;
        return;
    }
    if (e->stopped)
        return; /* this plan was under way when the stop came: no timer may outlive the engine */
    uint64_t wait = AGAIN_NS_MIN << (e->agains < 7 ? e->agains : 7);
    e->agains++;
    loop_timer_start(e->control, &e->again, wait < AGAIN_NS_MAX ? wait : AGAIN_NS_MAX);
}

void engine_look_soon(struct engine *e)
{
    if (!e->stopped && !loop_timer_armed(&e->look))
        loop_timer_start(e->control, &e->look, LOOK_NS);
}

void engine_faults_init(struct engine *e)
{
    loop_timer_init(&e->again, apply_again);
    loop_timer_init(&e->look, look);
}

void engine_faults_stop(struct engine *e)
{
    loop_timer_stop(e->control, &e->again);
    loop_timer_stop(e->control, &e->look);
}
