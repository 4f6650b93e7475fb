/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the feedlet source share. A feedlet is a program of 2018's Knative that makes what brings a Feed's
 * events, or takes it away again, and ends.
 */
#ifndef LEAT_SOURCES_FEEDLET_H
#define LEAT_SOURCES_FEEDLET_H

#include "source.h"

/* What is kept of a feed that a feedlet has started: what it left for its own stop, and of which spec that is. */
struct feedlet_state {
    uint64_t fingerprint;
    char *context; /* owned, base64; NULL: nothing is kept */
};
uint64_t feedlet_fingerprint(const struct source_spec *spec);
/* OK with context NULL: there is no such file. ERR_IO, ERR_CORRUPT with *d, ERR_NOMEM. */
enum err feedlet_state_read(const char *path, struct feedlet_state *out, struct diag *d) must_check;
/* Whole or not at all. ERR_IO with *d. */
enum err feedlet_state_write(const char *path, const struct feedlet_state *state, struct diag *d) must_check;

extern const struct source_ops feedlet_source;

#endif
