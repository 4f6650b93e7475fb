/* SPDX-License-Identifier: Apache-2.0
 *
 * Selectors (Kubernetes, "Labels and Selectors", "Field Selectors"). Requirements, all of which must hold:
 *
 *     labels:  a=b  a==b  a!=b  a in (x,y)  a notin (x)  a  !a      a key that is not there is not equal to anything
 *     fields:  metadata.name=x  metadata.namespace!=y               of Events also involvedObject.*, reason, type
 *
 * Pure functions; tests/fuzz/fuzz_selector.c.
 */
#include <ctype.h>
#include <stdlib.h>

#include "kubernetes.h"

#define REQUIREMENTS_MAX 64 /* of one selector; each object of a list is held against all of them */
#define VALUES_MAX 256      /* of one set */

struct requirement {
    enum { IS, IS_NOT, IN, NOT_IN, EXISTS, EXISTS_NOT } op;
    char *key;
    char **values;
    size_t value_count;
};

struct api_selector {
    bool of_fields;
    struct requirement list[REQUIREMENTS_MAX];
    size_t count;
};

void api_selector_free(struct api_selector *s)
{
    for (size_t i = 0; s && i < s->count; i++) {
        for (size_t j = 0; j < s->list[i].value_count; j++)
            free(s->list[i].values[j]);
        free(s->list[i].values);
        free(s->list[i].key);
    }
    free(s);
}

/* ---- reading ---- */

struct reader {
    struct slice rest;
    struct slice whole;
    struct api_selector *out;
    struct diag *diag;
};

static enum err refuse(struct reader *r, const char *what)
{
    r->diag->column = (int)(r->whole.len - r->rest.len) + 1;
    return diag_set(r->diag, ERR_INVALID, "unable to parse requirement: at character %d: %s", r->diag->column, what);
}

static void skip_space(struct reader *r)
{
    while (r->rest.len && isspace((unsigned char)*r->rest.ptr))
        r->rest = slice_from(r->rest, 1);
}

static bool accept(struct reader *r, struct slice word)
{
    if (!slice_has_prefix(r->rest, word))
        return false;
    r->rest = slice_from(r->rest, word.len);
    return true;
}

/* What may stand in a key, a value or a word; fields may have anything that is no operator. */
static bool is_word(const struct reader *r, char c)
{
    return isalnum((unsigned char)c) || memchr("-_./", c, 4) || (r->out->of_fields && !memchr(",=!()\\", c, 6));
}

static struct slice word(struct reader *r)
{
    size_t n = 0;
    skip_space(r);
    while (n < r->rest.len && is_word(r, r->rest.ptr[n]))
        n++;
    struct slice taken = slice_of(r->rest.ptr, n);
    r->rest = slice_from(r->rest, n);
    return taken;
}

static enum err add_value(struct requirement *q, struct slice value)
{
    if (!q->values && !(q->values = calloc(VALUES_MAX, sizeof *q->values)))
        return ERR_NOMEM;
    if (!(q->values[q->value_count] = strndup(value.ptr ? value.ptr : "", value.len)))
        return ERR_NOMEM;
    q->value_count++;
    return OK;
}

static enum err read_set(struct reader *r, struct requirement *q)
{
    skip_space(r);
    if (!accept(r, SLICE("(")))
        return refuse(r, "expected '('");
    do {
        if (q->value_count == VALUES_MAX)
            return refuse(r, "too many values");
        enum err e = add_value(q, word(r));
        if (e != OK)
            return e;
        skip_space(r);
    } while (accept(r, SLICE(",")));
    return accept(r, SLICE(")")) ? OK : refuse(r, "expected ',' or ')'");
}

static enum err read_operator(struct reader *r, struct requirement *q)
{
    skip_space(r);
    if (accept(r, SLICE("!="))) {
        q->op = IS_NOT;
    } else if (accept(r, SLICE("==")) || accept(r, SLICE("="))) {
        q->op = IS;
    } else if (!r->out->of_fields && (r->rest.len == 0 || *r->rest.ptr == ',')) {
        q->op = EXISTS;
        return OK;
    } else {
        struct slice before = r->rest, op = word(r);
        if (!r->out->of_fields && (slice_eq(op, SLICE("in")) || slice_eq(op, SLICE("notin")))) {
            q->op = op.len == 2 ? IN : NOT_IN;
            return read_set(r, q);
        }
        r->rest = before;
        return refuse(r, r->out->of_fields ? "expected '=' or '!='" : "expected '=', '!=', 'in' or 'notin'");
    }
    return add_value(q, word(r));
}

static enum err read_requirement(struct reader *r)
{
    if (r->out->count == REQUIREMENTS_MAX)
        return refuse(r, "too many requirements");
    struct requirement *q = &r->out->list[r->out->count];
    skip_space(r);
    bool not_there = !r->out->of_fields && accept(r, SLICE("!"));
    struct slice key = word(r);
    if (!key.len)
        return refuse(r, "expected a key");
    *q = (struct requirement){.op = EXISTS_NOT, .key = strndup(key.ptr, key.len)};
    if (!q->key)
        return ERR_NOMEM;
    r->out->count++;
    enum err e = not_there ? OK : read_operator(r, q);
    skip_space(r);
    return e;
}

static enum err read(struct slice text, bool of_fields, struct api_selector **out, struct diag *d)
{
    struct reader r = {text, text, NULL, d};
    *out = NULL;
    skip_space(&r);
    if (r.rest.len == 0)
        return OK;
    if (!(r.out = calloc(1, sizeof *r.out)))
        return ERR_NOMEM;
    r.out->of_fields = of_fields;
    enum err e;
    do
        e = read_requirement(&r);
    while (e == OK && accept(&r, SLICE(",")));
    if (e == OK && r.rest.len)
        e = refuse(&r, "expected ','");
    if (e == OK)
        *out = r.out;
    else
        api_selector_free(r.out);
    return e;
}

enum err api_selector_labels(struct slice text, struct api_selector **out, struct diag *d)
{
    return read(text, false, out, d);
}

/* ---- fields ---- */

static bool known(const char *field, const struct kind *kind)
{
    static const char *const all[] = {"metadata.name", "metadata.namespace"}, *const of_events[] = {
                                                                                  "involvedObject.kind",
                                                                                  "involvedObject.namespace",
                                                                                  "involvedObject.name",
                                                                                  "involvedObject.uid",
                                                                                  "involvedObject.apiVersion",
                                                                                  "reason",
                                                                                  "type"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(field, all[i]) == 0)
            return true;
    if (kind->group[0] || strcmp(kind->kind, "Event") != 0)
        return false;
    for (size_t i = 0; i < sizeof of_events / sizeof of_events[0]; i++)
        if (strcmp(field, of_events[i]) == 0)
            return true;
    return false;
}

enum err api_selector_fields(struct slice text, const struct kind *kind, struct api_selector **out, struct diag *d)
{
    struct api_selector *s = NULL;
    enum err e = read(text, true, &s, d);
    for (size_t i = 0; s && i < s->count; i++)
        if (!known(s->list[i].key, kind))
            e = diag_set(d, ERR_INVALID, "field label not supported: %.100s", s->list[i].key);
    if (e == OK)
        *out = s;
    else
        api_selector_free(s);
    return e;
}

/* ---- matching ---- */

static bool is_one_of(const struct requirement *q, const char *value)
{
    for (size_t i = 0; value && i < q->value_count; i++)
        if (strcmp(q->values[i], value) == 0)
            return true;
    return false;
}

static bool holds(const struct requirement *q, const char *value)
{
    switch (q->op) {
    case IS:
    case IN:
        return is_one_of(q, value);
    case IS_NOT:
    case NOT_IN:
        return !is_one_of(q, value);
    case EXISTS:
        return value;
    default:
        return !value;
    }
}

/* A field that is not there is an empty text, other than a label. */
static const char *field_of(const cJSON *object, const char *key)
{
    char path[200];
    if (snprintf(path, sizeof path, ".%s", key) >= (int)sizeof path)
        return "";
    const char *value = cJSON_GetStringValue(json_path(object, path));
    return value ? value : "";
}

bool api_selector_matches(const struct api_selector *s, const cJSON *object)
{
    const cJSON *labels =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "labels");
    for (size_t i = 0; s && i < s->count; i++) {
        const struct requirement *q = &s->list[i];
        if (!holds(q, s->of_fields ? field_of(object, q->key)
                                   : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(labels, q->key))))
            return false;
    }
    return true;
}

/* ---- of a request ---- */

static bool read_parameter(struct http_request *r, const char *name, const struct kind *kind, bool of_fields,
                           struct api_selector **out)
{
    struct buf text;
    struct diag d = {0};
    buf_init(&text, API_QUERY_MAX);
    enum err e = api_query_form(r, name, &text) ? buf_error(&text) : OK;
    if (e == OK)
        e = of_fields ? api_selector_fields(buf_slice(&text), kind, out, &d)
                      : api_selector_labels(buf_slice(&text), out, &d);
    buf_fini(&text);
    if (e == ERR_NOMEM)
        api_status(r, 500, "InternalError", "out of memory");
    else if (e != OK)
        api_status(r, 400, "BadRequest", "%s: %s", name, d.text[0] ? d.text : "it is too long, or badly escaped");
    return e == OK;
}

bool api_selection_read(struct http_request *r, const struct kind *kind, struct api_selection *s)
{
    *s = (struct api_selection){NULL, NULL};
    if (read_parameter(r, "labelSelector", kind, false, &s->labels) &&
        read_parameter(r, "fieldSelector", kind, true, &s->fields))
        return true;
    api_selection_fini(s);
    return false;
}

bool api_selection_matches(const struct api_selection *s, const cJSON *object)
{
    return api_selector_matches(s->labels, object) && api_selector_matches(s->fields, object);
}

void api_selection_fini(struct api_selection *s)
{
    api_selector_free(s->labels);
    api_selector_free(s->fields);
    *s = (struct api_selection){NULL, NULL};
}
