/* SPDX-License-Identifier: Apache-2.0
 *
 * The API's front: health, metrics and version are answered here, resources in resources.c.
 */
#include "kubernetes.h"

#include <stdarg.h>
#include <stdio.h>

#include "text.h"

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

bool api_read_only(struct api *a, struct http_request *r)
{
    static const struct http_header headers[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
                                                 {SLICE_INIT("Allow"), SLICE_INIT("GET")}};
    if (!a->read_only)
        return false;
    http_respond(r, 405, headers, 2,
                 SLICE("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
                       "\"message\":\"this server shares its bus with others (--shared), so resources come from the "
                       "manifests alone, the same for all: change the files (to pause: the annotation "
                       "leat.dev/paused), then send each process SIGHUP\","
                       "\"reason\":\"MethodNotAllowed\",\"code\":405}\n"));
    return true;
}

void api_json(struct http_request *r, int status, const cJSON *tree)
{
    char *text = tree ? cJSON_PrintUnformatted(tree) : NULL;
    if (text)
        http_respond(r, status, json_type, 1, slice_str(text));
    else
        api_status(r, 500, "InternalError", "out of memory");
    cJSON_free(text);
}

/* The value of a parameter as it was sent. */
static bool find_parameter(const struct http_request *r, const char *name, struct slice *value)
{
    struct slice rest = http_request_query(r);
    while (rest.len) {
        *value = slice_split(&rest, '&');
        if (slice_eq_str(slice_split(value, '='), name))
            return true;
    }
    return false;
}

bool api_query(const struct http_request *r, const char *name, struct buf *out)
{
    struct slice value;
    bool there = find_parameter(r, name, &value);
    if (there && percent_decode(value, out) != OK)
        out->error = ERR_INVALID;
    return there;
}

bool api_query_form(const struct http_request *r, const char *name, struct buf *out)
{
    struct slice value;
    if (!find_parameter(r, name, &value))
        return false;
    for (bool first = true; first || value.ptr; first = false) {
        if (!first)
            buf_put_char(out, ' ');
        if (percent_decode(slice_split(&value, '+'), out) != OK)
            out->error = ERR_INVALID;
    }
    return true;
}

static void answer(struct http_request *r, int status, const struct http_header *type, struct buf *body)
{
    if (buf_error(body) != OK)
        api_status(r, 500, "InternalError", "out of memory");
    else
        http_respond(r, status, type, 1, buf_slice(body));
    buf_fini(body);
}

void api_json_text(struct http_request *r, int status, struct buf *body)
{
    answer(r, status, json_type, body);
}

static void readyz(struct api *a, struct http_request *r)
{
    struct buf why;
    buf_init(&why, 65536);
    bool ready = engine_ready(a->engine, &why);
    struct slice query = http_request_query(r);
    if ((ready && !slice_has_prefix(query, SLICE("verbose"))) || !access_knows(&a->access, r))
        buf_clear(&why);
    buf_put_str(&why, ready ? "ok\n" : "not ready\n");
    answer(r, ready ? 200 : 503, text_type, &why);
}

static void metrics(struct api *a, struct http_request *r)
{
    struct buf body;
    buf_init(&body, 64u << 20);
    engine_metrics(a->engine, &body);
    if (!a->health_only)
        access_metrics(&a->access, &body);
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
    api_json_text(r, 200, &body);
}

/* The paths that take no body; true when this was one. */
static bool plain_page(struct api *a, struct http_request *r, struct slice path)
{
    if (slice_eq(path, SLICE("/livez")) || slice_eq(path, SLICE("/healthz")))
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

/* Refuses by Content-Length, before the body is read, in the words of the API. */
static bool too_large(struct http_request *r)
{
    uint64_t length;
    struct slice value;
    if (!http_request_header(r, "content-length", &value) || decimal_parse(value, UINT64_MAX, &length) != OK ||
        length <= MANIFEST_BYTES_MAX)
        return false;
    api_status(r, 413, "RequestEntityTooLarge", "the body has %llu bytes, and an object may have 1 MiB",
               (unsigned long long)length);
    return true;
}

static void head(struct http_request *r, void *arg)
{
    const struct api *a = arg;
    struct slice path = http_request_path(r);
    bool get = slice_eq(http_request_method(r), SLICE("GET"));
    if (!a->health_only && !access_admit(&((struct api *)arg)->access, r))
        return;
    if (get &&
        (plain_page(arg, r, path) || (!a->health_only && (api_discovery(arg, r, path) || api_openapi(arg, r, path)))))
        return;
    if (!a->health_only && (slice_has_prefix(path, SLICE("/api/")) || slice_has_prefix(path, SLICE("/apis/")) ||
                            slice_has_prefix(path, SLICE("/leat/")))) {
        if (!too_large(r))
            http_request_allow_body(r, MANIFEST_BYTES_MAX);
        return;
    }
    if (a->health_only)
        http_respond_text(r, 404, "Here are /livez, /readyz, /metrics and /version.");
    else
        http_respond_text(
            r, 404,
            "404 page not found: here are /livez, /readyz, /metrics, /version, resources under /api/v1 and /apis, and "
            "/leat/v1");
}

/* What Kubernetes has no path for. */
static const struct {
    const char *method, *path;
    bool below; /* and every path below it, with any method: it looks by itself */
    void (*run)(struct api *a, struct http_request *r);
} pages[] = {
    {"GET", "/leat/v1/explain", false, api_explain},
    {"GET", "/leat/v1/tail", false, api_tail},
    {"GET", "/leat/v1/audit", false, api_audit},
    {NULL, "/leat/v1/quarantine", true, api_quarantine},
    {NULL, "/leat/v1/dlq", true, api_dlq},
    {NULL, "/leat/v1/tasks", true, api_tasks},
    {NULL, "/leat/v1/subscriptions", true, api_subscriptions},
};

const char *api_page_at(size_t i, const char **method)
{
    bool there = i < sizeof pages / sizeof pages[0];
    *method = there ? pages[i].method : NULL;
    return there ? pages[i].path : NULL;
}

/* Whether the path is the page's, or lies below it. */
static bool lies_at(struct slice path, const char *page, bool below)
{
    size_t n = strlen(page);
    return slice_has_prefix(path, slice_str(page)) && (path.len == n || (below && path.ptr[n] == '/'));
}

static void own_page(struct api *a, struct http_request *r)
{
    bool there = false;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (!lies_at(http_request_path(r), pages[i].path, pages[i].below))
            continue;
        there = true;
        if (pages[i].below || slice_eq_str(http_request_method(r), pages[i].method)) {
            pages[i].run(a, r);
            return;
        }
    }
    if (there)
        api_status(r, 405, "MethodNotAllowed", "this page has no such method");
    else
        api_status(r, 404, "NotFound", "there is no such page under /leat/v1");
}

static void end(struct http_request *r)
{
    struct api *a = http_request_arg(r);
    if (slice_has_prefix(http_request_path(r), SLICE("/leat/")))
        own_page(a, r);
    else
        api_resources(a, r);
}

static void close_request(struct http_request *r)
{
    struct api_later *later = http_request_state(r);
    if (later)
        later->closed(later);
}

const struct http_handler api_handler = {head, NULL, end, close_request};
