/* SPDX-License-Identifier: Apache-2.0
 *
 * The API's front: health, metrics and version are answered here, resources in resources.c.
 */
#include "api.h"

#include <stdarg.h>
#include <stdio.h>

static const struct http_header json_type[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")}};
static const struct http_header text_type[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("text/plain; charset=utf-8")}};
static const struct http_header metrics_type[] = {
    {SLICE_INIT("Content-Type"), SLICE_INIT("text/plain; version=0.0.4; charset=utf-8")}};

void api_status(struct http_request *r, int code, const char *reason, const char *format, ...)
{
    char message[1024];
    struct buf body;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    buf_init(&body, 8192);
    buf_printf(&body, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"%s\",\"message\":",
               code < 400 ? "Success" : "Failure");
    buf_put_json_string(&body, slice_str(message));
    buf_printf(&body, ",\"reason\":\"%s\",\"code\":%d}\n", reason, code);
    http_respond(r, code, json_type, 1, buf_slice(&body));
    buf_fini(&body);
}

static void answer(struct http_request *r, int status, const struct http_header *type, struct buf *body)
{
    if (buf_error(body) != OK)
        api_status(r, 500, "InternalError", "out of memory");
    else
        http_respond(r, status, type, 1, buf_slice(body));
    buf_fini(body);
}

static void readyz(struct api *a, struct http_request *r)
{
    struct buf why;
    buf_init(&why, 65536);
    bool ready = engine_ready(a->engine, &why);
    struct slice query = http_request_query(r);
    if (ready && !slice_has_prefix(query, SLICE("verbose")))
        buf_clear(&why);
    buf_put_str(&why, ready ? "ok\n" : "not ready\n");
    answer(r, ready ? 200 : 503, text_type, &why);
}

static void metrics(struct api *a, struct http_request *r)
{
    struct buf body;
    buf_init(&body, 64u << 20);
    engine_metrics(a->engine, &body);
    answer(r, 200, metrics_type, &body);
}

static void version(struct http_request *r)
{
    struct buf body;
    buf_init(&body, 1024);
    buf_printf(
        &body,
        "{\"major\":\"1\",\"minor\":\"31\",\"gitVersion\":\"v1.31.0+leat-%s\",\"gitCommit\":\"\",\"gitTreeState\":\"\","
        "\"buildDate\":\"\",\"goVersion\":\"\",\"compiler\":\"\",\"platform\":\"linux\"}\n",
        LEAT_VERSION);
    answer(r, 200, json_type, &body);
}

/* The paths that take no body; true when this was one. */
static bool plain_page(struct api *a, struct http_request *r, struct slice path)
{
    if (slice_eq(path, SLICE("/livez")))
        http_respond(r, 200, text_type, 1, SLICE("ok\n"));
    else if (slice_eq(path, SLICE("/readyz")))
        readyz(a, r);
    else if (slice_eq(path, SLICE("/metrics")))
        metrics(a, r);
    else if (slice_eq(path, SLICE("/version")))
        version(r);
    else
        return false;
    return true;
}

static void head(struct http_request *r, void *arg)
{
    struct slice path = http_request_path(r);
    if (slice_has_prefix(path, SLICE("/api/")) || slice_has_prefix(path, SLICE("/apis/"))) {
        http_request_allow_body(r, MANIFEST_BYTES_MAX);
        return;
    }
    bool get = slice_eq(http_request_method(r), SLICE("GET"));
    if (get && plain_page(arg, r, path))
        return;
    http_respond_text(
        r, 404,
        "404 page not found: here are /livez, /readyz, /metrics, /version and resources under /api/v1 and /apis");
}

static void end(struct http_request *r)
{
    api_resources(http_request_arg(r), r);
}

const struct http_handler api_handler = {head, NULL, end, NULL};
