/* SPDX-License-Identifier: Apache-2.0
 *
 * What the contract's cases stand on: a bus over some loops, operations that are waited for, and taps: streams that
 * write down what they get.
 *
 * The test's own thread is control. Everything that the contract places on a data loop goes through rig_on, which runs
 * it there. Callbacks on other threads may not use cmocka's assertions; they use `must`, which ends the program.
 */
#ifndef LEAT_TESTS_CONTRACT_RIG_H
#define LEAT_TESTS_CONTRACT_RIG_H

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "bus.h"
#include "contract.h"

#define RIG_LOOPS_MAX 4
#define RIG_MAILBOX 4096
#define RIG_DIRS_MAX 2
#define RIG_TURNS_MAX 30000 /* a fact that is not there by then never comes */

#define must(fact)                                                                                                     \
    do {                                                                                                               \
        if (!(fact)) {                                                                                                 \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #fact);                                         \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct rig {
    const struct contract *contract;
    struct clock_fake fake;
    struct loop *control, *loops[RIG_LOOPS_MAX];
    size_t loop_count;
    struct bus_env env;
    const struct bus_ops *ops;
    struct bus *bus;
    pthread_t threads[RIG_LOOPS_MAX];
    bool running;     /* threads */
    bool finished;    /* the bus is gone */
    char params[400]; /* the contract's, with a folder for each @ */
    char dirs[RIG_DIRS_MAX][64];
    size_t dir_count;
    pthread_mutex_t lock;       /* of taps and calls */
    bool inside[RIG_LOOPS_MAX]; /* a call into the bus is running on this loop: no callback may */
    atomic_bool silent;         /* stop has ended: no callback may */
    unsigned in_doubt;          /* appends whose done said ERR_UNAVAILABLE: the event may be there all the same */
};

/* ---- loops ---- */

static inline void rig_turn(struct rig *r)
{
    if (r->running) {
        must(loop_turn(r->control, NS_PER_MS) == OK);
        return;
    }
    clock_fake_advance(&r->fake, NS_PER_MS);
    if (r->contract->idle && r->bus && !r->finished)
        r->contract->idle(r->bus);
    for (size_t i = 0; i < r->loop_count; i++)
        must(loop_turn(r->loops[i], 0) == OK);
    must(loop_turn(r->control, 0) == OK);
}

#define rig_until(r, fact)                                                                                             \
    do {                                                                                                               \
        for (int turns_ = 0; !(fact); turns_++) {                                                                      \
            if (turns_ == RIG_TURNS_MAX)                                                                               \
                fail_msg("never came: %s", #fact);                                                                     \
            rig_turn(r);                                                                                               \
        }                                                                                                              \
    } while (0)

struct rig_call {
    struct letter letter;
    void (*run)(void *arg);
    void *arg;
    struct loop *control;
    bool done;
};

static inline void rig_call_done(struct letter *m)
{
    container_of(m, struct rig_call, letter)->done = true;
}

static inline void rig_call_run(struct letter *m)
{
    struct rig_call *c = container_of(m, struct rig_call, letter);
    c->run(c->arg);
    m->run = rig_call_done; /* home, which wakes the test's thread */
    loop_post_reserved(c->control, m);
}

/* Runs it on data loop i and waits for its end. */
static inline void rig_on(struct rig *r, size_t i, void (*run)(void *arg), void *arg)
{
    if (!r->running) {
        run(arg);
        return;
    }
    struct rig_call c = {.letter.run = rig_call_run, .run = run, .arg = arg, .control = r->control};
    loop_post_reserved(r->loops[i], &c.letter);
    while (!c.done)
        rig_turn(r);
}

static inline void rig_nothing(void *arg)
{
    (void)arg;
}

/* Time for whatever is under way to happen; for facts that must not come true. */
static inline void rig_quiet(struct rig *r)
{
    for (int n = 0; n < (r->running ? 10 : 40); n++) {
        for (size_t i = 0; r->running && i < r->loop_count; i++)
            rig_on(r, i, rig_nothing, NULL);
        rig_turn(r);
    }
}

/* "a=1 b=2" as parameters; `text` is cut up. */
static inline size_t rig_params(char *text, struct bus_param *out, size_t most)
{
    size_t n = 0;
    for (char *save = NULL, *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');
        must(equals && n < most);
        *equals = '\0';
        out[n++] = (struct bus_param){word, equals + 1};
    }
    return n;
}

/* ---- folders ---- */

static inline void rig_folder_new(struct rig *r)
{
    must(r->dir_count < RIG_DIRS_MAX);
    const char *base = getenv("TMPDIR");
    char *dir = r->dirs[r->dir_count++];
    must(snprintf(dir, sizeof r->dirs[0], "%s/leat-bus-XXXXXX", base ? base : "/tmp") < (int)sizeof r->dirs[0]);
    must(mkdtemp(dir));
}

/* The value of the environment's variable whose name begins at *p; moves *p to its last character. */
static inline const char *rig_environment(const char **p)
{
    char name[64];
    size_t n = strspn(*p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    must(snprintf(name, sizeof name, "%.*s", (int)n, *p + 1) < (int)sizeof name);
    *p += n;
    const char *value = getenv(name);
    if (!value)
        fprintf(stderr, "%s is not set\n", name);
    must(value);
    return value;
}

/* A word that no run ever used: a cluster may outlive the process by whose id a case would name its topics. */
static inline void rig_word(char *out, size_t room)
{
    uint64_t random;
    must(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    must(snprintf(out, room, "t%016llx-", (unsigned long long)random) < (int)room);
}

/* `params` with what contract.h says of values filled in. */
static inline void rig_params_fill(struct rig *r, const char *params, char *out, size_t room)
{
    size_t n = 0;
    for (const char *p = params; *p; p++) {
        char one[32] = {*p};
        const char *text = one;
        if (*p == '@') {
            rig_folder_new(r);
            text = r->dirs[r->dir_count - 1];
        } else if (*p == '*') {
            rig_word(one, sizeof one);
        } else if (*p == '$') {
            text = rig_environment(&p);
        }
        n += (size_t)snprintf(out + n, room - n, "%s", text);
        must(n < room);
    }
    out[n] = '\0';
}

static inline int rig_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static inline void rig_folders_remove(struct rig *r)
{
    while (r->dir_count)
        must(nftw(r->dirs[--r->dir_count], rig_remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- operations of control ---- */

struct rig_op {
    struct bus_op op;
    int ended;
    enum err err;
};

static inline void rig_op_done(struct bus_op *op, enum err err)
{
    struct rig_op *o = container_of(op, struct rig_op, op);
    o->ended++;
    o->err = err;
}

static inline void rig_wait(struct rig *r, struct rig_op *o)
{
    rig_until(r, o->ended > 0);
    assert_int_equal(o->ended, 1);
    assert_int_equal(o->err, OK);
}

static inline struct bus_channel *rig_channel_with(struct rig *r, const char *name, const char *params)
{
    char text[200];
    struct bus_param list[8];
    struct diag d = {0};
    struct bus_channel *c = NULL;
    struct rig_op o = {.op.done = rig_op_done};
    snprintf(text, sizeof text, "%s", params);
    size_t n = rig_params(text, list, 8);
    enum err e = r->ops->provision(r->bus, slice_str(name), list, n, &c, &o.op, &d);
    if (e)
        fail_msg("provision: %s", d.text);
    assert_int_equal(o.ended, 0);
    rig_wait(r, &o);
    return c;
}

static inline struct bus_channel *rig_channel(struct rig *r, const char *name)
{
    return rig_channel_with(r, name, "");
}

static inline struct bus_subscription *rig_subscribe_all(struct rig *r, struct bus_channel *c, const char *name,
                                                         struct filter *filter, const char *params)
{
    char text[200];
    struct bus_param list[8];
    struct diag d = {0};
    struct bus_start start = {.kind = BUS_START_LATEST};
    struct bus_subscription *s = NULL;
    struct rig_op o = {.op.done = rig_op_done};
    snprintf(text, sizeof text, "%s", params);
    size_t n = rig_params(text, list, 8);
    enum err e = r->ops->subscribe(r->bus, c, slice_str(name), &start, filter, list, n, &s, &o.op, &d);
    if (e)
        fail_msg("subscribe: %s", d.text);
    assert_int_equal(o.ended, 0);
    rig_wait(r, &o);
    return s;
}

static inline struct bus_subscription *rig_subscribe_with(struct rig *r, struct bus_channel *c, const char *name,
                                                          const char *params)
{
    return rig_subscribe_all(r, c, name, NULL, params);
}

static inline struct bus_subscription *rig_subscribe(struct rig *r, struct bus_channel *c, const char *name)
{
    return rig_subscribe_with(r, c, name, "");
}

static inline void rig_unsubscribe(struct rig *r, struct bus_subscription *s, bool remove)
{
    struct rig_op o = {.op.done = rig_op_done};
    r->ops->unsubscribe(r->bus, s, remove, &o.op);
    rig_wait(r, &o);
}

static inline void rig_release(struct rig *r, struct bus_channel *c, bool remove)
{
    struct rig_op o = {.op.done = rig_op_done};
    r->ops->release(r->bus, c, remove, &o.op);
    rig_wait(r, &o);
}

static inline void rig_stop(struct rig *r)
{
    struct rig_op o = {.op.done = rig_op_done};
    r->ops->stop(r->bus, &o.op);
    rig_wait(r, &o);
    atomic_store(&r->silent, true);
}

/* ---- events and appends ---- */

/* An event with this id, of about `bytes` of data; with a partition key when `key` is not NULL. */
static inline const struct ce_event *rig_event(const char *id, const char *key, size_t bytes)
{
    struct ce_builder b;
    const struct ce_event *e = NULL;
    struct diag d = {0};
    char *data = calloc(1, bytes + 1);
    must(data);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/contract"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("contract.event"));
    if (key)
        ce_builder_set(&b, SLICE("partitionkey"), CE_STRING, slice_str(key));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of(data, bytes));
    if (ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, &d))
        fail_msg("event: %s", d.text);
    free(data);
    return e;
}

struct rig_append {
    struct bus_append a;
    struct rig *r;
    struct bus_channel *c;
    const struct ce_event *event;
    size_t loop;
    enum err at_once, err;
    int ended;
};

static inline void rig_append_done(struct bus_append *a, enum err err)
{
    struct rig_append *p = container_of(a, struct rig_append, a);
    must(!p->r->inside[p->loop]);
    must(!atomic_load(&p->r->silent));
    must(!p->r->running || pthread_equal(pthread_self(), p->r->threads[p->loop]));
    pthread_mutex_lock(&p->r->lock);
    p->ended++;
    p->err = err;
    pthread_mutex_unlock(&p->r->lock);
}

static inline void rig_append_here(void *arg)
{
    struct rig_append *p = arg;
    p->a.done = rig_append_done;
    p->r->inside[p->loop] = true;
    enum err e = p->r->ops->append(p->r->bus, p->c, p->event, &p->a, p->r->loops[p->loop]);
    p->r->inside[p->loop] = false;
    pthread_mutex_lock(&p->r->lock);
    p->at_once = e;
    pthread_mutex_unlock(&p->r->lock);
}

/* Starts one append of an event that lives until it ends. */
static inline void rig_append_start(struct rig *r, size_t loop, struct bus_channel *c, const struct ce_event *event,
                                    struct rig_append *p)
{
    *p = (struct rig_append){.r = r, .c = c, .event = event, .loop = loop};
    rig_on(r, loop, rig_append_here, p);
}

static inline bool rig_append_ended(struct rig_append *p)
{
    pthread_mutex_lock(&p->r->lock);
    bool ended = p->at_once || p->ended > 0;
    must(!(p->at_once && p->ended) && p->ended <= 1);
    pthread_mutex_unlock(&p->r->lock);
    return ended;
}

static inline enum err rig_append_try(struct rig *r, size_t loop, struct bus_channel *c, const struct ce_event *event)
{
    struct rig_append p;
    rig_append_start(r, loop, c, event, &p);
    rig_until(r, rig_append_ended(&p));
    r->in_doubt += p.ended && p.err == ERR_UNAVAILABLE;
    return p.at_once ? p.at_once : p.err;
}

/* Appends for sure: a bus that cannot be reached for a moment is asked again. What was in doubt may then be there twice
 * (a broker that acknowledges too late): a backlog may count it, nothing else in a case may. */
static inline void rig_append_event(struct rig *r, size_t loop, struct bus_channel *c, const struct ce_event *event)
{
    enum err e;
    while ((e = rig_append_try(r, loop, c, event)) == ERR_UNAVAILABLE)
        continue;
    assert_string_equal(err_name(e), err_name(OK));
}

static inline void rig_append(struct rig *r, size_t loop, struct bus_channel *c, const char *id, const char *key)
{
    const struct ce_event *event = rig_event(id, key, 10);
    rig_append_event(r, loop, c, event);
    ce_event_unref(event);
}

/* Appends e0 ... e(n-1), dealt over the loops. */
static inline void rig_append_many(struct rig *r, struct bus_channel *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%u", i);
        rig_append(r, i % r->loop_count, c, id, NULL);
    }
}

/* ---- taps ---- */

#define TAP_ITEMS_MAX 8192

struct tap_item {
    char id[24];
    struct bus_token token;
    const struct ce_event *event; /* borrowed while open */
    unsigned attempt;
    bool open, acked, first; /* first: this tap had not seen the id before */
};

struct tap {
    struct rig *r;
    struct bus_subscription *s;
    size_t loop;
    struct bus_stream *stream;
    bool acks;           /* settles each at once and allows one more */
    bool ended;          /* detach is done */
    unsigned stop_after; /* detaches inside the delivery of so many; 0: never */
    struct rig_op detach;
    uint64_t credit, count, open, revoked;
    uint64_t attempts; /* of a tap with a deliver of its own */
    struct tap_item *items;
    enum err err;
    unsigned n; /* argument of calls */
    const char *id;
    enum bus_settle how;
    bool found;
};

static inline bool tap_is(const struct tap *t, const char *id)
{
    for (uint64_t i = 0; i < t->count; i++) {
        if (strcmp(t->items[i].id, id) == 0)
            return true;
    }
    return false;
}

static inline void tap_detach_here(void *arg);

static inline void tap_deliver(void *arg, struct bus_stream *stream, const struct ce_event *event,
                               struct bus_token token, unsigned attempt)
{
    struct tap *t = arg;
    struct rig *r = t->r;
    must(!r->inside[t->loop] && !atomic_load(&r->silent));
    must(!r->running || pthread_equal(pthread_self(), r->threads[t->loop]));
    pthread_mutex_lock(&r->lock);
    must(!t->ended && stream == t->stream && attempt >= 1);
    must(t->count < t->credit && t->count < TAP_ITEMS_MAX);
    struct slice id = ce_event_id(event);
    struct tap_item item = {.token = token, .event = event, .attempt = attempt, .open = true};
    snprintf(item.id, sizeof item.id, "%.*s", SLICE_ARG(id));
    item.first = !tap_is(t, item.id);
    t->items[t->count++] = item;
    t->open++;
    bool ack = t->acks;
    if (ack) {
        t->items[t->count - 1].open = false;
        t->items[t->count - 1].acked = true;
        t->open--;
        t->credit++;
    }
    bool detach = t->stop_after && t->count == t->stop_after;
    pthread_mutex_unlock(&r->lock);
    if (ack) {
        r->ops->settle(r->bus, stream, token, BUS_ACK);
        r->ops->credit(r->bus, stream, 1);
    }
    if (detach)
        tap_detach_here(t);
}

static inline void tap_revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    struct tap *t = arg;
    struct rig *r = t->r;
    must(!r->inside[t->loop] && !atomic_load(&r->silent));
    pthread_mutex_lock(&r->lock);
    must(!t->ended && stream == t->stream);
    bool found = false;
    for (uint64_t i = 0; i < t->count; i++) {
        struct tap_item *item = &t->items[i];
        if (item->open && item->token.a == token.a && item->token.b == token.b) {
            must(slice_eq_str(ce_event_id(item->event), item->id));
            item->open = false;
            found = true;
        }
    }
    must(found);
    t->open--;
    t->revoked++;
    t->credit++;
    pthread_mutex_unlock(&r->lock);
    r->ops->credit(r->bus, stream, 1);
}

static inline void tap_attach_here(void *arg)
{
    static const struct bus_stream_callbacks callbacks = {.deliver = tap_deliver, .revoked = tap_revoked};
    struct tap *t = arg;
    struct rig *r = t->r;
    r->inside[t->loop] = true;
    t->err = r->ops->attach(r->bus, t->s, r->loops[t->loop], &callbacks, t, &t->stream);
    r->inside[t->loop] = false;
}

static inline void tap_attach(struct rig *r, struct bus_subscription *s, size_t loop, struct tap *t)
{
    *t = (struct tap){.r = r, .s = s, .loop = loop};
    t->items = calloc(TAP_ITEMS_MAX, sizeof *t->items);
    must(t->items);
    rig_on(r, loop, tap_attach_here, t);
    assert_int_equal(t->err, OK);
}

static inline void tap_credit_here(void *arg)
{
    struct tap *t = arg;
    pthread_mutex_lock(&t->r->lock);
    t->credit += t->n;
    pthread_mutex_unlock(&t->r->lock);
    t->r->inside[t->loop] = true;
    t->r->ops->credit(t->r->bus, t->stream, t->n);
    t->r->inside[t->loop] = false;
}

static inline void tap_credit(struct tap *t, unsigned n)
{
    t->n = n;
    rig_on(t->r, t->loop, tap_credit_here, t);
}

/* A tap that takes all there is. */
static inline void tap_drain(struct rig *r, struct bus_subscription *s, size_t loop, struct tap *t)
{
    tap_attach(r, s, loop, t);
    t->acks = true;
    tap_credit(t, 8);
}

static inline void tap_settle_here(void *arg)
{
    struct tap *t = arg;
    struct tap_item *item = NULL;
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count && !item; i++) {
        if (t->items[i].open && (!t->id || strcmp(t->items[i].id, t->id) == 0))
            item = &t->items[i];
    }
    if (item) {
        must(slice_eq_str(ce_event_id(item->event), item->id)); /* valid until settled */
        item->open = false;
        item->acked = t->how == BUS_ACK;
        t->open--;
    }
    pthread_mutex_unlock(&t->r->lock);
    t->found = item != NULL;
    if (!item)
        return;
    t->r->inside[t->loop] = true;
    t->r->ops->settle(t->r->bus, t->stream, item->token, t->how);
    t->r->inside[t->loop] = false;
}

/* Settles one open delivery of this event (NULL: the oldest of any). False: none is open. */
static inline bool tap_settle(struct tap *t, const char *id, enum bus_settle how)
{
    t->id = id;
    t->how = how;
    rig_on(t->r, t->loop, tap_settle_here, t);
    return t->found;
}

static inline void tap_detach_done(struct bus_op *op, enum err err)
{
    struct tap *t = container_of(container_of(op, struct rig_op, op), struct tap, detach);
    must(err == OK && !t->r->inside[t->loop]);
    pthread_mutex_lock(&t->r->lock);
    must(!t->ended);
    t->ended = true;
    pthread_mutex_unlock(&t->r->lock);
}

static inline void tap_detach_here(void *arg)
{
    struct tap *t = arg;
    t->detach.op.done = tap_detach_done;
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count; i++)
        t->items[i].open = false;
    t->open = 0;
    pthread_mutex_unlock(&t->r->lock);
    t->r->inside[t->loop] = true;
    t->r->ops->detach(t->r->bus, t->stream, &t->detach.op);
    t->r->inside[t->loop] = false;
}

/* A number of the tap, read under the lock. */
#define TAP_READ(name, type, expression)                                                                               \
    static inline type name(struct tap *t)                                                                             \
    {                                                                                                                  \
        pthread_mutex_lock(&t->r->lock);                                                                               \
        type value = expression;                                                                                       \
        pthread_mutex_unlock(&t->r->lock);                                                                             \
        return value;                                                                                                  \
    }
TAP_READ(tap_count, uint64_t, t->count)
TAP_READ(tap_open, uint64_t, t->open)
TAP_READ(tap_revocations, uint64_t, t->revoked)
TAP_READ(tap_attempts, uint64_t, t->attempts)
TAP_READ(tap_ended, bool, t->ended)

/* Different events acknowledged through this tap. */
static inline unsigned tap_acked(struct tap *t)
{
    unsigned n = 0;
    pthread_mutex_lock(&t->r->lock);
    for (uint64_t i = 0; i < t->count; i++) {
        bool again = false;
        for (uint64_t j = 0; j < i && !t->items[i].first; j++)
            again |= t->items[j].acked && strcmp(t->items[j].id, t->items[i].id) == 0;
        n += t->items[i].acked && !again;
    }
    pthread_mutex_unlock(&t->r->lock);
    return n;
}

static inline void tap_detach(struct tap *t)
{
    rig_on(t->r, t->loop, tap_detach_here, t);
    rig_until(t->r, tap_ended(t));
}

static inline void tap_close(struct tap *t)
{
    if (!tap_ended(t))
        tap_detach(t);
    free(t->items);
    t->items = NULL;
}

/* ---- what the bus says of itself ---- */

/* c NULL: of the whole bus. */
static inline struct bus_probe rig_probe(struct rig *r, struct bus_channel *c)
{
    struct bus_probe p;
    r->ops->probe(r->bus, c, &p);
    return p;
}

static inline struct bus_probe rig_probe_subscription(struct rig *r, struct bus_subscription *s)
{
    struct bus_probe p;
    r->ops->probe_subscription(r->bus, s, &p);
    return p;
}

#endif
