/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of sources that their schemas cannot say. What the source itself would say of a PingSource's schedule, zone
 * and data is refused where it is written over the API, as Knative's webhook does. In a file, and in what is stored, it
 * is a warning with its place, and the object's condition says the same: a mistake in one object must not stop the
 * others. One that is being deleted is let go as it is.
 */
#include "filters.h"
#include "rules.h"
#include "source.h"

static const char *const names[] = {"schedule", "timezone", "contentType", "dataBase64", "data"};
#define NAME_COUNT (sizeof names / sizeof names[0])

/* The member that the message begins with; the spec itself when it is none. */
static void tell(struct check *c, const cJSON *spec, const char *text, bool refuse)
{
    void (*const say)(struct check *, const cJSON *, const char *, ...) = refuse ? check_error : check_warn;
    struct slice said = slice_str(text);
    for (size_t i = 0; i < NAME_COUNT; i++) {
        const cJSON *member = cJSON_GetObjectItemCaseSensitive(spec, names[i]);
        if (!member || !slice_has_prefix(said, slice_str(names[i])))
            continue;
        size_t inner = path_down(c, names[i]), n = strlen(names[i]);
        say(c, member, "%s", strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text);
        path_up(c, inner);
        return;
    }
    say(c, spec, "%s", text);
}

static void ask_source(struct check *c, const cJSON *spec, bool refuse)
{
    struct source_param params[NAME_COUNT];
    struct source_spec s = {.type = "ping", .namespace_name = "default", .name = "ping", .params = params};
    struct diag d = {0};
    for (size_t i = 0; i < NAME_COUNT; i++) {
        const char *value = json_text(spec, names[i]);
        if (value)
            params[s.param_count++] = (struct source_param){names[i], value};
    }
    enum err e = source_find("ping")->check(&s, &d);
    if (e == ERR_NOMEM)
        c->nomem = true;
    else if (e != OK)
        tell(c, spec, d.text, refuse);
}

void rule_sink_source(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    check_destination_at(c, spec, "sink");
    check_overrides(c, spec);
    path_up(c, before);
}

void rule_ping_source(struct check *c, cJSON *object)
{
    size_t before;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    rule_default(c, spec, "schedule", "* * * * *");
    if (cJSON_IsObject(spec))
        ask_source(c, spec, c->asked && !metadata_text(object, "deletionTimestamp"));
    path_up(c, before);
    rule_sink_source(c, object);
}

void rule_api_server_source(struct check *c, cJSON *object)
{
    size_t before, inner;
    cJSON *spec = rule_enter(c, object, "spec", &before);
    rule_default(c, spec, "mode", "Reference");
    rule_default(c, spec, "serviceAccountName", "default");
    cJSON *filters = rule_enter(c, spec, "filters", &inner);
    struct filter *f = NULL;
    if (cJSON_IsArray(filters) && filter_read(c, filters, &f) == ERR_NOMEM)
        c->nomem = true;
    filter_unref(f);
    path_up(c, inner);
    path_up(c, before);
    rule_sink_source(c, object);
}
