/* SPDX-License-Identifier: Apache-2.0
 *
 * The response parser alone: tables of answers, good and bad. Each is fed whole, split in two at every position, and
 * byte by byte, and all must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../base/http_parse.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define FIFTY "01234567890123456789012345678901234567890123456789"
#define KIB_LESS                                                                                                       \
    FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY
#define KIB KIB_LESS FIFTY FIFTY
#define CHUNKED OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"

struct result {
    enum err err;
    int status;
    size_t headers, consumed, body_len;
    char body[4096];
    bool cut, persistent;
    const char *why;
};

struct settings {
    size_t body_max;
    bool head_request, ends; /* ends: the connection ends behind the bytes */
};

static const struct settings ordinary = {.body_max = 1024};

/* Feeds pieces that end at `first`, then every `step` bytes. */
static struct result feed(struct slice s, struct settings how, size_t first, size_t step)
{
    struct result r = {.err = ERR_PENDING};
    struct http_parse p;
    char *bytes = malloc(s.len + 1);
    assert_non_null(bytes);
    size_t len = 0, fed = 0;
    http_parse_init(&p, how.head_request, how.body_max);
    for (size_t end = first; r.err == ERR_PENDING && fed < s.len; end += step) {
        end = end < s.len ? end : s.len;
        memcpy(bytes + len, s.ptr + fed, end - fed);
        len += end - fed;
        fed = end;
        r.err = http_parse_run(&p, bytes, &len);
    }
    if (r.err == ERR_PENDING && how.ends)
        r.err = http_parse_end(&p);
    r.why = p.why;
    if (r.err == OK) {
        struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
        struct http_response response;
        http_parse_response(&p, bytes, headers, &response);
        r.status = response.status;
        r.headers = response.header_count;
        r.cut = response.body_cut;
        r.persistent = p.persistent;
        r.consumed = fed - (len - p.at);
        r.body_len = response.body.len;
        assert_true(r.body_len < sizeof(r.body));
        memcpy(r.body, response.body.ptr, r.body_len);
    }
    free(bytes);
    return r;
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->headers, b->headers);
    assert_int_equal(a->cut, b->cut);
    assert_int_equal(a->persistent, b->persistent);
    assert_int_equal(a->consumed, b->consumed);
    assert_int_equal(a->body_len, b->body_len);
    assert_memory_equal(a->body, b->body, a->body_len);
    assert_ptr_equal(a->why, b->why);
}

/* The result of the whole, after all the ways to split it gave the same. */
static struct result parse(struct slice s, struct settings how)
{
    struct result whole = feed(s, how, s.len, 1);
    for (size_t at = 0; at < s.len && s.len < 5000; at++) {
        struct result two = feed(s, how, at, s.len);
        assert_same(&whole, &two);
    }
    struct result bytewise = feed(s, how, 1, 1);
    assert_same(&whole, &bytewise);
    return whole;
}

static struct result parse_text(const char *text)
{
    return parse(slice_str(text), ordinary);
}

/* ---- good answers ---- */

struct good {
    const char *text;
    int status;
    const char *body;
    size_t headers;
    bool persistent;
};

static void answers_are_read(void **state)
{
    (void)state;
    static const struct good all[] = {
        {OK_HEAD "Content-Length: 5\r\n\r\nhello", 200, "hello", 1, true},
        {OK_HEAD "content-length:0\r\n\r\n", 200, "", 1, true},
        {OK_HEAD "X: \t a b \t\r\nY:\r\nContent-Length:\t3 \r\n\r\nabc", 200, "abc", 3, true},
        {OK_HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", 2, true},
        {OK_HEAD "Content-Length: 2\r\nConnection: Close\r\n\r\nok", 200, "ok", 2, false},
        {OK_HEAD "Content-Length: 2\r\nConnection: upgrade , close\r\n\r\nok", 200, "ok", 2, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 1, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 2, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", 0, true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, "", 1, true},
        {"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n", 202, "", 1, true},
        {"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 599, "", 1, true},
        {"HTTP/1.1 200 d\xc3\xa9j\xc3\xa0 vu\r\nContent-Length: 0\r\nX: \xff\r\n\r\n", 200, "", 2, true},
        {CHUNKED "5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\n\r\n", 200, "hello world", 1, true},
        {CHUNKED "000A \t;x\r\n0123456789\r\n0\r\nTrailer: t\r\nContent-Length: 7\r\n\r\n", 200, "0123456789", 1, true},
        {CHUNKED "0\r\n\r\n", 200, "", 1, true},
        {OK_HEAD "Transfer-Encoding: CHUNKED\r\n\r\na\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", 200, "0123456789x", 1,
         true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\nContent-Length: 9\r\nConnection: "
         "close\r\n\r\n"
         "HTTP/1.1 201 Made\r\nContent-Length: 1\r\nA: b\r\n\r\nx",
         201, "x", 2, true},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct result r = parse_text(all[i].text);
        if (r.err || r.status != all[i].status || r.headers != all[i].headers)
            print_error("case %zu: %s\n", i, r.why ? r.why : "other numbers");
        assert_int_equal(r.err, OK);
        assert_int_equal(r.status, all[i].status);
        assert_int_equal(r.headers, all[i].headers);
        assert_int_equal(r.persistent, all[i].persistent);
        assert_int_equal(r.consumed, strlen(all[i].text));
        assert_int_equal(r.body_len, strlen(all[i].body));
        assert_memory_equal(r.body, all[i].body, r.body_len);
        assert_false(r.cut);
    }
}

static void headers_come_in_order_and_trimmed(void **state)
{
    (void)state;
    char text[] = OK_HEAD "B: \t two words \t\r\na:1\r\nEmpty: \r\nContent-Length: 0\r\n\r\n";
    size_t len = sizeof(text) - 1;
    struct http_parse p;
    struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
    struct http_response r;
    http_parse_init(&p, false, 0);
    assert_int_equal(http_parse_run(&p, text, &len), OK);
    http_parse_response(&p, text, headers, &r);
    assert_int_equal(r.header_count, 4);
    assert_true(slice_eq_str(r.headers[0].name, "B") && slice_eq_str(r.headers[0].value, "two words"));
    assert_true(slice_eq_str(r.headers[1].name, "a") && slice_eq_str(r.headers[1].value, "1"));
    assert_true(slice_eq_str(r.headers[2].name, "Empty") && r.headers[2].value.len == 0);
    struct slice length = {NULL, 0};
    assert_true(http_header_find(r.headers, r.header_count, "CONTENT-LENGTH", &length));
    assert_true(slice_eq_str(length, "0"));
}

static void an_answer_to_head_has_no_body(void **state)
{
    (void)state;
    struct settings how = {.body_max = 1024, .head_request = true};
    struct result r = parse(SLICE(OK_HEAD "Content-Length: 5\r\n\r\n"), how);
    assert_int_equal(r.err, OK);
    assert_int_equal(r.body_len, 0);
    assert_true(r.persistent);
    assert_int_equal(parse(SLICE(CHUNKED), how).err, OK);
}

static void a_body_may_last_until_the_connection_ends(void **state)
{
    (void)state;
    struct settings how = {.body_max = 1024, .ends = true};
    struct result r = parse(SLICE(OK_HEAD "\r\nall of it"), how);
    assert_int_equal(r.err, OK);
    assert_int_equal(r.body_len, 9);
    assert_false(r.persistent);
    assert_int_equal(parse(SLICE(OK_HEAD "\r\n"), how).err, OK);
    assert_int_equal(parse_text(OK_HEAD "\r\nall of it").err, ERR_PENDING);
}

static void what_follows_an_answer_is_not_taken_with_it(void **state)
{
    (void)state;
    struct result r = parse_text(OK_HEAD "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(r.err, OK);
    assert_int_equal(r.consumed, strlen(OK_HEAD "Content-Length: 2\r\n\r\nok"));
    r = parse_text("HTTP/1.1 204 No Content\r\n\r\nbody all the same");
    assert_int_equal(r.err, OK);
    assert_int_equal(r.consumed, strlen("HTTP/1.1 204 No Content\r\n\r\n"));
    r = parse_text(CHUNKED "1\r\nx\r\n0\r\n\r\nmore");
    assert_int_equal(r.err, OK);
    assert_int_equal(r.consumed, strlen(CHUNKED "1\r\nx\r\n0\r\n\r\n"));
}

/* ---- bad answers ---- */

static void what_is_no_http_is_refused(void **state)
{
    (void)state;
    static const char *const all[][2] = {
        {"SSH-2.0-OpenSSH_9.2\r\n", "begin with HTTP/1."},
        {"HTTP/2 200\r\n\r\n", "begin with HTTP/1."},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", "begin with HTTP/1."},
        {"X", "begin with HTTP/1."},
        {"HTTP/1.2 200 OK\r\n\r\n", "status line"},
        {"HTTP/1.1  200 OK\r\n\r\n", "status"},
        {"HTTP/1.1 20 OK\r\n\r\n", "three digits"},
        {"HTTP/1.1 2000 OK\r\n\r\n", "status line"},
        {"HTTP/1.1 099 OK\r\n\r\n", "status line"},
        {"HTTP/1.1\r\n\r\n", "status line"},
        {"HTTP/1.1 200 O\x01K\r\n\r\n", "status line"},
        {"HTTP/1.1 200 OK\n\r\n", "CR LF"},
        {OK_HEAD "A: b\n\r\n", "CR LF"},
        {OK_HEAD "A: b\r\n\n", "CR LF"},
        {OK_HEAD "A: b\rc\r\n\r\n", "control character"},
        {OK_HEAD "A: b\x7f\r\n\r\n", "control character"},
        {OK_HEAD "A: b\r\n folded\r\n\r\n", "folded"},
        {OK_HEAD " A: b\r\n\r\n", "folded"},
        {OK_HEAD "A : b\r\n\r\n", "proper name"},
        {OK_HEAD ": b\r\n\r\n", "proper name"},
        {OK_HEAD "no colon\r\n\r\n", "proper name"},
        {OK_HEAD "A\xc3\xa9: b\r\n\r\n", "proper name"},
        {OK_HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "two Content-Length"},
        {OK_HEAD "Content-Length: 1, 1\r\n\r\na", "no number"},
        {OK_HEAD "Content-Length: +1\r\n\r\na", "no number"},
        {OK_HEAD "Content-Length: -1\r\n\r\na", "no number"},
        {OK_HEAD "Content-Length: 0x1\r\n\r\na", "no number"},
        {OK_HEAD "Content-Length:\r\n\r\n", "no number"},
        {OK_HEAD "Content-Length: 9223372036854775808\r\n\r\n", "no number"},
        {OK_HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"},
        {OK_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "other than chunked"},
        {OK_HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "other than chunked"},
        {OK_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "other than chunked"},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switches"},
        {CHUNKED "\r\n", "size is malformed"},
        {CHUNKED "x\r\n", "size is malformed"},
        {CHUNKED "-1\r\n", "size is malformed"},
        {CHUNKED "0x1\r\na\r\n", "size is malformed"},
        {CHUNKED "1 \r\na\r\n0\r\n\r\n", "size is malformed"},
        {CHUNKED "1;\x01\r\na\r\n0\r\n\r\n", "size is malformed"},
        {CHUNKED "ffffffffffffffff\r\n", "size is malformed"},
        {CHUNKED "00000000000000001\r\na\r\n", "size is malformed"},
        {CHUNKED "1\na\r\n", "CR LF"},
        {CHUNKED "1\r\nab\r\n", "longer than its size"},
        {CHUNKED "1\r\na\n0\r\n\r\n", "longer than its size"},
        {CHUNKED "0\r\nno colon\r\n\r\n", "proper name"},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct result r = parse_text(all[i][0]);
        if (r.err != ERR_PROTOCOL || !strstr(r.why, all[i][1]))
            print_error("case %zu: %s instead of %s\n", i, r.why ? r.why : "accepted", all[i][1]);
        assert_int_equal(r.err, ERR_PROTOCOL);
        assert_non_null(strstr(r.why, all[i][1]));
    }
}

static void a_nul_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    static const char whole[] = "HTTP/1.1 200 OK\r\nName: value\r\nContent-Length: 0\r\n\r\n";
    for (size_t at = 0; at < sizeof(whole) - 5; at++) {
        char bytes[sizeof(whole)];
        memcpy(bytes, whole, sizeof(whole));
        bytes[at] = '\0';
        assert_int_equal(parse(slice_of(bytes, sizeof(whole) - 1), ordinary).err, ERR_PROTOCOL);
    }
}

static void an_answer_cut_short_is_told_from_a_whole_one(void **state)
{
    (void)state;
    static const char *const all[] = {OK_HEAD "Content-Length: 5\r\n\r\nhell",
                                      OK_HEAD "Content-Length: 5\r\n",
                                      CHUNKED "5\r\nhello\r\n0\r\n",
                                      CHUNKED "5\r\nhello\r\n",
                                      "HTTP",
                                      "HTTP/1.1 100 Continue\r\n\r\n"};
    struct settings how = {.body_max = 1024, .ends = true};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_int_equal(parse(slice_str(all[i]), how).err, ERR_UNAVAILABLE);
}

/* ---- bounds ---- */

static void a_body_beyond_the_bound_is_cut(void **state)
{
    (void)state;
    struct settings how = {.body_max = 4};
    static const char *const cut[] = {
        OK_HEAD "Content-Length: 5\r\n\r\nhello", OK_HEAD "Content-Length: 10737418240\r\n\r\nhell",
        CHUNKED "5\r\nhello\r\n0\r\n\r\n", CHUNKED "4\r\nhell\r\n1\r\no\r\n0\r\n\r\n", OK_HEAD "\r\nhello"};
    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
        struct result r = parse(slice_str(cut[i]), how);
        assert_int_equal(r.err, OK);
        assert_true(r.cut);
        assert_false(r.persistent);
        assert_int_equal(r.body_len, 4);
        assert_memory_equal(r.body, "hell", 4);
    }
    static const char *const whole[] = {OK_HEAD "Content-Length: 4\r\n\r\nhell",
                                        CHUNKED "2\r\nhe\r\n2\r\nll\r\n0\r\n\r\n"};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        struct result r = parse(slice_str(whole[i]), how);
        assert_int_equal(r.err, OK);
        assert_false(r.cut);
        assert_true(r.persistent);
    }
    how.body_max = 0;
    assert_true(parse(SLICE(OK_HEAD "Content-Length: 1\r\n\r\nx"), how).cut);
    assert_false(parse(SLICE(OK_HEAD "Content-Length: 0\r\n\r\n"), how).cut);
}

/* `before`, then `again` until it is `bytes` long. */
static struct slice repeated(char *to, size_t bytes, const char *before, const char *again)
{
    size_t len = strlen(before), n = strlen(again);
    memcpy(to, before, len);
    for (; len + n <= bytes; len += n)
        memcpy(to + len, again, n);
    return slice_of(to, len);
}

static void nothing_is_read_without_end(void **state)
{
    (void)state;
    static const char *const all[][3] = {
        {"HTTP/1.1 200 ", "a", "larger than 64 KiB"},
        {OK_HEAD "A: ", "b", "larger than 64 KiB"},
        {OK_HEAD, "A: b\r\n", "128 header lines"},
        {OK_HEAD, "A: " KIB "\r\n", "larger than 64 KiB"},
        {"", "HTTP/1.1 100 Continue\r\n\r\n", "larger than 64 KiB"},
        {CHUNKED "1;", "x", "larger than 1 KiB"},
        {CHUNKED, "1;" KIB_LESS "\r\nx\r\n", "chunk extensions"},
        {CHUNKED "0\r\nA: ", "b", "trailers are larger"},
        {CHUNKED "0\r\n", "A: b\r\n", "128 header lines"},
    };
    size_t size = 4 * HTTP_RESPONSE_HEAD_MAX;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct result r = parse(repeated(bytes, size, all[i][0], all[i][1]), ordinary);
        if (r.err != ERR_PROTOCOL || !strstr(r.why, all[i][2]))
            print_error("case %zu: %s instead of %s\n", i, r.why ? r.why : "accepted", all[i][2]);
        assert_int_equal(r.err, ERR_PROTOCOL);
        assert_non_null(strstr(r.why, all[i][2]));
    }
    free(bytes);
}

static void as_many_headers_as_allowed_are_read(void **state)
{
    (void)state;
    char text[2000] = OK_HEAD "Content-Length: 0\r\n";
    for (int i = 1; i < HTTP_RESPONSE_HEADERS_MAX; i++)
        strcat(text, "A: b\r\n");
    strcat(text, "\r\n");
    struct result r = parse_text(text);
    assert_int_equal(r.err, OK);
    assert_int_equal(r.headers, HTTP_RESPONSE_HEADERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(headers_come_in_order_and_trimmed),
        cmocka_unit_test(an_answer_to_head_has_no_body),
        cmocka_unit_test(a_body_may_last_until_the_connection_ends),
        cmocka_unit_test(what_follows_an_answer_is_not_taken_with_it),
        cmocka_unit_test(what_is_no_http_is_refused),
        cmocka_unit_test(a_nul_is_refused_wherever_it_stands),
        cmocka_unit_test(an_answer_cut_short_is_told_from_a_whole_one),
        cmocka_unit_test(a_body_beyond_the_bound_is_cut),
        cmocka_unit_test(nothing_is_read_without_end),
        cmocka_unit_test(as_many_headers_as_allowed_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
