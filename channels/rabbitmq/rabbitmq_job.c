/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs: what control asks the node to do, on the first consumers' link. Each has an AMQP channel of its own, since the
 * node answers a refusal by closing the channel; RABBIT_JOBS_MAX are under way, the others wait. A job asks one thing
 * after the other, and goes on after a refusal when its channel is gone (the next thing opens another).
 *
 * While no connection is there a job fails at once; before the first attempt to connect has ended it waits, for
 * RABBIT_CONNECT_NS at most.
 */
#include "rabbitmq_bus.h"

#include <assert.h>
#include <stdio.h>

/* ---- control ---- */

void rabbit_job_ask(struct rabbit_bus *k, struct rabbit_job *j, rabbit_job_fn *work, rabbit_job_fn *done)
{
    *j = (struct rabbit_job){.bus = k, .work = work, .done = done};
    k->abroad.jobs_open++;
    pthread_mutex_lock(&k->jobs_lock);
    list_push_back(&k->jobs_in, &j->link);
    pthread_mutex_unlock(&k->jobs_lock);
    post_send(k->jobs_post);
}

/* The node is away: that is told of the whole bus. */
struct abroad_answer rabbit_job_answer(const struct rabbit_job *j)
{
    return (struct abroad_answer){.err = j->err, .away = j->err == ERR_UNAVAILABLE && !j->code, .text = j->text};
}

void rabbit_jobs_finished(struct rabbit_bus *k)
{
    struct list *l;
    do {
        pthread_mutex_lock(&k->jobs_lock);
        l = list_pop_front(&k->jobs_done);
        pthread_mutex_unlock(&k->jobs_lock);
        if (l) {
            struct rabbit_job *j = container_of(l, struct rabbit_job, link);
            assert(k->abroad.jobs_open > 0);
            k->abroad.jobs_open--;
            j->done(j);
        }
    } while (l);
}

/* ---- Q ---- */

static void go_on(struct rabbit_bus *k);

static void hand_over(struct rabbit_job *j)
{
    struct rabbit_bus *k = j->bus;
    pthread_mutex_lock(&k->jobs_lock);
    list_push_back(&k->jobs_done, &j->link);
    pthread_mutex_unlock(&k->jobs_lock);
    desk_call(&k->desk);
}

static void through(struct rabbit_job *j)
{
    struct rabbit_bus *k = j->bus;
    assert(k->jobs_working > 0 && !j->channel);
    k->jobs_working--;
    hand_over(j);
    go_on(k);
}

static void closed(void *arg, enum err e, unsigned code, const char *text)
{
    struct rabbit_job *j = arg;
    (void)e, (void)code, (void)text; /* the call that failed has them */
    j->channel = NULL;
    if (j->ended) {
        through(j);
    } else if (j->failed) {
        char said[sizeof j->text];
        snprintf(said, sizeof said, "%s", j->text);
        const struct rabbitmq_answer a = {.e = j->err, .code = j->code, .text = said};
        j->failed = false;
        j->after(j, &a);
    }
}

static void answered(void *arg, const struct rabbitmq_answer *a)
{
    struct rabbit_job *j = arg;
    if (j->ended)
        return;
    if (!a->e) {
        j->after(j, a);
        return;
    }
    j->failed = true;
    j->err = a->e;
    j->code = a->code;
    snprintf(j->text, sizeof j->text, "%s", a->text ? a->text : err_name(a->e));
}

bool rabbit_job_call(struct rabbit_job *j, uint32_t method, const void *decoded,
                     void (*after)(struct rabbit_job *j, const struct rabbitmq_answer *a))
{
    static const struct rabbitmq_channel_events events = {.closed = closed};
    struct rabbitmq_link *link = j->bus->consumers[0].link;
    enum err e = j->channel ? OK : rabbitmq_channel_open(link, &events, j, &j->channel);
    j->after = after;
    if (!e)
        e = rabbitmq_call(j->channel, method, decoded, answered, j);
    if (e)
        rabbit_job_end(j, e == ERR_CLOSED ? ERR_UNAVAILABLE : e, 0, NULL);
    return !e;
}

void rabbit_job_end(struct rabbit_job *j, enum err e, unsigned code, const char *text)
{
    j->err = e;
    j->code = code;
    if (text != j->text)
        snprintf(j->text, sizeof j->text, "%s", text ? text : "");
    j->ended = true;
    if (j->channel)
        rabbitmq_channel_close(j->channel);
    else
        through(j);
}

/* No connection is there, or none is to come any more. */
static bool away(struct rabbit_bus *k)
{
    const struct rabbit_consumer *q = &k->consumers[0];
    if (atomic_load(&k->hurry))
        return true;
    return !atomic_load(&q->up) && (q->failed || desk_closed(&k->desk));
}

static void begin(struct rabbit_bus *k, struct rabbit_job *j)
{
    char why[sizeof j->text] = "";
    k->jobs_working++;
    if (!away(k)) {
        j->work(j);
        return;
    }
    (void)rabbitmq_client_up(k->client, why, sizeof why);
    rabbit_job_end(j, ERR_UNAVAILABLE, 0, why[0] ? why : "RabbitMQ cannot be reached");
}

static void go_on(struct rabbit_bus *k)
{
    if (k->jobs_running)
        return; /* what ends at once comes here again: one at a time */
    k->jobs_running = true;
    while (k->jobs_working < RABBIT_JOBS_MAX && (atomic_load(&k->consumers[0].up) || away(k))) {
        struct list *l = list_pop_front(&k->jobs_waiting);
        if (!l)
            break;
        begin(k, container_of(l, struct rabbit_job, link));
    }
    k->jobs_running = false;
}

static void waited(struct loop_timer *t)
{
    struct rabbit_bus *k = container_of(t, struct rabbit_bus, jobs_patience);
    k->consumers[0].failed = true;
    go_on(k);
}

void rabbit_jobs_init(struct rabbit_bus *k)
{
    loop_timer_init(&k->jobs_patience, waited);
}

void rabbit_jobs_arrived(void *bus)
{
    struct rabbit_bus *k = bus;
    const struct rabbit_consumer *q = &k->consumers[0];
    if (!atomic_load(&q->up) && !q->failed && !loop_timer_armed(&k->jobs_patience))
        loop_timer_start(rabbitmq_link_loop(q->link), &k->jobs_patience, RABBIT_CONNECT_NS);
    pthread_mutex_lock(&k->jobs_lock);
    list_splice_back(&k->jobs_waiting, &k->jobs_in);
    pthread_mutex_unlock(&k->jobs_lock);
    go_on(k);
}

void rabbit_jobs_up(struct rabbit_bus *k)
{
    loop_timer_stop(rabbitmq_link_loop(k->consumers[0].link), &k->jobs_patience);
    go_on(k);
}

void rabbit_jobs_down(struct rabbit_bus *k)
{
    go_on(k);
}
