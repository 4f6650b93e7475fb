/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubernetes' protobuf envelope, as far as kubectl and kn send it: since client-go 0.32 `kubectl create
 * namespace|secret|configmap` and `kn secret create` post such bodies and nothing else. Everything else is JSON.
 */
#ifndef LEAT_BROKER_API_PROTOBUF_H
#define LEAT_BROKER_API_PROTOBUF_H

#include "buf.h"
#include "err.h"
#include "slice.h"

/* The object in the envelope as JSON. ERR_UNSUPPORTED: of a kind that is not read here; ERR_INVALID: broken; each with
 * *d. What goes wrong in `out` (memory, its limit) is in its error. Pure; tests/fuzz/fuzz_kubernetes_protobuf.c. */
enum err kubernetes_protobuf_read(struct slice body, struct buf *out, struct diag *d) must_check;

#endif
