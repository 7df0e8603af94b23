/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/producer_ids.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int mr_producer_ids_open(struct mr_producer_ids *ids, const struct mr_datadir *directory, struct millrace_error *err)
{
    char *text = NULL;
    struct millrace_error why;
    memset(ids, 0, sizeof *ids);
    ids->directory = directory;
    int64_t bytes = mr_datadir_read(directory, "node.key", &text, &why);
    if (bytes == (int64_t)sizeof ids->key) {
        memcpy(ids->key, text, sizeof ids->key);
    } else if (bytes == -ENOENT) {
        if (getrandom(ids->key, sizeof ids->key, 0) != (ssize_t)sizeof ids->key)
            return mr_err(err, EIO, "no random bytes from the kernel");
        int rc = mr_datadir_replace(directory, "node.key", ids->key, sizeof ids->key, 0400, err);
        if (rc != 0)
            return rc;
    } else {
        free(text);
        return mr_err(err, EINVAL, "'%s/node.key' is not readable or not 32 bytes long: remove it (running producers then start over)", directory->path);
    }
    free(text);
    bytes = mr_datadir_read(directory, "producer-ids", &text, &why);
    if (bytes == -ENOENT)
        return 0;
    char *end = NULL;
    ids->floor = bytes > 0 ? strtoll(text, &end, 10) : -1;
    bool sane = bytes > 0 && end != text && *end == '\n' && ids->floor >= 0;
    free(text);
    if (!sane)
        return mr_err(err, EINVAL, "'%s/producer-ids' is damaged: write into it a number larger than any producer id in the logs "
                      "(millrace log dump shows them)", directory->path);
    return 0;
}

int mr_producer_ids_add(struct mr_producer_ids *ids, int64_t first, int64_t end, struct millrace_error *err)
{
    char text[32];
    if (first < ids->floor || end <= first)
        return mr_err(err, EINVAL, "producer ids %lld to %lld: all below %lld may have been given out", (long long)first, (long long)end - 1,
                      (long long)ids->floor);
    int used = snprintf(text, sizeof text, "%lld\n", (long long)end);
    int rc = mr_datadir_replace(ids->directory, "producer-ids", text, (size_t)used, 0600, err);
    if (rc != 0)
        return rc;
    ids->floor = end;
    ids->spare_first = first; /* nobody asks for more while there is a spare block */
    ids->spare_end = end;
    return 0;
}

int64_t mr_producer_ids_next(struct mr_producer_ids *ids)
{
    if (ids->next == ids->end) {
        ids->next = ids->spare_first;
        ids->end = ids->spare_end;
        ids->spare_first = ids->spare_end = 0;
    }
    return ids->next < ids->end ? ids->next++ : -EAGAIN;
}

bool mr_producer_ids_wants(const struct mr_producer_ids *ids)
{
    return ids->spare_first == ids->spare_end;
}

void mr_producer_token(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, uint8_t token[MR_TOKEN_BYTES])
{
    uint8_t message[16];
    unsigned bytes = MR_TOKEN_BYTES;
    memcpy(message, &producer_id, 8);
    memcpy(message + 8, &epoch, 4);
    memcpy(message + 12, &uid, 4);
    const uint8_t *mac = HMAC(EVP_sha256(), ids->key, sizeof ids->key, message, sizeof message, token, &bytes);
    mr_assert(mac != NULL && bytes == MR_TOKEN_BYTES);
}

bool mr_producer_token_check(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, const uint8_t token[MR_TOKEN_BYTES])
{
    uint8_t expected[MR_TOKEN_BYTES];
    mr_producer_token(ids, producer_id, epoch, uid, expected);
    return CRYPTO_memcmp(expected, token, sizeof expected) == 0;
}
