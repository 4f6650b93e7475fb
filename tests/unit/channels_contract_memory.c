/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory bus keeps the contract: on one loop and on several, turned by hand and on threads.
 */
#include "../bus/contract.c"

BUS_CONTRACT(memory_one, "memory", "", 1, TURNED)
BUS_CONTRACT(memory_three, "memory", "capacity=32MiB total=1GiB", 3, TURNED)
BUS_CONTRACT(stub_one_thread, "stub", "", 1, THREADS)
BUS_CONTRACT(memory_four_threads, "memory", "", 4, THREADS)

int main(void)
{
    return cmocka_run_group_tests(contract_memory_one, NULL, NULL) +
           cmocka_run_group_tests(contract_memory_three, NULL, NULL) +
           cmocka_run_group_tests(contract_stub_one_thread, NULL, NULL) +
           cmocka_run_group_tests(contract_memory_four_threads, NULL, NULL);
}
