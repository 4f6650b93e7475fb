/* SPDX-License-Identifier: Apache-2.0 */
/* ceload: posts CloudEvents over HTTP/1.1 keep-alive connections to a server on this machine and measures.
 *
 * --rate max   closed loop: each connection sends its next event when the answer to the last has come.
 * --rate R     open loop: event i is due at start + i/R; a free connection sends it then, and if none is
 *              free it waits. Its latency counts from when it was due, so a stalled server is charged for
 *              every event it held up (no coordinated omission).
 *
 * Event i has the id <run>-<i> and the extension sentns: CLOCK_MONOTONIC nanoseconds of its due time
 * (closed loop: of its sending). With --verify it asks a cesink afterwards what has arrived and compares
 * that, id by id, with what the server accepted (2xx). */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNS = 4096, MAX_PIPELINE = 256, ID_DIGITS = 10, TIME_DIGITS = 19 };

static struct {
    const char *target, *run, *host, *verify, *type, *source, *headers[16];
    int conns, size, subs, pipeline, n_headers, json;
    double rate, max_s, drain_s, drain_max_s; /* rate 0: max */
    uint64_t count;
    bool structured, quiet;
} opt = {.run = "r0",
         .type = "bench.event",
         .source = "/bench",
         .conns = 16,
         .size = 1024,
         .subs = 1,
         .pipeline = 1,
         .max_s = 30,
         .drain_s = 5,
         .drain_max_s = 60,
         .count = 10000};

struct url {
    struct sockaddr_in addr;
    char path[512], authority[128];
};

/* Only loopback is ever a target. */
static struct url parse_url(const char *s)
{
    struct url u = {.addr = {.sin_family = AF_INET}};
    if (strncmp(s, "http://", 7) != 0)
        die("ceload: not an http:// URL: %s", s);
    const char *h = s + 7, *slash = strchr(h, '/');
    size_t n = slash ? (size_t)(slash - h) : strlen(h);
    if (n >= sizeof u.authority || (slash && strlen(slash) >= sizeof u.path))
        die("ceload: URL too long");
    memcpy(u.authority, h, n);
    strcpy(u.path, slash ? slash : "/");
    char host[128];
    strcpy(host, u.authority);
    char *colon = strrchr(host, ':');
    int port = colon ? atoi(colon + 1) : 80;
    if (colon)
        *colon = 0;
    if (strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    if (inet_pton(AF_INET, host, &u.addr.sin_addr) != 1 || (ntohl(u.addr.sin_addr.s_addr) >> 24) != 127)
        die("ceload: only loopback addresses (127.x.x.x, localhost) are targets, not %s", host);
    u.addr.sin_port = htons((uint16_t)port);
    return u;
}

static struct url target;

/* ---- the request, one template whose id and time are patched ---- */
static char *req;
static size_t req_len, id_at, time_at;

static void put_digits(char *p, int width, uint64_t v)
{
    for (int i = width - 1; i >= 0; i--, v /= 10)
        p[i] = (char)('0' + v % 10);
}

static void build_request(void)
{
    size_t cap = (size_t)opt.size + 16384, n = 0;
    req = xrealloc(NULL, cap);
    char *body = xrealloc(NULL, cap);
    size_t body_len = 0, body_id = 0, body_time = 0;
    char zeros[32] = "0000000000000000000000000000000";
    if (opt.structured) {
        body_len += (size_t)sprintf(body, "{\"specversion\":\"1.0\",\"type\":\"%s\",\"source\":\"%s\",\"id\":\"%s-",
                                    opt.type, opt.source, opt.run);
        body_id = body_len;
        body_len += (size_t)sprintf(body + body_len, "%.*s\",\"sentns\":\"", ID_DIGITS, zeros);
        body_time = body_len;
        body_len += (size_t)sprintf(body + body_len,
                                    "%.*s\",\"datacontenttype\":\"application/json\",\"data\":", TIME_DIGITS, zeros);
    }
    /* the data: a JSON string of exactly --size bytes */
    for (int i = 0; i < opt.size; i++)
        body[body_len++] = i == 0 || i == opt.size - 1 ? '"' : (char)('a' + i % 26);
    if (opt.size == 1)
        body[body_len - 1] = '1';
    if (opt.structured)
        body[body_len++] = '}';

    n += (size_t)sprintf(req + n, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n", target.path,
                         opt.host ? opt.host : target.authority, body_len);
    for (int i = 0; i < opt.n_headers; i++)
        n += (size_t)snprintf(req + n, 1024, "%s\r\n", opt.headers[i]);
    if (opt.structured) {
        n += (size_t)sprintf(req + n, "Content-Type: application/cloudevents+json\r\n\r\n");
        id_at = n + body_id, time_at = n + body_time;
    } else {
        n += (size_t)sprintf(
            req + n,
            "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-type: %s\r\nce-source: %s\r\nce-id: %s-",
            opt.type, opt.source, opt.run);
        id_at = n;
        n += (size_t)sprintf(req + n, "%.*s\r\nce-sentns: ", ID_DIGITS, zeros);
        time_at = n;
        n += (size_t)sprintf(req + n, "%.*s\r\n\r\n", TIME_DIGITS, zeros);
    }
    memcpy(req + n, body, body_len);
    req_len = n + body_len;
    free(body);
}

/* ---- connections ---- */
struct conn {
    int fd;
    bool connecting, want_out;
    char *out; /* --pipeline requests at most */
    size_t out_len, out_pos;
    char in[16384];
    size_t in_len, skip; /* skip: bytes of a response body still to throw away */
    int inflight, first; /* a ring of what is on the wire, oldest first */
    uint64_t id[MAX_PIPELINE], since[MAX_PIPELINE];
    uint64_t retry_at;
};

static struct conn *conns;
static int ep, idle[MAX_CONNS], n_idle, n_down; /* idle: connections that can take one more request, last freed first */
static bool is_idle[MAX_CONNS];

static struct {
    uint64_t sent, answered, accepted, lost_conn, reconnects, status[600];
    uint64_t start, first_send, last_answer, max_backlog;
    struct hist latency;
} m;
static uint64_t *accepted_map;

static void make_idle(int i)
{
    if (!is_idle[i])
        is_idle[i] = true, idle[n_idle++] = i;
}
static int take_idle(void)
{
    while (n_idle) {
        int i = idle[--n_idle];
        is_idle[i] = false;
        if (conns[i].fd >= 0 && !conns[i].connecting && conns[i].inflight < opt.pipeline)
            return i;
    }
    return -1;
}

static void conn_open(int i)
{
    struct conn *c = &conns[i];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("ceload: socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->out_len = c->out_pos = c->in_len = c->skip = 0;
    c->inflight = c->first = 0;
    c->connecting = c->want_out = true;
    if (connect(c->fd, (struct sockaddr *)&target.addr, sizeof target.addr) != 0 && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        n_down++;
        c->retry_at = now_ns() + 20000000u;
        return;
    }
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)i});
}

/* The connection is gone: what was on the wire has no known fate and is not sent again. */
static void conn_lost(int i)
{
    struct conn *c = &conns[i];
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    n_down++;
    m.lost_conn += (uint64_t)c->inflight;
    m.answered += (uint64_t)c->inflight; /* settled, one way or the other */
    m.reconnects++;
    c->inflight = 0;
    c->retry_at = now_ns() + (c->connecting ? 20000000u : 0);
}

static void conn_flush(int i)
{
    struct conn *c = &conns[i];
    while (c->out_pos < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
        if (n > 0) {
            c->out_pos += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            if (!c->want_out) {
                c->want_out = true;
                epoll_ctl(ep, EPOLL_CTL_MOD, c->fd,
                          &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)i});
            }
            return;
        } else {
            conn_lost(i);
            return;
        }
    }
    c->out_pos = c->out_len = 0;
    if (c->want_out) {
        c->want_out = false;
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i});
    }
}

static void send_event(int i, uint64_t due)
{
    struct conn *c = &conns[i];
    uint64_t id = m.sent++;
    int slot = (c->first + c->inflight++) % opt.pipeline;
    c->id[slot] = id, c->since[slot] = due;
    put_digits(req + id_at, ID_DIGITS, id);
    put_digits(req + time_at, TIME_DIGITS, due);
    if (!m.first_send)
        m.first_send = now_ns();
    if (c->inflight < opt.pipeline)
        make_idle(i);
    if (c->out_len == 0) { /* the usual case: straight from the template */
        ssize_t n = send(c->fd, req, req_len, MSG_NOSIGNAL);
        if (n == (ssize_t)req_len)
            return;
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            conn_lost(i);
            return;
        }
        size_t done = n > 0 ? (size_t)n : 0;
        memcpy(c->out, req + done, req_len - done);
        c->out_len = req_len - done, c->out_pos = 0;
    } else {
        if (c->out_pos)
            memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos), c->out_len -= c->out_pos, c->out_pos = 0;
        memcpy(c->out + c->out_len, req, req_len);
        c->out_len += req_len;
    }
    conn_flush(i);
}

static void settle(int i, int status, uint64_t now)
{
    struct conn *c = &conns[i];
    uint64_t id = c->id[c->first], since = c->since[c->first];
    c->first = (c->first + 1) % opt.pipeline;
    c->inflight--;
    m.answered++;
    m.last_answer = now;
    m.status[status > 0 && status < 600 ? status : 0]++;
    if (status >= 200 && status < 300)
        m.accepted++, bitmap_set(accepted_map, id);
    hist_add(&m.latency, now - since);
    make_idle(i);
}

static void conn_read(int i)
{
    struct conn *c = &conns[i];
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_lost(i);
        return;
    }
    c->in_len += (size_t)n;
    uint64_t now = now_ns();
    size_t at = 0;
    bool close_after = false;
    while (at < c->in_len) {
        if (c->skip) {
            size_t k = c->skip < c->in_len - at ? c->skip : c->in_len - at;
            c->skip -= k, at += k;
            continue;
        }
        char *head = c->in + at;
        size_t avail = c->in_len - at;
        char *blank = memmem(head, avail, "\r\n\r\n", 4);
        if (!blank) {
            if (avail == sizeof c->in)
                die("ceload: response header over %zu bytes", sizeof c->in);
            break;
        }
        size_t head_len = (size_t)(blank - head) + 4;
        if (head_len < 12 || memcmp(head, "HTTP/1.", 7) != 0)
            die("ceload: not an HTTP response: %.*s", (int)(avail < 60 ? avail : 60), head);
        int status = (int)parse_u64(head + 9, head + 12, NULL);
        uint64_t length = 0;
        bool chunked = false, closing = head[7] == '0', has_length = false;
        struct header h;
        const char *line = memchr(head, '\n', head_len), *end = head + head_len;
        line = line ? line + 1 : NULL;
        while (line && (line = next_header(line, end, &h))) {
            if (HEADER_IS(&h, "content-length"))
                length = parse_u64(h.value, h.value + h.value_len, &has_length);
            else if (HEADER_IS(&h, "transfer-encoding"))
                chunked = has_token(h.value, h.value_len, "chunked");
            else if (HEADER_IS(&h, "connection"))
                closing = has_token(h.value, h.value_len, "close") ||
                          (closing && !has_token(h.value, h.value_len, "keep-alive"));
        }
        if (status >= 100 && status < 200) {
            at += head_len;
            continue;
        }
        size_t used = head_len;
        if (chunked) {
            size_t body_len;
            ssize_t k = chunked_body(head + head_len, avail - head_len, false, &body_len);
            if (k < 0)
                die("ceload: malformed chunked response");
            if (k == 0) {
                if (avail == sizeof c->in)
                    die("ceload: chunked response over %zu bytes", sizeof c->in);
                break;
            }
            used += (size_t)k;
        } else {
            size_t have = avail - head_len;
            size_t body = status == 204 || status == 304 ? 0 : (size_t)length;
            size_t take = body < have ? body : have;
            used += take;
            c->skip = body - take;
        }
        at += used;
        if (!c->inflight)
            die("ceload: an answer to no request");
        settle(i, status, now);
        if (closing) {
            close_after = true;
            break;
        }
    }
    if (at == c->in_len)
        c->in_len = 0;
    else if (at)
        memmove(c->in, c->in + at, c->in_len - at), c->in_len -= at;
    if (close_after)
        conn_lost(i);
}

/* ---- the run ---- */
static void run(void)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    conns = xrealloc(NULL, sizeof *conns * (size_t)opt.conns);
    memset(conns, 0, sizeof *conns * (size_t)opt.conns);
    for (int i = 0; i < opt.conns; i++)
        conns[i].out = xrealloc(NULL, req_len * (size_t)(opt.pipeline + 1)), conn_open(i);

    struct epoll_event ev[256];
    uint64_t stop = now_ns() + (uint64_t)(opt.max_s * 1e9), next_due = 0, give_up = 0;
    double period = opt.rate > 0 ? 1e9 / opt.rate : 0;
    bool sending = true;
    m.start = now_ns();
    for (;;) {
        uint64_t now = now_ns();
        if (sending && (m.sent >= opt.count || now >= stop))
            sending = false, give_up = now + 10000000000u;
        if (!sending && (m.answered >= m.sent || now >= give_up))
            break;
        if (sending && opt.rate > 0) {
            uint64_t due_count = (uint64_t)((double)(now - m.start) / period) + 1; /* events whose time has come */
            if (due_count > opt.count)
                due_count = opt.count;
            if (due_count > m.sent && due_count - m.sent - 1 > m.max_backlog)
                m.max_backlog = due_count - m.sent - 1;
            while (m.sent < due_count) {
                int i = take_idle();
                if (i < 0)
                    break;
                send_event(i, m.start + (uint64_t)((double)m.sent * period));
            }
            next_due = m.start + (uint64_t)((double)m.sent * period);
        } else if (sending) {
            int i;
            while (m.sent < opt.count && (i = take_idle()) >= 0)
                send_event(i, now_ns());
        }
        now = now_ns();
        uint64_t wait = 50000000u;
        if (sending && opt.rate > 0 && n_idle && m.sent < opt.count) {
            uint64_t w = next_due > now ? next_due - now : 0;
            if (w < wait)
                wait = w;
        }
        for (int i = 0; n_down && sending && i < opt.conns; i++)
            if (conns[i].fd < 0) {
                if (conns[i].retry_at <= now)
                    n_down--, conn_open(i);
                else if (conns[i].retry_at - now < wait)
                    wait = conns[i].retry_at - now;
            }
        struct timespec ts = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
        int n = epoll_pwait2(ep, ev, 256, &ts, NULL);
        for (int k = 0; k < n; k++) {
            int i = (int)ev[k].data.u32;
            struct conn *c = &conns[i];
            if (c->fd < 0)
                continue;
            if (c->connecting && (ev[k].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
                int err = 0;
                socklen_t len = sizeof err;
                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
                if (err) {
                    conn_lost(i);
                    continue;
                }
                c->connecting = false;
                conn_flush(i);
                make_idle(i);
                continue;
            }
            if (ev[k].events & EPOLLOUT)
                conn_flush(i);
            if (c->fd >= 0 && (ev[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                conn_read(i);
        }
    }
    for (int i = 0; i < opt.conns; i++)
        if (conns[i].fd >= 0)
            close(conns[i].fd);
}

/* ---- asking the sink ---- */
static char *http_get(const struct url *u, const char *path, size_t *len)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&u->addr, sizeof u->addr) != 0)
        die("ceload: cannot reach the sink at %s", u->authority);
    char head[700];
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, u->authority);
    if (send(fd, head, (size_t)n, MSG_NOSIGNAL) != n)
        die("ceload: cannot ask the sink");
    size_t cap = 1 << 16, got = 0;
    char *b = xrealloc(NULL, cap + 1);
    for (;;) {
        if (got == cap)
            b = xrealloc(b, (cap *= 2) + 1);
        ssize_t k = recv(fd, b + got, cap - got, 0);
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    close(fd);
    b[got] = 0;
    char *blank = memmem(b, got, "\r\n\r\n", 4);
    if (!blank || got < 12 || memcmp(b + 9, "200", 3) != 0)
        die("ceload: the sink did not answer %s", path);
    *len = got - (size_t)(blank + 4 - b);
    memmove(b, blank + 4, *len + 1);
    return b;
}

static double json_number(const char *s, const char *key)
{
    char k[64];
    snprintf(k, sizeof k, "\"%s\":", key);
    const char *p = strstr(s, k);
    return p ? atof(p + strlen(k)) : 0;
}

struct verdict {
    uint64_t deliveries, unique, duplicate, stray, lost, unasked, reordered;
    double last_ns;
    char latency[512];
};

static struct verdict verify(void)
{
    struct verdict v = {0};
    struct url u = parse_url(opt.verify);
    uint64_t want = m.accepted * (uint64_t)opt.subs, best = 0, start = now_ns(), since = start;
    char *s = NULL;
    size_t n;
    for (;;) { /* until everything has come, nothing more does for --drain seconds, or --drain-max are over */
        free(s);
        s = http_get(&u, "/stats", &n);
        uint64_t have = (uint64_t)json_number(s, "unique"), now = now_ns();
        if (have >= want)
            break;
        if (have > best)
            best = have, since = now;
        if ((double)(now - since) > opt.drain_s * 1e9 || (double)(now - start) > opt.drain_max_s * 1e9)
            break;
        poll(NULL, 0, 100);
    }
    if (want) { /* duplicates of the last events may still be on their way */
        poll(NULL, 0, 200);
        free(s);
        s = http_get(&u, "/stats", &n);
    }
    v.deliveries = (uint64_t)json_number(s, "received");
    v.unique = (uint64_t)json_number(s, "unique");
    v.duplicate = (uint64_t)json_number(s, "duplicate");
    v.stray = (uint64_t)json_number(s, "stray") + (uint64_t)json_number(s, "noid");
    v.last_ns = json_number(s, "last_ns");
    for (const char *p = s; (p = strstr(p, "\"reordered\":")); p += 12)
        v.reordered += (uint64_t)atof(p + 12);
    const char *l = strstr(s, "\"latency_us\":");
    if (l) {
        l += 13;
        const char *e = strchr(l, '}');
        if (e && (size_t)(e + 1 - l) < sizeof v.latency)
            memcpy(v.latency, l, (size_t)(e + 1 - l));
    }
    free(s);
    for (int k = 0; k < opt.subs; k++) {
        char path[64];
        snprintf(path, sizeof path, "/bitmap?sub=%d", k);
        uint64_t *map = (uint64_t *)http_get(&u, path, &n), bits = n * 8;
        for (uint64_t i = 0; i < m.sent; i++) {
            bool here = i < bits && bitmap_get(map, i), ok = bitmap_get(accepted_map, i);
            v.lost += ok && !here;
            v.unasked += here && !ok;
        }
        free(map);
    }
    return v;
}

static double cpu_seconds(void)
{
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    return (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
           1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--json") == 0) {
            opt.json = 1;
            continue;
        }
        if (strcmp(a, "--help") == 0 || !v)
            die("usage: ceload --target URL [--rate R|max] [--conns C] [--size BYTES] [--count N] [--mode "
                "binary|structured]\n"
                "              [--run TAG] [--host HOST] [--header 'K: V'] [--pipeline P] [--max-seconds S]\n"
                "              [--verify SINK-URL --subs N [--drain S] [--drain-max S]] [--json]");
        i++;
        if (strcmp(a, "--target") == 0)
            opt.target = v;
        else if (strcmp(a, "--rate") == 0)
            opt.rate = strcmp(v, "max") == 0 ? 0 : atof(v);
        else if (strcmp(a, "--conns") == 0)
            opt.conns = atoi(v);
        else if (strcmp(a, "--size") == 0)
            opt.size = atoi(v);
        else if (strcmp(a, "--count") == 0)
            opt.count = strtoull(v, NULL, 10);
        else if (strcmp(a, "--mode") == 0)
            opt.structured = strcmp(v, "structured") == 0;
        else if (strcmp(a, "--run") == 0)
            opt.run = v;
        else if (strcmp(a, "--host") == 0)
            opt.host = v;
        else if (strcmp(a, "--header") == 0)
            opt.n_headers < 16 ? (void)(opt.headers[opt.n_headers++] = v) : die("ceload: too many headers");
        else if (strcmp(a, "--pipeline") == 0)
            opt.pipeline = atoi(v);
        else if (strcmp(a, "--max-seconds") == 0)
            opt.max_s = atof(v);
        else if (strcmp(a, "--verify") == 0)
            opt.verify = v;
        else if (strcmp(a, "--subs") == 0)
            opt.subs = atoi(v);
        else if (strcmp(a, "--drain") == 0)
            opt.drain_s = atof(v);
        else if (strcmp(a, "--drain-max") == 0)
            opt.drain_max_s = atof(v);
        else
            die("ceload: unknown option %s", a);
    }
    if (!opt.target)
        die("ceload: --target is needed");
    if (opt.conns < 1 || opt.conns > MAX_CONNS || opt.size < 1 || opt.size > 64 << 20 || opt.pipeline < 1 ||
        opt.pipeline > MAX_PIPELINE || opt.count < 1 || opt.count > 100000000 || opt.subs < 0 || opt.subs > 128 ||
        opt.max_s <= 0 || opt.max_s > 600 || strlen(opt.run) > 60)
        die("ceload: an option is out of range");
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1ul);
    target = parse_url(opt.target);
    accepted_map = bitmap_new(opt.count);
    build_request();
    run();

    double cpu = cpu_seconds(), span = m.last_answer > m.first_send ? (double)(m.last_answer - m.first_send) / 1e9 : 0;
    struct verdict v = {0};
    if (opt.verify)
        v = verify();
    double e2e_span = v.last_ns > (double)m.first_send ? (v.last_ns - (double)m.first_send) / 1e9 : 0;
    double e2e_rate = e2e_span > 0 && opt.subs ? (double)v.unique / opt.subs / e2e_span : 0;
    char lat[512];
    hist_json(lat, sizeof lat, &m.latency);
    if (opt.json) {
        printf("{\"run\":\"%s\",\"sent\":%llu,\"unsent\":%llu,\"accepted\":%llu,\"lost_conn\":%llu,\"reconnects\":%llu,"
               "\"seconds\":%.3f,\"ingest_rate\":%.0f,"
               "\"max_backlog\":%llu,\"cpu_s\":%.3f,\"ingest_us\":%s,\"status\":{",
               opt.run, (unsigned long long)m.sent, (unsigned long long)(opt.count - m.sent),
               (unsigned long long)m.accepted, (unsigned long long)m.lost_conn, (unsigned long long)m.reconnects, span,
               span > 0 ? (double)m.accepted / span : 0, (unsigned long long)m.max_backlog, cpu, lat);
        bool comma = false;
        for (int i = 0; i < 600; i++)
            if (m.status[i])
                printf("%s\"%d\":%llu", comma ? "," : "", i, (unsigned long long)m.status[i]), comma = true;
        printf("}");
        if (opt.verify)
            printf(",\"subs\":%d,\"deliveries\":%llu,\"unique\":%llu,\"duplicate\":%llu,\"lost\":%llu,\"unasked\":%llu,"
                   "\"stray\":%llu,"
                   "\"reordered\":%llu,\"e2e_seconds\":%.3f,\"e2e_rate\":%.0f,\"delivery_us\":%s",
                   opt.subs, (unsigned long long)v.deliveries, (unsigned long long)v.unique,
                   (unsigned long long)v.duplicate, (unsigned long long)v.lost, (unsigned long long)v.unasked,
                   (unsigned long long)v.stray, (unsigned long long)v.reordered, e2e_span, e2e_rate,
                   v.latency[0] ? v.latency : "{}");
        printf("}\n");
    } else {
        printf("sent %llu  unsent %llu  accepted %llu  connection lost %llu  in %.3f s  = %.0f accepted/s  (client CPU "
               "%.2f s)\n",
               (unsigned long long)m.sent, (unsigned long long)(opt.count - m.sent), (unsigned long long)m.accepted,
               (unsigned long long)m.lost_conn, span, span > 0 ? (double)m.accepted / span : 0, cpu);
        printf("status");
        for (int i = 0; i < 600; i++)
            if (m.status[i])
                printf("  %d: %llu", i, (unsigned long long)m.status[i]);
        printf("\nanswer latency, us  %s\n", lat);
        if (opt.verify) {
            printf("deliveries %llu  unique %llu  duplicate %llu  lost %llu  not accepted yet delivered %llu  stray "
                   "%llu  reordered %llu\n",
                   (unsigned long long)v.deliveries, (unsigned long long)v.unique, (unsigned long long)v.duplicate,
                   (unsigned long long)v.lost, (unsigned long long)v.unasked, (unsigned long long)v.stray,
                   (unsigned long long)v.reordered);
            printf("first send to last delivery %.3f s  = %.0f events/s to each of %d\ndelivery latency, us  %s\n",
                   e2e_span, e2e_rate, opt.subs, v.latency);
        }
    }
    return m.accepted == opt.count && !v.lost ? 0 : 1;
}
