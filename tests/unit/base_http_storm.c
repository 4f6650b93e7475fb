/* SPDX-License-Identifier: Apache-2.0
 *
 * Many exchanges with servers that answer, break off, stall, lie and hang up as a seed has it, while a third of
 * the exchanges is withdrawn or has too little time: each ends exactly once or never, and at the end nothing is under
 * way and nothing leaked. The sanitizers look for the rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../lib/http_peer.h"

#define PEERS 4
#define SLOTS 40
#define ENDED 1500

static unsigned next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*seed >> 33);
}

static void be_moody(struct peer *p)
{
    static const char *const moods[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nless",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n",
    };
    uint64_t seed = (uint64_t)p->port;
    for (int fd; (fd = peer_accept(p)) >= 0; close(fd))
        while (next_random(&seed) % 8 && peer_read(p, fd)) {
            const char *answer = moods[next_random(&seed) % (sizeof(moods) / sizeof(moods[0]))];
            size_t len = strlen(answer), first = next_random(&seed) % 4 ? len : next_random(&seed) % len;
            if (!peer_write_bytes(p, fd, answer, first) || !peer_write_bytes(p, fd, answer + first, len - first))
                break;
        }
}

static struct asker asker;
static struct ask slots[SLOTS];
static bool running[SLOTS];
static char *large;

static void settle(int i)
{
    if (running[i] && slots[i].done) {
        ask_fini(&slots[i]);
        running[i] = false;
    }
}

static void start(int i, struct http_origin *o, uint64_t *seed)
{
    size_t len = next_random(seed) % 20 ? next_random(seed) % 3000 : 3 << 20;
    ask_post(&asker, &slots[i], i, slice_of(large, len));
    slots[i].exchange.body_max = next_random(seed) % 5;
    slots[i].exchange.timeout_ns = next_random(seed) % 6 ? 10 * NS_PER_S : next_random(seed) % 2000000;
    slots[i].exchange.timeout_ns += slots[i].exchange.timeout_ns == 0;
    running[i] = http_exchange_start(o, &slots[i].exchange) == OK;
}

static void everything_ends_once(void **state)
{
    (void)state;
    struct peer peers[PEERS];
    struct http_origin *origins[PEERS + 1];
    uint64_t seed = 7;
    alarm(60);
    large = calloc(1, 3 << 20);
    assert_non_null(large);
    asker_init(&asker,
               &(struct http_client_options){.connections_max = 3, .waiting_max = 8, .idle_timeout_ns = NS_PER_MS});
    for (int i = 0; i < PEERS; i++) {
        peer_start(&peers[i], be_moody, NULL);
        origins[i] = asker_origin(&asker, "http", "127.0.0.1", peers[i].port);
    }
    origins[PEERS] = asker_origin(&asker, "http", "127.0.0.1", 9);
    while (asker.finished < ENDED) {
        int i = (int)(next_random(&seed) % SLOTS);
        settle(i);
        if (!running[i]) {
            start(i, origins[next_random(&seed) % (PEERS + 1)], &seed);
        } else if (next_random(&seed) % 4 == 0) {
            http_exchange_cancel(&slots[i].exchange);
            running[i] = false;
            assert_false(slots[i].done);
        }
        assert_int_equal(loop_turn(asker.loop, next_random(&seed) % 3 ? 0 : NS_PER_MS / 4), OK);
    }
    for (int i = 0; i < SLOTS; i++) {
        settle(i);
        if (running[i] && i % 2)
            http_exchange_cancel(&slots[i].exchange);
        running[i] = running[i] && i % 2 == 0;
    }
    http_client_free(asker.client); /* ends the rest */
    asker.client = NULL;
    for (int i = 0; i < SLOTS; i++) {
        assert_true(!running[i] || slots[i].done);
        settle(i);
    }
    for (int i = 0; i <= PEERS; i++)
        http_origin_unref(origins[i]);
    asker_fini(&asker);
    for (int i = 0; i < PEERS; i++)
        peer_stop(&peers[i]);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_ends_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
