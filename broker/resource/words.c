/* SPDX-License-Identifier: Apache-2.0
 *
 * The word that was probably meant: edit distance with transpositions, never more than a third of the word. Pure. And
 * readers of cJSON members.
 */
#include <ctype.h>

#include "check.h"

#define WORD_MAX 40

static size_t least(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment, without regard to case; WORD_MAX when one of the words is too long to be a slip. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), rows[3][WORD_MAX + 1];
    if (n >= WORD_MAX || m >= WORD_MAX)
        return WORD_MAX;
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        above[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y));
            bool swapped =
                i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]);
            if (swapped && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[m];
}

const char *word_near(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t bound = strlen(word) / 3 + 1, best_distance = bound < 3 ? bound + 1 : 4;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, words[i]);
        if (d < best_distance) {
            best_distance = d;
            best = words[i];
        }
    }
    return best;
}

const char *json_text(const cJSON *object, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(m) ? m->valuestring : NULL;
}

const cJSON *json_object(const cJSON *object, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsObject(m) ? m : NULL;
}

const char *metadata_text(const cJSON *object, const char *name)
{
    return json_text(json_object(object, "metadata"), name);
}

const char *annotation(const cJSON *object, const char *name)
{
    return json_text(json_object(json_object(object, "metadata"), "annotations"), name);
}

bool json_refer(cJSON *object, const cJSON *member)
{
    cJSON *node = cJSON_CreateNull();
    if (!node)
        return false;
    *node = *member;
    node->string = NULL;
    node->next = node->prev = NULL;
    node->type |= cJSON_IsReference;
    return cJSON_AddItemToObjectCS(object, member->string, node); /* allocates nothing */
}
