/* SPDX-License-Identifier: Apache-2.0
 *
 * The schemas, whole, as one stream of YAML documents: every file of deploy/crds/, then the kinds that a cluster has by
 * itself. The order is that of preference when several kinds answer to one word. Paths are relative to the root of the
 * project, where the compiler runs.
 */
#include "crds_embedded.h"

#define CRD(name) ".incbin \"deploy/crds/" name ".yaml\"\n.ascii \"---\\n\"\n"

/* clang-format off */
__asm__(".pushsection .rodata\n"
        "crds_embedded_begin:\n"
        CRD("messaging.knative.dev_channels")
        CRD("messaging.knative.dev_inmemorychannels")
        CRD("messaging.knative.dev_kafkachannels")
        CRD("messaging.knative.dev_subscriptions")
        CRD("eventing.knative.dev_brokers")
        CRD("eventing.knative.dev_triggers")
        CRD("eventing.knative.dev_eventtypes")
        CRD("eventing.knative.dev_eventtransforms")
        CRD("eventing.knative.dev_requestreplies")
        CRD("eventing.knative.dev_kafkasinks")
        CRD("eventing.knative.dev_rabbitmqbrokerconfigs")
        CRD("flows.knative.dev_sequences")
        CRD("flows.knative.dev_parallels")
        CRD("sources.knative.dev_githubsources")
        CRD("sources.knative.dev_kafkasources")
        CRD("sources.knative.dev_apiserversources")
        CRD("sources.knative.dev_pingsources")
        CRD("sources.knative.dev_containersources")
        CRD("sources.knative.dev_sinkbindings")
        CRD("sources.knative.dev_rabbitmqsources")
        CRD("channels.knative.dev_buses")
        CRD("channels.knative.dev_channels")
        CRD("channels.knative.dev_clusterbuses")
        CRD("channels.knative.dev_subscriptions")
        CRD("feeds.knative.dev_clustereventsources")
        CRD("feeds.knative.dev_clustereventtypes")
        CRD("feeds.knative.dev_eventsources")
        CRD("feeds.knative.dev_eventtypes")
        CRD("feeds.knative.dev_feeds")
        CRD("flows.knative.dev_flows")
        ".incbin \"broker/resource/foreign_kinds.yaml\"\n"
        "crds_embedded_end:\n"
        ".byte 0\n"
        ".popsection\n");
/* clang-format on */

extern const char crds_embedded_begin[] __attribute__((visibility("hidden")));
extern const char crds_embedded_end[] __attribute__((visibility("hidden")));

struct slice crds_embedded(void)
{
    return slice_of(crds_embedded_begin, (size_t)(crds_embedded_end - crds_embedded_begin));
}
