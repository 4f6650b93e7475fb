/* SPDX-License-Identifier: Apache-2.0
 *
 * A source that the broker runs, as a pod.
 */
#include "source_served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "command.h"
#include "http_client.h"
#include "log.h"
#include "serve.h"
#include "text.h"

#define DRAIN_NS (10 * NS_PER_S) /* for attempts under way; less than the 30 s that Kubernetes gives */

/* ---- the manifest ---- */

bool served_is_on(const struct source_spec *spec, const char *name)
{
    const char *v = source_param(spec, name, "false");
    return strcmp(v, "true") == 0 || strcmp(v, "1") == 0;
}

void served_put(cJSON *to, const char *name, const char *value)
{
    if (value)
        cJSON_AddStringToObject(to, name, value);
}

cJSON *served_object(const struct source_spec *spec, const char *version, const char *kind, const char *name)
{
    cJSON *o = cJSON_CreateObject(), *metadata;
    served_put(o, "apiVersion", version);
    served_put(o, "kind", kind);
    metadata = cJSON_AddObjectToObject(o, "metadata");
    served_put(metadata, "namespace", spec->namespace_name);
    served_put(metadata, "name", name);
    return o;
}

/* Seconds, as K_SINK_TIMEOUT has them; the rest as Knative's sources whose environment says it. */
static void put_delivery(cJSON *to, const struct source_spec *spec)
{
    char text[64];
    const char *seconds = source_param(spec, "sinkTimeoutSeconds", NULL);
    cJSON *delivery = cJSON_AddObjectToObject(to, "delivery");
    served_put(delivery, "backoffPolicy", source_param(spec, "backoffPolicy", "exponential"));
    served_put(delivery, "backoffDelay", source_param(spec, "backoffDelay", "PT0.2S"));
    if (!seconds)
        return;
    snprintf(text, sizeof text, "PT%.32sS", seconds);
    served_put(delivery, "timeout", text);
}

static cJSON *whole(const struct source_served *served, const struct runner_config *c)
{
    const struct source_spec *s = &c->spec;
    cJSON *o = served->source(s), *spec = cJSON_GetObjectItemCaseSensitive(o, "spec");
    put_delivery(spec, s);
    served_put(cJSON_AddObjectToObject(spec, "sink"), "uri", c->sink);
    cJSON *extensions = cJSON_AddObjectToObject(cJSON_AddObjectToObject(spec, "ceOverrides"), "extensions");
    for (size_t i = 0; i < s->ce_override_count; i++)
        served_put(extensions, s->ce_overrides[i].name, s->ce_overrides[i].value);
    return o;
}

/* Both objects in a file without a name, so that no secret lies on a disk. The descriptor; -1: it could not be made. */
static int manifest(const struct source_served *served, const struct runner_config *c, char *path, size_t size)
{
    cJSON *objects[] = {served->secret(&c->spec), whole(served, c)};
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    bool good = fd >= 0;
    for (size_t i = 0; i < 2; i++) {
        char *text = cJSON_PrintUnformatted(objects[i]);
        good = good && text && dprintf(fd, "---\n%s\n", text) > 0;
        cJSON_free(text);
        cJSON_Delete(objects[i]);
    }
    if (!good && fd >= 0)
        close(fd);
    if (good)
        snprintf(path, size, "/proc/self/fd/%d", fd);
    return good ? fd : -1;
}

/* ---- what is wrong with it, in the words of the command line and not of the manifest ---- */

static enum err check_delivery(const struct source_spec *spec, struct diag *d)
{
    struct diag why = {0};
    uint64_t ns;
    char text[64];
    const char *policy = source_param(spec, "backoffPolicy", "exponential"),
               *delay = source_param(spec, "backoffDelay", "PT0.2S"),
               *seconds = source_param(spec, "sinkTimeoutSeconds", NULL);
    if (strcmp(policy, "linear") != 0 && strcmp(policy, "exponential") != 0)
        return diag_set(d, ERR_INVALID, "backoffPolicy is \"%.60s\"; it is linear or exponential", policy);
    if (iso8601_duration_parse(slice_str(delay), &ns, &why) != OK)
        return diag_set(d, ERR_INVALID, "backoffDelay: %s", why.text);
    snprintf(text, sizeof text, "PT%.32sS", seconds ? seconds : "1");
    if (iso8601_duration_parse(slice_str(text), &ns, NULL) != OK)
        return diag_set(d, ERR_INVALID, "K_SINK_TIMEOUT is \"%.60s\"; it is a number of seconds, as 30", seconds);
    return OK;
}

/* ---- the program ---- */

static int run(const struct source_served *served, const struct runner_config *c)
{
    char path[64], ca[64];
    const char *const paths[] = {path, NULL}, *const none[] = {NULL};
    int fd = manifest(served, c, path, sizeof path), ca_fd = -1;
    struct serve_options o = {.paths = paths,
                              .path_count = 1,
                              .resolve = none,
                              .bus = "memory",
                              .api = c->health,
                              .health_only = true,
                              .forever = true,
                              .event_bytes_max = c->event_bytes_max,
                              .drain_ns = DRAIN_NS};
    if (c->ca_certs && (ca_fd = runner_ca_file(c->ca_certs, ca, sizeof ca)) >= 0)
        o.ca_file = ca;
    enum serve_end end = SERVE_FAILED;
    if (fd < 0 || (c->ca_certs && ca_fd < 0))
        fprintf(stderr, "leat source %s: no memory for its manifest and certificates.\n", served->program.ops->name);
    else
        end = serve(&o);
    if (fd >= 0)
        close(fd);
    if (ca_fd >= 0)
        close(ca_fd);
    return end == SERVE_OK ? EXIT_CODE_OK : end == SERVE_BAD_INPUT ? EXIT_CODE_INPUT : EXIT_CODE_FAILED;
}

int source_served_main(const struct source_served *s, int argc, char **argv)
{
    struct runner_config c;
    struct diag d = {0};
    int code = runner_config_read(&s->program, argc, argv, &c);
    if (code < 0 && check_delivery(&c.spec, &d) != OK) {
        fprintf(stderr, "leat source %s: %s.\n", s->program.ops->name, d.text);
        code = EXIT_CODE_INPUT;
    }
    if (code < 0) {
        log_setup(clock_system(), LOG_INFO, c.log_json, !c.log_json && colours_on(STDERR_FILENO));
        code = run(s, &c);
    }
    runner_config_fini(&c);
    return code;
}
