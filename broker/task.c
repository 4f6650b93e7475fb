/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of tasks: who runs, and the last ones that have ended.
 */
#include "task.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

void task_list_init(struct task_list *l, const struct clock *clock)
{
    *l = (struct task_list){.clock = clock};
    list_init(&l->running);
    list_init(&l->ended);
}

static void forget_oldest(struct task_list *l)
{
    struct task *t = container_of(list_pop_front(&l->ended), struct task, link);
    l->ended_count--;
    free(t->what);
    free(t->shown);
    free(t);
}

void task_list_fini(struct task_list *l)
{
    assert(l->running_count == 0);
    while (l->ended_count > 0)
        forget_oldest(l);
}

enum err task_start(struct task_list *l, const char *kind, const char *what, struct task **out)
{
    if (l->running_count == TASKS_RUNNING_MAX)
        return ERR_FULL;
    struct task *t = calloc(1, sizeof *t);
    char *copy = strdup(what);
    if (!t || !copy) {
        free(t);
        free(copy);
        return ERR_NOMEM;
    }
    t->id = ++l->last_id;
    t->kind = kind;
    t->what = copy;
    t->started_wall_ns = clock_wall_ns(l->clock);
    list_push_back(&l->running, &t->link);
    l->running_count++;
    *out = t;
    return OK;
}

void task_end(struct task_list *l, struct task *t, enum task_state state)
{
    assert(t->state == TASK_RUNNING && state != TASK_RUNNING);
    bool all = atomic_load(&t->done) + atomic_load(&t->failed) >= atomic_load(&t->total);
    t->state = state == TASK_DONE && !all && atomic_load(&t->cancel) ? TASK_CANCELED : state;
    t->ended_wall_ns = clock_wall_ns(l->clock);
    list_remove(&t->link);
    l->running_count--;
    list_push_back(&l->ended, &t->link);
    if (++l->ended_count > TASKS_KEPT_MAX)
        forget_oldest(l);
}

static struct task *find_in(struct list *head, uint64_t id)
{
    list_each(l, tmp, head) {
        struct task *t = container_of(l, struct task, link);
        if (t->id == id)
            return t;
    }
    return NULL;
}

struct task *task_find(struct task_list *l, uint64_t id)
{
    struct task *t = find_in(&l->running, id);
    return t ? t : find_in(&l->ended, id);
}

bool task_cancel(struct task *t)
{
    if (t->state != TASK_RUNNING)
        return false;
    atomic_store(&t->cancel, true);
    return true;
}

void task_cancel_all(struct task_list *l)
{
    list_each(k, tmp, &l->running)
        task_cancel(container_of(k, struct task, link));
}

const char *task_state_name(enum task_state s)
{
    static const char *const names[] = {"running", "done", "canceled", "failed"};
    return names[s];
}

static void put_time(struct buf *out, const char *name, int64_t wall_ns)
{
    buf_printf(out, ",\"%s\":\"", name);
    rfc3339_put(out, wall_ns, 3);
    buf_put_char(out, '"');
}

void task_put_json(const struct task *t, struct buf *out)
{
    buf_printf(out, "{\"id\":%llu,\"kind\":\"%s\",\"what\":", (unsigned long long)t->id, t->kind);
    buf_put_json_string(out, slice_str(t->what));
    buf_printf(out, ",\"state\":\"%s\",\"canceling\":%s,\"total\":%llu,\"done\":%llu,\"failed\":%llu",
               task_state_name(t->state), t->state == TASK_RUNNING && atomic_load(&t->cancel) ? "true" : "false",
               (unsigned long long)atomic_load(&t->total), (unsigned long long)atomic_load(&t->done),
               (unsigned long long)atomic_load(&t->failed));
    if (atomic_load(&t->until))
        buf_printf(out, ",\"offset\":%llu,\"end\":%llu", (unsigned long long)atomic_load(&t->at),
                   (unsigned long long)atomic_load(&t->until));
    put_time(out, "startedAt", t->started_wall_ns);
    if (t->state != TASK_RUNNING)
        put_time(out, "endedAt", t->ended_wall_ns);
    if (t->by[0]) {
        buf_put_str(out, ",\"by\":");
        buf_put_json_string(out, slice_str(t->by));
    }
    if (t->message[0]) {
        buf_put_str(out, ",\"message\":");
        buf_put_json_string(out, slice_str(t->message));
    }
    if (t->shown)
        buf_printf(out, ",\"events\":[%s]", t->shown);
    buf_put_char(out, '}');
}
