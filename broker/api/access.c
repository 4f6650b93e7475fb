/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate of the API: before anything else is looked at, each request is held against its token and its role.
 * The header Authorization goes no further than here, and into no message.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "loop.h"
#include "text.h"

#define LOG_EVERY_NS NS_PER_S
#define LOOK_EVERY_NS NS_PER_S /* until a stream on which nothing happens ends with its token */

enum err access_open(struct access *a, const char *file, const char *data_dir, struct diag *d)
{
    const struct tokens *tokens;
    struct diag why = {0};
    char *path = NULL;
    bool changed;
    if (!file && !data_dir)
        return OK;
    if ((file ? asprintf(&path, "%s", file) : asprintf(&path, "%s/tokens", data_dir)) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    a->required = file != NULL;
    enum err e = token_file_new(path, &a->tokens);
    free(path);
    if (e != OK)
        return diag_set(d, e, "out of memory");
    e = token_file_fresh(a->tokens, &tokens, &changed, &why);
    if (e == OK || e == ERR_NOMEM)
        return e == OK ? OK : diag_set(d, e, "out of memory");
    if (why.line)
        return diag_set(d, ERR_INVALID, "%.300s, line %d: %.250s", token_file_path(a->tokens), why.line, why.text);
    return diag_set(d, ERR_INVALID, "%s", why.text);
}

void access_close(struct access *a)
{
    token_file_free(a->tokens);
    a->tokens = NULL;
}

/* The tokens of now. What is wrong with the file is logged, and what it held before goes on to count. */
static struct tokens fresh(struct access *a)
{
    const struct tokens *tokens;
    struct diag d = {0};
    bool changed;
    if (!a->tokens)
        return (struct tokens){0};
    if (token_file_fresh(a->tokens, &tokens, &changed, &d) != OK)
        log_line(LOG_ERROR, "api.tokens", "result=refused line=%d text=%s", d.line, log_value(d.text));
    else if (changed)
        log_line(LOG_INFO, "api.tokens", "result=applied tokens=%zu", tokens->count);
    return *tokens;
}

enum err access_require(struct access *a, bool local, const char *address, struct diag *d)
{
    const char *file = a->tokens ? token_file_path(a->tokens) : NULL;
    a->required = a->required || !local;
    if (!a->required || fresh(a).count > 0)
        return OK;
    if (local)
        return diag_set(d, ERR_INVALID,
                        "--tokens %.250s: there are no tokens in it, so nobody could use the API. "
                        "`leat token create --role admin --tokens %.250s` makes one",
                        file, file);
    if (!file)
        return diag_set(d, ERR_INVALID,
                        "--api %.100s can be reached from other machines, and there are no tokens. Make one with `leat "
                        "token create --role admin --tokens FILE` and give --tokens FILE, or listen on 127.0.0.1",
                        address);
    return diag_set(d, ERR_INVALID,
                    "--api %.100s can be reached from other machines, and there are no tokens. `leat token create "
                    "--role admin --tokens %.300s` makes one; or listen on 127.0.0.1",
                    address, file);
}

/* ---- who asks ---- */

/* The token of the request; false: it has none. Empty: it has something else. */
static bool find_token(const struct http_request *r, struct slice *out)
{
    struct slice value, scheme;
    if (!http_request_header(r, "authorization", &value))
        return false;
    scheme = slice_split(&value, ' ');
    *out = slice_eq_nocase(scheme, SLICE("Bearer")) ? slice_trim(value) : SLICE("");
    return true;
}

static int64_t wall_ns(const struct http_request *r)
{
    return clock_wall_ns(loop_clock(http_request_loop(r)));
}

/* NULL: *who is the caller, and *expires_ns when that ends; else why he is refused. */
static const char *identify_by(const struct tokens *tokens, struct slice text, int64_t now_ns,
                               struct access_caller *who, int64_t *expires_ns)
{
    const struct token *t = tokens_find(tokens, text);
    if (!t)
        return text.len ? "unknown token" : "no bearer token";
    if (t->expires_ns <= now_ns)
        return "expired token";
    *who = (struct access_caller){t->name, t->role, t->namespace_name};
    *expires_ns = t->expires_ns;
    return NULL;
}

/* The same of a request, by the tokens of now. */
static const char *identify(struct access *a, const struct http_request *r, struct access_caller *who)
{
    struct slice text;
    int64_t expires_ns;
    *who = (struct access_caller){.role = ROLE_ADMIN, .namespace_name = ""};
    if (!find_token(r, &text))
        return a->required ? "no token" : NULL;
    const struct tokens tokens = fresh(a);
    return identify_by(&tokens, text, wall_ns(r), who, &expires_ns);
}

struct access_caller access_caller_of(struct access *a, const struct http_request *r)
{
    struct access_caller who;
    if (identify(a, r, &who))
        who = (struct access_caller){"", ROLE_PUBLISH, "-"}; /* its token went meanwhile: nobody, who may nothing */
    return who;
}

bool access_sees(const struct access_caller *who, struct slice namespace_name)
{
    return !who->namespace_name[0] || slice_eq_str(namespace_name, who->namespace_name);
}

void access_who(struct access *a, const struct http_request *r, char out[ACCESS_WHO_MAX])
{
    char peer[64];
    const struct access_caller who = access_caller_of(a, r);
    http_request_peer(r, peer, sizeof peer);
    snprintf(out, ACCESS_WHO_MAX, "%s%s%s", who.name ? who.name : "", who.name ? " " : "", peer);
}

bool access_knows(struct access *a, const struct http_request *r)
{
    struct access_caller who;
    struct slice text;
    return !a->required || (find_token(r, &text) && !identify(a, r, &who));
}

/* ---- refusals ---- */

/* One line a second at most: who guesses tokens must not fill the disk. */
static void say(struct access *a, const struct http_request *r, const char *what, const char *why, const char *who)
{
    char peer[64];
    uint64_t now = loop_now_ns(http_request_loop(r));
    if (now < a->log_next_ns) {
        a->unsaid++;
        return;
    }
    http_request_peer(r, peer, sizeof peer);
    log_line(LOG_WARN, what, "peer=%s reason=%s token=%s unsaid=%llu", peer, log_value(why), who,
             (unsigned long long)a->unsaid);
    a->log_next_ns = now + LOG_EVERY_NS;
    a->unsaid = 0;
}

static void put_unauthorized(struct buf *out, const char *why)
{
    buf_printf(out,
               "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":"
               "\"Unauthorized: %s; send Authorization: Bearer TOKEN (`leat token create` makes one)\","
               "\"reason\":\"Unauthorized\",\"code\":401}",
               why);
}

static void refuse_stranger(struct access *a, struct http_request *r, const char *why)
{
    static const struct http_header bare[] = {
        {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
        {SLICE_INIT("WWW-Authenticate"), SLICE_INIT("Bearer realm=\"leat\"")},
    };
    static const struct http_header wrong[] = {
        {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")},
        {SLICE_INIT("WWW-Authenticate"), SLICE_INIT("Bearer realm=\"leat\", error=\"invalid_token\"")},
    };
    struct slice text;
    struct buf body;
    bool given = find_token(r, &text);
    a->unauthenticated++;
    say(a, r, "api.unauthenticated", why, "none");
    buf_init(&body, 1024);
    put_unauthorized(&body, why);
    buf_put_char(&body, '\n');
    http_respond(r, 401, given ? wrong : bare, 2, buf_slice(&body));
    buf_fini(&body);
}

/* "channels.messaging.knative.dev "a" is forbidden: User "ci" cannot delete ..." */
static void put_reason(struct buf *out, const struct access_caller *who, const struct access_request *q)
{
    const char *name = who->name ? who->name : "system:anonymous";
    if (q->path.ptr && !utf8_valid(q->path)) {
        buf_printf(out, "forbidden: User \"%s\" cannot %s this path", name, q->verb);
    } else if (q->path.ptr) {
        buf_printf(out, "forbidden: User \"%s\" cannot %s path \"%.*s\"", name, q->verb, SLICE_ARG(q->path));
    } else {
        buf_printf(out, "%s%s%s", q->resource, q->group[0] ? "." : "", q->group);
        if (q->name[0])
            buf_printf(out, " \"%s\"", q->name);
        buf_printf(out, " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"", name, q->verb,
                   q->resource, q->subresource[0] ? "/" : "", q->subresource, q->group);
        if (q->namespace_name[0])
            buf_printf(out, " in the namespace \"%s\"", q->namespace_name);
        else
            buf_put_str(out, " at the cluster scope");
    }
    buf_printf(out, ": its role is %s%s%s", role_name(who->role), who->namespace_name[0] ? " in the namespace " : "",
               who->namespace_name);
}

static void put_forbidden(struct buf *out, const struct access_caller *who, const struct access_request *q)
{
    struct buf text;
    buf_init(&text, 16u << 10);
    put_reason(&text, who, q);
    buf_put_str(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":");
    buf_put_json_string(out, buf_slice(&text));
    buf_put_str(out, ",\"reason\":\"Forbidden\",\"details\":{\"name\":");
    buf_put_json_string(out, slice_str(q->name));
    buf_put_str(out, ",\"group\":");
    buf_put_json_string(out, slice_str(q->group));
    buf_put_str(out, ",\"kind\":");
    buf_put_json_string(out, slice_str(q->resource));
    buf_put_str(out, "},\"code\":403}");
    buf_fini(&text);
}

static void refuse_caller(struct access *a, struct http_request *r, const struct access_caller *who,
                          const struct access_request *q)
{
    static const struct http_header type[] = {{SLICE_INIT("Content-Type"), SLICE_INIT("application/json")}};
    struct buf body;
    a->forbidden++;
    say(a, r, "api.forbidden", q->verb, who->name ? who->name : "none");
    buf_init(&body, 64u << 10);
    put_forbidden(&body, who, q);
    buf_put_char(&body, '\n');
    http_respond(r, 403, type, 1, buf_error(&body) == OK ? buf_slice(&body) : SLICE("{}\n"));
    buf_fini(&body);
}

/* ---- web pages ---- */

/* A name of this machine or network: an address, or a name that nobody can have registered in the world. */
static bool is_near(struct slice host)
{
    if (host.len && host.ptr[0] == '[')
        return true;
    const char *colon = host.len ? memchr(host.ptr, ':', host.len) : NULL;
    if (colon)
        host.len = (size_t)(colon - host.ptr);
    bool digits = true;
    for (size_t i = 0; i < host.len; i++)
        digits = digits && (host.ptr[i] == '.' || (host.ptr[i] >= '0' && host.ptr[i] <= '9'));
    return digits || !memchr(host.ptr, '.', host.len) || slice_has_suffix(host, SLICE(".localhost"));
}

/* Whether a browser sends it for a page from elsewhere: it runs on this machine, but its author does not. Such a page
 * has another origin, or a name of its own that leads here (DNS rebinding). */
static bool is_of_foreign_page(const struct http_request *r)
{
    struct slice origin, host = http_request_host(r);
    if (!is_near(host))
        return true;
    if (!http_request_header(r, "origin", &origin))
        return false;
    size_t scheme = slice_has_prefix(origin, SLICE("http://"))    ? 7
                    : slice_has_prefix(origin, SLICE("https://")) ? 8
                                                                  : 0;
    return !scheme || !slice_eq(slice_from(origin, scheme), host);
}

/* ---- the gate ---- */

static bool is_open(const struct access *a, struct slice method, struct slice path)
{
    if (!slice_eq(method, SLICE("GET")))
        return false;
    return slice_eq(path, SLICE("/livez")) || slice_eq(path, SLICE("/healthz")) || slice_eq(path, SLICE("/readyz")) ||
           (a->open_metrics && slice_eq(path, SLICE("/metrics")));
}

bool access_admit(struct access *a, struct http_request *r)
{
    struct slice method = http_request_method(r), path = http_request_path(r);
    struct access_caller who;
    struct access_request q;
    if (is_open(a, method, path))
        return true;
    const char *why = identify(a, r, &who);
    if (why) {
        refuse_stranger(a, r, why);
        return false;
    }
    access_request_read(method, path, http_request_query(r), &q);
    if (!who.name && is_of_foreign_page(r))
        who = (struct access_caller){"web-page", ROLE_PUBLISH, "-"};
    if (access_allows(who.role, who.namespace_name, &q))
        return true;
    refuse_caller(a, r, &who, &q);
    return false;
}

/* ---- answers that go on ---- */

/* What the same request would be refused with now; 0: it would be admitted. */
static int refusal(const struct tokens *tokens, const struct http_request *r, int64_t *expires_ns, const char **why,
                   struct buf *status)
{
    struct slice text;
    struct access_caller who;
    struct access_request q;
    *why = find_token(r, &text) ? identify_by(tokens, text, wall_ns(r), &who, expires_ns) : "no token";
    if (*why) {
        put_unauthorized(status, *why);
        return 401;
    }
    access_request_read(http_request_method(r), http_request_path(r), http_request_query(r), &q);
    if (access_allows(who.role, who.namespace_name, &q))
        return 0;
    *why = "its token may not do this any more";
    put_forbidden(status, &who, &q);
    return 403;
}

static void look_at(struct access *a, const struct tokens *tokens, struct access_stream *s)
{
    struct buf status;
    const char *why;
    int64_t expires_ns = TOKEN_FOREVER;
    buf_init(&status, 64u << 10);
    int code = refusal(tokens, s->request, &expires_ns, &why, &status);
    if (code) {
        struct http_request *r = s->request;
        access_release(s);
        say(a, r, "api.stream_ended", why, "none");
        s->lost(s, code, why, buf_error(&status) == OK ? buf_slice(&status) : SLICE("{}"));
    } else if (expires_ns < a->looked_until_ns) {
        a->looked_until_ns = expires_ns;
    }
    buf_fini(&status);
}

void access_look(struct access *a)
{
    if (!a->streams.next || list_empty(&a->streams))
        return;
    const struct tokens tokens = fresh(a);
    const struct access_stream *any = container_of(a->streams.next, struct access_stream, link);
    uint64_t version = a->tokens ? token_file_version(a->tokens) : 0;
    if (version == a->looked_version && wall_ns(any->request) < a->looked_until_ns)
        return;
    a->looked_version = version;
    a->looked_until_ns = TOKEN_FOREVER;
    list_each(l, tmp, &a->streams)
        look_at(a, &tokens, container_of(l, struct access_stream, link));
}

static void look_again(struct loop_timer *t)
{
    struct access *a = container_of(t, struct access, look);
    struct loop *loop = http_request_loop(container_of(a->streams.next, struct access_stream, link)->request);
    access_look(a);
    if (!list_empty(&a->streams))
        loop_timer_start(loop, t, LOOK_EVERY_NS);
}

void access_hold(struct access *a, struct access_stream *s, struct http_request *r)
{
    struct slice text;
    if (!find_token(r, &text)) /* who needs no token loses none */
        return;
    if (!a->streams.next) {
        list_init(&a->streams);
        loop_timer_init(&a->look, look_again);
    }
    if (list_empty(&a->streams))
        loop_timer_start(http_request_loop(r), &a->look, LOOK_EVERY_NS);
    s->access = a;
    s->request = r;
    list_push_back(&a->streams, &s->link);
    a->looked_until_ns = INT64_MIN; /* the next look is at all of them: this one's end is not known yet */
}

void access_release(struct access_stream *s)
{
    struct access *a = s->access;
    if (!a)
        return;
    s->access = NULL;
    list_remove(&s->link);
    if (list_empty(&a->streams))
        loop_timer_stop(http_request_loop(s->request), &a->look);
}

void access_metrics(const struct access *a, struct buf *out)
{
    buf_printf(out,
               "# HELP leat_api_refused_total Requests that the API refused: without a token that counts, or beyond "
               "what its role may do.\n# TYPE leat_api_refused_total counter\n"
               "leat_api_refused_total{reason=\"unauthenticated\"} %llu\n"
               "leat_api_refused_total{reason=\"forbidden\"} %llu\n",
               (unsigned long long)a->unauthenticated, (unsigned long long)a->forbidden);
}
