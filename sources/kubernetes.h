/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Kubernetes source share: the parsed spec, the pure step from a change to a CloudEvent, and what
 * is kept over a restart.
 */
#ifndef LEAT_SOURCES_KUBERNETES_H
#define LEAT_SOURCES_KUBERNETES_H

#include "event.h"
#include "filter.h"
#include "kube.h"
#include "map.h"
#include "source.h"

/* ---- the spec (kubernetes_options.c) ---- */

#define KUBERNETES_RESOURCES_MAX 64 /* of one source: each is a watch, or one in each namespace */
#define KUBERNETES_NAMESPACES_MAX 256

struct kubernetes_resource {
    char *api_version, *kind, *selector; /* a label selector; may be empty */
};
enum kubernetes_mode { KUBERNETES_REFERENCE, KUBERNETES_RESOURCE, KUBERNETES_2018 };

struct kubernetes_options {
    const struct source_spec *spec;
    struct kubernetes_resource resources[KUBERNETES_RESOURCES_MAX];
    size_t resource_count;
    char *namespaces[KUBERNETES_NAMESPACES_MAX]; /* none: all of the cluster, or those that the selector finds */
    size_t namespace_count;
    const char *namespace_selector; /* NULL: none */
    enum kubernetes_mode mode;
    char *owner_api_version, *owner_kind; /* NULL: whoever owns it */
    struct filter *filter;
    const char *state; /* a file; NULL: nothing is kept */
    uint64_t sink_timeout_ns;
};
/* Parameters: resources ("v1/ConfigMap;apps/v1/Deployment:app=web": API version, kind, label selector), namespaces
 * ("a,b";
 * "": the source's own; "*": all), namespaceSelector, mode (Reference, Resource, 2018), owner ("apps/v1/ReplicaSet"),
 * filter (CESQL), state, kubeconfig, context, serviceAccount (the folder), sinkTimeoutSeconds. ERR_INVALID with *d
 * naming the parameter; ERR_NOMEM. On failure there is nothing to free. */
enum err kubernetes_options_parse(const struct source_spec *spec, struct kubernetes_options *out,
                                  struct diag *d) must_check;
void kubernetes_options_fini(struct kubernetes_options *o);

/* ---- events (kubernetes_event.c) ---- */

/* The event of a change. `plural`: "pods"; `object`: its JSON, empty: only what `meta` says is known of it. `wall_ns`:
 * when it was seen. *out NULL with OK: owner or filter do not want it. ERR_TOO_LARGE, ERR_INVALID with *d, ERR_NOMEM.
 * Pure. */
struct kubernetes_happening {
    enum kube_verb verb;
    const struct kube_meta *meta;
    const char *plural;
    struct slice object;
    int64_t wall_ns;
};
enum err kubernetes_event_make(const struct kubernetes_options *o, const char *server,
                               const struct kubernetes_happening *h, size_t bytes_max, const struct ce_event **out,
                               struct diag *d) must_check;

/* ---- what is kept (kubernetes_state.c) ---- */

#define KUBERNETES_KNOWN_MAX 50000 /* objects of one place: 10 MB */

struct kubernetes_known { /* an object, by "NAMESPACE/NAME" */
    uint64_t version;     /* as the sink knows it; 0: it does not yet */
    uint64_t latest;      /* as it was taken last, perhaps still on its way */
    bool going;           /* what was taken last is its deletion */
    bool seen;            /* by the list in hand */
    char uid[128];
};
struct kubernetes_place_state {
    char *key;         /* "PATH SELECTOR" */
    uint64_t position; /* everything up to this version is at the sink; 0: nothing is known */
    unsigned number;   /* in the file */
    bool incomplete;   /* there are more objects than are known */
    struct map known;  /* → struct kubernetes_known */
};
struct kubernetes_state;

/* Opens or makes the file, with its folder; path NULL: in memory only. ERR_EXISTS: another process has it; ERR_CORRUPT,
 * ERR_UNSUPPORTED (a newer leat wrote it), ERR_IO, ERR_DENIED with *d; ERR_NOMEM. */
enum err kubernetes_state_open(const char *path, struct kubernetes_state **out, struct diag *d) must_check;
void kubernetes_state_free(struct kubernetes_state *s);
/* The state of a place; made when there is none. NULL: no memory. */
struct kubernetes_place_state *kubernetes_state_place(struct kubernetes_state *s, const char *key);
void kubernetes_state_forget(struct kubernetes_state *s, struct kubernetes_place_state *p);
/* A change of an object was taken, and is on its way to the sink. Without memory, or beyond KUBERNETES_KNOWN_MAX, the
 * place is incomplete. */
void kubernetes_state_take(struct kubernetes_place_state *p, const char *key, const char *uid, uint64_t version,
                           bool gone);
/* The sink knows it (key NULL: there is no object), and everything of the place up to `position` (0: as before). What
 * the file cannot take stays in memory, and is tried again; why is in kubernetes_state_trouble until then. */
void kubernetes_state_settle(struct kubernetes_state *s, struct kubernetes_place_state *p, const char *key,
                             const char *uid, uint64_t version, bool gone, uint64_t position);
/* Forgets the objects of a place; its position stays. Nothing is written. */
void kubernetes_state_clear(struct kubernetes_place_state *p);
/* Objects that were taken, all at once: the sink need not be told of them. */
void kubernetes_state_baseline(struct kubernetes_state *s, struct kubernetes_place_state *p, uint64_t position);
const char *kubernetes_state_trouble(const struct kubernetes_state *s);

extern const struct source_ops kubernetes_source;
int kubernetes_main(int argc, char **argv);

#endif
