/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters, compiled to a tree.
 */
#include "filter_private.h"

#include <assert.h>
#include <stdlib.h>

#include "buf.h"

struct filter {
    unsigned refs;
    bool joined;
    enum filter_test test;
    enum filter_join how;
    size_t count;
    struct slice name, value;
    struct filter *parts[];
};

enum err filter_attribute(enum filter_test test, struct slice name, struct slice value, struct filter **out,
                          struct diag *d)
{
    struct filter *f = calloc(1, sizeof *f + name.len + value.len);
    (void)d;
    if (!f)
        return ERR_NOMEM;
    char *text = (char *)f->parts;
    f->refs = 1;
    f->test = test;
    memcpy(text, name.ptr, name.len);
    if (value.len)
        memcpy(text + name.len, value.ptr, value.len);
    f->name = slice_of(text, name.len);
    f->value = slice_of(text + name.len, value.len);
    *out = f;
    return OK;
}

enum err filter_join(enum filter_join how, struct filter *const *parts, size_t count, struct filter **out,
                     struct diag *d)
{
    struct filter *f = calloc(1, sizeof *f + count * sizeof *parts);
    (void)d;
    if (!f)
        return ERR_NOMEM;
    f->refs = 1;
    f->joined = true;
    f->how = how;
    f->count = count;
    for (size_t i = 0; i < count; i++)
        f->parts[i] = filter_ref(parts[i]);
    *out = f;
    return OK;
}

enum err filter_cesql(struct slice text, struct filter **out, struct diag *d)
{
    (void)text;
    (void)out;
    return diag_set(d, ERR_INVALID, "cesql is not in this build");
}

struct filter *filter_ref(struct filter *f)
{
    __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
    return f;
}

struct filter *filter_unref(struct filter *f)
{
    if (!f || __atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return NULL;
    for (size_t i = 0; f->joined && i < f->count; i++)
        filter_unref(f->parts[i]);
    free(f);
    return NULL;
}

bool filter_match(const struct filter *f, const struct ce_event *e)
{
    struct ce_attribute a;
    if (!f)
        return true;
    if (f->joined) {
        bool all = f->how == FILTER_ALL;
        for (size_t i = 0; i < f->count; i++)
            if (filter_match(f->parts[i], e) != all)
                return !all && f->how == FILTER_ANY;
        return all || f->how == FILTER_NOT;
    }
    if (!ce_event_attribute(e, f->name, &a))
        return false;
    switch (f->test) {
    case FILTER_EXACT:
        return slice_eq(a.value, f->value);
    case FILTER_PREFIX:
        return slice_has_prefix(a.value, f->value);
    case FILTER_SUFFIX:
        return slice_has_suffix(a.value, f->value);
    case FILTER_PRESENT:
        return a.value.len > 0;
    }
    return false;
}

bool filter_required_exact(const struct filter *f, struct slice *name, struct slice *value)
{
    (void)f;
    (void)name;
    (void)value;
    return false;
}

void filter_reason(const struct filter *f, const struct ce_event *e, struct buf *out)
{
    if (!filter_match(f, e))
        buf_put_str(out, "its filter says no");
}
