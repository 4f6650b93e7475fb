/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server over time: answers that come later, clients that leave, streams, drain, the listener, many clients
 * and several loops.
 */
#include "../lib/http_rig.h"

#include <pthread.h>
#include <sys/resource.h>

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

/* ---- later answers ---- */

static void test_answers_later(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_HOLD;
    int fd = client_open(rig);
    for (size_t i = 1; i <= 3; i++) {
        client_send_str(rig, fd, POST);
        rig_until(rig, rig->held_count == 1);
        for (size_t k = 0; k < 10 * (i - 1); k++)
            rig_turn(rig); /* answered at once, and after it was suspended */
        assert_true(i == 1 || rig_rests(rig));
        assert_int_equal(http_server_busy(rig->server), 1);
        http_respond_text(rig->held[0], 200, "answer %zu", i);
        client_expect(rig, fd, &answer, "answer ", i);
        rig_until(rig, rig->closes == i);
        assert_int_equal(http_server_busy(rig->server), 0);
    }
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* One request's handler answers another. */
static struct http_request *first_of_two;

static void pair_head(struct http_request *r, void *arg)
{
    (void)arg;
    http_request_allow_body(r, 10);
}

static void pair_end(struct http_request *r)
{
    if (!first_of_two) {
        first_of_two = r;
        return;
    }
    http_respond_text(first_of_two, 200, "first");
    http_respond_text(r, 200, "second");
    first_of_two = NULL;
}

static void test_answers_crosswise(void **state)
{
    (void)state;
    for (int turns = 0; turns < 20; turns += 19) {
        struct rig *rig = rig_open(NULL);
        http_listener_close(rig->listener);
        http_server_free(rig->server);
        const struct http_handler handler = {pair_head, NULL, pair_end, NULL};
        struct diag d;
        assert_int_equal(http_server_new(rig->loop, NULL, &handler, NULL, &rig->server), OK);
        assert_int_equal(http_listener_open(rig->loop, "127.0.0.1:0", &rig->server, 1, &rig->listener, &d), OK);
        rig->port = atoi(strrchr(http_listener_address(rig->listener), ':') + 1);
        struct buf a, b;
        buf_init(&a, SIZE_MAX);
        buf_init(&b, SIZE_MAX);
        int one = client_open(rig), two = client_open(rig);
        client_send_str(rig, one, POST);
        rig_until(rig, first_of_two);
        for (int i = 0; i < turns; i++)
            rig_turn(rig);
        client_send_str(rig, two, POST);
        client_expect(rig, one, &a, "first\n", 1);
        client_expect(rig, two, &b, "second\n", 1);
        close(one);
        close(two);
        buf_fini(&a);
        buf_fini(&b);
        rig_free(rig);
    }
}

/* ---- clients that leave ---- */

static void reset_connection(int fd)
{
    struct linger now = {1, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

/* At every byte of a request, by FIN and by RST: a request that a handler saw is closed once (rig_free checks), the
 * others never. */
static void test_leaves_at_every_byte(void **state)
{
    (void)state;
    static const char *const requests[] = {
        POST, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        struct rig *rig = rig_open(NULL);
        for (size_t n = 0; n <= strlen(requests[i]); n++)
            for (int hard = 0; hard < 2; hard++) {
                int fd = client_open(rig);
                client_send(rig, fd, requests[i], n);
                struct http_server_stats stats;
                if (hard)
                    reset_connection(fd);
                else
                    close(fd);
                rig_until(rig, (http_server_stats(rig->server, &stats),
                                stats.connections_open == 0 && rig->heads == rig->closes));
            }
        rig_free(rig);
    }
}

static void test_leaves_while_held(void **state)
{
    (void)state;
    for (int turns = 0; turns <= 20; turns += 20)
        for (int hard = 0; hard < 2; hard++) {
            struct rig *rig = rig_open(NULL);
            rig->mode = RIG_HOLD;
            int fd = client_open(rig);
            client_send_str(rig, fd, POST);
            rig_until(rig, rig->held_count == 1);
            for (int i = 0; i < turns; i++)
                rig_turn(rig);
            if (hard)
                reset_connection(fd);
            else
                close(fd);
            for (int i = 0; i < 5; i++)
                rig_turn(rig);
            if (rig->held_count) /* it may be noticed only by answering */
                http_respond_text(rig->held[0], 200, "too late");
            rig_until(rig, rig->closes == 1);
            rig_free(rig);
        }
}

/* A client that is done sending still gets its answer; what is left of the connection goes at the next look at it. */
static void test_half_closed_client(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_DEFER;
    int fd = client_open(rig);
    assert_true(send(fd, POST, strlen(POST), 0) > 0);
    shutdown(fd, SHUT_WR);
    client_expect(rig, fd, &answer, "HTTP/1.1 202 ", 1);
    rig_advance(rig, 10 * NS_PER_S);
    client_expect_end(rig, fd, &answer);
    assert_true(starts_with(&answer, "HTTP/1.1 202 "));
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_never_reads_its_answer(void **state)
{
    (void)state;
    struct rig *rig = rig_open(&(struct http_server_options){.body_timeout_ns = 20 * NS_PER_S});
    size_t len = 64 << 20;
    char *body = malloc(len);
    memset(body, 'x', len);
    rig->mode = RIG_HOLD;
    int fd = client_open(rig);
    client_send_str(rig, fd, GET);
    rig_until(rig, rig->held_count == 1);
    http_respond(rig->held[0], 200, NULL, 0, slice_of(body, len));
    free(body);
    for (int i = 0; i < 20; i++)
        rig_turn(rig);
    assert_int_equal(rig->closes, 0);
    rig_advance(rig, 20 * NS_PER_S);
    rig_until(rig, rig->closes == 1);
    close(fd);
    rig_free(rig);
}

/* Everything that can be under way when the server is freed. */
static void test_free_amid_work(void **state)
{
    (void)state;
    for (int turns = 0; turns <= 20; turns += 10) {
        struct rig *rig = rig_open(NULL);
        int fds[6];
        for (int i = 0; i < 6; i++)
            fds[i] = client_open(rig);
        client_send_str(rig, fds[0], "GET / HT");
        client_send_str(rig, fds[1], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
        rig->mode = RIG_HOLD;
        client_send_str(rig, fds[2], POST);
        rig_until(rig, rig->held_count == 1);
        rig->mode = RIG_STREAM;
        client_send_str(rig, fds[3], GET);
        rig_until(rig, rig->held_count == 2);
        assert_int_equal(http_stream_write(rig->held[1], SLICE("x")), OK);
        rig->mode = RIG_ACCEPT;
        client_send_str(rig, fds[4], GET);
        for (int i = 0; i < turns; i++)
            rig_turn(rig);
        http_listener_close(rig->listener);
        rig->listener = NULL;
        rig_free(rig);
        for (int i = 0; i < 6; i++)
            close(fds[i]);
    }
}

/* ---- headers of answers ---- */

static void test_answer_headers(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    rig->mode = RIG_HOLD;
    int fd = client_open(rig);
    client_send_str(rig, fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    rig_until(rig, rig->held_count == 1);
    char value[2000];
    memset(value, 'v', sizeof value);
    const struct http_header headers[] = {{SLICE_INIT("X-One"), SLICE_INIT("1")},
                                          {SLICE_INIT("X-Split"), SLICE_INIT("a\r\nX-Injected: b")},
                                          {SLICE_INIT("X-Long"), {value, sizeof value}}};
    http_respond(rig->held[0], 200, headers, 3, SLICE("body"));
    client_expect_end(rig, fd, &answer);
    assert_int_equal(count_of(&answer, "X-One: 1\r\n"), 1);
    assert_int_equal(count_of(&answer, "X-Injected"), 0);
    assert_int_equal(count_of(&answer, "X-Long: vvv"), 1);
    assert_int_equal(count_of(&answer, "Connection: close\r\n"), 1);
    assert_int_equal(count_of(&answer, "Content-Length: 4\r\n"), 1);
    assert_int_equal(count_of(&answer, "\r\n\r\nbody"), 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_head_request(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    client_send_str(rig, fd, "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n");
    client_expect(rig, fd, &answer, "GET /y", 1);
    assert_int_equal(count_of(&answer, "HEAD /x"), 0);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* ---- streams ---- */

static struct http_request *open_stream(struct rig *rig, int fd, const char *request)
{
    rig->mode = RIG_STREAM;
    client_send_str(rig, fd, request);
    rig_until(rig, rig->held_count == 1);
    return rig->held[0];
}

static void test_stream(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    struct http_request *r = open_stream(rig, fd, GET);
    client_expect(rig, fd, &answer, "Transfer-Encoding: chunked\r\n\r\n", 1); /* before there is any piece */
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(http_stream_write(r, SLICE("piece\n")), OK);
        client_expect(rig, fd, &answer, "6\r\npiece\n\r\n", i);
    }
    assert_int_equal(http_stream_write(r, SLICE("and\n")), OK);
    http_stream_end(r);
    client_expect(rig, fd, &answer, "4\r\nand\n\r\n0\r\n\r\n", 1);
    rig_until(rig, rig->closes == 1);
    rig->mode = RIG_ACCEPT;
    client_send_str(rig, fd, GET);
    client_expect(rig, fd, &answer, "HTTP/1.1 202 ", 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_stream_http_1_0(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    struct http_request *r = open_stream(rig, fd, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(http_stream_write(r, SLICE("one\n")), OK);
    client_expect(rig, fd, &answer, "\r\n\r\none\n", 1);
    http_stream_end(r);
    client_expect_end(rig, fd, &answer);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_stream_slow_reader(void **state)
{
    (void)state;
    struct rig *rig = rig_open(&(struct http_server_options){.body_timeout_ns = 20 * NS_PER_S});
    struct buf answer;
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    struct http_request *r = open_stream(rig, fd, GET);
    enum err e = OK;
    size_t written = 0;
    for (int i = 0; e == OK && i < 10000; i++) {
        e = http_stream_write(r, slice_of(piece, sizeof piece));
        written += e == OK ? sizeof piece : 0;
        rig_turn(rig);
    }
    assert_int_equal(e, ERR_FULL);
    /* What was taken arrives whole when it reads again. */
    for (int i = 0; i < TURNS_MAX && count_of(&answer, "x") < written; i++) {
        client_read(fd, &answer);
        rig_turn(rig);
    }
    assert_int_equal(count_of(&answer, "x"), written);
    while (http_stream_write(r, slice_of(piece, sizeof piece)) == OK)
        rig_turn(rig);
    http_stream_end(r);
    assert_int_equal(rig->closes, 0);
    rig_advance(rig, 20 * NS_PER_S); /* one that never reads again is cut off */
    rig_until(rig, rig->closes == 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_stream_client_leaves(void **state)
{
    (void)state;
    for (int how = 0; how < 8; how++) {
        struct rig *rig = rig_open(NULL);
        int fd = client_open(rig);
        struct http_request *r = open_stream(rig, fd, GET);
        for (int i = 0; how & 1 && i < 10; i++)
            rig_turn(rig);
        if (how & 2)
            reset_connection(fd);
        else
            close(fd);
        enum err e = OK;
        for (int i = 0; rig->closes == 0 && i < 100; i++) {
            if (how & 4)
                e = http_stream_write(r, SLICE("x"));
            assert_true(e == OK || e == ERR_CLOSED);
            rig_turn(rig);
        }
        assert_int_equal(rig->closes, 1);
        rig_free(rig);
    }
}

/* ---- drain ---- */

static void test_drain(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf idle_answer, busy_answer;
    buf_init(&idle_answer, SIZE_MAX);
    buf_init(&busy_answer, SIZE_MAX);
    int idle = client_open(rig), busy = client_open(rig);
    client_send_str(rig, idle, GET);
    client_expect(rig, idle, &idle_answer, "HTTP/1.1 200 ", 1);
    rig->mode = RIG_HOLD;
    client_send_str(rig, busy, POST);
    rig_until(rig, rig->held_count == 1);
    http_server_drain(rig->server);
    client_expect_end(rig, idle, &idle_answer);
    assert_int_equal(http_server_busy(rig->server), 1);
    int late = client_open(rig);
    client_expect_end(rig, late, &idle_answer);
    http_respond(rig->held[0], 202, NULL, 0, SLICE(""));
    client_expect_end(rig, busy, &busy_answer);
    assert_int_equal(count_of(&busy_answer, "HTTP/1.1 202 "), 1);
    assert_int_equal(count_of(&busy_answer, "Connection: close\r\n"), 1);
    assert_int_equal(http_server_busy(rig->server), 0);
    close(idle);
    close(busy);
    close(late);
    buf_fini(&idle_answer);
    buf_fini(&busy_answer);
    rig_free(rig);
}

/* ---- many clients ---- */

/* As many clients as a turn of the loop takes events, fewer, and more, all at once. */
static void lock_step(size_t clients, enum rig_mode mode)
{
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    int *fds = calloc(clients, sizeof *fds);
    buf_init(&answer, SIZE_MAX);
    rig->mode = mode;
    for (size_t i = 0; i < clients; i++)
        fds[i] = client_open(rig);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < clients; i++)
            assert_int_equal(send(fds[i], POST, strlen(POST), 0), (ssize_t)strlen(POST));
        if (mode == RIG_HOLD) {
            rig_until(rig, rig->held_count == clients);
            for (size_t i = 0; i < clients; i++)
                http_respond(rig->held[i], 202, NULL, 0, SLICE(""));
        }
        for (size_t i = 0; i < clients; i++) {
            buf_clear(&answer);
            client_expect(rig, fds[i], &answer, "HTTP/1.1 202 ", 1);
        }
        rig_until(rig, rig->closes == clients * (size_t)(round + 1));
    }
    for (size_t i = 0; i < clients; i++)
        close(fds[i]);
    free(fds);
    buf_fini(&answer);
    rig_free(rig);
}

static void test_lock_step(void **state)
{
    (void)state;
    lock_step(127, RIG_ACCEPT);
    lock_step(128, RIG_ACCEPT);
    lock_step(128, RIG_DEFER);
    lock_step(256, RIG_ACCEPT);
    lock_step(256, RIG_HOLD);
}

static void test_connection_limit(void **state)
{
    (void)state;
    struct rig *rig = rig_open(&(struct http_server_options){.connections_max = 2});
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int one = client_open(rig), two = client_open(rig);
    client_send_str(rig, one, GET);
    client_send_str(rig, two, GET);
    client_expect(rig, two, &answer, "HTTP/1.1 200 ", 1);
    buf_clear(&answer);
    int three = client_open(rig);
    client_expect_end(rig, three, &answer);
    assert_int_equal(answer.len, 0);
    struct http_server_stats stats;
    http_server_stats(rig->server, &stats);
    assert_int_equal(stats.connections_accepted, 2);
    assert_int_equal(stats.connections_refused, 1);
    close(one);
    rig_until(rig, (http_server_stats(rig->server, &stats), stats.connections_open == 1));
    int four = client_open(rig);
    client_send_str(rig, four, GET);
    client_expect(rig, four, &answer, "HTTP/1.1 200 ", 1);
    close(two);
    close(three);
    close(four);
    buf_fini(&answer);
    rig_free(rig);
}

/* ---- the listener ---- */

static void test_listener_addresses(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    static const char *const good[] = {"127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0"};
    static const char *const bad[] = {
        "",           "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "::1:80", "no such host:80",
        "192.0.2.1:0"};
    struct diag d;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct http_listener *l = NULL;
        assert_int_equal(http_listener_open(rig->loop, good[i], &rig->server, 1, &l, &d), OK);
        struct buf answer;
        buf_init(&answer, SIZE_MAX);
        int port = rig->port;
        rig->port = atoi(strrchr(http_listener_address(l), ':') + 1);
        assert_int_not_equal(rig->port, 0);
        int fd = client_open(rig);
        client_send_str(rig, fd, GET);
        client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 1);
        close(fd);
        rig->port = port;
        buf_fini(&answer);
        http_listener_close(l);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_listener *l = NULL;
        d.text[0] = 0;
        assert_int_equal(http_listener_open(rig->loop, bad[i], &rig->server, 1, &l, &d), ERR_INVALID);
        assert_true(d.text[0] && !l);
    }
    struct http_listener *l = NULL;
    assert_int_equal(http_listener_open(rig->loop, http_listener_address(rig->listener), &rig->server, 1, &l, &d),
                     ERR_EXISTS);
    assert_non_null(strstr(d.text, "in use"));
    rig_free(rig);
}

/* Without descriptors accept fails while the socket stays readable: the loop must come to rest, and accept again later.
 */
static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct buf answer;
    buf_init(&answer, SIZE_MAX);
    int fd = client_open(rig);
    struct rlimit was, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    tight = was;
    tight.rlim_cur = (rlim_t)fd; /* one past those that are open, less the client's */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    rig_turn(rig);
    rig_turn(rig);
    bool rests = rig_rests(rig);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_true(rests);
    rig_advance(rig, NS_PER_S);
    client_send_str(rig, fd, GET);
    client_expect(rig, fd, &answer, "HTTP/1.1 200 ", 1);
    close(fd);
    buf_fini(&answer);
    rig_free(rig);
}

/* ---- several loops ---- */

#define LOOPS 3

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct http_server *server;
};

static void work_head(struct http_request *r, void *arg)
{
    (void)arg;
    http_request_allow_body(r, 100);
}

static void work_end(struct http_request *r)
{
    http_respond(r, 202, NULL, 0, SLICE(""));
}

static void *work(void *arg)
{
    struct worker *w = arg;
    enum err e = loop_run(w->loop);
    return (void *)(uintptr_t)e;
}

static void ask(int port, int times)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    for (int i = 0; i < times; i++) {
        char answer[1000] = "";
        assert_true(send(fd, POST, strlen(POST), 0) > 0);
        for (size_t n = 0; !strstr(answer, "\r\n\r\n");) {
            ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, 0);
            assert_true(got > 0);
            n += (size_t)got;
        }
        assert_non_null(strstr(answer, "HTTP/1.1 202 "));
    }
    close(fd);
}

static void test_loops(void **state)
{
    (void)state;
    struct worker control = {0}, workers[LOOPS] = {0};
    struct http_server *servers[LOOPS];
    struct http_listener *listener;
    struct diag d;
    const struct http_handler handler = {work_head, NULL, work_end, NULL};
    assert_int_equal(loop_new(clock_system(), 100, &control.loop), OK);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_new(clock_system(), 100, &workers[i].loop), OK);
        assert_int_equal(http_server_new(workers[i].loop, NULL, &handler, NULL, &workers[i].server), OK);
        servers[i] = workers[i].server;
    }
    assert_int_equal(http_listener_open(control.loop, "127.0.0.1:0", servers, LOOPS, &listener, &d), OK);
    int port = atoi(strrchr(http_listener_address(listener), ':') + 1);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    assert_int_equal(pthread_create(&control.thread, NULL, work, &control), 0);
    for (int i = 0; i < 4 * LOOPS; i++)
        ask(port, 10);
    loop_stop(control.loop);
    pthread_join(control.thread, NULL);
    /* One more is dealt and not yet taken when its loop stops. */
    http_listener_close(listener);
    for (int i = 0; i < LOOPS; i++) {
        struct http_server_stats stats;
        http_server_stats(servers[i], &stats);
        assert_int_equal(stats.connections_accepted, 4);
        assert_int_equal(stats.requests, 40);
        loop_stop(workers[i].loop);
        pthread_join(workers[i].thread, NULL);
        http_server_free(workers[i].server);
        loop_free(workers[i].loop);
    }
    loop_free(control.loop);
}

/* Dealt connections that lie in the mailbox of a loop that never runs again are closed, not leaked, whoever is freed
 * first. */
static void test_dealt_too_late(void **state)
{
    (void)state;
    struct rig *rig = rig_open(NULL);
    struct loop *idle;
    struct http_server *server;
    struct http_listener *listener;
    struct diag d;
    struct buf answer;
    const struct http_handler handler = {work_head, NULL, work_end, NULL};
    buf_init(&answer, SIZE_MAX);
    assert_int_equal(loop_new(clock_system(), 2, &idle), OK);
    assert_int_equal(http_server_new(idle, NULL, &handler, NULL, &server), OK);
    assert_int_equal(http_listener_open(rig->loop, "127.0.0.1:0", &server, 1, &listener, &d), OK);
    int own = rig->port;
    rig->port = atoi(strrchr(http_listener_address(listener), ':') + 1);
    int one = client_open(rig), two = client_open(rig), three = client_open(rig);
    client_expect_end(rig, three, &answer); /* the mailbox takes two letters */
    http_listener_close(listener);
    http_server_free(server);
    loop_free(idle);
    client_expect_end(rig, one, &answer);
    client_expect_end(rig, two, &answer);
    rig->port = own;
    close(one);
    close(two);
    close(three);
    buf_fini(&answer);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_later),
        cmocka_unit_test(test_answers_crosswise),
        cmocka_unit_test(test_leaves_at_every_byte),
        cmocka_unit_test(test_leaves_while_held),
        cmocka_unit_test(test_half_closed_client),
        cmocka_unit_test(test_never_reads_its_answer),
        cmocka_unit_test(test_free_amid_work),
        cmocka_unit_test(test_answer_headers),
        cmocka_unit_test(test_head_request),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_http_1_0),
        cmocka_unit_test(test_stream_slow_reader),
        cmocka_unit_test(test_stream_client_leaves),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_lock_step),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_listener_addresses),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_dealt_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
