/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a log bus, of its channels and subscriptions. Pure.
 */
#include "log_bus.h"
#include "../params.h"

/* What channels have and the bus gives as a default. ERR_NOTFOUND: none of these. */
static enum err common_read(const struct bus_param *p, struct log_channel_settings *out, struct diag *d)
{
    if (strcmp(p->name, "capacity") == 0)
        return param_bytes(p, 1, UINT64_MAX, &out->capacity, d);
    if (strcmp(p->name, "retention-bytes") == 0)
        return param_bytes(p, 0, UINT64_MAX, &out->retention_bytes, d);
    if (strcmp(p->name, "retention-age") == 0)
        return param_duration(p, &out->retention_ns, d);
    return ERR_NOTFOUND;
}

static enum err bus_read(const struct bus_param *p, struct log_settings *out, struct diag *d)
{
    struct log_channel_settings common = {out->capacity, out->retention_bytes, out->retention_ns, false};
    enum err e = common_read(p, &common, d);
    out->capacity = common.capacity;
    out->retention_bytes = common.retention_bytes;
    out->retention_ns = common.retention_ns;
    if (e != ERR_NOTFOUND)
        return e;
    if (strcmp(p->name, "dir") == 0) {
        out->dir = p->value;
        return *p->value ? OK : diag_set(d, ERR_INVALID, "dir is empty; it names the folder of the log");
    }
    if (strcmp(p->name, "segment") == 0)
        return param_bytes(p, LOG_SEGMENT_BYTES_MIN, UINT64_MAX, &out->segment, d);
    if (strcmp(p->name, "reserve") == 0) {
        out->reserve_given = true;
        return param_bytes(p, 0, UINT64_MAX, &out->reserve, d);
    }
    return diag_set(
        d, ERR_INVALID,
        "unknown parameter \"%s\" of a log bus; it knows dir, segment, reserve, capacity, retention-age and "
        "retention-bytes",
        p->name);
}

enum err log_settings_read(const struct bus_param *params, size_t count, struct log_settings *out, struct diag *d)
{
    struct log_settings s = {.capacity = LOG_CAPACITY,
                             .retention_bytes = LOG_RETENTION_BYTES,
                             .retention_ns = LOG_RETENTION_NS,
                             .reserve = LOG_RESERVE};
    for (size_t i = 0; i < count; i++) {
        enum err e = bus_read(&params[i], &s, d);
        if (e)
            return e;
    }
    if (!s.dir)
        return diag_set(d, ERR_INVALID, "a log bus needs the parameter dir: the folder where it keeps the events");
    *out = s;
    return OK;
}

enum err log_channel_settings_read(const struct bus_param *params, size_t count, struct log_channel_settings *out,
                                   struct diag *d)
{
    for (size_t i = 0; i < count; i++) {
        const struct bus_param *p = &params[i];
        enum err e = common_read(p, out, d);
        if (e == ERR_NOTFOUND && strcmp(p->name, "partitions") == 0) {
            out->one_part = true;
            e = strcmp(p->value, "1") == 0
                    ? OK
                    : diag_set(d, ERR_INVALID,
                               "partitions is \"%s\"; a channel on a log bus has 1, or, when nothing is said, one per "
                               "loop",
                               p->value);
        } else if (e == ERR_NOTFOUND) {
            e = diag_set(d, ERR_INVALID,
                         "unknown parameter \"%s\" of a channel on a log bus; it knows capacity, partitions, "
                         "retention-age and retention-bytes",
                         p->name);
        }
        if (e)
            return e;
    }
    return OK;
}
