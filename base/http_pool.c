/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP client's pools: clients, origins, and which exchange gets which connection. Invariants: http_pool.h. On the
 * client's loop.
 *
 * A connection that ends an exchange serves the one that waited longest; without one it lies idle, and the one used
 * last is used first, so that a pool shrinks to what is needed: the sweep closes what lay idle too long.
 *
 * When an origin cannot be reached, the exchange that waited longest is told for each failed attempt, and with the last
 * attempt all that wait, unless a connection is open, which will serve them.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "http_pool.h"

#define CONNECTIONS_MAX_DEFAULT 32u
#define WAITING_MAX_DEFAULT 65536u
#define CONNECT_TIMEOUT_NS_DEFAULT (10 * NS_PER_S)
#define IDLE_TIMEOUT_NS_DEFAULT (60 * NS_PER_S)

/* ---- idle connections ---- */

static uint64_t sweep_step(const struct http_client *c)
{
    return c->options.idle_timeout_ns / 8 +
           1; /* late by an eighth at most; no more than eight walks through the origins in that time */
}

static void make_idle(struct http_connection *k)
{
    struct http_origin *o = k->origin;
    struct http_client *c = o->client;
    k->idle_since_ns = loop_now_ns(c->loop);
    list_remove(&k->link);
    list_push_front(&o->idle, &k->link);
    if (!loop_timer_armed(&c->sweep))
        loop_timer_start(c->loop, &c->sweep, c->options.idle_timeout_ns);
}

static void sweep(struct loop_timer *t)
{
    struct http_client *c = container_of(t, struct http_client, sweep);
    uint64_t now = loop_now_ns(c->loop), next_ns = UINT64_MAX;
    list_each(l, next, &c->origins) {
        struct http_origin *o = container_of(l, struct http_origin, link);
        while (!list_empty(&o->idle)) {
            struct http_connection *oldest = container_of(o->idle.prev, struct http_connection, link);
            uint64_t end = oldest->idle_since_ns + c->options.idle_timeout_ns;
            if (end > now) {
                next_ns = end < next_ns ? end : next_ns;
                break;
            }
            http_connection_close(oldest);
        }
    }
    if (next_ns != UINT64_MAX)
        loop_timer_start(c->loop, t, next_ns - now > sweep_step(c) ? next_ns - now : sweep_step(c));
}

/* ---- who gets which connection ---- */

/* Takes the first off waiting, retrying or a part of them. */
static struct http_exchange *pop(struct http_origin *o, struct list *from)
{
    struct list *l = list_pop_front(from);
    if (!l)
        return NULL;
    struct http_exchange *x = container_of(l, struct http_exchange, link);
    unsigned *count = x->retried ? &o->retrying_count : &o->waiting_count;
    assert(*count > 0);
    (*count)--;
    return x;
}

void http_pool_serve(struct http_connection *k, bool fresh)
{
    struct http_origin *o = k->origin;
    assert(!k->exchange && k->open);
    struct http_exchange *x = fresh ? pop(o, &o->retrying) : NULL;
    if (!x)
        x = pop(o, &o->waiting);
    if (x)
        http_exchange_begin(k, x);
    else
        make_idle(k);
}

bool http_pool_fill(struct http_origin *o)
{
    bool wanted = o->waiting_count + o->retrying_count > o->connecting_count;
    bool allowed = o->open_count + o->connecting_count < o->client->options.connections_max;
    /* Without memory those who wait are served by another connection, by the next start, or end in time. */
    return (wanted && allowed && http_connection_open(o) == OK) || o->open_count + o->connecting_count > 0;
}

void http_pool_drop(struct http_connection *k)
{
    struct http_origin *o = k->origin;
    http_connection_close(k);
    http_pool_fill(o);
}

void http_pool_connected(struct http_connection *k)
{
    struct http_origin *o = k->origin;
    k->open = true;
    o->connecting_count--;
    o->open_count++;
    list_remove(&k->link);
    http_pool_serve(k, true);
}

void http_pool_unreachable(struct http_connection *k, enum err err, const char *detail)
{
    struct http_origin *o = k->origin;
    o->refs++; /* the last exchange may go */
    http_connection_close(k);
    struct list failing;
    list_init(&failing);
    if (o->connecting_count == 0) {
        list_splice_back(&failing, &o->retrying);
        if (o->open_count == 0)
            list_splice_back(&failing, &o->waiting);
    } else if (!list_empty(&o->retrying) || (o->open_count == 0 && !list_empty(&o->waiting))) {
        struct list *first = list_empty(&o->retrying) ? o->waiting.next : o->retrying.next;
        list_remove(first);
        list_push_back(&failing, first);
    }
    for (struct http_exchange *x; (x = pop(o, &failing));)
        http_exchange_finish(x, err, NULL, detail);
    http_origin_unref(o);
}

/* ---- origins ---- */

static void origin_free(struct http_origin *o)
{
    free(o->host);
    free(o->name);
    free(o->key);
    free(o);
}

/* Scheme, host, port, lane: a host has no space. NULL without memory. */
static char *origin_key(const struct http_url *url, struct slice lane)
{
    char *key;
    int n = asprintf(&key, "%s %.*s %u %.*s", url->tls ? "https" : "http", SLICE_ARG(url->host), url->port,
                     SLICE_ARG(lane));
    if (n < 0)
        return NULL;
    for (char *c = key; c < key + n - lane.len; c++)
        *c = (char)tolower((unsigned char)*c);
    return key;
}

/* Takes the key over. */
static struct http_origin *origin_new(struct http_client *c, const struct http_url *url, char *key)
{
    struct http_origin *o = calloc(1, sizeof(*o));
    if (!o) {
        free(key);
        return NULL;
    }
    o->key = key;
    o->host = strndup(url->host.ptr, url->host.len);
    bool brackets = o->host && strchr(o->host, ':');
    if (!o->host || asprintf(&o->name, "%s%s%s:%u", brackets ? "[" : "", o->host, brackets ? "]" : "", url->port) < 0)
        o->name = NULL;
    if (!o->name || map_add(&c->origins_by_key, slice_str(key), o) != OK) {
        origin_free(o);
        return NULL;
    }
    o->client = c;
    o->tls = url->tls;
    o->port = url->port;
    list_init(&o->connecting);
    list_init(&o->idle);
    list_init(&o->busy);
    list_init(&o->waiting);
    list_init(&o->retrying);
    list_push_back(&c->origins, &o->link);
    return o;
}

enum err http_origin_get(struct http_client *c, const struct http_url *url, struct slice lane, struct http_origin **out)
{
    if (c->closing)
        return ERR_CLOSED;
    char *key = origin_key(url, lane);
    if (!key)
        return ERR_NOMEM;
    struct http_origin *o = map_get(&c->origins_by_key, slice_str(key));
    if (o)
        free(key);
    else
        o = origin_new(c, url, key);
    if (!o)
        return ERR_NOMEM;
    o->refs++;
    *out = o;
    return OK;
}

static void close_all(struct list *connections)
{
    while (!list_empty(connections))
        http_connection_close(container_of(connections->next, struct http_connection, link));
}

struct http_origin *http_origin_unref(struct http_origin *o)
{
    if (!o)
        return NULL;
    assert(o->refs > 0);
    if (--o->refs > 0)
        return NULL;
    assert(list_empty(&o->busy) && list_empty(&o->waiting) && list_empty(&o->retrying));
    close_all(&o->connecting);
    close_all(&o->idle);
    list_remove(&o->link);
    if (o->client)
        map_remove(&o->client->origins_by_key, slice_str(o->key));
    origin_free(o);
    return NULL;
}

/* ---- clients ---- */

static bool copy_string(const char **field)
{
    const char *from = *field;
    *field = from ? strdup(from) : NULL;
    return !from || *field;
}

static void free_strings(struct http_client *c)
{
    free((char *)(uintptr_t)c->options.proxy);
    free((char *)(uintptr_t)c->options.ca_file);
    free((char *)(uintptr_t)c->options.certificate_file);
    free((char *)(uintptr_t)c->options.key_file);
}

enum err http_client_new(struct loop *loop, const struct http_client_options *options, struct http_client **out)
{
    struct http_client *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->loop = loop;
    c->options = *options;
    struct http_client_options *o = &c->options;
    o->connections_max = o->connections_max ? o->connections_max : CONNECTIONS_MAX_DEFAULT;
    o->waiting_max = o->waiting_max ? o->waiting_max : WAITING_MAX_DEFAULT;
    o->connect_timeout_ns = o->connect_timeout_ns ? o->connect_timeout_ns : CONNECT_TIMEOUT_NS_DEFAULT;
    o->connect_timeout_ns =
        o->connect_timeout_ns > NS_PER_MS ? o->connect_timeout_ns : NS_PER_MS; /* libcurl's smallest */
    o->idle_timeout_ns = o->idle_timeout_ns ? o->idle_timeout_ns : IDLE_TIMEOUT_NS_DEFAULT;
    list_init(&c->origins);
    map_init(&c->origins_by_key, SIZE_MAX);
    loop_timer_init(&c->sweep, sweep);
    bool proxy = copy_string(&o->proxy), ca_file = copy_string(&o->ca_file);
    bool certificate = copy_string(&o->certificate_file), key = copy_string(&o->key_file);
    if (!proxy || !ca_file || !certificate || !key || http_connect_init(c) != OK) {
        free_strings(c);
        free(c);
        return ERR_NOMEM;
    }
    *out = c;
    return OK;
}

struct loop *http_client_loop(const struct http_client *c)
{
    return c->loop;
}

static void close_origin(struct http_origin *o)
{
    static const char why[] = "the client is closing";
    o->refs++; /* the exchanges give theirs back, and their owners too */
    while (!list_empty(&o->busy)) {
        struct http_connection *k = container_of(o->busy.next, struct http_connection, link);
        struct http_exchange *x = http_exchange_detach(k);
        http_connection_close(k);
        http_exchange_finish(x, ERR_CLOSED, NULL, why);
    }
    struct http_exchange *x;
    while ((x = pop(o, &o->retrying)) || (x = pop(o, &o->waiting)))
        http_exchange_finish(x, ERR_CLOSED, NULL, why);
    close_all(&o->connecting);
    close_all(&o->idle);
    map_remove(&o->client->origins_by_key, slice_str(o->key));
    o->client = NULL;
    list_remove(&o->link);
    http_origin_unref(o);
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    c->closing = true;
    while (!list_empty(&c->origins))
        close_origin(container_of(c->origins.next, struct http_origin, link));
    assert(c->stats.connections_open == 0 && c->stats.exchanges_under_way == 0);
    loop_timer_stop(c->loop, &c->sweep);
    http_connect_fini(c);
    map_fini(&c->origins_by_key);
    free_strings(c);
    free(c);
}

void http_client_stats(const struct http_client *c, struct http_client_stats *out)
{
    *out = c->stats;
    out->exchanges_waiting = 0;
    for (struct list *l = c->origins.next; l != &c->origins; l = l->next) {
        const struct http_origin *o = container_of(l, struct http_origin, link);
        out->exchanges_waiting += o->waiting_count + o->retrying_count;
    }
}
