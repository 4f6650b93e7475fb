/* SPDX-License-Identifier: Apache-2.0
 *
 * The webhook at GitHub: found, made, changed and removed through GitHub's REST API, on the control loop. Webhooks
 * are received whether or not this works.
 *
 *     LIST page 1, 2 ... ──ours is there──→ UPDATE (PATCH: takes it over, with our secret and events) ──→ READY
 *            └──not there──→ CREATE (POST) ──→ READY       (refused with 422: LIST once more, since it may exist)
 *     any failure → report what is missing and what to do → wait (1 s, doubled, at most 5 min) → LIST
 *     stop(remove) with a known id → REMOVE (DELETE, one try) → gone
 *
 * "Ours" is the webhook with our URL, or with the id that was registered before. So a second start, a lost answer, or
 * a copy made by hand never leaves two. One exchange is under way at a time.
 */
#include "github.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "prng.h"
#include "text.h"

#define RETRY_LEAST_NS (1 * NS_PER_S)
#define RETRY_MAX_NS (300 * NS_PER_S)
#define CALL_TIMEOUT_NS (20 * NS_PER_S)
#define REMOVE_TIMEOUT_NS (10 * NS_PER_S) /* a stopping program does not wait longer */
#define PER_PAGE 100                      /* the most that GitHub gives */
#define PAGES_MAX 20                      /* GitHub allows far fewer webhooks than this many pages hold */
#define ANSWER_MAX (1u << 20)             /* of an answer: a page of 100 webhooks has about 100 KiB */
#define REQUEST_MAX (64u << 10)
#define ID_LEN_MAX 20
#define MESSAGE_MAX 600
#define ANSWER_DEPTH_MAX 32

enum step { STEP_LIST, STEP_UPDATE, STEP_CREATE, STEP_READY, STEP_REMOVE };

struct registration {
    struct source_registration head;
    struct github_options options;
    struct loop *loop;
    struct http_client *client;
    struct http_url api;
    struct http_origin *origin;
    char *webhook_url;       /* NULL: not known */
    char id[ID_LEN_MAX + 1]; /* at GitHub; empty: none known */
    source_report_fn *report;
    void *report_arg;
    enum step step;
    unsigned page;
    struct http_exchange exchange;
    bool under_way;
    struct buf request_head, request_body;
    struct loop_timer timer;
    uint64_t wait_ns;
    struct prng prng;
    char told[MESSAGE_MAX]; /* the last message: only changes are reported */
    bool has_token, stopping;
    bool looked_again; /* after a refused CREATE, before saying so */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static void step_begin(struct registration *r);

/* Takes the beginning of a character off the end of a text that was cut: messages end up in JSON. */
static void drop_cut_character(char *text)
{
    size_t len = strlen(text), start = len;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0 && !utf8_valid(slice_of(text + start - 1, len - start + 1)))
        text[start - 1] = '\0';
}

__attribute__((format(printf, 4, 5))) static void tell(struct registration *r, bool ready, const char *reason,
                                                       const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    drop_cut_character(text);
    if (strcmp(text, r->told) == 0)
        return;
    memcpy(r->told, text, strlen(text) + 1);
    r->report(r->report_arg, ready, reason, text, r->id[0] ? r->id : NULL);
}

/* ---- requests ---- */

static const char *method_of(enum step step)
{
    static const char *const methods[] = {[STEP_LIST] = "GET",
                                          [STEP_UPDATE] = "PATCH",
                                          [STEP_CREATE] = "POST",
                                          [STEP_READY] = "",
                                          [STEP_REMOVE] = "DELETE"};
    return methods[step];
}

/* {API}/repos/OWNER/REPOSITORY/hooks or {API}/orgs/OWNER/hooks, with the id or the page. Names were checked to need
 * no escaping. */
static void put_target(const struct registration *r, struct buf *out)
{
    struct slice base = r->api.target;
    while (base.len > 0 && base.ptr[base.len - 1] == '/')
        base.len--;
    buf_put(out, base);
    const struct github_options *o = &r->options;
    if (o->repository.len > 0)
        buf_printf(out, "/repos/%.*s/%.*s/hooks", SLICE_ARG(o->owner), SLICE_ARG(o->repository));
    else
        buf_printf(out, "/orgs/%.*s/hooks", SLICE_ARG(o->owner));
    if (r->step == STEP_UPDATE || r->step == STEP_REMOVE)
        buf_printf(out, "/%s", r->id);
    else if (r->step == STEP_LIST)
        buf_printf(out, "?per_page=%d&page=%u", PER_PAGE, r->page);
}

static void put_events(const struct registration *r, struct buf *out)
{
    struct slice rest = r->options.events.len ? r->options.events : slice_of(NULL, 0), event;
    bool any = false;
    while (github_events_next(&rest, &event)) {
        if (slice_eq_str(event, "ping")) /* always sent, and no event that can be asked for */
            continue;
        buf_put_str(out, any ? "," : "");
        buf_put_json_string(out, event);
        any = true;
    }
    if (!any)
        buf_put_str(out, "\"*\"");
}

static void put_hook(const struct registration *r, struct buf *out)
{
    buf_put_str(out, r->step == STEP_CREATE ? "{\"name\":\"web\",\"active\":true,\"events\":["
                                            : "{\"active\":true,\"events\":[");
    put_events(r, out);
    buf_put_str(out, "],\"config\":{\"content_type\":\"json\",\"insecure_ssl\":\"0\",\"url\":");
    buf_put_json_string(out, slice_str(r->webhook_url));
    if (r->options.secret.len > 0) {
        buf_put_str(out, ",\"secret\":");
        buf_put_json_string(out, r->options.secret);
    }
    buf_put_str(out, "}}");
}

static void write_request(struct registration *r)
{
    struct buf *h = &r->request_head;
    buf_clear(h);
    buf_clear(&r->request_body);
    if (r->step == STEP_CREATE || r->step == STEP_UPDATE)
        put_hook(r, &r->request_body);
    buf_printf(h, "%s ", method_of(r->step));
    put_target(r, h);
    buf_printf(h, " HTTP/1.1\r\nHost: %.*s\r\n", SLICE_ARG(r->api.authority));
    buf_printf(h, "Authorization: Bearer %.*s\r\n", SLICE_ARG(r->options.token));
    buf_put_str(
        h, "Accept: application/vnd.github+json\r\nX-GitHub-Api-Version: 2022-11-28\r\nUser-Agent: leat/" LEAT_VERSION
           "\r\n");
    if (r->request_body.len > 0)
        buf_printf(h, "Content-Type: application/json\r\nContent-Length: %zu\r\n", r->request_body.len);
    buf_put_str(h, "\r\n");
}

/* ---- failures: each says what to do ---- */

static void try_again(struct registration *r, uint64_t at_least_ns)
{
    if (r->stopping)
        return;
    r->wait_ns = r->wait_ns == 0 ? RETRY_LEAST_NS : r->wait_ns * 2 > RETRY_MAX_NS ? RETRY_MAX_NS : r->wait_ns * 2;
    uint64_t wait = r->wait_ns > at_least_ns ? r->wait_ns : at_least_ns;
    r->step = STEP_LIST;
    r->page = 1;
    r->looked_again = false;
    /* A tenth more or less, so that many sources do not ask all at once. */
    loop_timer_start(r->loop, &r->timer, wait - wait / 10 + prng_below(&r->prng, wait / 5 + 1));
}

static void place_of(const struct registration *r, char *out, size_t n)
{
    const struct github_options *o = &r->options;
    snprintf(out, n, "%.*s%s%.*s", SLICE_ARG(o->owner), o->repository.len ? "/" : "", SLICE_ARG(o->repository));
}

/* GitHub's own words, from {"message": ..., "errors": [{"message": ...}]}: the first of errors, else the message.
 * Control characters become spaces. */
static void github_words(const struct http_response *answer, char *out, size_t n)
{
    struct json_value v, list, text = {0};
    out[0] = '\0';
    if (json_check(answer->body, ANSWER_DEPTH_MAX, &v, NULL) != OK || v.type != JSON_OBJECT)
        return;
    bool found = json_find(v, (const char *const[]){"message", NULL}, &text) && text.type == JSON_STRING;
    if (json_find(v, (const char *const[]){"errors", NULL}, &list) && list.type == JSON_ARRAY) {
        struct json_walk w;
        json_walk_begin(&w, list);
        struct json_value inner;
        if (json_walk_next(&w) && w.value.type == JSON_OBJECT &&
            json_find(w.value, (const char *const[]){"message", NULL}, &inner) && inner.type == JSON_STRING) {
            text = inner;
            found = true;
        }
    }
    struct buf b;
    buf_init(&b, ANSWER_MAX);
    if (found)
        json_unescape(text.raw, &b);
    size_t len = b.len < n - 1 ? b.len : n - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)b.ptr[i] < 0x20 ? ' ' : b.ptr[i];
    out[len] = '\0';
    drop_cut_character(out);
    buf_fini(&b);
}

/* How long GitHub asks to wait: Retry-After, or until X-RateLimit-Reset when nothing remains. 0: it does not. */
static uint64_t asked_wait_ns(const struct registration *r, const struct http_response *a)
{
    struct slice value;
    uint64_t seconds;
    if (http_header_find(a->headers, a->header_count, "Retry-After", &value) &&
        decimal_parse(value, 3600, &seconds) == OK)
        return seconds * NS_PER_S;
    if (!http_header_find(a->headers, a->header_count, "X-RateLimit-Remaining", &value) || !slice_eq_str(value, "0"))
        return 0;
    int64_t now = clock_wall_ns(loop_clock(r->loop)) / (int64_t)NS_PER_S;
    if (!http_header_find(a->headers, a->header_count, "X-RateLimit-Reset", &value) ||
        decimal_parse(value, INT64_MAX, &seconds) != OK)
        return 60 * NS_PER_S;
    int64_t left = (int64_t)seconds - now;
    return (uint64_t)(left < 1 ? 1 : left > 3600 ? 3600 : left) * NS_PER_S;
}

static void refused(struct registration *r, const struct http_response *a)
{
    char place[256], words[200];
    place_of(r, place, sizeof(place));
    github_words(a, words, sizeof(words));
    uint64_t wait = asked_wait_ns(r, a);
    const char *scope = r->options.repository.len
                            ? "fine-grained: repository permission Webhooks, read and write; classic: admin:repo_hook"
                            : "classic token of an owner: admin:org_hook";
    if (a->status == 401)
        tell(r, false, "TokenRefused",
             "GitHub refuses accessToken (401 %s): it is wrong, expired or revoked. Make a new one (%s).", words,
             scope);
    else if ((a->status == 403 || a->status == 429) && wait > 0)
        tell(r, false, "RateLimited", "GitHub's rate limit is used up (%d %s); trying again in %llu s.", a->status,
             words, (unsigned long long)(wait / NS_PER_S));
    else if (a->status == 403)
        tell(r, false, "NotAllowed",
             "accessToken may not manage the webhooks of %s (403 %s). Give it the right to (%s).", place, words, scope);
    else if (a->status == 404)
        tell(r, false, "NotFound",
             "GitHub shows no webhooks of %s to this accessToken (404): check ownerAndRepository, and give the token "
             "the right (%s).",
             place, scope);
    else if (a->status >= 300 && a->status < 400)
        tell(r, false, "Moved", "GitHub answers %d: %s was renamed or moved; put its new name into ownerAndRepository.",
             a->status, place);
    else if (a->status == 422)
        tell(r, false, "Refused",
             "GitHub refuses the webhook %s (422 %s). The URL must be reachable from GitHub, and eventTypes be events "
             "that %s can send.",
             r->webhook_url, words, r->options.repository.len ? "a repository" : "an organisation");
    else
        tell(r, false, "Unavailable", "GitHub's API answered %d %s; trying again.", a->status, words);
    try_again(r, wait);
}

/* ---- answers ---- */

static void ready(struct registration *r)
{
    char place[256];
    place_of(r, place, sizeof(place));
    r->step = STEP_READY;
    r->wait_ns = 0;
    r->looked_again = false;
    tell(r, true, "WebhookConfigured", "webhook %s of %s sends to %s", r->id, place, r->webhook_url);
}

/* Takes the id of a webhook over; false when it has none that could be one. */
static bool take_id(struct registration *r, struct json_value hook)
{
    struct json_value id;
    uint64_t number;
    if (hook.type != JSON_OBJECT || !json_find(hook, (const char *const[]){"id", NULL}, &id) ||
        id.type != JSON_NUMBER || id.raw.len > ID_LEN_MAX || decimal_parse(id.raw, UINT64_MAX, &number) != OK)
        return false;
    snprintf(r->id, sizeof(r->id), "%.*s", SLICE_ARG(id.raw));
    return true;
}

static bool is_ours(const struct registration *r, struct json_value hook)
{
    struct json_value v;
    if (hook.type != JSON_OBJECT)
        return false;
    if (json_find(hook, (const char *const[]){"config", "url", NULL}, &v) && v.type == JSON_STRING &&
        json_string_is(v.raw, slice_str(r->webhook_url)))
        return true;
    return r->id[0] && json_find(hook, (const char *const[]){"id", NULL}, &v) && slice_eq_str(v.raw, r->id);
}

static void listed(struct registration *r, struct json_value hooks)
{
    struct json_walk w;
    size_t count = 0;
    json_walk_begin(&w, hooks);
    while (json_walk_next(&w)) {
        count++;
        if (is_ours(r, w.value) && take_id(r, w.value)) {
            r->step = STEP_UPDATE;
            step_begin(r);
            return;
        }
    }
    if (count == PER_PAGE && r->page < PAGES_MAX) {
        r->page++;
    } else {
        r->step = STEP_CREATE;
        r->id[0] = '\0';
    }
    step_begin(r);
}

static void answered(struct registration *r, const struct http_response *a)
{
    struct json_value v;
    if (a->status == 422 && r->step == STEP_CREATE && !r->looked_again) {
        /* Perhaps it exists: made meanwhile, or by a request of ours whose answer got lost. */
        r->looked_again = true;
        r->step = STEP_LIST;
        r->page = 1;
        step_begin(r);
        return;
    }
    if (a->status < 200 || a->status > 299) {
        refused(r, a);
        return;
    }
    bool whole = !a->body_cut && json_check(a->body, ANSWER_DEPTH_MAX, &v, NULL) == OK;
    if (whole && r->step == STEP_LIST && v.type == JSON_ARRAY) {
        listed(r, v);
    } else if (whole && r->step != STEP_LIST && take_id(r, v)) {
        ready(r);
    } else {
        tell(r, false, "Unavailable", "What answers at %s is not GitHub's API (status %d): check githubAPIURL.",
             r->api.text, a->status);
        try_again(r, 0);
    }
}

static void free_registration(struct registration *r)
{
    loop_timer_stop(r->loop, &r->timer);
    if (r->under_way)
        http_exchange_cancel(&r->exchange);
    if (r->origin)
        http_origin_unref(r->origin);
    http_url_fini(&r->api);
    buf_fini(&r->request_head);
    buf_fini(&r->request_body);
    free(r->webhook_url);
    free(r);
}

static void done(struct http_exchange *x, enum err e, const struct http_response *answer, const char *detail)
{
    struct registration *r = container_of(x, struct registration, exchange);
    r->under_way = false;
    if (r->stopping) {
        /* Removed or not: one try, and the program goes on ending. */
        loop_timer_start(r->loop, &r->timer, 0);
    } else if (e == OK) {
        answered(r, answer);
    } else {
        tell(r, false, "Unreachable",
             "GitHub's API at %s cannot be reached (%s); trying again. Webhooks that come are received all the same.",
             r->api.text, detail ? detail : err_name(e));
        try_again(r, 0);
    }
}

/* ---- steps ---- */

static enum err start_exchange(struct registration *r)
{
    write_request(r);
    enum err e = buf_error(&r->request_head);
    if (e == OK)
        e = buf_error(&r->request_body);
    if (e == OK && !r->origin)
        e = http_origin_get(r->client, &r->api, SLICE(""), &r->origin);
    if (e != OK)
        return e;
    r->exchange.done = done;
    r->exchange.head = buf_slice(&r->request_head);
    r->exchange.body = buf_slice(&r->request_body);
    r->exchange.body_max = ANSWER_MAX;
    r->exchange.timeout_ns = r->step == STEP_REMOVE ? REMOVE_TIMEOUT_NS : CALL_TIMEOUT_NS;
    e = http_exchange_start(r->origin, &r->exchange);
    r->under_way = e == OK;
    return e;
}

static void step_begin(struct registration *r)
{
    enum err e = start_exchange(r);
    if (e == OK)
        return;
    tell(r, false, "Unavailable", "GitHub's API cannot be asked (%s); trying again.", err_name(e));
    try_again(r, 0);
}

static void wake(struct loop_timer *t)
{
    struct registration *r = container_of(t, struct registration, timer);
    if (r->stopping) {
        void (*stopped)(void *arg) = r->stopped;
        void *arg = r->stopped_arg;
        free_registration(r);
        stopped(arg);
        return;
    }
    if (!r->has_token) {
        tell(r, true, "ByHand",
             "there is no accessToken, so make the webhook on GitHub by hand (Settings, Webhooks): content type "
             "application/json, the same secret, and the URL %s",
             r->webhook_url ? r->webhook_url : "under which GitHub reaches this source");
    } else if (!r->webhook_url) {
        tell(r, false, "NoWebhookURL",
             "the webhook cannot be made: say under which URL GitHub reaches this source (serve: --hooks-url; source "
             "github: --webhook-url)");
    } else {
        step_begin(r);
    }
}

/* The URL with the scheme that `secure` asks for. */
static char *with_scheme(const char *url, const char *secure)
{
    struct slice rest = slice_str(url);
    struct slice scheme = slice_has_prefix_nocase(rest, SLICE("https://")) ? SLICE("https://") : SLICE("http://");
    if (!secure || !slice_has_prefix_nocase(rest, scheme))
        return strdup(url);
    rest = slice_from(rest, scheme.len);
    char *out;
    return asprintf(&out, "%s://%.*s", strcmp(secure, "true") == 0 ? "https" : "http", SLICE_ARG(rest)) < 0 ? NULL
                                                                                                            : out;
}

enum err github_register_start(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out)
{
    struct github_options options;
    enum err e = github_options_parse(spec, &options, NULL);
    if (e != OK)
        return e;
    struct registration *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->head.ops = &github_source;
    r->options = options;
    r->has_token = options.token.len > 0;
    r->loop = control;
    r->client = client;
    r->report = report;
    r->report_arg = arg;
    r->page = 1;
    buf_init(&r->request_head, REQUEST_MAX);
    buf_init(&r->request_body, REQUEST_MAX);
    loop_timer_init(&r->timer, wake);
    prng_seed_system(&r->prng);
    uint64_t number;
    if (known_id && strlen(known_id) <= ID_LEN_MAX && decimal_parse(slice_str(known_id), UINT64_MAX, &number) == OK)
        snprintf(r->id, sizeof(r->id), "%s", known_id);
    r->webhook_url = webhook_url ? with_scheme(webhook_url, options.secure) : NULL;
    e = webhook_url && !r->webhook_url ? ERR_NOMEM : http_url_parse(options.api_url, &r->api, NULL);
    if (e != OK) {
        free_registration(r);
        return e;
    }
    loop_timer_start(control, &r->timer, 0);
    *out = &r->head;
    return OK;
}

void github_register_stop(struct source_registration *head, bool remove, void (*stopped)(void *arg), void *arg)
{
    struct registration *r = container_of(head, struct registration, head);
    assert(!r->stopping);
    r->stopping = true;
    r->stopped = stopped;
    r->stopped_arg = arg;
    if (r->under_way)
        http_exchange_cancel(&r->exchange);
    r->under_way = false;
    r->step = STEP_REMOVE;
    if (remove && r->has_token && r->id[0] && start_exchange(r) == OK)
        loop_timer_stop(r->loop, &r->timer);
    else
        loop_timer_start(r->loop, &r->timer, 0);
}
