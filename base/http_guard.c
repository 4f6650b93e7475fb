/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard over a request's head: RFC 9110 and RFC 9112, read strictly, because what two parsers read differently is
 * how requests are smuggled. Pure: no state, any thread.
 */
#include "http_guard.h"

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

static const char *check_request_line(const struct http_head *head, struct http_plan *plan)
{
    if (head->method.len == 0 || head->method.len > METHOD_LEN_MAX || !all_in(head->method, T))
        return "the method is not a token";
    if (head->target_at != head->method.ptr + head->method.len + 1)
        return "the request line has more than one space, or a NUL, after the method";
    if (head->target.len == 0 || !all_in(head->target, G))
        return "the request target has a character that must be percent-encoded";
    if (head->version.ptr != head->target_at + head->target.len + 1)
        return "the request line has more than one space, or a NUL, before the version";
    plan->minor_0 = slice_eq(head->version, SLICE("HTTP/1.0"));
    if (!plan->minor_0 && !slice_eq(head->version, SLICE("HTTP/1.1")))
        return "the version is neither HTTP/1.1 nor HTTP/1.0";
    return NULL;
}

static const char not_crlf[] = "a line of the head is folded, holds a NUL, or does not end in CR LF";

/* The place after a line's end, or NULL: in the place of CR LF there are two NULs. */
static const char *after(struct slice last)
{
    const char *end = last.ptr + last.len;
    return end[0] == 0 && end[1] == 0 ? end + 2 : NULL;
}

/* Where every line must begin, given where the one before ended. */
static const char *check_lines(const struct http_head *head)
{
    const char *expected = after(head->version);
    for (size_t i = 0; i < head->line_count; i++) {
        const struct http_header *line = &head->lines[i];
        if (!expected || line->name.ptr != expected || line->value.ptr <= line->name.ptr + line->name.len)
            return not_crlf;
        if (line->name.len == 0 || !all_in(line->name, T))
            return "a header name is empty or has a character that is not allowed, such as a space before the colon";
        if (!all_in(line->value, V))
            return "a header value holds a control character";
        expected = after(line->value);
    }
    return expected && head->end == expected + 2 && expected[0] == 0 && expected[1] == 0 ? NULL : not_crlf;
}

static const char *read_content_length(struct slice text, uint64_t *out)
{
    uint64_t n = 0;
    if (text.len == 0 || text.len > 18)
        return "Content-Length is not a number of bytes";
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return "Content-Length is not a number of bytes";
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *out = n;
    return NULL;
}

/* How often each of the lines that frame or route a request came. */
struct framing {
    unsigned hosts, lengths, codings;
};

static const char *read_line(const struct http_header *line, struct framing *seen, struct http_plan *plan)
{
    switch (line->name.len) { /* most lines need no comparison at all */
    case 4:
        if (slice_eq_nocase(line->name, SLICE("Host"))) {
            plan->host = slice_trim(line->value);
            if (seen->hosts++)
                return "there are two Host headers";
        }
        return NULL;
    case 14:
        if (!slice_eq_nocase(line->name, SLICE("Content-Length")))
            return NULL;
        if (seen->lengths++)
            return "there are two Content-Length headers";
        return read_content_length(line->value, &plan->content_length);
    case 17:
        if (!slice_eq_nocase(line->name, SLICE("Transfer-Encoding")))
            return NULL;
        if (seen->codings++)
            return "there are two Transfer-Encoding headers";
        /* Not trimmed: libmicrohttpd would not know "chunked " and wait for ever. */
        if (!slice_eq_nocase(line->value, SLICE("chunked")))
            return "the transfer coding is not \"chunked\"";
        plan->chunked = true;
        return NULL;
    default:
        return NULL;
    }
}

/* Origin-form, absolute-form, or "*" of OPTIONS (RFC 9112 section 3.2). CONNECT has no meaning here. */
static const char *read_target(const struct http_head *head, struct http_plan *plan)
{
    struct slice target = head->target;
    if (slice_has_prefix_nocase(target, SLICE("http://")) || slice_has_prefix_nocase(target, SLICE("https://"))) {
        target = slice_from(target, (size_t)((const char *)memchr(target.ptr, ':', target.len) - target.ptr) + 3);
        size_t n = 0;
        while (n < target.len && target.ptr[n] != '/' && target.ptr[n] != '?')
            n++;
        plan->host = slice_of(target.ptr, n);
        if (n == 0 || !all_in(plan->host, H))
            return "the request target's host is not a host";
        target = slice_from(target, n);
        if (target.len == 0 || target.ptr[0] == '?') {
            plan->path = SLICE("/");
            plan->query = target.len ? slice_from(target, 1) : (struct slice){NULL, 0};
            return NULL;
        }
    } else if (target.ptr[0] != '/' && !(slice_eq(target, SLICE("*")) && slice_eq(head->method, SLICE("OPTIONS")))) {
        return "the request target is not a path";
    }
    plan->query = target;
    plan->path = slice_split(&plan->query, '?');
    return NULL;
}

const char *http_guard(struct http_head *head, struct http_plan *plan)
{
    *plan = (struct http_plan){0};
    const char *wrong = check_request_line(head, plan);
    if (!wrong)
        wrong = check_lines(head);
    struct framing seen = {0};
    for (size_t i = 0; !wrong && i < head->line_count; i++)
        wrong = read_line(&head->lines[i], &seen, plan);
    if (wrong)
        return wrong;
    if (seen.hosts == 0 && !plan->minor_0)
        return "there is no Host header";
    if (!all_in(plan->host, H))
        return "the Host header is not a host";
    if (seen.lengths && seen.codings)
        return "there are both Content-Length and Transfer-Encoding";
    if (seen.codings && plan->minor_0)
        return "HTTP/1.0 has no Transfer-Encoding";
    wrong = read_target(head, plan);
    if (wrong)
        return wrong;
    for (size_t i = 0; i < head->line_count; i++)
        head->lines[i].value = slice_trim(head->lines[i].value);
    return NULL;
}
