/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of links to RabbitMQ: a client and one link whose callbacks are written down as lines, which the test waits
 * for; and a way to do something on the link's thread.
 *
 *     up Peer 4.1.2 · down unavailable: RabbitMQ at ... · blocked low on memory · unblocked · room
 *     answer NAME ok · deliver TAG BODY · returned 312 NO_ROUTE BODY · confirmed 3 all ok · canceled c · closed ok 0
 * TEXT notice BrokerDown: TEXT
 */
#ifndef LEAT_TESTS_AMQP_RIG_H
#define LEAT_TESTS_AMQP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "amqp_peer.h"
#include "clients/rabbitmq_private.h"
#include "loop.h"
#include "rabbitmq_link.h"

#define RIG_LINES_MAX 4096

struct rig {
    struct rabbitmq_client *client;
    struct rabbitmq_link *link;
    struct rabbitmq_channel *channel;     /* what `on_up` opened */
    void (*_Atomic on_up)(struct rig *r); /* on the link's thread */
    unsigned deliveries;
    pthread_mutex_t lock;
    pthread_cond_t more;
    char *lines[RIG_LINES_MAX]; /* the last ones of a long test are enough */
    unsigned count, looked_at;
};

static inline void rig_note(struct rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void rig_note(struct rig *r, const char *format, ...)
{
    char *line = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&line, format, args) < 0)
        abort();
    va_end(args);
    pthread_mutex_lock(&r->lock);
    if (r->count == RIG_LINES_MAX)
        abort();
    r->lines[r->count++] = line;
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
}

/* The next line that begins so, behind the one that was found last; lines between are passed over. */
static inline const char *rig_wait(struct rig *r, const char *begins)
{
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->looked_at < r->count) {
            const char *line = r->lines[r->looked_at++];
            if (strncmp(line, begins, strlen(begins)) == 0) {
                pthread_mutex_unlock(&r->lock);
                return line;
            }
        }
        pthread_cond_wait(&r->more, &r->lock);
    }
}

static inline unsigned rig_count(struct rig *r, const char *begins)
{
    unsigned n = 0;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < r->count; i++)
        n += strncmp(r->lines[i], begins, strlen(begins)) == 0;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static inline void rig_has(const char *line, const char *text)
{
    if (!strstr(line, text))
        fail_msg("\"%s\" does not hold \"%s\"", line, text);
}

/* ---- callbacks ---- */

static inline void rig_up(void *arg, const struct rabbitmq_server *s)
{
    struct rig *r = arg;
    rig_note(r, "up %s %s %u.%u frame %u channels %u heartbeat %u", s->product, s->version, s->major, s->minor,
             s->frame_bytes_max, s->channels_max, s->heartbeat_s);
    void (*then)(struct rig *) = r->on_up;
    if (then)
        then(r);
}

static inline void rig_down(void *arg, enum err e, const char *why)
{
    rig_note(arg, "down %s: %s", err_name(e), why);
}

static inline void rig_blocked(void *arg, const char *why)
{
    rig_note(arg, why ? "blocked %s" : "unblocked", why);
}

static inline void rig_room(void *arg)
{
    rig_note(arg, "room");
}

static inline void rig_notice(void *arg, int severity, const char *code, const char *text)
{
    (void)severity;
    rig_note(arg, "notice %s: %s", code, text);
}

static inline void rig_deliver(void *arg, const struct rabbitmq_message *m)
{
    struct rig *r = arg;
    r->deliveries++;
    int len = (int)(m->body.len < 60 ? m->body.len : 60);
    rig_note(r, "deliver %llu %.*s%s (%llu)", (unsigned long long)m->tag, len, m->body.len ? m->body.ptr : "",
             m->too_large ? "too large" : "", (unsigned long long)m->body_bytes);
}

static inline void rig_returned(void *arg, unsigned code, struct slice text, const struct rabbitmq_message *m)
{
    rig_note(arg, "returned %u %.*s %.*s", code, SLICE_ARG(text), SLICE_ARG(m->body));
}

static inline void rig_confirmed(void *arg, uint64_t sequence, bool multiple, bool ok)
{
    rig_note(arg, "confirmed %llu%s %s", (unsigned long long)sequence, multiple ? " all" : "", ok ? "ok" : "refused");
}

static inline void rig_canceled(void *arg, struct slice consumer)
{
    rig_note(arg, "canceled %.*s", SLICE_ARG(consumer));
}

static inline void rig_closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct rig *r = arg;
    r->channel = NULL;
    rig_note(r, "closed %s %u %s", err_name(e), code, text);
}

static const struct rabbitmq_channel_events rig_channel_events = {rig_deliver, rig_returned, rig_confirmed,
                                                                  rig_canceled, rig_closed};

struct rig_answer { /* owned by the call */
    struct rig *rig;
    const char *name;
};

static inline void rig_answered(void *arg, const struct rabbitmq_answer *a)
{
    struct rig_answer *mine = arg;
    rig_note(mine->rig, "answer %s %s %u %s", mine->name, err_name(a->e), a->code, a->text);
    free(mine);
}

/* On the link's thread: a call whose answer is written down under `name`. */
static inline enum err rig_call(struct rig *r, struct rabbitmq_channel *c, uint32_t method, const void *decoded,
                                const char *name)
{
    struct rig_answer *mine = malloc(sizeof(*mine));
    if (!mine) /* the fault that a test made */
        return ERR_NOMEM;
    *mine = (struct rig_answer){r, name};
    enum err e = rabbitmq_call(c, method, decoded, rig_answered, mine);
    if (e)
        free(mine);
    return e;
}

/* ---- doing something on the link's thread ---- */

struct rig_task {
    struct letter letter;
    void (*run)(struct rig *r);
    struct rig *rig;
    bool done;
};

static inline void rig_run(struct letter *m)
{
    struct rig_task *t = (struct rig_task *)(void *)m;
    struct rig *r = t->rig;
    t->run(r);
    pthread_mutex_lock(&r->lock);
    t->done = true;
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
}

static inline void rig_do(struct rig *r, void (*run)(struct rig *r))
{
    struct rig_task t = {.letter.run = rig_run, .run = run, .rig = r};
    loop_post_reserved(rabbitmq_link_loop(r->link), &t.letter);
    pthread_mutex_lock(&r->lock);
    while (!t.done)
        pthread_cond_wait(&r->more, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

/* ---- life ---- */

/* `words`: name, value, ..., NULL. */
static inline void rig_client(struct rig *r, const char *const *words)
{
    struct rabbitmq_client_param params[16];
    size_t n = 0;
    struct diag d = {.text = ""};
    for (; words[2 * n]; n++)
        params[n] = (struct rabbitmq_client_param){words[2 * n], words[2 * n + 1]};
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->more, NULL);
    struct rabbitmq_client_events events = {rig_notice, r};
    if (rabbitmq_client_new(params, n, &events, &r->client, &d) != OK)
        fail_msg("%s", d.text);
}

static inline void rig_link(struct rig *r)
{
    static const struct rabbitmq_link_events events = {rig_up, rig_down, rig_blocked, rig_room};
    struct rabbitmq_link_config config = {.name = "leat test",
                                          .message_bytes_max = 100000,
                                          .unsent_bytes_max = 1 << 20,
                                          .mailbox_max = 100,
                                          .events = &events,
                                          .arg = r};
    assert_int_equal(rabbitmq_link_new(r->client, &config, &r->link), OK);
}

/* A client and a link to this peer, with heartbeats as given. */
static inline void rig_start(struct rig *r, const struct amqp_peer *p, const char *heartbeat)
{
    char url[80];
    snprintf(url, sizeof(url), "amqp://me:secretword@127.0.0.1:%u/v%%2F1", p->port);
    rig_client(r, (const char *const[]){"url", url, "heartbeat", heartbeat, NULL});
    rig_link(r);
}

static inline void rig_stop(struct rig *r)
{
    rabbitmq_link_free(r->link);
    rabbitmq_client_unref(r->client);
    for (unsigned i = 0; i < r->count; i++)
        free(r->lines[i]);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->more);
}

#endif
