/* SPDX-License-Identifier: Apache-2.0
 *
 * The feedlet source: events that a program of somebody else's brings, which a second one, the feedlet, starts and
 * stops (Knative, June to November 2018). It is only the part at the origin; events come in by the sink's address.
 *
 *     nothing ──START──→ started ──STOP──→ nothing      FEED_OPERATION; each is one run of the command
 *
 * A run gets the feed in its environment (FEED_*), may leave a context in the file TERMINATION_LOG, and has RUN_NS for
 * it. A START that fails is tried again, with waits that grow; a STOP three times in all, and then the feed is as good
 * as stopped, as with Knative. What START left is kept in a file of the feed, where there is a folder for it, and
 * handed to STOP; a feed that is known to be started is not started again. Without a folder nothing is known after the
 * end of this process, so what was started is stopped then.
 *
 * Two of one feed never run at once: STOP begins with renaming the feed's file, and whoever is to start the feed waits
 * until that is gone. Control loop; the command is run by the process source.
 */
#include "feedlet.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop.h"
#include "process.h"
#include "text.h"

#define RUN_NS (30 * NS_PER_S) /* as the Job of Knative's controller had it */
#define WAIT_NS (1 * NS_PER_S) /* before the second try; doubled for each further one */
#define WAIT_NS_MAX (300 * NS_PER_S)
#define STOP_TRIES 3                         /* likewise: a backoff limit of 2 */
#define LOOK_NS (200 * NS_PER_MS)            /* at what is being stopped */
#define LOOKS_MAX 600                        /* two minutes: more than a STOP takes; then nobody is at it any more */
#define CONTEXT_MAX 12288                    /* bytes; Kubernetes reads 4,096 of a termination log */
#define EMPTY_CONTEXT "eyJDb250ZXh0Ijp7fX0=" /* {"Context":{}} */

struct feedlet {
    struct source_registration head;
    const struct source_spec *spec;
    struct feedlet_left *left; /* owned: whose spec that is, where a file alone tells of the feed; else NULL */
    struct loop *loop;
    source_report_fn *report;
    void *arg;
    char file[4096], claimed[4096]; /* the feed's state, and the same while it is being stopped; empty: not kept */
    char log[64];                   /* the termination log of the run */
    char *context;                  /* owned: what START left; NULL: it is not started */
    struct sink sink;
    struct source_counters counters;
    struct source *run, *last; /* the command; NULL: none runs */
    struct source_param params[FEEDLET_PARAMS_MAX];
    char texts[4][CONTEXT_MAX * 2]; /* of parameters that are made for the run */
    struct source_spec run_spec;
    enum { START, STOP } operation;
    unsigned tries, looks;
    struct loop_timer timer;  /* the run's deadline, or the next try */
    char why[300], said[200]; /* why it failed; the last line that it wrote to standard error */
    bool running;             /* from its start until it is closed */
    bool good, ending, remove;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct loop_task stopped_task;
};

static struct feedlet *feedlet_of(struct source_registration *r)
{
    return container_of(r, struct feedlet, head);
}

static void tell(const struct feedlet *f, bool ready, const char *reason, const char *message)
{
    f->report(f->arg, ready, reason, message, f->context);
}

/* ---- a run ---- */

static void begin(struct feedlet *f);

static void put(struct feedlet *f, const char *name, const char *value)
{
    assert(f->run_spec.param_count < FEEDLET_PARAMS_MAX);
    f->params[f->run_spec.param_count++] = (struct source_param){name, value};
}

static void put_env(struct feedlet *f, size_t i, const char *variable, const char *value)
{
    snprintf(f->texts[i], sizeof f->texts[i], "%s=%s", variable, value);
    put(f, "env", f->texts[i]);
}

/* What the plan has said, and what is of this run. */
static void make_spec(struct feedlet *f)
{
    f->run_spec = (struct source_spec){
        .type = "process", .namespace_name = f->spec->namespace_name, .name = f->spec->name, .params = f->params};
    put(f, "container", "feedlet");
    for (size_t i = 0; i < f->spec->param_count && f->run_spec.param_count < FEEDLET_PARAMS_MAX - 8; i++)
        if (strcmp(f->spec->params[i].name, "command") == 0 || strcmp(f->spec->params[i].name, "env") == 0)
            put(f, f->spec->params[i].name, f->spec->params[i].value);
    put_env(f, 0, "FEED_OPERATION", f->operation == START ? "START" : "STOP");
    put_env(f, 1, "FEED_CONTEXT", f->operation == STOP && f->context ? f->context : EMPTY_CONTEXT);
    put_env(f, 2, "TERMINATION_LOG", f->log);
}

static bool open_log(struct feedlet *f)
{
    snprintf(f->log, sizeof f->log, "/tmp/leat-feedlet-XXXXXX");
    int fd = mkstemp(f->log);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* What it left there, as base64 without line breaks; NULL: nothing. */
static char *read_log(const struct feedlet *f)
{
    char *text = calloc(1, CONTEXT_MAX + 1);
    FILE *file = text ? fopen(f->log, "re") : NULL;
    size_t n = file ? fread(text, 1, CONTEXT_MAX, file) : 0, kept = 0;
    if (file)
        fclose(file);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] > ' ')
            text[kept++] = text[i];
    if (text)
        text[kept] = '\0';
    if (kept > 0)
        return text;
    free(text);
    return NULL;
}

static void wait_for_next(struct feedlet *f)
{
    uint64_t wait = f->tries < 16 ? WAIT_NS << (f->tries - 1) : WAIT_NS_MAX;
    loop_timer_start(f->loop, &f->timer, wait < WAIT_NS_MAX ? wait : WAIT_NS_MAX);
}

static void finish(struct feedlet *f)
{
    loop_defer(f->loop, &f->stopped_task);
}

/* It is started. What cannot be kept is told, since nobody could stop it after a restart. */
static void keep(struct feedlet *f)
{
    struct diag d = {0};
    char *left = read_log(f);
    free(f->context);
    f->context = left ? left : strdup(EMPTY_CONTEXT);
    const struct feedlet_state state = {feedlet_fingerprint(f->spec), f->context};
    if (f->context && f->file[0] && feedlet_state_write(f->file, &state, f->spec, &d) != OK)
        tell(f, false, "FeedContextNotKept", d.text);
    else
        tell(f, true, NULL, NULL);
    f->tries = 0;
}

static void forget(struct feedlet *f)
{
    if (f->claimed[0])
        unlink(f->claimed);
    free(f->context);
    f->context = NULL;
}

static void stop_ended(struct feedlet *f)
{
    if (!f->good && f->tries < STOP_TRIES) {
        begin(f);
        return;
    }
    if (!f->good)
        tell(f, false, "FeedletFailed", f->why);
    forget(f);
    if (f->ending) {
        finish(f);
        return;
    }
    f->operation = START; /* it was another feed of this name that had to be stopped first */
    f->tries = 0;
    begin(f);
}

/* The run has ended, by itself or cut. */
static void run_closed(void *arg)
{
    struct feedlet *f = arg;
    loop_timer_stop(f->loop, &f->timer);
    f->running = false;
    if (f->operation == STOP) {
        unlink(f->log);
        stop_ended(f);
        return;
    }
    if (f->good)
        keep(f);
    else
        tell(f, false, "FeedletFailed", f->why);
    unlink(f->log);
    if (f->ending) /* asked for while it ran */
        feedlet_source.register_stop(&f->head, f->remove, f->stopped, f->stopped_arg);
    else if (!f->good)
        wait_for_next(f);
}

static void close_run(struct feedlet *f)
{
    struct source *s = f->run;
    f->run = NULL;
    if (s)
        s->ops->close(s, run_closed, f);
}

/* The process source, with "once": what became of it. */
static void on_state(void *arg, const char *reason, const char *message)
{
    struct feedlet *f = arg;
    f->good = !reason;
    if (reason)
        snprintf(f->why, sizeof f->why, "%s: %.180s%s%.90s", f->operation == START ? "START" : "STOP", message,
                 f->said[0] ? "; it said: " : "", f->said);
    close_run(f);
}

static void on_notice(void *arg, bool trouble, const char *what, const char *text)
{
    struct feedlet *f = arg;
    (void)trouble;
    if (strcmp(what, "process.stderr") == 0)
        snprintf(f->said, sizeof f->said, "%s", text);
}

static void begin(struct feedlet *f)
{
    struct diag d = {0};
    assert(!f->running && !f->run);
    f->good = false;
    f->running = true;
    f->tries++;
    f->said[0] = '\0';
    snprintf(f->why, sizeof f->why, "no room in /tmp for its termination log");
    enum err e = open_log(f) ? OK : ERR_IO;
    if (e == OK) {
        make_spec(f);
        put(f, "once", "true");
        const struct source_host host = {.loop = f->loop,
                                         .sink = &f->sink,
                                         .counters = &f->counters,
                                         .last = &f->last,
                                         .notice = on_notice,
                                         .report = on_state,
                                         .arg = f};
        e = source_find("process")->open(&f->run_spec, &host, &f->run, &d);
        if (e != OK)
            snprintf(f->why, sizeof f->why, "%.250s", d.text[0] ? d.text : err_name(e));
    }
    if (e == OK)
        loop_timer_start(f->loop, &f->timer, RUN_NS);
    else
        run_closed(f);
}

/* ---- whether it has to be started ---- */

static void look(struct feedlet *f)
{
    struct feedlet_state known = {0};
    struct diag d = {0};
    struct stat there;
    if (f->claimed[0] && stat(f->claimed, &there) == 0) {
        if (++f->looks < LOOKS_MAX) {
            loop_timer_start(f->loop, &f->timer, LOOK_NS);
            return;
        }
        (void)!rename(f->claimed, f->file); /* who was stopping it was killed */
    }
    enum err e = f->file[0] ? feedlet_state_read(f->file, &known, &d) : OK;
    if (e != OK) {
        tell(f, false, "FeedContextNotKept", d.text);
        return;
    }
    f->context = known.context;
    if (known.context && known.fingerprint == feedlet_fingerprint(f->spec)) {
        tell(f, true, NULL, NULL);
        return;
    }
    f->operation = known.context ? STOP : START;
    if (known.context)
        (void)!rename(f->file, f->claimed);
    begin(f);
}

static void on_timer(struct loop_timer *t)
{
    struct feedlet *f = container_of(t, struct feedlet, timer);
    if (f->run) {
        snprintf(f->why, sizeof f->why, "%s did not end within %d s", f->operation == START ? "START" : "STOP",
                 (int)(RUN_NS / NS_PER_S));
        close_run(f);
    } else if (f->tries == 0) {
        look(f);
    } else {
        begin(f);
    }
}

/* ---- life ---- */

static void finished(struct loop_task *t)
{
    struct feedlet *f = container_of(t, struct feedlet, stopped_task);
    void (*stopped)(void *arg) = f->stopped;
    void *arg = f->stopped_arg;
    loop_timer_stop(f->loop, &f->timer);
    free(f->context);
    feedlet_left_free(f->left);
    free(f);
    stopped(arg);
}

static struct feedlet *feedlet_new(const struct source_spec *spec, const char *folder, const char *uid,
                                   struct loop *control, source_report_fn *report, void *arg)
{
    struct feedlet *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->head.ops = &feedlet_source;
    f->spec = spec;
    f->loop = control;
    f->report = report;
    f->arg = arg;
    f->sink = (struct sink){.refs = 1, .url = source_param(spec, "sink", "")};
    loop_timer_init(&f->timer, on_timer);
    loop_task_init(&f->stopped_task, finished);
    if (folder) {
        snprintf(f->file, sizeof f->file, "%s/%s", folder, uid);
        snprintf(f->claimed, sizeof f->claimed, "%s/%s.stopping", folder, uid);
    }
    return f;
}

static enum err register_start(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out)
{
    (void)client;
    (void)webhook_url;
    (void)known_id;
    const char *folder = source_param(spec, "folder", NULL), *uid = source_param(spec, "uid", "");
    if (folder && strlen(folder) + strlen(uid) + sizeof "/.stopping" > sizeof((struct feedlet *)0)->file)
        return ERR_INVALID;
    struct feedlet *f = feedlet_new(spec, folder, uid, control, report, arg);
    if (!f)
        return ERR_NOMEM;
    if (folder)
        (void)!mkdir(folder, 0700);
    *out = &f->head;
    tell(f, false, "FeedletRuns", "the feedlet is starting what brings the events");
    look(f);
    return OK;
}

static void register_stop(struct source_registration *r, bool remove, void (*stopped)(void *arg), void *arg)
{
    struct feedlet *f = feedlet_of(r);
    f->ending = true;
    f->remove = remove || !f->file[0];
    f->stopped = stopped;
    f->stopped_arg = arg;
    if (f->running) /* its end goes on from here */
        return;
    loop_timer_stop(f->loop, &f->timer);
    if (!f->remove || !f->context) {
        finish(f);
        return;
    }
    if (f->file[0])
        (void)!rename(f->file, f->claimed);
    f->operation = STOP;
    f->tries = 0;
    begin(f);
}

static enum err stop_left(const char *folder, const char *uid, struct loop *control, source_report_fn *report,
                          void (*stopped)(void *arg), void *arg, struct diag *d)
{
    struct feedlet_left *left = NULL;
    struct feedlet_state known = {0};
    char file[4096], claimed[4096];
    int n = snprintf(file, sizeof file, "%s/%s", folder, uid);
    int m = snprintf(claimed, sizeof claimed, "%s.stopping", file);
    if (n >= (int)sizeof file || m >= (int)sizeof claimed)
        return diag_set(d, ERR_INVALID, "%.100s: the name is too long", uid);
    if (access(file, F_OK) != 0)
        (void)!rename(claimed, file); /* who was stopping it was killed */
    enum err e = feedlet_left_read(file, &left, d);
    if (!e)
        e = feedlet_state_read(file, &known, d);
    struct feedlet *f = e ? NULL : feedlet_new(&left->spec, folder, uid, control, report, arg);
    if (!f) {
        free(known.context);
        feedlet_left_free(left);
        return e ? e : diag_set(d, ERR_NOMEM, "out of memory");
    }
    f->left = left;
    f->context = known.context;
    register_stop(&f->head, true, stopped, arg);
    return OK;
}

/* ---- the part on the data loops: there is none ---- */

static enum err check(const struct source_spec *spec, struct diag *d)
{
    size_t words = 0;
    for (size_t i = 0; i < spec->param_count; i++)
        words += strcmp(spec->params[i].name, "command") == 0;
    if (words == 0 || words > FEEDLET_PARAMS_MAX / 2)
        return diag_set(d, ERR_INVALID, "the feedlet's command must have 1 to %d words", FEEDLET_PARAMS_MAX / 2);
    return OK;
}

struct nothing {
    struct source head;
    struct loop *loop;
    struct loop_task closed_task;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void nothing_closed(struct loop_task *t)
{
    struct nothing n = *container_of(t, struct nothing, closed_task);
    free(container_of(t, struct nothing, closed_task));
    n.closed(n.closed_arg);
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    (void)spec;
    (void)d;
    struct nothing *n = calloc(1, sizeof *n);
    if (!n)
        return ERR_NOMEM;
    n->head.ops = &feedlet_source;
    n->loop = host->loop;
    loop_task_init(&n->closed_task, nothing_closed);
    *out = &n->head;
    return OK;
}

static void close_source(struct source *s, void (*closed)(void *arg), void *arg)
{
    struct nothing *n = container_of(s, struct nothing, head);
    n->closed = closed;
    n->closed_arg = arg;
    loop_defer(n->loop, &n->closed_task);
}

const struct source_ops feedlet_source = {
    .name = "feedlet",
    .check = check,
    .open = open_source,
    .close = close_source,
    .register_start = register_start,
    .register_stop = register_stop,
    .stop_left = stop_left,
};
