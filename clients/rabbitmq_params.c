/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings of a RabbitMQ client: names, values and what goes together. Pure; any thread.
 *
 * A URL is taken apart here rather than by the library, whose parser knows one host only, takes any text for a port and
 * says of every mistake that it could not parse. What does not fit together is refused rather than passed over: a CA
 * beside amqp:// is somebody who believes to be protected.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pem.h"
#include "rabbitmq_private.h"
#include "text.h"

enum param { URL, HOST, PORT, VHOST, USERNAME, PASSWORD, HEARTBEAT, TLS, CA, CERTIFICATE, KEY, VERIFY, COUNT };

static const char *const names[COUNT] = {
    [URL] = "url",
    [HOST] = "host",
    [PORT] = "port",
    [VHOST] = "vhost",
    [USERNAME] = "username",
    [PASSWORD] = "password",
    [HEARTBEAT] = "heartbeat",
    [TLS] = "ssl",
    [CA] = "ssl.ca",
    [CERTIFICATE] = "ssl.certificate",
    [KEY] = "ssl.key",
    [VERIFY] = "ssl.verify",
};

struct values {
    const char *of[COUNT]; /* borrowed; NULL: not given */
};

static int find(const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

bool rabbitmq_client_knows(const char *name)
{
    return find(name) >= 0;
}

void rabbitmq_settings_hide(const struct rabbitmq_settings *s, char *text)
{
    bool known = s->password && strcmp(s->password, "guest") == 0; /* everybody's, and the name of its user */
    size_t len = s->password && !known ? strlen(s->password) : 0;
    for (char *at = text; len && (at = strstr(at, s->password)); at += len)
        memset(at, '*', len);
}

static char *wiped(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
    return NULL;
}

void rabbitmq_settings_fini(struct rabbitmq_settings *s)
{
    for (size_t i = 0; i < s->host_count; i++)
        free(s->hosts[i].name);
    free(s->hosts);
    wiped(s->password);
    wiped(s->key);
    free(s->vhost);
    free(s->username);
    free(s->ca);
    free(s->certificate);
    *s = (struct rabbitmq_settings){.hosts = NULL};
}

/* ---- hosts ---- */

static bool host_char(char c)
{
    return (unsigned char)c > ' ' && c != 0x7f && !strchr("/@?#[]%:\"<>\\", c);
}

static bool is_host(struct slice host, bool bracketed)
{
    bool good = host.len > 0 && host.len <= 253;
    for (size_t i = 0; good && i < host.len; i++)
        good = host_char(host.ptr[i]) || (bracketed && (host.ptr[i] == ':' || host.ptr[i] == '%'));
    return good;
}

static enum err host_add(struct rabbitmq_settings *s, const char *param, struct slice one, uint16_t port,
                         struct diag *d)
{
    struct slice name = one, tail = {NULL, 0};
    bool bracketed = one.len && one.ptr[0] == '[';
    if (bracketed) {
        tail = slice_from(one, 1);
        name = slice_split(&tail, ']');
        if (!tail.ptr || (tail.len && tail.ptr[0] != ':'))
            return diag_set(d, ERR_INVALID, "%s: '%.*s' is not [IPv6 address]:port", param, SLICE_ARG(one));
        tail = tail.len ? slice_from(tail, 1) : (struct slice){NULL, 0};
    } else {
        tail = one;
        name = slice_split(&tail, ':');
    }
    uint64_t number = port;
    if (!is_host(name, bracketed))
        return diag_set(d, ERR_INVALID, "%s: '%.*s' is not host or host:port (several by comma)", param,
                        SLICE_ARG(one));
    if (tail.ptr && (decimal_parse(tail, 65535, &number) != OK || number == 0))
        return diag_set(d, ERR_INVALID, "%s: the port of '%.*s' is no number from 1 to 65535", param, SLICE_ARG(one));
    struct rabbitmq_host *h = &s->hosts[s->host_count];
    h->name = strndup(name.ptr, name.len);
    h->port = (uint16_t)number;
    if (!h->name)
        return ERR_NOMEM;
    s->host_count++;
    return OK;
}

static enum err hosts_read(struct rabbitmq_settings *s, const char *param, struct slice list, uint16_t port,
                           struct diag *d)
{
    enum err e = OK;
    s->hosts = calloc(RABBITMQ_HOSTS_MAX, sizeof(*s->hosts));
    if (!s->hosts)
        return ERR_NOMEM;
    do {
        if (s->host_count == RABBITMQ_HOSTS_MAX)
            return diag_set(d, ERR_INVALID, "%s names more than %d hosts", param, RABBITMQ_HOSTS_MAX);
        e = host_add(s, param, slice_trim(slice_split(&list, ',')), port, d);
    } while (!e && list.ptr);
    return e;
}

/* ---- the URL ---- */

struct url {
    bool tls, has_user, has_password, has_vhost;
    struct slice user, password, hosts, vhost; /* still encoded */
};

/* The position of the last c, or s.len. */
static size_t last_of(struct slice s, char c)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.ptr[i - 1] == c)
            return i - 1;
    return s.len;
}

/* Never quotes the URL: it may hold a password. */
static enum err url_split(const char *text, struct url *u, struct diag *d)
{
    struct slice rest = slice_str(text);
    u->tls = slice_has_prefix_nocase(rest, SLICE("amqps://"));
    if (!u->tls && !slice_has_prefix_nocase(rest, SLICE("amqp://")))
        return diag_set(d, ERR_INVALID, "url does not begin with amqp:// or amqps://");
    rest = slice_from(rest, u->tls ? 8 : 7);
    if (rest.len && memchr(rest.ptr, '#', rest.len))
        return diag_set(d, ERR_INVALID, "url has a '#'; in a password it is written %%23");
    if (rest.len && memchr(rest.ptr, '?', rest.len))
        return diag_set(d, ERR_INVALID,
                        "url has a query ('?'), which is not known; settings are parameters of their "
                        "own (in a password '?' is written %%3F)");
    u->vhost = rest;
    struct slice authority = slice_split(&u->vhost, '/');
    u->has_vhost = u->vhost.len > 0;
    if (u->has_vhost && memchr(u->vhost.ptr, '/', u->vhost.len))
        return diag_set(d, ERR_INVALID, "url has more than one '/' behind the host; in a vhost it is written %%2F");
    size_t at = last_of(authority, '@');
    if (at == authority.len) {
        u->hosts = authority;
        return OK;
    }
    u->hosts = slice_from(authority, at + 1);
    u->password = slice_of(authority.ptr, at);
    u->user = slice_split(&u->password, ':');
    u->has_user = true;
    u->has_password = u->password.ptr;
    return OK;
}

static enum err decoded(const char *what, struct slice text, char **out, struct diag *d)
{
    struct buf b;
    buf_init(&b, 64 << 10);
    enum err e = percent_decode(text, &b);
    if (e == ERR_INVALID)
        (void)diag_set(d, e, "the %s in url has a %% that is not followed by two hexadecimal digits, or a NUL", what);
    if (!e && !(*out = b.len ? buf_take_string(&b) : strdup("")))
        e = ERR_NOMEM;
    buf_fini(&b);
    return e;
}

static enum err url_read(const struct values *v, struct rabbitmq_settings *s, struct diag *d)
{
    struct url u = {.tls = false};
    uint64_t port = 0;
    enum err e = url_split(v->of[URL], &u, d);
    if (e)
        return e;
    if (v->of[HOST])
        return diag_set(d, ERR_INVALID, "url and host are both given; one of them says where RabbitMQ is");
    if (v->of[TLS] && strcmp(v->of[TLS], u.tls ? "false" : "true") == 0)
        return diag_set(d, ERR_INVALID, "ssl is %s, but url begins with %s", v->of[TLS], u.tls ? "amqps:" : "amqp:");
    if (v->of[PORT] && (decimal_parse(slice_str(v->of[PORT]), 65535, &port) != OK || port == 0))
        return diag_set(d, ERR_INVALID, "port is '%.40s'; it is a number from 1 to 65535", v->of[PORT]);
    s->tls = u.tls;
    e = hosts_read(s, "url", u.hosts, port ? (uint16_t)port : u.tls ? 5671 : 5672, d);
    if (!e && u.has_vhost)
        e = decoded("vhost", u.vhost, &s->vhost, d);
    if (!e && u.has_user)
        e = decoded("user", u.user, &s->username, d);
    if (!e && u.has_password)
        e = decoded("password", u.password, &s->password, d);
    return e;
}

static enum err host_read(const struct values *v, struct rabbitmq_settings *s, struct diag *d)
{
    uint64_t port = 0;
    if (!v->of[HOST])
        return diag_set(d, ERR_INVALID,
                        "url is missing: amqp://user:password@host:port/vhost (or host, port, vhost, "
                        "username and password one by one)");
    s->tls = v->of[TLS] && strcmp(v->of[TLS], "true") == 0;
    if (v->of[PORT] && (decimal_parse(slice_str(v->of[PORT]), 65535, &port) != OK || port == 0))
        return diag_set(d, ERR_INVALID, "port is '%.40s'; it is a number from 1 to 65535", v->of[PORT]);
    return hosts_read(s, "host", slice_str(v->of[HOST]), port ? (uint16_t)port : s->tls ? 5671 : 5672, d);
}

/* ---- who ---- */

static enum err keep(char **to, const char *value)
{
    if (!value)
        return OK;
    wiped(*to);
    *to = strdup(value);
    return *to ? OK : ERR_NOMEM;
}

/* The usual control character is the newline of an `echo` that made the Secret. PLAIN separates by NUL, which no value
 * can hold here. */
static enum err check_printable(const char *name, const char *v, struct diag *d)
{
    if (v && strlen(v) > RABBITMQ_SHORT_MAX)
        return diag_set(d, ERR_INVALID, "%s is longer than %d bytes", name, RABBITMQ_SHORT_MAX);
    for (; v && *v; v++)
        if ((unsigned char)*v < ' ' || *v == 0x7f)
            return diag_set(d, ERR_INVALID, "%s holds a control character%s", name,
                            *v == '\n' ? ": a newline, perhaps of the command that made the Secret" : "");
    return OK;
}

static enum err credentials_read(const struct values *v, struct rabbitmq_settings *s, struct diag *d)
{
    enum err e = keep(&s->username, v->of[USERNAME]);
    if (!e)
        e = keep(&s->password, v->of[PASSWORD]);
    if (!e)
        e = keep(&s->vhost, v->of[VHOST]);
    if (!e && !s->vhost)
        e = keep(&s->vhost, "/");
    if (e)
        return e;
    if (s->username && !*s->username)
        return diag_set(d, ERR_INVALID, "username is empty");
    if (!*s->vhost)
        return diag_set(d, ERR_INVALID, "vhost is empty; the one that is there at first is \"/\"");
    if (s->password && !s->username)
        return diag_set(d, ERR_INVALID, "password is given, but no username");
    if (s->username && !s->password)
        return diag_set(d, ERR_INVALID, "username is given, but no password");
    s->external = !s->username && v->of[CERTIFICATE];
    if (!s->username && !s->external)
        e = keep(&s->username, "guest");
    if (!e && !s->password && !s->external)
        e = keep(&s->password, "guest");
    if (!e)
        e = check_printable("username", s->username, d);
    if (!e)
        e = check_printable("password", s->password, d);
    return e ? e : check_printable("vhost", s->vhost, d);
}

/* ---- TLS and the rest ---- */

static enum err bool_check(const char *name, const char *value, struct diag *d)
{
    if (value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return diag_set(d, ERR_INVALID, "%s is '%.40s'; it is true or false", name, value);
    return OK;
}

static enum err tls_read(const struct values *v, struct rabbitmq_settings *s, struct diag *d)
{
    static const enum param of_tls[] = {CA, CERTIFICATE, KEY, VERIFY};
    enum err e = bool_check("ssl.verify", v->of[VERIFY], d);
    for (size_t i = 0; !s->tls && i < sizeof(of_tls) / sizeof(*of_tls); i++)
        if (v->of[of_tls[i]])
            return diag_set(d, ERR_INVALID, "%s is given, but not ssl: amqps:// in url, or ssl true", names[of_tls[i]]);
    s->verify = !v->of[VERIFY] || strcmp(v->of[VERIFY], "true") == 0;
    if (!e && v->of[CA])
        e = pem_check_certificate("ssl.ca", v->of[CA], d);
    if (!e && !v->of[CERTIFICATE] != !v->of[KEY])
        e = diag_set(d, ERR_INVALID, "%s is missing: ssl.certificate and ssl.key belong together",
                     v->of[KEY] ? "ssl.certificate" : "ssl.key");
    if (!e && v->of[KEY])
        e = pem_check_pair("ssl.certificate", v->of[CERTIFICATE], "ssl.key", v->of[KEY], d);
    if (!e)
        e = keep(&s->ca, v->of[CA]);
    if (!e)
        e = keep(&s->certificate, v->of[CERTIFICATE]);
    return e ? e : keep(&s->key, v->of[KEY]);
}

static enum err heartbeat_read(const struct values *v, struct rabbitmq_settings *s, struct diag *d)
{
    uint64_t n = RABBITMQ_HEARTBEAT_S;
    if (v->of[HEARTBEAT] && decimal_parse(slice_str(v->of[HEARTBEAT]), RABBITMQ_HEARTBEAT_S_MAX, &n) != OK)
        return diag_set(d, ERR_INVALID, "heartbeat is '%.40s'; it is a number of seconds from 1 to %d, or 0 for none",
                        v->of[HEARTBEAT], RABBITMQ_HEARTBEAT_S_MAX);
    s->heartbeat_s = (unsigned)n;
    return OK;
}

enum err rabbitmq_settings_read(const struct rabbitmq_client_param *params, size_t count, struct rabbitmq_settings *out,
                                struct diag *d)
{
    struct values v = {{NULL}};
    struct rabbitmq_settings s = {.hosts = NULL};
    for (size_t i = 0; i < count; i++) {
        int p = find(params[i].name);
        if (p >= 0)
            v.of[p] = params[i].value; /* the last of several counts */
    }
    enum err e = bool_check("ssl", v.of[TLS], d);
    if (!e)
        e = v.of[URL] ? url_read(&v, &s, d) : host_read(&v, &s, d);
    if (!e)
        e = credentials_read(&v, &s, d);
    if (!e)
        e = tls_read(&v, &s, d);
    if (!e)
        e = heartbeat_read(&v, &s, d);
    if (e)
        rabbitmq_settings_fini(&s);
    else
        *out = s;
    return e;
}

enum err rabbitmq_client_check(const struct rabbitmq_client_param *params, size_t count, struct diag *d)
{
    struct rabbitmq_settings s;
    enum err e = rabbitmq_settings_read(params, count, &s, d);
    if (!e)
        rabbitmq_settings_fini(&s);
    return e;
}
