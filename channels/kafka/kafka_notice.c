/* SPDX-License-Identifier: Apache-2.0
 *
 * What the bus has to say, from any thread to control. Nobody waits: what control cannot keep up with is dropped. Of
 * one cause, which its code names, KAFKA_NOTICES_A_MINUTE lines are told; the next one that is says how many were not.
 */
#include "kafka_bus.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NOTES_MAX 64 /* that wait for control; more say nothing new */
#define MINUTE_NS (60 * NS_PER_S)

struct note {
    struct list link;
    int severity;
    const char *code;
    char text[400];
};

/* Under the lock. NULL: no more causes are kept apart, and this one is told. */
static struct kafka_cause *cause_of(struct kafka_notes *n, const char *code)
{
    for (size_t i = 0; i < sizeof n->causes / sizeof *n->causes; i++) {
        struct kafka_cause *c = &n->causes[i];
        if (!c->code)
            c->code = code;
        if (strcmp(c->code, code) == 0)
            return c;
    }
    return NULL;
}

/* Under the lock: whether it is told, and how many of its cause were not, since the last one that was. */
static bool allowed(struct kafka_notes *n, const char *code, unsigned *held_back)
{
    struct kafka_cause *c = cause_of(n, code);
    uint64_t now = clock_monotonic_ns(clock_system());
    if (!c)
        return n->count < NOTES_MAX;
    if (now - c->since_ns > MINUTE_NS) {
        c->since_ns = now;
        c->told = 0;
    }
    if (c->told == KAFKA_NOTICES_A_MINUTE || n->count == NOTES_MAX) {
        c->held_back++;
        return false;
    }
    c->told++;
    *held_back = c->held_back;
    c->held_back = 0;
    return true;
}

static void append_count(char *text, size_t room, unsigned held_back)
{
    size_t n = strlen(text);
    if (held_back)
        snprintf(text + n, room - n, " (and %u more like this, not told)", held_back);
}

void kafka_notice(struct kafka_bus *k, int severity, const char *code, const char *format, ...)
{
    struct note *n = malloc(sizeof *n);
    unsigned held_back = 0;
    if (!n)
        return;
    n->severity = severity;
    n->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(n->text, sizeof n->text, format, args);
    va_end(args);
    pthread_mutex_lock(&k->notes.lock);
    bool told = allowed(&k->notes, code, &held_back);
    if (told) {
        append_count(n->text, sizeof n->text, held_back);
        k->notes.count++;
        list_push_back(&k->notes.list, &n->link);
    }
    pthread_mutex_unlock(&k->notes.lock);
    if (told)
        post_send(k->post);
    else
        free(n);
}

void kafka_notes_tell(struct kafka_bus *k)
{
    struct list notes, *l;
    list_init(&notes);
    pthread_mutex_lock(&k->notes.lock);
    list_splice_back(&notes, &k->notes.list);
    k->notes.count = 0;
    pthread_mutex_unlock(&k->notes.lock);
    while ((l = list_pop_front(&notes))) {
        struct note *n = container_of(l, struct note, link);
        if (k->env.notice)
            k->env.notice(k->env.notice_arg, &k->base, n->severity, n->code, n->text);
        free(n);
    }
}

void kafka_notes_fini(struct kafka_bus *k)
{
    struct list *l;
    while ((l = list_pop_front(&k->notes.list)))
        free(container_of(l, struct note, link));
    pthread_mutex_destroy(&k->notes.lock);
}
