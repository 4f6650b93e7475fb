/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source process`: a command that sends events by itself, kept running.
 */
#include "process.h"

#include "runner.h"

static const struct runner_option options[] = {{NULL, NULL, false, NULL, NULL, NULL}};

static const struct runner_program program = {
    .ops = &process_source,
    .options = options,
    .command = "COMMAND [ARGUMENTS]",
    .summary =
        "Runs a command that sends events to the sink by itself, as Knative's ContainerSource runs a container: it "
        "gets K_SINK, K_CE_OVERRIDES, K_CA_CERTS, K_SINK_TIMEOUT, NAMESPACE and NAME. When it ends it is started "
        "again, after a wait that grows from half a second to a minute; what it writes becomes lines of the log.",
    .examples = "  leat source process --sink http://127.0.0.1:9000/ -- ./heartbeats --period 1\n"
                "  K_SINK=http://127.0.0.1:9000/ leat source process --health :8081 -- sh -c 'while sleep 1; do "
                "leat send --to \"$K_SINK\" --type beat; done'\n",
};

int process_main(int argc, char **argv)
{
    return runner_main(&program, argc, argv);
}
