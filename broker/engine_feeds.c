/* SPDX-License-Identifier: Apache-2.0
 *
 * Feeds of 2018 whose object went while no leat ran: their feedlets started something that still runs somewhere. What
 * they kept in the data directory tells of them; once, when the first plan is in force, those that no object has any
 * more are stopped. Control loop.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"
#include "log.h"

#define STOPPING ".stopping" /* behind the name while a feed is being stopped */

struct left_feed {
    struct engine *engine;
    char uid[]; /* the file's name */
};

static void reported(void *arg, bool ready, const char *reason, const char *message, const char *context)
{
    const struct left_feed *f = arg;
    (void)context;
    if (!ready)
        log_line(LOG_WARN, "feed.left", "uid=%s reason=%s text=%s", log_value(f->uid), reason ? reason : "",
                 log_value(message ? message : ""));
}

static void stopped(void *arg)
{
    struct left_feed *f = arg;
    struct engine *e = f->engine;
    log_line(LOG_INFO, "feed.stopped", "uid=%s text=%s", log_value(f->uid),
             log_value("its object went while leat was down"));
    free(f);
    e->unregistering--;
    engine_stop_check(e);
}

static void stop_one(struct engine *e, const char *uid)
{
    struct left_feed *f = malloc(sizeof *f + strlen(uid) + 1);
    struct diag d = {0};
    enum err err = ERR_NOMEM;
    if (f) {
        f->engine = e;
        strcpy(f->uid, uid);
        e->unregistering++;
        err = source_find("feedlet")->stop_left(e->options.feeds, f->uid, e->control, reported, stopped, f, &d);
    }
    if (err == OK)
        return;
    log_line(LOG_WARN, "feed.left", "uid=%s error=%s text=%s", log_value(uid), err_name(err), log_value(d.text));
    if (f)
        e->unregistering--;
    free(f);
}

/* Names of feeds, each perhaps with the end that it has while it is stopped. */
static int is_feed(const struct dirent *entry)
{
    const char *dot = strchr(entry->d_name, '.');
    return dot != entry->d_name && (!dot || strcmp(dot, STOPPING) == 0);
}

void engine_feeds_left(struct engine *e)
{
    struct dirent **found = NULL;
    if (e->feeds_looked || !e->options.feeds || !e->reports.is_there)
        return;
    e->feeds_looked = true;
    int n = scandir(e->options.feeds, &found, is_feed, alphasort);
    if (n < 0 && errno != ENOENT)
        log_line(LOG_WARN, "feed.left", "folder=%s error=%s", log_value(e->options.feeds), strerror(errno));
    for (int i = 0; i < n; i++) {
        char *dot = strchr(found[i]->d_name, '.');
        if (dot)
            *dot = '\0';
        bool twice = i > 0 && strcmp(found[i - 1]->d_name, found[i]->d_name) == 0;
        if (!twice && !e->reports.is_there(e->reports.arg, found[i]->d_name))
            stop_one(e, found[i]->d_name);
    }
    for (int i = 0; i < n; i++)
        free(found[i]);
    free(found);
}
