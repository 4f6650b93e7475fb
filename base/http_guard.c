/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard over a request's head: see http_guard.h. Pure: no state but the caller's, any thread.
 */
#include "http_guard.h"

#include <assert.h>

#define METHOD_LEN_MAX 32 /* the longest registered method has 17 characters */

/* What a character may stand in. */
enum {
    V = 1, /* a header's value, RFC 9110 section 5.5: visible, space, tab, and bytes beyond ASCII */
    T = 2, /* a token, RFC 9110 section 5.6.2 */
    G = 4, /* a request target: RFC 3986, and what some clients leave unencoded; never '#', which begins a fragment */
    H = 8, /* a host with its port, RFC 3986 section 3.2.2 */
    A = V | T | G | H
};
/* clang-format off */
static const unsigned char classes[256] = {
    ['\t'] = V, [' '] = V, ['0' ... '9'] = A, ['A' ... 'Z'] = A, ['a' ... 'z'] = A, [0x80 ... 0xff] = V,
    ['!'] = V | T | G | H, ['"'] = V | G, ['#'] = V | T, ['$'] = V | T | G | H, ['%'] = V | T | G | H,
    ['&'] = V | T | G | H, ['\''] = V | T | G | H, ['('] = V | G | H, [')'] = V | G | H, ['*'] = V | T | G | H,
    ['+'] = V | T | G | H, [','] = V | G | H, ['-'] = V | T | G | H, ['.'] = V | T | G | H, ['/'] = V | G,
    [':'] = V | G | H, [';'] = V | G | H, ['<'] = V | G, ['='] = V | G | H, ['>'] = V | G, ['?'] = V | G,
    ['@'] = V | G, ['['] = V | G | H, ['\\'] = V | G, [']'] = V | G | H, ['^'] = V | T | G, ['_'] = V | T | G | H,
    ['`'] = V | T | G, ['{'] = V | G, ['|'] = V | T | G, ['}'] = V | G, ['~'] = V | T | G | H,
};
/* clang-format on */

static bool all_in(struct slice s, unsigned wanted)
{
    unsigned seen = wanted;
    for (size_t i = 0; i < s.len; i++)
        seen &= classes[(unsigned char)s.ptr[i]];
    return seen != 0;
}

/* Whether one of eight bytes may be a control character: a byte below 0x20 or equal to 0x7f sets its own high bit or
 * that of one above it, so none is missed; a tab is suspected, too. */
static inline bool suspect(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t w, del;
    memcpy(&w, p, sizeof w);
    del = w ^ 0x7f * ones;
    return ((((w - 0x20 * ones) & ~w) | ((del - ones) & ~del)) & 0x80 * ones) != 0;
}

/* all_in(s, V), by words where nothing is suspected. */
static bool is_value(struct slice s)
{
    bool any = s.len < 8;
    for (size_t i = 0; i + 8 <= s.len && !any; i += 8)
        any = suspect(s.ptr + i);
    if (!any && !suspect(s.ptr + s.len - 8)) /* the last word overlaps the one before */
        return true;
    return all_in(s, V);
}

static enum err refuse(struct http_guard *g, int status, const char *wrong)
{
    g->status = status;
    g->wrong = wrong;
    return ERR_PROTOCOL;
}

static enum err bad(struct http_guard *g, const char *wrong)
{
    return refuse(g, 400, wrong);
}

/* Origin-form, absolute-form, or "*" of OPTIONS (RFC 9112 section 3.2). CONNECT has no meaning here. */
static enum err read_target(struct http_guard *g)
{
    struct http_plan *plan = &g->plan;
    struct slice target = plan->target;
    if (slice_has_prefix_nocase(target, SLICE("http://")) || slice_has_prefix_nocase(target, SLICE("https://"))) {
        target = slice_from(target, (size_t)((const char *)memchr(target.ptr, ':', target.len) - target.ptr) + 3);
        size_t n = 0;
        while (n < target.len && target.ptr[n] != '/' && target.ptr[n] != '?')
            n++;
        plan->host = slice_of(target.ptr, n);
        if (n == 0 || !all_in(plan->host, H))
            return bad(g, "the request target's host is not a host");
        target = slice_from(target, n);
        if (target.len == 0 || target.ptr[0] == '?') {
            plan->path = SLICE("/");
            plan->query = target.len ? slice_from(target, 1) : (struct slice){NULL, 0};
            return OK;
        }
    } else if (target.ptr[0] != '/' && !(slice_eq(target, SLICE("*")) && slice_eq(plan->method, SLICE("OPTIONS")))) {
        return bad(g, "the request target is not a path");
    }
    plan->query = target;
    plan->path = slice_split(&plan->query, '?');
    return OK;
}

static enum err read_request_line(struct http_guard *g, struct slice line)
{
    struct http_plan *plan = &g->plan;
    struct slice rest = line;
    plan->method = slice_split(&rest, ' ');
    if (plan->method.len == 0 || plan->method.len > METHOD_LEN_MAX || !all_in(plan->method, T))
        return bad(g, "the method is not a token");
    if (!rest.ptr)
        return bad(g, "the request line has no target");
    plan->target = slice_split(&rest, ' ');
    if (plan->target.len == 0 || !all_in(plan->target, G))
        return bad(g,
                   "the request target is empty, has a character that must be percent-encoded, or stands behind more "
                   "than one space");
    plan->minor_0 = slice_eq(rest, SLICE("HTTP/1.0"));
    if (!plan->minor_0 && !slice_eq(rest, SLICE("HTTP/1.1"))) {
        bool other = rest.len == 8 && slice_has_prefix(rest, SLICE("HTTP/")) && rest.ptr[5] != '1';
        return refuse(g, other ? 505 : 400, "the version is neither HTTP/1.1 nor HTTP/1.0");
    }
    g->started = true;
    return read_target(g);
}

static enum err read_content_length(struct http_guard *g, struct slice text)
{
    uint64_t n = 0;
    if (g->lengths++)
        return bad(g, "there are two Content-Length headers");
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return bad(g, "Content-Length is not a number of bytes");
    if (text.len == 0)
        return bad(g, "Content-Length is not a number of bytes");
    if (text.len > 18)
        return refuse(g, 413, "Content-Length is beyond all bounds");
    for (size_t i = 0; i < text.len; i++)
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    g->plan.content_length = n;
    return OK;
}

static enum err read_coding(struct http_guard *g, struct slice untrimmed)
{
    if (g->codings++)
        return bad(g, "there are two Transfer-Encoding headers");
    /* What follows the coding is no part of its name, and others may take it for one: only leading space is passed. */
    while (untrimmed.len && untrimmed.ptr[0] == ' ')
        untrimmed = slice_from(untrimmed, 1);
    if (!slice_eq_nocase(untrimmed, SLICE("chunked")))
        return bad(g, "the transfer coding is not \"chunked\"");
    g->plan.chunked = true;
    return OK;
}

static enum err read_host(struct http_guard *g, struct slice value)
{
    if (g->hosts++)
        return bad(g, "there are two Host headers");
    if (!all_in(value, H))
        return bad(g, "the Host header is not a host");
    if (!g->plan.host.ptr) /* that of an absolute-form target goes before it */
        g->plan.host = value;
    return OK;
}

static enum err read_connection(struct http_guard *g, struct slice value)
{
    while (value.ptr) {
        struct slice option = slice_trim(slice_split(&value, ','));
        g->plan.close |= slice_eq_nocase(option, SLICE("close"));
        g->plan.keep_alive |= slice_eq_nocase(option, SLICE("keep-alive"));
    }
    return OK;
}

/* The lines that frame or route a request; most lines need no comparison at all. */
static enum err read_meaning(struct http_guard *g, const struct http_header *line, struct slice untrimmed)
{
    switch (line->name.len) {
    case 4:
        return slice_eq_nocase(line->name, SLICE("Host")) ? read_host(g, line->value) : OK;
    case 6:
        if (slice_eq_nocase(line->name, SLICE("Expect")))
            g->plan.expects_continue |= slice_eq_nocase(line->value, SLICE("100-continue"));
        return OK;
    case 10:
        return slice_eq_nocase(line->name, SLICE("Connection")) ? read_connection(g, line->value) : OK;
    case 14:
        return slice_eq_nocase(line->name, SLICE("Content-Length")) ? read_content_length(g, line->value) : OK;
    case 17:
        return slice_eq_nocase(line->name, SLICE("Transfer-Encoding")) ? read_coding(g, untrimmed) : OK;
    default:
        return OK;
    }
}

static enum err read_header(struct http_guard *g, struct slice line)
{
    size_t n = 0;
    while (n < line.len && classes[(unsigned char)line.ptr[n]] & T)
        n++;
    if (n == line.len)
        return bad(g, "a header line has no colon");
    if (n == 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
        return bad(g, "a line of the head is folded");
    if (n == 0 || line.ptr[n] != ':')
        return bad(g, line.ptr[n] == 0
                          ? "a line of the head holds a NUL"
                          : "a header name is empty or has a character that is not allowed, such as a space "
                            "before the colon");
    struct slice untrimmed = slice_from(line, n + 1);
    if (!is_value(untrimmed))
        return bad(g, "a line of the head holds a control character");
    struct http_header *h = &g->lines[g->line_count++];
    *h = (struct http_header){slice_of(line.ptr, n), slice_trim(untrimmed)};
    return read_meaning(g, h, untrimmed);
}

static enum err head_whole(struct http_guard *g)
{
    if (g->hosts == 0 && !g->plan.minor_0)
        return bad(g, "there is no Host header");
    if (g->lengths && g->codings)
        return bad(g, "there are both Content-Length and Transfer-Encoding");
    if (g->codings && g->plan.minor_0)
        return bad(g, "HTTP/1.0 has no Transfer-Encoding");
    return OK;
}

void http_guard_init(struct http_guard *g, struct http_header *lines, size_t line_cap)
{
    *g = (struct http_guard){.lines = lines, .line_cap = line_cap};
}

enum err http_guard_run(struct http_guard *g, const char *bytes, size_t len)
{
    assert(!g->wrong && g->at <= len);
    for (;;) {
        size_t from = g->scanned > g->at ? g->scanned : g->at;
        const char *lf = from < len ? memchr(bytes + from, '\n', len - from) : NULL;
        if (!lf) {
            g->scanned = len;
            return ERR_PENDING;
        }
        size_t end = (size_t)(lf - bytes);
        if (end == g->at || bytes[end - 1] != '\r')
            return bad(g, "a line of the head does not end in CR LF");
        struct slice line = slice_of(bytes + g->at, end - 1 - g->at);
        if (g->started && line.len && g->line_count == g->line_cap) {
            g->scanned = end;
            return ERR_FULL;
        }
        g->at = end + 1;
        if (line.len == 0 && g->started)
            return head_whole(g);
        if (line.len == 0)
            continue; /* before the request line, RFC 9112 section 2.2 */
        enum err e = g->started ? read_header(g, line) : read_request_line(g, line);
        if (e != OK)
            return e;
    }
}
