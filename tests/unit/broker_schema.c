/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a manifest, said with its place and its path: one row for each mistake that users make.
 */
#include <regex.h>

#include "../lib/resource_rig.h"

#define MSG "apiVersion: messaging.knative.dev/v1\n"
#define CHAN "apiVersion: channels.knative.dev/v1alpha1\n"
#define FEED "apiVersion: feeds.knative.dev/v1alpha1\n"
#define FLOW "apiVersion: flows.knative.dev/v1alpha1\n"
#define CHANNEL MSG "kind: Channel\nmetadata:\n  name: c\n"
#define SUBSCRIPTION MSG "kind: Subscription\nmetadata:\n  name: s\nspec:\n"
#define REF "  channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}\n"
#define TO "  subscriber: {uri: 'http://x/'}\n"
#define CHANNEL_2018 CHAN "kind: Channel\nmetadata: {name: c}\nspec:\n"
#define SUBSCRIPTION_2018 CHAN "kind: Subscription\nmetadata: {name: s}\nspec:\n"
#define FEED_2018 FEED "kind: Feed\nmetadata: {name: f}\nspec:\n"
#define TRIGGER "  trigger: {eventType: pullrequest, resource: o/r}\n"
#define FLOW_2018 FLOW "kind: Flow\nmetadata: {name: f}\nspec:\n"
#define GITHUB "apiVersion: sources.knative.dev/v1alpha1\nkind: GitHubSource\nmetadata: {name: g}\nspec:\n"
#define GITHUB_REST                                                                                                    \
    "  accessToken: {secretKeyRef: {name: a, key: b}}\n  secretToken: {secretKeyRef: {name: a, key: b}}\n"             \
    "  sink: {uri: 'http://x/'}\n"
#define SECRET "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
#define SERVICE "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n"

static const struct rig_mistake mistakes[] = {
    /* the head of an object */
    {"kind: Channel\n", "m.yaml:1:1: error: apiVersion: is missing"},
    {"apiVersion: v1\n", "m.yaml:1:1: error: kind: is missing"},
    {"apiVersion: 1\nkind: Channel\n", "m.yaml:1:13: error: apiVersion: must be text"},
    {MSG "kind: Chanel\nmetadata: {name: c}\n",
     "m.yaml:2:7: error: Chanel c: kind: there is no kind Chanel in messaging.knative.dev/v1; did you mean Channel?"},
    {MSG "kind: Whatever\nmetadata: {name: c}\n",
     "m.yaml:2:7: error: Whatever c: kind: there is no kind Whatever in messaging.knative.dev/v1"},
    {"apiVersion: messaging.knative.dev/v1beta1\nkind: Channel\nmetadata: {name: c}\n",
     "m.yaml:1:13: error: Channel c: apiVersion: there is no Channel in messaging.knative.dev/v1beta1; its apiVersion "
     "is messaging.knative.dev/v1"},
    {"apiVersion: feeds.knative.dev/v1\nkind: Thing\nmetadata: {name: c}\n",
     "m.yaml:2:7: error: Thing c: kind: there is no API feeds.knative.dev/v1; see docs/resources.md"},
    {MSG "kind: Channel\n", "m.yaml:1:1: error: Channel: metadata is missing; an object needs at least metadata.name"},
    {MSG "kind: Channel\nmetadata: {}\n",
     "m.yaml:3:1: error: Channel: metadata.name: is missing: an object needs a name"},
    {MSG "kind: Channel\nmetadata: {name: 5}\n",
     "m.yaml:3:18: error: Channel: metadata.name: must be text, not a number (it is 5); put it in quotes"},
    {MSG "kind: Channel\nmetadata: {name: Upper}\n",
     "m.yaml:3:18: error: Channel default/Upper: metadata.name: must consist of lower-case letters, digits, '-' and "
     "'.', and begin and end with a letter or digit (it is \"Upper\")"},
    {MSG "kind: Channel\nmetadata: {name: a..b}\n",
     "m.yaml:3:18: error: Channel default/a..b: metadata.name: must consist of"},
    {MSG "kind: Channel\nmetadata: {name: a-}\n",
     "m.yaml:3:18: error: Channel default/a-: metadata.name: must consist of"},
    {MSG "kind: Channel\nmetadata: {name: ''}\n",
     "m.yaml:3:18: error: Channel default/: metadata.name: must not be empty"},
    {MSG "kind: Channel\nmetadata: {name: c, namespace: a.b}\n",
     "m.yaml:3:32: error: Channel a.b/c: metadata.namespace: must consist of lower-case letters, digits and '-'"},
    {"apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\n",
     "m.yaml:3:18: error: Service default/a.b: metadata.name: must consist of"},
    {MSG "kind: Channel\nmetadata: {name: c, label: {a: b}}\n",
     "m.yaml:3:21: error: Channel default/c: metadata.label: unknown field; did you mean \"labels\"?"},
    {MSG "kind: Channel\nmetadata: {name: c, labels: {a: 1}}\n",
     "m.yaml:3:33: error: Channel default/c: metadata.labels.a: must be text, not a number (it is 1); put it in "
     "quotes"},
    {MSG "kind: Channel\nmetadata: c\n",
     "m.yaml:3:11: error: Channel: metadata: must be a mapping, not text (it is \"c\")"},
    {CHANNEL "specs: {}\n", "m.yaml:5:1: error: Channel default/c: specs: unknown field; did you mean \"spec\"?"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/capcity: 1MiB}}\n",
     "m.yaml:3:53: error: Channel default/c: metadata.annotations[\"leat.dev/capcity\"]: there is no such annotation; "
     "did you mean leat.dev/capacity?"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/capacity: lots}}\n",
     "m.yaml:3:54: error: Channel default/c: metadata.annotations[\"leat.dev/capacity\"]: must be a number of bytes "
     "such as 64MiB"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/overflow: drop}}\n",
     "metadata.annotations[\"leat.dev/overflow\"]: must be refuse or drop-oldest (it is \"drop\")"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/max-in-flight: '0'}}\n",
     "metadata.annotations[\"leat.dev/max-in-flight\"]: must be a whole number from 1 to 10000 (it is \"0\")"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/start-from: now}}\n",
     "metadata.annotations[\"leat.dev/start-from\"]: must be earliest, latest, an offset such as 4711, or a "
     "time such as 2026-01-31T08:00:00Z (it is \"now\")"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/unheard-of-thing: now}}\n",
     "there is no such annotation; after leat.dev/ leat has: capacity, "},
    /* delivery */
    {CHANNEL "spec:\n  delivery:\n    retry: -1\n",
     "m.yaml:7:12: error: Channel default/c: spec.delivery.retry: must be at least 0 (it is -1)"},
    {CHANNEL "spec:\n  delivery:\n    retry: 5000\n",
     "m.yaml:7:12: error: Channel default/c: spec.delivery.retry: must be at most 1000 (it is 5000)"},
    {CHANNEL "spec:\n  delivery:\n    retry: 1.5\n",
     "m.yaml:7:12: error: Channel default/c: spec.delivery.retry: must be a whole number, not a number (it is 1.5)"},
    {CHANNEL "spec:\n  delivery:\n    retry: '3'\n",
     "m.yaml:7:12: error: Channel default/c: spec.delivery.retry: must be a whole number, not text (it is \"3\"); "
     "write the number without quotes"},
    {CHANNEL "spec:\n  delivery:\n    retry: 99999999999999999999\n",
     "m.yaml:7:12: error: Channel default/c: spec.delivery.retry: must be at most 1000 (it is "
     "\"99999999999999999999\")"},
    {CHANNEL "spec:\n  delivery:\n    retries: 3\n",
     "m.yaml:7:5: error: Channel default/c: spec.delivery.retries: unknown field; did you mean \"retry\"?"},
    {CHANNEL "spec:\n  delivery:\n    backoffPolicy: exponental\n",
     "m.yaml:7:20: error: Channel default/c: spec.delivery.backoffPolicy: there is no \"exponental\" here; did you "
     "mean \"exponential\"?"},
    {CHANNEL "spec:\n  delivery:\n    backoffPolicy: constant\n",
     "m.yaml:7:20: error: Channel default/c: spec.delivery.backoffPolicy: must be one of: linear, exponential (it is "
     "\"constant\")"},
    {CHANNEL "spec:\n  delivery:\n    backoffDelay: 5s\n",
     "m.yaml:7:19: error: Channel default/c: spec.delivery.backoffDelay: \"5s\" is no ISO 8601 duration"},
    {CHANNEL "spec:\n  delivery:\n    timeout: PT0S\n",
     "m.yaml:7:14: error: Channel default/c: spec.delivery.timeout: must be longer than zero"},
    {CHANNEL "spec:\n  delivery:\n    backoffMax: P1Y\n",
     "m.yaml:7:17: error: Channel default/c: spec.delivery.backoffMax: "},
    {CHANNEL "spec:\n  delivery:\n    format: xml\n",
     "m.yaml:7:13: error: Channel default/c: spec.delivery.format: must be one of: json, binary (it is \"xml\")"},
    {CHANNEL "spec:\n  delivery:\n    deadLetterSink: {}\n",
     "m.yaml:7:5: error: Channel default/c: spec.delivery.deadLetterSink: needs ref (an object with an address) or uri "
     "(a URL)"},
    {CHANNEL "spec:\n  delivery: []\n",
     "m.yaml:6:13: error: Channel default/c: spec.delivery: must be a mapping, not a list"},
    {CHANNEL "spec:\n  delivery:\n    nonsense: 1\n",
     "spec.delivery.nonsense: unknown field; known here: deadLetterSink, retry, timeout"},
    /* today's kinds */
    {CHANNEL "spec:\n  channelTemplate: {kind: InMemoryChannel}\n",
     "m.yaml:6:3: error: Channel default/c: spec.channelTemplate: needs apiVersion and kind"},
    {CHANNEL "spec:\n  subscribers: []\n",
     "m.yaml:6:3: error: Channel default/c: spec: subscribers is written by leat; make a Subscription"},
    {SUBSCRIPTION TO, "m.yaml:5:1: error: Subscription default/s: spec.channel: is missing"},
    {SUBSCRIPTION "  channel: {kind: Channel}\n" TO,
     "m.yaml:6:3: error: Subscription default/s: spec.channel.name: is missing"},
    {SUBSCRIPTION "  channel: {kind: Broker, name: b}\n" TO,
     "m.yaml:6:19: error: Subscription default/s: spec.channel.kind: must be Channel, InMemoryChannel or KafkaChannel "
     "(it is "
     "\"Broker\")"},
    {SUBSCRIPTION "  channel: {kind: Channel, name: c, namespace: other}\n" TO,
     "m.yaml:6:48: error: Subscription default/s: spec.channel.namespace: a Subscription and its channel must be in "
     "the same namespace (here \"default\")"},
    {SUBSCRIPTION REF, "m.yaml:5:1: error: Subscription default/s: spec: needs subscriber (or reply"},
    {SUBSCRIPTION REF "  subscriber: {}\n", "m.yaml:7:3: error: Subscription default/s: spec.subscriber: needs ref"},
    {SUBSCRIPTION REF "  subscriber: {uri: /x}\n", "m.yaml:7:21: error: Subscription default/s: spec.subscriber.uri: "
                                                   "must be a whole URL such as http://host:8080/path"},
    {SUBSCRIPTION REF "  subscriber: {uri: 'ftp://x'}\n",
     "m.yaml:7:21: error: Subscription default/s: spec.subscriber.uri: the URL does not begin with http:// or "
     "https://; write one"},
    {SUBSCRIPTION REF "  subscriber: {uri: 'http://'}\n",
     "m.yaml:7:21: error: Subscription default/s: spec.subscriber.uri: the URL has no host; write one such as "
     "http://host:8080/path"},
    {SUBSCRIPTION REF "  subscriber: {uri: 'http://x:99999/'}\n",
     "spec.subscriber.uri: the URL's port is no number from 1 to 65535"},
    {SUBSCRIPTION REF "  subscriber: {ref: {kind: Service, name: x}, uri: 'http://y/'}\n",
     "spec.subscriber.uri: beside ref, only a reference without scheme and host may stand here"},
    {SUBSCRIPTION REF "  subscriber: {ref: {kind: Service}}\n",
     "m.yaml:7:16: error: Subscription default/s: spec.subscriber.ref.name: is missing"},
    {SUBSCRIPTION REF "  subscriber: {url: 'http://x'}\n",
     "m.yaml:7:16: error: Subscription default/s: spec.subscriber.url: unknown field; did you mean \"uri\"?"},
    {SUBSCRIPTION REF "  subscriber: http://x\n",
     "m.yaml:7:15: error: Subscription default/s: spec.subscriber: must be a mapping, not text (it is \"http://x\")"},
    {SUBSCRIPTION REF TO "  replies: {}\n",
     "m.yaml:8:3: error: Subscription default/s: spec.replies: unknown field; did you mean \"reply\"?"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: [pull_requst]\n" GITHUB_REST,
     "m.yaml:6:16: error: GitHubSource default/g: spec.eventTypes[0]: there is no \"pull_requst\" here; did you mean "
     "\"pull_request\"?"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: []\n" GITHUB_REST,
     "m.yaml:6:15: error: GitHubSource default/g: spec.eventTypes: must have at least 1 element"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: push\n" GITHUB_REST,
     "m.yaml:6:15: error: GitHubSource default/g: spec.eventTypes: must be a list, not text (it is \"push\"); begin "
     "each element with \"- \""},
    {GITHUB "  ownerAndRepository: ''\n  eventTypes: [push]\n" GITHUB_REST,
     "m.yaml:5:23: error: GitHubSource default/g: spec.ownerAndRepository: must not be empty"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: [push]\n  secure: yes\n" GITHUB_REST,
     "m.yaml:7:11: error: GitHubSource default/g: spec.secure: must be true or false, not text (it is \"yes\"); write "
     "true"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: [push]\n  accessToken: {secretKeyRef: {name: a}}\n  secretToken: "
            "{}\n  sink: {uri: 'http://x/'}\n",
     "m.yaml:7:17: error: GitHubSource default/g: spec.accessToken.secretKeyRef.key: is missing"},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: [push]\n  ceOverrides: {extensions: {Bad_Name: x}}\n" GITHUB_REST,
     "m.yaml:7:30: error: GitHubSource default/g: spec.ceOverrides.extensions.Bad_Name: "},
    {GITHUB "  ownerAndRepository: o/r\n  eventTypes: [push]\n  githubAPIURL: api.example.com\n" GITHUB_REST,
     "m.yaml:7:17: error: GitHubSource default/g: spec.githubAPIURL: the URL does not begin with"},
    /* the form of 2018 */
    {CHANNEL_2018 "  bus: a\n  clusterBus: b\n",
     "m.yaml:6:3: error: Channel default/c: spec: bus and clusterBus exclude each other; leave one out"},
    {CHANNEL_2018 "  generation: 1\n",
     "m.yaml:4:1: error: Channel default/c: spec: needs bus (a Bus in the same namespace) or clusterBus"},
    {CHANNEL_2018 "  bus: stub\n  arguments: [{name: x}]\n",
     "m.yaml:6:15: error: Channel default/c: spec.arguments[0].value: is missing"},
    {CHANNEL_2018 "  bus: stub\n  arguments: [{name: x, value: 5}]\n",
     "m.yaml:6:32: error: Channel default/c: spec.arguments[0].value: must be text, not a number (it is 5); put it in "
     "quotes"},
    {SUBSCRIPTION_2018 "  channel: c\n", "m.yaml:4:1: error: Subscription default/s: spec.subscriber: is missing"},
    {SUBSCRIPTION_2018 "  channel: c\n  subscriber: a/b\n",
     "m.yaml:6:15: error: Subscription default/s: spec.subscriber: must be a DNS name, such as service or "
     "service.namespace"},
    {SUBSCRIPTION_2018 "  channel: c\n  subscriber: 'http://'\n",
     "m.yaml:6:15: error: Subscription default/s: spec.subscriber: the URL has no host"},
    {SUBSCRIPTION_2018 "  channel: c\n  subscriber: x\n  replyTo: 'a b'\n",
     "m.yaml:7:12: error: Subscription default/s: spec.replyTo: must be a DNS name"},
    {CHAN "kind: Bus\nmetadata: {name: b}\nspec: {}\n",
     "m.yaml:4:1: error: Bus default/b: spec.dispatcher: is missing"},
    {CHAN
     "kind: Bus\nmetadata: {name: b}\nspec:\n  dispatcher: {}\n  parameters:\n    channel: [{name: a}, {name: a}]\n",
     "m.yaml:7:26: error: Bus default/b: spec.parameters.channel[1]: the name \"a\" is there twice"},
    {CHAN
     "kind: ClusterBus\nmetadata: {name: b}\nspec:\n  dispatcher: {}\n  parameters:\n    channel: [{name: 'a b'}]\n",
     "m.yaml:7:22: error: ClusterBus b: spec.parameters.channel[0].name: does not match ^[-._a-zA-Z0-9]+$ (it is \"a "
     "b\")"},
    {FEED "kind: EventType\nmetadata: {name: t}\nspec: {}\n",
     "m.yaml:4:1: error: EventType default/t: spec.eventSource: is missing"},
    {FEED "kind: EventType\nmetadata: {name: t}\nspec: {eventSrc: x}\n",
     "m.yaml:4:8: error: EventType default/t: spec.eventSrc: unknown field; did you mean \"eventSource\"?"},
    {FEED_2018 TRIGGER, "m.yaml:4:1: error: Feed default/f: spec.action: is missing"},
    {FEED_2018 "  action: {}\n" TRIGGER,
     "m.yaml:5:3: error: Feed default/f: spec.action: needs exactly one of dnsName, routeName and channelName"},
    {FEED_2018 "  action: {dnsName: x, routeName: y}\n" TRIGGER,
     "m.yaml:5:3: error: Feed default/f: spec.action: needs exactly one of"},
    {FEED_2018 "  action: {dnsName: x}\n  trigger: {resource: o/r}\n",
     "m.yaml:6:3: error: Feed default/f: spec.trigger: needs eventType, such as pullrequest"},
    {FEED_2018 "  action: {dnsName: x}\n  trigger: {eventType: a, clusterEventType: b, resource: o/r}\n",
     "m.yaml:6:27: error: Feed default/f: spec.trigger: eventType and clusterEventType exclude"},
    {FEED_2018 "  action: {dnsName: x}\n  trigger: {eventType: a}\n",
     "m.yaml:6:3: error: Feed default/f: spec.trigger.resource: is missing"},
    {FEED_2018
     "  action: {dnsName: x}\n  trigger: {eventType: a, resource: o/r, parametersFrom: [{secretKeyRef: {name: s}}]}\n",
     "m.yaml:6:60: error: Feed default/f: spec.trigger.parametersFrom[0].secretKeyRef.key: is missing"},
    {FLOW_2018 "  action: {}\n" TRIGGER,
     "m.yaml:5:3: error: Flow default/f: spec.action: needs target (an object with an address) or targetURI (a URL)"},
    {FLOW_2018 "  action: {target: {kind: Route, name: r}, targetURI: 'http://x'}\n" TRIGGER,
     "m.yaml:5:44: error: Flow default/f: spec.action.targetURI: target and targetURI exclude each other"},
    {FLOW_2018 "  action: {target: {kind: Route}}\n" TRIGGER,
     "m.yaml:5:12: error: Flow default/f: spec.action.target.name: is missing"},
    {FLOW_2018 "  action: {targetURI: ''}\n" TRIGGER, "spec.action.targetURI: must not be empty"},
    {FLOW_2018 "  action: {targetURL: 'http://x'}\n" TRIGGER,
     "spec.action.targetURL: unknown field; did you mean \"targetURI\"?"},
    /* core kinds */
    {SECRET "data: {a: 'not base64'}\n",
     "m.yaml:4:11: error: Secret default/s: data.a: is not base64; put plain text under stringData instead"},
    {SECRET "stringData: {a: 5}\n",
     "m.yaml:4:17: error: Secret default/s: stringData.a: must be text, not a number; put it in quotes"},
    {SECRET "stringdata: {a: b}\n",
     "m.yaml:4:1: error: Secret default/s: stringdata: unknown field; did you mean \"stringData\"?"},
    {SERVICE "  type: ExternalName\n", "m.yaml:4:1: error: Service default/s: spec.externalName: is missing: a Service "
                                       "of type ExternalName needs the host"},
    {SERVICE "  type: ExternalName\n  externalName: 'http://x'\n",
     "m.yaml:6:17: error: Service default/s: spec.externalName: must be a host name alone; the port goes under ports"},
    {SERVICE "  type: ExternalName\n  externalName: x\n  ports: [{port: 70000}]\n",
     "m.yaml:7:18: error: Service default/s: spec.ports[0].port: must be at most 65535 (it is 70000)"},
    {SERVICE "  type: External\n", "m.yaml:5:9: error: Service default/s: spec.type: must be one of: ClusterIP, "
                                   "NodePort, LoadBalancer, ExternalName"},
    /* several objects */
    {CHANNEL "---\n" CHANNEL, "m.yaml:6:1: error: Channel default/c: is declared twice; the other one is at m.yaml:1"},
    {CHANNEL "delivery: {retry: 1}\n",
     "m.yaml:5:1: error: Channel default/c: delivery: unknown field; it belongs under spec: indent it"},
    {MSG "kind: Channel\nmetadata: {name: c, annotations: {leat.dev/retry: '3'}}\n",
     "metadata.annotations[\"leat.dev/retry\"]: is for the kinds of 2018; write spec.delivery.retry here"},
    {"apiVersion: v1\nkind: List\nitems:\n- kind: x\n", "m.yaml:4:3: error: apiVersion: is missing"},
    {"{\"apiVersion\":\"messaging.knative.dev/v1\",\n \"kind\":\"Channel\",\"metadata\":{\"name\":\"c\"},\n "
     "\"spec\":{\"x\":1}}",
     "m.json:3:10: error: Channel default/c: spec.x: unknown field; known here: channelTemplate, delivery, "
     "subscribers"},
};

static void test_mistakes(void **state)
{
    (void)state;
    rig_mistakes(mistakes, COUNT(mistakes));
}

static void test_every_problem_is_said(void **state)
{
    struct problems p;
    (void)state;
    struct manifest *m =
        rig_load(SUBSCRIPTION "  chanel: x\n  subscriber: {uri: x}\n  delivery: {retry: a, timeout: 5}\n---\n" CHANNEL
                              "bogus: 1\n",
                 &p);
    char *said = rig_problems(&p);
    assert_string_equal(
        said, "m.yaml:5:1: error: Subscription default/s: spec.channel: is missing\n"
              "m.yaml:6:3: error: Subscription default/s: spec.chanel: unknown field; did you mean \"channel\"?\n"
              "m.yaml:7:21: error: Subscription default/s: spec.subscriber.uri: must be a whole URL such as "
              "http://host:8080/path; one without a host needs a ref beside it\n"
              "m.yaml:8:21: error: Subscription default/s: spec.delivery.retry: must be a whole number, not text (it "
              "is \"a\"); write the number without quotes\n"
              "m.yaml:8:33: error: Subscription default/s: spec.delivery.timeout: must be text, not a number (it is "
              "5); put it in quotes\n"
              "m.yaml:14:1: error: Channel default/c: bogus: unknown field; known here: spec\n");
    free(said);
    problems_fini(&p);
    manifest_free(m);
}

/* Nothing of a Secret's values is repeated. */
static void test_secrets_are_not_shown(void **state)
{
    static const char *const texts[] = {
        SECRET "data: {a: '!hunter2!'}\n",
        SECRET "data: hunter2\n",
        SECRET "type: [hunter2]\n",
        SECRET "data: {a: [hunter2]}\n",
        SECRET "stringData: {a: 4711, b: hunter2, b: hunter2}\n",
        SECRET "immutable: hunter2\n",
        SECRET "data: {a: 4711.5e3}\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct problems p;
        struct manifest *m = rig_load(texts[i], &p);
        char *said = rig_problems(&p);
        assert_true(p.errors > 0);
        if (strstr(said, "hunter2") || strstr(said, "4711"))
            fail_msg("%s", said);
        free(said);
        problems_fini(&p);
        manifest_free(m);
    }
}

static void test_nulls_and_status_are_dropped(void **state)
{
    (void)state;
    struct manifest *m =
        rig_good(CHANNEL "spec:\n  delivery: null\n  channelTemplate:\nstatus: {conditions: nonsense}\n");
    const cJSON *o = manifest_object(m, 0), *spec = cJSON_GetObjectItem(o, "spec");
    assert_null(cJSON_GetObjectItem(spec, "delivery"));
    /* A Channel that says nothing of its bus says so. */
    assert_string_equal(rig_text(cJSON_GetObjectItem(spec, "channelTemplate"), "kind"), "Channel");
    assert_null(cJSON_GetObjectItem(o, "status"));
    assert_string_equal(rig_text(cJSON_GetObjectItem(o, "metadata"), "namespace"), "default");
    manifest_free(m);
    /* What others fill in stays: the address of a Route is what leat needs of it. */
    m = rig_good(
        "apiVersion: serving.knative.dev/v1\nkind: Route\nmetadata: {name: r}\nstatus: {address: {url: 'http://x'}}\n");
    assert_non_null(cJSON_GetObjectItem(manifest_object(m, 0), "status"));
    manifest_free(m);
}

/* Secrets are kept as a cluster keeps them. */
static void test_plain_secrets_are_encoded(void **state)
{
    (void)state;
    struct manifest *m =
        rig_good(SECRET "data: {a: YQ==, b: YQ==}\nstringData: {b: hunter2, c: '', d: \"\\u00e9\\n\"}\n");
    const cJSON *o = manifest_object(m, 0), *data = cJSON_GetObjectItem(o, "data");
    assert_null(cJSON_GetObjectItem(o, "stringData"));
    assert_string_equal(rig_text(o, "type"), "Opaque");
    assert_string_equal(rig_text(data, "a"), "YQ==");
    assert_string_equal(rig_text(data, "b"), "aHVudGVyMg==");
    assert_string_equal(rig_text(data, "c"), "");
    assert_string_equal(rig_text(data, "d"), "w6kK");
    assert_int_equal(cJSON_GetArraySize(data), 4);
    manifest_free(m);
}

/* Plain text of the wrong shape is a mistake to be said, not a want of memory; found by the fuzzer. */
static void test_plain_secrets_of_no_shape(void **state)
{
    static const char *const wrong[] = {"stringData: text\n", "stringData: [a]\n", "data: text\nstringData: {a: b}\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[300];
        struct problems p;
        snprintf(text, sizeof text, SECRET "%s", wrong[i]);
        struct manifest *m = rig_load(text, &p);
        assert_int_equal(p.errors, 1);
        problems_fini(&p);
        manifest_free(m);
    }
}

static void test_namespace(void **state)
{
    static const char *const given[] = {NULL, "", "there"};
    const char *path = "m.yaml";
    (void)state;
    rig_write(path, CHANNEL "---\n" MSG "kind: Channel\nmetadata: {name: d, namespace: own}\n");
    for (size_t i = 0; i < COUNT(given); i++) {
        struct manifest *m = NULL;
        struct problems p;
        problems_init(&p);
        assert_int_equal(manifest_load(&path, 1, given[i], &m, &p), OK);
        assert_string_equal(rig_text(cJSON_GetObjectItem(manifest_object(m, 0), "metadata"), "namespace"),
                            i == 2 ? "there" : "default");
        assert_string_equal(rig_text(cJSON_GetObjectItem(manifest_object(m, 1), "metadata"), "namespace"), "own");
        manifest_free(m);
        problems_fini(&p);
    }
}

static void test_problems_are_bounded(void **state)
{
    struct problems p;
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, CHANNEL "spec:\n");
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "  bogus%d: 1\n", i);
    char *text = buf_take_string(&b);
    struct manifest *m = rig_load(text, &p);
    assert_int_equal(p.errors, 5000);
    assert_true(p.count <= 201);
    free(text);
    problems_fini(&p);
    manifest_free(m);
}

/* Every schema is one that we implement, and every pattern compiles. */
static void check_schema(const cJSON *schema, const char *where)
{
    static const char *const known[] = {"type",
                                        "description",
                                        "properties",
                                        "required",
                                        "items",
                                        "additionalProperties",
                                        "enum",
                                        "pattern",
                                        "format",
                                        "minimum",
                                        "maximum",
                                        "minLength",
                                        "maxLength",
                                        "minItems",
                                        "maxItems",
                                        "nullable",
                                        "default",
                                        "x-kubernetes-preserve-unknown-fields",
                                        "x-kubernetes-int-or-string"};
    const cJSON *each, *sub;
    cJSON_ArrayForEach(each, schema) {
        bool found = false;
        for (size_t i = 0; i < COUNT(known); i++)
            found = found || strcmp(known[i], each->string) == 0;
        if (!found)
            fail_msg("%s: the word %s is not implemented", where, each->string);
        if (strcmp(each->string, "pattern") == 0) {
            regex_t re;
            assert_int_equal(regcomp(&re, each->valuestring, REG_EXTENDED | REG_NOSUB), 0);
            regfree(&re);
        }
    }
    cJSON_ArrayForEach(sub, cJSON_GetObjectItem(schema, "properties"))
        check_schema(sub, sub->string);
    if (cJSON_IsObject(cJSON_GetObjectItem(schema, "items")))
        check_schema(cJSON_GetObjectItem(schema, "items"), where);
    cJSON_ArrayForEach(each, cJSON_GetObjectItem(schema, "required")) {
        if (!cJSON_GetObjectItem(cJSON_GetObjectItem(schema, "properties"), each->valuestring))
            fail_msg("%s: %s is required but not known", where, each->valuestring);
    }
}

static void test_kinds(void **state)
{
    const struct kind *k;
    struct diag d;
    size_t count = 0;
    (void)state;
    assert_int_equal(kinds_load(&d), OK);
    for (; (k = kind_at(count)); count++) {
        char api_version[200];
        check_schema(k->schema, k->kind);
        snprintf(api_version, sizeof api_version, "%s%s%s", k->group, *k->group ? "/" : "", k->version);
        assert_ptr_equal(kind_find(api_version, k->kind), k);
        assert_ptr_equal(kind_by_plural(k->group, k->version, k->plural), k);
        assert_true(k->column_count > 0);
    }
    assert_int_equal(count, 47);
    assert_null(kind_find("v1", "Channel"));
    assert_null(kind_by_plural("", "v1", "channels"));
    static const char *const words[][2] = {{"channel", "messaging.knative.dev"},
                                           {"CH", "messaging.knative.dev"},
                                           {"channels.channels.knative.dev", "channels.knative.dev"},
                                           {"sub", "messaging.knative.dev"},
                                           {"Subscription", "messaging.knative.dev"},
                                           {"imc", "messaging.knative.dev"},
                                           {"svc", ""},
                                           {"service", ""},
                                           {"ksvc", "serving.knative.dev"},
                                           {"services.serving.knative.dev", "serving.knative.dev"},
                                           {"feeds", "feeds.knative.dev"},
                                           {"ns", ""},
                                           {"githubsources", "sources.knative.dev"}};
    for (size_t i = 0; i < COUNT(words); i++) {
        k = kind_by_word(words[i][0]);
        assert_non_null(k);
        assert_string_equal(k->group, words[i][1]);
    }
    assert_null(kind_by_word("pods"));
    assert_null(kind_by_word("channels.apps"));
    k = kind_by_word("imc");
    assert_string_equal(k->categories[0], "all");
    assert_string_equal(rig_text(k->labels, "messaging.knative.dev/subscribable"), "true");
    assert_true(k->has_status && k->namespaced);
    assert_false(kind_by_word("secret")->has_status);
    assert_false(kind_by_word("clusterbus")->namespaced);
    kinds_unload();
    assert_null(kind_at(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_every_problem_is_said),
        cmocka_unit_test(test_secrets_are_not_shown),
        cmocka_unit_test(test_nulls_and_status_are_dropped),
        cmocka_unit_test(test_plain_secrets_are_encoded),
        cmocka_unit_test(test_plain_secrets_of_no_shape),
        cmocka_unit_test(test_namespace),
        cmocka_unit_test(test_problems_are_bounded),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
