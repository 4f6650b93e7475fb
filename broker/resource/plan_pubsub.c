/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels on Google Pub/Sub: what their topics and subscriptions are called, and the Bus and ClusterBus gcppubsub of
 * 2018, whose topics and subscriptions keep the names that Knative gave them.
 *
 *     Broker, Trigger             leat-broker.NS.NAME, leat-trigger.NS.NAME.CURSOR
 *     Channel, Subscription       leat.NS.NAME, leat.NS.NAME.CURSOR
 *     2018                        channel-BUS-NS-NAME, subscription-BUS-NS-NAME
 *
 * The bus of 2018 is described by the environment of its containers: GOOGLE_CLOUD_PROJECT, and a key file
 * (GOOGLE_APPLICATION_CREDENTIALS) that a Secret is mounted as; PUBSUB_EMULATOR_HOST instead of the latter.
 */
#include "cluster.h"
#include "plan_2018.h"

#define NAME_SHOWN 100 /* of an object's name: a subscription's must fit in 255 bytes, and the cursor makes it unique  \
                        */

/* ---- names ---- */

static bool of_2018(const struct resource *r)
{
    return strcmp(r->kind->group, "channels.knative.dev") == 0 ||
           (strcmp(r->kind->group, FLOWS) == 0 && strcmp(r->kind->kind, "Flow") == 0);
}

const char *plan_pubsub_topic_name(struct planner *p, const struct resource *r, const struct channel_form *form,
                                   bool *external)
{
    const char *theirs = annotation(r->object, ANNOTATION_PUBSUB_EXTERNAL_TOPIC),
               *ours = annotation(r->object, ANNOTATION_PUBSUB_TOPIC), *ns = r->namespace_name;
    *external = theirs != NULL;
    if (theirs || ours)
        return plan_copy(p, theirs ? theirs : ours);
    if (form->broker)
        return plan_text(p, "leat-broker.%s.%s", ns, r->name);
    if (of_2018(r))
        return plan_text(p, "channel-%s-%s-%s", plan_2018_bus_name(p, r), ns, r->name);
    return plan_text(p, "leat.%s.%s", ns, form->part.name ? form->part.name : r->name);
}

const char *plan_pubsub_subscription_name(struct planner *p, const struct resource *r,
                                          const struct channel_plan *channel, const struct plan_subscription *s)
{
    bool trigger = strcmp(r->kind->kind, "Trigger") == 0;
    if (of_2018(r) && channel->bus_of_2018)
        return plan_text(p, "subscription-%s-%s-%s", channel->bus_of_2018, r->namespace_name, r->name);
    return plan_text(p, "leat%s.%.63s.%.*s.%s", trigger ? "-trigger" : "", r->namespace_name, NAME_SHOWN, s->name,
                     s->cursor);
}

/* A capacity of a channel means nothing there. */
void plan_pubsub_annotations(struct planner *p, struct channel_plan *c, const struct resource *r)
{
    const char *partitions = annotation(r->object, ANNOTATION_PARTITIONS);
    if (partitions && strcmp(partitions, "1") == 0)
        plan_channel_param(p, c, "partitions", "1");
    const char *age = annotation(r->object, ANNOTATION_RETENTION_AGE);
    if (age)
        plan_channel_param(p, c, "retention-age", age);
}

/* ---- the bus of 2018 ---- */

/* Where a volume of this name comes from: a Secret's name, or NULL. */
static const char *secret_of_volume(const struct resource *r, const char *volume)
{
    const cJSON *each, *volumes = cJSON_GetObjectItemCaseSensitive(json_object(r->object, "spec"), "volumes");
    cJSON_ArrayForEach(each, volumes) {
        const char *name = json_text(each, "name");
        if (name && strcmp(name, volume) == 0)
            return json_text(json_object(each, "secret"), "secretName");
    }
    return NULL;
}

/* The Secret that is mounted where the path leads, and *key in it; NULL: none is. */
static const char *secret_of_path(const struct resource *r, const char *path, const char **key)
{
    static const char *const containers[] = {"dispatcher", "provisioner"};
    for (size_t i = 0; i < 2; i++) {
        const cJSON *each, *mounts = cJSON_GetObjectItemCaseSensitive(
                               json_object(json_object(r->object, "spec"), containers[i]), "volumeMounts");
        cJSON_ArrayForEach(each, mounts) {
            const char *at = json_text(each, "mountPath"), *volume = json_text(each, "name");
            size_t n = at ? strlen(at) : 0;
            while (n > 1 && at[n - 1] == '/')
                n--;
            if (n == 0 || !volume || strncmp(path, at, n) != 0 || path[n] != '/' || strchr(path + n + 1, '/'))
                continue;
            *key = path + n + 1;
            return secret_of_volume(r, volume);
        }
    }
    return NULL;
}

/* The key file's text as a parameter; a path that no Secret is mounted at is a file here. */
static bool read_key(struct planner *p, const struct resource *r, const char *path, struct cluster_params *params,
                     struct why *why)
{
    const char *key = NULL, *secret = secret_of_path(r, path, &key);
    if (!secret) {
        cluster_param(p, params, "credentials.file", path);
        return true;
    }
    const char *text = bus_2018_secret(p, r, secret, key, why);
    if (text)
        cluster_param(p, params, "credentials", text);
    return text != NULL;
}

/* The environment as parameters; false with *why. */
static bool read_environment(struct planner *p, const struct resource *r, struct cluster_params *params,
                             struct why *why)
{
    static const char *const project_names[] = {"GOOGLE_CLOUD_PROJECT", "PROJECT_ID", NULL},
                             *const emulator_names[] = {"PUBSUB_EMULATOR_HOST", NULL},
                             *const key_names[] = {"GOOGLE_APPLICATION_CREDENTIALS", NULL};
    const char *project = bus_2018_variable(p, r, project_names, why);
    const char *emulator = why->reason ? NULL : bus_2018_variable(p, r, emulator_names, why);
    const char *path = why->reason || emulator ? NULL : bus_2018_variable(p, r, key_names, why);
    if (why->reason || (path && !read_key(p, r, path, params, why)))
        return false;
    if (emulator)
        cluster_param(p, params, "emulator", emulator);
    if (project)
        cluster_param(p, params, "project", project);
    if (project || path)
        return true;
    *why = why_of(p, "ProjectMissing",
                  "%s %s: the environment of its dispatcher has no GOOGLE_CLOUD_PROJECT; write the project's id there",
                  r->kind->kind, r->name);
    return false;
}

bool plan_pubsub_2018_reachable(struct planner *p, const struct resource *r, struct why *why)
{
    struct cluster_params params = {0};
    return read_environment(p, r, &params, why);
}

bool plan_pubsub_2018_bus(struct planner *p, const char *key, const struct resource *r, size_t *bus, struct why *why)
{
    struct cluster_params params = {0};
    bool good = read_environment(p, r, &params, why);
    return plan_cluster_bus(p, "pubsub", key, &params, good, bus, why);
}
