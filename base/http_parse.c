/* SPDX-License-Identifier: Apache-2.0
 *
 * The response parser: see http_parse.h for its shape. Any thread; no state but the caller's.
 *
 * Refused, although some clients read it: bare LF, folded lines, space before the colon, control characters,
 * Content-Length with Transfer-Encoding, Content-Lengths that differ, any transfer coding but chunked, chunked in
 * HTTP/1.0, 101. Taken, although the grammar wants more: a status line without the space behind the code.
 */
#include "http_parse.h"

#include <assert.h>

#include "text.h"

/* RFC 9110 section 5.6.2: what a header's name is made of. */
static bool is_token(unsigned char c)
{
    static const bool other[128] = {
        ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
        ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1,
    };
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c < 128 && other[c]);
}

/* Values, reasons and chunk extensions: anything but control characters; tab is none. */
static bool is_text(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static enum err fail(struct http_parse *p, const char *why)
{
    p->why = why;
    p->state = HTTP_PARSE_FAILED;
    return ERR_PROTOCOL;
}

void http_parse_init(struct http_parse *p, bool head_request, size_t body_max)
{
    *p = (struct http_parse){.body_max = body_max, .head_request = head_request};
}

void http_parse_init_chunked(struct http_parse *p, size_t body_max)
{
    *p = (struct http_parse){.body_max = body_max, .state = HTTP_PARSE_CHUNK_LINE};
}

/* Takes one line, which must end before `end_max`, without its CR LF. */
static enum err take_line(struct http_parse *p, const char *bytes, size_t len, size_t end_max, const char *too_long,
                          struct slice *line)
{
    size_t limit = len < end_max ? len : end_max;
    size_t from = p->scanned > p->at ? p->scanned : p->at;
    const char *lf = from < limit ? memchr(bytes + from, '\n', limit - from) : NULL;
    if (!lf) {
        p->scanned = limit;
        return len >= end_max ? fail(p, too_long) : ERR_PENDING;
    }
    size_t end = (size_t)(lf - bytes);
    if (end == p->at || bytes[end - 1] != '\r')
        return fail(p, "a line does not end with CR LF");
    *line = slice_of(bytes + p->at, end - 1 - p->at);
    p->at = end + 1;
    return OK;
}

static enum err read_status(struct http_parse *p, const char *bytes, size_t len)
{
    static const char prefix[] = "HTTP/1.";
    size_t have = len - p->at, n = have < sizeof(prefix) - 1 ? have : sizeof(prefix) - 1;
    /* At once, so that a peer that speaks something else is told without waiting for a line feed. */
    if (n && memcmp(bytes + p->at, prefix, n) != 0)
        return fail(p, "it does not begin with HTTP/1.");
    struct slice line;
    enum err e = take_line(p, bytes, len, HTTP_RESPONSE_HEAD_MAX, "the head is larger than 64 KiB", &line);
    if (e)
        return e;
    const char *s = line.ptr;
    if (line.len < 12 || (s[7] != '0' && s[7] != '1') || s[8] != ' ')
        return fail(p, "the status line is malformed");
    for (int i = 9; i < 12; i++)
        if (s[i] < '0' || s[i] > '9')
            return fail(p, "the status is no number of three digits");
    p->minor = s[7] - '0';
    p->status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
    if (p->status < 100 || (line.len > 12 && s[12] != ' ') || !is_text(slice_from(line, 12)))
        return fail(p, "the status line is malformed");
    p->state = HTTP_PARSE_HEADER;
    p->headers_at = p->at;
    return OK;
}

static void read_connection(struct http_parse *p, struct slice value)
{
    while (value.ptr) {
        struct slice option = slice_trim(slice_split(&value, ','));
        p->close |= slice_eq_nocase(option, SLICE("close"));
        p->keep_alive |= slice_eq_nocase(option, SLICE("keep-alive"));
    }
}

/* The three headers that say where a message ends and what becomes of the connection. */
static enum err read_framing(struct http_parse *p, struct slice name, struct slice value)
{
    if (slice_eq_nocase(name, SLICE("Content-Length"))) {
        uint64_t n;
        if (decimal_parse(value, INT64_MAX, &n))
            return fail(p, "Content-Length is no number");
        if (p->has_length && n != p->left)
            return fail(p, "there are two Content-Length");
        p->has_length = true;
        p->left = n;
    } else if (slice_eq_nocase(name, SLICE("Transfer-Encoding"))) {
        if (p->chunked || !slice_eq_nocase(value, SLICE("chunked")))
            return fail(p, "Transfer-Encoding is other than chunked");
        p->chunked = true;
    } else if (slice_eq_nocase(name, SLICE("Connection"))) {
        read_connection(p, value);
    }
    return OK;
}

static enum err check_header(struct http_parse *p, struct slice line, struct slice *name, struct slice *value)
{
    if (++p->lines > HTTP_RESPONSE_HEADERS_MAX)
        return fail(p, "there are more than 128 header lines");
    size_t n = 0;
    while (n < line.len && is_token((unsigned char)line.ptr[n]))
        n++;
    if (n == 0 || n == line.len || line.ptr[n] != ':')
        return fail(p, line.ptr[0] == ' ' || line.ptr[0] == '\t' ? "a header line is folded"
                                                                 : "a header line has no proper name");
    *name = slice_of(line.ptr, n);
    *value = slice_trim(slice_from(line, n + 1));
    return is_text(*value) ? OK : fail(p, "a header holds a control character");
}

static enum err head_whole(struct http_parse *p)
{
    if (p->status == 101)
        return fail(p, "it switches to a protocol that was not asked for");
    if (p->status <
        200) { /* interim: the final answer follows. Its bytes and lines stay counted, so a flood of them ends */
        p->has_length = p->chunked = p->close = p->keep_alive = false;
        p->state = HTTP_PARSE_STATUS;
        return OK;
    }
    if (p->chunked && p->has_length)
        return fail(p, "it has both Content-Length and Transfer-Encoding");
    if (p->chunked && p->minor == 0)
        return fail(p, "it has Transfer-Encoding in HTTP/1.0");
    p->head_end = p->at;
    p->persistent = !p->close && (p->minor > 0 || p->keep_alive);
    if (p->head_request || p->status == 204 || p->status == 304)
        p->state = HTTP_PARSE_COMPLETE;
    else if (p->chunked)
        p->state = HTTP_PARSE_CHUNK_LINE;
    else if (p->has_length)
        p->state = HTTP_PARSE_LENGTH;
    else
        p->state = HTTP_PARSE_CLOSE, p->persistent = false;
    return OK;
}

static enum err read_header(struct http_parse *p, const char *bytes, size_t len)
{
    struct slice line, name, value;
    enum err e = take_line(p, bytes, len, HTTP_RESPONSE_HEAD_MAX, "the head is larger than 64 KiB", &line);
    if (e)
        return e;
    if (line.len == 0)
        return head_whole(p);
    e = check_header(p, line, &name, &value);
    return e ? e : read_framing(p, name, value);
}

/* Trailers are checked and dropped: nobody asked for them. */
static enum err read_trailer(struct http_parse *p, const char *bytes, size_t len)
{
    struct slice line, name, value;
    size_t from = p->at;
    enum err e = take_line(p, bytes, len, from + HTTP_RESPONSE_HEAD_MAX - p->overhead,
                           "the trailers are larger than 64 KiB", &line);
    if (e)
        return e;
    p->overhead += p->at - from;
    if (line.len == 0) {
        p->state = HTTP_PARSE_COMPLETE;
        return OK;
    }
    return check_header(p, line, &name, &value);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static enum err read_chunk_line(struct http_parse *p, const char *bytes, size_t len)
{
    struct slice line;
    enum err e =
        take_line(p, bytes, len, p->at + HTTP_CHUNK_LINE_MAX, "a chunk's size line is larger than 1 KiB", &line);
    if (e)
        return e;
    uint64_t size = 0;
    size_t n = 0;
    for (; n < line.len && n < 16 && hex_value(line.ptr[n]) >= 0; n++)
        size = size << 4 | (uint64_t)hex_value(line.ptr[n]);
    struct slice extension = slice_from(line, n), rest = slice_trim(extension);
    if (n == 0 || size > INT64_MAX || (extension.len && (rest.len == 0 || rest.ptr[0] != ';')) || !is_text(extension))
        return fail(p, "a chunk's size is malformed");
    p->overhead += extension.len;
    if (p->overhead >= HTTP_RESPONSE_HEAD_MAX)
        return fail(p, "the chunk extensions are larger than 64 KiB");
    p->left = size;
    p->state = size ? HTTP_PARSE_CHUNK : HTTP_PARSE_TRAILER;
    return OK;
}

static enum err read_chunk_end(struct http_parse *p, const char *bytes, size_t len)
{
    size_t have = len - p->at, n = have < 2 ? have : 2;
    if (memcmp(bytes + p->at, "\r\n", n) != 0)
        return fail(p, "a chunk is longer than its size");
    if (n < 2)
        return ERR_PENDING;
    p->at += 2;
    p->state = HTTP_PARSE_CHUNK_LINE;
    return OK;
}

static void cut(struct http_parse *p)
{
    p->body_cut = true;
    p->persistent = false;
    p->state = HTTP_PARSE_COMPLETE;
}

/* Moves body bytes, at most `most`, to where the body stands; how many. */
static size_t take_body(struct http_parse *p, char *bytes, size_t len, uint64_t most)
{
    size_t to = p->head_end + p->body_len, n = len - p->at, room = p->body_max - p->body_len;
    n = n < most ? n : (size_t)most;
    n = n < room ? n : room;
    if (to != p->at && n)
        memmove(bytes + to, bytes + p->at, n);
    p->body_len += n;
    p->at += n;
    return n;
}

/* A body or chunk whose length is known; `next` follows it. */
static enum err read_counted(struct http_parse *p, char *bytes, size_t len, enum http_parse_state next)
{
    p->left -= take_body(p, bytes, len, p->left);
    if (p->left == 0)
        p->state = next;
    else if (p->body_len == p->body_max)
        cut(p);
    else
        return ERR_PENDING;
    return OK;
}

static enum err read_to_close(struct http_parse *p, char *bytes, size_t len)
{
    take_body(p, bytes, len, UINT64_MAX);
    if (p->at == len)
        return ERR_PENDING;
    cut(p);
    return OK;
}

static enum err step(struct http_parse *p, char *bytes, size_t len)
{
    switch (p->state) {
    case HTTP_PARSE_STATUS:
        return read_status(p, bytes, len);
    case HTTP_PARSE_HEADER:
        return read_header(p, bytes, len);
    case HTTP_PARSE_LENGTH:
        return read_counted(p, bytes, len, HTTP_PARSE_COMPLETE);
    case HTTP_PARSE_CLOSE:
        return read_to_close(p, bytes, len);
    case HTTP_PARSE_CHUNK_LINE:
        return read_chunk_line(p, bytes, len);
    case HTTP_PARSE_CHUNK:
        return read_counted(p, bytes, len, HTTP_PARSE_CHUNK_END);
    case HTTP_PARSE_CHUNK_END:
        return read_chunk_end(p, bytes, len);
    case HTTP_PARSE_TRAILER:
        return read_trailer(p, bytes, len);
    case HTTP_PARSE_COMPLETE:
    case HTTP_PARSE_FAILED:
        break;
    }
    assert(p->state < HTTP_PARSE_COMPLETE); /* run on after its end */
    return ERR_PROTOCOL;
}

enum err http_parse_run(struct http_parse *p, char *bytes, size_t *len)
{
    assert(p->at <= *len);
    enum err e;
    do
        e = step(p, bytes, *len);
    while (e == OK && p->state != HTTP_PARSE_COMPLETE);
    assert(p->at <= *len && p->body_len <= p->body_max);
    size_t end = p->head_end + p->body_len;
    if (e == ERR_PENDING && p->state >= HTTP_PARSE_LENGTH && end < p->at) {
        memmove(bytes + end, bytes + p->at, *len - p->at);
        *len -= p->at - end;
        p->at = p->scanned = end;
    }
    return e;
}

void http_parse_drop_body(struct http_parse *p, char *bytes, size_t *len)
{
    size_t end = p->head_end + p->body_len;
    assert(p->head_end && p->at == end && end <= *len);
    memmove(bytes + p->head_end, bytes + end, *len - end);
    *len -= p->body_len;
    p->at = p->scanned = p->head_end;
    p->body_len = 0;
}

enum err http_parse_end(struct http_parse *p)
{
    if (p->state != HTTP_PARSE_CLOSE)
        return ERR_UNAVAILABLE;
    p->state = HTTP_PARSE_COMPLETE;
    return OK;
}

void http_parse_response(const struct http_parse *p, const char *bytes, struct http_header *headers,
                         struct http_response *out)
{
    assert(p->state == HTTP_PARSE_COMPLETE);
    size_t count = 0;
    /* Every line was checked when it came: this only finds the places again, which costs less than keeping them per
     * connection. */
    struct slice rest = slice_of(bytes + p->headers_at, p->head_end - p->headers_at - 2);
    while (rest.len) {
        struct slice line = slice_split(&rest, '\n');
        line.len--;
        headers[count].name = slice_split(&line, ':');
        headers[count++].value = slice_trim(line);
    }
    assert(count <= HTTP_RESPONSE_HEADERS_MAX);
    *out = (struct http_response){.status = p->status,
                                  .headers = headers,
                                  .header_count = count,
                                  .body = slice_of(bytes + p->head_end, p->body_len),
                                  .body_cut = p->body_cut};
}
