/* SPDX-License-Identifier: Apache-2.0
 *
 * What the bus has to say, from any thread to control. Nobody waits: what control cannot keep up with is dropped and
 * counted.
 */
#include "kafka_bus.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NOTES_MAX 64 /* that wait for control; more say nothing new */

struct note {
    struct list link;
    int severity;
    const char *code;
    char text[400];
};

void kafka_notice(struct kafka_bus *k, int severity, const char *code, const char *format, ...)
{
    struct note *n = malloc(sizeof *n);
    if (!n)
        return;
    n->severity = severity;
    n->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(n->text, sizeof n->text, format, args);
    va_end(args);
    pthread_mutex_lock(&k->notes.lock);
    bool room = k->notes.count < NOTES_MAX && k->post;
    if (room) {
        k->notes.count++;
        list_push_back(&k->notes.list, &n->link);
    } else {
        k->notes.dropped++;
    }
    pthread_mutex_unlock(&k->notes.lock);
    if (room)
        post_send(k->post);
    else
        free(n);
}

static void tell(struct kafka_bus *k, int severity, const char *code, const char *text)
{
    if (k->env.notice)
        k->env.notice(k->env.notice_arg, &k->base, severity, code, text);
}

void kafka_notes_tell(struct kafka_bus *k)
{
    struct list notes, *l;
    char text[80];
    list_init(&notes);
    pthread_mutex_lock(&k->notes.lock);
    list_splice_back(&notes, &k->notes.list);
    unsigned dropped = k->notes.dropped;
    k->notes.count = k->notes.dropped = 0;
    pthread_mutex_unlock(&k->notes.lock);
    while ((l = list_pop_front(&notes))) {
        struct note *n = container_of(l, struct note, link);
        tell(k, n->severity, n->code, n->text);
        free(n);
    }
    if (dropped) {
        snprintf(text, sizeof text, "%u notices came faster than they could be told", dropped);
        tell(k, 1, "NoticesDropped", text);
    }
}

void kafka_notes_fini(struct kafka_bus *k)
{
    struct list *l;
    while ((l = list_pop_front(&k->notes.list)))
        free(container_of(l, struct note, link));
    pthread_mutex_destroy(&k->notes.lock);
}
