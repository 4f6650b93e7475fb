/* SPDX-License-Identifier: Apache-2.0
 *
 * The process source: runs a command that sends events by itself, and runs it again whenever it ends. On one loop.
 *
 * The command is the leader of a process group of its own, and what is left of the group goes with it. It gets nothing
 * to read; what it writes is read line by line and told. It is told to end (SIGTERM to the group) when the source is
 * closed, and killed after GRACE_NS; when this process is killed, the kernel kills it, too.
 *
 * A part that is closed and opened anew in one turn of the loop (a new plan for the same source) goes on, with its
 * command as it runs, where the new one would start the very same; else the new one starts its own when the old one has
 * ended. So what is closed ends in a task of its own, after whoever closed it has had the time to open the next.
 *
 * Invariants: `pid` is 0 exactly when nothing runs; then no watch is active. `restart` is armed only then.
 */
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"

#define WAIT_NS (500 * NS_PER_MS) /* before the first start anew; doubled for each further one */
#define WAIT_NS_MAX (60 * NS_PER_S)
#define STEADY_NS (60 * NS_PER_S) /* who ran so long begins with the first wait again */
#define SETTLED_NS (3 * NS_PER_S) /* who runs so long is well: before, it may have to be started again at once */
#define GRACE_NS (8 * NS_PER_S)   /* less than the 30 s that Kubernetes gives, and than the runner's own */
#define LINE_MAX_BYTES 380        /* longer lines are told in pieces: a value of the log has 400 */
#define READS_MAX 16              /* of one pipe in a turn: whoever writes without end stops nobody else */

struct process;

/* What the command writes. */
struct stream {
    struct loop_watch watch;
    struct process *process;
    const char *what; /* "process.stdout" */
    char line[LINE_MAX_BYTES + 1];
    size_t len;
};

struct process {
    struct source head;
    const struct source_spec *spec;
    struct source_host host;
    struct process_command command;
    pid_t pid;
    struct loop_watch ended; /* a pidfd */
    struct stream out, err;
    unsigned failures; /* in a row */
    uint64_t started_ns;
    struct loop_timer restart, settled, grace;
    char last_failure[200];
    bool closing;
    bool told;                 /* that it is not well */
    bool end_pending;          /* end_task is to come */
    struct process *successor; /* starts when this one has ended */
    struct loop_task end_task, closed_task;
    void (*closed)(void *arg);
    void *closed_arg;
};

static struct process *process_of(struct source *s)
{
    return container_of(s, struct process, head);
}

__attribute__((format(printf, 4, 5))) static void notice(const struct process *p, bool trouble, const char *what,
                                                         const char *format, ...)
{
    char text[LINE_MAX_BYTES + 1];
    va_list args;
    if (!p->host.notice)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->host.notice(p->host.arg, trouble, what, text);
}

static void stands(const struct process *p, const char *reason, const char *message)
{
    if (p->host.report)
        p->host.report(p->host.arg, reason, message);
}

/* ---- what it writes ---- */

static void tell_line(struct stream *s)
{
    s->line[s->len] = '\0';
    if (s->len > 0)
        notice(s->process, false, s->what, "%s", s->line);
    s->len = 0;
}

static void take(struct stream *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n' || s->len == LINE_MAX_BYTES)
            tell_line(s);
        if (bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != '\0')
            s->line[s->len++] = bytes[i];
    }
}

static void stream_close(struct stream *s)
{
    int fd = s->watch.fd;
    if (fd < 0)
        return;
    tell_line(s);
    loop_watch_remove(s->process->host.loop, &s->watch);
    close(fd);
}

/* false: there is no more for now, or for ever. */
static bool read_once(struct stream *s)
{
    char bytes[4096];
    ssize_t n = read(s->watch.fd, bytes, sizeof bytes);
    if (n > 0)
        take(s, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        stream_close(s);
    return n > 0;
}

static void readable(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct stream *s = container_of(w, struct stream, watch);
    for (int i = 0; i < READS_MAX && s->watch.fd >= 0 && read_once(s); i++)
        ;
}

/* ---- starting ---- */

struct pipes {
    int out[2], err[2], failed[2]; /* the last one: errno of an exec that failed */
};

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
    pair[0] = pair[1] = -1;
}

/* The reading ends of what the command writes must not block. */
static bool pipes_open(struct pipes *p)
{
    *p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(p->out, O_CLOEXEC) == 0 && pipe2(p->err, O_CLOEXEC) == 0 && pipe2(p->failed, O_CLOEXEC) == 0 &&
        fcntl(p->out[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(p->err[0], F_SETFL, O_NONBLOCK) == 0)
        return true;
    close_pair(p->out);
    close_pair(p->err);
    close_pair(p->failed);
    return false;
}

/* In the child: only what may be called between fork and exec. */
static void become(const struct process_command *c, const struct pipes *p, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it was killed before we could ask */
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC); /* whatever a library left open */
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(p->out[1], STDOUT_FILENO) >= 0 &&
        dup2(p->err[1], STDERR_FILENO) >= 0 && (!c->folder || chdir(c->folder) == 0))
        execvpe(c->argv[0], c->argv, c->env);
    int why = errno;
    (void)!write(p->failed[1], &why, sizeof why);
    _exit(127);
}

/* Waits for the exec, which takes no time. 0: it runs. Else errno. */
static int fork_and_exec(struct process *p, struct pipes *pipes)
{
    int why = 0;
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return errno;
    if (pid == 0)
        become(&p->command, pipes, parent);
    close(pipes->failed[1]);
    pipes->failed[1] = -1;
    ssize_t n;
    while ((n = read(pipes->failed[0], &why, sizeof why)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)sizeof why) {
        waitpid(pid, NULL, 0);
        return why ? why : EIO;
    }
    p->pid = pid;
    return 0;
}

static void on_end(struct loop_watch *w, uint32_t events);

static bool watch(struct process *p, struct pipes *pipes)
{
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (fd < 0)
        return false;
    if (loop_watch_add(p->host.loop, &p->ended, fd, EPOLLIN, on_end) != OK) {
        close(fd);
        return false;
    }
    if (loop_watch_add(p->host.loop, &p->out.watch, pipes->out[0], EPOLLIN, readable) == OK)
        pipes->out[0] = -1;
    if (loop_watch_add(p->host.loop, &p->err.watch, pipes->err[0], EPOLLIN, readable) == OK)
        pipes->err[0] = -1;
    return true;
}

/* ERR_INVALID: the command cannot be run, as it is; ERR_UNAVAILABLE: the system has no room for it now. */
static enum err start(struct process *p, struct diag *d)
{
    struct pipes pipes;
    assert(p->pid == 0);
    if (!pipes_open(&pipes))
        return diag_set(d, ERR_UNAVAILABLE, "no descriptors for the command");
    int why = fork_and_exec(p, &pipes);
    bool watched = why == 0 && watch(p, &pipes);
    close_pair(pipes.out);
    close_pair(pipes.err);
    close_pair(pipes.failed);
    if (why == EAGAIN || why == ENOMEM)
        return diag_set(d, ERR_UNAVAILABLE, "the system has no room for one more process");
    if (why != 0)
        return diag_set(d, ERR_INVALID, "%.200s cannot be run: %s", p->command.argv[0], strerror(why));
    if (!watched) {
        kill(-p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
        p->pid = 0;
        return diag_set(d, ERR_UNAVAILABLE, "no descriptors to watch the command with");
    }
    p->started_ns = loop_now_ns(p->host.loop);
    if (!source_param(p->spec, "once", NULL))
        loop_timer_start(p->host.loop, &p->settled, SETTLED_NS);
    return OK;
}

/* ---- ending ---- */

static void start_later(struct process *p)
{
    uint64_t wait = p->failures < 16 ? WAIT_NS << p->failures : WAIT_NS_MAX;
    wait = wait < WAIT_NS_MAX ? wait : WAIT_NS_MAX;
    p->failures++;
    notice(p, true, "process.ended", "%s; it is started again in %llu.%llu s", p->last_failure,
           (unsigned long long)(wait / NS_PER_S), (unsigned long long)(wait / (100 * NS_PER_MS) % 10));
    char text[300];
    snprintf(text, sizeof text, "%s; it is started again and again, the log has what it wrote", p->last_failure);
    stands(p, "CommandEnded", text);
    p->told = true;
    loop_timer_start(p->host.loop, &p->restart, wait);
}

static void settled(struct loop_timer *t)
{
    struct process *p = container_of(t, struct process, settled);
    stands(p, NULL, NULL);
    p->told = false;
}

static void restart(struct loop_timer *t)
{
    struct process *p = container_of(t, struct process, restart);
    struct diag d = {0};
    if (start(p, &d) == OK) {
        __atomic_fetch_add(&p->host.counters->restarts, 1, __ATOMIC_RELAXED);
        notice(p, false, "process.started", "%s runs again, as process %d", p->command.argv[0], (int)p->pid);
        return;
    }
    snprintf(p->last_failure, sizeof p->last_failure, "%.190s", d.text);
    start_later(p);
}

static void remember_end(struct process *p, const siginfo_t *info)
{
    uint64_t ran = (loop_now_ns(p->host.loop) - p->started_ns) / NS_PER_S;
    if (info->si_code == CLD_EXITED)
        snprintf(p->last_failure, sizeof p->last_failure, "%.100s ended with exit code %d after %llu s",
                 p->command.argv[0], info->si_status, (unsigned long long)ran);
    else
        snprintf(p->last_failure, sizeof p->last_failure, "%.100s was killed by signal %d (%s) after %llu s",
                 p->command.argv[0], info->si_status, strsignal(info->si_status), (unsigned long long)ran);
}

/* What it wrote last is still in the pipes; what it left behind in its group is killed, and with it their other ends.
 */
static void on_end(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct process *p = container_of(w, struct process, ended);
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
        return;
    bool good = info.si_code == CLD_EXITED && info.si_status == 0, once = source_param(p->spec, "once", NULL);
    if (!once || !good) /* what is run once may have been run to leave something behind */
        kill(-p->pid, SIGKILL);
    readable(&p->out.watch, 0);
    readable(&p->err.watch, 0);
    stream_close(&p->out);
    stream_close(&p->err);
    int fd = w->fd;
    loop_watch_remove(p->host.loop, w);
    close(fd);
    p->pid = 0;
    loop_timer_stop(p->host.loop, &p->settled);
    remember_end(p, &info);
    if (p->closing) {
        if (!p->end_pending) /* else the next part, or the task, finds that it has ended */
            loop_defer(p->host.loop, &p->closed_task);
        return;
    }
    if (once) {
        stands(p, good ? NULL : "CommandEnded", p->last_failure);
        return;
    }
    if (loop_now_ns(p->host.loop) - p->started_ns >= STEADY_NS)
        p->failures = 0;
    start_later(p);
}

/* ---- life ---- */

static void begin(struct process *p);

static enum err check(const struct source_spec *spec, struct diag *d)
{
    struct process_command c;
    enum err e = process_command_make(spec, "", &c, d);
    if (e == OK)
        process_command_fini(&c);
    uint64_t timeout_ns;
    if (e == OK)
        e = source_sink_timeout(spec, &timeout_ns, d); /* it is passed on as it is */
    return e == OK ? source_overrides_check(spec, d) : e;
}

static void finish_close(struct loop_task *t)
{
    struct process *p = container_of(t, struct process, closed_task);
    assert(p->pid == 0 && p->out.watch.fd < 0 && p->err.watch.fd < 0);
    void (*closed)(void *arg) = p->closed;
    void *arg = p->closed_arg;
    loop_timer_stop(p->host.loop, &p->grace);
    if (p->host.last && *p->host.last == &p->head)
        *p->host.last = NULL;
    if (p->successor)
        begin(p->successor);
    process_command_fini(&p->command);
    free(p);
    closed(arg);
}

static void grace(struct loop_timer *t)
{
    struct process *p = container_of(t, struct process, grace);
    notice(p, true, "process.killed", "%s did not end within %d s of SIGTERM", p->command.argv[0],
           (int)(GRACE_NS / NS_PER_S));
    kill(-p->pid, SIGKILL);
}

/* Nobody took the command over. */
static void end(struct loop_task *t)
{
    struct process *p = container_of(t, struct process, end_task);
    p->end_pending = false;
    if (p->pid == 0) {
        loop_defer(p->host.loop, &p->closed_task);
        return;
    }
    kill(-p->pid, SIGTERM);
    loop_timer_start(p->host.loop, &p->grace, GRACE_NS);
}

static void close_source(struct source *s, void (*closed)(void *arg), void *arg)
{
    struct process *p = process_of(s);
    assert(!p->closing);
    p->closing = true;
    p->closed = closed;
    p->closed_arg = arg;
    loop_timer_stop(p->host.loop, &p->restart);
    loop_timer_stop(p->host.loop, &p->settled);
    p->end_pending = true;
    loop_defer(p->host.loop, &p->end_task);
}

static void stream_init(struct stream *s, struct process *p, const char *what)
{
    s->watch.fd = -1;
    s->process = p;
    s->what = what;
}

struct farewell { /* the part that was closed, when its command goes on */
    struct loop_task task;
    void (*closed)(void *arg);
    void *arg;
};

static void say_farewell(struct loop_task *t)
{
    struct farewell f = *container_of(t, struct farewell, task);
    free(container_of(t, struct farewell, task));
    f.closed(f.arg);
}

/* The closing part becomes the new one, with its command as it runs, or waits for its next start. `command` is taken
 * over on OK. */
static enum err go_on(struct process *p, const struct source_spec *spec, const struct source_host *host,
                      struct process_command *command)
{
    struct farewell *f = malloc(sizeof *f);
    if (!f)
        return ERR_NOMEM;
    *f = (struct farewell){.closed = p->closed, .arg = p->closed_arg};
    loop_task_init(&f->task, say_farewell);
    loop_defer(host->loop, &f->task);
    loop_task_cancel(&p->end_task);
    process_command_fini(&p->command);
    p->command = *command;
    p->spec = spec;
    p->host = *host;
    p->closing = p->end_pending = false;
    if (p->pid == 0)
        loop_timer_start(host->loop, &p->restart, WAIT_NS);
    else
        loop_timer_start(host->loop, &p->settled, SETTLED_NS);
    return OK;
}

static void begin(struct process *p)
{
    struct diag d = {0};
    if (start(p, &d) == OK)
        return;
    snprintf(p->last_failure, sizeof p->last_failure, "%.190s", d.text);
    start_later(p);
}

/* Without one before it, or with one whose command is another. `command` is taken over. */
static enum err make(const struct source_spec *spec, const struct source_host *host, struct process_command *command,
                     struct process *before, struct process **out, struct diag *d)
{
    struct process *p = calloc(1, sizeof *p);
    enum err e = p ? OK : ERR_NOMEM;
    if (p) {
        p->head.ops = &process_source;
        p->command = *command;
        p->spec = spec;
        p->host = *host;
        p->ended.fd = -1;
        stream_init(&p->out, p, "process.stdout");
        stream_init(&p->err, p, "process.stderr");
        loop_timer_init(&p->restart, restart);
        loop_timer_init(&p->settled, settled);
        loop_timer_init(&p->grace, grace);
        loop_task_init(&p->end_task, end);
        loop_task_init(&p->closed_task, finish_close);
        if (before)
            before->successor = p;
        else if (source_param(spec, "container", NULL) &&
                 !source_param(spec, "once", NULL)) /* a manifest's: what is wrong is in its condition */
            begin(p);
        else
            e = start(p, d);
    }
    if (e != OK) {
        process_command_fini(command);
        free(p);
        return e;
    }
    *out = p;
    return OK;
}

static enum err open_source(const struct source_spec *spec, const struct source_host *host, struct source **out,
                            struct diag *d)
{
    struct process *before = host->last && *host->last ? process_of(*host->last) : NULL, *p = before;
    struct process_command command;
    enum err e = process_command_make(spec, host->sink->url, &command, d);
    if (e != OK)
        return e;
    if (before && before->end_pending && process_command_equal(&command, &before->command)) {
        e = go_on(before, spec, host, &command);
        if (e != OK)
            process_command_fini(&command);
    } else {
        e = make(spec, host, &command, before, &p, d);
    }
    if (e != OK)
        return e;
    if (host->last)
        *host->last = &p->head;
    *out = &p->head;
    return OK;
}

static const char *last_failure(const struct source *s)
{
    return container_of(s, const struct process, head)->last_failure;
}

const struct source_ops process_source = {
    .name = "process",
    .one_loop = true,
    .posts = true,
    .check = check,
    .open = open_source,
    .close = close_source,
    .last_failure = last_failure,
    .main = process_main,
};
