/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens as text: making one, a file's lines, and finding one among them.
 */
#include "tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "text.h"

#define PREFIX "leat_" /* so that who searches for secrets in public places finds it */

static const char *const role_names[ROLE_COUNT] = {"view", "publish", "operate", "edit", "admin"};

const char *role_name(enum role r)
{
    return role_names[r];
}

bool role_parse(struct slice text, enum role *out)
{
    for (int i = 0; i < ROLE_COUNT; i++)
        if (slice_eq_str(text, role_names[i])) {
            *out = (enum role)i;
            return true;
        }
    return false;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool token_name_valid(struct slice name)
{
    if (name.len == 0 || name.len > TOKEN_NAME_MAX || name.ptr[0] == '-' || name.ptr[name.len - 1] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_plain(name.ptr[i]) && name.ptr[i] != '-')
            return false;
    return true;
}

static bool hash_of(struct slice text, unsigned char out[TOKEN_HASH_BYTES])
{
    return EVP_Digest(text.ptr ? text.ptr : "", text.len, out, NULL, EVP_sha256(), NULL) == 1;
}

enum err token_generate(char text[TOKEN_TEXT_BYTES], unsigned char hash[TOKEN_HASH_BYTES])
{
    unsigned char bytes[32];
    struct buf digits;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return ERR_IO;
    buf_init(&digits, TOKEN_TEXT_BYTES);
    buf_put_str(&digits, PREFIX);
    hex_put(&digits, slice_of((const char *)bytes, sizeof bytes));
    snprintf(text, TOKEN_TEXT_BYTES, "%.*s", SLICE_ARG(buf_slice(&digits)));
    enum err e = buf_error(&digits);
    if (digits.ptr)
        OPENSSL_cleanse(digits.ptr, digits.len);
    OPENSSL_cleanse(bytes, sizeof bytes);
    buf_fini(&digits);
    if (e == OK && !hash_of(slice_str(text), hash))
        e = ERR_NOMEM;
    return e;
}

void token_line_put(const struct token *t, struct buf *out)
{
    buf_printf(out, "%s sha256:", t->name);
    hex_put(out, slice_of((const char *)t->hash, sizeof t->hash));
    buf_printf(out, " %s %s ", role_name(t->role), t->namespace_name[0] ? t->namespace_name : "*");
    if (t->expires_ns == TOKEN_FOREVER)
        buf_put_char(out, '-');
    else
        rfc3339_put(out, t->expires_ns, 0);
    buf_put_char(out, '\n');
}

/* ---- reading ---- */

/* The next word of a line; empty at its end. */
static struct slice word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    struct slice w = slice_of(rest->ptr, n);
    *rest = slice_trim(slice_from(*rest, n));
    return w;
}

static void copy(struct slice from, char to[TOKEN_NAME_MAX + 1])
{
    memcpy(to, from.ptr, from.len);
    to[from.len] = '\0';
}

/* Never says what a hash is: the line's number is enough to find it. */
static enum err read_line(struct slice line, struct token *t, struct diag *d)
{
    static const char prefix[] = "sha256:";
    struct slice name = word(&line), hash = word(&line), role = word(&line), space = word(&line), expires = word(&line);
    *t = (struct token){.expires_ns = TOKEN_FOREVER};
    if (!expires.len || line.len)
        return diag_set(d, ERR_INVALID, "expected five words: NAME sha256:DIGITS ROLE NAMESPACE|* EXPIRES|-");
    if (!token_name_valid(name))
        return diag_set(d, ERR_INVALID, "the name is to be of lower-case letters, digits and dashes, %d at most",
                        TOKEN_NAME_MAX);
    if (!slice_has_prefix(hash, SLICE("sha256:")) ||
        hex_decode(slice_from(hash, sizeof prefix - 1), t->hash, sizeof t->hash) != OK)
        return diag_set(d, ERR_INVALID, "the second word is to be sha256: and 64 hexadecimal digits");
    if (!role_parse(role, &t->role))
        return diag_set(d, ERR_INVALID, "the role is none of view, publish, operate, edit, admin");
    if (!slice_eq(space, SLICE("*")) && !token_name_valid(space))
        return diag_set(d, ERR_INVALID, "the fourth word is to be a namespace, or * for all");
    if (!slice_eq(expires, SLICE("-")) && rfc3339_parse(expires, &t->expires_ns) != OK)
        return diag_set(d, ERR_INVALID, "the fifth word is to be a time as 2027-01-31T12:00:00Z, or - for never");
    copy(name, t->name);
    if (!slice_eq(space, SLICE("*")))
        copy(space, t->namespace_name);
    return OK;
}

static enum err check_new(const struct tokens *t, const struct token *one, struct diag *d)
{
    if (t->count == TOKENS_MAX)
        return diag_set(d, ERR_INVALID, "there are more than %d tokens", TOKENS_MAX);
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->list[i].name, one->name) == 0 || memcmp(t->list[i].hash, one->hash, sizeof one->hash) == 0)
            return diag_set(d, ERR_INVALID, "there is a token with this name, or this hash, already");
    return OK;
}

enum err tokens_parse(struct slice text, struct tokens *out, struct diag *d)
{
    struct tokens all = {0};
    enum err e = OK;
    for (int number = 1; e == OK && text.len; number++) {
        struct slice line = slice_split(&text, '\n');
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = slice_trim(line);
        if (!line.len || line.ptr[0] == '#')
            continue;
        struct token one;
        e = read_line(line, &one, d);
        if (e == OK)
            e = check_new(&all, &one, d);
        struct token *more = e == OK ? realloc(all.list, (all.count + 1) * sizeof *more) : NULL;
        if (e == OK && !more)
            e = diag_set(d, ERR_NOMEM, "out of memory");
        if (more) {
            all.list = more;
            all.list[all.count++] = one;
        }
        if (e != OK && d)
            d->line = number;
    }
    if (e == OK)
        *out = all;
    else
        tokens_fini(&all);
    return e;
}

void tokens_fini(struct tokens *t)
{
    free(t->list);
    *t = (struct tokens){0};
}

const struct token *tokens_find(const struct tokens *t, struct slice text)
{
    unsigned char hash[TOKEN_HASH_BYTES];
    const struct token *found = NULL;
    if (!hash_of(text, hash))
        return NULL;
    for (size_t i = 0; i < t->count; i++)
        if (CRYPTO_memcmp(hash, t->list[i].hash, sizeof hash) == 0)
            found = &t->list[i];
    return found;
}
