/* SPDX-License-Identifier: Apache-2.0
 *
 * What delivers events, over HTTP, under /leat/v1/subscriptions:
 *
 *     GET                        each of them, with its backlog; counting: there is more, which is being counted
 *     POST NS/KIND/NAME/pause    holds its deliveries back, /resume lets them go on; of a Channel or Broker those of
 * all its subscriptions POST NS/KIND/NAME/replay   {"from": TIME|OFFSET|"earliest", "to": TIME|OFFSET, "filter": ..,
 * "rate": a second, "dryRun": true}. 202 and the task
 *
 * KIND is any word for a kind whose objects deliver; a part of a Sequence or Parallel is NAME/steps/0, percent-coded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../replay.h"
#include "../resource/annotations.h"
#include "order.h"
#include "text.h"

#define PAGES                                                                                                          \
    "GET /leat/v1/subscriptions, and POST to /leat/v1/subscriptions/NS/KIND/NAME with /replay, /pause or /resume"
#define NUMBER_MAX 9007199254740992.0 /* a larger one may have been rounded on its way through JSON */
#define LIST_BYTES_MAX (60u << 20)
#define PARTS_SAID_MAX 8

/* ---- the list ---- */

struct listing {
    struct access_caller who;
    struct buf body;
    size_t said;
};

static void put_subscription(void *arg, const struct engine_subscription *s)
{
    struct listing *l = arg;
    const struct bus_probe backlog = engine_probe(s->bus, s->handle),
                           parked = engine_probe(s->parked_bus, s->parked_handle);
    if (!s->wanted || !access_sees(&l->who, order_key_split(s->key).space))
        return;
    buf_put_str(&l->body, l->said++ ? ",\n{" : "\n{");
    order_key_put(&l->body, s->key);
    buf_printf(
        &l->body,
        "\"paused\":%s,\"backlog\":%llu,\"counting\":%s,\"bytes\":%llu,\"oldestAgeSeconds\":%.3f,\"parked\":%llu}",
        s->paused ? "true" : "false", (unsigned long long)backlog.events, backlog.counting ? "true" : "false",
        (unsigned long long)backlog.bytes, (double)(backlog.oldest_age_ns / NS_PER_MS) / 1000,
        (unsigned long long)parked.events);
}

static void list_all(struct api *a, struct http_request *r)
{
    struct listing l = {.who = access_caller_of(&a->access, r)};
    buf_init(&l.body, LIST_BYTES_MAX);
    buf_put_str(&l.body, "{\"items\":[");
    engine_each_subscription(a->engine, put_subscription, &l);
    buf_put_str(&l.body, "]}\n");
    api_json_text(r, 200, &l.body);
}

/* ---- replay: what the body says ---- */

static bool bad(struct http_request *r, const char *text)
{
    api_status(r, 400, "BadRequest", "%s", text);
    return false;
}

/* A text, or a number that is an offset. */
static bool read_place(struct api *a, struct http_request *r, const cJSON *member, struct bus_start *out)
{
    char number[32];
    struct diag d = {0};
    const char *text = cJSON_GetStringValue(member);
    if (cJSON_IsNumber(member) && member->valuedouble >= 0 && member->valuedouble <= NUMBER_MAX) {
        snprintf(number, sizeof number, "%.0f", member->valuedouble);
        text = number;
    }
    if (text && start_parse(text, clock_wall_ns(engine_clock(a->engine)), out, &d) == OK)
        return true;
    api_status(r, 400, "BadRequest", "%s: %s", member->string,
               d.text[0] ? d.text : "is a text such as \"2h\", or an offset");
    return false;
}

static bool read_from(struct api *a, struct http_request *r, const cJSON *member, struct replay_order *order)
{
    if (!read_place(a, r, member, &order->from))
        return false;
    return order->from.kind != BUS_START_LATEST || bad(r, "from: there is nothing behind the latest");
}

static bool read_to(struct api *a, struct http_request *r, const cJSON *member, struct replay_order *order)
{
    struct bus_start to = {0};
    if (!read_place(a, r, member, &to))
        return false;
    if (to.kind == BUS_START_OFFSET)
        order->to_offset = to.offset;
    else if (to.kind == BUS_START_TIME)
        order->to_ns = to.wall_ns;
    return to.kind != BUS_START_EARLIEST || bad(r, "to: is a time or an offset");
}

struct reading {
    struct api *api;
    struct http_request *request;
    struct replay_order *order;
};

static bool read_member(void *arg, const cJSON *member)
{
    const struct reading *reading = arg;
    struct api *a = reading->api;
    struct http_request *r = reading->request;
    struct replay_order *order = reading->order;
    if (strcmp(member->string, "from") == 0)
        return read_from(a, r, member, order);
    if (strcmp(member->string, "to") == 0)
        return read_to(a, r, member, order);
    if (strcmp(member->string, "filter") == 0)
        return order_filter_member_read(r, member, &order->filter);
    if (strcmp(member->string, "rate") == 0)
        return order_rate_read(r, member, &order->interval_ns);
    if (strcmp(member->string, "dryRun") == 0) {
        order->dry_run = cJSON_IsTrue(member);
        return cJSON_IsBool(member) || bad(r, "dryRun: is true or false");
    }
    if (strcmp(member->string, "parked") == 0) {
        order->parked = cJSON_IsTrue(member);
        return cJSON_IsBool(member) || bad(r, "parked: is true or false");
    }
    api_status(r, 400, "BadRequest", "%s: is not known here: there are from, to, filter, rate, parked and dryRun",
               member->string);
    return false;
}

static bool read_order(struct api *a, struct http_request *r, const cJSON *tree, struct replay_order *order)
{
    struct reading reading = {a, r, order};
    *order = (struct replay_order){.from = {.kind = BUS_START_LATEST}, .to_offset = UINT64_MAX, .to_ns = INT64_MAX};
    if (!order_members_read(r, tree, "{\"from\": \"2h\"}", read_member, &reading))
        return false;
    return order->from.kind != BUS_START_LATEST || bad(r, "from: say from where: a time, an offset, or earliest");
}

/* ---- replay: whose ---- */

struct found {
    const struct order_target *target;
    struct engine_subscription *one;
    size_t count;
    struct buf names;
};

static void find(void *arg, const struct engine_subscription *s)
{
    struct found *f = arg;
    if (!s->wanted || !order_target_has(f->target, s->key))
        return;
    f->one = (struct engine_subscription *)(uintptr_t)s;
    if (f->count++ < PARTS_SAID_MAX)
        buf_printf(&f->names, "%s%s", f->names.len ? ", " : "", order_key_split(s->key).name.ptr);
}

/* The one that is meant; NULL when the request has been answered. */
static struct engine_subscription *find_one(struct api *a, struct http_request *r, const struct order_target *t)
{
    struct found f = {.target = t};
    buf_init(&f.names, 4096);
    engine_each_subscription(a->engine, find, &f);
    if (f.count == 0)
        order_answer_unknown(a, r, t);
    else if (f.count > 1)
        api_status(r, 409, "Conflict",
                   "%s has several parts, and each gives its events to the next: say which of %.*s%s", t->what,
                   SLICE_ARG(buf_slice(&f.names)), f.count > PARTS_SAID_MAX ? " and more" : "");
    buf_fini(&f.names);
    return f.count == 1 ? f.one : NULL;
}

static void refuse_bus(struct http_request *r, const struct engine_subscription *s, const char *what, bool parked)
{
    const unsigned keeps = BUS_CAP_BROWSE | (parked ? 0 : BUS_CAP_REWIND);
    struct buf can;
    buf_init(&can, 1024);
    for (const char *const *name = bus_names(); *name; name++)
        if (bus_find(*name)->capabilities & keeps)
            buf_printf(&can, "%s%s", can.len ? ", " : "", *name);
    api_status(r, 409, "Conflict",
               "%s is on the bus %s, which keeps no events that were delivered: there is nothing to replay. Buses that "
               "keep them: %.*s%s",
               what, s->bus->key, SLICE_ARG(can.len ? buf_slice(&can) : SLICE("none in this build")),
               s->bus->bus->ops->browse ? "; and a channel of RabbitMQ with the annotation " ANNOTATION_RABBITMQ_STREAM
                                          ": \"true\""
                                        : "");
    buf_fini(&can);
}

static void start(struct api *a, struct http_request *r, const struct order_target *t, struct replay_order *order)
{
    struct task *task;
    struct engine_subscription *s = find_one(a, r, t);
    if (!s)
        return;
    if (s->paused && !order->dry_run) {
        api_status(r, 409, "Conflict",
                   "%s delivers nothing now: it is paused, or what it names is not there. Replay when it runs",
                   t->what);
        return;
    }
    access_who(&a->access, r, order->by);
    enum err e = replay_start(a->engine, s, t->what, order, &task);
    if (e == OK)
        order_answer_task(r, task);
    else if (e == ERR_UNSUPPORTED)
        refuse_bus(r, s, t->what, order->parked);
    else if (e == ERR_UNAVAILABLE)
        api_status(r, 503, "ServiceUnavailable", "%s is not ready yet; try again", t->what);
    else if (e == ERR_INVALID)
        api_status(r, 400, "BadRequest",
                   "%s is on the bus %s, whose events have no offsets: say from and to as times, or from earliest",
                   t->what, s->bus->key);
    else if (e == ERR_EXISTS)
        api_status(r, 409, "Conflict",
                   "%s is being replayed, and its bus can do that once at a time: wait for that task, or cancel it",
                   t->what);
    else
        order_refuse(r, e, t->what);
}

static void replay(struct api *a, struct http_request *r, const struct order_target *t)
{
    struct slice body = http_request_body(r);
    cJSON *tree = body.len ? cJSON_ParseWithLengthOpts(body.ptr, body.len, NULL, false) : NULL;
    struct replay_order order;
    if (read_order(a, r, tree, &order))
        start(a, r, t, &order);
    filter_unref(order.filter);
    cJSON_Delete(tree);
}

/* ---- pause, resume ---- */

static void answer_paused(struct http_request *r, const struct order_target *t, const struct resource *object)
{
    struct buf body;
    buf_init(&body, 65536);
    buf_put_str(&body, "{\"what\":");
    buf_put_json_string(&body, slice_str(t->what));
    buf_printf(&body, ",\"paused\":%s", object->paused_ns ? "true" : "false");
    if (object->paused_ns) {
        buf_put_str(&body, ",\"since\":\"");
        rfc3339_put(&body, object->paused_ns, 0);
        buf_put_char(&body, '"');
    }
    buf_put_str(&body, "}\n");
    api_json_text(r, 200, &body);
}

static void pause_or_resume(struct api *a, struct http_request *r, const struct order_target *t, bool pause)
{
    const struct resource *object = resource_by_key(a->table, t->key);
    struct slice part = order_key_split(t->key).part;
    char who[API_WHO_MAX];
    struct diag d = {0};
    if (!object) {
        api_status(r, 404, "NotFound", "there is no %s", t->what);
        return;
    }
    if (part.len) {
        api_status(r, 400, "BadRequest", "%s %s is paused as a whole: leave out /%.*s", object->kind->kind,
                   object->name, SLICE_ARG(part));
        return;
    }
    access_who(&a->access, r, who);
    enum err e = resource_pause(a->table, who, object, pause, &d);
    if (e == OK) {
        answer_paused(r, t, object);
        a->changed(a->arg);
        return;
    }
    api_status(r, e == ERR_INVALID ? 422 : err_http_status(e), e == ERR_CONFLICT ? "Conflict" : "Invalid", "%s",
               d.text[0] ? d.text : err_name(e));
}

/* ---- the front ---- */

static void post(struct api *a, struct http_request *r, struct slice rest)
{
    struct order_target t;
    if (!order_target_read(r, &rest, PAGES, &t)) {
        order_target_fini(&t);
        return;
    }
    bool pause = slice_eq(rest, SLICE("pause")), again = slice_eq(rest, SLICE("replay"));
    if (!pause && !again && !slice_eq(rest, SLICE("resume")))
        api_status(r, 404, "NotFound", "no such page: there are %s", PAGES);
    else if (!slice_eq(http_request_method(r), SLICE("POST")))
        api_status(r, 405, "MethodNotAllowed", "this page is for POST");
    else if (again)
        replay(a, r, &t);
    else if (!api_read_only(a, r))
        pause_or_resume(a, r, &t, pause);
    order_target_fini(&t);
}

void api_subscriptions(struct api *a, struct http_request *r)
{
    struct slice rest = slice_from(http_request_path(r), strlen("/leat/v1/subscriptions"));
    if (rest.len > 1)
        post(a, r, slice_from(rest, 1));
    else if (slice_eq(http_request_method(r), SLICE("GET")))
        list_all(a, r);
    else
        api_status(r, 405, "MethodNotAllowed", "the list is for GET");
}
