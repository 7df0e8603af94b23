/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/desired/desired.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/atomics.h"

#define TABLE_BYTES_MIN (256u << 10)
#define ENTRY_BYTES     512u /* most are smaller */

int mr_desired_create(struct mr_desired_writer *writer, uint32_t entries, struct millrace_error *err)
{
    uint64_t bytes = mr_max_u64(TABLE_BYTES_MIN, mr_align_up((uint64_t)entries * ENTRY_BYTES, 4096));

    *writer = (struct mr_desired_writer){.fd = memfd_create("millrace-desired", MFD_CLOEXEC | MFD_ALLOW_SEALING), .bytes = bytes};
    if (writer->fd < 0 || fallocate(writer->fd, 0, 0, (off_t)bytes) != 0 || fcntl(writer->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        goto failed;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer->fd, 0);
    if (memory == MAP_FAILED)
        goto failed;
    writer->table = memory;
    *writer->table = (struct mr_desired_header){.magic = MR_DESIRED_MAGIC, .version = MR_DESIRED_VERSION};
    mr_store_release(&writer->table->end_bytes, sizeof *writer->table);
    return 0;
failed:
    mr_desired_release(writer);
    return mr_err(err, ENOMEM, "no shared memory for a table of %llu bytes: free some", (unsigned long long)bytes);
}

void mr_desired_release(struct mr_desired_writer *writer)
{
    if (writer->table != NULL)
        munmap(writer->table, writer->bytes);
    if (writer->fd >= 0)
        close(writer->fd);
    *writer = (struct mr_desired_writer){.fd = -1};
}

int mr_desired_add(struct mr_desired_writer *writer, const struct mr_desired *entry)
{
    uint32_t name_bytes = (uint32_t)strlen(entry->name) + 1, config_bytes = (uint32_t)strlen(entry->config) + 1;
    uint64_t end = mr_load_relaxed(&writer->table->end_bytes); /* ours alone */
    uint64_t bytes = mr_align_up(sizeof(struct mr_desired_entry) + name_bytes + config_bytes, 8);

    if (bytes > writer->bytes - end)
        return -ENOSPC;
    struct mr_desired_entry *out = (struct mr_desired_entry *)(void *)((uint8_t *)writer->table + end);
    *out = (struct mr_desired_entry){.bytes = (uint32_t)bytes, .kind = entry->kind, .number = entry->number, .topic_id = entry->topic_id,
                                     .partition_count = entry->partition_count, .name_bytes = name_bytes, .config_bytes = config_bytes};
    memcpy(out->text, entry->name, name_bytes);
    memcpy(out->text + name_bytes, entry->config, config_bytes);
    mr_store_release(&writer->table->end_bytes, end + bytes); /* the entry before its end */
    return 0;
}

int mr_desired_open(struct mr_desired_reader *reader, int fd, uint64_t bytes, struct millrace_error *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    *reader = (struct mr_desired_reader){0};
    if (fstat(fd, &st) != 0 || seals < 0 || (seals & F_SEAL_SHRINK) == 0 || (uint64_t)st.st_size != bytes || bytes < sizeof(struct mr_desired_header) ||
        bytes > MR_DESIRED_BYTES_MAX)
        return mr_err(err, EBADMSG, "the control process sent a table that is none");
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return mr_err(err, ENOMEM, "cannot map the control process's table of %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
    *reader = (struct mr_desired_reader){.table = memory, .bytes = bytes, .at = sizeof(struct mr_desired_header)};
    if (reader->table->magic != MR_DESIRED_MAGIC || reader->table->version != MR_DESIRED_VERSION) {
        mr_desired_close(reader);
        return mr_err(err, EBADMSG, "the control process's table is of another version: run millrace-control and millraced of the same one");
    }
    return 0;
}

void mr_desired_close(struct mr_desired_reader *reader)
{
    if (reader->table != NULL)
        munmap((void *)(uintptr_t)reader->table, reader->bytes);
    *reader = (struct mr_desired_reader){0};
}

int mr_desired_next(struct mr_desired_reader *reader, struct mr_desired *entry)
{
    struct mr_desired_entry fixed;

    if (reader->table == NULL)
        return 0;
    uint64_t end = mr_load_acquire(&reader->table->end_bytes); /* with all that stands before it */
    if (end == reader->at)
        return 0;
    if (end > reader->bytes || end < reader->at || end - reader->at < sizeof fixed)
        return -EBADMSG;
    const uint8_t *from = (const uint8_t *)reader->table + reader->at;
    memcpy(&fixed, from, sizeof fixed); /* once, then only the copy is looked at */
    if (fixed.bytes % 8 != 0 || fixed.bytes > end - reader->at || fixed.name_bytes < 2 || fixed.name_bytes > sizeof entry->name || fixed.config_bytes < 1 ||
        fixed.config_bytes > sizeof entry->config || sizeof fixed + fixed.name_bytes + fixed.config_bytes > fixed.bytes ||
        (fixed.kind != MR_DESIRED_TOPIC && fixed.kind != MR_DESIRED_GONE))
        return -EBADMSG;
    *entry = (struct mr_desired){.kind = fixed.kind, .number = fixed.number, .topic_id = fixed.topic_id, .partition_count = fixed.partition_count};
    memcpy(entry->name, from + sizeof fixed, fixed.name_bytes);
    memcpy(entry->config, from + sizeof fixed + fixed.name_bytes, fixed.config_bytes);
    if (entry->name[fixed.name_bytes - 1] != '\0' || entry->config[fixed.config_bytes - 1] != '\0')
        return -EBADMSG;
    reader->at += fixed.bytes;
    return 1;
}
