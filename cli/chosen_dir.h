/* SPDX-License-Identifier: Apache-2.0
 *
 * Where `leat serve` keeps what must outlive it, for every verb that looks there.
 */
#ifndef LEAT_CLI_CHOSEN_DIR_H
#define LEAT_CLI_CHOSEN_DIR_H

#include <stdbool.h>

#include "command.h"

#define DATA_DIR_HELP                                                                                                  \
    "The data directory. Default: $STATE_DIRECTORY, else $XDG_STATE_HOME/leat, else ~/.local/state/leat."

/* The path; `given` (may be NULL) as it is, else by the environment. NULL (said) when that names none; the caller
 * frees it. */
char *chosen_dir(const struct command *c, const char *given);

#endif
