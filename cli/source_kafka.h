/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source kafka`: not one of sources/, since the broker runs it.
 */
#ifndef LEAT_CLI_SOURCE_KAFKA_H
#define LEAT_CLI_SOURCE_KAFKA_H

/* The rest of the command line; returns the exit code. */
int source_kafka_main(int argc, char **argv);

#endif
