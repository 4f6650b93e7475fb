/* SPDX-License-Identifier: Apache-2.0
 *
 * An intrusive, circular, doubly linked list: the link lies in the element, so nothing is allocated. A link that is in
 * no list points to itself after list_init or list_remove, and list_remove of it again is harmless.
 */
#ifndef LEAT_LIST_H
#define LEAT_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

/* The structure that holds `member` at `pointer`. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_insert_after(struct list *at, struct list *l)
{
    l->prev = at;
    l->next = at->next;
    at->next->prev = l;
    at->next = l;
}

static inline void list_push_back(struct list *head, struct list *l)
{
    list_insert_after(head->prev, l);
}

static inline void list_push_front(struct list *head, struct list *l)
{
    list_insert_after(head, l);
}

static inline void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

/* Takes the first element off, or returns NULL. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *l = head->next;
    if (l == head)
        return NULL;
    list_remove(l);
    return l;
}

/* Moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    struct list *first = from->next, *last = from->prev;
    first->prev = to->prev;
    to->prev->next = first;
    last->next = to;
    to->prev = last;
    list_init(from);
}

/* Walks the list; the element in hand may be removed (and freed) by the body, others may not. */
#define list_each(l, tmp, head) for (struct list *l = (head)->next, *tmp = l->next; l != (head); l = tmp, tmp = l->next)

#endif
