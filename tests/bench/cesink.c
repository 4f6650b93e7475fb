/* SPDX-License-Identifier: Apache-2.0 */
/* cesink: an HTTP sink that counts CloudEvents and measures how they arrive.
 *
 * Answers every POST with --status and an empty body. From each event it reads the id ("<run>-<n>")
 * and the extension sentns (CLOCK_MONOTONIC nanoseconds of the sender on this machine), from the
 * ce- headers in binary mode or from the JSON body in structured and batched mode.
 *
 *   GET /stats          the counters and the latency histogram as JSON
 *   GET /bitmap?sub=K   the raw bitmap of the event numbers that subscriber K has (little-endian words)
 *   GET /reset?run=TAG  clears everything; from then on only ids of that run count, others are "stray"
 *   GET /healthz        200
 *
 * A subscriber is named by the path /s<K>; without one it is the port's place among --ports. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_SUBS = 128, MAX_THREADS = 2, MAX_PORTS = 128, HEADER_MAX = 64 << 10, BODY_MAX = 64 << 20 };

static struct {
    int port, ports, status, fail_status, delay_ms, threads;
    uint64_t fail_every, max_id;
} opt = {.port = 28080, .ports = 1, .status = 202, .fail_status = 503, .threads = 1, .max_id = 8u << 20};

/* What the whole process counts; one set a thread so that threads do not share cache lines. */
struct counters {
    uint64_t requests, received, stray, noid, notime, rejected, bad, body_bytes, first_ns, last_ns;
    struct hist latency;
} __attribute__((aligned(64)));
static struct counters total[MAX_THREADS];

static struct sub {
    uint64_t received, unique, reordered, last_id;
    uint64_t *seen;
} __attribute__((aligned(64))) subs[MAX_SUBS];

static char run_tag[64];
static size_t run_len;
static uint64_t conns_open, conns_total, fail_tick;

struct conn {
    int fd, port_index;
    bool closing, dead, want_out;
    int pending; /* delayed responses not yet due */
    char *in, *out;
    size_t in_len, in_cap, out_len, out_cap, out_pos;
};

struct delayed {
    uint64_t due;
    struct conn *conn;
    int status;
};

struct worker {
    int index, epoll;
    pthread_t thread;
    struct delayed *queue; /* a ring: due times only grow, since the delay is one constant */
    size_t q_head, q_len, q_cap;
};

/* ---- responses ---- */
static void out_append(struct conn *c, const void *p, size_t n)
{
    if (c->out_len + n > c->out_cap) {
        c->out_cap = (c->out_len + n) * 2;
        c->out = xrealloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, p, n);
    c->out_len += n;
}

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    default:
        return "Status";
    }
}

static void respond(struct conn *c, int status, const char *type, const void *body, size_t n)
{
    char head[256];
    int len = status == 204 ? snprintf(head, sizeof head, "HTTP/1.1 204 No Content\r\n%s\r\n",
                                       c->closing ? "Connection: close\r\n" : "")
                            : snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\n%s%s%sContent-Length: %zu\r\n%s\r\n",
                                       status, reason(status), type ? "Content-Type: " : "", type ? type : "",
                                       type ? "\r\n" : "", n, c->closing ? "Connection: close\r\n" : "");
    out_append(c, head, (size_t)len);
    if (n)
        out_append(c, body, n);
}

static void conn_free(struct conn *c)
{
    free(c->in);
    free(c->out);
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    close(c->fd);
    RLX_ADD(&conns_open, (uint64_t)-1);
    if (!c->pending)
        conn_free(c);
}

/* Writes what is queued; false when the connection is gone. */
static bool conn_flush(struct worker *w, struct conn *c)
{
    while (c->out_pos < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
        if (n > 0) {
            c->out_pos += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!c->want_out) {
                c->want_out = true;
                epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd,
                          &(struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = c});
            }
            return true;
        } else {
            conn_close(c);
            return false;
        }
    }
    c->out_pos = c->out_len = 0;
    if (c->want_out) {
        c->want_out = false;
        epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c});
    }
    if (c->closing && !c->pending) {
        shutdown(c->fd, SHUT_WR);
        conn_close(c);
        return false;
    }
    return true;
}

/* ---- events ---- */
struct event {
    const char *id, *sent;
    size_t id_len, sent_len;
};

static void count_event(struct worker *w, int sub, const struct event *e, uint64_t now)
{
    struct counters *t = &total[w->index];
    if (!e->id_len) {
        RLX_ADD(&t->noid, 1);
        return;
    }
    size_t dash = e->id_len;
    while (dash > 0 && e->id[dash - 1] != '-')
        dash--;
    bool ok;
    uint64_t n = parse_u64(e->id + dash, e->id + e->id_len, &ok);
    size_t tag = dash ? dash - 1 : 0;
    if (!ok || n >= opt.max_id || (run_len && (tag != run_len || memcmp(e->id, run_tag, tag) != 0))) {
        RLX_ADD(&t->stray, 1);
        return;
    }
    if (!RLX_GET(&t->first_ns))
        RLX_SET(&t->first_ns, now);
    RLX_SET(&t->last_ns, now);
    RLX_ADD(&t->received, 1);
    struct sub *s = &subs[sub];
    RLX_ADD(&s->received, 1);
    if (!bitmap_set(s->seen, n)) {
        RLX_ADD(&s->unique, 1);
        if (n + 1 < RLX_GET(&s->last_id))
            RLX_ADD(&s->reordered, 1);
        else
            RLX_SET(&s->last_id, n + 1);
    }
    uint64_t sent = parse_u64(e->sent, e->sent + e->sent_len, &ok);
    if (ok && sent && sent <= now)
        hist_add(&t->latency, now - sent);
    else
        RLX_ADD(&t->notime, 1);
}

/* Walks JSON text far enough to find "id" and "sentns" of the object at depth 1, or of each object in
 * the array at depth 1. Good for well-formed input; never reads past the end. */
static void count_json(struct worker *w, int sub, const char *p, size_t n, uint64_t now)
{
    const char *end = p + n;
    int depth = 0, level = 0; /* level: the depth of an event's own members */
    bool expect_key = false;
    struct event e = {0};
    const char *key = NULL;
    size_t key_len = 0;
    while (p < end) {
        char ch = *p;
        if (ch == '"') {
            const char *s = ++p;
            while (p < end && *p != '"')
                p += *p == '\\' ? 2 : 1;
            if (p > end)
                p = end;
            if (level && depth == level) {
                if (expect_key) {
                    key = s, key_len = (size_t)(p - s);
                    expect_key = false;
                } else if (key) {
                    if (key_len == 2 && memcmp(key, "id", 2) == 0)
                        e.id = s, e.id_len = (size_t)(p - s);
                    else if (key_len == 6 && memcmp(key, "sentns", 6) == 0)
                        e.sent = s, e.sent_len = (size_t)(p - s);
                    key = NULL;
                }
            }
        } else if (ch == '{' || ch == '[') {
            depth++;
            if (ch == '{' && depth <= 2 && !level)
                level = depth;
            if (ch == '{' && depth == level) {
                e = (struct event){0};
                expect_key = true;
                key = NULL;
            }
        } else if (ch == '}' || ch == ']') {
            if (ch == '}' && depth == level)
                count_event(w, sub, &e, now);
            depth--;
        } else if (ch == ',' && depth == level) {
            expect_key = true;
            key = NULL;
        } else if (ch >= '0' && ch <= '9' && depth == level && key && key_len == 6 && memcmp(key, "sentns", 6) == 0) {
            const char *s = p;
            while (p < end && *p >= '0' && *p <= '9')
                p++;
            e.sent = s, e.sent_len = (size_t)(p - s);
            key = NULL;
            continue;
        }
        p++;
    }
    if (!level)
        RLX_ADD(&total[w->index].noid, 1);
}

/* ---- control requests ---- */
static void stats_json(struct conn *c)
{
    static struct hist all; /* only one control request at a time is expected; guarded below */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    memset(&all, 0, sizeof all);
    struct counters sum = {0};
    for (int i = 0; i < opt.threads; i++) {
        struct counters *t = &total[i];
        sum.requests += RLX_GET(&t->requests), sum.received += RLX_GET(&t->received), sum.stray += RLX_GET(&t->stray);
        sum.noid += RLX_GET(&t->noid), sum.notime += RLX_GET(&t->notime), sum.rejected += RLX_GET(&t->rejected);
        sum.bad += RLX_GET(&t->bad), sum.body_bytes += RLX_GET(&t->body_bytes);
        uint64_t first = RLX_GET(&t->first_ns), last = RLX_GET(&t->last_ns);
        if (first && (!sum.first_ns || first < sum.first_ns))
            sum.first_ns = first;
        if (last > sum.last_ns)
            sum.last_ns = last;
        hist_merge(&all, &t->latency);
    }
    uint64_t unique = 0, received = 0;
    size_t cap = 4096 + MAX_SUBS * 160, n = 0;
    char *b = xrealloc(NULL, cap), lat[512];
    for (int i = 0; i < MAX_SUBS; i++)
        unique += RLX_GET(&subs[i].unique), received += RLX_GET(&subs[i].received);
    hist_json(lat, sizeof lat, &all);
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    double cpu = (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
                 1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    n += (size_t)snprintf(
        b + n, cap - n,
        "{\"requests\":%llu,\"received\":%llu,\"unique\":%llu,\"duplicate\":%llu,\"stray\":%llu,\"noid\":%llu,"
        "\"notime\":%llu,\"rejected\":%llu,\"bad\":%llu,\"body_bytes\":%llu,\"first_ns\":%llu,\"last_ns\":%llu,"
        "\"conns_open\":%llu,\"conns_total\":%llu,\"cpu_s\":%.3f,\"latency_us\":%s,\"subs\":[",
        (unsigned long long)sum.requests, (unsigned long long)sum.received, (unsigned long long)unique,
        (unsigned long long)(received - unique), (unsigned long long)sum.stray, (unsigned long long)sum.noid,
        (unsigned long long)sum.notime, (unsigned long long)sum.rejected, (unsigned long long)sum.bad,
        (unsigned long long)sum.body_bytes, (unsigned long long)sum.first_ns, (unsigned long long)sum.last_ns,
        (unsigned long long)RLX_GET(&conns_open), (unsigned long long)RLX_GET(&conns_total), cpu, lat);
    bool comma = false;
    for (int i = 0; i < MAX_SUBS; i++) {
        struct sub *s = &subs[i];
        if (!RLX_GET(&s->received))
            continue;
        n += (size_t)snprintf(b + n, cap - n, "%s{\"sub\":%d,\"received\":%llu,\"unique\":%llu,\"reordered\":%llu}",
                              comma ? "," : "", i, (unsigned long long)RLX_GET(&s->received),
                              (unsigned long long)RLX_GET(&s->unique), (unsigned long long)RLX_GET(&s->reordered));
        comma = true;
    }
    n += (size_t)snprintf(b + n, cap - n, "]}\n");
    pthread_mutex_unlock(&lock);
    respond(c, 200, "application/json", b, n);
    free(b);
}

static const char *query_value(const char *path, size_t n, const char *name, size_t *len)
{
    const char *q = memchr(path, '?', n), *end = path + n;
    size_t k = strlen(name);
    while (q && q < end) {
        const char *p = q + 1, *amp = memchr(p, '&', (size_t)(end - p)), *stop = amp ? amp : end;
        if ((size_t)(stop - p) > k && memcmp(p, name, k) == 0 && p[k] == '=') {
            *len = (size_t)(stop - p) - k - 1;
            return p + k + 1;
        }
        q = amp;
    }
    *len = 0;
    return NULL;
}

static bool path_is(const char *path, size_t n, const char *what)
{
    size_t k = strlen(what);
    return n >= k && memcmp(path, what, k) == 0 && (n == k || path[k] == '?');
}

static void control(struct conn *c, const char *path, size_t n)
{
    size_t len;
    if (path_is(path, n, "/stats")) {
        stats_json(c);
    } else if (path_is(path, n, "/reset")) {
        const char *tag = query_value(path, n, "run", &len);
        if (len >= sizeof run_tag)
            len = sizeof run_tag - 1;
        if (tag)
            memcpy(run_tag, tag, len);
        run_len = tag ? len : 0;
        for (int i = 0; i < MAX_THREADS; i++)
            memset(&total[i], 0, sizeof total[i]);
        for (int i = 0; i < MAX_SUBS; i++) {
            subs[i].received = subs[i].unique = subs[i].reordered = subs[i].last_id = 0;
            bitmap_clear(subs[i].seen, opt.max_id);
        }
        fail_tick = 0;
        respond(c, 200, "text/plain", "ok\n", 3);
    } else if (path_is(path, n, "/bitmap")) {
        const char *v = query_value(path, n, "sub", &len);
        uint64_t k = v ? parse_u64(v, v + len, NULL) : 0;
        if (k < MAX_SUBS)
            respond(c, 200, "application/octet-stream", subs[k].seen, (opt.max_id + 63) / 64 * 8);
        else
            respond(c, 404, NULL, NULL, 0);
    } else if (path_is(path, n, "/healthz")) {
        respond(c, 200, "text/plain", "ok\n", 3);
    } else {
        respond(c, 404, NULL, NULL, 0);
    }
}

/* ---- requests ---- */
static void delay_response(struct worker *w, struct conn *c, int status, uint64_t now)
{
    if (w->q_len == w->q_cap) {
        size_t cap = w->q_cap ? w->q_cap * 2 : 1024;
        struct delayed *q = xrealloc(NULL, cap * sizeof *q);
        for (size_t i = 0; i < w->q_len; i++)
            q[i] = w->queue[(w->q_head + i) % w->q_cap];
        free(w->queue);
        w->queue = q, w->q_head = 0, w->q_cap = cap;
    }
    w->queue[(w->q_head + w->q_len++) % w->q_cap] =
        (struct delayed){now + (uint64_t)opt.delay_ms * 1000000u, c, status};
    c->pending++;
}

/* Handles one request at the start of `p`. Returns its length, 0 while incomplete, -1 to drop the connection. */
static ssize_t handle_request(struct worker *w, struct conn *c, char *p, size_t n, uint64_t now)
{
    size_t skip = 0;
    while (skip < n && (p[skip] == '\r' || p[skip] == '\n'))
        skip++; /* blank lines between requests */
    char *head = p + skip;
    size_t avail = n - skip;
    char *blank = memmem(head, avail, "\r\n\r\n", 4);
    if (!blank)
        return avail > HEADER_MAX ? -1 : 0;
    size_t head_len = (size_t)(blank - head) + 4;

    char *eol = memchr(head, '\r', head_len), *sp = memchr(head, ' ', (size_t)(eol - head));
    if (!sp)
        return -1;
    char *path = sp + 1, *sp2 = memchr(path, ' ', (size_t)(eol - path));
    if (!sp2)
        return -1;
    size_t path_len = (size_t)(sp2 - path);
    bool http10 = eol - sp2 >= 9 && memcmp(sp2 + 1, "HTTP/1.0", 8) == 0;

    struct event e = {0};
    struct header h;
    uint64_t length = 0;
    bool chunked = false, keep = !http10, expect = false, structured = false;
    const char *line = eol + 2, *end = head + head_len;
    while ((line = next_header(line, end, &h))) {
        if (!h.name_len)
            continue;
        switch (h.name[0] | 0x20) {
        case 'c':
            if (HEADER_IS(&h, "content-length")) {
                bool ok;
                length = parse_u64(h.value, h.value + h.value_len, &ok);
                if (!ok || length > BODY_MAX)
                    return -1;
            } else if (HEADER_IS(&h, "content-type")) {
                structured = h.value_len >= 23 && strncasecmp(h.value, "application/cloudevents", 23) == 0;
            } else if (HEADER_IS(&h, "connection")) {
                if (has_token(h.value, h.value_len, "close"))
                    keep = false;
                else if (has_token(h.value, h.value_len, "keep-alive"))
                    keep = true;
            } else if (HEADER_IS(&h, "ce-id")) {
                e.id = h.value, e.id_len = h.value_len;
            } else if (HEADER_IS(&h, "ce-sentns")) {
                e.sent = h.value, e.sent_len = h.value_len;
            }
            break;
        case 't':
            if (HEADER_IS(&h, "transfer-encoding"))
                chunked = has_token(h.value, h.value_len, "chunked");
            break;
        case 'e':
            if (HEADER_IS(&h, "expect"))
                expect = has_token(h.value, h.value_len, "100-continue");
            break;
        }
    }
    char *body = head + head_len;
    size_t rest = avail - head_len, body_len = (size_t)length, used = (size_t)length;
    if (chunked) {
        ssize_t k = chunked_body(body, rest, false, &body_len);
        if (k < 0 || (k == 0 && rest > BODY_MAX))
            return -1;
        if (k == 0) {
            if (expect && rest == 0)
                out_append(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            return 0;
        }
        if (structured)
            chunked_body(body, rest, true, &body_len);
        used = (size_t)k;
    } else if (rest < length) {
        if (expect && rest == 0)
            out_append(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        return 0;
    }

    struct counters *t = &total[w->index];
    if (!keep)
        c->closing = true;
    if (head[0] == 'G' && memcmp(head, "GET ", 4) == 0) {
        control(c, path, path_len);
        return (ssize_t)(skip + head_len + used);
    }
    RLX_ADD(&t->requests, 1);
    RLX_ADD(&t->body_bytes, body_len);
    int status = opt.status;
    if (memcmp(head, "POST", 4) != 0 && memcmp(head, "PUT ", 4) != 0) {
        RLX_ADD(&t->bad, 1);
        status = 400;
    } else if (opt.fail_every && RLX_ADD(&fail_tick, 1) % opt.fail_every == opt.fail_every - 1) {
        RLX_ADD(&t->rejected, 1);
        status = opt.fail_status;
    } else if (status < 200 || status > 299) {
        RLX_ADD(&t->rejected, 1);
    } else {
        int sub = c->port_index;
        if (path_len >= 3 && path[0] == '/' && path[1] == 's' && path[2] >= '0' && path[2] <= '9') {
            uint64_t k = parse_u64(path + 2, path + path_len, NULL);
            sub = k < MAX_SUBS ? (int)k : 0;
        }
        if (structured)
            count_json(w, sub, body, body_len, now);
        else
            count_event(w, sub, &e, now);
    }
    if (opt.delay_ms)
        delay_response(w, c, status, now);
    else
        respond(c, status, NULL, NULL, 0);
    return (ssize_t)(skip + head_len + used);
}

static void conn_read(struct worker *w, struct conn *c)
{
    bool eof = false;
    for (int rounds = 0; rounds < 4; rounds++) {
        if (c->in_cap - c->in_len < 4096) {
            c->in_cap = c->in_cap ? c->in_cap * 2 : 32 << 10;
            c->in = xrealloc(c->in, c->in_cap);
        }
        size_t room = c->in_cap - c->in_len;
        ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);
        if (n > 0) {
            c->in_len += (size_t)n;
            if ((size_t)n < room)
                break;
        } else if (n == 0) {
            eof = true;
            break;
        } else if (errno == EINTR) {
            continue;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else {
            conn_close(c);
            return;
        }
    }
    uint64_t now = now_ns();
    size_t at = 0;
    while (at < c->in_len && !c->closing) {
        ssize_t n = handle_request(w, c, c->in + at, c->in_len - at, now);
        if (n == 0)
            break;
        if (n < 0) {
            RLX_ADD(&total[w->index].bad, 1);
            c->closing = true;
            respond(c, 400, NULL, NULL, 0);
            break;
        }
        at += (size_t)n;
    }
    if (at == c->in_len || c->closing)
        c->in_len = 0;
    else if (at)
        memmove(c->in, c->in + at, c->in_len - at), c->in_len -= at;
    if (eof) {
        if (!c->pending && c->out_len == c->out_pos) {
            conn_close(c);
            return;
        }
        c->closing = true; /* answers are still owed: stop watching for input, or the level-triggered EOF spins */
        epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){.events = 0, .data.ptr = c});
    }
    if (c->out_len > c->out_pos || c->closing)
        conn_flush(w, c);
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0)
        die("cannot listen on 127.0.0.1:%d: %s", port, strerror(errno));
    return fd;
}

/* A listening socket is marked in epoll by the low bit of its data. */
static void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct epoll_event ev[256];
    for (;;) {
        int timeout = -1;
        if (w->q_len) {
            uint64_t due = w->queue[w->q_head].due, now = now_ns();
            timeout = due <= now ? 0 : (int)((due - now + 999999) / 1000000);
        }
        int n = epoll_wait(w->epoll, ev, 256, timeout);
        for (int i = 0; i < n; i++) {
            uint64_t data = ev[i].data.u64;
            if (data & 1) {
                int fd = (int)(data >> 1 & 0xffffff), index = (int)(data >> 32);
                for (int k = 0; k < 64; k++) {
                    int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
                    if (s < 0)
                        break;
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct conn *c = calloc(1, sizeof *c);
                    if (!c)
                        die("out of memory");
                    c->fd = s, c->port_index = index;
                    RLX_ADD(&conns_open, 1);
                    RLX_ADD(&conns_total, 1);
                    epoll_ctl(w->epoll, EPOLL_CTL_ADD, s,
                              &(struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c});
                }
                continue;
            }
            struct conn *c = ev[i].data.ptr;
            if (ev[i].events & EPOLLERR) {
                conn_close(c);
            } else {
                if ((ev[i].events & EPOLLOUT) && !conn_flush(w, c))
                    continue;
                if (ev[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
                    conn_read(w, c);
            }
        }
        if (w->q_len) {
            uint64_t now = now_ns();
            while (w->q_len && w->queue[w->q_head].due <= now) {
                struct delayed d = w->queue[w->q_head];
                w->q_head = (w->q_head + 1) % w->q_cap;
                w->q_len--;
                d.conn->pending--;
                if (d.conn->dead) {
                    if (!d.conn->pending)
                        conn_free(d.conn);
                } else {
                    respond(d.conn, d.status, NULL, NULL, 0);
                    conn_flush(w, d.conn);
                }
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--help") == 0 || !v)
            die("usage: cesink [--port P] [--ports N: listen on P..P+N-1] [--status S] [--delay-ms D] [--threads 1|2]\n"
                "              [--fail-every K --fail-status S: every K-th POST is refused] [--max-id N]");
        long long n = atoll(v);
        i++;
        if (strcmp(a, "--port") == 0)
            opt.port = (int)n;
        else if (strcmp(a, "--ports") == 0)
            opt.ports = (int)n;
        else if (strcmp(a, "--status") == 0)
            opt.status = (int)n;
        else if (strcmp(a, "--delay-ms") == 0)
            opt.delay_ms = (int)n;
        else if (strcmp(a, "--threads") == 0)
            opt.threads = (int)n;
        else if (strcmp(a, "--fail-every") == 0)
            opt.fail_every = (uint64_t)n;
        else if (strcmp(a, "--fail-status") == 0)
            opt.fail_status = (int)n;
        else if (strcmp(a, "--max-id") == 0)
            opt.max_id = (uint64_t)n;
        else
            die("cesink: unknown option %s", a);
    }
    if (opt.threads < 1 || opt.threads > MAX_THREADS || opt.ports < 1 || opt.ports > MAX_PORTS || opt.delay_ms < 0 ||
        opt.delay_ms > 600000)
        die("cesink: an option is out of range");
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < MAX_SUBS; i++)
        subs[i].seen = bitmap_new(opt.max_id);
    static struct worker workers[MAX_THREADS];
    for (int t = 0; t < opt.threads; t++) {
        struct worker *w = &workers[t];
        w->index = t;
        w->epoll = epoll_create1(EPOLL_CLOEXEC);
        for (int p = 0; p < opt.ports; p++) {
            int fd = listen_on(opt.port + p);
            epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd,
                      &(struct epoll_event){.events = EPOLLIN, .data.u64 = 1 | (uint64_t)fd << 1 | (uint64_t)p << 32});
        }
    }
    fprintf(stderr, "cesink: 127.0.0.1:%d..%d, status %d\n", opt.port, opt.port + opt.ports - 1, opt.status);
    for (int t = 1; t < opt.threads; t++)
        pthread_create(&workers[t].thread, NULL, worker_run, &workers[t]);
    worker_run(&workers[0]);
}
