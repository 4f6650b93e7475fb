/* SPDX-License-Identifier: Apache-2.0 */
/* room: sources */
/* A cron line, a line break, a zone; or the file of a zone. Properties: no bad access, a refusal says something, what
 * is accepted comes at times that grow and that its fields describe, and a zone's spans hold the time that was asked
 * for. */
#include <stdlib.h>

#include "../../sources/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look(const struct zone *z)
{
    for (int64_t t = -(1ll << 30); t < 1ll << 33; t += 77777777) {
        struct zone_span span = zone_at(z, t);
        must(span.from <= t && t < span.until);
    }
}

static void times(const struct cron *c)
{
    int64_t t = 1796000000;
    for (int i = 0; i < 20; i++) {
        int64_t next = cron_next(c, t);
        must(next > t);
        if (next == CRON_NEVER) /* a zone may skip what a line says for ever: 2:30 on the day of the change */
            return;
        must(i > 3 || cron_count(c, t, next, 10) == 1);
        t = next;
        if (c->every_s)
            continue;
        int64_t shown = t + zone_at(c->zone, t).offset;
        must(c->second >> (shown % 60) & 1 && c->minute >> (shown / 60 % 60) & 1 &&
             c->hour >> (shown / 3600 % 24) & 1 && c->month >> zone_date_of(shown / 86400).month & 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice zone = slice_of((const char *)data, size);
    struct diag d = {0};
    struct zone *z = NULL;
    enum err e = zone_parse(zone, &z, &d);
    must(e == OK || (e == ERR_CORRUPT && d.text[0] && !z));
    if (e == OK)
        look(z);
    zone_free(z);
    struct slice line = slice_split(&zone, '\n');
    struct cron c;
    d = (struct diag){0};
    e = cron_parse(line, zone, &c, &d);
    must(e == OK || (e == ERR_INVALID && d.text[0] && d.column >= 0 && (size_t)d.column <= line.len + 1));
    if (e != OK)
        return 0;
    times(&c);
    cron_fini(&c);
    return 0;
}
