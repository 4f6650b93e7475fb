/* SPDX-License-Identifier: Apache-2.0
 *
 * The API listener: resources under Kubernetes' paths, health, metrics, version. On the control loop.
 */
#ifndef LEAT_BROKER_API_H
#define LEAT_BROKER_API_H

#include "../engine.h"
#include "http_server.h"
#include "resource.h"

struct api { /* the argument of api_handler; outlives the server */
    struct resource_table *table;
    struct engine *engine;
    void (*changed)(void *arg); /* the table was written to */
    void *arg;
};

extern const struct http_handler api_handler;

/* Answers a request under /api or /apis whose body, if any, is whole (resources.c). */
void api_resources(struct api *a, struct http_request *r);
/* A Kubernetes Status object as the answer; reason as in its API ("NotFound"). */
void api_status(struct http_request *r, int code, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
