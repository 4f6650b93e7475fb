/* SPDX-License-Identifier: Apache-2.0
 *
 * The faulty bus keeps the contract, whatever it does.
 */
#include "../bus/contract.c"

BUS_CONTRACT(faulty_plain, "faulty", "inner=memory seed=7", 1, TURNED)
BUS_CONTRACT(faulty_append, "faulty", "inner=memory seed=7 append_fail=0.2 append_delay_ms=4 reorder=0.3", 2, TURNED)
BUS_CONTRACT(faulty_duplicate, "faulty", "seed=8 duplicate=0.4", 2, TURNED)
BUS_CONTRACT(faulty_revoke, "faulty", "seed=9 revoke=0.4", 2, TURNED)
BUS_CONTRACT(faulty_all, "faulty", "seed=10 append_fail=0.1 append_delay_ms=2 reorder=0.2 duplicate=0.2 revoke=0.2", 3,
             TURNED)
BUS_CONTRACT(faulty_all_threads, "faulty",
             "seed=11 append_fail=0.1 append_delay_ms=1 reorder=0.2 duplicate=0.2 revoke=0.2", 3, THREADS)

int main(void)
{
    return cmocka_run_group_tests(contract_faulty_plain, NULL, NULL) +
           cmocka_run_group_tests(contract_faulty_append, NULL, NULL) +
           cmocka_run_group_tests(contract_faulty_duplicate, NULL, NULL) +
           cmocka_run_group_tests(contract_faulty_revoke, NULL, NULL) +
           cmocka_run_group_tests(contract_faulty_all, NULL, NULL) +
           cmocka_run_group_tests(contract_faulty_all_threads, NULL, NULL);
}
