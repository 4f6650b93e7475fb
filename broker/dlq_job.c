/* SPDX-License-Identifier: Apache-2.0
 *
 * A redrive or discard as a task: rounds over one session after the other. A round looks at what is parked, takes what
 * the selection means, and runs it as a batch; rounds go on until none is left, since a session holds only so many at
 * once, and since a bus may take back and bring again.
 *
 * It ends: an event that is parked again is newer than the task and not selected; one that could not be redriven is
 * marked; and no more are done than were there at the beginning, whatever the clocks say.
 */
#include "dlq_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define IDLE_ROUNDS_MAX 3 /* rounds in which the bus took everything back before it was done */

struct job {
    struct dlq *dlq;
    struct task *task;
    struct dlq_order order;
    struct dlq_session **sessions; /* owned, each open until its turn is over */
    size_t session_count, at;
    uint64_t budget; /* events of this session that may still be worked on */
    unsigned idle_rounds;
    uint64_t due_ns;
    size_t parked_again, kept, left_alone; /* of a subscription that is gone */
    struct before {                        /* as it was when this session began to be worked on */
        bool begun;
        uint64_t done;
        size_t parked_again, kept;
    } before;
    bool no_stream, hidden; /* events beyond the bound were not looked at */
    bool elsewhere;         /* as dlq_snapshot's */
    uint64_t *numbers;
    size_t selected;
    bool first_round;
    struct dlq_snapshot snapshot;
    struct dlq_batch batch;
};

static uint64_t worked(const struct job *j)
{
    return atomic_load(&j->task->done) + atomic_load(&j->task->failed);
}

/* ---- the end ---- */

static void explain(struct job *j, enum err e)
{
    char *out = j->task->message;
    size_t size = sizeof j->task->message;
    if (e != OK)
        snprintf(out, size, "gave up: %s", err_name(e));
    else if (j->no_stream)
        snprintf(out, size,
                 "nothing drains the subscription: it is paused, gone, or could not be started. The events stay "
                 "parked; redrive them when it runs, or discard them");
    else if (j->left_alone)
        snprintf(out, size, "%zu of a subscription that no longer exists stay parked: export or discard them",
                 j->left_alone);
    else if (j->idle_rounds == IDLE_ROUNDS_MAX)
        snprintf(out, size, "the bus took events back before they were done; they stay parked. Try again");
    else if (j->parked_again && j->kept)
        snprintf(out, size, "%zu failed again and parked anew, %zu not tried to the end and still parked",
                 j->parked_again, j->kept);
    else if (j->parked_again)
        snprintf(out, size, "%zu failed again and parked anew", j->parked_again);
    else if (j->kept)
        snprintf(out, size, "%zu not tried to the end and still parked", j->kept);
    else if (j->elsewhere)
        snprintf(out, size, "%s", DLQ_ELSEWHERE);
    else if (j->hidden)
        snprintf(out, size,
                 "more are parked than can be looked at at once (%d events, %u MiB); those beyond were not looked at",
                 DLQ_HELD_MAX, DLQ_HELD_BYTES_MAX >> 20);
}

/* ---- what happens to a subscription ---- */

static void happened(struct job *j, bool bad, const char *reason, const char *message)
{
    engine_happened(j->sessions[j->at]->subscription,
                    &(struct happening){.warning = bad, .reason = reason, .message = message});
}

static void tell_begin(struct job *j)
{
    const struct task *t = j->task;
    char message[80 + TASK_BY_MAX];
    if (j->before.begun)
        return;
    j->before = (struct before){true, atomic_load(&t->done), j->parked_again, j->kept};
    snprintf(message, sizeof message, "parked events are delivered again, as task %llu%s%s", (unsigned long long)t->id,
             t->by[0] ? " of " : "", t->by);
    if (j->order.redrive)
        happened(j, false, "RedriveBegun", message);
}

/* How many of this subscription, and what is left of them. */
static void tell_end(struct job *j, enum err e)
{
    const struct task *t = j->task;
    bool bad = e != OK || j->no_stream || j->idle_rounds == IDLE_ROUNDS_MAX;
    const size_t again = j->parked_again - j->before.parked_again, kept = j->kept - j->before.kept;
    char message[400 + TASK_BY_MAX], failed[80] = "", left[80] = "", gave_up[80] = "";
    if (!j->before.begun)
        return;
    if (again)
        snprintf(failed, sizeof failed, ", %zu failed again and parked anew", again);
    if (bad)
        snprintf(gave_up, sizeof gave_up, "; it gave up: `leat task show %llu`", (unsigned long long)t->id);
    if (kept)
        snprintf(left, sizeof left, ", %zu not tried to the end and still parked", kept);
    snprintf(message, sizeof message, "task %llu%s%s%s: %llu %s%s%s%s", (unsigned long long)t->id,
             t->by[0] ? " of " : "", t->by, atomic_load(&t->cancel) ? " was canceled" : "",
             (unsigned long long)(atomic_load(&t->done) - j->before.done), j->order.redrive ? "delivered" : "discarded",
             failed, left, gave_up);
    if (j->order.redrive)
        happened(j, bad, bad ? "RedriveFailed" : "RedriveEnded", message);
    else
        happened(j, bad, bad ? "DiscardFailed" : "EventsDiscarded", message);
    j->before.begun = false;
}

static void finish(struct job *j, enum err e)
{
    struct task *t = j->task;
    bool canceled = atomic_load(&t->cancel);
    bool bad = e != OK || j->no_stream || j->idle_rounds == IDLE_ROUNDS_MAX;
    explain(j, e);
    tell_end(j, e);
    if (!canceled)
        atomic_store(&t->total, worked(j));
    log_line(bad ? LOG_WARN : LOG_INFO, "dlq.task", "id=%llu kind=%s what=%s done=%llu failed=%llu text=%s",
             (unsigned long long)t->id, t->kind, log_value(t->what), (unsigned long long)atomic_load(&t->done),
             (unsigned long long)atomic_load(&t->failed), log_value(t->message));
    task_end(engine_tasks(j->dlq->engine), t, bad && !canceled ? TASK_FAILED : TASK_DONE);
    for (; j->at < j->session_count; j->at++)
        dlq_session_close(j->sessions[j->at]);
    free(j->sessions);
    free(j->numbers);
    dlq_selection_fini(&j->order.selection);
    free(j);
}

/* ---- rounds ---- */

static void round_begin(struct job *j);

static void session_begin(struct job *j)
{
    if (j->at == j->session_count || j->no_stream || atomic_load(&j->task->cancel)) {
        finish(j, OK);
        return;
    }
    j->idle_rounds = 0;
    j->first_round = true;
    round_begin(j);
}

static void session_end(struct job *j)
{
    tell_end(j, OK);
    dlq_session_close(j->sessions[j->at++]);
    session_begin(j);
}

static void batch_done(struct dlq_batch *b)
{
    struct job *j = container_of(b, struct job, batch);
    size_t ended = b->next - b->missing;
    j->due_ns = b->injector.due_ns;
    j->parked_again += b->parked_again;
    j->kept += b->kept;
    j->no_stream = j->no_stream || b->injector.no_stream;
    j->budget -= ended < j->budget ? ended : j->budget;
    j->idle_rounds = ended ? 0 : j->idle_rounds + 1;
    if (j->no_stream || j->budget == 0 || j->idle_rounds == IDLE_ROUNDS_MAX || atomic_load(&j->task->cancel))
        session_end(j);
    else
        round_begin(j);
}

/* Notes the numbers of those meant. */
static enum err choose(struct job *j, const struct dlq_snapshot *s)
{
    free(j->numbers);
    j->selected = 0;
    j->numbers = calloc(s->count + 1, sizeof *j->numbers);
    if (!j->numbers)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->count && j->selected < j->budget; i++) {
        const struct dlq_item *item = &s->items[i];
        if (item->tried_by != j->task->id && item->parked_ns <= j->task->started_wall_ns &&
            dlq_selects(&j->order.selection, item->event))
            j->numbers[j->selected++] = item->number;
    }
    return OK;
}

static void work(struct job *j, const struct dlq_snapshot *s)
{
    const struct engine_subscription *subscription = dlq_session_subscription(j->sessions[j->at]);
    if (j->selected == 0) {
        j->hidden = j->hidden || (s->more && s->full);
        j->elsewhere = j->elsewhere || s->elsewhere;
        session_end(j);
    } else if (j->order.redrive && !subscription->wanted) {
        j->left_alone += j->selected;
        session_end(j);
    } else {
        tell_begin(j);
        j->batch =
            (struct dlq_batch){.done = batch_done,
                               .redrive = j->order.redrive,
                               .injector = {.task = j->task, .interval_ns = j->order.interval_ns, .due_ns = j->due_ns},
                               .numbers = j->numbers,
                               .count = j->selected};
        dlq_batch_run(j->sessions[j->at], &j->batch);
    }
}

static void taken(struct dlq_snapshot *s)
{
    struct job *j = container_of(s, struct job, snapshot);
    enum err e = s->error;
    if (e == OK) {
        if (j->first_round)
            j->budget = s->expected > s->count ? s->expected : s->count;
        j->first_round = false;
        dlq_items_sort(s->items, s->count);
        e = choose(j, s);
    }
    for (size_t i = 0; i < s->count; i++)
        ce_event_unref(s->items[i].event);
    free(s->items);
    s->items = NULL;
    if (e == OK)
        work(j, s);
    else
        finish(j, e);
}

static void round_begin(struct job *j)
{
    j->snapshot = (struct dlq_snapshot){.done = taken};
    dlq_snapshot_take(j->sessions[j->at], &j->snapshot);
}

enum err dlq_job_start(struct dlq *d, const char *what, struct dlq_order *order, struct dlq_collection *c,
                       struct task **out)
{
    uint64_t selected = 0;
    struct job *j = calloc(1, sizeof *j);
    struct task *t;
    assert(c->session_count > 0);
    if (!j)
        return ERR_NOMEM;
    enum err e = task_start(engine_tasks(d->engine), order->redrive ? "redrive" : "discard", what, &t);
    if (e != OK) {
        free(j);
        return e;
    }
    for (size_t i = 0; i < c->count; i++)
        selected += dlq_selects(&order->selection, c->items[i].event);
    atomic_store(&t->total, order->selection.all && c->total > selected ? c->total : selected);
    j->dlq = d;
    j->task = t;
    memcpy(t->by, order->by, sizeof t->by);
    j->order = *order;
    j->sessions = c->sessions;
    j->session_count = c->session_count;
    order->selection = (struct dlq_selection){0};
    c->sessions = NULL;
    c->session_count = 0;
    *out = t;
    session_begin(j);
    return OK;
}
