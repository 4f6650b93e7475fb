/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of the HTTP client fails once, from its making to an answer that comes in pieces: each exchange ends
 * exactly once, or was never started, and nothing leaks. (libcurl's own allocations are not counted.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../lib/fault.h"
#include "../lib/http_peer.h"

static struct peer peer;

#define BODY_BYTES 200000 /* more than is received at once */

static void answer_at_length(struct peer *p)
{
    static char large[BODY_BYTES];
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd))
        while (peer_read(p, fd) && peer_write(p, fd, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"))
            peer_write_bytes(p, fd, large, sizeof(large));
}

/* As ask_done, but allocates nothing. */
static void note(struct http_exchange *exchange, enum err err, const struct http_response *r, const char *detail)
{
    struct ask *x = container_of(exchange, struct ask, exchange);
    assert_false(x->done);
    assert_non_null(detail);
    x->done = true;
    x->err = err;
    x->body_len = r ? r->body.len : 0;
}

static enum err body(struct http_client **client, struct loop *loop, struct ask *x)
{
    struct http_url url;
    struct http_origin *o;
    char text[60];
    enum err e = http_client_new(loop, &(struct http_client_options){.ca_file = "ca", .proxy = NULL}, client);
    if (e)
        return e;
    snprintf(text, sizeof(text), "http://127.0.0.1:%u", peer.port);
    e = http_url_parse(slice_str(text), &url, NULL);
    if (e)
        return e;
    e = http_origin_get(*client, &url, SLICE(""), &o);
    http_url_fini(&url);
    if (e)
        return e;
    x->exchange.done = note;
    x->exchange.head = SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    x->exchange.body_max = 300000;
    e = http_exchange_start(o, &x->exchange);
    http_origin_unref(o); /* the exchange has its own reference */
    if (e)
        return e;
    ask_wait(x);
    assert_true(x->err != OK || x->body_len == BODY_BYTES);
    return x->err;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned faults = 0;
    alarm(60);
    peer_start(&peer, answer_at_length, NULL);
    for (unsigned n = 1;; n++) {
        struct asker a = {0};
        struct ask x = {.asker = &a};
        assert_int_equal(loop_new(clock_system(), 1, &a.loop), OK);
        fault_arm(n);
        enum err e = body(&a.client, a.loop, &x);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        asker_fini(&a);
        if (!fired)
            break;
        faults++;
    }
    assert_true(faults >= 6); /* client, file name, URL, origin, connection, answer */
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
