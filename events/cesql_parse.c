/* SPDX-License-Identifier: Apache-2.0
 *
 * The grammar of CESQL by precedence climbing (section 3.6). Every level groups to the left, AND, OR and XOR are one
 * level, as the text has it; the grammar files beside the text group those to the right. Instructions are written as
 * the parts are read.
 */
#include "cesql_compile.h"

enum level { LEVEL_LOGIC, LEVEL_COMPARISON, LEVEL_SUM, LEVEL_PRODUCT, LEVEL_OPERAND };

static bool parse_expression(struct cesql_compiler *c, struct cesql_part *out);

static bool take(struct cesql_compiler *c, enum cesql_token token, const char *what)
{
    return c->token == token ? cesql_advance(c) : cesql_expected(c, what);
}

static bool deeper(struct cesql_compiler *c)
{
    if (++c->depth <= CESQL_DEPTH_MAX)
        return true;
    return cesql_fail(c, cesql_at(c), "nested more than %d deep; write it flatter", CESQL_DEPTH_MAX);
}

/* ---- literals and names ---- */

static bool parse_integer(struct cesql_compiler *c, size_t at, bool minus, struct cesql_part *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->word.len && n <= (int64_t)INT32_MAX + minus; i++)
        n = n * 10 + (c->word.ptr[i] - '0');
    if (n > (int64_t)INT32_MAX + minus)
        return cesql_fail(c, at, "%s%.20s is no integer of 32 bits; they go from -2147483648 to 2147483647",
                          minus ? "-" : "", ce_quote(c->word).text);
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_CONSTANT, CESQL_INTEGER, at, 0);
    if (!i)
        return false;
    i->at = (uint32_t)(minus ? -n : n);
    out->type = CESQL_INTEGER;
    out->constant = true;
    return cesql_advance(c);
}

static bool parse_boolean(struct cesql_compiler *c, struct cesql_part *out)
{
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_CONSTANT, CESQL_BOOLEAN, cesql_at(c), 0);
    if (!i)
        return false;
    i->at = c->token == TOKEN_TRUE;
    out->type = CESQL_BOOLEAN;
    out->constant = true;
    return cesql_advance(c);
}

/* What stands between the quotes: a backslash before the same quote is undone, any other stays. */
static struct slice unquote(struct slice word, char *room)
{
    size_t n = 0;
    for (size_t i = 1; i + 1 < word.len; i++) {
        if (word.ptr[i] == '\\' && word.ptr[i + 1] == word.ptr[0])
            i++;
        else if (word.ptr[i] == '\\') /* with its partner, which begins nothing */
            room[n++] = word.ptr[i++];
        room[n++] = word.ptr[i];
    }
    return slice_of(room, n);
}

static bool parse_string(struct cesql_compiler *c, struct cesql_part *out)
{
    char room[CESQL_TEXT_MAX];
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_CONSTANT, CESQL_STRING, cesql_at(c), 0);
    if (!i || !cesql_emit_text(c, i, unquote(c->word, room)) || !cesql_advance(c))
        return false;
    out->type = CESQL_STRING;
    out->constant = true;
    return true;
}

/* An attribute's name, for an instruction that looks at it. Other cases mean the same name, as with keywords. */
static bool parse_name(struct cesql_compiler *c, enum cesql_op op, uint8_t type)
{
    char name[CE_NAME_LEN_MAX];
    if (c->word.len > sizeof name)
        return cesql_fail(c, cesql_at(c), "this name is longer than %d characters", CE_NAME_LEN_MAX);
    for (size_t i = 0; i < c->word.len; i++) {
        char x = c->word.ptr[i];
        name[i] = (char)(x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x);
        if (x == '_')
            return cesql_fail(c, cesql_at(c), "%s is no attribute: a name consists of a-z and 0-9",
                              ce_quote(c->word).text);
    }
    struct slice lower = slice_of(name, c->word.len);
    struct cesql_instruction *i = cesql_emit(c, op, type, cesql_at(c), 0);
    if (!i || !cesql_emit_text(c, i, lower))
        return false;
    i->detail = (uint8_t)ce_core_of(lower);
    return cesql_advance(c);
}

static bool parse_attribute(struct cesql_compiler *c, struct cesql_part *out)
{
    if (!parse_name(c, CESQL_OP_ATTRIBUTE, CESQL_UNKNOWN_TYPE))
        return false;
    out->type = c->code[c->count - 1].detail < CORE_REQUIRED ? CESQL_STRING : CESQL_UNKNOWN_TYPE;
    return true;
}

static bool parse_exists(struct cesql_compiler *c, struct cesql_part *out)
{
    if (!cesql_advance(c))
        return false;
    if (c->token != TOKEN_WORD && c->token != TOKEN_INTEGER)
        return cesql_expected(c, "the name of an attribute");
    out->type = CESQL_BOOLEAN;
    return parse_name(c, CESQL_OP_EXISTS, CESQL_BOOLEAN);
}

/* ---- calls ---- */

/* The arguments behind the opening parenthesis, each cast as soon as it is read where the function is known. */
static bool parse_arguments(struct cesql_compiler *c, struct slice name, unsigned *count, bool *constants)
{
    /* Parameters do not depend on how many there are: the table has each name once. */
    int index = -1;
    for (int i = 0; cesql_function_at(i); i++)
        if (slice_eq_nocase(name, slice_str(cesql_function_at(i)->name)))
            index = i;
    const char *types = index >= 0 ? cesql_function_at(index)->parameters : "a";
    *count = 0;
    *constants = true;
    if (c->token == TOKEN_CLOSE)
        return cesql_advance(c);
    for (;;) {
        struct cesql_part part;
        size_t at = cesql_at(c);
        if (!parse_expression(c, &part))
            return false;
        if (*types != 'a' && !cesql_emit_cast(c, &part, *types == 's' ? CESQL_STRING : CESQL_INTEGER, at))
            return false;
        types += types[1] != 0;
        *constants = *constants && part.constant;
        ++*count;
        if (c->token != TOKEN_COMMA)
            return take(c, TOKEN_CLOSE, "a comma or )");
        if (!cesql_advance(c))
            return false;
    }
}

/* Nothing can be called: its arguments need no evaluation either. */
static bool emit_unknown_call(struct cesql_compiler *c, struct slice name, unsigned arguments, size_t at,
                              struct cesql_part *out)
{
    c->count = out->begin;
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_UNKNOWN_CALL, CESQL_BOOLEAN, at, 0);
    c->unknown_call = c->unknown_call < 0 ? (int)at : c->unknown_call;
    out->type = CESQL_BOOLEAN;
    if (!i)
        return false;
    i->operands = (uint16_t)arguments; /* for the message */
    return cesql_emit_text(c, i, name);
}

static bool parse_call(struct cesql_compiler *c, struct slice name, size_t at, struct cesql_part *out)
{
    unsigned count;
    bool constants;
    int stack = c->stack;
    if (!cesql_advance(c) || !deeper(c) || !parse_arguments(c, name, &count, &constants))
        return false;
    c->depth--;
    int index = cesql_function_find(name, count);
    if (index < 0) {
        c->stack = stack;
        return emit_unknown_call(c, name, count, at, out);
    }
    const struct cesql_function *f = cesql_function_at(index);
    out->type = f->type;
    if (f->casts) {
        struct cesql_part argument = {.begin = out->begin, .type = CESQL_UNKNOWN_TYPE};
        return cesql_emit_cast(c, &argument, f->type, at) && cesql_fold(c, out, constants);
    }
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_CALL, f->type, at, count);
    if (!i)
        return false;
    i->detail = (uint8_t)index;
    c->makes_strings = c->makes_strings || f->makes_strings;
    return cesql_fold(c, out, constants);
}

/* ---- operands ---- */

static bool parse_word(struct cesql_compiler *c, struct cesql_part *out)
{
    struct slice name = c->word;
    size_t at = cesql_at(c), next = c->next;
    if (!cesql_advance(c))
        return false;
    if (c->token == TOKEN_OPEN)
        return parse_call(c, name, at, out);
    c->next = next; /* back to the word */
    c->word = name;
    c->token = TOKEN_WORD;
    return parse_attribute(c, out);
}

static bool parse_unary(struct cesql_compiler *c, struct cesql_part *out);

/* What stands behind NOT or -, which has been taken. */
static bool parse_prefixed(struct cesql_compiler *c, enum cesql_op op, uint8_t type, size_t at, struct cesql_part *out)
{
    struct cesql_part operand;
    if (!deeper(c) || !parse_unary(c, &operand) || !cesql_emit_cast(c, &operand, type, at) ||
        !cesql_emit(c, op, type, at, 1))
        return false;
    c->depth--;
    out->type = type;
    return cesql_fold(c, out, operand.constant);
}

/* A sign right before digits belongs to the number: -2147483648 is one, 2147483648 is none. */
static bool parse_signed(struct cesql_compiler *c, struct cesql_part *out)
{
    size_t at = cesql_at(c);
    bool minus = c->token == TOKEN_MINUS;
    if (!cesql_advance(c))
        return false;
    if (c->token == TOKEN_INTEGER && cesql_at(c) == at + 1)
        return parse_integer(c, at, minus, out);
    if (!minus)
        return cesql_fail(c, at, "expected an expression, found \"+\"");
    return parse_prefixed(c, CESQL_OP_MINUS, CESQL_INTEGER, at, out);
}

static bool parse_not(struct cesql_compiler *c, struct cesql_part *out)
{
    size_t at = cesql_at(c);
    return cesql_advance(c) && parse_prefixed(c, CESQL_OP_NOT, CESQL_BOOLEAN, at, out);
}

static bool parse_parenthesis(struct cesql_compiler *c, struct cesql_part *out)
{
    if (!deeper(c) || !cesql_advance(c) || !parse_expression(c, out))
        return false;
    c->depth--;
    return take(c, TOKEN_CLOSE, "an operator or )");
}

/* NOT and - bind closer than anything behind the operand: NOT a LIKE 'x' is (NOT a) LIKE 'x'. */
static bool parse_unary(struct cesql_compiler *c, struct cesql_part *out)
{
    *out = (struct cesql_part){.begin = c->count};
    switch (c->token) {
    case TOKEN_NOT:
        return parse_not(c, out);
    case TOKEN_MINUS:
    case TOKEN_PLUS:
        return parse_signed(c, out);
    case TOKEN_OPEN:
        return parse_parenthesis(c, out);
    case TOKEN_EXISTS:
        return parse_exists(c, out);
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        return parse_boolean(c, out);
    case TOKEN_INTEGER:
        return parse_integer(c, cesql_at(c), false, out);
    case TOKEN_STRING:
        return parse_string(c, out);
    case TOKEN_WORD:
        return parse_word(c, out);
    default:
        return cesql_expected(c, "an expression");
    }
}

static bool parse_like(struct cesql_compiler *c, bool negated, struct cesql_part *out)
{
    char text[CESQL_TEXT_MAX], pattern[CESQL_TEXT_MAX];
    size_t at = cesql_at(c);
    if (!cesql_advance(c))
        return false;
    if (c->token != TOKEN_STRING)
        return cesql_expected(c, "a pattern in quotes");
    struct cesql_instruction *i = cesql_emit(c, CESQL_OP_LIKE, CESQL_BOOLEAN, at, 1);
    if (!i)
        return false;
    i->negated = negated;
    size_t n = cesql_pattern_compile(unquote(c->word, text), pattern);
    if (!cesql_emit_text(c, i, slice_of(pattern, n)) || !cesql_advance(c))
        return false;
    bool constant = out->constant;
    *out = (struct cesql_part){.begin = out->begin, .type = CESQL_BOOLEAN};
    return cesql_fold(c, out, constant);
}

static bool parse_in(struct cesql_compiler *c, bool negated, struct cesql_part *out)
{
    size_t at = cesql_at(c);
    uint32_t last = UINT32_MAX; /* the jumps, each pointing to the one before, until their target is known */
    struct cesql_instruction *i;
    if (!cesql_advance(c) || !take(c, TOKEN_OPEN, "( and the values"))
        return false;
    for (;;) {
        struct cesql_part element;
        if (!parse_expression(c, &element) || !(i = cesql_emit(c, CESQL_OP_IN, CESQL_BOOLEAN, at, 2)))
            return false;
        i->negated = negated;
        i->at = last;
        last = (uint32_t)c->count - 1;
        if (c->token != TOKEN_COMMA)
            break;
        if (!cesql_advance(c))
            return false;
    }
    if (!(i = cesql_emit(c, CESQL_OP_IN_END, CESQL_BOOLEAN, at, 1)) || !take(c, TOKEN_CLOSE, "a comma or )"))
        return false;
    i->negated = negated;
    for (uint32_t before; last != UINT32_MAX; last = before) {
        before = c->code[last].at;
        c->code[last].at = (uint32_t)c->count;
    }
    *out = (struct cesql_part){.begin = out->begin, .type = CESQL_BOOLEAN};
    return true;
}

/* An operand and the LIKE and IN behind it, from the left. Each counts as a level of nesting, for the values of IN. */
static bool parse_operand(struct cesql_compiler *c, struct cesql_part *out)
{
    int depth = c->depth;
    if (!parse_unary(c, out))
        return false;
    while (c->token == TOKEN_NOT || c->token == TOKEN_LIKE || c->token == TOKEN_IN) {
        bool negated = c->token == TOKEN_NOT;
        if (!deeper(c) || (negated && !cesql_advance(c)))
            return false;
        if (c->token != TOKEN_LIKE && c->token != TOKEN_IN)
            return cesql_expected(c, "LIKE or IN behind NOT");
        if (!(c->token == TOKEN_LIKE ? parse_like : parse_in)(c, negated, out))
            return false;
    }
    c->depth = depth;
    return true;
}

/* ---- binary operators ---- */

static enum level level_of(enum cesql_token token)
{
    if (token == TOKEN_AND || token == TOKEN_OR || token == TOKEN_XOR)
        return LEVEL_LOGIC;
    if (token >= TOKEN_EQUAL && token <= TOKEN_GREATER_EQUAL)
        return LEVEL_COMPARISON;
    if (token == TOKEN_PLUS || token == TOKEN_MINUS)
        return LEVEL_SUM;
    if (token == TOKEN_STAR || token == TOKEN_SLASH || token == TOKEN_PERCENT)
        return LEVEL_PRODUCT;
    return LEVEL_OPERAND;
}

static bool parse_level(struct cesql_compiler *c, enum level level, struct cesql_part *out);

/* AND and OR: the right side is jumped over when the left one decides. */
static bool parse_shortcut(struct cesql_compiler *c, enum cesql_op op, size_t at, struct cesql_part *left)
{
    struct cesql_part right;
    struct cesql_instruction *i;
    bool constant = left->constant;
    if (!cesql_emit_cast(c, left, CESQL_BOOLEAN, at) || !(i = cesql_emit(c, op, CESQL_BOOLEAN, at, 1)))
        return false;
    size_t jump = c->count - 1;
    c->stack--;
    if (!parse_level(c, LEVEL_COMPARISON, &right) || !cesql_emit_cast(c, &right, CESQL_BOOLEAN, at))
        return false;
    c->code[jump].at = (uint32_t)c->count;
    if (op == CESQL_OP_OR)
        left->required.rank = 0;
    else if (right.required.rank > left->required.rank)
        left->required = right.required;
    left->type = CESQL_BOOLEAN;
    left->constant = false;
    return cesql_fold(c, left, constant && right.constant);
}

static bool parse_binary(struct cesql_compiler *c, enum level level, enum cesql_op op, size_t at,
                         struct cesql_part *left)
{
    const uint8_t operand = level == LEVEL_LOGIC ? CESQL_BOOLEAN : CESQL_INTEGER;
    const uint8_t result = level <= LEVEL_COMPARISON ? CESQL_BOOLEAN : CESQL_INTEGER;
    struct cesql_part right;
    if (!cesql_emit_cast(c, left, operand, at) || !parse_level(c, level + 1, &right) ||
        !cesql_emit_cast(c, &right, operand, at) || !cesql_emit(c, op, result, at, 2))
        return false;
    bool constants = left->constant && right.constant;
    *left = (struct cesql_part){.begin = left->begin, .type = result};
    return cesql_fold(c, left, constants);
}

static bool parse_operator(struct cesql_compiler *c, enum level level, struct cesql_part *left)
{
    static const uint8_t ops[] = {
        [TOKEN_XOR] = CESQL_OP_XOR,
        [TOKEN_LESS] = CESQL_OP_LESS,
        [TOKEN_LESS_EQUAL] = CESQL_OP_LESS_EQUAL,
        [TOKEN_GREATER] = CESQL_OP_GREATER,
        [TOKEN_GREATER_EQUAL] = CESQL_OP_GREATER_EQUAL,
        [TOKEN_PLUS] = CESQL_OP_ADD,
        [TOKEN_MINUS] = CESQL_OP_SUBTRACT,
        [TOKEN_STAR] = CESQL_OP_MULTIPLY,
        [TOKEN_SLASH] = CESQL_OP_DIVIDE,
        [TOKEN_PERCENT] = CESQL_OP_REMAINDER,
    };
    const enum cesql_token token = c->token;
    const size_t at = cesql_at(c);
    struct cesql_part right;
    if (!cesql_advance(c))
        return false;
    if (token == TOKEN_AND || token == TOKEN_OR)
        return parse_shortcut(c, token == TOKEN_AND ? CESQL_OP_AND : CESQL_OP_OR, at, left);
    if (token == TOKEN_EQUAL || token == TOKEN_NOT_EQUAL)
        return parse_level(c, level + 1, &right) && cesql_emit_equal(c, left, &right, token == TOKEN_NOT_EQUAL, at);
    return parse_binary(c, level, ops[token], at, left);
}

static bool parse_level(struct cesql_compiler *c, enum level level, struct cesql_part *out)
{
    if (level == LEVEL_OPERAND)
        return parse_operand(c, out);
    if (!parse_level(c, level + 1, out))
        return false;
    while (level_of(c->token) == level)
        if (!parse_operator(c, level, out))
            return false;
    return true;
}

static bool parse_expression(struct cesql_compiler *c, struct cesql_part *out)
{
    return parse_level(c, LEVEL_LOGIC, out);
}

bool cesql_parse(struct cesql_compiler *c, struct cesql_part *out)
{
    if (!cesql_advance(c) || !parse_expression(c, out))
        return false;
    return c->token == TOKEN_END || cesql_expected(c, "an operator or the end");
}
