/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of paths: sorted trees, so that each operation is one walk over both sides. Recursion goes down the path only,
 * which FIELDS_DEPTH_MAX bounds.
 */
#include "fields.h"

#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 4096 /* of a path that is shown; a longer one is cut */

void fields_append(struct fields_work *w, struct fields_list *l, const char *name, bool member,
                   const struct fields *child)
{
    if (!member && !child)
        return;
    struct fields *f = arena_alloc(w->arena, sizeof *f);
    if (!f || !name) {
        w->nomem = true;
        return;
    }
    *f = (struct fields){name, member, NULL, child};
    if (l->last)
        l->last->next = f;
    else
        l->first = f;
    l->last = f;
}

/* ---- operations ---- */

/* < 0: `a` stands alone; > 0: `b` does; 0: both are of one name. */
static int order(const struct fields *a, const struct fields *b)
{
    return !a ? 1 : !b ? -1 : strcmp(a->name, b->name);
}

const struct fields *fields_union(struct fields_work *w, const struct fields *a, const struct fields *b)
{
    struct fields_list l = {0};
    if (!a || !b)
        return a ? a : b;
    while (a || b) {
        int o = order(a, b);
        const struct fields *child = o < 0 ? a->child : o > 0 ? b->child : fields_union(w, a->child, b->child);
        fields_append(w, &l, o <= 0 ? a->name : b->name, (o <= 0 && a->member) || (o >= 0 && b->member), child);
        a = o <= 0 ? a->next : a;
        b = o >= 0 ? b->next : b;
    }
    return l.first;
}

const struct fields *fields_minus(struct fields_work *w, const struct fields *a, const struct fields *b)
{
    struct fields_list l = {0};
    if (!b)
        return a;
    for (; a; a = a->next) {
        while (b && strcmp(b->name, a->name) < 0)
            b = b->next;
        bool both = b && strcmp(b->name, a->name) == 0;
        fields_append(w, &l, a->name, a->member && !(both && b->member),
                      both ? fields_minus(w, a->child, b->child) : a->child);
    }
    return l.first;
}

const struct fields *fields_common(struct fields_work *w, const struct fields *a, const struct fields *b)
{
    struct fields_list l = {0};
    while (a && b) {
        int o = order(a, b);
        if (o == 0)
            fields_append(w, &l, a->name, a->member && b->member, fields_common(w, a->child, b->child));
        a = o <= 0 ? a->next : a;
        b = o >= 0 ? b->next : b;
    }
    return l.first;
}

const struct fields *fields_with_parents(struct fields_work *w, const struct fields *a)
{
    struct fields_list l = {0};
    for (; a; a = a->next)
        fields_append(w, &l, a->name, true, fields_with_parents(w, a->child));
    return l.first;
}

bool fields_equal(const struct fields *a, const struct fields *b)
{
    for (; a && b; a = a->next, b = b->next)
        if (a->member != b->member || strcmp(a->name, b->name) != 0 || !fields_equal(a->child, b->child))
            return false;
    return !a && !b;
}

/* ---- reading ---- */

/* The text of a value in the one form that we write, so that equal ones have equal names; NULL: it is none. */
static const char *canonical(struct fields_work *w, const char *prefix, cJSON *value)
{
    char *text = value ? cJSON_PrintUnformatted(value) : NULL, *name = NULL;
    if (value && !text)
        w->nomem = true;
    if (text) {
        size_t n = strlen(text);
        name = arena_alloc(w->arena, n + 3);
        if (name) {
            memcpy(name, prefix, 2);
            memcpy(name + 2, text, n + 1);
        } else {
            w->nomem = true;
        }
    }
    cJSON_free(text);
    return name;
}

static int by_key(const void *x, const void *y)
{
    const cJSON *a = *(const cJSON *const *)x, *b = *(const cJSON *const *)y;
    return strcmp(a->string, b->string);
}

#define KEYS_MAX 16 /* of an element of a list; Kubernetes' own have at most three */

/* Keys in order; false when they are none. */
static bool keys_sort(cJSON *keys)
{
    cJSON *sorted[KEYS_MAX];
    size_t count = 0;
    while (cJSON_IsObject(keys) && keys->child && count < KEYS_MAX && !cJSON_IsObject(keys->child) &&
           !cJSON_IsArray(keys->child))
        sorted[count++] = cJSON_DetachItemViaPointer(keys, keys->child);
    bool good = cJSON_IsObject(keys) && !keys->child && count > 0;
    qsort(sorted, count, sizeof *sorted, by_key);
    for (size_t i = 0; i < count; i++)
        if (!cJSON_AddItemToObject(keys, sorted[i]->string, sorted[i])) {
            cJSON_Delete(sorted[i]);
            good = false;
        }
    return good;
}

/* The element that a key of FieldsV1 names; NULL: it is none, or there is no memory. */
static const char *element_read(struct fields_work *w, const char *text)
{
    if (!text[0] || text[1] != ':')
        return NULL;
    if (text[0] == 'f' || text[0] == 'i') {
        const char *copy = arena_copy(w->arena, text, strlen(text));
        w->nomem = w->nomem || !copy;
        return copy;
    }
    if (text[0] != 'k' && text[0] != 'v')
        return NULL;
    cJSON *value = cJSON_Parse(text + 2);
    bool good = value && (text[0] == 'k' ? keys_sort(value) : !cJSON_IsObject(value) && !cJSON_IsArray(value));
    const char *name = good ? canonical(w, text[0] == 'k' ? "k:" : "v:", value) : NULL;
    cJSON_Delete(value);
    return name;
}

static int by_name(const void *x, const void *y)
{
    const struct fields *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static enum err read_level(struct fields_work *w, const cJSON *tree, int depth, const struct fields **out,
                           bool *itself);

/* Nodes of one level, in the order of the text. */
static enum err read_nodes(struct fields_work *w, const cJSON *tree, int depth, struct fields *nodes, size_t *count,
                           bool *itself)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, tree) {
        if (strcmp(each->string, ".") == 0) {
            *itself = true;
            continue;
        }
        struct fields *f = &nodes[(*count)++];
        *f = (struct fields){.name = element_read(w, each->string)};
        if (!f->name)
            return w->nomem ? ERR_NOMEM : ERR_INVALID;
        enum err e = read_level(w, each, depth + 1, &f->child, &f->member);
        if (e != OK)
            return e;
        f->member = f->member || !f->child;
    }
    return OK;
}

static enum err read_level(struct fields_work *w, const cJSON *tree, int depth, const struct fields **out, bool *itself)
{
    struct fields_list l = {0};
    size_t count = 0;
    *out = NULL;
    *itself = false;
    if (!cJSON_IsObject(tree) || depth > FIELDS_DEPTH_MAX + 1)
        return ERR_INVALID;
    size_t most = (size_t)cJSON_GetArraySize(tree);
    struct fields *nodes = most ? calloc(most, sizeof *nodes) : NULL;
    if (most && !nodes)
        return ERR_NOMEM;
    enum err e = read_nodes(w, tree, depth, nodes, &count, itself);
    if (e == OK && count)
        qsort(nodes, count, sizeof *nodes, by_name);
    for (size_t i = 0; i < count && e == OK; i++) {
        if (i && strcmp(nodes[i].name, nodes[i - 1].name) == 0)
            continue;
        fields_append(w, &l, nodes[i].name, nodes[i].member, nodes[i].child);
    }
    free(nodes);
    *out = l.first;
    return e == OK && w->nomem ? ERR_NOMEM : e;
}

enum err fields_read(struct fields_work *w, const cJSON *tree, const struct fields **out)
{
    bool itself;
    return read_level(w, tree, 0, out, &itself);
}

/* ---- writing ---- */

static void put_text(const char *text, struct buf *out)
{
    buf_put_char(out, '"');
    for (; *text; text++) {
        if ((unsigned char)*text < 32)
            buf_printf(out, "\\u%04x", (unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            buf_printf(out, "\\%c", *text);
        else
            buf_put_char(out, *text);
    }
    buf_put_char(out, '"');
}

static void put_level(const struct fields *set, bool itself, struct buf *out)
{
    buf_put_str(out, itself && set ? "{\".\":{}," : "{");
    for (const struct fields *f = set; f; f = f->next) {
        if (f != set)
            buf_put_char(out, ',');
        put_text(f->name, out);
        buf_put_char(out, ':');
        put_level(f->child, f->member, out);
    }
    buf_put_char(out, '}');
}

void fields_put(const struct fields *set, struct buf *out)
{
    put_level(set, false, out);
}

/* ---- telling ---- */

struct telling {
    fields_told_fn *told;
    void *arg;
    size_t len;
    char path[PATH_MAX_BYTES];
};

static void add(struct telling *t, const char *text)
{
    size_t n = strlen(text), room = sizeof t->path - 1 - t->len;
    n = n < room ? n : room;
    memcpy(t->path + t->len, text, n);
    t->path[t->len += n] = 0;
}

static void add_value(struct telling *t, const cJSON *value)
{
    char *text = cJSON_PrintUnformatted(value);
    add(t, text ? text : "?");
    cJSON_free(text);
}

static void add_element(struct telling *t, const char *name)
{
    if (name[0] == 'f') {
        add(t, ".");
        add(t, name + 2);
        return;
    }
    cJSON *keys = name[0] == 'k' ? cJSON_Parse(name + 2) : NULL;
    add(t, "[");
    if (name[0] == 'v')
        add(t, "=");
    if (name[0] != 'k')
        add(t, name + 2);
    for (const cJSON *each = keys ? keys->child : NULL; each; each = each->next) {
        add(t, each->string);
        add(t, "=");
        add_value(t, each);
        if (each->next)
            add(t, ",");
    }
    add(t, "]");
    cJSON_Delete(keys);
}

static void tell(struct telling *t, const struct fields *set)
{
    for (; set; set = set->next) {
        size_t before = t->len;
        add_element(t, set->name);
        if (set->member)
            t->told(t->arg, t->path);
        tell(t, set->child);
        t->path[t->len = before] = 0;
    }
}

void fields_each(const struct fields *set, fields_told_fn *told, void *arg)
{
    struct telling t = {.told = told, .arg = arg};
    tell(&t, set);
}
