/* SPDX-License-Identifier: Apache-2.0
 *
 * CPU time of one HTTP exchange of the client, loop included, against a server thread on this machine. Not asserted.
 *     bench_client [exchanges] [in flight] [body bytes]
 */
#include <sys/resource.h>
#include <time.h>

#include "../lib/http_peer.h"

static const char answer[] =
    "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";

struct load {
    struct http_exchange exchange;
    struct http_origin *origin;
};

static long left, under_way;
static struct loop *loop;

static void done(struct http_exchange *exchange, enum err err, const struct http_response *r, const char *detail)
{
    struct load *x = container_of(exchange, struct load, exchange);
    if (err || r->status != 202) {
        fprintf(stderr, "failed: %s\n", detail);
        exit(1);
    }
    if (left > 0) {
        left--;
        if (http_exchange_start(x->origin, exchange))
            exit(1);
    } else if (--under_way == 0) {
        loop_stop(loop);
    }
}

/* Reads whatever a connection has, which is one request since the client waits for answers, and answers. */
static void serve(struct peer *p)
{
    static char bytes[1 << 20];
    struct pollfd f[1026] = {{.fd = p->stop, .events = POLLIN}, {.fd = p->listener, .events = POLLIN}};
    nfds_t count = 2;
    while (poll(f, count, -1) > 0 && !f[0].revents) {
        if (f[1].revents && count < 1026)
            f[count++] = (struct pollfd){.fd = peer_accept(p), .events = POLLIN};
        for (nfds_t i = 2; i < count; i++)
            if (f[i].revents && recv(f[i].fd, bytes, sizeof(bytes), 0) > 0)
                send(f[i].fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    }
    for (nfds_t i = 2; i < count; i++)
        close(f[i].fd);
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US;
}

/* Of the client's thread; *user: the part that is not the kernel's. */
static uint64_t thread_cpu_ns(uint64_t *user)
{
    struct rusage r;
    getrusage(RUSAGE_THREAD, &r);
    *user = timeval_ns(r.ru_utime);
    return *user + timeval_ns(r.ru_stime);
}

int main(int argc, char **argv)
{
    left = argc > 1 ? atol(argv[1]) : 300000;
    under_way = argc > 2 ? atol(argv[2]) : 32;
    size_t body_len = argc > 3 ? (size_t)atol(argv[3]) : 1024;
    struct peer p;
    struct asker a;
    char head[200], *body = calloc(1, body_len + 1);
    struct load *loads = calloc((size_t)under_way, sizeof(*loads));
    if (!body || !loads)
        return 1;
    peer_start(&p, serve, NULL);
    asker_init(&a, &(struct http_client_options){.connections_max = (unsigned)under_way});
    struct http_origin *o = asker_origin(&a, "http", "127.0.0.1", p.port);
    int head_len =
        snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n", body_len);
    loop = a.loop;
    long total = left + under_way;
    for (long i = 0; i < under_way; i++) {
        loads[i].origin = o;
        loads[i].exchange.done = done;
        loads[i].exchange.head = slice_of(head, (size_t)head_len);
        loads[i].exchange.body = slice_of(body, body_len);
        loads[i].exchange.body_max = 1 << 20;
        if (http_exchange_start(o, &loads[i].exchange))
            return 1;
    }
    uint64_t user_from, user, from = thread_cpu_ns(&user_from);
    if (loop_run(a.loop))
        return 1;
    uint64_t ns = thread_cpu_ns(&user) - from;
    struct http_client_stats stats;
    http_client_stats(a.client, &stats);
    printf("http client: %ld exchanges, %zu byte bodies, %llu connections: %llu ns CPU each, %llu of it user\n", total,
           body_len, (unsigned long long)stats.connections_opened, (unsigned long long)(ns / (uint64_t)total),
           (unsigned long long)((user - user_from) / (uint64_t)total));
    http_origin_unref(o);
    asker_fini(&a);
    peer_stop(&p);
    free(loads);
    free(body);
    return 0;
}
