/* SPDX-License-Identifier: Apache-2.0
 *
 * A pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986) over the nodes that callers own.
 *
 *     root            child: the first of a node's children
 *      |child         next:  the next child of the same parent
 *      a --next--> b  prev:  the child before; of a first child, the parent; of the root, NULL
 *
 * Invariants: no node is due before its parent; an unarmed timer has no links; the loop's thread only.
 */
#include "timers.h"

#include <assert.h>
#include <stddef.h>

static bool before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->sequence < b->sequence;
}

/* Joins two heaps (either may be NULL), each a root without siblings; returns the root, whose prev the caller sets. */
static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (before(b, a)) {
        struct loop_timer *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    return a;
}

/* Makes one heap of a row of siblings: pairs from the left, then all of those from the right. Two passes without
 * recursion: the first strings its pairs together backwards, so the second walks them from the last. */
static struct loop_timer *meld_row(struct loop_timer *first)
{
    struct loop_timer *pairs = NULL;
    while (first) {
        struct loop_timer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = NULL;
        if (b)
            b->next = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct loop_timer *root = NULL;
    while (pairs) {
        struct loop_timer *t = pairs;
        pairs = t->next;
        t->next = NULL;
        root = meld(root, t);
    }
    if (root)
        root->prev = NULL;
    return root;
}

void timers_insert(struct timers *h, struct loop_timer *t, uint64_t due_ns)
{
    assert(!t->armed && !t->child && !t->next && !t->prev);
    t->due_ns = due_ns;
    t->sequence = h->sequence++;
    t->armed = true;
    h->root = meld(h->root, t);
    h->root->prev = NULL;
}

/* Takes t and what hangs below it out from among its siblings. */
static void cut(struct loop_timer *t)
{
    assert(t->prev);
    if (t->prev->child == t)
        t->prev->child = t->next;
    else
        t->prev->next = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->next = t->prev = NULL;
}

void timers_remove(struct timers *h, struct loop_timer *t)
{
    assert(t->armed && h->root);
    struct loop_timer *below = meld_row(t->child);
    t->child = NULL;
    if (t == h->root) {
        assert(!t->prev && !t->next);
        h->root = below;
    } else {
        cut(t);
        h->root = meld(h->root, below);
        h->root->prev = NULL;
    }
    t->armed = false;
}
