/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat serve`: the whole broker in one process, from the first manifest to the last drained event.
 */
#ifndef LEAT_SERVE_H
#define LEAT_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"
#include "plan.h"

struct serve_options {
    const char *const *paths; /* files and folders of manifests; may be none */
    size_t path_count;
    const char *data_dir;           /* whole path; NULL: everything in memory */
    const char *ingress, *api;      /* "127.0.0.1:8080", "127.0.0.1:8001"; NULL: there is none */
    bool health_only;               /* `api` serves health, metrics and version, and no resources */
    const char *api_cert, *api_key; /* files (PEM): `api` speaks https; NULL: plain HTTP */
    const char *tokens;             /* who may use `api`; NULL: the file "tokens" in data_dir, if it is there */
    bool open_metrics;              /* /metrics is for everybody, also where a token is required */
    const char *hooks;              /* a listener of their own for webhooks; NULL: on ingress */
    const char *hooks_url;          /* where the world reaches it, without a slash at the end; NULL: not known */
    const char *bus;                /* the backend of channels that name none; NULL: log, and memory without data_dir */
    const struct bus_param *bus_params;
    size_t bus_param_count;
    const char *const *resolve;               /* "NAME.NS=URL", NULL-terminated */
    const char *proxy, *ca_file;              /* for sinks; NULL: none, the system's */
    uint64_t event_bytes_max, head_bytes_max; /* 0: 1 MiB, 32 KiB */
    uint64_t drain_ns;                        /* 0: 30 s */
    uint64_t verify_ns;                       /* between two questions about a channel on its bus; 0: 30 s */
    unsigned loops;                           /* 0: one per core */
    bool shared; /* other processes run the same manifests on the same bus: nothing but those files makes resources, and
                    all of them name things alike; without data_dir, and `bus` must have BUS_CAP_SHARED */
    bool sources; /* what must be done by one process alone is done by this one: webhooks are registered */
    enum plan_commands commands;  /* whether commands that resources name are run */
    const char *ca_certs;         /* what ca_file holds, for those commands; may be NULL */
    bool forever;                 /* deliveries are tried again until they are taken: nothing is parked */
    bool auto_create_event_types; /* EventTypes of what passes Brokers and Channels */
    uint64_t trace_bytes;         /* memory of what is remembered of events; 0: nothing is */
};

enum serve_end {
    SERVE_OK,
    SERVE_FAILED,    /* could not start, or broke */
    SERVE_BAD_INPUT, /* the manifests are wrong; all problems were printed */
    SERVE_LOST       /* stopped with events that no longer exist anywhere; their number was said */
};

/* Runs until SIGTERM or SIGINT. Prints "data DIR", "ingress URL", "api URL" (or "health URL") and "hooks URL", where
 * there are such, and "ready" as lines on standard output, everything else as log lines. */
enum serve_end serve(const struct serve_options *options);

#endif
