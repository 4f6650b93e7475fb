/* SPDX-License-Identifier: Apache-2.0
 *
 * Small text forms that several rooms share: UTF-8, base64, hexadecimal, RFC 3339 times, ISO 8601 durations,
 * percent-coding. Pure functions.
 */
#ifndef LEAT_TEXT_H
#define LEAT_TEXT_H

#include "buf.h"
#include "err.h"
#include "slice.h"

/* Well-formed UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF). */
bool utf8_valid(struct slice s);
/* Decodes the code point at s.ptr (s.len > 0); its length in bytes, 0 when malformed. */
size_t utf8_decode(struct slice s, uint32_t *code_point);
/* Writes one code point (no surrogate, at most U+10FFFF); its length in bytes, 1 to 4. */
size_t utf8_encode(uint32_t code_point, char out[4]);

/* RFC 4648 section 4, with padding. */
void base64_put(struct buf *b, struct slice bytes);
/* Strict: padding demanded, no white space, no stray bits. ERR_INVALID otherwise. */
enum err base64_decode(struct slice text, struct buf *out) must_check;
/* The same into memory of the caller: room for text.len / 4 * 3 bytes; with `out` NULL it only checks and counts. On
 * failure what was written is meaningless. */
enum err base64_decode_into(struct slice text, char *out, size_t *out_len) must_check;

/* The value of a hexadecimal digit in either case, -1 when it is none. */
int hex_digit(char c);
/* Lower-case hexadecimal. */
void hex_put(struct buf *b, struct slice bytes);
/* ERR_INVALID unless text is exactly 2n digits in either case. */
enum err hex_decode(struct slice text, unsigned char *out, size_t n) must_check;

/* A timestamp of RFC 3339: "2018-07-31T12:00:00.5+02:00"; t and z in lower case are valid, as is second 60.
 * Nanoseconds since 1970 UTC, digits beyond the ninth cut off. ERR_INVALID otherwise. Years 0000 to 9999; those whose
 * nanoseconds do not fit 64 bits (before 1678, after 2261) are clamped to the ends. */
enum err rfc3339_parse(struct slice text, int64_t *wall_ns) must_check;
/* "2018-07-31T12:00:00Z"; with a fraction of 3, 6 or 9 digits as `digits` says (0: none). */
void rfc3339_put(struct buf *b, int64_t wall_ns, int digits);

/* A duration of ISO 8601 as Knative writes them: PnDTnHnMnS, seconds may have a fraction ("PT0.2S"), weeks "P2W"; years
 * and months are refused since their length is not fixed. Nanoseconds; ERR_INVALID otherwise, with *d naming what is
 * wrong and an example. */
enum err iso8601_duration_parse(struct slice text, uint64_t *ns, struct diag *d) must_check;

/* Percent-decodes a URL path segment (RFC 3986 section 2.1). ERR_INVALID on a bad escape or an encoded NUL. */
enum err percent_decode(struct slice text, struct buf *out) must_check;

/* Decimal digits only, no sign, no leading '+'. ERR_INVALID when empty, not a number, or above max. */
enum err decimal_parse(struct slice text, uint64_t max, uint64_t *out) must_check;
/* "64KiB", "1MiB", "10GiB", "1000": bytes. ERR_INVALID otherwise. */
enum err bytes_parse(struct slice text, uint64_t *out, struct diag *d) must_check;
/* A flag's duration: ISO 8601, or a number with unit: "500ms", "30s", "5m", "1h". Nanoseconds. */
enum err duration_parse(struct slice text, uint64_t *ns, struct diag *d) must_check;

#endif
