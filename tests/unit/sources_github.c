/* SPDX-License-Identifier: Apache-2.0
 *
 * The GitHub source behind a real server, with a sink that the test plays. The clock stands still unless the test
 * moves it, so every wait is exact and none is waited for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../lib/fault.h"
#include "hmac.h"
#include "http_server.h"
#include "loop.h"
#include "source.h"

#define SECRET "It's a Secret to Everybody"
#define BYTES_MAX 4096
#define TURNS_MAX 20000 /* only a failing test needs so many */
#define PUSH                                                                                                           \
    "{\"ref\":\"refs/heads/main\",\"repository\":{\"name\":\"mill\",\"full_name\":\"jo/"                               \
    "mill\",\"owner\":{\"login\":\"jo\"}},\"sender\":{\"login\":\"jo\"}}"

/* ---- a sink that keeps its calls until the test answers ---- */

struct play {
    struct sink head;
    struct sink_call *call; /* the one under way */
    const struct ce_event *event;
    struct sink_request request;
    unsigned sends, cancels;
    enum err refuse; /* send returns it */
    bool freed;
};

static enum err play_send(struct sink *s, struct sink_call *call, const struct sink_request *request)
{
    struct play *p = container_of(s, struct play, head);
    p->sends++;
    if (p->refuse != OK)
        return p->refuse;
    assert_null(p->call);
    p->call = call;
    p->request = *request;
    p->event = ce_event_unref(p->event);
    p->event = ce_event_ref(request->event);
    return OK;
}

static void play_cancel(struct sink *s, struct sink_call *call)
{
    struct play *p = container_of(s, struct play, head);
    assert_ptr_equal(p->call, call);
    p->call = NULL;
    p->cancels++;
}

static void play_free(struct sink *s)
{
    container_of(s, struct play, head)->freed = true;
}

static const struct sink_ops play_ops = {play_send, play_cancel, play_free};

/* ---- the rig ---- */

struct rig {
    struct clock_fake clock;
    struct loop *loop;
    struct http_server *server;
    struct http_listener *listener;
    struct play sink;
    struct source *source;
    struct source_counters counters;
    bool closed;
};

static void route_head(struct http_request *r, void *arg)
{
    struct rig *rig = arg;
    rig->source->ops->http_head(rig->source, r);
}

static void route_data(struct http_request *r, struct slice piece)
{
    struct source_request *q = http_request_state(r);
    if (q)
        q->source->ops->http_data(q->source, r, piece);
}

static void route_end(struct http_request *r)
{
    struct source_request *q = http_request_state(r);
    if (q)
        q->source->ops->http_end(q->source, r);
}

static void route_close(struct http_request *r)
{
    struct source_request *q = http_request_state(r);
    if (q)
        q->source->ops->http_close(q->source, r);
}

static const struct http_handler route = {route_head, route_data, route_end, route_close};

static const struct source_param signed_params[] = {
    {"secretToken", SECRET}, {"ownerAndRepository", "jo/mill"}, {"eventTypes", "push,issues"}};
static const struct source_spec signed_spec = {
    .type = "github", .namespace_name = "mills", .name = "t", .params = signed_params, .param_count = 3};
static const struct source_param unsigned_params[] = {{"allowUnsigned", "true"}};
static const struct source_spec unsigned_spec = {
    .type = "github", .namespace_name = "mills", .name = "t", .params = unsigned_params, .param_count = 1};

static struct rig *rig_new(const struct source_spec *spec)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct diag d = {0};
    assert_non_null(rig);
    clock_fake_init(&rig->clock, 5 * NS_PER_S, 1534842942500000000);
    assert_int_equal(loop_new(&rig->clock.base, 64, &rig->loop), OK);
    rig->sink.head = (struct sink){.ops = &play_ops, .refs = 1, .url = "http://sink.example/"};
    const struct source_ops *ops = source_find("github");
    const struct source_host host = {
        .loop = rig->loop, .sink = &rig->sink.head, .event_bytes_max = BYTES_MAX, .counters = &rig->counters};
    assert_int_equal(ops->open(spec, &host, &rig->source, &d), OK);
    struct http_server_options options = {0};
    assert_int_equal(http_server_new(rig->loop, &options, &route, rig, &rig->server), OK);
    assert_int_equal(http_listener_open(rig->loop, "127.0.0.1:0", &rig->server, 1, &rig->listener, &d), OK);
    return rig;
}

static void turn(struct rig *rig)
{
    assert_int_equal(loop_turn(rig->loop, NS_PER_MS), OK);
}

static void on_closed(void *arg)
{
    struct rig *rig = arg;
    rig->closed = true;
    rig->source = NULL;
}

static void turn_until(struct rig *rig, const bool *fact)
{
    for (int i = 0; i < TURNS_MAX && !*fact; i++)
        turn(rig);
    assert_true(*fact);
}

static void turn_until_sends(struct rig *rig, unsigned sends)
{
    for (int i = 0; i < TURNS_MAX && rig->sink.sends < sends; i++)
        turn(rig);
    assert_int_equal(rig->sink.sends, sends);
}

static void rig_free(struct rig *rig)
{
    http_listener_close(rig->listener);
    http_server_free(rig->server);
    if (rig->source)
        rig->source->ops->close(rig->source, on_closed, rig);
    turn_until(rig, &rig->closed);
    assert_null(rig->sink.call);
    ce_event_unref(rig->sink.event);
    assert_int_equal(rig->sink.head.refs, 1);
    loop_free(rig->loop);
    free(rig);
}

static void advance(struct rig *rig, uint64_t ns)
{
    clock_fake_advance(&rig->clock, ns);
    turn(rig);
}

static void sink_answers(struct rig *rig, enum err err, int status, uint64_t retry_after_ns)
{
    struct sink_call *call = rig->sink.call;
    assert_non_null(call);
    rig->sink.call = NULL;
    call->done(call, &(struct sink_answer){
                         .err = err, .status = status, .retry_after_ns = retry_after_ns, .url = rig->sink.head.url});
}

/* ---- the client: plain bytes ---- */

struct client {
    int fd;
    char answer[8192];
    size_t len;
    int status;
};

static struct client dial(struct rig *rig)
{
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const char *colon = strrchr(http_listener_address(rig->listener), ':');
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    assert_int_equal(connect(c.fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)),
                     0); /* head and body are written apart */
    return c;
}

static void put(struct client *c, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        assert_true(n > 0);
        bytes = slice_from(bytes, (size_t)n);
    }
}

/* Whether a whole answer is there: its head, and as many bytes as its Content-Length says. */
static bool whole(struct client *c)
{
    c->answer[c->len] = '\0';
    char *end = strstr(c->answer, "\r\n\r\n");
    char *length = end ? strcasestr(c->answer, "\r\nContent-Length:") : NULL;
    if (!length || sscanf(c->answer, "HTTP/1.1 %d", &c->status) != 1)
        return false;
    return c->len >= (size_t)(end + 4 - c->answer) + (size_t)atoi(length + 17);
}

static int answer_of(struct rig *rig, struct client *c)
{
    c->len = 0;
    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t n = recv(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len, MSG_DONTWAIT);
        if (n > 0) {
            c->len += (size_t)n;
            if (whole(c))
                return c->status;
        } else {
            assert_true(n < 0 && errno == EAGAIN);
        }
        turn(rig);
    }
    fail_msg("no answer");
    return 0;
}

/* The webhook's head; every NULL leaves its line away. */
struct hook {
    const char *method, *event, *delivery, *type, *signature, *more;
    struct slice body;
    bool no_length;
};

static const char *sign(const char *secret, struct slice body)
{
    static char text[80];
    struct hmac *h;
    unsigned char code[HMAC_SHA256_BYTES];
    assert_int_equal(hmac_new(&h), OK);
    assert_int_equal(hmac_init(h, slice_str(secret)), OK);
    assert_int_equal(hmac_update(h, body), OK);
    assert_int_equal(hmac_final(h, code), OK);
    hmac_free(h);
    size_t n = (size_t)snprintf(text, sizeof(text), "sha256=");
    for (size_t i = 0; i < sizeof(code); i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", code[i]);
    return text;
}

static struct hook push(const char *body)
{
    return (struct hook){.method = "POST",
                         .event = "push",
                         .delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958",
                         .type = "application/json",
                         .signature = sign(SECRET, slice_str(body)),
                         .body = slice_str(body)};
}

static void put_head(struct client *c, const struct hook *h)
{
    char head[2048];
    size_t n = (size_t)snprintf(head, sizeof(head), "%s / HTTP/1.1\r\nHost: x\r\n", h->method);
    const char *const lines[][2] = {{"X-GitHub-Event", h->event},
                                    {"X-GitHub-Delivery", h->delivery},
                                    {"Content-Type", h->type},
                                    {"X-Hub-Signature-256", h->signature}};
    for (size_t i = 0; i < 4; i++)
        if (lines[i][1])
            n += (size_t)snprintf(head + n, sizeof(head) - n, "%s: %s\r\n", lines[i][0], lines[i][1]);
    if (!h->no_length)
        n += (size_t)snprintf(head + n, sizeof(head) - n, "Content-Length: %zu\r\n", h->body.len);
    n += (size_t)snprintf(head + n, sizeof(head) - n, "%s\r\n", h->more ? h->more : "");
    put(c, slice_of(head, n));
}

static void post(struct client *c, const struct hook *h)
{
    put_head(c, h);
    put(c, h->body);
}

/* ---- tests ---- */

static void a_signed_webhook_is_accepted_when_the_sink_has_it(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    post(&c, &h);
    turn_until_sends(rig, 1);
    assert_true(slice_eq_str(ce_event_data(rig->sink.event), PUSH));
    assert_true(slice_eq_str(ce_event_id(rig->sink.event), h.delivery));
    assert_true(slice_eq_str(ce_event_type(rig->sink.event), "dev.knative.source.github.push"));
    assert_int_equal(rig->sink.request.format, CE_MODE_BINARY);
    assert_true(slice_eq_str(rig->sink.request.namespace_name, "mills"));
    /* Not a byte of an answer before the sink has accepted. */
    assert_int_equal(recv(c.fd, c.answer, 1, MSG_DONTWAIT), -1);
    sink_answers(rig, OK, 200, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    assert_int_equal(rig->counters.received, 1);
    assert_int_equal(rig->counters.emitted, 1);

    post(&c, &h); /* the connection is kept */
    turn_until_sends(rig, 2);
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    close(c.fd);
    rig_free(rig);
}

static void a_body_in_single_bytes_and_in_chunks(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    put_head(&c, &h);
    for (size_t i = 0; i < h.body.len; i++) {
        put(&c, slice_of(h.body.ptr + i, 1));
        turn(rig);
    }
    turn_until_sends(rig, 1);
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &c), 202);

    h.no_length = true;
    h.more = "Transfer-Encoding: chunked\r\n";
    put_head(&c, &h);
    for (size_t i = 0; i < h.body.len; i++) {
        char chunk[8] = "1\r\n?\r\n";
        chunk[3] = h.body.ptr[i];
        put(&c, slice_of(chunk, 6));
    }
    put(&c, SLICE("0\r\n\r\n"));
    turn_until_sends(rig, 2);
    assert_true(slice_eq_str(ce_event_data(rig->sink.event), PUSH));
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    close(c.fd);
    rig_free(rig);
}

struct refusal {
    const char *what;
    int status;
    const char *says;
    const char *method, *event, *delivery, *type, *signature, *more,
        *body;   /* NULL: as a good webhook has it; "": left away */
    int counter; /* 's' refused_signature, 'i' refused_invalid, 'n' ignored */
};

static const char *choose(const char *given, const char *good)
{
    return !given ? good : *given ? given : NULL;
}

static void refuse(const struct source_spec *spec, const struct refusal *r)
{
    struct rig *rig = rig_new(spec);
    struct client c = dial(rig);
    struct hook h = push(r->body ? r->body : PUSH);
    h.method = choose(r->method, h.method);
    h.event = choose(r->event, h.event);
    h.delivery = choose(r->delivery, h.delivery);
    h.type = choose(r->type, h.type);
    h.signature = choose(r->signature, h.signature);
    h.more = r->more;
    post(&c, &h);
    int status = answer_of(rig, &c);
    if (status != r->status || !strstr(c.answer, r->says))
        fail_msg("%s: %s", r->what, c.answer);
    assert_int_equal(rig->sink.sends, 0);
    assert_null(strstr(c.answer, SECRET));
    assert_null(strstr(c.answer, sign(SECRET, h.body)));
    assert_int_equal(rig->counters.refused_signature, r->counter == 's');
    assert_int_equal(rig->counters.refused_invalid, r->counter == 'i');
    assert_int_equal(rig->counters.ignored, r->counter == 'n');
    close(c.fd);
    rig_free(rig);
}

#define ZEROS64 "0000000000000000000000000000000000000000000000000000000000000000"

static void refusals(void **state)
{
    (void)state;
    static const struct refusal table[] = {
        {.what = "GET", .status = 405, .says = "Allow: POST", .method = "GET", .counter = 'i'},
        {.what = "PUT", .status = 405, .says = "Allow: POST", .method = "PUT", .counter = 'i'},
        {.what = "no event", .status = 400, .says = "X-GitHub-Event", .event = "", .counter = 'i'},
        {.what = "strange event", .status = 400, .says = "X-GitHub-Event", .event = "Push!", .counter = 'i'},
        {.what = "long event", .status = 400, .says = "X-GitHub-Event", .event = "a" ZEROS64, .counter = 'i'},
        {.what = "no delivery", .status = 400, .says = "X-GitHub-Delivery", .delivery = "", .counter = 'i'},
        {.what = "delivery not UTF-8", .status = 400, .says = "X-GitHub-Delivery", .delivery = "d\xff", .counter = 'i'},
        {.what = "form",
         .status = 415,
         .says = "set its content type to application/json",
         .type = "application/x-www-form-urlencoded",
         .counter = 'i'},
        {.what = "text", .status = 415, .says = "application/json", .type = "text/plain", .counter = 'i'},
        {.what = "no type", .status = 415, .says = "application/json", .type = "", .counter = 'i'},
        {.what = "no signature", .status = 401, .says = "WWW-Authenticate", .signature = "", .counter = 's'},
        {.what = "SHA-1 alone",
         .status = 401,
         .says = "sign with SHA-256",
         .signature = "",
         .more = "X-Hub-Signature: sha1=0123456789012345678901234567890123456789\r\n",
         .counter = 's'},
        {.what = "short signature", .status = 400, .says = "64 hexadecimal", .signature = "sha256=00", .counter = 's'},
        {.what = "no hexadecimal",
         .status = 400,
         .says = "64 hexadecimal",
         .signature = "sha256=g" ZEROS64,
         .counter = 's'},
        {.what = "other algorithm", .status = 400, .says = "sha256=", .signature = "sha512=" ZEROS64, .counter = 's'},
        {.what = "wrong signature",
         .status = 403,
         .says = "does not match",
         .signature = "sha256=" ZEROS64,
         .counter = 's'},
        {.what = "wrong signature and no JSON",
         .status = 403,
         .says = "does not match",
         .signature = "sha256=" ZEROS64,
         .body = "[",
         .counter = 's'},
        {.what = "wrong signature and unwanted event",
         .status = 403,
         .says = "does not match",
         .signature = "sha256=" ZEROS64,
         .event = "fork",
         .counter = 's'},
        {.what = "wrong signature of a ping",
         .status = 403,
         .says = "does not match",
         .signature = "sha256=" ZEROS64,
         .event = "ping",
         .counter = 's'},
        {.what = "empty body", .status = 400, .says = "no JSON", .body = "", .counter = 'i'},
        {.what = "cut JSON", .status = 400, .says = "no JSON", .body = "{\"a\":", .counter = 'i'},
        {.what = "array", .status = 400, .says = "no JSON object", .body = "[]", .counter = 'i'},
        {.what = "not UTF-8", .status = 400, .says = "no JSON", .body = "{\"a\":\"\xff\"}", .counter = 'i'},
        {.what = "unwanted event", .status = 404, .says = "eventTypes", .event = "fork", .counter = 'n'},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        refuse(&signed_spec, &table[i]);
}

/* The signature is over the very bytes: any bit of body, or of the signature, that differs refuses. */
static void every_bit_counts(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    static const char digits[] = "0123456789abcdef";
    char body[] = "{\"a\":1}", signature[80];
    snprintf(signature, sizeof(signature), "%s", sign(SECRET, slice_str(body)));
    unsigned count = 0;
    for (size_t i = 7; signature[i]; i++) {
        for (unsigned bit = 1; bit < 16; bit <<= 1, count++) {
            char good = signature[i];
            signature[i] = digits[(unsigned)(strchr(digits, good) - digits) ^ bit];
            struct hook h = push(body);
            h.signature = signature;
            post(&c, &h);
            assert_int_equal(answer_of(rig, &c), 403);
            signature[i] = good;
        }
    }
    assert_int_equal(count, 256);
    for (size_t i = 0; i < sizeof(body) - 1; i++) {
        char changed[sizeof(body)];
        memcpy(changed, body, sizeof(body));
        changed[i] ^= 1;
        struct hook h = push(body);
        h.signature = signature;
        h.body = slice_of(changed, sizeof(body) - 1);
        post(&c, &h);
        assert_int_equal(answer_of(rig, &c), 403);
    }
    assert_int_equal(rig->sink.sends, 0);
    close(c.fd);
    rig_free(rig);
}

static void upper_case_digits_are_the_same_signature(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    char upper[80];
    snprintf(upper, sizeof(upper), "%s", h.signature);
    for (char *p = upper + 7; *p; p++)
        *p = (char)(*p >= 'a' ? *p - 32 : *p);
    h.signature = upper;
    post(&c, &h);
    turn_until_sends(rig, 1);
    sink_answers(rig, OK, 204, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    close(c.fd);
    rig_free(rig);
}

static void too_large_is_refused_before_the_body(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    h.no_length = true;
    h.more = "Content-Length: 4097\r\n";
    put_head(&c, &h);
    assert_int_equal(answer_of(rig, &c), 413);
    assert_non_null(strstr(c.answer, "--max-event-bytes"));
    assert_int_equal(rig->counters.refused_invalid, 1);
    close(c.fd);

    /* Without a length the server stops reading at the limit. */
    c = dial(rig);
    h.more = "Transfer-Encoding: chunked\r\n";
    put_head(&c, &h);
    char chunk[2000 + 8];
    size_t n = (size_t)snprintf(chunk, sizeof(chunk), "7d0\r\n");
    memset(chunk + n, ' ', 2000);
    memcpy(chunk + n + 2000, "\r\n", 2);
    for (int i = 0; i < 3; i++)
        put(&c, slice_of(chunk, n + 2002));
    assert_int_equal(answer_of(rig, &c), 413);
    assert_int_equal(rig->sink.sends, 0);
    close(c.fd);
    rig_free(rig);
}

static void a_ping_is_answered_without_an_event(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push("{\"zen\":\"x\"}");
    h.event = "ping";
    post(&c, &h);
    assert_int_equal(answer_of(rig, &c), 200);
    assert_int_equal(rig->sink.sends, 0);
    assert_int_equal(rig->counters.ignored + rig->counters.failed, 0);
    close(c.fd);
    rig_free(rig);
}

static void unsigned_webhooks_where_that_was_asked_for(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&unsigned_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    h.signature = NULL;
    post(&c, &h);
    turn_until_sends(rig, 1);
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    close(c.fd);
    rig_free(rig);
}

static void a_failing_sink_is_tried_five_times(void **state)
{
    (void)state;
    static const int statuses[] = {500, 404, 408, 409, 202};
    static const uint64_t waits_ms[] = {50, 100, 200, 400};
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    post(&c, &h);
    for (unsigned i = 0; i < 5; i++) {
        turn_until_sends(rig, i + 1);
        assert_true(slice_eq_str(ce_event_data(rig->sink.event), PUSH));
        sink_answers(rig, OK, statuses[i], 0);
        if (i == 4)
            break;
        advance(rig, waits_ms[i] * NS_PER_MS - 1);
        assert_int_equal(rig->sink.sends, i + 1);
        advance(rig, 1);
    }
    assert_int_equal(answer_of(rig, &c), 202);
    assert_int_equal(rig->counters.emitted, 1);
    assert_int_equal(rig->counters.failed, 0);

    post(&c, &h);
    for (unsigned i = 0; i < 5; i++) {
        turn_until_sends(rig, 6 + i);
        sink_answers(rig, i % 2 ? ERR_UNAVAILABLE : OK, i % 2 ? 0 : 500, 0);
        if (i < 4)
            advance(rig, waits_ms[i] * NS_PER_MS);
    }
    assert_int_equal(answer_of(rig, &c), 502);
    assert_non_null(strstr(c.answer, "status 500"));
    assert_int_equal(rig->counters.failed, 1);
    close(c.fd);
    rig_free(rig);
}

struct outcome {
    enum err err;
    int status;
    uint64_t retry_after_ns;
    int expected;
    const char *says;
};

/* What is not worth a second try is answered after the first. */
static void answers_after_one_try(void **state)
{
    (void)state;
    static const struct outcome table[] = {
        {OK, 400, 0, 502, "status 400"},
        {OK, 413, 0, 502, "status 413"},
        {OK, 301, 0, 502, "status 301"},
        {ERR_FULL, 0, 0, 503, "Retry-After: 1\r\n"},
        {ERR_FULL, 503, 2500 * NS_PER_MS, 503, "Retry-After: 3\r\n"},
        {OK, 503, 30 * NS_PER_S, 503, "Retry-After: 30\r\n"},
        {OK, 429, 8 * NS_PER_S, 503, "Retry-After: 8\r\n"},
        {ERR_TOO_LARGE, 0, 0, 413, "larger than the sink takes"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct rig *rig = rig_new(&signed_spec);
        struct client c = dial(rig);
        struct hook h = push(PUSH);
        post(&c, &h);
        turn_until_sends(rig, 1);
        sink_answers(rig, table[i].err, table[i].status, table[i].retry_after_ns);
        if (answer_of(rig, &c) != table[i].expected || !strstr(c.answer, table[i].says))
            fail_msg("row %zu: %s", i, c.answer);
        assert_int_equal(rig->sink.sends, 1);
        assert_int_equal(rig->counters.failed, 1);
        close(c.fd);
        rig_free(rig);
    }
}

static void a_sink_that_refuses_at_once(void **state)
{
    (void)state;
    static const enum err refusals_at_once[] = {ERR_FULL, ERR_NOMEM, ERR_CLOSED};
    for (size_t i = 0; i < 3; i++) {
        struct rig *rig = rig_new(&signed_spec);
        struct client c = dial(rig);
        rig->sink.refuse = refusals_at_once[i];
        struct hook h = push(PUSH);
        post(&c, &h);
        assert_int_equal(answer_of(rig, &c), 503);
        assert_non_null(strstr(c.answer, "Retry-After: 1\r\n"));
        assert_int_equal(rig->sink.sends, 1);
        close(c.fd);
        rig_free(rig);
    }
}

static void the_sink_s_wish_to_wait_is_heard(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    post(&c, &h);
    turn_until_sends(rig, 1);
    sink_answers(rig, OK, 503, 2 * NS_PER_S);
    advance(rig, 2 * NS_PER_S - 1);
    assert_int_equal(rig->sink.sends, 1);
    advance(rig, 1);
    turn_until_sends(rig, 2);
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &c), 202);
    close(c.fd);
    rig_free(rig);
}

/* GitHub gives up after 10 s, so an answer comes by 8 s after the head. */
static void the_deadline_bounds_every_attempt(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct client c = dial(rig);
    struct hook h = push(PUSH);
    post(&c, &h);
    turn_until_sends(rig, 1);
    assert_int_equal(rig->sink.request.timeout_ns, 8 * NS_PER_S);
    advance(rig, 3 * NS_PER_S);
    sink_answers(rig, ERR_TIMEOUT, 0, 0);
    advance(rig, 50 * NS_PER_MS);
    turn_until_sends(rig, 2);
    assert_int_equal(rig->sink.request.timeout_ns, 4950 * NS_PER_MS);
    advance(rig, 4950 * NS_PER_MS);
    sink_answers(rig, ERR_TIMEOUT, 0, 0);
    assert_int_equal(answer_of(rig, &c), 503);
    assert_non_null(strstr(c.answer, "did not answer in time"));
    close(c.fd);
    rig_free(rig);
}

/* In the middle of the body, while the sink has the event, and while a retry waits. Whether the server notices at
 * once or with the answer, the sink's answer or the client's absence ends the request, once, and nothing is left. */
static void a_client_that_goes_away(void **state)
{
    (void)state;
    for (int phase = 0; phase < 3; phase++) {
        struct rig *rig = rig_new(&signed_spec);
        struct client c = dial(rig);
        struct hook h = push(PUSH);
        put_head(&c, &h);
        put(&c, slice_of(h.body.ptr, 10));
        for (int i = 0; i < TURNS_MAX && rig->counters.received == 0; i++)
            turn(rig);
        if (phase > 0) {
            put(&c, slice_from(h.body, 10));
            turn_until_sends(rig, 1);
        }
        if (phase == 2)
            sink_answers(rig, OK, 500, 0);
        close(c.fd);
        turn(rig);
        if (phase == 2)
            advance(rig, 50 * NS_PER_MS);
        if (rig->sink.call)
            sink_answers(rig, OK, 202, 0);
        for (int i = 0; i < TURNS_MAX && http_server_busy(rig->server) > 0; i++)
            turn(rig);
        assert_int_equal(http_server_busy(rig->server), 0);
        assert_int_equal(rig->counters.emitted + rig->counters.failed, 1);
        rig_free(rig);
    }
}

/* The server ends first: requests end with it, from every state. */
static void the_server_goes_away(void **state)
{
    (void)state;
    for (int phase = 0; phase < 2; phase++) {
        struct rig *rig = rig_new(&signed_spec);
        struct client c = dial(rig);
        struct hook h = push(PUSH);
        post(&c, &h);
        turn_until_sends(rig, 1);
        if (phase == 1)
            sink_answers(rig, OK, 500, 0);
        http_server_free(rig->server);
        rig->server = NULL;
        assert_int_equal(rig->sink.cancels, phase == 0);
        assert_int_equal(rig->counters.failed, 1);
        advance(rig, NS_PER_S);
        assert_int_equal(rig->sink.sends, 1);
        close(c.fd);
        rig_free(rig);
    }
}

static void closing_finishes_what_was_begun(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&signed_spec);
    struct hook h = push(PUSH);
    struct client sending = dial(rig), half = dial(rig), late = dial(rig);
    put_head(&half, &h);
    put(&half, slice_of(h.body.ptr, 10));
    post(&sending, &h);
    turn_until_sends(rig, 1);
    for (int i = 0; i < TURNS_MAX && rig->counters.received < 2; i++)
        turn(rig);
    assert_int_equal(rig->counters.received, 2);

    rig->source->ops->close(rig->source, on_closed, rig);
    turn(rig);
    assert_false(rig->closed);
    post(&late, &h);
    assert_int_equal(answer_of(rig, &late), 503);
    put(&half, slice_from(h.body, 10));
    assert_int_equal(answer_of(rig, &half), 503);
    assert_false(rig->closed);
    sink_answers(rig, OK, 202, 0);
    assert_int_equal(answer_of(rig, &sending), 202);
    turn_until(rig, &rig->closed);
    assert_int_equal(rig->sink.sends, 1);
    close(sending.fd);
    close(half.fd);
    close(late.fd);
    rig_free(rig);
}

static void without_a_secret_it_does_not_open(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"ownerAndRepository", "jo/mill"}};
    const struct source_spec spec = {
        .type = "github", .namespace_name = "n", .name = "t", .params = params, .param_count = 1};
    struct play sink = {.head = {.ops = &play_ops, .refs = 1}};
    struct source_counters counters = {0};
    struct source *out = NULL;
    struct diag d = {0};
    const struct source_ops *ops = source_find("github");
    assert_int_equal(ops->check(&spec, &d), ERR_INVALID);
    const struct source_host host = {.sink = &sink.head, .event_bytes_max = BYTES_MAX, .counters = &counters};
    assert_int_equal(ops->open(&spec, &host, &out, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "secretToken"));
    assert_null(out);
    assert_int_equal(sink.head.refs, 1);
    assert_null(source_find("gitlab"));
}

/* ---- every allocation fails once ---- */

/* As answer_of, but the server may also close the connection: 0. */
static int answer_or_end(struct rig *rig, struct client *c)
{
    c->len = 0;
    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t n = recv(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return 0;
        c->len += n > 0 ? (size_t)n : 0;
        if (whole(c))
            return c->status;
        turn(rig);
        if (rig->sink.call)
            sink_answers(rig, OK, 202, 0);
    }
    fail_msg("no answer");
    return 0;
}

static void a_webhook_when_memory_is_short(void **state)
{
    (void)state;
    unsigned accepted = 0, unavailable = 0;
    for (unsigned n = 1;; n++) {
        struct rig *rig = rig_new(&signed_spec);
        struct client c = dial(rig);
        struct hook h = push(PUSH);
        post(&c, &h);
        fault_arm(n);
        int status = answer_or_end(rig, &c);
        bool fired = fault_disarm();
        if (status != 202 && status != 503 && status != 0)
            fail_msg("allocation %u: %s", n, c.answer);
        /* Accepted means emitted; what the source saw at all, it counted once. The server may refuse before, or fail to
         * say it. */
        assert_true(status != 202 || rig->counters.emitted == 1);
        http_server_free(rig->server);
        rig->server = NULL;
        assert_int_equal(rig->counters.emitted + rig->counters.failed, rig->counters.received);
        accepted += status == 202;
        unavailable += status == 503;
        close(c.fd);
        rig_free(rig);
        if (!fired) {
            assert_int_equal(status, 202);
            break;
        }
    }
    assert_true(accepted >= 1 && unavailable >= 5);
}

static void opening_when_memory_is_short(void **state)
{
    (void)state;
    const struct source_ops *ops = source_find("github");
    struct play sink = {.head = {.ops = &play_ops, .refs = 1}};
    struct source_counters counters = {0};
    for (unsigned n = 1;; n++) {
        struct rig rig = {0};
        clock_fake_init(&rig.clock, 0, 0);
        assert_int_equal(loop_new(&rig.clock.base, 64, &rig.loop), OK);
        const struct source_host host = {
            .loop = rig.loop, .sink = &sink.head, .event_bytes_max = BYTES_MAX, .counters = &counters};
        fault_arm(n);
        enum err e = ops->open(&signed_spec, &host, &rig.source, NULL);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        if (e == OK) {
            ops->close(rig.source, on_closed, &rig);
            turn_until(&rig, &rig.closed);
        }
        assert_int_equal(sink.head.refs, 1);
        loop_free(rig.loop);
        if (!fired)
            return;
    }
}

struct registered {
    unsigned reports;
    bool ready, stopped;
};

static void on_report(void *arg, bool ready, const char *reason, const char *message, const char *id)
{
    struct registered *r = arg;
    assert_true(reason[0] && message[0]);
    assert_null(id);
    r->reports++;
    r->ready = ready;
}

static void on_stopped(void *arg)
{
    ((struct registered *)arg)->stopped = true;
}

/* GitHub's API is where nobody listens: there is a report all the same, and the end comes. */
static void registration_when_memory_is_short(void **state)
{
    (void)state;
    static const struct source_param params[] = {{"secretToken", SECRET},
                                                 {"ownerAndRepository", "jo/mill"},
                                                 {"accessToken", "t"},
                                                 {"githubAPIURL", "http://127.0.0.1:1/"}};
    const struct source_spec spec = {
        .type = "github", .namespace_name = "n", .name = "t", .params = params, .param_count = 4};
    const struct source_ops *ops = source_find("github");
    for (unsigned n = 1;; n++) {
        struct loop *loop;
        struct http_client *client;
        struct http_client_options options = {0};
        struct registered got = {0};
        struct source_registration *r = NULL;
        assert_int_equal(loop_new(clock_system(), 64, &loop), OK);
        assert_int_equal(http_client_new(loop, &options, &client), OK);
        fault_arm(n);
        enum err e = ops->register_start(&spec, loop, client, "https://mill.example.org/", NULL, on_report, &got, &r);
        for (int i = 0; e == OK && i < TURNS_MAX && got.reports == 0; i++)
            assert_int_equal(loop_turn(loop, NS_PER_MS), OK);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM));
        if (e == OK) {
            assert_int_equal(got.reports, 1);
            assert_false(got.ready);
            ops->register_stop(r, true, on_stopped, &got);
            for (int i = 0; i < TURNS_MAX && !got.stopped; i++)
                assert_int_equal(loop_turn(loop, NS_PER_MS), OK);
            assert_true(got.stopped);
        }
        http_client_free(client);
        loop_free(loop);
        if (!fired)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_webhook_is_accepted_when_the_sink_has_it),
        cmocka_unit_test(a_body_in_single_bytes_and_in_chunks),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(upper_case_digits_are_the_same_signature),
        cmocka_unit_test(too_large_is_refused_before_the_body),
        cmocka_unit_test(a_ping_is_answered_without_an_event),
        cmocka_unit_test(unsigned_webhooks_where_that_was_asked_for),
        cmocka_unit_test(a_failing_sink_is_tried_five_times),
        cmocka_unit_test(answers_after_one_try),
        cmocka_unit_test(a_sink_that_refuses_at_once),
        cmocka_unit_test(the_sink_s_wish_to_wait_is_heard),
        cmocka_unit_test(the_deadline_bounds_every_attempt),
        cmocka_unit_test(a_client_that_goes_away),
        cmocka_unit_test(the_server_goes_away),
        cmocka_unit_test(closing_finishes_what_was_begun),
        cmocka_unit_test(without_a_secret_it_does_not_open),
        cmocka_unit_test(a_webhook_when_memory_is_short),
        cmocka_unit_test(opening_when_memory_is_short),
        cmocka_unit_test(registration_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
