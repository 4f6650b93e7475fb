/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP client against servers that misbehave: each is a thread that runs a short script (tests/lib/http_peer.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>

#include "../lib/http_peer.h"

#define ANSWER "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
#define MS NS_PER_MS
#define ALARM_S 60

static struct asker asker;
static struct peer peer;
static struct http_origin *origin;

/* A client with these options, and a peer that runs this script. */
static void set_up(peer_fn *script, const char *arg, const struct http_client_options *options)
{
    alarm(ALARM_S);
    peer_start(&peer, script, (void *)(uintptr_t)arg);
    asker_init(&asker, options);
    origin = asker_origin(&asker, "http", "127.0.0.1", peer.port);
}

static void tear_down(void)
{
    http_origin_unref(origin);
    asker_fini(&asker);
    peer_stop(&peer);
}

/* One exchange with this script; the client and the peer are gone afterwards. */
static struct ask ask_once(peer_fn *script, const char *arg)
{
    struct ask x;
    set_up(script, arg, NULL);
    ask_prepare(&asker, &x);
    x.exchange.body_max = 100;
    ask_run(origin, &x);
    tear_down();
    return x;
}

static void assert_failed(const struct ask *x, enum err err, const char *words)
{
    if (x->err != err || !strstr(x->detail, words))
        print_error("%s: %s\n", err_name(x->err), x->detail);
    assert_int_equal(x->err, err);
    assert_non_null(strstr(x->detail, words));
}

/* ---- the ordinary ---- */

static void one_connection_carries_many_exchanges(void **state)
{
    (void)state;
    struct ask x;
    set_up(peer_answer_all, ANSWER, NULL);
    for (int i = 0; i < 100; i++) {
        ask_post(&asker, &x, i, SLICE("body"));
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        assert_int_equal(x.status, 202);
        assert_string_equal(x.body, "ok");
        ask_fini(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    assert_int_equal(atomic_load(&peer.requests), 100);
    tear_down();
    assert_string_equal(peer.last, "POST /99 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
}

static void note_order(struct peer *p)
{
    char *order = p->arg;
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd))
        while (peer_read(p, fd)) {
            strncat(order, p->last + strlen("POST /"), 1);
            peer_write(p, fd, ANSWER);
        }
}

static void when_all_are_busy_exchanges_wait_in_order(void **state)
{
    (void)state;
    struct ask x[6];
    char order[10] = "";
    set_up(note_order, order, &(struct http_client_options){.connections_max = 1, .waiting_max = 5});
    for (int i = 0; i < 5; i++) {
        ask_post(&asker, &x[i], i, SLICE(""));
        assert_int_equal(http_exchange_start(origin, &x[i].exchange), OK);
    }
    ask_post(&asker, &x[5], 5, SLICE(""));
    assert_int_equal(http_exchange_start(origin, &x[5].exchange), ERR_FULL);
    struct http_client_stats s;
    http_client_stats(asker.client, &s);
    assert_int_equal(s.exchanges_waiting, 5);
    assert_int_equal(s.exchanges_under_way, 5);
    for (int i = 0; i < 5; i++) {
        ask_wait(&x[i]);
        assert_int_equal(x[i].turn, i + 1);
        ask_fini(&x[i]);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    tear_down();
    assert_string_equal(order, "01234");
}

/* Answers the requests of several connections at once, as they come; p->arg: how many must be there before the first
 * answer. */
static void answer_together(struct peer *p)
{
    struct pollfd f[66] = {{.fd = p->stop, .events = POLLIN}, {.fd = p->listener, .events = POLLIN}};
    nfds_t count = 2;
    int waiting[64], ready = 0, want = atoi(p->arg);
    while (poll(f, count, -1) > 0 && !f[0].revents) {
        if (f[1].revents)
            f[count++] = (struct pollfd){.fd = peer_accept(p), .events = POLLIN};
        for (nfds_t i = 2; i < count; i++)
            if (f[i].revents && peer_read(p, f[i].fd))
                waiting[ready++] = f[i].fd;
            else if (f[i].revents)
                f[i].events = 0, f[i].fd = ~f[i].fd;
        for (int i = 0; i < ready && ready >= want; i++)
            peer_write(p, waiting[i], ANSWER);
        if (ready >= want)
            ready = 0, want = 1;
    }
    for (nfds_t i = 2; i < count; i++)
        close(f[i].fd < 0 ? ~f[i].fd : f[i].fd);
}

static void no_more_connections_are_opened_than_allowed(void **state)
{
    (void)state;
    struct ask x[40];
    set_up(answer_together, "4", &(struct http_client_options){.connections_max = 4});
    for (int i = 0; i < 40; i++) {
        ask_post(&asker, &x[i], i, SLICE("abc"));
        assert_int_equal(http_exchange_start(origin, &x[i].exchange), OK);
    }
    for (int i = 0; i < 40; i++) {
        ask_wait(&x[i]);
        assert_int_equal(x[i].err, OK);
        ask_fini(&x[i]);
    }
    assert_int_equal(atomic_load(&peer.accepted), 4);
    assert_int_equal(asker_open(&asker), 4);
    tear_down();
}

static void a_connection_unused_is_closed(void **state)
{
    (void)state;
    struct ask x[2];
    set_up(answer_together, "2", &(struct http_client_options){.idle_timeout_ns = 30 * MS});
    for (int i = 0; i < 2; i++) {
        ask_prepare(&asker, &x[i]);
        assert_int_equal(http_exchange_start(origin, &x[i].exchange), OK);
    }
    ask_wait(&x[0]);
    ask_wait(&x[1]);
    while (asker_open(&asker))
        asker_turn(&asker);
    ask_fini(&x[0]);
    ask_fini(&x[1]);
    ask_prepare(&asker, &x[0]);
    ask_run(origin, &x[0]);
    assert_int_equal(x[0].err, OK);
    assert_int_equal(atomic_load(&peer.accepted), 3);
    ask_fini(&x[0]);
    tear_down();
}

static void a_redirect_is_an_answer_and_is_not_followed(void **state)
{
    (void)state;
    struct ask x =
        ask_once(peer_answer_all, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(x.status, 302);
    assert_int_equal(x.headers, 2);
    ask_fini(&x);
}

/* ---- when a connection may be used on ---- */

static int connections_for_two(const char *answer)
{
    struct ask x;
    set_up(peer_answer_and_close, answer, NULL);
    for (int i = 0; i < 2; i++) {
        ask_prepare(&asker, &x);
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        ask_fini(&x);
        assert_int_equal(asker_open(&asker), 0);
    }
    int n = atomic_load(&peer.accepted);
    assert_int_equal(x.exchange.retried, false);
    tear_down();
    return n;
}

static void connection_close_and_http_1_0_are_honoured(void **state)
{
    (void)state;
    assert_int_equal(connections_for_two("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), 2);
    assert_int_equal(connections_for_two("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), 2);
    assert_int_equal(connections_for_two("HTTP/1.1 200 OK\r\n\r\nup to the end"), 2);
    assert_int_equal(connections_for_two("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nand more"), 2);
    assert_int_equal(connections_for_two("HTTP/1.1 204 No Content\r\n\r\nbut a body"), 2);
}

static void speak_unasked(struct peer *p)
{
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd)) {
        if (!peer_read(p, fd) || !peer_write(p, fd, ANSWER))
            continue;
        char go;
        struct pollfd f = {.fd = fd, .events = POLLIN};
        if (poll(&f, 1, 0) == 0 && read(*(int *)p->arg, &go, 1) == 1)
            peer_write(p, fd, "HTTP/1.1 408 Too Slow\r\nContent-Length: 0\r\n\r\n");
        peer_read_end(p, fd);
    }
}

static void an_idle_connection_that_speaks_is_closed(void **state)
{
    (void)state;
    int pipes[2];
    struct ask x;
    assert_int_equal(pipe(pipes), 0);
    set_up(speak_unasked, (char *)&pipes[0], NULL);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    ask_fini(&x);
    assert_int_equal(asker_open(&asker), 1);
    assert_int_equal(write(pipes[1], "g", 1), 1);
    while (asker_open(&asker))
        asker_turn(&asker);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_int_equal(x.status, 202);
    ask_fini(&x);
    close(pipes[1]);
    tear_down();
    close(pipes[0]);
}

/* ---- retry ---- */

/* Each connection: the number of answers that p->arg's next digit says; the request after those is read and the
 * connection closed. */
static void answer_some(struct peer *p)
{
    const char *plan = p->arg;
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd)) {
        for (int left = *plan ? *plan++ - '0' : 0; peer_read(p, fd) && left > 0; left--)
            peer_write(p, fd, ANSWER);
    }
}

static void a_request_unanswered_on_a_reused_connection_is_sent_once_more(void **state)
{
    (void)state;
    struct ask x;
    set_up(answer_some, "12", NULL);
    for (int i = 1; i <= 3; i++) {
        ask_post(&asker, &x, i, SLICE("data"));
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        ask_fini(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 2);
    assert_int_equal(atomic_load(&peer.requests), 4); /* the second came twice */
    tear_down();
}

static void it_is_sent_once_more_and_no_more(void **state)
{
    (void)state;
    struct ask x;
    set_up(answer_some, "10", NULL);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_int_equal(x.err, OK);
    ask_fini(&x);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "closed the connection without an answer");
    assert_int_equal(atomic_load(&peer.requests), 3);
    tear_down();
}

static void on_a_new_connection_there_is_no_second_try(void **state)
{
    (void)state;
    set_up(answer_some, "0", NULL);
    struct ask x;
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "closed the connection without an answer");
    assert_int_equal(atomic_load(&peer.requests), 1);
    tear_down();
}

static void answer_then_break_off(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd) && peer_write(p, fd, ANSWER) && peer_read(p, fd))
        peer_write(p, fd, "HTTP/1.1 2");
    close(fd);
}

static void a_request_answered_in_part_is_not_sent_again(void **state)
{
    (void)state;
    struct ask x;
    set_up(answer_then_break_off, NULL, NULL);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    ask_fini(&x);
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "in the middle of its answer");
    assert_int_equal(atomic_load(&peer.requests), 2);
    tear_down();
}

/* ---- hostile answers ---- */

static void bad_answers_end_the_exchange(void **state)
{
    (void)state;
    struct ask x = ask_once(peer_answer_all, "SSH-2.0-OpenSSH\r\n");
    assert_failed(&x, ERR_PROTOCOL, "is no HTTP: it does not begin with HTTP/1.");
    x = ask_once(peer_answer_all, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    assert_failed(&x, ERR_PROTOCOL, "a chunk's size is malformed");
    x = ask_once(peer_answer_all, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    assert_failed(&x, ERR_PROTOCOL, "two Content-Length");
    x = ask_once(peer_answer_and_close, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
    assert_failed(&x, ERR_UNAVAILABLE, "in the middle of its answer");
}

static void write_headers_without_end(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd) && peer_write(p, fd, "HTTP/1.1 200 OK\r\nX: "))
        while (peer_write(
            p, fd, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"))
            ;
    close(fd);
}

static void endless_headers_are_refused(void **state)
{
    (void)state;
    struct ask x = ask_once(write_headers_without_end, NULL);
    assert_failed(&x, ERR_PROTOCOL, "larger than 64 KiB");
}

static void write_ten_gigabytes(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd) && peer_write(p, fd, "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"))
        while (peer_write(p, fd,
                          "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"))
            ;
    close(fd);
}

static void a_huge_body_is_cut_and_the_connection_closed(void **state)
{
    (void)state;
    struct ask x;
    set_up(write_ten_gigabytes, NULL, NULL);
    ask_prepare(&asker, &x);
    x.exchange.body_max = 300000;
    ask_run(origin, &x);
    assert_int_equal(x.err, OK);
    assert_true(x.body_cut);
    assert_int_equal(x.body_len, 300000);
    assert_int_equal(asker_open(&asker), 0);
    ask_fini(&x);
    tear_down();
}

static void write_bytewise(struct peer *p)
{
    int fd = peer_accept(p);
    while (fd >= 0 && peer_read(p, fd))
        for (const char *s = p->arg; *s && peer_write_bytes(p, fd, s, 1); s++)
            ;
    close(fd);
}

static void an_answer_in_single_bytes_is_read(void **state)
{
    (void)state;
    struct ask x;
    set_up(write_bytewise,
           "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
           "chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nA: b\r\n\r\n",
           NULL);
    for (int i = 0; i < 3; i++) {
        ask_prepare(&asker, &x);
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        assert_string_equal(x.body, "abcde");
        ask_fini(&x);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    tear_down();
}

/* ---- bodies in pieces ---- */

static struct {
    sem_t taken; /* posted for the first piece */
    char text[256];
    size_t len;
    int status;
} pieces;

static void take_piece(struct http_exchange *x, int status, struct slice piece)
{
    (void)x;
    assert_true(piece.len > 0 && pieces.len + piece.len < sizeof pieces.text);
    memcpy(pieces.text + pieces.len, piece.ptr, piece.len);
    pieces.len += piece.len;
    if (!pieces.status)
        sem_post(&pieces.taken);
    pieces.status = status;
}

/* What stands behind the '|' is sent when a piece of what stands before it has been taken. */
static void write_in_two(struct peer *p)
{
    int fd = peer_accept(p);
    const char *text = p->arg, *bar = strchr(text, '|');
    if (fd >= 0 && peer_read(p, fd) && peer_write_bytes(p, fd, text, (size_t)(bar - text))) {
        sem_wait(&pieces.taken);
        peer_write_bytes(p, fd, bar + 1, strlen(bar + 1));
    }
    close(fd);
}

/* More than body_max comes in all, and each byte once: in a piece, or at the end. */
static void a_body_may_be_taken_in_pieces(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nd|e\r\n5\r\nfghij\r\n0\r\n\r\n",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n|7\r\ndefghij\r\n0\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nabcdef|ghij",
        "HTTP/1.1 201 Created\r\n\r\nabcdef|ghij",
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct ask x;
        memset(&pieces, 0, sizeof pieces);
        assert_int_equal(sem_init(&pieces.taken, 0, 0), 0);
        set_up(write_in_two, answers[i], NULL);
        ask_prepare(&asker, &x);
        x.exchange.data = take_piece;
        x.exchange.body_max = 4;
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        assert_int_equal(pieces.status, 201);
        char all[300];
        snprintf(all, sizeof all, "%.*s%s", (int)pieces.len, pieces.text, x.body);
        assert_string_equal(all, "abcdefghij");
        ask_fini(&x);
        tear_down();
        sem_destroy(&pieces.taken);
    }
}

static void refuse_early(struct peer *p)
{
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd)) {
        char some[1000];
        if (peer_wait(p, fd, POLLIN) && recv(fd, some, sizeof(some), 0) > 0)
            peer_write(p, fd, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        struct pollfd f[2] = {{.fd = fd, .events = POLLRDHUP}, {.fd = p->stop, .events = POLLIN}};
        poll(f, 2, -1); /* without reading, until the client has closed */
    }
}

static void an_answer_may_come_before_the_request_was_sent(void **state)
{
    (void)state;
    size_t size = 32 << 20;
    char *body = calloc(1, size);
    struct ask x;
    assert_non_null(body);
    set_up(refuse_early, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        ask_post(&asker, &x, 1, slice_of(body, size));
        ask_run(origin, &x);
        assert_int_equal(x.err, OK);
        assert_int_equal(x.status, 413);
        assert_int_equal(asker_open(&asker), 0);
        ask_fini(&x);
    }
    tear_down();
    free(body);
}

static void sum_up(struct peer *p)
{
    static char bytes[1 << 16];
    int fd = peer_accept(p);
    size_t want = strtoul(p->arg, NULL, 10);
    uint64_t sum = 0;
    for (size_t got = 0; got < want && peer_wait(p, fd, POLLIN);) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + (unsigned char)bytes[i];
        got += n > 0 ? (size_t)n : want;
    }
    char answer[200], text[30];
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)sum);
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, text);
    peer_write(p, fd, answer);
    peer_read_end(p, fd);
    close(fd);
}

static void a_large_request_goes_out_whole(void **state)
{
    (void)state;
    size_t size = 20 << 20;
    char *body = malloc(size), want[30];
    assert_non_null(body);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)(i * 7 + i / 251);
    struct ask x;
    ask_post(&asker, &x, 1, slice_of(body, size));
    uint64_t sum = 0;
    for (size_t i = 0; i < x.exchange.head.len; i++)
        sum = sum * 31 + (unsigned char)x.head[i];
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + (unsigned char)body[i];
    snprintf(want, sizeof(want), "%zu", x.exchange.head.len + size);
    set_up(sum_up, want, NULL);
    ask_run(origin, &x);
    assert_int_equal(x.err, OK);
    assert_int_equal(strtoull(x.body, NULL, 10), sum);
    ask_fini(&x);
    tear_down();
    free(body);
}

/* ---- time ---- */

static void answer_once(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd) && peer_write(p, fd, p->arg))
        peer_read_end(p, fd);
    close(fd);
}

/* The connection is there already, so that it is the answer that is missing, however late this thread has its turn. */
static void silence_ends_in_a_timeout(void **state)
{
    (void)state;
    struct ask x, waits;
    set_up(answer_once, ANSWER, &(struct http_client_options){.connections_max = 1});
    ask_prepare(&asker, &x);
    ask_run(origin, &x);
    assert_int_equal(x.err, OK);
    ask_fini(&x);
    ask_prepare(&asker, &x);
    x.exchange.timeout_ns = 40 * MS;
    ask_prepare(&asker, &waits);
    waits.exchange.timeout_ns = 20 * MS;
    assert_int_equal(http_exchange_start(origin, &x.exchange), OK);
    assert_int_equal(http_exchange_start(origin, &waits.exchange), OK);
    ask_wait(&waits);
    assert_failed(&waits, ERR_TIMEOUT, "no connection to 127.0.0.1:");
    assert_non_null(strstr(waits.detail, "within 20 ms"));
    ask_wait(&x);
    assert_failed(&x, ERR_TIMEOUT, "no answer from 127.0.0.1:");
    assert_non_null(strstr(x.detail, "within 40 ms"));
    assert_int_equal(asker_open(&asker), 0);
    tear_down();
}

static void drip(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd))
        peer_write(p, fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell");
    peer_read_end(p, fd);
    close(fd);
}

/* The peer may be late with the part that it sends: then it is given more time. */
static void the_timeout_is_for_the_whole_answer(void **state)
{
    (void)state;
    struct ask x;
    uint64_t timeout_ns = 50 * MS;
    do {
        set_up(drip, NULL, NULL);
        ask_prepare(&asker, &x);
        x.exchange.timeout_ns = timeout_ns;
        ask_run(origin, &x);
        tear_down();
        timeout_ns *= 2;
    } while (!strstr(x.detail, "no whole answer") && timeout_ns < 20 * NS_PER_S);
    assert_failed(&x, ERR_TIMEOUT, "no whole answer from");
}

static void a_slow_origin_delays_no_other(void **state)
{
    (void)state;
    struct ask slow[100], quick;
    struct peer other;
    set_up(peer_be_silent, NULL, &(struct http_client_options){.connections_max = 2});
    peer_start(&other, peer_answer_all, (void *)(uintptr_t)ANSWER);
    struct http_origin *second = asker_origin(&asker, "http", "127.0.0.1", other.port);
    for (int i = 0; i < 100; i++) {
        ask_prepare(&asker, &slow[i]);
        assert_int_equal(http_exchange_start(origin, &slow[i].exchange), OK);
    }
    for (int i = 0; i < 50; i++) {
        ask_prepare(&asker, &quick);
        ask_run(second, &quick);
        assert_int_equal(quick.err, OK);
        ask_fini(&quick);
    }
    for (int i = 0; i < 100; i++) {
        assert_false(slow[i].done);
        http_exchange_cancel(&slow[i].exchange);
    }
    http_origin_unref(second);
    tear_down();
    peer_stop(&other);
}

static void lanes_of_an_origin_have_connections_of_their_own(void **state)
{
    (void)state;
    struct http_url url;
    struct http_origin *lanes[3];
    static const char *const names[] = {"/a", "/b", "/a"};
    set_up(peer_answer_all, ANSWER, NULL);
    assert_int_equal(http_url_parse(SLICE("http://127.0.0.1:9/a"), &url, NULL), OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(http_origin_get(asker.client, &url, slice_str(names[i]), &lanes[i]), OK);
    assert_ptr_not_equal(lanes[0], lanes[1]);
    assert_ptr_equal(lanes[0], lanes[2]);
    for (size_t i = 0; i < 3; i++)
        http_origin_unref(lanes[i]);
    http_url_fini(&url);
    tear_down();
}

/* ---- no connection ---- */

static void refused_connections_end_all_that_wait(void **state)
{
    (void)state;
    struct ask x[100];
    set_up(peer_be_silent, NULL, &(struct http_client_options){.connections_max = 4});
    struct http_origin *o = asker_origin(&asker, "http", "127.0.0.1", 9);
    for (int i = 0; i < 100; i++) {
        ask_prepare(&asker, &x[i]);
        assert_int_equal(http_exchange_start(o, &x[i].exchange), OK);
    }
    for (int i = 0; i < 100; i++) {
        ask_wait(&x[i]);
        assert_failed(&x[i], ERR_UNAVAILABLE, "connection refused by 127.0.0.1:9");
    }
    struct http_client_stats s;
    http_client_stats(asker.client, &s);
    assert_true(s.connections_opened <= 4); /* one refusal is not asked for a hundred times */
    assert_int_equal(s.connections_open, 0);
    http_origin_unref(o);
    tear_down();
}

static void a_name_that_does_not_exist_is_told(void **state)
{
    (void)state;
    struct ask x;
    set_up(peer_be_silent, NULL, NULL);
    struct http_origin *o = asker_origin(&asker, "http", "nowhere.invalid", 80);
    ask_prepare(&asker, &x);
    ask_run(o, &x);
    assert_failed(&x, ERR_UNAVAILABLE, "the name nowhere.invalid cannot be resolved");
    http_origin_unref(o);
    tear_down();
}

/* ---- withdrawing ---- */

static void what_is_canceled_never_ends(void **state)
{
    (void)state;
    struct ask first, second, third;
    set_up(peer_be_silent, NULL, &(struct http_client_options){.connections_max = 1});
    ask_prepare(&asker, &first);
    ask_prepare(&asker, &second);
    ask_prepare(&asker, &third);
    assert_int_equal(http_exchange_start(origin, &first.exchange), OK);
    assert_int_equal(http_exchange_start(origin, &second.exchange), OK);
    http_exchange_cancel(&second.exchange); /* waiting */
    while (!first.exchange.connection)
        asker_turn(&asker);
    http_exchange_cancel(&first.exchange); /* under way: its connection is closed, which ends the script */
    assert_int_equal(asker_open(&asker), 0);
    assert_int_equal(http_exchange_start(origin, &third.exchange), OK);
    http_exchange_cancel(&third.exchange); /* while it connects */
    assert_false(first.done || second.done || third.done);
    tear_down();
}

static void a_freed_client_ends_its_exchanges(void **state)
{
    (void)state;
    struct ask busy, waiting, late;
    set_up(peer_be_silent, NULL, &(struct http_client_options){.connections_max = 1});
    ask_prepare(&asker, &busy);
    ask_prepare(&asker, &waiting);
    assert_int_equal(http_exchange_start(origin, &busy.exchange), OK);
    assert_int_equal(http_exchange_start(origin, &waiting.exchange), OK);
    while (!busy.exchange.connection)
        asker_turn(&asker);
    http_client_free(asker.client);
    asker.client = NULL;
    assert_failed(&busy, ERR_CLOSED, "closing");
    assert_failed(&waiting, ERR_CLOSED, "closing");
    ask_prepare(&asker, &late);
    assert_int_equal(http_exchange_start(origin, &late.exchange), ERR_CLOSED);
    tear_down();
}

static void origins_are_shared_and_closed_with_their_last_user(void **state)
{
    (void)state;
    struct ask x;
    set_up(peer_answer_all, ANSWER, NULL);
    struct http_origin *again = asker_origin(&asker, "HTTP", "127.0.0.1", peer.port);
    assert_ptr_equal(again, origin);
    struct http_origin *other = asker_origin(&asker, "https", "127.0.0.1", peer.port);
    assert_ptr_not_equal(other, origin);
    http_origin_unref(other);
    ask_prepare(&asker, &x);
    ask_run(again, &x);
    ask_fini(&x);
    http_origin_unref(again);
    assert_int_equal(asker_open(&asker), 1);
    origin = http_origin_unref(origin);
    assert_int_equal(asker_open(&asker), 0);
    tear_down();
}

/* Starts the next from within done, as senders do, and another that it cancels there. */
struct chain {
    struct http_exchange exchange, other;
    struct http_origin *silent;
    int left;
};

static void never_done(struct http_exchange *x, enum err err, const struct http_response *r, const char *detail)
{
    (void)x, (void)err, (void)r, (void)detail;
    fail_msg("a canceled exchange ended");
}

static void chain_done(struct http_exchange *x, enum err err, const struct http_response *r, const char *detail)
{
    (void)r, (void)detail;
    struct chain *c = container_of(x, struct chain, exchange);
    assert_int_equal(err, OK);
    http_exchange_cancel(&c->other);
    if (--c->left > 0) {
        assert_int_equal(http_exchange_start(c->silent, &c->other), OK);
        assert_int_equal(http_exchange_start(origin, &c->exchange), OK);
    }
}

static void done_may_start_and_cancel(void **state)
{
    (void)state;
    struct peer silent;
    set_up(peer_answer_all, ANSWER, NULL);
    peer_start(&silent, peer_be_silent, NULL);
    struct chain c = {.left = 50, .silent = asker_origin(&asker, "http", "127.0.0.1", silent.port)};
    c.exchange =
        (struct http_exchange){.done = chain_done, .head = SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), .body_max = 10};
    c.other = c.exchange;
    c.other.done = never_done;
    assert_int_equal(http_exchange_start(c.silent, &c.other), OK);
    assert_int_equal(http_exchange_start(origin, &c.exchange), OK);
    while (c.left > 0)
        asker_turn(&asker);
    assert_int_equal(atomic_load(&peer.accepted), 1);
    http_origin_unref(c.silent);
    tear_down();
    peer_stop(&silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_connection_carries_many_exchanges),
        cmocka_unit_test(when_all_are_busy_exchanges_wait_in_order),
        cmocka_unit_test(no_more_connections_are_opened_than_allowed),
        cmocka_unit_test(a_connection_unused_is_closed),
        cmocka_unit_test(a_redirect_is_an_answer_and_is_not_followed),
        cmocka_unit_test(connection_close_and_http_1_0_are_honoured),
        cmocka_unit_test(an_idle_connection_that_speaks_is_closed),
        cmocka_unit_test(a_request_unanswered_on_a_reused_connection_is_sent_once_more),
        cmocka_unit_test(it_is_sent_once_more_and_no_more),
        cmocka_unit_test(on_a_new_connection_there_is_no_second_try),
        cmocka_unit_test(a_request_answered_in_part_is_not_sent_again),
        cmocka_unit_test(bad_answers_end_the_exchange),
        cmocka_unit_test(endless_headers_are_refused),
        cmocka_unit_test(a_huge_body_is_cut_and_the_connection_closed),
        cmocka_unit_test(an_answer_in_single_bytes_is_read),
        cmocka_unit_test(a_body_may_be_taken_in_pieces),
        cmocka_unit_test(an_answer_may_come_before_the_request_was_sent),
        cmocka_unit_test(a_large_request_goes_out_whole),
        cmocka_unit_test(silence_ends_in_a_timeout),
        cmocka_unit_test(the_timeout_is_for_the_whole_answer),
        cmocka_unit_test(a_slow_origin_delays_no_other),
        cmocka_unit_test(lanes_of_an_origin_have_connections_of_their_own),
        cmocka_unit_test(refused_connections_end_all_that_wait),
        cmocka_unit_test(a_name_that_does_not_exist_is_told),
        cmocka_unit_test(what_is_canceled_never_ends),
        cmocka_unit_test(a_freed_client_ends_its_exchanges),
        cmocka_unit_test(origins_are_shared_and_closed_with_their_last_user),
        cmocka_unit_test(done_may_start_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
