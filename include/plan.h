/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: the resources compiled to channels, subscriptions and sources. It is all that the data plane knows; both
 * generations of Knative's resources compile to it. Immutable plain data, one arena, reference counted with atomics so
 * that loops may share it.
 */
#ifndef LEAT_PLAN_H
#define LEAT_PLAN_H

#include "bus.h"
#include "dispatcher.h"
#include "resource.h"
#include "source.h"

#define EVENT_TYPES_AUTO_MAX                                                                                           \
    10000 /* EventTypes in all: senders choose type and source, and must not fill the memory                           \
           */

/* Where something is sent: a channel of this plan, or a URL. */
struct plan_target {
    enum { PLAN_TARGET_NONE, PLAN_TARGET_URL, PLAN_TARGET_CHANNEL } kind;
    const char *url; /* for people and for knativeerrordest; of a channel: its own address */
    size_t channel;  /* index in the plan */
};

struct plan_bus {     /* one per distinct bus in use; "memory" is always there as index 0 */
    const char *key;  /* stable: "memory" or "Bus/ns/name" or "ClusterBus/name" */
    const char *type; /* backend: "memory", "faulty" ... */
    const struct bus_param *params;
    size_t param_count;
    bool held; /* what describes it cannot be read now: it stays as it is where it is open, and is not opened else */
};

struct plan_channel {
    const char *uid, *namespace_name, *name;
    const char *key;      /* stable and unique among channels of all kinds: "Channel.messaging.knative.dev/ns/name" */
    const char *bus_name; /* on the bus: "ns/name", made unique where two kinds share one */
    const char *path;     /* ingress: "/channels/ns/name"; NULL: it takes nothing from outside (a KafkaSource) */
    const char *alias;    /* a second path, "/ns/name" of a Broker; NULL: none */
    const char *const *hosts; /* Host names that mean it with path "/": NULL-terminated */
    const char *url;          /* absolute, with the ingress address */
    size_t bus;               /* index */
    bool held; /* it stays as it is where it is there, and is not made else: what describes it cannot be read now */
    const char *why; /* it is held, as plan_unready's; else NULL */
    bool broker; /* an event that comes from outside with knativebrokerttl spends one hop here, and is refused at 0 */
    const struct bus_param *params, *parked_params; /* parked: of its subscriptions' dead-letter channels on its bus */
    size_t param_count, parked_param_count;
};

struct plan_subscription {
    const char *uid, *namespace_name, *name;
    const char *key;    /* stable and unique */
    const char *cursor; /* its name on the bus: its uid, or that of one of the same key, which left it behind */
    size_t channel;
    size_t parked_bus; /* index of the bus that keeps what nobody took: its channel's, but where that is somebody else's
                        */
    struct plan_target subscriber, reply, dead_letter; /* of a paused one perhaps none at all: it waits for them */
    const struct delivery *delivery;                   /* never NULL; shared with others of equal terms */
    struct filter *filter;                             /* a reference; NULL: everything */
    uint64_t rate_interval_ns;
    uint64_t dedup_window_ns;
    uint64_t batch_wait_ns;
    unsigned in_flight_max; /* in all loops together; 0: the default, on each loop */
    unsigned batch_max;
    enum dispatch_order order;
    bool keep_cursor; /* it leaves its cursor behind when it goes */
    bool reply_must_be_event;
    bool paused;   /* keeps its backlog and delivers nothing */
    bool one_loop; /* a limit spans the loops (in_flight_max, rate, dedup, batch, strict order): one loop drains it all
                    */
    struct bus_start start;
    const struct bus_param *params;
    size_t param_count;
};

struct plan_source {
    const char *uid, *key;
    struct source_spec spec;
    struct plan_target sink;
    const char *path;        /* "/hooks/ns/name"; NULL: it takes no webhooks */
    const char *label;       /* its name in metrics; NULL: spec.name */
    const struct kind *kind; /* of the resource, for its conditions */
};

/* What is declared and can take no events: an address without a channel or source behind it. */
struct plan_unready {
    const char *path, *alias; /* as a channel's; alias may be NULL */
    const char *const *hosts; /* likewise */
    const char *why;          /* a sentence for whoever sends to it */
    bool source;              /* it is a webhook's */
};

struct plan {
    unsigned refs;
    uint64_t number; /* of the plans that were compiled from its table, from 1 */
    struct plan_bus *buses;
    size_t bus_count;
    struct plan_channel *channels;
    size_t channel_count;
    struct plan_subscription *subscriptions; /* ordered by channel */
    size_t subscription_count;
    struct plan_source *sources;
    size_t source_count;
    struct plan_unready *unready; /* a channel may have its path or host all the same: then that counts */
    size_t unready_count;
    void *arena;
};

/* Whose commands are run: those that resources name, as a ContainerSource does. */
enum plan_commands { PLAN_COMMANDS_NONE, PLAN_COMMANDS_FILES, PLAN_COMMANDS_ALL };

struct plan_options {
    const char *ingress_url;                    /* "http://127.0.0.1:8080": the base of every channel's URL */
    const char *default_bus;                    /* the backend of Channels and Brokers that name none; NULL: memory */
    const struct bus_param *default_bus_params; /* outlive the plan, as does default_bus */
    size_t default_bus_param_count;
    const char *data_dir;       /* where logs are that name no directory; NULL: everything is in memory */
    const char *cluster_domain; /* "cluster.local" */
    const char *const *resolve; /* "NAME.NS=URL", NULL-terminated; may be NULL */
    enum plan_commands commands;
    const char *ca_certs; /* what those commands are to trust (PEM), beside the system's; NULL: nothing */
};

/* Checks one --resolve argument. */
enum err plan_resolve_check(const char *argument, struct diag *d) must_check;

/* Compiles the table and makes every object's status: addresses, resolved URIs, conditions with reason and message
 * (what is missing, what to do). What does not resolve is left out of the plan and said in its condition; it never
 * fails the others. */
enum err plan_compile(struct resource_table *t, const struct plan_options *options, struct plan **out) must_check;
/* The plan is in force: shows the statuses that came with it, so that whoever reads Ready may count on it
 * (knative/specs control-plane.md: a Trigger that is Ready misses nothing from then on). Those of a newer plan wait for
 * that one. ERR_NOMEM: some stay as they were, until the next plan. */
enum err plan_publish(struct resource_table *t, const struct plan *plan) must_check;
/* Makes the EventType that describes what passed a Broker or Channel (`--auto-create-event-types`), unless there is one
 * of its name already: et-NAME-HASH, the hash over type, source, namespace and name. `schema`: the event's dataschema,
 * or empty. *made (may be NULL) says whether it is new. Channels of other kinds have none: OK, nothing made. ERR_FULL
 * beyond EVENT_TYPES_AUTO_MAX; ERR_NOMEM. The channel may be of any plan, its key counts. */
enum err eventtype_ensure(struct resource_table *t, const struct plan_channel *c, struct slice type,
                          struct slice source, struct slice schema, bool *made) must_check;
struct plan *plan_ref(struct plan *p);
struct plan *plan_unref(struct plan *p);

#endif
