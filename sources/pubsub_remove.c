/* SPDX-License-Identifier: Apache-2.0
 *
 * The source's part on the control loop: it does nothing until the source goes, and then deletes the subscription that
 * was made for it, unless that is somebody else's or only the process ends.
 */
#include <assert.h>
#include <stdlib.h>

#include "pubsub_source.h"

#define REMOVE_NS (10 * NS_PER_S)

struct remover {
    struct source_registration head;
    struct pubsub_options options;
    struct loop *loop;
    struct pubsub_client *client;
    struct pubsub_call *call;
    struct loop_timer end; /* also: the time is up */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static void end(struct loop_timer *t)
{
    struct remover *r = container_of(t, struct remover, end);
    void (*stopped)(void *arg) = r->stopped;
    void *arg = r->stopped_arg;
    pubsub_client_free(r->client);
    pubsub_options_fini(&r->options);
    free(r);
    stopped(arg);
}

static void removed(void *arg, const struct pubsub_answer *a)
{
    struct remover *r = arg;
    (void)a; /* one try: the program, or the plan, goes on */
    r->call = NULL;
    loop_timer_start(r->loop, &r->end, 0);
}

enum err pubsub_register_start(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out)
{
    struct remover *r = calloc(1, sizeof *r);
    (void)client;
    (void)webhook_url;
    (void)known_id;
    (void)report;
    (void)arg;
    enum err e = r ? pubsub_options_parse(spec, &r->options, NULL) : ERR_NOMEM;
    if (!e)
        e = pubsub_options_client(&r->options, control, &r->client, NULL);
    if (e) {
        if (r)
            pubsub_options_fini(&r->options);
        free(r);
        return e;
    }
    r->head.ops = &pubsub_source_ops;
    r->loop = control;
    loop_timer_init(&r->end, end);
    *out = &r->head;
    return OK;
}

void pubsub_register_stop(struct source_registration *head, bool remove, void (*stopped)(void *arg), void *arg)
{
    struct remover *r = container_of(head, struct remover, head);
    assert(!r->stopped);
    r->stopped = stopped;
    r->stopped_arg = arg;
    bool asked = remove && !r->options.external &&
                 pubsub_subscription_delete(r->client, r->options.subscription, removed, r, &r->call) == OK;
    loop_timer_start(r->loop, &r->end, asked ? REMOVE_NS : 0);
}
