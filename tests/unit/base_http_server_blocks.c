/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the HTTP server keeps what it receives: heads and bodies around the size of a block, counted and chunked, whole
 * and in pieces, with the next requests right behind them; and how much of those is read while one is under way.
 */
#include "../lib/http_rig.h"

#include "../../base/http_connection.h"

#define BLOCK ((size_t)HTTP_BLOCK_BYTES)

/* A body that tells of every byte whether it is in its place. */
static void fill(char *body, size_t n)
{
    for (size_t i = 0; i < n; i++)
        body[i] = (char)('a' + (i * 7 + i / 251) % 26);
}

/* Adds "POST /N" with a head of about `head` bytes more than needed and this body, in chunks of `chunk` bytes, or
 * counted with 0. */
static void put_post(struct buf *to, size_t number, size_t head, struct slice body, size_t chunk)
{
    buf_printf(to, "POST /%zu HTTP/1.1\r\nHost: a\r\n", number);
    if (head) {
        buf_put_str(to, "X-Filling: ");
        memset(buf_reserve(to, head), 'y', head);
        to->len += head;
        buf_put_str(to, "\r\n");
    }
    if (chunk == 0) {
        buf_printf(to, "Content-Length: %zu\r\n\r\n", body.len);
        buf_put(to, body);
        return;
    }
    buf_put_str(to, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < body.len; at += chunk) {
        size_t n = body.len - at < chunk ? body.len - at : chunk;
        buf_printf(to, "%zx\r\n", n);
        buf_put(to, slice_of(body.ptr + at, n));
        buf_put_str(to, "\r\n");
    }
    buf_put_str(to, "0\r\n\r\n");
}

/* Sends two such requests and a small one in pieces of `piece` bytes; each comes back as it was sent. */
static void round_trip(size_t head, size_t len, size_t chunk, size_t piece)
{
    struct rig *rig = rig_open(NULL);
    struct buf request, answer, wanted;
    buf_init(&request, SIZE_MAX);
    buf_init(&answer, SIZE_MAX);
    buf_init(&wanted, SIZE_MAX);
    char *body = malloc(len + 1);
    fill(body, len);
    put_post(&request, 1, head, slice_of(body, len), chunk);
    put_post(&request, 2, head, slice_of(body, len), chunk);
    put_post(&request, 3, 0, SLICE("end"), 0);
    int fd = client_open(rig);
    for (size_t at = 0; at < request.len; at += piece)
        assert_true(client_send(rig, fd, request.ptr + at, request.len - at < piece ? request.len - at : piece));
    client_expect(rig, fd, &answer, "POST /3  end", 1);
    for (int i = 1; i <= 2; i++) {
        buf_clear(&wanted);
        buf_printf(&wanted, "POST /%d  ", i);
        buf_put(&wanted, slice_of(body, len));
        if (!memmem(answer.ptr, answer.len, wanted.ptr, wanted.len))
            fail_msg("head %zu, body %zu, chunks of %zu, pieces of %zu: request %d", head, len, chunk, piece, i);
    }
    rig_until(rig, rig->closes == 3);
    close(fd);
    free(body);
    buf_fini(&request);
    buf_fini(&answer);
    buf_fini(&wanted);
    rig_free(rig);
}

static void test_sizes(void **state)
{
    (void)state;
    const size_t heads[] = {0, BLOCK / 2, BLOCK - 200, BLOCK - 60, BLOCK, BLOCK + 1000};
    const size_t bodies[] = {0, 1, 100, BLOCK / 2, BLOCK - 100, BLOCK, BLOCK + 1, 3 * BLOCK};
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
        for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
            round_trip(heads[h], bodies[b], 0, SIZE_MAX / 2);
            round_trip(heads[h], bodies[b], 0, 1009);
            round_trip(heads[h], bodies[b], 1000, SIZE_MAX / 2);
            round_trip(heads[h], bodies[b], 7, 1009);
        }
}

/* Around the very end of a block, byte by byte. */
static void test_edge(void **state)
{
    (void)state;
    for (size_t n = BLOCK - 80; n <= BLOCK + 2; n++) {
        round_trip(0, n, 0, SIZE_MAX / 2);
        round_trip(n, 10, 0, SIZE_MAX / 2);
        round_trip(n, 10, 4, SIZE_MAX / 2);
    }
}

/* More lines than a block has room for. */
static void test_many_lines(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf request, answer;
    buf_init(&request, SIZE_MAX);
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    for (int round = 0; round < 2; round++) {
        buf_put_str(&request, "GET /many HTTP/1.1\r\n");
        for (int i = 0; i < 3 * HTTP_BLOCK_LINES; i++)
            buf_printf(&request, "x%d: %d\r\n", i, i);
        buf_put_str(&request, "Host: a\r\n\r\n");
    }
    for (size_t at = 0; at < request.len; at += 700)
        client_send(rig, fd, request.ptr + at, request.len - at < 700 ? request.len - at : 700);
    client_expect(rig, fd, &answer, "GET /many", 2);
    close(fd);
    buf_fini(&request);
    buf_fini(&answer);
    rig_free(rig);
}

/* More requests in one go than are served in a row; another client has its turn between them. */
static void test_long_row(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf request, answer, other;
    buf_init(&request, SIZE_MAX);
    buf_init(&answer, SIZE_MAX);
    buf_init(&other, SIZE_MAX);
    for (size_t i = 0; i < 20 * HTTP_ROW_MAX; i++)
        put_post(&request, i, 0, SLICE("x"), 0);
    int fd = client_open(rig), second = client_open(rig);
    rig_turn(rig);
    assert_int_equal(send(fd, request.ptr, request.len, 0), (ssize_t)request.len);
    assert_true(send(second, request.ptr, 60, 0) == 60);
    rig_turn(rig);
    assert_in_range(rig->ends, 1, 3 * HTTP_ROW_MAX);
    client_expect(rig, second, &other, "POST /0  x", 1);
    client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 20 * HTTP_ROW_MAX);
    close(fd);
    close(second);
    buf_fini(&request);
    buf_fini(&answer);
    buf_fini(&other);
    rig_free(rig);
}

/* While a request is held, no more than a block is read ahead; nothing spins, and all of it is served afterwards. */
static void test_no_reading_ahead(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf request, answer;
    buf_init(&request, SIZE_MAX);
    buf_init(&answer, SIZE_MAX);
    char *body = malloc(1000);
    fill(body, 1000);
    for (size_t i = 0; i < 200; i++)
        put_post(&request, i, 0, slice_of(body, 1000), i % 2 ? 0 : 300);
    rig->mode = RIG_HOLD;
    int fd = client_open(rig);
    size_t sent = 0;
    for (int i = 0; i < 50; i++) {
        ssize_t n = send(fd, request.ptr + sent, request.len - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        rig_turn(rig);
    }
    assert_int_equal(rig->held_count, 1);
    assert_true(rig_rests(rig));
    rig->mode = RIG_ACCEPT;
    http_respond(rig->held[0], 202, NULL, 0, SLICE(""));
    assert_true(client_send(rig, fd, request.ptr + sent, request.len - sent));
    client_expect(rig, fd, &answer, "HTTP/1.1 202 ", 200);
    close(fd);
    free(body);
    buf_fini(&request);
    buf_fini(&answer);
    rig_free(rig);
}

/* A client that leaves while its request is held: nothing spins, and the request is over when it is answered. */
static void test_left_and_rests(void **state)
{
    (void)state;
    for (int hard = 0; hard < 2; hard++) {
        struct rig *rig = rig_open(NULL);
        rig->mode = RIG_HOLD;
        int fd = client_open(rig);
        client_send_str(rig, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        rig_until(rig, rig->held_count == 1);
        struct linger now = {1, 0};
        if (hard)
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        close(fd);
        rig_turn(rig);
        rig_turn(rig);
        assert_true(rig_rests(rig));
        assert_int_equal(rig->held_count, 1);
        assert_true(slice_eq_str(http_request_body(rig->held[0]), "hi"));
        http_respond(rig->held[0], 202, NULL, 0, SLICE(""));
        rig_until(rig, rig->closes == 1);
        rig_free(rig);
    }
}

/* A large body that stops coming is refused in time, wherever it lies. */
static void test_stalled_bodies(void **state)
{
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        struct rig *rig = rig_open(&(struct http_server_options){.body_timeout_ns = 20 * NS_PER_S});
        struct buf request, answer;
        buf_init(&request, SIZE_MAX);
        buf_init(&answer, SIZE_MAX);
        char *body = calloc(3, BLOCK);
        put_post(&request, 1, 0, slice_of(body, 3 * BLOCK), chunked ? 1000 : 0);
        int fd = client_open(rig);
        client_send(rig, fd, request.ptr, request.len - 10);
        rig_until(rig, rig->heads == 1);
        rig_advance(rig, 20 * NS_PER_S);
        client_expect_end(rig, fd, &answer);
        assert_true(starts_with(&answer, "HTTP/1.1 408 "));
        assert_int_equal(rig->ends, 0);
        close(fd);
        free(body);
        buf_fini(&request);
        buf_fini(&answer);
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_edge),
        cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_long_row),
        cmocka_unit_test(test_no_reading_ahead),
        cmocka_unit_test(test_left_and_rests),
        cmocka_unit_test(test_stalled_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
