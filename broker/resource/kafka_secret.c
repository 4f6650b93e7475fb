/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets of Knative's Kafka components as parameters of a client. Which keys there are and what they mean:
 * control-plane/pkg/security of knative-extensions/eventing-kafka-broker, and its user documentation.
 */
#include "kafka_secret.h"

struct keys {
    struct secret secret;
    struct cluster_params *params;
};

static const char *value(struct keys *k, const char *key)
{
    return secret_get(&k->secret, key);
}

static const char *either(struct keys *k, const char *key, const char *other)
{
    const char *text = value(k, key);
    return text ? text : value(k, other);
}

static bool is_true(struct keys *k, const char *key)
{
    const char *text = value(k, key);
    return text && (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

static void put(struct keys *k, const char *name, const char *key)
{
    secret_put(&k->secret, k->params, name, key);
}

static void param(struct keys *k, const char *name, const char *text)
{
    cluster_param(k->secret.planner, k->params, name, text);
}

/* A token, or where to fetch it. Upstream's own providers ask a cloud's metadata, which leat does not. */
static void oauth(struct keys *k)
{
    const char *provider = value(k, "tokenProvider");
    if (provider) {
        *k->secret.why =
            why_of(k->secret.planner, "TokenProviderNotBuiltIn",
                   "Secret %s/%s: the tokenProvider %.80s is not in this build; put token.url, client.id and "
                   "client.secret there, or a token",
                   k->secret.ns, k->secret.name, provider);
        k->secret.good = false;
        return;
    }
    if (!json_text(k->secret.data, "token") && !json_text(k->secret.data, "token.url"))
        secret_lacks(&k->secret, "token", "OAUTHBEARER needs it, or token.url, client.id and client.secret");
    put(k, "sasl.token", "token");
    put(k, "sasl.token.url", "token.url");
    put(k, "sasl.client.id", "client.id");
    put(k, "sasl.client.secret", "client.secret");
    put(k, "sasl.scope", "scope");
}

static void sasl(struct keys *k)
{
    const char *mechanism = value(k, "sasl.mechanism");
    if (!mechanism)
        mechanism = either(k, "saslType", "sasltype");
    if (!mechanism)
        mechanism = "PLAIN";
    param(k, "sasl.mechanism", mechanism);
    if (strcmp(mechanism, "OAUTHBEARER") == 0) {
        oauth(k);
        return;
    }
    const char *user = either(k, "user", "username"), *password = value(k, "password");
    if (!user)
        secret_lacks(&k->secret, "user", "the SASL user");
    else if (!password)
        secret_lacks(&k->secret, "password", "the SASL password");
    else {
        param(k, "sasl.username", user);
        param(k, "sasl.password", password);
    }
}

static void tls(struct keys *k)
{
    put(k, "ssl.ca", "ca.crt");
    if (is_true(k, "user.skip"))
        return;
    put(k, "ssl.certificate", "user.crt");
    put(k, "ssl.key", "user.key");
}

/* What an older Secret, which names no protocol, must mean. */
static const char *protocol_of(struct keys *k)
{
    const char *given = value(k, "protocol");
    if (given)
        return given;
    bool encrypted = is_true(k, "tls.enabled") || value(k, "ca.crt"),
         known = value(k, "password") && either(k, "user", "username");
    if (known)
        return encrypted ? "SASL_SSL" : "SASL_PLAINTEXT";
    return encrypted ? "SSL" : "PLAINTEXT";
}

bool kafka_secret(struct planner *p, const char *ns, const char *name, struct cluster_params *params, struct why *why)
{
    struct keys k = {.params = params};
    if (!secret_open(&k.secret, p, ns, name, why))
        return false;
    const char *protocol = protocol_of(&k);
    param(&k, "security.protocol", protocol);
    if (strncmp(protocol, "SASL_", 5) == 0)
        sasl(&k);
    if (strcmp(protocol, "SSL") == 0 || strcmp(protocol, "SASL_SSL") == 0)
        tls(&k);
    return k.secret.good;
}
