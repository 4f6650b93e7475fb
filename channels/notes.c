/* SPDX-License-Identifier: Apache-2.0
 *
 * Notices on their way to control; see notes.h.
 */
#include "notes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_MAX 64 /* that wait for control; more say nothing new */
#define MINUTE_NS (60 * NS_PER_S)

struct note {
    struct list link;
    int severity;
    const char *code;
    char text[400];
};

void notes_init(struct notes *n, unsigned a_minute)
{
    *n = (struct notes){.a_minute = a_minute};
    pthread_mutex_init(&n->lock, NULL);
    list_init(&n->list);
}

/* Under the lock. NULL: no more causes are kept apart, and this one is told. */
static struct notes_cause *cause_of(struct notes *n, const char *code)
{
    for (size_t i = 0; i < sizeof n->causes / sizeof *n->causes; i++) {
        struct notes_cause *c = &n->causes[i];
        if (!c->code)
            c->code = code;
        if (strcmp(c->code, code) == 0)
            return c;
    }
    return NULL;
}

/* Under the lock: whether it is told, and how many of its cause were not, since the last one that was. */
static bool allowed(struct notes *n, const char *code, unsigned *held_back)
{
    struct notes_cause *c = n->a_minute ? cause_of(n, code) : NULL;
    uint64_t now = clock_monotonic_ns(clock_system());
    if (!c)
        return n->count < NOTES_MAX;
    if (now - c->since_ns > MINUTE_NS) {
        c->since_ns = now;
        c->told = 0;
    }
    if (c->told == n->a_minute || n->count == NOTES_MAX) {
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

bool notes_add(struct notes *n, int severity, const char *code, const char *format, va_list args)
{
    struct note *note = malloc(sizeof *note);
    unsigned held_back = 0;
    if (!note)
        return false;
    note->severity = severity;
    note->code = code;
    vsnprintf(note->text, sizeof note->text, format, args);
    pthread_mutex_lock(&n->lock);
    bool told = allowed(n, code, &held_back);
    if (told) {
        append_count(note->text, sizeof note->text, held_back);
        n->count++;
        list_push_back(&n->list, &note->link);
    }
    pthread_mutex_unlock(&n->lock);
    if (!told)
        free(note);
    return told;
}

void notes_tell(struct notes *n, const struct bus_env *env, struct bus *bus)
{
    struct list notes, *l;
    list_init(&notes);
    pthread_mutex_lock(&n->lock);
    list_splice_back(&notes, &n->list);
    n->count = 0;
    pthread_mutex_unlock(&n->lock);
    while ((l = list_pop_front(&notes))) {
        struct note *note = container_of(l, struct note, link);
        if (env->notice)
            env->notice(env->notice_arg, bus, note->severity, note->code, note->text);
        free(note);
    }
}

void notes_fini(struct notes *n)
{
    struct list *l;
    while ((l = list_pop_front(&n->list)))
        free(container_of(l, struct note, link));
    pthread_mutex_destroy(&n->lock);
}
