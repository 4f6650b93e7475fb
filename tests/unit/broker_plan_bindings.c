/* SPDX-License-Identifier: Apache-2.0
 *
 * SinkBinding and ContainerSource: what they do not do here, their conditions say, and what acts in their place.
 */
#include "../lib/resource_rig.h"

#include "../../broker/resource/table.h"

#define CHANNEL "---\napiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: a}\n"
#define THING(kind, spec)                                                                                              \
    "---\napiVersion: sources.knative.dev/v1\nkind: " kind "\nmetadata: {name: x}\nspec:\n" spec "\n"
#define BINDING(sink) THING("SinkBinding", "  subject: {apiVersion: apps/v1, kind: Deployment, name: d}\n  sink: " sink)
#define CONTAINER(sink) THING("ContainerSource", "  template: {spec: {containers: [{image: i}]}}\n  sink: " sink)
#define COMMAND(sink)                                                                                                  \
    THING("ContainerSource", "  template: {spec: {containers: [{image: i, command: [a, b]}]}}\n  sink: " sink)
#define REF "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: a}}"

static void check(const char *text, const char *plural, const char *condition, const char *said, const char *ready)
{
    struct resource_table *t = rig_table(text, clock_system());
    struct plan *p = rig_plan(t, NULL);
    const struct resource *r = rig_get(t, plural, "x");
    assert_int_equal(p->source_count, 0);
    assert_string_equal(rig_condition(r, condition), said);
    if (strncmp(rig_condition(r, "Ready"), ready, strlen(ready)) != 0)
        fail_msg("%s", rig_condition(r, "Ready"));
    plan_unref(p);
    resource_table_free(t);
}

static void test_bindings(void **state)
{
    (void)state;
    static const char missing[] = "False NotFound Channel default/a of messaging.knative.dev/v1 is not declared";
    check(CHANNEL BINDING(REF), "sinkbindings", "SinkBindingAvailable",
          "False NoWorkloads leat changes no workload; start the subject by `leat run --sink Channel/a -n default -- "
          "COMMAND`, which sets K_SINK",
          "False NoWorkloads");
    check(CHANNEL BINDING("{uri: http://127.0.0.1:1/x}"), "sinkbindings", "SinkBindingAvailable",
          "False NoWorkloads leat changes no workload; start the subject by `leat run --sink http://127.0.0.1:1/x -- "
          "COMMAND`, which sets K_SINK",
          "False NoWorkloads");
    check(CHANNEL BINDING(REF), "sinkbindings", "SinkProvided", "True", "False");
    check(BINDING(REF), "sinkbindings", "SinkProvided", missing, "False NotFound");
    check(BINDING(REF), "sinkbindings", "SinkBindingAvailable",
          "False NoWorkloads leat changes no workload; start the subject by `leat run --sink URL -- COMMAND`, which "
          "sets K_SINK",
          "False NotFound");
    check(
        CHANNEL CONTAINER(REF), "containersources", "ReceiveAdapterReady",
        "False NoContainers leat runs no images, only commands of this machine: name one in each container (command), "
        "without initContainers; or keep it running by `leat source process --sink "
        "http://127.0.0.1:8080/channels/default/a --namespace default --name x -- COMMAND`",
        "False NoContainers");
    check(CHANNEL COMMAND(REF), "containersources", "ReceiveAdapterReady",
          "False CommandsNotAllowed `leat serve` runs no commands of manifests unless it is started with "
          "--allow-commands files (those of its own, -f) or --allow-commands all",
          "False CommandsNotAllowed");
    check(CONTAINER(REF), "containersources", "SinkBindingReady", missing, "False NotFound");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bindings)};
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
