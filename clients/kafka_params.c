/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings of a Kafka client: names, values and what goes together. Pure; any thread.
 *
 * What does not fit together is refused rather than passed over: a password beside security.protocol PLAINTEXT is
 * somebody who believes to be protected. PEM is parsed here, since the library would only say "not in PEM format?" when
 * the first handle is made.
 */
#include <assert.h>
#include <stdio.h>

#include "kafka_private.h"
#include "pem.h"
#include "text.h"

static const struct {
    const char *name;
    bool secret;
} table[KAFKA_PARAM_COUNT] = {
    [KAFKA_SERVERS] = {"bootstrap.servers", false},
    [KAFKA_PROTOCOL] = {"security.protocol", false},
    [KAFKA_MECHANISM] = {"sasl.mechanism", false},
    [KAFKA_USERNAME] = {"sasl.username", false},
    [KAFKA_PASSWORD] = {"sasl.password", true},
    [KAFKA_TOKEN] = {"sasl.token", true},
    [KAFKA_TOKEN_URL] = {"sasl.token.url", false},
    [KAFKA_CLIENT_ID] = {"sasl.client.id", false},
    [KAFKA_CLIENT_SECRET] = {"sasl.client.secret", true},
    [KAFKA_SCOPE] = {"sasl.scope", false},
    [KAFKA_CA] = {"ssl.ca", false},
    [KAFKA_CERTIFICATE] = {"ssl.certificate", false},
    [KAFKA_KEY] = {"ssl.key", true},
    [KAFKA_VERIFY] = {"ssl.verify", false},
};

static int find(const char *name)
{
    for (int i = 0; i < KAFKA_PARAM_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return i;
    return -1;
}

bool kafka_client_knows(const char *name)
{
    return find(name) >= 0;
}

static bool by_tls(const struct kafka_settings *s)
{
    const char *p = s->value[KAFKA_PROTOCOL];
    return p && (strcmp(p, "SSL") == 0 || strcmp(p, "SASL_SSL") == 0);
}

static bool by_sasl(const struct kafka_settings *s)
{
    const char *p = s->value[KAFKA_PROTOCOL];
    return p && strncmp(p, "SASL_", 5) == 0;
}

void kafka_settings_hide(const struct kafka_settings *s, char *text)
{
    for (int i = 0; i < KAFKA_PARAM_COUNT; i++) {
        const char *secret = table[i].secret ? s->value[i] : NULL;
        size_t len = secret ? strlen(secret) : 0;
        for (char *at = text; len && (at = strstr(at, secret)); at += len)
            memset(at, '*', len);
    }
}

/* ---- values ---- */

static bool is_server(struct slice s)
{
    struct slice port = s;
    for (struct slice rest = s; rest.len; rest = slice_from(rest, 1))
        if (rest.ptr[0] == ':')
            port = slice_from(rest, 1);
    uint64_t number;
    struct slice host = slice_of(s.ptr, s.len - port.len);
    if (host.len < 2 || decimal_parse(port, 65535, &number) != OK || number == 0)
        return false;
    host.len--;
    if (host.ptr[0] == '[') /* IPv6 */
        return host.len > 2 && host.ptr[host.len - 1] == ']';
    for (size_t i = 0; i < host.len; i++)
        if (strchr(":/ \t@", host.ptr[i]) || (unsigned char)host.ptr[i] < ' ')
            return false;
    return true;
}

static enum err check_servers(const char *value, struct diag *d)
{
    struct slice rest = slice_str(value);
    if (rest.len == 0)
        return diag_set(d, ERR_INVALID, "bootstrap.servers is missing: host:port of a Kafka broker, several by comma");
    while (rest.ptr) {
        struct slice one = slice_trim(slice_split(&rest, ','));
        if (!is_server(one))
            return diag_set(d, ERR_INVALID, "bootstrap.servers: '%.*s' is not host:port (several by comma)",
                            SLICE_ARG(one));
    }
    return OK;
}

static enum err one_of(const char *name, const char *value, const char *const *words, const char *text, struct diag *d)
{
    for (; *words; words++)
        if (strcmp(*words, value) == 0)
            return OK;
    return diag_set(d, ERR_INVALID, "%s is '%.40s'; it is one of %s", name, value, text);
}

/* Names and passwords of SASL may hold no control characters (RFC 4013 section 2.3); the usual one is the newline of an
 * `echo` that made the Secret. */
static enum err check_printable(const struct kafka_settings *s, enum kafka_param p, struct diag *d)
{
    const char *v = s->value[p];
    if (!v)
        return OK;
    if (!*v)
        return diag_set(d, ERR_INVALID, "%s is empty", table[p].name);
    for (; *v; v++)
        if ((unsigned char)*v < ' ' || *v == 0x7f)
            return diag_set(d, ERR_INVALID, "%s holds a control character%s", table[p].name,
                            *v == '\n' ? ": a newline, perhaps of the command that made the Secret" : "");
    return OK;
}

/* ---- what goes together ---- */

static enum err refuse_all(const struct kafka_settings *s, enum kafka_param from, enum kafka_param to, const char *need,
                           struct diag *d)
{
    for (enum kafka_param p = from; p <= to; p++)
        if (s->value[p])
            return diag_set(d, ERR_INVALID, "%s is given, but not %s", table[p].name, need);
    return OK;
}

static enum err check_oauth(const struct kafka_settings *s, struct diag *d)
{
    const char *token = s->value[KAFKA_TOKEN], *url = s->value[KAFKA_TOKEN_URL];
    enum err e = refuse_all(s, KAFKA_USERNAME, KAFKA_PASSWORD, "a sasl.mechanism with users", d);
    if (e != OK)
        return e;
    if (!token == !url)
        return diag_set(d, ERR_INVALID, "sasl.mechanism OAUTHBEARER needs either sasl.token or sasl.token.url");
    if (token)
        return refuse_all(s, KAFKA_CLIENT_ID, KAFKA_SCOPE, "sasl.token.url", d);
    if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
        return diag_set(d, ERR_INVALID, "sasl.token.url is not an http or https URL");
    if (!s->value[KAFKA_CLIENT_ID] || !s->value[KAFKA_CLIENT_SECRET])
        return diag_set(d, ERR_INVALID, "sasl.token.url needs sasl.client.id and sasl.client.secret");
    return OK;
}

static enum err check_sasl(const struct kafka_settings *s, struct diag *d)
{
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", NULL};
    if (!by_sasl(s))
        return refuse_all(s, KAFKA_MECHANISM, KAFKA_SCOPE, "security.protocol SASL_PLAINTEXT or SASL_SSL", d);
    const char *mechanism = s->value[KAFKA_MECHANISM];
    enum err e = one_of("sasl.mechanism", mechanism ? mechanism : "", mechanisms,
                        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER", d);
    for (enum kafka_param p = KAFKA_USERNAME; e == OK && p <= KAFKA_SCOPE; p++)
        e = check_printable(s, p, d);
    if (e != OK)
        return e;
    if (strcmp(mechanism, "OAUTHBEARER") == 0)
        return check_oauth(s, d);
    if (!s->value[KAFKA_USERNAME] || !s->value[KAFKA_PASSWORD])
        return diag_set(d, ERR_INVALID, "sasl.mechanism %s needs sasl.username and sasl.password", mechanism);
    return refuse_all(s, KAFKA_TOKEN, KAFKA_SCOPE, "sasl.mechanism OAUTHBEARER", d);
}

static enum err check_tls(const struct kafka_settings *s, struct diag *d)
{
    static const char *const verify[] = {"true", "false", NULL};
    const char *ca = s->value[KAFKA_CA], *certificate = s->value[KAFKA_CERTIFICATE], *key = s->value[KAFKA_KEY];
    enum err e = OK;
    if (!by_tls(s))
        return refuse_all(s, KAFKA_CA, KAFKA_VERIFY, "security.protocol SSL or SASL_SSL", d);
    if (s->value[KAFKA_VERIFY])
        e = one_of("ssl.verify", s->value[KAFKA_VERIFY], verify, "true, false", d);
    if (e == OK && ca)
        e = pem_check_certificate("ssl.ca", ca, d);
    if (e == OK && !certificate != !key)
        e = diag_set(d, ERR_INVALID, "%s is missing: ssl.certificate and ssl.key belong together",
                     key ? "ssl.certificate" : "ssl.key");
    if (e == OK && key)
        e = pem_check_pair("ssl.certificate", certificate, "ssl.key", key, d);
    return e;
}

enum err kafka_params_read(const struct kafka_client_param *params, size_t count, struct kafka_settings *out,
                           struct diag *d)
{
    static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", NULL};
    struct kafka_settings s = {{NULL}};
    for (size_t i = 0; i < count; i++) {
        int p = find(params[i].name);
        if (p >= 0)
            s.value[p] = params[i].value; /* the last of several counts */
    }
    enum err e = check_servers(s.value[KAFKA_SERVERS], d);
    if (e == OK && s.value[KAFKA_PROTOCOL])
        e = one_of("security.protocol", s.value[KAFKA_PROTOCOL], protocols, "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
                   d);
    if (e == OK)
        e = check_sasl(&s, d);
    if (e == OK)
        e = check_tls(&s, d);
    if (e == OK)
        *out = s;
    return e;
}

enum err kafka_client_check(const struct kafka_client_param *params, size_t count, struct diag *d)
{
    struct kafka_settings s;
    return kafka_params_read(params, count, &s, d);
}
