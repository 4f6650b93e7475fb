/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the process source share: the environment that its command gets.
 */
#ifndef LEAT_SOURCES_PROCESS_H
#define LEAT_SOURCES_PROCESS_H

#include "source.h"

/* Command and environment as exec takes them. One allocation for each array; the environment's new texts are owned. */
struct process_command {
    char **argv; /* ends with NULL; the texts are the spec's */
    char **env;  /* likewise; the first `owned` texts are its own, the others are of the environment of this process */
    size_t owned;
};
/* The parameters "command", in their order, and this process's environment with K_SINK, NAMESPACE, NAME and
 * K_CE_OVERRIDES as the spec has them. ERR_INVALID with *d: there is no command. ERR_NOMEM. */
enum err process_command_make(const struct source_spec *spec, const char *sink_url, struct process_command *out,
                              struct diag *d) must_check;
void process_command_fini(struct process_command *c);

extern const struct source_ops process_source;
int process_main(int argc, char **argv);

#endif
