/* SPDX-License-Identifier: Apache-2.0
 *
 * Redriving and discarding on the home loop: a batch of parked events, a few under way at a time.
 *
 * A redriven event is acknowledged after its end, never before: a crash between brings it back, so it may be delivered
 * twice and is never lost. One that is parked again has by then a new parked event of its own.
 */
#include "dlq_parts.h"

#include <assert.h>

#include "parked.h"

#define DISCARDS_A_TURN 256 /* so that the loop's traffic goes on beside */

/* Could not be redriven: it stays, and this task does not try it again. */
static void keep(struct dlq_batch *b, struct dlq_entry *e)
{
    e->tried_by = b->injector.task->id;
    b->kept++;
    count(&b->injector.task->failed);
}

static void injected(struct dispatch_injection *i, enum dispatch_end how)
{
    struct dlq_entry *e = i->owner;
    struct dlq_batch *b = e->batch;
    e->batch = NULL;
    b->injector.under_way--;
    if (how == DISPATCH_PARKED) {
        b->parked_again++;
        count(&b->injector.task->failed);
    } else if (how != DISPATCH_RELEASED) {
        count(&b->injector.task->done);
    }
    if (how == DISPATCH_RELEASED && !e->revoked)
        keep(b, e);
    else
        dlq_entry_acknowledge(e);
    b->injector.advance(&b->injector);
}

/* False: not now, the injector goes on. */
static bool redrive(struct dlq_batch *b, struct dlq_entry *e)
{
    const struct ce_event *original;
    if (!injector_due(&b->injector))
        return false;
    enum err err = parked_original(e->event, &original);
    if (err == OK) {
        e->injection = (struct dispatch_injection){.done = injected, .owner = e};
        err = injector_begin(&b->injector, original, &e->injection);
        ce_event_unref(original);
    }
    if (err == ERR_FULL || err == ERR_CLOSED)
        return err == ERR_CLOSED;
    if (err == OK)
        e->batch = b;
    else
        keep(b, e);
    b->next++;
    return true;
}

/* False: the injector goes on. */
static bool discard(struct dlq_batch *b, struct dlq_entry *e)
{
    dlq_entry_acknowledge(e);
    count(&b->injector.task->done);
    b->next++;
    if (b->next % DISCARDS_A_TURN != 0)
        return true;
    injector_later(&b->injector, 0);
    return false;
}

static bool ended(const struct dlq_batch *b)
{
    return b->next == b->count || injector_over(&b->injector);
}

static void advance(struct injector *i)
{
    struct dlq_batch *b = container_of(i, struct dlq_batch, injector);
    while (!ended(b) && i->under_way < INJECTIONS_MAX) {
        struct dlq_entry *e = dlq_entry_find(b->errand.session, b->numbers[b->next]);
        if (!e || e->batch) {
            if (e)
                e->tried_by = i->task->id;
            b->missing++;
            b->next++;
            continue;
        }
        if (!(b->redrive ? redrive(b, e) : discard(b, e)))
            return;
    }
    if (!ended(b) || i->under_way > 0)
        return;
    injector_fini(i);
    dlq_errand_answer(&b->errand);
}

void dlq_batch_arrived(struct dlq_errand *e)
{
    struct dlq_batch *b = container_of(e, struct dlq_batch, errand);
    assert(b->next == 0);
    b->injector.home = e->session->home;
    b->injector.subscription = e->session->subscription;
    b->injector.advance = advance;
    injector_init(&b->injector);
    advance(&b->injector);
}
