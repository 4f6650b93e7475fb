/* SPDX-License-Identifier: Apache-2.0
 *
 * What a stream says of its failures: the first at once, then one line a second with counts as long as there are
 * any. A sink that fails ten thousand times a second writes the same one line as a sink that fails twice.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "flight.h"
#include "log.h"

static bool due(const struct report *r)
{
    return r->failed || r->dead_lettered || r->parked || r->park_failed || r->replies_malformed;
}

static void say(struct dispatch_stream *s)
{
    struct report *r = &s->report;
    assert(due(r));
    log_line(r->park_failed ? LOG_ERROR : LOG_WARN, "dispatcher.fail",
             "subscription=%s failed=%" PRIu64 " dead_lettered=%" PRIu64 " parked=%" PRIu64 " park_failed=%" PRIu64
             " replies_malformed=%" PRIu64 " last_sink=%s last_status=%d last_err=%s last_detail=%s",
             log_value(s->terms->spec.name), r->failed, r->dead_lettered, r->parked, r->park_failed,
             r->replies_malformed, log_value(r->texts ? r->texts->url : ""), r->status, err_name(r->err),
             log_value(r->texts ? r->texts->detail : ""));
    const struct dispatch_spec *spec = &s->terms->spec;
    const struct dispatch_trouble latest = {r->texts ? r->texts->url : "", r->status, r->err,
                                            r->texts ? r->texts->detail : ""};
    if (spec->trouble)
        spec->trouble(spec->trouble_arg, &latest);
    r->failed = r->dead_lettered = r->parked = r->park_failed = r->replies_malformed = 0;
}

static void on_interval(struct loop_timer *t)
{
    struct dispatch_stream *s = container_of(t, struct dispatch_stream, report.timer);
    assert(!loop_timer_armed(t));
    if (!due(&s->report))
        return;
    say(s);
    loop_timer_start(s->dispatcher->loop, t, REPORT_INTERVAL_NS);
}

void report_start(struct dispatch_stream *s)
{
    s->report = (struct report){.failed = 0};
    loop_timer_init(&s->report.timer, on_interval);
}

void report_soon(struct dispatch_stream *s)
{
    assert(due(&s->report));
    if (loop_timer_armed(&s->report.timer))
        return;
    say(s);
    loop_timer_start(s->dispatcher->loop, &s->report.timer, REPORT_INTERVAL_NS);
}

void report_failure(struct dispatch_stream *s, const struct sink_answer *answer, const char *url)
{
    struct report *r = &s->report;
    assert(url);
    r->status = answer->status;
    r->err = answer->err;
    if (!r->texts)
        r->texts = malloc(sizeof *r->texts);
    if (r->texts) { /* without memory the line has the rest */
        snprintf(r->texts->url, sizeof r->texts->url, "%s", url);
        snprintf(r->texts->detail, sizeof r->texts->detail, "%.*s",
                 (int)(answer->detail.len < REPORT_TEXT_MAX ? answer->detail.len : REPORT_TEXT_MAX),
                 answer->detail.len ? answer->detail.ptr : "");
    }
    report_soon(s);
}

void report_stop(struct dispatch_stream *s)
{
    loop_timer_stop(s->dispatcher->loop, &s->report.timer);
    if (due(&s->report))
        say(s);
    assert(!due(&s->report));
    free(s->report.texts);
    s->report.texts = NULL;
}
