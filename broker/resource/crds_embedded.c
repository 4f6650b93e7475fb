/* SPDX-License-Identifier: Apache-2.0
 *
 * The schemas, whole, as one stream of YAML documents: every file of deploy/crds/, then the kinds that a cluster has by
 * itself. The order is that of preference when several kinds answer to one word. They are read once, at the start, so
 * they lie here packed (gzip, RFC 1952), a tenth of their size: the Makefile makes CRDS_PACKED of the files that the
 * lines below name.
 */
#include "crds_embedded.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#define CRD(name) /* for the Makefile */

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
        CRD("events.cloud.google.com_cloudpubsubsources")
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
        ".incbin \"" CRDS_PACKED "\"\n"
        "crds_embedded_end:\n"
        ".byte 0\n"
        ".popsection\n");
/* clang-format on */

extern const char crds_embedded_begin[] __attribute__((visibility("hidden")));
extern const char crds_embedded_end[] __attribute__((visibility("hidden")));

char *crds_embedded(struct slice *out)
{
    const unsigned char *packed = (const unsigned char *)crds_embedded_begin;
    size_t packed_len = (size_t)(crds_embedded_end - crds_embedded_begin);
    const unsigned char *size = packed + packed_len - 4; /* the trailer's last word, little-endian */
    size_t len = (size_t)size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
    char *text = malloc(len + 1);
    if (!text)
        return NULL;
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed,
                  .avail_in = (uInt)packed_len,
                  .next_out = (Bytef *)text,
                  .avail_out = (uInt)len};
    if (inflateInit2(&z, MAX_WBITS + 16) != Z_OK) { /* 16: gzip */
        free(text);
        return NULL;
    }
    int rc = inflate(&z, Z_FINISH);
    assert(rc == Z_STREAM_END || rc == Z_MEM_ERROR); /* the packed bytes are the program's own */
    (void)inflateEnd(&z);
    if (rc != Z_STREAM_END) {
        free(text);
        return NULL;
    }
    text[len] = 0;
    *out = slice_of(text, len);
    return text;
}
