/* SPDX-License-Identifier: Apache-2.0
 *
 * From a change of an object to its event. Pure. The attributes are those of Knative's ApiServerSource but for the id,
 * which there is random: here it is made of the object's uid and version, so that a change that is told again after a
 * crash is known again. In the form of 2018 (k8sevents) they are those of that source.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kubernetes.h"
#include "text.h"
#include "uuid.h"

#define TEXTS_MAX 8192 /* of the attributes that are put together: names have bounds far below */

static bool wanted_owner(const struct kubernetes_options *o, const struct kube_meta *m)
{
    return !o->owner_kind ||
           (strcmp(o->owner_kind, m->owner_kind) == 0 && strcmp(o->owner_api_version, m->owner_api_version) == 0);
}

/* {"kind":"Pod","namespace":"shop","name":"a","apiVersion":"v1"}, as Kubernetes writes an ObjectReference. */
static void put_reference(struct buf *b, const struct kube_meta *m)
{
    const char *const members[][2] = {
        {"kind", m->kind}, {"namespace", m->namespace_name}, {"name", m->name}, {"apiVersion", m->api_version}};
    bool any = false;
    for (size_t i = 0; i < 4; i++) {
        if (!members[i][1][0])
            continue;
        buf_printf(b, "%s\"%s\":", any ? "," : "{", members[i][0]);
        buf_put_json_string(b, slice_str(members[i][1]));
        any = true;
    }
    buf_put_str(b, any ? "}" : "{}");
}

/* What is known of an object that was deleted while nobody watched. */
static void put_remains(struct buf *b, const struct kube_meta *m)
{
    buf_put_str(b, "{\"apiVersion\":");
    buf_put_json_string(b, slice_str(m->api_version));
    buf_put_str(b, ",\"kind\":");
    buf_put_json_string(b, slice_str(m->kind));
    buf_put_str(b, ",\"metadata\":{\"name\":");
    buf_put_json_string(b, slice_str(m->name));
    if (m->namespace_name[0]) {
        buf_put_str(b, ",\"namespace\":");
        buf_put_json_string(b, slice_str(m->namespace_name));
    }
    buf_put_str(b, ",\"uid\":");
    buf_put_json_string(b, slice_str(m->uid));
    buf_printf(b, ",\"resourceVersion\":\"%llu\"}}", (unsigned long long)m->version);
}

/* Items of a list lack what the list says of all of them. */
static void put_object(struct buf *b, const struct kubernetes_happening *h)
{
    struct json_value v, found;
    struct diag d = {0};
    bool whole = json_check(h->object, KUBE_DEPTH_MAX, &v, &d) != OK || v.type != JSON_OBJECT ||
                 json_find(v, (const char *const[]){"kind", NULL}, &found);
    if (whole) {
        buf_put(b, h->object);
        return;
    }
    struct slice rest = slice_from(v.raw, 1);
    buf_put_str(b, "{\"apiVersion\":");
    buf_put_json_string(b, slice_str(h->meta->api_version));
    buf_put_str(b, ",\"kind\":");
    buf_put_json_string(b, slice_str(h->meta->kind));
    while (rest.len && strchr(" \t\r\n", rest.ptr[0]))
        rest = slice_from(rest, 1);
    buf_put_str(b, rest.len && rest.ptr[0] == '}' ? "" : ",");
    buf_put(b, rest);
}

static void put_data(struct buf *b, const struct kubernetes_options *o, const struct kubernetes_happening *h)
{
    if (o->mode == KUBERNETES_REFERENCE)
        put_reference(b, h->meta);
    else if (h->object.len == 0)
        put_remains(b, h->meta);
    else
        put_object(b, h);
}

/* "/apis/v1/namespaces/shop/pods/a" */
static void put_link(struct buf *b, const struct kube_meta *m, const char *plural)
{
    buf_printf(b, "/apis/%s", m->api_version);
    if (m->namespace_name[0])
        buf_printf(b, "/namespaces/%s", m->namespace_name);
    buf_printf(b, "/%s/%s", plural, m->name);
}

static enum err make_id(const struct kubernetes_happening *h, char out[UUID_TEXT_BYTES])
{
    /* Drawn once, and never to change: whoever has seen an event knows it again. */
    static const unsigned char space[16] = {0x9d, 0x41, 0xc8, 0x0e, 0x77, 0x2b, 0x4a, 0xf6,
                                            0xb0, 0x15, 0x63, 0xd9, 0x8c, 0x3f, 0xe2, 0x54};
    char text[sizeof h->meta->uid + 40];
    snprintf(text, sizeof text, "%s %llu %s", h->meta->uid, (unsigned long long)h->meta->version,
             h->verb == KUBE_DELETE ? "delete" : "is");
    return uuid_named(space, slice_str(text), out);
}

/* The member of a core/v1 Event that names what it is about. */
static void involved(struct slice object, struct kube_meta *m)
{
    struct json_value v, inner;
    struct diag d = {0};
    if (json_check(object, KUBE_DEPTH_MAX, &v, &d) != OK || v.type != JSON_OBJECT ||
        !json_find(v, (const char *const[]){"involvedObject", NULL}, &inner) || inner.type != JSON_OBJECT)
        return;
    const struct {
        const char *name;
        char *out;
        size_t size;
    } texts[] = {{"apiVersion", m->api_version, sizeof m->api_version},
                 {"kind", m->kind, sizeof m->kind},
                 {"namespace", m->namespace_name, sizeof m->namespace_name},
                 {"name", m->name, sizeof m->name}};
    for (size_t i = 0; i < 4; i++) {
        struct json_value t;
        if (json_find(inner, (const char *const[]){texts[i].name, NULL}, &t) && t.type == JSON_STRING &&
            t.raw.len - 2 < texts[i].size)
            texts[i].out[json_unescape_into(t.raw, texts[i].out)] = '\0';
    }
}

/* /apis/APIVERSION/namespaces/NS/KINDs/NAME of what the event is about. */
static void put_source_2018(struct buf *b, const struct kubernetes_happening *h)
{
    struct kube_meta about = *h->meta;
    char plural[sizeof about.kind + 1];
    involved(h->object, &about);
    snprintf(plural, sizeof plural, "%ss", about.kind);
    for (char *c = plural; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    put_link(b, &about, plural);
}

struct texts {
    struct buf link, type, time;
    char id[UUID_TEXT_BYTES];
};

static void set_attributes(struct ce_builder *b, const struct kubernetes_options *o, const char *server,
                           const struct kubernetes_happening *h, const struct texts *t)
{
    bool of_2018 = o->mode == KUBERNETES_2018;
    const struct kube_meta *m = h->meta;
    ce_builder_set(b, SLICE("specversion"), CE_STRING, SLICE("1.0"));
    ce_builder_set(b, SLICE("id"), CE_STRING, slice_str(of_2018 ? m->uid : t->id));
    ce_builder_set(b, SLICE("source"), CE_URI_REFERENCE, of_2018 ? buf_slice(&t->link) : slice_str(server));
    ce_builder_set(b, SLICE("type"), CE_STRING, buf_slice(&t->type));
    ce_builder_set(b, SLICE("time"), CE_TIMESTAMP, buf_slice(&t->time));
    ce_builder_set(b, SLICE("datacontenttype"), CE_STRING, SLICE("application/json"));
    if (of_2018)
        return;
    const char *const extensions[][2] = {
        {"apiversion", m->api_version}, {"kind", m->kind}, {"name", m->name}, {"namespace", m->namespace_name}};
    ce_builder_set(b, SLICE("subject"), CE_STRING, buf_slice(&t->link));
    for (size_t i = 0; i < 4; i++)
        if (extensions[i][1][0])
            ce_builder_set(b, slice_str(extensions[i][0]), CE_STRING, slice_str(extensions[i][1]));
}

static enum err write_texts(struct texts *t, const struct kubernetes_options *o, const struct kubernetes_happening *h)
{
    static const char *const verbs[] = {"add", "update", "delete"};
    buf_init(&t->link, TEXTS_MAX);
    buf_init(&t->type, TEXTS_MAX);
    buf_init(&t->time, TEXTS_MAX);
    if (o->mode == KUBERNETES_2018)
        buf_put_str(&t->type, "dev.knative.k8s.event");
    else
        buf_printf(&t->type, "dev.knative.apiserver.%s.%s", o->mode == KUBERNETES_RESOURCE ? "resource" : "ref",
                   verbs[h->verb]);
    if (o->mode == KUBERNETES_2018)
        put_source_2018(&t->link, h);
    else
        put_link(&t->link, h->meta, h->plural);
    rfc3339_put(&t->time, h->wall_ns, 3);
    enum err e = make_id(h, t->id);
    return e != OK                     ? e
           : buf_error(&t->link) != OK ? buf_error(&t->link)
           : buf_error(&t->type) != OK ? buf_error(&t->type)
                                       : buf_error(&t->time);
}

enum err kubernetes_event_make(const struct kubernetes_options *o, const char *server,
                               const struct kubernetes_happening *h, size_t bytes_max, const struct ce_event **out,
                               struct diag *d)
{
    struct texts t;
    struct buf data;
    struct ce_builder b;
    const struct ce_event *event = NULL;
    /* In 2018 the end of an Event, which comes an hour after it, was none. */
    if (!wanted_owner(o, h->meta) || (o->mode == KUBERNETES_2018 && h->verb == KUBE_DELETE)) {
        *out = NULL;
        return OK;
    }
    buf_init(&data, bytes_max);
    put_data(&data, o, h);
    enum err e = write_texts(&t, o, h);
    if (e == OK && buf_error(&data) != OK)
        e = buf_error(&data) == ERR_NOMEM
                ? ERR_NOMEM
                : diag_set(d, ERR_TOO_LARGE, "the object has more than the %zu bytes that an event may have",
                           bytes_max);
    if (e == OK) {
        ce_builder_init(&b);
        set_attributes(&b, o, server, h, &t);
        for (size_t i = 0; i < o->spec->ce_override_count; i++)
            ce_builder_replace(&b, slice_str(o->spec->ce_overrides[i].name), CE_STRING,
                               slice_str(o->spec->ce_overrides[i].value));
        ce_builder_data(&b, CE_DATA_BYTES, buf_slice(&data));
        ce_builder_mode(&b, CE_MODE_BINARY);
        e = ce_builder_seal(&b, bytes_max, &event, d);
    }
    if (e == OK && (!filter_match(o->filter, event) || !filter_match(o->spec->filter, event)))
        event = ce_event_unref(event);
    if (e == OK)
        *out = event;
    buf_fini(&t.link);
    buf_fini(&t.type);
    buf_fini(&t.time);
    buf_fini(&data);
    return e;
}
