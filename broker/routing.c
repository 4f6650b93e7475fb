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

/* What is there first keeps its name. */
static enum err add_name(struct map *m, const char *name, struct route *route)
{
    enum err e = name ? map_add(m, slice_str(name), route) : OK;
    return e == ERR_EXISTS ? OK : e;
}

static enum err add(struct routing *r, struct route *route, const char *path, const char *alias,
                    const char *const *hosts)
{
    enum err e = add_name(&r->paths, path, route);
    if (e == OK)
        e = add_name(&r->paths, alias, route);
    for (const char *const *h = hosts; h && *h && e == OK; h++)
        e = add_name(&r->hosts, *h, route);
    return e;
}

enum err routing_index(struct routing *r)
{
    const struct plan *p = r->plan;
    enum err e = OK;
    struct route *route = calloc(p->channel_count + p->source_count + p->unready_count + 1, sizeof *route);
    if (!(r->routes = route))
        return ERR_NOMEM;
    for (size_t i = 0; i < p->channel_count && e == OK; i++, route++) {
        const struct plan_channel *c = &p->channels[i];
        *route = (struct route){ROUTE_CHANNEL, i};
        e = add(r, route, c->path, c->alias, c->hosts);
    }
    for (size_t i = 0; i < p->source_count && e == OK; i++, route++) {
        *route = (struct route){ROUTE_SOURCE, i};
        e = p->sources[i].path ? add(r, route, p->sources[i].path, NULL, NULL) : OK;
    }
    for (size_t i = 0; i < p->unready_count && e == OK; i++, route++) {
        const struct plan_unready *u = &p->unready[i];
        *route = (struct route){ROUTE_UNREADY, i};
        e = add(r, route, u->path, u->alias, u->hosts);
    }
    return e;
}
