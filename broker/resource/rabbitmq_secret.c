/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets that say how RabbitMQ is reached. Two forms are taken: the connectionSecret of Knative's RabbitMQ components
 * (docs and pkg/rabbit/service.go of knative-extensions/eventing-rabbitmq) and the Secret NAME-default-user that
 * RabbitMQ's cluster operator writes for a RabbitmqCluster.
 *
 *     uri            of the first form: that of the management page, whose host is RabbitMQ's: host, host:15672,
 *                    https://host:15671 (TLS, also for AMQP); or, here, an amqp or amqps URL
 *     host           of the second form
 *     port           of AMQP; without it RabbitMQ's own, 5672 or with TLS 5671
 *     username, password
 *     caSecretName   another Secret beside it, with ca.crt
 *     ca.crt, tls.crt, tls.key, vhost    leat's own: PEM, and the virtual host
 */
#include "rabbitmq_secret.h"

/* The host in an address of the management page, behind its scheme: without user, port and path. "" when there is none.
 */
static const char *host_of(struct planner *p, struct slice text)
{
    struct slice rest = text, host = slice_split(&rest, '/');
    size_t n = 0;
    for (rest = host; rest.ptr;) {
        host = rest;
        slice_split(&rest, '@');
    }
    if (host.len && host.ptr[0] == '[')
        while (n < host.len && host.ptr[n] != ']')
            n++;
    while (n < host.len && host.ptr[n] != ':')
        n++;
    return plan_text(p, "%.*s", (int)n, host.ptr);
}

/* Where it is; false when the Secret does not say. */
static bool put_location(struct secret *s, struct cluster_params *params)
{
    struct planner *p = s->planner;
    const char *uri = secret_get(s, "uri"), *host = secret_get(s, "host");
    if (uri &&
        (slice_has_prefix(slice_str(uri), SLICE("amqp://")) || slice_has_prefix(slice_str(uri), SLICE("amqps://")))) {
        cluster_param(p, params, "url", uri);
        return true;
    }
    if (uri) {
        struct slice rest = slice_str(uri);
        bool tls = slice_has_prefix(rest, SLICE("https://"));
        if (tls || slice_has_prefix(rest, SLICE("http://")))
            rest = slice_from(rest, tls ? 8 : 7);
        host = host_of(p, rest);
        if (tls)
            cluster_param(p, params, "ssl", "true");
    }
    if (!host || !*host) {
        secret_lacks(s, "uri", "RabbitMQ's address, such as rabbit.example or amqps://rabbit.example");
        return false;
    }
    cluster_param(p, params, "host", host);
    secret_put(s, params, "port", "port");
    return true;
}

/* Whom to trust, and leat's own certificate. */
static void put_certificates(struct secret *s, struct cluster_params *params)
{
    const char *name = secret_get(s, "caSecretName");
    struct secret authority;
    if (!name)
        secret_put(s, params, "ssl.ca", "ca.crt");
    else if (!secret_open(&authority, s->planner, s->ns, name, s->why))
        s->good = false;
    else {
        if (!json_text(authority.data, "ca.crt"))
            secret_lacks(&authority, "ca.crt", "the certificates that RabbitMQ is trusted by");
        secret_put(&authority, params, "ssl.ca", "ca.crt");
        s->good = s->good && authority.good;
    }
    secret_put(s, params, "ssl.certificate", "tls.crt");
    secret_put(s, params, "ssl.key", "tls.key");
}

static bool read_secret(struct planner *p, const char *ns, const char *name, const char *vhost,
                        struct cluster_params *params, struct why *why)
{
    struct secret s;
    if (!secret_open(&s, p, ns, name, why) || !put_location(&s, params))
        return false;
    const char *url = cluster_param_value(params->list, params->count, "url"), *user = secret_get(&s, "username"),
               *password = secret_get(&s, "password");
    bool by_certificate = json_text(s.data, "tls.crt") != NULL;
    if (!user && !url && !by_certificate) /* a URL may have them in it */
        secret_lacks(&s, "username", "RabbitMQ's user");
    else if (user && !password)
        secret_lacks(&s, "password", "the user's password");
    if (user)
        cluster_param(p, params, "username", user);
    if (password)
        cluster_param(p, params, "password", password);
    if (vhost)
        cluster_param(p, params, "vhost", vhost);
    else
        secret_put(&s, params, "vhost", "vhost");
    put_certificates(&s, params);
    return s.good;
}

/* What the operator made for a RabbitmqCluster; there is no operator here, but its Secret may be. */
static bool read_cluster(struct planner *p, const char *ns, const char *name, const char *vhost,
                         struct cluster_params *params, struct why *why)
{
    const char *secret = plan_text(p, "%s-default-user", name);
    if (plan_get(p, "", "Secret", ns, secret))
        return read_secret(p, ns, secret, vhost, params, why);
    *why = why_of(p, "ConnectionSecretNeeded",
                  "RabbitmqCluster %s/%s is the cluster operator's, which does not run here: name a Secret with "
                  "username, password and uri as rabbitmqClusterReference.connectionSecret, or declare the operator's "
                  "own, %s",
                  ns, name, secret);
    return false;
}

bool rabbitmq_cluster(struct planner *p, const char *ns, const cJSON *reference, const char *vhost,
                      struct cluster_params *params, const char **who, struct why *why)
{
    const char *at = json_text(reference, "namespace"), *name = json_text(reference, "name"),
               *secret = json_text(json_object(reference, "connectionSecret"), "name");
    if (!at || !*at)
        at = ns;
    *who = plan_text(p, "%s/%s/%s%s%s", secret ? "Secret" : "RabbitmqCluster", at,
                     secret ? secret
                     : name ? name
                            : "",
                     vhost ? "?vhost=" : "", vhost ? vhost : "");
    if (secret)
        return read_secret(p, at, secret, vhost, params, why);
    if (name)
        return read_cluster(p, at, name, vhost, params, why);
    *why = why_of(p, "ConnectionSecretNeeded", "it names no Secret that says how RabbitMQ is reached");
    return false;
}
