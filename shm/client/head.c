/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "shm/client/producer_internal.h"

int mr_head_map(int fd, uint32_t partition_count, const struct mr_head **head, uint64_t *bytes, struct millrace_error *err)
{
    struct stat st;

    *head = NULL;
    if (fstat(fd, &st) != 0)
        return mr_err(err, errno, "a topic's head: %s", strerror(errno));
    if (partition_count == 0 || partition_count > MR_PARTITIONS_MAX || (uint64_t)st.st_size < mr_head_bytes(partition_count))
        return mr_err(err, EPROTO, "a topic's head of %llu bytes cannot hold %u partitions", (unsigned long long)st.st_size,
                      partition_count);
    void *memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return mr_err(err, errno, "mapping a topic's head: %s", strerror(errno));
    const struct mr_head *mapped = memory;
    if (mapped->magic != MR_HEAD_MAGIC || mapped->version != MR_HEAD_VERSION) {
        munmap(memory, (size_t)st.st_size);
        return mr_err(err, EPROTO, "a topic's head has a layout that this library does not know: link it against the broker's version");
    }
    *head = mapped;
    *bytes = (uint64_t)st.st_size;
    return 0;
}

void mr_head_unmap(const struct mr_head *head, uint64_t bytes)
{
    if (head != NULL)
        munmap((void *)(uintptr_t)head, bytes);
}

struct mr_client_ring *mr_head_owner_ring(const struct millrace_client *client, const struct mr_head *head, uint32_t partition, uint32_t rings_end)
{
    uint64_t owner = mr_load_acquire(&mr_head_partition_at(head, partition)->owner);

    if (owner == MR_HEAD_OWNER_NONE || owner >> 32 >= client->reactor_count || client->state != MR_CLIENT_ATTACHED)
        return NULL;
    struct mr_client_ring *ring = client->rings; /* the newest first */
    while (ring != NULL && (ring->number >= rings_end || ring->reactor != owner >> 32))
        ring = ring->next;
    return ring;
}
