/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source github`: the GitHub source alone. Environment as Knative's receive adapter has it:
 * GITHUB_SECRET_TOKEN, GITHUB_OWNER_REPO, PORT.
 */
#include "github.h"

#include "runner.h"

static const struct runner_option options[] = {
    {"secret-file", "FILE", true, "secretToken", "GITHUB_SECRET_TOKEN", "The webhook's secret."},
    {"owner-repo", "NAME", false, "ownerAndRepository", "GITHUB_OWNER_REPO",
     "OWNER/REPOSITORY, or an organisation. Default: as each payload says."},
    {"events", "LIST", false, "eventTypes", "GITHUB_EVENT_TYPES",
     "Events to take: push,pull_request. Default: all but ping."},
    {"form", "FORM", false, "form", NULL,
     "today (dev.knative.source.github.EVENT) or 2018 (dev.knative.github.EVENT). Default: today."},
    {"access-token-file", "FILE", true, "accessToken", "GITHUB_ACCESS_TOKEN",
     "A token with which the webhook is made on GitHub."},
    {"api-url", "URL", false, "githubAPIURL", "GITHUB_API_URL",
     "GitHub's API, for an Enterprise Server. Default: " GITHUB_API_URL "."},
    {"secure", "BOOL", false, "secure", NULL,
     "true or false: makes the webhook's URL https or http. Default: as --webhook-url has it."},
    {"allow-unsigned", NULL, false, "allowUnsigned", NULL, "Takes webhooks without a secret: for trials only."},
    {NULL, NULL, false, NULL, NULL, NULL}};

static const struct runner_program program = {
    .ops = &github_source,
    .options = options,
    .summary = "Takes GitHub's webhooks, checks their signatures, and posts each as a CloudEvent to the sink. A "
               "webhook is answered 202 when the sink has accepted.",
    .examples =
        "  K_SINK=http://127.0.0.1:9000/ leat source github --secret-file secret --owner-repo octo-org/hello-world\n"
        "  leat source github --sink http://127.0.0.1:9000/ --allow-unsigned --listen 127.0.0.1:0\n",
    .webhook_default = "127.0.0.1:8080",
};

int github_main(int argc, char **argv)
{
    return runner_main(&program, argc, argv);
}
