/* SPDX-License-Identifier: Apache-2.0
 *
 * What the library has to say, and whether a broker is there.
 *
 * Its lines come by the log callback, on whatever thread they arise; only their text tells what happened, so causes are
 * told apart by the words of librdkafka (the tests hold them to the library that is installed). Failures of connections
 * are no lines of ours, they are kept as the reason of what follows.
 *
 * Up and down come from the states of connections, by an interceptor:
 *
 *     INIT | TRY_CONNECT → CONNECT → SSL_HANDSHAKE → APIVERSION_QUERY → AUTH_* → UP ⇄ UPDATE → DOWN → INIT ...
 *     idle                 connecting                                            up            idle
 *
 * Down: an attempt to connect failed while no connection, of any handle, is up; to be up and closed at once by a
 * listener that wants another protocol is a failure, too. A connection that was up and is closed
 * says nothing, brokers close idle ones; the library tries again at once where it needs one. Up: a connection is.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include "kafka_private.h"
#include "text.h"

#define MINUTE_NS (60 * NS_PER_S)
#define PROVEN_NS (2 * NS_PER_S) /* a listener that wants SASL closes the first request after the handshake */
#define TRUSTED_NS MINUTE_NS     /* one that worked does not begin to want something else; a broker starts within it */

/* As a bus tells them (bus.h). */
enum { SEVERITY_INFO, SEVERITY_WARN, SEVERITY_ERROR };

static const struct {
    const char *code;
    int severity;
} causes[KAFKA_CAUSE_COUNT] = {
    [KAFKA_BROKERS_DOWN] = {"BrokersDown", SEVERITY_WARN},
    [KAFKA_BROKER_UP] = {"BrokerUp", SEVERITY_INFO},
    [KAFKA_UNREACHABLE] = {"BrokerUnreachable", SEVERITY_WARN},
    [KAFKA_UNKNOWN_ADDRESS] = {"BrokerAddressUnknown", SEVERITY_WARN},
    [KAFKA_AUTHENTICATION] = {"AuthenticationFailed", SEVERITY_ERROR},
    [KAFKA_TOKEN_FAILED] = {"TokenFailed", SEVERITY_ERROR},
    [KAFKA_TLS] = {"TlsFailed", SEVERITY_ERROR},
    [KAFKA_PROTOCOL_MISMATCH] = {"ProtocolMismatch", SEVERITY_WARN}, /* perhaps: a broker at its start looks the same */
    [KAFKA_FATAL] = {"ClientFailed", SEVERITY_ERROR},
    [KAFKA_OTHER] = {"KafkaWarning", SEVERITY_WARN},
};

/* The first that occurs in the text. Connections that were closed say nothing that their state does not. */
static const struct {
    const char *words;
    enum kafka_cause cause;
} words_of[] = {
    {"Fatal error", KAFKA_FATAL},
    {"OAUTHBEARER token", KAFKA_TOKEN_FAILED},
    {"SSL handshake failed", KAFKA_TLS},
    {"SSL routines", KAFKA_TLS}, /* an alert behind the handshake: the broker does not take our certificate */
    {"security.protocol", KAFKA_PROTOCOL_MISMATCH},
    {"SASL", KAFKA_AUTHENTICATION},
    {"ApiVersion", KAFKA_PROTOCOL_MISMATCH},
    {"Failed to resolve", KAFKA_UNKNOWN_ADDRESS},
    {"Connect to ", KAFKA_UNREACHABLE},
    {"Connection setup timed out", KAFKA_UNREACHABLE},
    {"timed out", KAFKA_UNREACHABLE},
    {"Disconnected", KAFKA_UNREACHABLE},
    {"Receive failed", KAFKA_UNREACHABLE},
    {"Send failed", KAFKA_UNREACHABLE},
    {"brokers are down", KAFKA_UNREACHABLE},
};

static enum kafka_cause cause_of(const char *text)
{
    for (size_t i = 0; i < sizeof(words_of) / sizeof(*words_of); i++)
        if (strstr(text, words_of[i].words))
            return words_of[i].cause;
    return KAFKA_OTHER;
}

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

/* ---- telling ---- */

static void tell(struct kafka_client *k, enum kafka_cause cause, char *text)
{
    unsigned held = 0;
    kafka_settings_hide(&k->settings, text);
    pthread_mutex_lock(&k->watch.lock);
    bool told = told_admit(&k->watch.told[cause], text, KAFKA_NOTICES_A_MINUTE, now_ns(), &held);
    pthread_mutex_unlock(&k->watch.lock);
    if (!told || !k->events.notice)
        return;
    char whole[900];
    if (held) {
        snprintf(whole, sizeof(whole), "%s (%u more like it since the last line)", text, held);
        text = whole;
    }
    k->events.notice(k->events.arg, causes[cause].severity, causes[cause].code, text);
}

void kafka_client_say(struct kafka_client *k, enum kafka_cause cause, const char *format, ...)
{
    char text[800];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell(k, cause, text);
}

/* ---- lines of the library ---- */

/* Without the handle's name before and the state behind: "leat#producer-1: ssl://h:1/bootstrap: X (after 2ms in state
 * CONNECT)" becomes "ssl://h:1/bootstrap: X", the same for every handle and time. */
static void shorten(const char *text, char *out, size_t size)
{
    const char *name = strncmp(text, "leat#", 5) == 0 ? strstr(text, ": ") : NULL;
    snprintf(out, size, "%s", name ? name + 2 : text);
    char *behind = strstr(out, " (after ");
    if (behind)
        *behind = '\0';
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

#define SCRAM_RIGHT_VERSION 0x020601ff /* before it the client's nonce was sent twice; Kafka 4 compares (RFC 5802) */

static void advise(const struct kafka_client *k, enum kafka_cause cause, char *out, size_t size)
{
    const char *mechanism = k->settings.value[KAFKA_MECHANISM];
    *out = '\0';
    if (cause == KAFKA_TLS)
        snprintf(out, size, ": check ssl.ca, ssl.certificate and ssl.key, and that the port speaks TLS");
    else if (cause == KAFKA_PROTOCOL_MISMATCH)
        snprintf(out, size, ": check security.protocol and the port");
    else if (cause == KAFKA_AUTHENTICATION && mechanism && strncmp(mechanism, "SCRAM", 5) == 0 &&
             rd_kafka_version() < SCRAM_RIGHT_VERSION)
        snprintf(out, size, ": check the credentials; with %s, Kafka 4 needs librdkafka 2.6.1 or later, and this is %s",
                 mechanism, rd_kafka_version_str());
    else if (cause == KAFKA_AUTHENTICATION)
        snprintf(out, size, ": check sasl.mechanism and the credentials");
}

static bool about(const char *text, const struct kafka_broker *b)
{
    char address[300];
    snprintf(address, sizeof(address), "%s:%d", b->name, b->port);
    return strstr(text, address);
}

/* Under the lock. */
static void note_working(struct kafka_broker *b, uint64_t now)
{
    if (b->state == KAFKA_UP && !b->mismatch && now - b->up_ns > PROVEN_NS)
        b->worked_ns = now;
}

/* Whether this listener, as any handle knows it, worked just now with these settings. */
static bool worked(struct kafka_watch *w, const char *text)
{
    bool did = false;
    uint64_t now = now_ns();
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->count; i++) {
        struct kafka_broker *b = &w->brokers[i];
        note_working(b, now);
        did = did || (b->worked_ns && now - b->worked_ns < TRUSTED_NS && about(text, b));
    }
    pthread_mutex_unlock(&w->lock);
    return did;
}

/* Of a connection that is closed early the library guesses that the listener wants TLS or SASL: "X: Disconnected:
 * verify that ...", which a broker that is killed or starts brings about, too. Where it worked before, only the fact
 * is left. */
static enum kafka_cause without_guess(struct kafka_watch *w, enum kafka_cause cause, char *text)
{
    static const char fact[] = "Disconnected";
    char *at = strstr(text, fact);
    if ((cause != KAFKA_PROTOCOL_MISMATCH && cause != KAFKA_AUTHENTICATION) || !at || !worked(w, text))
        return cause;
    at[sizeof(fact) - 1] = '\0';
    return KAFKA_UNREACHABLE;
}

static void note_failure(struct kafka_watch *w, const void *handle, enum kafka_cause cause, const char *text)
{
    pthread_mutex_lock(&w->lock);
    snprintf(w->reason, sizeof(w->reason), "%.310s", text);
    for (size_t i = 0; i < w->count; i++) {
        struct kafka_broker *b = &w->brokers[i];
        if (b->handle == handle && about(text, b)) {
            b->failed = true;
            b->mismatch = b->mismatch || (cause == KAFKA_PROTOCOL_MISMATCH && b->state == KAFKA_UP);
        }
    }
    pthread_mutex_unlock(&w->lock);
}

static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *line)
{
    struct kafka_client *k = handle ? rd_kafka_opaque(handle) : NULL;
    /* A mock cluster; what is tried again by itself; what a failure says in whole right after; and what librdkafka
     * thinks of our own settings (who may be set by users is checked before). */
    static const char *const passed_over[] = {"MOCK", "GETPID", "SSL", "CONFWARN"};
    char text[520], advice[200];
    if (!k)
        return;
    for (size_t i = 0; i < sizeof(passed_over) / sizeof(*passed_over); i++)
        if (strcmp(facility, passed_over[i]) == 0)
            return;
    shorten(line, text, sizeof(text));
    enum kafka_cause cause = without_guess(&k->watch, cause_of(text), text);
    kafka_settings_hide(&k->settings, text);
    if (strcmp(facility, "FAIL") == 0 || cause == KAFKA_TOKEN_FAILED)
        note_failure(&k->watch, handle, cause, text);
    if (level > LOG_WARNING && cause != KAFKA_PROTOCOL_MISMATCH) /* that one comes as information */
        return;
    if (cause == KAFKA_UNREACHABLE)
        return;
    advise(k, cause, advice, sizeof(advice));
    kafka_client_say(k, cause, "%s%s", text, advice);
}

/* ---- connections ---- */

/* Where the pointer to it stands, or would stand. */
static struct kafka_handle **place_of(struct kafka_watch *w, const void *handle)
{
    struct kafka_handle **at = &w->handles;
    while (*at && (*at)->handle != handle)
        at = &(*at)->next;
    return at;
}

static bool same(const struct kafka_broker *b, const void *handle, const char *name, int port)
{
    return b->handle == handle && b->port == port && strcmp(b->name, name) == 0;
}

/* A broker has a number once metadata told it; librdkafka up to 2.10 or so then gives it to the one of
 * bootstrap.servers, later versions have another one beside it for the same address. */
static struct kafka_broker *find(struct kafka_watch *w, const void *handle, const char *name, int port, int32_t id)
{
    struct kafka_broker *other = NULL;
    for (size_t i = 0; i < w->count; i++) {
        struct kafka_broker *b = &w->brokers[i];
        if (!same(b, handle, name, port))
            continue;
        if (b->id == id)
            return b;
        if (b->id == -1 || (!other && b->state != KAFKA_UP))
            other = b;
    }
    if (other)
        other->id = id;
    return other;
}

/* Without memory it is not known, which at worst leaves the word "down" standing. */
static void add(struct kafka_watch *w, const void *handle, const char *name, int port, int32_t id)
{
    for (size_t i = 0; i < w->count; i++)
        if (same(&w->brokers[i], handle, name, port) && w->brokers[i].id == id)
            return;
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 8;
        struct kafka_broker *grown = realloc(w->brokers, room * sizeof(*grown));
        if (!grown)
            return;
        w->brokers = grown;
        w->room = room;
    }
    char *copy = strdup(name);
    if (copy)
        w->brokers[w->count++] = (struct kafka_broker){.handle = handle, .name = copy, .port = port, .id = id};
}

static bool any_up(const struct kafka_watch *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->brokers[i].state == KAFKA_UP)
            return true;
    return false;
}

/* Under the lock. What there is to tell: BROKERS_DOWN, BROKER_UP, UNREACHABLE, or OTHER for nothing. */
static enum kafka_cause closed(struct kafka_watch *w, struct kafka_broker *b, uint64_t now)
{
    bool failed = b->failed && (b->state == KAFKA_CONNECTING || b->mismatch);
    note_working(b, now);
    b->state = KAFKA_IDLE;
    if (!failed)
        return KAFKA_OTHER;
    if (any_up(w))
        return KAFKA_UNREACHABLE;
    if (w->down)
        return KAFKA_OTHER;
    w->down = true;
    w->down_ns = now;
    w->down_wall_ns = clock_wall_ns(clock_system());
    return KAFKA_BROKERS_DOWN;
}

static enum kafka_cause opened(struct kafka_watch *w, struct kafka_broker *b, uint64_t now, uint64_t *for_ns)
{
    bool was_down = w->down;
    b->state = KAFKA_UP;
    b->up_ns = now;
    b->failed = false;
    if (b->mismatch)
        return KAFKA_OTHER;
    w->answered = true;
    w->down = false;
    w->reason[0] = '\0';
    *for_ns = now - w->down_ns;
    return was_down ? KAFKA_BROKER_UP : KAFKA_OTHER;
}

static enum kafka_cause changed(struct kafka_watch *w, struct kafka_broker *b, const char *state, uint64_t now,
                                uint64_t *for_ns)
{
    if (strcmp(state, "DOWN") == 0 || strcmp(state, "INIT") == 0 || strcmp(state, "TRY_CONNECT") == 0)
        return closed(w, b, now);
    if (strcmp(state, "UP") == 0)
        return b->state == KAFKA_UP ? KAFKA_OTHER : opened(w, b, now, for_ns);
    if (b->state == KAFKA_IDLE) {
        b->state = KAFKA_CONNECTING;
        b->failed = false;
    }
    return KAFKA_OTHER;
}

static void say_up(struct kafka_client *k, uint64_t for_ns)
{
    kafka_client_say(k, KAFKA_BROKER_UP, "a broker of %.200s answers again, after %.1f s",
                     k->settings.value[KAFKA_SERVERS], (double)for_ns / 1e9);
}

static rd_kafka_resp_err_t on_state(rd_kafka_t *handle, int32_t id, const char *protocol, const char *name, int port,
                                    const char *state, void *arg)
{
    struct kafka_client *k = arg;
    struct kafka_watch *w = &k->watch;
    enum kafka_cause cause = KAFKA_OTHER;
    uint64_t now = now_ns(), for_ns = 0;
    char reason[sizeof(w->reason)];
    (void)protocol;
    if (port == 0) /* the library's own: its queue, or a coordinator, which is one of the others */
        return RD_KAFKA_RESP_ERR_NO_ERROR;

    pthread_mutex_lock(&w->lock);
    bool live = *place_of(w, handle);
    if (live && strcmp(state, "INIT") == 0)
        add(w, handle, name, port, id);
    struct kafka_broker *b = live ? find(w, handle, name, port, id) : NULL;
    if (b)
        cause = changed(w, b, state, now, &for_ns);
    memcpy(reason, w->reason, sizeof(reason));
    pthread_mutex_unlock(&w->lock);

    const char *servers = k->settings.value[KAFKA_SERVERS];
    if (cause == KAFKA_BROKERS_DOWN)
        kafka_client_say(k, cause, "no broker of %.200s answers%s%s; it is tried again at least every 15 s", servers,
                         *reason ? ": " : "", reason);
    else if (cause == KAFKA_BROKER_UP)
        say_up(k, for_ns);
    else if (cause == KAFKA_UNREACHABLE && *reason)
        kafka_client_say(k, cause, "a broker does not answer: %s", reason);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Its brokers are forgotten; what states they go through from here on says nothing. */
static rd_kafka_resp_err_t on_destroy(rd_kafka_t *handle, void *arg)
{
    struct kafka_watch *w = &((struct kafka_client *)arg)->watch;
    pthread_mutex_lock(&w->lock);
    struct kafka_handle **at = place_of(w, handle), *gone = *at;
    if (gone)
        *at = gone->next;
    free(gone);
    for (size_t i = 0; i < w->count;)
        if (w->brokers[i].handle == handle) {
            free(w->brokers[i].name);
            w->brokers[i] = w->brokers[--w->count];
        } else {
            i++;
        }
    pthread_mutex_unlock(&w->lock);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *arg, char *text, size_t size)
{
    struct kafka_watch *w = &((struct kafka_client *)arg)->watch;
    struct kafka_handle *h = calloc(1, sizeof(*h));
    (void)conf, (void)text, (void)size;
    if (!h)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    pthread_mutex_lock(&w->lock);
    *h = (struct kafka_handle){handle, w->handles};
    w->handles = h;
    pthread_mutex_unlock(&w->lock);
    rd_kafka_resp_err_t e = rd_kafka_interceptor_add_on_broker_state_change(handle, "leat", on_state, arg);
    return e ? e : rd_kafka_interceptor_add_on_destroy(handle, "leat", on_destroy, arg);
}

enum err kafka_watch_add(struct kafka_client *k, rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_log_cb(conf, on_log);
    return rd_kafka_conf_interceptor_add_on_new(conf, "leat", on_new, k) == RD_KAFKA_RESP_ERR_NO_ERROR ? OK : ERR_NOMEM;
}

enum err kafka_watch_init(struct kafka_watch *w)
{
    return pthread_mutex_init(&w->lock, NULL) == 0 ? OK : ERR_NOMEM;
}

void kafka_watch_fini(struct kafka_watch *w)
{
    assert(!w->handles); /* kafka_client.h: every handle made of it has been destroyed */
    for (size_t i = 0; i < w->count; i++)
        free(w->brokers[i].name);
    free(w->brokers);
    pthread_mutex_destroy(&w->lock);
}

bool kafka_client_failed(struct kafka_client *k)
{
    struct kafka_watch *w = &k->watch;
    pthread_mutex_lock(&w->lock);
    bool failed = (!w->answered || w->down) && *w->reason;
    pthread_mutex_unlock(&w->lock);
    return failed;
}

/* Under the lock: one that said that we speak to it in the wrong way is believed when it has kept the connection. True
 * when that ends an outage. */
static bool believe(struct kafka_watch *w, uint64_t now, uint64_t *for_ns)
{
    bool ended = false;
    for (size_t i = 0; i < w->count; i++) {
        struct kafka_broker *b = &w->brokers[i];
        if (b->mismatch && b->state == KAFKA_UP && now - b->up_ns > PROVEN_NS) {
            b->mismatch = false;
            ended = opened(w, b, now, for_ns) == KAFKA_BROKER_UP || ended;
        }
    }
    return ended;
}

/* Since when, not for how long: the same text as long as it lasts, so that who tells what is new tells it once. */
static void say_down(const struct kafka_watch *w, char *why, size_t size)
{
    struct buf since;
    buf_init(&since, 40);
    rfc3339_put(&since, w->down_wall_ns, 0);
    snprintf(why, size, "no broker answers since %.*s", (int)since.len, since.ptr ? since.ptr : "");
    buf_fini(&since);
}

bool kafka_client_up(struct kafka_client *k, char *why, size_t size)
{
    struct kafka_watch *w = &k->watch;
    uint64_t for_ns = 0;
    pthread_mutex_lock(&w->lock);
    bool ended = believe(w, now_ns(), &for_ns), up = w->answered && !w->down;
    char since[80] = "no broker has answered yet";
    if (!up && why && w->down)
        say_down(w, since, sizeof(since));
    if (!up && why)
        snprintf(why, size, "%s%s%s", since, *w->reason ? ": " : "", w->reason);
    pthread_mutex_unlock(&w->lock);
    if (ended)
        say_up(k, for_ns);
    return up;
}
