/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON into a cJSON tree, on the strict scanner (json.h): cJSON's own parser takes what is no JSON and changes numbers.
 * Duplicate names are a mistake.
 */
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "json.h"
#include "resource.h"
#include "tree.h"

struct walk {
    struct reading *reading;
    const char *counted; /* up to here lines are counted */
    struct place at;
    bool nomem, failed;
};

/* Values come in the order of the text, so lines are counted once. */
static struct place place_at(struct walk *w, const char *p)
{
    for (; w->counted < p; w->counted++) {
        w->at.column++;
        if (*w->counted == '\n') {
            w->at.line++;
            w->at.column = 1;
        }
    }
    return w->at;
}

static void mistake(struct walk *w, struct place at, const char *text)
{
    w->failed = true;
    w->reading->mistake(w->reading->arg, at, text);
}

/* The characters of a string; NULL after a mistake or without memory. */
static char *characters(struct walk *w, struct slice quoted, struct place at)
{
    char *text = malloc(quoted.len);
    if (!text) {
        w->nomem = true;
        return NULL;
    }
    size_t n = json_unescape_into(quoted, text);
    text[n] = 0;
    if (n && memchr(text, 0, n)) {
        mistake(w, at, "a NUL character (\\u0000) cannot be part of a value");
        free(text);
        return NULL;
    }
    return text;
}

static cJSON *node_of(struct walk *w, struct json_value v, struct place at)
{
    cJSON *node = NULL;
    char *text;
    switch (v.type) {
    case JSON_NULL:
        node = cJSON_CreateNull();
        break;
    case JSON_FALSE:
    case JSON_TRUE:
        node = cJSON_CreateBool(v.type == JSON_TRUE);
        break;
    case JSON_NUMBER:
        if (v.raw.len > 400) {
            mistake(w, at, "this number is too long");
            return NULL;
        }
        node = tree_number(v.raw);
        break;
    case JSON_STRING:
        text = characters(w, v.raw, at);
        node = text ? cJSON_CreateString(text) : NULL;
        free(text);
        break;
    case JSON_OBJECT:
        node = cJSON_CreateObject();
        break;
    case JSON_ARRAY:
        node = cJSON_CreateArray();
        break;
    }
    if (!node && !w->failed)
        w->nomem = true;
    return node;
}

/* Recursion is bounded: json_check refused deeper nesting. */
static cJSON *build(struct walk *w, struct json_value v, struct place key)
{
    struct place at = place_at(w, v.raw.ptr);
    if (w->reading->nodes_left == 0) {
        mistake(w, at, "the document has too many values: at most 100000 are allowed");
        return NULL;
    }
    w->reading->nodes_left--;
    cJSON *node = node_of(w, v, at);
    if (node && !places_put(w->reading->places, node, at, key))
        w->nomem = true;
    if (!node || (v.type != JSON_OBJECT && v.type != JSON_ARRAY))
        return node;
    struct json_walk each;
    json_walk_begin(&each, v);
    while (!w->nomem && !w->failed && json_walk_next(&each)) {
        struct place name_at = {0, 0};
        char *name = NULL;
        if (v.type == JSON_OBJECT) {
            name_at = place_at(w, each.name.ptr);
            name = characters(w, each.name, name_at);
            if (!name)
                break;
        }
        cJSON *child = build(w, each.value, name_at);
        if (child && name && places_key_find(w->reading->places, node, name)) {
            char text[200];
            snprintf(text, sizeof text, "the name \"%.100s\" is there twice", name);
            w->reading->mistake(w->reading->arg, name_at, text);
        }
        bool added = child && (name ? cJSON_AddItemToObject(node, name, child) : cJSON_AddItemToArray(node, child));
        if (child && !added) {
            cJSON_Delete(child);
            w->nomem = true;
        }
        if (added && name && !places_key_find(w->reading->places, node, name) &&
            !places_key_add(w->reading->places, node, child))
            w->nomem = true;
        free(name);
    }
    return node;
}

enum err json_read(struct slice text, struct reading *r)
{
    struct json_value v;
    struct diag d = {0};
    enum err e = json_check(text, MANIFEST_DEPTH_MAX, &v, &d);
    if (e == ERR_NOMEM)
        return e;
    if (e != OK) {
        r->mistake(r->arg, (struct place){d.line, d.column}, d.text);
        return OK;
    }
    struct walk w = {.reading = r, .counted = text.ptr, .at = {1, 1}};
    cJSON *root = build(&w, v, (struct place){0, 0});
    if (w.nomem || w.failed) {
        cJSON_Delete(root);
        return w.nomem ? ERR_NOMEM : OK;
    }
    places_keys_forget(r->places);
    r->document(r->arg, root);
    places_forget(r->places);
    return OK;
}
