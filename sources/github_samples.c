/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample payloads: of a repository that does not exist, in the shape of GitHub's REST and webhook documentation, cut
 * to what readers of webhooks look at.
 */
#include "github_sample.h"

#include <stddef.h>
#include <string.h>

/* What several of them hold. */
#define JO                                                                                                             \
    "{\"login\":\"miller-jo\",\"id\":4100001,\"node_id\":\"U_3e8fa1\","                                                \
    "\"avatar_url\":\"https://avatars.githubusercontent.com/u/4100001?v=4\","                                          \
    "\"html_url\":\"https://github.com/miller-jo\",\"url\":\"https://api.github.com/users/miller-jo\","                \
    "\"type\":\"User\",\"site_admin\":false}"
#define CARTER                                                                                                         \
    "{\"login\":\"carter-lee\",\"id\":4100002,\"node_id\":\"U_3e8fa2\","                                               \
    "\"avatar_url\":\"https://avatars.githubusercontent.com/u/4100002?v=4\","                                          \
    "\"html_url\":\"https://github.com/carter-lee\",\"url\":\"https://api.github.com/users/carter-lee\","              \
    "\"type\":\"User\",\"site_admin\":false}"
#define REPOSITORY                                                                                                     \
    "{\"id\":700100200,\"node_id\":\"R_kgDOKbqXyA\",\"name\":\"watermill\",\"full_name\":\"miller-jo/watermill\","     \
    "\"private\":false,\"owner\":" JO                                                                                  \
    ",\"html_url\":\"https://github.com/miller-jo/watermill\",\"description\":\"Grinds events into flour\","           \
    "\"fork\":false,\"url\":\"https://api.github.com/repos/miller-jo/watermill\","                                     \
    "\"created_at\":\"2018-07-31T12:00:00Z\",\"updated_at\":\"2018-08-20T09:30:00Z\","                                 \
    "\"pushed_at\":\"2018-08-21T07:15:42Z\",\"default_branch\":\"main\",\"visibility\":\"public\","                    \
    "\"stargazers_count\":12,\"open_issues_count\":2,\"topics\":[\"events\",\"water\"]}"
#define COMMIT                                                                                                         \
    "{\"id\":\"9a1be6402d7fc58e3b60971ca44fd82e15730cb6\",\"tree_id\":\"77e0a9c31d5b48f2860e13bd4ca9f5d20716e8a3\","   \
    "\"distinct\":true,\"message\":\"Grease the wheel – it squeaked 🛞\","                                         \
    "\"timestamp\":\"2018-08-21T09:15:40+02:00\","                                                                     \
    "\"url\":\"https://github.com/miller-jo/watermill/commit/9a1be6402d7fc58e3b60971ca44fd82e15730cb6\","              \
    "\"author\":{\"name\":\"Jo Miller\",\"email\":\"jo@example.org\",\"username\":\"miller-jo\"},"                     \
    "\"committer\":{\"name\":\"Jo Miller\",\"email\":\"jo@example.org\",\"username\":\"miller-jo\"},"                  \
    "\"added\":[\"wheel/grease.c\"],\"removed\":[],\"modified\":[\"README.md\",\"wheel/axle.c\"]}"

static const char push[] =
    "{\"ref\":\"refs/heads/main\",\"before\":\"4f2d1c9be07a65318c2ab40f9d6e5a7731c08b24\","
    "\"after\":\"9a1be6402d7fc58e3b60971ca44fd82e15730cb6\",\"created\":false,\"deleted\":false,\"forced\":false,"
    "\"base_ref\":null,\"compare\":\"https://github.com/miller-jo/watermill/compare/4f2d1c9be07a...9a1be6402d7f\","
    "\"commits\":[" COMMIT "],\"head_commit\":" COMMIT ",\"repository\":" REPOSITORY
    ",\"pusher\":{\"name\":\"miller-jo\",\"email\":\"jo@example.org\"},\"sender\":" JO "}";

static const char pull_request[] =
    "{\"action\":\"opened\",\"number\":7,"
    "\"pull_request\":{\"url\":\"https://api.github.com/repos/miller-jo/watermill/pulls/7\",\"id\":900300400,"
    "\"node_id\":\"PR_kwDOKbqXyM41qTeQ\",\"html_url\":\"https://github.com/miller-jo/watermill/pull/7\","
    "\"diff_url\":\"https://github.com/miller-jo/watermill/pull/7.diff\",\"number\":7,\"state\":\"open\","
    "\"locked\":false,\"title\":\"Widen the leat\",\"user\":" CARTER
    ",\"body\":\"More water, same slope.\",\"created_at\":\"2018-08-21T10:00:00Z\","
    "\"updated_at\":\"2018-08-21T10:00:00Z\",\"closed_at\":null,\"merged_at\":null,\"merge_commit_sha\":null,"
    "\"assignee\":null,\"assignees\":[],\"requested_reviewers\":[" JO
    "],\"labels\":[],\"milestone\":null,\"draft\":false,\"head\":{\"label\":\"carter-lee:wider\",\"ref\":\"wider\","
    "\"sha\":\"9a1be6402d7fc58e3b60971ca44fd82e15730cb6\"},\"base\":{\"label\":\"miller-jo:main\",\"ref\":\"main\","
    "\"sha\":\"4f2d1c9be07a65318c2ab40f9d6e5a7731c08b24\"},\"merged\":false,\"mergeable\":null,\"comments\":0,"
    "\"review_comments\":0,\"commits\":1,\"additions\":31,\"deletions\":4,\"changed_files\":2},"
    "\"repository\":" REPOSITORY ",\"sender\":" CARTER "}";

static const char issues[] =
    "{\"action\":\"labeled\",\"issue\":{\"url\":\"https://api.github.com/repos/miller-jo/watermill/issues/6\","
    "\"html_url\":\"https://github.com/miller-jo/watermill/issues/6\",\"id\":800200300,"
    "\"node_id\":\"I_kwDOKbqXyM4vsmWs\",\"number\":6,\"title\":\"The sluice drips\",\"user\":" CARTER
    ",\"labels\":[{\"id\":5500600700,\"name\":\"bug\",\"color\":\"d73a4a\",\"default\":true,"
    "\"description\":\"Something leaks\"}],\"state\":\"open\",\"locked\":false,\"assignee\":null,\"assignees\":[],"
    "\"milestone\":null,\"comments\":1,\"created_at\":\"2018-08-20T16:20:00Z\","
    "\"updated_at\":\"2018-08-21T08:05:00Z\",\"closed_at\":null,\"body\":\"About one drop a minute.\"},"
    "\"label\":{\"id\":5500600700,\"name\":\"bug\",\"color\":\"d73a4a\",\"default\":true,"
    "\"description\":\"Something leaks\"},\"repository\":" REPOSITORY ",\"sender\":" JO "}";

static const char ping[] =
    "{\"zen\":\"Still water turns no wheel.\",\"hook_id\":345678901,\"hook\":{\"type\":\"Repository\","
    "\"id\":345678901,\"name\":\"web\",\"active\":true,\"events\":[\"push\",\"pull_request\"],"
    "\"config\":{\"content_type\":\"json\",\"insecure_ssl\":\"0\",\"secret\":\"********\","
    "\"url\":\"https://example.org/hooks/default/watermill\"},\"updated_at\":\"2018-08-20T09:00:00Z\","
    "\"created_at\":\"2018-08-20T09:00:00Z\"},\"repository\":" REPOSITORY ",\"sender\":" JO "}";

static const char *const names[] = {"push", "pull_request", "issues", "ping", NULL};
static const char *const payloads[] = {push, pull_request, issues, ping};

const char *github_sample(const char *event)
{
    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i], event) == 0)
            return payloads[i];
    return NULL;
}

const char *const *github_sample_names(void)
{
    return names;
}
