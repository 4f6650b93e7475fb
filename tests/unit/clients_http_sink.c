/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP sink against small servers: what goes out, byte for byte, and what is made of what comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../lib/http_peer.h"
#include "http_sink.h"

#define CE "ce-specversion: 1.0\r\nce-id: r1\r\nce-source: /reply\r\nce-type: answer\r\n"
#define NOW_NS (784111777ll * 1000000000) /* Sun, 06 Nov 1994 08:49:37 GMT */

static struct asker asker;
static struct clock_fake fake;
static struct peer peer;
static struct sink *sink;

struct send {
    struct sink_call call;
    bool done;
    enum err err;
    int status;
    uint64_t retry_after_ns;
    char body[2000], detail[400], url[200];
    size_t body_len;
    const struct ce_event *reply; /* a reference */
    bool malformed;
};

static void keep(struct sink_call *call, const struct sink_answer *a)
{
    struct send *x = container_of(call, struct send, call);
    assert_false(x->done);
    x->done = true;
    x->err = a->err;
    x->status = a->status;
    x->retry_after_ns = a->retry_after_ns;
    x->body_len = a->body.len;
    snprintf(x->body, sizeof(x->body), "%.*s", SLICE_ARG(a->body));
    snprintf(x->detail, sizeof(x->detail), "%.*s", SLICE_ARG(a->detail));
    snprintf(x->url, sizeof(x->url), "%s", a->url);
    x->reply = a->reply ? ce_event_ref(a->reply) : NULL;
    x->malformed = a->reply_malformed;
}

static void set_up(peer_fn *script, const char *arg, const char *path)
{
    char url[200];
    struct diag d;
    alarm(60);
    peer_start(&peer, script, (void *)(uintptr_t)arg);
    asker_init(&asker, NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", peer.port, path);
    assert_int_equal(http_sink_new(asker.client, slice_str(url), NULL, &sink, &d), OK);
}

static void tear_down(void)
{
    sink = sink_unref(sink);
    asker_fini(&asker);
    peer_stop(&peer);
}

static const struct ce_event *event_of(enum ce_mode mode, const char *data)
{
    struct ce_builder b;
    const struct ce_event *e;
    struct diag d;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_set(&b, SLICE("subject"), CE_STRING, SLICE("line\xe2\x82\xac"));
    ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, SLICE("application/json"));
    if (data)
        ce_builder_data(&b, CE_DATA_BYTES, slice_str(data));
    ce_builder_mode(&b, mode);
    ce_builder_header(&b, SLICE("x-request-id"), SLICE("rid"));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, &d), OK);
    return e;
}

static void send_event(struct send *x, const struct ce_event *e, struct sink_request q)
{
    *x = (struct send){.call.done = keep};
    q.event = e;
    assert_int_equal(sink_send(sink, &x->call, &q), OK);
    assert_false(x->done);
    ce_event_unref(e); /* the sink has its own reference */
    while (!x->done)
        asker_turn(&asker);
}

/* ---- requests ---- */

#define ACCEPTED "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

static void assert_header(const char *request, const char *line)
{
    char whole[300];
    snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
    if (!strcasestr(request, whole))
        print_error("%s is not in:\n%s\n", line, request);
    assert_non_null(strcasestr(request, whole));
}

static void a_binary_event_goes_out_as_headers_and_data(void **state)
{
    (void)state;
    struct send x;
    char host[60];
    set_up(peer_answer_all, ACCEPTED, "/hook?x=1#part");
    snprintf(host, sizeof(host), "Host: 127.0.0.1:%u", peer.port);
    struct sink_request q = {.format = -1, .want_reply = true, .namespace_name = SLICE("team")};
    send_event(&x, event_of(CE_MODE_BINARY, "{\"n\": 1.0}"), q);
    assert_int_equal(x.err, OK);
    assert_int_equal(x.status, 202);
    assert_string_equal(x.detail, "");
    assert_non_null(strstr(x.url, "/hook?x=1"));
    tear_down();
    const char *r = peer.last;
    assert_non_null(strstr(r, "POST /hook?x=1 HTTP/1.1\r\n"));
    assert_header(r, host);
    assert_header(r, "User-Agent: leat/" LEAT_VERSION);
    assert_header(r, "ce-id: 1");
    assert_header(r, "ce-source: /s");
    assert_header(r, "ce-subject: line%E2%82%AC");
    assert_header(r, "Content-Type: application/json");
    assert_header(r, "x-request-id: rid");
    assert_header(r, "Prefer: reply");
    assert_header(r, "Kn-Namespace: team");
    assert_header(r, "Content-Length: 10");
    assert_string_equal(strstr(r, "\r\n\r\n") + 4, "{\"n\": 1.0}");
}

static void a_structured_event_goes_out_as_an_envelope(void **state)
{
    (void)state;
    static const struct {
        enum ce_mode mode;
        int format;
        bool structured;
    } all[] = {{CE_MODE_STRUCTURED, -1, true},
               {CE_MODE_BATCH, -1, true},
               {CE_MODE_BINARY, CE_MODE_STRUCTURED, true},
               {CE_MODE_BINARY, -1, false},
               {CE_MODE_STRUCTURED, CE_MODE_BINARY, false}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct send x;
        set_up(peer_answer_all, ACCEPTED, "");
        send_event(&x, event_of(all[i].mode, "{}"), (struct sink_request){.format = all[i].format});
        assert_int_equal(x.status, 202);
        tear_down();
        assert_non_null(strstr(peer.last, "POST / HTTP/1.1\r\n"));
        assert_null(strstr(peer.last, "Prefer"));
        assert_null(strstr(peer.last, "Kn-Namespace"));
        if (all[i].structured) {
            assert_header(peer.last, "Content-Type: application/cloudevents+json; charset=UTF-8");
            assert_null(strcasestr(peer.last, "\r\nce-id:"));
            assert_non_null(strstr(peer.last, "\"id\":\"1\""));
        } else {
            assert_header(peer.last, "ce-id: 1");
            assert_string_equal(strstr(peer.last, "\r\n\r\n") + 4, "{}");
        }
    }
}

static void an_event_without_data_has_no_body(void **state)
{
    (void)state;
    struct send x;
    set_up(peer_answer_all, ACCEPTED, "/");
    send_event(&x, event_of(CE_MODE_BINARY, NULL), (struct sink_request){.format = -1});
    tear_down();
    assert_header(peer.last, "Content-Length: 0");
    assert_string_equal(strstr(peer.last, "\r\n\r\n"), "\r\n\r\n");
}

static void several_events_go_out_as_a_batch(void **state)
{
    (void)state;
    struct send x = {.call.done = keep};
    set_up(peer_answer_all, ACCEPTED, "/");
    const struct ce_event *events[3] = {event_of(CE_MODE_BINARY, "{\"n\": 1.0}"), event_of(CE_MODE_STRUCTURED, NULL),
                                        event_of(CE_MODE_BATCH, "3")};
    for (size_t count = 1; count <= 3; count += 2) { /* one alone is a batch too */
        struct sink_request q = {.event = events[0],
                                 .batch = events,
                                 .batch_count = count,
                                 .format = CE_MODE_BINARY, /* does not count */
                                 .namespace_name = SLICE("team")};
        x = (struct send){.call.done = keep};
        assert_int_equal(sink_send(sink, &x.call, &q), OK);
        while (!x.done)
            asker_turn(&asker);
        assert_int_equal(x.status, 202);
    }
    tear_down();
    assert_header(peer.last, "Content-Type: application/cloudevents-batch+json; charset=UTF-8");
    assert_header(peer.last, "Kn-Namespace: team");
    assert_null(strcasestr(peer.last, "\r\nce-id:"));
    assert_null(strcasestr(peer.last, "x-request-id"));
    assert_null(strstr(peer.last, "Prefer"));
    /* And it is one that our own decoder reads. */
    struct http_header header = {SLICE("Content-Type"), SLICE("application/cloudevents-batch+json; charset=UTF-8")};
    struct ce_http_limits limits = {.event_bytes_max = 1 << 20, .batch_max = 3};
    const struct ce_event *back[3];
    size_t count;
    struct diag d;
    struct slice body = slice_str(strstr(peer.last, "\r\n\r\n") + 4);
    assert_int_equal(ce_http_decode(&header, 1, body, &limits, back, 3, &count, &d), OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(slice_eq(ce_event_data(back[i]), ce_event_data(events[i])));
        ce_event_unref(back[i]);
        ce_event_unref(events[i]);
    }
}

static void calls_are_used_again(void **state)
{
    (void)state;
    set_up(peer_answer_all, ACCEPTED, "/");
    for (int i = 0; i < 200; i++) {
        struct send x[3];
        struct sink_request q = {.format = i % 2, .event = event_of(CE_MODE_BINARY, "{}")};
        for (int k = 0; k < 3; k++) {
            x[k] = (struct send){.call.done = keep};
            assert_int_equal(sink_send(sink, &x[k].call, &q), OK);
        }
        sink_cancel(&x[1].call);
        ce_event_unref(q.event);
        while (!x[0].done)
            asker_turn(&asker);
        sink_cancel(&x[2].call);
        assert_int_equal(x[0].status, 202);
        assert_false(x[1].done || x[2].done);
    }
    tear_down();
}

/* ---- replies ---- */

struct reply_case {
    const char *answer;
    bool reply, malformed;
    const char *words; /* in the detail */
};

static struct send ask_reply(const char *answer, bool want_reply)
{
    struct send x;
    set_up(peer_answer_all, answer, "/");
    send_event(&x, event_of(CE_MODE_BINARY, "{}"), (struct sink_request){.format = -1, .want_reply = want_reply});
    tear_down();
    return x;
}

static void replies_are_told_from_other_answers(void **state)
{
    (void)state;
    static const struct reply_case all[] = {
        {"HTTP/1.1 200 OK\r\n" CE "Content-Length: 2\r\n\r\nhi", true, false, ""},
        {"HTTP/1.1 201 OK\r\n" CE "Content-Length: 0\r\n\r\n", true, false, ""},
        {"HTTP/1.1 204 OK\r\n" CE "\r\n", true, false, ""},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/cloudevents+json\r\nTransfer-Encoding: chunked\r\n\r\n"
         "44\r\n{\"specversion\":\"1.0\",\"id\":\"r1\",\"source\":\"/reply\",\"type\":\"answer\"   }\r\n0\r\n\r\n",
         true, false, ""},
        {"HTTP/1.1 202 OK\r\n" CE "Content-Length: 2\r\n\r\nhi", false, false, ""},
        {"HTTP/1.1 202 OK\r\nContent-Length: 2\r\n\r\nhi", false, false, ""},
        {"HTTP/1.1 500 OK\r\n" CE "Content-Length: 2\r\n\r\nhi", false, false, ""},
        {"HTTP/1.1 302 OK\r\n" CE "Content-Length: 2\r\n\r\nhi", false, false, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, false, ""},
        {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", false, true, "no CloudEvent"},
        {"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: 1\r\nContent-Length: 0\r\n\r\n", false, true, "source"},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/cloudevents+json\r\nContent-Length: 2\r\n\r\n{}", false, true,
         ""},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/cloudevents+json\r\nContent-Length: 2\r\n\r\n{]", false, true,
         ""},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/cloudevents-batch+json\r\nContent-Length: 2\r\n\r\n[]", false,
         true, "batch"},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/cloudevents+xml\r\nContent-Length: 2\r\n\r\n<>", false, true,
         ""},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct send x = ask_reply(all[i].answer, true);
        if ((x.reply != NULL) != all[i].reply || x.malformed != all[i].malformed || !strstr(x.detail, all[i].words))
            print_error("case %zu: %s\n", i, x.detail);
        assert_int_equal(x.err, OK);
        assert_int_equal(x.reply != NULL, all[i].reply);
        assert_int_equal(x.malformed, all[i].malformed);
        assert_non_null(strstr(x.detail, all[i].words));
        assert_int_equal(x.detail[0] != '\0', all[i].malformed);
        if (x.reply)
            assert_true(slice_eq_str(ce_event_id(x.reply), "r1"));
        ce_event_unref(x.reply);
        /* Who wants no reply gets none, and no complaint. */
        x = ask_reply(all[i].answer, false);
        assert_null(x.reply);
        assert_false(x.malformed);
    }
}

static void write_without_end(struct peer *p)
{
    int fd = peer_accept(p);
    if (peer_read(p, fd) && peer_write(p, fd, p->arg))
        while (peer_write(p, fd, "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"))
            ;
    close(fd);
}

static void a_reply_without_end_is_malformed(void **state)
{
    (void)state;
    static const char *const all[] = {"HTTP/1.1 200 OK\r\n" CE "\r\n",
                                      "HTTP/1.1 200 OK\r\n" CE "Content-Length: 10737418240\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct send x;
        set_up(write_without_end, all[i], "/");
        send_event(&x, event_of(CE_MODE_BINARY, "{}"), (struct sink_request){.format = -1, .want_reply = true});
        tear_down();
        assert_int_equal(x.err, OK);
        assert_true(x.malformed);
        assert_non_null(strstr(x.detail, "larger"));
        assert_int_equal(x.body_len, 1 << 20);
    }
}

static void a_failures_body_is_kept(void **state)
{
    (void)state;
    char answer[2000] = "HTTP/1.1 422 No\r\nContent-Length: 1000\r\n\r\n";
    size_t at = strlen(answer);
    memset(answer + at, 'q', 1000);
    struct send x = ask_reply(answer, true);
    assert_int_equal(x.status, 422);
    assert_int_equal(x.body_len, 1000);
    assert_false(x.malformed);
}

/* ---- Retry-After ---- */

static void retry_after_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t seconds;
    } all[] = {
        {"120", 120},
        {"0", 0},
        {"Sun, 06 Nov 1994 08:49:40 GMT", 3},
        {"Sunday, 06-Nov-94 08:50:37 GMT", 60},
        {"Sun Nov  6 09:49:37 1994", 3600},
        {"Mon, 07 Nov 1994 08:49:37 GMT", 86400},
        {"Sun, 06 Nov 1994 08:49:36 GMT", 0}, /* has passed */
        {"-5", 0},
        {"1.5", 0},
        {"soon", 0},
        {"", 0},
        {",", 0},
        {"Sun, 06 Nov 1994 08:49:40 UTC", 0},
        {"Sun, 36 Nov 1994 08:49:40 GMT", 0},
        {"Sun, 06 Nix 1994 08:49:40 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:40 GMTxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0},
        {"99999999999999999999999", 0},
        {"18446744073", 18446744073},
    };
    clock_fake_init(&fake, 1, NOW_NS);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char answer[300], url[60];
        struct send x;
        struct diag d;
        snprintf(answer, sizeof(answer), "HTTP/1.1 503 Busy\r\nretry-after: %s\r\nContent-Length: 0\r\n\r\n",
                 all[i].value);
        alarm(60);
        peer_start(&peer, peer_answer_all, answer);
        assert_int_equal(loop_new(&fake.base, 1, &asker.loop), OK);
        assert_int_equal(http_client_new(asker.loop, &(struct http_client_options){0}, &asker.client), OK);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", peer.port);
        assert_int_equal(http_sink_new(asker.client, slice_str(url), NULL, &sink, &d), OK);
        send_event(&x, event_of(CE_MODE_BINARY, "{}"), (struct sink_request){.format = -1});
        tear_down();
        if (x.retry_after_ns != all[i].seconds * NS_PER_S)
            print_error("%s\n", all[i].value);
        assert_int_equal(x.retry_after_ns, all[i].seconds * NS_PER_S);
    }
}

/* ---- no answer ---- */

static void what_went_wrong_is_said(void **state)
{
    (void)state;
    struct send x;
    struct diag d;
    set_up(peer_be_silent, NULL, "/slow");
    send_event(&x, event_of(CE_MODE_BINARY, "{}"), (struct sink_request){.format = -1, .timeout_ns = 30 * NS_PER_MS});
    assert_int_equal(x.err, ERR_TIMEOUT);
    assert_int_equal(x.status, 0);
    assert_non_null(strstr(x.detail, "within 30 ms"));
    assert_non_null(strstr(x.url, "/slow"));
    sink_unref(sink);
    assert_int_equal(http_sink_new(asker.client, SLICE("http://127.0.0.1:9"), NULL, &sink, &d), OK);
    send_event(&x, event_of(CE_MODE_BINARY, "{}"), (struct sink_request){.format = -1});
    assert_int_equal(x.err, ERR_UNAVAILABLE);
    assert_string_equal(x.detail, "connection refused by 127.0.0.1:9");
    assert_string_equal(x.url, "http://127.0.0.1:9/");
    tear_down();
    x = ask_reply("220 smtp ready\r\n", true);
    assert_int_equal(x.err, ERR_PROTOCOL);
    assert_non_null(strstr(x.detail, "is no HTTP"));
}

static void a_bad_url_is_refused(void **state)
{
    (void)state;
    struct diag d = {.text = ""};
    asker_init(&asker, NULL);
    assert_int_equal(http_sink_new(asker.client, SLICE("ftp://x/"), NULL, &sink, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "http://"));
    assert_null(sink);
    asker_fini(&asker);
}

/* Gives the last reference back from within done, as a subscription that is deleted does. */
static void give_back(struct sink_call *call, const struct sink_answer *a)
{
    struct send *x = container_of(call, struct send, call);
    sink = sink_unref(sink);
    x->done = true;
    assert_non_null(strstr(a->url, "http://"));
    assert_true(a->reply_malformed && a->detail.len);
}

static void the_last_reference_may_go_in_done(void **state)
{
    (void)state;
    struct send x = {.call.done = give_back};
    struct sink_request q = {.format = -1, .want_reply = true};
    set_up(peer_answer_all, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "/");
    q.event = event_of(CE_MODE_BINARY, "{}");
    assert_int_equal(sink_send(sink, &x.call, &q), OK);
    ce_event_unref(q.event);
    while (!x.done)
        asker_turn(&asker);
    assert_int_equal(asker_open(&asker), 0);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_binary_event_goes_out_as_headers_and_data),
        cmocka_unit_test(a_structured_event_goes_out_as_an_envelope),
        cmocka_unit_test(an_event_without_data_has_no_body),
        cmocka_unit_test(several_events_go_out_as_a_batch),
        cmocka_unit_test(calls_are_used_again),
        cmocka_unit_test(replies_are_told_from_other_answers),
        cmocka_unit_test(a_reply_without_end_is_malformed),
        cmocka_unit_test(a_failures_body_is_kept),
        cmocka_unit_test(retry_after_is_read),
        cmocka_unit_test(what_went_wrong_is_said),
        cmocka_unit_test(a_bad_url_is_refused),
        cmocka_unit_test(the_last_reference_may_go_in_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
