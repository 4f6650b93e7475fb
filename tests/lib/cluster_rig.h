/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench for plans of channels that lie on somebody else's system: what became of parameters, names and conditions.
 */
#ifndef LEAT_CLUSTER_RIG_H
#define LEAT_CLUSTER_RIG_H

#include "resource_rig.h"

#define DOC "---\n"

/* A certificate and its key, for nothing else. */
#define CERT                                                                                                           \
    "\""                                                                                                               \
    "-----BEGIN CERTIFICATE-----\\n"                                                                                   \
    "MIIBbzCCARWgAwIBAgIUTFBp0LnLHpjA1D/mQKJrqSLC2LUwCgYIKoZIzj0EAwIw\\n"                                              \
    "DDEKMAgGA1UEAwwBdDAgFw0yNjExMjkyMDQ3NTBaGA8yMTI2MTEwNTIwNDc1MFow\\n"                                              \
    "DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABP17sTZJPCTD\\n"                                              \
    "/NdBA3Cj+IksMd7rThCFUYWkGCqdS8cGl7zsh6C6MhRDYi1Sz+ne6wmD7Inqxevj\\n"                                              \
    "dlIoTwsMuc2jUzBRMB0GA1UdDgQWBBTh+3iwcjFA31pfspyiuq02bWxgRzAfBgNV\\n"                                              \
    "HSMEGDAWgBTh+3iwcjFA31pfspyiuq02bWxgRzAPBgNVHRMBAf8EBTADAQH/MAoG\\n"                                              \
    "CCqGSM49BAMCA0gAMEUCIQD5Fe1PoIA6lCSxVvtAySA//mX0IiFz/dKnJ7TcejlW\\n"                                              \
    "vQIgafbqZyq5ollVHgoQ+uwD5mOTdPtvIhN/dgta0WJETrY=\\n"                                                              \
    "-----END CERTIFICATE-----\\n"                                                                                     \
    "\""
#define KEY                                                                                                            \
    "\""                                                                                                               \
    "-----BEGIN PRIVATE KEY-----\\n"                                                                                   \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfxBWGX9EWnXcZ2Ka\\n"                                              \
    "2toe3svAkXz+jNcqWog9qEYqssehRANCAAT9e7E2STwkw/zXQQNwo/iJLDHe604Q\\n"                                              \
    "hVGFpBgqnUvHBpe87IegujIUQ2ItUs/p3usJg+yJ6sXr43ZSKE8LDLnN\\n"                                                      \
    "-----END PRIVATE KEY-----\\n"                                                                                     \
    "\""
#define CERT_LINE "-----BEGIN CERTIFICATE-----"
#define KEY_LINE "-----BEGIN PRIVATE KEY-----"

static inline struct plan *plan_on(struct resource_table *t, const char *bus, const struct bus_param *params,
                                   size_t count)
{
    const struct plan_options o = {.ingress_url = "http://127.0.0.1:8080",
                                   .default_bus = bus,
                                   .default_bus_params = params,
                                   .default_bus_param_count = count,
                                   .cluster_domain = "cluster.local"};
    struct plan *plan = NULL;
    assert_int_equal(plan_compile(t, &o, &plan), OK);
    assert_int_equal(plan_publish(t, plan), OK);
    return plan;
}

static inline const struct plan_channel *channel_of(const struct plan *p, const char *key)
{
    for (size_t i = 0; i < p->channel_count; i++)
        if (strcmp(p->channels[i].key, key) == 0)
            return &p->channels[i];
    return NULL;
}

static inline const struct plan_bus *bus_of(const struct plan *p, const char *key)
{
    const struct plan_channel *c = channel_of(p, key);
    return c ? &p->buses[c->bus] : NULL;
}

/* "name=value ..." with the first line of each value, in a buffer that the next call but three reuses. */
static inline const char *params_text(const struct bus_param *params, size_t count)
{
    static char texts[4][2000];
    static unsigned next;
    char *out = texts[next++ % 4];
    size_t n = 0;
    *out = 0;
    for (size_t i = 0; i < count; i++)
        n += (size_t)snprintf(out + n, sizeof texts[0] - n, "%s%s=%.*s", i ? " " : "", params[i].name,
                              (int)strcspn(params[i].value, "\n"), params[i].value);
    assert_true(n < sizeof texts[0]);
    return out;
}

static inline const char *channel_params(const struct plan *p, const char *key)
{
    const struct plan_channel *c = channel_of(p, key);
    return c ? params_text(c->params, c->param_count) : "(none)";
}

static inline const char *bus_params(const struct plan *p, const char *key)
{
    const struct plan_bus *b = bus_of(p, key);
    return b ? params_text(b->params, b->param_count) : "(none)";
}

static inline const char *subscription_params(const struct plan *p, const char *name)
{
    const struct plan_subscription *s = rig_subscription(p, name);
    return s ? params_text(s->params, s->param_count) : "(none)";
}

static inline const char *said(const struct resource *r, const char *name)
{
    return rig_text(cJSON_GetObjectItem(rig_status(r), "annotations"), name);
}

static inline void done(struct resource_table *t, struct plan *p)
{
    plan_unref(p);
    resource_table_free(t);
}

static inline void apply(struct resource_table *t, const char *text)
{
    struct problems problems;
    struct manifest *m = rig_good(text);
    problems_init(&problems);
    assert_int_equal(resource_table_sync(t, m, &problems), OK);
    problems_fini(&problems);
    manifest_free(m);
}

#endif
