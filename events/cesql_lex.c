/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens of CESQL (section 2), and what is said when they are not what was expected.
 */
#include "cesql_compile.h"

#include <stdarg.h>
#include <stdio.h>

bool cesql_fail(struct cesql_compiler *c, size_t at, const char *format, ...)
{
    if (c->error)
        return false;
    c->error = ERR_INVALID;
    if (!c->diag)
        return false;
    va_list args;
    va_start(args, format);
    vsnprintf(c->diag->text, sizeof c->diag->text, format, args);
    va_end(args);
    cesql_place(c->source, at, c->diag);
    return false;
}

size_t cesql_at(const struct cesql_compiler *c)
{
    return c->next - c->word.len;
}

bool cesql_expected(struct cesql_compiler *c, const char *what)
{
    if (c->token == TOKEN_END)
        return cesql_fail(c, cesql_at(c), "expected %s, found the end of the expression", what);
    return cesql_fail(c, cesql_at(c), "expected %s, found %s", what, ce_quote(c->word).text);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static enum cesql_token word_kind(struct slice word)
{
    static const struct {
        struct slice text;
        enum cesql_token token;
    } words[] = {
        {SLICE_INIT("AND"), TOKEN_AND}, {SLICE_INIT("OR"), TOKEN_OR},     {SLICE_INIT("XOR"), TOKEN_XOR},
        {SLICE_INIT("NOT"), TOKEN_NOT}, {SLICE_INIT("LIKE"), TOKEN_LIKE}, {SLICE_INIT("EXISTS"), TOKEN_EXISTS},
        {SLICE_INIT("IN"), TOKEN_IN},   {SLICE_INIT("TRUE"), TOKEN_TRUE}, {SLICE_INIT("FALSE"), TOKEN_FALSE},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_eq_nocase(word, words[i].text))
            return words[i].token;
    for (size_t i = 0; i < word.len; i++)
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return TOKEN_WORD;
    return TOKEN_INTEGER;
}

static bool give(struct cesql_compiler *c, enum cesql_token token, size_t begin, size_t len)
{
    c->token = token;
    c->word = slice_of(c->source.ptr + begin, len);
    c->next = begin + len;
    return true;
}

/* A backslash and the character behind it belong together, so a quote behind a backslash ends nothing. */
static bool read_string(struct cesql_compiler *c, size_t begin)
{
    const char quote = c->source.ptr[begin];
    for (size_t i = begin + 1; i < c->source.len; i++) {
        if (c->source.ptr[i] == '\\')
            i++;
        else if (c->source.ptr[i] == quote)
            return give(c, TOKEN_STRING, begin, i + 1 - begin);
    }
    return cesql_fail(c, begin, "the text that begins here has no end: expected another %c", quote);
}

static bool stray(struct cesql_compiler *c, size_t begin)
{
    static const struct {
        char character;
        const char *instead;
    } hints[] = {{'!', "write NOT, or != to compare"}, {'&', "write AND"}, {'|', "write OR"}, {'`', "write ' or \""}};
    size_t n = 1;
    while (begin + n < c->source.len && ((unsigned char)c->source.ptr[begin + n] & 0xC0) == 0x80)
        n++;
    struct slice character = slice_of(c->source.ptr + begin, n);
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (hints[i].character == character.ptr[0])
            return cesql_fail(c, begin, "%s means nothing in CESQL; %s", ce_quote(character).text, hints[i].instead);
    return cesql_fail(c, begin, "%s means nothing here; texts stand in quotes", ce_quote(character).text);
}

static bool read_mark(struct cesql_compiler *c, size_t begin)
{
    const char *s = c->source.ptr + begin;
    const char second = begin + 1 < c->source.len ? s[1] : 0;
    switch (s[0]) {
    case '(':
        return give(c, TOKEN_OPEN, begin, 1);
    case ')':
        return give(c, TOKEN_CLOSE, begin, 1);
    case ',':
        return give(c, TOKEN_COMMA, begin, 1);
    case '*':
        return give(c, TOKEN_STAR, begin, 1);
    case '/':
        return give(c, TOKEN_SLASH, begin, 1);
    case '%':
        return give(c, TOKEN_PERCENT, begin, 1);
    case '+':
        return give(c, TOKEN_PLUS, begin, 1);
    case '-':
        return give(c, TOKEN_MINUS, begin, 1);
    case '=':
        if (second == '=')
            return cesql_fail(c, begin, "\"==\" means nothing in CESQL; write =");
        return give(c, TOKEN_EQUAL, begin, 1);
    case '!':
        return second == '=' ? give(c, TOKEN_NOT_EQUAL, begin, 2) : stray(c, begin);
    case '<':
        return second == '>'   ? give(c, TOKEN_NOT_EQUAL, begin, 2)
               : second == '=' ? give(c, TOKEN_LESS_EQUAL, begin, 2)
                               : give(c, TOKEN_LESS, begin, 1);
    case '>':
        return second == '=' ? give(c, TOKEN_GREATER_EQUAL, begin, 2) : give(c, TOKEN_GREATER, begin, 1);
    case '\'':
    case '"':
        return read_string(c, begin);
    default:
        return stray(c, begin);
    }
}

bool cesql_advance(struct cesql_compiler *c)
{
    size_t at = c->next, end;
    while (at < c->source.len && (c->source.ptr[at] == ' ' || c->source.ptr[at] == '\t' || c->source.ptr[at] == '\r' ||
                                  c->source.ptr[at] == '\n'))
        at++;
    if (at == c->source.len)
        return give(c, TOKEN_END, at, 0);
    for (end = at; end < c->source.len && is_word(c->source.ptr[end]);)
        end++;
    if (end == at)
        return read_mark(c, at);
    return give(c, word_kind(slice_of(c->source.ptr + at, end - at)), at, end - at);
}
