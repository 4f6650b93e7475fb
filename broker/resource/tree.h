/* SPDX-License-Identifier: Apache-2.0
 *
 * From text to cJSON trees, with the place of every node kept beside them: what the YAML and JSON readers share.
 */
#ifndef LEAT_BROKER_RESOURCE_TREE_H
#define LEAT_BROKER_RESOURCE_TREE_H

#include <cjson/cJSON.h>

#include "err.h"
#include "slice.h"

struct place {
    int line, column; /* from 1; 0: not known */
};

/* Where nodes stand in their text, and which keys an object under construction has. One per text. */
struct places {
    struct place_entry {
        const cJSON *node;
        struct place at, key;
    } * entries;
    struct place_key {
        const cJSON *parent, *child;
    } * keys;
    size_t entry_count, entry_cap, key_count, key_cap; /* capacities are powers of two, or 0 */
};
void places_init(struct places *p);
void places_fini(struct places *p);
/* false: no memory. */
bool places_put(struct places *p, const cJSON *node, struct place at, struct place key);
/* The node's own place and its key's; zeros when not known. `p` may be NULL. */
struct place places_of(const struct places *p, const cJSON *node);
struct place places_key_of(const struct places *p, const cJSON *node);
/* The member of an object that bears this key, among those that places_key_add was told; NULL when none. */
const cJSON *places_key_find(const struct places *p, const cJSON *parent, const char *key);
bool places_key_add(struct places *p, const cJSON *parent, const cJSON *child);
/* The tree is built: its keys are no longer asked for, and its nodes may go. */
void places_keys_forget(struct places *p);
/* And so is whoever wanted to know where its nodes stand. */
void places_forget(struct places *p);

/* One text being read. The reader fills `places`; `document` takes each tree over; `mistake` may come several times. */
struct reading {
    struct places *places;
    size_t nodes_left;
    void (*document)(void *arg, cJSON *root); /* the places of its nodes are known until it returns */
    void (*mistake)(void *arg, struct place at, const char *text);
    void *arg;
};
/* All documents of a YAML stream. OK also when there were mistakes; ERR_NOMEM alone fails. Numbers whose digits a
 * double cannot hold become cJSON_Raw. */
enum err yaml_read(struct slice text, struct reading *r) must_check;
/* One JSON text, strictly. Likewise. */
enum err json_read(struct slice text, struct reading *r) must_check;

/* The node for a decimal integer or float in JSON's own form: a number, or cJSON_Raw where a double would change it.
 * NULL: no memory. */
cJSON *tree_number(struct slice digits);

#endif
