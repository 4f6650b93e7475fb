/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two versions of OpenAPI share (openapi.c), and the second one (openapi_v2.c).
 */
#ifndef LEAT_BROKER_API_OPENAPI_H
#define LEAT_BROKER_API_OPENAPI_H

#include "kubernetes.h"

#define OPENAPI_BYTES_MAX (8u << 20)

/* "dev.knative.messaging.v1.Channel", as Kubernetes names schemas. */
void openapi_name_put(const struct kind *k, struct buf *out);
/* The kind's schema with what every object has beside it. */
void openapi_schema_put(const struct kind *k, struct buf *out);
/* The path of one object and what may be done there, "PATH":{"get":{...},"put":{...},"patch":{...}}; the types of
 * parameters lie in a schema in version 3, beside the name in version 2. */
void openapi_path_put(const struct kind *k, bool version_2, struct buf *out);

/* GET /openapi/v2: JSON, or protobuf for who asks for that. */
void openapi_v2(struct api *a, struct http_request *r);
/* The whole document in both forms, into empty buffers; false: no memory, and they are empty again. */
bool openapi_v2_make(struct buf *json, struct buf *protobuf) must_check;
/* A document of version 2 as gnostic's OpenAPIv2.Document in protobuf. `tree` is one that we made. */
void openapi_v2_encode(const cJSON *tree, struct buf *out);

#endif
