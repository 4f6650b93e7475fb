/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat kubeconfig`: what kubectl needs to know of a server, as the file that it reads.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "http_client.h"
#include "text.h"

#define CA_MAX (1u << 20)

/* "certificate-authority-data": the file, in base64. False (said) when it holds no certificate. */
static bool put_authority(const struct invocation *in, const char *path, cJSON *cluster)
{
    struct buf pem, text;
    bool good = read_file(in->command, path, CA_MAX, &pem);
    buf_init(&text, 2 * CA_MAX);
    if (good && !memmem(pem.ptr ? pem.ptr : "", pem.len, "-----BEGIN CERTIFICATE-----", 27)) {
        fail(in->command, EXIT_CODE_INPUT, "--ca %s holds no certificate (PEM).", path);
        good = false;
    }
    if (good) {
        base64_put(&text, buf_slice(&pem));
        buf_put_char(&text, '\0');
        good = buf_error(&text) == OK && cJSON_AddStringToObject(cluster, "certificate-authority-data", text.ptr);
    }
    buf_fini(&text);
    buf_fini(&pem);
    return good;
}

/* An entry {"name": NAME, KIND: {}} of a list of this name; NULL without memory. */
static cJSON *add_entry(cJSON *tree, const char *list, const char *name, const char *kind)
{
    cJSON *entries = cJSON_AddArrayToObject(tree, list), *entry = cJSON_CreateObject();
    if (!entries || !cJSON_AddItemToArray(entries, entry)) {
        cJSON_Delete(entry);
        return NULL;
    }
    return cJSON_AddStringToObject(entry, "name", name) ? cJSON_AddObjectToObject(entry, kind) : NULL;
}

static bool fill(const struct invocation *in, const struct client_identity *who, struct slice server, cJSON *tree)
{
    const char *name = option_value(in, "name", "leat");
    char url[2048], token[4200];
    snprintf(url, sizeof url, "%.*s", SLICE_ARG(server));
    snprintf(token, sizeof token, "%.*s", SLICE_ARG(buf_slice(&who->token)));
    cJSON_AddStringToObject(tree, "apiVersion", "v1");
    cJSON_AddStringToObject(tree, "kind", "Config");
    cJSON *cluster = add_entry(tree, "clusters", name, "cluster"), *user = add_entry(tree, "users", name, "user"),
          *context = add_entry(tree, "contexts", name, "context");
    return cluster && user && context && cJSON_AddStringToObject(cluster, "server", url) &&
           (!who->ca || put_authority(in, who->ca, cluster)) &&
           (!token[0] || cJSON_AddStringToObject(user, "token", token)) &&
           cJSON_AddStringToObject(context, "cluster", name) && cJSON_AddStringToObject(context, "user", name) &&
           cJSON_AddStringToObject(context, "namespace", namespace_of(in)) &&
           cJSON_AddStringToObject(tree, "current-context", name);
}

static int run(const struct invocation *in)
{
    struct client_identity who;
    struct http_url url;
    struct diag d = {0};
    struct slice server = slice_str(server_url(in));
    while (server.len && server.ptr[server.len - 1] == '/')
        server.len--;
    if (server.len > 2000 || http_url_parse(server, &url, &d) != OK)
        return fail(in->command, EXIT_CODE_USAGE, "--server: %s.", d.text[0] ? d.text : "the URL is too long");
    bool tls = url.tls;
    http_url_fini(&url);
    if (!client_identity_read(in, &who))
        return EXIT_CODE_USAGE;
    cJSON *tree = cJSON_CreateObject();
    bool good = fill(in, &who, server, tree);
    if (good)
        print_tree(tree, OUTPUT_YAML);
    if (good && who.token.len && !tls)
        fprintf(stderr, "leat kubeconfig: kubectl sends no token to an http address: let the server speak https "
                        "(`leat serve --api-cert FILE --api-key FILE`).\n");
    cJSON_Delete(tree);
    client_identity_fini(&who);
    return good ? EXIT_CODE_OK : EXIT_CODE_INPUT;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS, {"name", 0, "NAME", "What the context is called. Default: leat.", false}, {0}};

const struct command command_kubeconfig = {
    .name = "kubeconfig",
    .summary = "Print the kubeconfig with which kubectl finds the server",
    .operands = "",
    .text = "With the server's address, the certificates of --ca, the token and the namespace in it: keep the file to "
            "yourself.",
    .examples = "  leat kubeconfig > leat.kubeconfig && kubectl --kubeconfig leat.kubeconfig get channels\n"
                "  leat kubeconfig --server https://leat.example:8001 --ca ca.crt --token-file token -n shop",
    .options = options,
    .run = run,
};
