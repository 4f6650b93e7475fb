/* SPDX-License-Identifier: Apache-2.0
 *
 * Feeds of 2018 whose EventSource is no built-in one: its image, a feedlet, is a command here, which the annotation
 * leat.dev/command names; and what it is told (the contract of Knative 0.1's controller with its Job).
 */
#include <stdlib.h>

#include "buf.h"
#include "plan_2018.h"
#include "text.h"

#define VALUE_MAX 65536 /* bytes of one variable; what a Secret holds has its place in it */

bool plan_feedlet_command(struct planner *p, const struct resource *r, struct why *why)
{
    return annotation(r->object, ANNOTATION_COMMAND) && plan_may_run(p, r, why);
}

static void put_variable(struct planner *p, struct plan_source *s, const char *name, const char *value)
{
    plan_source_param(p, s, "env", plan_text(p, "%s=%s", name, value ? value : ""));
}

/* A variable whose value is base64 of this object, as JSON; nothing for NULL. */
static void put_coded(struct planner *p, struct plan_source *s, const char *name, const cJSON *object)
{
    struct buf b;
    char *json = object ? cJSON_PrintUnformatted(object) : NULL, *coded = NULL;
    buf_init(&b, VALUE_MAX);
    if (json)
        base64_put(&b, slice_str(json));
    if (json && buf_error(&b) == OK)
        coded = buf_take_string(&b);
    p->nomem = p->nomem || (object && (!json || buf_error(&b) == ERR_NOMEM));
    put_variable(p, s, name, coded);
    buf_fini(&b);
    free(coded);
    cJSON_free(json);
}

/* What FEED_TRIGGER says: the Feed's trigger, with all parameters resolved. */
static void put_trigger(struct planner *p, struct plan_source *s, const cJSON *trigger, const cJSON *all,
                        const char *event_type)
{
    cJSON *o = cJSON_CreateObject(), *copy = cJSON_Duplicate(all, true);
    put_text(p, o, "eventType", event_type);
    put_text(p, o, "resource", json_text(trigger, "resource"));
    put_text(p, o, "service", json_text(trigger, "service"));
    if (!o || !copy || !cJSON_AddItemToObject(o, "params", copy)) {
        cJSON_Delete(copy);
        p->nomem = true;
    }
    put_coded(p, s, "FEED_TRIGGER", o);
    cJSON_Delete(o);
}

void plan_feedlet_params(struct planner *p, struct plan_source *s, const struct resource *r,
                         const struct resource *event_source, const cJSON *trigger, const cJSON *all,
                         const char *event_type)
{
    const cJSON *each,
        *parameters = cJSON_GetObjectItemCaseSensitive(json_object(event_source->object, "spec"), "parameters");
    const char *account = json_text(json_object(r->object, "spec"), "serviceAccountName"), *url = s->sink.url;
    cJSON *words = cJSON_Parse(annotation(event_source->object, ANNOTATION_COMMAND));
    p->nomem = p->nomem || !words;
    cJSON_ArrayForEach(each, words)
        plan_source_param(p, s, "command", each->valuestring);
    cJSON_Delete(words);
    plan_source_param(p, s, "uid", s->uid);
    plan_source_param(p, s, "sink", url);
    if (p->options->data_dir)
        plan_source_param(p, s, "folder", plan_text(p, "%s/feeds", p->options->data_dir));
    /* Adapters of that time put http:// in front of it themselves. */
    put_variable(p, s, "FEED_TARGET", strncmp(url, "http://", 7) == 0 ? url + 7 : url);
    put_variable(p, s, "FEED_NAMESPACE", r->namespace_name);
    put_variable(p, s, "FEED_SERVICE_ACCOUNT", account ? account : "default");
    put_coded(p, s, "EVENT_SOURCE_PARAMETERS", parameters);
    put_trigger(p, s, trigger, all, event_type);
}
