/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of parameters that every bus reads alike. Pure. Each gives ERR_INVALID with *d, which names the parameter and
 * what it may be, and leaves *out as it was.
 */
#ifndef LEAT_CHANNELS_PARAMS_H
#define LEAT_CHANNELS_PARAMS_H

#include "bus.h"

enum err param_number(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out,
                      struct diag *d) must_check;
/* "64KiB" (text.h). */
enum err param_bytes(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out,
                     struct diag *d) must_check;
/* "5m" (text.h), in nanoseconds. */
enum err param_duration(const struct bus_param *p, uint64_t *ns, struct diag *d) must_check;

#endif
