/* SPDX-License-Identifier: Apache-2.0
 *
 * Watches (Kubernetes' API concepts, "Efficient detection of changes"): GET of a collection with watch=true is a stream
 * of lines, one a change, until its time is over:
 *
 *     {"type":"ADDED|MODIFIED|DELETED","object":{...}}    what the selectors mean, as it was after the change
 *     {"type":"BOOKMARK","object":{...}}                  nothing happened up to this resourceVersion
 *     {"type":"ERROR","object":{"kind":"Status",...}}     410: something may have been missed, list again;
 *                                                         401, 403: its token counts no more, or not for this
 *
 * Each watch has a place in the journal (journal.h). All of them read on at the end of the turn in which something
 * changed, so a change costs its text once, and no watch costs a thread. A client that is too slow for its buffer is
 * cut off, and comes back from where it was.
 *
 * A watch from no version begins with what is there (the walk), a part at a time, as the client takes it. What changes
 * meanwhile is told at once where the walk has been already; where it has not, the walk will tell.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "kubernetes.h"
#include "namespaces.h"
#include "prng.h"
#include "text.h"

#define WATCHES_MAX 2000              /* open at once */
#define BUFFERED_MAX (4u << 20)       /* bytes that wait for a slow client: the largest object, and some more */
#define WALK_BUFFERED_MAX (64u << 10) /* the walk goes on below it, so that a thousand of them cost what they need */
#define WALK_REST_NS (10 * NS_PER_MS) /* until a client that is slow is looked after again */
#define TIME_S_DEFAULT 3600           /* kubectl get -w takes the end of a watch for its own */
#define BOOKMARK_NS (60 * NS_PER_S)
#define UNREAD_MAX (JOURNAL_RECORDS_MAX / 4) /* changes in one turn until they are read on the spot */

struct api_watches {
    struct api *api;
    struct journal *journal;
    struct loop *loop;
    struct loop_task read; /* all of them read on */
    uint64_t unread;
    struct list all;
    size_t count;
};

struct watch {
    struct api_later later;
    struct access_stream access;
    struct list link;
    struct api_watches *of;
    struct http_request *request;
    struct api_target target;
    struct api_form form;
    struct api_selection selection;
    uint64_t next; /* the change to read */
    bool columns_sent, bookmarks, ended;
    bool walking, tells_end;                                         /* of the walk, by a bookmark */
    char walked_ns[API_NAME_MAX + 1], walked_name[API_NAME_MAX + 1]; /* where the walk is; names "": at the beginning */
    struct loop_timer walk, bookmark, end;
};

/* ---- lines ---- */

static void finish(struct watch *w)
{
    if (w->ended)
        return;
    w->ended = true;
    w->walking = false;
    http_stream_end(w->request);
    loop_timer_stop(w->of->loop, &w->walk);
    loop_timer_stop(w->of->loop, &w->bookmark);
    loop_timer_stop(w->of->loop, &w->end);
}

/* A line; a client that is too slow, or gone, is done with. */
static enum err write_line(struct watch *w, const char *type, struct slice object)
{
    struct buf line;
    buf_init(&line, BUFFERED_MAX);
    buf_printf(&line, "{\"type\":\"%s\",\"object\":", type);
    buf_put(&line, object);
    buf_put_str(&line, "}\n");
    enum err e = buf_error(&line);
    if (e == OK)
        e = http_stream_write(w->request, buf_slice(&line));
    buf_fini(&line);
    if (e != OK)
        finish(w);
    return e;
}

/* An object in the form that is wanted. */
static void write_object(struct watch *w, const char *type, const cJSON *object)
{
    struct api_form form = w->form;
    cJSON *tree = api_render(w->of->api, w->target.kind, &form, object);
    if (tree && form.as == API_TABLE && w->columns_sent) {
        cJSON_DeleteItemFromObjectCaseSensitive(tree, "columnDefinitions");
        cJSON_AddNullToObject(tree, "columnDefinitions");
    }
    w->columns_sent = true;
    char *text = tree ? cJSON_PrintUnformatted(tree) : NULL;
    if (!text || write_line(w, type, slice_str(text)) != OK)
        finish(w);
    cJSON_free(text);
    cJSON_Delete(tree);
}

static void write_bookmark(struct watch *w, bool of_walk)
{
    struct buf text;
    const struct kind *k = w->target.kind;
    buf_init(&text, 4096);
    buf_printf(&text, "{\"kind\":\"%s\",\"apiVersion\":\"", k->kind);
    api_version_put(k, &text);
    buf_printf(&text, "\",\"metadata\":{\"resourceVersion\":\"%llu\",\"creationTimestamp\":null%s}}",
               (unsigned long long)resource_table_version(w->of->api->table),
               of_walk ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
    if (buf_error(&text) != OK || write_line(w, "BOOKMARK", buf_slice(&text)) != OK)
        finish(w);
    buf_fini(&text);
}

static void write_expired(struct watch *w)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"too old "
             "resource version: changes since then are not kept (the oldest are of %llu)\",\"reason\":\"Expired\","
             "\"code\":410}",
             (unsigned long long)w->of->journal->since);
    if (write_line(w, "ERROR", slice_str(text)) == OK)
        finish(w);
}

/* Its token counts no more, or not for this. */
static void lost(struct access_stream *s, int code, const char *why, struct slice status)
{
    struct watch *w = container_of(s, struct watch, access);
    (void)code, (void)why;
    if (!w->ended && write_line(w, "ERROR", status) == OK)
        finish(w);
}

/* ---- changes ---- */

static bool is_meant(const struct watch *w, const struct journal_record *r)
{
    const struct api_target *t = &w->target;
    return kind_same(r->kind, t->kind) &&
           (!t->namespace_name[0] || strcmp(t->namespace_name, r->namespace_name) == 0) &&
           (!t->name[0] || strcmp(t->name, r->name) == 0);
}

/* Whether the walk will come to this object. */
static bool lies_ahead(const struct watch *w, const char *ns, const char *name)
{
    int order = strcmp(ns, w->walked_ns);
    return order > 0 || (order == 0 && strcmp(name, w->walked_name) > 0);
}

static const char *change_name(enum resource_change c)
{
    return c == RESOURCE_ADDED ? "ADDED" : c == RESOURCE_MODIFIED ? "MODIFIED" : "DELETED";
}

/* As the selectors see a change: into what they mean, within it, or out of it. NULL: it is none of theirs. */
static const char *seen_as(const struct watch *w, const struct journal_record *r, cJSON *object)
{
    bool now = api_selection_matches(&w->selection, object), before = now;
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"),
          *labels = r->labels_before ? cJSON_Parse(r->labels_before) : NULL,
          *are = labels ? cJSON_DetachItemFromObjectCaseSensitive(metadata, "labels") : NULL;
    if (labels && cJSON_AddItemToObject(metadata, "labels", labels))
        before = api_selection_matches(&w->selection, object);
    if (r->change == RESOURCE_MODIFIED && before && !now) {
        cJSON_Delete(are); /* gone from view, as it was last seen */
        return "DELETED";
    }
    if (labels) {
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "labels");
        if (are && !cJSON_AddItemToObject(metadata, "labels", are))
            cJSON_Delete(are);
    }
    if (r->change == RESOURCE_MODIFIED && now && !before)
        return "ADDED";
    return now ? change_name(r->change) : NULL;
}

static void tell(struct watch *w, const struct journal_record *r)
{
    if (w->form.as == API_AS_IS && w->target.kind == r->kind && !w->selection.labels && !w->selection.fields) {
        if (write_line(w, change_name(r->change), slice_str(r->object)) != OK)
            finish(w);
        return;
    }
    cJSON *object = cJSON_Parse(r->object);
    const char *type = object ? seen_as(w, r, object) : NULL;
    if (type)
        write_object(w, type, object);
    if (!object)
        finish(w);
    cJSON_Delete(object);
}

/* Reads on to the end of the journal. */
static void read_on(struct watch *w)
{
    const struct journal *j = w->of->journal;
    while (!w->ended && w->next < j->next) {
        const struct journal_record *r = journal_at(j, w->next++);
        if (!r)
            write_expired(w);
        else if (is_meant(w, r) && !(w->walking && lies_ahead(w, r->namespace_name, r->name)))
            tell(w, r);
    }
}

static void read_all(struct loop_task *t)
{
    struct api_watches *s = container_of(t, struct api_watches, read);
    s->unread = 0;
    access_look(&s->api->access); /* nothing is told to who may not see it any more */
    list_each(l, tmp, &s->all)
        read_on(container_of(l, struct watch, link));
}

static void appended(void *arg)
{
    struct api_watches *s = arg;
    if (s->count == 0)
        return;
    loop_defer(s->loop, &s->read);
    if (++s->unread == UNREAD_MAX)
        read_all(&s->read);
}

/* ---- the walk ---- */

static void walk_end(struct watch *w)
{
    w->walking = false;
    if (w->tells_end)
        write_bookmark(w, true);
}

#define WALK_STEPS 256 /* objects in one turn, so that others have theirs */

/* Whether the client is to take what it has first. */
static bool walk_rests(const struct watch *w, size_t told)
{
    return told == WALK_STEPS || http_stream_waiting(w->request) >= WALK_BUFFERED_MAX;
}

/* The next objects, from this place in the table on, which stays as it is meanwhile; or the end. */
static void walk_part(struct watch *w, uint64_t cursor)
{
    const struct api_target *t = &w->target;
    const char *scope = t->namespace_name[0] ? t->namespace_name : NULL;
    const struct resource *r;
    size_t told = 0;
    while (w->walking && !walk_rests(w, told)) {
        if (!(r = namespaces_next(w->of->api->namespaces, w->of->api->table, t->kind, scope, &cursor))) {
            walk_end(w);
            return;
        }
        snprintf(w->walked_ns, sizeof w->walked_ns, "%s", r->namespace_name);
        snprintf(w->walked_name, sizeof w->walked_name, "%s", r->name);
        if ((t->name[0] && strcmp(t->name, r->name) != 0) || !api_selection_matches(&w->selection, r->object))
            continue;
        cJSON *shown = api_shown(r);
        if (shown)
            write_object(w, "ADDED", shown);
        else
            finish(w);
        cJSON_Delete(shown);
        told++;
    }
}

static void walk_on(struct loop_timer *t)
{
    struct watch *w = container_of(t, struct watch, walk);
    access_look(&w->of->api->access);
    read_on(w); /* what changed before this step is told by where the walk was then */
    bool waits = http_stream_waiting(w->request) > 0;
    if (w->walking)
        walk_part(w, w->walked_name[0] ? namespaces_behind(w->of->api->namespaces, w->of->api->table, w->target.kind,
                                                           w->walked_ns, w->walked_name)
                                       : 0);
    if (w->walking)
        loop_timer_start(w->of->loop, &w->walk, waits ? WALK_REST_NS : 0);
}

/* ---- life ---- */

static void bookmark_due(struct loop_timer *t)
{
    struct watch *w = container_of(t, struct watch, bookmark);
    read_on(w);
    if (!w->ended && !w->walking)
        write_bookmark(w, false);
    if (!w->ended)
        loop_timer_start(w->of->loop, &w->bookmark, BOOKMARK_NS);
}

static void time_over(struct loop_timer *t)
{
    struct watch *w = container_of(t, struct watch, end);
    read_on(w);
    if (!w->ended && w->bookmarks && !w->walking)
        write_bookmark(w, false);
    finish(w);
}

static void closed(struct api_later *later)
{
    struct watch *w = container_of(later, struct watch, later);
    w->ended = true;
    loop_timer_stop(w->of->loop, &w->walk);
    loop_timer_stop(w->of->loop, &w->bookmark);
    loop_timer_stop(w->of->loop, &w->end);
    access_release(&w->access);
    list_remove(&w->link);
    w->of->count--;
    api_selection_fini(&w->selection);
    free(w);
}

bool api_watches_begin(struct api *a, struct loop *loop)
{
    struct api_watches *s = a->watches;
    if (s)
        return true;
    if (!(s = calloc(1, sizeof *s)) || !(s->journal = journal_new(a->table, appended, s)) ||
        !(a->namespaces = namespaces_new(a->table, s->journal, clock_wall_ns(loop_clock(loop))))) {
        journal_free(s ? s->journal : NULL);
        free(s);
        return false;
    }
    s->api = a;
    s->loop = loop;
    loop_task_init(&s->read, read_all);
    list_init(&s->all);
    a->watches = s;
    return true;
}

void api_watches_stop(struct api *a)
{
    if (!a->watches)
        return;
    list_each(l, tmp, &a->watches->all)
        finish(container_of(l, struct watch, link));
}

void api_watches_free(struct api *a)
{
    struct api_watches *s = a->watches;
    if (!s)
        return;
    namespaces_free(a->namespaces);
    a->namespaces = NULL;
    loop_task_cancel(&s->read);
    journal_free(s->journal);
    free(s);
    a->watches = NULL;
}

/* ---- what is asked for ---- */

/* Where it begins: at a version, or with what is there. false: the request has been answered. */
static bool read_beginning(struct http_request *r, struct watch *w, bool *expired)
{
    uint64_t version;
    struct journal *j = w->of->journal;
    bool initial = api_query_yes(r, "sendInitialEvents");
    w->next = j->next;
    if (!api_query_number(r, "resourceVersion", 0, &version))
        return false;
    w->walking = initial || version == 0;
    w->tells_end = initial;
    *expired = !w->walking && !journal_find(j, version, &w->next);
    return true;
}

static void start(struct watch *w, uint64_t seconds, bool expired)
{
    static const struct http_header headers[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
                                                 {SLICE_INIT("Cache-Control"), SLICE_INIT("no-cache, private")}};
    struct loop *loop = w->of->loop;
    loop_timer_init(&w->walk, walk_on);
    loop_timer_init(&w->bookmark, bookmark_due);
    loop_timer_init(&w->end, time_over);
    list_push_back(&w->of->all, &w->link);
    w->of->count++;
    access_hold(&w->of->api->access, &w->access, w->request);
    http_request_set_state(w->request, &w->later);
    http_respond_stream(w->request, 200, headers, 2, BUFFERED_MAX);
    if (expired) {
        write_expired(w);
        return;
    }
    loop_timer_start(loop, &w->end, seconds * NS_PER_S);
    if (w->bookmarks)
        loop_timer_start(loop, &w->bookmark, BOOKMARK_NS);
    if (w->walking)
        walk_on(&w->walk);
    else
        read_on(w);
}

void api_watch(struct api *a, struct http_request *r, const struct api_target *t, const struct api_form *f)
{
    uint64_t seconds;
    bool expired = false;
    struct watch *w = calloc(1, sizeof *w);
    if (!w || !api_watches_begin(a, http_request_loop(r))) {
        free(w);
        api_status(r, 500, "InternalError", "out of memory");
        return;
    }
    *w = (struct watch){
        .later = {closed}, .access = {.lost = lost}, .of = a->watches, .request = r, .target = *t, .form = *f};
    w->bookmarks = api_query_yes(r, "allowWatchBookmarks");
    bool good = a->watches->count < WATCHES_MAX;
    if (!good)
        api_status(r, 429, "TooManyRequests", "%d watches are open, and more may not be", WATCHES_MAX);
    good = good && api_query_number(r, "timeoutSeconds", 0, &seconds) && read_beginning(r, w, &expired) &&
           api_selection_read(r, t->kind, &w->selection);
    if (!good) {
        free(w);
        return;
    }
    start(w, seconds && seconds < TIME_S_DEFAULT ? seconds : TIME_S_DEFAULT, expired);
}
