/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kafka bus keeps the contract on a real Kafka, which tests/real starts and names in LEAT_KAFKA: each case under a
 * prefix of its own and in a process of its own. `channels_contract_kafka_real WORD` runs the cases whose name holds
 * WORD and shows what they say.
 */
#include "../bus/contract.c"

#include "tests/lib/children.h"

#define REAL "bootstrap.servers=$LEAT_KAFKA prefix=* topic.partitions="
#define ON_KAFKA .bus = "kafka", .how = THREADS

BUS_CONTRACT_OF(real_one, ON_KAFKA, .params = REAL "1", .loops = 1)
BUS_CONTRACT_OF(real_four_loops, ON_KAFKA, .params = REAL "1", .loops = 4)
BUS_CONTRACT_OF(real_partitions, ON_KAFKA, .params = REAL "4", .loops = 1)
BUS_CONTRACT_OF(real_four_loops_partitions, ON_KAFKA, .params = REAL "4", .loops = 4)

int main(int argc, char **argv)
{
    if (!getenv("LEAT_KAFKA")) {
        printf("LEAT_KAFKA names no Kafka (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 3};
    children_add(&all, contract_real_one, CONTRACT_COUNT);
    children_add(&all, contract_real_four_loops, CONTRACT_COUNT);
    children_add(&all, contract_real_partitions, CONTRACT_COUNT);
    children_add(&all, contract_real_four_loops_partitions, CONTRACT_COUNT);
    return children_run(&all, "the contract on a real Kafka", argc > 1 ? argv[1] : NULL);
}
