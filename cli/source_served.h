/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source NAME` of a source that the broker runs: options and the environment of Knative's receive adapter become
 * one object and the Secret that it names, which `serve` runs as it would any other, without ingress, with nothing kept
 * here. An event that the sink does not take is tried again until it does.
 */
#ifndef LEAT_CLI_SOURCE_SERVED_H
#define LEAT_CLI_SOURCE_SERVED_H

#include <cjson/cJSON.h>

#include "../sources/runner.h"

struct source_served {
    struct runner_program program;
    cJSON *(*secret)(const struct source_spec *spec); /* NULL: no memory */
    cJSON *(*source)(
        const struct source_spec *spec); /* without what source_served_main adds: sink, delivery, extensions */
};

/* The command line from the source's name on; returns the exit code. */
int source_served_main(const struct source_served *s, int argc, char **argv);

/* They are not of sources/, since the broker runs them. */
int source_kafka_main(int argc, char **argv);
int source_rabbitmq_main(int argc, char **argv);

/* ---- what manifests are made with ---- */

/* An object of this kind in the source's namespace. */
cJSON *served_object(const struct source_spec *spec, const char *version, const char *kind, const char *name);
/* A text, where there is one. */
void served_put(cJSON *to, const char *name, const char *value);
/* "true" or "1". */
bool served_is_on(const struct source_spec *spec, const char *name);

#endif
