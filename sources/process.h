/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the process source share: the environment that its command gets.
 */
#ifndef LEAT_SOURCES_PROCESS_H
#define LEAT_SOURCES_PROCESS_H

#include "source.h"

/* Command and environment as exec takes them. */
struct process_command {
    char **argv; /* owned, ends with NULL */
    char **env;  /* likewise; but behind the first `owned` texts stand those of the environment of this process */
    size_t owned;
    const char *folder; /* where it begins; the spec's, NULL: where this process is */
    bool too_large;     /* while it is made: a text was */
};
/* The parameters "command", in their order, and an environment with K_SINK, K_CE_OVERRIDES, NAMESPACE and NAME as the
 * spec has them. Without the parameter "container" the rest of it is this process's own. With it, the command is one
 * that a manifest has: $(NAME) in arguments and variables stands for a variable's value, "env" are its variables
 * (NAME=VALUE), "caCerts" is K_CA_CERTS, "workingDir" its folder, and nothing else is inherited but PATH and the like.
 * ERR_INVALID with *d: there is no command, or a text is too large for the system. ERR_NOMEM. */
enum err process_command_make(const struct source_spec *spec, const char *sink_url, struct process_command *out,
                              struct diag *d) must_check;
/* Whether exec would do the same. */
bool process_command_equal(const struct process_command *a, const struct process_command *b);
void process_command_fini(struct process_command *c);

extern const struct source_ops process_source;
int process_main(int argc, char **argv);

#endif
