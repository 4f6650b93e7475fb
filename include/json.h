/* SPDX-License-Identifier: Apache-2.0
 *
 * A strict scanner of JSON text (RFC 8259), for events: it never copies, changes or interprets a value, it finds where
 * values lie. Refused, with the byte's offset: invalid UTF-8, control characters in strings, leading zeros, a BOM, text
 * after the value, unpaired surrogate escapes, nesting beyond a limit. No recursion. Resources use cJSON instead; event
 * JSON never passes through it.
 */
#ifndef LEAT_JSON_H
#define LEAT_JSON_H

#include "buf.h"
#include "err.h"
#include "slice.h"

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_OBJECT, JSON_ARRAY };

struct json_value {
    enum json_type type;
    struct slice raw; /* the text of the value, without white space around it; borrowed from the input */
};

#define JSON_DEPTH_MAX 32768 /* nesting that json_check can follow: one bit of stack each; deeper data is an attack */

/* Checks that `text` is exactly one JSON value with white space around it. `depth_max`: nested arrays and objects
 * allowed (0 to JSON_DEPTH_MAX). ERR_INVALID with *d (line, column, reason). */
enum err json_check(struct slice text, int depth_max, struct json_value *out, struct diag *d) must_check;

/* Walks the members of an object, or the elements of an array, whose text json_check has accepted. */
struct json_walk {
    const char *at, *end; /* private */
    bool object;          /* private */
    struct slice name;    /* object: the member's name as written, with quotes; array: empty */
    struct json_value value;
};
/* `v` must be an object or an array out of json_check. */
void json_walk_begin(struct json_walk *w, struct json_value v);
/* The next member or element, in the order of the text; false at the end. Duplicated names are reported as they stand.
 * */
bool json_walk_next(struct json_walk *w);

/* Appends the characters of a string (its text with quotes, out of json_check) with escapes resolved, as UTF-8. */
void json_unescape(struct slice string, struct buf *out);
/* The same into memory of the caller, string.len - 2 bytes at least; returns how many were written. */
size_t json_unescape_into(struct slice string, char *out);
/* Whether a string (text with quotes) is exactly these characters. */
bool json_string_is(struct slice string, struct slice characters);
/* The integer component only (no fraction, no exponent), within 32 bits: the CloudEvents Integer. false otherwise. */
bool json_int32(struct slice number, int32_t *out);

/* Looks up a path of member names ("repository", "full_name", NULL) in an object out of json_check; the first of
 * duplicates. false when a step is missing or is no object. */
bool json_find(struct json_value v, const char *const *path, struct json_value *out);

#endif
