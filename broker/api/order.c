/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose deliveries a request is about, which events it means, at which rate; each mistake at its place.
 */
#include "order.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../task.h"
#include "text.h"

#define NAMES_SAID_MAX 8 /* of what there is near; more are of no help in one line */

static bool out_of_memory(struct http_request *r)
{
    api_status(r, 500, "InternalError", "out of memory");
    return false;
}

/* ---- whose ---- */

static char *decode(struct slice from)
{
    struct buf decoded;
    buf_init(&decoded, 1024);
    if (percent_decode(from, &decoded) != OK || decoded.len == 0) {
        buf_fini(&decoded);
        return NULL;
    }
    char *text = buf_take_string(&decoded);
    buf_fini(&decoded);
    return text;
}

static bool set_target(struct http_request *r, const char *space, const char *word, const char *name,
                       struct order_target *t)
{
    const struct kind *k = t->kind = kind_by_word(word);
    if (!k) {
        api_status(r, 404, "NotFound",
                   "there is no kind '%s': events are delivered for a subscription, trigger, kafkasource, "
                   "rabbitmqsource, sequence or "
                   "parallel",
                   word);
        return false;
    }
    if (asprintf(&t->key, "%s.%s/%s/%s", k->kind, k->group, space, name) < 0)
        t->key = NULL;
    if (asprintf(&t->what, "%s/%s in %s", k->singular, name, space) < 0)
        t->what = NULL;
    return (t->key && t->what) || out_of_memory(r);
}

bool order_target_read(struct http_request *r, struct slice *rest, const char *pages, struct order_target *out)
{
    *out = (struct order_target){0};
    char *space = decode(slice_split(rest, '/')), *word = decode(slice_split(rest, '/')),
         *name = decode(slice_split(rest, '/'));
    bool good = space && word && name;
    if (good)
        good = set_target(r, space, word, name, out);
    else
        api_status(r, 404, "NotFound", "no such page: there are %s", pages);
    free(space);
    free(word);
    free(name);
    return good;
}

void order_target_fini(struct order_target *t)
{
    free(t->key);
    free(t->what);
    *t = (struct order_target){0};
}

bool order_target_has(const struct order_target *t, const char *key)
{
    size_t n = strlen(t->key);
    return strncmp(key, t->key, n) == 0 && (key[n] == '\0' || key[n] == '/');
}

struct order_key order_key_split(const char *key)
{
    struct slice rest = slice_str(key), first = slice_split(&rest, '/');
    struct order_key k;
    k.kind = slice_split(&first, '.');
    k.space = slice_split(&rest, '/');
    k.name = slice_split(&rest, '/');
    k.part = rest;
    return k;
}

static void put_member(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, "\"%s\":", name);
    buf_put_json_string(out, value);
    buf_put_char(out, ',');
}

void order_key_put(struct buf *out, const char *key)
{
    struct order_key k = order_key_split(key);
    put_member(out, "namespace", k.space);
    put_member(out, "kind", k.kind);
    put_member(out, "name", k.name);
    if (k.part.len)
        put_member(out, "part", k.part);
    put_member(out, "subscription", slice_str(key));
}

/* ---- what is not there ---- */

struct near {
    const struct order_target *target;
    struct slice space, last;
    bool elsewhere; /* looks at other namespaces */
    struct buf names;
    size_t count;
};

static void put_near(void *arg, const struct engine_subscription *s)
{
    struct near *near = arg;
    struct order_key k = order_key_split(s->key);
    struct slice whole = slice_of(k.space.ptr, (size_t)(k.name.ptr + k.name.len - k.space.ptr));
    if (!slice_eq_str(k.kind, near->target->kind->kind) || slice_eq(near->space, k.space) == near->elsewhere ||
        slice_eq(whole, near->last)) /* the parts of one object come one after the other */
        return;
    near->last = whole;
    if (near->count++ < NAMES_SAID_MAX)
        buf_printf(&near->names, "%s%.*s", near->names.len ? ", " : "", SLICE_ARG(near->elsewhere ? whole : k.name));
}

void order_answer_unknown(struct api *a, struct http_request *r, const struct order_target *t)
{
    struct near near = {.target = t, .space = order_key_split(t->key).space};
    const char *kind = t->kind->singular, *name = near.space.ptr + near.space.len + 1;
    int space_len = (int)near.space.len;
    buf_init(&near.names, 4096);
    engine_each_subscription(a->engine, put_near, &near);
    if (near.count == 0) {
        near.elsewhere = true;
        engine_each_subscription(a->engine, put_near, &near);
    }
    if (near.count == 0)
        api_status(r, 404, "NotFound",
                   "no %s '%s' in %.*s delivers events, nor does any other; events are delivered for a subscription, "
                   "trigger, sequence or parallel",
                   kind, name, space_len, near.space.ptr);
    else
        api_status(r, 404, "NotFound", "no %s '%s' in %.*s delivers events; %s: %.*s%s", kind, name, space_len,
                   near.space.ptr, near.elsewhere ? "in other namespaces there are" : "there are",
                   SLICE_ARG(buf_slice(&near.names)), near.count > NAMES_SAID_MAX ? " and more" : "");
    buf_fini(&near.names);
}

/* ---- which, how fast ---- */

bool order_filter_read(struct http_request *r, struct slice text, struct filter **out)
{
    struct problems p;
    problems_init(&p);
    enum err e = filter_parse(text, out, &p);
    if (e == ERR_NOMEM) {
        out_of_memory(r);
    } else if (e != OK) {
        const struct problem *first = p.count ? &p.list[0] : NULL;
        char place[64] = "";
        if (first && first->column)
            snprintf(place, sizeof place, "line %d, column %d: ", first->line, first->column);
        api_status(r, 400, "BadRequest", "filter: %s%s%s%s", place, first && first->path ? first->path : "",
                   first && first->path ? ": " : "", first ? first->text : "it is none");
    }
    problems_fini(&p);
    return e == OK;
}

bool order_members_read(struct http_request *r, const cJSON *tree, const char *such,
                        bool (*member)(void *arg, const cJSON *member), void *arg)
{
    const cJSON *each, *same;
    if (!cJSON_IsObject(tree)) {
        api_status(r, 400, "BadRequest", "the body is no JSON object such as %s", such);
        return false;
    }
    cJSON_ArrayForEach(each, tree) {
        for (same = tree->child; same != each; same = same->next)
            if (strcmp(same->string, each->string) == 0) {
                api_status(r, 400, "BadRequest", "the body has a member twice");
                return false;
            }
        if (!member(arg, each))
            return false;
    }
    return true;
}

bool order_filter_member_read(struct http_request *r, const cJSON *filter, struct filter **out)
{
    if (cJSON_IsString(filter))
        return order_filter_read(r, slice_str(filter->valuestring), out);
    if (!cJSON_IsArray(filter) && !cJSON_IsObject(filter)) {
        api_status(r, 400, "BadRequest", "filter: is an expression in a string, or a filter as in a Trigger");
        return false;
    }
    char *text = cJSON_PrintUnformatted(filter);
    bool good = text ? order_filter_read(r, slice_str(text), out) : out_of_memory(r);
    cJSON_free(text);
    return good;
}

bool order_rate_read(struct http_request *r, const cJSON *rate, uint64_t *interval_ns)
{
    if (!cJSON_IsNumber(rate) || !isfinite(rate->valuedouble) || rate->valuedouble < 1e-6 ||
        rate->valuedouble > ORDER_RATE_MAX) {
        api_status(r, 400, "BadRequest",
                   "rate: is the number of events a second, more than 0 and at most %d; without it there is no limit",
                   ORDER_RATE_MAX);
        return false;
    }
    *interval_ns = (uint64_t)(1e9 / rate->valuedouble);
    return true;
}

/* ---- answers ---- */

void order_answer_task(struct http_request *r, const struct task *t)
{
    struct buf body;
    buf_init(&body, 65536);
    task_put_json(t, &body);
    buf_put_char(&body, '\n');
    api_json_text(r, 202, &body);
}

void order_refuse(struct http_request *r, enum err e, const char *what)
{
    if (e == ERR_CLOSED)
        api_status(r, 503, "ServiceUnavailable", "the server is stopping");
    else if (e == ERR_FULL)
        api_status(r, 429, "TooManyRequests", "%d tasks are running; wait for one of them, or cancel it",
                   TASKS_RUNNING_MAX);
    else
        api_status(r, err_http_status(e), "InternalError", "%s: %s", what, err_name(e));
}
