/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile clients without a pause, against a node that runs elsewhere: usage: storm SOCKET SECONDS SEED|attach|MUTATION. Each round one of
 * tests/support/mutations.h, mostly of those that cost the daemon a poisoned session. At the end one line of JSON: how often each, and how it ended. */
#include "tests/support/mutations.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/random.h"

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Attach and leave as fast as it goes, whatever the answer. */
static int attach_storm(double end_s)
{
    uint64_t welcome = 0, refused = 0, hung_up = 0;

    while (now_s() < end_s) {
        struct mr_message_hello hello = {.abi_version = MR_ABI_VERSION, .client = "storm"};
        raw_connect(&client);
        int answer = raw_ask(&client, &hello, sizeof hello, MR_MESSAGE_HELLO);
        welcome += answer == MR_MESSAGE_WELCOME;
        refused += answer == MR_MESSAGE_ERROR;
        hung_up += answer == HUNG_UP;
        raw_leave(&client);
    }
    printf("{\"welcome\":%llu,\"refused\":%llu,\"hung_up\":%llu}\n", (unsigned long long)welcome, (unsigned long long)refused,
           (unsigned long long)hung_up);
    return 0;
}

/* Is it still there, and takes sessions? */
static bool is_alive(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", door_world_socket);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool alive = s >= 0 && connect(s, (struct sockaddr *)&address, sizeof address) == 0;
    if (s >= 0)
        close(s);
    return alive;
}

int main(int argc, char **argv)
{
    struct mr_random random;
    uint64_t all = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: storm SOCKET SECONDS SEED|attach|MUTATION\n");
        return 2;
    }
    snprintf(door_world_socket, sizeof door_world_socket, "%s", argv[1]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    if (strcmp(argv[3], "attach") == 0)
        return attach_storm(now_s() + atof(argv[2]));
    for (uint32_t m = 0; m < mutation_count; m++) /* one alone, to see what it costs others */
        for (double end = now_s() + atof(argv[2]); strcmp(mutations[m].name, argv[3]) == 0; all++) {
            if (now_s() >= end) {
                printf("{\"rounds\":%llu}\n", (unsigned long long)all);
                return 0;
            }
            (void)mutations[m].act();
            raw_leave(&client);
        }
    mr_random_init(&random, strtoull(argv[3], NULL, 10), 1);
    uint64_t *count = calloc(mutation_count, sizeof *count), *as_meant = calloc(mutation_count, sizeof *as_meant);
    uint64_t hung_up = 0;
    double end_s = now_s() + atof(argv[2]);

    for (uint32_t m = 0; count != NULL && as_meant != NULL && (all < mutation_count || now_s() < end_s); all++) {
        if (all < mutation_count) {
            m = (uint32_t)all; /* each once, */
        } else { /* then those that are quick, and mostly what poisons */
            do
                m = (uint32_t)mr_random_below(&random, mutation_count);
            while ((mutations[m].slow && !mr_random_chance(&random, 1, 200)) || (mutations[m].ends != HUNG_UP && !mr_random_chance(&random, 1, 4)));
        }
        int ended = mutations[m].act();
        raw_leave(&client);
        count[m]++;
        hung_up += ended == HUNG_UP;
        as_meant[m] += mutations[m].ends == EITHER || ended == mutations[m].ends;
        if (ended == -1 && !is_alive()) {
            fprintf(stderr, "after %s nobody listens any more\n", mutations[m].name);
            return 1;
        }
    }
    printf("{\"rounds\":%llu,\"hung_up\":%llu,\"mutations\":{", (unsigned long long)all, (unsigned long long)hung_up);
    for (uint32_t m = 0; m < mutation_count; m++)
        printf("%s\"%s\":[%llu,%llu]", m > 0 ? "," : "", mutations[m].name, (unsigned long long)count[m], (unsigned long long)as_meant[m]);
    printf("}}\n");
    free(count);
    free(as_meant);
    return 0;
}
