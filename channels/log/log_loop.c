/* SPDX-License-Identifier: Apache-2.0
 *
 * What the log bus keeps for one data loop: spare log_pending, so that an append allocates nothing once it is warm; and
 * what W and R leave there, completed appends, streams with something to deliver, pages read, for which the loop gets
 * one letter however much it is.
 *
 * log_loop_ready, log_loop_post: any thread. The rest: the loop's own.
 */
#include "log_bus.h"

#include <assert.h>
#include <stdlib.h>

/* ---- pending ---- */

struct log_pending *log_pending_new(enum log_pending_kind kind)
{
    struct log_pending *p = calloc(1, kind == LOG_PENDING_EVENT ? sizeof *p : offsetof(struct log_pending, append));
    if (!p)
        return NULL;
    p->kind = kind;
    list_init(&p->link);
    list_init(&p->op_link);
    if (kind == LOG_PENDING_EVENT) {
        p->matches = p->inline_matches;
        p->match_room = LOG_MATCH_INLINE;
    }
    return p;
}

void log_pending_free(struct log_pending *p)
{
    if (!p)
        return;
    if (p->kind == LOG_PENDING_EVENT) {
        ce_event_unref(p->event);
        if (p->matches != p->inline_matches)
            free(p->matches);
    }
    free(p);
}

struct log_pending *log_pending_take(struct log_loop *l)
{
    struct list *i = list_pop_front(&l->spare);
    if (!i)
        return log_pending_new(LOG_PENDING_EVENT);
    assert(l->spare_count > 0);
    l->spare_count--;
    return container_of(i, struct log_pending, link);
}

void log_pending_give(struct log_loop *l, struct log_pending *p)
{
    assert(p->kind == LOG_PENDING_EVENT);
    p->event = ce_event_unref(p->event);
    p->match_count = 0;
    if (l->spare_count >= LOG_SPARE_MAX || !l->bound) {
        log_pending_free(p);
        return;
    }
    list_push_front(&l->spare, &p->link);
    l->spare_count++;
}

void log_loop_spares_free(struct log_loop *l)
{
    struct list *i;
    while ((i = list_pop_front(&l->spare)))
        log_pending_free(container_of(i, struct log_pending, link));
    l->spare_count = 0;
}

/* ---- what other threads leave ---- */

static void complete(struct log_loop *l, struct list *completed)
{
    struct list *i;
    while ((i = list_pop_front(completed))) {
        struct log_pending *p = container_of(i, struct log_pending, link);
        struct bus_append *a = p->append;
        enum err e = p->result;
        assert(p->home == l && (e || p->sequence)); /* OK: W has written it */
        log_pending_give(l, p);
        a->done(a, e);
    }
}

static struct bus_stream *next_ready(struct log_loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct list *i = list_pop_front(&l->ready);
    pthread_mutex_unlock(&l->lock);
    return i ? container_of(i, struct bus_stream, ready_link) : NULL;
}

/* Streams are only woken here and deliver at the end of the turn; so the list ends. */
static void arrived(void *owner)
{
    struct log_loop *l = owner;
    struct list completed, pages, *i;
    list_init(&completed);
    list_init(&pages);
    pthread_mutex_lock(&l->lock);
    list_splice_back(&completed, &l->completed);
    list_splice_back(&pages, &l->pages);
    pthread_mutex_unlock(&l->lock);

    if (!list_empty(&completed))
        log_yield_arrived(l);
    for (struct bus_stream *st; (st = next_ready(l));)
        log_stream_wake(st);
    complete(l, &completed);
    while ((i = list_pop_front(&pages)))
        log_read_arrived(i);
}

void log_loop_ready(struct bus_stream *st)
{
    struct log_loop *l = st->at;
    assert(l && st->subscription);
    pthread_mutex_lock(&l->lock);
    if (list_empty(&st->ready_link))
        list_push_back(&l->ready, &st->ready_link);
    pthread_mutex_unlock(&l->lock);
}

void log_loop_post(struct log_loop *l)
{
    pthread_mutex_lock(&l->lock);
    if (!list_empty(&l->completed) || !list_empty(&l->ready) || !list_empty(&l->pages))
        post_send(l->post);
    pthread_mutex_unlock(&l->lock);
}

struct log_loop *log_loop_find(struct log_bus *g, const struct loop *loop)
{
    return &g->loops[bus_env_index(&g->env, loop)];
}

enum err log_loop_init(struct log_loop *l, struct log_bus *g, size_t index)
{
    *l = (struct log_loop){.bus = g, .loop = g->env.loops[index], .index = index};
    list_init(&l->spare);
    list_init(&l->completed);
    list_init(&l->ready);
    list_init(&l->pages);
    list_init(&l->outgoing);
    log_yield_init(l);
    enum err e = post_new(l->loop, arrived, l, &l->post);
    if (!e)
        pthread_mutex_init(&l->lock, NULL);
    return e;
}

void log_loop_fini(struct log_loop *l)
{
    struct list *i;
    if (!l->post)
        return;
    while ((i = list_pop_front(&l->completed)))
        log_pending_free(container_of(i, struct log_pending, link));
    while ((i = list_pop_front(&l->pages)))
        log_read_free(i);
    log_loop_spares_free(l);
    log_yield_fini(l);
    post_free(l->post);
    pthread_mutex_destroy(&l->lock);
}
