/* SPDX-License-Identifier: Apache-2.0
 *
 * A running Kubernetes source, as its files share it: kubernetes.c (life), kubernetes_discover.c (which paths the
 * resources are), kubernetes_place.c (what is seen there), kubernetes_queue.c (what is on its way to the sink).
 */
#ifndef LEAT_SOURCES_KUBERNETES_PARTS_H
#define LEAT_SOURCES_KUBERNETES_PARTS_H

#include "../clients/told.h"
#include "kubernetes.h"
#include "loop.h"

#define QUEUE_EVENTS 256        /* that wait for the sink, before the watch waits; a list's page may come on top */
#define QUEUE_BYTES (16u << 20) /* likewise */

struct kubernetes {
    struct source head;
    struct kubernetes_options options;
    struct loop *loop;
    struct sink *sink;
    struct source_host host;
    struct kube *kube;
    struct kubernetes_state *state; /* NULL: the part before has it still */
    /* discovery */
    struct kube_call call;
    size_t discovered; /* resources whose paths are known */
    char *plurals[KUBERNETES_RESOURCES_MAX];
    bool namespaced[KUBERNETES_RESOURCES_MAX];
    unsigned discover_failures;
    struct loop_timer discover_timer;
    /* places */
    struct list places, leaving;   /* struct place */
    bool making_room;              /* places_room is at work */
    struct namespaces *namespaces; /* those that the selector finds; NULL: no selector */
    /* the queue */
    struct list queue;
    size_t queue_count, queue_bytes, flying_count;
    unsigned failures; /* in a row; 0: the sink takes events */
    struct loop_timer backoff, grace;
    char last_failure[200];
    /* telling */
    struct told told;
    char trouble[KUBE_TEXT_MAX];
    /* the end */
    bool closing;
    struct kubernetes *successor;
    struct loop_task closed_task;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct place {
    struct list link;
    struct kubernetes *kubernetes;
    size_t resource; /* index */
    char *path;
    char *namespace_name; /* NULL: all, or it has none */
    struct kubernetes_place_state *state;
    struct kube_follower follower;
    bool tell_all; /* what is there when it is listed first is told as new: the namespace is */
    bool listing;  /* a list has begun and not ended */
    bool baseline; /* the list in hand is the first: it is no news */
    bool sweeping; /* the list has ended; what it did not have is being told as deleted */
    bool waits;    /* for room */
    bool leaving;  /* it goes when the last of its entries has */
    uint64_t list_version;
    size_t entries;     /* in the queue */
    struct entry *mark; /* its last entry in the queue, where that is one */
};

/* What is on its way to the sink: a change, or the mark that everything before it in its place is one version. */
struct entry {
    struct list link;
    struct place *place;
    enum { ENTRY_WAITING, ENTRY_FLYING, ENTRY_SETTLED } state;
    const struct ce_event *event; /* NULL: nothing is sent */
    size_t bytes;
    uint64_t version, position; /* position 0: it does not move the place's */
    bool gone;
    unsigned char lane; /* of the object: those of one lane go one after the other */
    struct sink_call call;
    char *key; /* "NAMESPACE/NAME"; NULL: a mark */
    char *uid; /* behind the key */
};

/* ---- kubernetes.c ---- */
__attribute__((format(printf, 4, 5))) void kubernetes_notice(struct kubernetes *k, bool trouble, const char *what,
                                                             const char *format, ...);
/* What stands in the way of watching, told and reported; text NULL: nothing any more. */
void kubernetes_trouble(struct kubernetes *k, const char *reason, const char *text);
static inline void kubernetes_count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* ---- kubernetes_discover.c ---- */
/* Finds the paths of all resources, then starts their places. Tries until it has them. */
void kubernetes_discover(struct kubernetes *k);
void kubernetes_discover_stop(struct kubernetes *k);
/* ERR_NOTFOUND: it is not among them. *plural: the caller's (free). Pure. */
enum err kubernetes_discovered(struct slice body, const char *kind, char **plural, bool *namespaced,
                               struct diag *d) must_check;
/* "/api/v1", "/apis/apps/v1" */
void kubernetes_put_group(struct buf *b, const char *api_version);

/* ---- kubernetes_place.c ---- */
void kubernetes_places_start(struct kubernetes *k);
void kubernetes_places_stop(struct kubernetes *k);
/* There is room in the queue: who waits for it goes on. */
void kubernetes_places_room(struct kubernetes *k);
/* The last entry of a leaving place has gone. */
void place_free(struct place *p);

/* ---- kubernetes_queue.c ---- */
bool kubernetes_has_room(const struct kubernetes *k);
/* Takes a change. `object` empty: only `meta` is known. `position`: the place's, once it is at the sink; 0: as before.
 */
void kubernetes_push(struct place *p, enum kube_verb verb, const struct kube_meta *meta, struct slice object,
                     uint64_t position);
/* Everything that was taken before is one version. */
void kubernetes_push_mark(struct place *p, uint64_t version);
void kubernetes_pump(struct kubernetes *k);
void kubernetes_queue_init(struct kubernetes *k);
/* Takes back what flies. */
void kubernetes_queue_cancel(struct kubernetes *k);
void kubernetes_queue_drop(struct kubernetes *k);
void kubernetes_queue_ended(struct kubernetes *k); /* kubernetes.c: an attempt ended while it closes */

#endif
