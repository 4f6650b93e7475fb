/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server, byte by byte: what is refused and how, bodies, limits, deadlines.
 */
#include "../lib/http_rig.h"

#define BYTES(literal) literal, sizeof(literal) - 1

struct exchange {
    const char *name;
    const char *bytes;
    size_t len;
    const char *status; /* how the answer begins; "" when the connection just closes */
};

/* Each ends with the connection closed and no handler called. */
static const struct exchange refused[] = {
    {"two Content-Length", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
     "HTTP/1.1 400 "},
    {"two equal Content-Length",
     BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), "HTTP/1.1 400 "},
    {"Content-Length with Transfer-Encoding",
     BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET "
           "/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
     "HTTP/1.1 400 "},
    {"space before the colon", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"), "HTTP/1.1 400 "},
    {"tab before the colon", BYTES("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"folded line", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\nY: three\r\n\r\n"), "HTTP/1.1 400 "},
    {"folded last line", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n\ttwo\r\n\r\n"), "HTTP/1.1 400 "},
    {"folded first line", BYTES("GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"fold of white space only", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n \r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in a value", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\0two\r\nY: b\r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in the last value", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\0two\r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in the host", BYTES("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in a name", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: one\r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in the target", BYTES("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"NUL in the method", BYTES("GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"bare LF between lines", BYTES("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), "HTTP/1.1 400 "},
    {"bare LF after the request line", BYTES("GET / HTTP/1.1\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"bare LF after the last line", BYTES("GET / HTTP/1.1\r\nHost: a\n\r\n"), "HTTP/1.1 400 "},
    {"bare LF for the empty line", BYTES("GET / HTTP/1.1\r\nHost: a\r\n\n"), "HTTP/1.1 400 "},
    {"bare CR in a value", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\rtwo\r\n\r\n"), "HTTP/1.1 400 "},
    {"control character in a value", BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: one\x01two\r\n\r\n"), "HTTP/1.1 400 "},
    {"two hosts", BYTES("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "HTTP/1.1 400 "},
    {"no host", BYTES("GET / HTTP/1.1\r\nX: b\r\n\r\n"), "HTTP/1.1 400 "},
    {"no host, no line at all", BYTES("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 "},
    {"host with a slash", BYTES("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), "HTTP/1.1 400 "},
    {"unknown coding", BYTES("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
     "HTTP/1.1 400 "},
    {"two codings", BYTES("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
     "HTTP/1.1 400 "},
    {"coding with a space after it",
     BYTES("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n"), "HTTP/1.1 400 "},
    {"coding twice",
     BYTES("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "HTTP/1.1 400 "},
    {"coding in HTTP/1.0", BYTES("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "HTTP/1.1 400 "},
    {"HTTP/1.2", BYTES("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"HTTP/2.0", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "HTTP/1.1 505 "},
    {"HTTP/0.9", BYTES("GET /\r\n\r\n"), "HTTP/1.1 400 "},
    {"lower-case version", BYTES("GET / http/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"space in the target", BYTES("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"two spaces after the method", BYTES("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"two spaces before the version", BYTES("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"target that is no path", BYTES("GET a HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"CONNECT", BYTES("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"fragment", BYTES("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"raw UTF-8 in the target", BYTES("GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"method that is no token", BYTES("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 400 "},
    {"line without a colon", BYTES("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"), "HTTP/1.1 400 "},
    {"line without a name", BYTES("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"), "HTTP/1.1 400 "},
    {"Content-Length: -1", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"), "HTTP/1.1 400 "},
    {"Content-Length: +5", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"), "HTTP/1.1 400 "},
    {"Content-Length: 5, 5", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"), "HTTP/1.1 400 "},
    {"Content-Length: 0x5", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"), "HTTP/1.1 400 "},
    {"Content-Length without digits", BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"), "HTTP/1.1 400 "},
    {"Content-Length beyond 64 bits",
     BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"), "HTTP/1.1 413 "},
    {"request line of one word", BYTES("nonsense\r\n\r\n"), "HTTP/1.1 400 "},
};

static void each_refusal(bool byte_by_byte)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct exchange *x = &refused[i];
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        buf_init(&answer, SIZE_MAX);
        int fd = client_open(rig);
        if (byte_by_byte)
            for (size_t k = 0; k < x->len; k++)
                client_send(rig, fd, x->bytes + k, 1);
        else
            client_send(rig, fd, x->bytes, x->len);
        client_expect_end(rig, fd, &answer);
        if (!starts_with(&answer, x->status) || (x->status[0] == 0 && answer.len) || count_of(&answer, x->status) > 1 ||
            rig->heads)
            fail_msg("%s: %u handler calls, answer: %.*s", x->name, rig->heads, (int)answer.len,
                     answer.ptr ? answer.ptr : "");
        if (x->status[0])
            assert_true(count_of(&answer, "Connection: close\r\n") == 1);
        close(fd);
        buf_fini(&answer);
        rig_free(rig);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    each_refusal(false);
}

static void test_refusals_byte_by_byte(void **state)
{
    (void)state;
    each_refusal(true);
}

static const struct exchange accepted[] = {
    {"plain", BYTES("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"), "GET /a  "},
    {"blank line before", BYTES("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"), "GET /a  "},
    {"HTTP/1.0 without host", BYTES("GET /a HTTP/1.0\r\n\r\n"), "GET /a  "},
    {"as sent, not decoded", BYTES("GET /a%2Fb/%41?x=%20&y=a+b&z HTTP/1.1\r\nHost: a\r\n\r\n"),
     "GET /a%2Fb/%41 x=%20&y=a+b&z "},
    {"second question mark", BYTES("GET /?a?b HTTP/1.1\r\nHost: a\r\n\r\n"), "GET / a?b "},
    {"absolute-form", BYTES("GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n\r\n"), "GET /c d "},
    {"absolute-form without a path", BYTES("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n"), "GET /  "},
    {"no space after the colon", BYTES("GET /a HTTP/1.1\r\nHost:a\r\nX:\r\n\r\n"), "GET /a  "},
    {"much space around a value", BYTES("GET /a HTTP/1.1\r\nHost:  \t a \t \r\nX: \r\n\r\n"), "GET /a  "},
    {"cookies", BYTES("GET /a HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"; e\r\nX: y\r\n\r\n"), "GET /a  "},
    {"bytes beyond ASCII in a value", BYTES("GET /a HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\xff\r\n\r\n"), "GET /a  "},
    {"body", BYTES("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), "POST /a  hello"},
    {"empty body", BYTES("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), "POST /a  "},
    {"chunked",
     BYTES("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"),
     "POST /a  hello"},
    {"chunked with a trailer",
     BYTES("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
     "POST /a  hello"},
    {"chunked and empty", BYTES("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "POST /a  "},
    {"options", BYTES("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS *  "},
    {"method of one's own", BYTES("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"), "BREW /pot  "},
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof accepted / sizeof *accepted); i++) {
        const struct exchange *x = &accepted[i / 2];
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        buf_init(&answer, SIZE_MAX);
        int fd = client_open(rig);
        for (size_t k = 0; i % 2 && k < x->len; k++)
            client_send(rig, fd, x->bytes + k, 1);
        if (i % 2 == 0)
            client_send(rig, fd, x->bytes, x->len);
        client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 1);
        if (!slice_eq_str(buf_slice(&rig->last), x->status))
            fail_msg("%s: %.*s", x->name, (int)rig->last.len, rig->last.ptr);
        close(fd);
        buf_fini(&answer);
        rig_free(rig);
    }
}

/* One exchange on a fresh server; what came until the server closed. */
static void talk(struct rig *rig, const char *bytes, size_t len, struct buf *answer)
{
    buf_init(answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send(rig, fd, bytes, len);
    client_expect_end(rig, fd, answer);
    close(fd);
}

static void test_chunks_malformed(void **state)
{
    (void)state;
    static const char *const bodies[] = {"x\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n",
                                         "\r\nhello\r\n", "fffffffffffffffff\r\nhello"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        char request[200];
        int n = snprintf(request, sizeof request, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s",
                         bodies[i]);
        talk(rig, request, (size_t)n, &answer);
        assert_true(starts_with(&answer, "HTTP/1.1 400 "));
        assert_int_equal(rig->ends, 0);
        assert_int_equal(rig->closes, 1);
        buf_fini(&answer);
        rig_free(rig);
    }
}

static void test_pipelining(void **state)
{
    (void)state;
    static const enum rig_mode modes[] = {RIG_ECHO, RIG_DEFER};
    for (size_t m = 0; m < 2; m++) {
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        buf_init(&answer, SIZE_MAX);
        rig->mode = modes[m];
        int fd = client_open(rig);
        client_send_str(rig, fd,
                        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo"
                        "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\nGET "
                        "/4 HTTP/1.1\r\nHost: a\r\n\r\n");
        client_expect(rig, fd, &answer, m ? "HTTP/1.1 202 " : "HTTP/1.1 200 ", 4);
        if (m == 0) {
            const char *one = strstr(answer.ptr, "GET /1"), *two = strstr(answer.ptr, "POST /2  two"),
                       *three = strstr(answer.ptr, "POST /3  three");
            assert_true(one && two && three && one < two && two < three && three < strstr(answer.ptr, "GET /4"));
        }
        rig_until(rig, rig->closes == 4);
        close(fd);
        buf_fini(&answer);
        rig_free(rig);
    }
}

/* A body that looks like a request is a body, and the request after it is found. */
static void test_body_is_opaque(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send_str(rig, fd,
                    "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 29\r\n\r\nGET /in HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 1);
    client_send_str(rig, fd, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, fd, &answer, "GET /2", 1);
    assert_int_equal(rig->heads, 2);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_expect_continue(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client_expect(rig, fd, &answer, "HTTP/1.1 100 Continue\r\n\r\n", 1);
    client_send_str(rig, fd, "hello");
    client_expect(rig, fd, &answer, "POST /  hello", 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* The refusal comes first, whatever announced or withheld the body. */
static void test_413_before_the_body(void **state)
{
    (void)state;
    static const char *const expects[] = {"Expect: 100-continue\r\n", ""};
    for (int i = 0; i < 2; i++) {
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        char request[200];
        rig->body_max = 1000;
        int n = snprintf(request, sizeof request, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n%s\r\n",
                         expects[i]);
        talk(rig, request, (size_t)n, &answer);
        assert_true(starts_with(&answer, "HTTP/1.1 413 "));
        assert_int_equal(count_of(&answer, "the body of 1001 bytes exceeds the 1000 bytes allowed here\n"), 1);
        assert_int_equal(rig->ends, 0);
        struct http_server_stats stats;
        http_server_stats(rig->server, &stats);
        assert_int_equal(stats.refused_too_large, 1);
        buf_fini(&answer);
        rig_free(rig);
    }
}

static void test_413_chunked_while_reading(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->body_max = 1000;
    int fd = client_open(rig);
    client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    char chunk[505];
    memset(chunk, 'x', sizeof chunk);
    memcpy(chunk, "1f4\r\n", 5);
    for (int i = 0; i < 3; i++) {
        client_send(rig, fd, chunk, 505);
        client_send_str(rig, fd, "\r\n");
    }
    client_expect_end(rig, fd, &answer);
    assert_true(starts_with(&answer, "HTTP/1.1 413 "));
    rig_until(rig, rig->closes == 1);
    assert_int_equal(rig->ends, 0);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* A client that sends all of a large body before it reads gets its answer all the same. */
static void test_refusal_reaches_a_busy_sender(void **state)
{
    (void)state;
    static const enum rig_mode modes[] = {RIG_ECHO, RIG_EARLY};
    for (int m = 0; m < 2; m++) {
        struct rig *rig = rig_open(NULL);
        struct buf answer;
        size_t len = 8 << 20;
        char *body = calloc(1, len);
        rig->mode = modes[m];
        buf_init(&answer, SIZE_MAX);
        int fd = client_open(rig);
        client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n");
        assert_true(client_send(rig, fd, body, len));
        client_expect_end(rig, fd, &answer);
        assert_true(starts_with(&answer, m ? "HTTP/1.1 404 " : "HTTP/1.1 413 "));
        close(fd);
        free(body);
        buf_fini(&answer);
        rig_free(rig);
    }
}

static void test_answer_in_head_keeps_the_connection(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_EARLY;
    int fd = client_open(rig);
    client_send_str(rig, fd, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, fd, &answer, "nothing here\n", 1);
    client_send_str(rig, fd, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, fd, &answer, "nothing here\n", 2);
    assert_int_equal(rig->ends, 0);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_answer_while_the_body_comes(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_IN_DATA;
    int fd = client_open(rig);
    client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    client_send_str(rig, fd, "world");
    client_expect(rig, fd, &answer, "HTTP/1.1 401 ", 1);
    assert_int_equal(rig->ends, 0);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* ---- the size of the head ---- */

/* A head with one large value, or with many small lines. */
static size_t large_head(char *out, size_t bytes, bool many)
{
    size_t n = (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n");
    if (many) {
        while (n < bytes)
            n += (size_t)sprintf(out + n, "a%zu: b\r\n", n);
    } else {
        n += (size_t)sprintf(out + n, "x: ");
        memset(out + n, 'y', bytes - n);
        n = bytes;
        n += (size_t)sprintf(out + n, "\r\n");
    }
    return n + (size_t)sprintf(out + n, "\r\n");
}

static void test_large_heads(void **state)
{
    (void)state;
    static const struct {
        size_t limit, bytes;
        bool many, fits;
    } cases[] = {{0, 30000, false, true},        {0, 33000, false, false},        {0, 60000, false, false},
                 {0, 20000, true, false},        {0, 40000, true, false},         {4096, 3000, false, true},
                 {80 << 10, 66000, false, true}, {80 << 10, 200000, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_open(
            &(struct http_server_options){.head_bytes_max = cases[i].limit, .flag_head_bytes = "--max-headers"});
        struct buf answer;
        buf_init(&answer, SIZE_MAX);
        char *head = malloc(cases[i].bytes + 100);
        size_t n = large_head(head, cases[i].bytes, cases[i].many);
        int fd = client_open(rig);
        client_send(rig, fd, head, n);
        client_expect(rig, fd, &answer, "\r\n\r\n", 1);
        if (!starts_with(&answer, cases[i].fits ? "HTTP/1.1 200 " : "HTTP/1.1 431 "))
            fail_msg("%zu bytes of %zu: %s", cases[i].bytes, cases[i].limit, answer.ptr);
        if (!cases[i].fits) {
            client_expect_end(rig, fd, &answer);
            assert_int_equal(count_of(&answer, "--max-headers"), 1);
            assert_int_equal(count_of(&answer, "structured mode"), 1);
            assert_int_equal(count_of(&answer, "HTTP/1.1 "), 1);
            assert_int_equal(rig->heads, 0);
        }
        close(fd);
        free(head);
        buf_fini(&answer);
        rig_free(rig);
    }
}

/* One client's head that is too large leaves another's, which is not whole yet, alone. */
static void test_431_beside_another(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int other = client_open(rig), fd = client_open(rig);
    client_send_str(rig, other, "GET /other HTTP/1.1\r\nHost: a\r\n");
    char *head = malloc(70000);
    client_send(rig, fd, head, large_head(head, 60000, false));
    client_expect_end(rig, fd, &answer);
    assert_true(starts_with(&answer, "HTTP/1.1 431 "));
    assert_int_equal(count_of(&answer, "structured mode"), 1);
    buf_clear(&answer);
    client_send_str(rig, other, "\r\n");
    client_expect(rig, other, &answer, "GET /other", 1);
    close(other);
    close(fd);
    free(head);
    buf_fini(&answer);
    rig_free(rig);
}

/* A query is bytes: what it means is the handler's business. */
static void test_many_arguments(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    char request[3000] = "GET /?";
    memset(request + 6, '&', 2500);
    strcpy(request + 2506, " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    talk(rig, request, strlen(request), &answer);
    assert_true(starts_with(&answer, "HTTP/1.1 200 "));
    assert_int_equal(count_of(&answer, "&"), 2500);
    buf_fini(&answer);
    rig_free(rig);
}

/* ---- deadlines ---- */

static const struct http_server_options short_times = {
    .head_timeout_ns = 10 * NS_PER_S, .body_timeout_ns = 20 * NS_PER_S, .idle_timeout_ns = 60 * NS_PER_S};

/* A byte a second, for ever, ends at the deadline. */
static void drip(const char *before, const char *drop, unsigned seconds, const char *expected)
{
    struct rig *rig = rig_open(&short_times);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send_str(rig, fd, before);
    unsigned n = 0;
    while (!client_read(fd, &answer) && answer.len == 0 && n < 100) {
        client_send_str(rig, fd, drop);
        rig_advance(rig, NS_PER_S);
        n++;
    }
    assert_in_range(n, seconds, seconds + 1);
    client_expect_end(rig, fd, &answer);
    assert_true(starts_with(&answer, expected));
    rig_until(rig, rig->heads == rig->closes);
    struct http_server_stats stats;
    http_server_stats(rig->server, &stats);
    assert_int_equal(stats.refused_timeout, 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_slow_clients(void **state)
{
    (void)state;
    drip("G", "E", 10, "HTTP/1.1 408 ");
    drip("GET / HTTP/1.1\r\nHost: a\r\nX: ", "y", 10, "HTTP/1.1 408 ");
    drip("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", "y", 20, "HTTP/1.1 408 ");
    drip("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\ny\r\n", 20, "HTTP/1.1 408 ");
    drip("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n", 20, "HTTP/1.1 408 ");
}

static void test_silent_clients(void **state)
{
    (void)state;
    struct rig *rig = rig_open(&short_times);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fresh = client_open(rig), kept = client_open(rig);
    client_send_str(rig, kept, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, kept, &answer, "HTTP/1.1 200 ", 1);
    buf_clear(&answer);
    rig_advance(rig, 10 * NS_PER_S);
    client_expect_end(rig, fresh, &answer); /* nothing sent, nothing said */
    for (int s = 10; s < 60; s += 10) {
        assert_false(client_read(kept, &answer));
        rig_advance(rig, 10 * NS_PER_S);
    }
    client_expect_end(rig, kept, &answer);
    assert_int_equal(answer.len, 0);
    close(fresh);
    close(kept);
    buf_fini(&answer);
    rig_free(rig);
}

/* On a kept-alive connection the head's time runs from its first byte. */
static void second_request(const char *beginning)
{
    struct rig *rig = rig_open(&short_times);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 1);
    buf_clear(&answer);
    client_send_str(rig, fd, beginning);
    rig_advance(rig, 9 * NS_PER_S);
    assert_false(client_read(fd, &answer));
    assert_int_equal(answer.len, 0);
    rig_advance(rig, NS_PER_S);
    client_expect_end(rig, fd, &answer);
    assert_true(starts_with(&answer, "HTTP/1.1 408 "));
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_slow_second_request(void **state)
{
    (void)state;
    second_request("GET / HTTP/1.1\r\nHost: a\r\n");
    second_request("GE");
}

/* A handler may take its time: no deadline runs while the request is the server's. */
static void test_slow_handler(void **state)
{
    (void)state;
    struct rig *rig = rig_open(&short_times);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_HOLD;
    int fd = client_open(rig);
    client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    rig_until(rig, rig->held_count == 1);
    rig_advance(rig, 1000 * NS_PER_S);
    assert_false(client_read(fd, &answer));
    assert_true(rig_rests(rig));
    http_respond(rig->held[0], 202, NULL, 0, SLICE(""));
    client_expect(rig, fd, &answer, "HTTP/1.1 202 ", 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusals_byte_by_byte),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_chunks_malformed),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_body_is_opaque),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_413_before_the_body),
        cmocka_unit_test(test_413_chunked_while_reading),
        cmocka_unit_test(test_refusal_reaches_a_busy_sender),
        cmocka_unit_test(test_answer_in_head_keeps_the_connection),
        cmocka_unit_test(test_answer_while_the_body_comes),
        cmocka_unit_test(test_large_heads),
        cmocka_unit_test(test_431_beside_another),
        cmocka_unit_test(test_many_arguments),
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_silent_clients),
        cmocka_unit_test(test_slow_second_request),
        cmocka_unit_test(test_slow_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
