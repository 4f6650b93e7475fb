/* SPDX-License-Identifier: Apache-2.0
 *
 * Names to addresses. A name server that is silent keeps getaddrinfo for as long as it likes, so that a thread of its
 * own waits for it, and is left alone with it when the link has no more time.
 *
 *     the link      looks up ──── `found` on its loop, or abandons
 *     the thread    getaddrinfo ─ posts the letter, unless it was abandoned
 *
 * The link, and then the thread or the letter, hold a reference each; the last one frees. An abandoned lookup posts
 * nothing more (under its lock), so that the loop may go; a letter that was posted before is run by the loop's end.
 */
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"

struct rabbitmq_lookup {
    pthread_mutex_t lock;
    unsigned refs;              /* under it, as what follows */
    struct rabbitmq_link *link; /* NULL: abandoned */
    struct loop *loop;
    struct letter letter;
    rabbitmq_resolve_fn *resolve;
    char *name, port[8];
    int result, error; /* the thread's, until the letter is posted; EAI_*, errno */
    struct addrinfo *addresses;
};

static void lookup_unref(struct rabbitmq_lookup *u)
{
    pthread_mutex_lock(&u->lock);
    bool last = --u->refs == 0;
    pthread_mutex_unlock(&u->lock);
    if (!last)
        return;
    if (u->addresses)
        freeaddrinfo(u->addresses);
    pthread_mutex_destroy(&u->lock);
    free(u->name);
    free(u);
}

void rabbitmq_resolve_abandon(struct rabbitmq_link *l)
{
    struct rabbitmq_lookup *u = l->lookup;
    if (!u)
        return;
    l->lookup = NULL;
    pthread_mutex_lock(&u->lock);
    u->link = NULL;
    pthread_mutex_unlock(&u->lock);
    lookup_unref(u);
}

static void on_found(struct letter *m)
{
    struct rabbitmq_lookup *u = container_of(m, struct rabbitmq_lookup, letter);
    struct rabbitmq_link *l = u->link; /* of this thread: who abandons is on it, too */
    if (l) {
        struct addrinfo *addresses = u->addresses;
        u->addresses = NULL;
        l->lookup = NULL;
        lookup_unref(u);
        rabbitmq_resolved(l, u->result, u->error, addresses);
    }
    lookup_unref(u);
}

static void *look(void *arg)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct rabbitmq_lookup *u = arg;
    u->result = u->resolve(u->name, u->port, &hints, &u->addresses);
    u->error = errno;
    pthread_mutex_lock(&u->lock);
    bool wanted = u->link;
    if (wanted)
        loop_post_reserved(u->loop, &u->letter);
    pthread_mutex_unlock(&u->lock);
    if (!wanted)
        lookup_unref(u);
    return NULL;
}

static bool start(struct rabbitmq_lookup *u)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, look, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        pthread_detach(thread);
    return !failed;
}

void rabbitmq_resolve(struct rabbitmq_link *l, const struct rabbitmq_host *h)
{
    static const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    struct rabbitmq_lookup *u = calloc(1, sizeof(*u));
    char *name = strdup(h->name);
    struct addrinfo *addresses = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", h->port);
    if (!u || !name || pthread_mutex_init(&u->lock, NULL)) {
        free(u);
        free(name);
        rabbitmq_resolved(l, EAI_MEMORY, 0, NULL);
        return;
    }
    u->name = name;
    memcpy(u->port, port, sizeof(port));
    u->resolve = l->client->resolve;
    u->loop = l->loop;
    u->link = l;
    u->letter.run = on_found;
    u->refs = 2;
    if (getaddrinfo(name, port, &numeric, &addresses) == 0) { /* asks nobody */
        u->refs = 1;
        lookup_unref(u);
        rabbitmq_resolved(l, 0, 0, addresses);
        return;
    }
    l->lookup = u;
    if (start(u))
        return;
    l->lookup = NULL;
    u->refs = 1;
    lookup_unref(u);
    rabbitmq_resolved(l, EAI_AGAIN, 0, NULL);
}
