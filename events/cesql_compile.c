/* SPDX-License-Identifier: Apache-2.0
 *
 * Instructions of CESQL: written one by one, folded where nothing depends on the event, packed into one block at the
 * end.
 */
#include "cesql_compile.h"

#include <assert.h>
#include <stdlib.h>

#include "array.h"
#include "text.h"

/* Texts that are made while compiling: of one part, and together. What is longer is made when it is evaluated. */
#define FOLD_BYTES 4096
#define FOLD_BYTES_TOGETHER (2 * CESQL_TEXT_MAX)

struct cesql_instruction *cesql_emit(struct cesql_compiler *c, enum cesql_op op, uint8_t type, size_t place,
                                     unsigned operands)
{
    if (!array_reserve(&c->code, &c->room, c->count + 1, sizeof *c->code)) {
        c->error = ERR_NOMEM;
        return NULL;
    }
    c->stack += 1 - (int)operands;
    if (c->stack > CESQL_STACK_MAX) {
        cesql_fail(c, place, "more than %d values wait for each other; write shorter lists of arguments",
                   CESQL_STACK_MAX);
        return NULL;
    }
    struct cesql_instruction *i = &c->code[c->count++];
    *i = (struct cesql_instruction){
        .op = (uint8_t)op, .type = type, .place = (uint16_t)place, .operands = (uint16_t)operands};
    return i;
}

bool cesql_emit_text(struct cesql_compiler *c, struct cesql_instruction *i, struct slice bytes)
{
    i->at = (uint32_t)c->text.len;
    i->len = (uint32_t)bytes.len;
    buf_put(&c->text, bytes);
    if (buf_error(&c->text))
        c->error = ERR_NOMEM;
    return !c->error;
}

bool cesql_emit_cast(struct cesql_compiler *c, struct cesql_part *part, uint8_t type, size_t place)
{
    if (part->type == type)
        return true;
    if (!cesql_emit(c, CESQL_OP_CAST, type, place, 1))
        return false;
    c->makes_strings = c->makes_strings || (type == CESQL_STRING && part->type != CESQL_BOOLEAN);
    part->type = type;
    bool constant = part->constant;
    part->constant = false;
    return cesql_fold(c, part, constant);
}

static bool within_text(const struct cesql_compiler *c, struct slice s)
{
    return s.ptr && c->text.ptr && s.ptr >= c->text.ptr && s.ptr <= c->text.ptr + c->text.len;
}

/* The value as the only instruction of the part. */
static bool become_constant(struct cesql_compiler *c, struct cesql_part *part, const struct cesql_stack_value *value)
{
    size_t place = c->code[part->begin].place;
    c->count = part->begin;
    c->stack--;
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_CONSTANT, value->type, place, 0);
    assert(i); /* it takes the place of another */
    part->type = value->type;
    part->constant = true;
    if (value->type != CESQL_STRING) {
        i->at = value->type == CESQL_INTEGER ? (uint32_t)value->integer : value->boolean;
        return true;
    }
    if (within_text(c, value->string)) { /* a slice of one that is there: LEFT, TRIM */
        i->at = (uint32_t)(value->string.ptr - c->text.ptr);
        i->len = (uint32_t)value->string.len;
        return true;
    }
    c->folded += value->string.len;
    return cesql_emit_text(c, i, value->string);
}

bool cesql_fold(struct cesql_compiler *c, struct cesql_part *part, bool constants)
{
    char memory[FOLD_BYTES];
    if (!constants)
        return true;
    struct cesql_evaluation v = {.code = c->code,
                                 .text = c->text.ptr ? c->text.ptr : "", /* there may be none yet */
                                 .source = c->source,
                                 .memory = memory,
                                 .memory_left = sizeof memory};
    struct cesql_stack_value value = cesql_run(&v, (uint32_t)part->begin, (uint32_t)c->count, part->type);
    bool long_text = value.type == CESQL_STRING && !within_text(c, value.string) &&
                     c->folded + value.string.len > FOLD_BYTES_TOGETHER;
    return v.error || long_text || become_constant(c, part, &value);
}

/* ---- comparisons ---- */

static int rank_of(unsigned core)
{
    return core == CORE_TYPE ? 4 : core == CORE_SOURCE ? 3 : core == CORE_SUBJECT ? 2 : 1;
}

/* The two instructions are an attribute and a text: they become one that compares in place. */
static void fuse(struct cesql_compiler *c, struct cesql_part *part, bool negated)
{
    struct cesql_instruction *a = &c->code[part->begin], *b = a + 1;
    if (a->op == CESQL_OP_CONSTANT) { /* 'x' = type: both sides are texts, so they may change places */
        struct cesql_instruction swapped = *a;
        *a = *b;
        *b = swapped;
    }
    a->op = CESQL_OP_ATTRIBUTE_IS;
    a->type = CESQL_BOOLEAN;
    a->negated = negated;
    c->stack--;
    if (!negated)
        part->required = (struct cesql_required){rank_of(a->detail), a->at, a->len, b->at, b->len};
}

static bool is_text(const struct cesql_part *part)
{
    return part->constant && part->type == CESQL_STRING;
}

bool cesql_emit_equal(struct cesql_compiler *c, struct cesql_part *left, const struct cesql_part *right, bool negated,
                      size_t place)
{
    const struct cesql_instruction *a = &c->code[left->begin], *b = &c->code[right->begin];
    bool single = right->begin == left->begin + 1 && c->count == right->begin + 1;
    bool constants = left->constant && right->constant;
    bool forth = single && a->op == CESQL_OP_ATTRIBUTE && is_text(right);
    /* An extension on the right side may be a number, and then that is what is compared. */
    bool back = single && is_text(left) && b->op == CESQL_OP_ATTRIBUTE && b->detail != CORE_NONE;
    *left = (struct cesql_part){.begin = left->begin, .type = CESQL_BOOLEAN};
    if (forth || back) {
        fuse(c, left, negated);
        return true;
    }
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_EQUAL, CESQL_BOOLEAN, place, 2);
    if (!i)
        return false;
    i->negated = negated;
    return cesql_fold(c, left, constants);
}

/* ---- the whole ---- */

/* One block: the program, its texts, the expression. */
static struct cesql *pack(const struct cesql_compiler *c, const struct cesql_part *whole)
{
    size_t code = c->count * sizeof *c->code;
    struct cesql *q = calloc(1, sizeof *q + code + c->text.len + c->source.len);
    if (!q)
        return NULL;
    char *text = (char *)q->code + code;
    memcpy(q->code, c->code, code);
    if (c->text.len)
        memcpy(text, c->text.ptr, c->text.len);
    memcpy(text + c->text.len, c->source.ptr, c->source.len);
    q->count = (uint32_t)c->count;
    q->type = whole->type;
    q->makes_strings = c->makes_strings;
    q->required = whole->required;
    q->text = text;
    q->source = slice_of(text + c->text.len, c->source.len);
    return q;
}

static bool text_allowed(struct cesql_compiler *c)
{
    uint32_t code_point;
    if (c->source.len > CESQL_TEXT_MAX)
        return cesql_fail(c, 0, "an expression has at most %d bytes, this one has %zu", CESQL_TEXT_MAX, c->source.len);
    if (utf8_valid(c->source))
        return true;
    size_t at = 0;
    for (size_t n; (n = utf8_decode(slice_from(c->source, at), &code_point)) > 0;)
        at += n;
    return cesql_fail(c, at, "this is no UTF-8");
}

static bool predicate(struct cesql_compiler *c, const struct cesql_part *whole)
{
    if (c->unknown_call >= 0) {
        struct buf names;
        buf_init(&names, 400);
        for (int i = 0; cesql_function_at(i); i++)
            buf_printf(&names, "%s%s", i ? ", " : "", cesql_function_at(i)->name);
        cesql_fail(c, (size_t)c->unknown_call,
                   "there is no such function with so many arguments; the functions are %.*s",
                   SLICE_ARG(buf_slice(&names)));
        buf_fini(&names);
        return false;
    }
    if (whole->type == CESQL_INTEGER || whole->type == CESQL_STRING)
        return cesql_fail(c, 0, "this is %s, and a filter must be true or false; compare it with something",
                          whole->type == CESQL_INTEGER ? "a number" : "a text");
    return true;
}

static enum err compile(struct slice text, bool as_predicate, struct cesql **out, struct diag *d)
{
    struct cesql_compiler c = {.source = text, .unknown_call = -1, .diag = d};
    struct cesql_part whole;
    struct cesql *q = NULL;
    buf_init(&c.text, CESQL_TEXT_MAX + FOLD_BYTES_TOGETHER);
    if (text_allowed(&c) && cesql_parse(&c, &whole) && (!as_predicate || predicate(&c, &whole))) {
        assert(c.stack == 1);
        q = pack(&c, &whole);
        c.error = q ? OK : ERR_NOMEM;
    }
    assert(q || c.error);
    free(c.code);
    buf_fini(&c.text);
    if (q)
        *out = q;
    return c.error;
}

enum err cesql_compile(struct slice text, struct cesql **out, struct diag *d)
{
    return compile(text, false, out, d);
}

enum err cesql_compile_predicate(struct slice text, struct cesql **out, struct diag *d)
{
    return compile(text, true, out, d);
}

void cesql_free(struct cesql *q)
{
    free(q);
}

bool cesql_required_exact(const struct cesql *q, int *rank, struct slice *name, struct slice *value)
{
    const struct cesql_required *r = &q->required;
    if (!r->rank)
        return false;
    *rank = r->rank;
    *name = slice_of(q->text + r->name_at, r->name_len);
    *value = slice_of(q->text + r->value_at, r->value_len);
    return true;
}
