/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Kubernetes client share: the server, and what follows its resources.
 */
#ifndef LEAT_CLIENTS_KUBE_PRIVATE_H
#define LEAT_CLIENTS_KUBE_PRIVATE_H

#include "kube.h"
#include "prng.h"

#define KUBE_CONNECTIONS_MAX 1000 /* each watch has one for itself (HTTP/1.1) */

struct kube {
    unsigned refs;
    struct loop *loop;
    struct kube_config config;
    struct http_url url;
    struct http_client *client;
    struct http_origin *origin;
    struct list watches; /* struct kube_watch, oldest first */
    size_t watch_count, calls;
    struct prng prng;
};

/* ---- kube_watch.c ---- */
void kube_watches_free(struct kube *k);

#endif
