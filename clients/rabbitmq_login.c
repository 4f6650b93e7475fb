/* SPDX-License-Identifier: Apache-2.0
 *
 * Channel 0 of a connection: who speaks there, login, tuning, the vhost; blocked and unblocked; the end.
 *
 *     we                    the server
 *     "AMQP" 0 0 9 1   →
 *                      ←    start (mechanisms, properties)
 *     start-ok         →
 *                      ←    tune                   or close 403: the credentials
 *     tune-ok, open    →
 *                      ←    open-ok                or close 530: the vhost, or no right to it
 */
#include <stdio.h>
#include <stdlib.h>

#include "rabbitmq_conn.h"
#include "text.h"

static const char header[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

static amqp_bytes_t bytes(const char *s)
{
    return amqp_cstring_bytes(s);
}

void rabbitmq_login_begin(struct rabbitmq_link *l)
{
    l->server = (struct rabbitmq_server){.product = "", .version = ""};
    buf_put(&l->out, slice_of(header, sizeof(header)));
    if (buf_error(&l->out) != OK)
        rabbitmq_lose(l, ERR_NOMEM, RABBITMQ_DOWN, "is not reached: no memory");
    else
        rabbitmq_send_later(l);
}

bool rabbitmq_login_speaks_amqp(struct rabbitmq_link *l, struct slice input)
{
    size_t n = input.len < 4 ? input.len : 4;
    if (input.ptr[0] == RABBITMQ_METHOD)
        return true;
    if (memcmp(input.ptr, header, n) == 0) {
        if (input.len >= sizeof(header)) /* a server that speaks another version answers with its own header */
            rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH,
                          "speaks AMQP %d-%d-%d, and not 0-9-1; check the port, or update the server",
                          (unsigned char)input.ptr[5], (unsigned char)input.ptr[6], (unsigned char)input.ptr[7]);
        return false;
    }
    if (input.ptr[0] == 0x15 || input.ptr[0] == 0x16) /* an alert or handshake of TLS */
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "speaks TLS: take amqps:// (or ssl true), or another port");
    else
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "does not speak AMQP; check host and port");
    return false;
}

/* ---- start ---- */

static const amqp_field_value_t *property(const amqp_table_t *t, const char *name)
{
    for (int i = 0; i < t->num_entries; i++)
        if (slice_eq_str(rabbitmq_slice(t->entries[i].key), name))
            return &t->entries[i].value;
    return NULL;
}

static void take_property(const amqp_table_t *t, const char *name, char *to, size_t size)
{
    const amqp_field_value_t *v = property(t, name);
    bool text = v && (v->kind == AMQP_FIELD_KIND_UTF8 || v->kind == AMQP_FIELD_KIND_BYTES);
    struct slice s = text ? rabbitmq_slice(v->value.bytes) : SLICE("");
    if (!utf8_valid(s))
        s.len = 0;
    snprintf(to, size, "%.*s", SLICE_ARG(s));
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

static void take_server(struct rabbitmq_link *l, const amqp_table_t *properties)
{
    take_property(properties, "product", l->product, sizeof(l->product));
    take_property(properties, "version", l->version, sizeof(l->version));
    l->server.product = l->product;
    l->server.version = l->version;
    if (sscanf(l->version, "%3u.%3u", &l->server.major, &l->server.minor) != 2)
        l->server.major = l->server.minor = 0;
}

static bool offers(struct slice mechanisms, const char *name)
{
    while (mechanisms.len)
        if (slice_eq_str(slice_split(&mechanisms, ' '), name))
            return true;
    return false;
}

static amqp_table_entry_t entry(const char *key, const char *value)
{
    return (amqp_table_entry_t){bytes(key), {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = bytes(value)}};
}

static void send_start_ok(struct rabbitmq_link *l)
{
    static const char *const can[] = {"publisher_confirms",           "basic.nack",         "consumer_cancel_notify",
                                      "exchange_exchange_bindings",   "connection.blocked", "per_consumer_qos",
                                      "authentication_failure_close", "consumer_priorities"};
    enum { CAN = sizeof(can) / sizeof(*can) };
    const struct rabbitmq_settings *s = &l->client->settings;
    amqp_table_entry_t capabilities[CAN];
    for (size_t i = 0; i < CAN; i++)
        capabilities[i] = (amqp_table_entry_t){bytes(can[i]), {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
    amqp_table_entry_t of_client[] = {
        entry("product", "leat"),
        entry("version", LEAT_VERSION),
        entry("connection_name", l->config.name),
        {bytes("capabilities"), {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {CAN, capabilities}}},
    };
    char response[2 * RABBITMQ_SHORT_MAX + 3] = "";
    int len = s->external ? 0 : snprintf(response, sizeof(response), "%c%s%c%s", 0, s->username, 0, s->password);
    amqp_connection_start_ok_t m = {
        .client_properties = {sizeof(of_client) / sizeof(*of_client), of_client},
        .mechanism = bytes(s->external ? "EXTERNAL" : "PLAIN"),
        .response = {(size_t)len, response},
        .locale = bytes("en_US"),
    };
    rabbitmq_send_method(l, 0, AMQP_CONNECTION_START_OK_METHOD, &m);
    explicit_bzero(response, sizeof(response));
}

static void on_start(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    const char *mechanism = l->client->settings.external ? "EXTERNAL" : "PLAIN";
    if (f->payload.len < 2 || !rabbitmq_table_good(slice_from(f->payload, 2))) {
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent a connection.start that cannot be read");
        return;
    }
    const amqp_connection_start_t *m = rabbitmq_decode(l, f->method, f->payload);
    if (!m)
        return;
    if (m->version_major != 0 || m->version_minor != 9) {
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "speaks AMQP %u-%u, and not 0-9", m->version_major,
                      m->version_minor);
        return;
    }
    take_server(l, &m->server_properties);
    if (!offers(rabbitmq_slice(m->mechanisms), mechanism)) {
        struct slice offered = rabbitmq_slice(m->mechanisms);
        rabbitmq_lose(l, ERR_DENIED, RABBITMQ_AUTHENTICATION, "does not take logins by %s, but by %.*s%s", mechanism,
                      (int)(offered.len < 100 ? offered.len : 100), offered.len ? offered.ptr : "",
                      l->client->settings.external ? "; give username and password, or enable its plugin "
                                                     "rabbitmq_auth_mechanism_ssl"
                                                   : "");
        return;
    }
    l->state = RABBITMQ_TUNING;
    send_start_ok(l);
}

/* ---- tune, open ---- */

static void on_tune(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    const struct rabbitmq_settings *s = &l->client->settings;
    const amqp_connection_tune_t *m = rabbitmq_decode(l, f->method, f->payload);
    if (!m)
        return;
    if (m->frame_max && m->frame_max < RABBITMQ_FRAME_MIN) {
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "wants frames of %u bytes; %u is AMQP's least", m->frame_max,
                      RABBITMQ_FRAME_MIN);
        return;
    }
    if (m->frame_max && m->frame_max < l->frame_max)
        l->frame_max = m->frame_max;
    l->server.channels_max = m->channel_max ? m->channel_max : UINT16_MAX;
    l->server.heartbeat_s = m->heartbeat && m->heartbeat < s->heartbeat_s ? m->heartbeat : s->heartbeat_s;
    amqp_connection_tune_ok_t ok = {
        .channel_max = l->server.channels_max, .frame_max = l->frame_max, .heartbeat = (uint16_t)l->server.heartbeat_s};
    amqp_connection_open_t open = {.virtual_host = bytes(s->vhost)};
    l->state = RABBITMQ_OPENING;
    rabbitmq_send_method(l, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok);
    rabbitmq_send_method(l, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
}

/* ---- close ---- */

/* What the server's words mean, by the moment at which it says them. */
static void lose_by_server(struct rabbitmq_link *l, unsigned code, struct slice said)
{
    const struct rabbitmq_settings *s = &l->client->settings;
    enum err e = rabbitmq_reply_err(code);
    int len = (int)(said.len < 300 ? said.len : 300);
    len -= len > 0 && said.ptr[len - 1] == '.'; /* ours goes on behind it */
    const char *user = s->external ? "(the name in the certificate)" : s->username;
    if (l->state == RABBITMQ_TUNING && e == ERR_DENIED && s->external)
        rabbitmq_lose(
            l, ERR_DENIED, RABBITMQ_AUTHENTICATION,
            "refuses the login by certificate: %.*s; it needs a user with the name in ssl.certificate, or give "
            "username and password",
            len, said.ptr);
    else if (l->state == RABBITMQ_TUNING && e == ERR_DENIED)
        rabbitmq_lose(l, ERR_DENIED, RABBITMQ_AUTHENTICATION,
                      "refuses the login of '%.60s': %.*s; check username and password", user, len, said.ptr);
    else if (l->state == RABBITMQ_OPENING &&
             (e == ERR_NOTFOUND || (said.len && memmem(said.ptr, said.len, "not found", 9))))
        rabbitmq_lose(l, ERR_NOTFOUND, RABBITMQ_VHOST,
                      "has no vhost '%.60s': %.*s; make it (rabbitmqctl add_vhost), or check the name", s->vhost, len,
                      said.ptr);
    else if (l->state == RABBITMQ_OPENING && e == ERR_DENIED)
        rabbitmq_lose(l, ERR_DENIED, RABBITMQ_ACCESS,
                      "refuses vhost '%.60s': %.*s; give '%.60s' its rights there (rabbitmqctl set_permissions)",
                      s->vhost, len, said.ptr, user);
    else
        rabbitmq_lose(l, e == OK ? ERR_UNAVAILABLE : e, e == ERR_PROTOCOL ? RABBITMQ_MISMATCH : RABBITMQ_DOWN,
                      "closed the connection (%u): %.*s", code, len, said.len ? said.ptr : "");
}

static void on_close(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    const amqp_connection_close_t *m = rabbitmq_decode(l, f->method, f->payload);
    amqp_connection_close_ok_t ok = {0};
    if (!m)
        return;
    rabbitmq_send_method(l, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    lose_by_server(l, m->reply_code, rabbitmq_slice(m->reply_text));
    l->why_code = m->reply_code;
}

void rabbitmq_login_close(struct rabbitmq_link *l)
{
    amqp_connection_close_t m = {.reply_code = AMQP_REPLY_SUCCESS, .reply_text = bytes("leat leaves")};
    rabbitmq_send_method(l, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
    l->state = RABBITMQ_LEAVING;
}

/* ---- blocked ---- */

static void on_blocked(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    const amqp_connection_blocked_t *m = rabbitmq_decode(l, f->method, f->payload);
    if (!m)
        return;
    struct slice said = rabbitmq_slice(m->reason);
    snprintf(l->blocked_why, sizeof(l->blocked_why), "%.*s", SLICE_ARG(said));
    for (char *c = l->blocked_why; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    l->blocked = true;
    rabbitmq_client_say(l->client, RABBITMQ_BLOCKED,
                        "RabbitMQ at %s takes no messages now (%s): it lacks memory or disk; senders get 503 until it "
                        "has room",
                        l->address_text, l->blocked_why);
    if (l->config.events->blocked)
        l->config.events->blocked(l->config.arg, l->blocked_why);
}

static void on_unblocked(struct rabbitmq_link *l)
{
    if (!l->blocked)
        return;
    l->blocked = false;
    rabbitmq_client_say(l->client, RABBITMQ_UNBLOCKED, "RabbitMQ at %s takes messages again", l->address_text);
    if (l->config.events->blocked)
        l->config.events->blocked(l->config.arg, NULL);
}

/* ---- which method when ---- */

static bool expected(const struct rabbitmq_link *l, uint32_t method)
{
    switch (method) {
    case AMQP_CONNECTION_START_METHOD:
        return l->state == RABBITMQ_STARTING;
    case AMQP_CONNECTION_TUNE_METHOD:
        return l->state == RABBITMQ_TUNING;
    case AMQP_CONNECTION_OPEN_OK_METHOD:
        return l->state == RABBITMQ_OPENING;
    case AMQP_CONNECTION_BLOCKED_METHOD:
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        return l->state >= RABBITMQ_OPENING;
    case AMQP_CONNECTION_CLOSE_METHOD:
        return true;
    case AMQP_CONNECTION_CLOSE_OK_METHOD:
        return l->state == RABBITMQ_LEAVING;
    default:
        return false;
    }
}

void rabbitmq_login_method(struct rabbitmq_link *l, const struct rabbitmq_frame *f)
{
    if (!expected(l, f->method)) {
        rabbitmq_lose(l, ERR_PROTOCOL, RABBITMQ_MISMATCH, "sent method %u.%u of AMQP, which does not belong here",
                      f->method >> 16, f->method & 0xffff);
        return;
    }
    switch (f->method) {
    case AMQP_CONNECTION_START_METHOD:
        on_start(l, f);
        break;
    case AMQP_CONNECTION_TUNE_METHOD:
        on_tune(l, f);
        break;
    case AMQP_CONNECTION_OPEN_OK_METHOD:
        rabbitmq_opened(l);
        break;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        on_blocked(l, f);
        break;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        on_unblocked(l);
        break;
    case AMQP_CONNECTION_CLOSE_METHOD:
        on_close(l, f);
        break;
    default: /* close-ok */
        rabbitmq_lose(l, ERR_CLOSED, RABBITMQ_DOWN, "is left");
        break;
    }
}
