/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters as a Trigger spells them: from a tree to the compiled filter, every mistake told at its place. A filter that
 * is wrong is refused whole: a clause that were skipped would let events through that nobody asked for.
 */
#include "filters.h"

#include <stdlib.h>

#include "array.h"
#include "tree.h"

/* The parts of a filter while they are read. */
struct parts {
    struct filter **list;
    size_t count, cap;
};

static void parts_fini(struct parts *p)
{
    for (size_t i = 0; i < p->count; i++)
        filter_unref(p->list[i]);
    free(p->list);
}

static enum err parts_add(struct parts *p, struct filter *f)
{
    if (!array_reserve(&p->list, &p->cap, p->count + 1, sizeof(struct filter *))) {
        filter_unref(f);
        return ERR_NOMEM;
    }
    p->list[p->count++] = f;
    return OK;
}

/* Of two outcomes: a want of memory is no mistake of the reader's, and goes before one. */
static enum err graver(enum err a, enum err b)
{
    return !a || b == ERR_NOMEM ? b : a;
}

/* What a constructor said, told at the node. */
static enum err told(struct check *c, const cJSON *node, enum err e, const struct diag *d)
{
    if (e == ERR_NOMEM)
        c->nomem = true;
    else if (e && d->line > 1)
        check_error(c, node, "line %d, column %d: %s", d->line, d->column, d->text);
    else if (e && d->column)
        check_error(c, node, "column %d: %s", d->column, d->text);
    else if (e)
        check_error(c, node, "%s", d->text);
    return e;
}

/* All parts as one filter: one alone stands for itself. */
static enum err join(struct check *c, const cJSON *node, enum filter_join how, const struct parts *p,
                     struct filter **out)
{
    struct diag d = {0};
    if (p->count == 1 && how != FILTER_NOT) {
        *out = filter_ref(p->list[0]);
        return OK;
    }
    return told(c, node, filter_join(how, p->list, p->count, out, &d), &d);
}

/* Knative's names begin with a letter, which CloudEvents itself does not ask. */
static bool name_good(struct check *c, const cJSON *node)
{
    const char *name = node->string;
    if (name[0] >= 'a' && name[0] <= 'z' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(name))
        return true;
    check_error_key(c, node,
                    "is no name of an attribute; one consists of a-z and 0-9 and begins with a letter, such as type");
    return false;
}

static enum err read_attribute(struct check *c, const cJSON *node, enum filter_test test, struct parts *p)
{
    struct diag d = {0};
    struct filter *f;
    if (!name_good(c, node))
        return ERR_INVALID;
    if (!cJSON_IsString(node)) {
        check_error(c, node, "must be a string, in quotes: attributes are compared as text");
        return ERR_INVALID;
    }
    enum err e = filter_attribute(test, slice_str(node->string), slice_str(node->valuestring), &f, &d);
    return e ? told(c, node, e, &d) : parts_add(p, f);
}

/* Reads each of a map's members or a list's elements; goes on after a mistake, so that all are told. */
static enum err read_attributes(struct check *c, const cJSON *map, enum filter_test test, bool empty_is_any,
                                struct parts *p)
{
    enum err first = OK;
    const cJSON *node;
    cJSON_ArrayForEach(node, map) {
        size_t before = path_down(c, node->string);
        bool any = empty_is_any && cJSON_IsString(node) && !node->valuestring[0];
        enum err e = read_attribute(c, node, any ? FILTER_PRESENT : test, p);
        first = graver(first, e);
        path_up(c, before);
    }
    return first;
}

static enum err read_one(struct check *c, const cJSON *object, int depth, struct filter **out);

static enum err read_list(struct check *c, const cJSON *list, int depth, struct parts *p)
{
    enum err first = OK;
    const cJSON *node;
    size_t i = 0;
    cJSON_ArrayForEach(node, list) {
        struct filter *f;
        size_t before = path_down_index(c, i++);
        enum err e = read_one(c, node, depth, &f);
        e = e ? e : parts_add(p, f);
        first = graver(first, e);
        path_up(c, before);
    }
    return first;
}

static enum err read_map(struct check *c, const cJSON *node, enum filter_test test, struct filter **out)
{
    struct parts p = {0};
    if (!cJSON_IsObject(node) || !node->child) {
        check_error(c, node, "must be a map of one or more attributes, such as {type: com.example.order}");
        return ERR_INVALID;
    }
    enum err e = read_attributes(c, node, test, false, &p);
    e = e ? e : join(c, node, FILTER_ALL, &p, out);
    parts_fini(&p);
    return e;
}

static enum err read_join(struct check *c, const cJSON *node, enum filter_join how, int depth, struct filter **out)
{
    struct parts p = {0};
    if (!cJSON_IsArray(node) || !node->child) {
        check_error(c, node, "must be a list of one or more filters, such as [{exact: {type: com.example.order}}]");
        return ERR_INVALID;
    }
    enum err e = read_list(c, node, depth + 1, &p);
    e = e ? e : join(c, node, how, &p, out);
    parts_fini(&p);
    return e;
}

static enum err read_not(struct check *c, const cJSON *node, int depth, struct filter **out)
{
    struct diag d = {0};
    struct filter *f;
    enum err e = read_one(c, node, depth + 1, &f);
    if (e)
        return e;
    e = told(c, node, filter_join(FILTER_NOT, &f, 1, out, &d), &d);
    filter_unref(f);
    return e;
}

static enum err read_cesql(struct check *c, const cJSON *node, struct filter **out)
{
    struct diag d = {0};
    if (!cJSON_IsString(node)) {
        check_error(c, node, "must be a string: a CESQL expression such as \"type = 'com.example.order'\"");
        return ERR_INVALID;
    }
    return told(c, node, filter_cesql(slice_str(node->valuestring), out, &d), &d);
}

static enum err read_dialect(struct check *c, const cJSON *node, int depth, struct filter **out)
{
    static const char *const words[] = {"exact", "prefix", "suffix", "all", "any", "not", "cesql"};
    const char *word = node->string;
    if (strcmp(word, "exact") == 0)
        return read_map(c, node, FILTER_EXACT, out);
    if (strcmp(word, "prefix") == 0)
        return read_map(c, node, FILTER_PREFIX, out);
    if (strcmp(word, "suffix") == 0)
        return read_map(c, node, FILTER_SUFFIX, out);
    if (strcmp(word, "all") == 0)
        return read_join(c, node, FILTER_ALL, depth, out);
    if (strcmp(word, "any") == 0)
        return read_join(c, node, FILTER_ANY, depth, out);
    if (strcmp(word, "not") == 0)
        return read_not(c, node, depth, out);
    if (strcmp(word, "cesql") == 0 || strcmp(word, "sql") == 0) /* sql: the Subscriptions API's own word */
        return read_cesql(c, node, out);
    const char *near = word_near(word, words, sizeof words / sizeof words[0]);
    check_error_key(c, node, "is no dialect%s%s; the dialects are exact, prefix, suffix, all, any, not and cesql",
                    near ? "; did you mean " : "", near ? near : "");
    return ERR_INVALID;
}

static enum err read_one(struct check *c, const cJSON *object, int depth, struct filter **out)
{
    if (!cJSON_IsObject(object) || !object->child) {
        check_error(c, object, "must be a filter: a map with one dialect, such as {exact: {type: com.example.order}}");
        return ERR_INVALID;
    }
    if (object->child->next) {
        check_error(c, object, "has more than one dialect; write each in an element of its own, or join them with all");
        return ERR_INVALID;
    }
    if (depth > FILTER_DEPTH_MAX) {
        check_error(c, object, "is nested more than %d deep", FILTER_DEPTH_MAX);
        return ERR_INVALID;
    }
    size_t before = path_down(c, object->child->string);
    enum err e = read_dialect(c, object->child, depth, out);
    path_up(c, before);
    return e;
}

enum err filter_read(struct check *c, const cJSON *list, struct filter **out)
{
    struct parts p = {0};
    if (!list || (cJSON_IsArray(list) && !list->child)) {
        *out = NULL;
        return OK;
    }
    if (!cJSON_IsArray(list)) {
        check_error(c, list, "must be a list of filters, such as [{exact: {type: com.example.order}}]");
        return ERR_INVALID;
    }
    enum err e = read_list(c, list, 1, &p);
    e = e ? e : join(c, list, FILTER_ALL, &p, out);
    parts_fini(&p);
    return e;
}

enum err filter_read_attributes(struct check *c, const cJSON *map, struct filter **out)
{
    struct parts p = {0};
    if (!map || (cJSON_IsObject(map) && !map->child)) {
        *out = NULL;
        return OK;
    }
    if (!cJSON_IsObject(map)) {
        check_error(c, map, "must be a map of attributes, such as {type: com.example.order}");
        return ERR_INVALID;
    }
    enum err e = read_attributes(c, map, FILTER_EXACT, true, &p);
    e = e ? e : join(c, map, FILTER_ALL, &p, out);
    parts_fini(&p);
    return e;
}

/* ---- from a text ---- */

struct text_reading {
    struct check check;
    struct filter **out;
    enum err e; /* of the filter; ERR_INVALID until it was read */
};

static void on_document(void *arg, cJSON *root)
{
    struct text_reading *t = arg;
    t->e = cJSON_IsArray(root) ? filter_read(&t->check, root, t->out) : read_one(&t->check, root, 1, t->out);
    cJSON_Delete(root);
}

static void on_mistake(void *arg, struct place at, const char *text)
{
    struct text_reading *t = arg;
    if (problem_add(t->check.problems, false, NULL, at, NULL, NULL, text) != OK)
        t->check.nomem = true;
}

static enum err parse_json(struct slice text, struct filter **out, struct problems *p)
{
    struct places places;
    places_init(&places);
    struct filter *filter = NULL;
    size_t errors = p->errors;
    struct text_reading t = {.check = {.problems = p, .places = &places}, .out = &filter, .e = ERR_INVALID};
    struct reading r = {
        .places = &places, .nodes_left = MANIFEST_NODES_MAX, .document = on_document, .mistake = on_mistake, .arg = &t};
    enum err e = json_read(text, &r);
    places_fini(&places);
    if (e == OK && !t.check.nomem && t.e == OK && p->errors == errors) {
        *out = filter;
        return OK;
    }
    filter_unref(filter); /* it was read, but for a mistake beside it: a name that is there twice */
    return e || t.check.nomem || t.e == ERR_NOMEM ? ERR_NOMEM : ERR_INVALID;
}

enum err filter_parse(struct slice text, struct filter **out, struct problems *p)
{
    struct diag d = {0};
    struct slice rest = text;
    while (rest.len && strchr(" \t\r\n", rest.ptr[0]))
        rest = slice_from(rest, 1);
    if (rest.len && (rest.ptr[0] == '{' || rest.ptr[0] == '['))
        return parse_json(text, out, p);
    enum err e = filter_cesql(text, out, &d);
    if (e == ERR_INVALID &&
        problem_add(p, false, NULL, (struct place){d.line ? d.line : 1, d.column}, NULL, NULL, d.text) != OK)
        return ERR_NOMEM;
    return e;
}
