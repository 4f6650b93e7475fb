/* SPDX-License-Identifier: Apache-2.0
 *
 * K, the clerk: one thread for whatever blocks. Control asks; jobs run in the order in which they were asked, and end
 * on control.
 */
#include "kafka_bus.h"

#include <assert.h>
#include <stdlib.h>

static void *clerk_run(void *arg)
{
    struct kafka_bus *k = arg;
    struct kafka_clerk *c = &k->clerk;
    pthread_mutex_lock(&c->lock);
    while (!c->quit) {
        struct list *l = list_pop_front(&c->asked);
        if (!l) {
            pthread_cond_wait(&c->work, &c->lock);
            continue;
        }
        struct kafka_job *j = container_of(l, struct kafka_job, link);
        c->busy = true;
        pthread_mutex_unlock(&c->lock);
        j->work(j);
        kafka_producers_let_go(k);
        pthread_mutex_lock(&c->lock);
        c->busy = false;
        list_push_back(&c->done, &j->link);
        desk_call(&k->desk);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

enum err kafka_clerk_start(struct kafka_bus *k)
{
    struct kafka_clerk *c = &k->clerk;
    if (pthread_create(&c->thread, NULL, clerk_run, k))
        return ERR_NOMEM;
    pthread_setname_np(c->thread, "kafka-clerk");
    c->started = true;
    return OK;
}

void kafka_clerk_quit(struct kafka_bus *k)
{
    struct kafka_clerk *c = &k->clerk;
    if (!c->started)
        return;
    atomic_store(&c->hurry, true);
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    c->started = false;
}

void kafka_clerk_ask(struct kafka_bus *k, struct kafka_job *j)
{
    struct kafka_clerk *c = &k->clerk;
    assert(j->work && j->done);
    j->bus = k;
    j->err = OK;
    j->text[0] = '\0';
    pthread_mutex_lock(&c->lock);
    list_push_back(&c->asked, &j->link);
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
}

void kafka_clerk_cancel(struct kafka_bus *k)
{
    struct kafka_clerk *c = &k->clerk;
    pthread_mutex_lock(&c->lock);
    list_each(l, tmp, &c->asked)
        container_of(l, struct kafka_job, link)->err = ERR_CLOSED;
    list_splice_back(&c->done, &c->asked);
    pthread_mutex_unlock(&c->lock);
    desk_call(&k->desk);
}

void kafka_clerk_finished(struct kafka_bus *k)
{
    struct kafka_clerk *c = &k->clerk;
    struct list *l;
    do {
        pthread_mutex_lock(&c->lock);
        l = list_pop_front(&c->done);
        pthread_mutex_unlock(&c->lock);
        if (l) {
            struct kafka_job *j = container_of(l, struct kafka_job, link);
            j->done(j);
        }
    } while (l);
}

bool kafka_clerk_idle(struct kafka_bus *k)
{
    struct kafka_clerk *c = &k->clerk;
    pthread_mutex_lock(&c->lock);
    bool idle = list_empty(&c->asked) && list_empty(&c->done) && !c->busy;
    pthread_mutex_unlock(&c->lock);
    return idle;
}
