/* SPDX-License-Identifier: Apache-2.0
 *
 * Happenings: records in the order of their last note, of which those that the table does not show yet are in a second
 * list, in the order in which they came there. A record knows the name of its Event, once that was written; an Event
 * that somebody deleted is made anew, and counts anew.
 */
#include "happenings.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "happenings_parts.h"
#include "log.h"
#include "resource/check.h"
#include "text.h"

/* ---- records ---- */

static uint64_t now_ns(const struct happenings *h)
{
    return clock_monotonic_ns(loop_clock(h->loop));
}

static void record_free(struct record *r)
{
    if (!r)
        return;
    free(r->about.namespace_name);
    free(r->about.name);
    free(r->about.uid);
    free(r->reason);
    free(r->message);
    free(r->key);
    free(r);
}

static void record_remove(struct happenings *h, struct record *r)
{
    map_remove(&h->records, slice_str(r->key));
    list_remove(&r->by_age);
    if (r->due)
        list_remove(&r->by_due);
    record_free(r);
}

static void event_delete(struct happenings *h, const char *namespace_name, const char *name)
{
    struct diag d;
    if (resource_delete(h->table, "leat", h->kind, namespace_name, name, &d) != OK)
        log_line(LOG_WARN, "events.delete", "event=%s text=%s", log_value(name), log_value(d.text));
}

static const struct resource *event_of(const struct happenings *h, const struct record *r)
{
    return r->name[0] ? resource_get(h->table, h->kind, record_namespace(r), r->name) : NULL;
}

const char *record_namespace(const struct record *r)
{
    return r->about.namespace_name[0] ? r->about.namespace_name : "default";
}

static struct record *oldest(const struct happenings *h)
{
    return container_of(h->by_age.next, struct record, by_age);
}

static void drop_oldest(struct happenings *h)
{
    struct record *r = oldest(h);
    if (event_of(h, r))
        event_delete(h, record_namespace(r), r->name);
    record_remove(h, r);
}

static struct record *record_new(struct happenings *h, const struct resource *about, const struct happening *what,
                                 const char *key)
{
    struct record *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->about.kind = about->kind;
    r->about.namespace_name = strdup(about->namespace_name);
    r->about.name = strdup(about->name);
    r->about.uid = strdup(about->uid);
    r->reason = strdup(what->reason);
    r->key = strdup(key);
    r->warning = what->warning;
    bool good = r->about.namespace_name && r->about.name && r->about.uid && r->reason && r->key &&
                map_add(&h->records, slice_str(key), r) == OK;
    if (!good) {
        record_free(r);
        return NULL;
    }
    list_push_back(&h->by_age, &r->by_age);
    return r;
}

/* Made when it is new; NULL without memory, or room. Objects of one name that come after each other differ by uid. */
static struct record *record_of(struct happenings *h, const struct resource *about, const struct happening *what)
{
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_printf(&key, "%s\n%c%s\n%s", about->uid, what->warning ? 'W' : 'N', what->reason, what->kind ? what->kind : "");
    char *text = buf_take_string(&key);
    struct record *r = text ? map_get(&h->records, slice_str(text)) : NULL;
    if (!r && text) {
        if (h->records.count >= HAPPENINGS_MAX && oldest(h)->last_ns + HAPPENINGS_STAY_NS <= now_ns(h))
            drop_oldest(h);
        r = h->records.count < HAPPENINGS_MAX ? record_new(h, about, what, text) : NULL;
    }
    free(text);
    return r;
}

/* ---- notes ---- */

static void write_soon(struct happenings *h)
{
    uint64_t now = now_ns(h);
    if (!loop_timer_armed(&h->write))
        loop_timer_start(h->loop, &h->write, h->next_write_ns > now ? h->next_write_ns - now : 0);
    if (!loop_timer_armed(&h->sweep))
        loop_timer_start(h->loop, &h->sweep, HAPPENINGS_SWEEP_NS);
}

void happenings_note(struct happenings *h, const struct resource *about, const struct happening *what)
{
    if (kind_is_passing(about->kind))
        return;
    struct record *r = record_of(h, about, what);
    char *message = r ? strndup(what->message, HAPPENINGS_MESSAGE_MAX) : NULL;
    if (!message)
        return;
    free(r->message);
    r->message = message;
    r->count += what->count ? what->count : 1;
    r->last_ns = now_ns(h);
    r->last_wall_ns = clock_wall_ns(loop_clock(h->loop));
    if (!r->first_wall_ns)
        r->first_wall_ns = r->last_wall_ns;
    list_remove(&r->by_age);
    list_push_back(&h->by_age, &r->by_age);
    if (!r->due) {
        r->due = true;
        list_push_back(&h->by_due, &r->by_due);
    }
    write_soon(h);
}

void happenings_note_key(struct happenings *h, const char *key, const struct happening *what)
{
    const struct resource *about = resource_by_key(h->table, key);
    const char *at = key;
    for (int i = 0; i < 3 && at; i++) /* behind the kind, the namespace and the name */
        at = strchr(at + (i > 0), '/');
    if (!about)
        return;
    if (!at) {
        happenings_note(h, about, what);
        return;
    }
    struct buf message, kind;
    buf_init(&message, SIZE_MAX);
    buf_init(&kind, SIZE_MAX);
    buf_printf(&message, "%s: %s", at + 1, what->message);
    buf_printf(&kind, "%s %s", at + 1, what->kind ? what->kind : "");
    char *said = buf_take_string(&message), *apart = buf_take_string(&kind);
    if (said && apart)
        happenings_note(h, about, &(struct happening){what->warning, what->reason, apart, said, what->count});
    free(said);
    free(apart);
}

/* ---- into the table ---- */

static bool put_names(struct record *r, uint64_t number, cJSON *object)
{
    cJSON *metadata = cJSON_AddObjectToObject(object, "metadata");
    if (!r->name[0]) /* a name and a number as client-go makes it; names of 253 bytes are cut */
        snprintf(r->name, sizeof r->name, "%.230s.%llx", r->about.name, (unsigned long long)number);
    return metadata && cJSON_AddStringToObject(metadata, "name", r->name) &&
           cJSON_AddStringToObject(metadata, "namespace", record_namespace(r));
}

static bool put_about(const struct record *r, cJSON *object)
{
    const struct about *a = &r->about;
    char version[API_VERSION_MAX];
    cJSON *to = cJSON_AddObjectToObject(object, "involvedObject");
    snprintf(version, sizeof version, "%s%s%s", a->kind->group, a->kind->group[0] ? "/" : "", a->kind->version);
    return to && cJSON_AddStringToObject(to, "apiVersion", version) &&
           cJSON_AddStringToObject(to, "kind", a->kind->kind) &&
           (!a->namespace_name[0] || cJSON_AddStringToObject(to, "namespace", a->namespace_name)) &&
           cJSON_AddStringToObject(to, "name", a->name) && cJSON_AddStringToObject(to, "uid", a->uid);
}

static bool put_time(cJSON *object, const char *name, int64_t wall_ns)
{
    char text[40];
    struct buf b;
    buf_init(&b, sizeof text - 1);
    rfc3339_put(&b, wall_ns, 0);
    bool good = buf_error(&b) == OK;
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(buf_slice(&b)));
    buf_fini(&b);
    return good && cJSON_AddStringToObject(object, name, text);
}

static cJSON *event_make(struct happenings *h, struct record *r)
{
    cJSON *e = cJSON_CreateObject(), *source = NULL;
    bool good =
        e && cJSON_AddStringToObject(e, "apiVersion", "v1") && cJSON_AddStringToObject(e, "kind", "Event") &&
        put_names(r, (uint64_t)r->first_wall_ns + h->names++, e) && put_about(r, e) &&
        cJSON_AddStringToObject(e, "type", r->warning ? "Warning" : "Normal") &&
        cJSON_AddStringToObject(e, "reason", r->reason) && cJSON_AddStringToObject(e, "message", r->message) &&
        cJSON_AddNumberToObject(e, "count", (double)(r->count < INT32_MAX ? r->count : INT32_MAX)) &&
        put_time(e, "firstTimestamp", r->first_wall_ns) && put_time(e, "lastTimestamp", r->last_wall_ns) &&
        (source = cJSON_AddObjectToObject(e, "source")) && cJSON_AddStringToObject(source, "component", "leat") &&
        cJSON_AddStringToObject(e, "reportingComponent", "leat") && cJSON_AddStringToObject(e, "reportingInstance", "");
    if (good)
        return e;
    cJSON_Delete(e);
    return NULL;
}

static void record_write(struct happenings *h, struct record *r)
{
    struct diag d = {0};
    const struct resource *there = event_of(h, r);
    if (r->name[0] && !there) { /* somebody has deleted it: from here on it counts anew */
        r->name[0] = 0;
        r->count = r->count > r->count_written ? r->count - r->count_written : 1;
        r->first_wall_ns = r->last_wall_ns;
    }
    cJSON *object = event_make(h, r);
    enum err e = !object ? ERR_NOMEM
                 : there ? resource_replace(h->table, "leat", h->kind, object, NULL, &d)
                         : resource_create(h->table, "leat", h->kind, object, NULL, &d);
    if (e == OK) {
        r->count_written = r->count;
        return;
    }
    log_line(LOG_WARN, "events.write", "event=%s error=%s text=%s", log_value(r->name), err_name(e), log_value(d.text));
    cJSON_Delete(object);
    if (!there)
        r->name[0] = 0;
}

static void write_lot(struct loop_timer *t)
{
    struct happenings *h = container_of(t, struct happenings, write);
    for (size_t i = 0; i < HAPPENINGS_WRITTEN_MAX && !list_empty(&h->by_due); i++) {
        struct record *r = container_of(h->by_due.next, struct record, by_due);
        list_remove(&r->by_due);
        r->due = false;
        record_write(h, r);
    }
    h->next_write_ns = now_ns(h) + HAPPENINGS_WRITE_NS;
    if (!list_empty(&h->by_due))
        write_soon(h);
}

/* ---- the end of Events ---- */

/* Whether an Event is one of ours that lives still; those that we made and forgot go like others'. */
static bool is_ours(const struct resource *event)
{
    const char *who = json_text(json_object(event->object, "source"), "component");
    return who && strcmp(who, "leat") == 0;
}

static int64_t made_ns(const struct resource *event)
{
    int64_t ns = 0;
    const char *created = metadata_text(event->object, "creationTimestamp");
    return created && rfc3339_parse(slice_str(created), &ns) == OK ? ns : 0;
}

static void sweep(struct loop_timer *t)
{
    struct happenings *h = container_of(t, struct happenings, sweep);
    uint64_t now = now_ns(h);
    int64_t before = clock_wall_ns(loop_clock(h->loop)) - (int64_t)HAPPENINGS_LIFE_NS;
    while (!list_empty(&h->by_age) && oldest(h)->last_ns + HAPPENINGS_LIFE_NS <= now)
        drop_oldest(h);
    size_t cursor = 0, left = 0;
    for (const struct resource *r; (r = resource_next(h->table, h->kind, NULL, &cursor));) {
        if (!is_ours(r) && made_ns(r) <= before) {
            event_delete(h, r->namespace_name, r->name);
            cursor--;
        } else {
            left++;
        }
    }
    if (left || h->records.count)
        loop_timer_start(h->loop, t, HAPPENINGS_SWEEP_NS);
}

void happenings_make_room(struct happenings *h)
{
    size_t cursor = 0, count = 0;
    const struct resource *oldest = NULL;
    for (const struct resource *r; (r = resource_next(h->table, h->kind, NULL, &cursor));) {
        if (is_ours(r))
            continue;
        count++;
        if (!oldest || made_ns(r) < made_ns(oldest) || (made_ns(r) == made_ns(oldest) && r->version < oldest->version))
            oldest = r;
    }
    if (count >= HAPPENINGS_OTHERS_MAX)
        event_delete(h, oldest->namespace_name, oldest->name);
    if (!loop_timer_armed(&h->sweep))
        loop_timer_start(h->loop, &h->sweep, HAPPENINGS_SWEEP_NS);
}

/* ---- life ---- */

enum err happenings_new(struct loop *loop, struct resource_table *table, struct happenings **out)
{
    struct happenings *h = calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    h->loop = loop;
    h->table = table;
    h->kind = kind_find("v1", "Event");
    assert(h->kind);
    map_init(&h->records, HAPPENINGS_MAX);
    list_init(&h->by_age);
    list_init(&h->by_due);
    loop_timer_init(&h->write, write_lot);
    loop_timer_init(&h->sweep, sweep);
    resource_table_listen_status(table, happenings_status_told, h);
    *out = h;
    return OK;
}

void happenings_free(struct happenings *h)
{
    if (!h)
        return;
    resource_table_listen_status(h->table, NULL, NULL);
    loop_timer_stop(h->loop, &h->write);
    loop_timer_stop(h->loop, &h->sweep);
    while (!list_empty(&h->by_age))
        record_remove(h, container_of(h->by_age.next, struct record, by_age));
    map_fini(&h->records);
    free(h);
}
