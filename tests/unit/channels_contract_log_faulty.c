/* SPDX-License-Identifier: Apache-2.0
 *
 * The faulty bus around the log keeps the contract: what is revoked, repeated and delayed there lies in a log.
 */
#include "../bus/contract.c"

#include "channels/faulty.h"
#include "channels/log/log_open.h"

static void inner_idle(struct bus *b)
{
    log_idle(faulty_of(b)->inner);
}

BUS_CONTRACT_IDLE(log_faulty, "faulty", "inner=log dir=@ seed=5 append_fail=0.1 duplicate=0.2 revoke=0.2", 2, TURNED,
                  inner_idle)
BUS_CONTRACT(log_faulty_threads, "faulty", "inner=log dir=@ segment=64KiB seed=6 append_delay_ms=1 reorder=0.2", 3,
             THREADS)

int main(void)
{
    return cmocka_run_group_tests(contract_log_faulty, NULL, NULL) +
           cmocka_run_group_tests(contract_log_faulty_threads, NULL, NULL);
}
