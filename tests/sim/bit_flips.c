/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: one flipped bit, wherever it is, is either noticed (the partition goes offline, or it is put right from another copy) or changes
 * nothing: never a silent loss, never a record that reads differently.
 *
 *   bit_flips [--flips N] [--seed S] [--mutant M]     MR_SEED=S is the same
 *
 * Three kinds of victim: the disk of a node that stood idle when it stopped, the disk of one that stopped cleanly, and the memory of one
 * that was killed. Files are chosen by kind, so that the small ones get their share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shm/base/atomics.h"
#include "tests/sim/store_world.h"

#define FLIPS_PER_VICTIM 200u
#define FILES_MAX        512u

enum kind { KIND_LOG, KIND_SIDECAR, KIND_JOURNAL, KIND_SNAPSHOT, KIND_CHECKPOINT, KIND_CLEAN, KIND_EXTENT, KIND_COUNT };
enum outcome { HARMLESS, PUT_RIGHT, OFFLINE, BY_VERIFY, OUTCOME_COUNT };

static const char *const kind_name[KIND_COUNT] = {"segment", "sidecar", "journal", "snapshot", "checkpoint", "clean-shutdown", "extent"};
static const char *const outcome_name[OUTCOME_COUNT] = {"harmless", "put right", "offline", "by verify"};

struct file {
    char path[128];
    uint64_t bytes;
    enum kind kind;
};

struct run {
    struct world world;
    struct mr_random random;
    struct file file[FILES_MAX];
    uint32_t file_count;
    uint64_t flips, flips_max, records;
    uint64_t count[KIND_COUNT][OUTCOME_COUNT];
};

static int each_file(void *context, const char *path, bool is_directory, uint64_t bytes)
{
    struct run *run = context;
    static const struct {
        const char *part;
        enum kind kind;
    } kinds[] = {{".log", KIND_LOG}, {".sidecar", KIND_SIDECAR}, {".snapshot", KIND_SNAPSHOT}, {"/journal-spare", KIND_COUNT},
                 {"/journal-", KIND_JOURNAL}, {"/checkpoint", KIND_CHECKPOINT}, {"/clean-shutdown", KIND_CLEAN}};
    for (uint32_t i = 0; i < MR_COUNT_OF(kinds); i++) {
        if (is_directory || bytes == 0 || strstr(path, kinds[i].part) == NULL)
            continue;
        if (kinds[i].kind != KIND_COUNT && run->file_count < FILES_MAX) {
            struct file *file = &run->file[run->file_count++];
            snprintf(file->path, sizeof file->path, "%s", path);
            file->bytes = bytes;
            file->kind = kinds[i].kind;
        }
        break;
    }
    return 0;
}

static const struct file *choose_file(struct run *run)
{
    while (true) {
        enum kind kind = (enum kind)mr_random_below(&run->random, KIND_EXTENT);
        uint32_t start = (uint32_t)mr_random_below(&run->random, run->file_count);
        for (uint32_t i = 0; i < run->file_count; i++) {
            const struct file *file = &run->file[(start + i) % run->file_count];
            if (file->kind == kind)
                return file;
        }
    }
}

/** Mostly bytes that mean something. */
static uint64_t choose_position(struct run *run, const struct mr_sim_disk_machine *machine, const struct file *file)
{
    uint64_t position = 0;
    for (uint32_t tries = 0; tries < 20; tries++) {
        uint8_t byte = 0;
        position = mr_random_below(&run->random, mr_random_below(&run->random, 3) == 0 ? mr_min_u64(file->bytes, 128) : file->bytes);
        (void)mr_sim_disk_read_path(machine, file->path, &byte, 1, position);
        if (byte != 0)
            break;
    }
    return position;
}

static bool was_put_right(const struct world_image *image)
{
    for (uint32_t i = 0; i < image->said_count; i++)
        if (strstr(image->said[i], "undid one") != NULL || strstr(image->said[i], "second copy") != NULL ||
            strstr(image->said[i], "copies is damaged") != NULL || strstr(image->said[i], "earlier one") != NULL)
            return true;
    return false;
}

static void flip_disk(struct run *run, struct mr_sim_disk_machine *machine)
{
    const struct file *file = choose_file(run);
    uint64_t position = choose_position(run, machine, file);
    uint32_t bit = (uint32_t)mr_random_below(&run->random, 8);
    struct world_image image = {.world = &run->world, .machine = mr_sim_disk_clone(machine)};
    mr_sim_disk_kill(image.machine);
    world_must(mr_sim_disk_flip_bit(image.machine, file->path, position, bit) == 0);
    enum image_result result = image_check(&image, true);
    enum outcome outcome = result == IMAGE_DETECTED ? OFFLINE : result == IMAGE_VERIFY ? BY_VERIFY : was_put_right(&image) ? PUT_RIGHT : HARMLESS;
    if (result == IMAGE_BAD || result == IMAGE_CUT || result == IMAGE_SAID) {
        fprintf(stderr, "MR_SEED=%llu '%s' of %llu bytes, position %llu bit %u: %s\n", (unsigned long long)run->world.seed, file->path,
                (unsigned long long)file->bytes, (unsigned long long)position, bit, image.what == NULL ? "" : image.what);
        for (uint32_t i = 0; i < image.said_count; i++)
            fprintf(stderr, "  %s\n", image.said[i]);
        /* It stood idle for longer than it takes to mark everything: nothing may be in doubt. */
        world_failed(__FILE__, __LINE__, "a flipped bit is noticed or harmless");
    }
    run->count[file->kind][outcome]++;
    run->records += image.records_checked;
    run->flips++;
    mr_sim_disk_machine_close(image.machine);
}

static void flip_memory(struct run *run)
{
    struct world *world = &run->world;
    struct world_partition *p = &world->partition[mr_random_below(&run->random, world->partition_count)];
    struct mr_log_live_extent live[MR_HEAD_DIRECTORY_COUNT];
    struct mr_log_recovered adopted;
    uint32_t count = world_live_extents(p, live);
    if (count == 0)
        return;
    struct mr_extent_header *h = live[mr_random_below(&run->random, count)].memory;
    uint64_t used[3] = {sizeof *h + h->snapshot_count * sizeof(struct mr_extent_producer), h->side_position + h->side_bytes, h->bytes};
    uint64_t from[3] = {0, h->side_position, h->data_position};
    uint64_t part = mr_random_below(&run->random, 3);
    uint8_t *byte = (uint8_t *)h + from[part] + mr_random_below(&run->random, used[part] - from[part]);
    uint8_t bit = (uint8_t)(1u << mr_random_below(&run->random, 8));
    *byte ^= bit;
    enum outcome outcome = OFFLINE;
    uint64_t checked[MR_HEAD_DIRECTORY_COUNT];
    for (uint32_t i = 0; i < count; i++)
        checked[i] = mr_adopt_check_extent(live[i].memory, mr_load_relaxed(&p->head->log_end));
    if (mr_adopt_partition(p->head, &p->topic_id, 0, &world->boot_id, live, count, checked, &world_allocator, &adopted, NULL) == 0) {
        outcome = HARMLESS;
        world_must(adopted.next_offset == p->end);
        world_must(check_memory(p, &adopted));
        mr_adopt_release(&world_allocator, &adopted);
    }
    *byte ^= bit;
    run->count[KIND_EXTENT][outcome]++;
    run->flips++;
}

static void mark_clean(struct run *run)
{
    struct world *world = &run->world;
    for (uint32_t d = 0; d < world->directory_count; d++) {
        struct mr_clean_partition clean[WORLD_PARTITIONS_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < world->partition_count; i++) {
            const struct world_partition *p = &world->partition[i];
            if (p->directory == d)
                clean[count++] = (struct mr_clean_partition){.name = p->name, .topic_id = p->topic_id, .generation = 1000,
                                                             .log_start = mr_load_relaxed(&p->head->log_start), .next_offset = p->end};
        }
        world_must(mr_recovery_mark_clean(world->disk, world->directory[d], clean, count, NULL) == 0);
    }
}

static void run_seed(struct run *run, uint64_t seed)
{
    struct world *world = &run->world;
    mr_random_init(&run->random, seed, 3);
    world_init(world, seed);
    uint32_t lives = 1 + (uint32_t)mr_random_below(&run->random, 3);
    for (uint32_t life = 0; life < lives; life++) {
        if (life > 0) {
            world_kill(world);
            if (mr_random_below(&run->random, 2) == 0)
                world_power_cut(world);
            world_start(world);
        }
        uint32_t steps = 20 + (uint32_t)mr_random_below(&run->random, 400);
        for (uint32_t i = 0; i < steps; i++)
            world_step(world);
    }
    uint32_t victim = (uint32_t)mr_random_below(&run->random, 3);
    if (victim == 0) {
        world_settle(world);
    } else if (victim == 1) {
        world_drain(world);
        mark_clean(run);
    } else {
        world_kill(world);
    }
    run->file_count = 0;
    (void)mr_sim_disk_walk(world->machine, each_file, run);
    for (uint32_t i = 0; i < FLIPS_PER_VICTIM && run->flips < run->flips_max; i++) {
        if (victim == 2)
            flip_memory(run);
        else
            flip_disk(run, world->machine);
    }
    world_release(world);
}

int main(int argc, char **argv)
{
    static struct run run = {.flips_max = 1000};
    const char *text = getenv("MR_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u, seeds = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--flips") == 0)
            run.flips_max = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--mutant") == 0)
            mr_recover_mutant = atoi(argv[i + 1]);
    }
    for (; run.flips < run.flips_max; seed++, seeds++) {
        printf("MR_SEED=%llu\r", (unsigned long long)seed);
        fflush(stdout);
        run_seed(&run, seed);
    }
    printf("MR_SEED=%llu (last of %llu) flips %llu records checked %llu\n", (unsigned long long)seed - 1, (unsigned long long)seeds,
           (unsigned long long)run.flips, (unsigned long long)run.records);
    for (uint32_t k = 0; k < KIND_COUNT; k++) {
        printf("  %-15s", kind_name[k]);
        for (uint32_t o = 0; o < OUTCOME_COUNT; o++)
            printf(" %s %llu", outcome_name[o], (unsigned long long)run.count[k][o]);
        printf("\n");
    }
    if (mr_recover_mutant != 0)
        printf("mutant %d was not caught\n", mr_recover_mutant);
    return mr_recover_mutant != 0;
}
