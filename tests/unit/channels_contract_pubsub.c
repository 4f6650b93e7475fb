/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub bus keeps the contract on a real service that tests/real starts and names in LEAT_PUBSUB: Google's own
 * fake, or its emulator (LEAT_PUBSUB_IS=emulator), which takes all messages without an ordering key for those of one,
 * so that it hands out again what was acknowledged behind one that is handed back, and gives a new subscription that
 * is in order what its topic keeps of the past (so its topics keep none here). Each case has a prefix and a process
 * of its own. `channels_contract_pubsub WORD` runs the cases whose name holds WORD and shows what they say.
 */
#include "../bus/contract.c"

#include "tests/lib/children.h"

#define REAL "emulator=$LEAT_PUBSUB project=leat-contract ack.deadline=10s prefix=*"
#define NO_PAST " retention-age=0"
#define ON_PUBSUB .bus = "pubsub", .how = THREADS
#define ON_FAKE ON_PUBSUB, .lacks = LACKS_AHEAD
#define ON_EMULATOR ON_PUBSUB, .lacks = LACKS_AHEAD | LACKS_GAPS

BUS_CONTRACT_OF(fake_one, ON_FAKE, .params = REAL, .loops = 1)
BUS_CONTRACT_OF(fake_four_loops, ON_FAKE, .params = REAL, .loops = 4)
BUS_CONTRACT_OF(fake_structured, ON_FAKE, .params = REAL " mode=structured", .loops = 1)
BUS_CONTRACT_OF(emulator_one, ON_EMULATOR, .params = REAL NO_PAST, .loops = 1)
BUS_CONTRACT_OF(emulator_four_loops, ON_EMULATOR, .params = REAL NO_PAST, .loops = 4)

int main(int argc, char **argv)
{
    const char *is = getenv("LEAT_PUBSUB_IS");
    if (!getenv("LEAT_PUBSUB")) {
        printf("LEAT_PUBSUB names no Pub/Sub (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 3};
    if (is && strcmp(is, "emulator") == 0) {
        children_add(&all, contract_emulator_one, CONTRACT_COUNT);
        children_add(&all, contract_emulator_four_loops, CONTRACT_COUNT);
    } else {
        children_add(&all, contract_fake_four_loops, CONTRACT_COUNT);
#ifndef __SANITIZE_THREAD__ /* with one loop there are two threads: they show nothing that five do not */
        children_add(&all, contract_fake_one, CONTRACT_COUNT);
        children_add(&all, contract_fake_structured, CONTRACT_COUNT);
#endif
    }
    return children_run(&all, "the contract on a Pub/Sub", argc > 1 ? argv[1] : NULL);
}
