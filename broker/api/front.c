/* SPDX-License-Identifier: Apache-2.0
 *
 * The API's listener: its certificate, its socket, and who is asked for a token there.
 */
#include "log.h"
#include "serve.h"

#include "api.h"

/* On any thread. */
static void certificate_read(void *arg, enum err e, const char *why)
{
    (void)arg;
    if (e == OK)
        log_line(LOG_INFO, "api.certificate", "result=applied");
    else
        log_line(LOG_ERROR, "api.certificate", "result=refused text=%s", log_value(why));
}

/* The socket is there: who may use it is settled. */
static enum err settle_access(struct api *a, const struct serve_options *o, const struct api_front *f, struct diag *d)
{
    bool local = http_listener_is_loopback(f->listener);
    if (o->health_only)
        return OK;
    if (!local && !f->tls)
        log_line(LOG_WARN, "api.plain", "text=%s",
                 log_value("tokens can be read on their way: give --api-cert and --api-key, or put TLS in front"));
    return access_require(&a->access, local, o->api, d);
}

enum err api_listen(struct api *a, struct loop *loop, const struct serve_options *o, struct api_front *out,
                    struct diag *d)
{
    struct http_server_options http = {.flag_head_bytes = NULL};
    a->access.open_metrics = o->open_metrics;
    enum err e = o->health_only ? OK : access_open(&a->access, o->tokens, o->data_dir, d);
    if (e == OK && o->api_cert)
        e = http_tls_new(o->api_cert, o->api_key, certificate_read, NULL, &out->tls, d);
    if (e != OK)
        return e;
    http.tls = out->tls;
    e = http_server_new(loop, &http, &api_handler, a, &out->server);
    if (e != OK)
        return diag_set(d, e, "out of memory");
    e = http_listener_open(loop, o->api, &out->server, 1, &out->listener, d);
    return e == OK ? settle_access(a, o, out, d) : e;
}

void api_front_close(struct api *a, struct api_front *f)
{
    http_listener_close(f->listener);
    http_server_free(f->server);
    http_tls_free(f->tls);
    api_watches_free(a);
    api_openapi_free(a);
    access_close(&a->access);
    *f = (struct api_front){0};
}
