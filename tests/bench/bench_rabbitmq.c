/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/* What RabbitMQ and rabbitmq-c do on this machine without leat: one thread publishes persistent messages with confirms
 * through a fanout exchange to a queue of its own, another consumes and acknowledges them, each on a connection of its
 * own; bodies of 1 KiB with the attributes of a CloudEvent as headers. Messages wait for their confirm in a window: 256
 * is what 256 connections have under way that each wait for their answer.
 *
 *     bench_rabbitmq HOST:PORT [seconds=4] [window=256] [size=1024] [prefetch=512] [acks=1] [queue=quorum]
 *
 * acks: how many messages one acknowledgement covers. Prints the same line of JSON as bench_kafka.c. */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common.h"

#define CHANNEL 1
#define WINDOW_MAX 65536u /* a power of two */
#define FRAME_BYTES (128 << 10)
#define HEARTBEAT_S 0
#define LOOK_EVERY 16 /* messages between two looks for confirms, as long as the window has room */

struct bench {
    char host[256];
    int port;
    char name[64]; /* of the exchange and of the queue */
    const char *queue;
    double seconds;
    unsigned window, acks;
    uint16_t prefetch;
    size_t size;
    atomic_long acknowledged, failed, consumed, again;
    atomic_bool over;  /* the consumer may end */
    atomic_bool ready; /* it consumes */
};

/* Confirms of a channel: tags count from 1, `low` is the first that has none. */
struct confirms {
    uint64_t next, low;
    uint8_t done[WINDOW_MAX];
};

static void good(amqp_rpc_reply_t r, const char *what)
{
    if (r.reply_type == AMQP_RESPONSE_NORMAL)
        return;
    if (r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        die("%s: %s", what, amqp_error_string2(r.library_error));
    const amqp_channel_close_t *m = r.reply.decoded;
    die("%s: %.*s", what, (int)m->reply_text.len, (const char *)m->reply_text.bytes);
}

static amqp_connection_state_t connection(const struct bench *b)
{
    amqp_connection_state_t c = amqp_new_connection();
    must(c, "memory");
    amqp_socket_t *s = amqp_tcp_socket_new(c);
    must(s && !amqp_socket_open(s, b->host, b->port), "connecting");
    good(amqp_login(c, "/", 0, FRAME_BYTES, HEARTBEAT_S, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "login");
    amqp_channel_open(c, CHANNEL);
    good(amqp_get_rpc_reply(c), "a channel");
    return c;
}

static void declare(amqp_connection_state_t c, const struct bench *b)
{
    amqp_bytes_t name = amqp_cstring_bytes(b->name);
    amqp_table_entry_t type = {.key = amqp_cstring_bytes("x-queue-type"),
                               .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(b->queue)}};
    amqp_table_t arguments = {.num_entries = 1, .entries = &type};
    amqp_exchange_declare(c, CHANNEL, name, amqp_cstring_bytes("fanout"), 0, 1, 0, 0, amqp_empty_table);
    good(amqp_get_rpc_reply(c), "the exchange");
    amqp_queue_declare(c, CHANNEL, name, 0, 1, 0, 0, arguments);
    good(amqp_get_rpc_reply(c), "the queue");
    amqp_queue_bind(c, CHANNEL, name, name, amqp_empty_bytes, amqp_empty_table);
    good(amqp_get_rpc_reply(c), "the binding");
}

static void delete (amqp_connection_state_t c, const struct bench *b)
{
    amqp_bytes_t name = amqp_cstring_bytes(b->name);
    amqp_queue_delete(c, CHANNEL, name, 0, 0);
    good(amqp_get_rpc_reply(c), "deleting the queue");
    amqp_exchange_delete(c, CHANNEL, name, 0);
    good(amqp_get_rpc_reply(c), "deleting the exchange");
}

static void *consume(void *arg)
{
    struct bench *b = arg;
    amqp_connection_state_t c = connection(b);
    unsigned unsettled = 0;
    uint64_t last = 0;
    amqp_basic_qos(c, CHANNEL, 0, b->prefetch, 0);
    good(amqp_get_rpc_reply(c), "prefetch");
    amqp_basic_consume(c, CHANNEL, amqp_cstring_bytes(b->name), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    good(amqp_get_rpc_reply(c), "consuming");
    atomic_store(&b->ready, true);
    while (!atomic_load(&b->over)) {
        amqp_envelope_t e;
        amqp_maybe_release_buffers(c);
        amqp_rpc_reply_t r = amqp_consume_message(c, &e, &(struct timeval){.tv_usec = 10000}, 0);
        bool idle = r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && r.library_error == AMQP_STATUS_TIMEOUT;
        if (!idle) {
            good(r, "a delivery");
            last = e.delivery_tag;
            unsettled++;
            atomic_fetch_add_explicit(e.redelivered ? &b->again : &b->consumed, 1, memory_order_relaxed);
            amqp_destroy_envelope(&e);
        }
        if (unsettled && (idle || unsettled >= b->acks)) {
            must(!amqp_basic_ack(c, CHANNEL, last, unsettled > 1), "an acknowledgement");
            unsettled = 0;
        }
    }
    good(amqp_connection_close(c, AMQP_REPLY_SUCCESS), "closing");
    amqp_destroy_connection(c);
    return NULL;
}

static void confirmed(struct confirms *w, uint64_t tag, bool multiple, atomic_long *count)
{
    must(tag >= w->low && tag < w->next, "a confirm of what waits for one");
    for (uint64_t t = multiple ? w->low : tag; t <= tag; t++) {
        atomic_fetch_add_explicit(count, !w->done[t % WINDOW_MAX], memory_order_relaxed);
        w->done[t % WINDOW_MAX] = 1;
    }
    for (; w->low < w->next && w->done[w->low % WINDOW_MAX]; w->low++)
        w->done[w->low % WINDOW_MAX] = 0;
}

/* Takes the confirms that are here, and waits for one when `wait`. */
static void look(struct bench *b, amqp_connection_state_t c, struct confirms *w, bool wait)
{
    struct timeval now_only = {0}, long_time = {.tv_sec = 60};
    for (;; wait = false) {
        amqp_frame_t f;
        int status = amqp_simple_wait_frame_noblock(c, &f, wait ? &long_time : &now_only);
        if (!wait && status == AMQP_STATUS_TIMEOUT)
            break;
        if (status)
            die("a confirm: %s", amqp_error_string2(status));
        must(f.frame_type == AMQP_FRAME_METHOD, "a method");
        if (f.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            const amqp_basic_ack_t *m = f.payload.method.decoded;
            confirmed(w, m->delivery_tag, m->multiple, &b->acknowledged);
        } else if (f.payload.method.id == AMQP_BASIC_NACK_METHOD) {
            const amqp_basic_nack_t *m = f.payload.method.decoded;
            confirmed(w, m->delivery_tag, m->multiple, &b->failed);
        } else {
            die("the node says method %08x", f.payload.method.id);
        }
    }
    amqp_maybe_release_buffers(c);
}

static amqp_table_entry_t header(const char *name, const char *value)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(value)}};
}

/* Publishes for so long, and waits for all confirms; how many. */
static long produce(struct bench *b, amqp_connection_state_t c, struct confirms *w, double seconds)
{
    char id[40];
    char *body = xrealloc(NULL, b->size + 1);
    memset(body, 'x', b->size);
    long n = 0;
    for (double end = now() + seconds; n % 64 || now() < end; n++) {
        bool full = w->next - w->low >= b->window;
        if (full || n % LOOK_EVERY == 0)
            look(b, c, w, full);
        snprintf(id, sizeof id, "bench-%012llu", (unsigned long long)w->next);
        amqp_table_entry_t headers[] = {header("ce-specversion", "1.0"),
                                        header("ce-id", id),
                                        header("ce-source", "https://github.com/example/repository"),
                                        header("ce-type", "dev.knative.source.github.push"),
                                        header("ce-time", "2026-01-01T00:00:00Z"),
                                        header("ce-subject", "refs/heads/main")};
        amqp_basic_properties_t p = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                                               AMQP_BASIC_HEADERS_FLAG,
                                     .content_type = amqp_cstring_bytes("application/json"),
                                     .delivery_mode = AMQP_DELIVERY_PERSISTENT,
                                     .headers = {.num_entries = sizeof headers / sizeof *headers, .entries = headers}};
        int status = amqp_basic_publish(c, CHANNEL, amqp_cstring_bytes(b->name), amqp_empty_bytes, 0, 0, &p,
                                        (amqp_bytes_t){.len = b->size, .bytes = body});
        if (status)
            die("publishing: %s", amqp_error_string2(status));
        w->next++;
    }
    while (w->low < w->next)
        look(b, c, w, true);
    free(body);
    return n;
}

static void wait_for(const struct bench *b, long n)
{
    for (double end = now() + 60; atomic_load(&b->consumed) < n; usleep(200))
        must(now() < end, "consuming all within 60 s");
}

static void argument(struct bench *b, const char *word)
{
    const char *value;
    if ((value = value_of(word, "seconds")))
        b->seconds = atof(value);
    else if ((value = value_of(word, "window")))
        b->window = (unsigned)atoi(value);
    else if ((value = value_of(word, "size")))
        b->size = (size_t)atol(value);
    else if ((value = value_of(word, "prefetch")))
        b->prefetch = (uint16_t)atoi(value);
    else if ((value = value_of(word, "acks")))
        b->acks = (unsigned)atoi(value);
    else if ((value = value_of(word, "queue")))
        b->queue = value;
    else
        must(false, word);
}

static void arguments(struct bench *b, int argc, char **argv)
{
    must(argc > 1 && sscanf(argv[1], "%255[^:]:%d", b->host, &b->port) == 2,
         "usage: bench_rabbitmq HOST:PORT [seconds=4] [window=256] [size=1024] [prefetch=512] [acks=1] "
         "[queue=quorum]:");
    for (int i = 2; i < argc; i++)
        argument(b, argv[i]);
    must(b->window > 0 && b->window < WINDOW_MAX, "a window from 1 to 65535");
    must(b->acks > 0 && b->acks <= b->prefetch, "acks, from 1 to the prefetch");
    snprintf(b->name, sizeof b->name, "bench-%ld-%ld", (long)getpid(), (long)time(NULL));
}

int main(int argc, char **argv)
{
    static struct bench b = {.seconds = 4, .window = 256, .size = 1024, .prefetch = 512, .acks = 1, .queue = "quorum"};
    static struct confirms w = {.next = 1, .low = 1};
    arguments(&b, argc, argv);
    amqp_connection_state_t c = connection(&b);
    declare(c, &b);
    amqp_confirm_select(c, CHANNEL);
    good(amqp_get_rpc_reply(c), "asking for confirms");
    pthread_t consumer;
    must(pthread_create(&consumer, NULL, consume, &b) == 0, "a thread");
    for (double end = now() + 30; !atomic_load(&b.ready); usleep(1000))
        must(now() < end, "consuming");
    long warm = produce(&b, c, &w, b.seconds / 4);
    wait_for(&b, warm);
    double began = now(), cpu_began = cpu();
    long n = produce(&b, c, &w, b.seconds);
    wait_for(&b, warm + n);
    double took = now() - began, used = cpu() - cpu_began;
    printf("{\"produced\": %ld, \"acknowledged\": %ld, \"failed\": %ld, \"consumed\": %ld, \"again\": %ld, "
           "\"seconds\": %.3f, \"rate\": %.0f, \"cpu_us\": %.2f}\n",
           n, atomic_load(&b.acknowledged) - warm, atomic_load(&b.failed), atomic_load(&b.consumed) - warm,
           atomic_load(&b.again), took, (double)n / took, 1e6 * used / (double)n);
    atomic_store(&b.over, true);
    pthread_join(consumer, NULL);
    delete (c, &b);
    good(amqp_connection_close(c, AMQP_REPLY_SUCCESS), "closing");
    amqp_destroy_connection(c);
    return 0;
}
