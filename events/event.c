/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading an event: accessors, references, comparison. The layout is in event_private.h. An event never changes after
 * its seal, but for the count of references, which is atomic; so any thread may read it.
 */
#include "event_private.h"

#include <stdlib.h>

const struct ce_event *ce_event_ref(const struct ce_event *e)
{
    struct ce_event *counted = (struct ce_event *)e;
    uint32_t before = atomic_fetch_add_explicit(&counted->refs, 1, memory_order_relaxed);
    assert(before > 0 && before < UINT32_MAX);
    return e;
}

const struct ce_event *ce_event_unref(const struct ce_event *e)
{
    if (!e)
        return NULL;
    struct ce_event *counted = (struct ce_event *)e;
    /* Acquire and release: whoever frees has seen every other thread's last read behind it. */
    uint32_t before = atomic_fetch_sub_explicit(&counted->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(counted);
    return NULL;
}

static struct slice value_at(const struct ce_event *e, size_t i)
{
    return slice_of(event_at(e, e->attributes[i].value_at), e->attributes[i].value_len);
}

/* The line of the datacontenttype is spelt Content-Type, so its name is not in the event. */
static struct slice name_at(const struct ce_event *e, size_t i)
{
    if ((int)i == e->content_type)
        return ce_core_names[CORE_DATACONTENTTYPE];
    return slice_of(event_at(e, e->attributes[i].name_at), e->attributes[i].name_len);
}

struct slice ce_event_id(const struct ce_event *e)
{
    return value_at(e, CORE_ID);
}

struct slice ce_event_source(const struct ce_event *e)
{
    return value_at(e, CORE_SOURCE);
}

struct slice ce_event_type(const struct ce_event *e)
{
    return value_at(e, CORE_TYPE);
}

struct slice ce_event_specversion(const struct ce_event *e)
{
    return value_at(e, CORE_SPECVERSION);
}

struct slice ce_event_datacontenttype(const struct ce_event *e)
{
    return e->content_type >= 0 ? value_at(e, (size_t)e->content_type) : slice_of(NULL, 0);
}

size_t ce_event_attribute_count(const struct ce_event *e)
{
    return e->count;
}

struct ce_attribute ce_event_attribute_at(const struct ce_event *e, size_t i)
{
    assert(i < e->count);
    return (struct ce_attribute){name_at(e, i), value_at(e, i), (enum ce_type)e->attributes[i].type};
}

bool ce_event_attribute(const struct ce_event *e, struct slice name, struct ce_attribute *out)
{
    for (size_t i = 0; i < e->count; i++) {
        if (e->attributes[i].name_len != name.len || !slice_eq(name_at(e, i), name))
            continue;
        if (out)
            *out = ce_event_attribute_at(e, i);
        return true;
    }
    return false;
}

enum ce_data_kind ce_event_data_kind(const struct ce_event *e)
{
    return (enum ce_data_kind)e->data_kind;
}

struct slice ce_event_data(const struct ce_event *e)
{
    return slice_of(event_at(e, e->data_at), e->data_len);
}

enum ce_mode ce_event_mode(const struct ce_event *e)
{
    return (enum ce_mode)e->mode;
}

enum ce_mode ce_event_mode_for(const struct ce_event *e, enum ce_mode wanted)
{
    return wanted == CE_MODE_BINARY && !ce_media_type_is_cloudevents(ce_event_datacontenttype(e)) ? CE_MODE_BINARY
                                                                                                  : CE_MODE_STRUCTURED;
}

size_t ce_event_header_count(const struct ce_event *e)
{
    return e->header_count;
}

void ce_event_header_at(const struct ce_event *e, size_t i, struct slice *name, struct slice *value)
{
    assert(i < e->header_count);
    const struct event_header *h = event_headers(e) + i;
    *name = slice_of(event_at(e, h->name_at), h->name_len);
    *value = slice_of(event_at(e, h->value_at), h->value_len);
}

size_t ce_event_size(const struct ce_event *e)
{
    return e->size;
}

/* Offsets count from the first byte and the data comes last, so everything before it is an event without data. */
size_t ce_event_head_size(const struct ce_event *e)
{
    return e->data_at;
}

const struct ce_event *ce_event_head_copy(const struct ce_event *e, void *memory)
{
    struct ce_event *copy = memory;
    assert((uintptr_t)memory % _Alignof(struct ce_event) == 0 && e->data_at <= e->size);
    size_t from = offsetof(struct ce_event, size); /* other threads count references meanwhile */
    memcpy((char *)memory + from, (const char *)e + from, e->data_at - from);
    atomic_init(&copy->refs, 1);
    copy->size = e->data_at;
    copy->data_len = 0;
    copy->data_kind = CE_DATA_NONE;
    return copy;
}

bool ce_event_equal(const struct ce_event *a, const struct ce_event *b)
{
    if (a->count != b->count || a->data_kind != b->data_kind || !slice_eq(ce_event_data(a), ce_event_data(b)))
        return false;
    for (size_t i = 0; i < a->count; i++) { /* names are unique, so one direction is enough */
        struct ce_attribute mine = ce_event_attribute_at(a, i), theirs;
        if (!ce_event_attribute(b, mine.name, &theirs) || mine.type != theirs.type ||
            !slice_eq(mine.value, theirs.value))
            return false;
    }
    return true;
}
