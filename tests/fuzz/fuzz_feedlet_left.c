/* SPDX-License-Identifier: Apache-2.0 */
/* room: sources */
/* What a feed's file says of its feedlet. Properties: no bad access; what is taken has a command, a name and a
 * namespace, and is written so that it reads the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../sources/feedlet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feedlet_left *l = NULL, *again = NULL;
    char *text = strndup((const char *)data, size);
    struct buf b;
    must(text != NULL);
    enum err e = feedlet_left_parse(text, &l);
    must(e == OK ? l != NULL : e == ERR_CORRUPT && !l);
    if (e)
        return 0;
    must(l->spec.name && l->spec.namespace_name && source_param(&l->spec, "command", NULL));
    buf_init(&b, SIZE_MAX / 2);
    buf_put_str(&b, "1 A\n");
    feedlet_left_put(&b, &l->spec);
    must(feedlet_left_parse(buf_take_string(&b), &again) == OK);
    must(strcmp(again->spec.name, l->spec.name) == 0 && again->spec.param_count == l->spec.param_count);
    must(feedlet_fingerprint(&again->spec) == feedlet_fingerprint(&l->spec));
    feedlet_left_free(again);
    feedlet_left_free(l);
    buf_fini(&b);
    return 0;
}
