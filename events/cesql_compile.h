/* SPDX-License-Identifier: Apache-2.0
 *
 * The compiler's state, between its three files: tokens (cesql_lex.c), grammar (cesql_parse.c), instructions
 * (cesql_compile.c). A function that returns false has recorded a failure; nothing goes on after the first.
 */
#ifndef LEAT_EVENTS_CESQL_COMPILE_H
#define LEAT_EVENTS_CESQL_COMPILE_H

#include "cesql_private.h"

enum cesql_token {
    TOKEN_END,
    TOKEN_WORD,    /* letters, digits and _, not all digits */
    TOKEN_INTEGER, /* digits */
    TOKEN_STRING,  /* with its quotes */
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_STAR,
    TOKEN_SLASH,
    TOKEN_PERCENT,
    TOKEN_PLUS,
    TOKEN_MINUS,
    TOKEN_EQUAL,
    TOKEN_NOT_EQUAL,
    TOKEN_LESS,
    TOKEN_LESS_EQUAL,
    TOKEN_GREATER,
    TOKEN_GREATER_EQUAL,
    TOKEN_AND, /* from here on: words */
    TOKEN_OR,
    TOKEN_XOR,
    TOKEN_NOT,
    TOKEN_LIKE,
    TOKEN_EXISTS,
    TOKEN_IN,
    TOKEN_TRUE,
    TOKEN_FALSE
};

struct cesql_compiler {
    struct slice source;
    size_t next; /* the first byte behind the token in hand */
    enum cesql_token token;
    struct slice word; /* the token's text */
    struct cesql_instruction *code;
    size_t count, room;
    struct buf text;  /* names, strings and patterns: never more than the source has, and what was folded */
    size_t folded;    /* bytes of it that folding made */
    int depth;        /* of nested expressions */
    int stack;        /* values on the stack behind the last instruction */
    int unknown_call; /* the place of a function that does not exist, -1: none */
    bool makes_strings;
    enum err error; /* the first failure */
    struct diag *diag;
};

/* A part of the expression whose instructions are the last ones: code[begin, count). */
struct cesql_part {
    size_t begin;
    uint8_t type;  /* enum cesql_type or CESQL_UNKNOWN_TYPE */
    bool constant; /* one instruction: a constant */
    struct cesql_required required;
};

/* ---- tokens ---- */

/* Takes the next token in hand. */
bool cesql_advance(struct cesql_compiler *c);
/* Where the token in hand begins. */
size_t cesql_at(const struct cesql_compiler *c);
/* Records what is wrong at a byte of the expression; returns false. */
bool cesql_fail(struct cesql_compiler *c, size_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "expected WHAT, found the token in hand". */
bool cesql_expected(struct cesql_compiler *c, const char *what);

/* ---- instructions ---- */

/* Appends one that takes `operands` values and pushes one; NULL: failed. */
struct cesql_instruction *cesql_emit(struct cesql_compiler *c, enum cesql_op op, uint8_t type, size_t place,
                                     unsigned operands);
/* Appends bytes to the texts and points the instruction at them. */
bool cesql_emit_text(struct cesql_compiler *c, struct cesql_instruction *i, struct slice bytes);
/* Casts the part, whose instructions are the last, unless it has the type. */
bool cesql_emit_cast(struct cesql_compiler *c, struct cesql_part *part, uint8_t type, size_t place);
/* Evaluates a part whose operands are all constants, now; one that ends in an error stays as it is. */
bool cesql_fold(struct cesql_compiler *c, struct cesql_part *part, bool constants);
/* Compares left and right; `negated` for != and <>. */
bool cesql_emit_equal(struct cesql_compiler *c, struct cesql_part *left, const struct cesql_part *right, bool negated,
                      size_t place);

/* ---- grammar ---- */

/* The whole source. */
bool cesql_parse(struct cesql_compiler *c, struct cesql_part *out);

#endif
