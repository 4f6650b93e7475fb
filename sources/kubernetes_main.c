/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source kubernetes`: the Kubernetes source alone.
 */
#include "kubernetes.h"

#include "runner.h"

static const struct runner_option options[] = {
    {"resource", "LIST", false, "resources", "RESOURCES",
     "What to watch: 'v1/ConfigMap;apps/v1/Deployment:app=web' (API version, kind, label selector)."},
    {"watch-namespace", "LIST", false, "namespaces", "WATCH_NAMESPACES",
     "Where: 'shop,stock', or '*' for all. Default: the source's own."},
    {"namespace-selector", "SELECTOR", false, "namespaceSelector", NULL, "Where: all namespaces with these labels."},
    {"mode", "MODE", false, "mode", "MODE",
     "Reference (which object it is), Resource (the whole object), or 2018 (k8sevents). Default: Reference."},
    {"owner", "KIND", false, "owner", NULL, "Only objects that one of these controls: 'apps/v1/ReplicaSet'."},
    {"filter", "CESQL", false, "filter", NULL, "Only events for which this is true: \"type LIKE '%.delete'\"."},
    {"state", "FILE", false, "state", "STATE",
     "Where it keeps what it has told, so that nothing is missed over a restart."},
    {"kubeconfig", "FILE", false, "kubeconfig", NULL,
     "How the cluster is reached. Default: $KUBECONFIG, else the pod's service account, else ~/.kube/config."},
    {"context", "NAME", false, "context", NULL, "Of the kubeconfig. Default: its current one."},
    {"service-account", "DIR", false, "serviceAccount", NULL,
     "Where a pod's token, ca.crt and namespace lie. Default: " KUBE_SERVICE_ACCOUNT "."},
    {NULL, NULL, false, NULL, NULL, NULL}};

static const struct runner_program program = {
    .ops = &kubernetes_source,
    .options = options,
    .summary =
        "Posts a CloudEvent to the sink for each object of a Kubernetes cluster that is added, updated or deleted. "
        "While the sink does not take events the watch waits; with --state, what happens while the program is "
        "stopped is told after its start.",
    .examples =
        "  K_SINK=http://127.0.0.1:9000/ leat source kubernetes --resource 'v1/ConfigMap;v1/Secret' "
        "--watch-namespace shop --state /var/lib/leat/shop\n"
        "  leat source kubernetes --sink http://127.0.0.1:9000/ --resource v1/Event --watch-namespace '*' --mode "
        "Resource\n",
};

int kubernetes_main(int argc, char **argv)
{
    return runner_main(&program, argc, argv);
}
