/* SPDX-License-Identifier: Apache-2.0
 *
 * A cJSON tree as YAML: block style, two spaces, lists not indented, text quoted only where it would be read as
 * something else. Long and multi-line text becomes a literal block where that is exact. Recursion is as deep as the
 * tree.
 */
#include <stdio.h>

#include "buf.h"
#include "resource.h"
#include "text.h"
#include "yaml_scalar.h"

static void indent(struct buf *out, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_put_str(out, "  ");
}

/* Whether text can stand without quotes: nothing in it that YAML gives a meaning. */
static bool is_plain(struct slice s)
{
    if (s.len == 0 || yaml_scalar_special(s) || strchr("-?:,[]{}#&*!|>'\"%@` =<", s.ptr[0]) ||
        s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == ':')
        return false;
    if (slice_has_prefix(s, SLICE("...")))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < 0x20 || c >= 0x7f)
            return false;
        if ((c == ':' && i + 1 < s.len && s.ptr[i + 1] == ' ') || (c == '#' && s.ptr[i - 1] == ' '))
            return false;
    }
    return true;
}

/* What YAML does not allow as it is, or takes for a line break, though JSON has nothing against it. */
static bool is_awkward(uint32_t c)
{
    return (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

/* JSON's escapes are YAML's too. */
static void put_quoted(struct buf *out, struct slice s)
{
    buf_put_char(out, '"');
    while (s.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(s, &c);
        if (n == 0) /* an object's text is always UTF-8; but nothing here may loop for ever */
            n = 1;
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", (char)c);
        else if (c == '\n' || c == '\t' || c == '\r')
            buf_put_str(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        else if (c < 0x20 || is_awkward(c))
            buf_printf(out, "\\u%04x", c);
        else
            buf_put(out, slice_of(s.ptr, n));
        s = slice_from(s, n);
    }
    buf_put_char(out, '"');
}

/* A literal block keeps text as it is when every line is printable and none begins with white space. */
static bool is_block(struct slice s)
{
    if (!memchr(s.ptr ? s.ptr : "", '\n', s.len) || s.ptr[0] == '\n' || s.ptr[0] == ' ' || s.ptr[0] == '\t')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c >= 0x7f)
            return false;
    }
    return true;
}

static void put_block(struct buf *out, struct slice s, int depth)
{
    size_t ends = 0;
    while (ends < s.len && s.ptr[s.len - 1 - ends] == '\n')
        ends++;
    buf_put_str(out, ends == 0 ? "|-\n" : ends == 1 ? "|\n" : "|+\n");
    struct slice rest = slice_of(s.ptr, ends ? s.len - 1 : s.len);
    while (rest.ptr) {
        struct slice line = slice_split(&rest, '\n');
        if (line.len)
            indent(out, depth);
        buf_put(out, line);
        buf_put_char(out, '\n');
    }
}

static void put_scalar(const cJSON *node, struct buf *out, int depth)
{
    if (cJSON_IsString(node)) {
        struct slice s = slice_str(node->valuestring);
        if (is_plain(s)) {
            buf_put(out, s);
        } else if (is_block(s)) {
            put_block(out, s, depth);
            return;
        } else {
            put_quoted(out, s);
        }
    } else if (cJSON_IsRaw(node)) {
        buf_put_str(out, node->valuestring);
    } else if (cJSON_IsNumber(node)) {
        buf_printf(out, "%.15g", node->valuedouble);
    } else {
        buf_put_str(out, cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null");
    }
    buf_put_char(out, '\n');
}

static bool is_collection(const cJSON *node)
{
    return (cJSON_IsObject(node) || cJSON_IsArray(node)) && node->child;
}

static void put_collection(const cJSON *node, struct buf *out, int depth, bool begun);

static void put_value(const cJSON *node, struct buf *out, int depth)
{
    if (cJSON_IsObject(node) && !node->child)
        buf_put_str(out, "{}\n");
    else if (cJSON_IsArray(node) && !node->child)
        buf_put_str(out, "[]\n");
    else
        put_scalar(node, out, depth);
}

/* `begun`: the first line's indentation is there already, after a "- ". */
static void put_collection(const cJSON *node, struct buf *out, int depth, bool begun)
{
    for (const cJSON *child = node->child; child; child = child->next, begun = false) {
        if (!begun)
            indent(out, depth);
        if (cJSON_IsArray(node)) {
            buf_put_str(out, "- ");
            if (is_collection(child))
                put_collection(child, out, depth + 1, true);
            else
                put_value(child, out, depth + 1);
            continue;
        }
        struct slice key = slice_str(child->string);
        if (is_plain(key))
            buf_put(out, key);
        else
            put_quoted(out, key);
        buf_put_char(out, ':');
        if (is_collection(child)) {
            buf_put_char(out, '\n');
            put_collection(child, out, cJSON_IsArray(child) ? depth : depth + 1, false);
        } else {
            buf_put_char(out, ' ');
            put_value(child, out, depth + 1);
        }
    }
}

void yaml_put(const cJSON *tree, struct buf *out)
{
    if (is_collection(tree))
        put_collection(tree, out, 0, false);
    else
        put_value(tree, out, 0);
}
