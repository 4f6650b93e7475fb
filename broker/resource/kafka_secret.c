/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets of Knative's Kafka components as parameters of a client. Which keys there are and what they mean:
 * control-plane/pkg/security of knative-extensions/eventing-kafka-broker, and its user documentation.
 */
#include "kafka_secret.h"

#include <assert.h>

void kafka_param(struct planner *p, struct kafka_params *params, const char *name, const char *value)
{
    assert(params->count < KAFKA_PARAMS_MAX);
    params->list[params->count++] = (struct bus_param){name, plan_copy(p, value)};
}

struct secret {
    struct planner *planner;
    const char *ns, *name;
    const cJSON *data; /* values in base64 */
    struct kafka_params *params;
    struct why *why;
    bool good;
};

/* The value of a key, without the line's end that an editor left; NULL when it is not there or empty. */
static const char *value(struct secret *s, const char *key)
{
    if (!s->good || !json_text(s->data, key))
        return NULL;
    const char *text = secret_value(s->planner, s->ns, s->name, key, s->why);
    s->good = text != NULL;
    return text && *text ? text : NULL;
}

static const char *either(struct secret *s, const char *key, const char *other)
{
    const char *text = value(s, key);
    return text ? text : value(s, other);
}

static bool is_true(struct secret *s, const char *key)
{
    const char *text = value(s, key);
    return text && (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

static void put(struct secret *s, const char *name, const char *key)
{
    const char *text = value(s, key);
    if (text)
        kafka_param(s->planner, s->params, name, text);
}

static void lacks(struct secret *s, const char *key, const char *what)
{
    if (s->good)
        *s->why = why_of(s->planner, "SecretIncomplete", "Secret %s/%s has no %s: %s", s->ns, s->name, key, what);
    s->good = false;
}

/* A token, or where to fetch it. Upstream's own providers ask a cloud's metadata, which leat does not. */
static void oauth(struct secret *s)
{
    const char *provider = value(s, "tokenProvider");
    if (provider) {
        *s->why = why_of(s->planner, "TokenProviderNotBuiltIn",
                         "Secret %s/%s: the tokenProvider %.80s is not in this build; put token.url, client.id and "
                         "client.secret there, or a token",
                         s->ns, s->name, provider);
        s->good = false;
        return;
    }
    if (!json_text(s->data, "token") && !json_text(s->data, "token.url"))
        lacks(s, "token", "OAUTHBEARER needs it, or token.url, client.id and client.secret");
    put(s, "sasl.token", "token");
    put(s, "sasl.token.url", "token.url");
    put(s, "sasl.client.id", "client.id");
    put(s, "sasl.client.secret", "client.secret");
    put(s, "sasl.scope", "scope");
}

static void sasl(struct secret *s)
{
    const char *mechanism = value(s, "sasl.mechanism");
    if (!mechanism)
        mechanism = either(s, "saslType", "sasltype");
    if (!mechanism)
        mechanism = "PLAIN";
    kafka_param(s->planner, s->params, "sasl.mechanism", mechanism);
    if (strcmp(mechanism, "OAUTHBEARER") == 0) {
        oauth(s);
        return;
    }
    const char *user = either(s, "user", "username"), *password = value(s, "password");
    if (!user)
        lacks(s, "user", "the SASL user");
    else if (!password)
        lacks(s, "password", "the SASL password");
    else {
        kafka_param(s->planner, s->params, "sasl.username", user);
        kafka_param(s->planner, s->params, "sasl.password", password);
    }
}

static void tls(struct secret *s)
{
    put(s, "ssl.ca", "ca.crt");
    if (is_true(s, "user.skip"))
        return;
    put(s, "ssl.certificate", "user.crt");
    put(s, "ssl.key", "user.key");
}

/* What an older Secret, which names no protocol, must mean. */
static const char *protocol_of(struct secret *s)
{
    const char *given = value(s, "protocol");
    if (given)
        return given;
    bool encrypted = is_true(s, "tls.enabled") || value(s, "ca.crt"),
         known = value(s, "password") && either(s, "user", "username");
    if (known)
        return encrypted ? "SASL_SSL" : "SASL_PLAINTEXT";
    return encrypted ? "SSL" : "PLAINTEXT";
}

bool kafka_secret(struct planner *p, const char *ns, const char *name, struct kafka_params *params, struct why *why)
{
    const struct resource *r = plan_get(p, "", "Secret", ns, name);
    struct secret s = {p, ns, name, r ? json_object(r->object, "data") : NULL, params, why, r != NULL};
    if (!r) {
        *why = why_of(p, "SecretNotFound", "Secret %s/%s is not declared", ns, name);
        return false;
    }
    const char *protocol = protocol_of(&s);
    kafka_param(p, params, "security.protocol", protocol);
    if (strncmp(protocol, "SASL_", 5) == 0)
        sasl(&s);
    if (strcmp(protocol, "SSL") == 0 || strcmp(protocol, "SASL_SSL") == 0)
        tls(&s);
    return s.good;
}
