/* SPDX-License-Identifier: Apache-2.0
 *
 * One loop's HTTP server: connections come by letter from the listener's loop, and go. Each socket is watched by our
 * loop, level-triggered and for input all the time, so a request costs no epoll_ctl.
 */
#include "http_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_BYTES_MIN 1024 /* less would refuse what every client sends */

/* ---- connections come in ---- */

/* What letters hold instead of the server, which may be freed before they are read. */
struct http_inbox {
    unsigned refs;     /* atomic */
    uint64_t overflow; /* atomic: connections that did not fit into the mailbox */
    struct loop *loop;
    struct http_server *server; /* NULL when it is freed; touched on the loop only */
};

struct dealt {
    struct letter letter;
    struct http_inbox *inbox;
    int fd;
};

struct http_inbox *http_server_inbox_ref(struct http_server *s)
{
    __atomic_add_fetch(&s->inbox->refs, 1, __ATOMIC_RELAXED);
    return s->inbox;
}

void http_inbox_unref(struct http_inbox *inbox)
{
    if (inbox && __atomic_sub_fetch(&inbox->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(inbox);
}

static void add(struct http_server *s, int fd)
{
    if (s->draining || s->stats.connections_open >= s->options.connections_max) {
        http_count(s->stats.connections_refused, 1);
        close(fd);
    } else if (http_request_open(s, fd) == OK) {
        http_count(s->stats.connections_accepted, 1);
    } else {
        http_count(s->stats.connections_refused, 1);
    }
}

static void read_dealt(struct letter *letter)
{
    struct dealt *d = container_of(letter, struct dealt, letter);
    if (d->inbox->server)
        add(d->inbox->server, d->fd);
    else
        close(d->fd);
    http_inbox_unref(d->inbox);
    free(d);
}

void http_server_adopt(struct http_inbox *inbox, struct loop *from, int fd)
{
    if (from == inbox->loop) {
        if (inbox->server)
            add(inbox->server, fd);
        else
            close(fd);
        return;
    }
    struct dealt *d = malloc(sizeof *d);
    if (!d) {
        close(fd);
        return;
    }
    d->letter.run = read_dealt;
    d->inbox = inbox;
    d->fd = fd;
    __atomic_add_fetch(&inbox->refs, 1, __ATOMIC_RELAXED);
    if (loop_post(inbox->loop, &d->letter) != OK) {
        close(fd); /* the loop is behind by a whole mailbox: better a refusal now than one more to wait */
        __atomic_add_fetch(&inbox->overflow, 1, __ATOMIC_RELAXED);
        http_inbox_unref(inbox);
        free(d);
    }
}

/* ---- blocks ---- */

struct http_block *http_block_get(struct http_server *s)
{
    struct http_block *b = s->spare;
    if (b) {
        s->spare = b->next;
        s->spares--;
    } else {
        b = malloc(sizeof *b + HTTP_BLOCK_BYTES);
        if (!b)
            return NULL;
        b->cap = HTTP_BLOCK_BYTES;
    }
    b->len = 0;
    return b;
}

void http_block_put(struct http_server *s, struct http_block *b)
{
    if (!b)
        return;
    if (b->cap != HTTP_BLOCK_BYTES || s->spares == HTTP_SPARE_BLOCKS_MAX) {
        free(b);
        return;
    }
    b->next = s->spare;
    s->spare = b;
    s->spares++;
}

/* ---- what is to be gone on with ---- */

static void run_settle(struct loop_task *t)
{
    struct http_server *s = container_of(t, struct http_server, settle_task);
    for (struct list *l; (l = list_pop_front(&s->settle));)
        http_request_settle(container_of(l, struct http_request, todo));
}

static void run_more(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, more_timer);
    struct list now;
    list_init(&now);
    list_splice_back(&now, &s->more);
    for (struct list *l; (l = list_pop_front(&now));)
        http_request_again(container_of(l, struct http_request, todo));
}

/* ---- life ---- */

static void fill_options(struct http_server_options *o)
{
    o->head_bytes_max = o->head_bytes_max ? o->head_bytes_max : 32u << 10;
    if (o->head_bytes_max < HEAD_BYTES_MIN)
        o->head_bytes_max = HEAD_BYTES_MIN;
    o->head_timeout_ns = o->head_timeout_ns ? o->head_timeout_ns : 10 * NS_PER_S;
    o->body_timeout_ns = o->body_timeout_ns ? o->body_timeout_ns : 30 * NS_PER_S;
    o->idle_timeout_ns = o->idle_timeout_ns ? o->idle_timeout_ns : 75 * NS_PER_S;
    o->connections_max = o->connections_max ? o->connections_max : 10000;
}

static enum err start(struct http_server *s)
{
    s->inbox = calloc(1, sizeof *s->inbox);
    if (!s->inbox)
        return ERR_NOMEM;
    *s->inbox = (struct http_inbox){.refs = 1, .loop = s->loop, .server = s};
    if (s->options.flag_head_bytes) {
        s->flag_head_bytes = strdup(s->options.flag_head_bytes);
        if (!s->flag_head_bytes)
            return ERR_NOMEM;
        s->options.flag_head_bytes = s->flag_head_bytes;
    }
    return OK;
}

enum err http_server_new(struct loop *loop, const struct http_server_options *options,
                         const struct http_handler *handler, void *arg, struct http_server **out)
{
    assert(loop && handler && handler->head && handler->end);
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->loop = loop;
    if (options)
        s->options = *options;
    fill_options(&s->options);
    s->handler = *handler;
    s->arg = arg;
    list_init(&s->open);
    list_init(&s->settle);
    list_init(&s->more);
    loop_task_init(&s->settle_task, run_settle);
    loop_timer_init(&s->more_timer, run_more);
    http_deadlines_init(s);
    enum err e = start(s);
    if (e != OK) {
        http_server_free(s);
        return e;
    }
    *out = s;
    return OK;
}

void http_server_drain(struct http_server *s)
{
    if (s->draining)
        return;
    s->draining = true;
    list_each(l, tmp, &s->open) {
        struct http_request *r = container_of(l, struct http_request, link);
        if (r->phase == HTTP_IDLE && !r->block)
            http_request_drop(r);
    }
}

size_t http_server_busy(const struct http_server *s)
{
    return __atomic_load_n(&s->busy, __ATOMIC_RELAXED);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    s->stopping = true;
    list_each(l, tmp, &s->open)
        http_request_drop(container_of(l, struct http_request, link));
    assert(list_empty(&s->open) && s->busy == 0);
    loop_task_cancel(&s->settle_task);
    loop_timer_stop(s->loop, &s->more_timer);
    http_deadlines_fini(s);
    while (s->spare) {
        struct http_block *b = s->spare;
        s->spare = b->next;
        free(b);
    }
    if (s->inbox)
        s->inbox->server = NULL;
    http_inbox_unref(s->inbox);
    free(s->flag_head_bytes);
    free(s);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *out)
{
    const uint64_t *from = (const uint64_t *)&s->stats;
    uint64_t *to = (uint64_t *)out;
    for (size_t i = 0; i < sizeof s->stats / sizeof *from; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    out->connections_refused += __atomic_load_n(&s->inbox->overflow, __ATOMIC_RELAXED);
}
