/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the AMQP codec share.
 */
#ifndef LEAT_AMQP_PRIVATE_H
#define LEAT_AMQP_PRIVATE_H

#include "ce_amqp.h"

/* More of an AMQP 1.0 message's application properties are not looked at; an event has no more attributes. */
#define AMQP_PROPERTIES_MAX CE_ATTRIBUTES_MAX

/* A message of an AMQP 1.0 client as RabbitMQ before 3.13 hands it out keeps its application properties encoded in one
 * header. Then: *plain, the same message with them as its headers, in `room`. Any other message, and one whose
 * properties are malformed: m itself. */
const struct ce_amqp_message *amqp_unfold(const struct ce_amqp_message *m, struct ce_amqp_message *plain,
                                          struct ce_amqp_header room[AMQP_PROPERTIES_MAX]);

#endif
