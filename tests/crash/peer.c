/* SPDX-License-Identifier: Apache-2.0
 *
 * peer: what stands around a `leat serve` that is killed again and again: producers that send, a sink that sees all
 * deliveries, and the oracle that compares the two. It outlives the servers; real.py starts and kills those.
 *
 * An event is (run, producer, seq), and everything of it follows from that and the seed: type, key, size, bytes,
 * whether it is malformed, whether the sink refuses it for good. So the sink needs no copy to tell whether each byte is
 * right. Each producer has one connection and one request on it; what it was answered makes the event's fate:
 *
 *     accepted  2xx                          must come to each subscription whose filter lets it pass
 *     refused   4xx, 503                     must never come
 *     unknown   the connection broke, 5xx    may come, and then to all of them
 *
 * With `shared` the events lie on a system beside the server, which fails too: a 503 is then unknown as well, since
 * what was not acknowledged in time may have been kept all the same; and what was not settled there may come again
 * within a life, when the server was taken for dead. With `scattered` such a system keeps what it did not acknowledge
 * for each subscription by itself (an exchange of RabbitMQ writes to one queue after the other): then what is unknown
 * may come to some.
 *
 * A life is one server process; a run is what lies between two clean stops, with ids of its own, so that an event of an
 * earlier run that comes again was delivered twice by a server that had stopped cleanly.
 *
 * One thread, one epoll set. Commands come on standard input, a line each, and are answered on standard output with a
 * line of JSON; see `commands` below.
 */
#include "../bench/common.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PRODUCERS = 16, SUBS = 4, KEYS = 4, TYPES = 4, BODY_MAX = 32 << 10, ROOM = BODY_MAX + (16 << 10) };
enum { BREACHES_KEPT = 40, SETTLE_MS = 20000, REFUSED_PAUSE_MS = 5 };

/* The subscriptions, as real.py declares them. */
static const struct rule {
    const char *path;
    unsigned types; /* a bit for each type that its filter lets pass */
    bool ordered;   /* by key */
    unsigned fails; /* of a hundred answers, so many are a 503 */
    bool parks;     /* some events get a 400, always */
} rules[SUBS] = {
    {"/all", 0xf, true, 0, false},
    {"/flaky", 0x3, true, 10, false},
    {"/paused", 0x6, false, 0, false},
    {"/parking", 0x8, false, 0, true},
};

enum fate { SENT, ACCEPTED, REFUSED, UNKNOWN };

struct event {
    uint8_t fate;
    bool tried[SUBS];
    uint16_t ended[SUBS]; /* the life in which the sink ended it, with a 2xx or a 400; 0: not yet */
};

/* ---- events, all of which follow from their numbers ---- */

static uint64_t seed = 1;
static uint32_t run = 1, life;
static bool shared, scattered;

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

struct shape {
    uint64_t hash;
    unsigned type;
    int key; /* -1: none */
    size_t body;
    bool malformed, parks;
};

static struct shape shape_of(unsigned producer, uint32_t seq)
{
    uint64_t h = mix(mix(mix(seed) + run) + ((uint64_t)producer << 32 | seq));
    static const uint32_t most[16] = {0,    200,  200,  600,  600,  1200, 1200, 1200,
                                      1200, 2000, 2000, 2000, 2000, 4096, 8192, BODY_MAX};
    return (struct shape){.hash = h,
                          .type = (unsigned)(h & 3),
                          .key = h >> 2 & 1 ? (int)(h >> 3 & (KEYS - 1)) : -1,
                          .body = (size_t)((h >> 8 & 0xffff) % (most[h >> 24 & 15] + 1)),
                          .malformed = (h >> 32 & 63) == 0,
                          .parks = (h >> 38 & 15) == 0};
}

static void fill_body(uint64_t hash, char *out, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = mix(hash + i);
        memcpy(out + i, &word, n - i < 8 ? n - i : 8);
    }
}

/* ---- what was found wrong ---- */

enum breach {
    PHANTOM,
    REFUSED_CAME,
    ALTERED,
    WRONG_FILTER,
    DISORDER,
    TWICE_IN_A_LIFE,
    AFTER_A_CLEAN_STOP,
    BAD_REQUEST,
    BAD_ANSWER,
    BREACHES
};
static const char *const breach_names[BREACHES] = {"phantom",
                                                   "refused_but_delivered",
                                                   "altered",
                                                   "not_for_this_subscription",
                                                   "out_of_order",
                                                   "twice_in_a_life",
                                                   "after_a_clean_stop",
                                                   "bad_request",
                                                   "bad_answer"};
static uint64_t breaches[BREACHES];
static char said[BREACHES_KEPT][240];
static unsigned n_said;

static void breach(enum breach what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void breach(enum breach what, const char *fmt, ...)
{
    breaches[what]++;
    if (n_said == BREACHES_KEPT)
        return;
    int n = snprintf(said[n_said], sizeof said[0], "%s, life %u: ", breach_names[what], life);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(said[n_said] + n, sizeof said[0] - (size_t)n, fmt, ap);
    va_end(ap);
    for (char *p = said[n_said++]; *p; p++) /* it is printed within JSON */
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            *p = '\'';
}

/* ---- state ---- */

enum state { OFF, CONNECTING, IDLE, BUSY };

struct producer {
    int fd;
    enum state state;
    struct event *events;
    uint32_t sent, cap;
    uint64_t due; /* not before: pace, or a pause after a refusal */
    size_t out_len, out_pos, in_len;
    char out[ROOM], in[ROOM];
};
static struct producer producers[PRODUCERS];

struct conn { /* of the sink */
    int fd;
    struct conn *next, *prev;
    size_t in_len, out_len;
    char in[ROOM], out[4096];
};
static struct conn open_conns = {.next = &open_conns, .prev = &open_conns};
static unsigned n_conns;

static struct sub {
    uint64_t deliveries, duplicates, failed;
    uint32_t last[PRODUCERS][KEYS], most[PRODUCERS][KEYS]; /* seq + 1: in this life, ever */
} subs[SUBS];

static int ep, listener;
static struct sockaddr_in target;
static bool sending;
static uint64_t pace_ns, dice;
static uint64_t total[4]; /* by fate, all runs */

static void settle(struct producer *p, enum fate fate)
{
    assert(p->sent > 0 && p->events[p->sent - 1].fate == SENT);
    p->events[p->sent - 1].fate = (uint8_t)fate;
    total[fate]++;
}

static void watch(int fd, int op, uint32_t events, void *owner)
{
    if (epoll_ctl(ep, op, fd, &(struct epoll_event){.events = events, .data.ptr = owner}) != 0)
        die("peer: epoll_ctl: %s", strerror(errno));
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("peer: socket: %s", strerror(errno));
    return fd;
}

/* ---- producers ---- */

static void producer_down(struct producer *p)
{
    if (p->state == OFF)
        return;
    if (p->state == BUSY)
        settle(p, UNKNOWN);
    close(p->fd);
    p->state = OFF;
    p->due = now_ns() + 2000000;
}

static void producer_connect(struct producer *p)
{
    p->fd = tcp_socket();
    p->in_len = 0;
    p->state = CONNECTING;
    if (connect(p->fd, (struct sockaddr *)&target, sizeof target) != 0 && errno != EINPROGRESS) {
        close(p->fd);
        p->state = OFF;
        p->due = now_ns() + 2000000;
        return;
    }
    watch(p->fd, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT, p);
}

static void producer_flush(struct producer *p)
{
    while (p->out_pos < p->out_len) {
        ssize_t n = send(p->fd, p->out + p->out_pos, p->out_len - p->out_pos, MSG_NOSIGNAL);
        if (n > 0)
            p->out_pos += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return producer_down(p);
    }
    watch(p->fd, EPOLL_CTL_MOD, p->out_pos < p->out_len ? EPOLLIN | EPOLLOUT : EPOLLIN, p);
}

static void producer_send(struct producer *p)
{
    unsigned number = (unsigned)(p - producers);
    if (p->sent == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 4096;
        p->events = xrealloc(p->events, p->cap * sizeof *p->events);
    }
    uint32_t seq = p->sent++;
    p->events[seq] = (struct event){.fate = SENT};
    struct shape s = shape_of(number, seq);
    char key[64] = "";
    if (s.key >= 0)
        snprintf(key, sizeof key, "ce-partitionkey: %u-%d\r\n", number, s.key);
    int n =
        snprintf(p->out, ROOM - BODY_MAX,
                 "POST /brokers/default/b HTTP/1.1\r\nHost: leat\r\nContent-Length: %zu\r\nContent-Type: application/"
                 "octet-stream\r\nce-specversion: 1.0\r\n%s%u\r\nce-source: /crash/%u\r\nce-id: %u-%u-%u\r\n%s"
                 "ce-subject: s%016llx\r\n\r\n",
                 s.body, s.malformed ? "ce-kind: t" : "ce-type: t", s.type, number, run, number, seq, key,
                 (unsigned long long)s.hash);
    fill_body(s.hash, p->out + n, s.body);
    p->out_len = (size_t)n + s.body;
    p->out_pos = 0;
    p->state = BUSY;
    p->due = now_ns() + pace_ns;
    producer_flush(p);
}

/* One whole answer, or less, or the end. */
static void producer_read(struct producer *p)
{
    ssize_t n = recv(p->fd, p->in + p->in_len, ROOM - 1 - p->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return producer_down(p);
    p->in_len += (size_t)n;
    char *blank = memmem(p->in, p->in_len, "\r\n\r\n", 4);
    if (!blank)
        return;
    const char *end = blank + 4, *line = memchr(p->in, '\n', p->in_len);
    uint64_t length = 0;
    bool closing = false;
    struct header h;
    for (line++; line && (line = next_header(line, end, &h));) {
        if (HEADER_IS(&h, "content-length"))
            length = parse_u64(h.value, h.value + h.value_len, NULL);
        else if (HEADER_IS(&h, "connection"))
            closing = has_token(h.value, h.value_len, "close");
    }
    if (p->in_len < (size_t)(end - p->in) + length)
        return;
    int status = (int)parse_u64(p->in + 9, end, NULL);
    bool malformed = shape_of((unsigned)(p - producers), p->sent - 1).malformed;
    if (p->state != BUSY || malformed != (status == 400) || (status != 202 && status != 400 && status != 503))
        breach(BAD_ANSWER, "event %u-%u-%u: %.*s", run, (unsigned)(p - producers), p->sent - 1,
               (int)(p->in_len < 150 ? p->in_len : 150), p->in);
    if (p->state == BUSY)
        settle(p, status / 100 == 2 ? ACCEPTED : status / 100 == 4 || (status == 503 && !shared) ? REFUSED : UNKNOWN);
    p->state = IDLE;
    p->in_len = 0;
    if (status == 503)
        p->due = now_ns() + REFUSED_PAUSE_MS * 1000000u;
    if (closing)
        producer_down(p);
}

static void producer_event(struct producer *p, uint32_t what)
{
    if (p->state == CONNECTING && what & (EPOLLERR | EPOLLHUP))
        return producer_down(p);
    if (p->state == CONNECTING && what & EPOLLOUT) {
        p->state = IDLE;
        watch(p->fd, EPOLL_CTL_MOD, EPOLLIN, p);
    }
    if (p->state == BUSY && what & EPOLLOUT)
        producer_flush(p);
    if (p->state != OFF && what & (EPOLLIN | EPOLLERR | EPOLLHUP))
        producer_read(p);
}

/* Whether something waits for its time. */
static bool producers_go_on(void)
{
    if (!sending)
        return false;
    uint64_t now = now_ns();
    bool waits = false;
    for (struct producer *p = producers; p < producers + PRODUCERS; p++) {
        if (now < p->due)
            waits |= p->state == IDLE || p->state == OFF;
        else if (p->state == IDLE)
            producer_send(p);
        else if (p->state == OFF)
            producer_connect(p);
    }
    return waits;
}

/* ---- the sink ---- */

struct delivery {
    unsigned sub, run, producer, seq;
    struct slice_of {
        const char *p;
        size_t n;
    } id, type, source, subject, key, kind, body;
};

static bool same(struct slice_of s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool same(struct slice_of s, const char *fmt, ...)
{
    char want[64];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(want, sizeof want, fmt, ap);
    va_end(ap);
    return s.n == (size_t)n && memcmp(s.p, want, s.n) == 0;
}

static bool unaltered(const struct delivery *d, const struct shape *s)
{
    static char want[BODY_MAX];
    fill_body(s->hash, want, s->body);
    return d->body.n == s->body && memcmp(d->body.p, want, s->body) == 0 && same(d->type, "t%u", s->type) &&
           same(d->source, "/crash/%u", d->producer) && same(d->subject, "s%016llx", (unsigned long long)s->hash) &&
           same(d->kind, "application/octet-stream") &&
           (s->key < 0 ? d->key.n == 0 : same(d->key, "%u-%d", d->producer, s->key));
}

/* Of events with one key the next is tried when the one before has ended: so a life never goes back, and nothing is
 * tried for the first time after one that came later. */
static void check_order(const struct delivery *d, const struct shape *s, const struct event *e)
{
    struct sub *sub = &subs[d->sub];
    if (!rules[d->sub].ordered || s->key < 0)
        return;
    uint32_t *last = &sub->last[d->producer][s->key], *most = &sub->most[d->producer][s->key];
    if ((d->seq + 1 < *last && !shared) || (!e->tried[d->sub] && d->seq + 1 < *most))
        breach(DISORDER, "%s got %u-%u-%u of key %d after seq %u", rules[d->sub].path, run, d->producer, d->seq, s->key,
               (d->seq + 1 < *last ? *last : *most) - 1);
    *last = d->seq + 1;
    *most = d->seq + 1 > *most ? d->seq + 1 : *most;
}

/* Compares a delivery with what was sent; the answer's status. */
static int take(const struct delivery *d)
{
    struct sub *sub = &subs[d->sub];
    sub->deliveries++;
    if (d->run < run) {
        breach(AFTER_A_CLEAN_STOP, "%s got %u-%u-%u; the run is %u", rules[d->sub].path, d->run, d->producer, d->seq,
               run);
        return 202;
    }
    if (d->run > run || d->producer >= PRODUCERS || d->seq >= producers[d->producer].sent) {
        breach(PHANTOM, "%s got %.*s, which nobody sent", rules[d->sub].path, (int)d->id.n, d->id.p);
        return 202;
    }
    struct event *e = &producers[d->producer].events[d->seq];
    struct shape s = shape_of(d->producer, d->seq);
    if (e->fate == REFUSED)
        breach(REFUSED_CAME, "%s got %u-%u-%u", rules[d->sub].path, run, d->producer, d->seq);
    if (!unaltered(d, &s))
        breach(ALTERED, "%s got %u-%u-%u with %zu bytes, sent were %zu", rules[d->sub].path, run, d->producer, d->seq,
               d->body.n, s.body);
    if (!(rules[d->sub].types >> s.type & 1))
        breach(WRONG_FILTER, "%s got %u-%u-%u of type t%u", rules[d->sub].path, run, d->producer, d->seq, s.type);
    check_order(d, &s, e);
    e->tried[d->sub] = true;
    dice = mix(dice);
    if (dice % 100 < rules[d->sub].fails) {
        sub->failed++;
        return 503;
    }
    if (e->ended[d->sub] == life && !shared)
        breach(TWICE_IN_A_LIFE, "%s got %u-%u-%u again", rules[d->sub].path, run, d->producer, d->seq);
    else if (e->ended[d->sub])
        sub->duplicates++;
    e->ended[d->sub] = (uint16_t)life;
    return rules[d->sub].parks && s.parks ? 400 : 202;
}

static bool parse_id(struct delivery *d)
{
    char text[40], more;
    if (d->id.n == 0 || d->id.n >= sizeof text)
        return false;
    memcpy(text, d->id.p, d->id.n);
    text[d->id.n] = 0;
    return sscanf(text, "%u-%u-%u%c", &d->run, &d->producer, &d->seq, &more) == 3;
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    c->next->prev = c->prev, c->prev->next = c->next;
    n_conns--;
    free(c);
}

/* The length of the whole request at the front, with its parts in *d; 0: there is less. */
static size_t parse_request(struct conn *c, struct delivery *d)
{
    char *blank = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!blank)
        return 0;
    const char *end = blank + 4, *line = memchr(c->in, '\n', c->in_len);
    uint64_t length = 0;
    struct header h;
    *d = (struct delivery){.sub = SUBS};
    for (unsigned i = 0; i < SUBS; i++) {
        size_t n = strlen(rules[i].path);
        if (memcmp(c->in, "POST ", 5) == 0 && memcmp(c->in + 5, rules[i].path, n) == 0 && c->in[5 + n] == ' ')
            d->sub = i;
    }
    for (line++; line && (line = next_header(line, end, &h));) {
        struct slice_of value = {h.value, h.value_len};
        if (HEADER_IS(&h, "content-length"))
            length = parse_u64(h.value, h.value + h.value_len, NULL);
        else if (HEADER_IS(&h, "content-type"))
            d->kind = value;
        else if (HEADER_IS(&h, "ce-id"))
            d->id = value;
        else if (HEADER_IS(&h, "ce-type"))
            d->type = value;
        else if (HEADER_IS(&h, "ce-source"))
            d->source = value;
        else if (HEADER_IS(&h, "ce-subject"))
            d->subject = value;
        else if (HEADER_IS(&h, "ce-partitionkey"))
            d->key = value;
    }
    if (length > BODY_MAX || d->sub == SUBS || !parse_id(d)) {
        breach(BAD_REQUEST, "%.*s", (int)(c->in_len < 150 ? c->in_len : 150), c->in);
        return c->in_len;
    }
    d->body = (struct slice_of){end, length};
    size_t whole = (size_t)(end - c->in) + length;
    return whole <= c->in_len ? whole : 0;
}

static void conn_read(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, ROOM - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return conn_close(c);
    c->in_len += (size_t)n;
    struct delivery d;
    size_t whole;
    while (c->in_len && (whole = parse_request(c, &d)) != 0) {
        int status = d.sub < SUBS ? take(&d) : 400;
        c->out_len += (size_t)snprintf(c->out + c->out_len, sizeof c->out - c->out_len,
                                       "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status);
        memmove(c->in, c->in + whole, c->in_len - whole);
        c->in_len -= whole;
        if (send(c->fd, c->out, c->out_len, MSG_NOSIGNAL) != (ssize_t)c->out_len)
            return conn_close(c); /* it was killed: nobody else leaves so small an answer unread */
        c->out_len = 0;
    }
    if (c->in_len == ROOM)
        die("peer: a request of more than %d bytes", ROOM);
}

static void sink_accept(void)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = xrealloc(NULL, sizeof *c);
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        c->in_len = c->out_len = 0;
        c->next = open_conns.next, c->prev = &open_conns;
        c->next->prev = c->prev->next = c;
        n_conns++;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN, c);
    }
}

/* ---- commands ---- */

static bool due_at(const struct event *e, unsigned producer, uint32_t seq, unsigned sub)
{
    struct shape s = shape_of(producer, seq);
    return !s.malformed && (e->fate == ACCEPTED || e->fate == UNKNOWN) && rules[sub].types >> s.type & 1;
}

/* An event of unknown fate that came to one of its subscriptions is in the log, so it must come to all; not where it is
 * scattered. */
static bool must_come(const struct event *e)
{
    bool came = e->fate == ACCEPTED;
    for (unsigned i = 0; i < SUBS && !scattered; i++)
        came |= e->ended[i] != 0;
    return came;
}

#define EACH_EVENT(p, seq)                                                                                             \
    for (unsigned p = 0; p < PRODUCERS; p++)                                                                           \
        for (uint32_t seq = 0; seq < producers[p].sent; seq++)

static void missing(const char *argument)
{
    (void)argument;
    uint64_t n[SUBS] = {0};
    char first[SUBS][40] = {{0}};
    EACH_EVENT(p, seq)
    {
        const struct event *e = &producers[p].events[seq];
        for (unsigned i = 0; i < SUBS; i++)
            if (due_at(e, p, seq, i) && must_come(e) && !e->ended[i] && n[i]++ == 0)
                snprintf(first[i], sizeof first[i], "%u-%u-%u", run, p, seq);
    }
    for (unsigned i = 0; i < SUBS; i++)
        printf("%s\"%s\": [%llu, \"%s\"]", i ? ", " : "{", rules[i].path + 1, (unsigned long long)n[i], first[i]);
    printf("}\n");
}

/* Of the subscription that parks: ids that must be parked, and those that may be. */
static void parked(const char *argument)
{
    (void)argument;
    for (int must = 1; must >= 0; must--) {
        const char *comma = "";
        printf(must ? "{\"must\": [" : "], \"may\": [");
        EACH_EVENT(p, seq)
        {
            const struct event *e = &producers[p].events[seq];
            for (unsigned i = 0; i < SUBS; i++)
                if (rules[i].parks && shape_of(p, seq).parks && due_at(e, p, seq, i) && must_come(e) == must)
                    printf("%s\"%u-%u-%u\"", comma, run, p, seq), comma = ", ";
        }
    }
    printf("]}\n");
}

static void report(const char *argument)
{
    (void)argument;
    printf("{\"run\": %u, \"life\": %u, \"accepted\": %llu, \"refused\": %llu, \"unknown\": %llu, \"breaches\": {", run,
           life, (unsigned long long)total[ACCEPTED], (unsigned long long)total[REFUSED],
           (unsigned long long)total[UNKNOWN]);
    const char *comma = "";
    for (int i = 0; i < BREACHES; i++)
        if (breaches[i])
            printf("%s\"%s\": %llu", comma, breach_names[i], (unsigned long long)breaches[i]), comma = ", ";
    printf("}, \"said\": [");
    for (unsigned i = 0; i < n_said; i++)
        printf("%s\"%s\"", i ? ", " : "", said[i]);
    printf("], \"subscriptions\": {");
    for (unsigned i = 0; i < SUBS; i++)
        printf("%s\"%s\": {\"deliveries\": %llu, \"duplicates\": %llu, \"failed\": %llu}", i ? ", " : "",
               rules[i].path + 1, (unsigned long long)subs[i].deliveries, (unsigned long long)subs[i].duplicates,
               (unsigned long long)subs[i].failed);
    printf("}}\n");
}

static void start(const char *argument)
{
    unsigned port, rate;
    if (sscanf(argument, "%u %u", &port, &rate) != 2)
        die("peer: start PORT RATE");
    target.sin_port = htons((uint16_t)port);
    pace_ns = rate ? (uint64_t)PRODUCERS * 1000000000u / rate : 0;
    sending = true;
    printf("{}\n");
}

static void next_run(const char *argument)
{
    (void)argument;
    for (struct producer *p = producers; p < producers + PRODUCERS; p++)
        p->sent = 0;
    for (unsigned i = 0; i < SUBS; i++)
        memset(subs[i].last, 0, sizeof subs[i].last), memset(subs[i].most, 0, sizeof subs[i].most);
    run++;
    printf("{}\n");
}

static void dump(const char *argument)
{
    static const char *const fates[] = {"sent", "accepted", "refused", "unknown"};
    FILE *f = fopen(argument, "w");
    if (!f)
        die("peer: %s: %s", argument, strerror(errno));
    fprintf(f, "id fate type key bytes; for each of %s %s %s %s the life that ended it, ~ tried, - neither\n",
            rules[0].path, rules[1].path, rules[2].path, rules[3].path);
    EACH_EVENT(p, seq)
    {
        const struct event *e = &producers[p].events[seq];
        struct shape s = shape_of(p, seq);
        fprintf(f, "%u-%u-%u %s t%u %d %zu", run, p, seq, fates[e->fate], s.type, s.key, s.body);
        for (unsigned i = 0; i < SUBS; i++)
            if (e->ended[i])
                fprintf(f, " %u", e->ended[i]);
            else
                fprintf(f, e->tried[i] ? " ~" : " -");
        fprintf(f, "\n");
    }
    fclose(f);
    printf("{}\n");
}

/* Answered when no producer waits for an answer any more. */
static bool is_quiet(void)
{
    for (struct producer *p = producers; p < producers + PRODUCERS; p++)
        if (p->state == BUSY)
            return false;
    return true;
}

/* Answered when all that the dead server sent has been read. The next life begins. */
static bool is_dead(void)
{
    sink_accept();
    for (struct producer *p = producers; p < producers + PRODUCERS; p++)
        if (p->state != OFF)
            return false;
    return n_conns == 0;
}

static const struct command {
    const char *name;
    void (*run)(const char *argument);
    bool (*until)(void); /* instead: sends nothing any more, and is answered when this holds */
} commands[] = {
    {"start", start, NULL},   {"quiet", NULL, is_quiet}, {"died", NULL, is_dead}, {"missing", missing, NULL},
    {"parked", parked, NULL}, {"report", report, NULL},  {"run", next_run, NULL}, {"dump", dump, NULL},
};
static const struct command *waiting;
static uint64_t give_up;

static void command(char *line)
{
    char *argument = strchr(line, ' ');
    if (argument)
        *argument++ = 0;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(line, commands[i].name) != 0)
            continue;
        if (commands[i].run)
            return commands[i].run(argument ? argument : "");
        sending = false;
        waiting = &commands[i];
        give_up = now_ns() + SETTLE_MS * 1000000ull;
        return;
    }
    die("peer: no such command: %s", line);
}

static void look_whether_done(void)
{
    if (!waiting || !waiting->until()) {
        if (waiting && now_ns() > give_up)
            die("peer: \"%s\" took more than %d ms", waiting->name, SETTLE_MS);
        return;
    }
    if (waiting->until == is_dead) {
        life++;
        for (unsigned i = 0; i < SUBS; i++)
            memset(subs[i].last, 0, sizeof subs[i].last);
    }
    waiting = NULL;
    printf("{}\n");
}

static bool read_commands(void)
{
    static char text[4096];
    static size_t n;
    ssize_t got = read(0, text + n, sizeof text - 1 - n);
    if (got <= 0)
        return false;
    n += (size_t)got;
    char *end;
    while ((end = memchr(text, '\n', n)) != NULL) {
        *end = 0;
        size_t used = (size_t)(end - text) + 1;
        command(text);
        memmove(text, text + used, n - used);
        n -= used;
    }
    return true;
}

int main(int argc, char **argv)
{
    scattered = argc == 3 && strcmp(argv[2], "scattered") == 0;
    if (argc != 2 && !scattered && (argc != 3 || strcmp(argv[2], "shared") != 0))
        die("usage: peer SEED [shared|scattered]");
    shared = argc == 3;
    seed = strtoull(argv[1], NULL, 0);
    dice = mix(seed);
    life = 1;
    ep = epoll_create1(EPOLL_CLOEXEC);
    listener = tcp_socket();
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in at = target;
    socklen_t n = sizeof at;
    if (bind(listener, (struct sockaddr *)&at, n) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        die("peer: cannot listen: %s", strerror(errno));
    watch(listener, EPOLL_CTL_ADD, EPOLLIN, &listener);
    watch(0, EPOLL_CTL_ADD, EPOLLIN, &seed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("{\"port\": %u}\n", ntohs(at.sin_port));

    struct epoll_event ready[64];
    for (;;) {
        bool busy = producers_go_on();
        int count = epoll_wait(ep, ready, 64, busy ? 1 : 50);
        bool commanded = false;
        for (int i = 0; i < count; i++) {
            void *owner = ready[i].data.ptr;
            if (owner == &seed)
                commanded = true;
            else if (owner == &listener)
                sink_accept();
            else if ((struct producer *)owner >= producers && (struct producer *)owner < producers + PRODUCERS)
                producer_event(owner, ready[i].events);
            else
                conn_read(owner);
        }
        if (commanded && !read_commands())
            return 0;
        look_whether_done();
    }
}
