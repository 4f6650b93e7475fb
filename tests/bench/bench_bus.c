/* SPDX-License-Identifier: Apache-2.0 */
/* room: channels */
/* A bus of leat's alone, without HTTP, used as the dispatcher uses it: beside what bench_kafka.c and bench_rabbitmq.c
 * measure of a library alone. One channel, one subscription with a stream on each of two data loops; each loop keeps
 * its part of the window of appends under way, each of an event made for it (1 KiB, seven attributes), and settles
 * every delivery at once.
 *
 *     bench_bus BUS[,NAME=VALUE...] [seconds=4] [window=256] [size=1024]
 *
 * `private_mib` is what the process holds at the end of the load beyond what it held before the bus was opened.
 * Every event carries a number of its own, so that one delivered twice, or never, ends the program with 1. Prints the
 * same line of JSON as they do; `rate` is of what was appended and delivered. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bus.h"
#include "clock.h"
#include "common.h"

#define LOOPS 2
#define CREDIT 4096 /* that a stream keeps: what it was given and has not yet settled */
#define EVENTS_MAX (1ull << 28)
#define WINDOW_MAX 65536
#define MAILBOX 4096
#define WAIT_S 60
#define PARAMS_MAX 16

struct bench;
struct slot {
    struct bus_append append;
    struct producer *of;
};
struct producer { /* of one loop, and only there */
    struct bench *bench;
    struct loop *loop;
    struct slot *slots;
    struct letter hello, go;
    struct bus_stream *stream;
    unsigned window;
    uint64_t next; /* of its events: LOOPS apart, so that each number is one loop's */
};
struct bench {
    double seconds;
    unsigned window;
    size_t size;
    char *data;
    const struct bus_ops *ops;
    struct bus *bus;
    struct bus_channel *channel;
    struct bus_subscription *subscription;
    struct loop *control, *loops[LOOPS];
    struct producer producers[LOOPS];
    double without_mib, loaded_mib; /* private memory before the bus is opened; at the end of the load */
    uint64_t *seen;                 /* a bit for each number */
    atomic_bool open;               /* a window that is free is used */
    atomic_ulong appended, acknowledged, failed, delivered, again;
};

/* ---- in ---- */

static const struct ce_event *event(const struct bench *b, uint64_t number)
{
    struct ce_builder builder;
    const struct ce_event *e;
    char id[40];
    int n = snprintf(id, sizeof id, "bench-%012llu", (unsigned long long)number);
    ce_builder_init(&builder);
    ce_builder_set(&builder, SLICE("id"), CE_STRING, slice_of(id, (size_t)n));
    ce_builder_set(&builder, SLICE("source"), CE_URI_REFERENCE, SLICE("https://github.com/example/repository"));
    ce_builder_set(&builder, SLICE("type"), CE_STRING, SLICE("dev.knative.source.github.push"));
    ce_builder_set(&builder, SLICE("time"), CE_TIMESTAMP, SLICE("2026-01-01T00:00:00Z"));
    ce_builder_set(&builder, SLICE("subject"), CE_STRING, SLICE("refs/heads/main"));
    ce_builder_set(&builder, SLICE("datacontenttype"), CE_STRING, SLICE("application/json"));
    ce_builder_data(&builder, CE_DATA_BYTES, slice_of(b->data, b->size));
    must(ce_builder_seal(&builder, CE_EVENT_BYTES_MAX, &e, NULL) == OK, "an event");
    return e;
}

static void append(struct slot *s)
{
    struct producer *p = s->of;
    struct bench *b = p->bench;
    must(p->next < EVENTS_MAX, "fewer events");
    const struct ce_event *e = event(b, p->next);
    p->next += LOOPS;
    atomic_fetch_add_explicit(&b->appended, 1, memory_order_relaxed);
    must(b->ops->append(b->bus, b->channel, e, &s->append, p->loop) == OK, "an append");
    ce_event_unref(e);
}

static void appended(struct bus_append *a, enum err err)
{
    struct slot *s = container_of(a, struct slot, append);
    struct bench *b = s->of->bench;
    if (atomic_load_explicit(&b->open, memory_order_relaxed))
        append(s);
    /* Last: else all that was appended seemed answered for a moment. */
    atomic_fetch_add_explicit(err ? &b->failed : &b->acknowledged, 1, memory_order_relaxed);
}

static void go(struct letter *m)
{
    struct producer *p = container_of(m, struct producer, go);
    for (unsigned i = 0; i < p->window; i++)
        append(&p->slots[i]);
}

/* ---- out ---- */

static void deliver(void *arg, struct bus_stream *stream, const struct ce_event *e, struct bus_token token,
                    unsigned attempt)
{
    struct producer *p = arg;
    struct bench *b = p->bench;
    struct slice id = ce_event_id(e);
    bool good = id.len > 6;
    (void)attempt;
    uint64_t number = good ? parse_u64(id.ptr + 6, id.ptr + id.len, &good) : 0;
    must(good && number < EVENTS_MAX, "an id of ours");
    atomic_fetch_add_explicit(bitmap_set(b->seen, number) ? &b->again : &b->delivered, 1, memory_order_relaxed);
    b->ops->settle(b->bus, stream, token, BUS_ACK);
    b->ops->credit(b->bus, stream, 1);
}

static void revoked(void *arg, struct bus_stream *stream, struct bus_token token)
{
    (void)arg, (void)stream, (void)token; /* nothing is kept */
}

static void attach(struct letter *m)
{
    static const struct bus_stream_callbacks callbacks = {deliver, revoked};
    struct producer *p = container_of(m, struct producer, hello);
    struct bench *b = p->bench;
    must(b->ops->bind(b->bus, p->loop) == OK, "binding");
    must(b->ops->attach(b->bus, b->subscription, p->loop, &callbacks, p, &p->stream) == OK, "attaching");
    b->ops->credit(b->bus, p->stream, CREDIT);
}

/* ---- control ---- */

static void notice(void *arg, struct bus *bus, int severity, const char *code, const char *text)
{
    (void)arg, (void)bus, (void)severity;
    fprintf(stderr, "%s: %s\n", code, text);
}

struct wait {
    struct bus_op op;
    bool ended;
};

static void ended(struct bus_op *op, enum err err)
{
    if (err)
        die("%s: %s", err_name(err), op->text ? op->text : "");
    container_of(op, struct wait, op)->ended = true;
}

static void turn(struct bench *b)
{
    must(loop_turn(b->control, 1000000) == OK, "control");
}

static void await(struct bench *b, const struct wait *w)
{
    while (!w->ended)
        turn(b);
}

static void *run(void *loop)
{
    must(loop_run(loop) == OK, "a loop");
    return NULL;
}

static void open_all(struct bench *b)
{
    char prefix[64];
    struct diag d = {0};
    snprintf(prefix, sizeof prefix, "bench-%ld-%ld-", (long)getpid(), (long)time(NULL));
    struct bus_param params[PARAMS_MAX + 1] = {{"prefix", prefix}};
    size_t count = 1;
    for (char *word = strtok(NULL, ","); word; word = strtok(NULL, ",")) { /* what follows the bus's name */
        char *equals = strchr(word, '=');
        must(equals && count <= PARAMS_MAX, word);
        *equals = 0;
        params[count++] = (struct bus_param){word, equals + 1};
    }
    struct bus_env env = {.control = b->control, .loops = b->loops, .loop_count = LOOPS, .notice = notice};
    struct wait channel = {.op.done = ended}, subscription = {.op.done = ended};
    if (b->ops->open(&env, params, count, &b->bus, &d) ||
        b->ops->provision(b->bus, SLICE("bench/channel"), NULL, 0, &b->channel, &channel.op, &d))
        die("%s", d.text);
    await(b, &channel);
    if (b->ops->subscribe(b->bus, b->channel, SLICE("bench/subscription"), NULL, NULL, NULL, 0, &b->subscription,
                          &subscription.op, &d))
        die("%s", d.text);
    await(b, &subscription);
}

static double private_mib(void)
{
    char line[200];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    must(f, "/proc/self/status");
    while (kib == 0 && fgets(line, sizeof line, f))
        (void)sscanf(line, "RssAnon: %lu", &kib);
    fclose(f);
    return (double)kib / 1024;
}

/* Appends for so long, and waits until all of it is acknowledged and delivered. */
static void work(struct bench *b, double seconds)
{
    atomic_store(&b->open, true);
    for (size_t i = 0; i < LOOPS; i++)
        loop_post_reserved(b->loops[i], &b->producers[i].go);
    for (double end = now() + seconds; now() < end;)
        turn(b);
    b->loaded_mib = private_mib();
    atomic_store(&b->open, false);
    for (double end = now() + WAIT_S;;) {
        unsigned long answered = atomic_load(&b->acknowledged) + atomic_load(&b->failed);
        if (atomic_load(&b->appended) == answered && atomic_load(&b->delivered) >= atomic_load(&b->acknowledged))
            break;
        if (now() > end)
            die("%lu appended, %lu acknowledged, %lu delivered after %d s", atomic_load(&b->appended),
                atomic_load(&b->acknowledged), atomic_load(&b->delivered), WAIT_S);
        turn(b);
    }
}

static void measure(struct bench *b)
{
    work(b, b->seconds / 4); /* connections, the group, the broker's compiler */
    unsigned long warm = atomic_load(&b->delivered);
    double began = now(), cpu_began = cpu();
    work(b, b->seconds);
    double took = now() - began, used = cpu() - cpu_began;
    unsigned long n = atomic_load(&b->delivered) - warm;
    printf("{\"produced\": %lu, \"acknowledged\": %lu, \"failed\": %lu, \"consumed\": %lu, \"again\": %lu, "
           "\"seconds\": %.3f, \"rate\": %.0f, \"cpu_us\": %.2f, \"private_mib\": %.2f}\n",
           atomic_load(&b->appended) - warm, atomic_load(&b->acknowledged) - warm, atomic_load(&b->failed), n,
           atomic_load(&b->again), took, (double)n / took, 1e6 * used / (double)n, b->loaded_mib - b->without_mib);
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
    else
        must(false, word);
}

int main(int argc, char **argv)
{
    static struct bench b = {.seconds = 4, .window = 256, .size = 1024};
    pthread_t thread;
    must(argc > 1, "usage: bench_bus BUS[,NAME=VALUE...] [seconds=4] [window=256] [size=1024]:");
    b.ops = bus_find(strtok(argv[1], ","));
    must(b.ops, argv[1]);
    for (int i = 2; i < argc; i++)
        argument(&b, argv[i]);
    must(b.window >= LOOPS && b.window <= WINDOW_MAX, "a window from 2 to 65536");
    b.seen = bitmap_new(EVENTS_MAX);
    b.data = xrealloc(NULL, b.size + 1);
    memset(b.data, 'x', b.size);
    must(loop_new(clock_system(), MAILBOX, &b.control) == OK, "a loop");
    for (size_t i = 0; i < LOOPS; i++) {
        struct producer *p = &b.producers[i];
        must(loop_new(clock_system(), MAILBOX, &b.loops[i]) == OK, "a loop");
        *p = (struct producer){
            .bench = &b, .loop = b.loops[i], .hello.run = attach, .go.run = go, .window = b.window / LOOPS, .next = i};
        p->slots = xrealloc(NULL, p->window * sizeof *p->slots);
        for (unsigned j = 0; j < p->window; j++)
            p->slots[j] = (struct slot){.append.done = appended, .of = p};
    }
    b.without_mib = private_mib();
    open_all(&b);
    for (size_t i = 0; i < LOOPS; i++) {
        loop_post_reserved(b.loops[i], &b.producers[i].hello);
        must(pthread_create(&thread, NULL, run, b.loops[i]) == 0, "a thread");
    }
    measure(&b);
    fflush(stdout);
    _exit(atomic_load(&b.again) || atomic_load(&b.failed)); /* the system frees it all */
}
