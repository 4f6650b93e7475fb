/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat listen`: a service for trying things out. It prints every event it gets in a readable form, and can be told to
 * fail, to be slow, or to reply.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ce_http.h"
#include "command.h"
#include "http_server.h"
#include "json.h"
#include "prng.h"
#include "text.h"

#define BODY_MAX (64u << 20)
#define SHOWN_MAX 300  /* bytes of data printed without --full */
#define BATCH_MAX 1000 /* events in one request: as many as leat sends */

static const struct option_spec options[] = {
    {"fail", 0, "N", "Answer the first N requests of each event with an error. Default: 0.", false},
    {"fail-all", 0, NULL, "Answer every request with an error.", false},
    {"status", 0, "CODE", "The error. Default: 503.", false},
    {"retry-after", 0, "SECONDS", "Retry-After with the error. Default: none.", false},
    {"delay", 0, "DURATION", "Wait before each answer. Default: none.", false},
    {"reply", 0, "TYPE", "Answer with an event of this type that carries the same data; a batch gets none.", false},
    {"count", 0, "N", "Exit after N accepted events.", false},
    {"full", 0, NULL, "Print data whole, however long.", false},
    {"name", 0, "TEXT", "Put before each line, to tell several listeners apart.", false},
    {"output", 'o', "text|json", "Default: text. json: one object a line.", false},
    {0},
};

/* How often an event was seen, by id: enough to fail the first tries of each. A ring: very old ones are forgotten. */
enum { SEEN_MAX = 4096 };

struct listener {
    const struct command *command;
    struct loop *loop;
    struct http_server *server;
    struct http_listener *listener;
    struct loop_watch signals;
    struct {
        uint64_t hash;
        unsigned tries;
    } seen[SEEN_MAX];
    size_t next_seen;
    uint64_t fail_first, count, accepted, delay_ns;
    bool fail_all, json, full, colours;
    int status;
    const char *retry_after, *reply, *name;
    struct prng random;
    struct loop_timer ending;
};

struct delayed {
    struct loop_timer timer;
    struct http_request *request;
};

static uint64_t hash(struct slice a, struct slice b)
{
    uint64_t h = 1469598103934665603ull;
    for (size_t i = 0; i < a.len; i++)
        h = (h ^ (unsigned char)a.ptr[i]) * 1099511628211ull;
    h = (h ^ 0xff) * 1099511628211ull;
    for (size_t i = 0; i < b.len; i++)
        h = (h ^ (unsigned char)b.ptr[i]) * 1099511628211ull;
    return h;
}

/* Which try of this event it is, from 1. */
static unsigned try_of(struct listener *l, const struct ce_event *e)
{
    uint64_t h = hash(ce_event_id(e), ce_event_source(e));
    for (size_t i = 0; i < SEEN_MAX; i++)
        if (l->seen[i].tries && l->seen[i].hash == h)
            return ++l->seen[i].tries;
    l->seen[l->next_seen].hash = h;
    l->seen[l->next_seen].tries = 1;
    l->next_seen = (l->next_seen + 1) % SEEN_MAX;
    return 1;
}

/* ---- printing ---- */

static void print_json(struct listener *l, const struct ce_event *e, unsigned try, int status)
{
    struct buf out;
    buf_init(&out, 2u * BODY_MAX);
    buf_printf(&out, "{\"try\":%u,\"status\":%d", try, status);
    if (l->name) {
        buf_put_str(&out, ",\"listener\":");
        buf_put_json_string(&out, slice_str(l->name));
    }
    buf_put_str(&out, ",\"event\":");
    ce_json_encode(e, &out);
    buf_put_str(&out, "}\n");
    fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
}

/* Text that strangers wrote: control characters must not reach the terminal. */
static void print_safe(struct slice s, const char *indent)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '\n')
            printf("\n%s", indent);
        else if (c == '\t' || (c >= 0x20 && c != 0x7f))
            putchar(c);
        else
            printf("\\x%02x", c);
    }
}

static void print_data(struct listener *l, const struct ce_event *e)
{
    struct slice data = ce_event_data(e);
    size_t shown = l->full || data.len < SHOWN_MAX ? data.len : SHOWN_MAX;
    if (ce_event_data_kind(e) == CE_DATA_NONE)
        return;
    if (!utf8_valid(data)) {
        printf("    data: %zu bytes, not text\n", data.len);
        return;
    }
    printf("    data: ");
    print_safe(slice_of(data.ptr, shown), "          ");
    if (shown < data.len)
        printf(" ... (%zu bytes; --full prints all)", data.len);
    putchar('\n');
}

static void print_text(struct listener *l, const struct ce_event *e, unsigned try, int status)
{
    char now[40] = "";
    struct buf time;
    const char *colour = !l->colours    ? ""
                         : status < 300 ? "\033[32m"
                                        : "\033[31m",
               *plain = l->colours ? "\033[0m" : "";
    buf_init(&time, sizeof now);
    rfc3339_put(&time, clock_wall_ns(clock_system()), 3);
    snprintf(now, sizeof now, "%.*s", (int)time.len, time.ptr);
    buf_fini(&time);
    printf("%s %s%s%s%d%s %s try=%u ", now, l->name ? l->name : "", l->name ? " " : "", colour, status, plain,
           status < 300 ? "accepted" : "refused ", try);
    print_safe(ce_event_type(e), "");
    putchar('\n');
    for (size_t i = 0; i < ce_event_attribute_count(e) && status < 300; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        printf("    %.*s: ", SLICE_ARG(a.name));
        print_safe(a.value, "          ");
        putchar('\n');
    }
    if (status < 300)
        print_data(l, e);
}

/* ---- answering ---- */

static void answer_error(struct listener *l, struct http_request *r)
{
    struct http_header headers[] = {
        {SLICE("Content-Type"), SLICE("text/plain")},
        {SLICE("Retry-After"), slice_str(l->retry_after)},
    };
    http_respond(r, l->status, headers, l->retry_after ? 2 : 1, SLICE("leat listen was told to fail\n"));
}

enum { REPLY_HEADERS_MAX = 300 };

/* The encoder's lines as a table of headers. */
static size_t split_headers(struct slice lines, struct http_header *out)
{
    size_t n = 0;
    while (lines.len && n < REPLY_HEADERS_MAX) {
        struct slice line = slice_split(&lines, '\n'), value = line, name = slice_split(&value, ':');
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        out[n++] = (struct http_header){name, slice_trim(value)};
    }
    return n;
}

static void answer_reply(struct listener *l, struct http_request *r, const struct ce_event *e)
{
    struct ce_builder b;
    struct buf lines, envelope;
    struct http_header headers[REPLY_HEADERS_MAX];
    const struct ce_event *reply;
    char id[37];
    prng_uuid(&l->random, id);
    ce_builder_from(&b, e);
    ce_builder_replace(&b, SLICE("type"), CE_STRING, slice_str(l->reply));
    ce_builder_replace(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_replace(&b, SLICE("causationid"), CE_STRING, ce_event_id(e));
    if (ce_builder_seal(&b, BODY_MAX, &reply, NULL) != OK) {
        http_respond_text(r, 500, "the reply could not be made");
        return;
    }
    buf_init(&lines, 1u << 20);
    buf_init(&envelope, 2u * BODY_MAX);
    bool binary = ce_event_mode_for(reply, CE_MODE_BINARY) == CE_MODE_BINARY;
    if (binary)
        ce_http_encode_binary(reply, &lines);
    else
        ce_http_encode_structured(reply, &lines, &envelope);
    size_t n = split_headers(buf_slice(&lines), headers);
    http_respond(r, 200, headers, n, binary ? ce_event_data(reply) : buf_slice(&envelope));
    buf_fini(&lines);
    buf_fini(&envelope);
    ce_event_unref(reply);
}

static void end_when_enough(struct listener *l)
{
    if (l->count && l->accepted >= l->count && !loop_timer_armed(&l->ending))
        loop_timer_start(l->loop, &l->ending, 50 * NS_PER_MS); /* the last answer has to leave first */
}

/* One answer for all events of a request: refused when one of them is to be. */
static void take(struct listener *l, struct http_request *r, const struct ce_event *const *events, size_t n)
{
    unsigned tries[BATCH_MAX];
    bool refuse = l->fail_all, reply = l->reply && n == 1;
    for (size_t i = 0; i < n; i++) {
        tries[i] = try_of(l, events[i]);
        refuse = refuse || tries[i] <= l->fail_first;
    }
    for (size_t i = 0; i < n; i++)
        (l->json ? print_json : print_text)(l, events[i], tries[i], refuse ? l->status : reply ? 200 : 202);
    fflush(stdout);
    if (refuse)
        answer_error(l, r);
    else if (reply)
        answer_reply(l, r, events[0]);
    else
        http_respond(r, 202, NULL, 0, (struct slice){0});
    l->accepted += refuse ? 0 : n;
    end_when_enough(l);
}

static void handle(struct http_request *r)
{
    const struct ce_http_limits limits = {BODY_MAX + 65536, BATCH_MAX};
    struct diag d = {0};
    const struct ce_event *events[BATCH_MAX];
    size_t count, n = 0;
    const struct http_header *headers = http_request_headers(r, &count);
    if (ce_http_decode(headers, count, http_request_body(r), &limits, events, BATCH_MAX, &n, &d) != OK) {
        printf("refused a request that is no CloudEvent: %s\n", d.text);
        fflush(stdout);
        http_respond_text(r, 400, "%s", d.text);
        return;
    }
    take(http_request_arg(r), r, events, n);
    for (size_t i = 0; i < n; i++)
        ce_event_unref(events[i]);
}

static void delay_over(struct loop_timer *t)
{
    struct delayed *later = container_of(t, struct delayed, timer);
    struct http_request *r = later->request;
    http_request_set_state(r, NULL);
    free(later);
    handle(r);
}

static void on_head(struct http_request *r, void *arg)
{
    (void)arg;
    if (slice_eq(http_request_method(r), SLICE("POST")))
        http_request_allow_body(r, BODY_MAX);
    else
        http_respond_text(r, 405, "events are sent with POST");
}

static void on_end(struct http_request *r)
{
    struct listener *l = http_request_arg(r);
    struct delayed *later = l->delay_ns ? calloc(1, sizeof *later) : NULL;
    if (!later) {
        handle(r);
        return;
    }
    later->request = r;
    loop_timer_init(&later->timer, delay_over);
    http_request_set_state(r, later);
    loop_timer_start(l->loop, &later->timer, l->delay_ns);
}

static void on_close(struct http_request *r)
{
    struct delayed *later = http_request_state(r);
    if (later)
        loop_timer_stop(http_request_loop(r), &later->timer);
    free(later);
}

static const struct http_handler handler = {on_head, NULL, on_end, on_close};

/* ---- running ---- */

static void on_signal(struct loop_watch *w, uint32_t events)
{
    (void)events;
    loop_stop(container_of(w, struct listener, signals)->loop);
}

static void ending_over(struct loop_timer *t)
{
    loop_stop(container_of(t, struct listener, ending)->loop);
}

static int listen_on(struct listener *l, const char *address)
{
    struct diag d = {0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), code = EXIT_CODE_OK;
    enum err e = fd < 0 ? ERR_IO : loop_watch_add(l->loop, &l->signals, fd, EPOLLIN, on_signal);
    if (e == OK)
        e = http_server_new(l->loop, &(struct http_server_options){.head_bytes_max = 80u << 10}, &handler, l,
                            &l->server);
    if (e == OK)
        e = http_listener_open(l->loop, address, &l->server, 1, &l->listener, &d);
    if (e == OK) {
        printf("listening on http://%s\n", http_listener_address(l->listener));
        fflush(stdout);
        e = loop_run(l->loop);
    }
    if (e != OK)
        code = fail(l->command, EXIT_CODE_FAILED, "%s", d.text[0] ? d.text : err_name(e));
    http_listener_close(l->listener);
    http_server_free(l->server);
    if (fd >= 0) {
        loop_watch_remove(l->loop, &l->signals);
        close(fd);
    }
    return code;
}

static bool number(const struct invocation *in, const char *name, uint64_t most, uint64_t *out)
{
    const char *v = option_value(in, name, NULL);
    if (v && decimal_parse(slice_str(v), most, out) != OK) {
        usage_error(in->command, "--%s: '%s' is no number up to %llu.", name, v, (unsigned long long)most);
        return false;
    }
    return true;
}

static bool read_options(const struct invocation *in, struct listener *l)
{
    struct diag d = {0};
    uint64_t status = 503, seconds;
    const char *delay = option_value(in, "delay", NULL);
    if (!number(in, "fail", 1000000, &l->fail_first) || !number(in, "status", 599, &status) ||
        !number(in, "count", UINT32_MAX, &l->count) || !number(in, "retry-after", 86400, &seconds))
        return false;
    if (status < 200) {
        usage_error(in->command, "--status: %llu is no final HTTP status.", (unsigned long long)status);
        return false;
    }
    if (delay && duration_parse(slice_str(delay), &l->delay_ns, &d) != OK) {
        usage_error(in->command, "--delay: %s", d.text);
        return false;
    }
    if (!wants_json(in, &l->json))
        return false;
    l->status = (int)status;
    l->fail_all = option_given(in, "fail-all");
    l->retry_after = option_value(in, "retry-after", NULL);
    l->reply = option_value(in, "reply", NULL);
    l->name = option_value(in, "name", NULL);
    l->full = option_given(in, "full");
    l->colours = colours_on(STDOUT_FILENO);
    return true;
}

static int run(const struct invocation *in)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l || loop_new(clock_system(), 1024, &l->loop) != OK) {
        free(l);
        return fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    }
    l->command = in->command;
    l->signals.fd = -1;
    prng_seed_system(&l->random);
    loop_timer_init(&l->ending, ending_over);
    int code =
        read_options(in, l) ? listen_on(l, in->operand_count ? in->operands[0] : "127.0.0.1:9000") : EXIT_CODE_USAGE;
    loop_free(l->loop);
    free(l);
    return code;
}

const struct command command_listen = {
    .name = "listen",
    .summary = "Be a service that prints what it gets, and fails or replies when told to",
    .operands = "[ADDR]",
    .operand_max = 1,
    .text = "ADDR is [HOST]:PORT, 127.0.0.1:9000 by default; port 0 picks one and prints it.",
    .examples = "  leat listen :9000\n  leat listen 127.0.0.1:0 --fail 2 --status 503\n  leat listen :9001 --reply "
                "order.confirmed --delay 200ms",
    .options = options,
    .run = run,
};
