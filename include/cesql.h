/* SPDX-License-Identifier: Apache-2.0
 *
 * CESQL 1.0.0, the CloudEvents SQL Expression Language (cesql/spec.md, tag cesql@v1.0.0): compiled once, evaluated
 * against one event at a time. An expression always has a value; what went wrong on the way is told beside it.
 *
 * A compiled expression is immutable: any thread may evaluate it.
 */
#ifndef LEAT_CESQL_H
#define LEAT_CESQL_H

#include "err.h"
#include "event.h"
#include "slice.h"

#define CESQL_TEXT_MAX 16384  /* bytes of an expression: longer ones are machine-made, and no filter */
#define CESQL_DEPTH_MAX 64    /* nested operators, parentheses and calls: bounds the recursion of the compiler */
#define CESQL_STEPS_MAX 10000 /* operations of one evaluation; walking 1 KiB of text counts as one */
#define CESQL_BYTES_MAX 65536 /* of the strings that one evaluation makes, together */

/* Section 3.5 and 4: kinds of errors; the first that occurred is told. */
enum cesql_error {
    CESQL_OK,
    CESQL_PARSE,
    CESQL_MATH,
    CESQL_CAST,
    CESQL_MISSING_FUNCTION,
    CESQL_MISSING_ATTRIBUTE,
    CESQL_FUNCTION_EVALUATION,
    CESQL_GENERIC /* a limit above was met */
};
/* "parse", "math", "cast", "missingFunction", "missingAttribute", "functionEvaluation", "generic"; "" for CESQL_OK. */
const char *cesql_error_name(enum cesql_error e);

enum cesql_type { CESQL_BOOLEAN, CESQL_INTEGER, CESQL_STRING };
struct cesql_value {
    enum cesql_type type;
    bool boolean;
    int32_t integer;
    struct slice string; /* in the event, the expression or the memory of the evaluation */
};

struct cesql;
/* ERR_INVALID with *d (may be NULL): what was expected, line and column in it (in characters, from 1); ERR_NOMEM. */
enum err cesql_compile(struct slice text, struct cesql **out, struct diag *d) must_check;
/* NULL is fine. */
void cesql_free(struct cesql *q);

/* Whether the expression is true without error: what a filter asks. Stops at the first error. Allocates nothing. */
bool cesql_test(const struct cesql *q, const struct ce_event *e);
/* The value and the first error (CESQL_OK: none), which ends the evaluation: the value is then the zero of the
 * expression's type, or what the outermost function returns in its own error. Strings that the evaluation makes lie in
 * `memory`, which has room for CESQL_BYTES_MAX more bytes and which the caller clears or frees; *d (may be NULL) says
 * in words what went wrong, with line and column of the operator. Without memory: CESQL_GENERIC. */
enum cesql_error cesql_evaluate(const struct cesql *q, const struct ce_event *e, struct buf *memory,
                                struct cesql_value *out, struct diag *d) must_check;

#endif
