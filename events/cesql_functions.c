/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of CESQL (section 3.5): a table, and one C function each. Positions and lengths count characters. What
 * a function returns lies in its arguments where it can (LEFT is a slice), else in the memory of the evaluation.
 */
#include "cesql_private.h"

#include "text.h"

static void give_integer(struct cesql_stack_value *out, int32_t n)
{
    *out = (struct cesql_stack_value){.type = CESQL_INTEGER, .integer = n};
}

static void give_string(struct cesql_stack_value *out, struct slice s)
{
    *out = (struct cesql_stack_value){.type = CESQL_STRING, .string = s};
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

static size_t characters(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += !continues(s.ptr[i]);
    return n;
}

/* The bytes of the first n characters, of all when there are fewer. */
static size_t bytes_of(struct slice s, size_t n)
{
    size_t at = 0;
    for (; at < s.len; at++)
        if (!continues(s.ptr[at]) && n-- == 0)
            break;
    return at;
}

static void call_length(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    size_t n = cesql_spend(v, i, x->string.len) ? characters(x->string) : 0;
    give_integer(x, n > INT32_MAX ? INT32_MAX : (int32_t)n); /* an event is smaller than that */
}

static void concatenate(struct cesql_evaluation *v, const struct cesql_instruction *i, struct slice between,
                        const struct cesql_stack_value *x, size_t count, struct cesql_stack_value *out)
{
    size_t total = count > 1 ? between.len * (count - 1) : 0;
    for (size_t k = 0; k < count; k++)
        total += x[k].string.len;
    char *to = cesql_take(v, i, total), *at = to;
    for (size_t k = 0; to && k < count; k++) {
        if (k && between.len)
            at = mempcpy(at, between.ptr, between.len);
        if (x[k].string.len)
            at = mempcpy(at, x[k].string.ptr, x[k].string.len);
    }
    give_string(out, slice_of(to, to ? total : 0));
}

static void call_concat(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    concatenate(v, i, slice_of(NULL, 0), x, i->operands, x);
}

static void call_concat_ws(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    concatenate(v, i, x[0].string, x + 1, i->operands - 1u, x);
}

static void change_case(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x,
                        uint32_t (*change)(uint32_t))
{
    size_t n = 0,
           room = v->memory_left; /* the result may be longer: a character of two bytes can become one of three */
    char *to = v->memory;
    bool fits = cesql_spend(v, i, x->string.len);
    for (struct slice rest = x->string; fits && rest.len;) {
        char changed[4];
        uint32_t c = (unsigned char)rest.ptr[0];
        size_t used = c < 0x80 ? 1 : utf8_decode(rest, &c);
        assert(used > 0); /* events and expressions hold only UTF-8 */
        size_t wide = utf8_encode(change(c), changed);
        fits = wide <= room - n;
        if (fits)
            memcpy(to + n, changed, wide);
        n += wide;
        rest = slice_from(rest, used);
    }
    to = cesql_take(v, i, n); /* refuses what did not fit */
    give_string(x, slice_of(to, to ? n : 0));
}

static void call_lower(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    change_case(v, i, x, cesql_lower);
}

static void call_upper(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    change_case(v, i, x, cesql_upper);
}

/* Unicode's property White_Space. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static void call_trim(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    struct slice s = x->string;
    uint32_t c;
    (void)v;
    (void)i;
    for (size_t n; s.len && (n = utf8_decode(s, &c)) && is_space(c);)
        s = slice_from(s, n);
    while (s.len) {
        size_t at = s.len - 1;
        while (at > 0 && continues(s.ptr[at]))
            at--;
        if (!utf8_decode(slice_from(s, at), &c) || !is_space(c))
            break;
        s.len = at;
    }
    give_string(x, s);
}

static bool count_refused(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    if (x[1].integer >= 0)
        return !cesql_spend(v, i, x->string.len);
    cesql_raise(v, i, CESQL_FUNCTION_EVALUATION, "%s: the number of characters is %d; it must not be negative",
                cesql_function_at(i->detail)->name, x[1].integer);
    return true;
}

static void call_left(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    if (!count_refused(v, i, x))
        x->string.len = bytes_of(x->string, (size_t)x[1].integer);
}

static void call_right(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    if (count_refused(v, i, x))
        return;
    size_t n = characters(x->string), wanted = (size_t)x[1].integer;
    if (n > wanted)
        x->string = slice_from(x->string, bytes_of(x->string, n - wanted));
}

static void call_substring(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    struct slice s = x->string;
    int64_t position = x[1].integer, length = i->operands > 2 ? x[2].integer : INT32_MAX;
    give_string(x, slice_of(NULL, 0));
    if (!cesql_spend(v, i, s.len))
        return;
    int64_t n = (int64_t)characters(s);
    if (position > n || position < -n) {
        cesql_raise(v, i, CESQL_FUNCTION_EVALUATION, "SUBSTRING: there is no position %d in a text of %d characters",
                    (int)position, (int)n);
    } else if (length < 0) {
        cesql_raise(v, i, CESQL_FUNCTION_EVALUATION, "SUBSTRING: the length is %d; it must not be negative",
                    (int)length);
    } else if (position != 0) {
        s = slice_from(s, bytes_of(s, (size_t)(position > 0 ? position - 1 : n + position)));
        x->string = slice_of(s.ptr, bytes_of(s, (size_t)length));
    }
}

static void call_abs(struct cesql_evaluation *v, const struct cesql_instruction *i, struct cesql_stack_value *x)
{
    if (x->integer == INT32_MIN) {
        cesql_raise(v, i, CESQL_MATH, "ABS: %d has no positive counterpart in 32 bits", INT32_MIN);
        x->integer = INT32_MAX;
    } else if (x->integer < 0) {
        x->integer = -x->integer;
    }
}

static const struct cesql_function functions[] = {
    {"ABS", 1, 1, CESQL_INTEGER, "i", false, false, call_abs},
    {"BOOL", 1, 1, CESQL_BOOLEAN, "a", false, true, NULL},
    {"CONCAT", 0, UINT8_MAX, CESQL_STRING, "s", true, false, call_concat},
    {"CONCAT_WS", 1, UINT8_MAX, CESQL_STRING, "s", true, false, call_concat_ws},
    {"INT", 1, 1, CESQL_INTEGER, "a", false, true, NULL},
    {"LEFT", 2, 2, CESQL_STRING, "si", false, false, call_left},
    {"LENGTH", 1, 1, CESQL_INTEGER, "s", false, false, call_length},
    {"LOWER", 1, 1, CESQL_STRING, "s", true, false, call_lower},
    {"RIGHT", 2, 2, CESQL_STRING, "si", false, false, call_right},
    {"STRING", 1, 1, CESQL_STRING, "a", false, true, NULL},
    {"SUBSTRING", 2, 3, CESQL_STRING, "sii", false, false, call_substring},
    {"TRIM", 1, 1, CESQL_STRING, "s", false, false, call_trim},
    {"UPPER", 1, 1, CESQL_STRING, "s", true, false, call_upper},
};

int cesql_function_find(struct slice name, size_t arguments)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (slice_eq_nocase(name, slice_str(functions[i].name)) && arguments >= functions[i].arguments_min &&
            (arguments <= functions[i].arguments_max || functions[i].arguments_max == UINT8_MAX))
            return (int)i;
    return -1;
}

const struct cesql_function *cesql_function_at(int index)
{
    return (size_t)index < sizeof functions / sizeof functions[0] ? &functions[index] : NULL;
}
