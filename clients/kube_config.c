/* SPDX-License-Identifier: Apache-2.0
 *
 * How an API server is reached: a kubeconfig (YAML; Kubernetes documentation, "Organizing Cluster Access Using
 * kubeconfig Files") or the service account that a pod has as files. Reads files; any thread, before a loop.
 *
 * libcurl wants certificates and keys as files: those that a kubeconfig holds as base64 become files without a name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <yaml.h>

#include "kube.h"
#include "text.h"

/* ---- files ---- */

static enum err read_file(const char *path, char **out, size_t *len, struct diag *d)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return diag_set(d, errno == ENOENT ? ERR_NOTFOUND : ERR_INVALID, "cannot read %.400s: %s", path,
                        strerror(errno));
    char *text = malloc(KUBE_FILE_MAX + 1);
    size_t n = text ? fread(text, 1, KUBE_FILE_MAX + 1, f) : 0;
    bool failed = ferror(f) != 0;
    fclose(f);
    if (text && !failed && n <= KUBE_FILE_MAX) {
        text[n] = '\0';
        *out = text;
        *len = n;
        return OK;
    }
    free(text);
    return !text ? ERR_NOMEM
                 : diag_set(d, ERR_INVALID, failed ? "cannot read %.400s" : "%.400s has more than 1 MiB", path);
}

static bool copy(char **out, const char *s)
{
    free(*out);
    *out = s ? strdup(s) : NULL;
    return !s || *out;
}

/* What is written relative to the kubeconfig lies beside it. */
static bool copy_path(char **out, const char *path, const char *beside)
{
    const char *slash = strrchr(beside, '/');
    free(*out);
    *out = NULL;
    if (*path == '/' || !slash)
        return copy(out, path);
    return asprintf(out, "%.*s/%s", (int)(slash - beside), beside, path) >= 0 || (*out = NULL);
}

/* base64 text as a file without a name. */
static enum err hold(struct kube_config *c, size_t slot, const char *what, const char *text, char **path,
                     struct diag *d)
{
    struct buf b;
    buf_init(&b, KUBE_FILE_MAX);
    enum err e = base64_decode(slice_str(text), &b);
    if (e != OK || b.len == 0) {
        buf_fini(&b);
        return e == ERR_NOMEM ? e : diag_set(d, ERR_INVALID, "%s is no base64 text", what);
    }
    int fd = memfd_create("kube", MFD_CLOEXEC);
    bool good = fd >= 0 && write(fd, b.ptr, b.len) == (ssize_t)b.len;
    buf_fini(&b);
    c->fds[slot] = fd;
    free(*path);
    *path = NULL;
    if (!good)
        return diag_set(d, ERR_IO, "%s: no file can be made for it: %s", what, strerror(errno));
    return asprintf(path, "/proc/self/fd/%d", fd) < 0 ? (*path = NULL, ERR_NOMEM) : OK;
}

void kube_config_fini(struct kube_config *c)
{
    char *const texts[] = {c->server,   c->namespace_name, c->ca_file,    c->certificate_file,
                           c->key_file, c->token,          c->token_file, c->came_from};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    for (size_t i = 0; i < 3; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    *c = (struct kube_config){.fds = {-1, -1, -1}};
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool kube_config_same(const struct kube_config *a, const struct kube_config *b)
{
    return same(a->server, b->server) && same(a->came_from, b->came_from) && same(a->token, b->token) &&
           same(a->token_file, b->token_file);
}

/* ---- kubeconfig ---- */

static yaml_node_t *member(yaml_document_t *doc, yaml_node_t *n, const char *name)
{
    if (!n || n->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(doc, p->key);
        if (key && key->type == YAML_SCALAR_NODE && strcmp((const char *)key->data.scalar.value, name) == 0)
            return yaml_document_get_node(doc, p->value);
    }
    return NULL;
}

/* NULL when it is missing, empty or no scalar. */
static const char *text_of(yaml_document_t *doc, yaml_node_t *n, const char *name)
{
    yaml_node_t *v = member(doc, n, name);
    const char *s = v && v->type == YAML_SCALAR_NODE ? (const char *)v->data.scalar.value : NULL;
    return s && *s && strcmp(s, "null") != 0 && strcmp(s, "~") != 0 ? s : NULL;
}

/* clusters, users, contexts: [{name: ..., cluster: {...}}] */
static yaml_node_t *named(yaml_document_t *doc, yaml_node_t *root, const char *list, const char *name,
                          const char *inner)
{
    yaml_node_t *l = member(doc, root, list);
    if (!l || l->type != YAML_SEQUENCE_NODE || !name)
        return NULL;
    for (yaml_node_item_t *i = l->data.sequence.items.start; i < l->data.sequence.items.top; i++) {
        yaml_node_t *entry = yaml_document_get_node(doc, *i);
        const char *own = text_of(doc, entry, "name");
        if (own && strcmp(own, name) == 0)
            return member(doc, entry, inner);
    }
    return NULL;
}

static enum err read_cluster(yaml_document_t *doc, yaml_node_t *n, struct kube_config *c, struct diag *d)
{
    const char *server = text_of(doc, n, "server"), *data = text_of(doc, n, "certificate-authority-data"),
               *file = text_of(doc, n, "certificate-authority"),
               *insecure = text_of(doc, n, "insecure-skip-tls-verify");
    if (!server)
        return diag_set(d, ERR_INVALID, "the cluster has no server");
    if (text_of(doc, n, "proxy-url"))
        return diag_set(d, ERR_UNSUPPORTED, "the cluster has a proxy-url, which is not supported");
    c->insecure = insecure && strcmp(insecure, "true") == 0;
    if (!copy(&c->server, server) || (file && !copy_path(&c->ca_file, file, c->came_from)))
        return ERR_NOMEM;
    return data ? hold(c, 0, "certificate-authority-data", data, &c->ca_file, d) : OK;
}

static enum err read_user(yaml_document_t *doc, yaml_node_t *n, struct kube_config *c, struct diag *d)
{
    const char *token = text_of(doc, n, "token"), *token_file = text_of(doc, n, "tokenFile"),
               *certificate = text_of(doc, n, "client-certificate"), *key = text_of(doc, n, "client-key"),
               *certificate_data = text_of(doc, n, "client-certificate-data"),
               *key_data = text_of(doc, n, "client-key-data");
    if (!token && !token_file &&
        (member(doc, n, "exec") || member(doc, n, "auth-provider") || text_of(doc, n, "username")))
        return diag_set(d, ERR_UNSUPPORTED,
                        "the user's credentials come from a program or are a password; use a token, a tokenFile, or a "
                        "client certificate (kubectl create token NAME makes a token)");
    if ((token_file && !copy_path(&c->token_file, token_file, c->came_from)) ||
        (token && !token_file && !copy(&c->token, token)) ||
        (certificate && !copy_path(&c->certificate_file, certificate, c->came_from)) ||
        (key && !copy_path(&c->key_file, key, c->came_from)))
        return ERR_NOMEM;
    enum err e =
        certificate_data ? hold(c, 1, "client-certificate-data", certificate_data, &c->certificate_file, d) : OK;
    if (e == OK && key_data)
        e = hold(c, 2, "client-key-data", key_data, &c->key_file, d);
    if (e == OK && !c->certificate_file != !c->key_file)
        return diag_set(d, ERR_INVALID, "the user has only one of client-certificate and client-key");
    return e;
}

static enum err read_document(yaml_document_t *doc, const char *context, struct kube_config *c, struct diag *d)
{
    yaml_node_t *root = yaml_document_get_root_node(doc);
    const char *name = context ? context : text_of(doc, root, "current-context");
    if (!name)
        return diag_set(d, ERR_INVALID, "there is no current-context");
    yaml_node_t *chosen = named(doc, root, "contexts", name, "context");
    const char *cluster = text_of(doc, chosen, "cluster"), *user = text_of(doc, chosen, "user"),
               *space = text_of(doc, chosen, "namespace");
    yaml_node_t *cluster_node = named(doc, root, "clusters", cluster, "cluster");
    if (!chosen)
        return diag_set(d, ERR_INVALID, "there is no context \"%.100s\"", name);
    if (!cluster_node)
        return diag_set(d, ERR_INVALID, "there is no cluster \"%.100s\", which context \"%.100s\" names",
                        cluster ? cluster : "", name);
    yaml_node_t *user_node = named(doc, root, "users", user, "user");
    if (user && !user_node)
        return diag_set(d, ERR_INVALID, "there is no user \"%.100s\", which context \"%.100s\" names", user, name);
    enum err e = read_cluster(doc, cluster_node, c, d);
    if (e == OK && user_node)
        e = read_user(doc, user_node, c, d);
    return e == OK && !copy(&c->namespace_name, space ? space : "default") ? ERR_NOMEM : e;
}

static enum err read_kubeconfig(const char *path, const char *context, struct kube_config *c, struct diag *d)
{
    char *text;
    size_t len;
    struct diag why = {0};
    enum err e = read_file(path, &text, &len, d);
    if (e != OK)
        return e;
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!copy(&c->came_from, path) || !yaml_parser_initialize(&parser)) {
        free(text);
        return ERR_NOMEM;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &doc)) {
        e = read_document(&doc, context, c, &why);
        yaml_document_delete(&doc);
        if (e != OK && e != ERR_NOMEM)
            diag_set(d, e, "%.300s: %.280s", path, why.text);
    } else {
        e = diag_set(d, ERR_INVALID, "%.300s:%zu: %.200s", path, parser.problem_mark.line + 1,
                     parser.problem ? parser.problem : "it is no YAML");
    }
    yaml_parser_delete(&parser);
    free(text);
    return e;
}

/* ---- a pod's service account ---- */

static enum err read_account(const char *account, const char *host, struct kube_config *c, struct diag *d)
{
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    bool brackets = strchr(host, ':') != NULL;
    char *text = NULL;
    size_t len;
    if (asprintf(&c->server, "https://%s%s%s:%s", brackets ? "[" : "", host, brackets ? "]" : "",
                 port && *port ? port : "443") < 0)
        return c->server = NULL, ERR_NOMEM;
    if (asprintf(&c->ca_file, "%s/ca.crt", account) < 0)
        return c->ca_file = NULL, ERR_NOMEM;
    if (asprintf(&c->token_file, "%s/token", account) < 0)
        return c->token_file = NULL, ERR_NOMEM;
    char *path = NULL;
    if (!copy(&c->came_from, "the pod's service account") || asprintf(&path, "%s/namespace", account) < 0)
        return ERR_NOMEM;
    enum err e = read_file(path, &text, &len, NULL);
    free(path);
    if (e == ERR_NOMEM || !copy(&c->namespace_name, e == OK && len > 0 ? text : "default")) {
        free(text);
        return ERR_NOMEM;
    }
    free(text);
    c->namespace_name[strcspn(c->namespace_name, "\r\n")] = '\0';
    if (access(c->token_file, R_OK) != 0)
        return diag_set(d, ERR_INVALID,
                        "%.300s cannot be read: %s; the pod needs a service account whose token is mounted",
                        c->token_file, strerror(errno));
    return OK;
}

enum err kube_config_load(const char *file, const char *context, const char *account, struct kube_config *out,
                          struct diag *d)
{
    struct kube_config c = {.fds = {-1, -1, -1}};
    const char *from = getenv("KUBECONFIG"), *host = getenv("KUBERNETES_SERVICE_HOST"), *home = getenv("HOME");
    char at_home[4096];
    enum err e;
    if (!file && from && *from)
        file = from;
    if (file) {
        e = read_kubeconfig(file, context, &c, d);
    } else if (host && *host) {
        e = read_account(account ? account : KUBE_SERVICE_ACCOUNT, host, &c, d);
    } else {
        snprintf(at_home, sizeof at_home, "%s/.kube/config", home ? home : "");
        e = access(at_home, F_OK) == 0
                ? read_kubeconfig(at_home, context, &c, d)
                : diag_set(d, ERR_NOTFOUND,
                           "no Kubernetes is known: this is no pod ($KUBERNETES_SERVICE_HOST is not set), and there is "
                           "neither $KUBECONFIG nor ~/.kube/config");
    }
    if (e != OK) {
        kube_config_fini(&c);
        return e;
    }
    *out = c;
    return OK;
}
