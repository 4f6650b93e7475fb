/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Nanoseconds per decode and encode of one event over HTTP, in records of Kafka and messages of AMQP, and per packing
 * and unpacking: 1 KiB of JSON, seven ce- headers. Printed, never asserted. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ce_amqp.h"
#include "ce_http.h"
#include "ce_kafka.h"
#include "ce_pack.h"

#define ROUNDS 300000

static const struct ce_http_limits limits = {1 << 20, 16};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(const char *what, double start)
{
    printf("%-34s %8.0f ns\n", what, (now_ns() - start) / ROUNDS);
}

static const struct http_header plain[] = {
    {SLICE_INIT("Host"), SLICE_INIT("localhost:8080")},
    {SLICE_INIT("User-Agent"), SLICE_INIT("bench/1")},
    {SLICE_INIT("Accept"), SLICE_INIT("*/*")},
    {SLICE_INIT("ce-specversion"), SLICE_INIT("1.0")},
    {SLICE_INIT("ce-id"), SLICE_INIT("7f1d4a58-6b0e-4a0b-9a6e-0f6c1b0d9c11")},
    {SLICE_INIT("ce-source"), SLICE_INIT("https://github.com/example/repository")},
    {SLICE_INIT("ce-type"), SLICE_INIT("dev.knative.source.github.push")},
    {SLICE_INIT("ce-time"), SLICE_INIT("2026-11-23T23:25:19.123456Z")},
    {SLICE_INIT("ce-subject"), SLICE_INIT("refs/heads/main")},
    {SLICE_INIT("ce-traceparent"), SLICE_INIT("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
    {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
    {SLICE_INIT("Content-Length"), SLICE_INIT("1024")},
};
#define COUNT (sizeof plain / sizeof plain[0])

static const struct ce_event *decode(const struct http_header *headers, size_t count, struct slice body)
{
    const struct ce_event *e;
    size_t n;
    struct diag d;
    if (ce_http_decode(headers, count, body, &limits, &e, 1, &n, &d)) {
        fprintf(stderr, "%s\n", d.text);
        exit(1);
    }
    return e;
}

static void decodes(const char *what, const struct http_header *headers, size_t count, struct slice body)
{
    double start = now_ns();
    for (int i = 0; i < ROUNDS; i++)
        ce_event_unref(decode(headers, count, body));
    report(what, start);
}

static void packs(const struct ce_event *e)
{
    size_t size = ce_pack_size(e);
    void *packed = malloc(size);
    double start = now_ns();
    for (int i = 0; i < ROUNDS && packed; i++)
        ce_pack(e, packed);
    report("pack", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS && packed; i++) {
        const struct ce_event *back;
        if (ce_unpack(slice_of(packed, size), &back, NULL))
            exit(1);
        ce_event_unref(back);
    }
    report("unpack", start);
    printf("%-34s %8zu bytes\n", "event packed", size);
    free(packed);
}

/* ---- records of Kafka ---- */

struct record {
    struct ce_kafka_header headers[32];
    struct ce_kafka_record r;
};

/* Names stand in the encoder's memory for the call only. */
static enum err keep_header(void *arg, struct slice name, struct slice value)
{
    static char names[32][CE_NAME_LEN_MAX];
    struct record *to = arg;
    memcpy(names[to->r.header_count], name.ptr, name.len);
    to->headers[to->r.header_count] = (struct ce_kafka_header){{names[to->r.header_count], name.len}, value};
    to->r.header_count++;
    return OK;
}

static void kafka_record(const struct ce_event *e, struct buf *scratch, struct record *to)
{
    to->r.header_count = 0;
    if (ce_kafka_encode(e, CE_MODE_BINARY, true, scratch, keep_header, to, &to->r.value))
        exit(1);
}

static void kafka(const struct ce_event *e)
{
    const struct ce_kafka_rules rules = {.event_bytes_max = 1 << 20};
    const struct ce_event *back;
    struct record record = {.r = {.headers = record.headers, .topic = SLICE_INIT("t")}};
    struct buf scratch;
    buf_init(&scratch, 1 << 20);
    double start = now_ns();
    for (int i = 0; i < ROUNDS; i++)
        kafka_record(e, &scratch, &record);
    report("Kafka encode", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        if (ce_kafka_decode(&record.r, &rules, &back, NULL))
            exit(1);
        ce_event_unref(back);
    }
    report("Kafka decode", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        if (ce_kafka_wrap(&record.r, &rules, &back, NULL))
            exit(1);
        ce_event_unref(back);
    }
    report("Kafka, a record of others", start);
    buf_fini(&scratch);
}

struct message {
    struct ce_amqp_header headers[32];
    size_t count;
};

static enum err keep_amqp(void *arg, struct slice name, struct slice value)
{
    struct message *to = arg;
    to->headers[to->count++] = (struct ce_amqp_header){name, {.kind = CE_AMQP_STRING, .text = value}};
    return OK;
}

static void amqp(const struct ce_event *e)
{
    const struct ce_amqp_rules rules = {.event_bytes_max = 1 << 20};
    const struct ce_event *back;
    struct message headers;
    struct ce_amqp_written w;
    struct buf scratch;
    buf_init(&scratch, 1 << 20);
    double start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        headers.count = 0;
        if (ce_amqp_encode(e, CE_MODE_BINARY, true, 131072, &scratch, keep_amqp, &headers, &w))
            exit(1);
    }
    report("AMQP encode", start);
    const struct ce_amqp_message m = {.headers = headers.headers,
                                      .header_count = headers.count,
                                      .content_type = w.content_type,
                                      .message_id = w.message_id,
                                      .body = w.body,
                                      .queue = SLICE_INIT("q")};
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        if (ce_amqp_decode(&m, &rules, &back, NULL))
            exit(1);
        ce_event_unref(back);
    }
    report("AMQP decode", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        if (ce_amqp_wrap(&m, &rules, &back, NULL))
            exit(1);
        ce_event_unref(back);
    }
    report("AMQP, a message of others", start);
    buf_fini(&scratch);
}

int main(void)
{
    char data[1025];
    int at = snprintf(data, sizeof data, "{\"ref\":\"refs/heads/main\",\"size\":20,\"padding\":\"");
    memset(data + at, 'x', sizeof data - 3 - (size_t)at);
    memcpy(data + sizeof data - 3, "\"}", 3);
    struct slice body = slice_of(data, 1024);

    struct http_header awkward[COUNT];
    memcpy(awkward, plain, sizeof plain);
    awkward[3].name = SLICE("Ce-Specversion");
    awkward[4].name = SLICE("Ce-Id");
    awkward[5].name = SLICE("Ce-Source");
    awkward[6].name = SLICE("Ce-Type");
    awkward[7].name = SLICE("Ce-Time");
    awkward[8] = (struct http_header){SLICE("Ce-Subject"), SLICE("caf%C3%A9 %E2%82%AC")};
    awkward[9].name = SLICE("Ce-Traceparent");

    decodes("binary decode", plain, COUNT, body);
    decodes("binary decode, capitals and %", awkward, COUNT, body);

    const struct ce_event *e = decode(plain, COUNT, body), *coded = decode(awkward, COUNT, body);
    struct buf headers, envelope;
    buf_init(&headers, 1 << 20);
    buf_init(&envelope, 1 << 20);
    double start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&headers);
        ce_http_encode_binary(e, &headers);
    }
    report("binary encode", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&headers);
        ce_http_encode_binary(coded, &headers);
    }
    report("binary encode, %", start);
    start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&envelope);
        ce_json_encode(e, &envelope);
    }
    report("structured encode", start);

    struct http_header structured = {SLICE("content-type"), SLICE("application/cloudevents+json")};
    decodes("structured decode", &structured, 1, buf_slice(&envelope));
    packs(e);
    kafka(e);
    amqp(e);
    printf("%-34s %8zu bytes\n", "event in memory", ce_event_size(e));
    ce_event_unref(e);
    ce_event_unref(coded);
    buf_fini(&headers);
    buf_fini(&envelope);
    return 0;
}
