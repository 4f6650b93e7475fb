/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the ping source share: the parsed spec, and the pure step from a time of the schedule to a
 * CloudEvent.
 */
#ifndef LEAT_SOURCES_PING_H
#define LEAT_SOURCES_PING_H

#include "cron.h"
#include "event.h"
#include "source.h"

#define PING_SCHEDULE_DEFAULT "* * * * *" /* as Knative's */

/* A spec, checked and taken apart. Texts point into the spec. */
struct ping_options {
    const struct source_spec *spec;
    struct cron cron;
    struct slice content_type; /* empty: none */
    struct slice data;
    char *decoded;            /* owned: what `data` points to when it came as base64 */
    bool has_data;            /* it may be there and empty */
    uint64_t sink_timeout_ns; /* per attempt; 0: the sink's own */
};
/* ERR_INVALID with *d naming the parameter; ERR_CORRUPT (the zone's file), ERR_NOMEM. On failure there is nothing to
 * free. */
enum err ping_options_parse(const struct source_spec *spec, struct ping_options *out, struct diag *d) must_check;
void ping_options_fini(struct ping_options *o);

/* The event of one time of the schedule (seconds since 1970 UTC). Its id is made of source and time: the same whoever
 * makes it, and however often. ERR_INVALID (an extension) and ERR_TOO_LARGE with *d, ERR_NOMEM. Pure. */
enum err ping_event_make(const struct ping_options *options, int64_t due_s, size_t bytes_max,
                         const struct ce_event **out, struct diag *d) must_check;

extern const struct source_ops ping_source;
int ping_main(int argc, char **argv);

#endif
