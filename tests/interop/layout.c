/* SPDX-License-Identifier: Apache-2.0 */
/* How C lays out the structures of the public headers, one JSON object: {"name": {"size": N, "field": [offset, bytes], ...}, ...}. */
#include <stddef.h>
#include <stdio.h>

#include <millrace/millrace.h>

#define FIELD(type, field) printf(", \"%s\": [%zu, %zu]", #field, offsetof(struct type, field), sizeof((struct type *)0)->field)
#define BEGIN(type)        printf("\"%s\": {\"size\": %zu", #type, sizeof(struct type))

int main(void)
{
    printf("{");
    BEGIN(millrace_error);
    FIELD(millrace_error, code);
    FIELD(millrace_error, text);
    printf("}, ");
    BEGIN(millrace_client_options);
    FIELD(millrace_client_options, size_bytes);
    FIELD(millrace_client_options, idle);
    FIELD(millrace_client_options, attach_timeout_ms);
    FIELD(millrace_client_options, reattach_timeout_ms);
    FIELD(millrace_client_options, name);
    printf("}, ");
    BEGIN(millrace_producer_options);
    FIELD(millrace_producer_options, size_bytes);
    FIELD(millrace_producer_options, acks);
    FIELD(millrace_producer_options, record_bytes_max);
    FIELD(millrace_producer_options, ring_bytes);
    FIELD(millrace_producer_options, idempotent);
    FIELD(millrace_producer_options, first_sequence);
    printf("}, ");
    BEGIN(millrace_consumer_options);
    FIELD(millrace_consumer_options, size_bytes);
    FIELD(millrace_consumer_options, start);
    FIELD(millrace_consumer_options, start_offset);
    FIELD(millrace_consumer_options, partitions);
    FIELD(millrace_consumer_options, partition_count);
    printf("}, ");
    BEGIN(millrace_header);
    FIELD(millrace_header, key);
    FIELD(millrace_header, value);
    FIELD(millrace_header, key_bytes);
    FIELD(millrace_header, value_bytes);
    printf("}, ");
    BEGIN(millrace_record);
    FIELD(millrace_record, value);
    FIELD(millrace_record, key);
    FIELD(millrace_record, value_bytes);
    FIELD(millrace_record, key_bytes);
    FIELD(millrace_record, timestamp_ms);
    FIELD(millrace_record, partition);
    FIELD(millrace_record, header_count);
    FIELD(millrace_record, headers);
    FIELD(millrace_record, offset);
    FIELD(millrace_record, internal);
    FIELD(millrace_record, internal_bytes);
    printf("}, ");
    BEGIN(millrace_ack);
    FIELD(millrace_ack, first_sequence);
    FIELD(millrace_ack, count);
    FIELD(millrace_ack, partition);
    FIELD(millrace_ack, base_offset);
    FIELD(millrace_ack, durability);
    FIELD(millrace_ack, error);
    printf("}, ");
    BEGIN(millrace_meta);
    FIELD(millrace_meta, offset);
    FIELD(millrace_meta, timestamp_ms);
    FIELD(millrace_meta, partition);
    FIELD(millrace_meta, value_bytes);
    printf("}}\n");
    return 0;
}
