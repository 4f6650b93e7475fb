/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenAPI version 2 ("Swagger"), of the same schemas as version 3: one document with all kinds, as JSON, and in the
 * protobuf that Kubernetes' own clients ask for (gnostic, openapi_v2/OpenAPIv2.proto). kubectl before 1.29 has no
 * other; newer ones look at it in every `apply` of what is there already, so each form is made once and kept.
 *
 * In protobuf maps are repeated {1: name, 2: value}; an extension "x-..." and a value of any type is YAML text, of
 * which JSON is a part.
 */
#include "openapi.h"

#include <stdlib.h>
#include <string.h>

struct api_documents { /* empty until they are asked for first */
    struct buf json, protobuf;
};

/* ---- JSON ---- */

static void put_document(struct buf *out)
{
    const struct kind *k;
    buf_printf(out, "{\"swagger\":\"2.0\",\"info\":{\"title\":\"leat\",\"version\":\"%s\"},\"paths\":{", LEAT_VERSION);
    for (size_t i = 0; (k = kind_at(i)); i++) {
        buf_put_str(out, i ? "," : "");
        openapi_path_put(k, true, out);
    }
    buf_put_str(out, "},\"definitions\":{");
    for (size_t i = 0; (k = kind_at(i)); i++) {
        buf_put_str(out, i ? ",\"" : "\"");
        openapi_name_put(k, out);
        buf_put_str(out, "\":");
        openapi_schema_put(k, out);
    }
    buf_put_str(out, "}}\n");
}

/* ---- protobuf ---- */

enum wire { VARINT = 0, FIXED_64 = 1, BYTES = 2 };

static void put_varint(struct buf *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        buf_put_char(out, (char)(value | 0x80));
    buf_put_char(out, (char)value);
}

static void put_tag(struct buf *out, unsigned field, enum wire wire)
{
    put_varint(out, field << 3 | wire);
}

static void put_bytes(struct buf *out, unsigned field, struct slice bytes)
{
    put_tag(out, field, BYTES);
    put_varint(out, bytes.len);
    buf_put(out, bytes);
}

static void put_text(struct buf *out, unsigned field, const cJSON *text)
{
    if (cJSON_IsString(text))
        put_bytes(out, field, slice_str(text->valuestring));
}

/* A message in a field: written apart, for its length comes first. */
typedef void message_fn(const cJSON *of, struct buf *out);
static void put_message(struct buf *out, unsigned field, message_fn *message, const cJSON *of)
{
    struct buf inner;
    buf_init(&inner, OPENAPI_BYTES_MAX);
    message(of, &inner);
    if (buf_error(&inner) != OK)
        out->error = buf_error(&inner);
    put_bytes(out, field, buf_slice(&inner));
    buf_fini(&inner);
}

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

/* Any { 2: yaml } */
static void any(const cJSON *of, struct buf *out)
{
    char *text = cJSON_PrintUnformatted(of);
    if (text)
        put_bytes(out, 2, slice_str(text));
    else
        out->error = ERR_NOMEM;
    cJSON_free(text);
}

/* NamedAny { 1: name, 2: value }, and so with each other map. */
static void named_any(const cJSON *of, struct buf *out)
{
    put_bytes(out, 1, slice_str(of->string));
    put_message(out, 2, any, of);
}

static void put_extensions(struct buf *out, unsigned field, const cJSON *of)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, of)
        if (strncmp(each->string, "x-", 2) == 0)
            put_message(out, field, named_any, each);
}

static void schema(const cJSON *of, struct buf *out);

static void named_schema(const cJSON *of, struct buf *out)
{
    put_bytes(out, 1, slice_str(of->string));
    put_message(out, 2, schema, of);
}

/* Properties, and Definitions { 1: additional_properties } */
static void named_schemas(const cJSON *of, struct buf *out)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, of)
        put_message(out, 1, named_schema, each);
}

/* AdditionalPropertiesItem { 1: schema, 2: boolean } */
static void additional(const cJSON *of, struct buf *out)
{
    if (cJSON_IsObject(of)) {
        put_message(out, 1, schema, of);
    } else {
        put_tag(out, 2, VARINT);
        put_varint(out, cJSON_IsTrue(of) ? 1 : 0);
    }
}

/* ItemsItem { 1: schema }; TypeItem { 1: value } */
static void item(const cJSON *of, struct buf *out)
{
    put_message(out, 1, schema, of);
}
static void type(const cJSON *of, struct buf *out)
{
    put_text(out, 1, of);
}

static void put_numbers(const cJSON *of, struct buf *out)
{
    static const struct {
        const char *name;
        unsigned field;
        bool real;
    } numbers[] = {{"maximum", 7, true},     {"minimum", 9, true},    {"maxLength", 11, false},
                   {"minLength", 12, false}, {"maxItems", 14, false}, {"minItems", 15, false}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const cJSON *n = member(of, numbers[i].name);
        uint64_t bits;
        if (!cJSON_IsNumber(n))
            continue;
        memcpy(&bits, &n->valuedouble, sizeof bits);
        put_tag(out, numbers[i].field, numbers[i].real ? FIXED_64 : VARINT);
        for (size_t byte = 0; numbers[i].real && byte < 8; byte++)
            buf_put_char(out, (char)(bits >> 8 * byte));
        if (!numbers[i].real)
            put_varint(out, (uint64_t)n->valuedouble);
    }
}

static void schema(const cJSON *of, struct buf *out)
{
    const cJSON *each, *items = member(of, "items"), *more = member(of, "additionalProperties"),
                       *properties = member(of, "properties");
    put_text(out, 2, member(of, "format"));
    put_text(out, 4, member(of, "description"));
    put_numbers(of, out);
    put_text(out, 13, member(of, "pattern"));
    cJSON_ArrayForEach(each, member(of, "required"))
        put_text(out, 19, each);
    cJSON_ArrayForEach(each, member(of, "enum"))
        put_message(out, 20, any, each);
    if (more)
        put_message(out, 21, additional, more);
    if (cJSON_IsString(member(of, "type")))
        put_message(out, 22, type, member(of, "type"));
    if (cJSON_IsObject(items))
        put_message(out, 23, item, items);
    if (properties)
        put_message(out, 25, named_schemas, properties);
    put_extensions(out, 31, of);
}

/* ---- paths ---- */

/* Parameter of a query: ParametersItem { 1: Parameter { 2: non-body { 3: query { 2: in, 4: name, 6: type } } } } */
static void query_parameter(const cJSON *of, struct buf *out)
{
    put_text(out, 2, member(of, "in"));
    put_text(out, 4, member(of, "name"));
    put_text(out, 6, member(of, "type"));
}
static void non_body_parameter(const cJSON *of, struct buf *out)
{
    put_message(out, 3, query_parameter, of);
}
static void parameter(const cJSON *of, struct buf *out)
{
    put_message(out, 2, non_body_parameter, of);
}
static void parameters_item(const cJSON *of, struct buf *out)
{
    put_message(out, 1, parameter, of);
}

/* ResponseValue { 1: Response { 1: description } } */
static void response(const cJSON *of, struct buf *out)
{
    put_text(out, 1, member(of, "description"));
}
static void response_value(const cJSON *of, struct buf *out)
{
    put_message(out, 1, response, of);
}
static void named_response(const cJSON *of, struct buf *out)
{
    put_bytes(out, 1, slice_str(of->string));
    put_message(out, 2, response_value, of);
}
static void responses(const cJSON *of, struct buf *out)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, of)
        put_message(out, 1, named_response, each);
}

static void operation(const cJSON *of, struct buf *out)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, member(of, "parameters"))
        put_message(out, 8, parameters_item, each);
    put_message(out, 9, responses, member(of, "responses"));
    put_extensions(out, 13, of);
}

/* PathItem { 2: get, 3: put, 8: patch } */
static void path_item(const cJSON *of, struct buf *out)
{
    static const struct {
        const char *name;
        unsigned field;
    } methods[] = {{"get", 2}, {"put", 3}, {"patch", 8}};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (member(of, methods[i].name))
            put_message(out, methods[i].field, operation, member(of, methods[i].name));
}
static void named_path_item(const cJSON *of, struct buf *out)
{
    put_bytes(out, 1, slice_str(of->string));
    put_message(out, 2, path_item, of);
}
static void paths(const cJSON *of, struct buf *out)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, of)
        put_message(out, 2, named_path_item, each);
}

static void info(const cJSON *of, struct buf *out)
{
    put_text(out, 1, member(of, "title"));
    put_text(out, 2, member(of, "version"));
}

/* Document { 1: swagger, 2: info, 8: paths, 9: definitions } */
void openapi_v2_encode(const cJSON *tree, struct buf *out)
{
    put_text(out, 1, member(tree, "swagger"));
    put_message(out, 2, info, member(tree, "info"));
    put_message(out, 8, paths, member(tree, "paths"));
    put_message(out, 9, named_schemas, member(tree, "definitions"));
}

/* ---- the page ---- */

bool openapi_v2_make(struct buf *json, struct buf *protobuf)
{
    put_document(json);
    cJSON *tree = buf_error(json) == OK ? cJSON_ParseWithLength(json->ptr, json->len) : NULL;
    if (tree)
        openapi_v2_encode(tree, protobuf);
    bool good = tree && buf_error(protobuf) == OK;
    cJSON_Delete(tree);
    if (!good) {
        buf_clear(json);
        buf_clear(protobuf);
    }
    return good;
}

void openapi_v2(struct api *a, struct http_request *r)
{
    struct slice accept = {NULL, 0};
    struct api_documents *d = a->documents;
    if (!d && (d = calloc(1, sizeof *d))) {
        buf_init(&d->json, OPENAPI_BYTES_MAX);
        buf_init(&d->protobuf, OPENAPI_BYTES_MAX);
        a->documents = d;
    }
    if (!d || (!d->protobuf.len && !openapi_v2_make(&d->json, &d->protobuf)))
        api_status(r, 500, "InternalError", "out of memory");
    else if (http_request_header(r, "accept", &accept) && memmem(accept.ptr, accept.len, "protobuf", 8))
        api_document(r, SLICE("application/com.github.proto-openapi.spec.v2.v1.0+protobuf"), buf_slice(&d->protobuf),
                     false);
    else
        api_document(r, SLICE("application/json"), buf_slice(&d->json), false);
}

void api_openapi_free(struct api *a)
{
    if (!a->documents)
        return;
    buf_fini(&a->documents->json);
    buf_fini(&a->documents->protobuf);
    free(a->documents);
    a->documents = NULL;
}
