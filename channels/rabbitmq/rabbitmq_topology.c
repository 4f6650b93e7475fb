/* SPDX-License-Identifier: Apache-2.0
 *
 * What is made at the node, and removed: work of jobs, on Q. Everything is idempotent. An exchange or queue that is
 * there and was made otherwise (406 PRECONDITION_FAILED) is taken as it is where it serves all the same: a queue of
 * another type. An exchange of another type than ours does not: it would route otherwise, so its channel is refused in
 * the node's words.
 */
#include "rabbitmq_subscription.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>

typedef void after_fn(struct rabbit_job *j, const struct rabbitmq_answer *a);

static struct bus_channel *channel_of(struct rabbit_job *j)
{
    return container_of(j, struct bus_channel, job);
}

static struct bus_subscription *subscription_of(struct rabbit_job *j)
{
    return container_of(j, struct bus_subscription, job);
}

static const struct rabbit_channel_settings *settings_of(const struct bus_channel *c)
{
    return &atomic_load(&c->rules)->settings;
}

static void finish(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    rabbit_job_end(j, a->e, a->code, a->e ? a->text : NULL);
}

static bool made_otherwise(const struct rabbitmq_answer *a)
{
    return a->code == AMQP_PRECONDITION_FAILED;
}

/* ---- words ---- */

static void declare_exchange(struct rabbit_job *j, const char *name, const char *type, bool passive, after_fn *after)
{
    const amqp_exchange_declare_t m = {
        .exchange = amqp_cstring_bytes(name), .type = amqp_cstring_bytes(type), .passive = passive, .durable = 1};
    rabbit_job_call(j, AMQP_EXCHANGE_DECLARE_METHOD, &m, after);
}

static amqp_table_entry_t text_argument(const char *name, const char *value)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(value)}};
}

/* `alone`: one consumer at a time, the next takes over when it goes. How often something is delivered is the
 * dispatcher's business, so a quorum queue has a limit that is never met. It has one at all because only then what is
 * handed back comes to the head of the queue: without one it comes to its end, behind others of its key. */
static void declare_queue(struct rabbit_job *j, const char *name, bool classic, bool alone, after_fn *after)
{
    amqp_table_entry_t arguments[3];
    int n = 0;
    arguments[n++] = text_argument("x-queue-type", classic ? "classic" : "quorum");
    if (alone)
        arguments[n++] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-single-active-consumer"),
                                              .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
    if (!classic)
        arguments[n++] = (amqp_table_entry_t){.key = amqp_cstring_bytes("x-delivery-limit"),
                                              .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = INT32_MAX}};
    const amqp_queue_declare_t m = {
        .queue = amqp_cstring_bytes(name), .durable = 1, .arguments = {.num_entries = n, .entries = arguments}};
    rabbit_job_call(j, AMQP_QUEUE_DECLARE_METHOD, &m, after);
}

static void look_at_queue(struct rabbit_job *j, const char *name, after_fn *after)
{
    const amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(name), .passive = 1};
    rabbit_job_call(j, AMQP_QUEUE_DECLARE_METHOD, &m, after);
}

static void bind(struct rabbit_job *j, const char *queue, const char *exchange, after_fn *after)
{
    const amqp_queue_bind_t m = {.queue = amqp_cstring_bytes(queue), .exchange = amqp_cstring_bytes(exchange)};
    rabbit_job_call(j, AMQP_QUEUE_BIND_METHOD, &m, after);
}

static void delete_queue(struct rabbit_job *j, const char *name, after_fn *after)
{
    const amqp_queue_delete_t m = {.queue = amqp_cstring_bytes(name)};
    rabbit_job_call(j, AMQP_QUEUE_DELETE_METHOD, &m, after);
}

/* ---- a channel that is a queue ---- */

static void source_bind(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (a->e || s->queue_external || !s->exchange)
        finish(j, a);
    else
        bind(j, s->queue, s->exchange, finish);
}

static void source_queue_made(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    if (made_otherwise(a))
        look_at_queue(j, settings_of(channel_of(j))->queue, source_bind);
    else
        source_bind(j, a);
}

static void source_queue(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (a && a->e)
        finish(j, a);
    else if (s->queue_external)
        look_at_queue(j, s->queue, source_bind);
    else
        declare_queue(j, s->queue, s->classic, false, source_queue_made);
}

static void source_exchange_made(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    if (made_otherwise(a))
        declare_exchange(j, settings_of(channel_of(j))->exchange, "headers", true, source_queue);
    else
        source_queue(j, a);
}

/* ---- a channel's stream: a queue, and an exchange of the same name for its marks ---- */

/* Retention takes whole segments, so a stream is an eighth longer than it is to be, or one segment of the least size:
 * each costs the node two files. */
#define SEGMENTS 8
#define SEGMENT_BYTES_MIN (1ull << 20)
#define SEGMENT_BYTES_MAX (500ull * 1000 * 1000) /* RabbitMQ's own default */
#define RETENTION_S_MIN 1                        /* a stream's least age */

static uint64_t within(uint64_t n, uint64_t least, uint64_t most)
{
    return n < least ? least : n > most ? most : n;
}

static amqp_table_entry_t number_argument(const char *name, uint64_t value)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = (int64_t)value}};
}

static void declare_stream(struct rabbit_job *j, const struct rabbit_channel_settings *s, after_fn *after)
{
    char age[32];
    uint64_t bytes = within(s->retention.bytes, SEGMENT_BYTES_MIN, INT64_MAX);
    uint64_t segment = within(bytes / SEGMENTS, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    uint64_t seconds = within(s->retention.age_ns / NS_PER_S, RETENTION_S_MIN, INT32_MAX);
    snprintf(age, sizeof age, "%llus", (unsigned long long)seconds);
    amqp_table_entry_t arguments[] = {text_argument("x-queue-type", "stream"), text_argument("x-max-age", age),
                                      number_argument("x-max-length-bytes", bytes),
                                      number_argument("x-stream-max-segment-size-bytes", segment)};
    const amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(s->stream),
                                    .durable = 1,
                                    .arguments = {sizeof arguments / sizeof arguments[0], arguments}};
    rabbit_job_call(j, AMQP_QUEUE_DECLARE_METHOD, &m, after);
}

static void stream_marks_bind(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (a->e)
        finish(j, a);
    else
        bind(j, s->stream, s->stream, finish);
}

static void stream_marks(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    if (a->e)
        finish(j, a);
    else
        declare_exchange(j, settings_of(channel_of(j))->stream, "fanout", false, stream_marks_bind);
}

static void stream_bind(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (a->e)
        finish(j, a);
    else
        bind(j, s->stream, s->exchange, stream_marks);
}

/* One whose node does not find it when it starts is refused (404), is bound to nothing and can neither be unbound nor
 * deleted: when that has lasted the channel does without. */
static void stream_made(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    struct bus_channel *c = channel_of(j);
    j->no_stream = a->code == AMQP_NOT_FOUND && c->down_ns && rabbit_now() - c->down_ns > RABBIT_STREAM_NS;
    if (j->no_stream)
        rabbit_job_end(j, OK, 0, NULL);
    else if (made_otherwise(a)) /* with another retention: it stays as it is */
        look_at_queue(j, settings_of(c)->stream, stream_bind);
    else
        stream_bind(j, a);
}

/* What is not there is gone. */
static bool stays(const struct rabbitmq_answer *a)
{
    return a && a->e && a->e != ERR_NOTFOUND;
}

static void delete_exchange(struct rabbit_job *j, const char *name, after_fn *after)
{
    const amqp_exchange_delete_t m = {.exchange = amqp_cstring_bytes(name)};
    rabbit_job_call(j, AMQP_EXCHANGE_DELETE_METHOD, &m, after);
}

/* The channel keeps nothing any more. */
static void unstream_marks(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    if (stays(a))
        finish(j, a);
    else
        delete_exchange(j, settings_of(channel_of(j))->stream, finish);
}

static void stream(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    struct bus_channel *c = channel_of(j);
    const struct rabbit_channel_settings *s = settings_of(c);
    j->at_stream = !a->e && c->making_stream;
    if (j->at_stream)
        declare_stream(j, s, stream_made);
    else if (!a->e && c->streamed)
        delete_queue(j, s->stream, unstream_marks);
    else
        finish(j, a);
}

/* ---- channels ---- */

void rabbit_topology_channel(struct rabbit_job *j)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (!s->queue)
        declare_exchange(j, s->exchange, "fanout", s->exchange_external, stream);
    else if (!s->exchange || s->queue_external)
        source_queue(j, NULL);
    else
        declare_exchange(j, s->exchange, "headers", s->exchange_external, source_exchange_made);
}

void rabbit_topology_look(struct rabbit_job *j, const struct rabbit_channel_settings *s)
{
    if (s->queue)
        look_at_queue(j, s->queue, finish);
    else
        declare_exchange(j, s->exchange, "fanout", true, finish);
}

static void remove_exchange(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    const struct rabbit_channel_settings *s = settings_of(channel_of(j));
    if (stays(a))
        finish(j, a);
    else if (s->exchange_external)
        rabbit_job_end(j, OK, 0, NULL);
    else
        delete_exchange(j, s->exchange, finish);
}

static void remove_marks(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    if (stays(a))
        finish(j, a);
    else
        delete_exchange(j, settings_of(channel_of(j))->stream, remove_exchange);
}

/* Queues that were left go one after the other, then the stream, the exchange last. */
static void remove_next(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    struct bus_channel *c = channel_of(j);
    const struct rabbit_channel_settings *s = settings_of(c);
    if (stays(a)) {
        finish(j, a);
        return;
    }
    j->at = j->at ? j->at->next : c->abroad.left.next;
    if (j->at != &c->abroad.left)
        delete_queue(j, container_of(j->at, struct abroad_left, link)->id, remove_next);
    else if (s->is_stream)
        delete_queue(j, s->stream, remove_marks);
    else
        remove_exchange(j, NULL);
}

void rabbit_topology_channel_remove(struct rabbit_job *j)
{
    remove_next(j, NULL);
}

/* ---- subscriptions ---- */

static void subscription_bind(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    struct bus_subscription *s = subscription_of(j);
    const struct rabbit_channel_settings *of = settings_of(s->channel);
    const amqp_queue_declare_ok_t *ok = a->decoded;
    if (!a->e)
        j->messages = ok->message_count;
    if (a->e || of->queue)
        finish(j, a);
    else
        bind(j, s->settings.queue, of->exchange, finish);
}

static void subscription_made(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    struct bus_subscription *s = subscription_of(j);
    j->differs = made_otherwise(a);
    if (j->differs)
        look_at_queue(j, s->settings.queue, subscription_bind);
    else
        subscription_bind(j, a);
}

void rabbit_topology_subscription(struct rabbit_job *j)
{
    struct bus_subscription *s = subscription_of(j);
    if (settings_of(s->channel)->queue)
        look_at_queue(j, s->settings.queue, subscription_bind);
    else
        declare_queue(j, s->settings.queue, s->settings.classic, !s->settings.work, subscription_made);
}

/* Whatever it answered: there may be no such binding, or exchange. */
static void subscription_unbound(struct rabbit_job *j, const struct rabbitmq_answer *a)
{
    (void)a;
    delete_queue(j, subscription_of(j)->settings.queue, finish);
}

/* The binding goes first, so that no message is on its way to the queue when that goes: RabbitMQ (3.10) ends the
 * connection (541) of a publisher whose first message to a quorum queue meets its end. */
void rabbit_topology_subscription_remove(struct rabbit_job *j)
{
    const struct bus_subscription *s = subscription_of(j);
    const amqp_queue_unbind_t m = {.queue = amqp_cstring_bytes(s->settings.queue),
                                   .exchange = amqp_cstring_bytes(settings_of(s->channel)->exchange)};
    rabbit_job_call(j, AMQP_QUEUE_UNBIND_METHOD, &m, subscription_unbound);
}
