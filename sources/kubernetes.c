/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kubernetes source: changes of objects in a cluster, as events. On one loop, the same for all of its kind in a
 * process: they share the watches (include/kube.h).
 *
 *     open → discover paths → follow places → queue → sink
 *
 * A part that is opened while the one before it is closing (a new plan for the same source) waits until that one's
 * attempts have ended, and takes over what is known; what was seen and not accepted is seen again.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kubernetes_parts.h"

#define GRACE_NS (5 * NS_PER_S) /* for what is under way at the end; a plan waits as long at most */
#define LINES_A_MINUTE 10       /* of troubles */

/* One server of one loop, for all sources that watch there. */
struct shared {
    struct source_common common;
    struct kube *kube;
    unsigned users;
};

static struct kubernetes *kubernetes_of(struct source *s)
{
    return container_of(s, struct kubernetes, head);
}

void kubernetes_notice(struct kubernetes *k, bool trouble, const char *what, const char *format, ...)
{
    char text[KUBE_TEXT_MAX + 200];
    va_list args;
    if (!k->host.notice)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    k->host.notice(k->host.arg, trouble, what, text);
}

void kubernetes_trouble(struct kubernetes *k, const char *reason, const char *text)
{
    unsigned held;
    if (strcmp(text ? text : "", k->trouble) == 0)
        return;
    snprintf(k->trouble, sizeof k->trouble, "%s", text ? text : "");
    if (k->host.report)
        k->host.report(k->host.arg, text ? reason : NULL, text);
    if (!text)
        kubernetes_notice(k, false, "kubernetes.watching", "%s is watched (again)", kube_config_of(k->kube)->server);
    else if (told_admit(&k->told, text, LINES_A_MINUTE, loop_now_ns(k->loop), &held))
        kubernetes_notice(k, true, "kubernetes.trouble", "%s", text);
}

/* ---- the server ---- */

static enum err share(const struct source_host *host, struct kube_config *config, struct kube **out, struct diag *d)
{
    list_each(l, tmp, host->common) {
        struct shared *s = container_of(container_of(l, struct source_common, link), struct shared, common);
        if (s->common.owner != &kubernetes_source || !kube_config_same(kube_config_of(s->kube), config))
            continue;
        s->users++;
        *out = s->kube;
        kube_config_fini(config);
        return OK;
    }
    struct shared *s = calloc(1, sizeof *s);
    if (!s) {
        kube_config_fini(config);
        return ERR_NOMEM;
    }
    enum err e = kube_new(host->loop, config, &s->kube, d);
    if (e != OK) {
        free(s);
        return e;
    }
    s->common.owner = &kubernetes_source;
    s->users = 1;
    list_push_back(host->common, &s->common.link);
    *out = s->kube;
    return OK;
}

static void unshare(const struct source_host *host, const struct kube *kube)
{
    list_each(l, tmp, host->common) {
        struct shared *s = container_of(container_of(l, struct source_common, link), struct shared, common);
        if (s->common.owner != &kubernetes_source || s->kube != kube || --s->users > 0)
            continue;
        list_remove(l);
        kube_unref(s->kube);
        free(s);
    }
}

/* ---- life ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    struct kubernetes_options *options = malloc(sizeof *options);
    enum err e = options ? kubernetes_options_parse(spec, options, d) : ERR_NOMEM;
    if (e == OK)
        kubernetes_options_fini(options);
    free(options);
    return e;
}

static void free_all(struct kubernetes *k)
{
    kubernetes_queue_drop(k);
    list_each(l, tmp, &k->places)
        place_free(container_of(l, struct place, link));
    list_each(l, tmp2, &k->leaving)
        place_free(container_of(l, struct place, link));
    for (size_t i = 0; i < KUBERNETES_RESOURCES_MAX; i++)
        free(k->plurals[i]);
    kubernetes_state_free(k->state);
    if (k->kube)
        unshare(&k->host, k->kube);
    sink_unref(k->sink);
    kubernetes_options_fini(&k->options);
    free(k);
}

static void finish_close(struct loop_task *task)
{
    struct kubernetes *k = container_of(task, struct kubernetes, closed_task);
    void (*closed)(void *arg) = k->closed;
    void *arg = k->closed_arg;
    struct kubernetes *next = k->successor;
    assert(k->flying_count == 0);
    loop_timer_stop(k->loop, &k->grace);
    if (!next && k->queue_count > 0)
        kubernetes_notice(k, true, "kubernetes.stopped", "%zu changes had not been accepted by %s (%s); %s",
                          k->queue_count, k->sink->url, k->last_failure[0] ? k->last_failure : "no answer yet",
                          k->options.state ? "they are told after the next start"
                                           : "without a state file they are lost");
    if (*k->host.last == &k->head)
        *k->host.last = NULL;
    if (next && k->state) {
        next->state = k->state;
        k->state = NULL;
        kubernetes_discover(next);
    }
    free_all(k);
    closed(arg);
}

void kubernetes_queue_ended(struct kubernetes *k)
{
    if (k->flying_count == 0)
        loop_defer(k->loop, &k->closed_task);
}

/* What is still at the sink is taken back; whether it came there is not known. */
static void grace(struct loop_timer *t)
{
    struct kubernetes *k = container_of(t, struct kubernetes, grace);
    kubernetes_queue_cancel(k);
    kubernetes_queue_ended(k);
}

static void close_source(struct source *s, void (*closed)(void *arg), void *arg)
{
    struct kubernetes *k = kubernetes_of(s);
    assert(!k->closing);
    k->closing = true;
    k->closed = closed;
    k->closed_arg = arg;
    kubernetes_discover_stop(k);
    kubernetes_places_stop(k);
    loop_timer_stop(k->loop, &k->backoff);
    loop_timer_start(k->loop, &k->grace, GRACE_NS);
    kubernetes_queue_ended(k);
}

static void discover_again(struct loop_timer *t)
{
    kubernetes_discover(container_of(t, struct kubernetes, discover_timer));
}

static enum err begin(struct kubernetes *k, struct diag *d)
{
    const struct source_spec *spec = k->options.spec;
    struct kube_config config;
    struct source *last = *k->host.last;
    enum err e = kube_config_load(source_param(spec, "kubeconfig", NULL), source_param(spec, "context", NULL),
                                  source_param(spec, "serviceAccount", NULL), &config, d);
    if (e == OK)
        e = share(&k->host, &config, &k->kube, d);
    if (e != OK)
        return e;
    if (last && kubernetes_of(last)->closing) {
        struct kubernetes *before = kubernetes_of(last);
        before->successor = k;
    } else {
        e = kubernetes_state_open(k->options.state, &k->state, d);
        if (e != OK)
            return e;
        kubernetes_discover(k);
    }
    *k->host.last = &k->head;
    return OK;
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    struct kubernetes *k = calloc(1, sizeof *k);
    enum err e = k ? kubernetes_options_parse(spec, &k->options, d) : ERR_NOMEM;
    if (e != OK) {
        free(k);
        return e;
    }
    k->head.ops = &kubernetes_source;
    k->loop = host->loop;
    k->host = *host;
    k->sink = sink_ref(host->sink);
    list_init(&k->places);
    list_init(&k->leaving);
    kubernetes_queue_init(k);
    loop_timer_init(&k->grace, grace);
    loop_timer_init(&k->discover_timer, discover_again);
    loop_task_init(&k->closed_task, finish_close);
    e = begin(k, d);
    if (e != OK) {
        if (host->report)
            host->report(host->arg, "NotRunning", d->text[0] ? d->text : err_name(e));
        kubernetes_notice(k, true, "kubernetes.trouble", "%s", d->text[0] ? d->text : err_name(e));
        free_all(k);
        return e;
    }
    *out = &k->head;
    return OK;
}

static const char *last_failure(const struct source *s)
{
    const struct kubernetes *k = container_of(s, const struct kubernetes, head);
    return k->last_failure[0] ? k->last_failure : k->trouble;
}

const struct source_ops kubernetes_source = {
    .name = "kubernetes",
    .one_loop = true,
    .together = true,
    .check = check,
    .open = open_source,
    .close = close_source,
    .last_failure = last_failure,
    .main = kubernetes_main,
};
