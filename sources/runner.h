/* SPDX-License-Identifier: Apache-2.0
 *
 * What every `leat source NAME` shares: the command line and the environment contract of Knative's adapters, one loop
 * with everything on it, a listener for webhooks, a listener for health, and a clean end.
 */
#ifndef LEAT_SOURCES_RUNNER_H
#define LEAT_SOURCES_RUNNER_H

#include "source.h"

enum runner_exit {
    RUNNER_OK = 0,
    RUNNER_FAILED = 1, /* could not do what was asked: port in use, no memory ... */
    RUNNER_USAGE = 2,  /* the command line is wrong */
    RUNNER_INPUT = 3   /* a file or an environment variable is wrong */
};

/* One option of a source: it becomes a parameter of the source's spec. */
struct runner_option {
    const char *name;  /* "owner-repo": --owner-repo */
    const char *value; /* what stands for the value in help; NULL: a switch, whose value is "true" */
    bool is_file;      /* the parameter is the file's content, without a line break at the end */
    const char *param; /* "ownerAndRepository" */
    const char *env;   /* used when the option is not given; NULL: none */
    const char *help;
};

struct runner_program {
    const struct source_ops *ops;
    const struct runner_option *options; /* ends with name NULL */
    const char *summary;                 /* a paragraph for --help */
    const char *examples;                /* lines, indented by two spaces */
    const char *webhook_default;         /* --listen's default; NULL: the source has no webhooks */
    bool keeps_place;                    /* it takes up its work again by source_counters.place: --state is offered */
    const char *command; /* what stands behind "--", for help: each word becomes a parameter "command"; NULL: nothing */
};

#define RUNNER_PARAMS_MAX 256 /* a command may have that many words */
#define RUNNER_OVERRIDES_MAX 64
#define RUNNER_OWNED_MAX (2 * RUNNER_OVERRIDES_MAX + RUNNER_PARAMS_MAX + 8)

/* Command line and environment, checked and merged. Strings live in `owned`, argv or the environment. */
struct runner_config {
    struct source_spec spec;
    struct source_param params[RUNNER_PARAMS_MAX];
    struct source_param overrides[RUNNER_OVERRIDES_MAX];
    const char *sink, *listen, *health, *webhook_url, *ca_certs, *state;
    size_t event_bytes_max;
    bool remove_webhook, log_json;
    char *owned[RUNNER_OWNED_MAX];
    size_t owned_count;
};

/* -1: go on. Else the exit code: help was printed, or what is wrong was said on standard error. runner_config_fini
 * either way. */
int runner_config_read(const struct runner_program *p, int argc, char **argv, struct runner_config *out);
void runner_config_fini(struct runner_config *c);

/* K_CA_CERTS as a file behind the system's certificates: its descriptor, to be closed after its last use, and its path;
 * -1: it could not be made. */
int runner_ca_file(const char *certs, char *path, size_t size);

/* Up to where the source had done its work when it last ran with these parameters; 0: not known. ERR_IO and ERR_INVALID
 * with *d: the file cannot be read, or is something else. */
enum err runner_state_read(const char *path, const struct source_spec *spec, uint64_t *place,
                           struct diag *d) must_check;
/* ERR_IO with *d; then the file is as it was. */
enum err runner_state_write(const char *path, const struct source_spec *spec, uint64_t place,
                            struct diag *d) must_check;

/* All of it: reads the configuration, runs until SIGTERM or SIGINT. Returns the exit code. */
int runner_main(const struct runner_program *p, int argc, char **argv);

#endif
