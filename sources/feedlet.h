/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the feedlet source share. A feedlet is a program of 2018's Knative that makes what brings a Feed's
 * events, or takes it away again, and ends.
 */
#ifndef LEAT_SOURCES_FEEDLET_H
#define LEAT_SOURCES_FEEDLET_H

#include "buf.h"
#include "source.h"

/* What is kept of a feed that a feedlet has started: what it left for its own stop, and of which spec that is. */
struct feedlet_state {
    uint64_t fingerprint;
    char *context; /* owned, base64; NULL: nothing is kept */
};
uint64_t feedlet_fingerprint(const struct source_spec *spec);
/* OK with context NULL: there is no such file. ERR_IO, ERR_CORRUPT with *d, ERR_NOMEM. */
enum err feedlet_state_read(const char *path, struct feedlet_state *out, struct diag *d) must_check;
/* Whole or not at all, with the spec (feedlet_left.c). ERR_IO with *d, ERR_NOMEM. */
enum err feedlet_state_write(const char *path, const struct feedlet_state *state, const struct source_spec *spec,
                             struct diag *d) must_check;

#define FEEDLET_PARAMS_MAX 64 /* words of the command, and ours */

/* What a feed's file says of the feedlet that is to stop it. */
struct feedlet_left {
    struct source_spec spec; /* borrows what is here */
    struct source_param params[FEEDLET_PARAMS_MAX];
    char *text; /* owned */
};
void feedlet_left_put(struct buf *b, const struct source_spec *spec);
/* Of a file's text, which it takes over in any case and cuts up: from malloc, with a NUL. ERR_CORRUPT, ERR_NOMEM. */
enum err feedlet_left_parse(char *text, struct feedlet_left **out) must_check;
/* ERR_IO, ERR_CORRUPT (or nothing is said) with *d, ERR_NOMEM. */
enum err feedlet_left_read(const char *path, struct feedlet_left **out, struct diag *d) must_check;
void feedlet_left_free(struct feedlet_left *l); /* NULL is fine */

extern const struct source_ops feedlet_source;

#endif
