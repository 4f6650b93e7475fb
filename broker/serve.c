/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat serve`: starts everything in order, then is the control loop: signals, manifests, plans, the API.
 *
 *     manifests → table → plan → engine          SIGHUP: the same again, and only if nothing is wrong
 *     API write → table → plan → engine          SIGTERM, SIGINT: stop accepting, drain, say what is left; a second
 * one: at once
 */
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/api.h"
#include "data_dir.h"
#include "engine.h"
#include "happenings.h"
#include "log.h"
#include "places.h"
#include "resource/store.h"
#include "states.h"

#define EVENT_BYTES_MAX (1u << 20)
#define HEAD_BYTES_MAX                                                                                                 \
    (32u << 10) /* each connection costs that much; more per request costs time (docs/internals/http_server.md) */
#define DRAIN_NS (30 * NS_PER_S)
#define CONTROL_MAILBOX_MAX 4096
/* After a plan the next one waits so many times as long as this one took, up to the limit: a thousand writes over the
 * API in a row make a few plans, not a thousand, and leave the control loop time to take them. */
#define PLAN_REST_TIMES 9
#define PLAN_REST_NS_MAX NS_PER_S

struct server {
    const struct serve_options *options;
    struct loop *loop;
    struct data_dir *data; /* NULL: everything in memory */
    struct store *store;
    struct resource_table *table;
    struct engine *engine;
    struct happenings *happenings;
    struct api_front front;
    struct api api;
    struct loop_watch signals;
    struct loop_task recompile, give_up;
    struct loop_timer recompile_later;
    uint64_t plan_began_ns, plan_next_ns; /* monotonic; before the latter no write makes another plan */
    char ingress_url[300];
    const char *bus; /* the default one, and its parameters; owned: the array, and the directory in it */
    struct bus_param *bus_params;
    size_t bus_param_count;
    char *bus_dir, *feeds_dir;
    bool ready_said, stopping;
    enum serve_end end;
};

/* ---- manifests and plans ---- */

/* Loads the files into the table, all or nothing. */
static enum err load(struct server *s)
{
    struct problems problems;
    struct manifest *m = NULL;
    problems_init(&problems);
    enum err e = manifest_load(s->options->paths, s->options->path_count, NULL, &m, &problems);
    if (e == OK && problems.errors == 0)
        e = resource_table_sync(s->table, m, &problems);
    if (e == OK && problems.errors > 0)
        e = ERR_INVALID;
    problems_print(&problems, stderr);
    manifest_free(m);
    problems_fini(&problems);
    return e;
}

/* Why a load was refused; its problems were printed. */
static const char *load_refused(enum err e)
{
    return e == ERR_INVALID || e == ERR_CONFLICT ? "the manifests have errors" : "what they change could not be kept";
}

static uint64_t now_ns(const struct server *s)
{
    return clock_monotonic_ns(loop_clock(s->loop));
}

/* A plan is made, or in force. */
static void plan_rest(struct server *s)
{
    uint64_t now = now_ns(s), rest = (now - s->plan_began_ns) * PLAN_REST_TIMES;
    s->plan_next_ns = now + (rest < PLAN_REST_NS_MAX ? rest : PLAN_REST_NS_MAX);
}

static void compile(struct server *s)
{
    s->plan_began_ns = now_ns(s);
    const struct plan_options o = {.ingress_url = s->ingress_url,
                                   .default_bus = s->bus,
                                   .default_bus_params = s->bus_params,
                                   .default_bus_param_count = s->bus_param_count,
                                   .data_dir = s->options->data_dir,
                                   .cluster_domain = "cluster.local",
                                   .resolve = s->options->resolve,
                                   .commands = s->options->commands,
                                   .ca_certs = s->options->ca_certs};
    struct plan *plan;
    enum err e = plan_compile(s->table, &o, &plan);
    if (e != OK) {
        log_line(LOG_ERROR, "plan.failed", "error=%s", err_name(e));
        return;
    }
    log_line(LOG_INFO, "plan.compiled", "channels=%zu subscriptions=%zu sources=%zu", plan->channel_count,
             plan->subscription_count, plan->source_count);
    plan_rest(s);
    engine_apply(s->engine, plan);
    plan_unref(plan);
}

static void recompile(struct loop_task *t)
{
    compile(container_of(t, struct server, recompile));
}

static void table_changed(void *arg)
{
    struct server *s = arg;
    uint64_t now = now_ns(s);
    if (now >= s->plan_next_ns)
        loop_defer(s->loop, &s->recompile);
    else if (!loop_timer_armed(&s->recompile_later))
        loop_timer_start(s->loop, &s->recompile_later, s->plan_next_ns - now);
}

static void recompile_later(struct loop_timer *t)
{
    struct server *s = container_of(t, struct server, recompile_later);
    if (!s->stopping)
        table_changed(s); /* once more into the queue if a plan has been made meanwhile */
}

static void reload(struct server *s)
{
    if (s->front.tls)
        http_tls_reload(s->front.tls);
    if (s->stopping) {
        log_line(LOG_WARN, "serve.reload", "result=refused text=stopping");
        return;
    }
    enum err e = load(s);
    if (e != OK) {
        char text[100];
        snprintf(text, sizeof text, "%s; what runs stays as it was", load_refused(e));
        log_line(LOG_ERROR, "serve.reload", "result=refused text=%s", log_value(text));
        return;
    }
    log_line(LOG_INFO, "serve.reload", "result=applied");
    compile(s);
}

/* ---- what the engine reports ---- */

static void say_ready(struct server *s)
{
    const char *hooks = engine_hooks(s->engine),
               *api = s->front.listener ? http_listener_address(s->front.listener) : "none";
    const char *scheme = s->front.tls ? "https://" : "http://";
    s->ready_said = true;
    if (s->data)
        printf("data %s\n", data_dir_path(s->data));
    if (s->options->ingress)
        printf("ingress %s\n", s->ingress_url);
    if (s->front.listener)
        printf("%s %s%s\n", s->options->health_only ? "health" : "api", scheme, api);
    if (hooks)
        printf("hooks http://%s\n", hooks);
    printf("ready\n");
    fflush(stdout);
    log_line(LOG_INFO, "serve.ready", "ingress=%s api=%s%s", s->options->ingress ? s->ingress_url : "none",
             s->front.listener ? scheme : "", api);
}

/* Webhooks are registered, and clocks run, by another process: that is no fault, and nothing that this one knows. */
static void say_elsewhere(struct server *s, const struct plan *plan)
{
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct plan_source *p = &plan->sources[i];
        const struct source_ops *ops = source_find(p->spec.type);
        const struct resource *r = resource_by_key(s->table, p->key);
        if (!r || !ops || (!ops->register_start && !ops->one_loop))
            continue;
        const char *type = ops->http_head ? "WebhookConfigured" : resource_report_condition(r),
                   *text = ops->http_head ? "the process with --sources yes registers it; this one has --sources no"
                                          : "the process with --sources yes runs it; this one has --sources no";
        if (type &&
            resource_set_condition(s->table, r, type, ops->http_head ? "Unknown" : "True", "Elsewhere", text) != OK)
            log_line(LOG_WARN, "source.webhook", "source=%s error=condition_not_set", p->key);
    }
}

static void applied(void *arg, const struct plan *plan)
{
    struct server *s = arg;
    if (plan_publish(s->table, plan) != OK)
        log_line(LOG_WARN, "plan.publish", "error=nomem");
    if (!s->options->sources)
        say_elsewhere(s, plan);
    plan_rest(s);
    api_tail_applied(&s->api);
    if (!s->ready_said && s->end == SERVE_OK)
        say_ready(s);
}

/* The registration becomes a condition of the source's resource. */
static void source_report(void *arg, const char *key, bool ready, const char *reason, const char *message,
                          const char *webhook_id)
{
    struct server *s = arg;
    const struct resource *r = resource_by_key(s->table, key);
    (void)webhook_id;
    log_line(ready ? LOG_INFO : LOG_WARN, "source.webhook", "source=%s ready=%s reason=%s text=%s", key,
             ready ? "true" : "false", reason ? reason : "", log_value(message ? message : ""));
    if (r && resource_set_condition(s->table, r, "WebhookConfigured", ready ? "True" : "False", reason, message) != OK)
        log_line(LOG_WARN, "source.webhook", "source=%s error=condition_not_set", key);
}

/* What the bus refused becomes a condition, and goes from it when the bus takes it. */
static void made(void *arg, const char *key, enum err err, const char *text)
{
    struct server *s = arg;
    char message[500] = "";
    if (err != OK)
        snprintf(message, sizeof message, "the bus refused it (%s)%s%s", err_name(err), *text ? ": " : "", text);
    if (resource_report(s->table, key, err == OK ? NULL : resource_report_reason(err), message) != OK)
        log_line(LOG_WARN, "plan.report", "key=%s error=condition_not_set", log_value(key));
}

/* Without its default bus a server is of no use: then it does not start, unless that bus may come by itself. One that
 * runs goes on, not ready. */
static void bus_failed(void *arg, const char *key, enum err err, const char *text, bool again)
{
    struct server *s = arg;
    if (again || s->ready_said || s->end != SERVE_OK || strcmp(key, s->bus) != 0)
        return;
    log_line(LOG_ERROR, "serve.failed", "error=%s text=%s", err_name(err), log_value(text));
    s->end = err == ERR_INVALID ? SERVE_BAD_INPUT : SERVE_FAILED;
    loop_defer(s->loop, &s->give_up);
}

static void observed(void *arg, const struct plan_channel *channel, const struct ce_event *e)
{
    struct server *s = arg;
    struct ce_attribute schema = {0};
    bool new = false;
    ce_event_attribute(e, SLICE("dataschema"), &schema);
    enum err err = eventtype_ensure(s->table, channel, ce_event_type(e), ce_event_source(e), schema.value, &new);
    if (err != OK)
        log_line(LOG_WARN, "event_types.failed", "channel=%s error=%s", log_value(channel->key), err_name(err));
    if (new)
        table_changed(s); /* it gets its conditions */
}

/* ---- signals ---- */

static void stopped(void *arg, const struct engine_rest *rest)
{
    struct server *s = arg;
    if (rest->lost > 0) {
        log_line(LOG_ERROR, "serve.lost", "events=%llu text=%s", (unsigned long long)rest->lost,
                 log_value("the memory bus still held them; they are gone. A durable bus keeps them."));
        if (s->end == SERVE_OK)
            s->end = SERVE_LOST;
    }
    log_line(LOG_INFO, "serve.stopped", "lost=%llu kept=%llu", (unsigned long long)rest->lost,
             (unsigned long long)rest->kept);
    loop_stop(s->loop);
}

static void stop(struct server *s, int number)
{
    if (s->stopping) {
        log_line(LOG_WARN, "serve.stop", "signal=%d text=%s", number,
                 log_value("second signal: stopping without waiting"));
        _exit(1);
    }
    s->stopping = true;
    api_tail_stop(&s->api);
    api_watches_stop(&s->api);
    log_line(LOG_INFO, "serve.stop", "signal=%d text=%s", number,
             log_value("finishing what is under way; once more to stop at once"));
    engine_stop(s->engine, stopped, s);
}

/* What it could not do without failed at the start. */
static void give_up(struct loop_task *t)
{
    struct server *s = container_of(t, struct server, give_up);
    if (s->stopping)
        return;
    s->stopping = true;
    engine_stop(s->engine, stopped, s);
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
    struct server *s = container_of(w, struct server, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (read(w->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP)
            reload(s);
        else
            stop(s, (int)info.ssi_signo);
    }
}

static enum err watch_signals(struct server *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file beyond `ulimit -f` is a write that fails, not an end without a word */
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? ERR_IO : loop_watch_add(s->loop, &s->signals, fd, EPOLLIN, on_signal);
}

/* ---- start ---- */

/* Connections are descriptors: as many as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void keep_places(void *arg, const struct engine_place *places, size_t count)
{
    struct server *s = arg;
    places_keep(s->store, s->table, places, count);
}

static uint64_t place(void *arg, const char *key)
{
    struct server *s = arg;
    return places_kept(s->store, s->table, key);
}

static void replaying(void *arg, const char *cursor, bool there)
{
    struct server *s = arg;
    replay_keep(s->store, cursor, there);
}

static bool was_replaying(void *arg, const char *cursor)
{
    struct server *s = arg;
    return replay_kept(s->store, cursor);
}

static bool is_there(void *arg, const char *uid)
{
    struct server *s = arg;
    return resource_uid_is_there(s->table, uid);
}

static void source_state(void *arg, const char *key, const char *reason, const char *message)
{
    struct server *s = arg;
    if (resource_report(s->table, key, reason, message) != OK)
        log_line(LOG_WARN, "source.report", "source=%s error=condition_not_set", log_value(key));
}

static void happened(void *arg, const char *key, const struct happening *what)
{
    struct server *s = arg;
    happenings_note_key(s->happenings, key, what);
}

static void healthy(void *arg, const char *key, bool good, const char *reason, const char *message)
{
    struct server *s = arg;
    if (resource_report_health(s->table, key, good, reason, message) != OK)
        log_line(LOG_WARN, "plan.report", "key=%s error=condition_not_set", log_value(key));
}

static enum err start_engine(struct server *s, struct diag *d)
{
    const struct serve_options *o = s->options;
    bool feeds = o->data_dir && o->commands != PLAN_COMMANDS_NONE;
    if (feeds && asprintf(&s->feeds_dir, "%s/feeds", o->data_dir) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    const struct engine_options e = {
        .loops = o->loops,
        .event_bytes_max = o->event_bytes_max ? o->event_bytes_max : EVENT_BYTES_MAX,
        .http = {.head_bytes_max = o->head_bytes_max ? o->head_bytes_max : HEAD_BYTES_MAX,
                 .flag_head_bytes = "--max-headers"},
        .client = {.proxy = o->proxy, .ca_file = o->ca_file},
        .ingress_address = o->ingress,
        .hooks_address = o->hooks,
        .hooks_url = o->hooks_url,
        .drain_ns = o->drain_ns ? o->drain_ns : DRAIN_NS,
        .verify_ns = o->verify_ns,
        .trace_bytes = o->trace_bytes,
        .observe = o->auto_create_event_types,
        .shared = o->shared,
        .register_sources = o->sources,
        .feeds = feeds ? s->feeds_dir : NULL,
        .forever = o->forever,
    };
    const struct engine_reports reports = {
        source_report, applied,       made,     bus_failed,   observed, keep_places, place,
        replaying,     was_replaying, is_there, source_state, happened, healthy,     s};
    enum err err = engine_new(s->loop, &e, &s->engine, d);
    if (err != OK)
        return err;
    engine_set_reports(s->engine, &reports);
    err = engine_listen(s->engine, d);
    if (err == OK) /* without one its address is nobody's, and stands in no answer */
        snprintf(s->ingress_url, sizeof s->ingress_url, "http://%s", o->ingress ? engine_ingress(s->engine) : "none");
    return err;
}

static enum err start_api(struct server *s, struct diag *d)
{
    s->api = (struct api){.table = s->table,
                          .store = s->store,
                          .engine = s->engine,
                          .happenings = s->happenings,
                          .health_only = s->options->health_only,
                          .read_only = s->options->shared,
                          .changed = table_changed,
                          .arg = s};
    list_init(&s->api.tails);
    return s->options->api ? api_listen(&s->api, s->loop, s->options, &s->front, d) : OK;
}

/* The default bus: what the options say, else the log where there is a place for it. A log that names no directory is
 * in ours. */
static enum err choose_bus(struct server *s, struct diag *d)
{
    const struct serve_options *o = s->options;
    s->bus = o->bus ? o->bus : o->data_dir ? "log" : "memory";
    bool needs_dir = strcmp(s->bus, "log") == 0;
    s->bus_params = calloc(o->bus_param_count + 1, sizeof *s->bus_params);
    for (size_t i = 0; s->bus_params && i < o->bus_param_count; i++) {
        const struct bus_param *p = &o->bus_params[i];
        s->bus_params[s->bus_param_count++] = *p;
        needs_dir = needs_dir || (strcmp(p->name, "inner") == 0 && strcmp(p->value, "log") == 0);
    }
    for (size_t i = 0; i < s->bus_param_count; i++)
        needs_dir = needs_dir && strcmp(s->bus_params[i].name, "dir") != 0;
    if (!needs_dir)
        return s->bus_params ? OK : diag_set(d, ERR_NOMEM, "out of memory");
    if (!o->data_dir)
        return diag_set(d, ERR_INVALID, "--bus %s: the log needs a directory; with --ephemeral there is none", s->bus);
    if (!s->bus_params || asprintf(&s->bus_dir, "%s/log", o->data_dir) < 0)
        return diag_set(d, ERR_NOMEM, "out of memory");
    s->bus_params[s->bus_param_count++] = (struct bus_param){"dir", s->bus_dir};
    return OK;
}

/* What is wrong with the default bus's parameters is said before anything starts: a bus that costs nothing is opened
 * for a moment. Not a faulty one around a log: its mistakes are said by the engine. */
static enum err check_bus(struct server *s, struct diag *d)
{
    struct loop *const loops[] = {s->loop};
    const struct bus_env env = {.control = s->loop, .loops = loops, .loop_count = 1};
    struct diag why = {0};
    struct bus *bus = NULL;
    const struct bus_ops *ops = bus_find(s->bus);
    if (!ops || (s->bus_dir && !ops->check))
        return OK;
    enum err e = ops->check ? ops->check(s->bus_params, s->bus_param_count, &why)
                            : ops->open(&env, s->bus_params, s->bus_param_count, &bus, &why);
    unsigned can = bus ? bus->capabilities : ops->capabilities;
    if (bus)
        ops->fini(bus);
    if (e == OK && s->options->shared && !(can & BUS_CAP_SHARED))
        return diag_set(d, ERR_INVALID, "--shared: the bus %s keeps its events for one process alone", s->bus);
    bool keeps_unread = (can & BUS_CAP_SHARED) && !(can & BUS_CAP_BROWSE);
    if (e == OK && keeps_unread && !s->options->shared && !s->options->data_dir)
        log_line(
            LOG_WARN, "serve.ephemeral",
            "bus=%s text=\"with --ephemeral every start makes queues of new names there, and those of the last one "
            "fill up: leave it out, or use --shared\"",
            s->bus);
    return e == OK ? OK : diag_set(d, e, "--bus %s: %s", s->bus, why.text);
}

static void quarantined(void *arg, const char *object, const char *why)
{
    size_t *count = arg;
    ++*count;
    log_line(LOG_WARN, "resource.quarantined", "object=%s text=%s", log_value(object), log_value(why));
}

/* What an earlier process has left, or nothing. */
static enum err open_data(struct server *s, struct diag *d)
{
    const char *dir = s->options->data_dir;
    size_t quarantine = 0;
    enum err e = dir ? data_dir_open(dir, &s->data, d) : OK;
    if (e == OK)
        e = store_open(dir, clock_system(), &s->store, d);
    if (e == OK && resource_table_new(clock_system(), &s->table) != OK)
        e = diag_set(d, ERR_NOMEM, "out of memory");
    if (e == OK && s->options->shared)
        resource_table_name_uids(s->table);
    if (e == OK)
        e = resource_table_keep(s->table, s->store, quarantined, &quarantine, d);
    if (e == OK)
        log_line(LOG_INFO, "serve.data", "dir=%s quarantined=%zu", dir ? log_value(dir) : "none", quarantine);
    return e == ERR_INVALID ? ERR_IO : e; /* no manifest is to blame */
}

static enum err start(struct server *s, struct diag *d)
{
    enum err e = loop_new(clock_system(), CONTROL_MAILBOX_MAX, &s->loop);
    if (e == OK)
        e = watch_signals(s);
    if (e != OK)
        return diag_set(d, e, "the control loop could not be made: %s", err_name(e));
    e = choose_bus(s, d);
    if (e == OK)
        e = check_bus(s, d);
    if (e != OK)
        return e;
    e = kinds_load(d);
    if (e == OK)
        e = open_data(s, d);
    if (e == OK) {
        e = load(s);
        if (e != OK)
            return diag_set(d, e == ERR_CONFLICT ? ERR_INVALID : e, "%s; nothing was started", load_refused(e));
        if (s->options->data_dir)
            states_sweep(s->options->data_dir, s->table);
        e = happenings_new(s->loop, s->table, &s->happenings);
    }
    if (e == OK)
        happenings_note_quarantine(s->happenings);
    if (e == OK)
        e = start_engine(s, d);
    if (e == OK)
        e = start_api(s, d);
    return e;
}

static void clean_up(struct server *s)
{
    if (s->loop)
        loop_timer_stop(s->loop, &s->recompile_later);
    api_front_close(&s->api, &s->front);
    engine_free(s->engine);
    happenings_free(s->happenings);
    store_close(s->store, s->table ? resource_table_version(s->table) : 0);
    resource_table_free(s->table);
    data_dir_close(s->data);
    kinds_unload();
    if (s->signals.run) {
        loop_watch_remove(s->loop, &s->signals);
        close(s->signals.fd);
    }
    loop_free(s->loop);
    free(s->bus_params);
    free(s->bus_dir);
    free(s->feeds_dir);
}

enum serve_end serve(const struct serve_options *options)
{
    struct server s = {.options = options, .signals = {.fd = -1}};
    struct diag d = {0};
    raise_descriptor_limit();
    loop_task_init(&s.recompile, recompile);
    loop_task_init(&s.give_up, give_up);
    loop_timer_init(&s.recompile_later, recompile_later);
    enum err e = start(&s, &d);
    if (e != OK) {
        log_line(LOG_ERROR, "serve.failed", "error=%s text=%s", err_name(e), log_value(d.text));
        s.end = e == ERR_INVALID ? SERVE_BAD_INPUT : SERVE_FAILED;
    } else {
        compile(&s);
        if (loop_run(s.loop) != OK)
            s.end = SERVE_FAILED;
    }
    clean_up(&s);
    return s.end;
}
