/* SPDX-License-Identifier: Apache-2.0
 *
 * Evaluating a compiled expression: the stack machine of cesql_private.h. Any thread; nothing is allocated.
 */
#include "cesql_private.h"

#include <stdarg.h>
#include <stdio.h>

const char *cesql_error_name(enum cesql_error e)
{
    static const char *const names[] = {
        [CESQL_OK] = "",
        [CESQL_PARSE] = "parse",
        [CESQL_MATH] = "math",
        [CESQL_CAST] = "cast",
        [CESQL_MISSING_FUNCTION] = "missingFunction",
        [CESQL_MISSING_ATTRIBUTE] = "missingAttribute",
        [CESQL_FUNCTION_EVALUATION] = "functionEvaluation",
        [CESQL_GENERIC] = "generic",
    };
    return names[e];
}

void cesql_place(struct slice source, size_t at, struct diag *d)
{
    d->line = d->column = 1;
    for (size_t i = 0; i < at && i < source.len; i++) {
        if (source.ptr[i] == '\n') {
            d->line++;
            d->column = 1;
        } else {
            d->column += ((unsigned char)source.ptr[i] & 0xC0) != 0x80;
        }
    }
}

void cesql_raise(struct cesql_evaluation *v, const struct cesql_instruction *i, enum cesql_error e, const char *format,
                 ...)
{
    if (v->error)
        return;
    v->error = e;
    if (!v->diag)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(v->diag->text, sizeof v->diag->text, format, args);
    va_end(args);
    cesql_place(v->source, i->place, v->diag);
}

bool cesql_spend(struct cesql_evaluation *v, const struct cesql_instruction *i, size_t bytes)
{
    size_t steps = v->steps + bytes / CESQL_STEP_BYTES;
    if (steps <= CESQL_STEPS_MAX) {
        v->steps = (unsigned)steps;
        return true;
    }
    cesql_raise(v, i, CESQL_GENERIC, "an evaluation may take %d steps, this one takes more; write a shorter expression",
                CESQL_STEPS_MAX);
    return false;
}

char *cesql_take(struct cesql_evaluation *v, const struct cesql_instruction *i, size_t n)
{
    if (n > v->memory_left) {
        cesql_raise(v, i, CESQL_GENERIC, "an evaluation may make texts of %d bytes together, this one makes more",
                    CESQL_BYTES_MAX);
        return NULL;
    }
    char *at = v->memory;
    v->memory += n;
    v->memory_left -= n;
    return at;
}

/* ---- values ---- */

static struct cesql_stack_value boolean(bool b)
{
    return (struct cesql_stack_value){.type = CESQL_BOOLEAN, .boolean = b};
}

/* [+-]?digits in 32 bits. */
static bool read_integer(struct slice s, int32_t *out)
{
    bool minus = s.len && s.ptr[0] == '-';
    int64_t n = 0;
    if (s.len && (minus || s.ptr[0] == '+'))
        s = slice_from(s, 1);
    if (!s.len)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (s.ptr[i] - '0');
        if (n > (int64_t)INT32_MAX + minus)
            return false;
    }
    *out = (int32_t)(minus ? -n : n);
    return true;
}

static void cast_failed(struct cesql_evaluation *v, const struct cesql_instruction *i, struct slice s, const char *what)
{
    cesql_raise(v, i, CESQL_CAST, "%s is %s", ce_quote(s).text, what);
}

static int32_t integer_of(struct cesql_evaluation *v, const struct cesql_instruction *i,
                          const struct cesql_stack_value *x)
{
    int32_t n = 0;
    if (x->type == CESQL_INTEGER)
        return x->integer;
    if (x->type == CESQL_BOOLEAN)
        return x->boolean;
    if (!read_integer(x->string, &n))
        cast_failed(v, i, x->string, "no integer of 32 bits");
    return n;
}

static bool boolean_of(struct cesql_evaluation *v, const struct cesql_instruction *i, const struct cesql_stack_value *x)
{
    if (x->type == CESQL_BOOLEAN)
        return x->boolean;
    if (x->type == CESQL_INTEGER)
        return x->integer != 0;
    if (slice_eq_nocase(x->string, SLICE("true")))
        return true;
    if (!slice_eq_nocase(x->string, SLICE("false")))
        cast_failed(v, i, x->string, "neither true nor false");
    return false;
}

struct digits {
    char text[12]; /* -2147483648 */
};

/* A string's own bytes, or the digits of a number in `room`. */
static struct slice string_of(const struct cesql_stack_value *x, struct digits *room)
{
    if (x->type == CESQL_STRING)
        return x->string;
    if (x->type == CESQL_BOOLEAN)
        return x->boolean ? SLICE("true") : SLICE("false");
    return slice_of(room->text, (size_t)snprintf(room->text, sizeof room->text, "%d", x->integer));
}

static void cast(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    struct digits room;
    struct slice s;
    switch (i->type) {
    case CESQL_BOOLEAN:
        *x = boolean(boolean_of(v, i, x));
        break;
    case CESQL_INTEGER:
        *x = (struct cesql_stack_value){.type = CESQL_INTEGER, .integer = integer_of(v, i, x)};
        break;
    default:
        s = string_of(x, &room);
        if (x->type == CESQL_INTEGER) {
            char *to = cesql_take(v, i, s.len);
            s = to ? slice_of(memcpy(to, s.ptr, s.len), s.len) : slice_of(NULL, 0);
        }
        *x = (struct cesql_stack_value){.type = CESQL_STRING, .string = s};
    }
}

/* Whether x, cast to the type of y, is y. */
static bool equal(struct cesql_evaluation *v, const struct cesql_instruction *i, const struct cesql_stack_value *x,
                  const struct cesql_stack_value *y)
{
    struct digits room;
    switch (y->type) {
    case CESQL_BOOLEAN:
        return boolean_of(v, i, x) == y->boolean;
    case CESQL_INTEGER:
        return integer_of(v, i, x) == y->integer;
    default:
        return cesql_spend(v, i, y->string.len) && slice_eq(string_of(x, &room), y->string);
    }
}

/* ---- attributes ---- */

static struct slice text_of(const struct cesql_evaluation *v, const struct cesql_instruction *i)
{
    return slice_of(v->text + i->at, i->len);
}

static void missing(struct cesql_evaluation *v, const struct cesql_instruction *i)
{
    cesql_raise(v, i, CESQL_MISSING_ATTRIBUTE, "the event has no attribute %s", ce_quote(text_of(v, i)).text);
}

static void push_attribute(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *top)
{
    const struct event_attribute *a = event_find(v->event, i->detail, text_of(v, i));
    if (!a) {
        missing(v, i);
        return;
    }
    struct slice s = slice_of(event_at(v->event, a->value_at), a->value_len);
    *top = (struct cesql_stack_value){.type = CESQL_STRING, .string = s};
    if (a->type == CE_BOOLEAN)
        *top = boolean(s.len && s.ptr[0] == 't');
    else if (a->type == CE_INTEGER)
        *top = (struct cesql_stack_value){.type = CESQL_INTEGER, .integer = integer_of(v, i, top)};
}

/* `i` names the attribute, the instruction behind it has the text and what is asked: equal or not. */
static bool attribute_is(struct cesql_evaluation *v, const struct cesql_instruction *i)
{
    const struct event_attribute *a = event_find(v->event, i->detail, text_of(v, i));
    if (!a) {
        missing(v, i);
        return false;
    }
    struct slice wanted = text_of(v, i + 1);
    bool same = a->value_len == wanted.len && memcmp(event_at(v->event, a->value_at), wanted.ptr, wanted.len) == 0;
    return same != i->negated;
}

/* ---- operators ---- */

static int32_t divided(struct cesql_evaluation *v, const struct cesql_instruction *i, int32_t x, int32_t y)
{
    if (y == 0) {
        cesql_raise(v, i, CESQL_MATH, "%d is divided by 0", x);
        return 0;
    }
    if (y == -1 && i->op == CESQL_OP_REMAINDER) /* INT32_MIN % -1 is a trap of the processor, not a number too large */
        return 0;
    if (y == -1 && x == INT32_MIN) {
        cesql_raise(v, i, CESQL_MATH, "the result is too large for 32 bits");
        return 0;
    }
    return i->op == CESQL_OP_DIVIDE ? x / y : x % y;
}

static int32_t arithmetic(struct cesql_evaluation *v, const struct cesql_instruction *i, int32_t x, int32_t y)
{
    int32_t result = 0;
    bool overflow;
    if (i->op == CESQL_OP_ADD)
        overflow = __builtin_add_overflow(x, y, &result);
    else if (i->op == CESQL_OP_SUBTRACT || i->op == CESQL_OP_MINUS)
        overflow = __builtin_sub_overflow(x, y, &result);
    else if (i->op == CESQL_OP_MULTIPLY)
        overflow = __builtin_mul_overflow(x, y, &result);
    else
        return divided(v, i, x, y);
    if (!overflow)
        return result;
    cesql_raise(v, i, CESQL_MATH, "the result is too large for 32 bits");
    return 0;
}

static bool ordered(enum cesql_op op, int32_t x, int32_t y)
{
    switch (op) {
    case CESQL_OP_LESS:
        return x < y;
    case CESQL_OP_LESS_EQUAL:
        return x <= y;
    case CESQL_OP_GREATER:
        return x > y;
    default:
        return x >= y;
    }
}

static bool like(struct cesql_evaluation *v, const struct cesql_instruction *i, const struct cesql_stack_value *x)
{
    struct digits room;
    struct slice s = string_of(x, &room);
    size_t work = 0;
    bool matches = cesql_pattern_match(text_of(v, i), s, &work, (size_t)CESQL_STEPS_MAX * CESQL_STEP_BYTES);
    return cesql_spend(v, i, s.len + work) && matches != i->negated;
}

static void push_constant(const struct cesql_evaluation *v, const struct cesql_instruction *i,
                          struct cesql_stack_value *top)
{
    top->type = i->type;
    if (i->type == CESQL_STRING)
        top->string = text_of(v, i);
    else if (i->type == CESQL_INTEGER)
        top->integer = (int32_t)i->at;
    else
        top->boolean = i->at;
}

/* Arithmetic and comparisons of x and y, the two values on top, into x. */
static void binary(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    const struct cesql_stack_value *y = x + 1;
    if (i->op == CESQL_OP_EQUAL)
        *x = boolean(equal(v, i, x, y) != i->negated);
    else if (i->op == CESQL_OP_XOR)
        *x = boolean(x->boolean != y->boolean);
    else if (i->op <= CESQL_OP_GREATER_EQUAL)
        *x = boolean(ordered(i->op, x->integer, y->integer));
    else
        x->integer = arithmetic(v, i, x->integer, y->integer);
}

struct cesql_stack_value cesql_run(struct cesql_evaluation *v, uint32_t begin, uint32_t end, uint8_t type)
{
    /* Not cleared: each push fills what it needs. The first place is a floor that holds nothing. */
    struct cesql_stack_value stack[CESQL_STACK_MAX + 1], *top = stack;
    uint32_t at = begin;
    while (at < end) {
        const struct cesql_instruction *i = &v->code[at++];
        if (++v->steps > CESQL_STEPS_MAX && !cesql_spend(v, i, 0))
            break;
        switch ((enum cesql_op)i->op) {
        case CESQL_OP_CONSTANT:
            push_constant(v, i, ++top);
            break;
        case CESQL_OP_ATTRIBUTE:
            push_attribute(v, i, ++top);
            break;
        case CESQL_OP_ATTRIBUTE_IS:
            *++top = boolean(attribute_is(v, i));
            at++;
            break;
        case CESQL_OP_EXISTS:
            *++top = boolean(event_find(v->event, i->detail, text_of(v, i)));
            break;
        case CESQL_OP_CAST:
            cast(v, i, top);
            break;
        case CESQL_OP_NOT:
            top->boolean = !top->boolean;
            break;
        case CESQL_OP_MINUS:
            top->integer = arithmetic(v, i, 0, top->integer);
            break;
        case CESQL_OP_AND:
        case CESQL_OP_OR:
            if (top->boolean == (i->op == CESQL_OP_OR))
                at = i->at;
            else
                top--;
            break;
        case CESQL_OP_LIKE:
            *top = boolean(like(v, i, top));
            break;
        case CESQL_OP_IN:
            top--;
            if (equal(v, i, top + 1, top)) {
                *top = boolean(!i->negated);
                at = i->at;
            }
            break;
        case CESQL_OP_IN_END:
            *top = boolean(i->negated);
            break;
        case CESQL_OP_CALL:
            top -= i->operands - 1;
            cesql_function_at(i->detail)->call(v, i, top);
            break;
        case CESQL_OP_UNKNOWN_CALL:
            cesql_raise(v, i, CESQL_MISSING_FUNCTION, "there is no function %.*s with %u argument%s",
                        SLICE_ARG(text_of(v, i)), i->operands, i->operands == 1 ? "" : "s");
            *++top = boolean(false);
            break;
        default:
            binary(v, i, --top);
        }
        if (v->error)
            break;
    }
    bool own = at == end && v->code[end - 1].op == CESQL_OP_CALL && v->error != CESQL_GENERIC;
    if (!v->error || own)
        return *top;
    return (struct cesql_stack_value){.type = type == CESQL_UNKNOWN_TYPE ? CESQL_BOOLEAN : type};
}

/* ---- the doors ---- */

static bool test_with(const struct cesql *q, const struct ce_event *e, char *memory, size_t memory_left)
{
    struct cesql_evaluation v = {.code = q->code,
                                 .text = q->text,
                                 .source = q->source,
                                 .event = e,
                                 .memory = memory,
                                 .memory_left = memory_left};
    struct cesql_stack_value value = cesql_run(&v, 0, q->count, q->type);
    return !v.error && value.type == CESQL_BOOLEAN && value.boolean;
}

/* A frame of its own, so that other expressions do not pay for it. */
static __attribute__((noinline)) bool test_with_strings(const struct cesql *q, const struct ce_event *e)
{
    char memory[CESQL_BYTES_MAX];
    return test_with(q, e, memory, sizeof memory);
}

bool cesql_test(const struct cesql *q, const struct ce_event *e)
{
    return q->makes_strings ? test_with_strings(q, e) : test_with(q, e, NULL, 0);
}

enum cesql_error cesql_evaluate(const struct cesql *q, const struct ce_event *e, struct buf *memory,
                                struct cesql_value *out, struct diag *d)
{
    struct cesql_stack_value value = boolean(false);
    char *room = q->makes_strings ? buf_reserve(memory, CESQL_BYTES_MAX) : NULL;
    struct cesql_evaluation v = {.code = q->code,
                                 .text = q->text,
                                 .source = q->source,
                                 .event = e,
                                 .memory = room,
                                 .memory_left = room ? CESQL_BYTES_MAX : 0,
                                 .diag = d};
    if (q->makes_strings && !room) {
        cesql_raise(&v, q->code, CESQL_GENERIC, "out of memory");
    } else {
        value = cesql_run(&v, 0, q->count, q->type);
        memory->len += room ? CESQL_BYTES_MAX - v.memory_left : 0;
    }
    *out = (struct cesql_value){.type = (enum cesql_type)value.type,
                                .boolean = value.type == CESQL_BOOLEAN && value.boolean,
                                .integer = value.type == CESQL_INTEGER ? value.integer : 0,
                                .string = value.type == CESQL_STRING ? value.string : slice_of(NULL, 0)};
    return v.error;
}
