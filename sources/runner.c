/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs one source alone: server, client, sink and registration on one loop, on the program's only thread.
 *
 * The end: a signal stops the listener and drains; the source closes (what was begun is finished); the registration
 * stops; the loop stops. A second signal, or DRAIN_NS, cuts what is left.
 */
#include "runner.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "buf.h"
#include "http_sink.h"
#include "log.h"

#define DRAIN_NS (10 * NS_PER_S) /* more than a webhook takes at most; less than the 30 s that Kubernetes gives */
#define REPORT_NS (1 * NS_PER_S)
#define END_TURNS 100 /* after a start that failed: as long as a source takes at the most */
#define END_TURN_NS (100 * NS_PER_MS)
#define MAILBOX_LIMIT 1024
#define METRICS_MAX 65536

struct runner {
    const struct runner_program *program;
    struct runner_config config;
    struct loop *loop;
    struct http_client *client;
    struct sink *sink;
    struct source *source, *last;
    struct list common;
    struct source_registration *registration;
    struct source_counters counters, reported;
    uint64_t place_kept;
    char last_failure[200]; /* the source's, once it has gone */
    char trouble[400];      /* what the source told of how it stands; empty: all is well */
    bool state_broken;      /* the state could not be written; told once */
    struct http_server *server, *health_server;
    struct http_listener *listener, *health_listener;
    struct loop_watch signals;
    struct loop_timer report, cut;
    bool draining, registration_ready;
    char ca_path[64]; /* empty: the system's */
    int ca_fd;
};

/* ---- webhooks: every path leads to the source ---- */

static void webhook_head(struct http_request *r, void *arg)
{
    struct runner *u = arg;
    if (u->source)
        u->program->ops->http_head(u->source, r);
    else
        http_respond_text(r, 503, "The source is going away.");
}

static void webhook_data(struct http_request *r, struct slice piece)
{
    struct source_request *q = http_request_state(r);
    if (q && q->source->ops->http_data)
        q->source->ops->http_data(q->source, r, piece);
}

static void webhook_end(struct http_request *r)
{
    struct source_request *q = http_request_state(r);
    if (q)
        q->source->ops->http_end(q->source, r);
}

static void webhook_close(struct http_request *r)
{
    struct source_request *q = http_request_state(r);
    if (q)
        q->source->ops->http_close(q->source, r);
}

static const struct http_handler webhook_handler = {webhook_head, webhook_data, webhook_end, webhook_close};

/* ---- health ---- */

static uint64_t read_counter(const uint64_t *c)
{
    return __atomic_load_n(c, __ATOMIC_RELAXED);
}

/* Label values: names of resources, but whoever starts the program may write anything. */
static void put_label(struct buf *b, const char *value)
{
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_put_char(b, '\\');
        if (*value == '\n')
            buf_put_str(b, "\\n");
        else
            buf_put_char(b, *value);
    }
}

static void put_sample(const struct runner *u, struct buf *b, const char *name, const char *extra, uint64_t value)
{
    buf_printf(b, "%s{source=\"%s\",namespace=\"", name, u->program->ops->name);
    put_label(b, u->config.spec.namespace_name);
    buf_put_str(b, "\",name=\"");
    put_label(b, u->config.spec.name);
    buf_printf(b, "\"%s} ", extra);
    buf_put_u64(b, value);
    buf_put_char(b, '\n');
}

static void put_metrics(const struct runner *u, struct buf *b)
{
    const struct source_counters *c = &u->counters;
    const struct {
        const char *name, *help, *extra;
        uint64_t value;
    } lines[] = {
        {"leat_source_received_total", "Requests that came to the source, or times of its schedule.", "",
         read_counter(&c->received)},
        {"leat_source_emitted_total", "Events that the sink accepted.", "", read_counter(&c->emitted)},
        {"leat_source_refused_total", "Requests refused, by reason.", ",reason=\"signature\"",
         read_counter(&c->refused_signature)},
        {"leat_source_refused_total", NULL, ",reason=\"invalid\"", read_counter(&c->refused_invalid)},
        {"leat_source_ignored_total", "Webhooks of events that the source is not to take.", "",
         read_counter(&c->ignored)},
        {"leat_source_failed_total", "Events that were not delivered to the sink.", "", read_counter(&c->failed)},
        {"leat_source_missed_total", "Times of its schedule that passed without an event.", "",
         read_counter(&c->missed)},
        {"leat_source_restarts_total", "How often the command that the source runs was started again.", "",
         read_counter(&c->restarts)},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i].help)
            buf_printf(b, "# HELP %s %s\n# TYPE %s counter\n", lines[i].name, lines[i].help, lines[i].name);
        put_sample(u, b, lines[i].name, lines[i].extra, lines[i].value);
    }
}

static void health_head(struct http_request *r, void *arg)
{
    struct runner *u = arg;
    struct slice path = http_request_path(r);
    if (!slice_eq_str(http_request_method(r), "GET")) {
        static const struct http_header allow = {SLICE_INIT("Allow"), SLICE_INIT("GET")};
        http_respond(r, 405, &allow, 1, SLICE(""));
    } else if (slice_eq_str(path, "/livez") || slice_eq_str(path, "/healthz")) {
        http_respond_text(r, 200, "ok");
    } else if (slice_eq_str(path, "/readyz")) {
        const char *why = u->draining ? "draining" : u->trouble;
        http_respond_text(r, *why ? 503 : 200, "%s", *why ? why : "ok");
    } else if (slice_eq_str(path, "/metrics")) {
        struct buf b;
        buf_init(&b, METRICS_MAX);
        put_metrics(u, &b);
        static const struct http_header type = {SLICE_INIT("Content-Type"),
                                                SLICE_INIT("text/plain; version=0.0.4; charset=utf-8")};
        bool good = buf_error(&b) == OK;
        http_respond(r, good ? 200 : 503, &type, 1, good ? buf_slice(&b) : SLICE(""));
        buf_fini(&b);
    } else {
        http_respond_text(r, 404, "Here are /livez, /readyz and /metrics.");
    }
}

/* A body was never allowed, so `end` comes only to requests that head has answered. */
static void health_end(struct http_request *r)
{
    (void)r;
}

static const struct http_handler health_handler = {health_head, NULL, health_end, NULL};

/* ---- reports ---- */

/* Why an event was last not delivered; the source may have gone meanwhile. */
static const char *last_failure(struct runner *u)
{
    const struct source_ops *ops = u->program->ops;
    if (u->source && ops->last_failure)
        snprintf(u->last_failure, sizeof u->last_failure, "%s", ops->last_failure(u->source));
    return u->last_failure[0] ? u->last_failure : "the source ended before the sink had answered";
}

/* Once a second, and only when something went wrong since the last time: never a line per webhook. */
static void report_trouble(struct runner *u)
{
    struct source_counters now = u->counters;
    const char *last = now.failed == u->reported.failed ? "" : last_failure(u);
    if (now.refused_signature != u->reported.refused_signature || now.refused_invalid != u->reported.refused_invalid ||
        now.failed != u->reported.failed)
        log_line(LOG_WARN, "source.report",
                 "received=%llu emitted=%llu refused_signature=%llu refused_invalid=%llu ignored=%llu failed=%llu "
                 "sink=%s last_failure=%s",
                 (unsigned long long)now.received, (unsigned long long)now.emitted,
                 (unsigned long long)now.refused_signature, (unsigned long long)now.refused_invalid,
                 (unsigned long long)now.ignored, (unsigned long long)now.failed, log_value(u->config.sink),
                 log_value(last));
    u->reported = now;
}

/* A state that cannot be written is told once, and tried again with the next place. */
static void keep_place(struct runner *u)
{
    struct diag d = {0};
    uint64_t place = read_counter(&u->counters.place);
    if (!u->config.state || place == u->place_kept)
        return;
    enum err e = runner_state_write(u->config.state, &u->config.spec, place, &d);
    if (e == OK)
        u->place_kept = place;
    else if (!u->state_broken)
        log_line(LOG_ERROR, "source.state", "error=%s text=%s", err_name(e), log_value(d.text));
    u->state_broken = e != OK;
}

static void report(struct loop_timer *t)
{
    struct runner *u = container_of(t, struct runner, report);
    report_trouble(u);
    keep_place(u);
    loop_timer_start(u->loop, &u->report, REPORT_NS);
}

static void registration_report(void *arg, bool ready, const char *reason, const char *message, const char *webhook_id)
{
    (void)arg;
    log_line(ready ? LOG_INFO : LOG_WARN, "source.webhook", "ready=%s reason=%s id=%s message=%s",
             ready ? "true" : "false", reason, webhook_id ? webhook_id : "-", log_value(message));
}

/* ---- the end ---- */

static void registration_stopped(void *arg)
{
    struct runner *u = arg;
    u->registration = NULL;
    loop_stop(u->loop);
}

static void source_closed(void *arg)
{
    struct runner *u = arg;
    u->source = NULL;
    if (u->registration)
        u->program->ops->register_stop(u->registration, u->config.remove_webhook, registration_stopped, u);
    else
        loop_stop(u->loop);
}

/* Closing the server closes its requests, and with the last of them the source ends. */
static void cut(struct loop_timer *t)
{
    struct runner *u = container_of(t, struct runner, cut);
    log_line(LOG_WARN, "source.cut", "requests=%zu", u->server ? http_server_busy(u->server) : (size_t)0);
    http_server_free(u->server);
    u->server = NULL;
}

static void drain(struct runner *u)
{
    if (u->draining) {
        loop_timer_start(u->loop, &u->cut, 0);
        return;
    }
    u->draining = true;
    log_line(LOG_INFO, "source.drain", "requests=%zu", u->server ? http_server_busy(u->server) : (size_t)0);
    http_listener_close(u->listener);
    u->listener = NULL;
    if (u->server)
        http_server_drain(u->server);
    loop_timer_start(u->loop, &u->cut, DRAIN_NS);
    (void)last_failure(u);
    u->program->ops->close(u->source, source_closed, u);
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct runner *u = container_of(w, struct runner, signals);
    struct signalfd_siginfo info;
    while (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        drain(u);
}

/* ---- the start ---- */

static int failed(const struct runner *u, const char *what, enum err e, const struct diag *d)
{
    fprintf(stderr, "leat source %s: %s: %s.\n", u->program->ops->name, what, d && d->text[0] ? d->text : err_name(e));
    return RUNNER_FAILED;
}

static enum err watch_signals(struct runner *u)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return ERR_IO;
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    enum err e = loop_watch_add(u->loop, &u->signals, fd, EPOLLIN, on_signal);
    if (e != OK)
        close(fd);
    return e;
}

static enum err listen_on(struct runner *u, const char *address, const struct http_handler *handler,
                          struct http_server **server, struct http_listener **listener, struct diag *d)
{
    struct http_server_options options = {.flag_head_bytes = NULL};
    enum err e = http_server_new(u->loop, &options, handler, u, server);
    return e == OK ? http_listener_open(u->loop, address, server, 1, listener, d) : e;
}

/* "webhook http://127.0.0.1:41234/" on standard output, for whoever started the program, and in the log. */
static void announce(const char *what, const struct http_listener *l)
{
    printf("%s http://%s/\n", what, http_listener_address(l));
    fflush(stdout);
    char text[128];
    snprintf(text, sizeof(text), "listening on http://%s", http_listener_address(l));
    log_line(LOG_INFO, "source.listen", "for=%s message=%s", what, log_value(text));
}

static void notice(void *arg, bool trouble, const char *what, const char *text)
{
    (void)arg;
    log_line(trouble ? LOG_WARN : LOG_INFO, what, "message=%s", log_value(text));
}

static void stands(void *arg, const char *reason, const char *message)
{
    struct runner *u = arg;
    snprintf(u->trouble, sizeof u->trouble, "%s%s%s", reason ? reason : "", reason ? ": " : "", reason ? message : "");
}

/* The state is read, and written at once: who cannot keep it is to know before anything is done. */
static enum err take_state(struct runner *u, struct diag *d)
{
    const struct runner_config *c = &u->config;
    enum err e = runner_state_read(c->state, &c->spec, &u->counters.place, d);
    if (e == OK)
        e = runner_state_write(c->state, &c->spec, u->counters.place, d);
    u->place_kept = u->counters.place;
    return e;
}

static int start(struct runner *u)
{
    struct runner_config *c = &u->config;
    const struct source_ops *ops = u->program->ops;
    struct diag d = {0};
    if (c->ca_certs && (u->ca_fd = runner_ca_file(c->ca_certs, u->ca_path, sizeof u->ca_path)) < 0)
        return failed(u, "K_CA_CERTS", ERR_IO, NULL);
    enum err e = c->state ? take_state(u, &d) : OK;
    if (e != OK)
        return failed(u, "--state", e, &d);
    e = loop_new(clock_system(), MAILBOX_LIMIT, &u->loop);
    if (e == OK)
        e = watch_signals(u);
    struct http_client_options options = {.ca_file = u->ca_path[0] ? u->ca_path : NULL};
    if (e == OK)
        e = http_client_new(u->loop, &options, &u->client);
    if (e != OK)
        return failed(u, "cannot start", e, NULL);
    e = http_sink_new(u->client, slice_str(c->sink), NULL, &u->sink, &d);
    if (e != OK)
        return failed(u, "the sink", e, &d);
    const struct source_host host = {.loop = u->loop,
                                     .sink = u->sink,
                                     .event_bytes_max = c->event_bytes_max,
                                     .counters = &u->counters,
                                     .last = &u->last,
                                     .notice = notice,
                                     .report = stands,
                                     .arg = u,
                                     .common = &u->common};
    e = ops->open(&c->spec, &host, &u->source, &d);
    if (e != OK)
        return failed(u, "the source", e, &d);
    if (c->listen && (e = listen_on(u, c->listen, &webhook_handler, &u->server, &u->listener, &d)) != OK)
        return failed(u, "--listen", e, &d);
    if (c->health && (e = listen_on(u, c->health, &health_handler, &u->health_server, &u->health_listener, &d)) != OK)
        return failed(u, "--health", e, &d);
    if (ops->register_start) {
        e = ops->register_start(&c->spec, u->loop, u->client, c->webhook_url, NULL, registration_report, u,
                                &u->registration);
        if (e != OK)
            return failed(u, "the webhook's registration", e, NULL);
    }
    if (u->listener)
        announce("webhook", u->listener);
    if (u->health_listener)
        announce("health", u->health_listener);
    return RUNNER_OK;
}

static void counted(void *arg)
{
    ++*(unsigned *)arg;
}

/* After the loop, or after a start that failed half-way. */
static void finish(struct runner *u)
{
    http_listener_close(u->listener);
    http_listener_close(u->health_listener);
    http_server_free(u->server);
    http_server_free(u->health_server);
    unsigned ended = 0, begun = (u->source ? 1u : 0) + (u->registration ? 1u : 0);
    if (u->source)
        u->program->ops->close(u->source, counted, &ended);
    if (u->registration)
        u->program->ops->register_stop(u->registration, false, counted, &ended);
    if (u->loop) {
        loop_timer_stop(u->loop, &u->report);
        loop_timer_stop(u->loop, &u->cut);
        for (int i = 0; i < END_TURNS && ended < begun; i++)
            (void)!loop_turn(u->loop, END_TURN_NS);
        if (u->signals.fd >= 0) {
            int fd = u->signals.fd;
            loop_watch_remove(u->loop, &u->signals);
            close(fd);
        }
    }
    sink_unref(u->sink);
    http_client_free(u->client);
    loop_free(u->loop);
    if (u->ca_fd >= 0)
        close(u->ca_fd);
}

int runner_main(const struct runner_program *p, int argc, char **argv)
{
    struct runner u = {.program = p, .ca_fd = -1, .signals.fd = -1};
    list_init(&u.common);
    int code = runner_config_read(p, argc, argv, &u.config);
    if (code < 0) {
        log_setup(clock_system(), LOG_INFO, u.config.log_json,
                  !u.config.log_json && isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
        loop_timer_init(&u.report, report);
        loop_timer_init(&u.cut, cut);
        code = start(&u);
        if (code == RUNNER_OK) {
            loop_timer_start(u.loop, &u.report, REPORT_NS);
            if (loop_run(u.loop) != OK)
                code = RUNNER_FAILED;
            report_trouble(&u);
            keep_place(&u);
        }
        finish(&u);
    }
    runner_config_fini(&u.config);
    return code;
}
