/* SPDX-License-Identifier: Apache-2.0
 *
 * The index over filters: entries that demand an exact value of an attribute lie in a bucket under that attribute and
 * that value; the residue demands none.
 *
 *     names: "type"   → values: "order.made" → bucket: entry, entry
 *                               "order.paid" → bucket: entry
 *            "source" → values: ...
 *     residue: entry, entry
 *
 * So an event looks once into each name's values, tries what lies in the buckets that it finds, and the residue.
 *
 * One thread at a time. An entry's `place` is its bucket, NULL in the residue; buckets and names go with their last
 * entry. Values are hashed under a random key (map.h): who writes filters cannot make them collide.
 */
#include "filter_private.h"

#include <assert.h>
#include <stdlib.h>

#include "map.h"

struct name {
    struct map values; /* value → struct bucket */
    char text[];
};

struct bucket {
    struct list entries;
    struct name *name;
    size_t len;
    char value[];
};

struct filter_index {
    struct map names; /* attribute's name → struct name */
    struct list residue;
};

enum err filter_index_new(struct filter_index **out)
{
    struct filter_index *x = malloc(sizeof *x);
    if (!x)
        return ERR_NOMEM;
    map_init(&x->names, SIZE_MAX);
    list_init(&x->residue);
    *out = x;
    return OK;
}

void filter_index_free(struct filter_index *x)
{
    if (!x)
        return;
    assert(x->names.count == 0 && list_empty(&x->residue));
    map_fini(&x->names);
    free(x);
}

static void name_drop_unused(struct filter_index *x, struct name *n)
{
    if (n->values.count)
        return;
    map_remove(&x->names, slice_str(n->text));
    map_fini(&n->values);
    free(n);
}

/* The name's place in the index, made when there is none; NULL without memory. */
static struct name *name_get(struct filter_index *x, struct slice text)
{
    struct name *n = map_get(&x->names, text);
    if (n)
        return n;
    n = malloc(sizeof *n + text.len + 1);
    if (!n)
        return NULL;
    map_init(&n->values, SIZE_MAX);
    memcpy(n->text, text.ptr, text.len);
    n->text[text.len] = '\0';
    if (map_add(&x->names, text, n) != OK) {
        free(n);
        return NULL;
    }
    return n;
}

static struct bucket *bucket_get(struct name *n, struct slice value)
{
    struct bucket *b = map_get(&n->values, value);
    if (b)
        return b;
    b = malloc(sizeof *b + value.len);
    if (!b)
        return NULL;
    list_init(&b->entries);
    b->name = n;
    b->len = value.len;
    memcpy(b->value, value.ptr, value.len);
    if (map_add(&n->values, value, b) != OK) {
        free(b);
        return NULL;
    }
    return b;
}

/* The bucket for what the filter demands; NULL: the residue. */
static struct bucket *bucket_for(struct filter_index *x, const struct filter *f)
{
    struct slice text, value;
    if (!f || !filter_required_exact(f, &text, &value))
        return NULL;
    struct name *n = name_get(x, text);
    if (!n)
        return NULL;
    struct bucket *b = bucket_get(n, value);
    if (!b)
        name_drop_unused(x, n);
    return b;
}

void filter_index_add(struct filter_index *x, struct filter_entry *entry, struct filter *f)
{
    struct bucket *b = bucket_for(x, f);
    entry->filter = f ? filter_ref(f) : NULL;
    entry->place = b;
    list_push_back(b ? &b->entries : &x->residue, &entry->link);
}

void filter_index_remove(struct filter_index *x, struct filter_entry *entry)
{
    struct bucket *b = entry->place;
    list_remove(&entry->link);
    entry->filter = filter_unref(entry->filter);
    entry->place = NULL;
    if (!b || !list_empty(&b->entries))
        return;
    struct name *n = b->name;
    struct bucket *removed = map_remove(&n->values, slice_of(b->value, b->len));
    assert(removed == b);
    free(removed);
    name_drop_unused(x, n);
}

typedef void hit_fn(void *arg, struct filter_entry *entry);

static void try_all(const struct list *entries, const struct ce_event *e, hit_fn *hit, void *arg)
{
    for (const struct list *l = entries->next; l != entries; l = l->next) {
        struct filter_entry *entry = container_of(l, struct filter_entry, link);
        if (filter_match(entry->filter, e))
            hit(arg, entry);
    }
}

static void try_value(const struct name *n, struct slice value, const struct ce_event *e, hit_fn *hit, void *arg)
{
    const struct bucket *b = map_get(&n->values, value);
    if (b)
        try_all(&b->entries, e, hit, arg);
}

/* Walks what is fewer: the names that filters demand, or the event's attributes. */
void filter_index_match(const struct filter_index *x, const struct ce_event *e, hit_fn *hit, void *arg)
{
    struct ce_attribute a;
    size_t count = ce_event_attribute_count(e);
    if (x->names.count <= count) {
        map_each(entry, tmp, &x->names) {
            if (ce_event_attribute(e, entry->key, &a))
                try_value(entry->value, a.value, e, hit, arg);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            a = ce_event_attribute_at(e, i);
            const struct name *n = map_get(&x->names, a.name);
            if (n)
                try_value(n, a.value, e, hit, arg);
        }
    }
    try_all(&x->residue, e, hit, arg);
}
