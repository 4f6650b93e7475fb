/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and standard input, as verbs take them.
 */
#include <stdio.h>
#include <string.h>

#include "ce_http.h"
#include "client.h"

bool read_file(const struct command *c, const char *path, size_t most, struct buf *out)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    buf_init(out, most);
    if (!f) {
        fail(c, EXIT_CODE_INPUT, "%s cannot be read: %m.", path);
        return false;
    }
    for (size_t n = 1; n > 0;) {
        char *to = buf_reserve(out, 65536);
        if (!to && out->error == ERR_TOO_LARGE)
            to = out->len < most ? (out->error = OK, buf_reserve(out, most - out->len)) : NULL;
        if (!to)
            break;
        size_t room = most - out->len < 65536 ? most - out->len : 65536;
        n = fread(to, 1, room, f);
        out->len += n;
    }
    bool good = !ferror(f) && feof(f);
    if (!good)
        fail(c, EXIT_CODE_INPUT, "%s cannot be read, or is longer than %zu bytes.", path, most);
    if (!standard)
        fclose(f);
    return good;
}

bool read_event(const struct command *c, const char *path, const struct ce_event **out)
{
    const struct ce_http_limits limits = {CE_EVENT_BYTES_MAX, 1};
    struct buf text;
    struct diag d = {0};
    enum err e = read_file(c, path, CE_EVENT_BYTES_MAX, &text) ? OK : ERR_IO;
    if (e == OK) {
        e = ce_json_decode(buf_slice(&text), &limits, out, &d);
        if (e && d.line)
            fail(c, EXIT_CODE_INPUT, "%s:%d:%d: %s", path, d.line, d.column, d.text);
        else if (e)
            fail(c, EXIT_CODE_INPUT, "%s: %s", path, d.text);
    }
    buf_fini(&text);
    return e == OK;
}
