/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates and keys that come as PEM text, looked at before anything connects: a library would only say later that
 * something is wrong with one of them. Pure; any thread.
 */
#ifndef LEAT_CLIENTS_PEM_H
#define LEAT_CLIENTS_PEM_H

#include "err.h"

#define PEM_CERTIFICATES_MAX 1000 /* of a CA bundle: the system's own has about 150 */

/* How many certificates the text holds; 0: none, or one of them is broken. */
int pem_certificates(const char *pem);
/* ERR_INVALID, with *d naming the parameter. */
enum err pem_check_certificate(const char *name, const char *pem, struct diag *d) must_check;
/* Both of them and that they belong together; a key under a passphrase is refused. */
enum err pem_check_pair(const char *certificate_name, const char *certificate, const char *key_name, const char *key,
                        struct diag *d) must_check;

/* For PEM_read_bio_*: there is no passphrase, and nobody is asked for one. */
int pem_no_passphrase(char *buf, int size, int rwflag, void *arg);

#endif
