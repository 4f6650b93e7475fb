/* SPDX-License-Identifier: Apache-2.0
 *
 * Options, files and environment of `leat source NAME`, made one configuration. Runs before any thread or loop.
 *
 * An option wins over its environment variable. Environment as Knative sets it for adapters: K_SINK, K_CE_OVERRIDES,
 * K_CA_CERTS, K_SINK_TIMEOUT, NAMESPACE, NAME, PORT.
 */
#include "runner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "pem.h"
#include "text.h"

#define SECRET_FILE_MAX 65536 /* a secret is a line; whoever names a bigger file has mistaken it */
#define OVERRIDES_DEPTH_MAX 8
#define EVENT_BYTES_DEFAULT (1u << 20)

static const struct runner_option shared[] = {
    {"sink", "URL", false, NULL, "K_SINK", "Where events are posted."},
    {"health", "ADDR", false, NULL, NULL, "Serves /livez, /readyz and /metrics there. Default: off."},
    {"max-event-bytes", "BYTES", false, NULL, NULL, "The largest event. Default: 1MiB."},
    {"namespace", "NS", false, NULL, "NAMESPACE", "Sent along with each event. Default: default."},
    {"name", "NAME", false, NULL, "NAME", "Name of this source in metrics. Default: the source's own."},
    {"log", "FORM", false, NULL, NULL, "text or json. Default: text."},
    {NULL, NULL, false, NULL, NULL, NULL}};

/* Of sources that have webhooks. */
static const struct runner_option webhook_options[] = {
    {"listen", "ADDR", false, NULL, "PORT", "Where webhooks are taken; port 0 picks one. Default: 127.0.0.1:8080."},
    {"webhook-url", "URL", false, NULL, NULL,
     "The webhooks' URL as the world reaches it; with an access token the webhook is made there."},
    {"remove-webhook", NULL, false, NULL, NULL, "Removes the webhook at the end."},
    {NULL, NULL, false, NULL, NULL, NULL}};

/* Of sources that take up their work where they were. */
static const struct runner_option state_options[] = {
    {"state", "FILE", false, NULL, NULL,
     "Keeps there up to where it came, for its next start. Default: nothing is kept."},
    {NULL, NULL, false, NULL, NULL, NULL}};

__attribute__((format(printf, 3, 4))) static int complain(const struct runner_program *p, int code, const char *format,
                                                          ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "leat source %s: ", p->ops->name);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (code == RUNNER_USAGE)
        fprintf(stderr, "See `leat source %s --help`.\n", p->ops->name);
    return code;
}

static void help_options(const struct runner_option *o)
{
    for (; o->name; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-26s %s%s%s%s\n", left, o->help, o->env ? " Also $" : "", o->env ? o->env : "", o->env ? "." : "");
    }
}

static int help(const struct runner_program *p)
{
    printf("Usage: leat source %s [OPTIONS]%s%s\n\n%s\n\nOptions:\n", p->ops->name, p->command ? " -- " : "",
           p->command ? p->command : "", p->summary);
    help_options(p->options);
    if (p->webhook_default)
        help_options(webhook_options);
    if (p->keeps_place)
        help_options(state_options);
    help_options(shared);
    printf("\nMore environment: K_CE_OVERRIDES ({\"extensions\":{...}}), K_CA_CERTS (certificates in PEM form for an "
           "https sink), K_SINK_TIMEOUT (seconds for each attempt).\n"
           "It ends cleanly on SIGTERM: what was begun is finished.\n\nExamples:\n%s",
           p->examples);
    return RUNNER_OK;
}

/* Takes a string over, to be freed with the configuration; NULL when there is none, or no room (which is as good as
 * no memory). */
static char *own(struct runner_config *c, char *s)
{
    if (s && c->owned_count == RUNNER_OWNED_MAX) {
        free(s);
        return NULL;
    }
    if (s)
        c->owned[c->owned_count++] = s;
    return s;
}

/* The last value given for a parameter counts. */
static void set_param(struct runner_config *c, const char *name, const char *value)
{
    size_t i = 0;
    while (i < c->spec.param_count && strcmp(c->params[i].name, name) != 0)
        i++;
    if (i == RUNNER_PARAMS_MAX)
        return;
    c->params[i] = (struct source_param){name, value};
    if (i == c->spec.param_count)
        c->spec.param_count++;
}

static int read_secret(const struct runner_program *p, struct runner_config *c, const char *path, const char **out)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return complain(p, RUNNER_INPUT, "cannot read %s: %s.", path, strerror(errno));
    char *text = own(c, malloc(SECRET_FILE_MAX + 1));
    size_t n = text ? fread(text, 1, SECRET_FILE_MAX + 1, f) : 0;
    bool failed = ferror(f) != 0;
    fclose(f);
    if (!text || failed)
        return complain(p, RUNNER_INPUT, "cannot read %s.", path);
    if (n > SECRET_FILE_MAX || memchr(text, '\0', n))
        return complain(p, RUNNER_INPUT, "%s holds no secret: it is too long or not text.", path);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    if (n == 0)
        return complain(p, RUNNER_INPUT, "%s is empty.", path);
    *out = text;
    return -1;
}

static int set_shared(const struct runner_program *p, struct runner_config *c, const char *name, const char *value)
{
    struct diag d = {0};
    uint64_t bytes;
    if (strcmp(name, "sink") == 0)
        c->sink = value;
    else if (strcmp(name, "listen") == 0)
        c->listen = value;
    else if (strcmp(name, "health") == 0)
        c->health = value;
    else if (strcmp(name, "state") == 0)
        c->state = value;
    else if (strcmp(name, "webhook-url") == 0)
        c->webhook_url = value;
    else if (strcmp(name, "remove-webhook") == 0)
        c->remove_webhook = true;
    else if (strcmp(name, "namespace") == 0)
        c->spec.namespace_name = value;
    else if (strcmp(name, "name") == 0)
        c->spec.name = value;
    else if (strcmp(name, "log") == 0 && (strcmp(value, "json") == 0 || strcmp(value, "text") == 0))
        c->log_json = strcmp(value, "json") == 0;
    else if (strcmp(name, "log") == 0)
        return complain(p, RUNNER_USAGE, "--log must be text or json.");
    else if (bytes_parse(slice_str(value), &bytes, &d) != OK || bytes == 0 || bytes > CE_EVENT_BYTES_MAX)
        return complain(p, RUNNER_USAGE, "--max-event-bytes must be a size up to 256MiB, as in 1MiB or 500KiB.");
    else
        c->event_bytes_max = (size_t)bytes;
    return -1;
}

static const struct runner_option *find_option(const struct runner_option *o, struct slice name)
{
    for (; o->name; o++)
        if (slice_eq_str(name, o->name))
            return o;
    return NULL;
}

static int set_option(const struct runner_program *p, struct runner_config *c, const struct runner_option *o,
                      const char *value)
{
    if (!o->param)
        return set_shared(p, c, o->name, value);
    int code = o->is_file ? read_secret(p, c, value, &value) : -1;
    if (code < 0)
        set_param(c, o->param, value);
    return code;
}

/* What stands behind "--". */
static int read_command(const struct runner_program *p, int argc, char **argv, struct runner_config *c)
{
    for (int i = 0; i < argc; i++) {
        if (c->spec.param_count == RUNNER_PARAMS_MAX)
            return complain(p, RUNNER_USAGE, "the command has more than %d words.", RUNNER_PARAMS_MAX);
        c->params[c->spec.param_count++] = (struct source_param){"command", argv[i]};
    }
    return -1;
}

static int read_arguments(const struct runner_program *p, int argc, char **argv, struct runner_config *c)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help(p);
        if (p->command && strcmp(argv[i], "--") == 0)
            return read_command(p, argc - i - 1, argv + i + 1, c);
        if (strncmp(argv[i], "--", 2) != 0)
            return complain(p, RUNNER_USAGE, "'%s' is no option.", argv[i]);
        struct slice rest = slice_str(argv[i] + 2);
        struct slice name = slice_split(&rest, '=');
        const struct runner_option *o = find_option(p->options, name);
        o = o ? o : find_option(shared, name);
        o = o || !p->webhook_default ? o : find_option(webhook_options, name);
        o = o || !p->keeps_place ? o : find_option(state_options, name);
        if (!o)
            return complain(p, RUNNER_USAGE, "there is no option --%.*s.", SLICE_ARG(name));
        const char *value = rest.ptr;
        if (!o->value && value)
            return complain(p, RUNNER_USAGE, "--%s takes no value.", o->name);
        if (o->value && !value) {
            if (i + 1 == argc)
                return complain(p, RUNNER_USAGE, "--%s needs a value: --%s %s.", o->name, o->name, o->value);
            value = argv[++i];
        }
        int code = set_option(p, c, o, o->value ? value : "true");
        if (code >= 0)
            return code;
    }
    return -1;
}

/* What the environment says; options, read after it, win. */
static int read_environment(const struct runner_program *p, struct runner_config *c)
{
    for (const struct runner_option *o = p->options; o->name; o++) {
        const char *value = o->env ? getenv(o->env) : NULL;
        if (value && *value)
            set_param(c, o->param, value);
    }
    const char *value;
    if ((value = getenv("K_SINK")) && *value)
        c->sink = value;
    if ((value = getenv("NAMESPACE")) && *value)
        c->spec.namespace_name = value;
    if ((value = getenv("NAME")) && *value)
        c->spec.name = value;
    if ((value = getenv("K_SINK_TIMEOUT")) && *value)
        set_param(c, "sinkTimeoutSeconds", value);
    if ((value = getenv("K_CA_CERTS")) && *value)
        c->ca_certs = value;
    uint64_t port;
    if (p->webhook_default && (value = getenv("PORT")) && *value) {
        if (decimal_parse(slice_str(value), UINT16_MAX, &port) != OK)
            return complain(p, RUNNER_INPUT, "$PORT is '%s', no port.", value);
        char *address = NULL;
        c->listen = own(c, asprintf(&address, ":%u", (unsigned)port) < 0 ? NULL : address);
        if (!c->listen)
            return complain(p, RUNNER_FAILED, "no memory.");
    }
    return -1;
}

static char *unescaped(struct runner_config *c, struct slice string)
{
    struct buf b;
    buf_init(&b, string.len + 1);
    json_unescape(string, &b);
    buf_put(&b, SLICE(""));
    char *s = own(c, buf_take_string(&b));
    buf_fini(&b);
    return s;
}

static int read_overrides(const struct runner_program *p, struct runner_config *c)
{
    const char *text = getenv("K_CE_OVERRIDES");
    if (!text || !*text)
        return -1;
    struct json_value v, extensions;
    struct diag d = {0};
    if (json_check(slice_str(text), OVERRIDES_DEPTH_MAX, &v, &d) != OK)
        return complain(p, RUNNER_INPUT, "$K_CE_OVERRIDES is no JSON: column %d: %s.", d.column, d.text);
    if (v.type != JSON_OBJECT)
        return complain(p, RUNNER_INPUT, "$K_CE_OVERRIDES must be an object: {\"extensions\":{\"name\":\"value\"}}.");
    if (!json_find(v, (const char *const[]){"extensions", NULL}, &extensions) || extensions.type == JSON_NULL)
        return -1;
    struct json_walk w;
    if (extensions.type != JSON_OBJECT)
        return complain(p, RUNNER_INPUT,
                        "$K_CE_OVERRIDES: extensions must be an object: {\"extensions\":{\"name\":\"value\"}}.");
    json_walk_begin(&w, extensions);
    while (json_walk_next(&w)) {
        if (w.value.type != JSON_STRING)
            return complain(p, RUNNER_INPUT, "$K_CE_OVERRIDES: the value of %.*s must be a string.", SLICE_ARG(w.name));
        if (c->spec.ce_override_count == RUNNER_OVERRIDES_MAX)
            return complain(p, RUNNER_INPUT, "$K_CE_OVERRIDES: more than %d extensions.", RUNNER_OVERRIDES_MAX);
        struct source_param *o = &c->overrides[c->spec.ce_override_count++];
        o->name = unescaped(c, w.name);
        o->value = unescaped(c, w.value.raw);
        if (!o->name || !o->value)
            return complain(p, RUNNER_FAILED, "no memory.");
    }
    return -1;
}

static enum err check_sink(const char *sink, struct diag *d)
{
    struct http_url url;
    enum err e = http_url_parse(slice_str(sink), &url, d);
    if (e == OK)
        http_url_fini(&url);
    return e;
}

int runner_config_read(const struct runner_program *p, int argc, char **argv, struct runner_config *c)
{
    *c = (struct runner_config){.event_bytes_max = EVENT_BYTES_DEFAULT, .listen = p->webhook_default};
    c->spec = (struct source_spec){.type = p->ops->name,
                                   .namespace_name = "default",
                                   .name = p->ops->name,
                                   .params = c->params,
                                   .ce_overrides = c->overrides};
    int code = read_environment(p, c);
    if (code < 0)
        code = read_arguments(p, argc, argv, c);
    if (code < 0)
        code = read_overrides(p, c);
    if (code >= 0)
        return code;
    if (!c->sink)
        return complain(p, RUNNER_USAGE, "there is no sink: set K_SINK, or give --sink URL.");
    if (c->ca_certs && pem_certificates(c->ca_certs) == 0)
        return complain(p, RUNNER_INPUT,
                        "$K_CA_CERTS holds no certificates (PEM, -----BEGIN CERTIFICATE-----), or one that is broken.");
    struct diag d = {0};
    enum err e = check_sink(c->sink, &d);
    if (e != OK)
        return complain(p, e == ERR_INVALID ? RUNNER_INPUT : RUNNER_FAILED, "the sink: %s.", d.text);
    e = source_overrides_check(&c->spec, &d);
    if (e == OK)
        e = p->ops->check(&c->spec, &d);
    if (e != OK)
        return complain(p, e == ERR_INVALID ? RUNNER_INPUT : RUNNER_FAILED, "%s.", d.text[0] ? d.text : err_name(e));
    return -1;
}

void runner_config_fini(struct runner_config *c)
{
    for (size_t i = 0; i < c->owned_count; i++)
        free(c->owned[i]);
    c->owned_count = 0;
}
