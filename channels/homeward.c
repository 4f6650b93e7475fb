/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends on their way home: two lists of letters, the second behind a lock.
 */
#include "homeward.h"

void homeward_init(struct homeward *h)
{
    pthread_mutex_init(&h->lock, NULL);
    h->done = h->fresh = NULL;
    h->done_end = &h->done;
    h->fresh_end = &h->fresh;
}

void homeward_fini(struct homeward *h)
{
    *h->done_end = h->fresh;
    for (struct letter *m = h->done; m;) {
        struct bus_append *a = container_of(m, struct bus_append, letter);
        m = m->next;
        ce_event_unref(a->event);
    }
    pthread_mutex_destroy(&h->lock);
}

void homeward_ended(struct homeward *h, struct bus_append *a, enum err result)
{
    a->result = result;
    a->letter.next = NULL;
    *h->fresh_end = &a->letter;
    h->fresh_end = &a->letter.next;
}

void homeward_hand_over(struct homeward *h, struct post *post)
{
    if (!h->fresh)
        return;
    pthread_mutex_lock(&h->lock);
    *h->done_end = h->fresh;
    h->done_end = h->fresh_end;
    pthread_mutex_unlock(&h->lock);
    h->fresh = NULL;
    h->fresh_end = &h->fresh;
    post_send(post);
}

void homeward_tell(struct homeward *h, void (*count_out)(struct bus_channel *c, uint64_t charge))
{
    pthread_mutex_lock(&h->lock);
    struct letter *m = h->done;
    h->done = NULL;
    h->done_end = &h->done;
    pthread_mutex_unlock(&h->lock);
    while (m) {
        struct bus_append *a = container_of(m, struct bus_append, letter);
        struct bus_channel *c = a->channel;
        uint64_t charge = a->charge;
        m = m->next;
        ce_event_unref(a->event);
        a->done(a, a->result);
        count_out(c, charge);
    }
}
