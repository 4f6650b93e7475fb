/* SPDX-License-Identifier: Apache-2.0
 *
 * Which node and as whom; what there is to say of its links, and whether they are connected.
 *
 * Each link tells how it goes; the client counts those that have failed and are not connected again. The first of them
 * is told as BrokerDown (or by its own cause, when that is a mistake somebody must repair), the last one that is back
 * as BrokerUp.
 */
#include <assert.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "rabbitmq_link.h"
#include "rabbitmq_private.h"
#include "text.h"

/* As a bus tells them (bus.h). */
enum { SEVERITY_INFO, SEVERITY_WARN, SEVERITY_ERROR };

static const struct {
    const char *code;
    int severity;
} causes[RABBITMQ_CAUSE_COUNT] = {
    [RABBITMQ_DOWN] = {"BrokerDown", SEVERITY_WARN},
    [RABBITMQ_UP] = {"BrokerUp", SEVERITY_INFO},
    [RABBITMQ_UNKNOWN_ADDRESS] = {"BrokerAddressUnknown", SEVERITY_WARN},
    [RABBITMQ_AUTHENTICATION] = {"AuthenticationFailed", SEVERITY_ERROR},
    [RABBITMQ_ACCESS] = {"AccessRefused", SEVERITY_ERROR},
    [RABBITMQ_VHOST] = {"VhostNotFound", SEVERITY_ERROR},
    [RABBITMQ_TLS] = {"TlsFailed", SEVERITY_ERROR},
    [RABBITMQ_MISMATCH] = {"ProtocolMismatch", SEVERITY_ERROR},
    [RABBITMQ_BLOCKED] = {"BrokerBlocked", SEVERITY_WARN},
    [RABBITMQ_UNBLOCKED] = {"BrokerUnblocked", SEVERITY_INFO},
};

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

/* ---- life ---- */

static void client_free(struct rabbitmq_client *k)
{
    assert(k->links_up == 0 && k->links_failed == 0); /* each holds a reference */
    rabbitmq_tls_free(k->tls);
    rabbitmq_settings_fini(&k->settings);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static void name_it(struct rabbitmq_client *k)
{
    const struct rabbitmq_settings *s = &k->settings;
    size_t len = (size_t)snprintf(k->where, sizeof(k->where), "RabbitMQ at");
    for (size_t i = 0; i < s->host_count && len < sizeof(k->where); i++) {
        const char *name = s->hosts[i].name;
        bool v6 = strchr(name, ':');
        len += (size_t)snprintf(k->where + len, sizeof(k->where) - len, "%s%s%s%s:%u", i ? ", " : " ", v6 ? "[" : "",
                                name, v6 ? "]" : "", s->hosts[i].port);
    }
}

enum err rabbitmq_client_new(const struct rabbitmq_client_param *params, size_t count,
                             const struct rabbitmq_client_events *events, struct rabbitmq_client **out, struct diag *d)
{
    struct rabbitmq_settings s;
    enum err e = rabbitmq_settings_read(params, count, &s, d);
    if (e)
        return e;
    struct rabbitmq_client *k = calloc(1, sizeof(*k));
    if (!k || pthread_mutex_init(&k->lock, NULL)) {
        rabbitmq_settings_fini(&s);
        free(k);
        return ERR_NOMEM;
    }
    atomic_init(&k->refs, 1);
    k->settings = s;
    k->connect_ms = RABBITMQ_CONNECT_MS;
    k->answer_ms = RABBITMQ_ANSWER_MS;
    k->farewell_ms = RABBITMQ_FAREWELL_MS;
    k->stall_ms = RABBITMQ_STALL_MS;
    k->close_ms = RABBITMQ_CLOSE_MS;
    k->retry_ms_max = RABBITMQ_RETRY_MS_MAX;
    k->resolve = getaddrinfo;
    if (events)
        k->events = *events;
    name_it(k);
    e = s.tls ? rabbitmq_tls_new(&k->settings, &k->tls, d) : OK;
    if (e)
        client_free(k);
    else
        *out = k;
    return e;
}

struct rabbitmq_client *rabbitmq_client_ref(struct rabbitmq_client *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

struct rabbitmq_client *rabbitmq_client_unref(struct rabbitmq_client *k)
{
    if (k && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
        client_free(k);
    return NULL;
}

/* ---- telling ---- */

static void tell(struct rabbitmq_client *k, enum rabbitmq_cause cause, char *text)
{
    unsigned held = 0;
    rabbitmq_settings_hide(&k->settings, text);
    pthread_mutex_lock(&k->lock);
    bool told = told_admit(&k->told[cause], text, RABBITMQ_NOTICES_A_MINUTE, now_ns(), &held);
    pthread_mutex_unlock(&k->lock);
    if (!told || !k->events.notice)
        return;
    char whole[900];
    if (held) {
        snprintf(whole, sizeof(whole), "%s (%u more like it since the last line)", text, held);
        text = whole;
    }
    k->events.notice(k->events.arg, causes[cause].severity, causes[cause].code, text);
}

void rabbitmq_client_say(struct rabbitmq_client *k, enum rabbitmq_cause cause, const char *format, ...)
{
    char text[800];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell(k, cause, text);
}

void rabbitmq_client_failing(struct rabbitmq_client *k, bool *failed, bool was_up, enum rabbitmq_cause cause,
                             const char *why)
{
    pthread_mutex_lock(&k->lock);
    bool first = k->links_failed == 0;
    if (!*failed)
        k->links_failed++;
    *failed = true;
    if (was_up)
        k->links_up--;
    if (first) {
        k->down_ns = now_ns();
        k->down_wall_ns = clock_wall_ns(clock_system());
    }
    snprintf(k->reason, sizeof(k->reason), "%s", why);
    rabbitmq_settings_hide(&k->settings, k->reason);
    bool say_down = first && cause == RABBITMQ_DOWN;
    k->said_down = k->said_down || say_down || cause != RABBITMQ_DOWN;
    pthread_mutex_unlock(&k->lock);
    if (say_down)
        rabbitmq_client_say(k, RABBITMQ_DOWN, "%s; it is tried again at least every 3 s", why);
    else if (cause != RABBITMQ_DOWN)
        rabbitmq_client_say(k, cause, "%s", why);
}

void rabbitmq_client_connected(struct rabbitmq_client *k, bool *failed)
{
    pthread_mutex_lock(&k->lock);
    bool back = *failed && --k->links_failed == 0 && k->said_down;
    uint64_t for_ns = now_ns() - k->down_ns;
    *failed = false;
    k->links_up++;
    if (back)
        k->said_down = false;
    pthread_mutex_unlock(&k->lock);
    if (back)
        rabbitmq_client_say(k, RABBITMQ_UP, "%s answers again, after %.1f s", k->where, (double)for_ns / 1e9);
}

void rabbitmq_client_left(struct rabbitmq_client *k, bool *failed, bool was_up)
{
    pthread_mutex_lock(&k->lock);
    if (*failed)
        k->links_failed--;
    *failed = false;
    if (was_up)
        k->links_up--;
    pthread_mutex_unlock(&k->lock);
}

/* ---- asked ---- */

/* Since when, not for how long: the same text as long as it lasts, so that who tells what is new tells it once. Under
 * the lock. */
static void say_why(const struct rabbitmq_client *k, char *why, size_t size)
{
    struct buf since;
    buf_init(&since, 40);
    if (k->links_failed)
        rfc3339_put(&since, k->down_wall_ns, 0);
    if (since.len)
        snprintf(why, size, "since %.*s: %s", (int)since.len, since.ptr, k->reason);
    else
        snprintf(why, size, "%s has not answered yet", k->where);
    buf_fini(&since);
}

bool rabbitmq_client_up(struct rabbitmq_client *k, char *why, size_t size)
{
    pthread_mutex_lock(&k->lock);
    bool up = k->links_up && !k->links_failed;
    if (!up && why)
        say_why(k, why, size);
    pthread_mutex_unlock(&k->lock);
    return up;
}

bool rabbitmq_client_failed(struct rabbitmq_client *k)
{
    pthread_mutex_lock(&k->lock);
    bool failed = k->links_failed;
    pthread_mutex_unlock(&k->lock);
    return failed;
}

/* ---- errors ---- */

enum err rabbitmq_reply_err(unsigned code)
{
    switch (code) {
    case 200:
        return OK;
    case 311: /* content too large */
        return ERR_TOO_LARGE;
    case 402: /* invalid path: no such vhost, of old servers */
    case 404:
        return ERR_NOTFOUND;
    case 403: /* access refused */
    case 530: /* not allowed */
        return ERR_DENIED;
    case 405: /* resource locked */
    case 406: /* precondition failed */
        return ERR_CONFLICT;
    case 540: /* not implemented */
        return ERR_UNSUPPORTED;
    case 501: /* frame error */
    case 502: /* syntax error */
    case 503: /* command invalid */
    case 504: /* channel error */
    case 505: /* unexpected frame */
        return ERR_PROTOCOL;
    default: /* 312 no route, 313 no consumers, 320 connection forced, 506 resource error, 541 internal error */
        return ERR_UNAVAILABLE;
    }
}
