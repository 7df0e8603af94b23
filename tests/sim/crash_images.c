/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: no record that was acknowledged is lost, changed, doubled or reordered, wherever the power goes, however often, also while
 * recovery itself runs; and what a producer sent last is known, so that a record sent again is recognised.
 *
 *   crash_images [--images N] [--seed S] [--mutant M]     MR_SEED=S is the same
 *
 * Per seed a small node runs through some lives. At random disk operations its whole machine is cloned, the clone's power is cut, the
 * clone is recovered and compared with what the node knows it acknowledged at that instant. Each life ends by power, by a kill (memory
 * survives: everything that was appended must), or by both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shm/base/atomics.h"
#include "tests/sim/store_world.h"

#define LIVES_MAX     6u
#define STEPS_PER_LIFE 400u

struct run {
    struct world *world;
    struct mr_random random;
    uint64_t images, images_max, records, nested, operations, next_image;
    uint64_t gap_max; /* operations between two images */
    bool in_start;
    bool is_over;
};

static void note_state(const struct world *world)
{
    for (uint32_t i = 0; i < world->task_count; i++) {
        if (world->task[i].action.kind == MR_LOG_ACTION_CLOSE_SEGMENT)
            world_reach(WORLD_CUT_IN_ROLL);
        if (world->task[i].action.kind == MR_LOG_ACTION_DELETE_SEGMENT)
            world_reach(WORLD_CUT_IN_RETENTION);
    }
    for (uint32_t i = 0; i < world->partition_count; i++)
        if (world->partition[i].trim_asked > mr_load_relaxed(&world->partition[i].head->log_start))
            world_reach(WORLD_CUT_IN_TRIM);
    if (world->has_adopted)
        world_reach(WORLD_CUT_IN_ADOPTION);
}

static void take_image(struct run *run, struct mr_sim_disk_machine *machine)
{
    struct world_image image = {.world = run->world, .machine = mr_sim_disk_clone(machine), .with_verify = run->images % 4 == 0};
    mr_sim_disk_power_cut(image.machine, &run->random);
    if (mr_random_below(&run->random, 4) == 0)
        mr_sim_disk_cut_after(image.machine, mr_random_below(&run->random, 80));
    enum image_result result = image_check(&image, false);
    while (result == IMAGE_CUT) {
        run->nested++;
        world_reach(WORLD_CUT_IN_RECOVERY);
        mr_sim_disk_power_cut(image.machine, &run->random);
        if (mr_random_below(&run->random, 3) == 0)
            mr_sim_disk_cut_after(image.machine, mr_random_below(&run->random, 80));
        result = image_check(&image, false);
    }
    world_must(result == IMAGE_OK);
    note_state(run->world);
    run->images++;
    run->records += image.records_checked;
    mr_sim_disk_machine_close(image.machine);
}

static void after_operation(void *context, struct mr_sim_disk_machine *machine, enum mr_sim_disk_operation operation)
{
    struct run *run = context;
    if (run->is_over || ++run->operations < run->next_image)
        return;
    run->next_image = run->operations + 1 + mr_random_below(&run->random, run->gap_max);
    take_image(run, machine);
    run->is_over = run->images >= run->images_max;
}

static void start(struct run *run)
{
    struct world *world = run->world;
    do {
        if (mr_random_below(&run->random, 3) == 0)
            mr_sim_disk_cut_after(world->machine, mr_random_below(&run->random, 200));
        world_start(world);
        if (!world->is_up)
            world_power_cut(world);
        else
            mr_sim_disk_cut_after(world->machine, MR_SIM_DISK_NEVER);
    } while (!world->is_up);
}

static void run_seed(struct run *run, uint64_t seed)
{
    static struct world world;
    run->world = &world;
    run->operations = run->next_image = 0; /* nothing of the seeds before */
    mr_random_init(&run->random, seed, 2);
    world_init(&world, seed);
    mr_sim_disk_watch(world.machine, after_operation, run);
    uint32_t lives = 1 + (uint32_t)mr_random_below(&run->random, LIVES_MAX);
    for (uint32_t life = 0; life < lives && !run->is_over; life++) {
        uint32_t steps = (uint32_t)mr_random_below(&run->random, STEPS_PER_LIFE);
        for (uint32_t i = 0; i < steps && !run->is_over; i++)
            world_step(&world);
        if (mr_random_below(&run->random, 4) == 0 && !run->is_over)
            world_settle(&world);
        switch (mr_random_below(&run->random, 3)) {
        case 0: /* amid whatever comes next */
            mr_sim_disk_cut_after(world.machine, mr_random_below(&run->random, 300));
            for (uint32_t i = 0; i < 1000 && !mr_sim_disk_is_cut(world.machine); i++)
                world_step(&world);
            world_power_cut(&world);
            break;
        case 1:
            world_kill(&world);
            break;
        default:
            world_kill(&world);
            world_power_cut(&world);
            break;
        }
        start(run);
    }
    run->is_over = run->is_over || run->images >= run->images_max;
    world_release(&world);
}

int main(int argc, char **argv)
{
    const char *text = getenv("MR_SEED");
    struct run run = {.images_max = 1000, .gap_max = 60};
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u, seeds = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--images") == 0)
            run.images_max = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--mutant") == 0)
            mr_recover_mutant = atoi(argv[i + 1]);
    }
    bool one = argc > 1 && strcmp(argv[argc - 1], "one") == 0;
    for (; !run.is_over; seed++, seeds++) {
        printf("MR_SEED=%llu\r", (unsigned long long)seed);
        fflush(stdout);
        run_seed(&run, seed);
        if (one)
            break;
    }
    printf("MR_SEED=%llu (last of %llu) images %llu acked records checked %llu cut again in recovery %llu\n", (unsigned long long)seed - 1,
           (unsigned long long)seeds, (unsigned long long)run.images, (unsigned long long)run.records, (unsigned long long)run.nested);
    int missing = 0;
    for (uint32_t s = 0; s < WORLD_STATE_COUNT; s++) {
        printf("  %-34s %llu\n", world_state_name(s), (unsigned long long)world_reached[s]);
        missing += world_reached[s] == 0;
    }
    if (missing > 0 && run.images >= 1000)
        printf("%d named states were never reached\n", missing);
    if (mr_recover_mutant != 0)
        printf("mutant %d was not caught\n", mr_recover_mutant);
    return (missing > 0 && run.images >= 1000) || mr_recover_mutant != 0;
}
