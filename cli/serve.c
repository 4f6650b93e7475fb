/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat serve`: options for the broker.
 */
#include "serve.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus_option.h"
#include "client.h"
#include "command.h"
#include "data_dir.h"
#include "log.h"
#include "plan.h"
#include "text.h"
#include "trace.h"

#define PROBE_NS_MIN (100 * NS_PER_MS) /* each asks a bus once a channel */
#define PROBE_NS_MAX (24 * 3600 * NS_PER_S)
#define CERTS_MAX (1u << 16) /* a variable of the environment holds 128 KiB at most */

static const struct option_spec options[] = {
    {"file", 'f', "PATH", "A manifest, or a folder of them (*.yaml, *.yml, *.json). May be given more than once.",
     true},
    {"ingress", 0, "ADDR", "Where events come in. Default: 127.0.0.1:8080. Port 0 picks one and prints it.", false},
    {"api", 0, "ADDR", "Where resources, health and metrics are. Default: 127.0.0.1:8001.", false},
    {"api-cert", 0, "FILE",
     "The API speaks https with this certificate (PEM, with its chain); read again when it changes. Needs --api-key.",
     false},
    {"api-key", 0, "FILE", "The certificate's private key (PEM).", false},
    {"tokens", 0, "FILE",
     "Who may use the API, as `leat token create` writes it; then a token is asked for on the loopback address too. "
     "Default: tokens in the data directory, for an --api that other machines reach.",
     false},
    {"open-metrics", 0, NULL, "Let /metrics be read without a token.", false},
    {"hooks", 0, "ADDR", "A listener of their own for webhooks. Default: /hooks on the ingress listener.", false},
    {"hooks-url", 0, "URL",
     "Where the world reaches the webhooks, so that they can be registered (https://hooks.example.org).", false},
    {"bus", 0, "NAME[,PARAM=VALUE]",
     "The bus of channels and brokers that name none. Default: log, in the data directory; memory with --ephemeral. "
     "kafka,bootstrap.servers=one:9092,two:9092 is Kafka; rabbitmq,url=amqp://one is RabbitMQ; "
     "pubsub,project=ID,credentials.file=key.json is Google Pub/Sub; "
     "faulty,inner=memory,revoke=0.1 tries out a bad day. A value @FILE is what that file holds.",
     false},
    {"resolve", 0, "NAME.NS=URL",
     "The address of a Service or Route that is not declared here. May be given more than once.", true},
    {"data-dir", 0, "DIR",
     "Where resources and events are kept. Default: $STATE_DIRECTORY, else $XDG_STATE_HOME/leat, else "
     "~/.local/state/leat.",
     false},
    {"ephemeral", 0, NULL, "Keep everything in memory: nothing is written, and nothing is there after a restart.",
     false},
    {"shared", 0, NULL,
     "Other processes run the same manifests on the same bus, and share its work: needs -f and a --bus that can be "
     "shared. Nothing is kept in this process; resources change by their files alone.",
     false},
    {"sources", 0, "yes|no",
     "Whether this process does what one alone must do for sources: register webhooks. Of processes that share a bus, "
     "give it to one. Default: yes; no with --shared.",
     false},
    {"allow-commands", 0, "files|all",
     "Run the commands that ContainerSources name, as this user: of the manifests given with -f, or also those that "
     "come "
     "over the API. Default: none.",
     false},
    {"max-event-bytes", 0, "SIZE", "The largest event. Default: 1MiB; beyond it 413 is answered.", false},
    {"max-headers", 0, "SIZE",
     "The largest head of a request. Default: 32KiB; beyond it 431 is answered. 80KiB lets an event of 64 KiB pass "
     "whose bytes are nearly all headers.",
     false},
    {"drain", 0, "DURATION", "How long SIGTERM waits for deliveries under way. Default: 30s.", false},
    {"probe-interval", 0, "DURATION",
     "How often a bus is asked whether it takes events of a channel to which none came meanwhile: what Ready says. "
     "Default: 30s.",
     false},
    {"auto-create-event-types", 0, NULL,
     "Make an EventType for each type and source of events that pass a Broker or Channel.", false},
    {"trace-bytes", 0, "SIZE",
     "Memory for what happened to the latest events, which `leat explain` shows. Default: 4MiB; 0 remembers nothing.",
     false},
    {"loops", 0, "N", "Event loops, one thread each. Default: one per core.", false},
    {"proxy", 0, "URL", "A proxy for deliveries. Default: none; the environment is not asked.", false},
    {"ca-file", 0, "FILE", "Certificates (PEM) to trust for https sinks. Default: the system's.", false},
    {"log-format", 0, "text|json", "Default: text.", false},
    {"log-level", 0, "LEVEL", "debug, info, warn or error. Default: info.", false},
    {0},
};

/* Every value of a repeating option, NULL-terminated; the caller frees the array. */
static const char **all_values(const struct invocation *in, const char *name, size_t *count)
{
    const char **values = calloc(in->given_count + 1, sizeof *values);
    size_t cursor = 0;
    *count = 0;
    for (const char *v; values && (v = option_next(in, name, &cursor));)
        values[(*count)++] = v;
    return values;
}

/* Reads a size, duration or number option; false (said) when it is wrong. */
static bool read_size(const struct invocation *in, const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    struct diag d = {0};
    const char *v = option_value(in, name, NULL);
    if (!v)
        return true;
    if (bytes_parse(slice_str(v), out, &d) != OK) {
        usage_error(in->command, "--%s: %s", name, d.text);
        return false;
    }
    if (*out < least || *out > most) {
        usage_error(in->command, "--%s: %s is out of range; it can be %llu to %llu bytes.", name, v,
                    (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    return true;
}

static bool read_duration(const struct invocation *in, const char *name, uint64_t *out)
{
    struct diag d = {0};
    const char *v = option_value(in, name, NULL);
    if (v && duration_parse(slice_str(v), out, &d) != OK) {
        usage_error(in->command, "--%s: %s", name, d.text);
        return false;
    }
    return true;
}

static bool read_durations(const struct invocation *in, struct serve_options *o)
{
    if (!read_duration(in, "drain", &o->drain_ns) || !read_duration(in, "probe-interval", &o->verify_ns))
        return false;
    if (!option_given(in, "probe-interval") || (o->verify_ns >= PROBE_NS_MIN && o->verify_ns <= PROBE_NS_MAX))
        return true;
    usage_error(in->command, "--probe-interval: %s is out of range; it can be 100ms to 24h.",
                option_value(in, "probe-interval", ""));
    return false;
}

static bool read_loops(const struct invocation *in, unsigned *out)
{
    uint64_t n;
    const char *v = option_value(in, "loops", NULL);
    if (!v)
        return true;
    if (decimal_parse(slice_str(v), 256, &n) != OK || n == 0) {
        usage_error(in->command, "--loops: '%s' is no number from 1 to 256.", v);
        return false;
    }
    *out = (unsigned)n;
    return true;
}

static bool read_resolves(const struct invocation *in)
{
    struct diag d = {0};
    size_t cursor = 0;
    for (const char *v; (v = option_next(in, "resolve", &cursor));)
        if (plan_resolve_check(v, &d) != OK) {
            usage_error(in->command, "--resolve: %s", d.text);
            return false;
        }
    return true;
}

/* --data-dir, or where the system has such things; NULL with --ephemeral. The caller frees it. */
static bool read_data_dir(const struct invocation *in, char **out)
{
    struct diag d = {0};
    const char *given = option_value(in, "data-dir", NULL);
    if (option_given(in, "ephemeral") && given) {
        usage_error(in->command, "--ephemeral writes nothing: it cannot go with --data-dir.");
        return false;
    }
    if (option_given(in, "shared") && given) {
        usage_error(in->command, "--shared keeps nothing but on its bus: it cannot go with --data-dir.");
        return false;
    }
    if (option_given(in, "ephemeral") || option_given(in, "shared") || data_dir_choose(given, out, &d) == OK)
        return true;
    usage_error(in->command, "%s.", d.text);
    return false;
}

/* --shared and --sources; false (said) when they do not go with the rest. */
static bool read_shared(const struct invocation *in, struct serve_options *o)
{
    const char *sources = option_value(in, "sources", option_given(in, "shared") ? "no" : "yes");
    o->shared = option_given(in, "shared");
    o->sources = strcmp(sources, "yes") == 0;
    if (!o->sources && strcmp(sources, "no") != 0) {
        usage_error(in->command, "--sources: '%s' is neither yes nor no.", sources);
        return false;
    }
    if (o->shared && !option_given(in, "file")) {
        usage_error(in->command, "--shared needs manifests, the same for all processes: -f PATH.");
        return false;
    }
    if (o->shared && !option_given(in, "bus")) {
        usage_error(
            in->command,
            "--shared needs a bus that processes can share: "
            "--bus kafka,bootstrap.servers=HOST:9092, --bus rabbitmq,url=amqp://HOST, or --bus pubsub,project=ID.");
        return false;
    }
    if (o->shared && o->auto_create_event_types) {
        usage_error(in->command, "--auto-create-event-types makes resources, and with --shared only files do.");
        return false;
    }
    return true;
}

static bool read_commands(const struct invocation *in, enum plan_commands *out)
{
    const char *v = option_value(in, "allow-commands", NULL);
    if (v)
        *out = strcmp(v, "all") == 0 ? PLAN_COMMANDS_ALL : PLAN_COMMANDS_FILES;
    if (!v || strcmp(v, "all") == 0 || strcmp(v, "files") == 0)
        return true;
    usage_error(in->command, "--allow-commands: '%s' is neither files nor all.", v);
    return false;
}

/* What --ca-file holds, where there may be commands that get it; the caller frees it. */
static int read_certs(const struct invocation *in, const struct serve_options *o, char **out)
{
    struct buf b;
    if (!o->ca_file || o->commands == PLAN_COMMANDS_NONE)
        return 0;
    bool good = read_file(in->command, o->ca_file, CERTS_MAX, &b);
    *out = good ? buf_take_string(&b) : NULL;
    buf_fini(&b);
    return good && !*out ? fail(in->command, EXIT_CODE_FAILED, "out of memory.") : good ? 0 : EXIT_CODE_INPUT;
}

static bool start_log(const struct invocation *in)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const char *format = option_value(in, "log-format", "text"), *level = option_value(in, "log-level", "info");
    bool json = strcmp(format, "json") == 0;
    if (!json && strcmp(format, "text") != 0) {
        usage_error(in->command, "--log-format: '%s' is neither text nor json.", format);
        return false;
    }
    for (int i = 0; i < 4; i++)
        if (strcmp(level, levels[i]) == 0) {
            log_setup(clock_system(), (enum log_level)i, json, !json && colours_on(STDERR_FILENO));
            return true;
        }
    usage_error(in->command, "--log-level: '%s' is none of debug, info, warn, error.", level);
    return false;
}

static int exit_code(enum serve_end end)
{
    switch (end) {
    case SERVE_OK:
        return EXIT_CODE_OK;
    case SERVE_BAD_INPUT:
        return EXIT_CODE_INPUT;
    case SERVE_LOST:
        return EXIT_CODE_LOST;
    case SERVE_FAILED:
        break;
    }
    return EXIT_CODE_FAILED;
}

static int run(const struct invocation *in)
{
    size_t resolve_count;
    struct serve_options o = {
        .ingress = option_value(in, "ingress", "127.0.0.1:8080"),
        .api = option_value(in, "api", "127.0.0.1:8001"),
        .api_cert = option_value(in, "api-cert", NULL),
        .api_key = option_value(in, "api-key", NULL),
        .tokens = option_value(in, "tokens", NULL),
        .open_metrics = option_given(in, "open-metrics"),
        .hooks = option_value(in, "hooks", NULL),
        .hooks_url = option_value(in, "hooks-url", NULL),
        .proxy = option_value(in, "proxy", NULL),
        .ca_file = option_value(in, "ca-file", NULL),
        .trace_bytes = TRACE_BYTES_DEFAULT,
        .auto_create_event_types = option_given(in, "auto-create-event-types"),
    };
    if (!start_log(in) || !read_shared(in, &o) || !read_durations(in, &o) || !read_loops(in, &o.loops) ||
        !read_resolves(in) || !read_commands(in, &o.commands) ||
        !read_size(in, "max-event-bytes", 1024, CE_EVENT_BYTES_MAX, &o.event_bytes_max) ||
        !read_size(in, "max-headers", 4096, 1u << 20, &o.head_bytes_max) ||
        !read_size(in, "trace-bytes", 0, TRACE_BYTES_MAX, &o.trace_bytes))
        return EXIT_CODE_USAGE;
    if (!o.api_cert != !o.api_key)
        return usage_error(in->command, "--api-cert and --api-key go together.");
    char *data_dir = NULL;
    if (!read_data_dir(in, &data_dir))
        return EXIT_CODE_USAGE;
    o.data_dir = data_dir;
    struct bus_option bus;
    char *certs = NULL;
    int code = bus_option_read(in->command, option_value(in, "bus", NULL), &bus);
    if (!code)
        code = read_certs(in, &o, &certs);
    if (code) {
        bus_option_fini(&bus);
        free(data_dir);
        return code;
    }
    o.ca_certs = certs;
    o.bus = bus.name;
    o.bus_params = bus.params;
    o.bus_param_count = bus.count;
    const char **paths = all_values(in, "file", &o.path_count), **resolves = all_values(in, "resolve", &resolve_count);
    o.paths = paths;
    o.resolve = resolves;
    code = paths && resolves ? exit_code(serve(&o)) : fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    free(paths);
    free(resolves);
    bus_option_fini(&bus);
    free(certs);
    free(data_dir);
    return code;
}

const struct command command_serve = {
    .name = "serve",
    .summary = "Run the broker: channels, subscriptions, sources",
    .operands = "",
    .text = "Reads manifests, opens the listeners, and delivers events until SIGTERM, which drains. SIGHUP reads the "
            "manifests again and\n"
            "applies them only when nothing in them is wrong.",
    .examples =
        "  leat serve -f examples/github-to-service\n"
        "  leat serve -f manifests --ingress :8080 --api 127.0.0.1:8001 --resolve legit.default=http://127.0.0.1:9000",
    .options = options,
    .run = run,
};
