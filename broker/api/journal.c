/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of changes: a ring. Each record has the object as text, made once however many watch it. Where memory
 * ends the whole journal is forgotten, and who watches is told that something is missing.
 */
#include "journal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "../resource/check.h"
#include "kubernetes.h"

static struct journal_record *slot(struct journal *j, uint64_t number)
{
    return &j->records[number % JOURNAL_RECORDS_MAX];
}

static void drop_first(struct journal *j)
{
    struct journal_record *r = slot(j, j->first++);
    j->since = r->version;
    j->bytes -= r->size;
    free(r->text);
    r->text = NULL;
}

static void forget_all(struct journal *j)
{
    while (j->first < j->next)
        drop_first(j);
    j->since = resource_table_version(j->table);
}

/* The labels that the object had, as JSON, where they are others now. */
static char *labels_before(const struct resource *r, const cJSON *before, bool *nomem)
{
    const cJSON *was = json_object(json_object(before, "metadata"), "labels"),
                *are = json_object(json_object(r->object, "metadata"), "labels");
    if (!before || (!was && !are) || (was && are && json_same(was, are)))
        return NULL;
    char *text = was ? cJSON_PrintUnformatted(was) : strdup("{}");
    *nomem = !text;
    return text;
}

static bool fill(struct journal_record *record, const struct resource *r, const char *object, const char *labels)
{
    struct buf all;
    buf_init(&all, SIZE_MAX);
    const char *const parts[] = {r->namespace_name, r->name, object, labels ? labels : ""};
    size_t at[4];
    for (size_t i = 0; i < 4; i++) {
        at[i] = all.len;
        buf_put(&all, slice_of(parts[i], strlen(parts[i]) + 1));
    }
    record->size = all.len;
    record->text = buf_error(&all) == OK ? buf_take_string(&all) : NULL;
    buf_fini(&all);
    if (!record->text)
        return false;
    record->namespace_name = record->text + at[0];
    record->name = record->text + at[1];
    record->object = record->text + at[2];
    record->labels_before = labels ? record->text + at[3] : NULL;
    return true;
}

void journal_lose(struct journal *j, uint64_t version)
{
    forget_all(j);
    j->first = ++j->next; /* nobody's place is good any more */
    j->since = version;
    j->appended(j->arg);
}

void journal_append(struct journal *j, const struct resource *r, enum resource_change change, const cJSON *before)
{
    bool nomem = false;
    struct journal_record record = {.version = r->version, .kind = r->kind, .change = change};
    cJSON *tree = api_shown(r);
    char *object = tree ? cJSON_PrintUnformatted(tree) : NULL, *labels = labels_before(r, before, &nomem);
    if (object && !nomem && fill(&record, r, object, labels)) {
        while (j->next - j->first == JOURNAL_RECORDS_MAX ||
               (j->first < j->next && j->bytes + record.size > JOURNAL_BYTES_MAX))
            drop_first(j);
        *slot(j, j->next++) = record;
        j->bytes += record.size;
        j->appended(j->arg);
    } else {
        journal_lose(j, r->version);
    }
    free(labels);
    cJSON_free(object);
    cJSON_Delete(tree);
}

struct journal *journal_new(const struct resource_table *table, void (*appended)(void *arg), void *arg)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->table = table;
    j->since = resource_table_version(table);
    j->appended = appended;
    j->arg = arg;
    return j;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    forget_all(j);
    free(j);
}

bool journal_find(const struct journal *j, uint64_t version, uint64_t *number)
{
    if (version < j->since || version > resource_table_version(j->table))
        return false;
    uint64_t low = j->first, high = j->next;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (j->records[middle % JOURNAL_RECORDS_MAX].version > version)
            high = middle;
        else
            low = middle + 1;
    }
    *number = low;
    return true;
}

const struct journal_record *journal_at(const struct journal *j, uint64_t number)
{
    assert(number < j->next);
    return number < j->first ? NULL : &j->records[number % JOURNAL_RECORDS_MAX];
}
