/* SPDX-License-Identifier: Apache-2.0
 *
 * Patches of JSON: merge (RFC 7396) and operations (RFC 6902) at pointers (RFC 6901). Pure functions; the depth of what
 * comes out is bounded by the reader that checks it afterwards. tests/fuzz/fuzz_json_patch.c.
 */
#include "patch.h"

#include <string.h>

#include "../resource/check.h"
#include "members.h"
#include "text.h"

#define POINTER_MAX 4096 /* bytes of a pointer */
#define DEPTH_MAX 64     /* members deep, of pointers and of values: what the reader refuses afterwards is not built */

/* ---- merging ---- */

static enum err merge(cJSON *target, const cJSON *patch, int depth);

static enum err merge_member(struct members *target, const cJSON *value, int depth)
{
    cJSON *there = members_get(target, value->string);
    if (cJSON_IsNull(value)) {
        members_remove(target, value->string);
        return OK;
    }
    if (!cJSON_IsObject(value))
        return members_put(target, value->string, cJSON_Duplicate(value, true));
    if (!cJSON_IsObject(there)) {
        there = cJSON_CreateObject();
        enum err e = members_put(target, value->string, there);
        if (e != OK)
            return e;
    }
    return merge(there, value, depth + 1);
}

static enum err merge(cJSON *target, const cJSON *patch, int depth)
{
    struct members members;
    const cJSON *value;
    enum err e = depth > DEPTH_MAX ? ERR_INVALID : members_open(&members, target, patch);
    if (e != OK)
        return e;
    cJSON_ArrayForEach(value, patch) {
        if (e == OK)
            e = merge_member(&members, value, depth);
    }
    members_close(&members);
    return e;
}

enum err merge_patch(cJSON *target, const cJSON *patch)
{
    return merge(target, patch, 0);
}

/* ---- pointers ---- */

struct spot {      /* what a pointer leads to */
    cJSON *parent; /* NULL: the whole */
    cJSON *there;  /* NULL: nothing is there (an element behind the last one has its index) */
    char name[POINTER_MAX];
    int index; /* of an array's element */
};

/* One step of a pointer, with its escapes ("~1" is "/", "~0" is "~"). false: a bad one. */
static bool step(const char **at, char out[POINTER_MAX])
{
    size_t n = 0;
    const char *p = *at;
    for (; *p && *p != '/'; p++) {
        if (n == POINTER_MAX - 1)
            return false;
        if (*p != '~') {
            out[n++] = *p;
        } else {
            p++;
            if (*p != '0' && *p != '1')
                return false;
            out[n++] = *p == '1' ? '/' : '~';
        }
    }
    out[n] = '\0';
    *at = p;
    return true;
}

static bool array_index(const char *text, int count, int *out)
{
    uint64_t i;
    if (strcmp(text, "-") == 0) {
        *out = count;
        return true;
    }
    if ((text[0] == '0' && text[1]) || decimal_parse(slice_str(text), (uint64_t)count, &i) != OK)
        return false;
    *out = (int)i;
    return true;
}

/* false: the pointer is bad, or leads through what is not there, or too deep. */
static bool find(cJSON *root, const char *pointer, struct spot *p)
{
    p->parent = NULL;
    p->there = root;
    p->index = -1;
    for (int depth = 0; *pointer; depth++) {
        if (depth == DEPTH_MAX || *pointer++ != '/' || !step(&pointer, p->name))
            return false;
        p->parent = p->there;
        p->index = -1;
        if (cJSON_IsArray(p->parent)) {
            if (!array_index(p->name, cJSON_GetArraySize(p->parent), &p->index))
                return false;
            p->there = cJSON_GetArrayItem(p->parent, p->index);
        } else if (cJSON_IsObject(p->parent)) {
            p->there = cJSON_GetObjectItemCaseSensitive(p->parent, p->name);
        } else {
            return false;
        }
    }
    return true;
}

/* ---- operations ---- */

struct work {
    cJSON **root;
    size_t copied;
    struct diag *diag;
};

static enum err cannot(const struct work *w, const char *op, const char *path, const char *why)
{
    return diag_set(w->diag, ERR_CONFLICT, "the operation \"%s\" at \"%.80s\" cannot be done: %s", op, path, why);
}

/* Whether nothing lies deeper in it than may be: else operations would nest an object beyond any stack. */
static bool shallow(const cJSON *value, int left)
{
    const cJSON *each;
    if (left == 0)
        return false;
    cJSON_ArrayForEach(each, value)
        if (!shallow(each, left - 1))
            return false;
    return true;
}

/* Puts `value` (taken over) where the pointer leads: into an object in place of what is there, into a list before it.
 */
static enum err add(const struct work *w, const char *path, cJSON *value)
{
    struct spot p;
    bool good, deep = !shallow(value, DEPTH_MAX);
    if (deep || !find(*w->root, path, &p)) {
        cJSON_Delete(value);
        return cannot(w, "add", path, deep ? "the value is too deep" : "what it lies in is not there");
    }
    if (!p.parent) {
        cJSON_Delete(*w->root);
        *w->root = value;
        return OK;
    }
    if (p.index >= 0) {
        value->prev =
            value; /* cJSON 1.7.15 of Debian takes NULL there for a broken list, and refuses all but the first */
        good = p.there ? cJSON_InsertItemInArray(p.parent, p.index, value) : cJSON_AddItemToArray(p.parent, value);
    } else {
        cJSON_DeleteItemFromObjectCaseSensitive(p.parent, p.name);
        good = cJSON_AddItemToObject(p.parent, p.name, value);
    }
    if (good)
        return OK;
    cJSON_Delete(value);
    return ERR_NOMEM;
}

static enum err take_out(const struct work *w, const char *op, const char *path, cJSON **out)
{
    struct spot p;
    if (!find(*w->root, path, &p) || !p.there)
        return cannot(w, op, path, "there is nothing");
    if (!p.parent)
        return cannot(w, op, path, "it is the whole object");
    *out = cJSON_DetachItemViaPointer(p.parent, p.there);
    return OK;
}

static enum err replace(const struct work *w, const char *path, cJSON *value)
{
    struct spot p;
    bool there = find(*w->root, path, &p) && p.there;
    if (!there) {
        cJSON_Delete(value);
        return cannot(w, "replace", path, "there is nothing");
    }
    if (p.parent && p.index >= 0)
        cJSON_Delete(cJSON_DetachItemViaPointer(p.parent, p.there));
    return add(w, path, value);
}

static enum err copy_of(struct work *w, const char *from, cJSON **out)
{
    struct spot p;
    if (!find(*w->root, from, &p) || !p.there)
        return cannot(w, "copy", from, "there is nothing");
    char *text = cJSON_PrintUnformatted(p.there);
    size_t n = text ? strlen(text) : 0;
    cJSON_free(text);
    if (w->copied + n > JSON_PATCH_COPIES_MAX)
        return cannot(w, "copy", from, "copies would grow beyond 1 MiB");
    w->copied += n;
    *out = text ? cJSON_Duplicate(p.there, true) : NULL;
    return *out ? OK : ERR_NOMEM;
}

static enum err test(const struct work *w, const char *path, const cJSON *value)
{
    struct spot p;
    return find(*w->root, path, &p) && p.there && json_same(p.there, value)
               ? OK
               : cannot(w, "test", path, "it is another value");
}

/* Whether `inner` lies in `outer`: a value cannot be moved into itself. */
static bool lies_in(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && inner[n] == '/';
}

static enum err move(const struct work *w, const char *from, const char *path)
{
    cJSON *value = NULL;
    if (lies_in(path, from))
        return cannot(w, "move", path, "it lies in what is moved");
    enum err e = take_out(w, "move", from, &value);
    return e == OK ? add(w, path, value) : e;
}

static enum err with_value(struct work *w, const char *op, const char *path, const cJSON *value)
{
    if (strcmp(op, "test") == 0)
        return test(w, path, value);
    cJSON *copy = cJSON_Duplicate(value, true);
    if (!copy)
        return ERR_NOMEM;
    return strcmp(op, "add") == 0 ? add(w, path, copy) : replace(w, path, copy);
}

static enum err with_from(struct work *w, const char *op, const char *from, const char *path)
{
    cJSON *value = NULL;
    if (strcmp(op, "move") == 0)
        return move(w, from, path);
    enum err e = copy_of(w, from, &value);
    return e == OK ? add(w, path, value) : e;
}

static enum err run(struct work *w, const cJSON *operation)
{
    const char *op = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(operation, "op")),
               *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(operation, "path")),
               *from = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(operation, "from"));
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(operation, "value");
    cJSON *gone = NULL;
    if (!op || !path)
        return diag_set(w->diag, ERR_INVALID, "an operation needs \"op\" and \"path\"");
    if (strcmp(op, "remove") == 0) {
        enum err e = take_out(w, op, path, &gone);
        cJSON_Delete(gone);
        return e;
    }
    if (strcmp(op, "add") == 0 || strcmp(op, "replace") == 0 || strcmp(op, "test") == 0)
        return value ? with_value(w, op, path, value)
                     : diag_set(w->diag, ERR_INVALID, "the operation \"%s\" needs \"value\"", op);
    if (strcmp(op, "move") == 0 || strcmp(op, "copy") == 0)
        return from ? with_from(w, op, from, path)
                    : diag_set(w->diag, ERR_INVALID, "the operation \"%s\" needs \"from\"", op);
    return diag_set(w->diag, ERR_CONFLICT, "there is no operation \"%.40s\"", op);
}

enum err json_patch(cJSON **target, const cJSON *patch, struct diag *d)
{
    struct work w = {target, 0, d};
    const cJSON *operation;
    if (!cJSON_IsArray(patch))
        return diag_set(d, ERR_INVALID, "a JSON patch is a list of operations");
    if (cJSON_GetArraySize(patch) > JSON_PATCH_OPERATIONS_MAX)
        return diag_set(d, ERR_INVALID, "there are more than %d operations", JSON_PATCH_OPERATIONS_MAX);
    cJSON_ArrayForEach(operation, patch) {
        enum err e = run(&w, operation);
        if (e != OK)
            return e;
    }
    return OK;
}
