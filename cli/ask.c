/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests under /leat/v1 and their answers, read without changing a number or a letter of an event.
 */
#include "ask.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

void ask_url(struct buf *url, const struct invocation *in, const char *path)
{
    const char *server = server_url(in);
    size_t n = strlen(server);
    while (n && server[n - 1] == '/')
        n--;
    buf_init(url, 1u << 20);
    buf_put(url, slice_of(server, n));
    buf_put_str(url, path);
}

bool ask_url_put_target(struct buf *url, const struct invocation *in, size_t operand, const char *say)
{
    const char *text = operand < in->operand_count ? in->operands[operand] : "", *slash = strchr(text, '/');
    char kind[256];
    if (!slash || slash == text || slash[1] == '\0' || (size_t)(slash - text) >= sizeof kind) {
        usage_error(in->command, "%s: KIND/NAME, such as subscription/orders or trigger/big.", say);
        return false;
    }
    snprintf(kind, sizeof kind, "%.*s", (int)(slash - text), text);
    url_put_segment(url, namespace_of(in));
    buf_put_char(url, '/');
    url_put_segment(url, kind);
    buf_put_char(url, '/');
    url_put_segment(url, slash + 1);
    return true;
}

void put_member(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_put_json_string(out, slice_str(value));
}

bool rate_read(const struct invocation *in, const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && isfinite(*out) && *out > 0)
        return true;
    usage_error(in->command, "--rate: '%s' is not a number of events a second above 0.", text);
    return false;
}

bool ask(struct client *cl, const struct invocation *in, const char *method, struct buf *url, struct slice body,
         struct client_answer *out, struct json_value *json)
{
    static const char headers[] = "Content-Type: application/json\r\nAccept: application/json\r\n";
    *json = (struct json_value){0};
    buf_put_char(url, '\0');
    if (buf_error(url) != OK) {
        fail(in->command, EXIT_CODE_FAILED, "what was asked for is too long for a URL.");
        return false;
    }
    if (!client_send(cl, method, url->ptr, headers, body, out))
        return false;
    bool parsed = json_check(buf_slice(&out->body), MANIFEST_DEPTH_MAX * 16, json, NULL) == OK;
    if (out->status < 400 && parsed && json->type == JSON_OBJECT)
        return true;
    if (parsed && json->type == JSON_OBJECT)
        fail_with_status(in->command, buf_slice(&out->body));
    else
        fail(in->command, EXIT_CODE_FAILED, "%s answered with no JSON object. Is that leat's API listener?", url->ptr);
    buf_fini(&out->body);
    return false;
}

/* ---- members ---- */

const char *member_text(struct json_value object, const char *const *path, char *out, size_t size)
{
    struct json_value v;
    struct buf text;
    out[0] = '\0';
    if (object.type != JSON_OBJECT || !json_find(object, path, &v))
        return out;
    buf_init(&text, v.raw.len + 1);
    if (v.type == JSON_STRING)
        json_unescape(v.raw, &text);
    else
        buf_put(&text, v.raw);
    size_t n = text.len < size - 1 ? text.len : size - 1;
    while (n < text.len && n > 0 && ((unsigned char)text.ptr[n] & 0xC0) == 0x80)
        n--; /* not through a character */
    while (n > 0 && (text.ptr[n - 1] == '\n' || text.ptr[n - 1] == '\r'))
        n--; /* a service's answer often ends its line */
    if (n)
        memcpy(out, text.ptr, n);
    out[n] = '\0';
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    buf_fini(&text);
    return out;
}

uint64_t member_number(struct json_value object, const char *name)
{
    char text[32];
    return strtoull(member_text(object, (const char *const[]){name, NULL}, text, sizeof text), NULL, 10);
}

bool member_is_true(struct json_value object, const char *name)
{
    struct json_value v;
    return object.type == JSON_OBJECT && json_find(object, (const char *const[]){name, NULL}, &v) &&
           v.type == JSON_TRUE;
}

/* ---- tables ---- */

struct ask_table {
    size_t columns, count, cap;
    char **cells; /* owned, row by row */
};

struct ask_table *table_new(size_t columns)
{
    struct ask_table *t = calloc(1, sizeof *t);
    if (t)
        t->columns = columns;
    return t;
}

void table_cell(struct ask_table *t, const char *text)
{
    if (!t)
        return;
    if (!array_reserve(&t->cells, &t->cap, t->count + 1, sizeof(char *)))
        return;
    t->cells[t->count] = strdup(*text ? text : "-");
    t->count += t->cells[t->count] != NULL;
}

/* Characters, not bytes. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void table_print(struct ask_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->count > t->columns && i < t->count; i++) {
        size_t column = i % t->columns;
        int widest = 0;
        for (size_t k = column; k < t->count; k += t->columns)
            if (width_of(t->cells[k]) > widest)
                widest = width_of(t->cells[k]);
        fputs(t->cells[i], stdout);
        if (column + 1 == t->columns)
            putchar('\n');
        else
            printf("%*s", widest - width_of(t->cells[i]) + 2, "");
    }
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}
