/* SPDX-License-Identifier: Apache-2.0
 *
 * The log bus keeps the contract: on one loop and on several, turned by hand and on threads; also with segments so
 * small that it goes from one to the next all the time.
 */
#include "../bus/contract.c"

#include "channels/log/log_open.h"

BUS_CONTRACT_IDLE(log_one, "log", "dir=@", 1, TURNED, log_idle)
BUS_CONTRACT_IDLE(log_two, "log", "dir=@ segment=64KiB", 2, TURNED, log_idle)
BUS_CONTRACT(log_one_thread, "log", "dir=@", 1, THREADS)
BUS_CONTRACT(log_four_threads, "log", "dir=@ segment=64KiB", 4, THREADS)

int main(void)
{
    return cmocka_run_group_tests(contract_log_one, NULL, NULL) + cmocka_run_group_tests(contract_log_two, NULL, NULL) +
           cmocka_run_group_tests(contract_log_one_thread, NULL, NULL) +
           cmocka_run_group_tests(contract_log_four_threads, NULL, NULL);
}
