/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat apply`: makes a running server have what manifests declare, over the same Kubernetes paths that any other
 * client uses: GET, then POST or PUT.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

/* Of a replace. The server writes an object's status when it has something to say: when a plan is in force, and of
 * deliveries once a second. So a second try is rare, and one more than these is not met. */
#define TRIES_MAX 10

/* The body for a replace: the declared object with the stored one's resourceVersion, so that a change in between is
 * noticed. */
static cJSON *with_version(const cJSON *object, const cJSON *stored)
{
    cJSON *copy = cJSON_Duplicate(object, true);
    const char *version = metadata_of(stored, "resourceVersion");
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(copy, "metadata");
    if (metadata && version) {
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "resourceVersion");
        cJSON_AddStringToObject(metadata, "resourceVersion", version);
    }
    return copy;
}

/* What its writers have made of an object: without what the server writes while nobody asks it to. */
static cJSON *without_status(const cJSON *object)
{
    cJSON *copy = cJSON_Duplicate(object, true), *metadata = cJSON_GetObjectItemCaseSensitive(copy, "metadata");
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "status");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "resourceVersion");
    cJSON_DeleteItemFromObjectCaseSensitive(metadata, "managedFields");
    return copy;
}

/* Whether what lies between the two is a status that the server wrote, and nobody's change. */
static bool only_status_between(const cJSON *before, const cJSON *after)
{
    const char *old = metadata_of(before, "resourceVersion"), *new = metadata_of(after, "resourceVersion");
    if (!old || !new || strcmp(old, new) == 0)
        return false;
    cJSON *a = without_status(before), *b = without_status(after);
    bool same = cJSON_Compare(a, b, true);
    cJSON_Delete(a);
    cJSON_Delete(b);
    return same;
}

/* Replaces *stored, and once more when a status came between; *stored is then the newer one. NULL (said) when it was
 * refused. */
static cJSON *replace(struct client *cl, const char *url, const cJSON *object, cJSON **stored)
{
    for (int tries = 1;; tries++) {
        int status, looked;
        cJSON *body = with_version(object, *stored), *result = api_ask(cl, "PUT", url, body, &status);
        cJSON_Delete(body);
        if (status < 400)
            return result;
        cJSON *now = status == 409 && tries < TRIES_MAX ? api_send(cl, "GET", url, NULL, &looked) : NULL;
        bool again = now && only_status_between(*stored, now);
        if (!again)
            api_say(cl, url, status, result);
        cJSON_Delete(result);
        cJSON_Delete(again ? *stored : now);
        if (!again)
            return NULL;
        *stored = now;
    }
}

static bool apply_one(struct client *cl, const struct invocation *in, const cJSON *object, const struct kind *kind)
{
    const char *declared = metadata_of(object, "namespace"), *name = metadata_of(object, "name");
    const char *space = declared ? declared : namespace_of(in), *verb = "unchanged";
    struct buf url;
    int status;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, space, name);
    cJSON *stored = api_send(cl, "GET", url.ptr, NULL, &status), *result = NULL;
    if (stored) {
        result = replace(cl, url.ptr, object, &stored);
        const char *before = metadata_of(stored, "resourceVersion"),
                   *after = result ? metadata_of(result, "resourceVersion") : NULL;
        if (before && after && strcmp(before, after) != 0)
            verb = "configured";
    } else if (status == 404) {
        buf_clear(&url);
        object_url(&url, server_url(in), kind, space, NULL);
        result = api_send(cl, "POST", url.ptr, object, &status);
        verb = "created";
    }
    if (result)
        printf("%s%s%s/%s %s\n", kind->singular, kind->group[0] ? "." : "", kind->group, name, verb);
    bool good = result != NULL;
    cJSON_Delete(stored);
    cJSON_Delete(result);
    buf_fini(&url);
    return good;
}

static int apply_all(const struct invocation *in, const struct manifest *m)
{
    struct client *cl = client_new(in);
    int code = EXIT_CODE_OK;
    if (!cl)
        return EXIT_CODE_FAILED;
    for (size_t i = 0; i < manifest_count(m); i++)
        if (!apply_one(cl, in, manifest_object(m, i), manifest_kind(m, i))) {
            size_t rest = manifest_count(m) - i - 1;
            code = EXIT_CODE_FAILED;
            if (client_had_no_answer(cl) && rest > 0) {
                fail(in->command, code, "%zu more object%s not tried.", rest, rest == 1 ? " was" : "s were");
                break;
            }
        }
    client_free(cl);
    return code;
}

static int apply_files(const struct invocation *in, const char *const *paths, size_t count)
{
    struct problems problems;
    struct manifest *m = NULL;
    problems_init(&problems);
    enum err e = manifest_load(paths, count, namespace_of(in), &m, &problems);
    problems_print(&problems, stderr);
    int code = e != OK               ? fail(in->command, EXIT_CODE_FAILED, "out of memory.")
               : problems.errors > 0 ? fail(in->command, EXIT_CODE_INPUT, "nothing was applied.")
                                     : apply_all(in, m);
    manifest_free(m);
    problems_fini(&problems);
    return code;
}

static int run_apply(const struct invocation *in)
{
    size_t count = 0, cursor = 0;
    if (!option_given(in, "file"))
        return usage_error(in->command, "name a file or folder of manifests with -f, or -f - for standard input.");
    const char **paths = calloc(in->given_count, sizeof *paths);
    if (!paths)
        return fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    for (const char *v; (v = option_next(in, "file", &cursor));)
        paths[count++] = v;
    int code = apply_files(in, paths, count);
    free(paths);
    return code;
}

static const struct option_spec apply_options[] = {
    {"file", 'f', "PATH", "A manifest, or a folder of them; - for standard input. May be given more than once.", true},
    CLIENT_OPTIONS,
    {0},
};

const struct command command_apply = {
    .name = "apply",
    .summary = "Make a running server have what manifests declare",
    .operands = "",
    .text = "Objects that a file of `serve -f` declares belong to that file: changing them here is refused with 409.",
    .examples = "  leat apply -f channel.yaml\n  cat channel.yaml | leat apply -f -",
    .options = apply_options,
    .uses_kinds = true,
    .run = run_apply,
};
