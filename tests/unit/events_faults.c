/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of decoding and encoding fails once: the answer is ERR_NOMEM, outputs stay untouched, nothing leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "../lib/fault.h"
#include "ce_http.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FOUR "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static const struct ce_http_limits limits = {1 << 20, 8};
static char large[5000]; /* more than the scratch memory in place */

struct message {
    struct http_header headers[6];
    size_t count;
    struct slice body;
};

/* Runs until a run meets no fault; how many runs met one. */
static unsigned decode_with_faults(const struct message *m)
{
    for (unsigned n = 1;; n++) {
        const struct ce_event *out[8] = {NULL};
        size_t count = 99;
        struct diag d;
        fault_arm(n);
        enum err e = ce_http_decode(m->headers, m->count, m->body, &limits, out, 8, &count, &d);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(out[i] != NULL, e == OK && i < count);
            ce_event_unref(out[i]);
        }
        if (!fired)
            return n - 1;
    }
}

static void test_decoding(void **state)
{
    (void)state;
    memset(large, '%', sizeof large);
    struct message binary = {{{SLICE("CE-SpecVersion"), SLICE("1.0")},
                              {SLICE("CE-Id"), SLICE("%31")},
                              {SLICE("CE-Source"), SLICE("/s")},
                              {SLICE("CE-Type"), SLICE("t")},
                              {SLICE("CE-Large"), slice_of(large, sizeof large)}},
                             5,
                             SLICE("body")};
    assert_int_equal(decode_with_faults(&binary), 2); /* scratch memory, event */
    binary.headers[0] = (struct http_header){SLICE("CE-CloudEventsVersion"), SLICE("\"0.1\"")};
    binary.headers[1].name = SLICE("CE-EventID");
    binary.headers[3].name = SLICE("CE-EventType");
    binary.headers[4].name = SLICE("CE-X-Large");
    assert_int_equal(decode_with_faults(&binary), 2);

    struct buf body;
    buf_init(&body, 1 << 20);
    buf_put_str(&body, "[{" FOUR ",\"data_base64\":\"");
    for (int i = 0; i < 1000; i++)
        buf_put_str(&body, "AAAA");
    buf_put_str(&body, "\"},{" FOUR ",\"x\":\"");
    for (int i = 0; i < 1000; i++)
        buf_put_str(&body, "\\u0041");
    buf_put_str(&body, "\"},{\"cloudEventsVersion\":\"0.1\",\"eventID\":\"1\",\"eventType\":\"t\",\"source\":\"/s\"}]");
    struct message batch = {
        {{SLICE("Content-Type"), SLICE("application/cloudevents-batch+json")}}, 1, buf_slice(&body)};
    assert_int_equal(decode_with_faults(&batch), 5);
    buf_fini(&body);
}

static void test_encoding(void **state)
{
    (void)state;
    struct ce_builder b;
    const struct ce_event *e = NULL;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("a \"b\""));
    ce_builder_set(&b, SLICE("source"), CE_STRING, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("t"));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of(large, sizeof large));
    assert_int_equal(ce_builder_seal(&b, 1 << 20, &e, NULL), OK);
    for (unsigned n = 1;; n++) {
        struct buf headers, body;
        buf_init(&headers, 1 << 20);
        buf_init(&body, 1 << 20);
        fault_arm(n);
        ce_http_encode_structured(e, &headers, &body);
        ce_http_encode_binary(e, &headers);
        bool fired = fault_disarm();
        assert_int_equal(buf_error(&headers) == ERR_NOMEM || buf_error(&body) == ERR_NOMEM, fired);
        buf_fini(&headers);
        buf_fini(&body);
        if (!fired)
            break;
        assert_true(n < 50);
    }
    ce_event_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decoding), cmocka_unit_test(test_encoding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
