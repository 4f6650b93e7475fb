/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks over HTTP: GET /leat/v1/tasks, GET /leat/v1/tasks/ID, DELETE /leat/v1/tasks/ID (asks for its end; what is under
 * way is finished).
 */
#include "../task.h"
#include "api.h"
#include "text.h"

/* "subscription/orders in default" is of default. */
static bool sees(const struct access_caller *who, const struct task *t)
{
    const char *space = t->what;
    for (const char *next; (next = strstr(space, " in "));)
        space = next + 4;
    return access_sees(who, slice_str(space));
}

static void put_list(const struct access_caller *who, struct buf *out, struct list *tasks, bool *first)
{
    list_each(l, tmp, tasks) {
        if (!sees(who, container_of(l, struct task, link)))
            continue;
        buf_put_str(out, *first ? "\n" : ",\n");
        *first = false;
        task_put_json(container_of(l, struct task, link), out);
    }
}

static void list_all(const struct access_caller *who, struct task_list *tasks, struct http_request *r)
{
    struct buf body;
    bool first = true;
    buf_init(&body, 1u << 20);
    buf_put_str(&body, "{\"items\":[");
    put_list(who, &body, &tasks->ended, &first);
    put_list(who, &body, &tasks->running, &first);
    buf_put_str(&body, "]}\n");
    api_json_text(r, 200, &body);
}

static void one(const struct access_caller *who, struct task_list *tasks, struct http_request *r, struct slice word,
                bool cancel)
{
    uint64_t id;
    struct buf body;
    struct task *t = decimal_parse(word, UINT64_MAX, &id) == OK ? task_find(tasks, id) : NULL;
    if (!t || !sees(who, t)) {
        api_status(r, 404, "NotFound", "there is no task '%.*s'; the last %d that have ended are kept", SLICE_ARG(word),
                   TASKS_KEPT_MAX);
        return;
    }
    if (cancel && !task_cancel(t)) {
        api_status(r, 409, "Conflict", "task %llu has ended already: it is %s", (unsigned long long)t->id,
                   task_state_name(t->state));
        return;
    }
    buf_init(&body, 65536);
    task_put_json(t, &body);
    buf_put_char(&body, '\n');
    api_json_text(r, 200, &body);
}

void api_tasks(struct api *a, struct http_request *r)
{
    const struct access_caller who = access_caller_of(&a->access, r);
    struct task_list *tasks = engine_tasks(a->engine);
    struct slice rest = slice_from(http_request_path(r), strlen("/leat/v1/tasks"));
    struct slice method = http_request_method(r);
    bool get = slice_eq(method, SLICE("GET")), remove = slice_eq(method, SLICE("DELETE"));
    if (rest.len <= 1 && get)
        list_all(&who, tasks, r);
    else if (rest.len > 1 && (get || remove))
        one(&who, tasks, r, slice_from(rest, 1), remove);
    else
        api_status(r, 405, "MethodNotAllowed", "tasks are for GET, and one of them for DELETE, which cancels it");
}
