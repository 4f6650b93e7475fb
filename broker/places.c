/* SPDX-License-Identifier: Apache-2.0
 *
 * A place is kept as "UID/GENERATION PLACE": that of another object of the same name, or of another spec, means
 * nothing.
 */
#include "places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "resource/check.h"
#include "text.h"

#define OWNER_MAX 100 /* a uid has 36 letters, a generation 20 at most */

struct kept {
    char text[STORE_CURSOR_MAX];
};

/* "UID/GENERATION "; false: the object is not there (any more). */
static bool owner_of(const struct resource_table *table, const char *key, char out[OWNER_MAX])
{
    const struct resource *r = resource_by_key(table, key);
    if (!r || strlen(r->uid) > 40)
        return false;
    const cJSON *generation = cJSON_GetObjectItemCaseSensitive(json_object(r->object, "metadata"), "generation");
    snprintf(out, OWNER_MAX, "%s/%lld ", r->uid, cJSON_IsNumber(generation) ? (long long)generation->valuedouble : 0ll);
    return true;
}

void places_keep(struct store *store, const struct resource_table *table, const struct engine_place *places,
                 size_t count)
{
    struct store_place *list = calloc(count, sizeof *list);
    struct kept *texts = calloc(count, sizeof *texts);
    size_t n = 0;
    for (size_t i = 0; list && texts && i < count; i++) {
        char owner[OWNER_MAX];
        if (!owner_of(table, places[i].key, owner))
            continue;
        snprintf(texts[n].text, sizeof texts[n].text, "%s%llu", owner, (unsigned long long)places[i].place);
        list[n] = (struct store_place){places[i].key, texts[n].text};
        n++;
    }
    struct diag d = {0};
    enum err e = n ? store_places_keep(store, list, n, &d) : OK;
    if (e != OK)
        log_line(LOG_WARN, "source.place", "error=%s text=%s", err_name(e), log_value(d.text));
    free(list);
    free(texts);
}

uint64_t places_kept(struct store *store, const struct resource_table *table, const char *key)
{
    char owner[OWNER_MAX], text[STORE_CURSOR_MAX];
    struct diag d = {0};
    uint64_t place;
    if (!owner_of(table, key, owner))
        return 0;
    enum err e = store_place_kept(store, key, text, &d);
    if (e != OK && e != ERR_NOTFOUND)
        log_line(LOG_WARN, "source.place", "key=%s error=%s text=%s", log_value(key), err_name(e), log_value(d.text));
    if (e != OK || strncmp(text, owner, strlen(owner)) != 0)
        return 0;
    return decimal_parse(slice_str(text + strlen(owner)), INT64_MAX, &place) == OK ? place : 0;
}

/* ---- replays: among the names of cursors, whose keys begin with a kind ---- */

#define REPLAY_KEY_MAX (STORE_CURSOR_MAX + sizeof "replay/")

static void replay_key(const char *cursor, char out[REPLAY_KEY_MAX])
{
    snprintf(out, REPLAY_KEY_MAX, "replay/%s", cursor);
}

void replay_keep(struct store *store, const char *cursor, bool there)
{
    char key[REPLAY_KEY_MAX];
    struct diag d = {0};
    replay_key(cursor, key);
    enum err e = there ? store_cursor_keep(store, key, cursor, &d) : store_cursor_forget(store, key, &d);
    if (e != OK)
        log_line(LOG_WARN, "replay.kept", "cursor=%s error=%s text=%s", log_value(cursor), err_name(e),
                 log_value(d.text));
}

bool replay_kept(struct store *store, const char *cursor)
{
    char key[REPLAY_KEY_MAX], kept[STORE_CURSOR_MAX];
    struct diag d = {0};
    replay_key(cursor, key);
    return store_cursor_kept(store, key, kept, &d) == OK;
}
