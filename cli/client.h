/* SPDX-License-Identifier: Apache-2.0
 *
 * What the client verbs share: one HTTP request at a time, waited for; the server's address; names as people type them;
 * output.
 */
#ifndef LEAT_CLI_CLIENT_H
#define LEAT_CLI_CLIENT_H

#include <cjson/cJSON.h>

#include "buf.h"
#include "command.h"
#include "resource.h"

struct client;
/* Makes a client for http(s) requests, with the token and the certificates that the command line names. Says what is
 * wrong and returns NULL on failure. */
struct client *client_new(const struct invocation *in);
void client_free(struct client *cl);

/* What to do when nobody answers, as a sentence, in place of the one about `leat serve`; a literal. */
void client_advise(struct client *cl, const char *advice);
/* From now on what goes wrong with a request is told there, without advice, and not said. */
void client_tell(struct client *cl, struct diag *d);
/* For so long from now on a request is tried again while nobody answers or the answer is 503. */
void client_be_patient(struct client *cl, uint64_t ns);
/* What is left of that time, in ns. */
uint64_t client_patience(const struct client *cl);
/* A short wait for whoever asks again by himself; false when the time is over. */
bool client_wait(struct client *cl);

struct client_answer {
    int status;
    struct buf body; /* buf_fini */
};
/* Sends and waits, at most 30 s. `extra` are header lines, each with CR LF, or NULL. False (said to standard error,
 * with what to do) when no answer came. */
bool client_send(struct client *cl, const char *method, const char *url, const char *extra, struct slice body,
                 struct client_answer *out);

/* Whether the last request had none. */
bool client_had_no_answer(const struct client *cl);

/* GETs what has no end, on a loop of its own, and hands over its lines, without the line feed, as they come; `line`
 * returning false ends it, as does Ctrl-C. */
typedef bool client_line_fn(void *arg, struct slice line);
enum stream_end {
    STREAM_STOPPED,     /* by `line` */
    STREAM_INTERRUPTED, /* by Ctrl-C */
    STREAM_OVER,        /* its time is */
    STREAM_ENDED,       /* by the server, with an answer that was all right */
    STREAM_FAILED       /* said: no answer, an error as the answer, or one that broke off */
};
enum stream_end client_stream(const struct invocation *in, const char *url, client_line_fn *line, void *arg);
/* The same for so long, by whoever asks again when it ends: no answer, one that broke off, and an answer that the
 * server cannot serve now (429, 503) are STREAM_ENDED too, and not said. */
enum stream_end client_stream_for(const struct invocation *in, const char *url, uint64_t ns, client_line_fn *line,
                                  void *arg);

/* Who one is to the server, and whom one trusts. */
struct client_identity {
    struct buf token;   /* empty: none */
    const char *ca;     /* a file; NULL: the system's */
    const char *server; /* the token is for it alone: other addresses do not see it */
};
/* --token, --token-file, $LEAT_TOKEN; --ca. False (said) when it is no token. */
bool client_identity_read(const struct invocation *in, struct client_identity *out);
void client_identity_fini(struct client_identity *i);
/* "Authorization: Bearer ...", with CR LF, of a request to this URL; nothing where there is no token for it. */
void client_identity_put(const struct client_identity *i, const char *url, struct buf *out);

/* Appends "?NAME=VALUE", or "&NAME=VALUE" when there is a query already, percent-coded. */
void url_put_query(struct buf *url, const char *name, struct slice value);
/* Says the message of an answer that is a Status object; returns EXIT_CODE_FAILED. */
int fail_with_status(const struct command *c, struct slice body);

/* The base URL of the API: --server, $LEAT_SERVER, or the default; without a slash at the end. */
const char *server_url(const struct invocation *in);
/* The namespace: -n or "default". */
const char *namespace_of(const struct invocation *in);

/* Appends a segment of the path, percent-coded. */
void url_put_segment(struct buf *url, const char *text);

/* URL of a collection, or of one object when name is not NULL; appended to `out`, terminated. */
void object_url(struct buf *out, const char *server, const struct kind *kind, const char *namespace_name,
                const char *name);
/* Sends to the API with a JSON body (may be NULL) and gives back the JSON answer (cJSON_Delete). On an error status:
 * returns NULL and says its message; but a GET of an object that is not there says nothing, and sets *status to 404. */
cJSON *api_send(struct client *cl, const char *method, const char *url, const cJSON *body, int *status);
/* The same, but an error status is for the caller: its answer is given back too, unsaid; NULL when there is none. */
cJSON *api_ask(struct client *cl, const char *method, const char *url, const cJSON *body, int *status);
/* Says the message of such an answer. */
void api_say(struct client *cl, const char *url, int status, const cJSON *answer);

/* A text of the object's metadata ("name"), or NULL. */
const char *metadata_of(const cJSON *object, const char *name);
/* The status of the object's condition of that type ("True", "False", ...), or NULL. */
const char *condition_of(const cJSON *object, const char *type);

/* "KIND/NAME" or "KIND" "NAME" from operands: the kind, and the name or NULL. False (said) when there is no such kind.
 */
bool parse_reference(const struct invocation *in, const struct kind **kind, const char **name);
/* The same of operands that have to name one object; they may be missing. */
bool parse_object(const struct invocation *in, const struct kind **kind, const char **name);

/* A whole file, or standard input for "-", into `out` (buf_init is done here, buf_fini is the caller's). False (said)
 * when it cannot be read or is longer than `most`. */
bool read_file(const struct command *c, const char *path, size_t most, struct buf *out);
/* One event from a JSON envelope in a file, or "-"; the caller's reference. False (said). */
struct ce_event;
bool read_event(const struct command *c, const char *path, const struct ce_event **out);

/* For a table of these objects: gives each that delivers a member for the column of what waits for it; false when none
 * of the kind does. */
extern const struct kind_column backlog_column;
bool backlog_put(struct client *cl, const struct invocation *in, const struct kind *kind, cJSON *items);

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_YAML, OUTPUT_NAME };
/* -o; false (said) when it is none of these. */
bool read_output(const struct invocation *in, enum output *out);
void print_tree(const cJSON *tree, enum output form); /* JSON or YAML */

#endif
