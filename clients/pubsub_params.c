/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings of a Pub/Sub client: names, values, what goes together, and what the environment says where they do not.
 * Any thread.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "pubsub_private.h"

#define PUBSUB_ENDPOINT "https://pubsub.googleapis.com"
#define METADATA_HOST "metadata.google.internal"
#define PROJECT_LEN_MAX 255

enum param { PROJECT, EMULATOR, ENDPOINT, CREDENTIALS, CREDENTIALS_FILE, TOKEN_URL, METADATA, CA, COUNT };

static const char *const names[COUNT] = {
    [PROJECT] = "project",
    [EMULATOR] = "emulator",
    [ENDPOINT] = "endpoint",
    [CREDENTIALS] = "credentials",
    [CREDENTIALS_FILE] = "credentials.file",
    [TOKEN_URL] = "token.url",
    [METADATA] = "metadata",
    [CA] = "tls.ca",
};

struct values {
    const char *of[COUNT]; /* borrowed; NULL: not given */
};

static int find(const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

bool pubsub_client_knows(const char *name)
{
    return find(name) >= 0;
}

void pubsub_settings_fini(struct pubsub_settings *s)
{
    if (s->key)
        explicit_bzero(s->key, strlen(s->key));
    free(s->key);
    free(s->project);
    free(s->endpoint);
    free(s->key_file);
    free(s->token_url);
    free(s->metadata);
    free(s->ca);
    *s = (struct pubsub_settings){.project = NULL};
}

static enum err keep(char **to, const char *value)
{
    if (!value)
        return OK;
    *to = strdup(value);
    return *to ? OK : ERR_NOMEM;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static enum err url_check(const char *name, const char *url, struct diag *d)
{
    struct http_url u;
    struct diag why = {0};
    enum err e = http_url_parse(slice_str(url), &u, &why);
    if (e == ERR_INVALID)
        return diag_set(d, e, "%s is '%.200s': %.200s", name, url, why.text);
    if (e)
        return e;
    http_url_fini(&u);
    return OK;
}

/* HOST[:PORT] as the URL that it stands for. */
static enum err host_url(const char *name, const char *host, char **out, struct diag *d)
{
    if (strstr(host, "://") || strchr(host, '/') || strchr(host, '@'))
        return diag_set(d, ERR_INVALID, "%s is '%.200s'; it is HOST:PORT, without a scheme or path", name, host);
    if (asprintf(out, "http://%s", host) < 0) {
        *out = NULL;
        return ERR_NOMEM;
    }
    return url_check(name, *out, d);
}

/* ---- who asks, and where ---- */

static enum err emulator_read(const char *host, struct pubsub_settings *s, struct diag *d)
{
    s->identity = PUBSUB_NOBODY;
    return host_url("emulator", host, &s->endpoint, d);
}

static enum err endpoint_read(const struct values *v, struct pubsub_settings *s, struct diag *d)
{
    const char *url = v->of[ENDPOINT] ? v->of[ENDPOINT] : PUBSUB_ENDPOINT;
    enum err e = url_check("endpoint", url, d);
    if (!e)
        e = keep(&s->endpoint, url);
    size_t len = e ? 0 : strlen(s->endpoint);
    if (len && s->endpoint[len - 1] == '/')
        s->endpoint[--len] = '\0';
    const char *host = e ? NULL : strstr(s->endpoint, "://");
    if (host && strchr(host + 3, '/'))
        return diag_set(d, ERR_INVALID, "endpoint is '%.200s'; it has no path: https://HOST", url);
    return e;
}

static enum err credentials_read(const struct values *v, struct pubsub_settings *s, struct diag *d)
{
    const char *file =
        v->of[CREDENTIALS_FILE] ? v->of[CREDENTIALS_FILE] : environment("GOOGLE_APPLICATION_CREDENTIALS");
    const char *metadata = v->of[METADATA] ? v->of[METADATA] : environment("GCE_METADATA_HOST");
    if (v->of[CREDENTIALS] && v->of[CREDENTIALS_FILE])
        return diag_set(d, ERR_INVALID, "credentials and credentials.file are both given; one of them is the key");
    if (v->of[CREDENTIALS]) {
        s->identity = PUBSUB_KEY;
        return keep(&s->key, v->of[CREDENTIALS]);
    }
    if (file && !v->of[METADATA]) {
        s->identity = PUBSUB_KEY_FILE;
        return keep(&s->key_file, file);
    }
    if (v->of[CREDENTIALS_FILE])
        return diag_set(d, ERR_INVALID, "credentials.file and metadata are both given; one of them gives the token");
    s->identity = PUBSUB_METADATA;
    return host_url("metadata", metadata ? metadata : METADATA_HOST, &s->metadata, d);
}

/* The key is looked at already here: what is wrong with it is a mistake of whoever made the Secret. The project that it
 * names is the last choice. */
static enum err key_check(struct pubsub_settings *s, struct diag *d)
{
    struct pubsub_key key;
    enum err e;
    if (s->identity != PUBSUB_KEY && s->identity != PUBSUB_KEY_FILE)
        return OK;
    e = s->key ? pubsub_key_read(slice_str(s->key), &key, d) : pubsub_key_read_file(s->key_file, &key, d);
    if (e)
        return e;
    if (!s->project)
        e = keep(&s->project, key.project);
    pubsub_key_fini(&key);
    return e;
}

static enum err project_check(const char *project, struct diag *d)
{
    size_t len = project ? strlen(project) : 0;
    if (!project)
        return diag_set(d, ERR_INVALID,
                        "project is missing: the id of the Google Cloud project (or GOOGLE_CLOUD_PROJECT, or a key "
                        "file that names one)");
    bool good = len > 0 && len <= PROJECT_LEN_MAX;
    for (size_t i = 0; i < len && good; i++)
        good = isalnum((unsigned char)project[i]) || strchr("-_.:", project[i]);
    if (!good)
        return diag_set(d, ERR_INVALID,
                        "project is '%.100s'; a project's id has letters, digits and hyphens (its name or "
                        "projects/ID is not meant)",
                        project);
    return OK;
}

static enum err read_values(const struct values *v, struct pubsub_settings *s, struct diag *d)
{
    bool elsewhere = v->of[ENDPOINT] || v->of[CREDENTIALS] || v->of[CREDENTIALS_FILE] || v->of[METADATA];
    const char *emulator = v->of[EMULATOR] ? v->of[EMULATOR] : elsewhere ? NULL : environment("PUBSUB_EMULATOR_HOST");
    if (v->of[EMULATOR] && elsewhere)
        return diag_set(d, ERR_INVALID,
                        "emulator is given beside endpoint, credentials or metadata; an emulator "
                        "takes none");
    enum err e = keep(&s->project, v->of[PROJECT] ? v->of[PROJECT] : environment("GOOGLE_CLOUD_PROJECT"));
    if (!e)
        e = emulator ? emulator_read(emulator, s, d) : endpoint_read(v, s, d);
    if (!e && !emulator)
        e = credentials_read(v, s, d);
    if (!e)
        e = key_check(s, d);
    if (!e)
        e = project_check(s->project, d);
    if (!e && v->of[TOKEN_URL])
        e = url_check("token.url", v->of[TOKEN_URL], d);
    if (!e)
        e = keep(&s->token_url, v->of[TOKEN_URL]);
    return e ? e : keep(&s->ca, v->of[CA]);
}

enum err pubsub_settings_read(const struct pubsub_param *params, size_t count, struct pubsub_settings *out,
                              struct diag *d)
{
    struct values v = {{NULL}};
    struct pubsub_settings s = {.project = NULL};
    for (size_t i = 0; i < count; i++) {
        int p = find(params[i].name);
        if (p >= 0)
            v.of[p] = params[i].value; /* the last of several counts */
    }
    enum err e = read_values(&v, &s, d);
    if (e)
        pubsub_settings_fini(&s);
    else
        *out = s;
    return e;
}

enum err pubsub_client_check(const struct pubsub_param *params, size_t count, struct diag *d)
{
    struct pubsub_settings s;
    enum err e = pubsub_settings_read(params, count, &s, d);
    if (!e)
        pubsub_settings_fini(&s);
    return e;
}
