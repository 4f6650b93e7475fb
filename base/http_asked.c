/* SPDX-License-Identifier: Apache-2.0
 *
 * What handlers read of a request, and what they keep with it.
 */
#include <netdb.h>
#include <stdio.h>

#include "http_connection.h"

struct slice http_request_method(const struct http_request *r)
{
    return r->head.plan.method;
}

struct slice http_request_path(const struct http_request *r)
{
    return r->head.plan.path;
}

struct slice http_request_query(const struct http_request *r)
{
    return r->head.plan.query;
}

struct slice http_request_host(const struct http_request *r)
{
    return r->head.plan.host;
}

const struct http_header *http_request_headers(const struct http_request *r, size_t *count)
{
    *count = r->head.line_count;
    return r->head.lines;
}

bool http_request_header(const struct http_request *r, const char *name, struct slice *out)
{
    return http_header_find(r->head.lines, r->head.line_count, name, out);
}

struct slice http_request_body(const struct http_request *r)
{
    return slice_of(r->in_place ? r->block->bytes + r->body_at : r->body.ptr, r->body_len);
}

struct loop *http_request_loop(const struct http_request *r)
{
    return r->server->loop;
}

void http_request_peer(const struct http_request *r, char *out, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getpeername(r->fd, (struct sockaddr *)&address, &len) != 0 ||
        getnameinfo((struct sockaddr *)&address, len, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(out, size, "unknown");
}

void *http_request_arg(const struct http_request *r)
{
    return r->server->arg;
}

void http_request_allow_body(struct http_request *r, size_t bytes_max)
{
    r->body_max = bytes_max;
}

void http_request_set_state(struct http_request *r, void *state)
{
    r->state = state;
}

void *http_request_state(const struct http_request *r)
{
    return r->state;
}

void http_request_set_route(struct http_request *r, void *route)
{
    r->route = route;
}

void *http_request_route(const struct http_request *r)
{
    return r->route;
}
