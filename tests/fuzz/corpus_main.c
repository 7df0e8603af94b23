/* SPDX-License-Identifier: Apache-2.0 */
/* Run a fuzz target as a plain test: its seeds, each seed cut at every length (of the first 4096), a fixed number of random damages, and
 * any files named as arguments. With a directory as the only argument, write the seeds there instead, for libFuzzer. */
#include <stdio.h>
#include <sys/stat.h>

#include "shm/base/random.h"
#include "tests/fuzz/fuzz.h"

#define ROOM           65536
#define DAMAGES_A_SEED 4000

static uint8_t seed_bytes[ROOM], damaged[ROOM];

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t bytes = fread(damaged, 1, sizeof damaged, file);
    fclose(file);
    LLVMFuzzerTestOneInput(damaged, bytes);
    return 0;
}

static int write_seeds(const char *directory)
{
    size_t bytes;
    for (unsigned n = 0; (bytes = fuzz_seed(n, seed_bytes, ROOM)) > 0; n++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%02u", directory, n);
        FILE *file = fopen(path, "wb");
        if (file == NULL || fwrite(seed_bytes, 1, bytes, file) != bytes || fclose(file) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *given = getenv("MR_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 1;
    struct mr_random random;
    struct stat st;
    size_t bytes;

    if (argc == 2 && stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode))
        return write_seeds(argv[1]);
    for (int i = 1; i < argc; i++)
        if (run_file(argv[i]) != 0)
            return 1;
    if (argc > 1)
        return 0;
    printf("MR_SEED=%llu\n", (unsigned long long)seed);
    mr_random_init(&random, seed, 0);
    LLVMFuzzerTestOneInput(seed_bytes, 0);
    for (unsigned n = 0; (bytes = fuzz_seed(n, seed_bytes, ROOM)) > 0; n++) {
        for (size_t cut = 0; cut <= bytes && cut <= 4096; cut++)
            LLVMFuzzerTestOneInput(seed_bytes, cut);
        for (int i = 0; i < DAMAGES_A_SEED; i++) {
            memcpy(damaged, seed_bytes, bytes);
            for (uint64_t k = 1 + mr_random_below(&random, 4); k > 0; k--)
                damaged[mr_random_below(&random, bytes)] = (uint8_t)mr_random_next(&random);
            LLVMFuzzerTestOneInput(damaged, bytes);
        }
    }
    return 0;
}
