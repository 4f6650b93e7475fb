/* SPDX-License-Identifier: Apache-2.0
 *
 * A routing's two maps: which path and which host name mean which channel or source.
 */
#include "engine_parts.h"

#include <stdlib.h>

#define HOST_MAX 253 /* a DNS name's length, RFC 1035 section 2.3.4 */

void routing_unref(struct routing *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    map_fini(&r->paths);
    map_fini(&r->hosts);
    plan_unref(r->plan);
    free(r->channels);
    free(r->subscriptions);
    free(r->sources);
    free(r->routes);
    free(r);
}

/* Host without its port, in lower case; empty when it is longer than any name. */
static struct slice host_name(struct slice host, char *out)
{
    size_t n = 0;
    while (n < host.len && host.ptr[n] != ':')
        n++;
    if (n > HOST_MAX)
        return (struct slice){0};
    for (size_t i = 0; i < n; i++) {
        char c = host.ptr[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return slice_of(out, n);
}

const struct route *routing_find(const struct routing *r, struct slice path, struct slice host)
{
    char name[HOST_MAX];
    const struct route *route = map_get(&r->paths, path);
    if (route || path.len != 1) /* host names count with the path "/" only */
        return route;
    return map_get(&r->hosts, host_name(host, name));
}

static enum err add_channel(struct routing *r, size_t i)
{
    const struct plan_channel *c = &r->plan->channels[i];
    struct route *route = &r->routes[i];
    *route = (struct route){ROUTE_CHANNEL, i};
    enum err e = c->path ? map_set(&r->paths, slice_str(c->path), route, NULL) : OK;
    if (e == OK && c->alias)
        e = map_set(&r->paths, slice_str(c->alias), route, NULL);
    for (const char *const *h = c->hosts; h && *h && e == OK; h++)
        e = map_set(&r->hosts, slice_str(*h), route, NULL);
    return e;
}

enum err routing_index(struct routing *r)
{
    const struct plan *p = r->plan;
    enum err e = OK;
    r->routes = calloc(p->channel_count + p->source_count + 1, sizeof *r->routes);
    if (!r->routes)
        return ERR_NOMEM;
    for (size_t i = 0; i < p->channel_count && e == OK; i++)
        e = add_channel(r, i);
    for (size_t i = 0; i < p->source_count && e == OK; i++) {
        struct route *route = &r->routes[p->channel_count + i];
        *route = (struct route){ROUTE_SOURCE, i};
        e = map_set(&r->paths, slice_str(p->sources[i].path), route, NULL);
    }
    return e;
}
