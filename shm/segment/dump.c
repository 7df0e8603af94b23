/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/batch/decompress.h"
#include "shm/segment/segment.h"

#define BUFFER_BYTES      (1u << 20)
#define RECORDS_BYTES_MAX (1u << 30)

static void print_bytes(FILE *out, const void *bytes, int64_t count)
{
    const uint8_t *p = bytes;

    for (int64_t i = 0; i < count; i++) {
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\')
            fputc(p[i], out);
        else
            fprintf(out, "\\x%02x", p[i]);
    }
}

static void print_record(FILE *out, const uint8_t *batch, const struct mr_batch_record *record, unsigned flags)
{
    int32_t base_sequence = mr_batch_base_sequence(batch);
    uint32_t delta = (uint32_t)(record->offset - mr_batch_base_offset(batch));

    fprintf(out, "| offset: %" PRId64 " %s: %" PRId64 " keySize: %d valueSize: %d", record->offset,
            mr_batch_is_append_time(batch) ? "LogAppendTime" : "CreateTime", record->timestamp_ms, record->key_bytes, record->value_bytes);
    if (base_sequence >= 0)
        fprintf(out, " sequence: %u", ((uint32_t)base_sequence + delta) & INT32_MAX);
    if (mr_batch_is_control(batch)) {
        int32_t coordinator_epoch;
        int type = mr_batch_marker_read(record, &coordinator_epoch);
        fprintf(out, " endTxnMarker: %s", type == MR_BATCH_MARKER_COMMIT ? "COMMIT" : type == MR_BATCH_MARKER_ABORT ? "ABORT" : "unknown");
        if (type >= 0)
            fprintf(out, " coordinatorEpoch: %d", coordinator_epoch);
    }
    fprintf(out, " headers: %u", record->header_count);
    if ((flags & MR_DUMP_VALUES) != 0) {
        const uint8_t *at = record->headers;
        struct mr_record_header header;
        while (mr_record_headers_next(&at, record->headers + record->header_bytes, &header) == 1) {
            fputc(' ', out);
            print_bytes(out, header.key, header.key_bytes);
            fputc('=', out);
            print_bytes(out, header.value_bytes < 0 ? "null" : header.value, header.value_bytes < 0 ? 4 : header.value_bytes);
        }
        fputs(" key: ", out);
        print_bytes(out, record->key == NULL ? "null" : (const char *)record->key, record->key == NULL ? 4 : record->key_bytes);
        fputs(" payload: ", out);
        print_bytes(out, record->value == NULL ? "null" : (const char *)record->value, record->value == NULL ? 4 : record->value_bytes);
    }
    fputc('\n', out);
}

static void print_batch(FILE *out, const uint8_t *batch, uint64_t position)
{
    struct mr_batch_header h;

    mr_batch_header_read(&h, batch);
    fprintf(out,
            "baseOffset: %" PRId64 " lastOffset: %" PRId64 " count: %d baseSequence: %d lastSequence: %d producerId: %" PRId64
            " producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %s isControl: %s position: %" PRIu64 " %s: %" PRId64
            " size: %" PRId64 " magic: %d compresscodec: %s crc: %u isvalid: true\n",
            h.base_offset, mr_batch_last_offset(batch), h.record_count, h.base_sequence, mr_batch_last_sequence(batch), h.producer_id,
            h.producer_epoch, h.leader_epoch, mr_batch_is_transactional(batch) ? "true" : "false",
            mr_batch_is_control(batch) ? "true" : "false", position, mr_batch_is_append_time(batch) ? "LogAppendTime" : "CreateTime",
            h.max_timestamp_ms, mr_batch_total_bytes(batch), h.magic, mr_batch_codec_name(mr_batch_codec(batch)), h.crc);
}

static int print_records(FILE *out, const uint8_t *batch, uint32_t batch_bytes, struct mr_batch_decompressed *unpacked, unsigned flags)
{
    struct mr_batch_iterator it;
    struct mr_batch_record record;
    int rc = mr_batch_iterator_init(&it, batch, batch_bytes);

    if (rc == -EOPNOTSUPP) {
        rc = mr_batch_decompress(batch, batch_bytes, RECORDS_BYTES_MAX, unpacked);
        if (rc == -EOPNOTSUPP) {
            fprintf(out, "| records are compressed, and no library for %s is installed\n", mr_batch_codec_name(mr_batch_codec(batch)));
            return 0;
        }
        if (rc == 0)
            mr_batch_iterator_init_records(&it, batch, unpacked->bytes, unpacked->size_bytes);
    }
    if (rc != 0)
        return rc;
    while ((rc = mr_batch_next(&it, &record)) == 1)
        print_record(out, batch, &record, flags);
    return rc;
}

static int dump(const char *log_path, struct mr_segment_reader *reader, uint8_t **buffer, FILE *out, unsigned flags, uint64_t from_offset,
                uint64_t batch_max, struct millrace_error *err)
{
    struct mr_batch_decompressed unpacked = {0};
    uint64_t printed = 0, position = 0;
    int rc = 0;

    while (rc == 0 && (batch_max == 0 || printed < batch_max)) {
        const uint8_t *batch;
        uint32_t batch_bytes;
        position = reader->position;
        rc = mr_segment_reader_next(reader, &batch, &batch_bytes);
        if (rc == 0)
            break;
        if (rc == -EMSGSIZE) {
            free(*buffer);
            *buffer = aligned_alloc(MR_BLOCK_BYTES, reader->need_bytes);
            rc = *buffer == NULL ? -ENOMEM : 0;
            if (rc == 0)
                mr_segment_reader_set_buffer(reader, *buffer, reader->need_bytes);
            continue;
        }
        if (rc < 0)
            break;
        rc = 0;
        if ((uint64_t)mr_batch_last_offset(batch) < from_offset)
            continue;
        print_batch(out, batch, position);
        printed++;
        if ((flags & (MR_DUMP_RECORDS | MR_DUMP_VALUES)) != 0)
            rc = print_records(out, batch, batch_bytes, &unpacked, flags);
    }
    mr_batch_decompressed_release(&unpacked);
    if (rc == -EBADMSG)
        return mr_err(err, EBADMSG, "%s is damaged at position %" PRIu64 ": run 'millrace log verify'", log_path, position);
    return rc == 0 ? 0 : mr_err(err, -rc, "reading %s at %" PRIu64 ": %s", log_path, position, strerror(-rc));
}

int mr_dump_segment(const char *log_path, FILE *out, unsigned flags, uint64_t from_offset, uint64_t batch_max, struct millrace_error *err)
{
    const char *slash = strrchr(log_path, '/');
    struct mr_segment_reader reader;
    uint64_t base_offset;
    struct stat st;

    if (!mr_segment_name_parse(slash != NULL ? slash + 1 : log_path, "log", &base_offset))
        return mr_err(err, EINVAL, "%s: a segment is named by 20 digits and .log", log_path);
    int fd = open(log_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mr_err(err, errno, "cannot open %s: %s", log_path, strerror(errno));
    uint8_t *buffer = aligned_alloc(MR_BLOCK_BYTES, BUFFER_BYTES);
    int rc;
    if (fstat(fd, &st) != 0) {
        rc = mr_err(err, errno, "cannot read the size of %s: %s", log_path, strerror(errno));
    } else if (buffer == NULL) {
        rc = mr_err(err, ENOMEM, "no memory for a buffer of %u bytes", BUFFER_BYTES);
    } else {
        struct mr_segment_source log = mr_segment_source_fd(fd, (uint64_t)st.st_size);
        mr_segment_reader_init(&reader, &log, base_offset, buffer, BUFFER_BYTES);
        rc = dump(log_path, &reader, &buffer, out, flags, from_offset, batch_max, err);
    }
    free(buffer);
    close(fd);
    return rc;
}
