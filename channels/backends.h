/* SPDX-License-Identifier: Apache-2.0
 *
 * The descriptors of all backends: the one thing that each backend's file shows, and the registry's business alone.
 */
#ifndef LEAT_CHANNELS_BACKENDS_H
#define LEAT_CHANNELS_BACKENDS_H

#include "bus.h"

extern const struct bus_ops bus_memory;
extern const struct bus_ops bus_faulty;
extern const struct bus_ops bus_log;
extern const struct bus_ops bus_kafka;
extern const struct bus_ops bus_rabbitmq;
extern const struct bus_ops bus_pubsub;

#endif
