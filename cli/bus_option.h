/* SPDX-License-Identifier: Apache-2.0
 *
 * The option --bus: NAME[,PARAM=VALUE]... A piece without '=' goes on with the value before it, so that a list of
 * addresses needs no quotes; a value "@FILE" is what that file holds, without its last line end: no secret on a command
 * line, which everybody on the machine can read.
 */
#ifndef LEAT_CLI_BUS_OPTION_H
#define LEAT_CLI_BUS_OPTION_H

#include "bus.h"
#include "command.h"

#define BUS_PARAMS_MAX 32              /* no bus knows so many */
#define BUS_VALUE_BYTES_MAX (1u << 20) /* of a file: certificates of a whole system have a quarter of that */

struct bus_option {
    const char *name;
    struct bus_param params[BUS_PARAMS_MAX];
    size_t count;
    char *text, *files[BUS_PARAMS_MAX]; /* owned: what the above points into */
};

/* `given` NULL: nothing. 0, or the exit code, which has been said. *out is to be freed in either case. */
int bus_option_read(const struct command *c, const char *given, struct bus_option *out);
void bus_option_fini(struct bus_option *o);

#endif
