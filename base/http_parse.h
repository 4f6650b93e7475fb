/* SPDX-License-Identifier: Apache-2.0
 *
 * The response side of HTTP/1.1 (RFC 9112), and chunked bodies of both sides, strict and incremental. Pure: it reads
 * and moves bytes in a buffer that its caller fills, and allocates nothing. The same bytes give the same result however
 * they were split.
 *
 * The caller appends what it received and runs the parser again; the parser works in place:
 *
 *     0            head_end                    head_end + body_len        at           len
 *     | heads, 1xx too |  the body, chunk framing taken out  |  (garbage)  | not yet read |
 *
 * While it waits for more there is no garbage: the unread bytes are moved down, and *len shrinks with them.
 */
#ifndef LEAT_BASE_HTTP_PARSE_H
#define LEAT_BASE_HTTP_PARSE_H

#include "err.h"
#include "http_client.h"

#define HTTP_CHUNK_LINE_MAX                                                                                            \
    1024u /* size and extensions of one chunk: nothing sends more, and nothing reads extensions */

enum http_parse_state {
    HTTP_PARSE_STATUS,
    HTTP_PARSE_HEADER,
    HTTP_PARSE_LENGTH,     /* a body of Content-Length bytes */
    HTTP_PARSE_CLOSE,      /* a body up to the end of the connection */
    HTTP_PARSE_CHUNK_LINE, /* before a chunk's size */
    HTTP_PARSE_CHUNK,      /* in a chunk's data */
    HTTP_PARSE_CHUNK_END,  /* before the CR LF behind the data */
    HTTP_PARSE_TRAILER,
    HTTP_PARSE_COMPLETE,
    HTTP_PARSE_FAILED
};

struct http_parse {
    size_t body_max;
    bool head_request;
    enum http_parse_state state;
    size_t at;         /* read up to here */
    size_t scanned;    /* no line feed between `at` and here */
    size_t headers_at; /* where the header lines of the final head begin */
    size_t head_end;   /* 0 until the final head is whole */
    size_t body_len;
    uint64_t left;   /* bytes to come of the body or of the chunk in hand */
    size_t overhead; /* bytes of chunk extensions and trailers so far */
    unsigned lines;  /* header lines so far, all heads and trailers */
    int status;
    int minor; /* HTTP/1.minor */
    bool has_length, chunked, close, keep_alive;
    bool persistent; /* complete: the connection may carry another exchange */
    bool body_cut;   /* complete: more than body_max came, or was announced */
    const char *why; /* failed: the rule that was broken */
};

/* body_max: bytes of the body that are kept; the answer is complete, and cut, as soon as there must be more. */
void http_parse_init(struct http_parse *p, bool head_request, size_t body_max);
/* Only a body in chunks, of a request: `bytes` begins with the size of its first chunk. */
void http_parse_init_chunked(struct http_parse *p, size_t body_max);
/* Reads on. `bytes` holds all that came since init less what the parser took out, *len bytes. OK: complete.
 * ERR_PENDING: more is needed. ERR_PROTOCOL: p->why says what is wrong. Not to be called after OK or ERR_PROTOCOL. */
enum err http_parse_run(struct http_parse *p, char *bytes, size_t *len) must_check;
/* After ERR_PENDING: the bytes of the body so far (p->body_len at p->head_end) are taken out, and no longer count. */
void http_parse_drop_body(struct http_parse *p, char *bytes, size_t *len);
/* The connection ended while more was needed. OK: that is how this body ends, now complete. ERR_UNAVAILABLE: the answer
 * was cut short. */
enum err http_parse_end(struct http_parse *p) must_check;
/* The complete answer; slices point into `bytes`. `headers` has room for HTTP_RESPONSE_HEADERS_MAX. Trailers are left
 * out. */
void http_parse_response(const struct http_parse *p, const char *bytes, struct http_header *headers,
                         struct http_response *out);

#endif
