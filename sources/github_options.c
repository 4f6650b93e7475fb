/* SPDX-License-Identifier: Apache-2.0
 *
 * The GitHub source's spec: taken apart and checked, each mistake with what to do about it. Pure.
 */
#include "github.h"

#include "clock.h"
#include "text.h"

/* What GitHub allows in the names of owners and repositories: nothing of it needs escaping in a URL. */
static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.len > 0 && !slice_eq_str(s, ".") && !slice_eq_str(s, "..");
}

static enum err parse_owner(struct github_options *o, struct diag *d)
{
    struct slice rest = slice_str(source_param(o->spec, "ownerAndRepository", ""));
    if (rest.len == 0)
        return OK;
    o->owner = slice_split(&rest, '/');
    o->repository = rest;
    if (!is_name(o->owner) || (rest.ptr && !is_name(rest)))
        return diag_set(
            d, ERR_INVALID,
            "ownerAndRepository must be OWNER/REPOSITORY, or an organisation alone, as in 'octo-org/hello-world'");
    return OK;
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return true;
    return false;
}

/* A line break at the end of a secret is the commonest reason for signatures that never match. */
static enum err check_secret(const char *name, struct slice value, struct diag *d)
{
    if (slice_has_suffix(value, SLICE("\n")))
        return diag_set(d, ERR_INVALID, "%s ends with a line break; store it without one (printf %%s instead of echo)",
                        name);
    if (has_control(value))
        return diag_set(d, ERR_INVALID, "%s holds a control character", name);
    return OK;
}

static enum err parse_secrets(struct github_options *o, struct diag *d)
{
    o->secret = slice_str(source_param(o->spec, "secretToken", ""));
    o->token = slice_str(source_param(o->spec, "accessToken", ""));
    enum err e = check_secret("secretToken", o->secret, d);
    if (e == OK)
        e = check_secret("accessToken", o->token, d);
    if (e != OK)
        return e;
    const char *unsigned_ok = source_param(o->spec, "allowUnsigned", "false");
    if (strcmp(unsigned_ok, "true") != 0 && strcmp(unsigned_ok, "false") != 0)
        return diag_set(d, ERR_INVALID, "allowUnsigned must be true or false");
    if (o->secret.len == 0 && strcmp(unsigned_ok, "true") != 0)
        return diag_set(d, ERR_INVALID,
                        "secretToken is missing: without it anybody could send events. Give the secret that the "
                        "webhook on GitHub has "
                        "(allowUnsigned: true takes unsigned webhooks, for trials only)");
    if (o->token.len > 0 && o->owner.len == 0)
        return diag_set(d, ERR_INVALID,
                        "ownerAndRepository is missing: accessToken says that the webhook is to be made there");
    return OK;
}

bool github_is_event_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] != '_' && !(name.ptr[i] >= 'a' && name.ptr[i] <= 'z') &&
            !(name.ptr[i] >= '0' && name.ptr[i] <= '9'))
            return false;
    return name.len > 0 && name.len <= GITHUB_EVENT_NAME_MAX;
}

static enum err parse_events(struct github_options *o, struct diag *d)
{
    o->events = slice_trim(slice_str(source_param(o->spec, "eventTypes", "")));
    if (slice_eq_str(o->events, "*"))
        o->events = SLICE("");
    struct slice rest = o->events.len ? o->events : slice_of(NULL, 0), event;
    while (github_events_next(&rest, &event)) {
        if (event.len == 0)
            return diag_set(d, ERR_INVALID,
                            "eventTypes has an empty name; give names with commas between: push,pull_request");
        if (!github_is_event_name(event))
            return diag_set(d, ERR_INVALID,
                            "eventTypes: '%.*s' is no event of GitHub; they look like push, pull_request, issues",
                            SLICE_ARG(event));
    }
    return OK;
}

enum err github_options_parse(const struct source_spec *spec, struct github_options *out, struct diag *d)
{
    struct github_options o = {.spec = spec};
    enum err e = parse_owner(&o, d);
    if (e == OK)
        e = parse_secrets(&o, d);
    if (e == OK)
        e = parse_events(&o, d);
    if (e == OK)
        e = source_overrides_check(spec, d);
    if (e != OK)
        return e;

    const char *form = source_param(spec, "form", "today");
    if (strcmp(form, "today") != 0 && strcmp(form, "2018") != 0)
        return diag_set(d, ERR_INVALID, "form must be today or 2018");
    o.form_2018 = strcmp(form, "2018") == 0;

    o.secure = source_param(spec, "secure", NULL);
    if (o.secure && strcmp(o.secure, "true") != 0 && strcmp(o.secure, "false") != 0)
        return diag_set(d, ERR_INVALID, "secure must be true or false");

    o.api_url = slice_str(source_param(spec, "githubAPIURL", ""));
    if (o.api_url.len == 0)
        o.api_url = SLICE(GITHUB_API_URL);
    struct http_url url;
    struct diag why = {0};
    e = http_url_parse(o.api_url, &url, &why);
    if (e == ERR_NOMEM)
        return e;
    if (e != OK)
        return diag_set(d, ERR_INVALID, "githubAPIURL: %.200s", why.text);
    http_url_fini(&url);

    e = source_sink_timeout(spec, &o.sink_timeout_ns, d);
    if (e != OK)
        return e;
    *out = o;
    return OK;
}

bool github_events_next(struct slice *rest, struct slice *event)
{
    if (!rest->ptr)
        return false;
    static const struct slice prefixes[] = {SLICE_INIT("dev.knative.source.github."),
                                            SLICE_INIT("dev.knative.github.")};
    struct slice name = slice_trim(slice_split(rest, ','));
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (slice_has_prefix(name, prefixes[i]))
            name = slice_from(name, prefixes[i].len);
    *event = slice_eq_str(name, "pullrequest") ? SLICE("pull_request") : name;
    return true;
}

bool github_events_has(struct slice events, struct slice event)
{
    if (events.len == 0)
        return !slice_eq_str(event, "ping");
    struct slice name;
    while (github_events_next(&events, &name))
        if (slice_eq(name, event))
            return true;
    return false;
}
