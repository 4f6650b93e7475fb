/* SPDX-License-Identifier: Apache-2.0
 *
 * Following a resource for as long as somebody wants to: list, watch, and again. One watch serves all who follow the
 * same place and are where it is.
 *
 *     fresh ──from 0──→ listing ──page──→ (paused ──room──→) listing ... ──→ watching ──end, cut──→ watching
 *       └────from v──────────────────────────────────────────────↑  └──version not known any more (410)──→ listing
 *     any failure → told, wait (0.2 s, doubled, at most 30 s, half of it drawn) → where it was, a list from its
 * beginning
 *
 * A version means all changes up to it. Invariants: every follower's `at` is the watch's version or beyond; it is told
 * a change only if that lies behind its `at`. So a follower may join a watch that is not as far as it. One that is
 * behind every watch of its place gets another for itself, and is moved to the older when it has come as far
 * (`join_elder`).
 *
 * A watch says nothing while nothing changes, but bookmarks about once a minute: one that is silent for SILENCE_NS is
 * thought dead, and begun anew. Requests are started and ended by `step` alone, which is never within one's callback.
 */
#include "kube_private.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TIMEOUT_NS (60 * NS_PER_S)
#define WATCH_S_LEAST 300 /* how long the server is asked to go on; a random part keeps many from coming at once */
#define WATCH_S_MORE 300
#define WATCH_GRACE_NS (30 * NS_PER_S)
#define SETTLED_NS (1 * NS_PER_S) /* a watch that stood so long is a good one, also without a word */
#define SILENCE_NS (130 * NS_PER_S)
#define BACKOFF_NS (200 * NS_PER_MS)
#define BACKOFF_NS_MAX (30 * NS_PER_S)
#define TOKEN_BYTES_MAX (16u << 10) /* of a list's next page */

struct kube_watch {
    struct list link;
    struct kube *kube;
    char *path, *selector, *api_version, *kind;
    struct list followers;
    uint64_t version;
    enum { FRESH, LISTING, PAUSED, WATCHING } state;
    bool must_list, cut;
    bool stood; /* this watch has said something, or nothing wrong for SETTLED_NS */
    struct kube_call call;
    struct kube_lines lines;
    struct buf next; /* the token of the list's next page; empty: the first */
    unsigned page_objects, failures;
    uint64_t heard_ns; /* when it began, or last said something */
    struct loop_timer wait, silence;
    struct loop_task task;
    char reason[40], trouble[KUBE_TEXT_MAX]; /* empty: none */
};

/* ---- those who follow ---- */

/* Walks them so that each may leave, and others come, meanwhile. */
#define each_follower(f, w)                                                                                            \
    struct list todo_;                                                                                                 \
    list_init(&todo_);                                                                                                 \
    list_splice_back(&todo_, &(w)->followers);                                                                         \
    for (struct kube_follower * f; (f = next_follower(&todo_, (w)));)

static struct kube_follower *next_follower(struct list *todo, struct kube_watch *w)
{
    struct list *l = list_pop_front(todo);
    if (!l)
        return NULL;
    list_push_back(&w->followers, l);
    return container_of(l, struct kube_follower, link);
}

static void step_later(struct kube_watch *w)
{
    loop_defer(w->kube->loop, &w->task);
}

void kube_leave(struct kube_follower *f)
{
    struct kube_watch *w = f->watch;
    if (!w)
        return;
    list_remove(&f->link);
    f->watch = NULL;
    if (list_empty(&w->followers))
        step_later(w);
}

/* reason NULL: nothing is wrong any more. */
static void tell(struct kube_watch *w, const char *reason, const char *text)
{
    if (strcmp(w->trouble, text ? text : "") == 0)
        return;
    snprintf(w->reason, sizeof w->reason, "%s", reason ? reason : "");
    snprintf(w->trouble, sizeof w->trouble, "%s", text ? text : "");
    each_follower(f, w) f->ops->trouble(f, reason, text);
}

static bool place_is(const struct kube_watch *w, const struct kube_place *p)
{
    return strcmp(w->path, p->path) == 0 && strcmp(w->selector, p->selector) == 0;
}

/* Once a watch is as far as an older one of its place, those who follow it go there. */
static void join_elder(struct kube_watch *w)
{
    const struct kube_place place = {w->path, w->selector, NULL, NULL};
    for (struct list *l = w->kube->watches.next; l != &w->link; l = l->next) {
        struct kube_watch *elder = container_of(l, struct kube_watch, link);
        if (elder->state != WATCHING || elder->must_list || !place_is(elder, &place) || elder->version > w->version ||
            list_empty(&elder->followers))
            continue;
        each_follower(f, w)
        {
            list_remove(&f->link);
            list_push_back(&elder->followers, &f->link);
            f->watch = elder;
        }
        step_later(w);
        return;
    }
}

/* ---- failures ---- */

static void wait_and_retry(struct kube_watch *w, uint64_t least_ns)
{
    uint64_t ns = w->failures < 12 ? BACKOFF_NS << w->failures : BACKOFF_NS_MAX;
    ns = ns < BACKOFF_NS_MAX ? ns : BACKOFF_NS_MAX;
    ns = ns / 2 + prng_below(&w->kube->prng, ns / 2);
    w->failures++;
    buf_clear(&w->next);
    loop_timer_stop(w->kube->loop, &w->silence);
    loop_timer_start(w->kube->loop, &w->wait, ns > least_ns ? ns : least_ns);
}

static void failed(struct kube_watch *w, const char *reason, const char *text, uint64_t least_ns)
{
    tell(w, reason, text);
    wait_and_retry(w, least_ns);
}

static void failed_answer(struct kube_watch *w, const struct kube_answer *a)
{
    failed(w, a->reason, a->text, a->retry_after_ns);
}

__attribute__((format(printf, 3, 4))) static void malformed(struct kube_watch *w, const char *what, const char *format,
                                                            ...)
{
    char why[300], text[KUBE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    snprintf(text, sizeof text, "%.150s is not what an API server says: %s: %s", w->path, what, why);
    tell(w, "Malformed", text);
}

/* The server does not know the version any more: what is there is compared. */
static void expired(struct kube_watch *w)
{
    w->must_list = true;
    if (w->failures == 0) {
        w->failures++; /* a server that says so again and again is not asked without a pause */
        step_later(w);
    } else {
        wait_and_retry(w, 0);
    }
}

/* ---- lists ---- */

static void begin_list(struct kube_watch *w)
{
    w->state = LISTING;
    buf_clear(&w->next);
    each_follower(f, w) f->ops->list_begin(f);
}

static void list_ended(struct kube_watch *w, uint64_t version)
{
    w->version = version;
    w->state = WATCHING;
    w->must_list = false;
    tell(w, NULL, NULL);
    each_follower(f, w)
    {
        f->at = version;
        f->ops->list_end(f, version);
    }
    step_later(w);
}

static bool take_items(struct kube_watch *w, struct kube_page *page)
{
    struct json_walk walk;
    struct kube_meta meta;
    struct diag d = {0};
    json_walk_begin(&walk, page->items);
    while (json_walk_next(&walk)) {
        if (kube_meta_read(walk.value, w->api_version, w->kind, &meta, &d) != OK) {
            malformed(w, "an object of a list", "%s", d.text);
            return false;
        }
        each_follower(f, w) f->ops->listed(f, &meta, walk.value.raw);
    }
    return true;
}

/* Whether the next page may come. Who has no room leaves where others wait for it. */
static bool room(struct kube_watch *w)
{
    bool shared = w->followers.next != w->followers.prev, all = true;
    each_follower(f, w)
    {
        if (f->ops->room(f))
            continue;
        if (shared)
            kube_leave(f);
        else
            all = false;
    }
    return all;
}

static void listed(struct kube_call *c, const struct kube_answer *a)
{
    struct kube_watch *w = container_of(c, struct kube_watch, call);
    struct kube_page page;
    struct diag d = {0};
    if (list_empty(&w->followers) || w->cut) {
        step_later(w);
        return;
    }
    if (a->err == ERR_CONFLICT) { /* the list went on too long */
        expired(w);
        return;
    }
    if (a->err == ERR_TOO_LARGE && w->page_objects > 1) {
        w->page_objects = w->page_objects / 4 ? w->page_objects / 4 : 1;
        begin_list(w);
        step_later(w);
        return;
    }
    if (a->err != OK) {
        failed_answer(w, a);
        return;
    }
    if (kube_page_read(a->body, &page, &d) != OK) {
        malformed(w, "a list", "%s", d.text);
        wait_and_retry(w, 0);
        return;
    }
    if (!take_items(w, &page)) {
        wait_and_retry(w, 0);
        return;
    }
    buf_clear(&w->next);
    if (page.next.len == 0) {
        list_ended(w, page.version);
        return;
    }
    json_unescape(page.next, &w->next);
    w->state = PAUSED;
    step_later(w);
}

static enum err start_list(struct kube_watch *w, struct diag *d)
{
    struct buf target;
    buf_init(&target, TOKEN_BYTES_MAX * 4);
    if (w->next.len == 0)
        begin_list(w);
    w->state = LISTING;
    buf_printf(&target, "%s?limit=%u", w->path, w->page_objects);
    if (w->selector[0]) {
        buf_put_str(&target, "&labelSelector=");
        kube_put_query(&target, slice_str(w->selector));
    }
    if (w->next.len) {
        buf_put_str(&target, "&continue=");
        kube_put_query(&target, buf_slice(&w->next));
    }
    buf_put(&target, slice_of("", 1));
    enum err e = buf_error(&target);
    if (e == OK)
        e = kube_get(w->kube, &w->call, target.ptr, KUBE_PAGE_MAX, LIST_TIMEOUT_NS, NULL, listed, d);
    buf_fini(&target);
    return e;
}

/* ---- watches ---- */

static void well(struct kube_watch *w)
{
    w->failures = 0;
    w->stood = true;
    tell(w, NULL, NULL);
}

static void silence(struct loop_timer *t)
{
    struct kube_watch *w = container_of(t, struct kube_watch, silence);
    if (loop_now_ns(w->kube->loop) - w->heard_ns < SILENCE_NS) { /* it stands */
        well(w);
        loop_timer_start(w->kube->loop, t, SILENCE_NS);
        return;
    }
    w->cut = true;
    step_later(w);
}

static void take_change(struct kube_watch *w, const struct kube_change *c)
{
    each_follower(f, w)
    {
        if (c->meta.version <= f->at)
            continue;
        if (c->what == KUBE_BOOKMARK) {
            f->at = c->meta.version;
            f->ops->at(f, f->at);
        } else if (f->ops->change(f, c)) {
            f->at = c->meta.version;
        } else {
            kube_leave(f);
        }
    }
    if (c->meta.version > w->version)
        w->version = c->meta.version;
    join_elder(w);
}

static void take_line(struct kube_watch *w, struct slice line)
{
    struct kube_change c;
    struct diag d = {0};
    if (slice_trim(line).len == 0)
        return;
    if (kube_change_read(line, &c, &d) != OK) {
        malformed(w, "a line of a watch", "column %d: %s", d.column, d.text);
        w->cut = true;
    } else if (c.what == KUBE_FAILED && c.code == 410) {
        w->must_list = w->cut = true;
    } else if (c.what == KUBE_FAILED) {
        char text[KUBE_TEXT_MAX];
        snprintf(text, sizeof text, "the watch of %.150s ended with %d: %.400s", w->path, c.code, c.text);
        tell(w, "WatchFailed", text);
        w->cut = true;
    } else {
        well(w);
        take_change(w, &c);
        return;
    }
    step_later(w);
}

static void passed_over(struct kube_watch *w)
{
    char text[KUBE_TEXT_MAX];
    snprintf(text, sizeof text,
             "an object below %.150s has %llu bytes as JSON, more than the %u MiB that are read of one; its change is "
             "passed over",
             w->path, (unsigned long long)w->lines.skipped, KUBE_LINE_MAX >> 20);
    each_follower(f, w) f->ops->trouble(f, "ObjectTooLarge", text);
}

static void piece(struct http_exchange *x, int status, struct slice bytes)
{
    struct kube_watch *w = container_of(container_of(x, struct kube_call, exchange), struct kube_watch, call);
    struct slice line;
    enum err e = OK;
    (void)status;
    w->heard_ns = loop_now_ns(w->kube->loop);
    loop_timer_start(w->kube->loop, &w->silence, SILENCE_NS);
    while (!w->cut && !list_empty(&w->followers) && e != ERR_PENDING && e != ERR_NOMEM) {
        e = kube_lines_next(&w->lines, &bytes, &line);
        if (e == OK)
            take_line(w, line);
        else if (e == ERR_TOO_LARGE)
            passed_over(w);
    }
    if (e == ERR_NOMEM) {
        w->cut = true;
        step_later(w);
    }
}

static void watch_ended(struct kube_call *c, const struct kube_answer *a)
{
    struct kube_watch *w = container_of(c, struct kube_watch, call);
    loop_timer_stop(w->kube->loop, &w->silence);
    if (list_empty(&w->followers) || w->cut)
        step_later(w);
    else if (a->err == ERR_CONFLICT)
        expired(w);
    else if (a->err == OK && w->stood)
        step_later(w);
    else if (a->err == OK || (w->stood && (a->err == ERR_UNAVAILABLE || a->err == ERR_TIMEOUT) && a->status == 0))
        wait_and_retry(w, 0); /* cut: told if it stays so */
    else
        failed_answer(w, a);
}

static enum err start_watch(struct kube_watch *w, struct diag *d)
{
    struct buf target;
    unsigned seconds = WATCH_S_LEAST + (unsigned)prng_below(&w->kube->prng, WATCH_S_MORE);
    w->state = WATCHING;
    w->stood = false;
    kube_lines_fini(&w->lines);
    kube_lines_init(&w->lines, KUBE_LINE_MAX);
    buf_init(&target, TOKEN_BYTES_MAX);
    buf_printf(&target, "%s?watch=true&allowWatchBookmarks=true&resourceVersion=%llu&timeoutSeconds=%u", w->path,
               (unsigned long long)w->version, seconds);
    if (w->selector[0]) {
        buf_put_str(&target, "&labelSelector=");
        kube_put_query(&target, slice_str(w->selector));
    }
    buf_put(&target, slice_of("", 1));
    enum err e = buf_error(&target);
    if (e == OK)
        e = kube_get(w->kube, &w->call, target.ptr, KUBE_TEXT_MAX, seconds * NS_PER_S + WATCH_GRACE_NS, piece,
                     watch_ended, d);
    buf_fini(&target);
    w->heard_ns = loop_now_ns(w->kube->loop);
    loop_timer_start(w->kube->loop, &w->silence, SETTLED_NS);
    return e;
}

/* ---- steps ---- */

static void watch_free(struct kube_watch *w)
{
    struct loop *loop = w->kube->loop;
    assert(list_empty(&w->followers));
    kube_call_cancel(&w->call);
    loop_timer_stop(loop, &w->wait);
    loop_timer_stop(loop, &w->silence);
    loop_task_cancel(&w->task);
    list_remove(&w->link);
    w->kube->watch_count--;
    kube_lines_fini(&w->lines);
    buf_fini(&w->next);
    free(w->path);
    free(w->selector);
    free(w->api_version);
    free(w->kind);
    free(w);
}

static void step(struct kube_watch *w)
{
    struct diag d = {0};
    if (list_empty(&w->followers)) {
        watch_free(w);
        return;
    }
    if (w->cut) {
        bool stale = w->must_list;
        kube_call_cancel(&w->call);
        w->cut = false;
        if (stale)
            expired(w);
        else if (w->trouble[0])
            wait_and_retry(w, 0);
        else
            step_later(w);
        return;
    }
    if (w->call.under_way || loop_timer_armed(&w->wait) || (w->state == PAUSED && !room(w)))
        return;
    if (list_empty(&w->followers)) {
        watch_free(w);
        return;
    }
    enum err e = w->must_list ? start_list(w, &d) : start_watch(w, &d);
    if (e != OK)
        failed(w, e == ERR_NOMEM ? "NoMemory" : "TokenNotReadable", d.text[0] ? d.text : err_name(e), 0);
}

static void run_step(struct loop_task *t)
{
    step(container_of(t, struct kube_watch, task));
}

static void waited(struct loop_timer *t)
{
    step(container_of(t, struct kube_watch, wait));
}

/* ---- coming and going ---- */

static struct kube_watch *watch_new(struct kube *k, const struct kube_place *p, uint64_t from)
{
    struct kube_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->kube = k;
    w->path = strdup(p->path);
    w->selector = strdup(p->selector);
    w->api_version = strdup(p->api_version);
    w->kind = strdup(p->kind);
    w->version = from;
    w->must_list = from == 0;
    w->page_objects = KUBE_PAGE_OBJECTS;
    list_init(&w->followers);
    kube_lines_init(&w->lines, KUBE_LINE_MAX);
    buf_init(&w->next, TOKEN_BYTES_MAX);
    loop_timer_init(&w->wait, waited);
    loop_timer_init(&w->silence, silence);
    loop_task_init(&w->task, run_step);
    list_push_back(&k->watches, &w->link);
    k->watch_count++;
    if (w->path && w->selector && w->api_version && w->kind)
        return w;
    watch_free(w);
    return NULL;
}

/* A watch of this place that tells all that comes behind `from`. */
static struct kube_watch *find(struct kube *k, const struct kube_place *p, uint64_t from)
{
    for (struct list *l = k->watches.next; l != &k->watches; l = l->next) {
        struct kube_watch *w = container_of(l, struct kube_watch, link);
        if (!place_is(w, p) || w->must_list != (from == 0))
            continue;
        if (w->state == FRESH || (w->state == WATCHING && !w->must_list && !w->cut && w->version <= from))
            return w;
    }
    return NULL;
}

enum err kube_follow(struct kube *k, const struct kube_place *p, uint64_t from, struct kube_follower *f)
{
    assert(!f->watch);
    struct kube_watch *w = find(k, p, from);
    if (!w)
        w = watch_new(k, p, from);
    if (!w)
        return ERR_NOMEM;
    if (from < w->version)
        w->version = from; /* it has not begun */
    f->watch = w;
    f->at = from;
    list_init(&f->link);
    list_push_back(&w->followers, &f->link);
    if (w->trouble[0])
        f->ops->trouble(f, w->reason, w->trouble);
    step_later(w);
    return OK;
}

void kube_follow_room(struct kube_follower *f)
{
    if (f->watch && f->watch->state == PAUSED)
        step_later(f->watch);
}

size_t kube_watch_count(const struct kube *k)
{
    return k->watch_count;
}

void kube_watches_free(struct kube *k)
{
    while (!list_empty(&k->watches))
        watch_free(container_of(k->watches.next, struct kube_watch, link));
}
