/* SPDX-License-Identifier: Apache-2.0
 *
 * A webhook of GitHub becomes a CloudEvent. Attributes as Knative's GitHubSource gives them, so that Triggers written
 * for it match:
 *
 *     today   type dev.knative.source.github.EVENT   source https://github.com/OWNER/REPO
 *     2018    type dev.knative.github.EVENT          the same source
 *             a pull_request: type ...pullrequest    source the pull request's page
 *
 * id is X-GitHub-Delivery; subject and extensions come from the payload by the table below. The data is the body,
 * untouched. Events that Knative does not know (GitHub adds some every year) pass too: with what every payload has,
 * and a subject where the table has one.
 *
 * Pure; any thread.
 */
#include "github.h"

#include <assert.h>

#include "text.h"

#define VALUE_LEN_MAX 1024 /* a longer value is left out: attributes travel as header lines, and sinks bound those */
#define SMALL_MAX 160      /* type and time: GitHub's longest event name has 37 letters */
#define EXTRAS_MAX 6
#define COLLECTED_MAX (4 + EXTRAS_MAX + 2) /* common ones, the event's own, source and subject */

#define PATH(...) ((const char *const[]){__VA_ARGS__, NULL})

enum subject_form {
    WHOLE, /* the value itself */
    TAIL,  /* what follows the value's last slash */
    PAGES  /* page_name of each element, with commas */
};

struct extra {
    const char *name;
    const char *const *path;
};

struct rule {
    const char *event;
    const char *const *subject;
    enum subject_form form;
    struct extra extras[EXTRAS_MAX]; /* ends with name NULL, or full */
};

#define INSTALLATION "installation", PATH("installation", "id")
#define LABEL "label", PATH("label", "name")
#define ASSIGNEE "assignee", PATH("assignee", "login")
#define REF "ref", PATH("ref")

/* The first block is Knative's choice of subjects, the second ours for events that came later. */
static const struct rule rules[] = {
    {"check_run", PATH("check_run", "id"), WHOLE, {{0}}},
    {"check_suite", PATH("check_suite", "id"), WHOLE, {{0}}},
    {"commit_comment", PATH("comment", "html_url"), TAIL, {{0}}},
    {"create", PATH("ref_type"), WHOLE, {{REF}}},
    {"delete", PATH("ref_type"), WHOLE, {{REF}}},
    {"deployment", PATH("deployment", "id"), WHOLE, {{0}}},
    {"deployment_status", PATH("deployment", "id"), WHOLE, {{0}}},
    {"fork", PATH("forkee", "id"), WHOLE, {{0}}},
    {"gollum", PATH("pages"), PAGES, {{0}}},
    {"installation", PATH("installation", "id"), WHOLE, {{INSTALLATION}}},
    {"installation_repositories", PATH("installation", "id"), WHOLE, {{INSTALLATION}}},
    {"integration_installation", PATH("installation", "id"), WHOLE, {{INSTALLATION}}},
    {"integration_installation_repositories", PATH("installation", "id"), WHOLE, {{INSTALLATION}}},
    {"issue_comment", PATH("comment", "html_url"), TAIL, {{0}}},
    {"issues", PATH("issue", "number"), WHOLE, {{LABEL}, {ASSIGNEE}}},
    {"label", PATH("label", "name"), WHOLE, {{LABEL}}},
    {"member", PATH("member", "id"), WHOLE, {{0}}},
    {"membership", PATH("member", "id"), WHOLE, {{"scope", PATH("scope")}}},
    {"milestone", PATH("milestone", "number"), WHOLE, {{0}}},
    {"org_block", PATH("action"), WHOLE, {{0}}},
    {"organization", PATH("action"), WHOLE, {{0}}},
    {"page_build", PATH("id"), WHOLE, {{0}}},
    {"ping", PATH("hook_id"), WHOLE, {{0}}},
    {"project", PATH("action"), WHOLE, {{0}}},
    {"project_card", PATH("action"), WHOLE, {{0}}},
    {"project_column", PATH("action"), WHOLE, {{0}}},
    {"public", PATH("repository", "id"), WHOLE, {{0}}},
    {"pull_request",
     PATH("pull_request", "number"),
     WHOLE,
     {{INSTALLATION}, {"number", PATH("number")}, {LABEL}, {ASSIGNEE}}},
    {"pull_request_review", PATH("review", "id"), WHOLE, {{INSTALLATION}, {"review", PATH("review", "state")}}},
    {"pull_request_review_comment", PATH("comment", "id"), WHOLE, {{INSTALLATION}}},
    {"push",
     PATH("compare"),
     TAIL,
     {{INSTALLATION},
      {"pusher", PATH("pusher", "name")},
      {REF},
      {"created", PATH("created")},
      {"deleted", PATH("deleted")},
      {"forced", PATH("forced")}}},
    {"release", PATH("release", "tag_name"), WHOLE, {{INSTALLATION}, {"release", PATH("release", "name")}}},
    {"repository", PATH("repository", "id"), WHOLE, {{0}}},
    {"repository_vulnerability_alert", PATH("alert", "id"), WHOLE, {{0}}},
    {"security_advisory", PATH("security_advisory", "ghsa_id"), WHOLE, {{0}}},
    {"status", PATH("sha"), WHOLE, {{"state", PATH("state")}, {"name", PATH("name")}, {"context", PATH("context")}}},
    {"team", PATH("team", "id"), WHOLE, {{0}}},
    {"team_add", PATH("repository", "id"), WHOLE, {{0}}},
    {"watch", PATH("repository", "id"), WHOLE, {{0}}},

    {"branch_protection_rule", PATH("rule", "id"), WHOLE, {{0}}},
    {"code_scanning_alert", PATH("alert", "number"), WHOLE, {{REF}}},
    {"dependabot_alert", PATH("alert", "number"), WHOLE, {{0}}},
    {"deploy_key", PATH("key", "id"), WHOLE, {{0}}},
    {"discussion", PATH("discussion", "number"), WHOLE, {{LABEL}}},
    {"discussion_comment", PATH("comment", "html_url"), TAIL, {{0}}},
    {"merge_group", PATH("merge_group", "head_sha"), WHOLE, {{0}}},
    {"meta", PATH("hook_id"), WHOLE, {{0}}},
    {"package", PATH("package", "id"), WHOLE, {{0}}},
    {"projects_v2_item", PATH("projects_v2_item", "id"), WHOLE, {{INSTALLATION}}},
    {"pull_request_review_thread", PATH("pull_request", "number"), WHOLE, {{INSTALLATION}}},
    {"registry_package", PATH("registry_package", "id"), WHOLE, {{0}}},
    {"repository_dispatch", PATH("action"), WHOLE, {{0}}},
    {"secret_scanning_alert", PATH("alert", "number"), WHOLE, {{0}}},
    {"star", PATH("repository", "id"), WHOLE, {{0}}},
    {"workflow_dispatch", PATH("workflow"), WHOLE, {{REF}}},
    {"workflow_job", PATH("workflow_job", "id"), WHOLE, {{0}}},
    {"workflow_run", PATH("workflow_run", "id"), WHOLE, {{0}}},
};

static const struct rule *find_rule(struct slice event)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (slice_eq_str(event, rules[i].event))
            return &rules[i];
    return NULL;
}

/* Values taken from the payload. The text grows, so values are kept as places in it until all are there. */
struct collected {
    struct buf text;
    struct {
        const char *name;
        enum ce_type type;
        size_t at, len;
    } items[COLLECTED_MAX];
    size_t count;
};

/* Keeps what was written to the text since `at` as the attribute `name`; takes it back when it is empty, too long, or
 * breaks the attribute's rules. */
static bool keep(struct collected *c, const char *name, enum ce_type type, size_t at)
{
    struct slice value = slice_from(buf_slice(&c->text), at);
    if (buf_error(&c->text) != OK || value.len == 0 || value.len > VALUE_LEN_MAX ||
        ce_value_check(type, value, NULL) != OK) {
        c->text.len = at;
        return false;
    }
    assert(c->count < COLLECTED_MAX);
    c->items[c->count].name = name;
    c->items[c->count].type = type;
    c->items[c->count].at = at;
    c->items[c->count].len = value.len;
    c->count++;
    return true;
}

/* Writes a string's characters or another scalar's text; false when the value is none. */
static bool write_scalar(struct collected *c, struct json_value v)
{
    if (v.type == JSON_STRING)
        json_unescape(v.raw, &c->text);
    else if (v.type == JSON_NUMBER || v.type == JSON_TRUE || v.type == JSON_FALSE)
        buf_put(&c->text, v.raw);
    else
        return false;
    return true;
}

static bool collect(struct collected *c, const char *name, struct json_value payload, const char *const *path)
{
    struct json_value v;
    if (!json_find(payload, path, &v))
        return false;
    enum ce_type type = CE_STRING;
    int32_t number;
    if (v.type == JSON_TRUE || v.type == JSON_FALSE)
        type = CE_BOOLEAN;
    else if (v.type == JSON_NUMBER && json_int32(v.raw, &number))
        type = CE_INTEGER;
    size_t at = c->text.len;
    return write_scalar(c, v) && keep(c, name, type, at);
}

static void collect_pages(struct collected *c, struct json_value pages, size_t at)
{
    if (pages.type != JSON_ARRAY)
        return;
    struct json_walk w;
    json_walk_begin(&w, pages);
    while (json_walk_next(&w)) {
        struct json_value name;
        if (w.value.type != JSON_OBJECT || !json_find(w.value, PATH("page_name"), &name) || name.type != JSON_STRING)
            continue;
        if (c->text.len > at)
            buf_put_char(&c->text, ',');
        json_unescape(name.raw, &c->text);
    }
}

static void collect_subject(struct collected *c, const struct rule *rule, struct json_value payload)
{
    struct json_value v;
    if (!json_find(payload, rule->subject, &v))
        return;
    size_t at = c->text.len;
    if (rule->form == PAGES) {
        collect_pages(c, v, at);
    } else if (!write_scalar(c, v)) {
        return;
    } else if (rule->form == TAIL && c->text.len > at) {
        const char *slash = memrchr(c->text.ptr + at, '/', c->text.len - at);
        at = slash ? (size_t)(slash + 1 - c->text.ptr) : at;
    }
    keep(c, "subject", CE_STRING, at);
}

/* The source: what the spec names; else where the payload says that it comes from. */
static void collect_source(struct collected *c, const struct github_options *o, const struct github_webhook *w)
{
    if (o->form_2018 && slice_eq_str(w->event, "pull_request") &&
        collect(c, "source", w->payload, PATH("pull_request", "html_url"))) {
        struct slice page = slice_of(c->text.ptr + c->items[c->count - 1].at, c->items[c->count - 1].len);
        if (ce_value_check(CE_URI_REFERENCE, page, NULL) == OK)
            return;
        c->count--;
    }
    size_t at = c->text.len;
    buf_put_str(&c->text, "https://github.com");
    size_t bare = c->text.len;
    buf_put_char(&c->text, '/');
    struct json_value v;
    if (o->owner.len > 0) {
        buf_put(&c->text, o->owner);
        if (o->repository.len > 0)
            buf_put_char(&c->text, '/');
        buf_put(&c->text, o->repository);
    } else if (!(json_find(w->payload, PATH("repository", "full_name"), &v) && write_scalar(c, v)) &&
               !(json_find(w->payload, PATH("organization", "login"), &v) && write_scalar(c, v))) {
        c->text.len = bare;
    }
    if (buf_error(&c->text) == OK && !keep(c, "source", CE_URI_REFERENCE, at)) {
        buf_put_str(&c->text, "https://github.com");
        keep(c, "source", CE_URI_REFERENCE, at);
    }
}

static void collect_all(struct collected *c, const struct github_options *o, const struct github_webhook *w)
{
    collect_source(c, o, w);
    const struct rule *rule = find_rule(w->event);
    if (rule)
        collect_subject(c, rule, w->payload);
    if (!collect(c, "owner", w->payload, PATH("repository", "owner", "login")))
        collect(c, "owner", w->payload, PATH("organization", "login"));
    collect(c, "repository", w->payload, PATH("repository", "name"));
    collect(c, "sender", w->payload, PATH("sender", "login"));
    collect(c, "action", w->payload, PATH("action"));
    for (size_t i = 0; rule && i < EXTRAS_MAX && rule->extras[i].name; i++)
        collect(c, rule->extras[i].name, w->payload, rule->extras[i].path);
}

static enum err seal(const struct collected *c, const struct github_options *o, const struct github_webhook *w,
                     struct slice type, struct slice time, size_t bytes_max, const struct ce_event **out,
                     struct diag *d)
{
    struct ce_builder b;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("specversion"), CE_STRING, SLICE("1.0"));
    ce_builder_set(&b, SLICE("id"), CE_STRING, w->delivery);
    ce_builder_set(&b, SLICE("type"), CE_STRING, type);
    ce_builder_set(&b, SLICE("time"), CE_TIMESTAMP, time);
    ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, SLICE("application/json"));
    for (size_t i = 0; i < c->count; i++)
        ce_builder_set(&b, slice_str(c->items[i].name), c->items[i].type,
                       slice_of(c->text.ptr + c->items[i].at, c->items[i].len));
    for (size_t i = 0; i < o->spec->ce_override_count; i++)
        ce_builder_replace(&b, slice_str(o->spec->ce_overrides[i].name), CE_STRING,
                           slice_str(o->spec->ce_overrides[i].value));
    ce_builder_data(&b, CE_DATA_BYTES, w->body);
    ce_builder_mode(&b, CE_MODE_BINARY);
    return ce_builder_seal(&b, bytes_max, out, d);
}

enum err github_event_make(const struct github_options *options, const struct github_webhook *webhook, int64_t wall_ns,
                           size_t bytes_max, const struct ce_event **out, struct diag *d)
{
    assert(webhook->payload.type == JSON_OBJECT);
    /* Unescaped text is never longer than the JSON that it stands in; the rest is the source's own. */
    struct collected c = {.count = 0};
    buf_init(&c.text, webhook->body.len + 4 * VALUE_LEN_MAX);
    struct buf small;
    buf_init(&small, SMALL_MAX);
    collect_all(&c, options, webhook);
    buf_put_str(&small, options->form_2018 ? "dev.knative.github." : "dev.knative.source.github.");
    buf_put(&small,
            options->form_2018 && slice_eq_str(webhook->event, "pull_request") ? SLICE("pullrequest") : webhook->event);
    size_t type_len = small.len;
    rfc3339_put(&small, wall_ns, 3);

    enum err e = buf_error(&c.text) == ERR_NOMEM || buf_error(&small) == ERR_NOMEM ? ERR_NOMEM : OK;
    if (e == OK && buf_error(&small) != OK)
        e = diag_set(d, ERR_INVALID, "X-GitHub-Event is too long");
    if (e == OK)
        e = seal(&c, options, webhook, slice_of(small.ptr, type_len), slice_from(buf_slice(&small), type_len),
                 bytes_max, out, d);
    buf_fini(&small);
    buf_fini(&c.text);
    return e;
}
