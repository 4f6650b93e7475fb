/* SPDX-License-Identifier: Apache-2.0
 *
 * Small webhook payloads in the shape that GitHub gives them, for `leat send github EVENT` and for trials. Constant;
 * any thread.
 */
#ifndef LEAT_GITHUB_SAMPLE_H
#define LEAT_GITHUB_SAMPLE_H

/* The payload (one JSON object) for "push", "pull_request", "issues" or "ping"; NULL for any other event. */
const char *github_sample(const char *event);
/* The events that there is a sample of, for help; NULL-terminated. */
const char *const *github_sample_names(void);

#endif
