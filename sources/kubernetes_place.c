/* SPDX-License-Identifier: Apache-2.0
 *
 * What is seen at a place: one resource in one namespace, or in all. Its follower (include/kube.h) tells changes, which
 * go to the queue; and lists, which are compared with what the sink knows.
 *
 *     first list of a place           what is there is no news (Knative's ApiServerSource does so too); it is known now
 *     any other (the server has forgotten what happened): new objects are told as add, others in another version as
 *     update, those that are missing as delete. Several changes of an object meanwhile are one.
 *
 * Without room in the queue the place leaves the watch, and follows again from where it was: the server keeps what
 * happens for a while, and beyond that the list finds it.
 *
 * A namespaceSelector is a watch of namespaces: each that it finds is a place for every resource. One that comes while
 * the source knows the others is new with all that is in it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kubernetes_parts.h"

#define NAMESPACES_PATH "/api/v1/namespaces"
#define SELECTED_MAX 10000 /* namespaces that a selector finds */

struct namespaces {
    struct kubernetes *kubernetes;
    struct kube_follower follower;
    struct kubernetes_place_state *state;
    struct map found; /* name → this structure; of the list in hand: those that it had */
    struct map listed;
    bool first; /* the list in hand is the first ever */
};

static struct place *place_of(struct kube_follower *f)
{
    return container_of(f, struct place, follower);
}

/* ---- coming and going ---- */

static void follow(struct place *p, uint64_t from)
{
    struct kubernetes *k = p->kubernetes;
    const struct kubernetes_resource *r = &k->options.resources[p->resource];
    const struct kube_place place = {p->path, r->selector, r->api_version, r->kind};
    p->waits = kube_follow(k->kube, &place, from, &p->follower) != OK; /* without memory: when there is room again */
}

void place_free(struct place *p)
{
    assert(p->entries == 0 && !p->follower.watch);
    list_remove(&p->link);
    free(p->path);
    free(p->namespace_name);
    free(p);
}

/* It watches no more; what of it is in the queue still goes to the sink. `forget`: its namespace is gone. */
static void place_leave(struct place *p, bool forget)
{
    kube_leave(&p->follower);
    if (forget)
        kubernetes_state_forget(p->kubernetes->state, p->state);
    p->state = NULL;
    p->leaving = true;
    list_remove(&p->link);
    list_push_back(&p->kubernetes->leaving, &p->link);
    if (p->entries == 0)
        place_free(p);
}

/* ---- what is seen ---- */

static bool change(struct kube_follower *f, const struct kube_change *c)
{
    struct place *p = place_of(f);
    if (p->sweeping || !kubernetes_has_room(p->kubernetes)) {
        p->waits = true;
        return false;
    }
    kubernetes_push(p, c->verb, &c->meta, c->object, c->meta.version);
    return true;
}

static void at(struct kube_follower *f, uint64_t version)
{
    struct place *p = place_of(f);
    if (!p->sweeping)
        kubernetes_push_mark(p, version);
}

static void list_begin(struct kube_follower *f)
{
    struct place *p = place_of(f);
    p->listing = true;
    p->sweeping = false;
    p->baseline = p->state->position == 0 && !p->tell_all;
    if (p->baseline)
        kubernetes_state_clear(p->state);
    map_each(e, tmp, &p->state->known)
        ((struct kubernetes_known *)e->value)->seen = false;
}

static void listed(struct kube_follower *f, const struct kube_meta *m, struct slice object)
{
    struct place *p = place_of(f);
    char key[sizeof m->namespace_name + sizeof m->name + 1];
    snprintf(key, sizeof key, "%s/%s", m->namespace_name, m->name);
    struct kubernetes_known *known = map_get(&p->state->known, slice_str(key));
    if (p->baseline) {
        kubernetes_state_take(p->state, key, m->uid, m->version, false);
        return;
    }
    if (!known && p->state->incomplete && m->version <= p->state->position)
        return; /* one of those that there was no room for */
    if (known)
        known->seen = true;
    if (known && strcmp(known->uid, m->uid) != 0 && !known->going) { /* deleted, and made again */
        struct kube_meta old = *m;
        snprintf(old.uid, sizeof old.uid, "%s", known->uid);
        old.version = known->latest;
        kubernetes_push(p, KUBE_DELETE, &old, SLICE(""), 0);
        known = NULL;
    }
    if (!known || known->going)
        kubernetes_push(p, p->state->incomplete ? KUBE_UPDATE : KUBE_ADD, m, object, 0);
    else if (m->version > known->latest)
        kubernetes_push(p, KUBE_UPDATE, m, object, 0);
}

/* What the list did not have is gone. As far as there is room. */
static void sweep(struct place *p)
{
    struct kubernetes *k = p->kubernetes;
    const struct kubernetes_resource *r = &k->options.resources[p->resource];
    map_each(e, tmp, &p->state->known) {
        struct kubernetes_known *known = e->value;
        struct kube_meta m = {.version = known->latest};
        struct slice name = e->key, space = slice_split(&name, '/');
        if (known->seen || known->going)
            continue;
        if (!kubernetes_has_room(k)) {
            p->waits = true;
            return;
        }
        snprintf(m.api_version, sizeof m.api_version, "%s", r->api_version);
        snprintf(m.kind, sizeof m.kind, "%s", r->kind);
        snprintf(m.namespace_name, sizeof m.namespace_name, "%.*s", SLICE_ARG(space));
        snprintf(m.name, sizeof m.name, "%.*s", SLICE_ARG(name));
        snprintf(m.uid, sizeof m.uid, "%s", known->uid);
        kubernetes_push(p, KUBE_DELETE, &m, SLICE(""), 0);
    }
    p->sweeping = false;
    kubernetes_push_mark(p, p->list_version);
}

static bool room(struct kube_follower *f)
{
    struct place *p = place_of(f);
    p->waits = !kubernetes_has_room(p->kubernetes);
    return !p->waits;
}

static void list_end(struct kube_follower *f, uint64_t version)
{
    struct place *p = place_of(f);
    p->listing = false;
    if (p->state->incomplete)
        kubernetes_notice(
            p->kubernetes, true, "kubernetes.many",
            "%s has more than %d objects; of those beyond, a deletion is not told if it happens while the "
            "API server cannot be watched",
            p->path, KUBERNETES_KNOWN_MAX);
    if (p->baseline) {
        kubernetes_state_baseline(p->kubernetes->state, p->state, version);
        p->baseline = false;
        return;
    }
    p->tell_all = false;
    p->list_version = version;
    p->sweeping = true;
    sweep(p);
}

static void trouble(struct kube_follower *f, const char *reason, const char *text)
{
    struct kubernetes *k = place_of(f)->kubernetes;
    if (reason && strcmp(reason, "ObjectTooLarge") == 0)
        kubernetes_count(&k->host.counters->failed);
    kubernetes_trouble(k, reason, text);
}

static const struct kube_follower_ops place_ops = {
    .change = change,
    .at = at,
    .list_begin = list_begin,
    .listed = listed,
    .room = room,
    .list_end = list_end,
    .trouble = trouble,
};

void kubernetes_places_room(struct kubernetes *k)
{
    if (k->making_room || k->closing)
        return;
    k->making_room = true;
    list_each(l, tmp, &k->places) {
        struct place *p = container_of(l, struct place, link);
        if (!p->waits || !kubernetes_has_room(k))
            continue;
        p->waits = false;
        if (p->sweeping)
            sweep(p);
        if (p->follower.watch)
            kube_follow_room(&p->follower);
        else if (!p->sweeping)
            follow(p, p->listing ? 0 : p->follower.at);
    }
    k->making_room = false;
}

/* ---- which places there are ---- */

static void no_memory(struct kubernetes *k)
{
    kubernetes_notice(k, true, "kubernetes.nomem", "no memory to watch all that is to be watched");
}

static void start_place(struct kubernetes *k, size_t resource, const char *namespace_name, bool tell_all)
{
    const struct kubernetes_resource *r = &k->options.resources[resource];
    struct place *p = calloc(1, sizeof *p);
    struct buf path, key;
    buf_init(&path, 2048);
    buf_init(&key, 8192);
    kubernetes_put_group(&path, r->api_version);
    if (namespace_name)
        buf_printf(&path, "/namespaces/%s", namespace_name);
    buf_printf(&path, "/%s", k->plurals[resource]);
    buf_printf(&key, "%.*s %s", (int)path.len, path.ptr ? path.ptr : "", r->selector);
    char *text = buf_take_string(&key);
    if (p && text) {
        p->kubernetes = k;
        p->resource = resource;
        p->follower.ops = &place_ops;
        p->tell_all = tell_all;
        p->path = buf_take_string(&path);
        p->namespace_name = namespace_name ? strdup(namespace_name) : NULL;
        p->state = kubernetes_state_place(k->state, text);
    }
    buf_fini(&path);
    free(text);
    if (!p || !p->path || !p->state || (namespace_name && !p->namespace_name)) {
        if (p) {
            free(p->path);
            free(p->namespace_name);
        }
        free(p);
        no_memory(k);
        return;
    }
    list_push_back(&k->places, &p->link);
    follow(p, p->state->position);
}

/* ---- namespaces that a selector finds ---- */

static struct namespaces *spaces_of(struct kube_follower *f)
{
    return container_of(f, struct namespaces, follower);
}

static void space_comes(struct namespaces *n, const char *name, bool tell_all)
{
    struct kubernetes *k = n->kubernetes;
    enum err e = map_add(&n->found, slice_str(name), n);
    if (e == ERR_EXISTS)
        return;
    if (e != OK) {
        no_memory(k);
        return;
    }
    for (size_t i = 0; i < k->options.resource_count; i++)
        if (k->namespaced[i])
            start_place(k, i, name, tell_all);
}

static void space_goes(struct namespaces *n, const char *name)
{
    struct kubernetes *k = n->kubernetes;
    if (!map_remove(&n->found, slice_str(name)))
        return;
    list_each(l, tmp, &k->places) {
        struct place *p = container_of(l, struct place, link);
        if (p->namespace_name && strcmp(p->namespace_name, name) == 0)
            place_leave(p, true);
    }
}

static bool space_change(struct kube_follower *f, const struct kube_change *c)
{
    struct namespaces *n = spaces_of(f);
    if (c->verb == KUBE_DELETE)
        space_goes(n, c->meta.name);
    else
        space_comes(n, c->meta.name, true);
    return true;
}

static void space_at(struct kube_follower *f, uint64_t version)
{
    (void)f;
    (void)version;
}

static void space_list_begin(struct kube_follower *f)
{
    struct namespaces *n = spaces_of(f);
    n->first = n->state->position == 0;
    map_fini(&n->listed);
}

static void space_listed(struct kube_follower *f, const struct kube_meta *meta, struct slice object)
{
    struct namespaces *n = spaces_of(f);
    (void)object;
    if (map_set(&n->listed, slice_str(meta->name), n, NULL) != OK)
        no_memory(n->kubernetes);
}

static bool space_room(struct kube_follower *f)
{
    (void)f;
    return true;
}

static void space_list_end(struct kube_follower *f, uint64_t version)
{
    struct namespaces *n = spaces_of(f);
    map_each(e, tmp, &n->found) {
        if (!map_get(&n->listed, e->key)) {
            char name[256];
            snprintf(name, sizeof name, "%.*s", SLICE_ARG(e->key));
            space_goes(n, name);
        }
    }
    map_each(e, tmp2, &n->listed)
        space_comes(n, e->key.ptr, !n->first);
    map_fini(&n->listed);
    kubernetes_state_settle(n->kubernetes->state, n->state, NULL, NULL, 0, false, version);
}

static void space_trouble(struct kube_follower *f, const char *reason, const char *text)
{
    kubernetes_trouble(spaces_of(f)->kubernetes, reason, text);
}

static const struct kube_follower_ops space_ops = {
    .change = space_change,
    .at = space_at,
    .list_begin = space_list_begin,
    .listed = space_listed,
    .room = space_room,
    .list_end = space_list_end,
    .trouble = space_trouble,
};

static void start_selector(struct kubernetes *k)
{
    const struct kube_place place = {NAMESPACES_PATH, k->options.namespace_selector, "v1", "Namespace"};
    struct namespaces *n = calloc(1, sizeof *n);
    char key[2048];
    snprintf(key, sizeof key, "namespaces %.1900s", k->options.namespace_selector);
    if (n) {
        n->kubernetes = k;
        n->follower.ops = &space_ops;
        map_init(&n->found, SELECTED_MAX);
        map_init(&n->listed, SELECTED_MAX);
        n->state = kubernetes_state_place(k->state, key);
    }
    if (!n || !n->state || kube_follow(k->kube, &place, 0, &n->follower) != OK) {
        free(n);
        no_memory(k);
        return;
    }
    k->namespaces = n;
}

void kubernetes_places_start(struct kubernetes *k)
{
    const struct kubernetes_options *o = &k->options;
    for (size_t i = 0; i < o->resource_count; i++) {
        if (!k->namespaced[i] || (!o->namespace_selector && o->namespace_count == 0))
            start_place(k, i, NULL, false);
        for (size_t n = 0; n < o->namespace_count && k->namespaced[i]; n++)
            start_place(k, i, o->namespaces[n], false);
    }
    if (o->namespace_selector)
        start_selector(k);
}

void kubernetes_places_stop(struct kubernetes *k)
{
    struct namespaces *n = k->namespaces;
    k->namespaces = NULL;
    if (n) {
        kube_leave(&n->follower);
        map_fini(&n->found);
        map_fini(&n->listed);
        free(n);
    }
    list_each(l, tmp, &k->places)
        kube_leave(&container_of(l, struct place, link)->follower);
}
