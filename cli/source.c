/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source NAME ...`: runs one source alone, as a pod does.
 */
#include "command.h"
#include "source.h"
#include "source_served.h"

#include <stdio.h>
#include <string.h>

/* Sources by name: those of sources/, and those that the broker runs. */
static const char *word(size_t i)
{
    static const char *const served[] = {"kafka", "rabbitmq", NULL};
    const char *const *name = source_names();
    for (; *name && i > 0; name++)
        i--;
    return *name ? *name : i < sizeof served / sizeof served[0] ? served[i] : NULL;
}

static int run(const struct invocation *in)
{
    if (in->operand_count == 0 || strcmp(in->operands[0], "--help") == 0 || strcmp(in->operands[0], "-h") == 0) {
        help_command(in->command);
        printf("\nSources:");
        for (size_t i = 0; word(i); i++)
            printf(" %s", word(i));
        printf("\n`leat source NAME --help` says more about each.\n");
        return in->operand_count ? EXIT_CODE_OK : EXIT_CODE_USAGE;
    }
    if (strcmp(in->operands[0], "kafka") == 0)
        return source_kafka_main((int)in->operand_count, (char **)in->operands);
    if (strcmp(in->operands[0], "rabbitmq") == 0)
        return source_rabbitmq_main((int)in->operand_count, (char **)in->operands);
    const struct source_ops *source = source_find(in->operands[0]);
    if (!source || !source->main)
        return usage_error(in->command, "there is no source '%s'.", in->operands[0]);
    return source->main((int)in->operand_count, (char **)in->operands);
}

const struct command command_source = {
    .name = "source",
    .summary = "Run one source alone, as a pod does",
    .operands = "NAME [OPTIONS]",
    .text = "The sink comes from $K_SINK, extra attributes from $K_CE_OVERRIDES, as Knative's SinkBinding sets them.",
    .examples =
        "  K_SINK=http://127.0.0.1:8080/channels/default/hooks leat source github --secret-file secret --listen :8090\n"
        "  K_SINK=http://127.0.0.1:9000/ leat source kafka --bootstrap-servers 127.0.0.1:9092 --topics orders --group "
        "billing\n"
        "  K_SINK=http://127.0.0.1:9000/ leat source rabbitmq --url amqp://127.0.0.1 --queue orders",
    .passes_all = true,
    .word = word,
    .run = run,
};
