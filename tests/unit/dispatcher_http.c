/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher over real HTTP: our sink, our client, our server, on loopback. What a service sees on the wire, and
 * the observed transcript of Knative's data plane once more with real answers. The clock is the fake one, so a
 * service that hangs for half a minute costs no time.
 */
#include <ctype.h>

#include "../lib/dispatcher_rig.h"
#include "ce_http.h"
#include "http_server.h"
#include "http_sink.h"

#define HITS_MAX 64
#define X_BYTES 36864

struct answer {
    int status; /* 0: none, ever */
    const char *header, *value;
    struct slice body;
};

struct hit {
    char path[16];
    char *head; /* header lines, names in lower case: "\nce-id: 0\n..." */
    char *body;
    size_t body_len;
};

struct site {
    struct rig *rig;
    struct http_server *server;
    struct http_listener *listener;
    struct http_client *client;
    struct sink *sub, *reply, *dead;
    struct answer subscriber, replier, grave; /* what /sub, /reply and /dead answer */
    struct hit hits[HITS_MAX];
    size_t count;
    char trace[HITS_MAX + 1];
};

static char xs[X_BYTES];

static struct answer *answer_of(struct site *s, const char *path)
{
    return strcmp(path, "/sub") == 0 ? &s->subscriber : strcmp(path, "/reply") == 0 ? &s->replier : &s->grave;
}

static void on_head(struct http_request *q, void *arg)
{
    (void)arg;
    http_request_allow_body(q, 1u << 24);
}

static void on_end(struct http_request *q)
{
    struct site *s = http_request_arg(q);
    assert_true(s->count < HITS_MAX);
    struct hit *hit = &s->hits[s->count];
    snprintf(hit->path, sizeof hit->path, "%.*s", SLICE_ARG(http_request_path(q)));
    s->trace[s->count++] = (char)toupper((unsigned char)hit->path[1]);
    size_t n;
    const struct http_header *headers = http_request_headers(q, &n);
    struct buf head;
    buf_init(&head, 1u << 16);
    buf_put_char(&head, '\n');
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < headers[i].name.len; j++)
            buf_put_char(&head, (char)tolower((unsigned char)headers[i].name.ptr[j]));
        buf_printf(&head, ": %.*s\n", SLICE_ARG(headers[i].value));
    }
    hit->head = buf_take_string(&head);
    assert_non_null(hit->head);
    struct slice body = http_request_body(q);
    hit->body = malloc(body.len + 1);
    assert_non_null(hit->body);
    if (body.len)
        memcpy(hit->body, body.ptr, body.len);
    hit->body_len = body.len;
    const struct answer *a = answer_of(s, hit->path);
    if (a->status == 0)
        return;
    struct http_header out[] = {{slice_str(a->header), slice_str(a->value)},
                                {SLICE("ce-id"), SLICE("answer")},
                                {SLICE("ce-source"), SLICE("/service")},
                                {SLICE("ce-type"), SLICE("reply")},
                                {SLICE("knative-bar"), SLICE("baz")}};
    bool event = a->header && strcmp(a->header, "ce-specversion") == 0;
    size_t count = event ? 5 : a->header ? 1 : 0;
    http_respond(q, a->status, out, count, a->body);
}

static const struct http_handler handler = {.head = on_head, .end = on_end};

static struct sink *sink_at(struct site *s, const char *base, const char *path)
{
    char url[128];
    struct sink *sink = NULL;
    struct diag d;
    snprintf(url, sizeof url, "http://%s%s", base, path);
    if (http_sink_new(s->client, slice_str(url), NULL, &sink, &d) != OK)
        fail_msg("%s: %s", url, d.text);
    return sink;
}

static struct site *open_site(void)
{
    struct site *s = calloc(1, sizeof *s);
    assert_non_null(s);
    struct rig *r = s->rig = rig_new(1);
    struct diag d;
    assert_int_equal(http_server_new(r->loop, &(struct http_server_options){0}, &handler, s, &s->server), OK);
    if (http_listener_open(r->loop, "127.0.0.1:0", &s->server, 1, &s->listener, &d) != OK)
        fail_msg("%s", d.text);
    assert_int_equal(http_client_new(r->loop, &(struct http_client_options){0}, &s->client), OK);
    const char *base = http_listener_address(s->listener);
    s->sub = sink_at(s, base, "/sub");
    s->reply = sink_at(s, base, "/reply");
    s->dead = sink_at(s, base, "/dead");
    s->subscriber.status = s->replier.status = s->grave.status = 202;
    r->spec.subscriber = s->sub;
    r->spec.reply = s->reply;
    r->spec.dead_letter = s->dead;
    r->spec.delivery.backoff_delay_ns = MS;
    return s;
}

static void step(struct site *s, uint64_t ns)
{
    clock_fake_advance(&s->rig->clock, ns);
    assert_int_equal(loop_turn(s->rig->loop, MS), OK);
}

static void publish(struct site *s, struct slice data)
{
    struct rig *r = s->rig;
    struct ce_builder b;
    const struct ce_event *e = NULL;
    rig_publish(r);
    struct rig_event *last = &r->bus.events[r->bus.count - 1];
    ce_builder_from(&b, last->event);
    ce_builder_header(&b, SLICE("knative-foo"), SLICE("bar"));
    if (data.len)
        ce_builder_data(&b, CE_DATA_BYTES, data);
    assert_int_equal(ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, NULL), OK);
    ce_event_unref(last->event);
    last->event = e;
}

/* One event from start to its end. */
static void deliver(struct site *s, struct slice data, uint64_t tick_ns)
{
    publish(s, data);
    if (!s->rig->stream)
        rig_start(s->rig);
    const struct rig_event *e = &s->rig->bus.events[s->rig->bus.count - 1];
    for (int i = 0; i < 20000 && e->state != RIG_ACKED; i++)
        step(s, tick_ns);
    assert_int_equal(e->state, RIG_ACKED);
}

static void close_site(struct site *s)
{
    struct rig *r = s->rig;
    rig_stop(r, 0);
    rig_turn(r);
    assert_true(r->stopped);
    assert_int_equal(s->sub->refs + s->reply->refs + s->dead->refs, 3);
    sink_unref(s->sub);
    sink_unref(s->reply);
    sink_unref(s->dead);
    http_client_free(s->client);
    http_listener_close(s->listener);
    http_server_free(s->server);
    for (size_t i = 0; i < s->count; i++) {
        free(s->hits[i].head);
        free(s->hits[i].body);
    }
    rig_free(r);
    free(s);
}

static bool has(const struct hit *h, const char *line)
{
    char text[1400];
    snprintf(text, sizeof text, "\n%s\n", line);
    return strstr(h->head, text) != NULL;
}

static bool has_name(const struct hit *h, const char *name)
{
    char text[100];
    snprintf(text, sizeof text, "\n%s:", name);
    return strstr(h->head, text) != NULL;
}

static void what_the_services_see(void **state)
{
    (void)state;
    struct site *s = open_site();
    s->subscriber = (struct answer){.status = 200, .header = "ce-specversion", .value = "1.0", .body = SLICE("ok")};
    deliver(s, SLICE("payload"), MS);
    assert_string_equal(s->trace, "SR");
    const struct hit *sub = &s->hits[0], *reply = &s->hits[1];
    assert_true(has(sub, "prefer: reply") && has(sub, "kn-namespace: ns"));
    assert_true(has(sub, "x-request-id: rid") && has(sub, "knative-foo: bar"));
    assert_true(has(sub, "ce-id: 0") && has(sub, "ce-source: s") && has(sub, "ce-type: t"));
    assert_int_equal(sub->body_len, 7);
    assert_memory_equal(sub->body, "payload", 7);
    assert_false(has_name(reply, "prefer") || has_name(reply, "knative-foo") || has_name(reply, "x-request-id"));
    assert_true(has(reply, "knative-bar: baz") && has(reply, "ce-id: answer") && has(reply, "kn-namespace: ns"));
    assert_memory_equal(reply->body, "ok", 2);
    close_site(s);
}

static void the_observed_transcript_holds_on_the_wire(void **state)
{
    (void)state;
    static const struct {
        struct answer sub, reply, dead;
        unsigned retry;
        bool must_be_event;
        const char *trace, *code, *data;
    } rows[] = {
        {{.status = 200, .header = "Content-Type", .value = "text/plain", .body = SLICE_INIT("hello")},
         {.status = 202},
         {.status = 202},
         1,
         false,
         "S",
         NULL,
         NULL},
        {{.status = 200, .header = "Content-Type", .value = "text/plain", .body = SLICE_INIT("hello")},
         {.status = 202},
         {.status = 202},
         1,
         true,
         "SD",
         "502",
         "aGVsbG8="},
        {{.status = 202, .header = "ce-specversion", .value = "1.0"},
         {.status = 202},
         {.status = 202},
         1,
         true,
         "S",
         NULL,
         NULL},
        {{.status = 200,
          .header = "Content-Type",
          .value = "application/cloudevents-batch+json",
          .body = SLICE_INIT("[]")},
         {.status = 202},
         {.status = 202},
         1,
         true,
         "SD",
         "502",
         "W10="},
        {{.status = 200, .header = "ce-specversion", .value = "1.0"},
         {.status = 503, .body = SLICE_INIT("rbad")},
         {.status = 202},
         1,
         false,
         "SRRD",
         "503",
         "cmJhZA=="},
        {{.status = 302, .header = "Location", .value = "/reply"},
         {.status = 202},
         {.status = 202},
         1,
         false,
         "SD",
         "302",
         NULL},
        {{.status = 304}, {.status = 202}, {.status = 202}, 1, false, "SD", "304", NULL},
        {{.status = 500}, {.status = 202}, {.status = 202}, 2, false, "SSSD", "500", NULL},
        {{.status = 422, .body = SLICE_INIT("{ \"message\": \"catastrophic failure\" }")},
         {.status = 202},
         {.status = 202},
         2,
         false,
         "SD",
         "422",
         "eyAibWVzc2FnZSI6ICJjYXRhc3Ryb3BoaWMgZmFpbHVyZSIgfQ=="},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct site *s = open_site();
        s->subscriber = rows[i].sub;
        s->replier = rows[i].reply;
        s->grave = rows[i].dead;
        s->rig->spec.delivery.retry = rows[i].retry;
        s->rig->spec.reply_must_be_event = rows[i].must_be_event;
        deliver(s, SLICE("payload"), MS);
        if (strcmp(s->trace, rows[i].trace) != 0)
            fail_msg("row %zu: %s", i, s->trace);
        if (rows[i].code) {
            const struct hit *dead = &s->hits[s->count - 1];
            char line[1200];
            assert_false(has_name(dead, "prefer"));
            assert_true(has(dead, "ce-id: 0") && has(dead, "knative-foo: bar"));
            snprintf(line, sizeof line, "ce-knativeerrordest: %s",
                     strstr(rows[i].trace, "R") ? s->reply->url : s->sub->url);
            assert_true(has(dead, line));
            snprintf(line, sizeof line, "ce-knativeerrorcode: %s", rows[i].code);
            assert_true(has(dead, line));
            snprintf(line, sizeof line, "ce-knativeerrordata: %s", rows[i].data ? rows[i].data : "");
            assert_int_equal(has(dead, line), rows[i].data != NULL);
            assert_int_equal(has_name(dead, "ce-knativeerrordata"), rows[i].data != NULL);
        }
        close_site(s);
    }
}

static void long_events_and_long_answers_pass_unchanged(void **state)
{
    (void)state;
    memset(xs, 'X', sizeof xs);
    struct site *s = open_site();
    s->subscriber =
        (struct answer){.status = 200, .header = "ce-specversion", .value = "1.0", .body = slice_of(xs, X_BYTES)};
    deliver(s, slice_of(xs, X_BYTES), MS);
    assert_string_equal(s->trace, "SR");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(s->hits[i].body_len, X_BYTES);
        assert_memory_equal(s->hits[i].body, xs, X_BYTES);
    }
    close_site(s);
    s = open_site(); /* and as an error body it is cut, not feared */
    s->subscriber = (struct answer){.status = 422, .body = slice_of(xs, X_BYTES)};
    deliver(s, slice_of(xs, X_BYTES), MS);
    assert_string_equal(s->trace, "SD");
    const char *data = strstr(s->hits[1].head, "\nce-knativeerrordata: ");
    assert_non_null(data);
    assert_int_equal(strcspn(data + 22, "\n"), 1024);
    assert_int_equal(s->hits[1].body_len, X_BYTES);
    close_site(s);
}

static void a_service_that_hangs_or_refuses_ends_as_a_dead_letter(void **state)
{
    (void)state;
    struct site *s = open_site();
    s->subscriber.status = 0;
    s->rig->spec.delivery.retry = 1;
    deliver(s, SLICE("payload"), 100 * MS);
    assert_string_equal(s->trace, "SSD");
    assert_true(has(&s->hits[2], "ce-knativeerrorcode: 500"));
    assert_true(has_name(&s->hits[2], "ce-knativeerrordata"));
    close_site(s);

    s = open_site();
    struct sink *nobody = sink_at(s, "127.0.0.1:1", "/");
    s->rig->spec.subscriber = nobody;
    s->rig->spec.delivery.retry = 2;
    deliver(s, SLICE("payload"), MS);
    assert_string_equal(s->trace, "D");
    assert_int_equal(s->rig->counters.failed_attempts, 3);
    assert_true(has(&s->hits[0], "ce-knativeerrordest: http://127.0.0.1:1/"));
    rig_stop(s->rig, 0);
    rig_turn(s->rig);
    s->rig->stopped = false;
    sink_unref(nobody);
    s->rig->spec.subscriber = s->sub;
    rig_start(s->rig);
    close_site(s);
}

static void the_format_is_the_subscribers(void **state)
{
    (void)state;
    struct site *s = open_site();
    s->subscriber.status = 400;
    s->rig->spec.delivery.format = CE_MODE_STRUCTURED;
    deliver(s, SLICE("payload"), MS);
    assert_string_equal(s->trace, "SD");
    assert_true(strstr(s->hits[0].head, "\ncontent-type: application/cloudevents+json") != NULL);
    assert_true(has(&s->hits[1], "ce-id: 0"));
    close_site(s);
}

static void stopping_cuts_open_requests(void **state)
{
    (void)state;
    struct site *s = open_site();
    s->subscriber.status = 0;
    for (int i = 0; i < 10; i++)
        publish(s, SLICE("payload"));
    rig_start(s->rig);
    for (int i = 0; i < 20000 && s->count < 10; i++)
        step(s, 0);
    assert_int_equal(s->count, 10);
    close_site(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_services_see),
        cmocka_unit_test(the_observed_transcript_holds_on_the_wire),
        cmocka_unit_test(long_events_and_long_answers_pass_unchanged),
        cmocka_unit_test(a_service_that_hangs_or_refuses_ends_as_a_dead_letter),
        cmocka_unit_test(the_format_is_the_subscribers),
        cmocka_unit_test(stopping_cuts_open_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
