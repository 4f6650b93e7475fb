/* SPDX-License-Identifier: Apache-2.0
 *
 * In which form an answer is wanted: the Accept header with Kubernetes' parameters `as`, `g` and `v`
 * (API conventions, "Receiving resources as Tables" and "Alternate representations of resources").
 */
#include "kubernetes.h"

bool api_accept_next(struct slice *rest, struct api_accept *out)
{
    if (!rest->ptr)
        return false;
    struct slice entry = slice_split(rest, ',');
    *out = (struct api_accept){.type = slice_trim(slice_split(&entry, ';'))};
    while (entry.len) {
        struct slice value = slice_trim(slice_split(&entry, ';')), name = slice_trim(slice_split(&value, '='));
        value = slice_trim(value);
        if (slice_eq_nocase(name, SLICE("as")))
            out->as = value;
        else if (slice_eq_nocase(name, SLICE("g")))
            out->group = value;
        else if (slice_eq_nocase(name, SLICE("v")))
            out->version = value;
    }
    return true;
}

static bool is_json(struct slice type)
{
    return slice_eq_nocase(type, SLICE("application/json")) || slice_eq(type, SLICE("*/*")) ||
           slice_eq_nocase(type, SLICE("application/*"));
}

static bool take(const struct api_accept *a, struct api_form *f)
{
    if (!is_json(a->type))
        return false;
    if (!a->as.len)
        return true;
    if (!slice_eq(a->group, SLICE("meta.k8s.io")))
        return false;
    f->version = slice_eq(a->version, SLICE("v1")) ? "v1" : slice_eq(a->version, SLICE("v1beta1")) ? "v1beta1" : NULL;
    if (slice_eq(a->as, SLICE("Table")))
        f->as = API_TABLE;
    else if (slice_eq(a->as, SLICE("PartialObjectMetadata")) || slice_eq(a->as, SLICE("PartialObjectMetadataList")))
        f->as = API_METADATA;
    else
        return false;
    return f->version;
}

static void read_row(struct http_request *r, struct api_form *f)
{
    struct buf text;
    buf_init(&text, 32);
    if (api_query(r, "includeObject", &text) && slice_eq(buf_slice(&text), SLICE("Object")))
        f->row = API_ROW_OBJECT;
    else if (slice_eq(buf_slice(&text), SLICE("None")))
        f->row = API_ROW_NONE;
    buf_fini(&text);
}

bool api_form_read(struct http_request *r, struct api_form *f)
{
    struct slice rest = SLICE("*/*");
    struct api_accept a;
    *f = (struct api_form){.version = "v1"};
    if (http_request_header(r, "accept", &rest) && slice_trim(rest).len == 0)
        rest = SLICE("*/*");
    while (api_accept_next(&rest, &a)) {
        struct api_form wanted = {.version = "v1"};
        if (!take(&a, &wanted))
            continue;
        *f = wanted;
        if (f->as == API_TABLE)
            read_row(r, f);
        return true;
    }
    api_status(r, 406, "NotAcceptable",
               "only the following media types are accepted: application/json, and as=Table or "
               "as=PartialObjectMetadata of meta.k8s.io");
    return false;
}
