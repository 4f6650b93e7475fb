/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens: who may use the API, and as what. A token is 256 random bits, shown once; the file has its SHA-256, which is
 * enough for what nobody can guess. One line a token, words with spaces between; # begins a remark:
 *
 *     NAME  sha256:64_HEX_DIGITS  ROLE  NAMESPACE|*  EXPIRES|-
 *
 * EXPIRES is a time of RFC 3339. docs/access.md is the user's page.
 */
#ifndef LEAT_TOKENS_H
#define LEAT_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "slice.h"

/* What a token may do; broker/api/roles.c says it all. */
enum role { ROLE_VIEW, ROLE_PUBLISH, ROLE_OPERATE, ROLE_EDIT, ROLE_ADMIN, ROLE_COUNT };
const char *role_name(enum role r);
/* False: there is no such role. */
bool role_parse(struct slice text, enum role *out);

#define TOKEN_HASH_BYTES 32
#define TOKEN_TEXT_BYTES 70         /* "leat_", 64 hexadecimal digits, the end */
#define TOKEN_NAME_MAX 63           /* bytes of a name or a namespace: a DNS-1123 label */
#define TOKENS_MAX 1000             /* each request compares with all of them */
#define TOKENS_BYTES_MAX (1u << 20) /* of a file: a thousand lines, with remarks */
#define TOKEN_FOREVER INT64_MAX

struct token {
    char name[TOKEN_NAME_MAX + 1]; /* unique in its file */
    unsigned char hash[TOKEN_HASH_BYTES];
    enum role role;
    char namespace_name[TOKEN_NAME_MAX + 1]; /* "": all, and what lies in none */
    int64_t expires_ns;                      /* wall clock; TOKEN_FOREVER: never */
};

struct tokens {
    struct token *list; /* owned */
    size_t count;
};

/* "ci-1": lower-case letters, digits and dashes, a letter or digit at both ends. */
bool token_name_valid(struct slice name);
/* A new one, as text and hashed. ERR_IO: the system gives no random bytes. */
enum err token_generate(char text[TOKEN_TEXT_BYTES], unsigned char hash[TOKEN_HASH_BYTES]) must_check;
/* Its line, with the line feed. */
void token_line_put(const struct token *t, struct buf *out);

/* A whole file's text; *d has the line. ERR_INVALID, ERR_NOMEM. Pure; tests/fuzz/fuzz_tokens.c. */
enum err tokens_parse(struct slice text, struct tokens *out, struct diag *d) must_check;
void tokens_fini(struct tokens *t);
/* The one with this text, in a time that tells nothing of it; NULL: none. It may have expired. Borrowed. */
const struct token *tokens_find(const struct tokens *t, struct slice text);

/* The text of a file that nobody but its owner can write: the user's own, or root's. ERR_NOTFOUND: it is not there;
 * ERR_DENIED: others may write it, or we may not read it; ERR_TOO_LARGE, ERR_IO, ERR_NOMEM; each with *d, which says
 * what to do. */
enum err tokens_read(const char *path, struct buf *out, struct diag *d) must_check;
/* Puts the text in the place of the file, whole or not at all, readable by its owner alone. */
enum err tokens_write(const char *path, struct slice text, struct diag *d) must_check;
/* Keeps other writers of files in that directory away until it is closed; -1 with *d. */
int tokens_lock(const char *path, struct diag *d);

/* A file that is read again when it has changed. One thread. */
struct token_file;
/* ERR_NOMEM. Nothing is read yet. */
enum err token_file_new(const char *path, struct token_file **out) must_check;
void token_file_free(struct token_file *f);
/* Looks whether it has changed, and reads it then. OK: *out (borrowed until the next call) is what it holds, *changed
 * whether that was read just now. A file that is gone holds nothing. Errors as of tokens_read and tokens_parse: what it
 * held before goes on to count, is in *out too, and each failure is told once: then OK until it changes again. */
enum err token_file_fresh(struct token_file *f, const struct tokens **out, bool *changed, struct diag *d) must_check;
const char *token_file_path(const struct token_file *f);
/* Grows whenever what it holds is read as something else than before. */
uint64_t token_file_version(const struct token_file *f);

#endif
