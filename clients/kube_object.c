/* SPDX-License-Identifier: Apache-2.0
 *
 * What an API server says, taken apart: objects, the lines of a watch, the pages of a list. Pure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube.h"
#include "text.h"

/* ---- objects ---- */

/* A member that must be a string and fit, into `out`; a missing one leaves it as it is. */
static enum err text_at(struct json_value object, const char *const *path, char *out, size_t size, struct diag *d)
{
    struct json_value v;
    if (!json_find(object, path, &v) || v.type == JSON_NULL)
        return OK;
    const char *name = path[1] ? path[1] : path[0];
    if (v.type != JSON_STRING)
        return diag_set(d, ERR_INVALID, "%s is no string", name);
    if (v.raw.len - 2 >= size)
        return diag_set(d, ERR_INVALID, "%s has more than %zu bytes", name, size - 1);
    size_t n = json_unescape_into(v.raw, out);
    out[n] = '\0';
    if (memchr(out, '\0', n) || strpbrk(out, "\r\n"))
        return diag_set(d, ERR_INVALID, "%s holds a control character", name);
    return OK;
}

/* resourceVersion, "1234": since Kubernetes 1.35 promised to be a number that grows, before that it was one all the
 * same. */
static enum err version_at(struct json_value object, uint64_t *out, struct diag *d)
{
    char text[32] = "";
    enum err e = text_at(object, (const char *const[]){"metadata", "resourceVersion", NULL}, text, sizeof text, d);
    if (e == OK && decimal_parse(slice_str(text), INT64_MAX, out) != OK)
        e = diag_set(d, ERR_INVALID, "metadata.resourceVersion is \"%s\", no number", text);
    return e;
}

/* The owner whose `controller` is true. */
static enum err read_owner(struct json_value object, struct kube_meta *m, struct diag *d)
{
    struct json_value owners, is;
    struct json_walk w;
    m->owner_api_version[0] = m->owner_kind[0] = '\0';
    if (!json_find(object, (const char *const[]){"metadata", "ownerReferences", NULL}, &owners) ||
        owners.type != JSON_ARRAY)
        return OK;
    json_walk_begin(&w, owners);
    while (json_walk_next(&w)) {
        if (w.value.type != JSON_OBJECT || !json_find(w.value, (const char *const[]){"controller", NULL}, &is) ||
            is.type != JSON_TRUE)
            continue;
        enum err e = text_at(w.value, (const char *const[]){"apiVersion", NULL}, m->owner_api_version,
                             sizeof m->owner_api_version, d);
        return e == OK ? text_at(w.value, (const char *const[]){"kind", NULL}, m->owner_kind, sizeof m->owner_kind, d)
                       : e;
    }
    return OK;
}

enum err kube_meta_read(struct json_value object, const char *api_version, const char *kind, struct kube_meta *m,
                        struct diag *d)
{
    if (object.type != JSON_OBJECT)
        return diag_set(d, ERR_INVALID, "it is no object");
    snprintf(m->api_version, sizeof m->api_version, "%s", api_version);
    snprintf(m->kind, sizeof m->kind, "%s", kind);
    m->namespace_name[0] = m->name[0] = m->uid[0] = '\0';
    const struct {
        const char *const *path;
        char *out;
        size_t size;
    } texts[] = {
        {(const char *const[]){"apiVersion", NULL}, m->api_version, sizeof m->api_version},
        {(const char *const[]){"kind", NULL}, m->kind, sizeof m->kind},
        {(const char *const[]){"metadata", "namespace", NULL}, m->namespace_name, sizeof m->namespace_name},
        {(const char *const[]){"metadata", "name", NULL}, m->name, sizeof m->name},
        {(const char *const[]){"metadata", "uid", NULL}, m->uid, sizeof m->uid},
    };
    enum err e = OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && e == OK; i++)
        e = text_at(object, texts[i].path, texts[i].out, texts[i].size, d);
    if (e == OK)
        e = version_at(object, &m->version, d);
    return e == OK ? read_owner(object, m, d) : e;
}

/* ---- a watch ---- */

void kube_lines_init(struct kube_lines *l, size_t limit)
{
    buf_init(&l->line, limit);
    l->limit = limit;
    l->skipped = 0;
    l->ended = false;
}

void kube_lines_fini(struct kube_lines *l)
{
    buf_fini(&l->line);
}

/* Keeps a part of a line, or counts it where the line has too many already. */
static enum err keep(struct kube_lines *l, struct slice part)
{
    if (l->skipped || part.len > l->limit - l->line.len) {
        l->skipped += part.len + l->line.len;
        buf_fini(&l->line);
        return OK;
    }
    buf_put(&l->line, part);
    return buf_error(&l->line);
}

enum err kube_lines_next(struct kube_lines *l, struct slice *piece, struct slice *line)
{
    if (l->ended) {
        buf_clear(&l->line);
        l->skipped = 0;
        l->ended = false;
    }
    const char *end = piece->len ? memchr(piece->ptr, '\n', piece->len) : NULL;
    size_t n = end ? (size_t)(end - piece->ptr) + 1 : piece->len;
    struct slice part = slice_of(piece->ptr, n);
    *piece = slice_from(*piece, n);
    if (end && l->line.len == 0 && !l->skipped && n <= l->limit) { /* whole in the piece, as nearly all are */
        *line = slice_of(part.ptr, n - 1);
        return OK;
    }
    enum err e = n ? keep(l, part) : OK;
    if (e != OK || !end)
        return e == OK ? ERR_PENDING : e;
    l->ended = true;
    if (l->skipped)
        return ERR_TOO_LARGE;
    *line = slice_of(l->line.ptr, l->line.len - 1);
    return OK;
}

static void read_failure(struct json_value object, struct kube_change *c)
{
    struct json_value code;
    char number[16] = "";
    uint64_t n = 0;
    if (json_find(object, (const char *const[]){"code", NULL}, &code) && code.type == JSON_NUMBER &&
        code.raw.len < sizeof number && decimal_parse(code.raw, 999, &n) != OK)
        n = 0;
    c->what = KUBE_FAILED;
    c->code = (int)n;
    c->text[0] = '\0';
    struct diag why = {0};
    if (text_at(object, (const char *const[]){"message", NULL}, c->text, sizeof c->text, &why) != OK)
        c->text[0] = '\0';
}

enum err kube_change_read(struct slice line, struct kube_change *c, struct diag *d)
{
    struct json_value v, object;
    char type[16] = "";
    enum err e = json_check(line, KUBE_DEPTH_MAX, &v, d);
    if (e != OK)
        return e;
    if (v.type != JSON_OBJECT || !json_find(v, (const char *const[]){"object", NULL}, &object) ||
        object.type != JSON_OBJECT)
        return diag_set(d, ERR_INVALID, "it has no object");
    e = text_at(v, (const char *const[]){"type", NULL}, type, sizeof type, d);
    if (e != OK)
        return e;
    c->object = object.raw;
    if (strcmp(type, "ERROR") == 0) {
        read_failure(object, c);
        return OK;
    }
    e = kube_meta_read(object, "", "", &c->meta, d);
    c->what = strcmp(type, "BOOKMARK") == 0 ? KUBE_BOOKMARK : KUBE_CHANGED;
    c->verb = strcmp(type, "ADDED") == 0 ? KUBE_ADD : strcmp(type, "MODIFIED") == 0 ? KUBE_UPDATE : KUBE_DELETE;
    if (e == OK && c->what == KUBE_CHANGED && c->verb == KUBE_DELETE && strcmp(type, "DELETED") != 0)
        return diag_set(d, ERR_INVALID, "its type is \"%s\"", type);
    return e;
}

/* ---- a list ---- */

enum err kube_page_read(struct slice body, struct kube_page *p, struct diag *d)
{
    struct json_value v, next;
    enum err e = json_check(body, KUBE_DEPTH_MAX, &v, d);
    if (e != OK)
        return e;
    if (v.type != JSON_OBJECT || !json_find(v, (const char *const[]){"items", NULL}, &p->items))
        return diag_set(d, ERR_INVALID, "it is no list of objects");
    if (p->items.type == JSON_NULL)
        p->items = (struct json_value){JSON_ARRAY, SLICE("[]")};
    if (p->items.type != JSON_ARRAY)
        return diag_set(d, ERR_INVALID, "items is no array");
    p->next = SLICE("");
    if (json_find(v, (const char *const[]){"metadata", "continue", NULL}, &next) && next.type == JSON_STRING &&
        next.raw.len > 2)
        p->next = next.raw;
    return version_at(v, &p->version, d);
}

void kube_put_query(struct buf *b, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("-._~", c)))
            buf_put_char(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}
