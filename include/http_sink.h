/* SPDX-License-Identifier: Apache-2.0
 *
 * A sink that is an HTTP URL: posts the event in binary or structured mode, or several as a batch; decodes the reply.
 * On one loop, over that loop's http_client.
 */
#ifndef LEAT_HTTP_SINK_H
#define LEAT_HTTP_SINK_H

#include "http_client.h"
#include "sink.h"

struct http_sink_options {
    struct ce_http_limits reply_limits; /* a reply beyond is malformed; zero: 1 MiB */
    size_t body_max;                    /* of an answer that is read; zero: 1 MiB */
};

/* `client` outlives the sink. ERR_INVALID with *d on a bad URL. One reference is the caller's. */
enum err http_sink_new(struct http_client *client, struct slice url, const struct http_sink_options *options,
                       struct sink **out, struct diag *d) must_check;

#endif
