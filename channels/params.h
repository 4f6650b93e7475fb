/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of parameters that every bus reads alike. Pure. Each gives ERR_INVALID with *d, which names the parameter and
 * what it may be, and leaves *out as it was.
 */
#ifndef LEAT_CHANNELS_PARAMS_H
#define LEAT_CHANNELS_PARAMS_H

#include "bus.h"
#include "event.h"

enum err param_number(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out,
                      struct diag *d) must_check;
/* "64KiB" (text.h). */
enum err param_bytes(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out,
                     struct diag *d) must_check;
/* "5m" (text.h), in nanoseconds. */
enum err param_duration(const struct bus_param *p, uint64_t *ns, struct diag *d) must_check;
/* One of two words: whether it is the second. */
enum err param_word(const struct bus_param *p, const char *first, const char *second, bool *is_second,
                    struct diag *d) must_check;
enum err param_bool(const struct bus_param *p, bool *out, struct diag *d) must_check; /* "true", "false" */
/* "binary", "structured". */
enum err param_mode(const struct bus_param *p, enum ce_mode *out, struct diag *d) must_check;
/* Any text: *out, which is freed, becomes a copy. ERR_NOMEM. */
enum err param_text(const struct bus_param *p, char **out, struct diag *d) must_check;

/* A name that follows from others, with a "." for each "/"; the caller frees it. NULL: no memory. */
char *name_dotted(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* How a channel is called in a system outside where nobody says: leat.NS.NAME, or leat-dead-letter.CURSOR. Likewise. */
char *name_of_channel(struct slice channel);
/* Whether it is a channel of dead letters. */
bool is_dead_letters(struct slice channel);

#endif
