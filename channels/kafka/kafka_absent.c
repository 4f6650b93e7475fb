/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions of the Kafka bus are not there yet.
 */
#include "kafka_bus.h"

enum err kafka_subscribe(struct bus *b, struct bus_channel *c, struct slice name, const struct bus_start *start,
                         struct filter *filter, const struct bus_param *params, size_t count,
                         struct bus_subscription **out, struct bus_op *op, struct diag *d)
{
    (void)b, (void)c, (void)name, (void)start, (void)filter, (void)params, (void)count, (void)out, (void)op;
    return diag_set(d, ERR_UNSUPPORTED, "a kafka bus has no subscriptions yet");
}
void kafka_unsubscribe(struct bus *b, struct bus_subscription *s, bool remove, struct bus_op *op)
{
    (void)b, (void)s, (void)remove, (void)op;
}
enum err kafka_attach(struct bus *b, struct bus_subscription *s, struct loop *loop,
                      const struct bus_stream_callbacks *callbacks, void *arg, struct bus_stream **out)
{
    (void)b, (void)s, (void)loop, (void)callbacks, (void)arg, (void)out;
    return ERR_UNSUPPORTED;
}
void kafka_detach(struct bus *b, struct bus_stream *stream, struct bus_op *op)
{
    (void)b, (void)stream, (void)op;
}
void kafka_credit(struct bus *b, struct bus_stream *stream, unsigned n)
{
    (void)b, (void)stream, (void)n;
}
void kafka_settle(struct bus *b, struct bus_stream *stream, struct bus_token token, enum bus_settle how)
{
    (void)b, (void)stream, (void)token, (void)how;
}
void kafka_probe_subscription(struct bus *b, struct bus_subscription *s, struct bus_probe *out)
{
    (void)b, (void)s, (void)out;
}
void kafka_subscriptions_stop(struct kafka_bus *k, void (*done)(struct kafka_bus *k))
{
    done(k);
}
void kafka_subscriptions_restart(struct bus_channel *c)
{
    (void)c;
}
void kafka_subscriptions_free(struct bus_channel *c)
{
    (void)c;
}
void kafka_subscriptions_probe(struct bus_channel *c, struct bus_probe *out)
{
    (void)c, (void)out;
}
