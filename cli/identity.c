/* SPDX-License-Identifier: Apache-2.0
 *
 * Who a client verb is to the server: a token, from the command line, a file or the environment; and which certificates
 * it trusts.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define TOKEN_MAX 4096 /* of leat's own or of another's in front of it */

/* A token is one word (RFC 6750, section 2.1): anything else would break the request. */
static bool is_word(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    return text.len > 0;
}

static struct slice trimmed(struct slice s)
{
    while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    return slice_trim(s);
}

/* What is wrong with a token is said without it. */
static bool take(const struct invocation *in, struct slice text, const char *from, struct buf *out)
{
    text = trimmed(text);
    if (!is_word(text)) {
        fail(in->command, EXIT_CODE_USAGE, "%s holds no token: one word, as `leat token create` prints it.", from);
        return false;
    }
    buf_put(out, text);
    return buf_error(out) == OK;
}

static bool take_file(const struct invocation *in, const char *path, struct buf *out)
{
    struct buf text;
    bool good = read_file(in->command, path, TOKEN_MAX, &text) && take(in, buf_slice(&text), path, out);
    if (text.ptr)
        OPENSSL_cleanse(text.ptr, text.len);
    buf_fini(&text);
    return good;
}

bool client_identity_read(const struct invocation *in, struct client_identity *out)
{
    *out = (struct client_identity){0};
    buf_init(&out->token, TOKEN_MAX);
    if (!option_known(in->command, "token"))
        return true;
    const char *token = option_value(in, "token", NULL), *file = option_value(in, "token-file", NULL),
               *from_environment = getenv("LEAT_TOKEN");
    out->ca = option_value(in, "ca", NULL);
    out->server = server_url(in);
    if (token && file) {
        usage_error(in->command, "--token and --token-file say the same: give one of them.");
        return false;
    }
    bool good = token  ? take(in, slice_str(token), "--token", &out->token)
                : file ? take_file(in, file, &out->token)
                       : !from_environment || !*from_environment ||
                             take(in, slice_str(from_environment), "$LEAT_TOKEN", &out->token);
    if (!good)
        client_identity_fini(out);
    return good;
}

void client_identity_fini(struct client_identity *i)
{
    if (i->token.ptr)
        OPENSSL_cleanse(i->token.ptr, i->token.len);
    buf_fini(&i->token);
}

void client_identity_put(const struct client_identity *i, const char *url, struct buf *out)
{
    size_t n = i->server ? strlen(i->server) : 0;
    while (n && i->server[n - 1] == '/')
        n--;
    if (i->token.len && strncmp(url, i->server, n) == 0 && (url[n] == '/' || url[n] == '\0'))
        buf_printf(out, "Authorization: Bearer %.*s\r\n", SLICE_ARG(buf_slice(&i->token)));
}
