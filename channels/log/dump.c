/* SPDX-License-Identifier: Apache-2.0
 *
 * `log_dump`: the events of a log in their order, through a store that is opened for reading only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ce_pack.h"
#include "inspect.h"
#include "log_inspect.h"
#include "store.h"

struct names { /* of the channels, by number */
    struct name {
        uint32_t number;
        char *text; /* owned */
    } * list;       /* owned */
    size_t count;
    bool no_memory;
};

static void visit(void *arg, const struct log_object *o)
{
    struct names *n = arg;
    if (o->type != LOG_CHANNEL || n->no_memory)
        return;
    struct name *grown = realloc(n->list, (n->count + 1) * sizeof *grown);
    char *text = inspect_text(o->name);
    n->list = grown ? grown : n->list;
    n->no_memory = !grown || !text;
    if (n->no_memory)
        free(text);
    else
        n->list[n->count++] = (struct name){o->number, text};
}

static void names_fini(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->list[i].text);
    free(n->list);
}

static const char *name_of(const struct names *n, uint32_t number)
{
    for (size_t i = 0; i < n->count; i++)
        if (n->list[i].number == number)
            return n->list[i].text;
    return "";
}

/* The number of the channel that is asked for; 0: all. */
static enum err number_of(const struct names *n, const char *channel, uint32_t *out, struct diag *d)
{
    *out = 0;
    for (size_t i = 0; channel && i < n->count; i++)
        if (strcmp(n->list[i].text, channel) == 0)
            *out = n->list[i].number;
    if (channel && *out == 0)
        return diag_set(d, ERR_NOTFOUND, "there is no channel '%.200s' in the log; `leat log inspect` lists them",
                        channel);
    return OK;
}

struct dump {
    struct log_store *store;
    const struct log_dump_query *query;
    struct names names;
    uint64_t next; /* the lowest sequence that is to come */
    bool (*event)(void *arg, const struct log_dump_event *e);
    void *arg;
};

/* One record; false: enough. */
static bool give(struct dump *k, const struct log_view *view, enum err *e, struct diag *d)
{
    const struct log_dump_query *q = k->query;
    const struct log_record *r = &view->record;
    const struct ce_event *event = NULL;
    assert(r->sequence >= k->next && *e == OK);
    k->next = r->sequence + 1;
    if (q->to && r->sequence > q->to)
        return false;
    if (r->kind != LOG_EVENT || r->wall_ns < q->from_wall_ns || r->wall_ns >= q->to_wall_ns)
        return true; /* the clock may have gone back, so a late record ends nothing */
    *e = ce_unpack(view->payload, &event, d);
    if (*e != OK)
        return false;
    const struct log_dump_event out = {r->sequence, r->wall_ns, name_of(&k->names, r->channel), event};
    const bool more = k->event(k->arg, &out);
    ce_event_unref(event);
    return more;
}

static enum err dump(struct dump *k, struct diag *d)
{
    const struct log_dump_query *q = k->query;
    struct log_reader *reader;
    struct log_view view;
    uint32_t channel;
    assert(k->store && k->event);
    log_store_each_object(k->store, visit, &k->names);
    if (k->names.no_memory)
        return diag_set(d, ERR_NOMEM, "out of memory");
    enum err e = number_of(&k->names, q->channel, &channel, d);
    if (e != OK)
        return e;
    uint64_t from = k->next;
    if (q->from_wall_ns != INT64_MIN) {
        const uint64_t by_time = log_store_seek_time(k->store, channel, q->from_wall_ns);
        from = by_time > from ? by_time : from;
    }
    e = log_reader_new(k->store, channel, from, &reader);
    if (e != OK)
        return diag_set(d, e, "out of memory");
    while ((e = log_reader_next(reader, &view)) == OK && give(k, &view, &e, d))
        ;
    log_reader_free(reader);
    if (e == ERR_IO)
        return diag_set(d, e, "the log cannot be read");
    return e == ERR_PENDING ? OK : e;
}

enum err log_dump(const char *dir, const struct log_dump_query *q,
                  bool (*event)(void *arg, const struct log_dump_event *e), void *arg, uint64_t *lost, struct diag *d)
{
    char path[INSPECT_PATH_MAX];
    struct dump k = {.query = q, .event = event, .arg = arg, .next = q->from};
    assert(dir && q && event && lost);
    enum err e;
    *lost = 0;
    do { /* again from there when a server has meanwhile given back or rewritten what is read */
        e = inspect_open(dir, path, &k.store, d);
        if (e != OK)
            return e;
        e = dump(&k, d);
        uint64_t missing = log_store_lost(k.store);
        *lost = missing > *lost ? missing : *lost;
        names_fini(&k.names);
        k.names = (struct names){0};
        log_store_close(k.store);
    } while (e == ERR_CLOSED);
    return e;
}
