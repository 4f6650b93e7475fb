/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bus has to say to control, from any thread: nobody waits, and what control cannot keep up with is dropped. Of
 * one cause, which its code names, at most `a_minute` are told; the next one that is says how many were not.
 */
#ifndef LEAT_CHANNELS_NOTES_H
#define LEAT_CHANNELS_NOTES_H

#include <pthread.h>
#include <stdarg.h>

#include "bus.h"
#include "list.h"

struct notes {
    unsigned a_minute; /* 0: all are told */
    pthread_mutex_t lock;
    struct list list; /* under it, as what follows */
    unsigned count;
    struct notes_cause { /* by code: what was told of it in this minute */
        const char *code;
        uint64_t since_ns;
        unsigned told, held_back;
    } causes[16];
};

void notes_init(struct notes *n, unsigned a_minute);
/* Any thread. True: it is kept, and control is to be sent for (notes_tell). `code` lives as long as the program. */
bool notes_add(struct notes *n, int severity, const char *code, const char *format, va_list args) must_check
    __attribute__((format(printf, 4, 0)));
/* Control: hands all that are kept to env->notice, as `bus`'s. */
void notes_tell(struct notes *n, const struct bus_env *env, struct bus *bus);
/* Nobody adds any more; what is kept is forgotten. */
void notes_fini(struct notes *n);

#endif
