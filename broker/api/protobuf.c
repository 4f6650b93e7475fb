/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubernetes' protobuf envelope (k8s.io/apimachinery, runtime.Unknown):
 *
 *     "k8s\0"  Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: the object's bytes }
 *     Namespace { 1: metadata }
 *     Secret    { 1: metadata, 2: data, 3: type, 4: stringData, 5: immutable }
 *     ConfigMap { 1: metadata, 2: data, 3: binaryData, 4: immutable }
 *     Service   { 1: metadata, 2: spec { 1: ports { 1: name, 2: protocol, 3: port, 4: targetPort { 1: type, 2: intVal,
 *                 3: strVal }, 5: nodePort, 6: appProtocol }, 2: selector, and others, which put_service has }
 *     SelfSubjectAccessReview { 2: spec { 1: resourceAttributes { 1: namespace, 2: verb, 3: group, 4: version,
 *                               5: resource, 6: subresource, 7: name }, 2: nonResourceAttributes { 1: path, 2: verb } }
 * } SelfSubjectRulesReview  { 2: spec { 1: namespace } } ObjectMeta { 1: name, 2: generateName, 3: namespace, 11:
 * labels, 12: annotations }
 *
 * Maps are repeated { 1: key, 2: value }. Empty texts are written there, and left out here. Other fields are skipped.
 */
#include "protobuf.h"

#include <string.h>

#include "text.h"

enum wire { VARINT = 0, FIXED_64 = 1, BYTES = 2, FIXED_32 = 5 };

struct field {
    uint64_t number;
    unsigned wire;
    uint64_t varint;
    struct slice bytes;
};

static bool read_varint(struct slice *rest, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && rest->len; shift += 7) {
        unsigned char c = (unsigned char)*rest->ptr;
        *rest = slice_from(*rest, 1);
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

/* The next field; 1: there is one, 0: the end, -1: broken. */
static int next(struct slice *rest, struct field *f)
{
    uint64_t tag, n = 0;
    *f = (struct field){0};
    if (rest->len == 0)
        return 0;
    if (!read_varint(rest, &tag))
        return -1;
    f->number = tag >> 3;
    f->wire = tag & 7;
    if (f->wire == VARINT)
        return read_varint(rest, &f->varint) ? 1 : -1;
    if (f->wire == FIXED_64 || f->wire == FIXED_32)
        n = f->wire == FIXED_64 ? 8 : 4;
    else if (f->wire != BYTES || !read_varint(rest, &n))
        return -1;
    if (n > rest->len)
        return -1;
    f->bytes = slice_of(rest->ptr, (size_t)n);
    *rest = slice_from(*rest, (size_t)n);
    return 1;
}

/* The last field of this number that holds bytes; empty when there is none. false: broken. */
static bool find(struct slice message, uint64_t number, struct slice *out)
{
    struct field f;
    int more;
    *out = SLICE("");
    while ((more = next(&message, &f)) > 0)
        if (f.number == number && f.wire == BYTES)
            *out = f.bytes;
    return more == 0;
}

struct object { /* under construction: a comma goes before each member but the first */
    struct buf *out;
    const char *before;
};

static void begin(struct object *o, struct slice name)
{
    buf_put_str(o->out, o->before);
    buf_put_json_string(o->out, name);
    buf_put_char(o->out, ':');
    o->before = ",";
}

static bool put_text(struct object *o, const char *name, struct slice message, uint64_t number)
{
    struct slice value;
    if (!find(message, number, &value) || !utf8_valid(value))
        return false;
    if (value.len) {
        begin(o, slice_str(name));
        buf_put_json_string(o->out, value);
    }
    return true;
}

static bool put_pair(struct object *o, struct slice pair, bool binary)
{
    struct slice key, value;
    if (!find(pair, 1, &key) || !find(pair, 2, &value) || !utf8_valid(key) || (!binary && !utf8_valid(value)))
        return false;
    begin(o, key);
    if (binary) {
        buf_put_char(o->out, '"');
        base64_put(o->out, value);
        buf_put_char(o->out, '"');
    } else {
        buf_put_json_string(o->out, value);
    }
    return true;
}

static bool put_map(struct object *o, const char *name, struct slice message, uint64_t number, bool binary)
{
    struct object pairs = {o->out, ""};
    struct field f;
    bool any = false;
    int more;
    while ((more = next(&message, &f)) > 0) {
        if (f.number != number || f.wire != BYTES)
            continue;
        if (!any) {
            begin(o, slice_str(name));
            buf_put_char(o->out, '{');
        }
        any = true;
        if (!put_pair(&pairs, f.bytes, binary))
            return false;
    }
    if (any)
        buf_put_char(o->out, '}');
    return more == 0;
}

static bool put_flag(struct object *o, const char *name, struct slice message, uint64_t number)
{
    struct field f;
    int more;
    bool set = false;
    while ((more = next(&message, &f)) > 0)
        if (f.number == number && f.wire == VARINT)
            set = f.varint != 0;
    if (set) {
        begin(o, slice_str(name));
        buf_put_str(o->out, "true");
    }
    return more == 0;
}

static bool put_metadata(struct object *o, struct slice message)
{
    struct slice metadata;
    if (!find(message, 1, &metadata))
        return false;
    begin(o, SLICE("metadata"));
    struct object inside = {o->out, ""};
    buf_put_char(o->out, '{');
    bool good = put_text(&inside, "name", metadata, 1) && put_text(&inside, "generateName", metadata, 2) &&
                put_text(&inside, "namespace", metadata, 3) && put_map(&inside, "labels", metadata, 11, false) &&
                put_map(&inside, "annotations", metadata, 12, false);
    buf_put_char(o->out, '}');
    return good;
}

static bool put_secret(struct object *o, struct slice message)
{
    return put_map(o, "data", message, 2, true) && put_text(o, "type", message, 3) &&
           put_map(o, "stringData", message, 4, false) && put_flag(o, "immutable", message, 5);
}

static bool put_config_map(struct object *o, struct slice message)
{
    return put_map(o, "data", message, 2, false) && put_map(o, "binaryData", message, 3, true) &&
           put_flag(o, "immutable", message, 4);
}

/* A number that is not 0, which stands for none. */
static bool put_number(struct object *o, const char *name, struct slice message, uint64_t number)
{
    struct field f;
    int more;
    int32_t value = 0;
    while ((more = next(&message, &f)) > 0)
        if (f.number == number && f.wire == VARINT)
            value = (int32_t)f.varint;
    if (value) {
        begin(o, slice_str(name));
        buf_printf(o->out, "%d", value);
    }
    return more == 0;
}

typedef bool put_element(struct buf *out, struct slice bytes);

/* The repeated fields of this number as a list, where there are any. */
static bool put_list(struct object *o, const char *name, struct slice message, uint64_t number, put_element *element)
{
    struct field f;
    bool any = false;
    int more;
    while ((more = next(&message, &f)) > 0) {
        if (f.number != number || f.wire != BYTES)
            continue;
        if (!any)
            begin(o, slice_str(name));
        buf_put_char(o->out, any ? ',' : '[');
        any = true;
        if (!element(o->out, f.bytes))
            return false;
    }
    if (any)
        buf_put_char(o->out, ']');
    return more == 0;
}

static bool text_element(struct buf *out, struct slice bytes)
{
    buf_put_json_string(out, bytes);
    return utf8_valid(bytes);
}

/* IntOrString: its type is 1 for a text, which is the number where that is left out. */
static bool put_target_port(struct object *o, struct slice port)
{
    struct slice target, text;
    if (!find(port, 4, &target) || !find(target, 3, &text))
        return false;
    return text.len ? put_text(o, "targetPort", target, 3) : put_number(o, "targetPort", target, 2);
}

static bool port_element(struct buf *out, struct slice port)
{
    struct object o = {out, ""};
    buf_put_char(out, '{');
    bool good = put_text(&o, "name", port, 1) && put_text(&o, "protocol", port, 2) && put_number(&o, "port", port, 3) &&
                put_target_port(&o, port) && put_number(&o, "nodePort", port, 5) &&
                put_text(&o, "appProtocol", port, 6);
    buf_put_char(out, '}');
    return good;
}

static bool put_service(struct object *o, struct slice message)
{
    static const struct {
        const char *name;
        uint64_t number;
    } texts[] = {{"clusterIP", 3},
                 {"type", 4},
                 {"sessionAffinity", 7},
                 {"loadBalancerIP", 8},
                 {"externalName", 10},
                 {"externalTrafficPolicy", 11},
                 {"ipFamilyPolicy", 17},
                 {"loadBalancerClass", 21},
                 {"internalTrafficPolicy", 22},
                 {"trafficDistribution", 23}},
      lists[] = {{"externalIPs", 5}, {"loadBalancerSourceRanges", 9}, {"clusterIPs", 18}, {"ipFamilies", 19}};
    struct slice spec;
    if (!find(message, 2, &spec))
        return false;
    begin(o, SLICE("spec"));
    buf_put_char(o->out, '{');
    struct object inside = {o->out, ""};
    bool good = put_list(&inside, "ports", spec, 1, port_element) && put_map(&inside, "selector", spec, 2, false) &&
                put_number(&inside, "healthCheckNodePort", spec, 12) &&
                put_flag(&inside, "publishNotReadyAddresses", spec, 13);
    for (size_t i = 0; good && i < sizeof texts / sizeof texts[0]; i++)
        good = put_text(&inside, texts[i].name, spec, texts[i].number);
    for (size_t i = 0; good && i < sizeof lists / sizeof lists[0]; i++)
        good = put_list(&inside, lists[i].name, spec, lists[i].number, text_element);
    buf_put_char(o->out, '}');
    return good;
}

static bool put_nothing(struct object *o, struct slice message)
{
    (void)o, (void)message;
    return true;
}

/* Texts of a message as an object under this name: texts[i] is the field i + 1. */
static bool put_texts(struct object *o, const char *name, struct slice message, const char *const *texts)
{
    begin(o, slice_str(name));
    buf_put_char(o->out, '{');
    struct object inside = {o->out, ""};
    bool good = true;
    for (uint64_t i = 0; good && texts[i]; i++)
        good = put_text(&inside, texts[i], message, i + 1);
    buf_put_char(o->out, '}');
    return good;
}

static bool put_access_review(struct object *o, struct slice message)
{
    static const char *const resource[] = {"namespace", "verb",        "group", "version",
                                           "resource",  "subresource", "name",  NULL},
                             *const page[] = {"path", "verb", NULL};
    struct slice spec, of_resource, of_page;
    if (!find(message, 2, &spec) || !find(spec, 1, &of_resource) || !find(spec, 2, &of_page))
        return false;
    begin(o, SLICE("spec"));
    buf_put_char(o->out, '{');
    struct object inside = {o->out, ""};
    bool good = (!of_resource.len || put_texts(&inside, "resourceAttributes", of_resource, resource)) &&
                (!of_page.len || put_texts(&inside, "nonResourceAttributes", of_page, page));
    buf_put_char(o->out, '}');
    return good;
}

static bool put_rules_review(struct object *o, struct slice message)
{
    static const char *const texts[] = {"namespace", NULL};
    struct slice spec;
    return find(message, 2, &spec) && put_texts(o, "spec", spec, texts);
}

enum err kubernetes_protobuf_read(struct slice body, struct buf *out, struct diag *d)
{
    static const struct {
        const char *version, *kind;
        bool (*put)(struct object *o, struct slice message);
    } kinds[] = {{"v1", "Namespace", put_nothing},
                 {"v1", "Secret", put_secret},
                 {"v1", "ConfigMap", put_config_map},
                 {"v1", "Service", put_service},
                 {"authorization.k8s.io/v1", "SelfSubjectAccessReview", put_access_review},
                 {"authorization.k8s.io/v1", "SelfSubjectRulesReview", put_rules_review}};
    struct slice type, version, kind, message;
    if (!slice_has_prefix(body, slice_of("k8s\0", 4)))
        return diag_set(d, ERR_INVALID, "the body is no protobuf of Kubernetes: it does not begin with k8s and a 0");
    body = slice_from(body, 4);
    if (!find(body, 1, &type) || !find(body, 2, &message) || !find(type, 1, &version) || !find(type, 2, &kind))
        return diag_set(d, ERR_INVALID, "the protobuf of the body is broken");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!slice_eq_str(version, kinds[i].version) || !slice_eq_str(kind, kinds[i].kind))
            continue;
        struct object o = {out, ","};
        buf_printf(out, "{\"apiVersion\":\"%s\",\"kind\":\"%s\"", kinds[i].version, kinds[i].kind);
        bool good = put_metadata(&o, message) && kinds[i].put(&o, message);
        buf_put_char(out, '}');
        return good ? OK : diag_set(d, ERR_INVALID, "the protobuf of the object is broken");
    }
    return diag_set(d, ERR_UNSUPPORTED,
                    "protobuf is read of Namespace, Secret, ConfigMap, Service and reviews alone; send JSON");
}
