/* SPDX-License-Identifier: Apache-2.0
 *
 * A Kubernetes API server as a client that watches sees it: how it is reached (kubeconfig, or the service account of a
 * pod), single requests, and following a resource: list, then watch, for as long as somebody wants it. Rules: the
 * Kubernetes documentation's "API concepts". Everything but the configuration and the parsers runs on one loop.
 */
#ifndef LEAT_KUBE_H
#define LEAT_KUBE_H

#include "buf.h"
#include "err.h"
#include "http_client.h"
#include "json.h"
#include "list.h"
#include "loop.h"

#define KUBE_LINE_MAX (8u << 20)  /* of a watch: etcd holds 1.5 MiB of an object; JSON of it has not five times that */
#define KUBE_PAGE_MAX (64u << 20) /* of a list's page; beyond it, smaller pages are asked for */
#define KUBE_PAGE_OBJECTS 250     /* of a list's page: what a follower must be able to take at a time */
#define KUBE_DEPTH_MAX 1000       /* nesting in an object */
#define KUBE_FILE_MAX (1u << 20)  /* of a kubeconfig, a token, a certificate bundle */
#define KUBE_TEXT_MAX 600         /* what is told of a failure */
#define KUBE_SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* ---- where it is, and as whom ---- */

struct kube_config {
    char *server;         /* "https://10.0.0.1:443" */
    char *namespace_name; /* of the context, or of the pod */
    char *ca_file;        /* NULL: the system's certificates */
    char *certificate_file, *key_file;
    char *token;      /* NULL: none, or in a file */
    char *token_file; /* read anew for each request: it is renewed while the pod lives */
    char *came_from;  /* for people: the file, or "the pod's service account" */
    bool insecure;
    int fds[3]; /* files without a name that hold what came as base64; -1 */
};

/* `file`: a kubeconfig; NULL: $KUBECONFIG, else the service account of this pod ($KUBERNETES_SERVICE_HOST, and what
 * lies in `account`, NULL: KUBE_SERVICE_ACCOUNT), else ~/.kube/config. `context`: NULL, or the one to use.
 * ERR_NOTFOUND: there is none of them; ERR_INVALID: one is wrong, or asks for what is not done here (a program that
 * gives credentials); both with *d saying where and what to do. ERR_NOMEM, ERR_IO. On failure there is nothing to free.
 */
enum err kube_config_load(const char *file, const char *context, const char *account, struct kube_config *out,
                          struct diag *d) must_check;
void kube_config_fini(struct kube_config *c);
/* Whether both reach the same server as the same one. */
bool kube_config_same(const struct kube_config *a, const struct kube_config *b);

/* ---- one server, on one loop ---- */

struct kube;
/* Takes the configuration over, also on failure. One reference. ERR_INVALID (the server's URL) with *d, ERR_NOMEM. */
enum err kube_new(struct loop *loop, struct kube_config *config, struct kube **out, struct diag *d) must_check;
struct kube *kube_ref(struct kube *k);
/* With the last one everything ends that is under way; its followers must have left. Not from within a callback of
 * it. */
struct kube *kube_unref(struct kube *k);
const struct kube_config *kube_config_of(const struct kube *k);
/* All that is open on it, for tests and metrics: watches and lists under way, each of which serves all who follow. */
size_t kube_watch_count(const struct kube *k);

struct kube_call;
/* Once, unless canceled. OK: status is 2xx, and the body is what came. Else `text` says what is wrong and what to do;
 * status may be 0. `retry_after_ns`: what the server asks for; 0: nothing. Borrowed for the callback. */
struct kube_answer {
    enum err err; /* OK; ERR_DENIED (401, 403), ERR_NOTFOUND, ERR_CONFLICT (410 Gone), ERR_TOO_LARGE, ERR_UNAVAILABLE,
                     ERR_PROTOCOL, ERR_TIMEOUT, ERR_CLOSED, ERR_NOMEM */
    int status;
    struct slice body;
    const char *reason; /* for a condition: "Forbidden"; never NULL */
    const char *text;
    uint64_t retry_after_ns;
};
typedef void kube_done_fn(struct kube_call *c, const struct kube_answer *a);
struct kube_call {
    struct http_exchange exchange; /* private, as is all but done */
    struct buf head;
    struct kube *kube;
    kube_done_fn *done;
    http_data_fn *data;
    char denied[KUBE_TEXT_MAX]; /* the beginning of an answer that is no 2xx while `data` takes those that are */
    size_t denied_len;
    bool under_way;
};
/* GET of a path with its query ("/api/v1/pods?limit=1"). OK: done follows. ERR_NOMEM, ERR_CLOSED, ERR_IO (the token's
 * file; *d may be NULL). `data`: NULL, or what takes the pieces of a 2xx answer without end. */
enum err kube_get(struct kube *k, struct kube_call *c, const char *target, size_t body_max, uint64_t timeout_ns,
                  http_data_fn *data, kube_done_fn *done, struct diag *d) must_check;
/* Fine for one that is not under way. Not from within its data. */
void kube_call_cancel(struct kube_call *c);

/* ---- objects (pure) ---- */

/* What is told of an object; all terminated, cut nowhere: what does not fit makes the object wrong. */
struct kube_meta {
    char api_version[320], kind[256], namespace_name[64 * 4], name[256 * 4], uid[128];
    uint64_t version;                             /* resourceVersion */
    char owner_api_version[320], owner_kind[256]; /* of the owner that controls it; empty: none */
};
/* `object`: out of json_check. What a list's items lack is taken from api_version and kind. ERR_INVALID with *d. */
enum err kube_meta_read(struct json_value object, const char *api_version, const char *kind, struct kube_meta *out,
                        struct diag *d) must_check;

enum kube_verb { KUBE_ADD, KUBE_UPDATE, KUBE_DELETE };

/* A watch's answer cut into its lines: {"type":...,"object":{...}}. */
struct kube_lines {
    struct buf line;
    size_t limit;
    uint64_t skipped; /* bytes of the line in hand, which has more than the limit: it is passed over */
    bool ended;       /* the line in hand was told */
};
void kube_lines_init(struct kube_lines *l, size_t limit);
void kube_lines_fini(struct kube_lines *l);
/* Takes from *piece up to the end of a line. OK: *line is one, valid until the next call. ERR_TOO_LARGE: one that had
 * more than the limit ended, `skipped` tells its bytes. ERR_PENDING: all was taken, and there is no whole line.
 * ERR_NOMEM. */
enum err kube_lines_next(struct kube_lines *l, struct slice *piece, struct slice *line) must_check;

struct kube_change {
    enum { KUBE_CHANGED, KUBE_BOOKMARK, KUBE_FAILED } what;
    enum kube_verb verb; /* of KUBE_CHANGED */
    struct kube_meta meta;
    struct slice object; /* its JSON, in the line */
    int code;            /* of KUBE_FAILED: 410 ... */
    char text[KUBE_TEXT_MAX];
};
enum err kube_change_read(struct slice line, struct kube_change *out, struct diag *d) must_check;

/* A list's page. */
struct kube_page {
    uint64_t version;
    struct slice next; /* the token as it was written, in quotes, escapes and all; empty: this page is the last */
    struct json_value items;
};
enum err kube_page_read(struct slice body, struct kube_page *out, struct diag *d) must_check;
/* Percent-codes what a query's value must not have as it is. */
void kube_put_query(struct buf *b, struct slice value);

/* ---- following a resource ---- */

/* Who wants to know of every change of the objects behind a path. All callbacks come on the loop; from within them it
 * may leave, and follow again.
 *
 *     kube_follow(from = 0)  list_begin, listed for each object, list_end(version), then changes
 *     kube_follow(from = v)  changes after v; or, when the server does not know v any more: as above
 */
struct kube_follower {
    const struct kube_follower_ops *ops;
    struct list link;         /* private, as is the rest */
    struct kube_watch *watch; /* NULL: it follows nothing */
    uint64_t at;
};
struct kube_follower_ops {
    /* false: there is no room. It has left then, and has not been told of this change: it follows again from the
     * version before, when it has room. */
    bool (*change)(struct kube_follower *f, const struct kube_change *c);
    /* Up to this version it knows everything. */
    void (*at)(struct kube_follower *f, uint64_t version);
    /* What is there is told now, in pages of KUBE_PAGE_OBJECTS. */
    void (*list_begin)(struct kube_follower *f);
    void (*listed)(struct kube_follower *f, const struct kube_meta *meta, struct slice object);
    /* Whether the next page may come. false: kube_follow_room says when; or, where others follow too, it has left. */
    bool (*room)(struct kube_follower *f);
    void (*list_end)(struct kube_follower *f, uint64_t version);
    /* What stands in the way, each time it changes; text NULL: nothing any more. It is tried again either way. */
    void (*trouble)(struct kube_follower *f, const char *reason, const char *text);
};
/* A path below which objects lie ("/api/v1/namespaces/shop/pods"), a label selector (may be empty), and what its
 * objects are. All who follow the same share one watch, once they are at the same version. ERR_NOMEM, ERR_CLOSED. */
struct kube_place {
    const char *path, *selector, *api_version, *kind; /* copied */
};
enum err kube_follow(struct kube *k, const struct kube_place *place, uint64_t from, struct kube_follower *f) must_check;
/* Fine for who follows nothing. */
void kube_leave(struct kube_follower *f);
void kube_follow_room(struct kube_follower *f);

#endif
