/* SPDX-License-Identifier: Apache-2.0
 *
 * CESQL inside: the program that an expression is compiled to, and what its files share.
 *
 * A program is a run of instructions for a machine with a stack of values, in the order of evaluation: operands first.
 * There are no loops, and jumps (AND, OR, IN) only go forward, so it ends after as many steps as it has instructions.
 *
 *     type = 'x' AND hops < 5         ATTRIBUTE_IS type; CONSTANT 'x'; AND 7; ATTRIBUTE hops; CAST Integer; CONSTANT 5;
 *                                     LESS; 7:
 *
 * The first error ends an evaluation. An operator or function with an operand that came with an error returns the zero
 * of its type (section 3.3), and so does every one above it: the value of the whole is the zero of its own type, unless
 * the last call of all is what went wrong, and says what it returns then (LEFT, RIGHT, ABS).
 */
#ifndef LEAT_EVENTS_CESQL_PRIVATE_H
#define LEAT_EVENTS_CESQL_PRIVATE_H

#include "cesql.h"
#include "event_private.h"

#define CESQL_STACK_MAX 256    /* values: arguments of nested calls, together; more is no filter */
#define CESQL_STEP_BYTES 1024  /* so much text walked by a function or a pattern counts as one more step */
#define CESQL_UNKNOWN_TYPE 3   /* of a part, while compiling: an attribute has its type in the event */
#define CESQL_PATTERN_ANY 0xFF /* % in a compiled pattern; neither byte occurs in UTF-8 */
#define CESQL_PATTERN_ONE 0xFE /* _ */

enum cesql_op {
    CESQL_OP_CONSTANT,     /* pushes: integer or boolean in `at`, else a string */
    CESQL_OP_ATTRIBUTE,    /* pushes its value */
    CESQL_OP_ATTRIBUTE_IS, /* pushes whether it is the string of the next instruction, which is skipped */
    CESQL_OP_EXISTS,
    CESQL_OP_CAST, /* to `type` */
    CESQL_OP_NOT,
    CESQL_OP_MINUS,
    CESQL_OP_AND, /* false stays and jumps; else popped */
    CESQL_OP_OR,  /* true stays and jumps; else popped */
    CESQL_OP_XOR,
    CESQL_OP_EQUAL, /* casts the left side to the right side's type */
    CESQL_OP_LESS,
    CESQL_OP_LESS_EQUAL,
    CESQL_OP_GREATER,
    CESQL_OP_GREATER_EQUAL,
    CESQL_OP_ADD,
    CESQL_OP_SUBTRACT,
    CESQL_OP_MULTIPLY,
    CESQL_OP_DIVIDE,
    CESQL_OP_REMAINDER,
    CESQL_OP_LIKE,
    CESQL_OP_IN,     /* pops an element; if the value below equals it, that becomes true, and jumps */
    CESQL_OP_IN_END, /* the value below becomes false */
    CESQL_OP_CALL,
    CESQL_OP_UNKNOWN_CALL /* pushes false, missingFunction */
};

struct cesql_instruction {
    uint8_t op;        /* enum cesql_op */
    uint8_t type;      /* of the result */
    uint8_t detail;    /* enum core of an attribute; index of a function */
    bool negated;      /* !=, NOT LIKE, NOT IN */
    uint16_t place;    /* byte of the expression, for messages */
    uint16_t operands; /* how many values it takes */
    uint32_t at, len;  /* a text, or in `at`: an integer, or where to jump */
};
_Static_assert(CESQL_TEXT_MAX <= UINT16_MAX, "a place fits its field");

/* An exact comparison that must hold; rank 0: none is known. */
struct cesql_required {
    int rank;
    uint32_t name_at, name_len, value_at, value_len;
};

struct cesql {
    uint32_t count;
    uint8_t type;       /* of the whole, or CESQL_UNKNOWN_TYPE */
    bool makes_strings; /* an evaluation may need memory */
    struct cesql_required required;
    struct slice source; /* the expression as written */
    const char *text;    /* names, strings and patterns */
    struct cesql_instruction code[];
};

struct cesql_stack_value {
    uint8_t type; /* enum cesql_type */
    bool boolean;
    int32_t integer;
    struct slice string;
};

/* One evaluation. */
struct cesql_evaluation {
    const struct cesql_instruction *code;
    const char *text;
    struct slice source;
    const struct ce_event *event;
    char *memory; /* the next free byte for strings */
    size_t memory_left;
    unsigned steps;
    enum cesql_error error;
    struct diag *diag; /* may be NULL */
};

/* Runs code[begin, end) on an empty stack up to the first error: the one value that is left. `type` is the whole's. */
struct cesql_stack_value cesql_run(struct cesql_evaluation *v, uint32_t begin, uint32_t end, uint8_t type);
/* The line and column of a byte of the expression, in characters from 1. */
void cesql_place(struct slice source, size_t at, struct diag *d);
/* Records an error, unless there was one before. */
void cesql_raise(struct cesql_evaluation *v, const struct cesql_instruction *i, enum cesql_error e, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
/* Counts work on so many bytes; false when that was too much. */
bool cesql_spend(struct cesql_evaluation *v, const struct cesql_instruction *i, size_t bytes);
/* Memory for a string; NULL (raised) when the evaluation has made too many. */
char *cesql_take(struct cesql_evaluation *v, const struct cesql_instruction *i, size_t n);

/* ---- functions (cesql_functions.c) ---- */

struct cesql_function {
    const char *name;
    uint8_t arguments_min, arguments_max; /* UINT8_MAX: any number */
    uint8_t type;
    char parameters[4]; /* types of the arguments: 's'tring, 'i'nteger, 'a'ny; the last stands for all that follow */
    bool makes_strings;
    bool casts; /* the call is a cast to `type` */
    void (*call)(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *arguments);
};
/* -1: no such function with so many arguments. */
int cesql_function_find(struct slice name, size_t arguments);
const struct cesql_function *cesql_function_at(int index);

/* ---- patterns (cesql_like.c) ---- */

/* Writes the compiled pattern, at most as long as the text; returns its length. */
size_t cesql_pattern_compile(struct slice text, char *out);
/* *work grows by the bytes that were compared in vain; the answer is false once that passes `work_max`. */
bool cesql_pattern_match(struct slice pattern, struct slice text, size_t *work, size_t work_max);

/* ---- characters (cesql_case.c) ---- */

uint32_t cesql_lower(uint32_t code_point);
uint32_t cesql_upper(uint32_t code_point);

/* ---- for filters ---- */

/* As cesql_compile, but refuses what can never be true: an expression that is a number or a text, and calls of
 * functions that do not exist. */
enum err cesql_compile_predicate(struct slice text, struct cesql **out, struct diag *d) must_check;
/* An exact value that the event must have for the expression to be true. */
bool cesql_required_exact(const struct cesql *q, int *rank, struct slice *name, struct slice *value);

#endif
