/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat doctor`: the log. The heads of all segments and the records of the newest are read; `leat log verify` reads
 * all.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "doctor.h"
#include "log_inspect.h"
#include "log_owners.h"

#define FUTURE_NS (60 * (int64_t)NS_PER_S)

struct damage { /* what verify found */
    uint64_t count;
    char first[400];
};

static void found(void *arg, const struct log_finding *f)
{
    struct damage *m = arg;
    if (f->verdict == LOG_VERDICT_DAMAGE && m->count++ == 0)
        snprintf(m->first, sizeof m->first, "%s: %s", f->place, f->text);
}

/* Whether it can be looked into. */
static bool say_verified(struct doctor *k, const char *dir)
{
    struct damage m = {0};
    struct log_verified sums = {0};
    struct diag d = {0};
    enum err e = log_verify(dir, true, found, NULL, &m, &sums, &d);
    if (e == ERR_NOTFOUND)
        doctor_say(k, VERDICT_WARN, "log",
                   "It is made with the first channel on it, unless the server runs with another --bus", "%s", d.text);
    else if (e != OK)
        doctor_say(k, VERDICT_FAIL, "log", "Restore it from a backup, or move it away and begin a new one", "%s",
                   d.text);
    else if (m.count > 1)
        doctor_say(k, VERDICT_FAIL, "log", "`leat log verify` names all of it", "%s, and %llu more", m.first,
                   (unsigned long long)m.count - 1);
    else if (m.count)
        doctor_say(k, VERDICT_FAIL, "log", "`leat log verify` reads all of it", "%s", m.first);
    else
        doctor_say(k, VERDICT_PASS, "log", NULL, "%llu segments; %llu records of the newest are whole",
                   (unsigned long long)sums.segments, (unsigned long long)sums.records);
    return e == OK;
}

static void say_losses(struct doctor *k, const struct log_inspect *i)
{
    if (i->lost)
        doctor_say(k, VERDICT_FAIL, "lost events", "Send them again from where they came; look at the disk's health",
                   "%llu sequences are lost, the first from %llu to %llu: %s", (unsigned long long)i->lost,
                   i->loss_count ? (unsigned long long)i->losses[0].first : 0,
                   i->loss_count ? (unsigned long long)i->losses[0].last : 0, i->loss_count ? i->losses[0].why : "");
    else
        doctor_say(k, VERDICT_PASS, "lost events", NULL, "none");
}

static void say_unused(struct doctor *k, const struct log_inspect *i, size_t unused,
                       const struct log_inspect_cursor *oldest, int64_t now_ns)
{
    struct log_owners *owners = log_owners_read(i->dir);
    char owner[600];
    log_owner(owners, oldest->name, owner, sizeof owner);
    doctor_say(k, VERDICT_WARN, "cursors",
               "Declare its subscription again to go on from there; 7 days after its last use it goes by itself",
               "%zu of %zu belong to no subscription and keep what they need: %s on %s for %lld hours", unused,
               i->cursor_count, *owner ? owner : oldest->name, oldest->channel,
               (long long)((now_ns - oldest->unused_since_wall_ns) / (3600 * (int64_t)NS_PER_S)));
    log_owners_free(owners);
}

static void say_cursors(struct doctor *k, const struct log_inspect *i, int64_t now_ns)
{
    const struct log_inspect_cursor *oldest = NULL;
    size_t unreadable = 0, unused = 0;
    for (size_t n = 0; n < i->cursor_count; n++) {
        const struct log_inspect_cursor *c = &i->cursors[n];
        unreadable += !c->readable;
        unused += c->unused_since_wall_ns != 0;
        if (c->unused_since_wall_ns && (!oldest || c->unused_since_wall_ns < oldest->unused_since_wall_ns))
            oldest = c;
    }
    if (unreadable)
        doctor_say(k, VERDICT_FAIL, "cursors",
                   "`leat log inspect` names them; their subscriptions get again what the log still has",
                   "%zu of %zu cannot be read", unreadable, i->cursor_count);
    else if (unused)
        say_unused(k, i, unused, oldest, now_ns);
    else
        doctor_say(k, VERDICT_PASS, "cursors", NULL, "%zu, each with a subscription", i->cursor_count);
}

static void look(struct doctor *k, const char *dir)
{
    struct log_inspect *i = NULL;
    struct diag d = {0};
    const int64_t now_ns = clock_wall_ns(clock_system());
    if (!say_verified(k, dir))
        return;
    enum err e = log_inspect(dir, false, NULL, NULL, &i, &d);
    if (e != OK) {
        doctor_say(k, VERDICT_FAIL, "lost events", "`leat log verify` says more", "%s", d.text);
        return;
    }
    say_losses(k, i);
    say_cursors(k, i, now_ns);
    if (i->last_wall_ns - now_ns > FUTURE_NS)
        doctor_say(k, VERDICT_WARN, "log times", "Set the clock; searches by time may miss events until it has passed",
                   "the newest event was written %lld s in the future: the clock went back",
                   (long long)((i->last_wall_ns - now_ns) / (int64_t)NS_PER_S));
    log_inspect_free(i);
}

/* The default bus's log, then those of declared buses (data_dir.h). */
void doctor_log(struct doctor *k)
{
    char path[4200];
    if (!k->data_found)
        return;
    look(k, k->data_dir);
    snprintf(path, sizeof path, "%s/buses", k->data_dir);
    DIR *dir = opendir(path);
    for (const struct dirent *each; dir && (each = readdir(dir));) {
        if (each->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/buses/%s", k->data_dir, each->d_name);
        k->about = each->d_name;
        look(k, path);
    }
    k->about = NULL;
    if (dir)
        closedir(dir);
}
