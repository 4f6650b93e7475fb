/* SPDX-License-Identifier: Apache-2.0
 *
 * The mailbox of a loop.
 *
 * The eventfd is written only by the post that finds the list empty, after the lock is released: a burst costs one
 * wake, and no thread waits for a system call of another. A list that is not empty therefore has a wake on its way or
 * not yet seen; the loop takes the list after each wake that it sees, so no letter stays behind. A wake may find the
 * list taken already, which is harmless. The eventfd is never read: each write is an edge of its own, and its counter
 * outlasts any machine.
 */
#include "mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum err mailbox_init(struct mailbox *m, unsigned limit)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return ERR_IO;
    if (pthread_mutex_init(&m->lock, NULL)) {
        close(fd);
        return ERR_NOMEM;
    }
    m->first = NULL;
    m->end = &m->first;
    m->bounded = 0;
    m->limit = limit;
    m->fd = fd;
    return OK;
}

void mailbox_fini(struct mailbox *m)
{
    assert(!m->first);
    pthread_mutex_destroy(&m->lock);
    close(m->fd);
}

void mailbox_wake(struct mailbox *m)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(m->fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    assert(n == (ssize_t)sizeof(one));
}

enum err mailbox_post(struct mailbox *m, struct letter *l, bool reserved)
{
    assert(l->run);
    pthread_mutex_lock(&m->lock);
    if (!reserved) {
        if (m->bounded >= m->limit) {
            pthread_mutex_unlock(&m->lock);
            return ERR_FULL;
        }
        m->bounded++;
    }
    bool was_empty = !m->first;
    l->next = NULL;
    *m->end = l;
    m->end = &l->next;
    pthread_mutex_unlock(&m->lock);
    if (was_empty)
        mailbox_wake(m);
    return OK;
}

struct letter *mailbox_take(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct letter *all = m->first;
    m->first = NULL;
    m->end = &m->first;
    m->bounded = 0;
    pthread_mutex_unlock(&m->lock);
    return all;
}
