/* SPDX-License-Identifier: Apache-2.0
 *
 * From manifests to the plan and to every object's conditions: both generations, what resolves and what does not.
 */
#include "../lib/resource_rig.h"

#include "../../broker/resource/table.h"

#define DOC "---\n"
#define CHANNEL(name, rest)                                                                                            \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: " name "}\n" rest "\n"
#define SUBSCRIPTION(name, spec)                                                                                       \
    DOC "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: " name "}\n"                       \
        "spec:\n  channel: {kind: Channel, name: a}\n" spec "\n"
#define SERVICE(name, spec) DOC "apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define SECRET                                                                                                         \
    DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: gh}\ndata: {token: YWNjZXNz}\nstringData: {s: signed}\n"
#define GITHUB(rest)                                                                                                   \
    DOC "apiVersion: sources.knative.dev/v1alpha1\nkind: GitHubSource\nmetadata: {name: g}\nspec:\n"                   \
        "  ownerAndRepository: octo-org/hello-world\n  eventTypes: [push, pull_request]\n"                             \
        "  accessToken: {secretKeyRef: {name: gh, key: token}}\n" rest "\n"
#define SIGNED "  secretToken: {secretKeyRef: {name: gh, key: s}}\n"
#define SINK "  sink: {ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: a}}\n"
#define BUILT_IN_PLAN(text)                                                                                            \
    struct resource_table *t = rig_table(text, clock_system());                                                        \
    struct plan *p = rig_plan(t, NULL)

static const struct plan_channel *channel_of(const struct plan *p, const char *key)
{
    for (size_t i = 0; i < p->channel_count; i++)
        if (strcmp(p->channels[i].key, key) == 0)
            return &p->channels[i];
    return NULL;
}

static const struct plan_source *source_of(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (strcmp(p->sources[i].spec.name, name) == 0)
            return &p->sources[i];
    return NULL;
}

static const char *param(const struct plan_source *s, const char *name)
{
    return source_param(&s->spec, name, "(none)");
}

static void check_hosts(const struct plan_channel *c, const char *const *hosts)
{
    size_t i = 0;
    for (; hosts[i]; i++)
        assert_string_equal(c->hosts[i], hosts[i]);
    assert_null(c->hosts[i]);
}

static const char *status_text(const struct resource *r, const char *a, const char *b)
{
    const cJSON *status = rig_status(r);
    return b ? rig_text(cJSON_GetObjectItem(status, a), b) : rig_text(status, a);
}

static void done(struct resource_table *t, struct plan *p)
{
    plan_unref(p);
    resource_table_free(t);
}

/* ---- today's kinds ---- */

static void test_channels(void **state)
{
    (void)state;
    BUILT_IN_PLAN(
        CHANNEL("a", "") CHANNEL("of-nats", "spec: {channelTemplate: {apiVersion: x/v1, kind: NatssChannel}}") DOC
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: a, annotations: "
        "{leat.dev/capacity: 2MiB}}\n" DOC
        "apiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: a}\nspec: {clusterBus: stub}\n");
    assert_int_equal(p->channel_count, 3);
    assert_string_equal(p->buses[0].key, "memory");
    const struct plan_channel *c = channel_of(p, "Channel.messaging.knative.dev/default/a");
    assert_string_equal(c->path, "/channels/default/a");
    assert_string_equal(c->url, "http://127.0.0.1:8080/channels/default/a");
    assert_string_equal(c->bus_name, "default/a");
    check_hosts(c, (const char *const[]){"a-kn-channel.default.svc.cluster.local", "a-kn-channel.default.svc",
                                         "a-kn-channel.default", NULL});
    const struct resource *r = rig_get(t, "channels.messaging.knative.dev", "a");
    assert_string_equal(status_text(r, "address", "url"), c->url);
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "DeadLetterSinkResolved"), "True DeadLetterSinkNotConfigured");

    /* One name in three kinds: the path belongs to the first, the others have their kind in theirs. */
    c = channel_of(p, "InMemoryChannel.messaging.knative.dev/default/a");
    assert_string_equal(c->path, "/channels/inmemorychannels.messaging.knative.dev/default/a");
    assert_string_equal(c->params[0].name, "capacity");
    assert_string_equal(c->params[0].value, "2MiB");
    check_hosts(c, (const char *const[]){NULL});
    c = channel_of(p, "Channel.channels.knative.dev/default/a");
    assert_string_equal(c->path, "/channels/channels.channels.knative.dev/default/a");
    check_hosts(c, (const char *const[]){"a-channel.default.svc.cluster.local", "a-channel.default.svc",
                                         "a-channel.default", "a.default.channels.cluster.local", NULL});

    r = rig_get(t, "channels.messaging.knative.dev", "of-nats");
    assert_string_equal(rig_condition(r, "Ready"),
                        "False ChannelKindNotBuiltIn a NatssChannel is not in this build; leave "
                        "channelTemplate out for the default bus, or ask for an InMemoryChannel");
    assert_null(status_text(r, "address", "url"));
    done(t, p);
}

#define TO_URL "  subscriber: {uri: 'http://h:81/p'}"
#define DEAD "deadLetterSink: {uri: 'http://dead/'}"

static void test_delivery_is_merged(void **state)
{
    (void)state;
    BUILT_IN_PLAN(
        CHANNEL("a", "spec: {delivery: {retry: 7, backoffPolicy: linear, backoffDelay: PT0.5S, " DEAD "}}")
            SUBSCRIPTION("inherits", TO_URL) SUBSCRIPTION(
                "own", TO_URL "\n  delivery: {timeout: PT3S, backoffMax: PT1M, retryAfterMax: PT9S, format: json}")
                SUBSCRIPTION("own-dead",
                             TO_URL "\n  delivery: {retry: 1, format: binary, deadLetterSink: {uri: 'http://mine/'}}"));
    const struct delivery *d = rig_subscription(p, "inherits")->delivery;
    assert_int_equal(d->retry, 7);
    assert_int_equal(d->backoff_policy, BACKOFF_LINEAR);
    assert_int_equal(d->backoff_delay_ns, 500 * NS_PER_MS);
    assert_int_equal(d->jitter_percent, 10);
    assert_int_equal(d->format, -1);
    assert_string_equal(rig_subscription(p, "inherits")->dead_letter.url, "http://dead/");
    /* Its own specification counts whole, but for the dead letter sink. */
    d = rig_subscription(p, "own")->delivery;
    assert_int_equal(d->retry, 0);
    assert_int_equal(d->backoff_policy, BACKOFF_EXPONENTIAL);
    assert_int_equal(d->timeout_ns, 3 * NS_PER_S);
    assert_int_equal(d->backoff_max_ns, 60 * NS_PER_S);
    assert_int_equal(d->retry_after_max_ns, 9 * NS_PER_S);
    assert_int_equal(d->format, CE_MODE_STRUCTURED);
    assert_string_equal(rig_subscription(p, "own")->dead_letter.url, "http://dead/");
    assert_string_equal(rig_subscription(p, "own-dead")->dead_letter.url, "http://mine/");
    assert_int_equal(rig_subscription(p, "own-dead")->delivery->format, CE_MODE_BINARY);
    const struct resource *r = rig_get(t, "sub", "own");
    assert_string_equal(status_text(r, "physicalSubscription", "deadLetterSinkUri"), "http://dead/");
    assert_string_equal(status_text(r, "physicalSubscription", "subscriberUri"), "http://h:81/p");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    r = rig_get(t, "channel", "a");
    assert_string_equal(status_text(r, "deadLetterSinkUri", NULL), "http://dead/");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(rig_status(r), "subscribers")), 3);
    done(t, p);
}

/* A destination, and what it comes to: a URL, "#KEY" for a channel, or "!" and Ready's reason and message. */
static const struct destination {
    const char *given, *wanted;
} destinations[] = {
    {"uri: 'http://h'", "http://h/"},
    {"uri: 'https://h:8443/p?q'", "https://h:8443/p?q"},
    {"ref: {kind: Service, apiVersion: v1, name: plain}", "http://plain.example/"},
    {"ref: {kind: Service, name: plain}", "http://plain.example/"},
    {"ref: {kind: Service, apiVersion: v1, name: port}", "http://localhost:9000/"},
    {"ref: {kind: Service, apiVersion: v1, name: tls}", "https://tls.example/"},
    {"ref: {kind: Service, apiVersion: v1, name: tls-port}", "https://tls.example:8443/"},
    {"ref: {kind: Service, apiVersion: v1, name: port}, uri: /a/b", "http://localhost:9000/a/b"},
    {"ref: {kind: Service, apiVersion: v1, name: port}, uri: 'a?b'", "http://localhost:9000/a?b"},
    {"ref: {kind: Service, apiVersion: v1, name: port}, uri: '?b'", "http://localhost:9000/?b"},
    {"ref: {kind: Service, apiVersion: serving.knative.dev/v1, name: deep}, uri: 'c'", "http://deep.example/a/c"},
    {"ref: {kind: Service, apiVersion: serving.knative.dev/v1, name: deep}, uri: '/c'", "http://deep.example/c"},
    {"ref: {kind: Service, apiVersion: v1, name: given}", "http://127.0.0.1:9/given"},
    {"ref: {kind: Service, apiVersion: serving.knative.dev/v1, name: given}", "http://127.0.0.1:9/given"},
    {"ref: {kind: Route, apiVersion: serving.knative.dev/v1, name: given}", "http://127.0.0.1:9/given"},
    {"ref: {kind: Deployment, apiVersion: apps/v1, name: given}", "http://127.0.0.1:9/given"},
    {"ref: {kind: Route, apiVersion: serving.knative.dev/v1, name: route}", "http://route.example/x"},
    {"ref: {kind: Route, apiVersion: serving.knative.dev/v1alpha1, name: route-2018}",
     "http://route-2018.default.svc.cluster.local/"},
    {"ref: {kind: Service, apiVersion: v1, name: far, namespace: other}", "http://far.example/"},
    {"ref: {kind: Channel, apiVersion: messaging.knative.dev/v1, name: b}", "#Channel.messaging.knative.dev/default/b"},
    {"ref: {kind: Channel, name: b}", "#Channel.messaging.knative.dev/default/b"},
    {"ref: {kind: Channel, apiVersion: channels.knative.dev/v1alpha1, name: old}",
     "#Channel.channels.knative.dev/default/old"},
    {"ref: {kind: Channel, name: old}", "#Channel.channels.knative.dev/default/old"},
    {"uri: 'http://127.0.0.1:8080/channels/default/b'", "#Channel.messaging.knative.dev/default/b"},
    {"uri: 'http://B-kn-channel.default.svc.cluster.local'", "#Channel.messaging.knative.dev/default/b"},
    {"uri: 'http://old.default.channels.cluster.local/'", "#Channel.channels.knative.dev/default/old"},
    {"uri: 'http://old.default.channels.cluster.local/elsewhere'",
     "http://old.default.channels.cluster.local/elsewhere"},
    {"uri: 'http://old.default.channels.cluster.local:81/'", "http://old.default.channels.cluster.local:81/"},
    {"ref: {kind: Service, apiVersion: v1, name: absent}",
     "!NotFound subscriber: Service default/absent is not declared: declare it with type ExternalName, or give "
     "--resolve absent.default=URL"},
    {"ref: {kind: Service, apiVersion: v1, name: inner}",
     "!NotResolved subscriber: Service default/inner has no address outside Kubernetes: make it of type ExternalName, "
     "or give --resolve inner.default=URL"},
    {"ref: {kind: Route, apiVersion: serving.knative.dev/v1, name: absent}",
     "!NotResolved subscriber: Route default/absent has no address here; give --resolve absent.default=URL"},
    {"ref: {kind: Route, apiVersion: serving.knative.dev/v1, name: empty}",
     "!NotResolved subscriber: Route default/empty has no address here; give --resolve empty.default=URL, or set its "
     "status.address.url"},
    {"ref: {kind: Deployment, apiVersion: apps/v1, name: d}",
     "!KindNotAddressable subscriber: a Deployment has no address that leat could know; use a Service, a Channel or a "
     "URL, or give --resolve d.default=URL"},
    {"ref: {kind: Channel, apiVersion: messaging.knative.dev/v1, name: absent}",
     "!NotFound subscriber: Channel default/absent of messaging.knative.dev/v1 is not declared"},
    {"ref: {kind: Channel, apiVersion: messaging.knative.dev/v1, name: broken}",
     "!ChannelNotReady subscriber: Channel default/broken is not ready: a Kafka is not in this build"},
};

#define WORLD                                                                                                          \
    CHANNEL("a", "")                                                                                                   \
    CHANNEL("b", "")                                                                                                   \
    CHANNEL("broken", "spec: {channelTemplate: {apiVersion: x/v1, kind: Kafka}}")                                      \
    DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: old}\nspec: {clusterBus: "         \
        "stub}\n" SERVICE("plain", "type: ExternalName, externalName: plain.example")                                  \
            SERVICE("port", "type: ExternalName, externalName: localhost, ports: [{port: 9000}]")                      \
                SERVICE("tls", "type: ExternalName, externalName: tls.example, ports: [{port: 443}]") SERVICE(         \
                    "tls-port", "type: ExternalName, externalName: tls.example, ports: [{name: https, port: 8443}]")   \
                    SERVICE("far, namespace: other", "type: ExternalName, externalName: far.example")                  \
                        SERVICE("inner", "type: ClusterIP, ports: [{port: 80, targetPort: http}]") DOC                 \
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: deep}\nstatus: {address: {url: "          \
        "'http://deep.example/a/b'}}\n" DOC "apiVersion: serving.knative.dev/v1\nkind: Route\nmetadata: {name: "       \
        "route}\nstatus: {url: 'http://route.example/x'}\n" DOC                                                        \
        "apiVersion: serving.knative.dev/v1alpha1\nkind: Route\nmetadata: {name: route-2018}\nstatus: "                \
        "{domainInternal: route-2018.default.svc.cluster.local}\n" DOC                                                 \
        "apiVersion: serving.knative.dev/v1\nkind: Route\nmetadata: {name: empty}\n"

static const char *const resolve[] = {"other.default=http://no/", "given.default=http://127.0.0.1:9/given",
                                      "given.other=http://no/", NULL};

static bool reached(const struct plan *p, const struct plan_target *to, const char *wanted)
{
    if (*wanted == '#')
        return to->kind == PLAN_TARGET_CHANNEL && strcmp(p->channels[to->channel].key, wanted + 1) == 0 &&
               strcmp(to->url, p->channels[to->channel].url) == 0;
    return to->kind == PLAN_TARGET_URL && strcmp(to->url, wanted) == 0;
}

static void test_destinations(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(destinations); i++) {
        char text[6000];
        const char *wanted = destinations[i].wanted;
        snprintf(text, sizeof text, WORLD SUBSCRIPTION("s", "  subscriber: {%s}\n  reply: {%s}"), destinations[i].given,
                 destinations[i].given);
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = rig_plan(t, resolve);
        const struct plan_subscription *s = rig_subscription(p, "s");
        const char *said = rig_condition(rig_get(t, "sub", "s"), "Ready");
        if (*wanted == '!') {
            assert_null(s);
            assert_string_equal(status_text(rig_get(t, "channel", "a"), "address", "url"),
                                "http://127.0.0.1:8080/channels/default/a");
            if (strncmp(said, "False ", 6) != 0 || strncmp(said + 6, wanted + 1, strlen(wanted + 1)) != 0)
                fail_msg("%s: %s", destinations[i].given, said);
        } else if (!s || !reached(p, &s->subscriber, wanted) || !reached(p, &s->reply, wanted)) {
            fail_msg("%s led to %s (%s)", destinations[i].given, s ? s->subscriber.url : "nothing", said);
        } else {
            assert_string_equal(said, "True");
        }
        done(t, p);
    }
}

static void test_subscriptions_wait(void **state)
{
    (void)state;
    BUILT_IN_PLAN(SUBSCRIPTION("s", TO_URL)
                      SUBSCRIPTION("dead", TO_URL "\n  delivery: {deadLetterSink: {ref: {kind: Service, name: x}}}"));
    assert_int_equal(p->subscription_count, 0);
    const struct resource *r = rig_get(t, "sub", "s");
    assert_string_equal(rig_condition(r, "Ready"), "False ChannelNotFound Channel default/a is not declared");
    assert_string_equal(rig_condition(r, "ReferencesResolved"), "True");
    assert_string_equal(rig_condition(r, "AddedToChannel"),
                        "Unknown NotResolved it joins the channel when everything it names is there");
    r = rig_get(t, "sub", "dead");
    assert_int_equal(
        strncmp(rig_condition(r, "ReferencesResolved"), "False NotFound deadLetterSink: Service default/x", 48), 0);

    /* It comes right when the channel comes, over the API here. */
    struct manifest *m = rig_good(CHANNEL("a", ""));
    struct diag d;
    assert_int_equal(
        resource_create(t, "test", manifest_kind(m, 0), cJSON_Duplicate(manifest_object(m, 0), true), NULL, &d), OK);
    manifest_free(m);
    plan_unref(p);
    p = rig_plan(t, NULL);
    assert_non_null(rig_subscription(p, "s"));
    r = rig_get(t, "sub", "s");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    /* Nothing has changed since: no object takes a new version. */
    uint64_t version = resource_table_version(t);
    plan_unref(p);
    p = rig_plan(t, NULL);
    assert_int_equal(resource_table_version(t), version);
    done(t, p);
}

static void test_annotations(void **state)
{
    (void)state;
    BUILT_IN_PLAN(CHANNEL("a, annotations: {leat.dev/overflow: drop-oldest}", "")
                      SUBSCRIPTION("s, annotations: {leat.dev/max-in-flight: '5', leat.dev/start-from: earliest}",
                                   TO_URL) SUBSCRIPTION("u, annotations: {leat.dev/overflow: refuse}", TO_URL));
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_int_equal(s->in_flight_max, 5);
    assert_int_equal(s->start.kind, BUS_START_EARLIEST);
    assert_int_equal(s->param_count, 1);
    assert_string_equal(s->params[0].name, "overflow");
    assert_string_equal(s->params[0].value, "drop-oldest");
    s = rig_subscription(p, "u");
    assert_string_equal(s->params[0].value, "refuse");
    assert_int_equal(s->in_flight_max, 0);
    assert_int_equal(s->start.kind, BUS_START_LATEST);
    done(t, p);
}

static void test_where_a_new_one_begins(void **state)
{
    (void)state;
    BUILT_IN_PLAN(CHANNEL("a", "") SUBSCRIPTION("s, annotations: {leat.dev/start-from: '4711'}", TO_URL)
                      SUBSCRIPTION("u, annotations: {leat.dev/start-from: '2018-07-31T12:00:00Z'}", TO_URL)
                          SUBSCRIPTION("v, annotations: {leat.dev/start-from: earliest}", TO_URL));
    const struct plan_subscription *s = rig_subscription(p, "s");
    assert_int_equal(s->start.kind, BUS_START_OFFSET);
    assert_int_equal(s->start.offset, 4711);
    s = rig_subscription(p, "u");
    assert_int_equal(s->start.kind, BUS_START_TIME);
    assert_int_equal(s->start.wall_ns, 1533038400ll * 1000000000ll);
    for (const char *name = "su"; *name; name++) {
        const struct resource *r = rig_get(t, "subscription", (const char[]){*name, 0});
        assert_string_equal(rig_condition(r, "StartHeeded"),
                            "False BusKeepsNoPast the annotation leat.dev/start-from asks for a time or an offset, but "
                            "the bus memory keeps no events that were delivered: a new one begins with the events from "
                            "now on");
        assert_true(strncmp(rig_condition(r, "Ready"), "True BusKeepsNoPast", 19) == 0);
    }
    assert_null(condition_find(rig_status(rig_get(t, "subscription", "v")), "StartHeeded"));
    done(t, p);
}

static void test_retention_is_the_channel_s(void **state)
{
    (void)state;
    BUILT_IN_PLAN(CHANNEL("a, annotations: {leat.dev/retention-age: P7D, leat.dev/retention-bytes: 1GiB}", ""));
    const struct plan_channel *c = channel_of(p, "Channel.messaging.knative.dev/default/a");
    assert_int_equal(c->param_count, 2);
    assert_string_equal(c->params[0].name, "retention-age");
    assert_string_equal(c->params[0].value, "P7D");
    assert_string_equal(c->params[1].name, "retention-bytes");
    assert_string_equal(c->params[1].value, "1GiB");
    done(t, p);
}

static void test_github_source(void **state)
{
    (void)state;
    BUILT_IN_PLAN(CHANNEL("a", "") SECRET GITHUB(
        SIGNED SINK "  secure: true\n  githubAPIURL: http://127.0.0.1:3/api\n  ceOverrides: {extensions: {team: x}}"));
    const struct plan_source *s = source_of(p, "g");
    assert_string_equal(s->key, "GitHubSource.sources.knative.dev/default/g");
    assert_string_equal(s->path, "/hooks/default/g");
    assert_string_equal(s->spec.type, "github");
    assert_string_equal(param(s, "ownerAndRepository"), "octo-org/hello-world");
    assert_string_equal(param(s, "eventTypes"), "push,pull_request");
    assert_string_equal(param(s, "accessToken"), "access");
    assert_string_equal(param(s, "secretToken"), "signed");
    assert_string_equal(param(s, "secure"), "true");
    assert_string_equal(param(s, "githubAPIURL"), "http://127.0.0.1:3/api");
    assert_string_equal(param(s, "form"), "today");
    assert_int_equal(s->spec.ce_override_count, 1);
    assert_string_equal(s->spec.ce_overrides[0].name, "team");
    assert_int_equal(s->sink.kind, PLAN_TARGET_CHANNEL);
    const struct resource *r = rig_get(t, "githubsources", "g");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(status_text(r, "sinkUri", NULL), "http://127.0.0.1:8080/channels/default/a");

    /* What the running source reports outlives the next plan, and shows in Ready without spoiling it. */
    assert_int_equal(resource_set_condition(t, r, "WebhookConfigured", "False", "NoURL", "say where"), OK);
    assert_string_equal(rig_condition(r, "Ready"), "True NoURL say where");
    plan_unref(p);
    p = rig_plan(t, NULL);
    assert_string_equal(rig_condition(r, "WebhookConfigured"), "False NoURL say where");
    assert_string_equal(rig_condition(r, "Ready"), "True NoURL say where");
    done(t, p);
}

static void check_no_source(const char *text, const char *condition, const char *said)
{
    BUILT_IN_PLAN(text);
    const struct resource *r = rig_get(t, "githubsources", "g");
    assert_int_equal(p->source_count, 0);
    assert_string_equal(rig_condition(r, condition), said);
    assert_int_equal(strncmp(rig_condition(r, "Ready"), "False ", 6), 0);
    assert_string_equal(rig_condition(r, "WebhookConfigured"), "Unknown NotRunning the source does not run");
    done(t, p);
}

static void test_github_sources_that_cannot_run(void **state)
{
    (void)state;
    check_no_source(CHANNEL("a", "") GITHUB(SIGNED SINK), "SecretsProvided",
                    "False SecretNotFound accessToken: Secret default/gh is not declared");
    check_no_source(CHANNEL("a", "") SECRET GITHUB("  secretToken: {secretKeyRef: {name: gh, key: x}}\n" SINK),
                    "SecretsProvided", "False SecretKeyNotFound secretToken: Secret default/gh has no key \"x\"");
    check_no_source(SECRET GITHUB(SIGNED SINK), "SinkProvided",
                    "False NotFound Channel default/a of messaging.knative.dev/v1 is not declared");
    check_no_source(
        CHANNEL("a", "") DOC
        "apiVersion: v1\nkind: Secret\nmetadata: {name: gh}\ndata: {token: YWNjZXNz, s: c2lnbmVkCg==}\n" GITHUB(
            SIGNED SINK),
        "SecretsProvided",
        "False InvalidParameters secretToken ends with a line break; store it without one (printf %s instead of echo)");
    check_no_source(
        CHANNEL("a", "") DOC
        "apiVersion: v1\nkind: Secret\nmetadata: {name: gh}\ndata: {token: YWNjZXNz, s: AAAA}\n" GITHUB(SIGNED SINK),
        "SecretsProvided", "False SecretInvalid secretToken: Secret default/gh: \"s\" holds a NUL character");
}

/* ---- the form of 2018, on the manifests of its shape ---- */

static struct resource_table *table_2018(void)
{
    char path[500];
    const char *paths[] = {path};
    struct resource_table *t = NULL;
    struct manifest *m = NULL;
    struct problems problems;
    problems_init(&problems);
    snprintf(path, sizeof path, "%s/tests/data/2018", rig_root);
    assert_int_equal(manifest_load(paths, 1, NULL, &m, &problems), OK);
    assert_int_equal(problems.errors, 0);
    assert_int_equal(resource_table_new(clock_system(), &t), OK);
    assert_int_equal(resource_table_sync(t, m, &problems), OK);
    manifest_free(m);
    problems_fini(&problems);
    return t;
}

static const char *const legit[] = {"legit.default=http://127.0.0.1:9/legit", NULL};

static void test_2018_channels(void **state)
{
    (void)state;
    struct resource_table *t = table_2018();
    struct plan *p = rig_plan(t, legit);
    const struct plan_channel *c = channel_of(p, "Channel.channels.knative.dev/default/greetings");
    assert_string_equal(p->buses[c->bus].key, "Bus/default/pipes");
    assert_string_equal(p->buses[c->bus].type, "memory");
    assert_int_equal(c->param_count, 1);
    assert_string_equal(c->params[0].value, "2MiB"); /* the argument wins over the default */
    const struct resource *r = rig_get(t, "channels.channels.knative.dev", "greetings");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(rig_condition(r, "Provisioned"),
                        "True ArgumentsIgnored these mean nothing to this bus and are ignored: colour, unheard");
    assert_string_equal(status_text(r, "domainInternal", NULL), "greetings-channel.default.svc.cluster.local");
    assert_string_equal(p->buses[channel_of(p, "Channel.channels.knative.dev/default/answers")->bus].key,
                        "ClusterBus/stub");

    static const char *const broken[][2] = {
        {"on-pigeons", "False BusNotSupported Bus strange runs a program that leat does not know; built in are stub "
                       "(in memory), log (on disk), kafka, gcppubsub and rabbitmq"},
        {"on-nothing", "False BusNotFound ClusterBus missing is not declared; built in are stub (in memory), log (on "
                       "disk), kafka, gcppubsub and rabbitmq"},
    };
    for (size_t i = 0; i < COUNT(broken); i++) {
        char key[100];
        snprintf(key, sizeof key, "Channel.channels.knative.dev/default/%s", broken[i][0]);
        assert_null(channel_of(p, key));
        assert_string_equal(rig_condition(rig_get(t, "channels.channels.knative.dev", broken[i][0]), "Ready"),
                            broken[i][1]);
    }
    assert_string_equal(rig_condition(rig_get(t, "bus", "kafka"), "Ready"), "True");
    assert_string_equal(rig_condition(rig_get(t, "clusterbus", "gcppubsub"), "Ready"),
                        "False ProjectMissing ClusterBus gcppubsub: the environment of its dispatcher has no "
                        "GOOGLE_CLOUD_PROJECT; write the project's id there");
    assert_string_equal(rig_condition(rig_get(t, "clusterbus", "stub"), "Ready"), "True");
    done(t, p);
}

static void test_2018_subscriptions(void **state)
{
    (void)state;
    struct resource_table *t = table_2018();
    struct plan *p = rig_plan(t, legit);
    const struct plan_subscription *s = rig_subscription(p, "greetings2hello");
    assert_string_equal(s->subscriber.url, "http://hello-00001-service.default.svc.cluster.local/");
    assert_true(reached(p, &s->reply, "#Channel.channels.knative.dev/default/answers"));
    assert_string_equal(s->params[0].value, "drop-oldest");
    assert_int_equal(s->delivery->retry, 0);
    assert_true(reached(p, &rig_subscription(p, "answers2url")->subscriber, "http://127.0.0.1:9001/path"));
    assert_true(reached(p, &rig_subscription(p, "answers2greetings")->subscriber,
                        "#Channel.channels.knative.dev/default/greetings"));
    /* A subscription's channel comes first in the order, for those who walk channel by channel. */
    for (size_t i = 1; i < p->subscription_count; i++)
        assert_true(p->subscriptions[i - 1].channel <= p->subscriptions[i].channel);

    static const char *const broken[][2] = {
        {"no-argument", "False ArgumentMissing the bus demands the argument \"overflow\"; add it under spec.arguments"},
        {"lost", "False ChannelNotFound Channel default/nowhere is not declared"},
    };
    for (size_t i = 0; i < COUNT(broken); i++) {
        assert_null(rig_subscription(p, broken[i][0]));
        assert_string_equal(rig_condition(rig_get(t, "subscriptions.channels.knative.dev", broken[i][0]), "Ready"),
                            broken[i][1]);
    }
    done(t, p);
}

/* The names that DNS had in 2018, and what knows them here. */
static void test_2018_names(void **state)
{
    static const char *const names[][2] = {
        {"given", "http://127.0.0.1:9/given"},
        {"given.default", "http://127.0.0.1:9/given"},
        {"given.default.svc", "http://127.0.0.1:9/given"},
        {"given.default.svc.cluster.local", "http://127.0.0.1:9/given"},
        {"given.other", "http://no/"},
        {"port", "http://localhost:9000/"},
        {"port.default.svc.cluster.local", "http://localhost:9000/"},
        {"route", "http://route.example/x"},
        {"unheard", "http://unheard.default.svc.cluster.local/"},
        {"unheard.other", "http://unheard.other/"},
        {"www.example.com", "http://www.example.com/"},
        {"localhost:9001", "http://localhost:9001/"},
        {"http://given.default/x", "http://given.default/x"},
        {"old-channel", "#Channel.channels.knative.dev/default/old"},
        {"old-channel.default", "#Channel.channels.knative.dev/default/old"},
        {"b-kn-channel.default.svc.cluster.local", "#Channel.messaging.knative.dev/default/b"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        char text[6000];
        snprintf(text, sizeof text,
                 WORLD DOC "apiVersion: channels.knative.dev/v1alpha1\nkind: Subscription\nmetadata: {name: s}\nspec: "
                           "{channel: old, subscriber: '%s'}\n",
                 names[i][0]);
        struct resource_table *t = rig_table(text, clock_system());
        struct plan *p = rig_plan(t, resolve);
        const struct plan_subscription *s = rig_subscription(p, "s");
        if (!s || !reached(p, &s->subscriber, names[i][1]))
            fail_msg("%s led to %s", names[i][0], s ? s->subscriber.url : "nothing");
        done(t, p);
    }
}

static void test_2018_feeds(void **state)
{
    (void)state;
    struct resource_table *t = table_2018();
    struct plan *p = rig_plan(t, legit);
    const struct plan_source *s = source_of(p, "to-channel");
    assert_string_equal(s->key, "Feed.feeds.knative.dev/default/to-channel");
    assert_string_equal(s->kind->kind, "Feed");
    assert_string_equal(s->path, "/hooks/default/to-channel");
    assert_string_equal(param(s, "ownerAndRepository"), "octo-org/hello-world");
    assert_string_equal(param(s, "eventTypes"), "pull_request");
    assert_string_equal(param(s, "accessToken"), "access-4711");
    assert_string_equal(param(s, "secretToken"), "signed-4711");
    assert_string_equal(param(s, "form"), "2018");
    assert_string_equal(param(s, "secretName"), "(none)");
    assert_true(reached(p, &s->sink, "#Channel.channels.knative.dev/default/greetings"));
    assert_true(reached(p, &source_of(p, "july-channel")->sink, "#Channel.channels.knative.dev/default/answers"));
    assert_string_equal(param(source_of(p, "july-channel"), "ownerAndRepository"), "octo-org");
    s = source_of(p, "july-route");
    assert_true(reached(p, &s->sink, "http://127.0.0.1:9/legit"));
    assert_string_equal(param(s, "eventTypes"), "push");
    assert_string_equal(param(s, "secure"), "false");
    assert_string_equal(param(s, "githubAPIURL"), "http://127.0.0.1:1/api");
    assert_string_equal(rig_condition(rig_get(t, "feed", "to-channel"), "Ready"), "True");
    assert_string_equal(
        rig_condition(rig_get(t, "feed", "july-route"), "DependenciesSatisfied"),
        "True BuiltInEventType EventType dev.knative.github.push is not declared; leat's own, of github, is used");

    const struct plan_source *k8s = source_of(p, "of-k8s");
    assert_string_equal(k8s->spec.type, "kubernetes");
    assert_string_equal(source_param(&k8s->spec, "resources", ""), "v1/Event");
    assert_string_equal(source_param(&k8s->spec, "mode", ""), "2018");
    assert_string_equal(rig_condition(rig_get(t, "feed", "of-k8s"), "DependenciesSatisfied"), "True");
    assert_string_equal(rig_condition(rig_get(t, "feed", "of-k8s"), "WebhookConfigured"), "(none)");

    static const char *const broken[][2] = {
        {"of-letters", "False NotSupported EventSource letters runs the program registry.example/post/office, which "
                       "leat cannot; built in are github, kubernetes and pubsub."},
        {"of-orphans", "False EventSourceNotFound EventSource nobody is not declared"},
        {"of-unknown", "False EventTypeNotFound EventType unknown is not declared; built in are pullrequest, "
                       "dev.knative.github.* and google.pubsub.topic.publish"},
        {"no-secret", "False SecretNotFound Secret default/absent is not declared"},
        {"placeholder", "False InvalidParameters ownerAndRepository must be OWNER/REPOSITORY"},
    };
    for (size_t i = 0; i < COUNT(broken); i++) {
        const char *said = rig_condition(rig_get(t, "feed", broken[i][0]), "Ready");
        assert_null(source_of(p, broken[i][0]));
        if (strncmp(said, broken[i][1], strlen(broken[i][1])) != 0)
            fail_msg("%s: %s", broken[i][0], said);
    }
    assert_string_equal(rig_condition(rig_get(t, "eventtypes.feeds.knative.dev", "pullrequest"), "InUse"), "True");
    assert_string_equal(rig_condition(rig_get(t, "eventtypes.feeds.knative.dev", "unused"), "InUse"), "False");
    assert_string_equal(rig_condition(rig_get(t, "eventsource", "github"), "Complete"), "True");
    done(t, p);
}

static void test_flows(void **state)
{
    (void)state;
    struct resource_table *t = table_2018();
    struct plan *p = rig_plan(t, legit);
    const char *key = "Flow.flows.knative.dev/default/github-flow";
    const struct plan_channel *c = channel_of(p, key);
    const struct plan_subscription *s = rig_subscription(p, "github-flow");
    const struct plan_source *g = source_of(p, "github-flow");
    assert_string_equal(p->buses[c->bus].key, "ClusterBus/stub");
    assert_string_equal(c->path, "/channels/default/github-flow");
    assert_string_equal(c->hosts[0], "github-flow-channel.default.svc.cluster.local");
    assert_ptr_equal(&p->channels[s->channel], c);
    assert_string_equal(s->key, key);
    assert_true(reached(p, &s->subscriber, "http://127.0.0.1:9/legit"));
    assert_string_equal(g->key, key);
    assert_ptr_equal(&p->channels[g->sink.channel], c);
    assert_string_equal(param(g, "secretToken"), "signed-4711");
    const struct resource *r = rig_get(t, "flow", "github-flow");
    assert_string_equal(rig_condition(r, "Ready"), "True");
    assert_string_equal(status_text(r, "channelTarget", NULL), "github-flow-channel.default.svc.cluster.local");
    assert_int_equal(rig_subscription(p, "uri-flow")->delivery->retry, 4);
    assert_true(reached(p, &rig_subscription(p, "uri-flow")->subscriber, "http://127.0.0.1:9002/in"));

    /* Nowhere to go: no source, whose events would only be dropped. */
    assert_null(source_of(p, "lost-flow"));
    assert_null(rig_subscription(p, "lost-flow"));
    r = rig_get(t, "flow", "lost-flow");
    assert_string_equal(
        rig_condition(r, "Ready"),
        "False NotResolved Route default/absent has no address here; give --resolve absent.default=URL");
    assert_string_equal(rig_condition(r, "ChannelReady"), "True");
    assert_string_equal(rig_condition(r, "FeedReady"), "False NotReady it waits for the channel and the target");
    done(t, p);
}

#define FLOW                                                                                                           \
    DOC "apiVersion: flows.knative.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\nspec:\n"                             \
        "  action: {targetURI: 'http://h/'}\n  trigger: {eventType: pullrequest, resource: o/r, parametersFrom: "      \
        "[{secretKeyRef: {name: s, key: k}}]}\n"
#define CREDENTIALS(value) DOC "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: '" value "'}\n"

static void test_flows_of_few_words(void **state)
{
    static const char *const values[][2] = {
        {"{\"secretToken\": \"hunter2\"}",
         "True BuiltInEventType EventType pullrequest is not declared; leat's own, of github, is used"},
        {"hunter2", "False ParametersInvalid Secret default/s key \"k\" must hold a JSON object such as "
                    "{\"accessToken\": \"...\", \"secretToken\": \"...\"}"},
        {"[\"hunter2\"]", "False ParametersInvalid Secret default/s key \"k\" must hold a JSON object such as "
                          "{\"accessToken\": \"...\", \"secretToken\": \"...\"}"},
        {"{\"secretToken\": \"hunter2\\n\"}", "False InvalidParameters secretToken ends with a line break; store it "
                                              "without one (printf %s instead of echo)"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        char text[3000];
        snprintf(text, sizeof text, FLOW CREDENTIALS("%s"), values[i][0]);
        BUILT_IN_PLAN(text);
        const struct resource *r = rig_get(t, "flow", "f");
        assert_string_equal(rig_condition(r, "FeedReady"), values[i][1]);
        char *status = cJSON_Print(rig_status(r));
        assert_null(strstr(status, "hunter2"));
        cJSON_free(status);
        done(t, p);
    }
    /* The bus that the ConfigMap of 2018 names. */
    BUILT_IN_PLAN(
        FLOW CREDENTIALS("{\"secretToken\": \"x\"}") DOC
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: flow-controller-config, namespace: knative-eventing}\n"
        "data: {default-cluster-bus: kafka}\n");
    assert_int_equal(p->channel_count, 0);
    assert_int_equal(p->source_count, 0);
    assert_string_equal(
        rig_condition(rig_get(t, "flow", "f"), "ChannelReady"),
        "False BusNotFound ClusterBus kafka is not declared, and the default bus is not Kafka: declare it, with "
        "the cluster's addresses in KAFKA_BOOTSTRAP_SERVERS of its dispatcher's environment");
    done(t, p);
}

/* A Feed and a GitHubSource of one name: two paths. */
static void test_hooks_do_not_collide(void **state)
{
    (void)state;
    BUILT_IN_PLAN(
        CHANNEL("a", "") SECRET GITHUB(SIGNED SINK) DOC
        "apiVersion: feeds.knative.dev/v1alpha1\nkind: Feed\nmetadata: {name: g, annotations: "
        "{leat.dev/allow-unsigned: 'true'}}\n"
        "spec: {action: {dnsName: a-kn-channel.default}, trigger: {eventType: pullrequest, resource: o/r}}\n");
    assert_int_equal(p->source_count, 2);
    assert_string_equal(p->sources[0].path, "/hooks/default/g");
    assert_string_equal(p->sources[1].path, "/hooks/feeds.feeds.knative.dev/default/g");
    assert_string_equal(param(&p->sources[1], "allowUnsigned"), "true");
    done(t, p);
}

static void test_resolve_arguments(void **state)
{
    static const char *const good[] = {"a.b=http://x", "a.b.c=http://x/y?z=1", "hello.default=https://127.0.0.1:9/"};
    static const char *const bad[][2] = {
        {"", "\"\" has no '='; write NAME.NAMESPACE=URL"},
        {"a.b", "\"a.b\" has no '='"},
        {"a=http://x", "\"a\" is not NAME.NAMESPACE, such as hello.default"},
        {".b=http://x", "\".b\" is not NAME.NAMESPACE"},
        {"a.=http://x", "\"a.\" is not NAME.NAMESPACE"},
        {"a.b=x", "\"x\" is not a URL: the URL does not begin with http:// or https://"},
    };
    struct diag d;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(plan_resolve_check(good[i], &d), OK);
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(plan_resolve_check(bad[i][0], &d), ERR_INVALID);
        if (strncmp(d.text, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("%s: %s", bad[i][0], d.text);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    BUILT_IN_PLAN("");
    assert_int_equal(p->bus_count, 1);
    assert_int_equal(p->channel_count + p->subscription_count + p->source_count, 0);
    struct plan *again = plan_ref(p);
    assert_null(plan_unref(again));
    assert_null(plan_unref(NULL));
    done(t, p);
}

/* A thousand of everything, in time that nobody notices. */
static void test_many(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 1000; i++)
        buf_printf(&b,
                   "---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c%d}\n---\n"
                   "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s%d}\n"
                   "spec: {channel: {kind: Channel, name: c%d}, subscriber: {uri: "
                   "'http://127.0.0.1:8080/channels/default/c%d'}}\n",
                   i, i, i, (i + 1) % 1000);
    char *text = buf_take_string(&b);
    BUILT_IN_PLAN(text);
    assert_int_equal(p->channel_count, 1000);
    assert_int_equal(p->subscription_count, 1000);
    for (size_t i = 0; i < p->subscription_count; i++)
        assert_int_equal(p->subscriptions[i].subscriber.kind, PLAN_TARGET_CHANNEL);
    free(text);
    done(t, p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_delivery_is_merged),
        cmocka_unit_test(test_destinations),
        cmocka_unit_test(test_subscriptions_wait),
        cmocka_unit_test(test_annotations),
        cmocka_unit_test(test_where_a_new_one_begins),
        cmocka_unit_test(test_retention_is_the_channel_s),
        cmocka_unit_test(test_github_source),
        cmocka_unit_test(test_github_sources_that_cannot_run),
        cmocka_unit_test(test_2018_channels),
        cmocka_unit_test(test_2018_subscriptions),
        cmocka_unit_test(test_2018_names),
        cmocka_unit_test(test_2018_feeds),
        cmocka_unit_test(test_flows),
        cmocka_unit_test(test_flows_of_few_words),
        cmocka_unit_test(test_hooks_do_not_collide),
        cmocka_unit_test(test_resolve_arguments),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
