/* SPDX-License-Identifier: Apache-2.0
 *
 * Letters that outlive their owner; see post.h.
 */
#include "post.h"

#include <stdlib.h>

static void arrived(struct letter *m)
{
    struct post *p = container_of(m, struct post, letter);
    if (!p->owner) {
        free(p);
        return;
    }
    atomic_store(&p->posted, false); /* before run looks, so that what comes meanwhile is posted again */
    p->run(p->owner);
}

enum err post_new(struct loop *loop, void (*run)(void *owner), void *owner, struct post **out)
{
    struct post *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->letter.run = arrived;
    p->run = run;
    p->owner = owner;
    p->loop = loop;
    *out = p;
    return OK;
}

void post_send(struct post *p)
{
    if (!atomic_exchange(&p->posted, true))
        loop_post_reserved(p->loop, &p->letter);
}

void post_free(struct post *p)
{
    if (!p)
        return;
    p->owner = NULL;
    if (!atomic_load(&p->posted))
        free(p);
}
