/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML into cJSON trees, by libyaml's event interface: its own tree builder takes quadratic time on hostile input.
 *
 * Bounds: MANIFEST_DEPTH_MAX levels, and a budget of nodes which copies made for aliases count against, so that a bomb
 * ends at its line. Scalars are read as Kubernetes reads them (yaml_scalar.c). Tags beyond YAML's own are refused, as
 * are duplicate keys and keys that are no scalars. `<<` merges.
 *
 * A node joins its parent when it begins, so whatever happens one cJSON_Delete of the root frees all.
 */
#include "yaml_scalar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "array.h"
#include "buf.h"
#include "resource.h"

struct frame {
    cJSON *node;
    char *key; /* of the value that comes next; owned; only in mappings */
    struct place key_place;
    bool key_plain;
    bool merges; /* has a member "<<" */
};

struct anchor {
    char *name;
    cJSON *node;
};

struct yaml {
    yaml_parser_t parser;
    struct reading *reading;
    struct frame frames[MANIFEST_DEPTH_MAX];
    size_t depth;
    cJSON *root;
    cJSON *merged; /* what stood at "<<" */
    struct anchor *anchors;
    size_t anchor_count, anchor_cap;
    bool failed; /* a mistake after which nothing of this text can be trusted */
    bool nomem;
};

static struct place place_of(const yaml_mark_t *m)
{
    return (struct place){(int)m->line + 1, (int)m->column + 1};
}

static void mistake(struct yaml *y, struct place at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void mistake(struct yaml *y, struct place at, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    y->reading->mistake(y->reading->arg, at, text);
}

static void fail(struct yaml *y, struct place at, const char *text)
{
    y->failed = true;
    mistake(y, at, "%s", text);
}

static bool budget(struct yaml *y, struct place at)
{
    if (y->reading->nodes_left == 0) {
        fail(y, at, "the document has too many values, or its aliases expand to too many: at most 100000 are allowed");
        return false;
    }
    y->reading->nodes_left--;
    return true;
}

/* Puts a new node where the next one belongs; takes it over. */
static bool join(struct yaml *y, cJSON *node, struct place at)
{
    if (!node) {
        y->nomem = true;
        return false;
    }
    struct place key_place = {0, 0};
    if (y->depth == 0) {
        y->root = node;
    } else {
        struct frame *f = &y->frames[y->depth - 1];
        if (cJSON_IsArray(f->node)) {
            cJSON_AddItemToArray(f->node, node);
        } else {
            bool merge = f->key_plain && strcmp(f->key, "<<") == 0;
            key_place = f->key_place;
            if (!cJSON_AddItemToObject(f->node, f->key, node)) {
                cJSON_Delete(node);
                y->nomem = true;
                return false;
            }
            free(f->key);
            f->key = NULL;
            f->merges = f->merges || merge;
            if (places_key_find(y->reading->places, f->node, node->string))
                mistake(y, key_place, "the key \"%.100s\" is there twice", node->string);
            else if (!places_key_add(y->reading->places, f->node, node))
                y->nomem = true;
        }
    }
    if (!places_put(y->reading->places, node, at, key_place))
        y->nomem = true;
    return !y->nomem;
}

static void anchor_set(struct yaml *y, const yaml_char_t *name, cJSON *node)
{
    if (!name || y->nomem)
        return;
    bool room = array_reserve(&y->anchors, &y->anchor_cap, y->anchor_count + 1, sizeof *y->anchors);
    char *copy = room ? strdup((const char *)name) : NULL;
    if (!copy) {
        y->nomem = true;
        return;
    }
    y->anchors[y->anchor_count++] = (struct anchor){copy, node};
}

static void anchors_clear(struct yaml *y)
{
    while (y->anchor_count > 0)
        free(y->anchors[--y->anchor_count].name);
}

/* The latest one of that name counts, as YAML says. */
static cJSON *anchor_find(const struct yaml *y, const char *name)
{
    for (size_t i = y->anchor_count; i > 0; i--)
        if (strcmp(y->anchors[i - 1].name, name) == 0)
            return y->anchors[i - 1].node;
    return NULL;
}

/* A copy with places and keys; every node counts. NULL after a mistake or without memory. */
static cJSON *copy(struct yaml *y, const cJSON *from, size_t depth, struct place at)
{
    if (depth > MANIFEST_DEPTH_MAX) {
        fail(y, at, "nesting is too deep: at most 64 levels are allowed");
        return NULL;
    }
    if (!budget(y, at))
        return NULL;
    cJSON *to = cJSON_Duplicate(from, false);
    if (!to || !places_put(y->reading->places, to, places_of(y->reading->places, from),
                           places_key_of(y->reading->places, from))) {
        cJSON_Delete(to);
        y->nomem = true;
        return NULL;
    }
    for (const cJSON *child = from->child; child; child = child->next) {
        cJSON *c = copy(y, child, depth + 1, at);
        if (!c) {
            cJSON_Delete(to);
            return NULL;
        }
        cJSON_AddItemToArray(to, c); /* the key came with the copy */
        if (c->string && !places_key_add(y->reading->places, to, c))
            y->nomem = true;
    }
    return to;
}

static bool key_take(struct yaml *y, const char *text, size_t len, bool plain, struct place at)
{
    struct frame *f = &y->frames[y->depth - 1];
    f->key = strndup(text, len);
    f->key_place = at;
    f->key_plain = plain;
    y->nomem = y->nomem || !f->key;
    return true;
}

static bool wants_key(const struct yaml *y)
{
    return y->depth > 0 && cJSON_IsObject(y->frames[y->depth - 1].node) && !y->frames[y->depth - 1].key;
}

static void on_alias(struct yaml *y, const yaml_event_t *e)
{
    struct place at = place_of(&e->start_mark);
    const char *name = (const char *)e->data.alias.anchor;
    const cJSON *node = anchor_find(y, name);
    if (!node) {
        y->failed = true;
        mistake(y, at,
                "the alias *%.100s refers to an anchor that is not there; write &%.100s before the value it means",
                name, name);
        return;
    }
    for (size_t i = 0; i < y->depth; i++) {
        if (y->frames[i].node == node) {
            y->failed = true;
            mistake(y, at, "the alias *%.100s stands inside of what it refers to", name);
            return;
        }
    }
    if (wants_key(y)) {
        fail(y, at, "an alias cannot be a key here; write the key out");
        return;
    }
    cJSON *c = copy(y, node, y->depth + 1, at);
    if (!c)
        return;
    free(c->string); /* the anchored node's key */
    c->string = NULL;
    join(y, c, places_of(y->reading->places, node));
}

static void on_scalar(struct yaml *y, const yaml_event_t *e)
{
    struct place at = place_of(&e->start_mark);
    struct slice text = slice_of((const char *)e->data.scalar.value, e->data.scalar.length);
    if (text.len && memchr(text.ptr, 0, text.len)) {
        fail(y, at, "a NUL character cannot be part of a value");
        return;
    }
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (wants_key(y)) {
        key_take(y, text.ptr, text.len, plain, at);
        return;
    }
    if (!budget(y, at))
        return;
    const char *why = NULL;
    cJSON *node = yaml_scalar(text, plain, (const char *)e->data.scalar.tag, &why);
    if (why) {
        fail(y, at, why);
        return;
    }
    if (join(y, node, at))
        anchor_set(y, e->data.scalar.anchor, node);
}

static void on_start(struct yaml *y, const yaml_event_t *e, cJSON *node, const yaml_char_t *anchor,
                     const yaml_char_t *tag)
{
    struct place at = place_of(&e->start_mark);
    const char *why = NULL;
    if (!node)
        y->nomem = true;
    else if (tag && strcmp((const char *)tag, YAML_MAP_TAG) != 0 && strcmp((const char *)tag, YAML_SEQ_TAG) != 0)
        why = "tags are not supported; leave it out";
    else if (wants_key(y))
        why = "a key must be a plain name or a string, not a list or a mapping (write \"{...}\" in quotes if text is "
              "meant)";
    else if (y->depth == MANIFEST_DEPTH_MAX)
        why = "nesting is too deep: at most 64 levels are allowed";
    if (why)
        fail(y, at, why);
    if (y->nomem || y->failed || !budget(y, at)) {
        cJSON_Delete(node);
        return;
    }
    if (!join(y, node, at))
        return;
    y->frames[y->depth++] = (struct frame){.node = node};
    anchor_set(y, anchor, node);
}

static void merge_one(struct yaml *y, cJSON *into, const cJSON *from)
{
    for (const cJSON *m = from->child; m && !y->nomem && !y->failed; m = m->next) {
        if (places_key_find(y->reading->places, into, m->string))
            continue;
        cJSON *c = copy(y, m, y->depth + 1, places_of(y->reading->places, m));
        if (!c)
            return;
        cJSON_AddItemToArray(into, c);
        y->nomem = y->nomem || !places_key_add(y->reading->places, into, c);
    }
}

static void on_end(struct yaml *y)
{
    struct frame *f = &y->frames[y->depth - 1];
    if (f->merges) {
        cJSON *from = cJSON_GetObjectItemCaseSensitive(f->node, "<<");
        struct place at = places_of(y->reading->places, from);
        cJSON_DetachItemViaPointer(f->node, from);
        if (cJSON_IsObject(from)) {
            merge_one(y, f->node, from);
        } else {
            const cJSON *each;
            cJSON_ArrayForEach(each, from)
                if (cJSON_IsObject(each))
                    merge_one(y, f->node, each);
            if (!cJSON_IsArray(from))
                mistake(y, at, "<< merges a mapping, or a list of mappings, given by an alias: <<: *name");
        }
        /* The side table still points to it, so it lives as long as the document. */
        if (!y->merged)
            y->merged = cJSON_CreateArray();
        if (!cJSON_AddItemToArray(y->merged, from)) {
            cJSON_Delete(from);
            y->nomem = true;
        }
    }
    y->depth--;
}

static void on_event(struct yaml *y, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        on_scalar(y, e);
        break;
    case YAML_ALIAS_EVENT:
        on_alias(y, e);
        break;
    case YAML_MAPPING_START_EVENT:
        on_start(y, e, cJSON_CreateObject(), e->data.mapping_start.anchor, e->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_start(y, e, cJSON_CreateArray(), e->data.sequence_start.anchor, e->data.sequence_start.tag);
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        on_end(y);
        break;
    case YAML_DOCUMENT_END_EVENT:
        anchors_clear(y);
        places_keys_forget(y->reading->places);
        if (y->root) {
            cJSON *root = y->root;
            y->root = NULL;
            cJSON_Delete(y->merged);
            y->merged = NULL;
            y->reading->document(y->reading->arg, root);
        }
        places_forget(y->reading->places);
        break;
    default:
        break;
    }
}

static void syntax(struct yaml *y)
{
    const yaml_parser_t *p = &y->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        y->nomem = true;
        return;
    }
    if (p->error == YAML_READER_ERROR) {
        mistake(y, place_of(&p->mark), "this is not UTF-8 text: %s", p->problem);
        return;
    }
    const char *problem = p->problem ? p->problem : "the YAML is not well formed";
    const char *hint = "";
    if (strstr(problem, "cannot start any token"))
        hint = "; a tab cannot indent, and a value that begins with @, ` or % needs quotes";
    else if (strstr(problem, "mapping values are not allowed"))
        hint = "; check the indentation, and put a value that holds \": \" in quotes";
    else if (strstr(problem, "did not find expected"))
        hint = "; check the indentation of this line and of those above";
    mistake(y, place_of(&p->problem_mark), "%s%s%s%s", p->context ? p->context : "", p->context ? ": " : "", problem,
            hint);
}

enum err yaml_read(struct slice text, struct reading *r)
{
    struct yaml *y = calloc(1, sizeof *y);
    if (!y)
        return ERR_NOMEM;
    y->reading = r;
    if (!yaml_parser_initialize(&y->parser)) {
        free(y);
        return ERR_NOMEM;
    }
    yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&y->parser, (const unsigned char *)(text.ptr ? text.ptr : ""), text.len);
    bool ended = false;
    while (!ended && !y->failed && !y->nomem) {
        yaml_event_t e;
        if (!yaml_parser_parse(&y->parser, &e)) {
            syntax(y);
            break;
        }
        ended = e.type == YAML_STREAM_END_EVENT;
        on_event(y, &e);
        yaml_event_delete(&e);
    }
    for (size_t i = 0; i < y->depth; i++)
        free(y->frames[i].key);
    cJSON_Delete(y->root);
    cJSON_Delete(y->merged);
    anchors_clear(y);
    free(y->anchors);
    yaml_parser_delete(&y->parser);
    enum err e = y->nomem ? ERR_NOMEM : OK;
    free(y);
    return e;
}
